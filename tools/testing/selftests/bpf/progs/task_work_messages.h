/* SPDX-License-Identifier: GPL-2.0 */
/* What the verifier says is right, behind the line that says what is wrong. */
#ifndef _TASK_WORK_MESSAGES_H
#define _TASK_WORK_MESSAGES_H

#define TAKES(arg, what) \
	__msg("arg#" #arg " of bpf_task_work_schedule_{{[a-z]+}} has to be " what)

#define TAKES_TASK \
	TAKES(0, "a task, trusted or referenced, and checked not to be NULL, " \
	      "as from bpf_get_current_task_btf() or bpf_task_from_pid()")
#define TAKES_FIELD \
	TAKES(1, "the one member of type struct bpf_task_work, not in an array, of a value " \
	      "that was looked up in a hash, LRU hash or array map and checked not to be NULL")
#define TAKES_MAP(name) TAKES(2, "the map in which arg#1 was looked up: " name)
#define TAKES_CALLBACK \
	TAKES(3, "a static function: int callback(struct bpf_map *map, void *key, void *value)")

/* The same of a callback in which something is wrong. */
#define CALLED_BACK(name) \
	__msg(name " is called back as: int (struct bpf_map *map, void *key, void *value)")

#endif
