// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that ends work before it has run: the callback does not run after
 * it, nothing is left behind, and the element can be used again.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <sys/wait.h>
#include "task_work_release.skel.h"

#define MAX_TRIES	1000
#define ELEM_ID		3

/* Run the program of that name in this thread and return what it returns. */

struct scene {
	struct task_work_release *skel;
	struct target target;
	enum task_work_map map;
	int map_fd;
};

static int by_delete(struct scene *s)
{
	return elem_delete(s->map_fd, ELEM_ID);
}

static int by_update(struct scene *s)
{
	return elem_update(s->map_fd, ELEM_ID);
}

static int by_lookup_and_delete(struct scene *s)
{
	struct task_work_elem elem;
	struct task_work_key key;
	struct bpf_task_work zero = {};

	elem_key(ELEM_ID, &key);
	if (bpf_map_lookup_and_delete_elem(s->map_fd, &key, &elem))
		return -errno;
	ASSERT_OK(memcmp(&elem.tw, &zero, sizeof(zero)), "field reads as zeros");
	return elem.cookie == ELEM_ID * ELEM_COOKIE ? 0 : -EINVAL;
}

static int by_delete_batch(struct scene *s)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct task_work_key key;
	__u32 count = 1;

	elem_key(ELEM_ID, &key);
	return bpf_map_delete_batch(s->map_fd, &key, &count, &opts);
}

static int by_delete_in_task(struct scene *s)
{
	return run(s->skel, delete_in_task);
}

static int by_update_in_task(struct scene *s)
{
	return run(s->skel, update_in_task);
}

static int by_delete_in_nmi(struct scene *s)
{
	struct task_work_release__bss *bss = s->skel->bss;
	struct bpf_link *link = bpf_program__attach(s->skel->progs.delete_in_nmi);
	int i;

	if (!link)
		return -errno;
	WRITE_ONCE(bss->armed, 1);
	for (i = 0; i < MAX_TRIES && READ_ONCE(bss->armed); i++)
		if (send_nmis())
			break;
	ASSERT_TRUE(wait_for(!READ_ONCE(bss->armed)), "met by an NMI");
	ASSERT_NEQ(bss->preempt_count_seen & NMI_MASK, 0, "deleted in an NMI");
	bpf_link__destroy(link);
	return bss->program_ret;
}

static int by_delete_in_interrupt(struct scene *s)
{
	struct task_work_release__bss *bss = s->skel->bss;
	struct bpf_link *link = attach_clock(s->skel->progs.delete_in_interrupt, 0);

	if (!link)
		return -errno;
	WRITE_ONCE(bss->armed, 1);
	ASSERT_TRUE(wait_for(!READ_ONCE(bss->armed)), "met by an interrupt");
	ASSERT_NEQ(bss->preempt_count_seen & HARDIRQ_MASK, 0, "deleted in an interrupt");
	bpf_link__destroy(link);
	return bss->program_ret;
}

/*
 * Insert others until there is no room for this one. There are two elements for each
 * CPU, so a CPU takes them one at a time, and the one that it took before goes where
 * they wait for their end in the order in which they came.
 */
static int by_eviction(struct scene *s)
{
	int i, enough = 2 * bpf_map__max_entries(s->skel->maps.lru_hash);
	struct task_work_elem elem;

	for (i = 0; i < enough; i++) {
		if (elem_lookup(s->map_fd, ELEM_ID, &elem))
			return 0;
		if (elem_update(s->map_fd, ELEM_ID + 1 + i))
			return -errno;
	}
	return -ETIMEDOUT;
}

static int by_last_user_reference(struct scene *s)
{
	__u32 id = map_id(s->map_fd);
	int err = drop_user_reference(s->map_fd);

	/* From here on there is one again, and elements can be used. */
	s->map_fd = bpf_map_get_fd_by_id(id);
	return err ?: s->map_fd < 0 ? s->map_fd : 0;
}

