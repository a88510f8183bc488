// SPDX-License-Identifier: GPL-2.0
/* The programs of task_work_header in C++. */
#include <bpf_task_work.h>

extern "C" {
#include "task_work_header.h"
}
