// SPDX-License-Identifier: GPL-2.0
/* A program can neither keep a task for good, nor the CPU, nor forge a field. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/wait.h>
#include "task_work_extension.skel.h"
#include "task_work_limits.skel.h"

#define ENOUGH		1000

#define run(skel, name) run_syscall_prog(bpf_program__fd((skel)->progs.name))

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

/* A map that such a CPU has allocated for can be freed, even if the CPU stays down. */
static void test_map_of_dead_cpu(struct task_work_limits *skel)
{
	int cpu = last_cpu_with_switch(CPU_SETSIZE);
	__u32 zero = 0;

	if (!have_two_cpus(__func__) || !have_hotplug(__func__))
		return;
	skel->links.allocate_on_dying_cpu = bpf_program__attach(skel->progs.allocate_on_dying_cpu);
	skel->links.see_freed = bpf_program__attach(skel->progs.see_freed);
	if (!ASSERT_OK_PTR(skel->links.allocate_on_dying_cpu, "attach") ||
	    !ASSERT_OK_PTR(skel->links.see_freed, "attach to the free"))
		return;
	ASSERT_OK(set_cpu_online(cpu, "0"), "take a CPU down");
	ASSERT_EQ(skel->bss->ret_many, -ENOMEM, "insert more than it has memory for");
	ASSERT_OK(bpf_map_delete_elem(bpf_map__fd(skel->maps.outer), &zero), "remove inner");
	ASSERT_OK(drop_user_reference(bpf_map__fd(skel->maps.inner)), "drop inner");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->inner_freed)), "freed while the CPU is down");
	ASSERT_OK(set_cpu_online(cpu, "1"), "bring it up");
}

/*
 * The element that a pre-allocated hash is replacing is nobody's to have: in an NMI amid
 * that no other can be replaced, though a new one may be inserted in another bucket.
 */
static void test_replace_in_nmi(struct task_work_limits *skel)
{
	int map_fd = bpf_map__fd(skel->maps.many);
	struct bpf_link *link;

	if (!have_breakpoint_nmi(__func__))
		return;
	if (!ASSERT_OK(insert_many(map_fd, NR_OTHERS), "insert") ||
	    !ASSERT_OK(run(skel, find_first), "find the first"))
		return;
	link = attach_breakpoint(skel->progs.replace_others, skel->bss->slot_addr,
				 syscall(__NR_gettid));
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	ASSERT_OK(run(skel, replace_first), "replace");
	bpf_link__destroy(link);
	ASSERT_NEQ(skel->bss->preempt_count_seen & NMI_MASK, 0, "interrupted by an NMI");
	ASSERT_GT(skel->bss->nmi_inserted, 0, "inserted in the NMI");
	ASSERT_EQ(skel->bss->nmi_replaced, 0, "replaced in the NMI");
	ASSERT_EQ(skel->bss->nmi_replace_busy, NR_OTHERS - 1, "refused to replace in the NMI");
	ASSERT_OK(insert_many(map_fd, 2 * NR_OTHERS), "replace them all afterwards");
}

/* The total of a counter that is kept per CPU has a lock, which the NMI has interrupted. */
static void test_count_in_nmi(struct task_work_limits *skel)
{
	int map_fd = bpf_map__fd(skel->maps.counted);
	int key, n = skel->bss->nr_counted;
	struct bpf_link *link;
	int err = run(skel, find_total);

	if (!have_breakpoint_nmi(__func__) ||
	    !have_or_skip(err != -EOPNOTSUPP, __func__, "CONFIG_SMP") ||
	    !ASSERT_OK(err, "find the total"))
		return;
	link = attach_breakpoint(skel->progs.count_in_nmi,
				 skel->bss->counted_addr + skel->bss->total_offset,
				 syscall(__NR_gettid));
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	ASSERT_OK(run(skel, count_up_and_down), "count");
	bpf_link__destroy(link);
	ASSERT_NEQ(skel->bss->preempt_count_seen & NMI_MASK, 0, "interrupted by an NMI");
	ASSERT_GT(skel->bss->nmi_hits_locked, 0, "while the lock was taken");
	for (key = n; key < n + MORE_THAN_BATCH; key++)
		bpf_map_delete_elem(map_fd, &key);
	ASSERT_OK(insert_many(map_fd, n), "there is room for all");
	ASSERT_EQ(insert_many(map_fd, n + 1), -E2BIG, "and for no more");
}

static struct bpf_link *open_iter(struct bpf_program *prog, struct bpf_map *map)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = { .map.map_fd = bpf_map__fd(map) };

	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	return bpf_program__attach_iter(prog, &opts);
}

