// SPDX-License-Identifier: GPL-2.0
/*
 * All operations on task work at once, and at the end everything is accounted for.
 *
 * The work comes in passes of a fixed number of operations: one pass, or as many as
 * it takes until every kind of operation has happened, or as many as begin in
 * TASK_WORK_TORTURE_SECS. Every decision depends on TASK_WORK_TORTURE_SEED, who takes
 * it and how many it took before. So the seed brings back what each thread, and
 * each context on each CPU, does in which order. It does not bring back who was
 * faster, that is up to the scheduler.
 */
#define _GNU_SOURCE
#include "task_work_torture_threads.h"
#include "task_work_torture.skel.h"
#include <sys/sysinfo.h>

#define MAX_PASSES	20	/* until everything has happened */
#define MAX_TRIES	1000
#define MAX_HELD	384	/* objects that the allocator keeps for a CPU or is freeing */

/* Programs, or maps: each has a higher id than those before it. */
struct kind {
	int (*get_next)(__u32 id, __u32 *next);
	int (*get_fd)(__u32 id);
	bool (*is_ours)(int fd, const struct bpf_object *obj);
};

static bool same_name(const char *name_of_kernel, const char *name)
{
	return !strncmp(name_of_kernel, name, BPF_OBJ_NAME_LEN - 1);
}

static bool prog_is_ours(int fd, const struct bpf_object *obj)
{
	struct bpf_prog_info info = {};
	struct bpf_program *prog;
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(fd, &info, &len))
		return true;
	bpf_object__for_each_program(prog, obj)
		if (same_name(info.name, bpf_program__name(prog)))
			return true;
	return false;
}

static bool map_is_ours(int fd, const struct bpf_object *obj)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	struct bpf_map *map;

	if (bpf_map_get_info_by_fd(fd, &info, &len))
		return true;
	bpf_object__for_each_map(map, obj)
		if (same_name(info.name, bpf_map__name(map)))
			return true;
	return false;
}

static const struct kind progs = { bpf_prog_get_next_id, bpf_prog_get_fd_by_id, prog_is_ours };
static const struct kind maps = { bpf_map_get_next_id, bpf_map_get_fd_by_id, map_is_ours };

static __u32 last_id(const struct kind *kind)
{
	__u32 id = 0;

	while (!kind->get_next(id, &id))
		;
	return id;
}

/* Others may load programs meanwhile: theirs are not named as those of this object are. */
static bool nothing_new(const struct kind *kind, __u32 id, const struct bpf_object *obj)
{
	bool ours;
	int fd;

	while (!kind->get_next(id, &id)) {
		fd = kind->get_fd(id);
		if (fd == -ENOENT)
			continue;
		ours = fd < 0 || kind->is_ours(fd, obj);
		close(fd);
		if (ours)
			return false;
	}
	return true;
}

/* An object that is not loaded lends the names. */
static void check_all_gone(__u32 last_prog, __u32 last_map)
{
	struct task_work_torture *names = task_work_torture__open();

	if (!ASSERT_OK_PTR(names, "open"))
		return;
	ASSERT_TRUE(wait_for(nothing_new(&progs, last_prog, names->obj)), "programs are gone");
	ASSERT_TRUE(wait_for(nothing_new(&maps, last_map, names->obj)), "maps are gone");
	task_work_torture__destroy(names);
}

static __u64 sum(const __u64 *counts, int nr)
{
	__u64 total = 0;

	while (nr--)
		total += READ_ONCE(counts[nr]);
	return total;
}

static void print_counts(const char *title, const char * const *names, const __u64 *counts, int nr)
{
	int i;

	printf("%s:", title);
	for (i = 0; i < nr; i++)
		printf(" %s %llu%s", names[i], counts[i], i < nr - 1 ? "," : "\n");
}

static const char * const context_names[] = {
	"task", "syscall program", "callback", "entry", "sched_switch", "sched_waking",
	"interrupt", "NMI",
};

