// SPDX-License-Identifier: GPL-2.0
/* A program can neither keep a task for good, nor the CPU, nor forge a field. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/wait.h>
#include "task_work_limits.skel.h"

#define ENOUGH		1000

/* Its callbacks keep a task from user mode, but not from being killed. */
static void test_killable(struct task_work_limits *skel)
{
	int status = 0;
	pid_t pid;

	pid = fork();
	if (!ASSERT_GE(pid, 0, "fork"))
		return;
	if (!pid)
		_exit(run(skel, schedule_each_other) ? 1 : 2);
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) > ENOUGH), "callbacks go on and on");
	ASSERT_EQ(waitpid(pid, &status, WNOHANG), 0, "the task does not get anywhere");
	ASSERT_OK(kill(pid, SIGKILL), "kill");
	if (!ASSERT_TRUE(wait_for(waitpid(pid, &status, WNOHANG) == pid), "it dies")) {
		WRITE_ONCE(skel->bss->stop, 1);
		waitpid(pid, &status, 0);
	}
	ASSERT_TRUE(WIFSIGNALED(status), "of the signal");
	ASSERT_EQ(skel->bss->ret_last, -ESRCH, "the last schedule");
}

/*
 * A request of io_uring that is there until it is cancelled: to wait for the ring itself. A
 * task that exits cancels only those whose file is a ring.
 */
