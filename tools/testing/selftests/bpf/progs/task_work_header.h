/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The programs of task_work_header, which must compile with types from anywhere, with or
 * without bpf_task_work.h, and as C++. Without the header SCHEDULE_SIGNAL() and
 * SCHEDULE_RESUME() say how to schedule.
 */
#ifndef _TASK_WORK_HEADER_H
#define _TASK_WORK_HEADER_H

struct header_elem {
	__u64 user_ptr;
	struct bpf_task_work tw;
	char text[16];
	__u64 armed;	/* 64 bits: a swap of 32 needs alu32 */
	__s32 ret;	/* of the schedule */
	__s32 copied;	/* by the callback */
	__u32 tid;	/* of the callback */
	__u32 ran;
};

#ifdef __bpf__
#ifndef SCHEDULE_SIGNAL
#define SCHEDULE_SIGNAL bpf_task_work_schedule_signal
#define SCHEDULE_RESUME bpf_task_work_schedule_resume
#endif

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct header_elem);
} elems SEC(".maps");

static int callback(struct bpf_map *map, void *key, void *value)
{
	struct header_elem *elem = (struct header_elem *)value;

	elem->copied = bpf_copy_from_user(elem->text, sizeof(elem->text), (void *)elem->user_ptr);
	elem->tid = bpf_get_current_pid_tgid();
	__sync_fetch_and_add(&elem->ran, 1);
	return 0;
}

/* The one element, once. */
static struct header_elem *armed_elem(void)
{
	struct header_elem *elem;
	__u32 key = 0;

	elem = (struct header_elem *)bpf_map_lookup_elem(&elems, &key);
	if (!elem || __sync_val_compare_and_swap(&elem->armed, 1, 0) != 1)
		return (struct header_elem *)0;
	return elem;
}

SEC("syscall")
int by_signal(void *ctx)
{
	struct header_elem *elem = armed_elem();

	if (elem)
		elem->ret = SCHEDULE_SIGNAL(bpf_get_current_task_btf(), &elem->tw, &elems,
					    callback);
	return 0;
}

static __always_inline int resume(void)
{
	struct header_elem *elem = armed_elem();

	if (elem)
		elem->ret = SCHEDULE_RESUME(bpf_get_current_task_btf(), &elem->tw, &elems,
					    callback);
	return 0;
}

SEC("syscall")
int by_resume(void *ctx)
{
	return resume();
}

SEC("perf_event")
int by_sample(void *ctx)
{
	return resume();
}

#ifdef __BPF_TASK_WORK_H__
SEC("syscall")
int by_name(void *ctx)
{
	return bpf_task_work_supported();
}
#endif
#endif /* __bpf__ */
#endif
