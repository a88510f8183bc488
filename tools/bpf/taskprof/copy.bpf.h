/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For code without frame pointers: the registers, a copy of the stack, and where code is
 * mapped, from which user space finds the callers. Both are too large for the stack of a
 * BPF program, and callbacks may sleep while they fill them, so there is a pool of each.
 */
#ifndef __COPY_BPF_H
#define __COPY_BPF_H

#define NR_COPIES	64
#define NR_AREA_SETS	16
#define MAX_PROCESSES	8192
#define MAX_VMAS	65536	/* that are looked at for code */

const volatile __u32 stack_size;	/* bytes to copy; 0 with frame pointers */

struct stack_copy {
	__u32 taken;
	struct copy_record record;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_COPIES);	/* taskprof makes it 1 where it is not needed */
	__type(key, __u32);
	__type(value, struct stack_copy);
} copies SEC(".maps");

struct area_set {
	__u32 taken;
	struct areas_record record;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NR_AREA_SETS);
	__type(key, __u32);
	__type(value, struct area_set);
} area_sets SEC(".maps");

/* What was sent last of a process, and the state of its memory map then. */
struct process {
	__u64 owner;
	__u64 hash;
	__u32 seq;
	__u32 areas;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

__u32 nr_copied;
__u32 nr_area_sets;

static void add_area(struct area_set *set, struct area *area, __u64 *hash)
{
	__u32 nr = set->record.nr;
	struct code_area *code;

	if (nr >= MAX_AREAS)
		return;
	code = &set->record.areas[nr];
	code->start = area->start;
	code->end = area->end;
	code->frame = (__u64)area->file << FILE_SHIFT | (area->offset & OFFSET_MASK);
	set->record.nr = nr + 1;
	*hash = (*hash ^ area->start ^ area->end << 20 ^ code->frame) * 0x9e3779b97f4a7c15ULL;
}

/*
 * All code of the process, in order; of more than there is room for, what lies lowest.
 * Its hash, or 0 if it could not be listed; without @add, because of a file that user space
 * does not know.
 */
__noinline __u64 list_areas(struct area_set *set __arg_nonnull, bool add)
{
	struct vm_area_struct *vma;
	struct bpf_iter_task_vma it;
	__u64 hash = 1;
	struct area area;
	int i, err;

	set->record.nr = 0;
	err = bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), 0);
	bpf_for(i, 0, MAX_VMAS) {
		vma = err ? NULL : bpf_iter_task_vma_next(&it);
		if (!vma || set->record.nr >= MAX_AREAS)
			break;
		if (!(vma->vm_flags & VM_EXEC))
			continue;
		fill_area(&area, vma, add);
		if (!add && vma->vm_file && !area.file)
			err = -EBUSY;
		add_area(set, &area, &hash);
	}
	bpf_iter_task_vma_destroy(&it);
	return err ? 0 : hash;
}

/* See iterate_to_area(): while somebody changes the map, areas are passed over. */
static __u64 list_all_areas(struct area_set *set, struct process *now, const bool may_sleep)
{
	struct mm_struct *mm = bpf_get_current_task_btf()->mm;
	__u64 hash = 0;
	int i;

	bpf_for(i, 0, LOCK_TRIES) {
		now->seq = map_seq(mm);
		hash = list_areas(set, may_sleep);
		if (hash && map_seq(mm) == now->seq)
			break;
		hash = 0;
		if (!may_sleep)
			break;
		wait_for_mm();
	}
	return hash;
}

/*
 * An element of @pool, an array of @nr whose values begin with "taken", from @first on; or
 * NULL if all are in use. Inlined, so that it is one map to the verifier.
 */
static __always_inline void *take(void *pool, __u32 nr, __u32 first)
{
	__u32 key, *taken;
	int i;

	bpf_for(i, 0, nr) {
		key = (first + i) % nr;
		taken = bpf_map_lookup_elem(pool, &key);
		if (taken && !__sync_val_compare_and_swap(taken, 0, 1))
			return taken;
	}
	return NULL;
}

static bool send_areas(struct area_set *set, __u64 owner)
{
	__u32 nr = set->record.nr;
	__u64 size = offsetof(struct areas_record, areas);

	set->record.type = RECORD_AREAS;
	set->record.id = __sync_fetch_and_add(&nr_area_sets, 1) + 1;
	set->record.owner = owner;
	if (nr > MAX_AREAS)
		return false;
	size += nr * sizeof(set->record.areas[0]);
	return !bpf_ringbuf_output(&ring, &set->record, size, wakeup_flags());
}

