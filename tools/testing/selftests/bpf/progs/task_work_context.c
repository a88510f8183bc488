// SPDX-License-Identifier: GPL-2.0
/*
 * A callback may sleep where its program may not: what it calls, and the maps it
 * uses, are checked for the callback. async_callees.c has more, with a workqueue.
 */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
	struct task_struct __kptr * task;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

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

const void *user_ptr;

static struct elem *get_elem(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&map, &zero);
}

static int schedule(bpf_task_work_callback_t callback)
{
	struct elem *elem = get_elem();

	return elem ? bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &map,
						    callback) : 0;
}

/* The pointer is good as long as RCU protects it. */
__noinline int pin_task(int unused)
{
	struct elem *elem = get_elem();
	struct task_struct *task;

	task = elem ? elem->task : NULL;
	task = task ? bpf_task_acquire(task) : NULL;
	if (task)
		bpf_task_release(task);
	return unused;
}

__noinline int read_user(int unused)
{
	char text[8];

	return bpf_copy_from_user(text, sizeof(text), user_ptr) + unused;
}

__noinline int get_retval(int unused)
{
	return bpf_get_retval() + unused;
}

__noinline int look_up_prefix(int len)
{
	struct prefix prefix = { .len = len };

	return !!bpf_map_lookup_elem(&trie, &prefix);
}

static int pins(struct bpf_map *map, void *key, void *value)
{
	return pin_task(0);
}

SEC("tp_btf/sys_enter")
__failure __msg("R1 must be a rcu pointer")
int callback_may_not_pin(void *ctx)
{
	return schedule(pins);
}

static int pins_under_rcu(struct bpf_map *map, void *key, void *value)
{
	int ret;

	bpf_rcu_read_lock();
	ret = pin_task(0);
	bpf_rcu_read_unlock();
	return ret;
}

SEC("tp_btf/sys_enter")
__success
int callback_pins_under_rcu(void *ctx)
{
	return schedule(pins_under_rcu);
}

static int reads(struct bpf_map *map, void *key, void *value)
{
	return read_user(0);
}

SEC("raw_tp")
__success
int callback_reads(void *ctx)
{
	return schedule(reads);
}

SEC("raw_tp")
__failure __msg("helper call might sleep in a non-sleepable prog")
int program_may_not_read(void *ctx)
{
	return read_user(0);
}

/* The helper holds RCU or a lock while it calls back, in whatever program. */
static long element_reads(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return !!read_user(0);
}

static int walks_hash(struct bpf_map *map, void *key, void *value)
{
	return bpf_for_each_map_elem(&hash, element_reads, NULL, 0);
}

SEC("raw_tp")
__failure __msg("helper call might sleep in a callback that may not")
int callback_may_not_read_in_hash(void *ctx)
{
	return schedule(walks_hash) + schedule(reads);
}

static int gets_retval(struct bpf_map *map, void *key, void *value)
{
	return get_retval(0);
}

SEC("cgroup/getsockopt")
__failure __msg("helper bpf_get_retval#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_get_retval(void *ctx)
{
	schedule(gets_retval);
	return 1;
}

static int looks_up_prefix(struct bpf_map *map, void *key, void *value)
{
	struct prefix prefix = {};

	return !!bpf_map_lookup_elem(&trie, &prefix);
}

SEC("raw_tp")
__failure __msg("map 'trie' can't be used by a sleepable callback, only array, hash, ")
int callback_may_not_look_up_prefix(void *ctx)
{
	return schedule(looks_up_prefix);
}

static int calls_look_up_prefix(struct bpf_map *map, void *key, void *value)
{
	return look_up_prefix(1);
}

SEC("raw_tp")
__failure __msg("map 'trie' can't be used by a sleepable callback")
int nor_by_a_subprogram(void *ctx)
{
	return look_up_prefix(1) + schedule(calls_look_up_prefix);
}
