// SPDX-License-Identifier: GPL-2.0
/* For taskprof's tests: execve() where its caller is easily mistaken for another, and exit. */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int left;

/* While the kernel gives that up, the old stack has gone: most samples strike there. */
static void be_large(void)
{
	size_t size = 4 << 20;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
}

static void become(const char *mode)
{
	char count[16], *argv[] = { "execs", (char *)mode, count, NULL }, *env[] = { NULL };

	snprintf(count, sizeof(count), "%d", left);
	execve("/proc/self/exe", argv, env);
}

static void exec_in_leader(void)
{
	become("threads");
}

static void *exec_in_thread(void *unused)
{
	become("threads");
	return NULL;
}

/* Its thread gets the leader's number then. */
static void threads(void)
{
	pthread_t thread;

	if (left-- <= 0)
		return;
	be_large();
	if (left % 3 == 2)
		exec_in_leader();
	if (pthread_create(&thread, NULL, exec_in_thread, NULL))
		errx(1, "no thread");
	pthread_join(thread, NULL);
}

extern char __executable_start[], etext[];

/* There is room for the new stack and the code, but not for all that the file has behind that. */
static void be_limited(void)
{
	unsigned long size = etext - __executable_start + 200 * 1024;
	struct rlimit limit = { size, size };

	if (setrlimit(RLIMIT_AS, &limit))
		err(1, "setrlimit");
}

static void fail_late(void)
{
	be_limited();
	become("nothing");
}

/* Its own frame is all that there is to walk, and what is mapped there then has the same code. */
static void fail_without_frame(void)
{
	char name[] = "execs", *argv[] = { name, NULL };

	be_limited();
#if defined(__x86_64__)
	asm volatile("xor %%ebp, %%ebp\n\tsyscall\n\tud2" : :
		     "a"(SYS_execve), "D"("/proc/self/exe"), "S"(argv), "d"(argv + 1) : "memory");
#elif defined(__aarch64__)
	register const char *file asm("x0") = "/proc/self/exe";
	register char **args asm("x1") = argv, **env asm("x2") = argv + 1;
	register long number asm("x8") = SYS_execve;

	asm volatile("mov x29, xzr\n\tsvc 0\n\tudf 0" : :
		     "r"(file), "r"(args), "r"(env), "r"(number) : "memory");
#endif
}

static void *fail_in_thread(void *unused)
{
	fail_late();
	return NULL;
}

/* It exits first, and the thread has its number then. */
static void fail_as_leader(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fail_in_thread, NULL))
		errx(1, "no thread");
	pthread_join(thread, NULL);
}

/* The kernel finds no more room when there is nobody who could be told. */
static void kill_each(void (*fail)(void))
{
	int status;

	for (; left; left--) {
		if (!fork())
			fail();
		if (wait(&status) < 0 || !WIFSIGNALED(status))
			errx(1, "execve() went well");
	}
}

static void late(void)
{
	kill_each(fail_late);
}

static void late_without_frame(void)
{
	kill_each(fail_without_frame);
}

static void late_in_thread(void)
{
	kill_each(fail_as_leader);
}

static void start_search(void)
{
	become("search");
}

/* The child is what the parent's execve() made, and its own ones fail. */
static void signals(void)
{
	if (!fork())
		start_search();
	wait(NULL);
}

static void on_signal(int signal)
{
}

/* Of an execve() that fails when a signal comes, the registers do not look so. */
static void search(void)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	char name[] = "none", *argv[] = { name, NULL };

	signal(SIGALRM, on_signal);
	setitimer(ITIMER_REAL, &often, NULL);
	for (; left; left--)
		execve("/none", argv, argv + 1);
}

/* Its first samples are in execve(). */
static void stopped(void)
{
	be_large();
	raise(SIGSTOP);
	become("nothing");
}

static void be_gone(void)
{
	be_large();
	_exit(0);
}

static void be_killed(void)
{
	be_large();
	kill(getpid(), SIGKILL);
}

static void exits(void)
{
	for (; left; left--) {
		if (!fork()) {
			if (left % 2)
				be_gone();
			be_killed();
		}
		wait(NULL);
	}
}

static void nothing(void)
{
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "threads", threads },
	{ "late", late },
	{ "late-without-frame", late_without_frame },
	{ "late-in-thread", late_in_thread },
	{ "signals", signals },
	{ "search", search },
	{ "stopped", stopped },
	{ "exits", exits },
	{ "nothing", nothing },
};

/* MODE COUNT */
int main(int argc, char **argv)
{
	size_t i;

	if (argc != 3)
		errx(2, "usage: execs MODE COUNT");
	left = atoi(argv[2]);
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, argv[1]))
			continue;
		modes[i].run();
		return 0;
	}
	errx(2, "no mode %s", argv[1]);
}
