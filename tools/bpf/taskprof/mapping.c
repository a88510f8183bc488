// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/map_files leads to files that have no path any more. But the kernel waits for
 * the lock of the memory map there, and the process may be one that never gives it back. So
 * a thread waits for it: if it takes long, the samples are gathered without that file.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "prof.h"

#define WAIT_MS		200
#define MAX_STUCK	16	/* threads that wait still */
#define NSEC_PER_SEC	1000000000L

/* Of the thread, and of who waits for it: the last one of them frees it. */
struct opening {
	char path[64];
	int fd;
	int users;
	sem_t done;
};

static void put_opening(struct opening *opening)
{
	if (__atomic_sub_fetch(&opening->users, 1, __ATOMIC_ACQ_REL))
		return;
	if (opening->fd >= 0)
		close(opening->fd);
	sem_destroy(&opening->done);
	free(opening);
}

static void *open_slowly(void *arg)
{
	struct opening *opening = arg;

	opening->fd = open(opening->path, O_PATH | O_CLOEXEC);
	sem_post(&opening->done);
	put_opening(opening);
	return NULL;
}

static struct opening *start_opening(const char *path)
{
	struct opening *opening = must(calloc(1, sizeof(*opening)));
	pthread_t thread;

	opening->fd = -1;
	opening->users = 2;
	sem_init(&opening->done, 0, 0);
	snprintf(opening->path, sizeof(opening->path), "%s", path);
	if (!pthread_create(&thread, NULL, open_slowly, opening)) {
		pthread_detach(thread);
		return opening;
	}
	opening->users = 1;
	put_opening(opening);
	return NULL;
}

/* Returns false if it is not there in time. */
static bool wait_for(struct opening *opening)
{
	struct timespec until;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_MS * 1000000L;
	until.tv_sec += until.tv_nsec / NSEC_PER_SEC;
	until.tv_nsec %= NSEC_PER_SEC;
	do {
		err = sem_clockwait(&opening->done, CLOCK_MONOTONIC, &until);
	} while (err && errno == EINTR);
	return !err;
}

/*
 * A descriptor that only stands for the file, which the caller closes; or -1. A process that
 * lets us wait once is not asked again.
 */
int open_mapping(uint32_t pid, const char *path)
{
	static uint32_t stuck_pid, nr_stuck;
	struct opening *opening;
	int fd = -1;

	if (pid == stuck_pid || nr_stuck >= MAX_STUCK)
		return -1;
	opening = start_opening(path);
	if (!opening)
		return -1;
	if (wait_for(opening)) {
		fd = opening->fd;
		opening->fd = -1;
	} else {
		stuck_pid = pid;
		nr_stuck++;
		if (opt.verbose)
			warnx("process %u: somebody keeps its memory map locked", pid);
	}
	put_opening(opening);
	return fd;
}
