// SPDX-License-Identifier: GPL-2.0
/*
 * A program that may not sleep asks for a callback that may, and the callback
 * reads a string from a page that was missing when it was asked for. Once for
 * every kind of map, place to schedule from, way to notify, and target.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <sys/wait.h>
#include "task_work_matrix.skel.h"

#define ANY_MASK	0x7fffffff	/* of preempt_count(), but for PREEMPT_NEED_RESCHED */
#define MAX_NMIS	1000
#define NR_ELEMS	6
#define ELEM_ID		3	/* the one that work is scheduled on */
#define TEXT		"was not here during the NMI"

enum origin {
	FROM_NMI,	/* sysrq-l */
	FROM_PMI,	/* cycle counter: another NMI, where there is one */
	FROM_INTERRUPT,	/* cpu-clock */
	FROM_TASK,
	NR_ORIGINS,
};

static const char * const origin_names[] = { "nmi", "pmi", "interrupt", "task" };

struct scene {
	struct task_work_matrix *skel;
	struct missing_page page;
	struct target scheduler;
	struct target other;
	struct bpf_link *irq_works;
	struct bpf_link *nmi_interrupts;
	int map_fds[NR_MAPS];
};

static bool armed(struct scene *s)
{
	return READ_ONCE(s->skel->bss->armed);
}

/* An NMI may find another thread on the scheduler's CPU: then try again. */
static bool meet_nmi(struct scene *s)
{
	int i;

	for (i = 0; i < MAX_NMIS && armed(s); i++)
		if (send_nmis())
			return false;
	return !armed(s);
}

static struct bpf_link *attach(struct scene *s, enum origin from)
{
	const struct bpf_program *prog = s->skel->progs.interrupt;
	int tid = s->scheduler.tid;

	if (from == FROM_NMI)
		return bpf_program__attach(s->skel->progs.nmi);
	if (from == FROM_PMI)
		return attach_cycles(prog, tid);
	return attach_clock(prog, tid);
}

/* Keep the scheduler on its CPU until an event there has met it. */
static bool sample(struct scene *s, enum origin from)
{
	struct bpf_link *link = attach(s, from);
	bool met;

	if (!ASSERT_OK_PTR(link, "attach"))
		return false;
	met = !target_tell(&s->scheduler, TARGET_SPIN) &&
	      (from == FROM_NMI ? meet_nmi(s) : wait_for(!armed(s)));
	bpf_link__destroy(link);
	return met;
}

static bool schedule_from(struct scene *s, enum origin from)
{
	WRITE_ONCE(s->skel->bss->armed, 1);
	if (from != FROM_TASK)
		return sample(s, from);
	s->scheduler.prog_fd = bpf_program__fd(s->skel->progs.task);
	return !target_tell(&s->scheduler, TARGET_RUN) &&
	       wait_for(!armed(s));
}

static void check_origin(struct task_work_matrix__bss *bss, enum origin from)
{
	int nmi = bss->schedule_preempt_count & NMI_MASK;
	int hardirq = bss->schedule_preempt_count & HARDIRQ_MASK;

	if (from == FROM_NMI || from == FROM_PMI)
		ASSERT_NEQ(nmi, 0, "scheduled in an NMI");
	if (from == FROM_INTERRUPT)
		ASSERT_TRUE(hardirq && !nmi, "scheduled in a hard interrupt");
	if (from == FROM_TASK)
		ASSERT_FALSE(hardirq || nmi, "scheduled in task context");
	ASSERT_EQ(bss->callback_preempt_count & ANY_MASK, 0, "callback is preemptible");
}

/*
 * The work goes straight to the task where that is safe: current can be made to
 * run it on its way to user mode from anywhere, and the rest takes locks.
 */
static void check_detour(struct task_work_matrix__bss *bss, enum origin from,
			 enum task_work_mode mode, bool to_other)
{
	bool nmi = from == FROM_NMI || from == FROM_PMI;
	bool resumes_current = mode == MODE_RESUME && !to_other;

