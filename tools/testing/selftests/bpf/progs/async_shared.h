/* SPDX-License-Identifier: GPL-2.0 */
/* What programs and their tests both know. */
#ifndef _ASYNC_SHARED_H
#define _ASYNC_SHARED_H

/* preempt_count() as include/linux/preempt.h lays it out */
#define HARDIRQ_MASK	0x000f0000
#define NMI_MASK	0x00f00000

/* Maps that a test creates and watches, and those that come and go meanwhile. */
#define WATCHED_NAME	"watched"
#define OTHER_NAME	"not_watched"

/* The map with the deleted element, as the test says. */
enum deleted_kind {
	KIND_HASH,
	KIND_HASH_MALLOC,
	KIND_LRU_HASH,
	NR_KINDS,
};

#endif
