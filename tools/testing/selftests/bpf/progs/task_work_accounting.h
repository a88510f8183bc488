/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The accounting of task work: what has been scheduled has to end. Include this once.
 *
 * Two sides count it, and not the one what the other leaves over:
 *  - the programs count each schedule that returned 0, and each callback;
 *  - the kernel takes a reference to the program for each schedule, and drops it
 *    when the callback has returned or the work is cancelled. count_released() sees
 *    each drop. If the thread has not just run a callback, then it is that of work
 *    that was cancelled.
 *
 * A program that interrupts or preempts count_released() and puts another reference, on
 * that CPU, is not seen by it, but counted by the kernel as its recursion miss. The
 * test reads that number.
 */
#ifndef _TASK_WORK_ACCOUNTING_H
#define _TASK_WORK_ACCOUNTING_H

#define MAX_THREADS	32768	/* as many numbers as a small machine has */

struct accounted_thread {
	__u32 begun;	/* callbacks whose reference is not yet dropped */
	__u32 inside;	/* in a schedule that may lock: 1, and 2 when it dropped one */
};

/* read by the test */
struct task_work_accounting accounting;

/* Threads that live at the same time have numbers that do not collide here. */
static struct accounted_thread threads[MAX_THREADS];

static struct accounted_thread *current_thread(void)
{
	return &threads[current_tid() & (MAX_THREADS - 1)];
}

static void account_callback(void)
{
	__sync_fetch_and_add(&accounting.ran, 1);
	__sync_fetch_and_add(&current_thread()->begun, 1);
}

/*
 * Where it may lock, a schedule can find the task gone when it has taken its
 * references, and drops them and returns -ESRCH. That drop is no cancelled work.
 */
static __always_inline void account_before_schedule(bool may_lock)
{
	if (may_lock)
		current_thread()->inside = 1;
}

static __always_inline void account_schedule(bool may_lock, int err)
{
	struct accounted_thread *me = current_thread();

	if (may_lock) {
		if (err == -ESRCH && me->inside == 2)
			__sync_fetch_and_add(&accounting.cancelled, -1);
		me->inside = 0;
	}
	if (!err)
		__sync_fetch_and_add(&accounting.scheduled, 1);
}

SEC("fentry/bpf_prog_put_nosleep")
int BPF_PROG(count_released, struct bpf_prog *prog)
{
	bool in_task = !(preempt_count() & (HARDIRQ_MASK | NMI_MASK));
	struct accounted_thread *me = current_thread();

	if (preempt_count() & NMI_MASK)
		__sync_fetch_and_add(&accounting.released_in_nmi, 1);
	if (in_task && me->inside)
		me->inside = 2;
	if (in_task && me->begun) {
		__sync_fetch_and_add(&me->begun, -1);
		__sync_fetch_and_add(&accounting.released_after_run, 1);
	} else {
		__sync_fetch_and_add(&accounting.cancelled, 1);
	}
	return 0;
}

#endif
