// SPDX-License-Identifier: GPL-2.0
/*
 * Short-lived processes with cold pages, for taskprof to sample.
 *
 * Each process handles a request, a few calls deep. Its stack lies on pages of
 * a file, so they can be dropped from memory while it runs, as the kernel does
 * when memory is short. mincore() says that they are gone before the work begins.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_SIZE	(256 * 1024UL)
#define FRAME_SIZE	8192	/* of each function: callers lie on other pages */
#define MAP_SIZE	(2 * 1024 * 1024UL)
#define DROP_TRIES	10
#define KEEP		4096	/* below this much of the frame at work nothing is dropped */

static struct {
	const char *dir;
	unsigned int processes;
	unsigned int loops;
	bool timed;
	bool resident;
	bool is_worker;
} opt = {
	.dir = "/mnt",
	.processes = 32,
	.loops = 2000000,
};

static int stack_fd;
static char *stack;
static long page_size;

static unsigned long sink;

static bool is_resident(void *page)
{
	unsigned char in_memory;

	if (mincore(page, page_size, &in_memory))
		err(1, "mincore");
	return in_memory & 1;
}

/*
 * Only clean pages that nobody maps can be dropped. The kernel itself may hold one
 * for a moment, on its way to a list of pages.
 */
static bool drop(void *start, size_t len, int fd, off_t offset)
{
	int tries;

	for (tries = 0; tries < DROP_TRIES; tries++) {
		if (madvise(start, len, MADV_DONTNEED))
			err(1, "madvise");
		errno = posix_fadvise(fd, offset, len, POSIX_FADV_DONTNEED);
		if (errno)
			err(1, "posix_fadvise");
		if (!is_resident(start))
			return true;
	}
	return false;
}

/* All callers' frames: what lies above the one that asks. */
static void drop_stack(void)
{
	char *from = (char *)__builtin_frame_address(0) + KEEP;

	from = (char *)((uintptr_t)from & -page_size);
	if (fsync(stack_fd))
		err(1, "fsync");
	if (!drop(from, stack + STACK_SIZE - page_size - from, stack_fd, from - stack))
		errx(1, "%s: pages stay in memory; take a directory on a disk, not tmpfs (-d)",
		     opt.dir);
}

static void hash_blocks(void)
{
	unsigned long hash = 5381;
	unsigned int i;

	for (i = 0; i < opt.loops; i++)
		hash = hash * 33 + i;
	sink = hash;
}

/* Whoever changes the memory map holds its lock meanwhile. */
static void remap_buffer(void)
{
	char *map = mmap(NULL, MAP_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	unsigned int i;

	if (map == MAP_FAILED)
		err(1, "mmap");
	for (i = 0; i < opt.loops / 100000; i++)
		if (mprotect(map, MAP_SIZE, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ))
			err(1, "mprotect");
	munmap(map, MAP_SIZE);
}

static void parse_body(void)
{
	char frame[FRAME_SIZE];

	frame[0] = 0;
	if (!opt.resident)
		drop_stack();
	hash_blocks();
	remap_buffer();
	sink = frame[0];
}

static void parse_request(void)
{
	char frame[FRAME_SIZE];

	frame[0] = 0;
	parse_body();
	sink = frame[0];
}

static void handle_request(void)
{
	char frame[FRAME_SIZE];

	frame[0] = 0;
	parse_request();
	sink = frame[0];
}

/* The stack is a file's, mapped shared: what is written to it can be dropped. */
static void map_stack(void)
{
	stack_fd = open(opt.dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (stack_fd < 0) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/stack.XXXXXX", opt.dir);
		stack_fd = mkostemp(path, O_CLOEXEC);
		if (stack_fd < 0)
			err(1, "%s", path);
		unlink(path);
	}
	if (ftruncate(stack_fd, STACK_SIZE))
		err(1, "ftruncate");
	stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, stack_fd, 0);
	if (stack == MAP_FAILED || madvise(stack, STACK_SIZE, MADV_RANDOM))
		err(1, "mmap");
}

