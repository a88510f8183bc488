// SPDX-License-Identifier: GPL-2.0
/* Callbacks and programs that sleep while a map is about to be freed. */
#include "task_work_common.h"
#include "async_map_free.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} slots SEC(".maps");

/* set by the test */
const void *user_ptr;

/* read by the test */
int callback_sections;

static __u32 zero;

static int read_into_inner(struct bpf_map *map, void *key, void *value)
{
	void *inner = bpf_map_lookup_elem(&outer, &zero);
	__u64 *number = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

	if (!number)
		return 0;
	callback_sections = bpf_get_current_task_btf()->trc_reader_nesting;
	bpf_copy_from_user(number, sizeof(*number), user_ptr);
	ended = next_event();
	return 0;
}

SEC("raw_tp")
int schedule_reader(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&slots, &zero);

	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &slots,
					     read_into_inner);
}

/* It has nothing to do with any map: it just has not ended. */
SEC("syscall")
int read_user(void *ctx)
{
	char text[8];

	bpf_copy_from_user(text, sizeof(text), user_ptr);
	ended = next_event();
	return 0;
}
