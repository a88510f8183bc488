// SPDX-License-Identifier: GPL-2.0
/* As the header wants it: before vmlinux.h, whatever that declares. */
#include <bpf_task_work.h>
#include <vmlinux.h>
#include "task_work_header.h"
