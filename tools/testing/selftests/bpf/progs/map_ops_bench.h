/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of the bench of map operations and their user side both know. */
#ifndef _MAP_OPS_BENCH_H
#define _MAP_OPS_BENCH_H

enum map_op {
	MAP_OP_NOTHING,		/* to be subtracted */
	MAP_OP_LOOKUP,
	MAP_OP_UPDATE,		/* of an element that is there */
	MAP_OP_INSERT_DELETE,
	MAP_OP_EVICT,		/* an insert that takes the memory of the oldest element */
	MAP_OP_LIFE,		/* of a field, from its element's insert to the delete */
};

/* what the values have besides data */
enum map_field {
	MAP_FIELD_NONE,
	MAP_FIELD_TIMER,
	MAP_FIELD_WQ,
};

/* operations in one run of the program */
#define NR_MAP_OPS 100

#endif
