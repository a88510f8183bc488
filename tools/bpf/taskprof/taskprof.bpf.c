// SPDX-License-Identifier: GPL-2.0
/*
 * A sample is begun where it strikes, in an NMI or a hard interrupt, and
 * completed by a callback when its task is about to return to user mode. There
 * the user stack and the build IDs can be read with page faults.
 */
#define BPF_NO_KFUNC_PROTOTYPES	/* vmlinux.h has them only with a recent pahole */
#include "vmlinux.h"
#include <bpf_task_work.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "taskprof.h"

#define ENOENT		2
#define ESRCH		3
#define EBUSY		16
#define EEXIST		17
#define ENOSPC		28
#define EOPNOTSUPP	95
#define SHORT_STACK	48	/* frames of the kernel; deeper stacks are taken twice */
#define SLOT_TRIES	32
#define SLOT_STRIDE	61	/* odd: those in use for long lie side by side */
/* Bits 20 to 23, or in 7.x 28 to 30: there, the others count what is never nested so deep. */
#define NMI_MASK	0x70f00000
#define PF_EXITING	0x00000004
#define PF_KTHREAD	0x00200000
#define PF_USER_WORKER	0x00004000	/* of vhost, or io_uring: never goes to user mode */
#define TS_COMPAT	2		/* a system call of a 32-bit program */
#define X32_BIT		0x40000000

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);	/* taskprof sets it */
} ring SEC(".maps");

static __u64 wakeup_flags(void);

#include "files.bpf.h"
#include "recent.bpf.h"
#include "stack.bpf.h"
#include "copy.bpf.h"

struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *task) __ksym;

/* Where the sample of a slot is. In execve() another one does what the callback does. */
enum slot_state {
	EMPTY,		/* or being filled by the one who scheduled */
	WAITING,	/* for the callback */
	COMPLETING,	/* by the callback, which may sleep */
	SENDING,	/* by the callback, which does not sleep any more */
	COLLECTED,	/* at the end, whatever the callback does */
};

/*
 * No bookkeeping of free slots: one that can be scheduled is free, since the
 * kernel answers -EBUSY as long as its work has not run. A task that has gone
 * frees its slots by that.
 */
struct sample_slot {
	struct bpf_task_work tw;
	__u32 state;
	__u32 exec_id;
	__u32 in_exec;		/* sampled in execve() */
	__u32 half_built;	/* ... when the old program was gone, and the new one not there */
	__u32 key;		/* its own */
	__s32 tid;		/* in the first namespace; 0 if the slot is empty */
	__u64 start_time;
	struct user_regs regs;
	struct walk walk;
	struct sample_record sample;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__type(value, struct sample_slot);
} slots SEC(".maps");

const volatile bool compare;
const volatile bool sees_exec;		/* on_exec() is there */
const volatile bool all_tasks;		/* are sampled */
const volatile __u64 wakeup_size;	/* bytes in the ring buffer that are worth a wake-up */

/* sampled = the sum of outcomes; taskprof checks that. */
__u64 sampled;
__u64 sampled_in_nmi;
__u64 outcomes[NR_OUTCOMES];
__u64 refused[NR_ERRORS];	/* DROP_REFUSED by error number */

__u32 last_free, next_slot;

/* For the collector: do not wait for callbacks that sleep any longer. */
bool give_up;
__u32 in_callback;

/* Where the count is. The types of kernels from 6.15 on have the first no more. */
struct pcpu_hot___6_14 {
	int preempt_count;
} __attribute__((preserve_access_index));

extern const struct pcpu_hot___6_14 pcpu_hot __ksym __weak;	/* x86, to 6.14 */
extern const unsigned long __preempt_count __ksym __weak;	/* x86, later; an int at first */

