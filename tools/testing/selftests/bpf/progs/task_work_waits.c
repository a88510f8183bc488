// SPDX-License-Identifier: GPL-2.0
/* Elements that move while the walk of the last user reference goes on. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

/* What the test accepts is far less. */
#define MAX_MOVES 100

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

/* Many buckets: another key is in another one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct elem);
} wide SEC(".maps");

/* set by the test */
int target_tid;
int walker_tid;

/* read by the test */
int moves;
int ran;

static long update(__u32 key)
{
	/* Not a struct elem: the stack must not hold the field. */
	char value[sizeof(struct elem)] = {};

	return bpf_map_update_elem(&wide, &key, &value, BPF_ANY);
}

static int count(struct bpf_map *map, void *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

SEC("syscall")
int schedule_in_wide(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	__u32 zero = 0;
	struct elem *elem;
	int err = -ENOENT;

	if (!task)
		return -ESRCH;
	elem = bpf_map_lookup_elem(&wide, &zero);
	if (elem)
		err = bpf_task_work_schedule_resume(task, &elem->tw, &wide, count);
	bpf_task_release(task);
	return err;
}

/*
 * The walk of the last user reference has come to the element of key 0. That gets another
 * key, and so another bucket; and there is one of key 0 again.
 */
SEC("fentry/bpf_task_work_cancel_and_free")
int BPF_PROG(move_elem, void *val)
{
	__u32 zero = 0;

	if (current_tid() != walker_tid || moves == MAX_MOVES ||
	    bpf_map_lookup_elem(&wide, &zero) != val || bpf_map_delete_elem(&wide, &zero))
		return 0;
	moves++;
	update(moves);
	update(0);
	return 0;
}
