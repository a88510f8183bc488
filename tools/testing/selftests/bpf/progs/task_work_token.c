// SPDX-License-Identifier: GPL-2.0
/* Loaded through a BPF token, and without one. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

/* set by the test */
int target_tid;
long syscall_nr;
const void *user_ptr;

/* read by the test */
int ran;
int ran_in;
int schedule_ret;

char text[8];

/* That it may read is the token's CAP_PERFMON. */
static int callback(struct bpf_map *map, void *key, void *value)
{
	bpf_copy_from_user_str(text, sizeof(text), user_ptr, 0);
	ran_in = current_tid();
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

SEC("syscall")
int signal_target(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	__u32 zero = 0;
	struct elem *elem;
	int err = -ENOENT;

	if (!task)
		return -ESRCH;
	elem = bpf_map_lookup_elem(&map, &zero);
	if (elem)
		err = bpf_task_work_schedule_signal(task, &elem->tw, &map, callback);
	bpf_task_release(task);
	return err;
}

SEC("raw_tp/sys_enter")
int schedule_in_syscall(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 zero = 0;
	struct elem *elem;

	if (current_tid() != target_tid || ctx->args[1] != syscall_nr)
		return 0;
	elem = bpf_map_lookup_elem(&map, &zero);
	if (elem)
		schedule_ret = bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw,
							     &map, callback);
	return 0;
}

static int writes_user(struct bpf_map *map, void *key, void *value)
{
	return bpf_probe_write_user((void *)user_ptr, text, 0);
}

SEC("?syscall")
int callback_writes_user(void *ctx)
{
	__u32 zero = 0;
	struct elem *elem = bpf_map_lookup_elem(&map, &zero);

	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &map,
					     writes_user);
}
