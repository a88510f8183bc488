/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TASK_WORK_COMMON_H
#define _TASK_WORK_COMMON_H

#include "async_common.h"
#include "async_preempt.h"
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
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;

static inline struct bpf_task_work_ctx *owner_of(struct callback_head *work)
{
	return (void *)work - bpf_core_field_offset(struct bpf_task_work_ctx, work);
}

/* Has the work been cancelled? */
static inline bool is_freed(struct callback_head *work)
{
	return BPF_CORE_READ(owner_of(work), state.counter) & BPF_TW_FREED;
}

#endif
