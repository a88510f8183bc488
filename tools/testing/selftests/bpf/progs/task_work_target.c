// SPDX-License-Identifier: GPL-2.0
/* What work does to the task that it is scheduled on, and finds there. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

/* set by the test */
__u32 key;
int mode;
int target_tid;
long syscall_nr;
const void *user_ptr;

/* read by the test */
int ran;
int ran_in;
__u64 uid_gid;
__u32 key_before;
__u32 key_after;
int ret_last;

static int look_around(struct bpf_map *map, void *key, void *value)
{
	uid_gid = bpf_get_current_uid_gid();
	ran_in = current_tid();
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static int schedule(struct task_struct *task, bpf_task_work_callback_t callback)
{
	struct elem *elem = bpf_map_lookup_elem(&map, &key);

	if (!elem)
		return -ENOENT;
	if (mode == MODE_SIGNAL)
		return bpf_task_work_schedule_signal(task, &elem->tw, &map, callback);
	return bpf_task_work_schedule_resume(task, &elem->tw, &map, callback);
}

SEC("syscall")
int schedule_target(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int err;

	if (!task)
		return -ESRCH;
	err = schedule(task, look_around);
	bpf_task_release(task);
	return err;
}

static int sleep_between(struct bpf_map *map, void *key, void *value)
{
	char text[8];

	key_before = *(__u32 *)key;
	bpf_copy_from_user(text, sizeof(text), user_ptr);
	key_after = *(__u32 *)key;
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

SEC("syscall")
int schedule_sleeper(void *ctx)
{
	return schedule(bpf_get_current_task_btf(), sleep_between);
}

/* The thread shares the page with the test. */
SEC("syscall")
int schedule_sleep_in_target(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int err;

	if (!task)
		return -ESRCH;
	err = schedule(task, sleep_between);
	bpf_task_release(task);
	return err;
}

/* On its way into the system call, each time. */
SEC("tp_btf/sys_enter")
int BPF_PROG(signal_in_syscall, struct pt_regs *regs, long nr)
{
	if (nr == syscall_nr && current_tid() == target_tid)
		ret_last = schedule(bpf_get_current_task_btf(), look_around);
	return 0;
}
