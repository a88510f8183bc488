// SPDX-License-Identifier: GPL-2.0
/* How long a map waits, and who waits for it meanwhile. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_waits.skel.h"

#define run(skel, name) run_syscall_prog(bpf_program__fd((skel)->progs.name))

static bool attach(struct bpf_link **link, struct bpf_program *prog)
{
	*link = bpf_program__attach(prog);
	return ASSERT_OK_PTR(*link, bpf_program__name(prog));
}

static int insert_zero(struct bpf_map *map)
{
	char value[16] = {};
	int zero = 0;

	return bpf_map_update_elem(bpf_map__fd(map), &zero, &value, BPF_ANY);
}

static void see_freed(struct task_work_waits *skel, struct bpf_map *map)
{
	struct task_work_waits__bss *bss = skel->bss;
	const char *name = bpf_map__name(map);

	bss->freed = 0;
	bss->fields = 0;
	bss->waits = 0;
	if (!ASSERT_OK(drop_user_reference(bpf_map__fd(map)), name) ||
	    !ASSERT_TRUE(wait_for(READ_ONCE(bss->freed)), name))
		return;
	ASSERT_EQ(bss->fields, 1, name);
	ASSERT_GT(bss->pins_at_fields, bss->pins_outside, "bound to its CPU at the fields");
	ASSERT_GT(bss->waits, 0, name);
	ASSERT_EQ(bss->pins_at_waits, bss->pins_outside, "not bound where it may wait");
}

/*
 * The worker that frees a map stays on its CPU for as long as it gives objects back to that
 * CPU's cache. Then it waits, for what may wait for that CPU to go down, which in turn
 * waits for who is bound to it.
 */
static void test_free_unbound(struct task_work_waits *skel)
{
	if (!ASSERT_OK(insert_zero(skel->maps.freed_hash), "insert") ||
	    !ASSERT_OK(insert_zero(skel->maps.freed_malloc), "insert") ||
	    !ASSERT_OK(insert_zero(skel->maps.freed_array), "insert") ||
	    !ASSERT_OK(run(skel, own_task), "own a task"))
		return;
	bpf_program__unload(skel->progs.own_task);
	if (!attach(&skel->links.see_worker, skel->progs.see_worker) ||
	    !attach(&skel->links.see_worker_end, skel->progs.see_worker_end) ||
	    !attach(&skel->links.see_fields, skel->progs.see_fields) ||
	    !attach(&skel->links.see_wait, skel->progs.see_wait) ||
	    !attach(&skel->links.see_area_free, skel->progs.see_area_free))
		return;
	see_freed(skel, skel->maps.freed_hash);
	if (!have_or_skip(!skel->bss->no_smp, __func__, "CONFIG_SMP"))
		return;
	see_freed(skel, skel->maps.freed_malloc);
	see_freed(skel, skel->maps.freed_array);
}

