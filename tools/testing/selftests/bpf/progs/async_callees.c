// SPDX-License-Identifier: GPL-2.0
/*
 * What an async callback calls, and what a helper calls back, is verified for the place that
 * it is called from. So are the maps that it uses.
 */
#include "async_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_wq wq;
	struct task_struct __kptr * task;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

struct prefix {
	__u32 len;
	__u32 data;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct prefix);
	__type(value, __u64);
} trie SEC(".maps");

const void *user_ptr;
int result;

static struct elem *get_elem(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&map, &zero);
}

static __always_inline int start(int (callback)(void *map, int *key, void *value))
{
	struct elem *elem = get_elem();

	return elem ? bpf_wq_set_callback(&elem->wq, callback, 0) : 0;
}

/* The pointer is good as long as RCU protects it. */
__noinline int pin_task(int unused)
{
	struct elem *elem = get_elem();
	struct task_struct *task;

	task = elem ? elem->task : NULL;
	task = task ? bpf_task_acquire(task) : NULL;
	if (task)
		bpf_task_release(task);
	return unused;
}

__noinline int read_user(int unused)
{
	char text[8];

	return bpf_copy_from_user(text, sizeof(text), user_ptr) + unused;
}

__noinline int get_retval(int unused)
{
	return bpf_get_retval() + unused;
}

__noinline int look_up_prefix(int len)
{
	struct prefix prefix = { .len = len };

	return !!bpf_map_lookup_elem(&trie, &prefix);
}

__noinline int add_one(int number)
{
	return number + 1;
}

static long element_adds(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return !!add_one(4);
}

__noinline int pin_task_twice(int unused)
{
	return pin_task(unused) + pin_task(unused);
}

SEC("tp_btf/sys_enter")
__success
int program_pins(void *ctx)
{
	return pin_task(0);
}

