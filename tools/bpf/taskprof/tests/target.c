// SPDX-License-Identifier: GPL-2.0
/*
 * What taskprof's tests profile: each mode is a program that profilers find hard. It is
 * built twice, so that BURN tells which of two files an address was in.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK_SIZE	(256 * 1024UL)
#define NR_MAPPINGS	10000

#ifndef BURN
#define BURN burn_first
#endif

static unsigned long loops;
static volatile unsigned long sink;
static char *argument;

static __attribute__((noinline)) void BURN(void)
{
	unsigned long i;

	for (i = 0; i < loops; i++)
		sink += i;
}

/* Room for three stacks, of which the middle one is the thread's own. */
static char *stacks;

static void name_thread(const char *mode, bool above)
{
	char name[16];

	snprintf(name, sizeof(name), "%s-%s", mode, above ? "above" : "below");
	prctl(PR_SET_NAME, name);
}

static char *other_stack(bool above)
{
	return stacks + (above ? 2 * STACK_SIZE : 0);
}

static void run_threads(void *(*fn)(void *above))
{
	pthread_attr_t attr;
	pthread_t thread;
	long above;

	stacks = mmap(NULL, 3 * STACK_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stacks == MAP_FAILED)
		err(1, "mmap");
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stacks + STACK_SIZE, STACK_SIZE);
	for (above = 0; above < 2; above++) {
		errno = pthread_create(&thread, &attr, fn, (void *)above);
		if (errno)
			err(1, "pthread_create");
		pthread_join(thread, NULL);
	}
}

/* As runtimes do for work that needs a large stack: the frame pointer leads back. */
void run_on_stack(char *top);

#if defined(__x86_64__)
asm(".globl run_on_stack\n"
	".type run_on_stack, @function\n"
	"run_on_stack:\n"
	"	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"	mov %rdi, %rsp\n"
	"	call collect\n"
	"	mov %rbp, %rsp\n"
	"	pop %rbp\n"
	"	ret\n"
	".size run_on_stack, . - run_on_stack\n");
