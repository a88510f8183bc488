/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of prog_tests/htab_nmi.c and the test both know. */
#ifndef _HTAB_NMI_H
#define _HTAB_NMI_H

/* Elements that an NMI tries to replace: some are in other buckets than the first. */
#define NR_OTHERS	32

/* A hash without pre-allocation counts per CPU if it may hold more than 64 for each. */
#define COUNTED_PER_CPU	128
/* More than the kernel counts on one CPU before it adds that to the total. */
#define MORE_THAN_BATCH	40

#endif
