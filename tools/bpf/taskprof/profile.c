// SPDX-License-Identifier: GPL-2.0
/* Add up the samples that the BPF program sends. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prof.h"

struct profile profile;

/* In the order in which they came, and by their hash: heads of chains, 0 being the end of one. */
static struct stack **stacks;
static uint32_t nr_stacks, size_stacks, *heads;

static uint64_t hash_words(uint64_t hash, const __u64 *words, uint32_t nr)
{
	while (nr--) {
		hash = (hash ^ *words++) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	return hash;
}

#define NR_WORDS	(COMM_LEN / sizeof(__u64) + 1)	/* the name and the cgroup */

static uint64_t hash_sample(const struct sample_record *sample)
{
	__u64 words[NR_WORDS];

	memcpy(words, sample->comm, COMM_LEN);
	words[NR_WORDS - 1] = sample->cgroup;
	return hash_words(hash_words(sample->nr_kernel, words, NR_WORDS),
			  sample->frames, sample->nr_kernel + sample->nr_user);
}

static bool is_stack_of(const struct stack *stack, const struct sample_record *sample)
{
	return !memcmp(stack->comm, sample->comm, COMM_LEN) && stack->cgroup == sample->cgroup &&
	       stack->nr_user == sample->nr_user && stack->nr_kernel == sample->nr_kernel &&
	       !memcmp(stack->frames, sample->frames,
		       (stack->nr_user + stack->nr_kernel) * sizeof(stack->frames[0]));
}

static void chain(uint32_t i)
{
	uint32_t *head = &heads[stacks[i]->hash & (size_stacks - 1)];

	stacks[i]->next = *head;
	*head = i + 1;
}

/* As many chains as there may be stacks. */
static void make_room(void)
{
	uint32_t i;

	if (nr_stacks < size_stacks)
		return;
	size_stacks = size_stacks ? 2 * size_stacks : 1024;
	stacks = must(reallocarray(stacks, size_stacks, sizeof(stacks[0])));
	free(heads);
	heads = must(calloc(size_stacks, sizeof(heads[0])));
	for (i = 0; i < nr_stacks; i++)
		chain(i);
}

/*
 * Zeroes for a stack, which stays until the end. The heap has gaps all over from the time
 * when the program was loaded: in there, nearly each stack would touch another page.
 */
#define CHUNK_SIZE	(64 * 1024)

static void *take_memory(size_t size)
{
	static char *chunk;
	static size_t left;

	if (left < size) {
		chunk = must(calloc(1, CHUNK_SIZE));
		left = CHUNK_SIZE;
	}
	left -= size;
	return chunk + left;
}

static struct stack *new_stack(const struct sample_record *sample, uint64_t hash)
{
	size_t size = (sample->nr_user + sample->nr_kernel) * sizeof(sample->frames[0]);
	struct stack *stack;

	make_room();
	stack = take_memory(sizeof(*stack) + size);
	memcpy(stack->comm, sample->comm, COMM_LEN);
	stack->cgroup = sample->cgroup;
	stack->nr_user = sample->nr_user;
	stack->nr_kernel = sample->nr_kernel;
	stack->hash = hash;
	memcpy(stack->frames, sample->frames, size);
	stacks[nr_stacks] = stack;
	chain(nr_stacks++);
	return stack;
}

static void add_stack(const struct sample_record *sample)
{
	uint64_t hash = hash_sample(sample);
	uint32_t i = nr_stacks ? heads[hash & (size_stacks - 1)] : 0;

	while (i && !is_stack_of(stacks[i - 1], sample))
		i = stacks[i - 1]->next;
	if (i)
		stacks[i - 1]->count++;
	else
		new_stack(sample, hash)->count++;
}

void walk_stacks(stack_fn fn)
{
	uint32_t i;

	for (i = 0; i < nr_stacks; i++)
		fn(stacks[i]);
}

/* File of a frame of the user, from the leaf on. */
static uint32_t file_of(const struct sample_record *sample, uint32_t i)
{
	return sample->frames[sample->nr_kernel + i] >> FILE_SHIFT;
}

bool has_user_stack(const struct sample_record *sample)
{
	return sample->outcome == DONE_BY_CALLBACK || sample->outcome == DONE_IN_EXEC ||
	       sample->outcome == DONE_IN_EXIT;
}

static void add_loss(enum loss loss, bool recovered)
{
	profile.lost[loss]++;
	profile.recovered[loss] += recovered;
}

/*
 * The page of the next frame was not there. The callback has what lay there, if it has
 * run, and all of it, if it did not end at such a page itself. If it found no frame
 * either, the frame pointer was none: callers are lost, unless there are unwind tables.
 */
static void compare_frames(const struct sample_record *sample, const struct finding *found)
{
	const struct attempt *attempt = &sample->attempt;

	if (!attempt->nr_frames || attempt->end != END_BY_FAULT)
		return;
	if (!has_user_stack(sample))
		add_loss(LOST_STACK_PAGE, false);
	else if (opt.stack_size)
		add_loss(found->has_link ? LOST_STACK_PAGE : LOST_NO_POINTER,
			 found->lost_copy == NOT_LOST && sample->end == END_OF_CHAIN);
	else if (sample->nr_user > attempt->nr_frames)
		add_loss(LOST_STACK_PAGE, sample->end != END_BY_FAULT);
	else
		add_loss(LOST_NO_POINTER, false);
}

static void compare_build_ids(const struct sample_record *sample)
{
	const struct attempt *attempt = &sample->attempt;
	bool lost = false, recovered = true;
	uint32_t i, file;

	for (i = 0; i < sample->nr_user && i < attempt->nr_build_ids; i++) {
		file = file_of(sample, i);
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
static void compare_names(const struct sample_record *sample, bool gone)
{
	bool recovered = sample->nr_user > 0;
	uint32_t i;

	for (i = 0; i < sample->nr_user; i++)
		recovered &= file_of(sample, i) && has_names(file_of(sample, i));
	if (gone)
		add_loss(LOST_TASK_GONE, recovered);
}

static bool is_gone(uint32_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u", pid);
	return pid && access(path, F_OK);
}

/* Processes and cgroups do not last: what they lead to is looked up at once. */
static void look_up(const struct sample_record *sample)
{
	uint32_t i;

	if (opt.json)
		cgroup_path(sample->cgroup);
	/* A process is about to become another program, or to go. */
	if (sample->outcome == DONE_IN_EXEC || sample->outcome == DONE_IN_EXIT)
		return;
	for (i = 0; files_are_wanted() && i < sample->nr_user; i++)
		try_again(file_of(sample, i), sample->pid);
}

/* All its frames are there. */
void finish_sample(const struct sample_record *sample, const struct finding *found)
{
	add_stack(sample);
	profile.lost_copies[found->lost_copy]++;
	if (opt.compare)
		compare_frames(sample, found);
	if (!has_user_stack(sample))
		return;
	profile.cut += sample->end == END_BY_FAULT;
	if (!opt.compare)
		return;
	compare_build_ids(sample);
	compare_names(sample, found->gone);
}

static void add_sample(const struct sample_record *sample)
{
	struct finding found = {
		.gone = opt.compare && is_gone(sample->pid),
		.lost_copy = sample->lost_copy % NR_LOST_COPIES,
	};

	profile.received[sample->outcome]++;
	profile.moved += sample->moved;
	profile.areas_locked += sample->areas_locked;
	look_up(sample);
	if (!unwind_later(sample, &found))
		finish_sample(sample, &found);
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
	case RECORD_AREAS:
		add_areas(data);
		break;
	case RECORD_COPY:
		add_copy(data);
		break;
	}
	return 0;
}
