// SPDX-License-Identifier: GPL-2.0
/* Paths of cgroups. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prof.h"

struct cgroup {
	uint64_t id;
	char *path;
};

static void *cgroups;

static int compare_cgroups(const void *a, const void *b)
{
	const struct cgroup *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* A cgroup's number is a handle of its directory. */
static char *find_cgroup(uint64_t id)
{
	struct {
		struct file_handle head;
		uint64_t id;
	} handle = {
		.head = { .handle_bytes = sizeof(id), .handle_type = 0xfe },
		.id = id,
	};
	char link[64], path[PATH_MAX];
	ssize_t len = -1;
	int mount, fd;

	mount = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = open_by_handle_at(mount, &handle.head, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, path, sizeof(path) - 1);
		close(fd);
	}
	if (mount >= 0)
		close(mount);
	return len > 0 ? must(strndup(path, len)) : NULL;
}

/* It may be gone soon, so ask when it is first seen. */
const char *cgroup_path(uint64_t id)
{
	struct cgroup key = { .id = id }, *cgroup, **known;

	known = tfind(&key, &cgroups, compare_cgroups);
	if (known)
		return (*known)->path;
	cgroup = must(malloc(sizeof(*cgroup)));
	cgroup->id = id;
	cgroup->path = find_cgroup(id);
	must(tsearch(cgroup, &cgroups, compare_cgroups));
	return cgroup->path;
}