static const char * const result_names[] = {
	"0", "-EBUSY", "-ENOENT", "-EPERM", "-ESRCH", "-EOPNOTSUPP", "-ENOMEM", "-EBADF", "other",
};

static void print_pass(struct torture *t)
{
	const struct task_work_torture__bss *bss = t->skel->bss;
	__u64 operations = sum(bss->results, NR_RESULTS) + sum(bss->deleted, NR_CONTEXTS) +
			   sum(bss->updated, NR_CONTEXTS) + sum(t->ops, NR_OPS);

	printf("pass %d, %d s, seed %llu: %llu operations, scheduled %llu: ",
	       t->pass, torture_secs(t), t->seed, operations, bss->accounting.scheduled);
	printf("ran %llu, cancelled %llu (misses %llu)\n", bss->accounting.ran,
	       bss->accounting.cancelled, misses(t->skel->progs.count_released));
	fflush(stdout);
}

static void print_totals(struct torture *t)
{
	const struct task_work_torture__bss *bss = t->skel->bss;

	print_counts("returned", result_names, bss->results, NR_RESULTS);
	print_counts("scheduled in", context_names, bss->scheduled, NR_CONTEXTS);
	print_counts("scheduled on", map_names, bss->placed, NR_TORTURE_MAPS);
	print_counts("scheduled for", mode_names, bss->moded, NR_MODES);
	print_counts("deleted in", context_names, bss->deleted, NR_CONTEXTS);
	print_counts("updated in", context_names, bss->updated, NR_CONTEXTS);
	print_counts("done", torture_op_names, t->ops, NR_OPS);
	printf("ended while running %llu, of these by their callback %llu; evicted %llu\n",
	       bss->ended_running, bss->deleted_own, bss->evicted);
	printf("cancelled: taken off a list %llu, met there %llu, for want of an mm %llu\n",
	       bss->unlinked, bss->found_freed, bss->without_mm);
	printf("tasks made %llu, freed %llu\n", bss->tasks_made, bss->tasks_freed);
}

/* The name of what has never happened, or NULL. */
static const char *never(const char * const *names, const __u64 *counts, int nr, int but)
{
	int i;

	for (i = 0; i < nr; i++)
		if (i != but && !counts[i])
			return names[i];
	return NULL;
}

static const char *missing(struct torture *t)
{
	const struct task_work_torture__bss *bss = t->skel->bss;
	const char *name = NULL;

	if (!bss->accounting.ran || !bss->accounting.cancelled)
		return "callbacks and cancelled work";
	if (!bss->deleted_own || bss->ended_running <= bss->deleted_own)
		return "work ended while its callback runs";
	if (!bss->evicted || !bss->unlinked || !bss->found_freed || !bss->without_mm)
		return "eviction, or a kind of cancelled work";
	/* To meet a program that is being unloaded takes more than chance. */
	name = name ?: never(result_names, bss->results, RESULT_EBADF, -1);
	name = name ?: never(context_names, bss->scheduled, NR_CONTEXTS, -1);
	name = name ?: never(map_names, bss->placed, NR_TORTURE_MAPS, -1);
	name = name ?: never(mode_names, bss->moded, NR_MODES, -1);
	/* callbacks delete their own, see above */
	name = name ?: never(context_names, bss->deleted, NR_CONTEXTS, IN_CALLBACK);
	name = name ?: never(context_names, bss->updated, NR_CONTEXTS, IN_CALLBACK);
	return name ?: never(torture_op_names, t->ops, NR_OPS, -1);
}

static void check(struct torture *t)
{
	const struct task_work_torture__bss *bss = t->skel->bss;

	check_accounting(&bss->accounting, t->skel->progs.count_released);
	ASSERT_EQ(bss->results[RESULT_OTHER], 0, "unknown return values");
	ASSERT_EQ(bss->wrong_element, 0, "callbacks with the wrong element");
}

