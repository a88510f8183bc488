// SPDX-License-Identifier: GPL-2.0
/*
 * What runs while the last reference of its program goes keeps the symbol, by which the
 * kernel finds the exception table when a load faults.
 */
#define _GNU_SOURCE
#include "async_helpers.h"
#include "prog_unload.skel.h"

struct scene {
	struct prog_unload *skel;
	struct target runner;	/* has a CPU to itself */
	struct sleeper sleeper;
};

/* The value is as long as any here, and the field in it stays empty. */
static int insert_first(struct bpf_map *map)
{
	__u64 value[8] = {};
	__u32 key = 0;

	if (bpf_map__value_size(map) > sizeof(value))
		return -E2BIG;
	return bpf_map_update_elem(bpf_map__fd(map), &key, value, BPF_NOEXIST);
}

static int delete_first(struct bpf_map *map)
{
	__u32 key = 0;

	return bpf_map_delete_elem(bpf_map__fd(map), &key);
}

/* The runner enters what waits for the test there. */
static bool enter_held(struct scene *s, struct bpf_program *by, const char *func)
{
	if (!ASSERT_OK(target_start_apart(&s->runner), "thread on a CPU of its own"))
		return false;
	s->runner.prog_fd = bpf_program__fd(by);
	return ASSERT_OK(target_tell(&s->runner, TARGET_RUN), "run") &&
	       ASSERT_TRUE(wait_for(READ_ONCE(s->skel->bss->entered)), "held") &&
	       ASSERT_TRUE(has_symbol(func), "has a symbol");
}

static bool enter_asleep(struct scene *s, struct bpf_program *by, const char *func)
{
	if (!sleeper_open(&s->sleeper, func))
		return false;
	s->skel->bss->user_ptr = s->sleeper.page.addr;
	s->skel->data->sleeper_tid = s->sleeper.thread.tid;
	return sleeper_run(&s->sleeper, by) && ASSERT_TRUE(has_symbol(func), "has a symbol");
}

static void check_runner(struct scene *s)
{
	ASSERT_TRUE(target_obeyed(&s->runner), "runner ends");
	ASSERT_OK(s->runner.prog_ret, "program of the runner");
}

/* The last reference that this process has, and all others are gone. */
static void unload_running(struct scene *s, struct bpf_program *prog, const char *func)
{
	__u32 id = prog_id(bpf_program__fd(prog));

	bpf_program__unload(prog);
	/* A held thread may delay the grace period. */
	if (!s->runner.tid)
		wait_for_rcu();
	ASSERT_TRUE(has_symbol(func), "has a symbol while it runs");
	ASSERT_EQ(READ_ONCE(s->skel->bss->ended), 0, "ended");
	WRITE_ONCE(s->skel->bss->may_go_on, 1);
	if (s->runner.tid)
		check_runner(s);
	else
		sleeper_wake(&s->sleeper);
	ASSERT_TRUE(wait_for(READ_ONCE(s->skel->bss->ended)), "ends");
	ASSERT_TRUE(prog_is_gone(id), "program is gone");
	ASSERT_TRUE(symbol_goes(func), "symbol is gone");
}

static void test_wq_deleted(struct scene *s)
{
	struct prog_unload *skel = s->skel;

	if (!ASSERT_OK(insert_first(skel->maps.wqs), "insert") ||
	    !ASSERT_OK(run(skel, set_up_wq), "set up") ||
	    !enter_held(s, skel->progs.start_wq, "held_in_wq"))
		return;
	ASSERT_OK(delete_first(skel->maps.wqs), "delete");
	unload_running(s, skel->progs.set_up_wq, "held_in_wq");
}

static void test_wq_replaced(struct scene *s)
{
	struct prog_unload *skel = s->skel;

	if (!ASSERT_OK(insert_first(skel->maps.wqs), "insert") ||
	    !ASSERT_OK(run(skel, set_up_wq), "set up") ||
	    !enter_held(s, skel->progs.start_wq, "held_in_wq"))
		return;
	ASSERT_OK(run(skel, replace_wq), "replace");
	unload_running(s, skel->progs.set_up_wq, "held_in_wq");
}

static void test_timer_replaced(struct scene *s)
{
	struct prog_unload *skel = s->skel;

	if (!ASSERT_OK(run(skel, set_up_timer), "set up") ||
	    !enter_held(s, skel->progs.start_timer, "held_in_timer"))
		return;
	ASSERT_OK(run(skel, replace_timer), "replace");
	unload_running(s, skel->progs.set_up_timer, "held_in_timer");
}

/* A program that may not sleep, and nobody waits until it has ended. */
static void test_tail_call_deleted(struct scene *s)
{
	struct prog_unload *skel = s->skel;
	int callee_fd = bpf_program__fd(skel->progs.held_in_tail_call);
	__u32 nr = 0;

	if (!ASSERT_OK(bpf_map_update_elem(bpf_map__fd(skel->maps.callees), &nr, &callee_fd,
					   BPF_ANY), "add callee") ||
	    !enter_held(s, skel->progs.call_tail, "held_in_tail_call"))
		return;
	ASSERT_OK(delete_first(skel->maps.callees), "delete");
	unload_running(s, skel->progs.held_in_tail_call, "held_in_tail_call");
}

/* Its detach does not wait for it either. */
static void test_sleepable_fentry_detached(struct scene *s)
{
	struct prog_unload *skel = s->skel;
	struct bpf_link *link = bpf_program__attach(skel->progs.asleep_in_fentry);

	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	if (enter_asleep(s, skel->progs.call_fentry_test, "asleep_in_fentry")) {
		ASSERT_OK(bpf_link__destroy(link), "detach");
		unload_running(s, skel->progs.asleep_in_fentry, "asleep_in_fentry");
	} else {
		bpf_link__destroy(link);
	}
}

static const struct {
	const char *name;
	void (*test)(struct scene *s);
	bool async;	/* uses bpf_wq or bpf_timer */
} cases[] = {
	{ "wq_deleted", test_wq_deleted, true },
	{ "wq_replaced", test_wq_replaced, true },
	{ "timer_replaced", test_timer_replaced, true },
	{ "tail_call_deleted", test_tail_call_deleted },
	{ "sleepable_fentry_detached", test_sleepable_fentry_detached },
};

/* PREEMPT_RT of 6.12 refuses programs with timers. */
static struct prog_unload *open_and_load(void)
{
	struct prog_unload *skel = prog_unload__open();

	if (!skel)
		return NULL;
	if (is_preempt_rt()) {
		bpf_program__set_autoload(skel->progs.set_up_timer, false);
		bpf_program__set_autoload(skel->progs.start_timer, false);
		bpf_program__set_autoload(skel->progs.replace_timer, false);
	}
	if (!prog_unload__load(skel))
		return skel;
	prog_unload__destroy(skel);
	return NULL;
}

static void run_case(void (*test)(struct scene *s))
{
	struct scene s = { .sleeper.page.fd = -1 };

	s.skel = open_and_load();
	if (!ASSERT_OK_PTR(s.skel, "open and load"))
		return;
	test(&s);
	target_stop(&s.runner);
	sleeper_close(&s.sleeper);
	prog_unload__destroy(s.skel);
}

/* One CPU or another is held for a while: that is not for others to meet. */
void serial_test_prog_unload(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		if (test__start_subtest(cases[i].name) && have_two_cpus(cases[i].name) &&
		    (!cases[i].async || have_async(cases[i].name)))
			run_case(cases[i].test);
}
