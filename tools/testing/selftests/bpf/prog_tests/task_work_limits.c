// SPDX-License-Identifier: GPL-2.0
/* A program can neither keep a task for good, nor the CPU, nor forge a field. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <sys/wait.h>
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

/* An iterator gets the bare value. It may write that only if no pointer of ours is in it. */
static void test_iterator(struct task_work_limits *skel)
{
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.pair), -EACCES, "write");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_helper, skel->maps.pair), -EACCES,
		  "write by a helper");
	ASSERT_OK(attach_iter(skel->progs.read_elem, skel->maps.pair), "read");
	ASSERT_OK(attach_iter(skel->progs.write_elem, skel->maps.plain), "write another map");
}

static const struct {
	const char *name;
	void (*test)(struct task_work_limits *skel);
} cases[] = {
	{ "killable", test_killable },
	{ "one_walk", test_one_walk },
	{ "dying_cpu", test_dying_cpu },
	{ "map_of_dead_cpu", test_map_of_dead_cpu },
	{ "iterator", test_iterator },
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
		if (ASSERT_OK(task_work_limits__load(skel), "load"))
			cases[i].test(skel);
		task_work_limits__destroy(skel);
	}
}
