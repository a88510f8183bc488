// SPDX-License-Identifier: GPL-2.0
/* A program as it was written for 6.18, without our header. */
#define BPF_NO_KFUNC_PROTOTYPES	/* vmlinux.h has them only with a recent pahole, and weak */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw,
					      void *map__map, bpf_task_work_callback_t callback,
					      void *aux__prog) __ksym;
extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw,
					      void *map__map, bpf_task_work_callback_t callback,
					      void *aux__prog) __ksym;

#define SCHEDULE_SIGNAL(...) bpf_task_work_schedule_signal_impl(__VA_ARGS__, (void *)0)
#define SCHEDULE_RESUME(...) bpf_task_work_schedule_resume_impl(__VA_ARGS__, (void *)0)
#include "task_work_header.h"
