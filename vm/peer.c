// SPDX-License-Identifier: GPL-2.0
/*
 * Short processes of which each stack is known, for vm/peer: they link with nothing, each function has one caller and a frame
 * pointer, and none is inlined but call(). Built with -DR, -DA and -DB, whose functions begin with r_, a_ and b_:
 * "R A B N LOOPS" runs A N times, and prints how many nanoseconds that took;
 * "A B LOOPS" computes, and becomes B by execve(); "B LOOPS" computes, changes its memory map, and exits.
 * They compute for up to twice LOOPS, each time for another while: else the samples would fall on the same places.
 */
#include <asm/unistd.h>
#include <linux/mman.h>
#include <linux/time.h>

#if defined(R)
#define F(name)		r_##name
#define START		"r_start"
#define MAIN		"r_main"
#elif defined(A)
#define F(name)		a_##name
#define START		"a_start"
#define MAIN		"a_main"
#else
#define F(name)		b_##name
#define START		"b_start"
#define MAIN		"b_main"
#endif

#define FUNCTION	static __attribute__((noinline, used))
#define PAGE		4096UL
#define NR_PAGES	16UL
#define NR_MAPPINGS	8

/* Whoever makes a system call is the innermost function. */
static inline __attribute__((always_inline)) long call(long nr, long first, long second, long third, long fourth)
{
	register long r10 asm("r10") = fourth;
	register long r8 asm("r8") = -1;	/* mmap(): no file */
	register long r9 asm("r9") = 0;

	asm volatile("syscall" : "+a" (nr) : "D" (first), "S" (second), "d" (third), "r" (r10), "r" (r8), "r" (r9)
		     : "rcx", "r11", "memory");
	return nr;
}

FUNCTION void F(leave)(long status)
{
	call(__NR_exit_group, status, 0, 0, 0);
}

FUNCTION unsigned long F(number)(const char *text)
{
	unsigned long n = 0;

	while (*text)
		n = n * 10 + *text++ - '0';
	return n;
}

#ifdef R
static unsigned long number_of;
static unsigned long loops;
static char loops_text[32];

/* The decimal digits of @n end at @end. */
static inline __attribute__((always_inline)) char *digits(unsigned long n, char *end)
{
	do
		*--end = '0' + n % 10;
	while (n /= 10);
	return end;
}

FUNCTION unsigned long F(clock)(void)
{
	struct timespec ts;

	call(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)&ts, 0, 0);
	return ts.tv_sec * 1000000000UL + ts.tv_nsec;
}

FUNCTION void F(say)(unsigned long n)
{
	char text[32], *end = text + sizeof(text) - 1, *start = digits(n, end);

	*end = '\n';
	call(__NR_write, 1, (long)start, end + 1 - start, 0);
}

FUNCTION long F(fork)(void)
{
	return call(__NR_fork, 0, 0, 0, 0);
}

FUNCTION void F(exec)(char **args)
{
	call(__NR_execve, (long)args[0], (long)args, 0, 0);
}

FUNCTION int F(wait)(long pid)
{
	int status = 1;

	call(__NR_wait4, pid, (long)&status, 0, 0);
	return status;
}

FUNCTION int F(process)(char **args)
{
	long pid = F(fork)();

	if (!pid)
		F(exec)(args);
	return pid > 0 ? F(wait)(pid) : 1;
}

/* A child whose execve() failed comes back, too, and leaves with a bad status. */
FUNCTION int F(work)(char **args)
{
	unsigned int i, random = 0;

	for (i = 0; i < number_of; i++) {
		random = random * 1103515245 + 12345;
		args[2] = digits(loops * (random >> 24) / 128, loops_text + sizeof(loops_text) - 1);
		if (F(process)(args))
			return 1;
	}
	return 0;
}

static inline __attribute__((always_inline)) void body(char **args)
{
	char *program[] = { args[1], args[2], 0, 0 };
	unsigned long start = F(clock)();
	int status;

	number_of = F(number)(args[3]);
	loops = F(number)(args[4]);
	status = F(work)(program);
	F(say)(F(clock)() - start);
	F(leave)(status);
}
#else
static unsigned long loops;
static volatile unsigned long sink;
static char pages[NR_PAGES * PAGE];	/* not there until they are written to */

FUNCTION void F(spin)(void)
{
	unsigned long i;

	for (i = 0; i < loops; i++)
		sink += i;
}

FUNCTION void F(touch)(void)
{
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++)
		pages[i * PAGE] = 1;
}

FUNCTION void F(inner)(void)
{
	F(touch)();
	F(spin)();
}

FUNCTION void F(outer)(void)
{
	F(inner)();
	sink++;
}

#ifdef A
FUNCTION void F(become)(char **args)
{
	call(__NR_execve, (long)args[0], (long)args, 0, 0);
}

static inline __attribute__((always_inline)) void body(char **args)
{
	loops = F(number)(args[2]);
	F(outer)();
	F(become)(args + 1);
	F(leave)(1);
}
#else
FUNCTION char *F(map)(void)
{
	return (char *)call(__NR_mmap, 0, NR_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

FUNCTION void F(fill)(char *at)
{
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++)
		at[i * PAGE] = 1;
}

FUNCTION void F(unmap)(char *at)
{
	call(__NR_munmap, (long)at, NR_PAGES * PAGE, 0, 0);
}

FUNCTION void F(remap)(void)
{
	char *at;
	int i;

	for (i = 0; i < NR_MAPPINGS; i++) {
		at = F(map)();
		F(fill)(at);
		F(unmap)(at);
	}
}

static inline __attribute__((always_inline)) void body(char **args)
{
	loops = F(number)(args[1]);
	F(outer)();
	F(remap)();
	F(leave)(0);
}
#endif
#endif

/* @stack: as the kernel leaves it. */
__attribute__((noinline, used)) void F(main)(long *stack)
{
	body((char **)(stack + 1));
}

asm(".globl " START "\n"
    ".type " START ", @function\n"
    START ":\n"
    "	mov %rsp, %rdi\n"
    "	call " MAIN "\n"
    "	ud2\n"
    ".size " START ", . - " START "\n");