static int submit_poll(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_NO_SQARRAY };
	int ring_fd = syscall(__NR_io_uring_setup, 1, &params);
	struct io_uring_sqe *sqe;
	char *ring;

	ring = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd,
		    IORING_OFF_SQ_RING);
	sqe = mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd,
		   IORING_OFF_SQES);
	if (ring == MAP_FAILED || sqe == MAP_FAILED)
		return -1;
	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = ring_fd;
	sqe->poll32_events = POLLIN;
	__atomic_store_n((__u32 *)(ring + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	return syscall(__NR_io_uring_enter, ring_fd, 1, 0, 0, NULL, 0) == 1 ? 0 : -1;
}

/* Its exit runs its works to cancel that, before it is marked as exiting. */
static void test_dies_in_io_uring(struct task_work_limits *skel)
{
	struct bpf_link *link;
	int fds[2], status = 0;
	pid_t pid;
	char c;

	if (!have_or_skip(!access("/proc/sys/kernel/io_uring_disabled", F_OK), __func__,
			  "CONFIG_IO_URING") ||
	    !ASSERT_OK(pipe2(fds, O_CLOEXEC), "pipe"))
		return;
	pid = fork();
	if (!pid)
		_exit(submit_poll() ? 1 : read(fds[0], &c, 1));
	ASSERT_GT(pid, 0, "fork");
	skel->bss->ret_dying = 1;
	skel->bss->target_tid = pid;
	link = bpf_program__attach(skel->progs.schedule_dying);
	ASSERT_OK_PTR(link, "attach");
	ASSERT_TRUE(wait_for(task_in_read(pid, fds[0])), "it has a request, and sleeps");
	ASSERT_OK(kill(pid, SIGKILL), "kill");
	if (!ASSERT_TRUE(wait_for(waitpid(pid, &status, WNOHANG) == pid), "it dies")) {
		WRITE_ONCE(skel->bss->stop, 1);
		waitpid(pid, &status, 0);
	}
	ASSERT_TRUE(WIFSIGNALED(status), "of the signal");
	ASSERT_OK(skel->bss->ret_dying, "schedule before");
	ASSERT_EQ(skel->bss->ran, 1, "callbacks");
	ASSERT_EQ(skel->bss->ret_last, -ESRCH, "schedule in the callback");
	bpf_link__destroy(link);
	close(fds[0]);
	close(fds[1]);
}

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

static int insert_many(int map_fd, int n)
{
	struct elem value = {};
	int key, err = 0;

	for (key = 0; key < n && !err; key++)
		err = bpf_map_update_elem(map_fd, &key, &value, BPF_ANY);
	return err;
}

static void delete_in_interrupt(struct task_work_limits *skel)
{
	struct bpf_link *link = attach_clock(skel->progs.delete_in_interrupt, 0);

	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	WRITE_ONCE(skel->bss->armed, 1);
	ASSERT_TRUE(wait_for(!READ_ONCE(skel->bss->armed)), "met by an interrupt");
	ASSERT_NEQ(skel->bss->preempt_count_seen & HARDIRQ_MASK, 0, "deleted in an interrupt");
	bpf_link__destroy(link);
}

/* However many works go at once: finding them all takes one walk over the task's works. */
static void test_one_walk(struct task_work_limits *skel)
{
	int n = bpf_map__max_entries(skel->maps.many);
	__u32 id = prog_id(bpf_program__fd(skel->progs.schedule_many));
	struct target target = {};
	struct bpf_link *link;

	if (!have_preempt_count(__func__))
		return;
	link = bpf_program__attach(skel->progs.count_walks);
	if (!ASSERT_OK_PTR(link, "attach") ||
	    !ASSERT_OK(insert_many(bpf_map__fd(skel->maps.many), n), "insert") ||
	    !ASSERT_OK(target_start(&target), "thread"))
		goto out;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	ASSERT_OK(run(skel, schedule_many), "schedule");
	bpf_program__unload(skel->progs.schedule_many);
	delete_in_interrupt(skel);
	ASSERT_EQ(skel->bss->deleted, n, "deleted");
	ASSERT_TRUE(prog_is_gone(id), "all works are gone, and with them their program");
	ASSERT_EQ(skel->bss->walks, 1, "walks");
	ASSERT_OK(target_tell(&target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(&target), "thread has returned");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
out:
	target_stop(&target);
	bpf_link__destroy(link);
}

/*
 * However long the list of a task is: interrupts that come while it is searched do not have
 * to wait for the end of it.
 */
static void test_walk_interrupted(struct task_work_limits *skel)
{
	int n = bpf_map__max_entries(skel->maps.many);
	__u32 id = prog_id(bpf_program__fd(skel->progs.schedule_many));
	struct target target = {};

	skel->links.interrupt_walk = bpf_program__attach(skel->progs.interrupt_walk);
	skel->links.see_interrupt = bpf_program__attach(skel->progs.see_interrupt);
	if (!ASSERT_OK_PTR(skel->links.interrupt_walk, "attach to the walk") ||
	    !ASSERT_OK_PTR(skel->links.see_interrupt, "attach to the interrupt") ||
	    !ASSERT_OK(insert_many(bpf_map__fd(skel->maps.many), n), "insert") ||
	    !ASSERT_OK(target_start(&target), "thread"))
		goto out;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	skel->bss->test_tid = syscall(__NR_gettid);
	ASSERT_OK(run(skel, schedule_first_use), "have a context");
	ASSERT_OK(run(skel, schedule_many), "schedule");
	bpf_program__unload(skel->progs.schedule_many);
	skel->bss->ret_last = 1;
	ASSERT_OK(run(skel, delete_many), "delete");
	ASSERT_TRUE(prog_is_gone(id), "all works are gone, and with them their program");
	ASSERT_OK(skel->bss->ret_last, "schedule in the walk");
	ASSERT_GE(skel->bss->looked_at, n, "works in the walk");
	ASSERT_GT(skel->bss->looked_at_first, 0, "interrupted");
	ASSERT_LT(skel->bss->looked_at_first, n, "works before the interrupt");
out:
	target_stop(&target);
}

/* Where the kernel's workers that are bound to no CPU may run, as a mask. */
#define WORKERS_MASK "/sys/devices/virtual/workqueue/cpumask"

static bool read_workers_mask(char *mask, size_t size)
{
	FILE *f = fopen(WORKERS_MASK, "r");
	bool yes = f && fgets(mask, size, f);

	if (f)
		fclose(f);
	return yes;
}

/* The reaper gets a CPU that it may keep, the target and this thread have another one. */
static bool set_apart(struct target *target, cpu_set_t *before)
{
	char mask[16];

	snprintf(mask, sizeof(mask), "%x", 1U << nth_cpu(1));
	return ASSERT_OK(write_sysctl(WORKERS_MASK, mask), "keep workers to a CPU") &&
	       ASSERT_OK(pin_to_cpu(target->thread, nth_cpu(0)), "pin the thread") &&
	       ASSERT_TRUE(pin_self(nth_cpu(0), before), "pin");
}

/*
 * While the walk lets an interrupt in, the task takes all of its list and runs it: where the
 * walk was there are works of nobody then, and it has to begin again.
 */
static void overtake_walk(struct task_work_limits *skel, struct target *target)
{
	skel->bss->hold_interrupt = 1;
	ASSERT_OK(run(skel, delete_half), "delete");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->entered)), "in an interrupt of the walk");
	ASSERT_OK(target_tell(target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(target), "thread has returned");
	WRITE_ONCE(skel->bss->may_go_on, 1);
}

static void test_walk_overtaken(struct task_work_limits *skel)
{
	int n = bpf_map__max_entries(skel->maps.many);
	__u32 id = prog_id(bpf_program__fd(skel->progs.schedule_many));
	struct target target = {};
	cpu_set_t before;
	char mask[256];

	if (!have_two_cpus(__func__) ||
	    !have_or_skip(nth_cpu(1) < 32, __func__, "two of the first 32 CPUs") ||
	    !have_or_skip(read_workers_mask(mask, sizeof(mask)), __func__, "CONFIG_SYSFS") ||
	    !ASSERT_OK(insert_many(bpf_map__fd(skel->maps.many), n), "insert") ||
	    !ASSERT_OK(target_start(&target), "thread"))
		return;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	skel->bss->test_tid = syscall(__NR_gettid);
	ASSERT_OK(run(skel, schedule_first_use), "have a context");
	ASSERT_OK(run(skel, schedule_many), "schedule");
	bpf_program__unload(skel->progs.schedule_many);
	skel->links.interrupt_walk = bpf_program__attach(skel->progs.interrupt_walk);
	skel->links.see_interrupt = bpf_program__attach(skel->progs.see_interrupt);
	if (ASSERT_OK_PTR(skel->links.interrupt_walk, "attach to the walk") &&
	    ASSERT_OK_PTR(skel->links.see_interrupt, "attach to the interrupt") &&
	    set_apart(&target, &before)) {
		overtake_walk(skel, &target);
		unpin_self(&before);
	}
	ASSERT_TRUE(prog_is_gone(id), "all works are gone, and with them their program");
	ASSERT_OK(write_sysctl(WORKERS_MASK, mask), "let workers go");
	ASSERT_LT(skel->bss->looked_at_first, n, "works before the interrupt");
	ASSERT_EQ(skel->bss->looked_at, skel->bss->looked_at_first, "works in the walk");
	/* Besides, one that was to have a context, and one that asked for the interrupt. */
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) == n / 2 + 2), "callbacks");
	target_stop(&target);
}

