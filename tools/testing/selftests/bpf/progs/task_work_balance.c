// SPDX-License-Identifier: GPL-2.0
/*
 * Many threads schedule work on each other from three contexts, and take away
 * the elements that it hangs on.
 */
#include "task_work_common.h"
#include "task_work_accounting.h"

char _license[] SEC("license") = "GPL";

#define NR_KEYS		64
#define NR_WORKERS	4
#define NR_THREADS	(NR_WORKERS + 2)	/* a sleeper, and one that exits */
#define EXITING		(NR_WORKERS + 1)

struct elem {
	__u32 id;
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct elem);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct elem);
} hash_malloc SEC(".maps");

/* Room for half of the keys, so that inserting one evicts another. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NR_KEYS / 2);
	__type(key, __u32);
	__type(value, struct elem);
} lru_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct elem);
} array SEC(".maps");

enum stress_context {
	IN_TASK,
	IN_INTERRUPT,
	IN_NMI,
	NR_CONTEXTS,
};

/* set by the test */
int tids[NR_THREADS];
long getpgid_nr;
long exit_nr;
bool may_delete;
bool active;

/* read by the test */
int scheduled[NR_CONTEXTS];
int scheduled_on[NR_MAPS];
int busy;
int no_memory;
int unexpected;
int deleted_in_interrupt;
int deleted_in_nmi;
int wrong_element;

static int current_nr(void)
{
	int i, tid = current_tid();

	/* 0 is an idle task's, and that of a thread that has not begun. */
	bpf_for(i, 0, NR_THREADS)
		if (tid && tids[i] == tid)
			return i;
	return -1;
}

static int callback(struct bpf_map *map, void *key, void *value)
{
	account_callback();
	return 0;
}

/* Elements of an array are what they are for ever. */
static int array_callback(struct bpf_map *map, void *key, void *value)
{
	struct elem *elem = value;

	if (elem->id != *(__u32 *)key)
		__sync_fetch_and_add(&wrong_element, 1);
	account_callback();
	return 0;
}

static __always_inline int schedule_in(void *map, __u32 *key, struct task_struct *task, int mode,
				       bpf_task_work_callback_t callback)
{
	struct elem *elem = bpf_map_lookup_elem(map, key);

	if (!elem)
		return -ENOENT;
	if (mode == MODE_SIGNAL)
		return bpf_task_work_schedule_signal(task, &elem->tw, map, callback);
	return bpf_task_work_schedule_resume(task, &elem->tw, map, callback);
}

/*
 * A program may hold on to an element that is deleted meanwhile. Where its memory
 * is freed, each thread keeps to the keys that no other thread deletes.
 */
static __u32 random_key(int map, int me)
{
	__u32 key = bpf_get_prandom_u32();

	if (map == MAP_HASH_MALLOC)
		return me * (NR_KEYS / NR_WORKERS) + key % (NR_KEYS / NR_WORKERS);
	return key % NR_KEYS;
}

static int schedule(struct task_struct *task, int map, int me)
{
	int mode = bpf_get_prandom_u32() % NR_MODES;
	__u32 key = random_key(map, me);

	switch (map) {
	case MAP_HASH:
		return schedule_in(&hash, &key, task, mode, callback);
	case MAP_HASH_MALLOC:
		return schedule_in(&hash_malloc, &key, task, mode, callback);
	case MAP_LRU_HASH:
		return schedule_in(&lru_hash, &key, task, mode, callback);
	case MAP_ARRAY:
		return schedule_in(&array, &key, task, mode, array_callback);
	}
	return -EINVAL;
}

/* On the thread itself, or on one that lives until the end. */
static int schedule_on_any(int map, int me)
{
	__u32 nr = bpf_get_prandom_u32() % 8;
	struct task_struct *task;
	int err;

	if (nr >= EXITING)
		return schedule(bpf_get_current_task_btf(), map, me);
	task = bpf_task_from_pid(tids[nr]);
	if (!task)
		return -EINVAL;
	err = schedule(task, map, me);
	bpf_task_release(task);
	return err;
}

static void delete_any(int *deleted)
{
	__u32 key = random_key(MAP_HASH, 0);

	if (!bpf_map_delete_elem(&hash, &key))
		__sync_fetch_and_add(deleted, 1);
}

static int attempt(enum stress_context context, int me)
{
	int map = bpf_get_prandom_u32() % NR_MAPS, ret;

	if (may_delete && context != IN_TASK && bpf_get_prandom_u32() % 4 == 0) {
		delete_any(context == IN_NMI ? &deleted_in_nmi : &deleted_in_interrupt);
		return 0;
	}
	/* The thread that exits has no keys of its own. */
	if (me >= NR_WORKERS)
		map = MAP_ARRAY;
	account_before_schedule(context == IN_TASK);
	ret = schedule_on_any(map, me);
	account_schedule(context == IN_TASK, ret);
	switch (ret) {
	case 0:
		__sync_fetch_and_add(&scheduled[context], 1);
		__sync_fetch_and_add(&scheduled_on[map & (NR_MAPS - 1)], 1);
		break;
	case -EBUSY:
		__sync_fetch_and_add(&busy, 1);
		break;
	case -ENOMEM:
		__sync_fetch_and_add(&no_memory, 1);
		break;
	case -ENOENT: /* nothing has that key */
	case -ESRCH: /* the thread is exiting */
		break;
	default:
		unexpected = ret;
	}
	return 0;
}

/* The sleeper schedules nothing: a signal to itself would end its sleep, for ever. */
static int attempt_in(enum stress_context context)
{
	int me = active ? current_nr() : -1;

	if (me < 0 || (me >= NR_WORKERS && me != EXITING))
		return 0;
	return attempt(context, me);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(in_task, struct pt_regs *regs, long nr)
{
	if (nr == getpgid_nr || nr == exit_nr)
		attempt_in(IN_TASK);
	return 0;
}

SEC("perf_event")
int in_interrupt(void *ctx)
{
	return attempt_in(IN_INTERRUPT);
}

SEC("?tp_btf/" NMI_TRACEPOINT)
int in_nmi(void *ctx)
{
	return is_in_nmi() ? attempt_in(IN_NMI) : 0;
}
