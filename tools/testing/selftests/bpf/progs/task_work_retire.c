// SPDX-License-Identifier: GPL-2.0
/* Programs that go on using an element after it was deleted. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_task_work tw;
	__u64 pad;
};

/* read by the test */
int ran;
__u32 key_of_callback;
int ret_task_work;
int ret_again;

static int note_key(struct bpf_map *map, void *key, void *value)
{
	key_of_callback = *(__u32 *)key;
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

/* What the field says to its first use. */
static __always_inline void use(void *map, struct elem *elem)
{
	ret_task_work = bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, map,
						      note_key);
}

static __always_inline bool use_failed(void)
{
	return ret_task_work;
}

static __always_inline void use_other(void *map, struct elem *elem)
{
	ret_again = bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, map,
						  note_key);
}

#include "async_deleted.h"