/* Programs that run are done, and what is pending runs or is about to be cancelled. */
static void settle(struct torture *t)
{
	struct task_work_torture__bss *bss = t->skel->bss;

	WRITE_ONCE(bss->active, false);
	kern_sync_rcu();
	ASSERT_OK(target_tell(&t->sleeper, TARGET_RETURN), "wake sleeper");
	ASSERT_TRUE(target_obeyed(&t->sleeper), "sleeper has returned");
	print_pass(t);
	ASSERT_TRUE(all_released(&bss->accounting, t->skel->progs.count_released),
		    "all is released");
	ASSERT_TRUE(wait_for(READ_ONCE(bss->tasks_freed) == READ_ONCE(bss->tasks_made)),
		    "tasks are gone");
}

static void run_pass(struct torture *t)
{
	struct worker workers[MAX_WORKERS];
	int nr, i;

	t->go = 0;
	nr = torture_start_workers(t, workers);
	t->skel->bss->active = true;
	WRITE_ONCE(t->go, 1);
	for (i = 0; i < nr; i++)
		if (workers[i].tid)
			pthread_join(workers[i].thread, NULL);
	settle(t);
	for (i = 0; i < nr; i++)
		bpf_link__destroy(workers[i].sampler);
}

static bool goes_on(struct torture *t)
{
	if (t->failures || torture_secs(t) < t->secs)
		return !t->failures;
	return missing(t) && t->pass < MAX_PASSES;
}

/* Without elements there are no contexts. */
static void empty_maps(struct torture *t)
{
	int map;
	__u32 key;

	for (map = 0; map < MAP_ARRAY; map++)
		for (key = 0; key < NR_KEYS; key++)
			bpf_map_delete_elem(t->map_fds[map], &key);
	if (torture_fill_map(t, t->map_fds[MAP_ARRAY], 0, NR_KEYS) ||
	    torture_fill_map(t, t->map_fds[MAP_INNER], 0, NR_KEYS) ||
	    torture_fill_map(t, t->inner_fd, 0, NR_KEYS) ||
	    torture_fill_map(t, t->many_fd, 0, NR_MANY))
		torture_failed(t, "renew array");
}

/*
 * The allocator frees what elements left to be freed when it is asked for more, so go
 * on asking, on each CPU.
 */
static bool contexts_are_gone(struct torture *t)
{
	long limit = t->objects + get_nprocs() * MAX_HELD, after = context_objects();
	struct worker w = { .t = t, .nr = SERVER + 1 };
	int i, n;

	for (i = 0; i < MAX_TRIES && after >= limit; i++) {
		pin_to_cpu(pthread_self(), i % get_nprocs());
		for (n = 0; n < NR_WAITS; n++)
			torture_worker_op(&w, torture_draw(t->seed, w.nr, i * NR_WAITS + n));
		empty_maps(t);
		kern_sync_rcu();
		after = context_objects();
	}
	printf("contexts: %llu made and given up, objects %ld before, %ld after (round %d)\n",
	       t->skel->bss->contexts_ended, t->objects, after, i);
	return after < limit;
}

static int open_pages(struct torture *t)
{
	size_t size = NR_PAGES * getpagesize();

	t->pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->pages == MAP_FAILED)
		return -errno;
	t->uffd = open_userfaults(t->pages, size);
	return t->uffd < 0 ? t->uffd : 0;
}

static bool fill_maps(struct torture *t)
{
	struct task_work_torture *skel = t->skel;
	struct bpf_map *maps[NR_TORTURE_MAPS] = {
		skel->maps.hash, skel->maps.hash_malloc, skel->maps.lru_hash, skel->maps.array,
		skel->maps.inner,
	};
	int map;

	for (map = 0; map < NR_TORTURE_MAPS; map++) {
		t->map_fds[map] = bpf_map__fd(maps[map]);
		if (!ASSERT_OK(torture_fill_map(t, t->map_fds[map], 0, NR_KEYS), "fill"))
			return false;
	}
	t->many_fd = bpf_map__fd(skel->maps.many);
	t->inner_fd = dup(t->map_fds[MAP_INNER]);
	return ASSERT_OK(torture_fill_map(t, t->many_fd, 0, NR_MANY), "fill many");
}