static int pins(void *map, int *key, void *value)
{
	result = pin_task(0);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("R1 must be a rcu pointer")
int callback_may_not_pin(void *ctx)
{
	return start(pins);
}

SEC("tp_btf/sys_enter")
__failure __msg("R1 must be a rcu pointer")
int nor_if_its_program_does(void *ctx)
{
	pin_task(0);
	return start(pins);
}

static int pins_by_another(void *map, int *key, void *value)
{
	result = pin_task_twice(0);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("R1 must be a rcu pointer")
int nor_by_another(void *ctx)
{
	return start(pins_by_another);
}

static int pins_under_rcu(void *map, int *key, void *value)
{
	bpf_rcu_read_lock();
	result = pin_task(0);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("tp_btf/sys_enter")
__success
int callback_pins_under_rcu(void *ctx)
{
	return start(pins_under_rcu);
}

static int reads(void *map, int *key, void *value)
{
	result = read_user(0);
	return 0;
}

SEC("tp_btf/sys_enter")
__success
int callback_reads(void *ctx)
{
	return start(reads);
}

SEC("tp_btf/sys_enter")
__failure __msg("helper call might sleep in a non-sleepable prog")
int program_may_not_read(void *ctx)
{
	return read_user(0);
}

SEC("tp_btf/sys_enter")
__failure __msg("helper call might sleep in a non-sleepable prog")
int nor_if_its_callback_does(void *ctx)
{
	return read_user(0) + start(reads);
}

SEC("syscall")
__success
int sleepable_program_reads(void *ctx)
{
	return read_user(0);
}

SEC("syscall")
__failure __msg("helper call might sleep in a non-sleepable prog")
int sleepable_program_may_not_read_under_rcu(void *ctx)
{
	int ret;

	bpf_rcu_read_lock();
	ret = read_user(0);
	bpf_rcu_read_unlock();
	return ret;
}

/* The helper holds RCU or a lock while it calls back, in whatever program. */
static long element_reads(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return !!read_user(0);
}

SEC("syscall")
__failure __msg("helper call might sleep in a callback that may not")
int sleepable_program_may_not_read_in_hash(void *ctx)
{
	return bpf_for_each_map_elem(&hash, element_reads, NULL, 0);
}

SEC("syscall")
__failure __msg("helper call might sleep in a callback that may not")
int nor_if_it_reads_elsewhere(void *ctx)
{
	return read_user(0) + bpf_for_each_map_elem(&hash, element_reads, NULL, 0);
}

SEC("syscall")
__success
int sleepable_program_reads_in_array(void *ctx)
{
	return bpf_for_each_map_elem(&map, element_reads, NULL, 0);
}

static int walks_hash(void *map, int *key, void *value)
{
	result = bpf_for_each_map_elem(&hash, element_reads, NULL, 0);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("helper call might sleep in a callback that may not")
int callback_may_not_read_in_hash(void *ctx)
{
	return start(walks_hash) + start(reads);
}

static long vma_reads(struct task_struct *task, struct vm_area_struct *vma, void *ctx)
{
	return !!read_user(0);
}

SEC("syscall")
__failure __msg("helper call might sleep in a callback that may not")
int sleepable_program_may_not_read_in_vma(void *ctx)
{
	return bpf_find_vma(bpf_get_current_task_btf(), 0, vma_reads, NULL, 0);
}

/* mmap_lock is not RCU. */
static long vma_pins(struct task_struct *task, struct vm_area_struct *vma, void *ctx)
{
	return !!pin_task(0);
}

SEC("syscall")
__failure __msg("R1 must be a rcu pointer")
int sleepable_program_may_not_pin_in_vma(void *ctx)
{
	return bpf_find_vma(bpf_get_current_task_btf(), 0, vma_pins, NULL, 0);
}

static int adds_in_hash(void *map, int *key, void *value)
{
	result = bpf_for_each_map_elem(&hash, element_adds, NULL, 0);
	return 0;
}

/* What is called only there is called by an async callback, too: see its use. */
SEC("tc")
__success
int element_of_callback_adds(void *ctx)
{
	return start(adds_in_hash);
}

static int gets_retval(void *map, int *key, void *value)
{
	result = get_retval(0);
	return 0;
}

SEC("cgroup/getsockopt")
__success
int program_gets_retval(void *ctx)
{
	result = get_retval(0);
	return 1;
}

SEC("cgroup/getsockopt")
__failure __msg("helper bpf_get_retval#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_get_retval(void *ctx)
{
	start(gets_retval);
	return 1;
}

SEC("tc")
__success
int program_adds(void *ctx)
{
	return add_one(3);
}

static int adds(void *map, int *key, void *value)
{
	result = add_one(1);
	return 0;
}

SEC("tc")
__success
int both_add(void *ctx)
{
	return add_one(2) + start(adds);
}

const volatile bool never;

__noinline int never_called(int number)
{
	return number - 1;
}

/* What is never called goes, and the numbers of the functions behind it change. */
SEC("tc")
__success
int callback_adds(void *ctx)
{
	return never ? never_called(1) : start(adds);
}

static int does_nothing(void *map, int *key, void *value)
{
	return 0;
}

SEC("tp_btf/sys_enter")
__success
int program_looks_up_prefix(void *ctx)
{
	return look_up_prefix(1) + start(does_nothing);
}

static int looks_up_prefix(void *map, int *key, void *value)
{
	struct prefix prefix = {};

	result = !!bpf_map_lookup_elem(&trie, &prefix);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("map 'trie' can't be used by a sleepable callback, only array, hash, ")
int callback_may_not_look_up_prefix(void *ctx)
{
	return start(looks_up_prefix);
}

static int calls_look_up_prefix(void *map, int *key, void *value)
{
	result = look_up_prefix(1);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("map 'trie' can't be used by a sleepable callback")
int nor_by_a_subprogram(void *ctx)
{
	return look_up_prefix(1) + start(calls_look_up_prefix);
}

static int looks_up_prefix_under_rcu(void *map, int *key, void *value)
{
	struct prefix prefix = {};

	bpf_rcu_read_lock();
	result = !!bpf_map_lookup_elem(&trie, &prefix);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("map 'trie' can't be used by a sleepable callback")
int nor_under_rcu(void *ctx)
{
	return start(looks_up_prefix_under_rcu);
}

__noinline int read_number(const int *p __arg_nonnull)
{
	return *p;
}

/*
 * Two paths that lead to one call, with a pointer in R1 and with a number. The second one
 * is looked at as well, whichever it is.
 */
SEC("tc")
__failure __msg("R1 type=scalar expected=")
__flag(BPF_F_TEST_STATE_FREQ)
__naked int pointer_then_number(void)
{
	asm volatile ("call %[bpf_get_prandom_u32];"
	"*(u64*)(r10 - 8) = r0;"
	"r1 = 42;"
	"if r0 != 0 goto 1f;"
	"r1 = r10;"
	"r1 += -8;"
	"1:	call read_number;"
	"r0 = 0;"
	"exit;"
	:
	: __imm(bpf_get_prandom_u32)
	: __clobber_all);
}

SEC("tc")
__failure __msg("R1 type=scalar expected=")
__flag(BPF_F_TEST_STATE_FREQ)
__naked int number_then_pointer(void)
{
	asm volatile ("call %[bpf_get_prandom_u32];"
	"*(u64*)(r10 - 8) = r0;"
	"r1 = r10;"
	"r1 += -8;"
	"if r0 != 0 goto 1f;"
	"r1 = 42;"
	"1:	call read_number;"
	"r0 = 0;"
	"exit;"
	:
	: __imm(bpf_get_prandom_u32)
	: __clobber_all);
}
