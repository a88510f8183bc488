// SPDX-License-Identifier: GPL-2.0
/* How long the walk of the last user reference keeps a map. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_waits.skel.h"

static int insert_zero(struct bpf_map *map)
{
	char value[16] = {};
	int zero = 0;

	return bpf_map_update_elem(bpf_map__fd(map), &zero, &value, BPF_ANY);
}

/* To move the element that the walk has come to, over and over, does not keep the walk. */
static void test_walk_ends(struct task_work_waits *skel)
{
	struct target target = {};

	skel->links.move_elem = bpf_program__attach(skel->progs.move_elem);
	if (!ASSERT_OK_PTR(skel->links.move_elem, "attach") ||
	    !ASSERT_OK(insert_zero(skel->maps.wide), "insert") ||
	    !ASSERT_OK(target_start(&target), "thread"))
		goto out;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	ASSERT_OK(run(skel, schedule_in_wide), "schedule");
	skel->bss->walker_tid = syscall(__NR_gettid);
	ASSERT_OK(drop_user_reference(bpf_map__fd(skel->maps.wide)), "last user reference");
	skel->bss->walker_tid = 0;
	ASSERT_EQ(skel->bss->moves, 1, "moved during the walk");
	ASSERT_OK(target_tell(&target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(&target), "thread has returned");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
out:
	target_stop(&target);
}

void serial_test_task_work_waits(void)
{
	struct task_work_waits *skel;

	if (!test__start_subtest("walk_ends"))
		return;
	skel = task_work_waits__open_and_load();
	if (ASSERT_OK_PTR(skel, "open and load"))
		test_walk_ends(skel);
	task_work_waits__destroy(skel);
}