static bool prepare(struct torture *t)
{
	struct task_work_torture__bss *bss = t->skel->bss;

	torture_list_upper_cpus(t);
	if (!ASSERT_OK(open_pages(t), "missing pages") || !fill_maps(t) ||
	    !ASSERT_OK(pipe2(t->server_stop, O_CLOEXEC), "pipe") ||
	    !ASSERT_GE(t->nr_upper, 1, "CPUs that come and go"))
		return false;
	bss->seed = t->seed;
	bss->test_pid = getpid();
	bss->pages = t->pages;
	bss->page_size = getpagesize();
	bss->exit_group_nr = __NR_exit_group;
	bss->execve_nr = __NR_execve;
	if (!ASSERT_OK(pthread_create(&t->server, NULL, torture_page_server, t), "server") ||
	    !ASSERT_TRUE(wait_for(READ_ONCE(bss->untouchable[0])), "server runs") ||
	    !ASSERT_OK(target_start(&t->sleeper), "sleeper"))
		return false;
	bss->tids[TID_SLEEPER] = t->sleeper.tid;
	bss->tids[TID_KTHREAD] = 2;
	kern_sync_rcu();
	return ASSERT_OK(task_work_torture__attach(t->skel), "attach");
}

static void finish(struct torture *t)
{
	print_pass(t);
	print_totals(t);
	check(t);
	ASSERT_STREQ(missing(t) ?: "nothing", "nothing", "what never happened");
	empty_maps(t);
	ASSERT_TRUE(contexts_are_gone(t), "contexts are gone");
	ASSERT_EQ(t->failures, 0, "operations that failed");
}

static void close_all(struct torture *t)
{
	target_stop(&t->sleeper);
	close(t->server_stop[1]);
	if (t->skel->bss->untouchable[0])
		pthread_join(t->server, NULL);
	close(t->server_stop[0]);
	close(t->inner_fd);
	close(t->uffd);
	munmap(t->pages, NR_PAGES * getpagesize());
}

static __u64 number_from(const char *variable, __u64 otherwise)
{
	const char *value = getenv(variable);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

/* Also to the console, in case that there is no end. */
static void tell_seed(__u64 seed)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	printf("TASK_WORK_TORTURE_SEED=%llu\n", seed);
	fflush(stdout);
	if (fd < 0)
		return;
	dprintf(fd, "<3>TASK_WORK_TORTURE_SEED=%llu\n", seed);
	close(fd);
}

static void torture(struct torture *t)
{
	bool ready = prepare(t);

	t->objects = context_objects();
	ASSERT_GT(t->objects, 0, "/proc/slabinfo");
	while (ready && goes_on(t)) {
		run_pass(t);
		t->pass++;
	}
	if (ready)
		finish(t);
	close_all(t);
}

void serial_test_task_work_torture(void)
{
	struct torture t = { .uffd = -1, .inner_fd = -1, .server_stop = { -1, -1 } };
	__u32 last_prog = last_id(&progs), last_map = last_id(&maps);

	/* Workers run by a hook of prctl(). */
	if (!have_nmis(__func__) || !have_bpf_lsm(__func__) || !have_missing_pages(__func__) ||
	    !have_true(__func__) || !have_hotplug(__func__))
		return;
	clock_gettime(CLOCK_MONOTONIC, &t.start);
	t.secs = number_from("TASK_WORK_TORTURE_SECS", 0);
	t.seed = number_from("TASK_WORK_TORTURE_SEED", t.start.tv_nsec);
	tell_seed(t.seed);
	t.skel = task_work_torture__open();
	if (!ASSERT_OK_PTR(t.skel, "open"))
		return;
	bpf_program__set_autoload(t.skel->progs.in_nmi, true);
	if (ASSERT_OK(task_work_torture__load(t.skel), "load"))
		torture(&t);
	task_work_torture__destroy(t.skel);
	check_all_gone(last_prog, last_map);
}
