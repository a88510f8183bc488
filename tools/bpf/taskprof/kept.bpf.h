/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the callers of execve() and exit() were, for samples that strike there when the memory
 * is gone. Nobody knows before whether there will be one, so it is kept each time.
 */
#ifndef __KEPT_BPF_H
#define __KEPT_BPF_H

#define NR_KEPT		256	/* of each kind; a mask, plus one: some have the same place */

struct kept_stack {
	__u32 taken;
	__s32 id;		/* of the process, or in exit the thread; in the first namespace */
	__u32 exec_id;		/* of the old program; one less than the new one's */
	__u32 nr;		/* frames of the user; 0 if not all could be had */
	__u64 start_time;	/* of the same */
	__u64 task;		/* in execve(), a thread takes over the other two of its leader */
	struct user_regs regs;
	struct walk walk;
	struct sample_record sample;	/* its name, frames, and how they end */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * NR_KEPT);
	__type(key, __u32);
	__type(value, struct kept_stack);
} kept_stacks SEC(".maps");

/*
 * Whoever comes second goes without, as the first one may be preempted by who would wait. A
 * thread that calls execve() has its process' place while the others exit.
 */
static struct kept_stack *take_kept(__s32 id, bool in_exit)
{
	__u32 key = (id & (NR_KEPT - 1)) + (in_exit ? NR_KEPT : 0);
	struct kept_stack *kept = bpf_map_lookup_elem(&kept_stacks, &key);

	return kept && !__sync_val_compare_and_swap(&kept->taken, 0, 1) ? kept : NULL;
}

/* Orders what was written before it, on arm64, too. */
static void put_kept(struct kept_stack *kept)
{
	__sync_val_compare_and_swap(&kept->taken, 1, 0);
}

/* With the memory that is about to go, and no page faults. */
static void keep_stack(struct task_struct *task, bool in_exit)
{
	const struct task_struct *owner = in_exit ? task : task->group_leader;
	struct kept_stack *kept = take_kept(owner->pid, in_exit);
	struct sample_record *sample;

	if (!kept)
		return;
	sample = &kept->sample;
	kept->id = owner->pid;
	kept->start_time = owner->start_time;
	kept->task = (__u64)task;
	kept->exec_id = task->self_exec_id;
	name(sample);
	sample->areas_locked = 0;
	get_user_regs(&kept->regs);
	kept->nr = walk_user_stack(&kept->walk, sample, &sample->end, &kept->regs, false);
	if (kept->walk.missed || sample->areas_locked)
		kept->nr = 0;
	put_kept(kept);
}

/*
 * Whether nothing of the new program has run: its stack pointer is the first one, and other
 * registers are 0. A later execve() that failed there would have an error for its caller, or
 * its number for the restart; a signal's handler begins 8 below a multiple of 16 on x86-64,
 * where the first stack pointer is one, and has an argument in the result's place on arm64.
 */
static bool is_at_start(const struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs((struct task_struct *)task);

	return !PT_REGS_RC(regs) && PT_REGS_SP(regs) == BPF_CORE_READ(task, mm, start_stack);
}

/*
 * Whether it was the execve() that the sample struck in, which got past on_exec(). A thread
 * takes over its leader's number and time of start there. What struck before the new number
 * was set is of the execve() that has set it; later, before the new program was there, or
 * ran.
 */
static bool is_kept_of(const struct kept_stack *kept, const struct sample_slot *slot)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	return kept->task == (__u64)task && kept->id == task->tgid &&
	       kept->start_time == task->group_leader->start_time &&
	       task->self_exec_id == kept->exec_id + 1 &&
	       (slot->exec_id == kept->exec_id || slot->half_built || is_at_start(task));
}

/* What was tried at the sample was not with the memory of these frames. */
static __u32 copy_kept(const struct kept_stack *kept, struct sample_record *sample)
{
	__u32 nr = kept->nr & MAX_FRAMES, at = sample->nr_kernel & MAX_FRAMES;

	__builtin_memcpy(sample->comm, kept->sample.comm, sizeof(sample->comm));
	sample->end = kept->sample.end;
	sample->moved = 0;
	sample->attempt.nr_frames = 0;
	sample->attempt.nr_build_ids = 0;
	bpf_probe_read_kernel(&sample->frames[at], nr * sizeof(__u64), kept->sample.frames);
	return nr;
}

/* The number of frames of a sample in execve() that struck too late, or was late for on_exec(). */
static __u32 recall_stack(struct sample_slot *slot)
{
	struct kept_stack *kept = take_kept(bpf_get_current_task_btf()->tgid, false);
	__u32 nr = 0;

	if (!kept)
		return 0;
	if (is_kept_of(kept, slot))
		nr = copy_kept(kept, &slot->sample);
	put_kept(kept);
	return nr;
}

/* The same in exit, where the user stack is what it was at the last entry to the kernel. */
static __u32 recall_at_exit(struct sample_record *sample)
{
	const struct task_struct *task = bpf_get_current_task_btf();
	struct kept_stack *kept = take_kept(task->pid, true);
	__u32 nr = 0;

	if (!kept)
		return 0;
	if (kept->task == (__u64)task && kept->id == task->pid &&
	    kept->start_time == task->start_time)
		nr = copy_kept(kept, sample);
	put_kept(kept);
	return nr;
}

#endif /* __KEPT_BPF_H */
