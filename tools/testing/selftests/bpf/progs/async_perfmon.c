// SPDX-License-Identifier: GPL-2.0
/*
 * Loaded without CAP_PERFMON. The callback of a workqueue runs in a kernel worker, which
 * may have borrowed an address space; that of a timer in whatever task is interrupted.
 */
#include "async_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct timer_elem {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timer_map SEC(".maps");

struct wq_elem {
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wq_elem);
} wq_map SEC(".maps");

char text[8];
const void *user_ptr;
__u32 zero;

static int wq_reads(void *map, int *key, void *value)
{
	bpf_copy_from_user_str(text, sizeof(text), user_ptr, 0);
	return 0;
}

SEC("tc")
__failure __msg("calling bpf_copy_from_user_str in an async callback needs CAP_PERFMON")
int callback_of_wq_may_not_read(void *ctx)
{
	struct wq_elem *elem = bpf_map_lookup_elem(&wq_map, &zero);

	return elem ? bpf_wq_set_callback(&elem->wq, wq_reads, 0) : 0;
}

static int timer_reads(void *map, int *key, void *value)
{
	bpf_probe_read_user(text, sizeof(text), user_ptr);
	return 0;
}

SEC("syscall")
__failure __msg("calling bpf_probe_read_user in an async callback needs CAP_PERFMON")
int callback_of_timer_may_not_read(void *ctx)
{
	struct timer_elem *elem = bpf_map_lookup_elem(&timer_map, &zero);

	return elem ? bpf_timer_set_callback(&elem->timer, timer_reads) : 0;
}
