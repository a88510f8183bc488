/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of the task work torture and their user side both know. */
#ifndef _TASK_WORK_TORTURE_H
#define _TASK_WORK_TORTURE_H

#include "task_work_elem.h"

#define NR_KEYS		64
#define NR_LRU		(NR_KEYS / 2)	/* so that inserting one evicts another */
#define NR_MANY		512
#define NR_BURST	256	/* more contexts than the allocator has at hand for a CPU */
#define MAX_CPUS	8	/* with decisions of their own; more CPUs share them */
#define NR_PAGES	8

/* prctl() of a worker: do what the second argument says */
#define TORTURE_PRCTL	0x7457
#define TORTURE_DONE	EALREADY

#define NR_TORTURE_MAPS	(MAP_INNER + 1)

/* Where a program schedules or disturbs. */
enum torture_context {
	IN_TASK,	/* an LSM hook that may sleep, in prctl() */
	IN_SYSCALL,	/* BPF_PROG_RUN of a program that comes and goes */
	IN_CALLBACK,
	IN_ENTRY,	/* of exit_group() and execve() */
	LAST_MAY_LOCK = IN_ENTRY,
	IN_SWITCH,	/* under the run-queue lock */
	IN_WAKING,	/* under the pi_lock of the woken task */
	IN_INTERRUPT,
	IN_NMI,
	NR_CONTEXTS,
};

/* The task that runs the callback. */
enum torture_target {
	ON_CURRENT,
	ON_OTHER,
	ON_ANY_TASK,	/* by number, see tids */
	NR_TARGETS,
};

/* Places in tids: those that stay, and those that come and go. */
enum torture_tid {
	TID_WORKER,
	NR_WORKERS	= 4,
	TID_SLEEPER	= NR_WORKERS,
	TID_KTHREAD,
	NR_LASTING,
	TID_CHILD	= NR_LASTING,
	NR_SPAWNERS	= 2,
	NR_TIDS		= TID_CHILD + NR_SPAWNERS,
};

enum torture_result {
	RESULT_OK,
	RESULT_EBUSY,
	RESULT_ENOENT,
	RESULT_EPERM,
	RESULT_ESRCH,
	RESULT_EOPNOTSUPP,
	RESULT_ENOMEM,
	RESULT_EBADF,
	RESULT_OTHER,
	NR_RESULTS,
};

struct torture_elem {
	__u64 id;
	const char *user_ptr;
	struct bpf_task_work tw;
	char text[16];
};

/* Whoever decides by chance has a number: the threads of the test, then each context and CPU. */
#define DECIDER_CONTEXT	32
#define decider(context, cpu) (DECIDER_CONTEXT + (context) * MAX_CPUS + (cpu))
#define NR_DECIDERS	decider(NR_CONTEXTS, 0)

static inline __u64 torture_mix(__u64 x)
{
	x ^= x >> 32;
	x *= 0x9e3779b97f4a7c15ULL;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93ULL;
	return x ^ x >> 32;
}

/*
 * The n-th decision of a decider. It depends on nothing else, so that the seed brings
 * back all decisions. When each is taken is the scheduler's affair.
 */
static inline __u64 torture_draw(__u64 seed, __u32 decider, __u64 n)
{
	return torture_mix(torture_mix(seed + decider) + n);
}

/* What a decision says, in fields that do not overlap. */
static inline __u32 draw_action(__u64 draw)	{ return draw & 0xff; }
static inline __u32 draw_map(__u64 draw)	{ return (draw >> 8 & 0xff) % NR_TORTURE_MAPS; }
static inline __u32 draw_key(__u64 draw)	{ return (draw >> 16 & 0xff) % NR_KEYS; }
static inline __u32 draw_mode(__u64 draw)	{ return (draw >> 24 & 0xff) % NR_MODES; }
static inline __u32 draw_target(__u64 draw)	{ return (draw >> 32 & 0xff) % NR_TARGETS; }
static inline __u32 draw_tid(__u64 draw)	{ return (draw >> 40 & 0xff) % NR_TIDS; }
static inline __u32 draw_number(__u64 draw)	{ return draw >> 48; }

#endif
