/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of the task work tests and their user side both know. */
#ifndef _TASK_WORK_ELEM_H
#define _TASK_WORK_ELEM_H

#include "async_shared.h"

#define TASK_WORK_TEXT_LEN 32

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

enum task_work_map {
	MAP_HASH,
	MAP_HASH_MALLOC,
	MAP_LRU_HASH,
	MAP_ARRAY,
	NR_MAPS,
	MAP_INNER = NR_MAPS,	/* an array, in an array of maps */
};

enum task_work_mode {
	MODE_SIGNAL,
	MODE_RESUME,
	NR_MODES,
};

/* Schedules and their ends: see task_work_accounting.h. */
struct task_work_accounting {
	__u64 scheduled;
	__u64 ran;
	__u64 released_after_run;
	__u64 cancelled;
	__u64 released_in_nmi;
};

#endif
