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
 * Many workers free maps at once. A program on the trampoline of a function misses a
 * worker that preempts it there. Where a kprobe runs, nothing preempts.
 */

/* The first phase ends with that, and with it the work. */
SEC("kprobe/call_rcu_tasks_trace")
int BPF_KPROBE(map_cancelled, struct callback_head *rcu)
{
	struct bpf_map *map = container_of(rcu, struct bpf_map, rcu);

	if (has_name(bpf_core_cast(map, struct bpf_map), WATCHED_NAME))
		watched_cancelled = next_event();
	return 0;
}

SEC("kprobe/array_map_free")
int BPF_KPROBE(map_freed, struct bpf_map *map)
{
	map = bpf_core_cast(map, struct bpf_map);
	if (has_name(map, WATCHED_NAME))
		watched_freed = next_event();
	if (has_name(map, OTHER_NAME))
		__sync_fetch_and_add(&other_freed, 1);
	return 0;
}

#endif
