/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Maps that a test creates and watches, as they have no id any more when they are freed:
 * include this once.
 */
#ifndef _ASYNC_MAP_FREE_H
#define _ASYNC_MAP_FREE_H

#include "async_shared.h"

/* Whose inner map goes while a callback that found it sleeps. */
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct inner first_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { &first_inner },
};

/* read by the test: when that was, or 0 */
__u64 ended;
__u64 watched_cancelled;
__u64 watched_freed;

/* read by the test */
int other_freed;

/* A clock (64 bits: what an add of 32 returns needs alu32). */
static __u64 events;

static __u64 next_event(void)
{
	return __sync_add_and_fetch(&events, 1);
}

static bool has_name(struct bpf_map *map, const char *name)
{
	char buf[sizeof(map->name)];

	bpf_probe_read_kernel_str(buf, sizeof(buf), map->name);
	return !bpf_strncmp(buf, sizeof(buf), name);
}

/*
 * Many workers free maps at once, and one may preempt another one. A program on the
 * trampoline of what they call is not run again on that CPU before it has ended, so it may
 * miss a worker. At tracepoints and kprobes nothing preempts.
 */
extern const void bpf_map_cancel_deferred __ksym;
extern const void bpf_map_free_deferred __ksym;

static struct bpf_map *map_of_work(struct work_struct *work)
{
	return (void *)work - bpf_core_field_offset(struct bpf_map, work);
}

/* The first phase is over, and with it the work. The map is still there. */
SEC("raw_tp/workqueue_execute_end")
int BPF_PROG(map_cancelled, struct work_struct *work, void *function)
{
	if (function == &bpf_map_cancel_deferred &&
	    has_name(bpf_core_cast(map_of_work(work), struct bpf_map), WATCHED_NAME))
		watched_cancelled = next_event();
	return 0;
}

SEC("raw_tp/workqueue_execute_start")
int BPF_PROG(map_freed, struct work_struct *work)
{
	struct bpf_map *map = bpf_core_cast(map_of_work(work), struct bpf_map);

	if ((const void *)BPF_CORE_READ(work, func) != &bpf_map_free_deferred)
		return 0;
	if (has_name(map, WATCHED_NAME))
		watched_freed = next_event();
	if (has_name(map, OTHER_NAME))
		__sync_fetch_and_add(&other_freed, 1);
	return 0;
}

#endif