#define ON(map) (1 << MAP_##map)
#define ON_HASHES (ON(HASH) | ON(HASH_MALLOC) | ON(LRU_HASH))
#define ON_ALL (ON_HASHES | ON(ARRAY))

static const struct ending {
	const char *name;
	int maps;
	int (*end)(struct scene *s);
} endings[] = {
	{ "delete", ON_HASHES, by_delete },
	{ "lookup_and_delete", ON_HASHES, by_lookup_and_delete },
	{ "delete_batch", ON_HASHES, by_delete_batch },
	{ "delete_in_task", ON_HASHES, by_delete_in_task },
	{ "delete_in_interrupt", ON_HASHES, by_delete_in_interrupt },
	/* The lists of an LRU hash have locks that the kernel must not take in an NMI. */
	{ "delete_in_nmi", ON(HASH) | ON(HASH_MALLOC), by_delete_in_nmi },
	{ "update", ON_ALL, by_update },
	{ "update_in_task", ON_ALL, by_update_in_task },
	{ "eviction", ON(LRU_HASH), by_eviction },
	{ "last_user_reference", ON_ALL, by_last_user_reference },
};

static struct bpf_map *map_of(struct task_work_release *skel, enum task_work_map map)
{
	struct bpf_map *maps[] = {
		skel->maps.hash, skel->maps.hash_malloc, skel->maps.lru_hash, skel->maps.array,
		skel->maps.inner,
	};

	return maps[map];
}

static bool scene_open(struct scene *s, enum task_work_map map)
{
	struct task_work_release *skel = task_work_release__open();

	memset(s, 0, sizeof(*s));
	s->skel = skel;
	s->map = map;
	if (!ASSERT_OK_PTR(skel, "open"))
		return false;
	bpf_map__set_max_entries(skel->maps.lru_hash, 2 * libbpf_num_possible_cpus());
	bpf_program__set_autoload(skel->progs.delete_in_nmi, nmis_work());
	if (!ASSERT_OK(task_work_release__load(skel), "load"))
		return false;
	s->map_fd = bpf_map__fd(map_of(skel, map));
	skel->bss->map_kind = map;
	elem_key(ELEM_ID, (void *)&skel->bss->key);
	if (!ASSERT_OK(elem_update(s->map_fd, ELEM_ID), "insert") ||
	    !ASSERT_OK(target_start(&s->target), "thread"))
		return false;
	skel->bss->target_tid = s->target.tid;
	return ASSERT_TRUE(target_asleep(&s->target), "thread is asleep");
}

static void scene_close(struct scene *s)
{
	target_stop(&s->target);
	task_work_release__destroy(s->skel);
}

