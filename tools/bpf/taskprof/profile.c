// SPDX-License-Identifier: GPL-2.0
/* Add up the samples that the BPF program sends. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "prof.h"

struct profile profile;

static void *stacks;

static int compare_stacks(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;
	int diff = strncmp(x->comm, y->comm, COMM_LEN);

	if (diff)
		return diff;
	if (x->cgroup != y->cgroup)
		return x->cgroup < y->cgroup ? -1 : 1;
	if (x->nr_user != y->nr_user)
		return x->nr_user < y->nr_user ? -1 : 1;
	if (x->nr_kernel != y->nr_kernel)
		return x->nr_kernel < y->nr_kernel ? -1 : 1;
	return memcmp(x->frames, y->frames,
		      (x->nr_user + x->nr_kernel) * sizeof(struct frame));
}

static struct stack *stack_of(const struct sample_record *sample)
{
	uint32_t i, nr = sample->nr_user + sample->nr_kernel;
	struct stack *stack;

	stack = must(calloc(1, sizeof(*stack) + nr * sizeof(struct frame)));
	memcpy(stack->comm, sample->comm, COMM_LEN - 1);
	stack->cgroup = sample->cgroup;
	stack->nr_user = sample->nr_user;
	stack->nr_kernel = sample->nr_kernel;
	for (i = 0; i < sample->nr_user; i++) {
		stack->frames[i].addr = sample->user[i].addr;
		stack->frames[i].file = sample->user[i].file;
	}
	for (i = 0; i < sample->nr_kernel; i++)
		stack->frames[sample->nr_user + i].addr = sample->kernel[i];
	return stack;
}

static void add_stack(const struct sample_record *sample)
{
	struct stack *stack = stack_of(sample);
	struct stack **known = must(tsearch(stack, &stacks, compare_stacks));

	if (*known != stack)
		free(stack);
	(*known)->count++;
}

static stack_fn visit;

static void visit_node(const void *node, VISIT which, int depth)
{
	if (which == postorder || which == leaf)
		visit(*(const struct stack *const *)node);
}

void walk_stacks(stack_fn fn)
{
	visit = fn;
	twalk(stacks, visit_node);
}

static void add_loss(enum loss loss, bool recovered)
{
	profile.lost[loss]++;
	profile.recovered[loss] += recovered;
}

/*
 * The page of the next frame was not there. The callback has what lay there, if it has
 * run, and all of it, if it did not end at such a page itself. If it found no frame
 * either, there is none: then nothing was lost.
 */
static void compare_frames(const struct sample_record *sample)
{
	const struct attempt *attempt = &sample->attempt;

	if (!attempt->nr_frames || attempt->end != END_BY_FAULT)
		return;
	if (sample->outcome != DONE_BY_CALLBACK)
		add_loss(LOST_STACK_PAGE, false);
	else if (sample->nr_user > attempt->nr_frames)
		add_loss(LOST_STACK_PAGE, sample->end != END_BY_FAULT);
	else
		profile.no_frames++;
}

static void compare_build_ids(const struct sample_record *sample)
{
	const struct attempt *attempt = &sample->attempt;
	bool lost = false, recovered = true;
	uint32_t i, file;

	for (i = 0; i < sample->nr_user && i < attempt->nr_build_ids; i++) {
		file = sample->user[i].file;
		if ((attempt->build_ids[i >> 6] >> (i & 63)) & 1 || !has_build_id(file))
			continue;
		lost = true;
		recovered &= build_id_was_read(file);
	}
	if (lost)
		add_loss(attempt->mm_locked ? LOST_BUILD_ID_LOCK : LOST_BUILD_ID_PAGE, recovered);
}

/*
 * The names of a process are in /proc only until it ends. Code of no file has no name
 * here either.
 */
static void compare_names(const struct sample_record *sample)
{
	bool recovered = sample->nr_user > 0;
	uint32_t i;

	if (!kill(sample->pid, 0) || errno != ESRCH)
		return;
	for (i = 0; i < sample->nr_user; i++)
		recovered &= sample->user[i].file && has_names(sample->user[i].file);
	add_loss(LOST_TASK_GONE, recovered);
}

/* Processes and cgroups do not last: what they lead to is looked up at once. */
static void look_up(const struct sample_record *sample)
{
	uint32_t i;

	if (opt.json)
		cgroup_path(sample->cgroup);
	for (i = 0; i < sample->nr_user; i++)
		if (sample->user[i].file)
			try_again(sample->user[i].file, sample->pid);
}

static void add_sample(const struct sample_record *sample)
{
	profile.received[sample->outcome]++;
	profile.moved += sample->moved;
	profile.areas_locked += sample->areas_locked;
	add_stack(sample);
	look_up(sample);
	if (opt.compare)
		compare_frames(sample);
	if (sample->outcome != DONE_BY_CALLBACK)
		return;
	profile.cut += sample->end == END_BY_FAULT;
	if (!opt.compare)
		return;
	compare_build_ids(sample);
	compare_names(sample);
}

int add_record(void *ctx, void *data, size_t size)
{
	switch (*(uint32_t *)data) {
	case RECORD_SAMPLE:
		add_sample(data);
		break;
	case RECORD_PATH:
		add_path(data);
		break;
	case RECORD_BUILD_ID:
		add_build_id(data);
		break;
	}
	return 0;
}
