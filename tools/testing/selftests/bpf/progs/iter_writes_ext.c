// SPDX-License-Identifier: GPL-2.0
/* In place of a function of progs/iter_writes.c. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct pair_of_u64 {
	__u64 first, second;
};

SEC("?freplace")
int read_first(const struct pair_of_u64 *p)
{
	return p && p->first;
}
