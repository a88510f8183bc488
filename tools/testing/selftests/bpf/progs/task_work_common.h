/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TASK_WORK_COMMON_H
#define _TASK_WORK_COMMON_H

#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "task_work_elem.h"

/*
 * vmlinux.h brings these only where pahole marked the kfuncs (1.26 and later).
 * There they are the same declarations once more.
 */
int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw,
				  void *map__map, bpf_task_work_callback_t callback) __ksym;
int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw,
				  void *map__map, bpf_task_work_callback_t callback) __ksym;
int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw,
				       void *map__map, bpf_task_work_callback_t callback,
				       void *aux__prog) __ksym;
int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw,
				       void *map__map, bpf_task_work_callback_t callback,
				       void *aux__prog) __ksym;
struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign,
			   u64 flags) __ksym;

#if defined(__TARGET_ARCH_x86)
extern const struct pcpu_hot pcpu_hot __ksym;

static inline int preempt_count(void)
{
	const struct pcpu_hot *hot = bpf_this_cpu_ptr(&pcpu_hot);

	return hot->preempt_count;
}
#elif defined(__TARGET_ARCH_arm64)
static inline int preempt_count(void)
{
	return bpf_get_current_task_btf()->thread_info.preempt.count;
}
#else
/* Not known here: have_preempt_count() skips the tests that ask for a context. */
static inline int preempt_count(void)
{
	return 0;
}
#endif

static inline struct bpf_task_work_ctx *owner_of(struct callback_head *work)
{
	return (void *)work - bpf_core_field_offset(struct bpf_task_work_ctx, work);
}

static inline __u32 current_tid(void)
{
	return bpf_get_current_pid_tgid();
}

#endif
