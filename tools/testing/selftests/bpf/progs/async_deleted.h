/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs that go on using an element after it was deleted, in each kind of hash: include
 * this once. Before that say what an element and its fields are: struct elem, use(map, elem)
 * for a use of the fields, use_failed() whether the last one did, and use_other(map, elem)
 * for the element that got the memory.
 */
#ifndef _ASYNC_DELETED_H
#define _ASYNC_DELETED_H

#include "async_shared.h"

#define FIRST_KEY	1
#define MANY_KEYS	64

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct elem);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct elem);
} hash_malloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct elem);
} lru_hash SEC(".maps");

/* set by the test */
int map_kind;
const void *user_ptr;

/* read by the test */
__u32 key_of_next;
int same_memory;

static __always_inline struct elem *insert(void *map, __u32 key)
{
	/* Not a struct elem: the stack must not hold the fields. */
	char value[sizeof(struct elem)] = {};

	return bpf_map_update_elem(map, &key, &value, BPF_ANY) ? NULL :
	       bpf_map_lookup_elem(map, &key);
}

/* Insert other keys until one gets that memory: LRU maps do not say when that is. */
static __always_inline struct elem *insert_at(void *map, struct elem *elem)
{
	struct elem *next = NULL;
	int i;

	bpf_for(i, 0, MANY_KEYS) {
		key_of_next = FIRST_KEY + 1 + i;
		next = insert(map, key_of_next);
		if (next == elem)
			break;
	}
	return next;
}

static __always_inline int use_after_delete(void *map)
{
	__u32 key = FIRST_KEY;
	struct elem *elem, *next;

	elem = insert(map, key);
	if (!elem)
		return -ENOMEM;
	use(map, elem);
	if (use_failed())
		return -EINVAL;
	bpf_map_delete_elem(map, &key);
	use(map, elem);
	next = insert_at(map, elem);
	if (!next)
		return -ENOMEM;
	same_memory = next == elem;
	use_other(map, next);
	return 0;
}

SEC("syscall")
int use_deleted(void *ctx)
{
	switch (map_kind) {
	case KIND_HASH:
		return use_after_delete(&hash);
	case KIND_HASH_MALLOC:
		return use_after_delete(&hash_malloc);
	case KIND_LRU_HASH:
		return use_after_delete(&lru_hash);
	}
	return -EINVAL;
}

static __always_inline int use_after_replace(void *map)
{
	struct elem *elem = insert(map, FIRST_KEY);

	if (!elem || !insert(map, FIRST_KEY))
		return -ENOMEM;
	use(map, elem);
	return 0;
}

SEC("syscall")
int use_replaced(void *ctx)
{
	switch (map_kind) {
	case KIND_HASH:
		return use_after_replace(&hash);
	case KIND_HASH_MALLOC:
		return use_after_replace(&hash_malloc);
	case KIND_LRU_HASH:
		return use_after_replace(&lru_hash);
	}
	return -EINVAL;
}

/* User space does what it likes to the element while the program sleeps. */
static __always_inline int sleep_and_use(void *map)
{
	struct elem *elem = insert(map, FIRST_KEY);
	char text[8];

	if (!elem)
		return -ENOMEM;
	bpf_copy_from_user(text, sizeof(text), user_ptr);
	use(map, elem);
	return 0;
}

SEC("syscall")
int use_after_sleep(void *ctx)
{
	switch (map_kind) {
	case KIND_HASH:
		return sleep_and_use(&hash);
	case KIND_HASH_MALLOC:
		return sleep_and_use(&hash_malloc);
	case KIND_LRU_HASH:
		return sleep_and_use(&lru_hash);
	}
	return -EINVAL;
}

#endif
