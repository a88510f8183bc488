/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The books of the task work torture. A part of task_work_torture.c.
 *
 * Two sides count each schedule that returned 0, and not the one what the other
 * leaves over:
 *  - the programs count the return value, and the callbacks;
 *  - the kernel takes a reference to the program for each schedule, and drops it
 *    when the callback has returned or the work is cancelled. count_released() sees
 *    each drop. If the thread has not just run a callback, then it is that of work
 *    that was cancelled.
 *
 * Who interrupts or preempts count_released() and drops another reference there, on that
 * CPU, is not seen by it, but counted by the kernel as its recursion miss. The
 * test reads that number.
 */
#ifndef _TASK_WORK_TORTURE_BOOKS_H
#define _TASK_WORK_TORTURE_BOOKS_H

#define MAX_ERRNO	4095		/* include/linux/err.h */

/* read by the test */
__u64 drawn[NR_DECIDERS];
__u64 scheduled[NR_CONTEXTS];
__u64 results[NR_RESULTS];
__u64 placed[NR_TORTURE_MAPS];
__u64 moded[NR_MODES];
__u64 deleted[NR_CONTEXTS];
__u64 updated[NR_CONTEXTS];
__u64 deleted_own;
__u64 evicted;
__u64 ran;
__u64 wrong_element;
__u64 released_after_run;
__u64 cancelled;
__u64 released_in_nmi;
__u64 unlinked;
__u64 found_freed;
__u64 without_mm;
__u64 ended_running;
__u64 contexts_ended;
__u64 tasks_made;
__u64 tasks_freed;

/* By address: a number may be another task's before the one that had it is freed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} descendants SEC(".maps");

/* Threads that live at the same time have numbers that do not collide here. */
struct torture_thread threads[MAX_THREADS];

static struct torture_thread *current_thread(void)
{
	return &threads[current_tid() & (MAX_THREADS - 1)];
}

static void count_callback(struct bpf_map *map, void *key, struct torture_elem *elem)
{
	/*
	 * An array's element is what it is for ever, that of a hash which is not
	 * pre-allocated as long as the callback runs.
	 */
	if ((map->map_type == BPF_MAP_TYPE_ARRAY || map->map_flags & BPF_F_NO_PREALLOC) &&
	    elem->id != *(__u32 *)key)
		__sync_fetch_and_add(&wrong_element, 1);
	__sync_fetch_and_add(&ran, 1);
	__sync_fetch_and_add(&current_thread()->begun, 1);
}

static void count_place(__u32 map, __u32 mode)
{
	if (map < NR_TORTURE_MAPS)
		__sync_fetch_and_add(&placed[map], 1);
	if (mode < NR_MODES)
		__sync_fetch_and_add(&moded[mode], 1);
}

static enum torture_result result_of(int err)
{
	switch (err) {
	case 0:
		return RESULT_OK;
	case -EBUSY:
		return RESULT_EBUSY;
	case -ENOENT:
		return RESULT_ENOENT;
	case -EPERM:
		return RESULT_EPERM;
	case -ESRCH:
		return RESULT_ESRCH;
	case -EOPNOTSUPP:
		return RESULT_EOPNOTSUPP;
	case -ENOMEM:
		return RESULT_ENOMEM;
	case -EBADF:
		return RESULT_EBADF;
	}
	return RESULT_OTHER;
}

/*
 * Where it may lock, a schedule can find the task gone when it has taken its
 * references, and drops them and returns -ESRCH. That drop is no cancelled work.
 */
static __always_inline void before_schedule(enum torture_context context)
{
	if (context <= LAST_MAY_LOCK)
		current_thread()->inside = 1;
}

static __always_inline void after_schedule(enum torture_context context, int err)
{
	struct torture_thread *me = current_thread();

	if (context <= LAST_MAY_LOCK) {
		if (err == -ESRCH && me->inside == 2)
			__sync_fetch_and_add(&cancelled, -1);
		me->inside = 0;
	}
	__sync_fetch_and_add(&results[result_of(err)], 1);
	if (!err && context < NR_CONTEXTS)
		__sync_fetch_and_add(&scheduled[context], 1);
}

SEC("fentry/bpf_task_work_put_prog")
int BPF_PROG(count_released, struct bpf_prog *prog)
{
	bool in_task = !(preempt_count() & (HARDIRQ_MASK | NMI_MASK));
	struct torture_thread *me = current_thread();

	if (preempt_count() & NMI_MASK)
		__sync_fetch_and_add(&released_in_nmi, 1);
	if (in_task && me->inside)
		me->inside = 2;
	if (in_task && me->begun) {
		__sync_fetch_and_add(&me->begun, -1);
		__sync_fetch_and_add(&released_after_run, 1);
	} else {
		__sync_fetch_and_add(&cancelled, 1);
	}
	return 0;
}

/* What follows counts that something happened, or balances at the end. */
SEC("fentry/bpf_task_work_callback")
int BPF_PROG(count_callback_entry, struct callback_head *work)
{
	if (BPF_CORE_READ(owner_of(work), state) >= BPF_TW_FREED)
		__sync_fetch_and_add(&found_freed, 1);
	else if (!bpf_get_current_task_btf()->mm)
		__sync_fetch_and_add(&without_mm, 1);
	return 0;
}

static int count_end(const struct bpf_task_work_kern *tw)
{
	struct bpf_task_work_ctx *ctx = BPF_CORE_READ(tw, ctx);

	if (!ctx || (__u64)ctx >= (__u64)-MAX_ERRNO)
		return 0;
	__sync_fetch_and_add(&contexts_ended, 1);
	if (BPF_CORE_READ(ctx, state) == BPF_TW_RUNNING)
		__sync_fetch_and_add(&ended_running, 1);
	return 0;
}

SEC("fentry/bpf_task_work_retire")
int BPF_PROG(count_retired, void *tw)
{
	return count_end(tw);
}

SEC("fentry/bpf_task_work_cancel_and_free")
int BPF_PROG(count_emptied, void *tw)
{
	return count_end(tw);
}

SEC("fexit/bpf_task_work_is_freed")
int BPF_PROG(count_unlinked, struct callback_head *work, void *unused, int freed)
{
	if (freed & 0xff)
		__sync_fetch_and_add(&unlinked, 1);
	return 0;
}

SEC("fexit/htab_lru_map_delete_node")
int BPF_PROG(count_evicted, void *arg, struct bpf_lru_node *node, int evicts)
{
	if (evicts & 0xff)
		__sync_fetch_and_add(&evicted, 1);
	return 0;
}

/* Those that the test has made, or one of these: each is in the map until it is freed. */
static bool is_descendant(struct task_struct *task)
{
	__u64 key = (__u64)task;

	return task->tgid == test_pid || bpf_map_lookup_elem(&descendants, &key);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(count_task, struct task_struct *parent, struct task_struct *child)
{
	__u64 key = (__u64)child;
	__u8 value = 0;

	if (!is_descendant(parent))
		return 0;
	__sync_fetch_and_add(&tasks_made, 1);
	/* If there is no room for it, it will not be seen to be freed, and the test fails. */
	bpf_map_update_elem(&descendants, &key, &value, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(count_task_freed, struct task_struct *task)
{
	__u64 key = (__u64)task;

	if (!bpf_map_delete_elem(&descendants, &key))
		__sync_fetch_and_add(&tasks_freed, 1);
	return 0;
}

#endif