#elif defined(__aarch64__)
asm(".globl run_on_stack\n"
	".type run_on_stack, %function\n"
	"run_on_stack:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	mov x29, sp\n"
	"	mov sp, x0\n"
	"	bl collect\n"
	"	mov sp, x29\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	".size run_on_stack, . - run_on_stack\n");
#endif

__attribute__((noinline, used)) void collect(void)
{
	BURN();
	sink++;
}

static __attribute__((noinline)) void allocate(char *top)
{
	run_on_stack(top);
	sink++;
}

static void *switch_stacks(void *above)
{
	name_thread("switch", above);
	allocate(other_stack(above) + STACK_SIZE);
	return NULL;
}

static void on_signal(int signal)
{
	BURN();
	sink++;
}

/* Not by the library's function: that has no frame pointer. */
static inline __attribute__((always_inline)) void signal_self(long pid, long tid)
{
#if defined(__x86_64__)
	long ret = SYS_tgkill;

	asm volatile("syscall" : "+a" (ret) : "D" (pid), "S" (tid), "d" (SIGUSR1)
		     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long process asm("x0") = pid, thread asm("x1") = tid;
	register long signal asm("x2") = SIGUSR1, number asm("x8") = SYS_tgkill;

	asm volatile("svc 0" : "+r" (process) : "r" (thread), "r" (signal), "r" (number)
		     : "memory");
#endif
}

/* The signal comes while this one is the innermost: no return address leads to it. */
static __attribute__((noinline)) void interrupted(long pid, long tid)
{
	signal_self(pid, tid);
	sink++;
}

static __attribute__((noinline)) void caller(void)
{
	interrupted(getpid(), gettid());
	sink++;
}

static void *take_signal(void *above)
{
	stack_t stack = { .ss_sp = other_stack(above), .ss_size = STACK_SIZE };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	name_thread("signal", above);
	if (sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &action, NULL))
		err(1, "sigaltstack");
	caller();
	return NULL;
}

static __attribute__((noinline)) void ask_time(void)
{
	struct timespec ts;
	unsigned long i;

	for (i = 0; i < loops; i++)
		clock_gettime(CLOCK_MONOTONIC, &ts);
	sink++;
}

/* A program that was never in a directory. */
static void run_payload(void)
{
	int from = open("/proc/self/exe", O_RDONLY), to = memfd_create("payload", MFD_CLOEXEC);
	char count[32], *argv[] = { "payload", "burn", count, NULL }, *env[] = { NULL };
	char buf[65536];
	ssize_t len;

	snprintf(count, sizeof(count), "%lu", loops);
	while ((len = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, len) != len)
			err(1, "memfd");
	fexecve(to, argv, env);
	err(1, "fexecve");
}

/*
 * Again and again, until the count is 0; with much for the kernel to copy, and always at the
 * same addresses: so the old stack pointer leads to the new stack, too.
 */
static void exec_self(void)
{
	static char large[100 * 1024];
	char count[32], *argv[] = { "target", "exec", count, NULL },
	     *env[] = { large, large, large, large, NULL };

	if (!loops)
		return;
	memset(large, 'x', sizeof(large) - 1);
	if (personality(ADDR_NO_RANDOMIZE) < 0)
		err(1, "personality");
	snprintf(count, sizeof(count), "%lu", loops - 1);
	execve("/proc/self/exe", argv, env);
	err(1, "execve");
}

/* In children, which have not touched most pages of the program yet. */
static void spawn(void)
{
	unsigned long left = loops;

	loops = 1;
	while (left--) {
		if (!fork())
			exec_self();
		wait(NULL);
	}
}

/* Frame pointers that lead back to where they were, and code that they could belong to. */
struct frame {
	struct frame *next;
	uintptr_t ip;
};

static struct frame ring[3];

void burn_in_ring(struct frame *first, unsigned long loops);
extern char ring_code[];

#if defined(__x86_64__)
asm(".globl burn_in_ring, ring_code\n"
	".type burn_in_ring, @function\n"
	"burn_in_ring:\n"
	"	push %rbp\n"
	"	mov %rdi, %rbp\n"
	"1:	dec %rsi\n"
	"	jnz 1b\n"
	"	pop %rbp\n"
	"	ret\n"
	".size burn_in_ring, . - burn_in_ring\n"
	".type ring_code, @function\n"
	"ring_code:\n"
	"	call burn_in_ring\n"
	"	call burn_in_ring\n"
	"	call burn_in_ring\n"
	"	ret\n"
	".size ring_code, . - ring_code\n");
#define CALL_SIZE 5
#elif defined(__aarch64__)
asm(".globl burn_in_ring, ring_code\n"
	".type burn_in_ring, %function\n"
	"burn_in_ring:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	mov x29, x0\n"
	"1:	subs x1, x1, #1\n"
	"	b.ne 1b\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	".size burn_in_ring, . - burn_in_ring\n"
	".type ring_code, %function\n"
	"ring_code:\n"
	"	bl burn_in_ring\n"
	"	bl burn_in_ring\n"
	"	bl burn_in_ring\n"
	"	ret\n"
	".size ring_code, . - ring_code\n");
#define CALL_SIZE 4
#endif

static void go_in_circles(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		ring[i].next = &ring[(i + 1) % 3];
		ring[i].ip = (uintptr_t)ring_code + (i + 1) * CALL_SIZE;
	}
	burn_in_ring(ring, loops);
}

/* Code without frame pointers may have the address of such a table in that register. */
static void point_at_table(void)
{
	struct frame table[] = {
		{ &table[1], (uintptr_t)go_in_circles + 1 },
		{ NULL, (uintptr_t)burn_in_ring + 1 },
	};

	burn_in_ring(table, loops);
}

/* As makecontext() does. */
static void call_by_hand(void)
{
	struct frame hand = { __builtin_frame_address(0), (uintptr_t)go_in_circles + 1 };

	burn_in_ring(&hand, loops);
}

/* It touches no memory but its frame, so it runs wherever it is mapped. */
#define NAME_OF(fn)	#fn
#define ALONE(fn)	NAME_OF(fn) "_alone"
void burn_alone(unsigned long loops) asm(ALONE(BURN));
extern char __executable_start[];

