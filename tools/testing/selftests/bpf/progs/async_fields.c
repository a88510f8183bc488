// SPDX-License-Identifier: GPL-2.0
/* A workqueue is initialised with the map that its value was looked up in, and no other. */
#include "async_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct wq_elem {
	__u64 before;
	struct bpf_wq wq;
};

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wq_elem);
} wq_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer_map SEC(".maps") = {
	.values = { &wq_map, &wq_map },
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} plain_map SEC(".maps");

/* Larger values than those of wq_map: a callback that got one typed as such could leave it. */
struct timer_elem {
	struct bpf_timer timer;
	char room[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timer_map SEC(".maps");

/* libbpf does not know what its values are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct wq_elem));
} untyped_map SEC(".maps");

__u32 zero;
__u64 number;

#define lookup(map) bpf_map_lookup_elem(&(map), &zero)

/* What the others do wrong is right here. */
SEC("tc")
__success
int wq_right_map(void *ctx)
{
	struct wq_elem *elem = lookup(wq_map);

	if (elem)
		bpf_wq_init(&elem->wq, &wq_map, 0);
	return 0;
}

SEC("tc")
__failure __msg("workqueue pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0")
int wq_wrong_map_without_special_fields(void *ctx)
{
	struct wq_elem *elem = lookup(wq_map);

	if (elem)
		bpf_wq_init(&elem->wq, &plain_map, 0);
	return 0;
}

SEC("tc")
__failure __msg("workqueue pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0")
int wq_wrong_map_with_other_field(void *ctx)
{
	struct wq_elem *elem = lookup(wq_map);

	if (elem)
		bpf_wq_init(&elem->wq, &timer_map, 0);
	return 0;
}

SEC("tc")
__failure
__msg("workqueue pointer in R1 map_uid={{[1-9][0-9]*}} doesn't match map pointer in R2")
int wq_wrong_inner_map(void *ctx)
{
	__u32 one = 1;
	void *map1 = bpf_map_lookup_elem(&outer_map, &zero);
	void *map2 = bpf_map_lookup_elem(&outer_map, &one);
	struct wq_elem *elem;

	if (!map1 || !map2)
		return 0;
	elem = bpf_map_lookup_elem(map1, &zero);
	if (elem)
		bpf_wq_init(&elem->wq, map2, 0);
	return 0;
}

SEC("tc")
__success
int wq_right_inner_map(void *ctx)
{
	void *inner = bpf_map_lookup_elem(&outer_map, &zero);
	struct wq_elem *elem;

	if (!inner)
		return 0;
	elem = bpf_map_lookup_elem(inner, &zero);
	if (elem)
		bpf_wq_init(&elem->wq, inner, 0);
	return 0;
}

/* A map, but one that is known only when the program runs. */
SEC("iter/bpf_map")
__failure
__msg("pointer in R2 isn't map pointer, but {{.*}}ptr_: expected the map of the workqueue")
int wq_map_of_iterator(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *any_map = ctx->map;
	struct wq_elem *elem = lookup(wq_map);

	if (elem && any_map)
		bpf_wq_init(&elem->wq, any_map, 0);
	return 0;
}

SEC("tc")
__failure __msg("R1 doesn't have constant offset. bpf_wq has to be at the constant offset")
int wq_variable_offset(void *ctx)
{
	void *elem = lookup(wq_map);

	if (elem)
		bpf_wq_init(elem + (number & 8), &wq_map, 0);
	return 0;
}

SEC("tc")
__failure __msg("off 0 doesn't point to 'struct bpf_wq' that is at 8")
int wq_before_field(void *ctx)
{
	void *elem = lookup(wq_map);

	if (elem)
		bpf_wq_init(elem, &wq_map, 0);
	return 0;
}

SEC("tc")
__failure __msg("map 'plain_map' has no valid bpf_wq")
int wq_map_without_field(void *ctx)
{
	void *value = lookup(plain_map);

	if (value)
		bpf_wq_init(value, &plain_map, 0);
	return 0;
}

SEC("tc")
__failure __msg("map 'untyped_map' has to have BTF in order to use bpf_wq")
int wq_map_without_types(void *ctx)
{
	struct wq_elem *elem = lookup(untyped_map);

	if (elem)
		bpf_wq_init(&elem->wq, &untyped_map, 0);
	return 0;
}
