// SPDX-License-Identifier: GPL-2.0
/* Values that hold the field beside others, and callbacks that schedule more. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_slot.skel.h"

struct mixed {
	__u32 first;
	struct bpf_spin_lock lock;
	struct bpf_timer timer;
	__u64 second;
	struct bpf_task_work tw;
	__u64 third;
	struct bpf_wq wq;
	__u64 fourth;
	__u64 task;
	__u64 fifth;
};

#define DATA { .first = 1, .second = 20, .third = 300, .fourth = 4000, .fifth = 50000 }
#define SUM 54321

static int update_mixed(int map_fd, __u64 flags)
{
	struct mixed value = DATA;
	__u32 key = 0;

	return bpf_map_update_elem(map_fd, &key, &value, flags);
}

/* The data is copied around the fields, and the fields read as zeros. */
static void check_mixed(struct task_work_slot *skel, int map_fd)
{
	struct mixed value = {}, expected = DATA;
	__u32 key = 0;

	ASSERT_EQ(skel->bss->ran, 1, "callbacks");
	ASSERT_EQ(skel->bss->sum, SUM, "data in the callback");
	ASSERT_OK(bpf_map_lookup_elem(map_fd, &key, &value), "lookup");
	/* All but the address of a task, which user space is shown for a kptr. */
	value.task = 0;
	ASSERT_OK(memcmp(&value, &expected, sizeof(value)), "data in user space");
}

static void test_mixed_hash(struct task_work_slot *skel)
{
	int map_fd = bpf_map__fd(skel->maps.mixed_hash);
	__u32 key = 0;

	ASSERT_OK(update_mixed(map_fd, BPF_ANY), "insert");
	ASSERT_OK(run(skel, schedule_mixed_hash), "schedule");
	check_mixed(skel, map_fd);
	ASSERT_OK(bpf_map_delete_elem(map_fd, &key), "delete");
}

static void test_mixed_array(struct task_work_slot *skel)
{
	int map_fd = bpf_map__fd(skel->maps.mixed_array);

	ASSERT_OK(update_mixed(map_fd, BPF_ANY), "update");
	ASSERT_OK(run(skel, schedule_mixed_array), "schedule");
	check_mixed(skel, map_fd);
	ASSERT_OK(update_mixed(map_fd, BPF_ANY), "update");
}

/* It writes to the element in place: that is the same one, and so is its work. */
static void test_update_locked(struct task_work_slot *skel)
{
	int map_fd = bpf_map__fd(skel->maps.mixed_hash);
	struct target target;

	ASSERT_OK(update_mixed(map_fd, BPF_ANY), "insert");
	if (!ASSERT_OK(target_start(&target), "thread"))
		return;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	ASSERT_OK(run(skel, schedule_mixed_on_target), "schedule");
	ASSERT_OK(update_mixed(map_fd, BPF_F_LOCK), "update under the lock");
	ASSERT_EQ(run(skel, schedule_mixed_on_target), -EBUSY, "work is still pending");
	ASSERT_OK(target_tell(&target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(&target), "thread has returned");
	ASSERT_EQ(skel->bss->ran, 1, "callbacks");
	target_stop(&target);
}

static void test_chain(struct task_work_slot *skel)
{
	int links = bpf_map__max_entries(skel->maps.chain);

	ASSERT_OK(run(skel, schedule_chain), "schedule");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) == links), "each link");
	ASSERT_OK(skel->bss->err_in_callback, "schedule in callbacks");
}

static const struct {
	const char *name;
	void (*test)(struct task_work_slot *skel);
} cases[] = {
	{ "mixed_hash", test_mixed_hash },
	{ "mixed_array", test_mixed_array },
	{ "update_locked", test_update_locked },
	{ "chain", test_chain },
};

void test_task_work_slot(void)
{
	struct task_work_slot *skel = task_work_slot__open_and_load();
	unsigned int i;

	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		memset(skel->bss, 0, sizeof(*skel->bss));
		cases[i].test(skel);
	}
	task_work_slot__destroy(skel);
}
