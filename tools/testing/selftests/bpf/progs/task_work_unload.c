// SPDX-License-Identifier: GPL-2.0
/* A callback that runs while its program goes. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} works SEC(".maps");

/* set by the test */
const void *user_ptr;

/* read by the test */
int ended;

static int asleep_in_task_work(struct bpf_map *map, void *key, void *value)
{
	char text[8];

	bpf_copy_from_user(text, sizeof(text), user_ptr);
	ended = 1;
	return 0;
}

/* The callback runs when the system call is over that runs this. */
SEC("syscall")
int schedule(void *ctx)
{
	__u32 zero = 0;
	struct elem *elem = bpf_map_lookup_elem(&works, &zero);

	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &works,
					     asleep_in_task_work);
}
