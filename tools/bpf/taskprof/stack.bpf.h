/* SPDX-License-Identifier: GPL-2.0 */
/* The user stack of the current task, by its frame pointers. */
#ifndef __STACK_BPF_H
#define __STACK_BPF_H

/* User registers at the sample. */
struct user_regs {
	__u64 ip;
	__u64 sp;
	__u64 fp;
};

/* What a function with a frame pointer leaves on the stack. */
struct link {
	__u64 fp;
	__u64 ip;
};

/*
 * Seen from an interrupt or an NMI in the kernel, these are the registers with
 * which the task entered it; else, the interrupted ones.
 */
static void get_user_regs(struct user_regs *user)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	user->ip = PT_REGS_IP_CORE(regs);
	user->sp = PT_REGS_SP_CORE(regs);
	user->fp = PT_REGS_FP_CORE(regs);
}

/*
 * A stack grows down, so a caller's frame lies above. Where the link leads nowhere,
 * its return address is that of the outermost function, which has no frame pointer.
 */
static __always_inline bool next_frame(struct user_regs *at, const struct link *link, long err,
				       __u32 *end)
{
	if (err || !link->ip) {
		*end = err && at->fp ? END_BY_FAULT : END_OF_CHAIN;
		return false;
	}
	at->ip = link->ip;
	at->fp = link->fp > at->fp ? link->fp : 0;
	return true;
}

/* Put @ip into its file. A first frame counts wherever it is; a caller must lie in code. */
static bool place_frame(struct sample_record *sample, __u32 i, __u64 ip, struct area *area)
{
	int err;

	if (ip < area->start || ip >= area->end) {
		err = find_area(ip, area);
		if (err && err != -ENOENT)
			sample->areas_locked++;
		else if (!area->end && i)
			return false;
		if (area->is_new)
			send_build_id(area);
	}
	if (i >= MAX_FRAMES)
		return false;
	sample->user[i].file = area->file;
	sample->user[i].addr = area->file ? ip - area->start + area->offset : 0;
	return true;
}

/*
 * In the callback (@in_task) with page faults; at the sample as far as the pages are
 * there. It returns the number of frames.
 */
static __always_inline __u32 walk_user_stack(struct sample_record *sample, __u32 *end,
					     const struct user_regs *regs, const bool in_task)
{
	struct user_regs at = *regs;
	struct link link = {};
	struct area area = {};
	__u32 nr = 0;
	long err;
	int i;

	*end = END_TOO_DEEP;
	bpf_for(i, 0, MAX_FRAMES) {
		if (in_task && !place_frame(sample, i, at.ip, &area)) {
			*end = END_IN_DATA;
			break;
		}
		nr = i + 1;
		err = -1;
		if (at.fp && in_task)
			err = bpf_copy_from_user(&link, sizeof(link), (void *)at.fp);
		else if (at.fp)
			err = bpf_probe_read_user(&link, sizeof(link), (void *)at.fp);
		if (!next_frame(&at, &link, err, end))
			break;
	}
	return nr;
}

struct build_ids {
	struct bpf_stack_build_id of[MAX_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct build_ids);
} scratch SEC(".maps");

#define RWSEM_TAKEN	7	/* held or waited for by a writer: no reader gets it at once */

/* On PREEMPT_RT nobody gets the lock with interrupts disabled. */
static bool mm_is_locked(void)
{
	struct mm_struct *mm = BPF_CORE_READ(bpf_get_current_task_btf(), mm);

	if (!bpf_core_field_exists(mm->mmap_lock.count))
		return true;
	return BPF_CORE_READ(mm, mmap_lock.count.counter) & RWSEM_TAKEN;
}

/* At the sample: the build IDs as the kernel's helper gives them. */
static void try_build_ids(struct attempt *attempt, void *ctx)
{
	struct build_ids *ids;
	__u32 zero = 0;
	long len;
	int i;

	ids = bpf_map_lookup_elem(&scratch, &zero);
	if (!ids)
		return;
	attempt->mm_locked = mm_is_locked();
	len = bpf_get_stack(ctx, ids, sizeof(*ids), BPF_F_USER_STACK | BPF_F_USER_BUILD_ID);
	attempt->nr_build_ids = len > 0 ? len / sizeof(ids->of[0]) : 0;
	attempt->build_ids[0] = 0;
	attempt->build_ids[1] = 0;
	bpf_for(i, 0, MAX_FRAMES) {
		if (i >= attempt->nr_build_ids)
			break;
		if (ids->of[i].status == BPF_STACK_BUILD_ID_VALID)
			attempt->build_ids[(i >> 6) & 1] |= 1ULL << (i & 63);
	}
}

#endif /* __STACK_BPF_H */
