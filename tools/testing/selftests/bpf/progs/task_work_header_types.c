// SPDX-License-Identifier: GPL-2.0
/* Behind the vmlinux.h of a kernel without task work: as much of one as is needed here. */
#define __VMLINUX_H__
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum bpf_map_type {
	BPF_MAP_TYPE_ARRAY = 2,
};

struct task_struct {
	int pid;
};

#define BPF_TASK_WORK_TYPES
#include <bpf_task_work.h>
#include "task_work_header.h"
