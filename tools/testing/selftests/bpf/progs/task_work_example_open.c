// SPDX-License-Identifier: GPL-2.0
/* The second program of task_work.rst: the names of files that threads open. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include "task_work_example_open.h"

int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw,
				  void *map, bpf_task_work_callback_t cb) __ksym;
int bpf_copy_from_user_str(void *dst, __u32 size, const void *user_ptr, __u64 flags) __ksym;
char _license[] SEC("license") = "GPL";
__u64 lost;

struct call {
	struct bpf_task_work tw;
	const char *name;	/* in the memory of the thread that calls */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} names SEC(".maps");

static int read_late(struct bpf_map *map, void *key, void *value)	/* may sleep */
{
	struct opened opened = { .tid = *(__u32 *)key, .late = true };
	struct call *call = value;

	opened.len = bpf_copy_from_user_str(opened.name, sizeof(opened.name), call->name, 0);
	if (bpf_ringbuf_output(&names, &opened, sizeof(opened), 0))
		__sync_fetch_and_add(&lost, 1);
	bpf_map_delete_elem(&calls, key);
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")	/* may not sleep */
int read_at_once(struct trace_event_raw_sys_enter *ctx)
{
	struct call new_call = { .name = (const char *)ctx->args[1] }, *call;
	struct opened opened = { .tid = bpf_get_current_pid_tgid() };
	struct task_struct *task = bpf_get_current_task_btf();

	opened.len = bpf_probe_read_user_str(opened.name, sizeof(opened.name), new_call.name);
	if (opened.len < 0) {
		bpf_map_update_elem(&calls, &opened.tid, &new_call, BPF_ANY);
		call = bpf_map_lookup_elem(&calls, &opened.tid);
		if (call && !bpf_task_work_schedule_resume(task, &call->tw, &calls, read_late))
			return 0;	/* the callback is going to report */
		bpf_map_delete_elem(&calls, &opened.tid);
	}
	if (bpf_ringbuf_output(&names, &opened, sizeof(opened), 0))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}
