/* SPDX-License-Identifier: GPL-2.0 */
/* In which context a program runs: the bits are in async_shared.h. */
#ifndef _ASYNC_PREEMPT_H
#define _ASYNC_PREEMPT_H

#include "async_shared.h"

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

#endif
