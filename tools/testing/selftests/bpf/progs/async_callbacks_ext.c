// SPDX-License-Identifier: GPL-2.0
/* In place of a function of progs/async_callees.c. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("?freplace/add_one")
int add_two(int number)
{
	return number + 2;
}
