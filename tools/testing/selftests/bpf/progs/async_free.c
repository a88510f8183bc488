// SPDX-License-Identifier: GPL-2.0
/* Maps that are freed: callbacks, programs that sleep, and CPUs that are in the way. */
#include "async_common.h"
#include "bpf_experimental.h"
#include "async_hold.h"
#include "async_map_free.h"

char _license[] SEC("license") = "GPL";

/* What the test accepts is far less. */
#define MAX_MOVES	100

/* More than a CPU has memory for in store. */
#define NR_MANY		512

struct elem {
	struct bpf_wq wq;
	__u64 data;
};

/* Like this one is what the test creates, and frees. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} slots SEC(".maps");

/* The value owns a reference to a task, which goes when the value does. */
struct owner {
	struct bpf_wq wq;
	struct task_struct __kptr * task;
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

/* Its memory comes from caches of its own; no program holds it. */
struct inner_hash {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NR_MANY);
	__type(key, __u32);
	__type(value, __u64);
} inner_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner_hash);
} outer_hash SEC(".maps") = {
	.values = { &inner_hash },
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} records SEC(".maps");

/* set by the test */
const void *user_ptr;
int walker_tid;

/* read by the test */
int callback_sections;
int no_smp;
int freed;
int fields;
int waits;
int pins_outside;
int pins_at_fields;
int pins_at_waits;
int moves;
int ret_many;
void *inner_addr;
long ret_output;
int notified;

static __u32 zero;

static int hold_inner(void *map, int *key, void *value)
{
	void *inner = bpf_map_lookup_elem(&outer, &zero);
	__u64 *number = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

	if (!number)
		return 0;
	callback_sections = bpf_get_current_task_btf()->trc_reader_nesting;
	wait_for_test();
	*number = 1;
	ended = next_event();
	return 0;
}

/* A program that may not sleep, and whose callback may. */
SEC("tc")
int start_holder(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&slots, &zero);

	if (!elem || bpf_wq_init(&elem->wq, &slots, 0) ||
	    bpf_wq_set_callback(&elem->wq, hold_inner, 0))
		return -ENOMEM;
	return bpf_wq_start(&elem->wq, 0);
}

/* It has nothing to do with any map: it just has not ended. */
SEC("syscall")
int read_user(void *ctx)
{
	char text[8];

	bpf_copy_from_user(text, sizeof(text), user_ptr);
	ended = next_event();
	return 0;
}

/* Only a kernel for several CPUs counts that. */
struct task_struct___smp {
	unsigned short migration_disabled;
} __attribute__((preserve_access_index));

/* How often the current task is bound to its CPU. */
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

/* Other tests leave maps of these names behind that go meanwhile. */
static const void *hash_addr;
static const void *malloc_addr;
static const void *array_addr;

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
	hash_addr = &freed_hash;
	malloc_addr = &freed_malloc;
	array_addr = &freed_array;
	return own(bpf_map_lookup_elem(&freed_hash, &zero)) ?:
	       own(bpf_map_lookup_elem(&freed_malloc, &zero)) ?:
	       own(bpf_map_lookup_elem(&freed_array, &zero));
}

static __u32 freeing_tid;

static bool is_to_be_freed(const void *map)
{
	return map == hash_addr || map == malloc_addr || map == array_addr || map == inner_addr;
}

/* Kprobes, as other workers come here, too: see async_map_free.h. Each pins its task once. */
SEC("kprobe/bpf_map_free_deferred")
int BPF_KPROBE(see_worker, struct work_struct *work)
{
	if (is_to_be_freed(map_of_work(work))) {
		freeing_tid = current_tid();
		pins_outside = pins();
	}
	return 0;
}

/* The worker has waited for all that could still use the memory. */
SEC("raw_tp/workqueue_execute_end")
int BPF_PROG(see_worker_end, struct work_struct *work, void *function)
{
	if (is_to_be_freed(map_of_work(work)) && function == &bpf_map_free_deferred) {
		freeing_tid = 0;
		freed = 1;
	}
	return 0;
}

SEC("kprobe/bpf_task_release_dtor")
int BPF_KPROBE(see_fields)
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
SEC("kprobe/bpf_mem_alloc_destroy")
int BPF_KPROBE(see_wait)
{
	return see_pins_at_wait();
}

/* An array comes to nothing else that may wait. */
SEC("kprobe/bpf_map_area_free")
int BPF_KPROBE(see_area_free)
{
	return see_pins_at_wait();
}

static long update(void *map, __u32 key)
{
	/* Not a struct elem: the stack must not hold the field. */
	char value[sizeof(struct elem)] = {};

	return bpf_map_update_elem(map, &key, &value, BPF_ANY);
}

/* So there is something to cancel. */
SEC("syscall")
int init_in_wide(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&wide, &zero);

	return elem ? bpf_wq_init(&elem->wq, &wide, 0) : -ENOENT;
}

/*
 * The walk of the last user reference has come to the element of key 0. That gets another
 * key, and so another bucket; and there is one of key 0 again.
 */
SEC("fentry/bpf_wq_cancel_and_free")
int BPF_PROG(move_elem, void *val)
{
	if (current_tid() != walker_tid || moves == MAX_MOVES ||
	    bpf_map_lookup_elem(&wide, &zero) != val || bpf_map_delete_elem(&wide, &zero))
		return 0;
	moves++;
	update(&wide, moves);
	update(&wide, 0);
	return 0;
}

SEC("fentry/sched_cpu_dying")
int BPF_PROG(allocate_on_dying_cpu)
{
	void *map = bpf_map_lookup_elem(&outer_hash, &zero);
	__u64 value = 0;
	int i;

	if (!map)
		return 0;
	inner_addr = map;
	bpf_for(i, 0, NR_MANY) {
		__u32 key = i;

		ret_many = bpf_map_update_elem(map, &key, &value, BPF_ANY) ?: ret_many;
	}
	return 0;
}

/* Whoever waits for the record is woken by an irq_work of this CPU. */
static int output(void)
{
	int record = 1;

	ret_output = bpf_ringbuf_output(&records, &record, sizeof(record), BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("fentry/sched_cpu_dying")
int BPF_PROG(output_on_dying_cpu)
{
	return output();
}

SEC("fentry/sched_cpu_starting")
int BPF_PROG(output_on_starting_cpu)
{
	return output();
}

SEC("fentry/bpf_ringbuf_notify")
int BPF_PROG(see_notified, struct irq_work *work)
{
	notified = 1;
	return 0;
}
