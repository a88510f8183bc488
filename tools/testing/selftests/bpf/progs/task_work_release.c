// SPDX-License-Identifier: GPL-2.0
/* Work that is scheduled, and what may end it before it runs. */
#include "task_work_common.h"
#include "task_work_maps.h"

char _license[] SEC("license") = "GPL";

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_ELEMS);
	__type(key, __u32);
	__type(value, struct task_work_elem);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { &inner },
};

/* set by the test */
int map_kind;
struct task_work_key key;
int target_tid;
long syscall_nr;
const void *user_ptr;
__u64 armed; /* 64 bits: a swap of 32 needs alu32 */

/* read by the test */
int ran;
int schedule_ret;
int program_ret;
int preempt_count_seen;
int found_freed;
__u64 schedule_mm;
__u64 callback_mm;
char callback_comm[16];

static int count(struct bpf_map *map, void *key, void *value)
{
	callback_mm = (__u64)bpf_get_current_task_btf()->mm;
	bpf_get_current_comm(callback_comm, sizeof(callback_comm));
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static int read_user(struct bpf_map *map, void *key, void *value)
{
	char text[8];

	bpf_copy_from_user(text, sizeof(text), user_ptr);
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static int delete_own(struct bpf_map *map, void *key, void *value)
{
	program_ret = bpf_map_delete_elem(map, key);
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static __always_inline int schedule_in(void *map, const void *key, struct task_struct *task,
				       bpf_task_work_callback_t callback)
{
	struct task_work_elem *elem = bpf_map_lookup_elem(map, key);

	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(task, &elem->tw, map, callback);
}

static int schedule_inner(struct task_struct *task)
{
	__u32 zero = 0;
	void *map = bpf_map_lookup_elem(&outer, &zero);

	return map ? schedule_in(map, &key.id, task, count) : -ENOENT;
}

static int schedule(struct task_struct *task)
{
	switch (map_kind) {
	case MAP_HASH:
		return schedule_in(&hash, &key, task, count);
	case MAP_HASH_MALLOC:
		return schedule_in(&hash_malloc, &key, task, count);
	case MAP_LRU_HASH:
		return schedule_in(&lru_hash, &key, task, count);
	case MAP_ARRAY:
		return schedule_in(&array, &key.id, task, count);
	case MAP_INNER:
		return schedule_inner(task);
	}
	return -EINVAL;
}

static int schedule_target(void)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int err;

	if (!task)
		return -ENODEV;
	err = schedule(task);
	bpf_task_release(task);
	return err;
}

/* This one goes, so that the test can tell that work holds it no more. */
SEC("syscall")
int schedule_first(void *ctx)
{
	return schedule_target();
}

/* And this one stays. */
SEC("syscall")
int schedule_again(void *ctx)
{
	return schedule_target();
}

SEC("syscall")
int schedule_sleeper(void *ctx)
{
	return schedule_in(&hash, &key, bpf_get_current_task_btf(), read_user);
}

SEC("syscall")
int schedule_delete_own(void *ctx)
{
	return schedule_in(&hash, &key, bpf_get_current_task_btf(), delete_own);
}

SEC("syscall")
int schedule_and_delete(void *ctx)
{
	return schedule_in(&hash, &key, bpf_get_current_task_btf(), count) ?:
	       bpf_map_delete_elem(&hash, &key);
}

/* The task comes to a cancelled work before the reaper has taken it away. */
SEC("fentry/bpf_task_work_callback")
int BPF_PROG(find_freed, struct callback_head *work)
{
	if (current_tid() == target_tid && is_freed(work))
		found_freed++;
	return 0;
}

/* On its way into a system call, from which it may not come back. */
SEC("tp_btf/sys_enter")
int BPF_PROG(schedule_in_syscall, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (nr != syscall_nr || current_tid() != target_tid)
		return 0;
	schedule_mm = (__u64)task->mm;
	schedule_ret = schedule(task);
	return 0;
}

static int delete(void)
{
	preempt_count_seen = preempt_count();
	switch (map_kind) {
	case MAP_HASH:
		return bpf_map_delete_elem(&hash, &key);
	case MAP_HASH_MALLOC:
		return bpf_map_delete_elem(&hash_malloc, &key);
	case MAP_LRU_HASH:
		return bpf_map_delete_elem(&lru_hash, &key);
	}
	return -EINVAL;
}

/* -EBUSY: the bucket was locked when the interrupt came, so let the next one try. */
static int delete_once(void)
{
	if (__sync_val_compare_and_swap(&armed, 1, 2) != 1)
		return 0;
	program_ret = delete();
	armed = program_ret == -EBUSY;
	return 0;
}

SEC("syscall")
int delete_in_task(void *ctx)
{
	return delete();
}

SEC("?tp_btf/" NMI_TRACEPOINT)
int delete_in_nmi(void *ctx)
{
	return is_in_nmi() ? delete_once() : 0;
}

SEC("perf_event")
int delete_in_interrupt(void *ctx)
{
	return delete_once();
}

SEC("syscall")
int update_in_task(void *ctx)
{
	/* Not a struct task_work_elem: no global data may hold the field. */
	static char value[sizeof(struct task_work_elem)];

	switch (map_kind) {
	case MAP_HASH:
		return bpf_map_update_elem(&hash, &key, &value, BPF_ANY);
	case MAP_HASH_MALLOC:
		return bpf_map_update_elem(&hash_malloc, &key, &value, BPF_ANY);
	case MAP_LRU_HASH:
		return bpf_map_update_elem(&lru_hash, &key, &value, BPF_ANY);
	case MAP_ARRAY:
		return bpf_map_update_elem(&array, &key.id, &value, BPF_ANY);
	}
	return -EINVAL;
}
