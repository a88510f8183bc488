// SPDX-License-Identifier: GPL-2.0
/*
 * Files whose code was sampled. Each is held from the first sample on, while most
 * probably somebody runs it: so it can be read at the end although it was removed, or is
 * in a mount namespace that is gone. Nothing here opens a file: who provides it may not
 * answer, and what lies at a path may be a device by now.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/openat2.h>

#include "prof.h"

#define NSEC_PER_SEC	1000000000ULL
#define HOLD_TRIES	4	/* processes that are asked for a file */

static struct binary *binaries;
static uint32_t nr_binaries;
static uint32_t nr_wanted;	/* not held yet */
static int max_fd = 512;

/* For files that are held, and events, which take two descriptors each. */
void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) && opt.verbose)
		warn("RLIMIT_NOFILE");
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		max_fd = limit.rlim_cur > INT32_MAX ? INT32_MAX :
			 limit.rlim_cur - (limit.rlim_cur < 256 ? limit.rlim_cur / 4 : 64);
}

struct binary *get_binary(uint32_t file)
{
	if (file >= nr_binaries) {
		uint32_t nr = file + 64;

		binaries = must(realloc(binaries, nr * sizeof(*binaries)));
		memset(binaries + nr_binaries, 0, (nr - nr_binaries) * sizeof(*binaries));
		while (nr_binaries < nr)
			binaries[nr_binaries++].fd = -1;
	}
	return &binaries[file];
}

static uint64_t nanoseconds(const struct statx_timestamp *time)
{
	return time->tv_sec * NSEC_PER_SEC + time->tv_nsec;
}

/* What is known without asking: who serves the file may never answer. */
bool is_unchanged(const struct binary *binary, int fd)
{
	struct statx stat;

	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
		      STATX_TYPE | STATX_SIZE | STATX_MTIME, &stat) &&
	       S_ISREG(stat.stx_mode) && stat.stx_size == binary->size &&
	       nanoseconds(&stat.stx_mtime) == binary->mtime;
}

/* Takes over @fd. It only stands for the file. Some descriptors are left for all else. */
static bool hold(struct binary *binary, int fd)
{
	if (fd < 0)
		return false;
	if (fd > max_fd || !is_unchanged(binary, fd)) {
		close(fd);
		return false;
	}
	binary->fd = fd;
	return true;
}

/* Links of /proc lead to the file itself, whatever its path says by now. */
static bool hold_program(struct binary *binary)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/exe", binary->pid);
	return hold(binary, open(path, O_PATH | O_CLOEXEC));
}

static bool hold_mapping(struct binary *binary)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/map_files/%llx-%llx", binary->pid,
		 (unsigned long long)binary->start, (unsigned long long)binary->end);
	return hold(binary, open_mapping(binary->pid, path));
}

/* Only what the kernel has in its caches: a file that is run is there. */
static bool hold_path(struct binary *binary, const char *root)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_CACHED | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;

	if (dir >= 0) {
		fd = syscall(SYS_openat2, dir, binary->path, &how, sizeof(how));
		close(dir);
	}
	return hold(binary, fd);
}

/*
 * The program first, as that takes no lock of the process. Its mappings need CAP_SYS_ADMIN
 * or CAP_CHECKPOINT_RESTORE. The process may be in a container, where the path leads
 * elsewhere, or it may be gone.
 */
static bool hold_file(struct binary *binary)
{
	char root[32];

	snprintf(root, sizeof(root), "/proc/%u/root", binary->pid);
	return (binary->pid && ((binary->is_program && hold_program(binary)) ||
				hold_mapping(binary) || hold_path(binary, root))) ||
	       hold_path(binary, "/");
}

/* It is the same in each process; that its build ID is ours is seen when it is read. */
static bool hold_vdso(struct binary *binary)
{
	const ElfW(Ehdr) *elf = (const void *)getauxval(AT_SYSINFO_EHDR);
	int fd = elf ? memfd_create("vdso", MFD_CLOEXEC) : -1;
	size_t size;

	if (fd < 0)
		return false;
	size = elf->e_shoff + elf->e_shnum * elf->e_shentsize;
	if (write(fd, elf, size) != (ssize_t)size) {
		close(fd);
		return false;
	}
	binary->fd = fd;
	return true;
}

static void try_hold(struct binary *binary)
{
	binary->tries++;
	if (binary->is_vdso ? hold_vdso(binary) : hold_file(binary)) {
		nr_wanted--;
		return;
	}
	if (binary->tries == HOLD_TRIES)
		nr_wanted--;
	if (opt.verbose)
		warnx("%s (process %u): no such file any more to read names from", binary->path,
		      binary->pid);
}

/* The names come from the leaf to the root. */
static char *path_of(const struct path_record *record)
{
	const char *name = record->names;
	char path[PATH_LEN + NAME_LEN + 1];
	char *at = path + sizeof(path) - 1;
	uint32_t i;

	*at = '\0';
	for (i = 0; i < record->nr_names; i++, name += strlen(name) + 1) {
		at -= strlen(name);
		memcpy(at, name, strlen(name));
		*--at = '/';
	}
	return must(strdup(at));
}

void add_path(const struct path_record *record)
{
	struct binary *binary = get_binary(record->file);

	if (binary->path)
		return;
	binary->path = path_of(record);
	binary->pid = record->pid;
	binary->is_vdso = record->is_vdso;
	binary->is_program = record->is_program;
	binary->start = record->start;
	binary->end = record->end;
	binary->size = record->size;
	binary->mtime = record->mtime;
	nr_wanted++;
	try_hold(binary);
}

void add_build_id(const struct build_id_record *record)
{
	struct binary *binary = get_binary(record->file);

	binary->id_len = record->len;
	binary->id_unread = record->unread;
	memset(binary->build_id, 0, BUILD_ID_LEN);
	memcpy(binary->build_id, record->build_id, record->len);
}

bool files_are_wanted(void)
{
	return nr_wanted;
}

/* The process that was seen first may be gone, and with it its way to the file. */
void try_again(uint32_t file, uint32_t pid)
{
	struct binary *binary;

	if (!file)
		return;
	binary = get_binary(file);
	if (!binary->path || binary->fd >= 0 || binary->pid == pid || binary->tries >= HOLD_TRIES)
		return;
	binary->pid = pid;
	try_hold(binary);
}

bool build_id_was_read(uint32_t file)
{
	return get_binary(file)->id_len;
}

bool has_build_id(uint32_t file)
{
	return get_binary(file)->id_len || get_binary(file)->id_unread;
}

bool has_names(uint32_t file)
{
	return get_binary(file)->fd >= 0;
}