/* The thread returns to user mode: what is still pending runs now. */
static void wake(struct scene *s, int ran)
{
	ASSERT_OK(target_tell(&s->target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(&s->target), "thread has returned");
	ASSERT_EQ(s->skel->bss->ran, ran, "callbacks");
	ASSERT_TRUE(target_asleep(&s->target), "thread is asleep");
}

/* The last reference to the program is the work's: while it is there, so is it. */
static __u32 leave_prog_to_work(struct scene *s)
{
	struct bpf_program *prog = s->skel->progs.schedule_first;
	__u32 id = prog_id(bpf_program__fd(prog));
	int fd;

	bpf_program__unload(prog);
	fd = bpf_prog_get_fd_by_id(id);
	ASSERT_OK_FD(fd, "pending work holds its program");
	close(fd);
	return id;
}

static void use_again(struct scene *s)
{
	int ran = s->skel->bss->ran;

	ASSERT_OK(elem_update(s->map_fd, ELEM_ID), "insert again");
	ASSERT_OK(run(s->skel, schedule_again), "schedule again");
	wake(s, ran + 1);
}

static void test_ending(const struct ending *ending, enum task_work_map map)
{
	struct scene s;
	__u32 id;

	if (!scene_open(&s, map))
		goto out;
	ASSERT_OK(run(s.skel, schedule_first), "schedule");
	ASSERT_EQ(run(s.skel, schedule_again), -EBUSY, "work is pending");
	id = leave_prog_to_work(&s);
	ASSERT_OK(ending->end(&s), ending->name);
	ASSERT_TRUE(prog_is_gone(id), "program is gone while the thread sleeps");
	wake(&s, 0);
	use_again(&s);
	if (ending->end == by_last_user_reference)
		close(s.map_fd);
out:
	scene_close(&s);
}

/* What was inserted last on one CPU is not in the way of another. */
static void test_ending_on_one_cpu(const struct ending *ending, enum task_work_map map)
{
	cpu_set_t before;

	if (!ASSERT_TRUE(pin_self(nth_cpu(0), &before), "pin"))
		return;
	test_ending(ending, map);
	unpin_self(&before);
}

static bool can_end(const struct ending *ending, const char *name)
{
	if (ending->end == by_delete_in_nmi)
		return have_nmis(name);
	if (ending->end == by_delete_in_interrupt)
		return have_preempt_count(name);
	return true;
}

static void test_endings(void)
{
	enum task_work_map map;
	char name[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(endings); i++) {
		for (map = 0; map < NR_MAPS; map++) {
			if (!(endings[i].maps & 1 << map))
				continue;
			snprintf(name, sizeof(name), "%s_%s", endings[i].name, map_names[map]);
			if (!test__start_subtest(name) || !can_end(&endings[i], name))
				continue;
			if (endings[i].end == by_eviction)
				test_ending_on_one_cpu(&endings[i], map);
			else
				test_ending(&endings[i], map);
		}
	}
}

/* Nothing ends it: what the other tests expect not to happen does happen. */
static void test_nothing(void)
{
	struct scene s;
	__u32 id;

	if (!scene_open(&s, MAP_HASH))
		goto out;
	ASSERT_OK(run(s.skel, schedule_first), "schedule");
	id = leave_prog_to_work(&s);
	wake(&s, 1);
	ASSERT_TRUE(prog_is_gone(id), "program is gone");
	use_again(&s);
out:
	scene_close(&s);
}

/* All of it goes, though work is pending and stays so. */
static void test_map_free(enum task_work_map map)
{
	__u32 ids[2] = {};
	struct scene s;

	if (!scene_open(&s, map))
		goto out;
	ASSERT_OK(run(s.skel, schedule_first), "schedule");
	ids[0] = prog_id(bpf_program__fd(s.skel->progs.schedule_first));
	ids[1] = map_id(s.map_fd);
	task_work_release__destroy(s.skel);
	s.skel = NULL;
	ASSERT_TRUE(prog_is_gone(ids[0]), "program is gone while the thread sleeps");
	ASSERT_TRUE(map_is_gone(ids[1]), "map is gone while the thread sleeps");
	ASSERT_OK(target_tell(&s.target, TARGET_RETURN), "wake");
	ASSERT_TRUE(target_obeyed(&s.target), "thread has returned");
out:
	scene_close(&s);
}

/* An inner map is held by nobody but its outer map and its user. */
static void test_inner_map(void)
{
	struct scene s;
	__u32 id, prog, zero = 0;

	if (!scene_open(&s, MAP_INNER))
		goto out;
	ASSERT_OK(run(s.skel, schedule_first), "schedule");
	prog = leave_prog_to_work(&s);
	id = map_id(s.map_fd);
	ASSERT_OK(bpf_map_delete_elem(bpf_map__fd(s.skel->maps.outer), &zero), "remove inner");
	ASSERT_OK(drop_user_reference(s.map_fd), "drop inner");
	ASSERT_TRUE(prog_is_gone(prog), "program is gone while the thread sleeps");
	ASSERT_TRUE(map_is_gone(id), "map is gone while the thread sleeps");
	wake(&s, 0);
out:
	scene_close(&s);
}

/*
 * A child that makes one system call when it is told to, so that work can be
 * scheduled on it on the way in.
 */
static pid_t start_child(int *told_fd, void (*last_call)(void))
{
	int fds[2];
	char c;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		if (read(fds[0], &c, 1) == 1)
			last_call();
		_exit(1);
	}
	close(fds[0]);
	*told_fd = fds[1];
	return pid;
}