/*
 * As code does that has no frame pointers, this keeps a number in their register: only
 * unwind tables lead on to its callers.
 */
static void __attribute__((optimize("omit-frame-pointer"))) hash_without_pointer(void)
{
	unsigned int i;

	for (i = 0; i < opt.loops / 4; i++)
#if defined(__x86_64__)
		asm volatile("mov %0, %%ebp" : : "r"(i) : "rbp");
#else
		sink = i;
#endif
}

static int be_worker(void)
{
	static ucontext_t back, work;

	if (!opt.resident)
		hash_without_pointer();
	map_stack();
	getcontext(&work);
	work.uc_stack.ss_sp = stack;
	work.uc_stack.ss_size = STACK_SIZE;
	work.uc_link = &back;
	makecontext(&work, handle_request, 0);
	if (swapcontext(&back, &work))
		err(1, "swapcontext");
	return 0;
}

/* A program of its own for each: nobody has its pages in use yet. */
static char *copy_program(unsigned int nr)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to;
	char buf[65536], *path;
	ssize_t len;

	if (asprintf(&path, "%s/%u", opt.dir, nr) < 0)
		err(1, "asprintf");
	if (mkdir(path, 0700) || asprintf(&path, "%s/worker", path) < 0)
		err(1, "%s", path);
	to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (from < 0 || to < 0)
		err(1, "%s", path);
	while ((len = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, len) != len)
			err(1, "%s", path);
	if (len < 0 || fsync(to))
		err(1, "%s", path);
	close(from);
	close(to);
	return path;
}

static void remove_program(char *path)
{
	if (unlink(path))
		err(1, "%s", path);
	*strrchr(path, '/') = '\0';
	if (rmdir(path))
		err(1, "%s", path);
	free(path);
}

static void run_worker(const char *path)
{
	char loops[16];
	int status;
	pid_t pid;

	snprintf(loops, sizeof(loops), "%u", opt.loops);
	pid = vfork();
	if (pid < 0)
		err(1, "vfork");
	if (!pid) {
		execl(path, "worker", "-w", "-d", opt.dir, "-l", loops,
		      opt.resident ? "-r" : NULL, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "a worker failed (status %#x)", status);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void run_workers(void)
{
	char **paths = calloc(opt.processes, sizeof(*paths));
	unsigned int i;
	double start;

	if (!paths)
		err(1, "calloc");
	for (i = 0; i < opt.processes; i++)
		paths[i] = copy_program(i);
	start = now();
	for (i = 0; i < opt.processes; i++)
		run_worker(paths[i]);
	if (opt.timed)
		printf("%.6f seconds\n", now() - start);
	for (i = 0; i < opt.processes; i++)
		remove_program(paths[i]);
	free(paths);
}

static unsigned int to_number(void)
{
	char *end;
	unsigned long value = strtoul(optarg, &end, 10);

	if (*end || !value || value > UINT_MAX)
		errx(2, "%s: not a number", optarg);
	return value;
}

static void parse_option(int c)
{
	switch (c) {
	case 'd':
		opt.dir = optarg;
		break;
	case 'l':
		opt.loops = to_number();
		break;
	case 'n':
		opt.processes = to_number();
		break;
	case 'r':
		opt.resident = true;
		break;
	case 't':
		opt.timed = true;
		break;
	case 'w':
		opt.is_worker = true;
		break;
	default:
		errx(2, "usage: workload [-rt] [-d directory] [-l loops] [-n processes]");
	}
}

/* -w: one of the processes */
int main(int argc, char **argv)
{
	int c;

	page_size = sysconf(_SC_PAGESIZE);
	while ((c = getopt(argc, argv, "d:l:n:rtw")) != -1)
		parse_option(c);
	if (opt.is_worker)
		return be_worker();
	run_workers();
	return 0;
}
