/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Samples in execve(). Their stack goes before the callback can run, so they are completed at
 * the last moment at which it is there; for those that strike later, it is kept (kept.bpf.h),
 * and the same in exit.
 */
#ifndef __EXEC_BPF_H
#define __EXEC_BPF_H

/*
 * Which slots have samples in execve(): of a thread, the last few. Threads may have the same
 * place: what one of them overwrites is as if it had come too late.
 */
#define NR_EXECS	1024	/* masks, plus one */
#define NR_IN_EXEC	32

struct exec_samples {
	__s32 tid;
	__u32 next;
	__u32 keys[NR_IN_EXEC];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_EXECS);
	__type(key, __u32);
	__type(value, struct exec_samples);
} execs SEC(".maps");

static struct exec_samples *execs_of(__s32 tid)
{
	__u32 key = tid & (NR_EXECS - 1);

	return bpf_map_lookup_elem(&execs, &key);
}

static void note_exec(const struct sample_slot *slot)
{
	struct exec_samples *exec = execs_of(slot->tid);

	if (!exec)
		return;
	exec->tid = slot->tid;
	exec->keys[exec->next++ & (NR_IN_EXEC - 1)] = slot->key;
}

/*
 * The slot may be another thread's by now, which fills it. But it was this thread that emptied
 * it then, and forgot its own tid: so it is this one's if its tid is there.
 */
static bool is_of_this_exec(const struct sample_slot *slot, const struct task_struct *task)
{
	return slot->tid == task->pid && slot->in_exec && slot->exec_id == task->self_exec_id &&
	       slot->start_time == task->start_time;
}

/* As the callback would read it, or not at all: what is not there now will never be. */
static __u32 read_old_stack(struct sample_slot *slot)
{
	struct sample_record *sample = &slot->sample;
	__u32 nr;

	renew_regs(slot);
	nr = read_user_stack(slot, false);
	if (!slot->walk.missed && !sample->areas_locked && sample->lost_copy == NOT_LOST)
		return nr;
	sample->end = END_OF_CHAIN;
	sample->areas_locked = 0;
	sample->lost_copy = NOT_LOST;
	sample->copy = 0;
	return 0;
}

static void complete_in_exec(struct sample_slot *slot)
{
	__u32 nr;

	if (__sync_val_compare_and_swap(&slot->state, WAITING, SENDING) != WAITING)
		return;
	nr = read_old_stack(slot);
	send(&slot->sample, nr ? DONE_IN_EXEC : DROP_EXEC, nr);
	empty(slot);
}

static void complete_all_in_exec(const struct task_struct *task)
{
	struct exec_samples *exec = execs_of(task->pid);
	struct sample_slot *slot;
	__u32 key;
	int i;

	if (!exec || exec->tid != task->pid)
		return;
	exec->tid = 0;
	bpf_for(i, 0, NR_IN_EXEC) {
		key = exec->keys[i & (NR_IN_EXEC - 1)];
		slot = bpf_map_lookup_elem(&slots, &key);
		if (slot && is_of_this_exec(slot, task))
			complete_in_exec(slot);
	}
}

/* Others may be many, and their files, too. An event of somebody else's does no harm. */
static bool is_profiled(const struct task_struct *task)
{
	return all_tasks || task->perf_event_ctxp;
}

/*
 * From here on execve() returns to the new program or not at all, and it has the stack of its
 * caller still. When the callback comes, that is gone, and the slot is empty.
 */
SEC("tp_btf/sched_prepare_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	if (!task->mm)
		return 0;
	complete_all_in_exec(task);
	if (!stack_size && is_profiled(task))
		keep_stack(task, false);
	return 0;
}

/* In exit, before the memory goes. The tracepoint sched_process_exit is behind that in 6.12. */
SEC("fentry/exit_signals")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (task->mm && !is_half_built(task) && is_profiled(task))
		keep_stack(task, true);
	return 0;
}

#endif /* __EXEC_BPF_H */
