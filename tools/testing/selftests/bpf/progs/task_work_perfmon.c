// SPDX-License-Identifier: GPL-2.0
/*
 * Loaded with CAP_PERFMON, and without it: a callback can read the memory of
 * any task that the program can name.
 */
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

enum spelling {
	SIGNAL,
	RESUME,
	SIGNAL_IMPL,
	RESUME_IMPL,
};

static int callback(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

static __always_inline int schedule(enum spelling spelling)
{
	struct task_struct *task = bpf_task_from_pid(1);
	__u32 zero = 0;
	struct elem *elem = bpf_map_lookup_elem(&map, &zero);

	if (!task)
		return 0;
	if (elem && spelling == SIGNAL)
		bpf_task_work_schedule_signal(task, &elem->tw, &map, callback);
	if (elem && spelling == RESUME)
		bpf_task_work_schedule_resume(task, &elem->tw, &map, callback);
	if (elem && spelling == SIGNAL_IMPL)
		bpf_task_work_schedule_signal_impl(task, &elem->tw, &map, callback, NULL);
	if (elem && spelling == RESUME_IMPL)
		bpf_task_work_schedule_resume_impl(task, &elem->tw, &map, callback, NULL);
	bpf_task_release(task);
	return 0;
}

SEC("tc")
__failure
__msg("calling bpf_task_work_schedule_signal needs CAP_PERFMON")
__msg(": its callback can read the memory of a task")
int signal(void *ctx)
{
	return schedule(SIGNAL);
}

SEC("tc")
__failure
__msg("calling bpf_task_work_schedule_resume needs CAP_PERFMON")
__msg(": its callback can read the memory of a task")
int resume(void *ctx)
{
	return schedule(RESUME);
}

SEC("tc")
__failure
__msg("calling bpf_task_work_schedule_signal_impl needs CAP_PERFMON")
__msg(": its callback can read the memory of a task")
int signal_impl(void *ctx)
{
	return schedule(SIGNAL_IMPL);
}

SEC("tc")
__failure
__msg("calling bpf_task_work_schedule_resume_impl needs CAP_PERFMON")
__msg(": its callback can read the memory of a task")
int resume_impl(void *ctx)
{
	return schedule(RESUME_IMPL);
}
