// SPDX-License-Identifier: GPL-2.0
/*
 * fuse DIR FILE FILE: a file system with two files, a and b, that have the same number and
 * generation, and all else the same but what is in them. Once somebody asks it for a file
 * called "stop", it never answers again.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fuse.h>

#define FIRST_FILE	2	/* after the root */
#define SAME_INO	7
#define VALID_SECONDS	1000000
#define BUF_SIZE	(1024 * 1024)

static int dev;
static int files[2];
static off_t size;

static void reply(const struct fuse_in_header *in, int error, const void *data, size_t len)
{
	static char buf[BUF_SIZE];
	struct fuse_out_header *out = (void *)buf;

	out->len = sizeof(*out) + len;
	out->error = error;
	out->unique = in->unique;
	memcpy(buf + sizeof(*out), data, len);
	/* Whoever asked may have been killed meanwhile. */
	if (write(dev, buf, out->len) != (ssize_t)out->len && errno != ENOENT)
		err(1, "write");
}

static void get_attr(uint64_t node, struct fuse_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = node == FUSE_ROOT_ID ? FUSE_ROOT_ID : SAME_INO;
	attr->mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0755;
	attr->size = node == FUSE_ROOT_ID ? 0 : size;
	attr->nlink = 1;
}

static void look_up(const struct fuse_in_header *in, const char *name)
{
	struct fuse_entry_out out = {
		.generation = 1,
		.entry_valid = VALID_SECONDS,
		.attr_valid = VALID_SECONDS,
	};

	if (!strcmp(name, "stop")) {
		reply(in, -ENOENT, NULL, 0);
		pause();
	}
	if ((*name != 'a' && *name != 'b') || name[1]) {
		reply(in, -ENOENT, NULL, 0);
		return;
	}
	out.nodeid = FIRST_FILE + *name - 'a';
	get_attr(out.nodeid, &out.attr);
	reply(in, 0, &out, sizeof(out));
}

static void tell_attr(const struct fuse_in_header *in)
{
	struct fuse_attr_out out = { .attr_valid = VALID_SECONDS };

	get_attr(in->nodeid, &out.attr);
	reply(in, 0, &out, sizeof(out));
}

static void read_file(const struct fuse_in_header *in, const struct fuse_read_in *arg)
{
	static char buf[BUF_SIZE / 2];
	off_t rest = arg->offset < (uint64_t)size ? size - arg->offset : 0;
	size_t len = arg->size < sizeof(buf) ? arg->size : sizeof(buf);
	ssize_t err;

	if ((off_t)len > rest)
		len = rest;
	/* The smaller one ends with zeroes. */
	memset(buf, 0, len);
	err = pread(files[in->nodeid - FIRST_FILE], buf, len, arg->offset);
	reply(in, err < 0 ? -EIO : 0, buf, err < 0 ? 0 : len);
}

static void serve(const struct fuse_in_header *in, const void *arg)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = 131072,
		.max_write = 4096,
	};
	struct fuse_open_out open = {};

	switch (in->opcode) {
	case FUSE_INIT:
		reply(in, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		look_up(in, arg);
		break;
	case FUSE_GETATTR:
		tell_attr(in);
		break;
	case FUSE_OPEN:
		reply(in, 0, &open, sizeof(open));
		break;
	case FUSE_READ:
		read_file(in, arg);
		break;
	case FUSE_RELEASE:
		reply(in, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		reply(in, -ENOSYS, NULL, 0);
	}
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat))
		err(1, "%s", path);
	if (stat.st_size > size)
		size = stat.st_size;
	return fd;
}

/* For whoever wants to end it. */
static void tell_pid(void)
{
	FILE *file = fopen("fuse.pid", "w");

	if (!file)
		err(1, "fuse.pid");
	fprintf(file, "%d\n", getpid());
	fclose(file);
}

int main(int argc, char **argv)
{
	static char buf[BUF_SIZE];
	char options[64];

	if (argc != 4)
		errx(2, "usage: fuse DIR FILE FILE");
	files[0] = open_file(argv[2]);
	files[1] = open_file(argv[3]);
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		err(1, "/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	if (mount("twins", argv[1], "fuse", MS_RDONLY, options))
		err(1, "mount");
	/* Whoever waits for this one goes on when the file system is there. */
	if (daemon(1, 0))
		err(1, "daemon");
	tell_pid();
	while (read(dev, buf, sizeof(buf)) > 0 || errno == EINTR || errno == ENOENT)
		serve((void *)buf, buf + sizeof(struct fuse_in_header));
	return 0;
}
