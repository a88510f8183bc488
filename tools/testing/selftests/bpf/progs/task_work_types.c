// SPDX-License-Identifier: GPL-2.0
/*
 * Work scheduled from many types of programs, by turns in one of the four
 * spellings. Each program has a slot of its own, and the callback counts.
 */
#include "task_work_common.h"

char _license[] SEC("license") = "GPL";

#define NR_SLOTS 16

struct types_slot {
	struct bpf_task_work tw;
	__u32 ran;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_SLOTS);
	__type(key, __u32);
	__type(value, struct types_slot);
} slots SEC(".maps");

/* set by the test */
int tid;
__u32 slot_nr;
__u64 armed; /* 64 bits: a swap of 32 needs alu32 */

/* read by the test */
int schedule_ret;
int ran;

static int callback(struct bpf_map *map, void *key, void *value)
{
	struct types_slot *slot = value;

	if (*(__u32 *)key == slot_nr)
		slot->ran++;
	__sync_fetch_and_add(&ran, 1);
	return 0;
}

#define SCHEDULE(spelling, ...) ({						\
	struct types_slot *slot = bpf_map_lookup_elem(&slots, &slot_nr);	\
										\
	if (slot && current_tid() == tid &&					\
	    __sync_val_compare_and_swap(&armed, 1, 0) == 1)			\
		schedule_ret =							\
			bpf_task_work_schedule_##spelling(bpf_get_current_task_btf(), \
							  &slot->tw, &slots,	\
							  callback, ##__VA_ARGS__); \
})

SEC("syscall")
int from_syscall(void *ctx)
{
	SCHEDULE(resume);
	return 0;
}

SEC("tc")
int from_tc(void *ctx)
{
	SCHEDULE(signal);
	return 0;
}

SEC("xdp")
int from_xdp(void *ctx)
{
	SCHEDULE(resume_impl, NULL);
	return XDP_PASS;
}

SEC("cgroup_skb/egress")
int from_cgroup_skb(void *ctx)
{
	SCHEDULE(signal_impl, NULL);
	return 1;
}

SEC("socket")
int from_socket(void *ctx)
{
	SCHEDULE(resume);
	return 0;
}

SEC("raw_tp/sys_enter")
int from_raw_tp(void *ctx)
{
	SCHEDULE(resume_impl, NULL);
	return 0;
}

SEC("tp_btf/sys_enter")
int from_tp_btf(void *ctx)
{
	SCHEDULE(resume);
	return 0;
}

SEC("tp/syscalls/sys_enter_getpgid")
int from_tp(void *ctx)
{
	SCHEDULE(resume);
	return 0;
}

SEC("perf_event")
int from_perf_event(void *ctx)
{
	SCHEDULE(signal_impl, NULL);
	return 0;
}

SEC("fentry/" SYS_PREFIX "sys_getpgid")
int from_fentry(void *ctx)
{
	SCHEDULE(signal);
	return 0;
}

SEC("fexit/" SYS_PREFIX "sys_getpgid")
int from_fexit(void *ctx)
{
	SCHEDULE(signal_impl, NULL);
	return 0;
}

SEC("?fentry.s/" SYS_PREFIX "sys_getpgid")
int from_sleepable_fentry(void *ctx)
{
	SCHEDULE(resume);
	return 0;
}

SEC("kprobe/" SYS_PREFIX "sys_getpgid")
int from_kprobe(void *ctx)
{
	SCHEDULE(signal);
	return 0;
}

SEC("kretprobe/" SYS_PREFIX "sys_getpgid")
int from_kretprobe(void *ctx)
{
	SCHEDULE(resume_impl, NULL);
	return 0;
}

SEC("?lsm/task_getpgid")
int from_lsm(void *ctx)
{
	SCHEDULE(signal);
	return 0;
}

SEC("?lsm.s/bpf")
int from_sleepable_lsm(void *ctx)
{
	SCHEDULE(resume_impl, NULL);
	return 0;
}
