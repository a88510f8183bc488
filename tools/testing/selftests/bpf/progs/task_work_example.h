/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TASK_WORK_EXAMPLE_H
#define _TASK_WORK_EXAMPLE_H

/* What user space gets from the ring buffer. */
struct stack_copy {
	__u64 sp;
	__u32 tid;
	char bytes[256];	/* from sp on */
};

#endif