static int attach_iter(struct bpf_program *prog, struct bpf_map *map)
{
	struct bpf_link *link = open_iter(prog, map);

	if (!link)
		return -errno;
	bpf_link__destroy(link);
	return 0;
}

/* An iterator gets the bare value. It may write that only if no pointer of ours is in it. */
static void test_iterator(struct task_work_limits *skel)
{
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.pair), -EACCES, "write");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_helper, skel->maps.pair), -EACCES,
		  "write by a helper");
	ASSERT_EQ(attach_iter(skel->progs.print_to_elem, skel->maps.pair), -EACCES, "print");
	ASSERT_EQ(attach_iter(skel->progs.print_btf_to_elem, skel->maps.pair), -EACCES,
		  "print a type");
	ASSERT_EQ(attach_iter(skel->progs.pop_to_elem, skel->maps.pair), -EACCES,
		  "copy from a queue");
	ASSERT_OK(attach_iter(skel->progs.read_elem, skel->maps.pair), "read");
	ASSERT_OK(attach_iter(skel->progs.write_elem, skel->maps.plain), "write another map");
}

/* What is handed to others is as good as written, unless they are known not to write it. */
static void test_iterator_hands_on(struct task_work_limits *skel)
{
	struct bpf_map *map = skel->maps.pair, *plain = skel->maps.plain;

	ASSERT_OK(attach_iter(skel->progs.read_elem_with_kfunc, map), "to a kfunc that reads");
	ASSERT_OK(attach_iter(skel->progs.read_elem_with_kfunc_len, map),
		  "to a kfunc that reads a length");
	ASSERT_OK(attach_iter(skel->progs.read_elem_with_static, map), "to a static function");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_kfunc, map), -EACCES,
		  "to a kfunc that may write");
	ASSERT_OK(attach_iter(skel->progs.write_elem_with_kfunc, plain), "write another map");
}

/* A global function is verified by itself, but for what it is handed. */
static void test_iterator_calls_global(struct task_work_limits *skel)
{
	struct bpf_map *map = skel->maps.pair, *plain = skel->maps.plain;

	ASSERT_OK(attach_iter(skel->progs.read_elem_with_global, map), "that reads");
	ASSERT_OK(attach_iter(skel->progs.report_elem_with_global, map), "that reports");
	ASSERT_OK(attach_iter(skel->progs.read_elem_and_write_own, map), "that writes its own");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_global, map), -EACCES, "that writes");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_globals_helper, map), -EACCES,
		  "that writes by a helper");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_two_globals, map), -EACCES,
		  "that calls one that writes");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_and_own, map), -EACCES,
		  "that writes other memory, too");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_static, map), -EACCES,
		  "that calls a static one that writes");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_or_own, map), -EACCES, "by the same call");
	ASSERT_EQ(attach_iter(skel->progs.write_own_or_elem, map), -EACCES,
		  "by the same call, the other way round");
	ASSERT_OK(attach_iter(skel->progs.write_elem_with_two_globals, plain), "write another map");
}

/* The map of its value is not known: any kernel pointer may be in it. */
static void test_iterator_other_fields(struct task_work_limits *skel)
{
	struct bpf_map *map = skel->maps.pinned;

	ASSERT_EQ(attach_iter(skel->progs.write_elem, map), -EACCES, "write a kptr");
	ASSERT_OK(attach_iter(skel->progs.read_elem, map), "read beside a kptr");
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.locked), -EACCES,
		  "write a lock");
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.constant), -EACCES,
		  "write a constant");
	ASSERT_OK(attach_iter(skel->progs.write_elem, skel->maps.pinned_percpu), "write a copy");
	map = skel->maps.pinned_storage;
	ASSERT_EQ(attach_iter(skel->progs.write_storage, map), -EACCES, "write a socket's kptr");
	ASSERT_OK(attach_iter(skel->progs.read_storage, map), "read a socket's value");
	ASSERT_OK(attach_iter(skel->progs.write_storage, skel->maps.storage),
		  "write a socket's plain value");
}

/* What is tail called is handed the value, too, and is compared with no map. */
static void test_iterator_tail_call(struct task_work_limits *skel)
{
	ASSERT_EQ(attach_iter(skel->progs.tail_call, skel->maps.pair), -EACCES, "of a value");
	ASSERT_EQ(attach_iter(skel->progs.tail_call, skel->maps.plain), -EACCES,
		  "of a plain value");
	ASSERT_EQ(attach_iter(skel->progs.tail_call_of_storage, skel->maps.storage), -EACCES,
		  "of a socket's value");
	ASSERT_EQ(attach_iter(skel->progs.tail_call_of_sockmap, skel->maps.sockets), -EACCES,
		  "of a socket's key");
}