static __u32 preempt_count(void)
{
#if defined(__TARGET_ARCH_arm64)
	return bpf_get_current_task_btf()->thread_info.preempt.count;
#else
	if (bpf_ksym_exists(&pcpu_hot)) {
		const struct pcpu_hot___6_14 *hot = bpf_this_cpu_ptr(&pcpu_hot);

		return hot->preempt_count;
	}
	if (bpf_ksym_exists(&__preempt_count))
		return *(const __u32 *)bpf_this_cpu_ptr(&__preempt_count);
	return 0;
#endif
}

static bool in_nmi(void)
{
	return preempt_count() & NMI_MASK;
}

static void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static void settle(__u32 outcome)
{
	if (outcome < NR_OUTCOMES)
		count(&outcomes[outcome]);
}

/* Few wake-ups: taskprof looks into the ring buffer every now and then anyway. */
static __u64 wakeup_flags(void)
{
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= wakeup_size ?
	       BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* In an NMI, the kernel does not wait for the lock of the ring buffer. */
static __u32 ring_failure(__u64 size)
{
	__u64 used = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);

	size = (BPF_RINGBUF_HDR_SZ + size + 7) & ~7ULL;
	return used + size < bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) ?
	       DROP_RING_BUSY : DROP_RING_FULL;
}

/* Send a sample, and so settle what became of it. */
static void send(struct sample_record *sample, __u32 outcome, __u32 nr_user)
{
	__u64 size = offsetof(struct sample_record, frames);
	__u32 nr_kernel = sample->nr_kernel;

	sample->outcome = outcome;
	sample->nr_user = nr_user;
	size += ((nr_kernel & MAX_FRAMES) + (nr_user & MAX_FRAMES)) * sizeof(__u64);
	if (bpf_ringbuf_output(&ring, sample, size, wakeup_flags()))
		outcome = ring_failure(size);
	settle(outcome);
}

/* In two words: the helper takes several times as long. */
static void name(struct sample_record *sample)
{
	const volatile __u64 *from = (void *)bpf_get_current_task_btf()->comm;
	__u64 *to = (void *)sample->comm;

	_Static_assert(offsetof(struct sample_record, comm) % sizeof(*to) == 0, "in whole words");
	to[0] = from[0];
	to[1] = from[1];
	sample->cgroup = bpf_get_current_cgroup_id();
}

/*
 * The number of execve() and execveat(). At the end of the system call, user registers are
 * those of the new program already, and in_execve is 0 again: only the number tells.
 */
static bool is_execve(struct task_struct *task, struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	__u64 nr = regs->orig_ax;

	if (task->thread_info.status & TS_COMPAT)
		return nr == 11 || nr == 358;
	return nr == 59 || nr == 322 || nr == (X32_BIT | 520) || nr == (X32_BIT | 545);
#elif defined(__TARGET_ARCH_arm64)
	int nr = regs->syscallno;

	return nr == 221 || nr == 281;
#else
	return false;
#endif
}

/* Not all kernels have it, and so not every vmlinux.h. */
struct task_struct___in_execve {
	unsigned int in_execve:1;
} __attribute__((preserve_access_index));

static bool in_execve(struct task_struct *task)
{
	struct task_struct___in_execve *first = (void *)task;

	if (bpf_core_field_exists(first->in_execve) && BPF_CORE_READ_BITFIELD(first, in_execve))
		return true;
	return is_execve(task, (void *)bpf_task_pt_regs(task));
}

/*
 * Whether execve() has replaced the memory map, but not the program. It may fail there, with
 * an error that nobody gets.
 */
static bool is_half_built(const struct task_struct *task)
{
	return task->mm && !task->mm->end_code;
}

/* If execve() fails, its caller gets an error, and has its stack. */
static bool returns_error(struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	return (__u64)PT_REGS_RC(regs) >= -4095ULL;
}

/*
 * After an NMI that struck user code, the task goes on for a few instructions. Its stack is
 * that of now, so the registers have to be, too.
 */
static void renew_regs(struct sample_slot *slot)
{
	struct user_regs sampled = slot->regs;

	get_user_regs(&slot->regs);
	slot->sample.moved = slot->regs.ip != sampled.ip || slot->regs.sp != sampled.sp;
}

