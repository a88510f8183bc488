// SPDX-License-Identifier: GPL-2.0
/*
 * --call-graph dwarf: samples wait with the copies of their stacks until there are many;
 * then a child finds the callers, while the next ones are gathered.
 */
#define _GNU_SOURCE
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "prof.h"

#define BATCH_BYTES	(32 * 1024 * 1024)
#define MAX_AREA_BYTES	(64 * 1024 * 1024)

struct pending {
	struct sample_record *sample;
	struct copy_record *copy;
	struct finding found;
};

struct batch {
	struct pending *of;
	size_t nr;
	size_t room;
	size_t bytes;
};

/* What a process has mapped, as long as it is in use. */
struct area_set {
	uint32_t id;
	uint64_t last_use;
	struct areas_record *record;
};

static void *area_sets;
static size_t area_bytes;
static uint64_t nr_uses;
static struct area_set *oldest;		/* see drop_oldest() */
static struct batch filling, working;
static struct copy_record **copies;	/* that came before their sample, as all do */
static size_t nr_copies;
static struct job job;
static bool is_working;
static time_t last_answer;
/* How long a child may say nothing, in seconds. Whoever wastes it gets less. */
static time_t patience = 10;

static void *duplicate(const void *data, size_t size)
{
	return memcpy(must(malloc(size)), data, size);
}

