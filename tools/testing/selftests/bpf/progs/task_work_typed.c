// SPDX-License-Identifier: GPL-2.0
/* Declares the map as what it is, and not as the void pointer that the kernel has there. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

int bpf_task_work_schedule_signal___typed(struct task_struct *task, struct bpf_task_work *tw,
					  struct bpf_map *map, bpf_task_work_callback_t cb) __ksym;

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} elems SEC(".maps");

static int callback(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

SEC("tc")
int by_signal(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&elems, &(__u32){0});

	if (!elem)
		return 0;
	return bpf_task_work_schedule_signal___typed(bpf_get_current_task_btf(), &elem->tw,
						     (struct bpf_map *)&elems, callback);
}
