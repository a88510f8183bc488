// SPDX-License-Identifier: GPL-2.0
/* Behind a vmlinux.h that has the type, and perhaps the functions. */
#include <vmlinux.h>
#include <bpf_task_work.h>
#include "task_work_header.h"
