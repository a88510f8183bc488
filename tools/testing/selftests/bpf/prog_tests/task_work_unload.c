// SPDX-License-Identifier: GPL-2.0
/*
 * A callback that sleeps while the element that it was scheduled from is deleted has a
 * reference of its program, which keeps its symbol: see prog_unload.c.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_unload.skel.h"

#define CALLBACK "asleep_in_task_work"

static int insert(struct bpf_map *map)
{
	__u64 value = 0;
	__u32 key = 0;

	return bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_NOEXIST);
}

static int delete_first(struct bpf_map *map)
{
	__u32 key = 0;

	return bpf_map_delete_elem(bpf_map__fd(map), &key);
}

/* All other references go, the last one of this process, too. */
static void unload_asleep(struct task_work_unload *skel, struct sleeper *sleeper)
{
	__u32 id = prog_id(bpf_program__fd(skel->progs.schedule));

	ASSERT_TRUE(has_symbol(CALLBACK), "has a symbol");
	ASSERT_OK(delete_first(skel->maps.works), "delete");
	bpf_program__unload(skel->progs.schedule);
	wait_for_rcu();
	ASSERT_TRUE(has_symbol(CALLBACK), "has a symbol while it runs");
	ASSERT_EQ(READ_ONCE(skel->bss->ended), 0, "ended");
	sleeper_wake(sleeper);
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ended)), "ends");
	ASSERT_TRUE(prog_is_gone(id), "program is gone");
	ASSERT_TRUE(symbol_goes(CALLBACK), "symbol is gone");
}

static void test_work_deleted(struct task_work_unload *skel)
{
	struct sleeper sleeper;

	if (!sleeper_open(&sleeper, __func__))
		goto out;
	skel->bss->user_ptr = sleeper.page.addr;
	if (ASSERT_OK(insert(skel->maps.works), "insert") &&
	    sleeper_run(&sleeper, skel->progs.schedule))
		unload_asleep(skel, &sleeper);
out:
	sleeper_close(&sleeper);
}

void serial_test_task_work_unload(void)
{
	struct task_work_unload *skel;

	if (!test__start_subtest("work_deleted"))
		return;
	skel = task_work_unload__open_and_load();
	if (ASSERT_OK_PTR(skel, "open and load"))
		test_work_deleted(skel);
	task_work_unload__destroy(skel);
}
