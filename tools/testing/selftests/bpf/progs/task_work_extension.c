// SPDX-License-Identifier: GPL-2.0
/* In place of functions of task_work_context.c and task_work_limits.c. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("?freplace/add_one")
int add_two(int number)
{
	return number + 2;
}

struct pair_of_u64 {
	__u64 first, second;
};

SEC("?freplace")
int read_first(const struct pair_of_u64 *p)
{
	return p && p->first;
}
