// SPDX-License-Identifier: GPL-2.0
/*
 * A callback of a workqueue runs in a worker, where it may sleep, and not where its program
 * runs: it is verified for that, whatever its program may do.
 */
#include "async_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} plain_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} user_ringbuf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} cgroup_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} devmap SEC(".maps");

struct bpf_key *bpf_lookup_user_key(__u32 serial, __u64 flags) __ksym;
void bpf_key_put(struct bpf_key *bkey) __ksym;

__u32 zero;
__u64 number;
char buffer[8];
const void *user_ptr;

static __always_inline int start(int (callback)(void *map, int *key, void *value))
{
	struct elem *elem = bpf_map_lookup_elem(&map, &zero);

	return elem ? bpf_wq_set_callback(&elem->wq, callback, 0) : 0;
}

/* Whether it may sleep */

static int callback_sleeps(void *map, int *key, void *value)
{
	bpf_copy_from_user(buffer, sizeof(buffer), user_ptr);
	bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0);
	return 0;
}

SEC("tp_btf/sys_enter")
__success
int callback_may_sleep(void *ctx)
{
	return start(callback_sleeps);
}

/* That holds for the callback and not for the program around it. */
SEC("tp_btf/sys_enter")
__failure __msg("program must be sleepable to call sleepable kfunc bpf_copy_from_user_str")
int program_may_not_call_sleepable_kfunc(void *ctx)
{
	start(callback_sleeps);
	return bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0);
}

SEC("tp_btf/sys_enter")
__failure __msg("helper call might sleep in a non-sleepable prog")
int program_may_not_call_sleepable_helper(void *ctx)
{
	start(callback_sleeps);
	return bpf_copy_from_user(buffer, sizeof(buffer), user_ptr);
}

/* Nor for what the callback does under RCU. */
static int callback_sleeps_under_rcu(void *map, int *key, void *value)
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
	return start(callback_sleeps_under_rcu);
}

/* Nor for what a helper calls back that holds RCU or a lock. */
static long element_sleeps(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0) < 0;
}

static int callback_walks_hash(void *map, int *key, void *value)
{
	bpf_for_each_map_elem(&hash, element_sleeps, NULL, 0);
	return 0;
}

SEC("tc")
__failure __msg("kfunc bpf_copy_from_user_str might sleep in a callback that may not")
int callback_may_not_sleep_in_hash(void *ctx)
{
	return start(callback_walks_hash);
}

/* The walk of an array holds nothing. */
static int callback_walks_array(void *map, int *key, void *value)
{
	bpf_for_each_map_elem(&plain_map, element_sleeps, NULL, 0);
	return 0;
}

SEC("tc")
__success
int callback_may_sleep_in_array(void *ctx)
{
	return start(callback_walks_array);
}

static long vma_sleeps(struct task_struct *task, struct vm_area_struct *vma, void *ctx)
{
	return bpf_copy_from_user(buffer, sizeof(buffer), user_ptr) < 0;
}

static int callback_finds_vma(void *map, int *key, void *value)
{
	bpf_find_vma(bpf_get_current_task_btf(), 0, vma_sleeps, NULL, 0);
	return 0;
}

SEC("tp_btf/sys_enter")
__failure __msg("helper call might sleep in a callback that may not")
int callback_may_not_sleep_in_vma(void *ctx)
{
	return start(callback_finds_vma);
}

/* When the helper has returned, the callback may sleep again, and between two of them. */
static long element_does_nothing(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return 0;
}

static int callback_walks_then_sleeps(void *map, int *key, void *value)
{
	bpf_for_each_map_elem(&hash, element_does_nothing, NULL, 0);
	bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0);
	bpf_for_each_map_elem(&hash, element_does_nothing, NULL, 0);
	bpf_copy_from_user(buffer, sizeof(buffer), user_ptr);
	return 0;
}

SEC("tp_btf/sys_enter")
__success
int callback_may_sleep_after_hash(void *ctx)
{
	return start(callback_walks_then_sleeps);
}

static long round_sleeps(__u64 i, void *ctx)
{
	return bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0) < 0;
}

static int callback_loops(void *map, int *key, void *value)
{
	bpf_loop(3, round_sleeps, NULL, 0);
	return 0;
}

SEC("tc")
__success
int callback_may_sleep_in_loop(void *ctx)
{
	return start(callback_loops);
}

/* An inner callback is not freer than the one around it. */
static long element_loops(struct bpf_map *map, void *key, void *value, void *ctx)
{
	return bpf_loop(3, round_sleeps, NULL, 0) < 0;
}

static int callback_loops_in_hash(void *map, int *key, void *value)
{
	bpf_for_each_map_elem(&hash, element_loops, NULL, 0);
	return 0;
}

SEC("tc")
__failure __msg("kfunc bpf_copy_from_user_str might sleep in a callback that may not")
int callback_may_not_sleep_in_loop_in_hash(void *ctx)
{
	return start(callback_loops_in_hash);
}

/*
 * One helper call that walks one map or the other: each is looked at. The verifier goes
 * straight on first, to the array; what a compiler makes of a condition may go either way.
 */
