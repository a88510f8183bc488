// SPDX-License-Identifier: GPL-2.0
/* One way to each value that scheduling returns. */
#include "task_work_common.h"
#include "async_hold.h"

char _license[] SEC("license") = "GPL";

#define NR_SLOTS 8
#define NR_MANY 4096

struct errno_slot {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__type(value, struct errno_slot);
} slots SEC(".maps");

/* More of them than the allocator keeps at hand for one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_MANY);
	__type(key, __u32);
	__type(value, struct errno_slot);
} many SEC(".maps");

struct kept_task {
	struct task_struct __kptr * task;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kept_task);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} callees SEC(".maps");

/* set by the test */
__u32 slot_nr;
int mode;
int pid;
int sampled_tid;
__u64 armed; /* 64 bits: a swap of 32 needs alu32 */
const void *user_ptr;
__u32 callee_nr;

/* read by the test */
int ran;
int ret_first;
int ret_in_callback;
int ret_idle;
int idle_met;
int scheduled_many;
int ret_many;
int first_refused;
void *slots_addr;
__u32 usercnt_offset;
int prog_refs;
int in_schedule_tid;
int ret_exiting;
int ret_killed;
int ret_dumping;
int ret_crashing;
int ret_unborn;
int ret_newborn;
__u32 ran_in;

static int count(struct bpf_map *map, void *key, void *value)
{
	ran_in = current_tid();
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static int schedule(struct task_struct *task, struct errno_slot *slot)
{
	if (mode == MODE_SIGNAL)
		return bpf_task_work_schedule_signal(task, &slot->tw, &slots, count);
	return bpf_task_work_schedule_resume(task, &slot->tw, &slots, count);
}

/* 0: on the thread that runs this. -EBUSY: on a slot where work is in flight. */
SEC("syscall")
int schedule_current(void *ctx)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	return slot ? schedule(bpf_get_current_task_btf(), slot) : -ENOENT;
}

/* -EBUSY: the same slot twice before the callback could run. */
SEC("syscall")
int schedule_twice(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (!slot)
		return -ENOENT;
	ret_first = schedule(task, slot);
	return schedule(task, slot);
}

/* -ESRCH: a task that fork() is still making, and may yet fail to. */
SEC("?lsm/task_alloc")
int BPF_PROG(schedule_unborn, struct task_struct *task, unsigned long clone_flags)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (slot && current_tid() == sampled_tid)
		ret_unborn = schedule(task, slot);
	return 0;
}

/* 0: a task that it has just made. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(schedule_newborn, struct task_struct *parent, struct task_struct *child)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (slot && parent->pid == sampled_tid)
		ret_newborn = schedule(child, slot);
	return 0;
}

static int reschedule(struct bpf_map *map, void *key, void *value)
{
	struct errno_slot *slot = value;

	ret_in_callback = bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &slot->tw,
							map, count);
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

/* -EBUSY: from the slot's own callback. */
SEC("syscall")
int schedule_in_callback(void *ctx)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (!slot)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &slot->tw, &slots,
					     reschedule);
}

static int read_user(struct bpf_map *map, void *key, void *value)
{
	char text[8];

	bpf_copy_from_user(text, sizeof(text), user_ptr);
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

/* -EBUSY for others: while the callback sleeps. */
SEC("syscall")
int schedule_sleeper(void *ctx)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (!slot)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &slot->tw, &slots,
					     read_user);
}

/* -EOPNOTSUPP: a kernel thread. -ESRCH: a zombie. */
SEC("syscall")
int schedule_pid(void *ctx)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);
	struct task_struct *task;
	int err;

	task = bpf_task_from_pid(pid);
	if (!task)
		return -ENODEV;
	err = slot ? schedule(task, slot) : -ENOENT;
	bpf_task_release(task);
	return err;
}

SEC("syscall")
int keep_pid(void *ctx)
{
	struct task_struct *task, *old;
	struct kept_task *keeper;
	__u32 zero = 0;

	keeper = bpf_map_lookup_elem(&kept, &zero);
	if (!keeper)
		return -ENOENT;
	task = bpf_task_from_pid(pid);
	if (!task)
		return -ENODEV;
	old = bpf_kptr_xchg(&keeper->task, task);
	if (old)
		bpf_task_release(old);
	return 0;
}

