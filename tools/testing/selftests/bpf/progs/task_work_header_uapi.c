// SPDX-License-Identifier: GPL-2.0
/* Without any vmlinux.h: struct task_struct and struct bpf_map have no body. */
#include <linux/bpf.h>
#include <bpf_task_work.h>
#include "task_work_header.h"