static int in_last_call(struct scene *s, long syscall_nr, void (*last_call)(void))
{
	struct bpf_link *link = NULL;
	int told_fd = -1, status = -1;
	pid_t pid;

	pid = start_child(&told_fd, last_call);
	if (!ASSERT_GT(pid, 0, "fork"))
		return -1;
	s->skel->bss->target_tid = pid;
	s->skel->bss->syscall_nr = syscall_nr;
	s->skel->bss->schedule_ret = 1;
	link = bpf_program__attach(s->skel->progs.schedule_in_syscall);
	ASSERT_OK_PTR(link, "attach");
	ASSERT_EQ(write(told_fd, "", 1), 1, "tell the child");
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "child ends");
	bpf_link__destroy(link);
	close(told_fd);
	ASSERT_OK(s->skel->bss->schedule_ret, "schedule in the system call");
	s->skel->bss->target_tid = s->target.tid;
	return status;
}

static void exit_now(void)
{
	syscall(__NR_exit_group, 0);
}

static void exec_true(void)
{
	execl(TRUE_PATH, "true", NULL);
}

/* An exiting task runs its works without an mm: the callback must not run there. */
static void test_exit(void)
{
	struct scene s;

	if (!scene_open(&s, MAP_HASH))
		goto out;
	ASSERT_OK(in_last_call(&s, __NR_exit_group, exit_now), "child");
	ASSERT_EQ(s.skel->bss->ran, 0, "callbacks");
	use_again(&s);
out:
	scene_close(&s);
}

/* A task that executes another program is the same task: the callback runs there. */
static void test_exec(void)
{
	struct task_work_release__bss *bss;
	struct scene s;

	if (!have_true(__func__))
		return;
	if (!scene_open(&s, MAP_HASH))
		goto out;
	bss = s.skel->bss;
	ASSERT_OK(in_last_call(&s, __NR_execve, exec_true), "child");
	ASSERT_EQ(bss->ran, 1, "callbacks");
	ASSERT_STREQ(bss->callback_comm, "true", "name of the task in the callback");
	ASSERT_NEQ(bss->callback_mm, bss->schedule_mm, "address space");
	use_again(&s);
out:
	scene_close(&s);
}

/* What ends work while its callback sleeps leaves the callback alone. */
static void run_and_end(struct scene *s, struct sleeper *sleeper,
			int (*end)(struct scene *s))
{
	s->skel->bss->user_ptr = sleeper->page.addr;
	sleeper_run(sleeper, s->skel->progs.schedule_sleeper);
	ASSERT_OK(end(s), "end");
	use_again(s);
	sleeper_wake(sleeper);
	ASSERT_EQ(s->skel->bss->ran, 2, "callbacks");
}

static void test_running(int (*end)(struct scene *s))
{
	struct sleeper sleeper;
	struct scene s;

	if (!sleeper_open(&sleeper, __func__))
		goto out;
	if (scene_open(&s, MAP_HASH))
		run_and_end(&s, &sleeper, end);
	scene_close(&s);
out:
	sleeper_close(&sleeper);
}

/* A callback may delete the element that it was called for. */
static void test_delete_own(void)
{
	struct task_work_elem elem;
	struct scene s;

	if (!scene_open(&s, MAP_HASH))
		goto out;
	s.skel->bss->program_ret = 1;
	ASSERT_OK(run(s.skel, schedule_delete_own), "schedule");
	ASSERT_EQ(s.skel->bss->ran, 1, "callbacks");
	ASSERT_OK(s.skel->bss->program_ret, "delete in the callback");
	ASSERT_EQ(elem_lookup(s.map_fd, ELEM_ID, &elem), -ENOENT, "element");
	use_again(&s);
out:
	scene_close(&s);
}

