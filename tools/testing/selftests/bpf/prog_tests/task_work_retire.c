// SPDX-License-Identifier: GPL-2.0
/*
 * An element that was deleted takes no more work, for the programs that still hold it; the
 * next key that gets its memory does.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_retire.skel.h"

static struct bpf_map *map_of(struct task_work_retire *skel)
{
	struct bpf_map *maps[] = {
		skel->maps.hash, skel->maps.hash_malloc, skel->maps.lru_hash
	};

	return maps[skel->bss->map_kind];
}

static void check_refused(struct task_work_retire *skel)
{
	ASSERT_EQ(skel->bss->ret_task_work, -ENOENT, "schedule task work");
}

static void test_deleted(struct task_work_retire *skel)
{
	ASSERT_OK(run(skel, use_deleted), "use an element, delete it, use it, insert another");
	check_refused(skel);
	ASSERT_OK(skel->bss->ret_again, "schedule on the other");
	ASSERT_TRUE(skel->bss->same_memory, "the other has the memory of the first");
	ASSERT_EQ(skel->bss->ran, 1, "callbacks");
	ASSERT_EQ(skel->bss->key_of_callback, skel->bss->key_of_next, "key of the callback");
}

static void test_replaced(struct task_work_retire *skel)
{
	ASSERT_OK(run(skel, use_replaced), "replace an element, use the old one");
	check_refused(skel);
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
}

static int delete_elem(struct task_work_retire *skel)
{
	__u32 key = 1;

	return bpf_map_delete_elem(bpf_map__fd(map_of(skel)), &key);
}

/* That makes a deleted element no better. */
static int delete_and_drop_user_reference(struct task_work_retire *skel)
{
	return delete_elem(skel) ?: renew_user_reference(bpf_map__fd(map_of(skel)));
}

static void test_after_sleep(struct task_work_retire *skel,
			     int (*meanwhile)(struct task_work_retire *skel))
{
	struct sleeper sleeper;

	if (!sleeper_open(&sleeper, __func__))
		goto out;
	skel->bss->user_ptr = sleeper.page.addr;
	sleeper_run(&sleeper, skel->progs.use_after_sleep);
	ASSERT_OK(meanwhile(skel), "meanwhile");
	sleeper_wake(&sleeper);
	check_refused(skel);
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
out:
	sleeper_close(&sleeper);
}

static void test_deleted_by_user(struct task_work_retire *skel)
{
	test_after_sleep(skel, delete_elem);
}

static void test_deleted_before_last_user_reference(struct task_work_retire *skel)
{
	test_after_sleep(skel, delete_and_drop_user_reference);
}

static const struct {
	const char *name;
	void (*test)(struct task_work_retire *skel);
} cases[] = {
	{ "deleted", test_deleted },
	{ "replaced", test_replaced },
	{ "deleted_by_user", test_deleted_by_user },
	{ "deleted_before_last_user_reference", test_deleted_before_last_user_reference },
};

static void run_case(int i, enum deleted_kind kind)
{
	struct task_work_retire *skel;
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", cases[i].name, kind_names[kind]);
	if (!test__start_subtest(name))
		return;
	skel = task_work_retire__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	skel->bss->map_kind = kind;
	/* What is freed on a CPU is handed out there first. */
	ASSERT_OK(pin_to_cpu(pthread_self(), nth_cpu(0)), "pin");
	cases[i].test(skel);
	task_work_retire__destroy(skel);
}

void serial_test_task_work_retire(void)
{
	enum deleted_kind kind;
	cpu_set_t before;
	unsigned int i;

	if (!ASSERT_OK(sched_getaffinity(0, sizeof(before), &before), "affinity"))
		return;
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		for (kind = 0; kind < NR_KINDS; kind++)
			run_case(i, kind);
	sched_setaffinity(0, sizeof(before), &before);
}
