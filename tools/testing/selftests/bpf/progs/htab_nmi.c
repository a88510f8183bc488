// SPDX-License-Identifier: GPL-2.0
/* A hash that is used in an NMI during its use. The breakpoint of a kprobe counts as one. */
#include "async_common.h"
#include "async_preempt.h"
#include "htab_nmi.h"

char _license[] SEC("license") = "GPL";

#define NR_MANY 512

/* The kernel clears the pointer when it frees the value, under the lock of the bucket. */
struct elem {
	struct task_struct __kptr_untrusted * task;
	__u64 data;
};

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

struct one_element {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
};

struct one_element contended SEC(".maps");
struct one_element other SEC(".maps");

/* set by the test */
int nr_counted;
int holder_tid;
int waiter_tid;

/* read by the test */
int preempt_count_seen;
void *slot_addr;
int nmi_replaced;
int nmi_replace_busy;
int nmi_inserted;
void *counted_addr;
int total_offset;
bool counts_up;
int nmi_inserted_locked;
int held;
int knocked;
int answered;
int met;
int ret_update;

/*
 * Never loaded. Where nothing looks into a task the compiler only declares the type, and
 * the kernel finds no pointer to one in a value.
 */
SEC("?syscall")
int look_into_task(void *ctx)
{
	return bpf_get_current_task_btf()->pid;
}

/* Not a struct elem on the stack, which must not hold the field. */
static long update_in(void *map, __u32 key, __u64 flags)
{
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
	slot_addr = &elem->task;
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

/* Only the counter of a kernel for several CPUs has a lock. For one, its own type is empty. */
struct percpu_counter___smp {
	struct {
		__u32 word;
	} lock;
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

/* How many there were to be inserted or deleted. */
static int insert_or_delete(__u32 first_key, bool insert)
{
	int i, nr = 0;

	bpf_for(i, 0, MORE_THAN_BATCH) {
		__u32 key = first_key + i;

		if (insert)
			nr += !update_in(&counted, key, BPF_NOEXIST);
		else
			nr += !bpf_map_delete_elem(&counted, &key);
	}
	return nr;
}

SEC("syscall")
int count_up_and_down(void *ctx)
{
	/* The NMIs may leave no memory for the last ones. */
	counts_up = true;
	insert_or_delete(0, true);
	counts_up = false;
	insert_or_delete(0, false);
	return 0;
}

/*
 * At a breakpoint on the total, which changes while its lock is taken. Then the CPU's own
 * count is just below the batch: one more in the same direction, and the NMI needs the lock.
 * At other hits the total is only read, and what the NMI has inserted can go.
 */
SEC("perf_event")
int count_in_nmi(void *ctx)
{
	bool insert = counts_up && total_is_locked(bpf_core_cast(counted_addr, struct bpf_htab));
	int nr = insert_or_delete(nr_counted, insert);

	preempt_count_seen = preempt_count();
	nmi_inserted_locked += insert ? nr : 0;
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
	return update_in(&contended, 0, BPF_ANY);
}

SEC("syscall")
int update_other(void *ctx)
{
	return update_in(&other, 0, BPF_ANY);
}

SEC("kprobe")
int update_at_breakpoint(struct pt_regs *ctx)
{
	if (current_tid() != waiter_tid || knocked)
		return 0;
	preempt_count_seen = preempt_count();
	knocked = 1;
	ret_update = update_in(&contended, 0, BPF_ANY);
	answered = 1;
	return 0;
}

/* To run it calls the functions that are there to be traced. */
SEC("fentry/bpf_fentry_test1")
int call_fentry_tests(void *ctx)
{
	return 0;
}
