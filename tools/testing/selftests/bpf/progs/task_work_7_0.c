// SPDX-License-Identifier: GPL-2.0
/* A program as it is written for 7.0 and later, without our header. */
#define BPF_NO_KFUNC_PROTOTYPES	/* vmlinux.h has them only with a recent pahole, and weak */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw,
					 void *map__map, bpf_task_work_callback_t callback) __ksym;
extern int bpf_task_work_schedule_resume(struct task_struct *task, struct bpf_task_work *tw,
					 void *map__map, bpf_task_work_callback_t callback) __ksym;

#include "task_work_header.h"
