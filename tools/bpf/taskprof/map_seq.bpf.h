/* SPDX-License-Identifier: GPL-2.0 */
/* Whether somebody has changed the memory map of a process. */
#ifndef __MAP_SEQ_BPF_H
#define __MAP_SEQ_BPF_H

/* It was a number before it became a seqcount_t; the types of some kernels have it not at all. */
struct mm_struct___number {
	int mm_lock_seq;
} __attribute__((preserve_access_index));

struct mm_struct___seqcount {
	seqcount_t mm_lock_seq;
} __attribute__((preserve_access_index));

/* Grows whenever somebody may have changed the memory map. 0: this kernel does not tell. */
static __u32 map_seq(struct mm_struct *mm)
{
	struct mm_struct___seqcount *later = (void *)mm;
	struct mm_struct___number *first = (void *)mm;
	__u32 seq = 0;

	if (bpf_core_field_exists(later->mm_lock_seq))
		seq = later->mm_lock_seq.sequence;
	else if (bpf_core_field_exists(first->mm_lock_seq))
		seq = first->mm_lock_seq;
	return seq;
}

#endif /* __MAP_SEQ_BPF_H */