/*
 * Whether the user stack of the sample is there still. execve() gives the task a new
 * memory map and another self_exec_id first, and new registers at its end. Linux 6.18
 * and later call back also while the task exits, when its memory is gone.
 */
static __u32 look_again(struct sample_slot *slot)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!task->mm)
		return DROP_GONE;
	renew_regs(slot);
	if (task->self_exec_id != slot->exec_id || slot->half_built ||
	    (slot->in_exec && !returns_error(task)))
		return DROP_EXEC;
	return DONE_BY_CALLBACK;
}

/* Without frame pointers it is the first frame, and what the others can be made of. */
static __always_inline __u32 read_user_stack(struct sample_slot *slot, const bool may_sleep)
{
	struct sample_record *sample = &slot->sample;
	struct walk *walk = &slot->walk;
	struct recent *recent;

	if (!stack_size)
		return walk_user_stack(walk, sample, &sample->end, &slot->regs, may_sleep);
	begin_walk(walk, &slot->regs);
	recent = get_recent();
	place_frame(walk, recent, sample, 0, may_sleep);
	put_recent(recent);
	if (slot->regs.is_64bit)
		sample->lost_copy = copy_stack(sample, walk, slot->regs.sp, may_sleep);
	return 1;
}

#include "kept.bpf.h"

/*
 * What the callback has of the user stack. One whose task is another program now may have a
 * name that is not the one at the sample.
 */
static __always_inline __u32 get_user_stack(struct sample_slot *slot, __u32 *outcome)
{
	__u32 nr = 0;

	*outcome = look_again(slot);
	if (*outcome == DONE_BY_CALLBACK)
		return read_user_stack(slot, true);
	if (*outcome == DROP_EXEC && slot->in_exec && !stack_size)
		nr = recall_stack(slot);
	else if (*outcome == DROP_GONE && !stack_size)
		nr = recall_at_exit(&slot->sample);
	if (nr)
		*outcome = *outcome == DROP_EXEC ? DONE_IN_EXEC : DONE_IN_EXIT;
	else
		name(&slot->sample);
	return nr;
}

/* From here on it is not the current thread's: see is_of_this_exec(). */
static void empty(struct sample_slot *slot)
{
	slot->tid = 0;
	slot->state = EMPTY;
}

/*
 * The stack is no part of the sample until it is sent: if nobody waits for it any more, the
 * sample is sent without.
 */
static void complete_slot(struct sample_slot *slot)
{
	struct sample_record *sample = &slot->sample;
	__u32 outcome, nr_user;

	if (__sync_val_compare_and_swap(&slot->state, WAITING, COMPLETING) != WAITING)
		return;
	nr_user = get_user_stack(slot, &outcome);
	if (__sync_val_compare_and_swap(&slot->state, COMPLETING, SENDING) != COMPLETING)
		return;
	send(sample, outcome, nr_user);
	empty(slot);
}

static int complete(struct bpf_map *map, void *key, void *value)
{
	complete_slot(value);
	last_free = *(__u32 *)key;
	return 0;
}

#include "exec.bpf.h"

/*
 * Whether the event struck user code: then there is no kernel stack to ask for. The context
 * begins with the registers, as user space knows them, and is read in whole words only.
 */
static bool is_user_mode(const volatile __u64 *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return ctx[17] & 3;		/* cs */
#elif defined(__TARGET_ARCH_arm64)
	return !(ctx[33] & 0xf);	/* pstate */
#else
	return false;
#endif
}

/* The kernel fills with zeroes what it does not need of a buffer: so first it gets a small one. */
static __always_inline __u32 get_kernel_stack(void *ctx, __u64 *frames)
{
	long size = SHORT_STACK * sizeof(__u64), len = bpf_get_stack(ctx, frames, size, 0);

	if (len == size)
		len = bpf_get_stack(ctx, frames, MAX_FRAMES * sizeof(__u64), 0);
	return len > 0 ? len / sizeof(__u64) : 0;
}

