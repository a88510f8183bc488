// SPDX-License-Identifier: GPL-2.0
/* What it costs to schedule task work, to refuse it and to cancel it. */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "task_work_bench.h"

char _license[] SEC("license") = "GPL";

/* The kernels that have task work have one pair or the other, or both. */
int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw,
				  void *map__map, bpf_task_work_callback_t cb) __weak __ksym;
int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw,
				  void *map__map, bpf_task_work_callback_t cb) __weak __ksym;
int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw,
				       void *map__map, bpf_task_work_callback_t cb,
				       void *aux__prog) __weak __ksym;
int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw,
				       void *map__map, bpf_task_work_callback_t cb,
				       void *aux__prog) __weak __ksym;
int bpf_testmod_add_task_work(bool signal) __weak __ksym;
int bpf_testmod_add_task_work_section(void) __weak __ksym;
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

/* a slot for each producer */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} slots SEC(".maps");

/* those that are scheduled all at once */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} elems SEC(".maps");

const volatile int op = OP_NOTHING;
const volatile bool timed;
const volatile __u32 nr_elems;
const volatile int nr_producers;

/* set by the user side */
int target_tid;
int armed;
long touched;

/* read by it */
long ran;
long errors;
long busy_ns;
long caller_ns;
long latency_ns;
__u64 scheduled_at;
__u64 clock_ns;
__u64 last_tick[MAX_CLOCKS];
__u64 longest_ns;
void *touched_addr;

static int count(struct bpf_map *map, void *key, void *value)
{
	struct elem *elem = value;

	if (timed)
		latency_ns += bpf_ktime_get_ns() - scheduled_at - clock_ns;
	if (nr_producers)
		elem->data++;
	else
		ran++;
	return 0;
}

static __always_inline int signal_for(struct task_struct *task, struct elem *elem, void *map)
{
	if (bpf_ksym_exists(bpf_task_work_schedule_signal))
		return bpf_task_work_schedule_signal(task, &elem->tw, map, count);
	return bpf_task_work_schedule_signal_impl(task, &elem->tw, map, count, NULL);
}

static __always_inline int resume_for(struct task_struct *task, struct elem *elem, void *map)
{
	if (bpf_ksym_exists(bpf_task_work_schedule_resume))
		return bpf_task_work_schedule_resume(task, &elem->tw, map, count);
	return bpf_task_work_schedule_resume_impl(task, &elem->tw, map, count, NULL);
}

static __always_inline int do_op(struct task_struct *task, struct elem *elem)
{
	switch (op) {
	case OP_RESUME:
		return resume_for(task, elem, &slots);
	case OP_SIGNAL:
		return signal_for(task, elem, &slots);
	case OP_ADD_RESUME:
	case OP_ADD_SIGNAL:
		if (bpf_ksym_exists(bpf_testmod_add_task_work))
			return bpf_testmod_add_task_work(op == OP_ADD_SIGNAL);
		return -EOPNOTSUPP;
	case OP_ADD_SECTION:
		if (bpf_ksym_exists(bpf_testmod_add_task_work_section))
			return bpf_testmod_add_task_work_section();
		return -EOPNOTSUPP;
	default:
		return 0;
	}
}

/* The clock is read once more than needed to know what reading it takes. */
static __always_inline int do_op_timed(struct task_struct *task, struct elem *elem)
{
	__u64 begin, end;
	int err;

	if (!timed)
		return do_op(task, elem);
	begin = bpf_ktime_get_ns();
	scheduled_at = bpf_ktime_get_ns();
	clock_ns = scheduled_at - begin;
	err = do_op(task, elem);
	end = bpf_ktime_get_ns();
	if (!err)
		caller_ns += end - scheduled_at - clock_ns;
	return err;
}

static __always_inline int on_current(__u32 slot)
{
	struct elem *elem = bpf_map_lookup_elem(&slots, &slot);

	if (!elem)
		return -ENOENT;
	return do_op_timed(bpf_get_current_task_btf(), elem);
}

static __always_inline void count_error(int err)
{
	if (err)
		__sync_fetch_and_add(&errors, 1);
}

SEC("syscall")
int in_task(void *ctx)
{
	return on_current(0);
}

struct slot_arg {
	__u32 slot;
};

/* one of many producers */
SEC("syscall")
int in_slot(struct slot_arg *arg)
{
	return on_current(arg->slot);
}

/* Timers are started under a lock with interrupts off. */
SEC("tp_btf/hrtimer_start")
int BPF_PROG(in_irqs_off)
{
	/* The kernel has timers of its own, which go off in this task as well. */
	if ((__u32)bpf_get_current_pid_tgid() == target_tid && armed) {
		armed = 0;
		count_error(on_current(0));
	}
	return 0;
}

SEC("syscall")
int find_touched(void *ctx)
{
	touched_addr = &touched;
	return 0;
}

SEC("syscall")
int touch(void *ctx)
{
	__sync_fetch_and_add(&touched, 1);
	return 0;
}

/* a breakpoint on what is touched: on x86 that is an NMI */
SEC("perf_event")
int in_nmi(void *ctx)
{
	count_error(on_current(0));
	return 0;
}

/* An interrupt of a clock: it is late if interrupts were disabled when it was due. */
SEC("perf_event")
int on_tick(void *ctx)
{
	__u64 *last = &last_tick[bpf_get_smp_processor_id() & (MAX_CLOCKS - 1)];
	__u64 now = bpf_ktime_get_ns();

	if (*last && now - *last > longest_ns)
		longest_ns = now - *last;
	*last = now;
	return 0;
}

SEC("syscall")
int while_busy(void *ctx)
{
	__u64 begin, between;
	__u32 slot = 0;
	struct elem *elem = bpf_map_lookup_elem(&slots, &slot);
	int i;

	if (!elem)
		return -ENOENT;
	do_op(bpf_get_current_task_btf(), elem);
	begin = bpf_ktime_get_ns();
	bpf_for(i, 0, NR_BUSY)
		count_error(do_op(bpf_get_current_task_btf(), elem) != -EBUSY);
	between = bpf_ktime_get_ns();
	bpf_for(i, 0, NR_BUSY)
		count_error(!bpf_get_current_task_btf());
	busy_ns += between - begin - (bpf_ktime_get_ns() - between);
	return 0;
}

SEC("syscall")
int on_other(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	__u32 slot = 0;
	struct elem *elem;
	int err = -ENOENT;

	if (!task)
		return -ESRCH;
	elem = bpf_map_lookup_elem(&slots, &slot);
	if (elem)
		err = do_op_timed(task, elem);
	bpf_task_release(task);
	return err;
}

/* All on one task. */
SEC("syscall")
int schedule_all(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int i;

	if (!task)
		return -ESRCH;
	bpf_for(i, 0, nr_elems) {
		__u32 key = i;
		struct elem *elem = bpf_map_lookup_elem(&elems, &key);

		if (elem)
			count_error(resume_for(task, elem, &elems));
	}
	bpf_task_release(task);
	return 0;
}

/* Whoever has to go on with what is left for later does not get this CPU meanwhile. */
SEC("syscall")
int delete_all(void *ctx)
{
	__u64 begin;
	int i;

	bpf_preempt_disable();
	begin = bpf_ktime_get_ns();
	bpf_for(i, 0, nr_elems) {
		__u32 key = i;

		count_error(bpf_map_delete_elem(&elems, &key));
	}
	caller_ns = bpf_ktime_get_ns() - begin;
	bpf_preempt_enable();
	return 0;
}
