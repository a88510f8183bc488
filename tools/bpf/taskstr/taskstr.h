/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __TASKSTR_H
#define __TASKSTR_H

#define STRING_LEN	64	/* longest string, with its NUL */
#define NR_CAUSES	134	/* error numbers that a sample can be dropped for */

/* What a callback sends to user space, once for each sample it has served. */
struct report {
	__u32 nr;		/* of the sample, and so of the string */
	__s32 in_nmi;		/* length read in the NMI, or a negative error */
	__s32 in_callback;	/* the same for the callback */
	char string[STRING_LEN];
};

#endif /* __TASKSTR_H */
