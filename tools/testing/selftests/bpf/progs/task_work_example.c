// SPDX-License-Identifier: GPL-2.0
/* The program of Documentation/bpf/task_work.rst: samples of the user stacks of threads. */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "task_work_example.h"

/* A vmlinux.h that was made with pahole 1.26 or later has it, too. */
int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw,
				  void *map, bpf_task_work_callback_t cb) __ksym;

char _license[] SEC("license") = "GPL";

/* One for each thread: a thread that sleeps for long keeps only its own. */
struct thread {
	struct bpf_task_work tw;
	struct stack_copy stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} stacks SEC(".maps");

static const struct thread new_thread;

__u64 sampled, waiting, lost;

/* In the thread, on its way to user mode. Its stack may have to be read in. */
static int copy_stack(struct bpf_map *map, void *key, void *value)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct thread *thread = value;

	thread->stack.tid = task->pid;
	thread->stack.sp = PT_REGS_SP(regs);
	if (bpf_copy_from_user(thread->stack.bytes, sizeof(thread->stack.bytes),
			       (void *)thread->stack.sp) ||
	    bpf_ringbuf_output(&stacks, &thread->stack, sizeof(thread->stack), 0))
		__sync_fetch_and_add(&lost, 1);
	return 0;	/* nobody reads it */
}

static struct thread *find_thread(__u32 tid)
{
	struct thread *thread = bpf_map_lookup_elem(&threads, &tid);

	if (thread)
		return thread;
	bpf_map_update_elem(&threads, &tid, &new_thread, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads, &tid);
}

/* In an NMI, where the machine has such events. Nothing may sleep here. */
SEC("perf_event")
int sample(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread;
	int err = -ENOENT;

	if (!task->mm)
		return 0;
	__sync_fetch_and_add(&sampled, 1);
	thread = find_thread(task->pid);
	if (thread)
		err = bpf_task_work_schedule_resume(task, &thread->tw, &threads,
						    copy_stack);
	if (err == -EBUSY)	/* the callback of an earlier sample is still to run */
		__sync_fetch_and_add(&waiting, 1);
	else if (err)
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

/* With the element goes what is still scheduled from it. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(forget, struct task_struct *task)
{
	__u32 tid = task->pid;

	bpf_map_delete_elem(&threads, &tid);
	return 0;
}

/* execve() gives any thread of a process the ID of the first. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(forget_id, struct task_struct *task, pid_t old_tid)
{
	__u32 tid = old_tid;

	if (old_tid != task->pid)
		bpf_map_delete_elem(&threads, &tid);
	return 0;
}