/* Send them if they differ from what was sent last. Returns false if that failed. */
static bool update_areas(struct area_set *set, struct process *process, const bool may_sleep)
{
	__u64 hash = list_all_areas(set, process, may_sleep);

	if (!hash)
		return false;
	if (process->hash == hash)
		return true;
	if (!send_areas(set, process->owner))
		return false;
	process->areas = set->record.id;
	process->hash = hash;
	return true;
}

/* The number of the set that the current process has, sent by now; 0 if that failed. */
static __u32 get_areas(__u64 owner, const bool may_sleep)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process now = { .owner = owner }, *last;
	__u32 tgid = task->tgid, seq = map_seq(task->mm);
	struct area_set *set;
	bool sent;

	last = bpf_map_lookup_elem(&processes, &tgid);
	if (last && last->owner == owner) {
		if (seq && last->seq == seq)
			return last->areas;
		now.hash = last->hash;
		now.areas = last->areas;
	}
	set = take(&area_sets, NR_AREA_SETS, 0);
	if (!set)
		return 0;
	sent = update_areas(set, &now, may_sleep);
	set->taken = 0;
	if (sent)
		bpf_map_update_elem(&processes, &tgid, &now, BPF_ANY);
	return sent ? now.areas : 0;
}

/*
 * How much of the stack can be read: up to the end of its mapping, or to a page that does
 * not come. Whoever waits for such a page has no buffer yet that others could use.
 */
static __u32 touch_stack(struct walk *walk, __u64 sp, const bool may_sleep)
{
	__u64 end = end_of_mapping(sp), page = 1ULL << page_shift, at = sp;
	char byte;
	int i;

	if (!end || end - sp > stack_size)
		end = sp + stack_size;
	bpf_for(i, 0, MAX_STACK / 4096 + 2) {
		if (at >= end || read_user(walk, &byte, sizeof(byte), at, may_sleep))
			break;
		at = (at | (page - 1)) + 1;
	}
	return (at < end ? at : end) - sp;
}

/* The pages are there; if they go meanwhile, less is read, down to nothing. */
static __u32 read_stack(struct copy_record *record, __u64 sp, __u32 size)
{
	int i;

	bpf_for(i, 0, 8) {
		if (size > MAX_STACK)
			size = MAX_STACK;
		if (!bpf_probe_read_user(record->stack, size, (void *)sp))
			return size;
		size = (size / 2) & ~7U;
	}
	return 0;
}

static __u32 send_stack(struct copy_record *record, __u64 sp, __u32 readable)
{
	__u32 len = read_stack(record, sp, readable);
	__u64 size = offsetof(struct copy_record, stack);

	if (!len || len > MAX_STACK)
		return LOST_UNREADABLE;
	record->size = len;
	record->type = RECORD_COPY;
	record->id = __sync_fetch_and_add(&nr_copied, 1) + 1;
	size += len;
	if (bpf_ringbuf_output(&ring, record, size, wakeup_flags()))
		return LOST_NO_ROOM;
	return NOT_LOST;
}

/* An address may be that of a new memory map after the end of an old one. */
static __u64 get_owner(struct task_struct *task)
{
	__u64 mm = (__u64)BPF_CORE_READ(task, mm);

	return mm ^ task->group_leader->start_time << 16 ^ task->self_exec_id << 48;
}

/* For the frames beyond the first. User space finds the copy by its number. */
static __u32 copy_stack(struct sample_record *sample, struct walk *walk, __u64 sp,
			const bool may_sleep)
{
	__u64 owner = get_owner(bpf_get_current_task_btf());
	__u32 areas = get_areas(owner, may_sleep), readable, lost;
	struct stack_copy *copy;

	if (!areas)
		return LOST_AREAS;
	readable = touch_stack(walk, sp, may_sleep);
	copy = take(&copies, NR_COPIES, nr_copied);
	if (!copy)
		return LOST_NO_BUFFER;
	get_all_regs(&copy->record.regs);
	copy->record.owner = owner;
	copy->record.areas = areas;
	lost = send_stack(&copy->record, sp, readable);
	if (lost == NOT_LOST)
		sample->copy = copy->record.id;
	copy->taken = 0;
	return lost;
}

#endif /* __COPY_BPF_H */
