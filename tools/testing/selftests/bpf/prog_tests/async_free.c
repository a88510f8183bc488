// SPDX-License-Identifier: GPL-2.0
/* A map is freed after the callbacks in it, by a worker that neither waits nor is waited for. */
#define _GNU_SOURCE
#include "async_helpers.h"
#include <network_helpers.h>
#include "async_free.skel.h"

static bool attach(struct bpf_link **link, struct bpf_program *prog)
{
	*link = bpf_program__attach(prog);
	return ASSERT_OK_PTR(*link, bpf_program__name(prog));
}

static bool attach_freed(struct async_free *skel)
{
	return attach(&skel->links.map_cancelled, skel->progs.map_cancelled) &&
	       attach(&skel->links.map_freed, skel->progs.map_freed);
}

static int insert_zero(struct bpf_map *map)
{
	char value[24] = {};
	int zero = 0;

	return bpf_map_update_elem(bpf_map__fd(map), &zero, &value, BPF_ANY);
}

static void free_others(struct async_free *skel)
{
	free_other_maps(&skel->bss->other_freed);
}

static void check_order(struct async_free *skel)
{
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->watched_freed)), "freed in the end");
	ASSERT_GT(skel->bss->watched_freed, skel->bss->ended, "freed after");
}

/* What may be asleep in a map with the field is waited for, whoever it is. */
static void test_two_phases(struct async_free *skel)
{
	struct sleeper sleeper;
	int fd;

	if (!attach_freed(skel) || !sleeper_open(&sleeper, __func__))
		return;
	skel->bss->user_ptr = sleeper.page.addr;
	if (!sleeper_run(&sleeper, skel->progs.read_user))
		goto out;
	fd = create_like(bpf_map__fd(skel->maps.slots), WATCHED_NAME);
	if (!ASSERT_OK_FD(fd, "create a map with the field"))
		goto out;
	close(fd);
	/* Its worker does not wait for the sleeper: it could be taken for hung. */
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->watched_cancelled)), "first phase");
	free_others(skel);
	ASSERT_EQ(skel->bss->watched_freed, 0, "freed while somebody sleeps");
	sleeper_wake(&sleeper);
	check_order(skel);
out:
	sleeper_close(&sleeper);
}

static int run_tc_prog(const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &pkt_v4, .data_size_in = sizeof(pkt_v4));
	int err = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);

	return err ?: (int)opts.retval;
}

/* A callback has looked up an inner map. Its program may not sleep: that does not count. */
static void test_inner_map(struct async_free *skel)
{
	int outer = bpf_map__fd(skel->maps.outer), fd;
	__u32 zero = 0;

	if (!have_two_cpus(__func__) || !have_async(__func__) || !attach_freed(skel))
		return;
	fd = create_like(bpf_map__fd(skel->maps.first_inner), WATCHED_NAME);
	if (!ASSERT_OK_FD(fd, "create an inner map"))
		return;
	ASSERT_OK(bpf_map_update_elem(outer, &zero, &fd, BPF_ANY), "put it in");
	close(fd);
	if (!ASSERT_OK(run_tc_prog(skel->progs.start_holder), "start") ||
	    !ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->entered)), "the callback has the map"))
		return;
	ASSERT_GT(skel->bss->callback_sections, 0, "Tasks Trace sections of the callback");
	ASSERT_OK(bpf_map_delete_elem(outer, &zero), "take it out");
	free_others(skel);
	ASSERT_EQ(READ_ONCE(skel->bss->ended), 0, "callback has ended");
	ASSERT_EQ(READ_ONCE(skel->bss->watched_freed), 0, "freed while the callback has it");
	WRITE_ONCE(skel->bss->may_go_on, 1);
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ended)), "callback ends");
	check_order(skel);
}

