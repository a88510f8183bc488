// SPDX-License-Identifier: GPL-2.0
/*
 * Read a string of the interrupted task from an NMI: once at once, where a
 * page that is not in memory cannot be waited for, and once from a callback
 * that runs when the task is about to return to user mode, where it can.
 */
#define BPF_NO_KFUNC_PROTOTYPES	/* vmlinux.h has them only with a recent pahole */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "taskstr.h"

extern int bpf_task_work_schedule_resume(struct task_struct *task,
					 struct bpf_task_work *tw, void *map,
					 bpf_task_work_callback_t callback) __ksym;
extern int bpf_task_work_schedule_signal(struct task_struct *task,
					 struct bpf_task_work *tw, void *map,
					 bpf_task_work_callback_t callback) __ksym;
extern int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr,
				  u64 flags) __ksym;

/* Each sample has an element of its own: no sample waits for another's slot. */
struct slot {
	struct bpf_task_work tw;
	const char *string;
	s32 in_nmi;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);		/* taskstr sets the number of samples */
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* taskstr empties it after each sample. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} reports SEC(".maps");

const volatile bool by_signal;

/* Set by taskstr. */
__u32 workload;			/* process to sample */
__u64 next_at;			/* where it keeps the pointer to its next string */
__u32 wanted;			/* take samples up to this number */

/*
 * Counted here; "finished" is read by the workload as well. Plain increments
 * do, because the next sample is wanted only after this one is finished.
 */
__u32 samples;			/* taken */
__u32 finished;			/* completed or dropped */
__u32 read_in_nmi;
__u32 dropped[NR_CAUSES];	/* by error number */

static void drop(int err)
{
	u32 cause = -err;

	if (cause < NR_CAUSES)
		dropped[cause]++;
	finished++;
}

static int read_in_callback(struct bpf_map *map, void *key, void *value)
{
	struct slot *slot = value;
	struct report report = {
		.nr = *(u32 *)key,
		.in_nmi = slot->in_nmi,
	};
	int err;

	report.in_callback = bpf_copy_from_user_str(report.string, sizeof(report.string),
						    slot->string, 0);
	err = bpf_ringbuf_output(&reports, &report, sizeof(report), 0);
	if (err)
		drop(err);
	else
		finished++;
	return 0;
}

static int ask_for_callback(struct slot *slot)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (by_signal)
		return bpf_task_work_schedule_signal(task, &slot->tw, &slots, read_in_callback);
	return bpf_task_work_schedule_resume(task, &slot->tw, &slots, read_in_callback);
}

static int take_sample(struct slot *slot)
{
	char string[STRING_LEN];
	int err;

	/* The workload has just written the pointer, so this page is there. */
	err = bpf_probe_read_user(&slot->string, sizeof(slot->string), (void *)next_at);
	if (err)
		return err;

	slot->in_nmi = bpf_probe_read_user_str(string, sizeof(string), slot->string);
	if (slot->in_nmi > 0)
		read_in_nmi++;
	return ask_for_callback(slot);
}

SEC("tp_btf/nmi_handler")
int sample_in_nmi(void *ctx)
{
	struct slot *slot;
	u32 nr = samples;
	int err;

	/*
	 * An NMI has several handlers, and others than taskstr send NMIs too.
	 * One sample a string is enough.
	 */
	if (bpf_get_current_pid_tgid() >> 32 != workload || nr == wanted)
		return 0;

	slot = bpf_map_lookup_elem(&slots, &nr);
	if (!slot)
		return 0;

	err = take_sample(slot);
	if (err)
		drop(err);
	samples++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