/* Who keeps moving the element that the walk has come to does not keep the walk. */
static void test_walk_ends(struct task_work_waits *skel)
{
	struct target target = {};

	if (!attach(&skel->links.move_elem, skel->progs.move_elem) ||
	    !ASSERT_OK(insert_zero(skel->maps.wide), "insert") ||
	    !ASSERT_OK(target_start(&target), "thread"))
		goto out;
	ASSERT_TRUE(target_asleep(&target), "thread is asleep");
	skel->bss->target_tid = target.tid;
	ASSERT_OK(run(skel, schedule_in_wide), "schedule");
	skel->bss->walker_tid = syscall(__NR_gettid);
	ASSERT_OK(drop_user_reference(bpf_map__fd(skel->maps.wide)), "last user reference");
	skel->bss->walker_tid = 0;
	ASSERT_EQ(skel->bss->moves, 1, "moved amid the walk");
	ASSERT_OK(target_tell(&target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(&target), "thread has returned");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
out:
	target_stop(&target);
}

#define OPTIMIZATION "/proc/sys/debug/kprobes-optimization"

/* Or the kernel puts a jump there, which is no NMI. */
static bool set_optimization(const char *on)
{
	return access(OPTIMIZATION, F_OK) || ASSERT_OK(write_sysctl(OPTIMIZATION, on), "jumps");
}

/* Behind what ftrace could be asked for: a breakpoint, at the next instruction. */
static struct bpf_link *attach_inside(const struct bpf_program *prog, const char *function)
{
	LIBBPF_OPTS(bpf_kprobe_opts, opts, .offset = 10);
	struct bpf_link *link = NULL;

	for (; !link && opts.offset < 10 + 16; opts.offset++)
		link = bpf_program__attach_kprobe_opts(prog, function, &opts);
	return link;
}

/* Another CPU holds the lock of the bucket from before until some time after. */
static void test_at_breakpoint(struct task_work_waits *skel, const char *function,
			       const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct target holder = {};
	struct bpf_link *link;

	if (!ASSERT_OK(insert_zero(skel->maps.contended), "insert") ||
	    !ASSERT_OK(insert_zero(skel->maps.other), "insert into the other map") ||
	    !attach(&skel->links.hold_bucket, skel->progs.hold_bucket))
		return;
	link = attach_inside(skel->progs.update_at_breakpoint, function);
	skel->links.update_at_breakpoint = link;
	if (!ASSERT_OK_PTR(link, function) ||
	    !ASSERT_OK(target_start_apart(&holder), "thread"))
		return;
	holder.prog_fd = bpf_program__fd(skel->progs.update_contended);
	skel->bss->holder_tid = holder.tid;
	skel->bss->waiter_tid = syscall(__NR_gettid);
	ASSERT_OK(target_tell(&holder, TARGET_RUN), "hold the bucket");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->held)), "it is held");
	ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "come to the breakpoint");
	ASSERT_TRUE(target_obeyed(&holder), "the holder is done");
	ASSERT_OK(holder.prog_ret, "update of the holder");
	ASSERT_NEQ(skel->bss->preempt_count_seen & NMI_MASK, 0, "a breakpoint is an NMI");
	ASSERT_EQ(skel->bss->met, 1, "both met");
	target_stop(&holder);
}

/* A breakpoint where nothing is held may wait for the bucket, as a program elsewhere does. */
static void test_breakpoint_waits(struct task_work_waits *skel)
{
	test_at_breakpoint(skel, "bpf_fentry_test6", skel->progs.call_fentry_tests);
	ASSERT_OK(skel->bss->ret_update, "update in the breakpoint");
}

/* But not one that is hit with another bucket locked: who holds this one may wait for that. */
static void test_breakpoint_in_bucket(struct task_work_waits *skel)
{
	test_at_breakpoint(skel, "bpf_obj_free_fields", skel->progs.update_other);
	ASSERT_EQ(skel->bss->ret_update, -EBUSY, "update in the breakpoint");
}

static void with_breakpoints(struct task_work_waits *skel, const char *who,
			     void (*test)(struct task_work_waits *skel))
{
	if (!have_two_cpus(who) ||
	    !have_or_skip(machine_is("x86_64"), who, "x86, where a breakpoint is an NMI") ||
	    !set_optimization("0"))
		return;
	test(skel);
	set_optimization("1");
}

static const struct {
	const char *name;
	void (*test)(struct task_work_waits *skel);
	bool breakpoint;
} cases[] = {
	{ "free_unbound", test_free_unbound },
	{ "walk_ends", test_walk_ends },
	{ "breakpoint_waits", test_breakpoint_waits, true },
	{ "breakpoint_in_bucket", test_breakpoint_in_bucket, true },
};

void serial_test_task_work_waits(void)
{
	struct task_work_waits *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		skel = task_work_waits__open_and_load();
		if (!ASSERT_OK_PTR(skel, "open and load"))
			return;
		if (cases[i].breakpoint)
			with_breakpoints(skel, cases[i].name, cases[i].test);
		else
			cases[i].test(skel);
		task_work_waits__destroy(skel);
	}
}
