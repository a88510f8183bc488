// SPDX-License-Identifier: GPL-2.0
/*
 * Maps that can't hold the field. Their creation with its type fails, and libbpf then
 * creates those that can do without BTF so. For a program that schedules from one the
 * verifier's log says what is wrong with the map.
 */
#include "task_work_common.h"
#include "task_work_messages.h"

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

/* These can't do without BTF: other memory stands where a program thinks the field is. */
struct other {
	__u64 memory;
};

#define STORAGE(name, kind)			\
struct {					\
	__uint(type, BPF_MAP_TYPE_##kind);	\
	__uint(map_flags, BPF_F_NO_PREALLOC);	\
	__type(key, int);			\
	__type(value, struct other);		\
} name SEC(".maps")

STORAGE(task_storage, TASK_STORAGE);
STORAGE(cgrp_storage, CGRP_STORAGE);

MAP(mmapable, ARRAY, BPF_F_MMAPABLE, struct elem);
MAP(only_read, HASH, BPF_F_RDONLY_PROG, struct elem);
MAP(only_written, ARRAY, BPF_F_WRONLY_PROG, struct elem);
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
__msg("map 'percpu_hash' can't hold a bpf_task_work: only hash, LRU hash and array maps can")
TAKES_FIELD
int in_percpu_hash(void *ctx)
{
	return schedule(&percpu_hash);
}

SEC("raw_tp")
__failure
__msg("map 'lru_percpu_hash' can't hold a bpf_task_work: only hash, LRU hash and array maps can")
TAKES_FIELD
int in_lru_percpu_hash(void *ctx)
{
	return schedule(&lru_percpu_hash);
}

SEC("raw_tp")
__failure
__msg("map 'percpu_array' can't hold a bpf_task_work: only hash, LRU hash and array maps can")
TAKES_FIELD
int in_percpu_array(void *ctx)
{
	return schedule(&percpu_array);
}

/* One element for each task: many look here first. */
SEC("raw_tp")
__failure
__msg("map 'task_storage' can't hold a bpf_task_work: only hash, LRU hash and array maps can")
TAKES_FIELD
int in_task_storage(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct elem *elem;

	elem = bpf_task_storage_get(&task_storage, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!elem)
		return 0;
	return bpf_task_work_schedule_signal(task, &elem->tw, &task_storage, callback);
}

SEC("tp_btf/sched_process_exec")
__failure
__msg("map 'cgrp_storage' can't hold a bpf_task_work: only hash, LRU hash and array maps can")
TAKES_FIELD
int BPF_PROG(in_cgrp_storage, struct task_struct *task)
{
	struct elem *elem;

	elem = bpf_cgrp_storage_get(&cgrp_storage, task->cgroups->dfl_cgrp, NULL,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!elem)
		return 0;
	return bpf_task_work_schedule_signal(task, &elem->tw, &cgrp_storage, callback);
}

SEC("raw_tp")
__failure
__msg("map 'mmapable' can't hold a bpf_task_work: mmapable maps can't, only other ")
__msg("hash, LRU hash and array maps can")
TAKES_FIELD
int in_mmapable_array(void *ctx)
{
	return schedule(&mmapable);
}

SEC("raw_tp")
__failure
__msg("map 'only_read' can't hold a bpf_task_work: maps that programs only read or only write ")
__msg("can't, only other hash, LRU hash and array maps can")
TAKES_FIELD
int in_read_only_hash(void *ctx)
{
	return schedule(&only_read);
}

SEC("raw_tp")
__failure
__msg("map 'only_written' can't hold a bpf_task_work: maps that programs only read or only write ")
__msg("can't, only other hash, LRU hash and array maps can")
TAKES_FIELD
int in_write_only_array(void *ctx)
{
	return schedule(&only_written);
}

SEC("raw_tp")
__failure
__msg(".bss' can't hold a bpf_task_work: global variables can't, only values of ")
__msg("hash, LRU hash and array maps can")
TAKES_FIELD
int in_global_variable(void *ctx)
{
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &global.tw,
					     &percpu_array, callback);
}

SEC("raw_tp")
__failure __msg("map 'two_fields' has no valid bpf_task_work")
__msg("two of a kind that may be there once")
TAKES_FIELD
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
TAKES_FIELD
int in_value_with_array(void *ctx)
{
	struct several *value = bpf_map_lookup_elem(&array_of_fields, &zero);

	if (!value)
		return 0;
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &value->tw[1],
					     &array_of_fields, callback_of_array);
}
