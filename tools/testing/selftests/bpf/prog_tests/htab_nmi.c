// SPDX-License-Identifier: GPL-2.0
/* A hash is used in an NMI that has interrupted code which uses it, too. */
#define _GNU_SOURCE
#include "async_helpers.h"
#include "progs/htab_nmi.h"
#include "htab_nmi.skel.h"

struct elem {
	void *task;
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

/*
 * The element that a pre-allocated hash is replacing is nobody's to have: in an NMI during
 * that no other can be replaced, though a new one may be inserted in another bucket.
 */
static void test_replace_in_nmi(struct htab_nmi *skel)
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
static void test_count_in_nmi(struct htab_nmi *skel)
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
	ASSERT_GT(skel->bss->nmi_inserted_locked, 0, "inserted while the lock was taken");
	for (key = n; key < n + MORE_THAN_BATCH; key++)
		bpf_map_delete_elem(map_fd, &key);
	ASSERT_OK(insert_many(map_fd, n), "there is room for all");
	ASSERT_EQ(insert_many(map_fd, n + 1), -E2BIG, "and for no more");
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
static void test_at_breakpoint(struct htab_nmi *skel, const char *function,
			       const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct target holder = {};
	struct bpf_link *link;

	skel->links.hold_bucket = bpf_program__attach(skel->progs.hold_bucket);
	if (!ASSERT_OK_PTR(skel->links.hold_bucket, "attach to the replacement") ||
	    !ASSERT_OK(insert_many(bpf_map__fd(skel->maps.contended), 1), "insert") ||
	    !ASSERT_OK(insert_many(bpf_map__fd(skel->maps.other), 1), "insert elsewhere"))
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
static void test_breakpoint_waits(struct htab_nmi *skel)
{
	test_at_breakpoint(skel, "bpf_fentry_test6", skel->progs.call_fentry_tests);
	ASSERT_OK(skel->bss->ret_update, "update in the breakpoint");
}

/* But not one that is hit with another bucket locked: who holds this one may wait for that. */
static void test_breakpoint_in_bucket(struct htab_nmi *skel)
{
	test_at_breakpoint(skel, "bpf_obj_free_fields", skel->progs.update_other);
	ASSERT_EQ(skel->bss->ret_update, -EBUSY, "update in the breakpoint");
}

static void with_breakpoints(struct htab_nmi *skel, const char *who,
			     void (*test)(struct htab_nmi *skel))
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
	void (*test)(struct htab_nmi *skel);
	bool breakpoint;
} cases[] = {
	{ "replace_in_nmi", test_replace_in_nmi },
	{ "count_in_nmi", test_count_in_nmi },
	{ "breakpoint_waits", test_breakpoint_waits, true },
	{ "breakpoint_in_bucket", test_breakpoint_in_bucket, true },
};

void serial_test_htab_nmi(void)
{
	struct htab_nmi *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		skel = htab_nmi__open();
		if (!ASSERT_OK_PTR(skel, "open"))
			return;
		/* No CPU can tell the others of all: the sum that each may read is too small. */
		skel->bss->nr_counted = COUNTED_PER_CPU * libbpf_num_possible_cpus() + 7;
		bpf_map__set_max_entries(skel->maps.counted, skel->bss->nr_counted);
		if (!ASSERT_OK(htab_nmi__load(skel), "load"))
			goto out;
		if (cases[i].breakpoint)
			with_breakpoints(skel, cases[i].name, cases[i].test);
		else
			cases[i].test(skel);
out:
		htab_nmi__destroy(skel);
	}
}
