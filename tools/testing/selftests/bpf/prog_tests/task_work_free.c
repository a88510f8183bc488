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

/* Other maps that nobody uses come and go: a map that waits for nobody has gone by then. */
static void free_others(struct scene *s)
{
	int i, fd;

	for (i = 1; i <= 3; i++) {
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, OTHER_NAME, 4, 8, 1, NULL);
		if (!ASSERT_OK_FD(fd, "create another map"))
			return;
		close(fd);
		kern_sync_rcu();
		ASSERT_TRUE(wait_for(READ_ONCE(s->skel->bss->other_freed) == i), "it is freed");
	}
}

static void check_order(struct scene *s)
{
	ASSERT_EQ(s->skel->bss->watched_freed, 0, "freed while somebody sleeps");
	sleeper_wake(&s->sleeper);
	ASSERT_TRUE(wait_for(READ_ONCE(s->skel->bss->watched_freed)), "freed in the end");
	ASSERT_GT(s->skel->bss->watched_freed, s->skel->bss->callback_ended, "freed after");
}

/* A map like that one, which is in no program and in no other map. */
static int create_like(int map_fd, const char *name)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int fd;

	if (bpf_map_get_info_by_fd(map_fd, &info, &len))
		return -errno;
	opts.btf_fd = bpf_btf_get_fd_by_id(info.btf_id);
	opts.btf_key_type_id = info.btf_key_type_id;
	opts.btf_value_type_id = info.btf_value_type_id;
	fd = bpf_map_create(info.type, name, info.key_size, info.value_size, info.max_entries,
			    &opts);
	close(opts.btf_fd);
	return fd;
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