#if defined(__x86_64__)
asm(".globl " ALONE(BURN) "\n"
	".type " ALONE(BURN) ", @function\n"
	ALONE(BURN) ":\n"
	"	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"1:	dec %rdi\n"
	"	jnz 1b\n"
	"	pop %rbp\n"
	"	ret\n"
	".size " ALONE(BURN) ", . - " ALONE(BURN) "\n");
#elif defined(__aarch64__)
asm(".globl " ALONE(BURN) "\n"
	".type " ALONE(BURN) ", %function\n"
	ALONE(BURN) ":\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	mov x29, sp\n"
	"1:	subs x0, x0, #1\n"
	"	b.ne 1b\n"
	"	ldp x29, x30, [sp], #16\n"
	"	ret\n"
	".size " ALONE(BURN) ", . - " ALONE(BURN) "\n");
#endif

/* At the address, or wherever there is room. */
static char *run_code_of(const char *file, char *at)
{
	size_t offset = (char *)burn_alone - __executable_start;
	long page = sysconf(_SC_PAGESIZE);

	at = mmap(at, 2 * page, PROT_READ | PROT_EXEC, MAP_PRIVATE | (at ? MAP_FIXED : 0),
		  open(file, O_RDONLY), offset & -page);
	if (at == MAP_FAILED)
		err(1, "%s", file);
	((void (*)(unsigned long))(at + offset % page))(loops);
	return at;
}

/* The code of this file, and then that of the other one at the same address. */
static void map_both(void)
{
	run_code_of(argument, run_code_of("/proc/self/exe", NULL));
	sink++;
}

/* As compilers at run time do: code that no file has. */
static void run_copy(void)
{
	char *copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		err(1, "mmap");
	memcpy(copy, burn_alone, 64);
	__builtin___clear_cache(copy, copy + 64);
	((void (*)(unsigned long))copy)(loops);
	sink++;
}

/* Each second page is another file mapping of code, as no two of them can be one. */
static void map_much(void)
{
	long page = sysconf(_SC_PAGESIZE);
	int fd = open("/proc/self/exe", O_RDONLY), i;

	for (i = 0; i < NR_MAPPINGS; i++)
		if (mmap(NULL, page, PROT_READ | (i & 1 ? PROT_EXEC : 0), MAP_PRIVATE, fd,
			 page * (i % 7)) == MAP_FAILED)
			err(1, "mmap");
	BURN();
	sink++;
}

static void be_named(void)
{
	prctl(PR_SET_NAME, argument);
	BURN();
	sink++;
}

static void remove_self(void)
{
	if (unlink(argument))
		err(1, "%s", argument);
	BURN();
	sink++;
}

static void burn(void)
{
	BURN();
	sink++;
}

/* Until the file is there, and then for a while. */
static void burn_until(void)
{
	while (access(argument, F_OK))
		sink++;
	BURN();
	sink++;
}

static void stop_first(void)
{
	raise(SIGSTOP);
}

static void switch_both(void)
{
	run_threads(switch_stacks);
}

static void signal_both(void)
{
	run_threads(take_signal);
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "burn", burn },
	{ "switch", switch_both },
	{ "signal", signal_both },
	{ "vdso", ask_time },
	{ "memfd", run_payload },
	{ "exec", exec_self },
	{ "spawn", spawn },
	{ "ring", go_in_circles },
	{ "table", point_at_table },
	{ "hand", call_by_hand },
	{ "maps", map_much },
	{ "both", map_both },
	{ "copy", run_copy },
	{ "name", be_named },
	{ "remove", remove_self },
	{ "until", burn_until },
	{ "stop", stop_first },
};

/* MODE LOOPS [ARGUMENT] */
int main(int argc, char **argv)
{
	size_t i;

	if (argc < 3)
		errx(2, "usage: target MODE LOOPS [ARGUMENT]");
	loops = strtoul(argv[2], NULL, 0);
	argument = argv[3];
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, argv[1]))
			continue;
		modes[i].run();
		return 0;
	}
	errx(2, "no mode %s", argv[1]);
}
