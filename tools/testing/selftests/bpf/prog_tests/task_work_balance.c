// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that schedule work on each other, and delete what it hangs on, under a
 * fire of interrupts and NMIs. In the end all that was scheduled ran or was
 * cancelled, each of which is counted for itself.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include "task_work_balance.skel.h"

#define NR_KEYS		64
#define NR_WORKERS	4
#define SLEEPER		NR_WORKERS
#define EXITING		(NR_WORKERS + 1)
#define NR_ROUNDS	10000
#define NR_NMIS		50

struct elem {
	__u32 id;
	struct bpf_task_work tw;
};

struct stress {
	struct task_work_balance *skel;
	struct target sleeper;
	int map_fds[NR_MAPS];
	bool may_delete;
	int go;
	int enough;	/* NMIs have been sent */
	int done;	/* workers */
	int leave;
};

struct worker {
	struct stress *stress;
	pthread_t thread;
	unsigned int seed;
	int nr;
	int running;
};

static int insert(int map_fd, __u32 key)
{
	struct elem value = { .id = key };

	return bpf_map_update_elem(map_fd, &key, &value, BPF_ANY);
}

/* Delete, replace or insert an element. That there is none is no error. */
static void disturb(struct worker *w)
{
	enum task_work_map map = rand_r(&w->seed) % NR_MAPS;
	__u32 key = rand_r(&w->seed) % NR_KEYS;
	int fd = w->stress->map_fds[map];
	struct elem value;

	if (map == MAP_HASH_MALLOC)
		key = w->nr * (NR_KEYS / NR_WORKERS) + key % (NR_KEYS / NR_WORKERS);
	switch (map == MAP_ARRAY ? 0 : rand_r(&w->seed) % 4) {
	case 0:
	case 1:
		insert(fd, key);
		break;
	case 2:
		bpf_map_delete_elem(fd, &key);
		break;
	case 3:
		bpf_map_lookup_and_delete_elem(fd, &key, &value);
		break;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct stress *stress = w->stress;
	int i;

	WRITE_ONCE(stress->skel->bss->tids[w->nr], syscall(__NR_gettid));
	WRITE_ONCE(w->running, 1);
	while (!READ_ONCE(stress->go))
		sched_yield();
	for (i = 0; i < NR_ROUNDS || !READ_ONCE(stress->enough); i++) {
		syscall(__NR_getpgid, 0);
		if (stress->may_delete)
			disturb(w);
	}
	/* Others may still schedule work here. */
	__atomic_fetch_add(&stress->done, 1, __ATOMIC_SEQ_CST);
	while (!READ_ONCE(stress->leave))
		sched_yield();
	return NULL;
}

/* One that is gone soon: work for it is scheduled on its way out. */
static void *come_and_go(void *arg)
{
	struct stress *stress = arg;

	WRITE_ONCE(stress->skel->bss->tids[EXITING], syscall(__NR_gettid));
	syscall(__NR_getpgid, 0);
	return NULL;
}

static void fire(struct stress *stress)
{
	pthread_t thread;
	int i;

	for (i = 0; i < NR_NMIS; i++) {
		if (!ASSERT_OK(send_nmis(), "NMI"))
			break;
		if (stress->may_delete &&
		    ASSERT_OK(pthread_create(&thread, NULL, come_and_go, stress), "thread"))
			pthread_join(thread, NULL);
	}
	WRITE_ONCE(stress->enough, 1);
}

/* What is still pending is for the sleeper, or about to be released. */
static void settle(struct stress *stress)
{
	ASSERT_OK(target_tell(&stress->sleeper, TARGET_RETURN), "wake sleeper");
	ASSERT_TRUE(target_obeyed(&stress->sleeper), "sleeper has returned");
	ASSERT_TRUE(all_released(&stress->skel->bss->accounting,
				 stress->skel->progs.count_released), "all is released");
}

static void run_workers(struct stress *stress)
{
	struct bpf_link *samplers[NR_WORKERS] = {};
	struct worker workers[NR_WORKERS] = {};
	struct worker *w;
	int i;

	for (i = 0; i < NR_WORKERS; i++) {
		w = &workers[i];
		w->stress = stress;
		w->nr = i;
		w->seed = i;
		if (!ASSERT_OK(pthread_create(&w->thread, NULL, work, w), "worker"))
			break;
		ASSERT_TRUE(wait_for(READ_ONCE(w->running)), "worker runs");
		samplers[i] = attach_clock(stress->skel->progs.in_interrupt,
					   stress->skel->bss->tids[i]);
		ASSERT_OK_PTR(samplers[i], "sampler");
	}
	stress->skel->bss->active = true;
	WRITE_ONCE(stress->go, 1);
	fire(stress);
	ASSERT_TRUE(wait_for(READ_ONCE(stress->done) == i), "workers are done");
	WRITE_ONCE(stress->skel->bss->active, false);
	/* Programs that saw it true are done; on PREEMPT_RT they can be preempted. */
	kern_sync_rcu();
	settle(stress);
	WRITE_ONCE(stress->leave, 1);
	while (i--) {
		pthread_join(workers[i].thread, NULL);
		bpf_link__destroy(samplers[i]);
	}
}

static void check(struct task_work_balance *skel, bool may_delete)
{
	struct task_work_balance__bss *bss = skel->bss;
	const struct task_work_accounting *a = &bss->accounting;
	unsigned int i;

	printf("scheduled %llu: ran %llu, cancelled %llu (misses %llu); ",
	       a->scheduled, a->ran, a->cancelled, misses(skel->progs.count_released));
	printf("refused %d, %d without memory\n", bss->busy + bss->no_memory, bss->no_memory);

	/* It has been where it should be. */
	for (i = 0; i < ARRAY_SIZE(bss->scheduled); i++)
		ASSERT_GT(bss->scheduled[i], 0, "scheduled in each context");
	for (i = 0; i < ARRAY_SIZE(bss->scheduled_on); i++)
		ASSERT_GT(bss->scheduled_on[i], 0, "scheduled on each map");
	ASSERT_GT(bss->busy, 0, "met work in flight");
	if (may_delete) {
		ASSERT_GT(bss->deleted_in_interrupt, 0, "deleted in an interrupt");
		ASSERT_GT(bss->deleted_in_nmi, 0, "deleted in an NMI");
		ASSERT_GT(a->cancelled, 0, "cancelled work");
	}

	check_accounting(a, skel->progs.count_released);
	if (!may_delete) {
		ASSERT_EQ(a->cancelled, 0, "cancelled without a cause");
		ASSERT_EQ(a->ran, a->scheduled, "ran, of scheduled");
	}
	ASSERT_EQ(bss->wrong_element, 0, "callbacks with the wrong element");
	ASSERT_EQ(bss->unexpected, 0, "unexpected result");
}

static bool prepare(struct stress *stress)
{
	struct task_work_balance__bss *bss = stress->skel->bss;
	enum task_work_map map;
	__u32 key;

	stress->map_fds[MAP_HASH] = bpf_map__fd(stress->skel->maps.hash);
	stress->map_fds[MAP_HASH_MALLOC] = bpf_map__fd(stress->skel->maps.hash_malloc);
	stress->map_fds[MAP_LRU_HASH] = bpf_map__fd(stress->skel->maps.lru_hash);
	stress->map_fds[MAP_ARRAY] = bpf_map__fd(stress->skel->maps.array);
	for (map = 0; map < NR_MAPS; map++)
		for (key = 0; key < NR_KEYS; key++)
			if (!ASSERT_OK(insert(stress->map_fds[map], key), "insert"))
				return false;
	bss->getpgid_nr = __NR_getpgid;
	bss->exit_nr = __NR_exit;
	bss->may_delete = stress->may_delete;
	return ASSERT_OK(task_work_balance__attach(stress->skel), "attach");
}

static bool programs_are_gone(const __u32 *ids, int nr)
{
	while (nr--)
		if (!prog_is_gone(ids[nr]))
			return false;
	return true;
}

static void test_stress(bool may_delete)
{
	struct stress stress = { .may_delete = may_delete };
	struct task_work_balance *skel = task_work_balance__open();
	__u32 ids[3];

	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	stress.skel = skel;
	bpf_program__set_autoload(skel->progs.in_nmi, true);
	if (!ASSERT_OK(task_work_balance__load(skel), "load") || !prepare(&stress) ||
	    !ASSERT_OK(target_start(&stress.sleeper), "sleeper")) {
		task_work_balance__destroy(skel);
		return;
	}
	ids[0] = prog_id(bpf_program__fd(skel->progs.in_task));
	ids[1] = prog_id(bpf_program__fd(skel->progs.in_interrupt));
	ids[2] = prog_id(bpf_program__fd(skel->progs.in_nmi));
	skel->bss->tids[SLEEPER] = stress.sleeper.tid;
	run_workers(&stress);
	check(skel, may_delete);
	target_stop(&stress.sleeper);
	task_work_balance__destroy(skel);
	ASSERT_TRUE(programs_are_gone(ids, ARRAY_SIZE(ids)), "programs are gone");
}

void serial_test_task_work_balance(void)
{
	if (!have_nmis(__func__))
		return;
	if (test__start_subtest("all_run"))
		test_stress(false);
	if (test__start_subtest("run_or_cancelled"))
		test_stress(true);
}