/* Until the task has been faster than the reaper a few times. */
static void test_found_freed(void)
{
	struct bpf_link *link = NULL;
	struct scene s;
	int i;

	if (!scene_open(&s, MAP_HASH))
		goto out;
	s.skel->bss->target_tid = syscall(__NR_gettid);
	link = bpf_program__attach(s.skel->progs.find_freed);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	for (i = 0; i < 10 * MAX_TRIES && s.skel->bss->found_freed < 10; i++)
		if (!ASSERT_OK(run(s.skel, schedule_and_delete), "schedule and delete") ||
		    !ASSERT_OK(elem_update(s.map_fd, ELEM_ID), "insert"))
			break;
	ASSERT_GE(s.skel->bss->found_freed, 10, "cancelled works that the task found");
	ASSERT_EQ(s.skel->bss->ran, 0, "callbacks");
	s.skel->bss->target_tid = s.target.tid;
	use_again(&s);
out:
	bpf_link__destroy(link);
	scene_close(&s);
}

/* One context for work that runs, one that is cancelled, one that goes under its callback. */
static int leave_contexts(struct scene *s)
{
	int err;

	s->skel->bss->target_tid = syscall(__NR_gettid);
	err = run(s->skel, schedule_again);
	s->skel->bss->target_tid = s->target.tid;
	return err ?: elem_update(s->map_fd, ELEM_ID) ?: run(s->skel, schedule_again) ?:
	       elem_delete(s->map_fd, ELEM_ID) ?: elem_update(s->map_fd, ELEM_ID) ?:
	       run(s->skel, schedule_delete_own) ?: elem_update(s->map_fd, ELEM_ID);
}

static int leave_many_contexts(struct scene *s, int rounds)
{
	int err = 0;

	while (rounds-- && !err)
		err = leave_contexts(s);
	return err;
}

/*
 * What an element leaves to be freed is freed: look for it among all the rest. The
 * allocator passes on what was freed before when it is asked for more, so
 * go on asking, on the same CPU.
 */
static void test_context_leak(void)
{
	const int rounds = 10000;
	long before, after;
	struct scene s;
	int i;

	if (!scene_open(&s, MAP_HASH) ||
	    !ASSERT_OK(pin_to_cpu(pthread_self(), nth_cpu(0)), "pin"))
		goto out;
	before = context_objects();
	if (!ASSERT_GT(before, 0, "/proc/slabinfo") ||
	    !ASSERT_OK(leave_many_contexts(&s, rounds), "schedule and delete"))
		goto out;
	ASSERT_EQ(s.skel->bss->ran, 2 * rounds, "two of three ran");
	after = context_objects();
	for (i = 0; i < MAX_TRIES && after >= before + rounds / 2; i++) {
		leave_many_contexts(&s, rounds / MAX_TRIES);
		kern_sync_rcu();
		after = context_objects();
	}
	ASSERT_LT(after, before + rounds / 2, "objects in use");
out:
	scene_close(&s);
}

void serial_test_task_work_release(void)
{
	test_endings();
	if (test__start_subtest("nothing"))
		test_nothing();
	if (test__start_subtest("map_free_hash"))
		test_map_free(MAP_HASH);
	if (test__start_subtest("map_free_hash_malloc"))
		test_map_free(MAP_HASH_MALLOC);
	if (test__start_subtest("map_free_lru_hash"))
		test_map_free(MAP_LRU_HASH);
	if (test__start_subtest("map_free_array"))
		test_map_free(MAP_ARRAY);
	if (test__start_subtest("inner_map"))
		test_inner_map();
	if (test__start_subtest("exit"))
		test_exit();
	if (test__start_subtest("exec"))
		test_exec();
	if (test__start_subtest("delete_running"))
		test_running(by_delete);
	if (test__start_subtest("update_running"))
		test_running(by_update);
	if (test__start_subtest("delete_own"))
		test_delete_own();
	if (test__start_subtest("found_freed"))
		test_found_freed();
	if (test__start_subtest("context_leak"))
		test_context_leak();
}
