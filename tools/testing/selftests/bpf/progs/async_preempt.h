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
#elif defined(__TARGET_ARCH_s390)
/* Each CPU finds its own at address 0. */
static inline int preempt_count(void)
{
	struct lowcore *lowcore = NULL;

	return BPF_CORE_READ(lowcore, preempt_count);
}
#else
/* Not known here: have_preempt_count() skips the tests that ask for a context. */
static inline int preempt_count(void)
{
	return 0;
}
#endif

/* What an NMI of sysrq-l passes. On arm64 other interrupts do, too. */
#if defined(__TARGET_ARCH_arm64)
#define NMI_TRACEPOINT	"irq_handler_entry"
#else
#define NMI_TRACEPOINT	"nmi_handler"
#endif

static inline bool is_in_nmi(void)
{
	return preempt_count() & NMI_MASK;
}

#endif