/* -ESRCH: a task that is dead, of which there is only the struct. */
SEC("syscall")
int schedule_kept(void *ctx)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);
	struct kept_task *keeper;
	struct task_struct *task;
	__u32 zero = 0;
	int err;

	keeper = bpf_map_lookup_elem(&kept, &zero);
	if (!keeper)
		return -ENOENT;
	task = bpf_kptr_xchg(&keeper->task, NULL);
	if (!task)
		return -ENODEV;
	err = slot ? schedule(task, slot) : -ENOENT;
	bpf_task_release(task);
	return err;
}

/* -EOPNOTSUPP: the idle task. */
SEC("tp_btf/sched_switch")
int BPF_PROG(schedule_idle, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (!slot || next->pid || __sync_val_compare_and_swap(&armed, 1, 0) != 1)
		return 0;
	ret_idle = schedule(next, slot);
	idle_met = 1;
	return 0;
}

/* -ESRCH: a task that exits, but still has a list of works. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(schedule_exiting, struct task_struct *task)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (slot && current_tid() == pid)
		ret_exiting = schedule(bpf_get_current_task_btf(), slot);
	return 0;
}

/* -ESRCH: a task that is killed, but has not noticed yet. */
SEC("tp_btf/signal_generate")
int BPF_PROG(schedule_killed, int sig, struct kernel_siginfo *info, struct task_struct *task)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (slot && task->pid == pid && sig == 9 /* SIGKILL */)
		ret_killed = schedule(task, slot);
	return 0;
}

/* -ESRCH: a task that has taken the signal of which it dies, and is about to dump core. */
SEC("?fentry/do_coredump")
int BPF_PROG(schedule_dumping)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (slot && bpf_get_current_pid_tgid() >> 32 == pid)
		ret_dumping = schedule(bpf_get_current_task_btf(), slot);
	return 0;
}

/* 0: the last moment before. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(schedule_crashing, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	if (slot && current_tid() == pid && sig == 3 /* SIGQUIT */)
		ret_crashing = bpf_task_work_schedule_signal(bpf_get_current_task_btf(),
							     &slot->tw, &slots, count);
	return 0;
}

/* -ENOMEM: interrupts are off all the time, so nobody refills the cache. */
SEC("perf_event")
int schedule_many(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int i, err = 0;

	if (current_tid() != sampled_tid || __sync_val_compare_and_swap(&armed, 1, 2) != 1)
		return 0;
	bpf_for(i, 0, NR_MANY) {
		__u32 nr = i;
		struct errno_slot *slot = bpf_map_lookup_elem(&many, &nr);

		if (!slot)
			break;
		err = bpf_task_work_schedule_resume(task, &slot->tw, &many, count);
		if (err) {
			first_refused = i;
			break;
		}
		scheduled_many++;
	}
	ret_many = err;
	armed = 0;
	return 0;
}

/* The slot for which there was no memory is as good as any other. */
SEC("syscall")
int schedule_refused(void *ctx)
{
	__u32 nr = first_refused;
	struct errno_slot *slot = bpf_map_lookup_elem(&many, &nr);

	if (!slot)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &slot->tw, &many, count);
}

/*
 * -EBADF: while this runs, the test takes away the last reference to it, which
 * is that of the program array it was called through.
 */
SEC("raw_tp")
int callee(void *ctx)
{
	struct errno_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);

	wait_for_test();
	return slot ? schedule(bpf_get_current_task_btf(), slot) : -ENOENT;
}

SEC("raw_tp")
int caller(void *ctx)
{
	/* Not a constant: the call of a constant is patched, which would wait for us. */
	bpf_tail_call(ctx, &callees, callee_nr);
	return -ENODEV;
}

SEC("syscall")
int find_usercnt(void *ctx)
{
	/* The verifier lets no program add the two. */
	slots_addr = &slots;
	usercnt_offset = bpf_core_field_offset(struct bpf_map, usercnt);
	return 0;
}

/*
 * -EPERM, though there was a user reference at first: a breakpoint on the counter of
 * the map stops the schedule behind its first look at it, until that was the last.
 */
SEC("perf_event")
int stop_at_usercnt(void *ctx)
{
	if (__sync_val_compare_and_swap(&armed, 1, 0) == 1)
		wait_for_test();
	return 0;
}

/* How often a reference to a program is asked for by the watched thread. */
SEC("fentry/bpf_prog_inc_not_zero")
int BPF_PROG(count_prog_refs)
{
	if (current_tid() == sampled_tid)
		__sync_fetch_and_add(&prog_refs, 1);
	return 0;
}
