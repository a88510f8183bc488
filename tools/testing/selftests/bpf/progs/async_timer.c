// SPDX-License-Identifier: GPL-2.0
/*
 * Timers: their callbacks may not sleep, whatever their program may, so the checks of
 * callbacks that may are not for them, while their own stay. Apart from the rest, as
 * PREEMPT_RT of 6.12 refuses them all.
 */
#include "async_common.h"
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

struct both_elem {
	struct bpf_timer timer;
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct both_elem);
} both_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} storage SEC(".maps");

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
char buffer[8];
const void *user_ptr;

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

/* Its program may sleep, and it may not. */
static int timer_sleeps(void *map, int *key, void *value)
{
	bpf_copy_from_user(buffer, sizeof(buffer), user_ptr);
	return 0;
}

SEC("syscall")
__failure __msg("helper call might sleep in a non-sleepable prog")
int callback_of_timer_may_not_call_sleepable_helper(void *ctx)
{
	struct timer_elem *elem = lookup(timer_map);

	bpf_copy_from_user(buffer, sizeof(buffer), user_ptr);
	return elem ? bpf_timer_set_callback(&elem->timer, timer_sleeps) : 0;
}

static int callback_copies(void *map, int *key, void *value)
{
	bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0);
	return 0;
}

SEC("syscall")
__failure __msg("program must be sleepable to call sleepable kfunc bpf_copy_from_user_str")
int callback_of_timer_may_not_call_sleepable_kfunc(void *ctx)
{
	struct timer_elem *elem = lookup(timer_map);

	return elem ? bpf_timer_set_callback(&elem->timer, callback_copies) : 0;
}

/* One function for a timer and for a workqueue, where it may sleep: in both orders. */
SEC("tc")
__failure __msg("program must be sleepable to call sleepable kfunc bpf_copy_from_user_str")
int callback_of_timer_and_wq(void *ctx)
{
	struct both_elem *elem = lookup(both_map);

	if (!elem)
		return 0;
	bpf_timer_set_callback(&elem->timer, callback_copies);
	bpf_wq_set_callback(&elem->wq, callback_copies, 0);
	return 0;
}

SEC("tc")
__failure __msg("program must be sleepable to call sleepable kfunc bpf_copy_from_user_str")
int callback_of_wq_and_timer(void *ctx)
{
	struct both_elem *elem = lookup(both_map);

	if (!elem)
		return 0;
	bpf_wq_set_callback(&elem->wq, callback_copies, 0);
	bpf_timer_set_callback(&elem->timer, callback_copies);
	return 0;
}

/* The verifier adds how to allocate: 0x820 is GFP_ATOMIC, and GFP_KERNEL would sleep. */
static int timer_gets_storage(void *map, int *key, void *value)
{
	bpf_task_storage_get(&storage, bpf_get_current_task_btf(), NULL,
			     BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

SEC("syscall")
__success
__xlated("r5 = 2080")
int callback_of_timer_allocates_without_sleeping(void *ctx)
{
	struct timer_elem *elem = lookup(timer_map);

	return elem ? bpf_timer_set_callback(&elem->timer, timer_gets_storage) : 0;
}
