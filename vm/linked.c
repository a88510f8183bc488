// SPDX-License-Identifier: GPL-2.0
/*
 * What bpftool links to the programs of task_work_header: one more program that schedules, by
 * the header with a flavour of its own, or by a function under its plain name.
 */
#ifdef BPF_TASK_WORK_FLAVOUR
#include <bpf_task_work.h>
#define elems flavoured_elems
#define PROGRAM flavoured
#else
#define BPF_NO_KFUNC_PROTOTYPES
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#define elems plain_elems
#define PROGRAM plain

extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw,
					 void *map, bpf_task_work_callback_t callback) __ksym __weak;
#endif

struct linked_elem {
	struct bpf_task_work tw;
	__u32 ran;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct linked_elem);
} elems SEC(".maps");

static int callback(struct bpf_map *map, void *key, void *value)
{
	struct linked_elem *elem = value;

	elem->ran++;
	return 0;
}

SEC("syscall")
int PROGRAM(void *ctx)
{
	__u32 key = 0;
	struct linked_elem *elem = bpf_map_lookup_elem(&elems, &key);

	if (!elem)
		return 0;
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &elems, callback);
}