	ASSERT_EQ(bss->irq_works, from == FROM_TASK || resumes_current ? 0 : 1,
		  "detours by an interrupt");
	ASSERT_EQ(bss->nmi_interrupts, nmi && resumes_current ? 1 : 0,
		  "interrupts for the return from an NMI");
}

static void check_callback(struct scene *s, enum task_work_map map, int target_tid)
{
	struct task_work_matrix__bss *bss = s->skel->bss;
	struct task_work_key key;

	elem_key(ELEM_ID, &key);
	ASSERT_EQ(bss->ran, 1, "callback ran once");
	ASSERT_EQ(bss->seen_tid, target_tid, "callback is in the target");
	ASSERT_EQ(bss->seen_map_id, map_id(s->map_fds[map]), "callback has the map");
	ASSERT_EQ(bss->seen_cookie, ELEM_ID * ELEM_COOKIE, "callback has the value");
	ASSERT_EQ(bss->seen_key.id, key.id, "callback has the key");
	if (map != MAP_ARRAY) {
		ASSERT_EQ(bss->seen_key.twice, key.twice, "middle of the key");
		ASSERT_EQ(bss->seen_key.inverse, key.inverse, "end of the key");
	}
	ASSERT_EQ(bss->copied, sizeof(TEXT), "callback read the string");
}

/* What the callback wrote is in its own element and in no other. */
static void check_elems(int map_fd)
{
	struct task_work_elem elem;
	struct bpf_task_work zero = {};
	__u32 id;

	for (id = 1; id <= NR_ELEMS; id++) {
		if (!ASSERT_OK(elem_lookup(map_fd, id, &elem), "lookup"))
			return;
		ASSERT_EQ(elem.cookie, id * ELEM_COOKIE, "cookie");
		ASSERT_EQ(elem.ran, id == ELEM_ID, "ran");
		ASSERT_STREQ(elem.text, id == ELEM_ID ? TEXT : "", "text");
		ASSERT_OK(memcmp(&elem.tw, &zero, sizeof(zero)), "field reads as zeros");
	}
}

static bool prepare(struct scene *s, enum task_work_map map, enum task_work_mode mode,
		    bool to_other)
{
	struct task_work_matrix__bss *bss = s->skel->bss;
	__u32 id;

	memset(bss, 0, sizeof(*bss));
	bss->map_kind = map;
	bss->mode = mode;
	bss->user_ptr = s->page.addr;
	bss->scheduler_tid = s->scheduler.tid;
	bss->target_tid = to_other ? s->other.tid : 0;
	bss->schedule_ret = 1;
	elem_key(ELEM_ID, (void *)&bss->key);
	for (id = 1; id <= NR_ELEMS; id++)
		if (!ASSERT_OK(elem_update(s->map_fds[map], id), "update"))
			return false;
	/* The contexts of the last case went with its elements, by interrupt as well. */
	WRITE_ONCE(bss->irq_works, 0);
	WRITE_ONCE(bss->nmi_interrupts, 0);
	return ASSERT_OK(missing_page_drop(&s->page), "drop page") &&
	       ASSERT_TRUE(target_asleep(&s->other), "other asleep");
}

static void run_case(struct scene *s, enum origin from, enum task_work_map map,
		     enum task_work_mode mode, bool to_other)
{
	struct task_work_matrix__bss *bss = s->skel->bss;

	if (!prepare(s, map, mode, to_other))
		return;
	if (!ASSERT_TRUE(schedule_from(s, from), "meet the program"))
		goto out;
	ASSERT_OK(bss->schedule_ret, "schedule");
	ASSERT_EQ(bss->in_place_ret, -EFAULT, "page is missing when work is scheduled");

