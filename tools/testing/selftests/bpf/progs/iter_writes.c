// SPDX-License-Identifier: GPL-2.0
/* Iterators that write what they are handed, and others that do not, in all ways there are. */
#include "async_common.h"
#include "../bpf_testmod/bpf_testmod_kfunc.h"

char _license[] SEC("license") = "GPL";

/* A value with a pointer of the kernel's. */
struct elem {
	struct bpf_wq wq;
	__u64 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct elem);
} pair SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct { struct bpf_timer timer; });
} timed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} storage SEC(".maps");

struct held {
	struct task_struct __kptr * task;
	__u64 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} pinned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct held);
} pinned_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} pinned_percpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct { struct bpf_spin_lock lock; __u64 data; });
} locked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
} constant SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} callees SEC(".maps"), callees_of_storage SEC(".maps"), callees_of_sockmap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} reports SEC(".maps");

__u64 result;

/*
 * Never loaded. Where nothing looks into a task the compiler only declares the type, and
 * the kernel finds no pointer to one in a value.
 */
SEC("?syscall")
int look_into_task(void *ctx)
{
	return bpf_get_current_task_btf()->pid;
}

SEC("iter/bpf_map_elem")
int write_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		value[0] = 42;
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_helper(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		bpf_probe_read_kernel(value, 8, (void *)8);
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = value[1];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_first(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = value[0];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_behind_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = value[8];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_behind_key(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		result = key[1];
	return 0;
}

SEC("iter.s/bpf_map_elem")
int read_elem_sleepable(struct bpf_iter__bpf_map_elem *ctx)
{
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = value[0];
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_storage_again(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = value[0] + 1;
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_behind_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = value[1];
	return 0;
}

SEC("iter/sockmap")
int read_socket_key(struct bpf_iter__sockmap *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		result = key[0];
	return 0;
}

SEC("iter/sockmap")
int read_behind_socket_key(struct bpf_iter__sockmap *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		result = key[1];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_kfunc(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = bpf_kfunc_call_test_read_mem(value + 1);
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_kfunc_len(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = bpf_kfunc_call_test_read_mem_len(value, 16);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_kfunc(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		bpf_kfunc_call_test_mem_len_pass1(value, 8);
	return 0;
}

static __noinline __u64 read_u64(const __u64 *p)
{
	return *p;
}

SEC("iter/bpf_map_elem")
int read_elem_with_static(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = read_u64(value + 1);
	return 0;
}

__noinline int read_global(const __u64 *p)
{
	return p ? *p : 0;
}

/* Whatever its type says. */
__noinline int write_global(const __u64 *p)
{
	if (p)
		*(__u64 *)p = 42;
	return 0;
}

__noinline int write_global_with_helper(const __u64 *p)
{
	return p ? bpf_probe_read_kernel((void *)p, 8, (void *)8) : 0;
}

__noinline int hand_on_global(const __u64 *p)
{
	return write_global(p);
}

struct pair_of_u64 {
	__u64 first, second;
};

static __noinline void write_second(struct pair_of_u64 *pair)
{
	pair->second = 42;
}

__noinline int write_second_global(struct pair_of_u64 *pair)
{
	if (pair)
		write_second(pair);
	return 0;
}

__noinline int add_global(const __u64 *p, __u64 *sum)
{
	if (p && sum)
		*sum += *p;
	return 0;
}

/* Named like the function of an iterator, or no extension of it is loaded. */
__noinline int bpf_iter_bpf_map_elem(const struct pair_of_u64 *p)
{
	return p ? p->second : 0;
}

__noinline int report_global(const __u64 *p)
{
	__u64 *record = p ? bpf_ringbuf_reserve(&reports, 8, 0) : NULL;

	if (record) {
		*record = *p;
		bpf_ringbuf_submit(record, 0);
	}
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_global(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		result = read_global(value + 1);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_global(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		result = write_global(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_globals_helper(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		result = write_global_with_helper(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_two_globals(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		result = hand_on_global(value);
	return 0;
}

/* The function writes, but not here, and not the value. */
SEC("iter/bpf_map_elem")
int read_elem_and_write_own(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value, own = 0;

	hand_on_global(&own);
	if (value)
		add_global(value + 1, &own);
	result = own;
	return 0;
}

/* Verified first for the stack alone. */
SEC("iter/bpf_map_elem")
int write_elem_and_own(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value, own = 0;

	write_global(&own);
	if (value)
		hand_on_global(value);
	return 0;
}

/* One call, and two kinds of memory: the verifier comes with either one first. */
SEC("iter/bpf_map_elem")
int write_elem_or_own(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 own = 0, *value = ctx->value;

	if (!value || ctx->meta->seq_num)
		value = &own;
	write_global(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_own_or_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 own = 0, *value = ctx->value, *p = &own;

	if (value && ctx->meta->seq_num)
		p = value;
	write_global(p);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_static(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		write_second_global(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int pop_to_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		bpf_map_pop_elem(&queue, value);
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_named(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		result = bpf_iter_bpf_map_elem(value);
	return 0;
}

/* Helpers that write, and do not say so. */
SEC("iter/bpf_map_elem")
int print_to_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	char *value = ctx->value;
	__u64 arg = 0;

	if (value)
		bpf_snprintf(value, 8, "%d", &arg, sizeof(arg));
	return 0;
}

SEC("iter/bpf_map_elem")
int print_btf_to_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	struct btf_ptr ptr = {
		.ptr = ctx->map,
		.type_id = bpf_core_type_id_kernel(struct bpf_map),
	};
	void *value = ctx->value;

	if (value)
		bpf_snprintf_btf(value, 8, &ptr, sizeof(ptr), 0);
	return 0;
}

/* Nobody knows what that does with the value. */
SEC("iter/bpf_map_elem")
int tail_call(struct bpf_iter__bpf_map_elem *ctx)
{
	bpf_tail_call(ctx, &callees, 0);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int tail_call_of_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	bpf_tail_call(ctx, &callees_of_storage, 0);
	return 0;
}

SEC("iter/sockmap")
int tail_call_of_sockmap(struct bpf_iter__sockmap *ctx)
{
	bpf_tail_call(ctx, &callees_of_sockmap, 0);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int write_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		value[0] = 0;
	return 0;
}

SEC("iter/bpf_map_elem")
int report_elem_with_global(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		report_global(value + 1);
	return 0;
}
