// SPDX-License-Identifier: GPL-2.0
/* Whoever has found a workqueue may start it after the delete: nothing comes of that. */
#define _GNU_SOURCE
#include "async_helpers.h"
#include "wq_delete.skel.h"

static int delete_elem(struct wq_delete *skel)
{
	__u32 key = 1;

	return bpf_map_delete_elem(bpf_map__fd(skel->maps.elems), &key);
}

static void check_freed(struct wq_delete *skel)
{
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->freed)), "freed in the end");
	ASSERT_EQ(skel->bss->freed, 1, "freed once");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
}

/* It was cancelled before it is queued. */
static void test_before_queued(struct wq_delete *skel)
{
	struct target starter = {};

	if (!have_two_cpus(__func__))
		return;
	if (!ASSERT_OK(target_start_apart(&starter), "thread on a CPU of its own"))
		return;
	skel->data->starter_tid = starter.tid;
	starter.prog_fd = bpf_program__fd(skel->progs.start);
	ASSERT_OK(target_tell(&starter, TARGET_RUN), "run");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->entered)), "held before it queues");
	ASSERT_OK(delete_elem(skel), "delete");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->deleted)), "cancelled");
	WRITE_ONCE(skel->bss->may_go_on, 1);
	ASSERT_TRUE(target_obeyed(&starter), "starter ends");
	ASSERT_OK(starter.prog_ret, "start");
	ASSERT_EQ(skel->data->queued, 0, "queued");
	check_freed(skel);
	target_stop(&starter);
}

/* A program that may sleep holds nothing but Tasks Trace. */
static void test_before_started(struct wq_delete *skel)
{
	struct sleeper sleeper;

	if (!sleeper_open(&sleeper, __func__))
		goto out;
	skel->bss->user_ptr = sleeper.page.addr;
	if (!sleeper_run(&sleeper, skel->progs.sleep_and_start))
		goto out;
	ASSERT_OK(delete_elem(skel), "delete");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->deleted)), "cancelled");
	/* By then whoever waits for RCU alone has done so. */
	kern_sync_rcu();
	kern_sync_rcu();
	ASSERT_EQ(skel->bss->freed, 0, "freed while a program may have it");
	sleeper_wake(&sleeper);
	ASSERT_EQ(skel->bss->ret_start, -EINVAL, "start what is deleted");
	check_freed(skel);
out:
	sleeper_close(&sleeper);
}

/*
 * A program may initialise one where a timer is being started. There to wait for Tasks
 * Trace is a deadlock, as that starts a timer, too.
 */
static void test_init_refused(struct wq_delete *skel)
{
	ASSERT_OK(run(skel, init_deleted), "run");
	ASSERT_EQ(skel->bss->ret_init, -ENOENT, "initialise what is deleted");
	ASSERT_EQ(skel->bss->waits_for_tasks_trace, 0, "waits for Tasks Trace");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->freed)), "freed in the end");
}

static const struct {
	const char *name;
	void (*test)(struct wq_delete *skel);
} cases[] = {
	{ "before_queued", test_before_queued },
	{ "before_started", test_before_started },
	{ "init_refused", test_init_refused },
};

void serial_test_wq_delete(void)
{
	struct wq_delete *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name) || !have_async(cases[i].name))
			continue;
		skel = wq_delete__open_and_load();
		if (!ASSERT_OK_PTR(skel, "open and load"))
			return;
		if (ASSERT_OK(wq_delete__attach(skel), "attach"))
			cases[i].test(skel);
		wq_delete__destroy(skel);
	}
}
