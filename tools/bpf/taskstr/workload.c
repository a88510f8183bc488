// SPDX-License-Identifier: GPL-2.0
/*
 * A process that works on strings of a file, one after the other, like one
 * that walks an index on disk: it holds a pointer to a string long before it
 * touches the string, so the page behind the pointer is not in memory yet.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/types.h>

#include "taskstr.h"
#include "workload.h"

const char *next_string;

static long page_size;

void make_string(char *buf, unsigned int nr)
{
	snprintf(buf, STRING_LEN, "string %u of the workload", nr);
}

static void write_strings(int fd, const char *path, unsigned int nr_strings)
{
	char string[STRING_LEN];
	unsigned int nr;

	if (ftruncate(fd, nr_strings * page_size))
		err(1, "%s", path);
	for (nr = 0; nr < nr_strings; nr++) {
		make_string(string, nr);
		if (pwrite(fd, string, sizeof(string), nr * page_size) != sizeof(string))
			err(1, "%s", path);
	}
}

/* Make the file, map it, and leave none of it in memory. */
static const char *map_strings(const char *path, unsigned int nr_strings)
{
	size_t len = nr_strings * page_size;
	const char *strings;
	int fd;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		err(1, "%s", path);
	unlink(path);
	write_strings(fd, path, nr_strings);

	/* Only clean pages can be dropped. */
	if (fsync(fd))
		err(1, "%s: fsync", path);
	errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (errno)
		err(1, "%s: posix_fadvise", path);

	strings = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (strings == MAP_FAILED)
		err(1, "%s: mmap", path);
	/* No read-ahead: a fault brings in its own page and no neighbour. */
	if (madvise((void *)strings, len, MADV_RANDOM))
		err(1, "%s: madvise", path);
	close(fd);
	return strings;
}

static void expect_absent(const char *string, const char *path)
{
	unsigned char in_memory;

	if (mincore((void *)string, page_size, &in_memory))
		err(1, "%s: mincore", path);
	if (in_memory & 1)
		errx(1, "%s: an untouched page is in memory; take a file on a disk, not tmpfs (-f)",
		     path);
}

static void expect_string(const char *string, unsigned int nr)
{
	char expected[STRING_LEN];

	make_string(expected, nr);
	if (strcmp(string, expected))
		errx(1, "workload: string %u is not what was written", nr);
}

/* Count for a while; the empty assembly keeps the compiler from leaving it out. */
static void work(void)
{
	unsigned int i;

	for (i = 0; i < 1000; i++)
		asm volatile("" : : "r"(i));
}

void run_workload(const char *path, unsigned int nr_strings, int announce_fd,
		  const unsigned int *finished, bool resident)
{
	const char *strings;
	unsigned int nr;

	page_size = sysconf(_SC_PAGESIZE);
	strings = map_strings(path, nr_strings);

	for (nr = 0; nr < nr_strings; nr++) {
		next_string = strings + nr * page_size;
		if (resident)
			expect_string(next_string, nr);
		else
			expect_absent(next_string, path);
		if (write(announce_fd, "", 1) != 1)
			err(1, "workload: announce string %u", nr);

		/* The NMI comes somewhere in here. */
		while (__atomic_load_n(finished, __ATOMIC_ACQUIRE) <= nr)
			work();

		expect_string(next_string, nr);
	}
}
