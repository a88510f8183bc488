/* SPDX-License-Identifier: GPL-2.0 */
/* What programs with callbacks need, and those that look at what the kernel does with them. */
#ifndef _ASYNC_COMMON_H
#define _ASYNC_COMMON_H

#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"

/*
 * vmlinux.h brings these only where pahole marked the kfuncs (1.26 and later).
 * There they are the same declarations once more.
 */
struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign,
			   u64 flags) __ksym;
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

static inline __u32 current_tid(void)
{
	return bpf_get_current_pid_tgid();
}

#endif
