// SPDX-License-Identifier: GPL-2.0
/* What runs while the last reference of its program goes. */
#include "async_common.h"
#include "bpf_experimental.h"
#include "async_hold.h"

char _license[] SEC("license") = "GPL";

struct wq_elem {
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wq_elem);
} wqs SEC(".maps");

struct timer_elem {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} callees SEC(".maps");

/* set by the test */
int sleeper_tid = -1;
const void *user_ptr;

/* read by the test */
int ended;

static __u32 zero;

#define lookup(map) bpf_map_lookup_elem(&(map), &zero)

static void hold(void)
{
	wait_for_test();
	ended = 1;
}

static void sleep_for_test(void)
{
	char text[8];

	bpf_copy_from_user(text, sizeof(text), user_ptr);
	ended = 1;
}

static int held_in_wq(void *map, int *key, void *value)
{
	hold();
	return 0;
}

static int held_in_timer(void *map, int *key, void *value)
{
	hold();
	return 0;
}

static int do_nothing(void *map, int *key, void *value)
{
	return 0;
}

/* Others start it: what runs a program has a reference of it. */
SEC("syscall")
int set_up_wq(void *ctx)
{
	struct wq_elem *elem = lookup(wqs);

	if (!elem || bpf_wq_init(&elem->wq, &wqs, 0))
		return -ENOMEM;
	return bpf_wq_set_callback(&elem->wq, held_in_wq, 0);
}

SEC("syscall")
int start_wq(void *ctx)
{
	struct wq_elem *elem = lookup(wqs);

	return elem ? bpf_wq_start(&elem->wq, 0) : -ENOENT;
}

SEC("syscall")
int replace_wq(void *ctx)
{
	struct wq_elem *elem = lookup(wqs);

	return elem ? bpf_wq_set_callback(&elem->wq, do_nothing, 0) : -ENOENT;
}

SEC("syscall")
int set_up_timer(void *ctx)
{
	struct timer_elem *elem = lookup(timers);

	if (!elem || bpf_timer_init(&elem->timer, &timers, 1 /* CLOCK_MONOTONIC */))
		return -ENOMEM;
	return bpf_timer_set_callback(&elem->timer, held_in_timer);
}

SEC("syscall")
int start_timer(void *ctx)
{
	struct timer_elem *elem = lookup(timers);

	return elem ? bpf_timer_start(&elem->timer, 0, BPF_F_TIMER_CPU_PIN) : -ENOENT;
}

SEC("syscall")
int replace_timer(void *ctx)
{
	struct timer_elem *elem = lookup(timers);

	return elem ? bpf_timer_set_callback(&elem->timer, do_nothing) : -ENOENT;
}

SEC("raw_tp")
int held_in_tail_call(void *ctx)
{
	hold();
	return 0;
}

/* By a number that only the run knows: to delete what is called directly waits for RCU. */
SEC("raw_tp")
int call_tail(void *ctx)
{
	bpf_tail_call(ctx, &callees, zero);
	return -ENOENT;
}

SEC("fentry.s/bpf_fentry_test1")
int BPF_PROG(asleep_in_fentry, int a)
{
	if (current_tid() == sleeper_tid)
		sleep_for_test();
	return 0;
}

/* Never attached: to run it calls the function that the other is attached to. */
SEC("fentry/bpf_fentry_test2")
int BPF_PROG(call_fentry_test, int a)
{
	return 0;
}
