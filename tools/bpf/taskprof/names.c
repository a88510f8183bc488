// SPDX-License-Identifier: GPL-2.0
/* Names of addresses in files: a child reads them. */
#define _GNU_SOURCE
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "prof.h"

#define MAX_NAME	2048

struct name {
	uint64_t frame;
	char *text;
};

static struct name *names;
static size_t nr_names;

/* How long a child may say nothing, in milliseconds. Whoever wastes it gets less. */
static int patience = 10000;

static uint32_t file_of(uint64_t frame)
{
	return frame >> FILE_SHIFT;
}

/* A return address may lie behind the end of the function that called last. */
static uint64_t place_of(uint64_t frame, bool is_caller)
{
	return frame - (frame && is_caller);
}

static void add_frames(const struct stack *stack)
{
	const uint64_t *user = stack->frames + stack->nr_kernel;
	uint32_t i;

	names = must(realloc(names, (nr_names + stack->nr_user + 1) * sizeof(*names)));
	for (i = 0; i < stack->nr_user; i++)
		names[nr_names++] = (struct name){
			.frame = place_of(user[i], i > 0),
		};
}

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* Sorted, so those of a file follow one another. */
static void gather_frames(void)
{
	size_t i, nr = 0;

	walk_stacks(add_frames);
	qsort(names, nr_names, sizeof(*names), compare_names);
	for (i = 0; i < nr_names; i++)
		if (!nr || names[nr - 1].frame != names[i].frame)
			names[nr++] = names[i];
	nr_names = nr;
}

static size_t next_file(size_t i)
{
	uint32_t file = file_of(names[i].frame);

	while (i < nr_names && file_of(names[i].frame) == file)
		i++;
	return i;
}

/* In the child: an empty name, where there is none, tells that it gets on. */
static void name_frames(size_t first, FILE *to)
{
	const char *name;
	bool loaded;
	size_t next;

	for (; first < nr_names; first = next) {
		uint32_t file = file_of(names[first].frame);

		tell_file(file);
		next = next_file(first);
		for (loaded = load_symbols(get_binary(file)); first < next; first++) {
			name = loaded ? find_symbol(names[first].frame & OFFSET_MASK) : NULL;
			answer(to, first, name ?: "", name ? strnlen(name, MAX_NAME) : 0);
		}
		drop_symbols();
		fflush(to);
	}
}

static void take_name(size_t i, const void *text, size_t len)
{
	if (len)
		names[i].text = must(strndup(text, len));
}

/* It may not be the file, but a server that does not answer. */
static void do_without_server(void)
{
	warnx("going on without debuginfod: no names in %d seconds", patience / 1000);
	opt.debuginfod = 0;
	unsetenv("DEBUGINFOD_URLS");
}

/* The child was at a file for too long, or is gone. */
static void go_behind(struct job *job, enum job_state state)
{
	if (state == JOB_WAITS && opt.debuginfod) {
		do_without_server();
		return;
	}
	if (state == JOB_WAITS)
		patience = patience > 2000 ? patience / 2 : 1000;
	give_up_file();
	job->next = next_file(job->next);
}

/* Must be called once, when all stacks are there. */
void load_names(void)
{
	struct job job = { .work = name_frames, .take = take_name };
	enum job_state state;

	gather_frames();
	job.nr = nr_names;
	while (job.next < nr_names && start_job(&job)) {
		do
			state = go_on(&job, patience);
		while (state == JOB_WORKS);
		if (state == JOB_WAITS)
			end_job(&job);
		if (job.next < nr_names)
			go_behind(&job, state);
	}
	free(job.data);
}

/* Without a name, the file is better than nothing. */
static char *make_name(uint64_t frame)
{
	const struct binary *binary = get_binary(file_of(frame));
	char *text;

	if (!file_of(frame))
		return must(strdup("[unknown]"));
	if (binary->is_vdso)
		return must(strdup("[vdso]"));
	if (asprintf(&text, "[%s]", binary->path ? basename(binary->path) : "unknown") < 0)
		err(1, "out of memory");
	return text;
}

const char *user_name(uint64_t frame, bool is_caller)
{
	struct name key = { .frame = place_of(frame, is_caller) };
	struct name *name = bsearch(&key, names, nr_names, sizeof(*names), compare_names);

	if (!name->text)
		name->text = make_name(key.frame);
	return name->text;
}
