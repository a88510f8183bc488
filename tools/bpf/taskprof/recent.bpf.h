/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What was found out about the code of a thread, kept for its next sample: as long as
 * nobody changes its memory map, that stays right.
 */
#ifndef __RECENT_BPF_H
#define __RECENT_BPF_H

#define NR_RECENT	4	/* the program, its libraries */
#define NR_RECENTS	1024	/* threads, more or less: a mask, plus one */

struct recent {
	__u32 taken;			/* by a callback, which may sleep meanwhile */
	__u32 tid;
	__u64 start_time;
	__u32 exec_id;
	__u32 seq;
	__u32 next;			/* the area that the next one takes the place of */
	struct area areas[NR_RECENT];
};

/*
 * Many threads live for a sample or two: so there is one at hand, and nothing to free. Busy
 * threads that share one have it in turn, each from nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_RECENTS);
	__type(key, __u32);
	__type(value, struct recent);
} recents SEC(".maps");

static void renew(struct recent *recent, const struct task_struct *task, __u32 seq)
{
	int i;

	recent->tid = task->pid;
	recent->start_time = task->start_time;
	recent->exec_id = task->self_exec_id;
	recent->seq = seq;
	for (i = 0; i < NR_RECENT; i++)
		recent->areas[i].end = 0;
}

/*
 * Of the current thread; NULL if nothing can be kept, or that of another thread with this
 * place is in use. The map's state is read before what is kept with it: who changes an area
 * later changes that state, too, and nobody runs code of a new area before.
 */
static struct recent *get_recent(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 seq = map_seq(task->mm), key = task->pid & (NR_RECENTS - 1);
	struct recent *recent = bpf_map_lookup_elem(&recents, &key);

	if (!seq || !recent || __sync_val_compare_and_swap(&recent->taken, 0, 1))
		return NULL;
	if (recent->seq != seq || recent->exec_id != task->self_exec_id ||
	    recent->tid != task->pid || recent->start_time != task->start_time)
		renew(recent, task, seq);
	return recent;
}

static void put_recent(struct recent *recent)
{
	if (recent)
		__sync_lock_test_and_set(&recent->taken, 0);
}

static bool recall_area(const struct recent *recent, __u64 ip, struct area *area)
{
	int i;

	for (i = 0; i < NR_RECENT; i++) {
		if (is_in_area(&recent->areas[i], ip)) {
			*area = recent->areas[i];
			return true;
		}
	}
	return false;
}

static void keep_area(struct recent *recent, const struct area *area)
{
	if (area->end)
		recent->areas[recent->next++ & (NR_RECENT - 1)] = *area;
}

#endif /* __RECENT_BPF_H */
