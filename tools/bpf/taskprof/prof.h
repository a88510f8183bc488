/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __PROF_H
#define __PROF_H

#include <err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <linux/types.h>

#include "taskprof.h"

struct taskprof_bpf;

struct options {
	unsigned int freq;
	pid_t pid;
	int all;
	unsigned int seconds;
	const char *output;
	int json;
	int verbose;
	int compare;
	int nmi;
	unsigned int ring_kb;
	char **command;
};

extern struct options opt;

static inline void *must(void *memory)
{
	if (!memory)
		err(1, "out of memory");
	return memory;
}

/* events.c: where samples come from */
pid_t start_command(void);
void run_command(void);
void start_sampling(struct taskprof_bpf *skel);
void stop_sampling(void);

/* profile.c: what is gathered */

/* A stack and how often it was sampled. Frames from the leaf on: user, then kernel. */
struct stack {
	char comm[COMM_LEN];
	uint64_t cgroup;
	uint32_t nr_user;
	uint32_t nr_kernel;
	uint64_t count;
	struct frame frames[];
};

enum loss {
	LOST_STACK_PAGE,
	LOST_BUILD_ID_PAGE,
	LOST_BUILD_ID_LOCK,
	LOST_TASK_GONE,
	NR_LOSSES,
};

struct profile {
	uint64_t received[NR_OUTCOMES];
	uint64_t moved;
	uint64_t cut;			/* user stacks that end by a fault in the callback, too */
	uint64_t areas_locked;
	uint64_t lost[NR_LOSSES];	/* samples that would have missed something */
	uint64_t recovered[NR_LOSSES];
	uint64_t no_frames;		/* ... or not: what led to that page was no frame pointer */
};

extern struct profile profile;

typedef void (*stack_fn)(const struct stack *stack);

int add_record(void *ctx, void *data, size_t size);
void walk_stacks(stack_fn fn);

/* cgroups.c: paths of cgroups */
const char *cgroup_path(uint64_t id);

/* symbols.c: names of addresses */
void load_kernel_symbols(void);
void add_path(const struct path_record *record);
void add_build_id(const struct build_id_record *record);
void try_again(uint32_t file, uint32_t pid);
bool has_build_id(uint32_t file);
bool build_id_was_read(uint32_t file);
bool has_names(uint32_t file);
const char *user_name(const struct frame *frame, bool is_caller);
const char *kernel_name(uint64_t addr);

/* output.c: what is printed */
struct result {
	uint64_t sampled;
	uint64_t sampled_in_nmi;
	const uint64_t *outcomes;
	const uint64_t *refused;
	uint64_t files_lost;
};

void print_stacks(FILE *out, const struct result *result);
bool print_counters(const struct result *result);

#endif /* __PROF_H */