	/* Only a signal ends a sleep; the other way waits for its end. */
	if (to_other && mode == MODE_RESUME) {
		ASSERT_TRUE(target_asleep(&s->other), "other still asleep");
		ASSERT_EQ(bss->ran, 0, "callback waits");
		ASSERT_OK(target_tell(&s->other, TARGET_RETURN), "wake other");
	}
	ASSERT_TRUE(missing_page_faulted(&s->page), "callback sleeps for the page");
	ASSERT_EQ(bss->ran, 0, "callback has not got further");
out:
	ASSERT_OK(missing_page_fill(&s->page, TEXT), "fill page");
	ASSERT_TRUE(wait_for(READ_ONCE(bss->ran)), "callback ends");
	WRITE_ONCE(s->scheduler.spinning, 0);
	ASSERT_TRUE(target_obeyed(&s->scheduler), "scheduler is back");
	ASSERT_TRUE(target_obeyed(&s->other), "other is back");
	check_origin(bss, from);
	check_detour(bss, from, mode, to_other);
	check_callback(s, map, to_other ? s->other.tid : s->scheduler.tid);
	check_elems(s->map_fds[map]);
}

/*
 * The same address in two processes: the callback reads the target's memory,
 * not that of the one who asked for it.
 */
static void other_process(int told_fd, char *text)
{
	char c;

	memcpy(text, "child", sizeof("child"));
	while (read(told_fd, &c, 1) == 1)
		;
	_exit(0);
}

static void schedule_on_process(struct scene *s, pid_t pid, int told_fd, char *text)
{
	struct task_work_matrix__bss *bss = s->skel->bss;
	struct task_work_elem elem;

	if (!prepare(s, MAP_HASH, MODE_SIGNAL, true))
		return;
	bss->user_ptr = text;
	bss->target_tid = pid;
	ASSERT_TRUE(wait_for(task_in_read(pid, told_fd)), "child is asleep");
	ASSERT_TRUE(schedule_from(s, FROM_TASK), "meet the program");
	ASSERT_TRUE(wait_for(READ_ONCE(bss->ran)), "callback");
	ASSERT_TRUE(target_obeyed(&s->scheduler), "scheduler is back");
	ASSERT_EQ(bss->seen_tid, pid, "callback is in the child");
	ASSERT_EQ(bss->in_place_ret, sizeof("parent"), "read by the scheduler");
	ASSERT_OK(elem_lookup(s->map_fds[MAP_HASH], ELEM_ID, &elem), "lookup");
	ASSERT_STREQ(elem.text, "child", "read by the callback");
}

static void test_other_process(struct scene *s)
{
	int fds[2] = { -1, -1 };
	char *text;
	pid_t pid;

	text = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (!ASSERT_NEQ(text, MAP_FAILED, "mmap"))
		return;
	memcpy(text, "parent", sizeof("parent"));
	if (!ASSERT_OK(pipe2(fds, O_CLOEXEC), "pipe"))
		goto out;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		other_process(fds[0], text);
	}
	if (ASSERT_GT(pid, 0, "fork"))
		schedule_on_process(s, pid, fds[0], text);
	close(fds[1]);
	close(fds[0]);
	if (pid > 0)
		ASSERT_EQ(waitpid(pid, NULL, 0), pid, "child ends");
out:
	munmap(text, getpagesize());
}

/* The first sample tells, which schedules nothing: there is no such kind of map. */
static bool pmi_is_nmi(struct scene *s)
{
	struct task_work_matrix__bss *bss = s->skel->bss;
	bool met;

	memset(bss, 0, sizeof(*bss));
	bss->map_kind = NR_MAPS;
	bss->scheduler_tid = s->scheduler.tid;
	met = schedule_from(s, FROM_PMI);
	WRITE_ONCE(s->scheduler.spinning, 0);
	return ASSERT_TRUE(target_obeyed(&s->scheduler), "scheduler is back") && met &&
	       bss->schedule_preempt_count & NMI_MASK;
}

