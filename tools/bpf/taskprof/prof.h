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
struct Elf;

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
	unsigned int stack_size;	/* of copies; 0 with frame pointers */
	int debuginfod;
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
void leave_sampling(void);

/* profile.c: what is gathered */

/* A stack and how often it was sampled. Frames from the leaf on: kernel, then user. */
struct stack {
	char comm[COMM_LEN];
	uint64_t cgroup;
	uint32_t nr_user;
	uint32_t nr_kernel;
	uint64_t count;
	uint64_t hash;
	uint32_t next;
	uint64_t frames[];
};

enum loss {
	LOST_STACK_PAGE,
	LOST_BUILD_ID_PAGE,
	LOST_BUILD_ID_LOCK,
	LOST_TASK_GONE,
	LOST_NO_POINTER,
	NR_LOSSES,
};

struct profile {
	uint64_t received[NR_OUTCOMES];
	uint64_t moved;
	uint64_t cut;			/* user stacks that end by a fault in the callback, too */
	uint64_t areas_locked;
	uint64_t lost[NR_LOSSES];	/* samples that would have missed something */
	uint64_t recovered[NR_LOSSES];
	uint64_t files_unread;
	uint64_t lost_copies[NR_LOST_COPIES];
};

/* What becomes known of a sample only here. */
struct finding {
	uint32_t lost_copy;	/* enum lost_copy */
	bool gone;		/* its process */
	bool has_link;		/* its frame pointer was one */
};

extern struct profile profile;

typedef void (*stack_fn)(const struct stack *stack);

bool has_user_stack(const struct sample_record *sample);
void finish_sample(const struct sample_record *sample, const struct finding *found);
int add_record(void *ctx, void *data, size_t size);
void walk_stacks(stack_fn fn);

/* cgroups.c: paths of cgroups */
const char *cgroup_path(uint64_t id);

/* files.c: what has code */
struct binary {
	char *path;
	int fd;			/* holds the file, but is not open for reading; or -1 */
	uint32_t pid;		/* a process that ran it, or 0 */
	uint32_t tries;
	bool is_vdso;
	bool is_program;
	bool is_bad;		/* a child could not read it */
	bool id_unread;		/* whether it has a build ID is not known */
	uint32_t id_len;
	uint8_t build_id[BUILD_ID_LEN];
	uint64_t start;		/* where that process has mapped it */
	uint64_t end;
	uint64_t size;
	uint64_t mtime;
};

void raise_limit(void);
struct binary *get_binary(uint32_t file);
void add_path(const struct path_record *record);
void add_build_id(const struct build_id_record *record);
bool files_are_wanted(void);
void try_again(uint32_t file, uint32_t pid);
bool is_unchanged(const struct binary *binary, int fd);
bool has_build_id(uint32_t file);
bool build_id_was_read(uint32_t file);
bool has_names(uint32_t file);

/* mapping.c: a file that a process has mapped */
int open_mapping(uint32_t pid, const char *path);

/* job.c: what is done by a child */
struct job {
	void (*work)(size_t first, FILE *to);
	void (*take)(size_t question, const void *data, size_t len);
	size_t next;		/* first question without an answer */
	size_t nr;		/* of questions */
	pid_t pid;
	int fd;
	char *data;		/* what has come and is not a whole answer */
	size_t len;
	size_t size;
};

enum job_state {
	JOB_WORKS,
	JOB_WAITS,		/* nothing has come in the time */
	JOB_ENDED,
};

bool start_job(struct job *job);
enum job_state go_on(struct job *job, int ms);
void end_job(struct job *job);
bool give_up_file(void);
void tell_file(uint32_t file);
void answer(FILE *to, size_t question, const void *data, size_t len);

/* symbols.c: in the child */
int open_binary(const struct binary *binary);
bool is_same_file(const struct binary *binary, int fd, struct Elf *elf);
bool load_symbols(const struct binary *binary);
const char *find_symbol(uint64_t offset);
void drop_symbols(void);

/* regs.c */
extern const bool can_unwind;
uint64_t initial_ip(const struct all_regs *regs);
uint64_t initial_sp(const struct all_regs *regs);
unsigned int dwarf_registers(const struct all_regs *regs, uint64_t *to);

/* dwarf.c: in the child */
struct unwound {
	uint32_t nr;
	uint32_t end;		/* enum stack_end */
	uint64_t has_link;	/* --compare: the frame pointer was one */
	uint64_t frames[MAX_FRAMES];
};

void unwind(const struct copy_record *copy, const struct areas_record *areas,
	    struct unwound *unwound);
bool is_link(uint64_t fp);

/* unwind.c: samples that wait for their frames */
void add_areas(const struct areas_record *record);
void add_copy(const struct copy_record *record);
bool unwind_later(const struct sample_record *sample, struct finding *found);
void unwind_some(void);
void unwind_rest(void);

/* names.c: names of addresses in files */
void load_names(void);
const char *user_name(uint64_t frame, bool is_caller);

/* kernel.c: names of the kernel's code */
void begin_kernel_names(void);
void end_kernel_names(void);
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