/* What is at hand. For a task_work on current the callback comes after this anyway. */
static __always_inline void begin(void *ctx, struct sample_record *sample, bool in_user)
{
	sample->type = RECORD_SAMPLE;
	sample->pid = proc_pid();
	sample->in_nmi = in_nmi();
	sample->moved = 0;
	sample->end = END_OF_CHAIN;
	sample->nr_user = 0;
	sample->areas_locked = 0;
	sample->copy = 0;
	sample->lost_copy = NOT_LOST;
	sample->attempt.nr_frames = 0;
	sample->attempt.nr_build_ids = 0;
	name(sample);
	sample->nr_kernel = in_user ? 0 : get_kernel_stack(ctx, sample->frames);
}

static __always_inline void try_all(void *ctx, struct sample_slot *slot)
{
	struct attempt *attempt = &slot->sample.attempt;

	attempt->nr_frames = walk_user_stack(&slot->walk, NULL, &attempt->end, &slot->regs, false);
	attempt->fp = slot->walk.at.fp;
	try_build_ids(attempt, ctx);
}

/* Scheduled before it is filled: until this interrupt ends, its task can't run the callback. */
static __always_inline void fill(void *ctx, struct sample_slot *slot, struct task_struct *task,
				 bool in_user)
{
	if (slot->state == WAITING)
		send(&slot->sample, DROP_GONE, 0);
	get_user_regs(&slot->regs);
	slot->exec_id = task->self_exec_id;
	slot->in_exec = !in_user && in_execve(task);
	slot->half_built = slot->in_exec && is_half_built(task);
	slot->start_time = task->start_time;
	slot->tid = task->pid;
	begin(ctx, &slot->sample, in_user);
	if (compare)
		try_all(ctx, slot);
	if (sees_exec && slot->in_exec)
		note_exec(slot);
	slot->state = WAITING;
}

static __u32 outcome_of(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return DONE_KERNEL_THREAD;
	case -EBUSY:
		return DROP_NO_SLOT;
	default:
		return DROP_REFUSED;
	}
}

/* No callback will come: send what there is. */
static __always_inline void send_without(void *ctx, int err)
{
	__u32 outcome = outcome_of(err);
	__u64 size = offsetof(struct sample_record, frames[MAX_FRAMES]);
	struct sample_record *sample;

	sample = bpf_ringbuf_reserve(&ring, size, 0);
	if (!sample) {
		settle(ring_failure(size));
		return;
	}
	begin(ctx, sample, false);
	sample->outcome = outcome;
	bpf_ringbuf_submit(sample, wakeup_flags());
	settle(outcome);
	if (outcome == DROP_REFUSED)
		count(&refused[-err & (NR_ERRORS - 1)]);
}

/* The same with room for the user's frames. */
static __always_inline void send_exiting(void *ctx)
{
	struct sample_record *sample = bpf_ringbuf_reserve(&ring, sizeof(*sample), 0);

	if (!sample) {
		settle(ring_failure(sizeof(*sample)));
		return;
	}
	begin(ctx, sample, false);
	if (!stack_size)
		sample->nr_user = recall_at_exit(sample);
	sample->outcome = sample->nr_user ? DONE_IN_EXIT : DROP_EXITING;
	settle(sample->outcome);
	bpf_ringbuf_submit(sample, wakeup_flags());
}

static __always_inline struct sample_slot *try_slot(struct task_struct *task, __u32 key, int *err)
{
	struct sample_slot *slot = bpf_map_lookup_elem(&slots, &key);

	*err = -EBUSY;
	if (!slot)
		return NULL;
	*err = bpf_task_work_schedule_resume(task, &slot->tw, &slots, complete);
	if (*err)
		return NULL;
	slot->key = key;
	return slot;
}

/*
 * First the one that a callback has left last: the kernel keeps memory for each that was in
 * use. Then those behind the last one that somebody found that way, which are free unless
 * their tasks sleep.
 */
