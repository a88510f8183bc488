// SPDX-License-Identifier: GPL-2.0
/*
 * Loaded with CAP_PERFMON, and without it: whoever has CAP_BPF may schedule a callback,
 * but it may not read the memory of the task that it runs in.
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

char text[8];
__u64 entries[8];
const void *user_ptr;

static int callback(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

static __always_inline int schedule_as(enum spelling spelling, bpf_task_work_callback_t callback)
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
__success
int signal(void *ctx)
{
	return schedule_as(SIGNAL, callback);
}

SEC("tc")
__success
int resume(void *ctx)
{
	return schedule_as(RESUME, callback);
}

SEC("tc")
__success
int signal_impl(void *ctx)
{
	return schedule_as(SIGNAL_IMPL, callback);
}

SEC("tc")
__success
int resume_impl(void *ctx)
{
	return schedule_as(RESUME_IMPL, callback);
}

/* Any program may call this kernel function, so networking programs, too. */
static int reads_string(struct bpf_map *map, void *key, void *value)
{
	return bpf_copy_from_user_str(text, sizeof(text), user_ptr, 0);
}

SEC("tc")
__failure __msg("calling bpf_copy_from_user_str in an async callback needs CAP_PERFMON")
int callback_may_not_copy_from_user_str(void *ctx)
{
	return schedule_as(RESUME, reads_string);
}

__noinline int read_string(int unused)
{
	return bpf_copy_from_user_str(text, sizeof(text), user_ptr, 0) + unused;
}

static int reads_by_subprogram(struct bpf_map *map, void *key, void *value)
{
	return read_string(0);
}

SEC("tc")
__failure __msg("calling bpf_copy_from_user_str in an async callback needs CAP_PERFMON")
int callback_may_not_read_by_subprogram(void *ctx)
{
	return schedule_as(RESUME, reads_by_subprogram);
}

/* The program itself reads the memory of the task that has it run, as ever. */
SEC("syscall")
__success
int program_may_read(void *ctx)
{
	read_string(0);
	return bpf_copy_from_user(text, sizeof(text), user_ptr);
}

/* The helpers that a syscall program has without CAP_PERFMON. */
#define CALLBACK_MAY_NOT(name, ...)						\
static int calls_##name(struct bpf_map *map, void *key, void *value)		\
{										\
	return bpf_##name(__VA_ARGS__);						\
}										\
										\
SEC("syscall")									\
__failure __msg("calling bpf_" #name " in an async callback needs CAP_PERFMON")	\
int callback_may_not_##name(void *ctx)						\
{										\
	return schedule_as(RESUME, calls_##name);				\
}

CALLBACK_MAY_NOT(copy_from_user, text, sizeof(text), user_ptr)
CALLBACK_MAY_NOT(copy_from_user_task, text, sizeof(text), user_ptr, bpf_get_current_task_btf(), 0)
CALLBACK_MAY_NOT(probe_read_user, text, sizeof(text), user_ptr)
CALLBACK_MAY_NOT(probe_read_user_str, text, sizeof(text), user_ptr)
CALLBACK_MAY_NOT(get_task_stack, bpf_get_current_task_btf(), entries, sizeof(entries),
		 BPF_F_USER_STACK)

static const char format[] = "%pus";

CALLBACK_MAY_NOT(snprintf, text, sizeof(text), format, entries, sizeof(__u64))
CALLBACK_MAY_NOT(trace_printk, format, sizeof(format), user_ptr)
CALLBACK_MAY_NOT(trace_vprintk, format, sizeof(format), entries, sizeof(__u64))
