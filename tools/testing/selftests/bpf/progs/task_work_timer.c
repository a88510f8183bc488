// SPDX-License-Identifier: GPL-2.0
/*
 * A timer beside task work. Apart from the rest, as PREEMPT_RT of 6.12 refuses timers.
 */
#include "task_work_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct async_elem {
	struct bpf_timer timer;
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct async_elem);
} async_map SEC(".maps");

__u32 zero;

#define lookup(map) bpf_map_lookup_elem(&(map), &zero)

/* One function for a timer, which has to return 0, and for task work: in both orders. */
static int callback_of_two(struct bpf_map *map, void *key, void *value)
{
	return 1;
}

static __always_inline void set_timer(struct async_elem *elem)
{
	bpf_timer_set_callback(&elem->timer, callback_of_two);
}

static __always_inline void schedule_async(struct async_elem *elem)
{
	bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &async_map,
				      callback_of_two);
}

SEC("tc")
__failure
__msg("At async callback return the register R0 has smin=1 smax=1 should have been in [0, 0]")
int callback_of_task_work_and_timer(void *ctx)
{
	struct async_elem *elem = lookup(async_map);

	if (!elem)
		return 0;
	schedule_async(elem);
	set_timer(elem);
	return 0;
}

SEC("tc")
__failure
__msg("At async callback return the register R0 has smin=1 smax=1 should have been in [0, 0]")
int callback_of_timer_and_task_work(void *ctx)
{
	struct async_elem *elem = lookup(async_map);

	if (!elem)
		return 0;
	set_timer(elem);
	schedule_async(elem);
	return 0;
}
