/* SPDX-License-Identifier: GPL-2.0 */
/* What the task work torture counts, prints and demands. A part of task_work_torture.c. */
#ifndef _TASK_WORK_TORTURE_REPORT_H
#define _TASK_WORK_TORTURE_REPORT_H

#include "task_work_torture_ops.h"

static __u64 sum(const __u64 *counts, int nr)
{
	__u64 total = 0;

	while (nr--)
		total += READ_ONCE(counts[nr]);
	return total;
}

static __u64 scheduled_in_all(const struct task_work_torture__bss *bss)
{
	return sum(bss->scheduled, NR_CONTEXTS);
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

static const char * const map_names[] = { "hash", "hash_malloc", "lru_hash", "array", "inner" };
static const char * const mode_names[] = { "signal", "resume" };

static void print_pass(struct torture *t)
{
	const struct task_work_torture__bss *bss = t->skel->bss;
	__u64 operations = sum(bss->results, NR_RESULTS) + sum(bss->deleted, NR_CONTEXTS) +
			   sum(bss->updated, NR_CONTEXTS) + sum(t->deeds, NR_DEEDS);

	printf("pass %d, %d s, seed %llu: %llu operations, scheduled %llu: ",
	       t->pass, torture_secs(t), t->seed, operations, scheduled_in_all(bss));
	printf("ran %llu, cancelled %llu (misses %llu)\n",
	       bss->ran, bss->cancelled, misses(t->skel->progs.count_released));
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
	print_counts("done", deed_names, t->deeds, NR_DEEDS);
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

	if (!bss->ran || !bss->cancelled)
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
	return name ?: never(deed_names, t->deeds, NR_DEEDS, -1);
}

static void check(struct torture *t)
{
	const struct task_work_torture__bss *bss = t->skel->bss;
	__u64 missed = misses(t->skel->progs.count_released);
	__u64 unseen = scheduled_in_all(bss) - bss->ran - bss->cancelled;

	ASSERT_LE(unseen, missed, "scheduled, less ran and cancelled");
	ASSERT_LE(bss->ran - bss->released_after_run, missed, "ran, less released after that");
	ASSERT_EQ(bss->results[RESULT_OTHER], 0, "unknown return values");
	ASSERT_EQ(bss->wrong_element, 0, "callbacks with the wrong element");
	ASSERT_EQ(bss->released_in_nmi, 0, "references dropped in an NMI");
}

#endif
