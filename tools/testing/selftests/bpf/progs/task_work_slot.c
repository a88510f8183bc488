// SPDX-License-Identifier: GPL-2.0
/* Values that hold the field beside others, and callbacks that schedule more. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

#define NR_LINKS 8

struct chain_link {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_LINKS);
	__type(key, __u32);
	__type(value, struct chain_link);
} chain SEC(".maps");

/* Every field that may stand beside it, and data in between. */
struct mixed {
	__u32 first;
	struct bpf_spin_lock lock;
	struct bpf_timer timer;
	__u64 second;
	struct bpf_task_work tw;
	__u64 third;
	struct bpf_wq wq;
	__u64 fourth;
	struct task_struct __kptr * task;
	__u64 fifth;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct mixed);
} mixed_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mixed);
} mixed_array SEC(".maps");

/* set by the test */
__u32 key;
int target_tid;

/* read by the test */
int ran;
int err_in_callback;
__u64 sum;

static int add_up(struct bpf_map *map, void *key, void *value)
{
	struct mixed *mixed = value;
	struct task_struct *task;

	bpf_spin_lock(&mixed->lock);
	sum = mixed->first + mixed->second + mixed->third + mixed->fourth + mixed->fifth;
	bpf_spin_unlock(&mixed->lock);
	/* The element owns what the callback leaves in it. */
	task = bpf_task_acquire(bpf_get_current_task_btf());
	if (task)
		task = bpf_kptr_xchg(&mixed->task, task);
	if (task)
		bpf_task_release(task);
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

SEC("syscall")
int schedule_mixed_hash(void *ctx)
{
	struct mixed *mixed = bpf_map_lookup_elem(&mixed_hash, &key);

	if (!mixed)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &mixed->tw, &mixed_hash,
					     add_up);
}

SEC("syscall")
int schedule_mixed_array(void *ctx)
{
	struct mixed *mixed = bpf_map_lookup_elem(&mixed_array, &key);

	if (!mixed)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &mixed->tw, &mixed_array,
					     add_up);
}

SEC("syscall")
int schedule_mixed_on_target(void *ctx)
{
	struct mixed *mixed = bpf_map_lookup_elem(&mixed_hash, &key);
	struct task_struct *task;
	int err;

	if (!mixed)
		return -ENOENT;
	task = bpf_task_from_pid(target_tid);
	if (!task)
		return -ESRCH;
	err = bpf_task_work_schedule_resume(task, &mixed->tw, &mixed_hash, add_up);
	bpf_task_release(task);
	return err;
}

/* Each callback but the last one schedules the next, in turn in both ways. */
static int next_link(struct bpf_map *map, void *key, void *value)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 next = *(__u32 *)key + 1;
	struct chain_link *link;
	int err;

	__sync_fetch_and_add(&ran, 1);
	link = bpf_map_lookup_elem(&chain, &next);
	if (!link)
		return 0;
	if (next % 2)
		err = bpf_task_work_schedule_signal(task, &link->tw, &chain, next_link);
	else
		err = bpf_task_work_schedule_resume(task, &link->tw, &chain, next_link);
	if (err)
		err_in_callback = err;
	return 0;
}

SEC("syscall")
int schedule_chain(void *ctx)
{
	__u32 first = 0;
	struct chain_link *link = bpf_map_lookup_elem(&chain, &first);

	if (!link)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &link->tw, &chain,
					     next_link);
}