static bool have_pmi(struct scene *s)
{
	struct bpf_link *link = attach(s, FROM_PMI);
	bool have = link;

	bpf_link__destroy(link);
	return have && pmi_is_nmi(s);
}

/* Those from a PMI are not even begun where there is none. */
static bool have_origin(enum origin from, const char *name)
{
	if (from == FROM_NMI)
		return have_nmis(name);
	return from != FROM_INTERRUPT || have_preempt_count(name);
}

static void run_cases(struct scene *s)
{
	bool pmi = have_pmi(s);
	char name[64];
	int i;

	if (!pmi && test__start_subtest("pmi"))
		have_or_skip(pmi, "pmi", "a counter of cycles that interrupts by an NMI");

	for (i = 0; i < NR_ORIGINS * NR_MAPS * NR_MODES * 2; i++) {
		bool to_other = i % 2;
		enum task_work_mode mode = i / 2 % NR_MODES;
		enum task_work_map map = i / 2 / NR_MODES % NR_MAPS;
		enum origin from = i / 2 / NR_MODES / NR_MAPS;

		if (from == FROM_PMI && !pmi)
			continue;
		snprintf(name, sizeof(name), "%s_%s_%s_%s", origin_names[from],
			 map_names[map], mode_names[mode], to_other ? "other" : "current");
		if (test__start_subtest(name) && have_origin(from, name))
			run_case(s, from, map, mode, to_other);
	}
	if (test__start_subtest("other_process"))
		test_other_process(s);
}

static int open_scene(struct scene *s)
{
	int cpu = nth_cpu(0), scheduler_cpu = nth_cpu(1);
	int err;

	s->skel = task_work_matrix__open();
	if (!ASSERT_OK_PTR(s->skel, "open"))
		return -EINVAL;
	bpf_program__set_autoload(s->skel->progs.nmi, nmis_work());
	if (!ASSERT_OK(task_work_matrix__load(s->skel), "load"))
		return -EINVAL;
	s->map_fds[MAP_HASH] = bpf_map__fd(s->skel->maps.hash);
	s->map_fds[MAP_HASH_MALLOC] = bpf_map__fd(s->skel->maps.hash_malloc);
	s->map_fds[MAP_LRU_HASH] = bpf_map__fd(s->skel->maps.lru_hash);
	s->map_fds[MAP_ARRAY] = bpf_map__fd(s->skel->maps.array);

	s->irq_works = bpf_program__attach(s->skel->progs.count_irq_works);
	s->nmi_interrupts = bpf_program__attach(s->skel->progs.count_nmi_interrupts);
	if (!ASSERT_OK_PTR(s->irq_works, "attach") || !ASSERT_OK_PTR(s->nmi_interrupts, "attach"))
		return -EINVAL;

	err = missing_page_open(&s->page) ?: target_start(&s->scheduler) ?: target_start(&s->other);
	if (!ASSERT_OK(err, "page and threads"))
		return err;
	/* sysrq-l spares the CPU it is written on. */
	err = pin_to_cpu(pthread_self(), cpu) ?:
	      pin_to_cpu(s->scheduler.thread, scheduler_cpu);
	return ASSERT_OK(err, "pin") ? 0 : -EINVAL;
}

void serial_test_task_work_matrix(void)
{
	struct scene s = { .page.fd = -1 };

	/* one to schedule on, another to tell it so, and to send an NMI */
	if (!have_two_cpus(__func__) || !have_missing_pages(__func__))
		return;
	if (!open_scene(&s))
		run_cases(&s);
	/* Without the page, who still sleeps in it wakes. */
	missing_page_close(&s.page);
	target_stop(&s.scheduler);
	target_stop(&s.other);
	bpf_link__destroy(s.irq_works);
	bpf_link__destroy(s.nmi_interrupts);
	task_work_matrix__destroy(s.skel);
}
