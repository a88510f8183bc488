// SPDX-License-Identifier: GPL-2.0
/* What a program could do to the system if it were let. */
#include "task_work_common.h"
#include "async_hold.h"

char _license[] SEC("license") = "GPL";

void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;

#define NR_MANY 512

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct elem);
} pair SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NR_MANY);
	__type(key, __u32);
	__type(value, struct elem);
} many SEC(".maps");

/* set by the test */
int target_tid;
int test_tid;
int hold_interrupt;
__u64 armed; /* 64 bits: a swap of 32 needs alu32 */
int stop;

/* read by the test */
int ran;
int ret_last;
int ret_dying;
int ret_many;
int preempt_count_seen;
int deleted;
int accepted;
int refused;
int walks;
int looked_at;
int looked_at_first;

static __always_inline int schedule_in_pair(__u32 key, bpf_task_work_callback_t callback)
{
	struct elem *elem = bpf_map_lookup_elem(&pair, &key);

	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &pair,
					     callback);
}

/* Each of two callbacks schedules the other. */
static int schedule_other(struct bpf_map *map, void *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	if (!stop)
		ret_last = schedule_in_pair(!*(__u32 *)key, schedule_other);
	return 0;
}

SEC("syscall")
int schedule_each_other(void *ctx)
{
	return schedule_in_pair(0, schedule_other);
}

/* In the last moment in which it is accepted: SIGKILL is not pending any more. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(schedule_dying, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	if (current_tid() == target_tid && sig == 9 /* SIGKILL */)
		ret_dying = schedule_in_pair(0, schedule_other);
	return 0;
}

static int count(struct bpf_map *map, void *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static int schedule_all(struct task_struct *task)
{
	int i, err = 0;

	bpf_for(i, 0, NR_MANY) {
		__u32 key = i;
		struct elem *elem = bpf_map_lookup_elem(&many, &key);

		if (!elem)
			continue;
		err = bpf_task_work_schedule_resume(task, &elem->tw, &many, count) ?: err;
	}
	return err;
}

/* All on one task. */
SEC("syscall")
int schedule_many(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int err;

	if (!task)
		return -ESRCH;
	err = schedule_all(task);
	bpf_task_release(task);
	return err;
}

static void delete_all(void)
{
	int i;

	bpf_for(i, 0, NR_MANY) {
		__u32 key = i;

		if (!bpf_map_delete_elem(&many, &key))
			deleted++;
	}
}

SEC("perf_event")
int delete_in_interrupt(void *ctx)
{
	if (__sync_val_compare_and_swap(&armed, 1, 2) != 1)
		return 0;
	preempt_count_seen = preempt_count();
	delete_all();
	armed = 0;
	return 0;
}

SEC("syscall")
int delete_many(void *ctx)
{
	delete_all();
	return 0;
}

SEC("syscall")
int delete_half(void *ctx)
{
	int i;

	bpf_for(i, 0, NR_MANY / 2) {
		__u32 key = 2 * i;

		bpf_map_delete_elem(&many, &key);
	}
	return 0;
}

static long insert_first(void)
{
	/* Not a struct elem: the stack must not hold the field. */
	char value[sizeof(struct elem)] = {};
	__u32 zero = 0;

	return bpf_map_update_elem(&many, &zero, &value, BPF_ANY);
}

static int insert_schedule_delete(struct task_struct *task)
{
	__u32 zero = 0;
	struct elem *elem;
	int err;

	if (insert_first())
		return -E2BIG;
	elem = bpf_map_lookup_elem(&many, &zero);
	if (!elem)
		return -ENOENT;
	err = bpf_task_work_schedule_resume(task, &elem->tw, &many, count);
	bpf_map_delete_elem(&many, &zero);
	return err;
}

#define ENOUGH_REFUSED	100

/*
 * Where preemption is disabled no grace period ends, and no memory comes back. A slow machine
 * takes seconds for that, so it ends where there is no more to be seen.
 */
SEC("syscall")
int cancel_many(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int i;

	if (!task)
		return -ESRCH;
	bpf_preempt_disable();
	bpf_for(i, 0, 2 * MAX_CANCELLED) {
		int err = insert_schedule_delete(task);

		accepted += !err;
		refused += err == -ENOMEM;
		if (err)
			ret_many = err;
		if (refused >= ENOUGH_REFUSED)
			break;
	}
	bpf_preempt_enable();
	bpf_task_release(task);
	return 0;
}

/* Called for each work of the list, in the walk, with interrupts disabled. */
SEC("fentry/bpf_task_work_is_freed")
int BPF_PROG(interrupt_walk)
{
	struct task_struct *task;
	struct elem *elem;
	__u32 one = 1;

	/*
	 * There is one walk at a time. The first work asks for an interrupt, to hand work to a
	 * third task.
	 */
	if (looked_at++)
		return 0;
	task = bpf_task_from_pid(test_tid);
	if (!task)
		return 0;
	elem = bpf_map_lookup_elem(&pair, &one);
	if (elem)
		ret_last = bpf_task_work_schedule_resume(task, &elem->tw, &pair, count);
	bpf_task_release(task);
	return 0;
}

/* It comes as soon as interrupts are enabled. */
SEC("fentry/bpf_task_work_irq")
int BPF_PROG(see_interrupt)
{
	if (!looked_at || looked_at_first)
		return 0;
	looked_at_first = looked_at;
	if (hold_interrupt)
		wait_for_test();
	return 0;
}

SEC("fentry/task_work_cancel_all")
int BPF_PROG(count_walks, struct task_struct *task)
{
	if (task->pid == target_tid)
		__sync_fetch_and_add(&walks, 1);
	return 0;
}

/*
 * A CPU that goes down calls this when it has run its irq_works for the last time. No
 * tracepoint is hit there any more, but functions are traced.
 */
SEC("fentry/sched_cpu_dying")
int BPF_PROG(schedule_on_dying_cpu)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	struct elem *elem;
	__u32 zero = 0;

	if (!task)
		return 0;
	elem = bpf_map_lookup_elem(&pair, &zero);
	if (elem)
		ret_last = bpf_task_work_schedule_signal(task, &elem->tw, &pair, count);
	ret_many = schedule_all(task);
	bpf_task_release(task);
	return 0;
}

/* The first use of a slot allocates its context. */
SEC("syscall")
int schedule_first_use(void *ctx)
{
	return schedule_in_pair(1, count);
}

SEC("iter/bpf_map_elem")
int write_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		value[0] = 42;
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[1];
	return 0;
}