static struct sample_slot *find_slot(struct task_struct *task, int *err)
{
	struct sample_slot *slot = try_slot(task, last_free % NR_SLOTS, err);
	__u32 first;
	int i;

	if (slot || *err != -EBUSY)
		return slot;
	first = __sync_fetch_and_add(&next_slot, 1);
	for (i = 0; i < SLOT_TRIES && !slot && *err == -EBUSY; i++)
		slot = try_slot(task, (first + i * SLOT_STRIDE) % NR_SLOTS, err);
	return slot;
}

/* Some kernels take work for a task that has given up its memory, and never run it. */
static struct sample_slot *find_slot_unless_gone(struct task_struct *task, int *err)
{
	*err = -ESRCH;
	return task->flags & PF_EXITING && !task->mm ? NULL : find_slot(task, err);
}

/*
 * Idle CPUs are not sampled. Some kernels find out late that a kernel thread never
 * returns to user mode.
 */
static __always_inline int take_sample(void *ctx, bool in_user)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sample_slot *slot = NULL;
	int err = -EOPNOTSUPP;

	if (!task->pid)
		return 0;
	count(&sampled);
	if (in_nmi())
		count(&sampled_in_nmi);
	if (!(task->flags & (PF_KTHREAD | PF_USER_WORKER)))
		slot = find_slot_unless_gone(task, &err);
	if (slot)
		fill(ctx, slot, task, in_user);
	else if (err == -ESRCH)
		send_exiting(ctx);
	else
		send_without(ctx, err);
	return 0;
}

SEC("perf_event")
int on_event(void *ctx)
{
	return take_sample(ctx, is_user_mode(ctx));
}

#if defined(__TARGET_ARCH_arm64)
/* All interrupts pass it that have a handler of their own. */
SEC("tp_btf/irq_handler_entry")
int on_nmi(void *ctx)
{
	return in_nmi() ? take_sample(ctx, false) : 0;
}
#else
/* An NMI has several handlers. */
SEC("tp_btf/nmi_handler")
int BPF_PROG(on_nmi, void *handler, s64 delta_ns, int handled)
{
	return handled ? take_sample(ctx, false) : 0;
}
#endif

/*
 * Run by taskprof itself, which has put in how many namespaces further out /proc is
 * mounted: that is the one in which processes have the numbers that it can use.
 */
__u32 proc_distance;

SEC("syscall")
int find_proc(void *ctx)
{
	struct pid *pid = bpf_get_current_task_btf()->thread_pid;
	struct upid upid;

	proc_level = pid->level - proc_distance;
	get_upid(pid, proc_level, &upid);
	proc_ns = (__u64)upid.ns;
	return 0;
}

static bool is_alive(const struct sample_slot *slot)
{
	struct task_struct *task = bpf_task_from_pid(slot->tid);
	bool alive;

	if (!task)
		return false;
	alive = task->start_time == slot->start_time;
	bpf_task_release(task);
	return alive;
}

static void collect_slot(struct sample_slot *slot)
{
	__u32 state = slot->state;

	if (state != WAITING && state != COMPLETING && state != SENDING)
		return;
	if (state == SENDING || (state == COMPLETING && !give_up) ||
	    __sync_val_compare_and_swap(&slot->state, state, COLLECTED) != state)
		in_callback++;
	else if (state == COMPLETING)
		send(&slot->sample, DROP_UNFINISHED, 0);
	else
		send(&slot->sample, is_alive(slot) ? DROP_IN_KERNEL : DROP_GONE, 0);
}

/* At the end: samples whose callback has not run. taskprof repeats it while callbacks run. */
SEC("syscall")
int collect(void *ctx)
{
	struct sample_slot *slot;
	__u32 key;
	int i;

	in_callback = 0;
	bpf_for(i, 0, NR_SLOTS) {
		key = i;
		slot = bpf_map_lookup_elem(&slots, &key);
		if (slot)
			collect_slot(slot);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
