/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What was found out about the code of a thread, kept for its next sample: as long as
 * nobody changes its memory map, that stays right.
 */
#ifndef __RECENT_BPF_H
#define __RECENT_BPF_H

#define NR_RECENT	4	/* the program, its libraries */
#define NR_CALLERS	16

/* It was a number before it became a seqcount_t; the types of some kernels have it not at all. */
struct mm_struct___number {
	int mm_lock_seq;
} __attribute__((preserve_access_index));

struct mm_struct___seqcount {
	seqcount_t mm_lock_seq;
} __attribute__((preserve_access_index));

/* Grows with each change of the memory map. 0: it does not tell, so each time may be one. */
static __u32 map_seq(struct mm_struct *mm)
{
	struct mm_struct___seqcount *later = (void *)mm;
	struct mm_struct___number *first = (void *)mm;
	__u32 seq = 0;

	if (bpf_core_field_exists(later->mm_lock_seq))
		bpf_core_read(&seq, sizeof(seq), &later->mm_lock_seq);
	else if (bpf_core_field_exists(first->mm_lock_seq))
		bpf_core_read(&seq, sizeof(seq), &first->mm_lock_seq);
	return seq;
}

/* An address may be that of a new memory map after the end of an old one. */
static __u64 get_owner(struct task_struct *task)
{
	__u64 mm = (__u64)BPF_CORE_READ(task, mm);

	return mm ^ task->group_leader->start_time << 16 ^ task->self_exec_id << 48;
}

struct recent {
	__u64 owner;
	__u32 seq;
	__u32 next;			/* the area that the next one takes the place of */
	struct area areas[NR_RECENT];
	__u64 callers[NR_CALLERS];	/* addresses behind a call, each in its place */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct recent);
} recents SEC(".maps");

/*
 * Of the current thread; NULL if nothing can be kept. The map's state is read before what
 * is kept with it: who changes an area later changes that state, too, and nobody runs code
 * of a new area before.
 */
static struct recent *get_recent(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 seq = map_seq(task->mm);
	__u64 owner = get_owner(task);
	struct recent *recent;

	if (!seq)
		return NULL;
	recent = bpf_task_storage_get(&recents, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (recent && (recent->owner != owner || recent->seq != seq)) {
		__builtin_memset(recent, 0, sizeof(*recent));
		recent->owner = owner;
		recent->seq = seq;
	}
	return recent;
}

static bool recall_area(const struct recent *recent, __u64 ip, struct area *area)
{
	int i;

	for (i = 0; i < NR_RECENT; i++) {
		if (ip >= recent->areas[i].start && ip < recent->areas[i].end) {
			*area = recent->areas[i];
			return true;
		}
	}
	return false;
}

static void keep_area(struct recent *recent, const struct area *area)
{
	if (area->end)
		recent->areas[recent->next++ & (NR_RECENT - 1)] = *area;
}

static __u64 *place_of_caller(struct recent *recent, __u64 ip)
{
	return &recent->callers[(ip ^ ip >> 4 ^ ip >> 12) & (NR_CALLERS - 1)];
}

#endif /* __RECENT_BPF_H */
