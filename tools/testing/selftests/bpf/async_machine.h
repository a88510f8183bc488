/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the task work tests ask of the machine: patience, CPUs, NMIs, events, missing
 * pages. When a have_x() returns false it has skipped the test and said why.
 */
#ifndef _ASYNC_MACHINE_H
#define _ASYNC_MACHINE_H

#include <pthread.h>
#include <sched.h>
#include <test_progs.h>

/*
 * Wait for something that is bound to happen. The bound is a number of looks: a slow
 * machine gets as much longer as it is slower. A fast one, where looks cost nothing,
 * waits half a minute. If the test is expected to fail, that may be known sooner: with
 * fewer looks, and after eight seconds.
 */
struct patience {
	long looks;
	long until;	/* in seconds */
};

struct patience new_patience(void);
bool patience_ends(struct patience *p);

#define wait_for(cond) ({						\
	struct patience __patience = new_patience();			\
	bool __seen = false;						\
									\
	while (!__seen && !patience_ends(&__patience)) {		\
		__seen = (cond);					\
		if (!__seen)						\
			sched_yield();					\
	}								\
	__seen;								\
})

bool have_or_skip(bool have, const char *who, const char *what);

/* CPU number n, counted among those that this process may use; -1: fewer. */
int nth_cpu(int n);
bool have_two_cpus(const char *who);
int pin_to_cpu(pthread_t thread, int cpu);
/* If this thread can be on that CPU, then it stays there until unpin_self(). */
bool pin_self(int cpu, cpu_set_t *before);
void unpin_self(const cpu_set_t *before);
bool have_cpu(int cpu, const char *who);

int set_cpu_online(int cpu, const char *online);
/* The last CPU below that one which is online and has a switch, or -1. */
int last_cpu_with_switch(int below);
bool have_hotplug(const char *who);

/* What the kernel was built and booted with. */
bool bpf_lsm_works(void);
bool have_bpf_lsm(const char *who);
bool is_preempt_rt(void);
bool have_async(const char *who);
bool sleepable_tracing_works(void);
bool have_sleepable_tracing(const char *who);
bool machine_is(const char *machine);
bool have_preempt_count(const char *who);

/* What a child executes. */
#define TRUE_PATH "/bin/true"
bool have_true(const char *who);

/* An NMI on every other CPU. */
int send_nmis(void);
bool nmis_work(void);
bool have_nmis(const char *who);

/* The program runs at each event of the thread. NULL may just mean: no such hardware. */
struct bpf_link *attach_cycles(const struct bpf_program *prog, int tid);
struct bpf_link *attach_clock(const struct bpf_program *prog, int tid);
struct bpf_link *attach_breakpoint(const struct bpf_program *prog, const void *addr, int tid);
struct bpf_link *attach_breakpoint_on(const struct bpf_program *prog, const void *addr, int cpu);
bool have_breakpoints(const char *who);
bool have_breakpoint_nmi(const char *who);

/*
 * The pages there that are missing stay so until they are filled in through the file
 * descriptor that this returns: whoever touches one sleeps until then.
 */
int open_userfaults(void *addr, size_t size);

/* The system call in which that task sleeps, as the kernel itself sees it, or -1. */
long syscall_of(int tid, unsigned long *arg0);

#endif
