// SPDX-License-Identifier: GPL-2.0
/* What the verifier refuses, a program for each rule, and what it must not refuse. */
#include "task_work_common.h"
#include "bpf_experimental.h"
#include "bpf_kfuncs.h"
#include "task_work_messages.h"

char _license[] SEC("license") = "GPL";

struct elem {
	__u64 before;
	struct bpf_task_work tw;
	__u64 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} other_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} plain_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_task_work);
} bare_map SEC(".maps");

/* libbpf does not know what its values are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct elem));
} untyped_map SEC(".maps");

/* Larger values than those of map: a callback that got one typed as such could leave it. */
struct timer_elem {
	struct bpf_timer timer;
	char room[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timer_map SEC(".maps");

struct lock_elem {
	struct bpf_spin_lock lock;
	struct bpf_task_work tw;
	__u64 locked;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lock_elem);
} lock_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer_map SEC(".maps") = {
	.values = { &other_map, &other_map },
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} prog_array SEC(".maps");

struct bpf_key *bpf_lookup_user_key(__u32 serial, __u64 flags)
	__ksym;
void bpf_key_put(struct bpf_key *bkey)
	__ksym;

__u32 zero;
__u64 number;
char buffer[8];
const void *user_ptr;

static int callback(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

#define lookup(map) bpf_map_lookup_elem(&(map), &zero)

/* What the others do wrong is right here. */
SEC("tc")
__success
int all_is_well(void *ctx)
{
	struct elem *elem = lookup(map);

	if (!elem)
		return 0;
	bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &map, callback);
	bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &map, callback);
	return 0;
}

/* The task */

SEC("tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
TAKES_TASK
int null_task(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(NULL, &elem->tw, &map, callback);
	return 0;
}

SEC("tc")
__failure __msg("Possibly NULL pointer passed to trusted arg0")
TAKES_TASK
int task_that_may_be_null(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(task, &elem->tw, &map, callback);
	if (task)
		bpf_task_release(task);
	return 0;
}

SEC("tc")
__failure __msg("arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar")
TAKES_TASK
int task_as_number(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(task, &elem->tw, &map, callback);
	return 0;
}

SEC("tc")
__failure __msg("R1 must be referenced or trusted")
TAKES_TASK
int untrusted_task(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_resume(bpf_get_current_task_btf()->oom_reaper_list,
					      &elem->tw, &map, callback);
	return 0;
}

/* Under RCU, as here, the struct is there, but it may be one that is being freed. */
SEC("tc")
__failure __msg("R1 must be referenced or trusted")
TAKES_TASK
int rcu_task(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_resume(bpf_get_current_task_btf()->real_parent, &elem->tw,
					      &map, callback);
	return 0;
}

/* The field */

SEC("tc")
__failure __msg("Possibly NULL pointer passed to trusted arg1")
TAKES_FIELD
int null_field(void *ctx)
{
	bpf_task_work_schedule_signal(bpf_get_current_task_btf(), NULL, &map, callback);
	return 0;
}

/* Looked up, and the NULL check forgotten. */
SEC("tc")
__failure __msg("Possibly NULL pointer passed to trusted arg1")
TAKES_FIELD
int value_that_may_be_null(void *ctx)
{
	struct elem *elem = lookup(map);

	bpf_task_work_schedule_signal(bpf_get_current_task_btf(), (void *)elem, &map, callback);
	return 0;
}

SEC("tc")
__failure __msg("arg#1 doesn't point to a map value")
TAKES_FIELD
int field_on_stack(void *ctx)
{
	struct bpf_task_work tw = {};

	bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &tw, &map, callback);
	return 0;
}

SEC("tc")
__failure __msg("arg#1 doesn't point to a map value")
TAKES_FIELD
int field_of_allocated_object(void *ctx)
{
	struct elem *elem = bpf_obj_new(typeof(*elem));

	if (!elem)
		return 0;
	bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &map, callback);
	bpf_obj_drop(elem);
	return 0;
}

