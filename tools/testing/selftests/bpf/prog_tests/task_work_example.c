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

static void sample_and_end(struct task_work_example *skel)
{
	struct spinner spinner = {};
	int tid;

	if (!ASSERT_OK(target_start(&spinner.target), "thread"))
		return;
	tid = spinner.target.tid;
	sample_spinner(skel, &spinner);
	target_stop(&spinner.target);
	ASSERT_TRUE(wait_for(find_element(skel, tid) == -ENOENT), "forgotten");
}

/* In memory that the child shares. */
struct executor {
	int tid;
	bool go;
};

static void *execute(void *arg)
{
	struct executor *executor = arg;

	WRITE_ONCE(executor->tid, syscall(__NR_gettid));
	if (wait_for(READ_ONCE(executor->go)))
		execl(TRUE_PATH, "true", NULL);
	_exit(1);
}

/* The thread is not the first of its process, and takes over the ID of that one. */
static int execute_in_thread(struct executor *executor)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, execute, executor))
		return 1;
	pthread_join(thread, NULL);
	return 1;
}

static void keep_element(struct task_work_example *skel, int tid)
{
	char value[bpf_map__value_size(skel->maps.threads)];

	memset(value, 0, sizeof(value));
	ASSERT_OK(bpf_map_update_elem(bpf_map__fd(skel->maps.threads), &tid, value, BPF_NOEXIST),
		  "element");
}

static void change_id(struct task_work_example *skel, struct executor *executor)
{
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(execute_in_thread(executor));
	if (!ASSERT_GT(pid, 0, "fork"))
		return;
	if (ASSERT_TRUE(wait_for(READ_ONCE(executor->tid)), "thread of the child"))
		keep_element(skel, executor->tid);
	WRITE_ONCE(executor->go, true);
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "wait");
	ASSERT_OK(status, "child");
	ASSERT_NEQ(executor->tid, pid, "ID of the thread");
	ASSERT_EQ(find_element(skel, executor->tid), -ENOENT, "forgotten");
}

static void execute_and_end(struct task_work_example *skel)
{
	struct executor *executor = mmap(NULL, sizeof(*executor), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!ASSERT_NEQ(executor, MAP_FAILED, "mmap"))
		return;
	change_id(skel, executor);
	munmap(executor, sizeof(*executor));
}

void test_task_work_example(void)
{
	struct task_work_example *skel = task_work_example__open_and_load();

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	skel->links.forget = bpf_program__attach(skel->progs.forget);
	skel->links.forget_id = bpf_program__attach(skel->progs.forget_id);
	if (ASSERT_OK_PTR(skel->links.forget, "attach forget") &&
	    ASSERT_OK_PTR(skel->links.forget_id, "attach forget_id")) {
		if (test__start_subtest("sample"))
			sample_and_end(skel);
		if (test__start_subtest("execve") && have_true("execve"))
			execute_and_end(skel);
	}
	task_work_example__destroy(skel);
}
