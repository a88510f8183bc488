/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The task work torture: task_work_torture.c runs the passes and checks what they
 * leave, task_work_torture_threads.c has the threads and what each of them does.
 */
#ifndef _TASK_WORK_TORTURE_THREADS_H
#define _TASK_WORK_TORTURE_THREADS_H

#include "task_work_helpers.h"
#include "progs/task_work_torture.h"

#define MAX_WORKERS	16
#define MAX_UPPER	64
#define SERVER		(MAX_WORKERS + 1)	/* as a decider */
#define NR_WAITS	200

/* What has been done, by kind. */
enum torture_op {
	OP_INSERT, OP_DELETE, OP_LOOKUP_AND_DELETE, OP_UPDATE_BATCH, OP_DELETE_BATCH,
	OP_LOOKUP_AND_DELETE_BATCH, OP_DROP_PAGE, OP_FILL_PAGE, OP_END_ASLEEP,
	OP_EXIT, OP_EXEC, OP_THREAD_EXEC, OP_KILL, OP_KILL_ASLEEP,
	OP_SWAP_INNER, OP_ORPHAN_INNER, OP_LOAD, OP_OFFLINE, OP_ONLINE, OP_NMI,
	NR_OPS,
};

struct task_work_torture;

struct torture {
	struct task_work_torture *skel;
	int map_fds[NR_TORTURE_MAPS];
	int many_fd;
	int inner_fd;		/* the user reference to the present inner map */
	void *pages;
	int uffd;
	int server_stop[2];
	pthread_t server;
	struct target sleeper;
	__u64 seed;
	__u64 ops[NR_OPS];
	int failures;
	long objects;		/* of the slab, before */
	int upper_cpus[MAX_UPPER];	/* half of all at most: these come and go */
	int nr_upper;
	int pass;
	int go;
	int secs;		/* passes may begin for so long */
	struct timespec start;
};

struct worker {
	struct torture *t;
	const struct role *role;
	pthread_t thread;
	__u32 nr;
	int spawner;
	int tid;
	struct bpf_link *sampler;
};

extern const char * const torture_op_names[NR_OPS];

int torture_secs(const struct torture *t);
void torture_failed(struct torture *t, const char *what);
int torture_fill_map(struct torture *t, int fd, __u32 first, __u32 nr);
void torture_worker_op(struct worker *w, __u64 draw);
void torture_list_upper_cpus(struct torture *t);
void *torture_page_server(void *t);
int torture_start_workers(struct torture *t, struct worker *workers);

#endif
