// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that schedule work, and delete or replace what it hangs on, in every
 * context there is, all at once; and programs that count what comes of it.
 */
#include "task_work_common.h"
#include "task_work_accounting.h"
#include "task_work_torture.h"

#define MAX_ERRNO	4095	/* include/linux/err.h */

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct torture_elem);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct torture_elem);
} hash_malloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NR_LRU);
	__type(key, __u32);
	__type(value, struct torture_elem);
} lru_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct torture_elem);
} array SEC(".maps");

/* For bursts that leave no memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_MANY);
	__type(key, __u32);
	__type(value, struct torture_elem);
} many SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_KEYS);
	__type(key, __u32);
	__type(value, struct torture_elem);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { &inner },
};

/* By address: a number may be another task's before the one that had it is freed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} descendants SEC(".maps");

/* set by the test */
__u64 seed;
int test_pid;
int untouchable[2];	/* threads that no work is scheduled on */
int tids[NR_TIDS];
void *pages;
__u32 page_size;
long exit_group_nr;
long execve_nr;
bool active;

/* read by the test */
__u64 drawn[NR_DECIDERS];
__u64 scheduled[NR_CONTEXTS];
__u64 results[NR_RESULTS];
__u64 placed[NR_TORTURE_MAPS];
__u64 moded[NR_MODES];
__u64 deleted[NR_CONTEXTS];
__u64 updated[NR_CONTEXTS];
__u64 deleted_own;
__u64 evicted;
__u64 wrong_element;
__u64 unlinked;
__u64 found_freed;
__u64 without_mm;
__u64 ended_running;
__u64 contexts_ended;
__u64 tasks_made;
__u64 tasks_freed;

static void count_callback(struct bpf_map *map, void *key, struct torture_elem *elem)
{
	/*
	 * An array's element is what it is for ever, that of a hash which is not
	 * pre-allocated as long as the callback runs.
	 */
	if ((map->map_type == BPF_MAP_TYPE_ARRAY || map->map_flags & BPF_F_NO_PREALLOC) &&
	    elem->id != *(__u32 *)key)
		__sync_fetch_and_add(&wrong_element, 1);
	account_callback();
}

static void count_place(__u32 map, __u32 mode)
{
	if (map < NR_TORTURE_MAPS)
		__sync_fetch_and_add(&placed[map], 1);
	if (mode < NR_MODES)
		__sync_fetch_and_add(&moded[mode], 1);
}

static enum torture_result result_of(int err)
{
	switch (err) {
	case 0:
		return RESULT_OK;
	case -EBUSY:
		return RESULT_EBUSY;
	case -ENOENT:
		return RESULT_ENOENT;
	case -EPERM:
		return RESULT_EPERM;
	case -ESRCH:
		return RESULT_ESRCH;
	case -EOPNOTSUPP:
		return RESULT_EOPNOTSUPP;
	case -ENOMEM:
		return RESULT_ENOMEM;
	case -EBADF:
		return RESULT_EBADF;
	}
	return RESULT_OTHER;
}

static void count_result(enum torture_context context, int err)
{
	__sync_fetch_and_add(&results[result_of(err)], 1);
	if (!err && context < NR_CONTEXTS)
		__sync_fetch_and_add(&scheduled[context], 1);
}

static __u64 next_draw(enum torture_context context)
{
	__u32 nr = decider(context, bpf_get_smp_processor_id() % MAX_CPUS);

	if (nr >= NR_DECIDERS)
		return 0;
	return torture_draw(seed, nr, __sync_fetch_and_add(&drawn[nr], 1));
}

/* Ours and no other's: one of the test's threads, one of its children, or an idle task. */
static bool is_target(struct task_struct *task)
{
	if (task->pid == untouchable[0] || task->pid == untouchable[1])
		return false;
	return !task->pid || task->tgid == test_pid || task->real_parent->tgid == test_pid;
}

/*
 * What a callback does besides being counted: sleep until user memory is there,
 * delete its own element, schedule its own element or another one.
 */
static int callback(struct bpf_map *map, void *key, void *value);

static __always_inline int schedule_elem(enum torture_context context, struct task_struct *task,
					 struct torture_elem *elem, void *map, __u32 mode)
{
	int err;

	account_before_schedule(context <= LAST_MAY_LOCK);
	if (mode == MODE_SIGNAL)
		err = bpf_task_work_schedule_signal(task, &elem->tw, map, callback);
	else
		err = bpf_task_work_schedule_resume(task, &elem->tw, map, callback);
	account_schedule(context <= LAST_MAY_LOCK, err);
	count_result(context, err);
	return err;
}

static int callback(struct bpf_map *map, void *key, void *value)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct torture_elem *elem = value;
	__u64 draw = next_draw(IN_CALLBACK);
	__u32 other = draw_key(draw);

	count_callback(map, key, elem);
	switch (draw_action(draw) % 16) {
	case 0 ... 3:
		bpf_copy_from_user_str(elem->text, sizeof(elem->text), elem->user_ptr, 0);
		break;
	case 4:
		if (!bpf_map_delete_elem(map, key))
			__sync_fetch_and_add(&deleted_own, 1);
		break;
	case 5:
		schedule_elem(IN_CALLBACK, task, elem, map, draw_mode(draw));
		break;
	case 6:
		elem = bpf_map_lookup_elem(map, &other);
		if (elem)
			schedule_elem(IN_CALLBACK, task, elem, map, draw_mode(draw));
		break;
	}
	return 0;
}

