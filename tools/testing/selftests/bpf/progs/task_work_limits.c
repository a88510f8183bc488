// SPDX-License-Identifier: GPL-2.0
/* What a program could do to the system if it were let. */
#include "task_work_common.h"
#include "task_work_hold.h"
#include "../bpf_testmod/bpf_testmod_kfunc.h"

char _license[] SEC("license") = "GPL";

void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;

#define NR_MANY 512

struct elem {
	struct bpf_task_work tw;
	__u64 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct elem);
} pair SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NR_MANY);
	__type(key, __u32);
	__type(value, struct elem);
} many SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, COUNTED_PER_CPU);
	__type(key, __u32);
	__type(value, struct elem);
} counted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} storage SEC(".maps");

struct held {
	struct task_struct __kptr * task;
	__u64 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} pinned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct held);
} pinned_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} pinned_percpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct { struct bpf_spin_lock lock; __u64 data; });
} locked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
} constant SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} callees SEC(".maps"), callees_of_storage SEC(".maps"), callees_of_sockmap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} reports SEC(".maps");

/* Its memory comes from caches of its own; no program holds it. */
struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NR_MANY);
	__type(key, __u32);
	__type(value, __u64);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { &inner },
};

/* set by the test */
int nr_counted;
int target_tid;
int test_tid;
int hold_interrupt;
__u64 armed; /* 64 bits: a swap of 32 needs alu32 */
int stop;

/* read by the test */
int ran;
int ret_last;
int ret_dying;
int ret_many;
int preempt_count_seen;
int deleted;
int accepted;
int refused;
int walks;
int looked_at;
int looked_at_first;
void *inner_addr;
int inner_freed;
struct bpf_task_work *slot_addr;
int nmi_replaced;
int nmi_replace_busy;
int nmi_inserted;
void *counted_addr;
int total_offset;
int nmi_hits;
int nmi_hits_locked;

static __always_inline int schedule_in_pair(__u32 key, bpf_task_work_callback_t callback)
{
	struct elem *elem = bpf_map_lookup_elem(&pair, &key);

	if (!elem)
		return -ENOENT;
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &elem->tw, &pair,
					     callback);
}

/* Each of two callbacks schedules the other. */
static int schedule_other(struct bpf_map *map, void *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	if (!stop)
		ret_last = schedule_in_pair(!*(__u32 *)key, schedule_other);
	return 0;
}

SEC("syscall")
int schedule_each_other(void *ctx)
{
	return schedule_in_pair(0, schedule_other);
}

/* In the last moment in which it is accepted: SIGKILL is not pending any more. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(schedule_dying, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	if (current_tid() == target_tid && sig == 9 /* SIGKILL */)
		ret_dying = schedule_in_pair(0, schedule_other);
	return 0;
}

