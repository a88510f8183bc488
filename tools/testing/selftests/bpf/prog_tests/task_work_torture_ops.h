/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The threads of the task work torture and what each of them does. Every operation
 * is decided by one number that is drawn for it. A part of task_work_torture.c.
 */
#ifndef _TASK_WORK_TORTURE_OPS_H
#define _TASK_WORK_TORTURE_OPS_H

#include <sys/prctl.h>
#include "task_work_helpers.h"
#include "progs/task_work_torture.h"

#define MAX_WORKERS	16
#define MAX_UPPER	64
#define SERVER		(MAX_WORKERS + 1)	/* as a decider */
#define MAX_NMIS	1000	/* each adds to the kernel's log, which is to stay whole */
#define NR_BATCH	8
#define NR_WAITS	200

/* What has been done, by kind. */
enum deed {
	DEED_INSERT, DEED_DELETE, DEED_LOOKUP_AND_DELETE, DEED_UPDATE_BATCH, DEED_DELETE_BATCH,
	DEED_LOOKUP_AND_DELETE_BATCH, DEED_DROP_PAGE, DEED_FILL_PAGE, DEED_END_ASLEEP,
	DEED_EXIT, DEED_EXEC, DEED_THREAD_EXEC, DEED_KILL, DEED_KILL_ASLEEP,
	DEED_SWAP_INNER, DEED_ORPHAN_INNER, DEED_LOAD, DEED_OFFLINE, DEED_ONLINE, DEED_NMI,
	NR_DEEDS,
};

static const char * const deed_names[] = {
	"insert", "delete", "lookup and delete", "update batch", "delete batch",
	"lookup and delete batch", "drop page", "fill page", "end asleep",
	"exit", "exec", "exec of a thread", "kill", "kill asleep",
	"swap inner", "orphan inner", "load", "offline", "online", "NMI",
};

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
	__u64 deeds[NR_DEEDS];
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

/* In each pass, so many threads do so many operations each. */
struct role {
	int threads;
	int rounds;
	void (*operate)(struct worker *w, __u64 draw);
};

static void did(struct torture *t, enum deed deed, bool ok)
{
	if (ok)
		__atomic_fetch_add(&t->deeds[deed], 1, __ATOMIC_SEQ_CST);
}

static void failed(struct torture *t, const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	__atomic_fetch_add(&t->failures, 1, __ATOMIC_SEQ_CST);
}

static int torture_secs(struct torture *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - t->start.tv_sec;
}

static char *user_page(struct torture *t, __u32 nr)
{
	return t->pages + nr % NR_PAGES * getpagesize();
}

static struct torture_elem new_elem(struct torture *t, __u32 key)
{
	return (struct torture_elem){ .id = key, .user_ptr = user_page(t, key) };
}

static int insert(struct torture *t, int fd, __u32 key)
{
	struct torture_elem value = new_elem(t, key);

	return bpf_map_update_elem(fd, &key, &value, BPF_ANY);
}

static int fill_map(struct torture *t, int fd, __u32 first, __u32 nr)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct torture_elem values[nr];
	__u32 keys[nr], i;

	for (i = 0; i < nr; i++) {
		keys[i] = first + i;
		values[i] = new_elem(t, first + i);
	}
	return bpf_map_update_batch(fd, keys, values, &nr, &opts);
}

static void delete_batch(struct torture *t, int fd, __u32 first)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 keys[NR_BATCH], i, nr = NR_BATCH;

	for (i = 0; i < NR_BATCH; i++)
		keys[i] = (first + i) % NR_KEYS;
	bpf_map_delete_batch(fd, keys, &nr, &opts);
	did(t, DEED_DELETE_BATCH, nr > 0);
}

static void lookup_and_delete_batch(struct torture *t, int fd)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct torture_elem values[NR_BATCH];
	__u32 keys[NR_BATCH], next, nr = NR_BATCH;

	bpf_map_lookup_and_delete_batch(fd, NULL, &next, keys, values, &nr, &opts);
	did(t, DEED_LOOKUP_AND_DELETE_BATCH, nr > 0);
}

/* From time to time all of the map that bursts use, so that they have to allocate. */
static void renew_many(struct torture *t, __u64 draw)
{
	if (draw_number(draw) / 16 % 8)
		return;
	did(t, DEED_UPDATE_BATCH, !fill_map(t, t->many_fd, 0, NR_MANY));
}

/* Run the program in_task, which makes the system call fail in a way of its own. */
static int act(__u64 draw)
{
	return prctl(TORTURE_PRCTL, draw, 0, 0, 0) && errno == TORTURE_DONE ? 0 : -1;
}

static void worker_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	__u32 map = draw_map(draw), key = draw_key(draw);
	int fd = t->map_fds[map];
	struct torture_elem elem;

	if (map == MAP_INNER) {
		renew_many(t, draw);
		return;
	}
	switch (draw_number(draw) % 16) {
	default:
		if (act(draw))
			failed(t, "prctl");
		break;
	case 10:
	case 11:
		did(t, DEED_INSERT, !insert(t, fd, key));
		break;
	case 12:
		did(t, DEED_DELETE, !bpf_map_delete_elem(fd, &key));
		break;
	case 13:
		did(t, DEED_LOOKUP_AND_DELETE, !bpf_map_lookup_and_delete_elem(fd, &key, &elem));
		break;
	case 14:
		if (key % 2)
			delete_batch(t, fd, key);
		else
			lookup_and_delete_batch(t, fd);
		break;
	case 15:
		did(t, DEED_DROP_PAGE,
		    !madvise(user_page(t, key), getpagesize(), MADV_DONTNEED));
		break;
	}
}

#endif