SEC("tc")
__failure __msg("off 16 doesn't point to 'struct bpf_task_work' that is at 8")
TAKES_FIELD
int behind_field(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), (void *)&elem->after,
					      &map, callback);
	return 0;
}

SEC("tc")
__failure __msg("off 0 doesn't point to 'struct bpf_task_work' that is at 8")
TAKES_FIELD
int before_field(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), (void *)elem, &map,
					      callback);
	return 0;
}

SEC("tc")
__failure
__msg("R2 doesn't have constant offset. bpf_task_work has to be at the constant offset")
TAKES_FIELD
int variable_offset(void *ctx)
{
	void *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), elem + (number & 8),
					      &map, callback);
	return 0;
}

SEC("tc")
__failure __msg("map 'plain_map' has no valid bpf_task_work")
TAKES_FIELD
int map_without_field(void *ctx)
{
	void *value = lookup(plain_map);

	if (value)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), value, &plain_map,
					      callback);
	return 0;
}

/* The field has to be a member of the value. */
SEC("tc")
__failure __msg("map 'bare_map' has no valid bpf_task_work")
TAKES_FIELD
int value_is_field(void *ctx)
{
	struct bpf_task_work *tw = lookup(bare_map);

	if (tw)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), tw, &bare_map, callback);
	return 0;
}

SEC("tc")
__failure __msg("map 'timer_map' has no valid bpf_task_work")
TAKES_FIELD
int map_with_other_field(void *ctx)
{
	void *value = lookup(timer_map);

	if (value)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), value, &timer_map,
					      callback);
	return 0;
}

SEC("tc")
__failure __msg("map 'untyped_map' has to have BTF in order to use bpf_task_work")
TAKES_FIELD
int map_without_types(void *ctx)
{
	struct elem *elem = lookup(untyped_map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &untyped_map,
					      callback);
	return 0;
}

SEC("tc")
__failure __msg("bpf_task_work cannot be accessed directly by load/store")
int read_field(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		number = elem->tw.__opaque;
	return 0;
}

SEC("tc")
__failure __msg("bpf_task_work cannot be accessed directly by load/store")
int write_field(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		elem->tw.__opaque = 0;
	return 0;
}

SEC("tc")
__failure __msg("bpf_task_work cannot be accessed directly by load/store")
int write_field_with_helper(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_probe_read_kernel(elem, sizeof(*elem), buffer);
	return 0;
}

/* The map */

SEC("tc")
__failure
__msg("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
TAKES_MAP("map")
int wrong_map(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &other_map,
					      callback);
	return 0;
}

SEC("tc")
__failure
__msg("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
TAKES_MAP("map")
int wrong_map_without_special_fields(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &plain_map,
					      callback);
	return 0;
}

SEC("tc")
__failure
__msg("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
TAKES_MAP("map")
int wrong_map_with_other_field(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &timer_map,
					      callback);
	return 0;
}

SEC("tc")
__failure
__msg("bpf_task_work pointer in R2 map_uid={{[1-9][0-9]*}} doesn't match map pointer in R3")
TAKES_MAP("an inner map")
int wrong_inner_map(void *ctx)
{
	__u32 one = 1;
	void *map1 = bpf_map_lookup_elem(&outer_map, &zero);
	void *map2 = bpf_map_lookup_elem(&outer_map, &one);
	struct elem *elem;

	if (!map1 || !map2)
		return 0;
	elem = bpf_map_lookup_elem(map1, &zero);
	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, map2,
					      callback);
	return 0;
}

SEC("tc")
__success
int right_inner_map(void *ctx)
{
	void *inner = bpf_map_lookup_elem(&outer_map, &zero);
	struct elem *elem;

	if (!inner)
		return 0;
	elem = bpf_map_lookup_elem(inner, &zero);
	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, inner,
					      callback);
	return 0;
}

