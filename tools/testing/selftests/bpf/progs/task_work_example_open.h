/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TASK_WORK_EXAMPLE_OPEN_H
#define _TASK_WORK_EXAMPLE_OPEN_H

/* What user space gets from the ring buffer: the name of a file that a thread opens. */
struct opened {
	__u32 tid;
	__u32 late;	/* read by the callback */
	__s32 len;	/* of the name, with its NUL; if negative, there is none */
	char name[256];
};

#endif
