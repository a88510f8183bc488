/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of the task work tests and their user side both know. */
#ifndef _TASK_WORK_ELEM_H
#define _TASK_WORK_ELEM_H

#define TASK_WORK_TEXT_LEN 32

/* preempt_count() as include/linux/preempt.h lays it out */
#define HARDIRQ_MASK	0x000f0000
#define NMI_MASK	0x00f00000

/* Elements that an NMI tries to replace: some are in other buckets than the first. */
#define NR_OTHERS	32

/* A hash without pre-allocation counts per CPU if it may hold more than 64 for each. */
#define COUNTED_PER_CPU	128
/* More than the kernel counts on one CPU before it adds that to the total. */
#define MORE_THAN_BATCH	40

/* Not a multiple of eight: the value starts behind padding. */
struct task_work_key {
	__u32 id;
	__u32 twice;
	__u32 inverse;
};

/* The field sits between others: neither its offset nor its end is special. */
struct task_work_elem {
	__u64 cookie;
	char text[TASK_WORK_TEXT_LEN];
	struct bpf_task_work tw;
	__u32 ran;
};

/* Contexts: BPF_TW_MAX_CANCELLED */
#define MAX_CANCELLED	16384

/* Maps that a test creates and watches: they have no id any more when they are freed. */
#define WATCHED_NAME	"tw_watched"
#define OTHER_NAME	"tw_other"

enum task_work_map {
	MAP_HASH,
	MAP_HASH_MALLOC,
	MAP_LRU_HASH,
	MAP_ARRAY,
	NR_MAPS,
};

enum task_work_mode {
	MODE_SIGNAL,
	MODE_RESUME,
	NR_MODES,
};

#endif
