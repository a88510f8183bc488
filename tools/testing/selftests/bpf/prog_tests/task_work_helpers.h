/* SPDX-License-Identifier: GPL-2.0 */
/* Tools of the task work tests: elements of maps, and the contexts that they have. */
#ifndef _TASK_WORK_HELPERS_H
#define _TASK_WORK_HELPERS_H

#include <glob.h>
#include <test_progs.h>
#include "async_helpers.h"
#include "progs/task_work_elem.h"

/* The id of an element is in its key; its value begins with a multiple of this. */
#define ELEM_COOKIE 1000003ULL

static inline void elem_key(__u32 id, struct task_work_key *key)
{
	*key = (struct task_work_key){ id, 2 * id, ~id };
}

static inline int elem_update(int map_fd, __u32 id)
{
	struct task_work_elem value = { .cookie = id * ELEM_COOKIE };
	struct task_work_key key;

	/* The field itself is the kernel's: what is given here is ignored. */
	memset(&value.tw, 0xff, sizeof(value.tw));
	elem_key(id, &key);
	return bpf_map_update_elem(map_fd, &key, &value, BPF_ANY);
}

static inline int elem_lookup(int map_fd, __u32 id, struct task_work_elem *value)
{
	struct task_work_key key;

	elem_key(id, &key);
	return bpf_map_lookup_elem(map_fd, &key, value);
}

static inline int elem_delete(int map_fd, __u32 id)
{
	struct task_work_key key;

	elem_key(id, &key);
	return bpf_map_delete_elem(map_fd, &key);
}

/* How often the program did not run, as it was running on that CPU already. */
static inline __u64 misses(struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	/* To know of none is strict. */
	if (bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		return 0;
	return info.recursion_misses;
}

/* KASAN keeps what is freed, and it counts as in use, until its cache is asked to shrink. */
static inline void shrink_context_caches(void)
{
	glob_t caches;
	size_t i;

	if (glob("/sys/kernel/slab/kmalloc-*96/shrink", 0, NULL, &caches))
		return;
	for (i = 0; i < caches.gl_pathc; i++)
		write_sysctl(caches.gl_pathv[i], "1");
	globfree(&caches);
}

/* Objects in use of the size that contexts have, whoever uses them, or an error. */
static inline long context_objects(void)
{
	FILE *f = fopen("/proc/slabinfo", "r");
	char line[512], name[64];
	long active, total = 0;

	if (!f)
		return -errno;
	shrink_context_caches();
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", name, &active) == 2 &&
		    !strncmp(name, "kmalloc-", 8) && !strcmp(strrchr(name, '-'), "-96"))
			total += active;
	fclose(f);
	return total;
}

/* By enum task_work_map, and by enum task_work_mode. */
static const char * const map_names[] = { "hash", "hash_malloc", "lru_hash", "array", "inner" };
static const char * const mode_names[] = { "signal", "resume" };

/* All that was scheduled up to now; a release that @count_released missed counts as one. */
static inline bool all_released(const struct task_work_accounting *a,
				struct bpf_program *count_released)
{
	return wait_for(READ_ONCE(a->released_after_run) + READ_ONCE(a->cancelled) +
			misses(count_released) >= READ_ONCE(a->scheduled));
}

/* A release that was missed may be that of a work that ran or of one that was cancelled. */
static inline void check_accounting(const struct task_work_accounting *a,
				    struct bpf_program *count_released)
{
	__u64 missed = misses(count_released);

	ASSERT_LE(a->ran + a->cancelled, a->scheduled, "ran and cancelled, of scheduled");
	ASSERT_LE(a->scheduled - a->ran - a->cancelled, missed, "neither ran nor cancelled");
	ASSERT_LE(a->released_after_run, a->ran, "released after a run, of ran");
	ASSERT_LE(a->ran - a->released_after_run, missed, "ran, less released after that");
	ASSERT_EQ(a->released_in_nmi, 0, "references dropped in an NMI");
}

#endif
