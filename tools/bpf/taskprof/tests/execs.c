// SPDX-License-Identifier: GPL-2.0
/*
 * For taskprof's tests: execve() where its caller is easily mistaken for another, and exit;
 * with files that are seen there first.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int left;
static const char *program = "/proc/self/exe";

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
	execve(program, argv, env);
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
static void stop_and_become(char *mode)
{
	char count[] = "0", *argv[] = { mode, mode, count, NULL };

	be_large();
	raise(SIGSTOP);
	execve(program, argv, argv + 3);
}

static void stopped(void)
{
	stop_and_become("nothing");
}

static void stopped_twice(void)
{
	stop_and_become("stop");
}

static void stop(void)
{
	raise(SIGSTOP);
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

/* Of its size. */
static off_t copy(const char *path, int to)
{
	int from = open(path, O_RDONLY);
	struct stat stat;

	if (fstat(from, &stat) || sendfile(to, from, NULL, stat.st_size) != stat.st_size)
		err(1, "%s", path);
	close(from);
	return stat.st_size;
}

/* A process of a file each, which is seen in its exit first. */
static void files(void)
{
	char name[] = "nothing", *argv[] = { name, name, name, NULL };
	int fd;

	for (; left; left--) {
		if (!fork()) {
			fd = memfd_create("copy", MFD_CLOEXEC);
			copy(program, fd);
			fexecve(fd, argv, argv + 3);
			err(1, "fexecve");
		}
		wait(NULL);
	}
}

/* Code that runs wherever it is mapped. */
void call_there(void (*fn)(void));
void burn_there(unsigned long loops);

#if defined(__x86_64__)
asm(".globl call_there, burn_there\n"
	".p2align 6\n"
	"call_there:\n"
	"	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"	call *%rdi\n"
	"	pop %rbp\n"
	"	ret\n"
	".type burn_there, @function\n"
	"burn_there:\n"
	"	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"1:	dec %rdi\n"
	"	jnz 1b\n"
	"	pop %rbp\n"
	"	ret\n"
	".size burn_there, . - burn_there\n");
#elif defined(__aarch64__)
asm(".globl call_there, burn_there\n"
	".p2align 6\n"
	"call_there:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	mov x29, sp\n"
	"	blr x0\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	".type burn_there, %function\n"
	"burn_there:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	mov x29, sp\n"
	"1:	subs x0, x0, #1\n"
	"	b.ne 1b\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	".size burn_there, . - burn_there\n");
#endif

#define BURN_LOOPS	3000000
#define LOOPS_BETWEEN	100000

static long page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* At the address, or wherever there is room. */
static char *map_code(int fd, char *at)
{
	long offset = ((char *)call_there - __executable_start) & -page_size();

	at = mmap(at, page_size(), PROT_READ | PROT_EXEC, MAP_PRIVATE | (at ? MAP_FIXED : 0), fd,
		  offset);
	if (at == MAP_FAILED)
		err(1, "mmap");
	return at;
}

static void burn_in(int fd, char *at)
{
	map_code(fd, at);
	((void (*)(unsigned long))(at + (long)burn_there % page_size()))(BURN_LOOPS);
}

static void exit_thread(void)
{
	syscall(SYS_exit, 0);
}

static void *exit_at(void *at)
{
	((void (*)(void (*)(void)))((char *)at + (long)call_there % page_size()))(exit_thread);
	return NULL;
}

/* A file that nobody has seen yet, of another size than the other one. */
static int copy_to_file(const char *path, int size)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "copy%d-%d", left, size);
	fd = open(name, O_RDWR | O_CREAT, 0777);
	if (ftruncate(fd, copy(path, fd) + size))
		err(1, "%s", name);
	return fd;
}

/*
 * A thread's first function is in the one file and the other by turns while it exits: in each
 * for long enough to be found there.
 */
static void remap_until_gone(int first, int second)
{
	char *at = map_code(first, NULL);
	pthread_t thread;
	int turn = 0;

	if (pthread_create(&thread, NULL, exit_at, at))
		errx(1, "no thread");
	while (pthread_tryjoin_np(thread, NULL)) {
		map_code(turn++ & 1 ? first : second, at);
		burn_there(LOOPS_BETWEEN);
	}
	burn_in(first, at);
	burn_in(second, at);
}

/* They have the same code. */
static void remap(void)
{
	for (; left; left--)
		remap_until_gone(copy_to_file("/proc/self/exe", 1), copy_to_file(program, 2));
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
	{ "stopped-twice", stopped_twice },
	{ "stop", stop },
	{ "exits", exits },
	{ "files", files },
	{ "remap", remap },
	{ "nothing", nothing },
};

/* MODE COUNT [PROGRAM] */
int main(int argc, char **argv)
{
	size_t i;

	if (argc < 3)
		errx(2, "usage: execs MODE COUNT [PROGRAM]");
	left = atoi(argv[2]);
	if (argc > 3)
		program = argv[3];
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, argv[1]))
			continue;
		modes[i].run();
		return 0;
	}
	errx(2, "no mode %s", argv[1]);
}