/* A map, but one that is known only when the program runs. */
SEC("iter/bpf_map")
__failure
__msg("pointer in R3 isn't map pointer, but {{.*}}ptr_: expected the map of the bpf_task_work")
TAKES_MAP("map")
int map_of_iterator(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *any_map = ctx->map;
	struct elem *elem = lookup(map);

	if (elem && any_map)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, any_map,
					      callback);
	return 0;
}

/* The register of a value names its map as well, which does not make it one. */
SEC("tc")
__failure
__msg("pointer in R3 isn't map pointer, but map_value: expected the map of the bpf_task_work")
TAKES_MAP("map")
int value_for_map(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, elem,
					      callback);
	return 0;
}

SEC("tc")
__failure __msg("Possibly NULL pointer passed to trusted arg2")
TAKES_MAP("map")
int null_map(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, NULL,
					      callback);
	return 0;
}

/* The callback */

SEC("tc")
__failure __msg("arg3 expected pointer to func")
TAKES_CALLBACK
int no_callback(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &map,
					      (bpf_task_work_callback_t)(void *)buffer);
	return 0;
}

SEC("tc")
__failure __msg("Possibly NULL pointer passed to trusted arg3")
TAKES_CALLBACK
int null_callback(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &map, NULL);
	return 0;
}

int callback_for_all(struct bpf_map *map, void *key, void *value)
{
	return 0;
}

SEC("tc")
__failure __msg("callback function not static")
int callback_is_static(void *ctx)
{
	struct elem *elem = lookup(map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &map,
					      callback_for_all);
	return 0;
}

static __always_inline int schedule(void *callback)
{
	struct elem *elem = lookup(map);

	if (!elem)
		return 0;
	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &map, callback);
}

static int callback_with_four(struct bpf_map *map, void *key, void *value, void *more)
{
	return *(int *)more;
}

SEC("tc")
__failure __msg("R4 !read_ok")
CALLED_BACK("callback_with_four")
int callback_has_three_arguments(void *ctx)
{
	return schedule(callback_with_four);
}

/* It takes the first argument for the element, as the callbacks of other kernel APIs may. */
static int callback_with_one(struct elem *elem)
{
	elem->after = 1;
	return 0;
}

SEC("tc")
__failure __msg("only read from bpf_array is supported")
CALLED_BACK("callback_with_one")
int callback_has_value_last(void *ctx)
{
	return schedule(callback_with_one);
}

static void callback_without_result(struct bpf_map *map, void *key, void *value)
{
}

SEC("tc")
__failure __msg("R0 !read_ok")
CALLED_BACK("callback_without_result")
int callback_returns_int(void *ctx)
{
	return schedule(callback_without_result);
}

static int callback_writes_key(struct bpf_map *map, void *key, void *value)
{
	*(__u32 *)key = 1;
	return 0;
}

SEC("tc")
__failure __msg("write to change key R2 not allowed")
int callback_may_not_write_key(void *ctx)
{
	return schedule(callback_writes_key);
}

static int callback_leaves_key(struct bpf_map *map, void *key, void *value)
{
	return *((__u32 *)key + 1);
}

SEC("tc")
__failure __msg("invalid access to map key, key_size=4 off=4 size=4")
int callback_may_not_leave_key(void *ctx)
{
	return schedule(callback_leaves_key);
}

static int callback_leaves_value(struct bpf_map *map, void *key, void *value)
{
	return *((__u64 *)value + 3);
}

SEC("tc")
__failure __msg("invalid access to map value, value_size=24 off=24 size=8")
int callback_may_not_leave_value(void *ctx)
{
	return schedule(callback_leaves_value);
}

static int callback_leaks(struct bpf_map *map, void *key, void *value)
{
	bpf_task_from_pid(1);
	return 0;
}

SEC("tc")
__failure __msg("Unreleased reference")
CALLED_BACK("callback_leaks")
int callback_may_not_leak(void *ctx)
{
	return schedule(callback_leaks);
}

static int callback_calls_tail(struct bpf_map *map, void *key, void *value)
{
	bpf_tail_call(NULL, &prog_array, 0);
	return 0;
}

