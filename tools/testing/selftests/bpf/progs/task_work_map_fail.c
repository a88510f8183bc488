// SPDX-License-Identifier: GPL-2.0
/*
 * Maps that can't hold the field. libbpf creates them once more without BTF, and
 * the program that uses one is told what is wrong with it.
 */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
};

struct two {
	struct bpf_task_work tw;
	struct bpf_task_work again;
};

struct several {
	struct bpf_task_work tw[2];
};

#define MAP(name, kind, flags, value_type)	\
struct {					\
	__uint(type, BPF_MAP_TYPE_##kind);	\
	__uint(map_flags, flags);		\
	__uint(max_entries, 1);			\
	__type(key, __u32);			\
	__type(value, value_type);		\
} name SEC(".maps")

MAP(percpu_hash, PERCPU_HASH, 0, struct elem);
MAP(lru_percpu_hash, LRU_PERCPU_HASH, 0, struct elem);
MAP(percpu_array, PERCPU_ARRAY, 0, struct elem);
MAP(mmapable, ARRAY, BPF_F_MMAPABLE, struct elem);
MAP(two_fields, ARRAY, 0, struct two);
MAP(array_of_fields, ARRAY, 0, struct several);

static struct elem global;

__u32 zero;

static int callback(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

static __always_inline int schedule(void *map)
{
	struct elem *elem = bpf_map_lookup_elem(map, &zero);

	if (!elem)
		return 0;
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, map, callback);
}

SEC("raw_tp")
__failure
__msg("map 'percpu_hash' can't hold a bpf_task_work, only hash, LRU hash and array maps can")
int in_percpu_hash(void *ctx)
{
	return schedule(&percpu_hash);
}

SEC("raw_tp")
__failure
__msg("map 'lru_percpu_hash' can't hold a bpf_task_work, only hash, LRU hash and array maps can")
int in_lru_percpu_hash(void *ctx)
{
	return schedule(&lru_percpu_hash);
}

SEC("raw_tp")
__failure
__msg("map 'percpu_array' can't hold a bpf_task_work, only hash, LRU hash and array maps can")
int in_percpu_array(void *ctx)
{
	return schedule(&percpu_array);
}

SEC("raw_tp")
__failure __msg("map 'mmapable' can't hold a bpf_task_work: it is mmapable")
int in_mmapable_array(void *ctx)
{
	return schedule(&mmapable);
}

SEC("raw_tp")
__failure __msg("{{map '.*\\.bss' can't hold a bpf_task_work: it is mmapable}}")
int in_global_variable(void *ctx)
{
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &global.tw,
					     &percpu_array, callback);
}

SEC("raw_tp")
__failure __msg("map 'two_fields' has no valid bpf_task_work")
__msg("two of a kind that may be there once")
int in_value_with_two(void *ctx)
{
	return schedule(&two_fields);
}

static int callback_of_array(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

SEC("raw_tp")
__failure __msg("map 'array_of_fields' has no valid bpf_task_work")
__msg("in an array where it may not be")
int in_value_with_array(void *ctx)
{
	struct several *value = bpf_map_lookup_elem(&array_of_fields, &zero);

	if (!value)
		return 0;
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &value->tw[1],
					     &array_of_fields, callback_of_array);
}
