// SPDX-License-Identifier: GPL-2.0
/*
 * Timers: their callbacks may not sleep, so the checks of callbacks that may are not for
 * them, while their own stay. Apart from the rest, as PREEMPT_RT of 6.12 refuses them all.
 */
#include "task_work_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct task_struct __kptr * task;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

struct timer_elem {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timer_map SEC(".maps");

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

struct prefix {
	__u32 len;
	__u32 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct prefix);
	__type(value, __u64);
} trie SEC(".maps");

__u32 zero;

#define lookup(map) bpf_map_lookup_elem(&(map), &zero)

/* The pointer is good as long as RCU protects it. */
__noinline int pin_task(int unused)
{
	struct elem *elem = lookup(map);
	struct task_struct *task;

	task = elem ? elem->task : NULL;
	task = task ? bpf_task_acquire(task) : NULL;
	if (task)
		bpf_task_release(task);
	return unused;
}

static int timer_pins(void *map, int *key, void *value)
{
	pin_task(0);
	return 0;
}

SEC("tc")
__success
int callback_of_timer_pins(void *ctx)
{
	struct timer_elem *elem = lookup(timer_map);

	return elem ? bpf_timer_set_callback(&elem->timer, timer_pins) : 0;
}

__noinline int look_up_prefix(int len)
{
	struct prefix prefix = { .len = len };

	return !!bpf_map_lookup_elem(&trie, &prefix);
}

static int timer_looks_up_prefix(void *map, int *key, void *value)
{
	look_up_prefix(1);
	return 0;
}

SEC("tc")
__success
int callback_of_timer_looks_up_prefix(void *ctx)
{
	struct timer_elem *elem = lookup(timer_map);

	return elem ? bpf_timer_set_callback(&elem->timer, timer_looks_up_prefix) : 0;
}

/* A callback of task work may return any number. */
static int timer_callback_returns_one(void *map, int *key, struct timer_elem *value)
{
	return 1;
}

SEC("tc")
__failure
__msg("At async callback return the register R0 has smin=1 smax=1 should have been in [0, 0]")
int timer_callback_returns_zero(void *ctx)
{
	struct timer_elem *elem = lookup(timer_map);

	if (elem)
		bpf_timer_set_callback(&elem->timer, timer_callback_returns_one);
	return 0;
}

/* One function for a timer, which has to return 0, and for task work: in both orders. */
static int callback_of_two_masters(struct bpf_map *map, void *key, void *value)
{
	return 1;
}

static __always_inline void set_timer(struct async_elem *elem)
{
	bpf_timer_set_callback(&elem->timer, callback_of_two_masters);
}

static __always_inline void schedule_async(struct async_elem *elem)
{
	bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &async_map,
				      callback_of_two_masters);
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
