// SPDX-License-Identifier: GPL-2.0
/* Work scheduled from many types of programs, in all spellings. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <network_helpers.h>
#include "task_work_types.skel.h"

/* How to make a program run in this thread. */
enum trigger {
	BY_RUN,		/* BPF_PROG_TEST_RUN without input */
	BY_PACKET,	/* BPF_PROG_TEST_RUN with a packet */
	BY_SYSCALL,	/* attached, and then a system call */
	BY_CLOCK,	/* attached to cpu-clock, and then waiting */
};

static void run_with_packet(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts,
		    .data_in = &pkt_v4,
		    .data_size_in = sizeof(pkt_v4));

	ASSERT_OK(bpf_prog_test_run_opts(prog_fd, &opts), "run");
}

static struct bpf_link *attach(struct bpf_program *prog, enum trigger trigger)
{
	if (trigger == BY_SYSCALL)
		return bpf_program__attach(prog);
	return attach_clock(prog, 0);
}

static void run_attached(struct task_work_types *skel, struct bpf_program *prog,
			 enum trigger trigger)
{
	struct bpf_link *link = attach(prog, trigger);
	__u32 id = 0;

	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	WRITE_ONCE(skel->bss->armed, 1);
	/* The first asks the LSMs only for the process group of a given process. */
	syscall(__NR_getpgid, getpid());
	bpf_prog_get_next_id(0, &id);
	ASSERT_TRUE(wait_for(!READ_ONCE(skel->bss->armed)), "program runs");
	bpf_link__destroy(link);
}

static void test_type(struct task_work_types *skel, struct bpf_program *prog, enum trigger trigger)
{
	struct slot {
		struct bpf_task_work tw;
		__u32 ran;
	} slot;
	__u32 nr = skel->bss->slot_nr;

	skel->bss->ran = 0;
	skel->bss->schedule_ret = 1;
	if (trigger == BY_RUN || trigger == BY_PACKET) {
		skel->bss->armed = 1;
		if (trigger == BY_PACKET)
			run_with_packet(bpf_program__fd(prog));
		else
			ASSERT_OK(run_syscall_prog(bpf_program__fd(prog)), "run");
	} else {
		run_attached(skel, prog, trigger);
	}
	ASSERT_OK(skel->bss->schedule_ret, "schedule");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran)), "callback");
	ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.slots), &nr, &slot), "lookup");
	ASSERT_EQ(slot.ran, 1, "ran for this program");
}

static bool have_what_it_takes(const struct task_work_types *skel, const struct bpf_program *prog,
			       const char *who)
{
	if (prog == skel->progs.from_lsm || prog == skel->progs.from_sleepable_lsm)
		return have_bpf_lsm(who);
	if (prog == skel->progs.from_sleepable_fentry)
		return have_sleepable_tracing(who);
	return true;
}

/* Each has a program, from_ and its name. */
static const struct {
	const char *name;
	enum trigger trigger;
} types[] = {
	{ "syscall", BY_RUN },
	{ "tc", BY_PACKET },
	{ "xdp", BY_PACKET },
	{ "cgroup_skb", BY_PACKET },
	{ "socket", BY_PACKET },
	{ "raw_tp", BY_SYSCALL },
	{ "tp_btf", BY_SYSCALL },
	{ "tp", BY_SYSCALL },
	{ "perf_event", BY_CLOCK },
	{ "fentry", BY_SYSCALL },
	{ "fexit", BY_SYSCALL },
	{ "sleepable_fentry", BY_SYSCALL },
	{ "kprobe", BY_SYSCALL },
	{ "kretprobe", BY_SYSCALL },
	{ "lsm", BY_SYSCALL },
	{ "sleepable_lsm", BY_SYSCALL },
};

static struct bpf_program *prog_from(struct task_work_types *skel, const char *type)
{
	char name[64];

	snprintf(name, sizeof(name), "from_%s", type);
	return bpf_object__find_program_by_name(skel->obj, name);
}

static void run_types(struct task_work_types *skel)
{
	struct bpf_program *prog;
	unsigned int i;

	skel->bss->tid = syscall(__NR_gettid);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		skel->bss->slot_nr = i;
		prog = prog_from(skel, types[i].name);
		if (test__start_subtest(types[i].name) &&
		    ASSERT_OK_PTR(prog, "program of this type") &&
		    have_what_it_takes(skel, prog, types[i].name))
			test_type(skel, prog, types[i].trigger);
	}
}

void test_task_work_types(void)
{
	struct task_work_types *skel = task_work_types__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_program__set_autoload(skel->progs.from_lsm, bpf_lsm_works());
	bpf_program__set_autoload(skel->progs.from_sleepable_lsm, bpf_lsm_works());
	bpf_program__set_autoload(skel->progs.from_sleepable_fentry, sleepable_tracing_works());
	if (ASSERT_OK(task_work_types__load(skel), "load"))
		run_types(skel);
	task_work_types__destroy(skel);
}
