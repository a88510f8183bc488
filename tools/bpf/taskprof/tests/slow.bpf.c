// SPDX-License-Identifier: GPL-2.0
/*
 * Holds the profiler's program up between its two looks at a file, until another thread has
 * changed the memory map. Only where it has asked for a build ID, for a program like execs.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "../map_seq.bpf.h"

#define MAX_LOOKS	8000000

__u64 nr_changed;	/* times that it was changed meanwhile */

static bool is_execs(const struct task_struct *task)
{
	return !bpf_strncmp(task->comm, 5, "execs");
}

SEC("fexit/bpf_get_task_stack")
int BPF_PROG(after_stack, __u64 address, __u64 buf, __u64 size, __u64 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 seq;
	int i;

	if (!(flags & BPF_F_USER_BUILD_ID) || !is_execs(task) || !task->mm)
		return 0;
	seq = map_seq(task->mm);
	bpf_for(i, 0, MAX_LOOKS) {
		if (map_seq(task->mm) != seq) {
			__sync_fetch_and_add(&nr_changed, 1);
			break;
		}
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