/* It could write what the function has only read when the iterator was attached. */
static void test_iterator_extension(struct task_work_limits *skel)
{
	int fd = bpf_program__fd(skel->progs.read_elem_with_named);
	struct task_work_extension *ext = task_work_extension__open();
	struct bpf_link *link = NULL;

	if (!ASSERT_OK_PTR(ext, "open"))
		return;
	bpf_program__set_autoload(ext->progs.read_first, true);
	ASSERT_OK(bpf_program__set_attach_target(ext->progs.read_first, fd,
						 "bpf_iter_bpf_map_elem"), "set target");
	if (ASSERT_OK(task_work_extension__load(ext), "load")) {
		link = bpf_program__attach_trace(ext->progs.read_first);
		ASSERT_EQ(libbpf_get_error(link), -EINVAL, "attach");
	}
	bpf_link__destroy(link);
	task_work_extension__destroy(ext);
}

static __u32 prog_of_link(struct bpf_link *link)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	return bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len) ? 0 : info.prog_id;
}

/* The iterator keeps its program where the other one is refused. */
static int update_iter(struct bpf_program *from, struct bpf_program *to, struct bpf_map *map)
{
	struct bpf_link *link = open_iter(from, map);
	__u32 id;
	int err;

	if (!ASSERT_OK_PTR(link, "attach the first"))
		return -EBADF;
	id = prog_of_link(link);
	err = bpf_link__update_program(link, to);
	ASSERT_NEQ(id, 0, "program of the link");
	ASSERT_EQ(prog_of_link(link) == id, err != 0, "its program is replaced or kept");
	bpf_link__destroy(link);
	return err;
}

/* A program that can't be attached to an iterator can't replace one that can, either. */
static void test_iterator_update(struct task_work_limits *skel)
{
	struct bpf_program *read = skel->progs.read_elem;
	struct bpf_map *map = skel->maps.pair, *plain = skel->maps.plain;

	ASSERT_OK(update_iter(read, skel->progs.read_first, map), "read");
	ASSERT_EQ(update_iter(read, skel->progs.write_elem, map), -EACCES, "write");
	ASSERT_EQ(update_iter(read, skel->progs.write_elem_with_helper, map), -EACCES,
		  "write by a helper");
	ASSERT_OK(update_iter(read, skel->progs.write_elem, plain), "write another map");
	ASSERT_EQ(update_iter(read, skel->progs.read_behind_elem, plain), -EACCES,
		  "read behind the value");
	ASSERT_EQ(update_iter(read, skel->progs.read_behind_key, plain), -EACCES,
		  "read behind the key");
	ASSERT_EQ(attach_iter(skel->progs.read_elem_sleepable, plain), -EINVAL, "attach to sleep");
	ASSERT_EQ(update_iter(read, skel->progs.read_elem_sleepable, plain), -EINVAL, "sleep");
	ASSERT_EQ(update_iter(skel->progs.read_storage, skel->progs.read_behind_storage,
			      skel->maps.storage), -EACCES, "read behind a socket's storage");
	ASSERT_OK(update_iter(skel->progs.read_storage, skel->progs.read_storage_again,
			      skel->maps.storage), "read a socket's storage");
	ASSERT_EQ(update_iter(skel->progs.read_socket_key, skel->progs.read_behind_socket_key,
			      skel->maps.sockets), -EACCES, "read behind a socket's key");
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
	{ "map_of_dead_cpu", test_map_of_dead_cpu },
	{ "iterator", test_iterator },
	{ "iterator_update", test_iterator_update },
	{ "iterator_hands_on", test_iterator_hands_on },
	{ "iterator_calls_global", test_iterator_calls_global },
	{ "iterator_extension", test_iterator_extension },
	{ "iterator_tail_call", test_iterator_tail_call },
	{ "iterator_other_fields", test_iterator_other_fields },
	{ "replace_in_nmi", test_replace_in_nmi },
	{ "count_in_nmi", test_count_in_nmi },
};

void serial_test_task_work_limits(void)
{
	struct task_work_limits *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		skel = task_work_limits__open();
		if (!ASSERT_OK_PTR(skel, "open"))
			return;
		skel->bss->nr_counted = COUNTED_PER_CPU * libbpf_num_possible_cpus();
		bpf_map__set_max_entries(skel->maps.counted, skel->bss->nr_counted);
		/* Let the verifier compare states at each of their instructions. */
		bpf_program__set_flags(skel->progs.write_elem_or_own, BPF_F_TEST_STATE_FREQ);
		bpf_program__set_flags(skel->progs.write_own_or_elem, BPF_F_TEST_STATE_FREQ);
		if (ASSERT_OK(task_work_limits__load(skel), "load"))
			cases[i].test(skel);
		task_work_limits__destroy(skel);
	}
}