static int callback_walks_either(void *map, int *key, void *value)
{
	void *either = &hash;

	asm volatile ("if %[number] == 0 goto +1; %[either] = %[array];"
		      : [either] "+r"(either)
		      : [number] "r"(number), [array] "r"(&plain_map));
	bpf_for_each_map_elem(either, element_sleeps, NULL, 0);
	return 0;
}

/* The flag: the verifier remembers what it saw of the array, and could take the hash for it. */
SEC("tc")
__failure __msg("kfunc bpf_copy_from_user_str might sleep in a callback that may not")
__flag(BPF_F_TEST_STATE_FREQ)
int callback_may_not_sleep_in_either(void *ctx)
{
	return start(callback_walks_either);
}

static long sample_sleeps(struct bpf_dynptr *sample, void *ctx)
{
	return bpf_copy_from_user_str(buffer, sizeof(buffer), user_ptr, 0) < 0;
}

static int callback_drains(void *map, int *key, void *value)
{
	bpf_user_ringbuf_drain(&user_ringbuf, sample_sleeps, NULL, 0);
	return 0;
}

SEC("tc")
__success
int callback_may_sleep_in_drain(void *ctx)
{
	return start(callback_drains);
}

/*
 * What a helper finds in the task that runs the program is not there any more when
 * its callback runs.
 */

static int callback_gets_retval(void *map, int *key, void *value)
{
	number = bpf_get_retval();
	return 0;
}

SEC("cgroup/getsockopt")
__failure __msg("helper bpf_get_retval#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_get_retval(void *ctx)
{
	start(callback_gets_retval);
	return 1;
}

static int callback_sets_retval(void *map, int *key, void *value)
{
	bpf_set_retval(0);
	return 0;
}

SEC("cgroup/getsockopt")
__failure __msg("helper bpf_set_retval#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_set_retval(void *ctx)
{
	start(callback_sets_retval);
	return 1;
}

static int callback_gets_storage(void *map, int *key, void *value)
{
	number = *(__u64 *)bpf_get_local_storage(&cgroup_storage, 0);
	return 0;
}

SEC("cgroup/getsockopt")
__failure __msg("helper bpf_get_local_storage#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_get_storage(void *ctx)
{
	start(callback_gets_storage);
	return 1;
}

static int callback_redirects(void *map, int *key, void *value)
{
	bpf_redirect(1, 0);
	return 0;
}

SEC("xdp")
__failure __msg("helper bpf_redirect#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_redirect(void *ctx)
{
	start(callback_redirects);
	return XDP_PASS;
}

static int callback_redirects_map(void *map, int *key, void *value)
{
	bpf_redirect_map(&devmap, 0, 0);
	return 0;
}

SEC("xdp")
__failure __msg("helper bpf_redirect_map#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_redirect_map(void *ctx)
{
	start(callback_redirects_map);
	return XDP_PASS;
}

/* Nor are the files and the credentials those of who ran the program. */

static int callback_closes(void *map, int *key, void *value)
{
	bpf_sys_close(0);
	return 0;
}

SEC("syscall")
__failure __msg("helper bpf_sys_close#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_close(void *ctx)
{
	return start(callback_closes);
}

static int callback_calls_bpf(void *map, int *key, void *value)
{
	bpf_sys_bpf(0, buffer, sizeof(buffer));
	return 0;
}

SEC("syscall")
__failure __msg("helper bpf_sys_bpf#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_call_bpf(void *ctx)
{
	return start(callback_calls_bpf);
}

/* It puts a file descriptor of the BTF into the task. */
static int callback_finds_btf(void *map, int *key, void *value)
{
	bpf_btf_find_by_name_kind(buffer, sizeof(buffer), 0, 0);
	return 0;
}

SEC("syscall")
__failure
__msg("helper bpf_btf_find_by_name_kind#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_find_btf(void *ctx)
{
	return start(callback_finds_btf);
}

/* It asks whether the task may know the addresses of the kernel. */
static int callback_finds_symbol(void *map, int *key, void *value)
{
	bpf_kallsyms_lookup_name(buffer, sizeof(buffer), 0, &number);
	return 0;
}

SEC("syscall")
__failure
__msg("helper bpf_kallsyms_lookup_name#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_find_symbol(void *ctx)
{
	return start(callback_finds_symbol);
}

/* They take the socket's lock, and ask for capabilities, unless the program is running. */
static int callback_sets_option(void *map, int *key, void *value)
{
	bpf_setsockopt(value, 0, 0, buffer, sizeof(buffer));
	return 0;
}

SEC("cgroup/setsockopt")
__failure __msg("helper bpf_setsockopt#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_set_option(void *ctx)
{
	start(callback_sets_option);
	return 1;
}

static int callback_gets_option(void *map, int *key, void *value)
{
	bpf_getsockopt(value, 0, 0, buffer, sizeof(buffer));
	return 0;
}

SEC("cgroup/setsockopt")
__failure __msg("helper bpf_getsockopt#{{[0-9]+}} can't be called from an async callback")
int callback_may_not_get_option(void *ctx)
{
	start(callback_gets_option);
	return 1;
}

/* It may create a keyring in the credentials of the task. */
static int callback_looks_up_key(void *map, int *key, void *value)
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
	return start(callback_looks_up_key);
}