/* A tail call takes the context of the program, which the callback does not have. */
SEC("tc")
__failure __msg("R1 type=scalar expected=ctx")
int callback_may_not_tail_call(void *ctx)
{
	return schedule(callback_calls_tail);
}

static int callback_throws(struct bpf_map *map, void *key, void *value)
{
	bpf_throw(0);
	return 0;
}

SEC("tc")
__failure __msg("bpf_throw kfunc (insn {{[0-9]+}}) cannot be called from callback subprog")
int callback_may_not_throw(void *ctx)
{
	return schedule(callback_throws);
}

static int callback_keeps_lock(struct bpf_map *map, void *key, void *value)
{
	struct lock_elem *elem = value;

	bpf_spin_lock(&elem->lock);
	return 0;
}

SEC("tc")
__failure __msg("lock")
int callback_may_not_keep_lock(void *ctx)
{
	struct lock_elem *elem = lookup(lock_map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &lock_map,
					      callback_keeps_lock);
	return 0;
}

/* Another value of the same map has another lock. */
static int callback_unlocks_other(struct bpf_map *map, void *key, void *value)
{
	struct lock_elem *elem = value, *other = lookup(lock_map);

	if (!other)
		return 0;
	bpf_spin_lock(&elem->lock);
	bpf_spin_unlock(&other->lock);
	return 0;
}

SEC("tc")
__failure __msg("bpf_spin_unlock of different lock")
int callback_knows_its_lock(void *ctx)
{
	struct lock_elem *elem = lookup(lock_map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &lock_map,
					      callback_unlocks_other);
	return 0;
}

static int callback_locks(struct bpf_map *map, void *key, void *value)
{
	struct lock_elem *elem = value;

	bpf_spin_lock(&elem->lock);
	elem->locked++;
	bpf_spin_unlock(&elem->lock);
	return 0;
}

SEC("tc")
__success
int callback_may_lock(void *ctx)
{
	struct lock_elem *elem = lookup(lock_map);

	if (elem)
		bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &lock_map,
					      callback_locks);
	return 0;
}

SEC("tc")
__failure __msg("function calls are not allowed while holding a lock")
int schedule_with_lock(void *ctx)
{
	struct lock_elem *elem = lookup(lock_map);

	if (!elem)
		return 0;
	bpf_spin_lock(&elem->lock);
	bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &lock_map, callback);
	bpf_spin_unlock(&elem->lock);
	return 0;
}

/* The callback has the map of its value: no other map will do. */
static int callback_with_wrong_map(struct bpf_map *map, void *key, void *value)
{
	struct elem *elem = value;

	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, &other_map,
					     callback);
}

SEC("tc")
__failure
__msg("bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0")
TAKES_MAP("map")
int callback_knows_its_map(void *ctx)
{
	return schedule(callback_with_wrong_map);
}

static int callback_schedules(struct bpf_map *map, void *key, void *value)
{
	struct elem *elem = value;

	return bpf_task_work_schedule_signal(bpf_get_current_task_btf(), &elem->tw, map, callback);
}

SEC("tc")
__success
int callback_may_schedule(void *ctx)
{
	return schedule(callback_schedules);
}

static int callback_sleeps(struct bpf_map *map, void *key, void *value)
{
	struct elem *elem = value;

	bpf_copy_from_user(&elem->after, sizeof(elem->after), user_ptr);
	return bpf_copy_from_user_str(&elem->before, sizeof(elem->before), user_ptr, 0);
}

SEC("raw_tp")
__success
int callback_may_sleep(void *ctx)
{
	return schedule(callback_sleeps);
}

/* That holds for the callback and not for the program around it. */
SEC("raw_tp")
__failure __msg("program must be sleepable to call sleepable kfunc bpf_copy_from_user_str")
int program_may_not_call_sleepable_kfunc(void *ctx)
{
	schedule(callback_sleeps);
	return bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0);
}