static int compare_area_sets(const void *a, const void *b)
{
	const struct area_set *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void look_for_oldest(const void *node, VISIT which, int depth)
{
	struct area_set *set = *(struct area_set *const *)node;

	if ((which == postorder || which == leaf) && (!oldest || set->last_use < oldest->last_use))
		oldest = set;
}

static size_t size_of_areas(const struct areas_record *record)
{
	return offsetof(struct areas_record, areas) + record->nr * sizeof(record->areas[0]);
}

static void drop_oldest(void)
{
	oldest = NULL;
	twalk(area_sets, look_for_oldest);
	tdelete(oldest, &area_sets, compare_area_sets);
	area_bytes -= size_of_areas(oldest->record);
	free(oldest->record);
	free(oldest);
}

void add_areas(const struct areas_record *record)
{
	struct area_set *set = must(calloc(1, sizeof(*set)));
	size_t size = size_of_areas(record);

	while (area_sets && area_bytes + size > MAX_AREA_BYTES)
		drop_oldest();
	set->id = record->id;
	set->last_use = ++nr_uses;
	set->record = duplicate(record, size);
	must(tsearch(set, &area_sets, compare_area_sets));
	area_bytes += size;
}

static const struct areas_record *get_areas(const struct copy_record *copy)
{
	struct area_set key = { .id = copy->areas };
	struct area_set **set = tfind(&key, &area_sets, compare_area_sets);

	if (!set || (*set)->record->owner != copy->owner)
		return NULL;
	(*set)->last_use = ++nr_uses;
	return (*set)->record;
}

/* The sample of one that stays may have found no room in the ring buffer. */
void add_copy(const struct copy_record *record)
{
	if (nr_copies == NR_SLOTS) {
		free(copies[0]);
		memmove(copies, copies + 1, --nr_copies * sizeof(*copies));
	}
	copies = must(realloc(copies, (nr_copies + 1) * sizeof(*copies)));
	copies[nr_copies++] = duplicate(record, offsetof(struct copy_record, stack) + record->size);
}

static struct copy_record *take_copy(uint32_t id)
{
	struct copy_record *copy;
	size_t i;

	for (i = 0; i < nr_copies; i++) {
		copy = copies[i];
		if (copy->id != id)
			continue;
		copies[i] = copies[--nr_copies];
		return copy;
	}
	return NULL;
}

/* In the child. */
static void unwind_copies(size_t first, FILE *to)
{
	struct unwound unwound;

	for (; first < working.nr; first++) {
		const struct copy_record *copy = working.of[first].copy;
		const struct areas_record *areas = get_areas(copy);

		memset(&unwound, 0, offsetof(struct unwound, frames));
		if (areas) {
			unwind(copy, areas, &unwound);
			unwound.has_link = is_link(working.of[first].sample->attempt.fp);
		}
		answer(to, first, &unwound, offsetof(struct unwound, frames) +
		       unwound.nr * sizeof(unwound.frames[0]));
		/* What is done is done, whatever comes of the next one. */
		fflush(to);
	}
}

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static uint32_t cause_of(const struct unwound *unwound)
{
	if (!unwound->nr)
		return LOST_NO_TABLES;
	switch (unwound->end) {
	case END_BY_FAULT:
		return LOST_NOT_COPIED;
	case END_IN_DATA:
		return LOST_NO_TABLES;
	default:
		return NOT_LOST;
	}
}

/* The sample has its first frame already. */
static void add_callers(struct sample_record *sample, const struct unwound *unwound)
{
	size_t callers = unwound->nr ? unwound->nr - 1 : 0;

	memcpy(sample->frames + sample->nr_kernel + 1, unwound->frames + 1,
	       callers * sizeof(unwound->frames[0]));
	sample->nr_user = 1 + callers;
	sample->end = unwound->end;
}

static void settle(struct pending *pending, const struct unwound *unwound)
{
	struct sample_record *sample = pending->sample;

	pending->found.lost_copy = unwound ? cause_of(unwound) : LOST_UNWINDER;
	pending->found.has_link = unwound && unwound->has_link;
	if (unwound)
		add_callers(sample, unwound);
	finish_sample(sample, &pending->found);
	free(sample);
	free(pending->copy);
}

static void take_unwound(size_t i, const void *data, size_t len)
{
	const struct unwound *unwound = data;

	if (len < offsetof(struct unwound, frames) || unwound->nr > MAX_FRAMES ||
	    len != offsetof(struct unwound, frames) + unwound->nr * sizeof(unwound->frames[0]))
		unwound = NULL;
	settle(&working.of[i], unwound);
	last_answer = now();
}

/* If there can be no child, all go without. */
static void start(void)
{
	is_working = start_job(&job);
	while (!is_working && job.next < working.nr)
		settle(&working.of[job.next++], NULL);
	last_answer = now();
}

/* It was the file, or else something in the copy of that sample, that was too much. */
static void start_after_failure(void)
{
	is_working = false;
	if (!give_up_file())
		settle(&working.of[job.next++], NULL);
	if (job.next < working.nr)
		start();
}

/* Waits for the child up to @ms milliseconds. */
static void go_on_unwinding(int ms)
{
	enum job_state state = go_on(&job, ms);

	if (state == JOB_WORKS || (state == JOB_WAITS && now() <= last_answer + patience))
		return;
	if (state == JOB_WAITS) {
		end_job(&job);
		patience = patience > 1 ? patience / 2 : 1;
	}
	if (job.next < working.nr)
		start_after_failure();
	else
		is_working = false;
}

static void start_batch(void)
{
	struct batch empty = working;

	working = filling;
	filling = empty;
	filling.nr = 0;
	filling.bytes = 0;
	job.work = unwind_copies;
	job.take = take_unwound;
	job.nr = working.nr;
	job.next = 0;
	start();
}

/* With room for all frames that a sample can have. */
static struct sample_record *duplicate_sample(const struct sample_record *sample)
{
	struct sample_record *copy = must(malloc(sizeof(*copy)));

	memcpy(copy, sample, offsetof(struct sample_record, frames) +
			     (sample->nr_kernel + sample->nr_user) * sizeof(sample->frames[0]));
	return copy;
}

/* Keeps the sample, if there is a copy for it. */
bool unwind_later(const struct sample_record *sample, struct finding *found)
{
	struct copy_record *copy = sample->copy ? take_copy(sample->copy) : NULL;

	if (!copy || !has_user_stack(sample)) {
		free(copy);
		return false;
	}
	if (!get_areas(copy) || filling.bytes >= 2 * BATCH_BYTES) {
		found->lost_copy = filling.bytes >= 2 * BATCH_BYTES ? LOST_BEHIND : LOST_FORGOTTEN;
		free(copy);
		return false;
	}
	if (filling.nr == filling.room) {
		filling.room = 2 * filling.room + 64;
		filling.of = must(realloc(filling.of, filling.room * sizeof(*filling.of)));
	}
	filling.of[filling.nr++] = (struct pending){
		.sample = duplicate_sample(sample),
		.copy = copy,
		.found = *found,
	};
	filling.bytes += sizeof(*sample) + copy->size;
	return true;
}

/* Called now and then, it does not wait. */
void unwind_some(void)
{
	if (is_working)
		go_on_unwinding(0);
	if (!is_working && filling.bytes >= BATCH_BYTES)
		start_batch();
}

void unwind_rest(void)
{
	while (is_working || filling.nr) {
		if (is_working)
			go_on_unwinding(1000);
		else
			start_batch();
	}
}
