// SPDX-License-Identifier: GPL-2.0
/* A workqueue that is deleted while a program is starting it. */
#include "async_common.h"
#include "bpf_experimental.h"
#include "async_hold.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} elems SEC(".maps");

/* set by the test */
int starter_tid = -1;
const void *user_ptr;

/* Other tests leave works behind that go meanwhile: ours are those of this map. */
const void *elems_addr;

/* read by the test */
int deleted;
int freed;
int ran;
int queued = -1;
int ret_start;
int ret_init;
int in_init;
int waits_for_tasks_trace;

static int count(void *map, int *key, void *value)
{
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

static struct bpf_wq *set_up(void)
{
	/* Not a struct elem: the stack must not hold the field. */
	char value[sizeof(struct elem)] = {};
	struct elem *elem;
	__u32 key = 1;

	elems_addr = &elems;
	if (bpf_map_update_elem(&elems, &key, &value, BPF_ANY))
		return NULL;
	elem = bpf_map_lookup_elem(&elems, &key);
	if (!elem || bpf_wq_init(&elem->wq, &elems, 0) || bpf_wq_set_callback(&elem->wq, count, 0))
		return NULL;
	return &elem->wq;
}

SEC("syscall")
int start(void *ctx)
{
	struct bpf_wq *wq = set_up();

	return wq ? bpf_wq_start(wq, 0) : -ENOMEM;
}

/* User space does what it likes to the element while the program sleeps. */
SEC("syscall")
int sleep_and_start(void *ctx)
{
	struct bpf_wq *wq = set_up();
	char text[8];

	if (!wq)
		return -ENOMEM;
	bpf_copy_from_user(text, sizeof(text), user_ptr);
	ret_start = bpf_wq_start(wq, 0);
	return 0;
}

/* What the initialisation has made is taken back, as the element is deleted. */
SEC("syscall")
int init_deleted(void *ctx)
{
	char value[sizeof(struct elem)] = {};
	struct elem *elem;
	__u32 key = 1;

	elems_addr = &elems;
	starter_tid = current_tid();
	if (bpf_map_update_elem(&elems, &key, &value, BPF_ANY))
		return -ENOMEM;
	elem = bpf_map_lookup_elem(&elems, &key);
	if (!elem || bpf_map_delete_elem(&elems, &key))
		return -ENOENT;
	/* Or what it leaves to RCU might be done here, too, in an interrupt. */
	bpf_rcu_read_lock();
	in_init = 1;
	ret_init = bpf_wq_init(&elem->wq, &elems, 0);
	in_init = 0;
	bpf_rcu_read_unlock();
	return 0;
}

static bool is_ours(struct bpf_work *work)
{
	return BPF_CORE_READ(work, cb.map) == elems_addr;
}

/* Other works are queued meanwhile, some of them in interrupts of the starter. */
static bool is_start(struct work_struct *work)
{
	return current_tid() == starter_tid &&
	       is_ours(container_of(work, struct bpf_work, work));
}

/* bpf_wq_start() has taken the work from the element and is about to queue it. */
SEC("fentry/queue_work_on")
int BPF_PROG(hold_starter, int cpu, struct workqueue_struct *wq, struct work_struct *work)
{
	if (is_start(work))
		wait_for_test();
	return 0;
}

SEC("fexit/queue_work_on")
int BPF_PROG(note_queued, int cpu, struct workqueue_struct *wq, struct work_struct *work, bool ret)
{
	if (is_start(work))
		queued = ret;
	return 0;
}

SEC("fexit/bpf_wq_delete_work")
int BPF_PROG(note_deleted, struct work_struct *work)
{
	if (is_ours(container_of(work, struct bpf_work, delete_work)))
		__sync_fetch_and_add(&deleted, 1);
	return 0;
}

SEC("fentry/bpf_wq_free_trace_rcu")
int BPF_PROG(note_freed, struct callback_head *rcu)
{
	if (is_ours(container_of(rcu, struct bpf_work, cb.rcu)))
		__sync_fetch_and_add(&freed, 1);
	return 0;
}

SEC("kprobe/call_rcu_tasks_trace")
int BPF_KPROBE(note_tasks_trace, struct callback_head *rcu)
{
	if (in_init && current_tid() == starter_tid &&
	    is_ours(container_of(rcu, struct bpf_work, cb.rcu)))
		__sync_fetch_and_add(&waits_for_tasks_trace, 1);
	return 0;
}