SEC("raw_tp")
__failure __msg("helper call might sleep in a non-sleepable prog")
int program_may_not_call_sleepable_helper(void *ctx)
{
	schedule(callback_sleeps);
	return bpf_copy_from_user(buffer, sizeof(buffer), user_ptr);
}

/* Nor for what the callback does under RCU. */
static int callback_sleeps_under_rcu(struct bpf_map *map, void *key, void *value)
{
	bpf_rcu_read_lock();
	bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("tc")
__failure __msg("kernel func bpf_copy_from_user_str is sleepable within rcu_read_lock region")
int callback_may_not_sleep_under_rcu(void *ctx)
{
	return schedule(callback_sleeps_under_rcu);
}

/* Nor for what a helper calls back that holds RCU or a lock. */
static long element_sleeps(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0) < 0;
}

static int callback_walks_hash(struct bpf_map *map, void *key, void *value)
{
	return bpf_for_each_map_elem(&hash, element_sleeps, NULL, 0);
}

SEC("tc")
__failure __msg("kfunc bpf_copy_from_user_str might sleep in a callback that may not")
int callback_may_not_sleep_in_hash(void *ctx)
{
	return schedule(callback_walks_hash);
}

static int callback_returns_minus_one(struct bpf_map *map, void *key, void *value)
{
	return -1;
}

static int callback_returns_42(struct bpf_map *map, void *key, void *value)
{
	return 42;
}

static int callback_returns_random(struct bpf_map *map, void *key, void *value)
{
	return bpf_get_prandom_u32();
}

SEC("tc")
__success
int callback_may_return_any_int(void *ctx)
{
	schedule(callback_returns_minus_one);
	schedule(callback_returns_42);
	return schedule(callback_returns_random);
}

/*
 * What a helper finds in the task that runs the program is not there any more when
 * its callback runs. Of those that a workqueue's callback may not call either, see
 * async_callbacks.c, here is one for each kind.
 */

static int callback_gets_retval(struct bpf_map *map, void *key, void *value)
{
	return bpf_get_retval();
}

SEC("cgroup/getsockopt")
__failure __msg("helper bpf_get_retval#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_get_retval(void *ctx)
{
	schedule(callback_gets_retval);
	return 1;
}

static int callback_closes(struct bpf_map *map, void *key, void *value)
{
	return bpf_sys_close(0);
}

SEC("syscall")
__failure __msg("helper bpf_sys_close#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_close(void *ctx)
{
	return schedule(callback_closes);
}

/* It may create a keyring in the credentials of the task. */
static int callback_looks_up_key(struct bpf_map *map, void *key, void *value)
{
	struct bpf_key *found = bpf_lookup_user_key(1, 0);

	if (found)
		bpf_key_put(found);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("kfunc bpf_lookup_user_key can't be called from an async callback")
int callback_may_not_look_up_key(void *ctx)
{
	return schedule(callback_looks_up_key);
}

static int callback_asks_for_return(struct bpf_map *map, void *key, void *value)
{
	return bpf_session_is_return();
}

SEC("kprobe.session")
__failure __msg("kfunc bpf_session_is_return can't be called from an async callback")
int callback_may_not_ask_for_return(void *ctx)
{
	schedule(callback_asks_for_return);
	return 0;
}

static int callback_asks_for_cookie(struct bpf_map *map, void *key, void *value)
{
	return *bpf_session_cookie();
}

SEC("kprobe.session")
__failure __msg("kfunc bpf_session_cookie can't be called from an async callback")
int callback_may_not_ask_for_cookie(void *ctx)
{
	schedule(callback_asks_for_cookie);
	return 0;
}

/* The last argument of the other spelling */

SEC("tc")
__success
int last_argument_is_the_kernels(void *ctx)
{
	struct elem *elem = lookup(map);

	if (!elem)
		return 0;
	bpf_task_work_schedule_signal_impl(bpf_get_current_task_btf(), &elem->tw, &map, callback,
					   NULL);
	return bpf_task_work_schedule_resume_impl(bpf_get_current_task_btf(), &elem->tw, &map,
						  callback, (void *)42);
}