static int count(struct bpf_map *map, void *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static int schedule_all(struct task_struct *task)
{
	int i, err = 0;

	bpf_for(i, 0, NR_MANY) {
		__u32 key = i;
		struct elem *elem = bpf_map_lookup_elem(&many, &key);

		if (!elem)
			continue;
		err = bpf_task_work_schedule_resume(task, &elem->tw, &many, count) ?: err;
	}
	return err;
}

/* All on one task. */
SEC("syscall")
int schedule_many(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int err;

	if (!task)
		return -ESRCH;
	err = schedule_all(task);
	bpf_task_release(task);
	return err;
}

static void delete_all(void)
{
	int i;

	bpf_for(i, 0, NR_MANY) {
		__u32 key = i;

		if (!bpf_map_delete_elem(&many, &key))
			deleted++;
	}
}

SEC("perf_event")
int delete_in_interrupt(void *ctx)
{
	if (__sync_val_compare_and_swap(&armed, 1, 2) != 1)
		return 0;
	preempt_count_seen = preempt_count();
	delete_all();
	armed = 0;
	return 0;
}

SEC("syscall")
int delete_many(void *ctx)
{
	delete_all();
	return 0;
}

SEC("syscall")
int delete_half(void *ctx)
{
	int i;

	bpf_for(i, 0, NR_MANY / 2) {
		__u32 key = 2 * i;

		bpf_map_delete_elem(&many, &key);
	}
	return 0;
}

static long update_in(void *map, __u32 key, __u64 flags)
{
	/* Not a struct elem: the stack must not hold the field. */
	char value[sizeof(struct elem)] = {};

	return bpf_map_update_elem(map, &key, &value, flags);
}

static long update(__u32 key, __u64 flags)
{
	return update_in(&many, key, flags);
}

SEC("syscall")
int find_first(void *ctx)
{
	__u32 zero = 0;
	struct elem *elem = bpf_map_lookup_elem(&many, &zero);

	if (!elem)
		return -ENOENT;
	slot_addr = &elem->tw;
	return 0;
}

SEC("syscall")
int replace_first(void *ctx)
{
	return update(0, BPF_EXIST);
}

/* At a breakpoint on the field of the element that is being replaced. */
SEC("perf_event")
int replace_others(void *ctx)
{
	int i;

	if (preempt_count_seen)
		return 0;
	preempt_count_seen = preempt_count();
	bpf_for(i, 1, NR_OTHERS) {
		long err = update(i, BPF_EXIST);

		nmi_replaced += !err;
		nmi_replace_busy += err == -EBUSY;
		nmi_inserted += !update(NR_OTHERS + i, BPF_NOEXIST);
	}
	return 0;
}

/* Only the counter of a kernel for several CPUs has a lock. */
struct percpu_counter___smp {
	raw_spinlock_t lock;
} __attribute__((preserve_access_index));

static bool total_is_locked(struct bpf_htab *htab)
{
	struct percpu_counter___smp *total = (void *)&htab->pcount;
	__u32 word = 0;

	/* It begins with a word that is 0 when it is free, whatever the fields are called. */
	if (bpf_core_field_exists(total->lock))
		bpf_core_read(&word, sizeof(word), &total->lock);
	return word;
}

SEC("syscall")
int find_total(void *ctx)
{
	if (!bpf_core_field_exists(struct percpu_counter___smp, lock))
		return -EOPNOTSUPP;
	/* The verifier lets no program add the two. */
	counted_addr = &counted;
	total_offset = bpf_core_field_offset(struct bpf_htab, pcount.count);
	return 0;
}

static void insert_or_delete(__u32 first_key, bool insert)
{
	int i;

	bpf_for(i, 0, MORE_THAN_BATCH) {
		__u32 key = first_key + i;

		if (insert)
			update_in(&counted, key, BPF_ANY);
		else
			bpf_map_delete_elem(&counted, &key);
	}
}

SEC("syscall")
int count_up_and_down(void *ctx)
{
	/* The NMIs may leave no memory for the last ones. */
	insert_or_delete(0, true);
	insert_or_delete(0, false);
	return 0;
}

/* At a breakpoint on the total, which changes while its lock is taken. */
SEC("perf_event")
int count_in_nmi(void *ctx)
{
	preempt_count_seen = preempt_count();
	if (total_is_locked(bpf_core_cast(counted_addr, struct bpf_htab)))
		nmi_hits_locked++;
	insert_or_delete(nr_counted, !(nmi_hits++ % 2));
	return 0;
}

static int insert_schedule_delete(struct task_struct *task)
{
	__u32 zero = 0;
	struct elem *elem;
	int err;

	if (update(zero, BPF_ANY))
		return -E2BIG;
	elem = bpf_map_lookup_elem(&many, &zero);
	if (!elem)
		return -ENOENT;
	err = bpf_task_work_schedule_resume(task, &elem->tw, &many, count);
	bpf_map_delete_elem(&many, &zero);
	return err;
}

/* Where preemption is disabled no grace period ends, and no memory comes back. */
SEC("syscall")
int cancel_many(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	int i;

	if (!task)
		return -ESRCH;
	bpf_preempt_disable();
	bpf_for(i, 0, 2 * MAX_CANCELLED) {
		int err = insert_schedule_delete(task);

		accepted += !err;
		refused += err == -ENOMEM;
		if (err)
			ret_many = err;
	}
	bpf_preempt_enable();
	bpf_task_release(task);
	return 0;
}

/* Called for each work of the list, in the walk, with interrupts disabled. */
SEC("fentry/bpf_task_work_is_freed")
int BPF_PROG(interrupt_walk)
{
	struct task_struct *task;
	struct elem *elem;
	__u32 one = 1;

	/*
	 * There is one walk at a time. The first work asks for an interrupt, to hand work to a
	 * third task.
	 */
	if (looked_at++)
		return 0;
	task = bpf_task_from_pid(test_tid);
	if (!task)
		return 0;
	elem = bpf_map_lookup_elem(&pair, &one);
	if (elem)
		ret_last = bpf_task_work_schedule_resume(task, &elem->tw, &pair, count);
	bpf_task_release(task);
	return 0;
}

/* It comes as soon as interrupts are enabled. */
SEC("fentry/bpf_task_work_irq")
int BPF_PROG(see_interrupt)
{
	if (!looked_at || looked_at_first)
		return 0;
	looked_at_first = looked_at;
	if (hold_interrupt)
		wait_for_test();
	return 0;
}

SEC("fentry/task_work_cancel_all")
int BPF_PROG(count_walks, struct task_struct *task)
{
	if (task->pid == target_tid)
		__sync_fetch_and_add(&walks, 1);
	return 0;
}

/*
 * A CPU that goes down calls this when it has run its irq_works for the last time. No
 * tracepoint is hit there any more, but functions are traced.
 */
SEC("fentry/sched_cpu_dying")
int BPF_PROG(schedule_on_dying_cpu)
{
	struct task_struct *task = bpf_task_from_pid(target_tid);
	struct elem *elem;
	__u32 zero = 0;

	if (!task)
		return 0;
	elem = bpf_map_lookup_elem(&pair, &zero);
	if (elem)
		ret_last = bpf_task_work_schedule_signal(task, &elem->tw, &pair, count);
	ret_many = schedule_all(task);
	bpf_task_release(task);
	return 0;
}

SEC("fentry/sched_cpu_dying")
int BPF_PROG(allocate_on_dying_cpu)
{
	__u32 zero = 0;
	void *map = bpf_map_lookup_elem(&outer, &zero);
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

/* The worker has waited for all that could still use the memory. */
SEC("fexit/htab_map_free")
int BPF_PROG(see_freed, struct bpf_map *map)
{
	if (map == inner_addr)
		inner_freed = 1;
	return 0;
}

/* The first use of a slot allocates its context. */
SEC("syscall")
int schedule_first_use(void *ctx)
{
	return schedule_in_pair(1, count);
}

SEC("iter/bpf_map_elem")
int write_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		value[0] = 42;
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_helper(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		bpf_probe_read_kernel(value, 8, (void *)8);
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[1];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_first(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[0];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_behind_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[8];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_behind_key(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		ret_last = key[1];
	return 0;
}

SEC("iter.s/bpf_map_elem")
int read_elem_sleepable(struct bpf_iter__bpf_map_elem *ctx)
{
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[0];
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_storage_again(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[0] + 1;
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_behind_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = value[1];
	return 0;
}

SEC("iter/sockmap")
int read_socket_key(struct bpf_iter__sockmap *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		ret_last = key[0];
	return 0;
}

SEC("iter/sockmap")
int read_behind_socket_key(struct bpf_iter__sockmap *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		ret_last = key[1];
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_kfunc(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = bpf_kfunc_call_test_read_mem(value + 1);
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_kfunc_len(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = bpf_kfunc_call_test_read_mem_len(value, 16);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_kfunc(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		bpf_kfunc_call_test_mem_len_pass1(value, 8);
	return 0;
}

static __noinline __u64 read_u64(const __u64 *p)
{
	return *p;
}

SEC("iter/bpf_map_elem")
int read_elem_with_static(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = read_u64(value + 1);
	return 0;
}

__noinline int read_global(const __u64 *p)
{
	return p ? *p : 0;
}

/* Whatever its type says. */
__noinline int write_global(const __u64 *p)
{
	if (p)
		*(__u64 *)p = 42;
	return 0;
}

__noinline int write_global_with_helper(const __u64 *p)
{
	return p ? bpf_probe_read_kernel((void *)p, 8, (void *)8) : 0;
}

__noinline int hand_on_global(const __u64 *p)
{
	return write_global(p);
}

struct pair_of_u64 {
	__u64 first, second;
};

static __noinline void write_second(struct pair_of_u64 *pair)
{
	pair->second = 42;
}

__noinline int write_second_global(struct pair_of_u64 *pair)
{
	if (pair)
		write_second(pair);
	return 0;
}

__noinline int add_global(const __u64 *p, __u64 *sum)
{
	if (p && sum)
		*sum += *p;
	return 0;
}

/* Named like the function of an iterator, or no extension of it is loaded. */
__noinline int bpf_iter_bpf_map_elem(const struct pair_of_u64 *p)
{
	return p ? p->second : 0;
}

__noinline int report_global(const __u64 *p)
{
	__u64 *record = p ? bpf_ringbuf_reserve(&reports, 8, 0) : NULL;

	if (record) {
		*record = *p;
		bpf_ringbuf_submit(record, 0);
	}
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_global(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		ret_last = read_global(value + 1);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_global(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		ret_last = write_global(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_globals_helper(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		ret_last = write_global_with_helper(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_two_globals(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		ret_last = hand_on_global(value);
	return 0;
}

/* The function writes, but not here, and not the value. */
SEC("iter/bpf_map_elem")
int read_elem_and_write_own(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value, own = 0;

	hand_on_global(&own);
	if (value)
		add_global(value + 1, &own);
	ret_last = own;
	return 0;
}

/* Verified first for the stack alone. */
SEC("iter/bpf_map_elem")
int write_elem_and_own(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value, own = 0;

	write_global(&own);
	if (value)
		hand_on_global(value);
	return 0;
}

/* One call, and two kinds of memory: the verifier comes with either one first. */
SEC("iter/bpf_map_elem")
int write_elem_or_own(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 own = 0, *value = ctx->value;

	if (!value || ctx->meta->seq_num)
		value = &own;
	write_global(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_own_or_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 own = 0, *value = ctx->value, *p = &own;

	if (value && ctx->meta->seq_num)
		p = value;
	write_global(p);
	return 0;
}

SEC("iter/bpf_map_elem")
int write_elem_with_static(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		write_second_global(value);
	return 0;
}

SEC("iter/bpf_map_elem")
int pop_to_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		bpf_map_pop_elem(&queue, value);
	return 0;
}

SEC("iter/bpf_map_elem")
int read_elem_with_named(struct bpf_iter__bpf_map_elem *ctx)
{
	void *value = ctx->value;

	if (value)
		ret_last = bpf_iter_bpf_map_elem(value);
	return 0;
}

/* Helpers that write, and do not say so. */
SEC("iter/bpf_map_elem")
int print_to_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	char *value = ctx->value;
	__u64 arg = 0;

	if (value)
		bpf_snprintf(value, 8, "%d", &arg, sizeof(arg));
	return 0;
}

SEC("iter/bpf_map_elem")
int print_btf_to_elem(struct bpf_iter__bpf_map_elem *ctx)
{
	struct btf_ptr ptr = {
		.ptr = ctx->map,
		.type_id = bpf_core_type_id_kernel(struct bpf_map),
	};
	void *value = ctx->value;

	if (value)
		bpf_snprintf_btf(value, 8, &ptr, sizeof(ptr), 0);
	return 0;
}

/* Nobody knows what that does with the value. */
SEC("iter/bpf_map_elem")
int tail_call(struct bpf_iter__bpf_map_elem *ctx)
{
	bpf_tail_call(ctx, &callees, 0);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int tail_call_of_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	bpf_tail_call(ctx, &callees_of_storage, 0);
	return 0;
}

SEC("iter/sockmap")
int tail_call_of_sockmap(struct bpf_iter__sockmap *ctx)
{
	bpf_tail_call(ctx, &callees_of_sockmap, 0);
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int write_storage(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		value[0] = 0;
	return 0;
}

SEC("iter/bpf_map_elem")
int report_elem_with_global(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *value = ctx->value;

	if (value)
		report_global(value + 1);
	return 0;
}
