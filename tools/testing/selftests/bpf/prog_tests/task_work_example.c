// SPDX-License-Identifier: GPL-2.0
/* The program that the documentation shows does what it says there. */
#include <test_progs.h>
#include "progs/task_work_example.h"
#include "task_work_example.skel.h"
#include "task_work_helpers.h"

struct spinner {
	struct target target;
	bool seen;
};

/* While the thread spins, neither its stack pointer nor what is there changes. */
static int compare_stack(void *ctx, void *data, size_t size)
{
	const struct stack_copy *stack = data;
	struct spinner *spinner = ctx;

	if (stack->tid == spinner->target.tid &&
	    !memcmp(stack->bytes, (void *)stack->sp, sizeof(stack->bytes)))
		spinner->seen = true;
	return 0;
}

static bool stack_arrives(struct ring_buffer *stacks, struct spinner *spinner)
{
	return wait_for(ring_buffer__consume(stacks) < 0 || spinner->seen) && spinner->seen;
}

static int find_element(struct task_work_example *skel, int tid)
{
	char value[bpf_map__value_size(skel->maps.threads)];

	return bpf_map_lookup_elem(bpf_map__fd(skel->maps.threads), &tid, value);
}

static void sample_spinner(struct task_work_example *skel, struct spinner *spinner)
{
	int tid = spinner->target.tid;
	struct ring_buffer *stacks;
	struct bpf_link *clock;

	stacks = ring_buffer__new(bpf_map__fd(skel->maps.stacks), compare_stack, spinner, NULL);
	clock = attach_clock(skel->progs.sample, tid);
	if (ASSERT_OK_PTR(stacks, "ring buffer") && ASSERT_OK_PTR(clock, "attach")) {
		ASSERT_OK(target_tell(&spinner->target, TARGET_SPIN), "spin");
		ASSERT_TRUE(stack_arrives(stacks, spinner), "stack");
		ASSERT_OK(find_element(skel, tid), "element");
	}
	bpf_link__destroy(clock);
	ring_buffer__free(stacks);
}

void test_task_work_example(void)
{
	struct task_work_example *skel = task_work_example__open_and_load();
	struct spinner spinner = {};
	int tid;

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	skel->links.forget = bpf_program__attach(skel->progs.forget);
	if (ASSERT_OK_PTR(skel->links.forget, "attach forget") &&
	    ASSERT_OK(target_start(&spinner.target), "thread")) {
		tid = spinner.target.tid;
		sample_spinner(skel, &spinner);
		target_stop(&spinner.target);
		ASSERT_TRUE(wait_for(find_element(skel, tid) == -ENOENT), "forgotten");
	}
	task_work_example__destroy(skel);
}
