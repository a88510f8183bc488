// SPDX-License-Identifier: GPL-2.0
/*
 * Work scheduled from an NMI, a hard interrupt and task context. The three
 * programs do the same; the test says once what to do and waits for the one
 * that meets the scheduling thread first.
 */
#include "task_work_common.h"
#include "task_work_maps.h"

char _license[] SEC("license") = "GPL";

/* What to do: set by the test. */
int map_kind;
int mode;
struct task_work_key key;
const void *user_ptr;
int scheduler_tid;
int target_tid; /* 0: the scheduling thread itself */
__u64 armed; /* 64 bits: a swap of 32 needs alu32 */

/* What came of it: read by the test. */
int schedule_ret;
int in_place_ret;
int schedule_preempt_count;
int callback_preempt_count;
int irq_works;
int nmi_interrupts;
int ran;
struct task_work_key seen_key;
__u64 seen_cookie;
int seen_map_id;
int seen_tid;
int copied;

static void see(struct bpf_map *map, struct task_work_elem *elem)
{
	seen_map_id = map->id;
	seen_cookie = elem->cookie;
	seen_tid = current_tid();
	callback_preempt_count = preempt_count();
	copied = bpf_copy_from_user_str(elem->text, sizeof(elem->text), user_ptr, 0);
	elem->ran++;
	__sync_fetch_and_add(&ran, 1);
}

static int hash_callback(struct bpf_map *map, void *key, void *value)
{
	seen_key = *(struct task_work_key *)key;
	see(map, value);
	return 0;
}

static int array_callback(struct bpf_map *map, void *key, void *value)
{
	seen_key.id = *(__u32 *)key;
	see(map, value);
	return 0;
}

static __always_inline int schedule_in(void *map, const void *key, struct task_struct *task,
				       bpf_task_work_callback_t callback)
{
	struct task_work_elem *elem = bpf_map_lookup_elem(map, key);

	if (!elem)
		return -ENOENT;
	if (mode == MODE_SIGNAL)
		return bpf_task_work_schedule_signal(task, &elem->tw, map, callback);
	return bpf_task_work_schedule_resume(task, &elem->tw, map, callback);
}

static int schedule(struct task_struct *task)
{
	switch (map_kind) {
	case MAP_HASH:
		return schedule_in(&hash, &key, task, hash_callback);
	case MAP_HASH_MALLOC:
		return schedule_in(&hash_malloc, &key, task, hash_callback);
	case MAP_LRU_HASH:
		return schedule_in(&lru_hash, &key, task, hash_callback);
	case MAP_ARRAY:
		return schedule_in(&array, &key.id, task, array_callback);
	}
	return -EINVAL;
}

static int schedule_target(void)
{
	struct task_struct *task;
	int err;

	if (!target_tid)
		return schedule(bpf_get_current_task_btf());
	task = bpf_task_from_pid(target_tid);
	if (!task)
		return -ESRCH;
	err = schedule(task);
	bpf_task_release(task);
	return err;
}

static int attempt(void)
{
	char text[TASK_WORK_TEXT_LEN];

	if (current_tid() != scheduler_tid ||
	    __sync_val_compare_and_swap(&armed, 1, 2) != 1)
		return 0;
	schedule_preempt_count = preempt_count();
	in_place_ret = bpf_probe_read_user_str(text, sizeof(text), user_ptr);
	schedule_ret = schedule_target();
	armed = 0;
	return 0;
}

/* The detour, for contexts in which a task can't be notified. */
SEC("fentry/bpf_task_work_irq")
int BPF_PROG(count_irq_works)
{
	__sync_fetch_and_add(&irq_works, 1);
	return 0;
}

/* An NMI returns to user mode as if there were no work: an interrupt has to follow it. */
SEC("fentry/task_work_set_notify_irq")
int BPF_PROG(count_nmi_interrupts)
{
	__sync_fetch_and_add(&nmi_interrupts, 1);
	return 0;
}

SEC("?tp_btf/" NMI_TRACEPOINT)
int nmi(void *ctx)
{
	return is_in_nmi() ? attempt() : 0;
}

SEC("perf_event")
int interrupt(void *ctx)
{
	return attempt();
}

SEC("syscall")
int task(void *ctx)
{
	return attempt();
}
