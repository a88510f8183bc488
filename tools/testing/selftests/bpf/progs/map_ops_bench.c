// SPDX-License-Identifier: GPL-2.0
/* What operations on a map cost that everybody uses. */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include "bpf_experimental.h"
#include "map_ops_bench.h"

char _license[] SEC("license") = "GPL";

#define CLOCK_MONOTONIC 1

struct plain {
	__u64 data[2];
};

struct timed {
	struct bpf_timer timer;
	__u64 data;
};

struct queued {
	struct bpf_wq wq;
	__u64 data;
};

/* The user side sets type, flags and size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plain);
} elems SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct queued);
} queues SEC(".maps");

const volatile int op;
const volatile int field;

/* read by the user side */
long errors;
__u64 ns;

static __u32 next_key;

static int on_timer(void *map, __u32 *key, struct timed *value)
{
	return 0;
}

static int on_queue(void *map, int *key, void *value)
{
	return 0;
}

static __always_inline long insert(__u32 key)
{
	/* No struct with a field: the stack must not hold it. */
	char value[sizeof(struct timed)] = {};
	struct plain plain = {};

	switch (field) {
	case MAP_FIELD_TIMER:
		return bpf_map_update_elem(&timers, &key, value, BPF_ANY);
	case MAP_FIELD_WQ:
		return bpf_map_update_elem(&queues, &key, value, BPF_ANY);
	default:
		return bpf_map_update_elem(&elems, &key, &plain, BPF_ANY);
	}
}

static __always_inline long delete(__u32 key)
{
	switch (field) {
	case MAP_FIELD_TIMER:
		return bpf_map_delete_elem(&timers, &key);
	case MAP_FIELD_WQ:
		return bpf_map_delete_elem(&queues, &key);
	default:
		return bpf_map_delete_elem(&elems, &key);
	}
}

static __always_inline long init_timer(__u32 key)
{
	struct timed *elem = bpf_map_lookup_elem(&timers, &key);

	if (!elem)
		return -ENOENT;
	return bpf_timer_init(&elem->timer, &timers, CLOCK_MONOTONIC) ?:
	       bpf_timer_set_callback(&elem->timer, on_timer);
}

static __always_inline long init_queue(__u32 key)
{
	struct queued *elem = bpf_map_lookup_elem(&queues, &key);

	if (!elem)
		return -ENOENT;
	return bpf_wq_init(&elem->wq, &queues, 0) ?: bpf_wq_set_callback(&elem->wq, on_queue, 0);
}

static __always_inline long life(__u32 key)
{
	long err = insert(key);

	if (err)
		return err;
	err = field == MAP_FIELD_TIMER ? init_timer(key) : init_queue(key);
	return err ?: delete(key);
}

static __always_inline long do_op(void)
{
	__u32 key = 0;

	switch (op) {
	case MAP_OP_LOOKUP:
		return bpf_map_lookup_elem(&elems, &key) ? 0 : -ENOENT;
	case MAP_OP_UPDATE:
		return insert(0);
	case MAP_OP_INSERT_DELETE:
		return insert(1) ?: delete(1);
	case MAP_OP_EVICT:
		return insert(++next_key);
	case MAP_OP_LIFE:
		return life(1);
	default:
		return 0;
	}
}

SEC("syscall")
int do_ops(void *ctx)
{
	__u64 begin = bpf_ktime_get_ns();
	int i;

	bpf_for(i, 0, NR_MAP_OPS)
		if (do_op())
			errors++;
	ns = bpf_ktime_get_ns() - begin;
	return 0;
}

SEC("iter/bpf_map_elem")
int see_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	return 0;
}
