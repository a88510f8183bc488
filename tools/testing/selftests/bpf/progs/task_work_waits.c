// SPDX-License-Identifier: GPL-2.0
/* Where a map waits: for a lock that another CPU holds, with its worker bound to a CPU or not. */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

/* What the test accepts is far less. */
#define MAX_MOVES 100

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

/* The value owns a reference to a task, which goes when the value does. */
struct owner {
	struct bpf_task_work tw;
	struct task_struct __kptr *task;
};

/* They are freed when the test lets go of them, and the only program that knows them is gone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
} freed_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
} freed_malloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
} freed_array SEC(".maps");

/* Many buckets: another key is in another one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct elem);
} wide SEC(".maps");

struct one_element {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
};

struct one_element contended SEC(".maps");
struct one_element other SEC(".maps");

/* set by the test */
int target_tid;
int walker_tid;
int holder_tid;
int waiter_tid;

/* read by the test */
int no_smp;
int freed;
int fields;
int waits;
int pins_outside;
int pins_at_fields;
int pins_at_waits;
int moves;
int ran;
int held;
int knocked;
int answered;
int met;
int ret_update;
int preempt_count_seen;

/* Only a kernel for several CPUs counts that. */
struct task_struct___smp {
	unsigned short migration_disabled;
} __attribute__((preserve_access_index));

/* How often the current task is bound to its CPU: once, by the program that looks. */
static int pins(void)
{
	struct task_struct___smp *task = (void *)bpf_get_current_task_btf();
	unsigned short n = 0;

	if (bpf_core_field_exists(task->migration_disabled))
		bpf_core_read(&n, sizeof(n), &task->migration_disabled);
	else
		no_smp = 1;
	return n;
}

static int own(struct owner *owner)
{
	struct task_struct *task;

	if (!owner)
		return -ENOENT;
	task = bpf_task_acquire(bpf_get_current_task_btf());
	if (!task)
		return -ESRCH;
	task = bpf_kptr_xchg(&owner->task, task);
	if (task)
		bpf_task_release(task);
	return 0;
}

SEC("syscall")
int own_task(void *ctx)
{
	__u32 zero = 0;

	return own(bpf_map_lookup_elem(&freed_hash, &zero)) ?:
	       own(bpf_map_lookup_elem(&freed_malloc, &zero)) ?:
	       own(bpf_map_lookup_elem(&freed_array, &zero));
}

static __u32 freeing_tid;

static bool is_to_be_freed(struct bpf_map *map)
{
	char name[sizeof("freed_") - 1];

	return !bpf_core_read(name, sizeof(name), &map->name) &&
	       !bpf_strncmp(name, sizeof(name), "freed_");
}

SEC("fentry/bpf_map_free_deferred")
int BPF_PROG(see_worker, struct work_struct *work)
{
	struct bpf_map *map = (void *)work - bpf_core_field_offset(struct bpf_map, work);

	if (is_to_be_freed(map)) {
		freeing_tid = current_tid();
		pins_outside = pins();
	}
	return 0;
}

SEC("fexit/bpf_map_free_deferred")
int BPF_PROG(see_worker_end, struct work_struct *work)
{
	if (freeing_tid == current_tid()) {
		freeing_tid = 0;
		freed = 1;
	}
	return 0;
}

SEC("fentry/bpf_task_release_dtor")
int BPF_PROG(see_fields, void *task)
{
	if (freeing_tid == current_tid()) {
		fields++;
		pins_at_fields = pins();
	}
	return 0;
}

static int see_pins_at_wait(void)
{
	if (freeing_tid == current_tid()) {
		waits++;
		pins_at_waits = pins();
	}
	return 0;
}

/* This one waits for RCU and for irq_works. */
SEC("fentry/bpf_mem_alloc_destroy")
int BPF_PROG(see_wait, struct bpf_mem_alloc *ma)
{
	return see_pins_at_wait();
}

/* An array comes to nothing else that may wait. */
SEC("fentry/bpf_map_area_free")
int BPF_PROG(see_area_free, void *area)
{
	return see_pins_at_wait();
}

static long update(void *map, __u32 key)
{
	/* Not a struct elem: the stack must not hold the field. */
	char value[sizeof(struct elem)] = {};

	return bpf_map_update_elem(map, &key, &value, BPF_ANY);
}

static int count(struct bpf_map *map, void *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

SEC("syscall")
int schedule_in_wide(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	__u32 zero = 0;
	struct elem *elem;
	int err = -ENOENT;

	if (!task)
		return -ESRCH;
	elem = bpf_map_lookup_elem(&wide, &zero);
	if (elem)
		err = bpf_task_work_schedule_resume(task, &elem->tw, &wide, count);
	bpf_task_release(task);
	return err;
}

/*
 * The walk of the last user reference has come to the element of key 0. That gets another
 * key, and so another bucket; and there is one of key 0 again.
 */
SEC("fentry/bpf_task_work_cancel_and_free")
int BPF_PROG(move_elem, void *val)
{
	__u32 zero = 0;

	if (current_tid() != walker_tid || moves == MAX_MOVES ||
	    bpf_map_lookup_elem(&wide, &zero) != val || bpf_map_delete_elem(&wide, &zero))
		return 0;
	moves++;
	update(&wide, moves);
	update(&wide, 0);
	return 0;
}

static long until_knock(__u32 i, void *ctx)
{
	barrier();
	return knocked ? 1 : 0;
}

static long until_answer(__u32 i, void *ctx)
{
	barrier();
	return answered ? 1 : 0;
}

/*
 * Under the lock of the bucket of the element that is being replaced. A million looks, when
 * the other CPU has come, are more than an NMI waits, but a small part of a second.
 */
SEC("fentry/bpf_obj_free_fields")
int BPF_PROG(hold_bucket, const struct btf_record *rec, void *obj)
{
	if (current_tid() != holder_tid || held)
		return 0;
	held = 1;
	bpf_loop(1 << 23, until_knock, NULL, 0);
	bpf_loop(1 << 20, until_answer, NULL, 0);
	met = knocked;
	return 0;
}

SEC("syscall")
int update_contended(void *ctx)
{
	return update(&contended, 0);
}

SEC("syscall")
int update_other(void *ctx)
{
	return update(&other, 0);
}

SEC("kprobe")
int update_at_breakpoint(struct pt_regs *ctx)
{
	if (current_tid() != waiter_tid || knocked)
		return 0;
	preempt_count_seen = preempt_count();
	knocked = 1;
	ret_update = update(&contended, 0);
	answered = 1;
	return 0;
}

/* To run it calls the functions that are there to be traced. */
SEC("fentry/bpf_fentry_test1")
int call_fentry_tests(void *ctx)
{
	return 0;
}