/* Also on an element that has just been deleted. */
static __always_inline void schedule_key(enum torture_context context, struct task_struct *task,
					 void *map, __u32 map_nr, __u64 draw)
{
	__u32 key = draw_key(draw);
	struct torture_elem *elem = bpf_map_lookup_elem(map, &key);

	if (!elem)
		return;
	if (map_nr == MAP_HASH && draw_action(draw) % 16 == 0)
		bpf_map_delete_elem(map, &key);
	if (!schedule_elem(context, task, elem, map, draw_mode(draw)))
		count_place(map_nr, draw_mode(draw));
}

static int schedule(enum torture_context context, struct task_struct *task, __u64 draw)
{
	__u32 zero = 0;
	void *map;

	switch (draw_map(draw)) {
	case MAP_HASH:
		schedule_key(context, task, &hash, MAP_HASH, draw);
		break;
	case MAP_HASH_MALLOC:
		schedule_key(context, task, &hash_malloc, MAP_HASH_MALLOC, draw);
		break;
	case MAP_LRU_HASH:
		schedule_key(context, task, &lru_hash, MAP_LRU_HASH, draw);
		break;
	case MAP_ARRAY:
		schedule_key(context, task, &array, MAP_ARRAY, draw);
		break;
	case MAP_INNER:
		map = bpf_map_lookup_elem(&outer, &zero);
		if (map)
			schedule_key(context, task, map, MAP_INNER, draw);
		break;
	}
	return 0;
}

/*
 * An NMI may not be the one that drops the last reference to a task, so it
 * keeps to those that last.
 */
static void schedule_on_tid(enum torture_context context, __u64 draw)
{
	__u32 nr = draw_tid(draw);
	struct task_struct *task;

	if (nr >= NR_TIDS || (context == IN_NMI && nr >= NR_LASTING))
		return;
	task = bpf_task_from_pid(tids[nr]);
	if (!task)
		return;
	schedule(context, task, draw);
	bpf_task_release(task);
}

/*
 * The locks of an LRU map may be held by what the NMI interrupted. Nor are they to be
 * taken under those of the scheduler: timers queue work when their elements are evicted,
 * and lockdep does not tell one LRU map from another.
 */
static bool may_change_lru(enum torture_context context)
{
	return context != IN_NMI && context != IN_SWITCH && context != IN_WAKING;
}

static void delete_key(enum torture_context context, __u64 draw)
{
	__u32 key = draw_key(draw);
	int err = -EINVAL;

	switch (draw_map(draw)) {
	case MAP_HASH:
		err = bpf_map_delete_elem(&hash, &key);
		break;
	case MAP_HASH_MALLOC:
		err = bpf_map_delete_elem(&hash_malloc, &key);
		break;
	case MAP_LRU_HASH:
		if (may_change_lru(context))
			err = bpf_map_delete_elem(&lru_hash, &key);
		break;
	}
	if (!err && context < NR_CONTEXTS)
		__sync_fetch_and_add(&deleted[context], 1);
}

static void update_key(enum torture_context context, __u64 draw)
{
	__u32 key = draw_key(draw);
	struct torture_elem value = {
		.id = key,
		.user_ptr = pages + key % NR_PAGES * page_size,
	};
	int err = -EINVAL;

	switch (draw_map(draw)) {
	case MAP_HASH:
		err = bpf_map_update_elem(&hash, &key, &value, BPF_ANY);
		break;
	case MAP_HASH_MALLOC:
		err = bpf_map_update_elem(&hash_malloc, &key, &value, BPF_ANY);
		break;
	case MAP_LRU_HASH:
		if (may_change_lru(context))
			err = bpf_map_update_elem(&lru_hash, &key, &value, BPF_ANY);
		break;
	case MAP_ARRAY:
		err = bpf_map_update_elem(&array, &key, &value, BPF_ANY);
		break;
	}
	if (!err && context < NR_CONTEXTS)
		__sync_fetch_and_add(&updated[context], 1);
}

/* Do what the draw says; @other is a task that the context has at hand. */
static __always_inline int act(enum torture_context context, struct task_struct *other, __u64 draw)
{
	struct task_struct *task = bpf_get_current_task_btf();

	switch (draw_action(draw) / 32) {
	case 0:
		delete_key(context, draw);
		return 0;
	case 1:
		update_key(context, draw);
		return 0;
	}
	switch (draw_target(draw)) {
	case ON_CURRENT:
		if (is_target(task))
			schedule(context, task, draw);
		break;
	case ON_OTHER:
		if (is_target(other))
			schedule(context, other, draw);
		break;
	default:
		schedule_on_tid(context, draw);
	}
	return 0;
}

