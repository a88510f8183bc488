// SPDX-License-Identifier: GPL-2.0
/* With names that are plain, or an error; and one name a program, as some loaders want. */
#define BPF_TASK_WORK_NO_FLAVOURS
#include <bpf_task_work.h>
#include "task_work_header.h"

static __always_inline int schedule_as(int impl)
{
	struct header_elem *elem = armed_elem();
	struct task_struct *task = bpf_get_current_task_btf();

	if (elem)
		elem->ret = bpf_task_work_schedule_signal_as(impl, task, &elem->tw, &elems,
							     callback);
	return 0;
}

SEC("syscall")
int by_args4(void *ctx)
{
	return schedule_as(0);
}

SEC("syscall")
int by_args5(void *ctx)
{
	return schedule_as(1);
}
