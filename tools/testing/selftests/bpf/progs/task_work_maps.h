/* SPDX-License-Identifier: GPL-2.0 */
/* A map of each kind that may hold the field: enum task_work_map. */
#ifndef _TASK_WORK_MAPS_H
#define _TASK_WORK_MAPS_H

#define NR_ELEMS 8

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NR_ELEMS);
	__type(key, struct task_work_key);
	__type(value, struct task_work_elem);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NR_ELEMS);
	__type(key, struct task_work_key);
	__type(value, struct task_work_elem);
} hash_malloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NR_ELEMS);
	__type(key, struct task_work_key);
	__type(value, struct task_work_elem);
} lru_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_ELEMS);
	__type(key, __u32);
	__type(value, struct task_work_elem);
} array SEC(".maps");

#endif