static __always_inline int act_by_chance(enum torture_context context, struct task_struct *other,
					 __u32 one_in)
{
	__u64 draw;

	if (!active)
		return 0;
	draw = next_draw(context);
	return draw_number(draw) % one_in ? 0 : act(context, other, draw);
}

SEC("lsm.s/task_prctl")
int BPF_PROG(in_task, int option, unsigned long arg2)
{
	if (option != TORTURE_PRCTL)
		return 0;
	act(IN_TASK, bpf_get_current_task_btf(), arg2);
	return -TORTURE_DONE;
}

/* Of a second instance of this object, with maps of its own. */
SEC("?syscall")
int in_syscall(__u64 *draw)
{
	return act(IN_SYSCALL, bpf_get_current_task_btf(), *draw);
}

/* Some work runs after execve() has replaced the memory, and some not at all. */
SEC("tp_btf/sys_enter")
int BPF_PROG(in_entry, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool last = nr == exit_group_nr || nr == execve_nr;

	return is_target(task) ? act_by_chance(IN_ENTRY, task, last ? 1 : 64) : 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(in_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return act_by_chance(IN_SWITCH, next, 8);
}

SEC("tp_btf/sched_waking")
int BPF_PROG(in_waking, struct task_struct *p)
{
	return act_by_chance(IN_WAKING, p, 8);
}

/* NMIs are few. */
SEC("?tp_btf/" NMI_TRACEPOINT)
int in_nmi(void *ctx)
{
	int i;

	bpf_for(i, 0, is_in_nmi() ? 4 : 0)
		act_by_chance(IN_NMI, bpf_get_current_task_btf(), 1);
	return 0;
}

/* Interrupts stay off all the time, so that the allocator lives on what it has. */
static void burst(struct task_struct *task, __u32 first)
{
	int i;

	bpf_for(i, 0, NR_BURST) {
		__u32 key = (first + i) % NR_MANY;
		struct torture_elem *elem = bpf_map_lookup_elem(&many, &key);

		if (elem && schedule_elem(IN_INTERRUPT, task, elem, &many, MODE_RESUME) == -ENOMEM)
			break;
	}
}

SEC("perf_event")
int in_interrupt(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 draw;

	if (!active || !is_target(task))
		return 0;
	draw = next_draw(IN_INTERRUPT);
	if (draw_number(draw) % 128)
		return act(IN_INTERRUPT, task, draw);
	burst(task, draw_key(draw));
	return 0;
}

/* What follows counts that something happened, or balances at the end. */
SEC("fentry/bpf_task_work_callback")
int BPF_PROG(count_callback_entry, struct callback_head *work)
{
	if (is_freed(work))
		__sync_fetch_and_add(&found_freed, 1);
	else if (!bpf_get_current_task_btf()->mm)
		__sync_fetch_and_add(&without_mm, 1);
	return 0;
}

static int count_end(const struct bpf_task_work_kern *tw)
{
	struct bpf_task_work_ctx *ctx = BPF_CORE_READ(tw, ctx);

	if (!ctx || (__u64)ctx >= (__u64)-MAX_ERRNO)
		return 0;
	__sync_fetch_and_add(&contexts_ended, 1);
	if (BPF_CORE_READ(ctx, state.counter) == BPF_TW_RUNNING)
		__sync_fetch_and_add(&ended_running, 1);
	return 0;
}

SEC("fentry/bpf_task_work_retire")
int BPF_PROG(count_retired, void *tw)
{
	return count_end(tw);
}

SEC("fentry/bpf_task_work_cancel_and_free")
int BPF_PROG(count_emptied, void *tw)
{
	return count_end(tw);
}

SEC("fexit/bpf_task_work_is_freed")
int BPF_PROG(count_unlinked, struct callback_head *work, void *unused, int freed)
{
	if (freed & 0xff)
		__sync_fetch_and_add(&unlinked, 1);
	return 0;
}

SEC("fexit/htab_lru_map_delete_node")
int BPF_PROG(count_evicted, void *arg, struct bpf_lru_node *node, int evicts)
{
	if (evicts & 0xff)
		__sync_fetch_and_add(&evicted, 1);
	return 0;
}

/* Those that the test has made, or one of these: each is in the map until it is freed. */
static bool is_descendant(struct task_struct *task)
{
	__u64 key = (__u64)task;

	return task->tgid == test_pid || bpf_map_lookup_elem(&descendants, &key);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(count_task, struct task_struct *parent, struct task_struct *child)
{
	__u64 key = (__u64)child;
	__u8 value = 0;

	if (!is_descendant(parent))
		return 0;
	__sync_fetch_and_add(&tasks_made, 1);
	/* If there is no room for it, it will not be seen to be freed, and the test fails. */
	bpf_map_update_elem(&descendants, &key, &value, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(count_task_freed, struct task_struct *task)
{
	__u64 key = (__u64)task;

	if (!bpf_map_delete_elem(&descendants, &key))
		__sync_fetch_and_add(&tasks_freed, 1);
	return 0;
}