static void see_freed(struct async_free *skel, struct bpf_map *map)
{
	struct async_free__bss *bss = skel->bss;
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
static void test_free_unbound(struct async_free *skel)
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

/* To move the element that the walk has come to, over and over, does not keep the walk. */
static void test_walk_ends(struct async_free *skel)
{
	if (!have_async(__func__) || !attach(&skel->links.move_elem, skel->progs.move_elem) ||
	    !ASSERT_OK(insert_zero(skel->maps.wide), "insert") ||
	    !ASSERT_OK(run(skel, init_in_wide), "initialise"))
		return;
	skel->bss->walker_tid = syscall(__NR_gettid);
	ASSERT_OK(drop_user_reference(bpf_map__fd(skel->maps.wide)), "last user reference");
	skel->bss->walker_tid = 0;
	ASSERT_EQ(skel->bss->moves, 1, "moved during the walk");
}

/*
 * A map can be freed that a CPU has allocated for which went down, though it used up all the
 * memory that it had in store by then, and stays down.
 */
static void test_map_of_dead_cpu(struct async_free *skel)
{
	int cpu = last_cpu_with_switch(CPU_SETSIZE);
	__u32 zero = 0;

	if (!have_two_cpus(__func__) || !have_hotplug(__func__))
		return;
	skel->links.allocate_on_dying_cpu = bpf_program__attach(skel->progs.allocate_on_dying_cpu);
	if (!ASSERT_OK_PTR(skel->links.allocate_on_dying_cpu, "attach") ||
	    !attach(&skel->links.see_worker_end, skel->progs.see_worker_end))
		return;
	ASSERT_OK(set_cpu_online(cpu, "0"), "take a CPU down");
	ASSERT_EQ(skel->bss->ret_many, -ENOMEM, "insert more than it has memory for");
	ASSERT_OK(bpf_map_delete_elem(bpf_map__fd(skel->maps.outer_hash), &zero), "remove inner");
	ASSERT_OK(drop_user_reference(bpf_map__fd(skel->maps.inner_hash)), "drop inner");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->freed)), "freed while the CPU is down");
	ASSERT_OK(set_cpu_online(cpu, "1"), "bring it up");
}

/* And when it is back it is as good as before: what refills its store runs there. */
static void test_cpu_is_back(struct async_free *skel)
{
	int cpu = last_cpu_with_switch(CPU_SETSIZE), map_fd = bpf_map__fd(skel->maps.inner_hash);
	__u32 last_key = bpf_map__max_entries(skel->maps.inner_hash) - 1;
	cpu_set_t before;
	__u64 value = 0;

	if (!have_two_cpus(__func__) || !have_hotplug(__func__) || !have_cpu(cpu, __func__) ||
	    !attach(&skel->links.allocate_on_dying_cpu, skel->progs.allocate_on_dying_cpu))
		return;
	ASSERT_OK(set_cpu_online(cpu, "0"), "take a CPU down");
	ASSERT_EQ(skel->bss->ret_many, -ENOMEM, "insert more than it has memory for");
	if (!ASSERT_OK(set_cpu_online(cpu, "1"), "bring it up") ||
	    !ASSERT_TRUE(pin_self(cpu, &before), "pin"))
		return;
	ASSERT_TRUE(wait_for(!bpf_map_update_elem(map_fd, &last_key, &value, BPF_NOEXIST)),
		    "the CPU has memory again");
	unpin_self(&before);
}

/* Nor is a ring buffer's reader kept waiting for the CPU, be it on its way down or up. */
static void test_ringbuf_of_dead_cpu(struct async_free *skel)
{
	struct bpf_program *on_starting_cpu = skel->progs.output_on_starting_cpu;
	int cpu = last_cpu_with_switch(CPU_SETSIZE);

	if (!have_two_cpus(__func__) || !have_hotplug(__func__) || !have_cpu(cpu, __func__) ||
	    !attach(&skel->links.see_notified, skel->progs.see_notified) ||
	    !attach(&skel->links.output_on_dying_cpu, skel->progs.output_on_dying_cpu))
		return;
	skel->bss->ret_output = 1;
	ASSERT_OK(set_cpu_online(cpu, "0"), "take a CPU down");
	ASSERT_OK(skel->bss->ret_output, "output");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->notified)), "woken while the CPU is down");
	if (attach(&skel->links.output_on_starting_cpu, on_starting_cpu)) {
		skel->bss->ret_output = 1;
		skel->bss->notified = 0;
	}
	ASSERT_OK(set_cpu_online(cpu, "1"), "bring it up");
	ASSERT_OK(skel->bss->ret_output, "output");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->notified)), "woken when it is up");
}

static const struct {
	const char *name;
	void (*test)(struct async_free *skel);
} cases[] = {
	{ "two_phases", test_two_phases },
	{ "inner_map", test_inner_map },
	{ "free_unbound", test_free_unbound },
	{ "walk_ends", test_walk_ends },
	{ "map_of_dead_cpu", test_map_of_dead_cpu },
	{ "cpu_is_back", test_cpu_is_back },
	{ "ringbuf_of_dead_cpu", test_ringbuf_of_dead_cpu },
};

void serial_test_async_free(void)
{
	struct async_free *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		skel = async_free__open_and_load();
		if (!ASSERT_OK_PTR(skel, "open and load"))
			return;
		cases[i].test(skel);
		async_free__destroy(skel);
	}
}
