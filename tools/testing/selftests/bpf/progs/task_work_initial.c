// SPDX-License-Identifier: GPL-2.0
/*
 * The initial value of an element, wherever it comes from: the field in it has no
 * meaning, whatever it holds, and work can be scheduled from the new element.
 */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

#define NUMBER 42

struct elem {
	struct bpf_task_work tw;
	int number;
};

#define MAP(name, kind, flags)			\
struct {					\
	__uint(type, BPF_MAP_TYPE_##kind);	\
	__uint(map_flags, flags);		\
	__uint(max_entries, 1);			\
	__type(key, __u32);			\
	__type(value, struct elem);		\
} name SEC(".maps")

MAP(hash, HASH, 0);
MAP(hash_malloc, HASH, BPF_F_NO_PREALLOC);
MAP(array, ARRAY, 0);

/* Of static variables alone libbpf makes maps that are not mmapable. */
static struct elem in_bss;
static struct elem in_data = { { ~0ULL }, NUMBER };
static const struct elem in_rodata = { { ~0ULL }, NUMBER };

/* One that is not static makes the whole section mmapable. */
static struct elem in_mapped SEC(".data.mapped") = { { ~0ULL }, NUMBER };
int ran SEC(".data.mapped") = 0;

static int callback(struct bpf_map *map, void *key, void *value)
{
	struct elem *elem = value;

	if (elem->number == NUMBER)
		__sync_fetch_and_add(&ran, 1);
	return 0;
}

static __always_inline int start_in(void *map, const struct elem *initial)
{
	__u32 key = 0;
	struct elem *elem;
	int err;

	err = bpf_map_update_elem(map, &key, initial, BPF_ANY);
	if (err)
		return err;
	elem = bpf_map_lookup_elem(map, &key);
	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, map, callback);
}

static __always_inline int start(const struct elem *initial)
{
	return start_in(&hash, initial) ?: start_in(&hash_malloc, initial) ?:
	       start_in(&array, initial);
}

SEC("syscall")
int static_in_bss(void *ctx)
{
	in_bss.number = NUMBER;
	return start(&in_bss);
}

SEC("syscall")
int static_in_data(void *ctx)
{
	return start(&in_data);
}

SEC("syscall")
int static_in_rodata(void *ctx)
{
	return start(&in_rodata);
}

SEC("syscall")
int mapped_variable(void *ctx)
{
	return start(&in_mapped);
}

SEC("syscall")
int on_stack(void *ctx)
{
	struct elem initial = { .number = NUMBER };

	return start(&initial);
}