/*
 * What is deleted and not yet taken off its task, or waits for a grace period, is memory
 * that no map's size limits.
 */
static void test_cancelled(struct task_work_limits *skel)
{
	struct target target = {};

	if (!ASSERT_OK(target_start(&target), "thread"))
		return;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	ASSERT_OK(run(skel, cancel_many), "insert, schedule, delete, again and again");
	/* Other maps may have left some, too. */
	ASSERT_LE(skel->bss->accepted, MAX_CANCELLED, "accepted");
	/* Memory comes from an irq_work, to PREEMPT_RT a thread: it ends much sooner there. */
	if (!is_preempt_rt())
		ASSERT_GT(skel->bss->accepted, MAX_CANCELLED / 2, "not refused before");
	ASSERT_GT(skel->bss->refused, 0, "refused");
	ASSERT_EQ(skel->bss->ret_many, -ENOMEM, "with");
	ASSERT_TRUE(wait_for(!run(skel, schedule_first_use)), "accepted when those are gone");
	ASSERT_EQ(skel->bss->ran, 1, "and only that one ran");
	target_stop(&target);
}

/* Waits for a refill of the allocator, by an irq_work of this CPU. */
static void allocate_on(struct task_work_limits *skel, int cpu)
{
	cpu_set_t before;

	if (!ASSERT_TRUE(pin_self(cpu, &before), "pin"))
		return;
	ASSERT_TRUE(wait_for(!run(skel, schedule_first_use)), "the CPU has memory again");
	unpin_self(&before);
}

/*
 * Work that a CPU leaves behind when it goes down is not lost. And though it used up all
 * the memory that it had in store by then, it is as good as before when it is back.
 */
static void test_dying_cpu(struct task_work_limits *skel)
{
	int n = bpf_map__max_entries(skel->maps.many);
	int cpu = last_cpu_with_switch(CPU_SETSIZE);
	struct target target = {};
	struct bpf_link *link;

	if (!have_two_cpus(__func__) || !have_hotplug(__func__) || !have_cpu(cpu, __func__))
		return;
	link = bpf_program__attach(skel->progs.schedule_on_dying_cpu);
	if (!ASSERT_OK_PTR(link, "attach") ||
	    !ASSERT_OK(insert_many(bpf_map__fd(skel->maps.many), n), "insert") ||
	    !ASSERT_OK(target_start(&target), "thread"))
		goto out;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	skel->bss->ret_last = 1;
	ASSERT_OK(set_cpu_online(cpu, "0"), "take a CPU down");
	ASSERT_OK(skel->bss->ret_last, "schedule");
	ASSERT_EQ(skel->bss->ret_many, -ENOMEM, "schedule more than it has memory for");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran)), "callback, while the CPU is down");
	if (ASSERT_OK(set_cpu_online(cpu, "1"), "bring it up"))
		allocate_on(skel, cpu);
out:
	target_stop(&target);
	bpf_link__destroy(link);
}

static int attach_iter(struct bpf_program *prog, struct bpf_map *map)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = { .map.map_fd = bpf_map__fd(map) };
	struct bpf_link *link;

	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	link = bpf_program__attach_iter(prog, &opts);
	if (!link)
		return -errno;
	bpf_link__destroy(link);
	return 0;
}

/* An iterator gets the bare value: see iter_writes.c for all the ways to write that. */
static void test_iterator(struct task_work_limits *skel)
{
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.pair), -EACCES, "write");
	ASSERT_OK(attach_iter(skel->progs.read_elem, skel->maps.pair), "read");
}

static const struct {
	const char *name;
	void (*test)(struct task_work_limits *skel);
} cases[] = {
	{ "killable", test_killable },
	{ "dies_in_io_uring", test_dies_in_io_uring },
	{ "one_walk", test_one_walk },
	{ "walk_interrupted", test_walk_interrupted },
	{ "walk_overtaken", test_walk_overtaken },
	{ "cancelled", test_cancelled },
	{ "dying_cpu", test_dying_cpu },
	{ "iterator", test_iterator },
};

void serial_test_task_work_limits(void)
{
	struct task_work_limits *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		skel = task_work_limits__open_and_load();
		if (!ASSERT_OK_PTR(skel, "open and load"))
			return;
		cases[i].test(skel);
		task_work_limits__destroy(skel);
	}
}
