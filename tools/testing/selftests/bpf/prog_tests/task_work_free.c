// SPDX-License-Identifier: GPL-2.0
/* A map is not freed while a callback sleeps in it. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_free.skel.h"

struct scene {
	struct task_work_free *skel;
	struct sleeper sleeper;
};

static void scene_close(struct scene *s)
{
	sleeper_close(&s->sleeper);
	task_work_free__destroy(s->skel);
}

static bool scene_open(struct scene *s, const char *who)
{
	bool open = sleeper_open(&s->sleeper, who);

	s->skel = task_work_free__open_and_load();
	if (!open || !ASSERT_OK_PTR(s->skel, "open and load") ||
	    !ASSERT_OK(task_work_free__attach(s->skel), "attach"))
		return false;
	s->skel->bss->user_ptr = s->sleeper.page.addr;
	return true;
}

static void free_others(struct scene *s)
{
	free_other_maps(&s->skel->bss->other_freed);
}

static void check_order(struct scene *s)
{
	ASSERT_EQ(s->skel->bss->watched_freed, 0, "freed while somebody sleeps");
	sleeper_wake(&s->sleeper);
	ASSERT_TRUE(wait_for(READ_ONCE(s->skel->bss->watched_freed)), "freed in the end");
	ASSERT_GT(s->skel->bss->watched_freed, s->skel->bss->ended, "freed after");
}

/* What may be asleep in a map with the field is waited for, whoever it is. */
static void test_two_phases(void)
{
	struct scene s;
	int fd;

	if (!scene_open(&s, __func__) || !sleeper_run(&s.sleeper, s.skel->progs.read_user))
		goto out;
	fd = create_like(bpf_map__fd(s.skel->maps.slots), WATCHED_NAME);
	if (!ASSERT_OK_FD(fd, "create a map with the field"))
		goto out;
	close(fd);
	/* Its worker does not wait for the sleeper: it could be taken for hung. */
	ASSERT_TRUE(wait_for(READ_ONCE(s.skel->bss->watched_cancelled)), "first phase");
	free_others(&s);
	check_order(&s);
out:
	scene_close(&s);
}

/* A callback has looked up an inner map. Its program may not sleep: that does not count. */
static void test_inner_map(void)
{
	struct scene s;
	__u32 zero = 0;
	int outer, fd;

	if (!scene_open(&s, __func__))
		goto out;
	outer = bpf_map__fd(s.skel->maps.outer);
	fd = create_like(bpf_map__fd(s.skel->maps.first_inner), WATCHED_NAME);
	if (!ASSERT_OK_FD(fd, "create an inner map"))
		goto out;
	ASSERT_OK(bpf_map_update_elem(outer, &zero, &fd, BPF_ANY), "put it in");
	close(fd);
	if (!sleeper_run(&s.sleeper, s.skel->progs.schedule_reader))
		goto out;
	/* Without it the grace period might end, and might not do so while we look. */
	ASSERT_GT(s.skel->bss->callback_sections, 0, "Tasks Trace sections of the callback");
	ASSERT_OK(bpf_map_delete_elem(outer, &zero), "take it out");
	free_others(&s);
	check_order(&s);
out:
	scene_close(&s);
}

void serial_test_task_work_free(void)
{
	if (test__start_subtest("two_phases"))
		test_two_phases();
	if (test__start_subtest("inner_map"))
		test_inner_map();
}
