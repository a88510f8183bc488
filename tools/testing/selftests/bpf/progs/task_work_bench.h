/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of the task work bench and their user side both know. */
#ifndef _TASK_WORK_BENCH_H
#define _TASK_WORK_BENCH_H

/* What a program does with its slot. */
enum task_work_op {
	OP_NOTHING,	/* to be subtracted */
	OP_RESUME,
	OP_SIGNAL,
	OP_ADD_RESUME,	/* the least there can be: task_work_add() of a work that is always there */
	OP_ADD_SIGNAL,
	OP_ADD_SECTION,	/* the first, and the section that a callback runs in */
};

#define NR_BUSY 1000

/* CPUs whose clock is watched, a power of two */
#define MAX_CLOCKS 256

/* Producers stay out of each other's cache lines. */
#define SLOT_OF(producer) (8 * (producer))

#endif
