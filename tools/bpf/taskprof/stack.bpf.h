/* SPDX-License-Identifier: GPL-2.0 */
/* The user stack of the current task, by its frame pointers. */
#ifndef __STACK_BPF_H
#define __STACK_BPF_H

/* User registers at the sample. */
struct user_regs {
	__u64 ip;
	__u64 sp;
	__u64 fp;
	__u64 is_64bit;		/* else one frame is all there is */
};

/* What a function with a frame pointer leaves on the stack. */
struct link {
	__u64 fp;
	__u64 ip;
};

#if defined(__TARGET_ARCH_x86)
#define CS_64BIT	0x33
static bool is_64bit(const struct pt_regs *regs)
{
	return regs->cs == CS_64BIT;
}
#elif defined(__TARGET_ARCH_arm64)
#define PSTATE_32BIT	0x10
static bool is_64bit(const struct pt_regs *regs)
{
	return !(regs->pstate & PSTATE_32BIT);
}
#else
static bool is_64bit(const struct pt_regs *regs)
{
	return true;
}
#endif

static void get_all_regs(struct all_regs *all)
{
	void *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u32 size = bpf_core_type_size(struct pt_regs);

	if (size > sizeof(*all))
		size = sizeof(*all);
	bpf_probe_read_kernel(all, size, regs);
}

/*
 * Seen from an interrupt or an NMI in the kernel, these are the registers with
 * which the task entered it; else, the interrupted ones.
 */
static void get_user_regs(struct user_regs *user)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

	user->ip = PT_REGS_IP(regs);
	user->sp = PT_REGS_SP(regs);
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)
	user->fp = PT_REGS_FP(regs);
#else
	user->fp = 0;		/* if there is one, no struct link is where it points to */
#endif
	user->is_64bit = is_64bit(regs);
}

/*
 * Frame pointers lead up the stack, and elsewhere where a function runs on a stack of its
 * own: a signal's handler, or part of a runtime. Each round of a chain that leads back to
 * itself goes down at least once, to the same place.
 */
#define MAX_JUMPS	8	/* a mask, plus one */
#define MAX_DISTANCE	0x100000	/* of frames on the same stack */

#define CODE_SIZE	8	/* what tells a call before an address, and what is called at one */

/* With each sample, as it is too much for the stack of BPF programs. */
struct walk {
	struct user_regs at;
	struct area area;
	__u64 frame;			/* what at.ip is as one, if it is known already */
	struct link interrupted;	/* what a signal cut in on, if ip is not 0 */
	__u64 code_ip;			/* code holds the bytes before and at this address */
	__u8 code[2 * CODE_SIZE];
	__u32 no_call;			/* at.ip is no return address: a signal came */
	__u32 placed;			/* frames so far */
	__u32 nr;			/* ... that are some */
	__u32 unsure;			/* the last one is perhaps none */
	__u32 jumped;			/* at.fp may be no frame pointer at all */
	__u32 missed;			/* something could not be read without page faults */
	__u32 nr_jumps;
	__u32 nr_at[MAX_JUMPS];		/* frames before each jump */
	__u64 to[MAX_JUMPS];
};

/* Whether to go on there. A loop is kept once, with the frame that the jump led to. */
static bool may_jump(struct walk *walk, __u64 fp, __u32 *end)
{
	__u32 i;

	for (i = 0; i < MAX_JUMPS; i++) {
		if (i < walk->nr_jumps && walk->to[i] == fp) {
			walk->nr = walk->nr_at[i] + 1;
			*end = END_IN_A_LOOP;
			return false;
		}
	}
	if (walk->nr_jumps >= MAX_JUMPS)
		return false;
	i = walk->nr_jumps++ & (MAX_JUMPS - 1);
	walk->to[i] = fp;
	walk->nr_at[i] = walk->placed;
	return true;
}

static long read_user(struct walk *walk, void *to, __u32 size, __u64 from, const bool may_sleep)
{
	long err;

	if (may_sleep)
		return bpf_copy_from_user(to, size, (void *)from);
	err = bpf_probe_read_user(to, size, (void *)from);
	if (err)
		walk->missed = true;
	return err;
}

/* A mapping may end or begin right there. What can't be read is 0, which is no code looked for. */
static bool read_code(struct walk *walk, __u64 ip, const bool may_sleep)
{
	__u8 *code = walk->code;

	if (walk->code_ip == ip)
		return ip;
	walk->code_ip = 0;
	__builtin_memset(code, 0, sizeof(walk->code));
	if (read_user(walk, code, 2 * CODE_SIZE, ip - CODE_SIZE, may_sleep) &&
	    read_user(walk, code, CODE_SIZE, ip - CODE_SIZE, may_sleep) &&
	    read_user(walk, code + CODE_SIZE, CODE_SIZE, ip, may_sleep))
		return false;
	walk->code_ip = ip;
	return true;
}

/*
 * A signal's handler returns to code that calls rt_sigreturn(), and above its frame lie the
 * registers of what the signal cut in on: struct rt_sigframe. Where it was interrupted, it
 * did not call: the frame pointer alone would miss that function. All this takes more room
 * than most functions, so few other frames are looked at.
 */
#define SIGNAL_FRAME_SIZE	512

#if defined(__TARGET_ARCH_x86)
#define CALLS_SIGRETURN		0x0f0000000fc0c748ULL	/* mov $15, %rax; first byte of syscall */

struct saved_regs {
	__u64 bp, bx, dx, ax, cx, sp, ip;
};

#define SAVED_REGS		136	/* from the handler's frame on */

static void read_interrupted(struct walk *walk, const struct link *link, const bool may_sleep)
{
	struct saved_regs saved;

	if (read_user(walk, &saved, sizeof(saved), walk->at.fp + SAVED_REGS, may_sleep) ||
	    saved.bp != link->fp)
		return;
	walk->interrupted.fp = saved.bp;
	walk->interrupted.ip = saved.ip + 1;
}
#elif defined(__TARGET_ARCH_arm64)
#define CALLS_SIGRETURN		0xd4000001d2801168ULL	/* mov x8, #139; svc 0 */

/* The kernel puts a frame above all this, of the frame pointer and the link register then. */
struct saved_regs {
	struct link link;	/* x29, x30 */
	__u64 sp, ip;
};

#define SAVED_REGS		4144	/* below that frame, if all fits without an extra_context */

static void read_interrupted(struct walk *walk, const struct link *link, const bool may_sleep)
{
	struct saved_regs saved;
	struct link above;

	if (read_user(walk, &above, sizeof(above), link->fp, may_sleep) ||
	    read_user(walk, &saved, sizeof(saved), link->fp - SAVED_REGS, may_sleep) ||
	    saved.link.fp != above.fp || saved.link.ip != above.ip)
		return;
	walk->interrupted.fp = saved.link.fp;
	walk->interrupted.ip = saved.ip + 1;
}
#else
#define CALLS_SIGRETURN		0

static void read_interrupted(struct walk *walk, const struct link *link, const bool may_sleep)
{
}
#endif

static void look_for_signal(struct walk *walk, const struct link *link, const bool may_sleep)
{
	if (CALLS_SIGRETURN && link->fp - walk->at.fp >= SIGNAL_FRAME_SIZE &&
	    read_code(walk, link->ip, may_sleep) &&
	    *(__u64 *)(walk->code + CODE_SIZE) == CALLS_SIGRETURN)
		read_interrupted(walk, link, may_sleep);
}

#if defined(__TARGET_ARCH_x86)
/* The first two bytes of such a call: 0xff, and 2 in the middle of the next. */
static bool is_indirect(__u8 code, __u8 mode)
{
	return code == 0xff && (mode & 0x38) == 0x10;
}

/* A call of an address; of what a register, or memory, holds: 2, 3, 6, 7 or 4 bytes. */
static bool ends_in_call(const __u8 *code)
{
	return code[3] == 0xe8 || is_indirect(code[6], code[7]) || is_indirect(code[5], code[6]) ||
	       is_indirect(code[2], code[3]) || is_indirect(code[1], code[2]) ||
	       is_indirect(code[4], code[5]);
}
#elif defined(__TARGET_ARCH_arm64)
static bool ends_in_call(const __u8 *code)
{
	return (code[7] & 0xfc) == 0x94 ||
	       (code[7] == 0xd6 && code[6] == 0x3f && !(code[5] & 0xfc) && !(code[4] & 0x1f));
}
#else
static bool ends_in_call(const __u8 *code)
{
	return true;
}
#endif

/*
 * Code without frame pointers has other things in that register: what they point to may
 * look like a return address, as the pointers in a table of functions do. But only a real
 * one comes after a call.
 */
static bool follows_call(struct walk *walk, __u64 ip, const bool may_sleep)
{
	return read_code(walk, ip, may_sleep) && ends_in_call(walk->code);
}

/* Code without frame pointers keeps other things in that register. */
static __u64 pointer_or_none(__u64 fp)
{
	return fp < 4096 || fp & (sizeof(long) - 1) ? 0 : fp;
}

/*
 * Frames that are behind a call, as some process had it: a file that nobody writes to has
 * the same code in all. Two that have the same place replace each other.
 */
#define CALL_BITS	12

__u64 calls[1 << CALL_BITS];

static __u64 *place_of_call(__u64 frame)
{
	return &calls[frame * 0x9e3779b97f4a7c15ULL >> (64 - CALL_BITS)];
}

/* The address as a frame of the file that is mapped there. */
static __u64 frame_in_area(const struct walk *walk, __u64 ip)
{
	const struct area *area = &walk->area;

	return !area->file ? 0 : (__u64)area->file << FILE_SHIFT |
	       ((ip - area->start + area->offset) & OFFSET_MASK);
}

static bool is_known_caller(const struct walk *walk, __u64 frame)
{
	return walk->area.is_fixed && *place_of_call(frame) == frame;
}

/* Most callers are in the file of the frame before, and were seen before: such a one is known. */
static bool recall_frame(struct walk *walk, __u64 ip)
{
	walk->frame = is_in_area(&walk->area, ip) ? frame_in_area(walk, ip) : 0;
	if (walk->frame && !is_known_caller(walk, walk->frame))
		walk->frame = 0;
	return walk->frame;
}

/* What lies behind the present frame. A known caller is no signal's. */
static long read_link(struct walk *walk, struct link *link, const bool may_sleep)
{
	long err;

	walk->frame = 0;
	if (walk->interrupted.ip) {
		*link = walk->interrupted;
		walk->interrupted.ip = 0;
		walk->no_call = true;
		return 0;
	}
	err = walk->at.fp ? read_user(walk, link, sizeof(*link), walk->at.fp, may_sleep) : -1;
#if defined(__TARGET_ARCH_arm64)
	/* It may be signed, in its upper bits. */
	link->ip &= bpf_get_current_task_btf()->mm->task_size - 1;
#endif
	if (!err && recall_frame(walk, link->ip)) {
		walk->no_call = false;
		return 0;
	}
	if (!err)
		look_for_signal(walk, link, may_sleep);
	walk->no_call = walk->interrupted.ip != 0;
	if (walk->jumped && (err || (!walk->no_call && !follows_call(walk, link->ip, may_sleep)))) {
		walk->at.fp = 0;
		link->ip = 0;
	}
	return err;
}

/*
 * Where the link leads nowhere, its return address is that of the outermost function,
 * which has no frame pointer.
 */
static __always_inline bool next_frame(struct walk *walk, __u32 *end, const bool may_sleep)
{
	struct link link = {};
	long err = read_link(walk, &link, may_sleep);

	if (err || !link.ip) {
		*end = err && walk->at.fp ? END_BY_FAULT : END_OF_CHAIN;
		return false;
	}
	*end = END_TOO_DEEP;
	walk->at.ip = link.ip;
	if (walk->interrupted.ip)
		return true;
	link.fp = pointer_or_none(link.fp);
	walk->jumped = link.fp - walk->at.fp - 1 >= MAX_DISTANCE;
	if (link.fp && link.fp <= walk->at.fp && !may_jump(walk, link.fp, end))
		return false;
	walk->at.fp = link.fp;
	return true;
}

/* Returns false if what is mapped at @ip is not code. */
static bool get_area(struct recent *recent, struct walk *walk, __u32 *locked,
		     const bool may_sleep)
{
	struct area *area = &walk->area;
	__u64 ip = walk->at.ip;
	int err;

	if (recent && recall_area(recent, ip, area))
		return true;
	err = may_sleep ? find_area(ip, area) : find_area_at_once(ip, area, walk->placed);
	if (may_sleep && area->wants_id)
		send_build_id(area);
	area->wants_id = 0;
	if (err && err != -ENOENT) {
		*locked += 1;
		return true;
	}
	if (recent)
		keep_area(recent, area);
	return area->end;
}

static bool is_caller(struct walk *walk, const bool may_sleep)
{
	if (is_known_caller(walk, walk->frame))
		return true;
	if (!follows_call(walk, walk->at.ip, may_sleep))
		return false;
	if (walk->area.is_fixed)
		*place_of_call(walk->frame) = walk->frame;
	return true;
}

/*
 * Whether the present frame is one. The first counts wherever it is, and one without a file
 * has no name that could be wrong; other callers are behind a call. If there is none, the
 * chain may lead on all the same: makecontext() puts an address on the stack by hand, and
 * a uretprobe replaces one. Then the next has to be a caller.
 */
static bool is_frame(struct walk *walk, __u32 i, const bool may_sleep)
{
	return !i || walk->no_call || !walk->frame || is_caller(walk, may_sleep);
}

/* Find the file of the present frame. Returns false if the stack ended before. */
static __noinline bool find_frame(struct walk *walk, struct recent *recent,
				  struct sample_record *sample, __u32 i, const bool may_sleep)
{
	bool was_unsure = walk->unsure;

	if (!is_in_area(&walk->area, walk->at.ip) &&
	    !get_area(recent, walk, &sample->areas_locked, may_sleep) && i)
		return false;
	walk->frame = frame_in_area(walk, walk->at.ip);
	walk->unsure = !is_frame(walk, i, may_sleep);
	if (walk->unsure)
		walk->frame |= OFFSET_MASK;
	return !walk->unsure || !was_unsure;
}

/* Put the present frame into the sample; a known one is not looked for. */
static __always_inline bool place_frame(struct walk *walk, struct recent *recent,
					struct sample_record *sample, __u32 i,
					const bool may_sleep)
{
	__u32 at = sample->nr_kernel + i;

	if (walk->frame)
		walk->unsure = false;
	else if (!find_frame(walk, recent, sample, i, may_sleep))
		return false;
	if (at >= 2 * MAX_FRAMES)
		return false;
	sample->frames[at] = walk->frame;
	return true;
}

static void begin_walk(struct walk *walk, const struct user_regs *regs)
{
	walk->at = *regs;
	walk->at.fp = regs->is_64bit ? pointer_or_none(regs->fp) : 0;
	walk->area.start = 0;
	walk->area.end = 0;
	walk->frame = 0;
	walk->code_ip = 0;
	walk->interrupted.ip = 0;
	walk->no_call = false;
	walk->placed = 0;
	walk->nr = 0;
	walk->unsure = false;
	walk->missed = false;
	walk->nr_jumps = 0;
	walk->jumped = walk->at.fp - regs->sp >= MAX_DISTANCE;
}

/*
 * In the callback (@may_sleep) with page faults; else as far as the pages are there. With no
 * @sample to put the frames into, no lock is needed either: an NMI may ask how far that is.
 * It returns the number of frames.
 */
static __always_inline __u32 walk_user_stack(struct walk *walk, struct sample_record *sample,
					     __u32 *end, const struct user_regs *regs,
					     const bool may_sleep)
{
	struct recent *recent = sample ? get_recent() : NULL;
	int i;

	begin_walk(walk, regs);
	*end = END_TOO_DEEP;
	bpf_for(i, 0, MAX_FRAMES) {
		if (sample && !place_frame(walk, recent, sample, i, may_sleep)) {
			*end = END_IN_DATA;
			break;
		}
		walk->placed = i + 1;
		if (!walk->unsure)
			walk->nr = i + 1;
		if (!next_frame(walk, end, may_sleep))
			break;
	}
	put_recent(recent);
	return walk->nr;
}

struct build_ids {
	struct bpf_stack_build_id of[MAX_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct build_ids);
} scratch SEC(".maps");

#define RWSEM_TAKEN	7	/* held or waited for by a writer: no reader gets it at once */

/* On PREEMPT_RT the lock is another one, and nobody gets it with interrupts disabled. */
struct rw_semaphore___counted {
	atomic_long_t count;
} __attribute__((preserve_access_index));

static bool mm_is_locked(void)
{
	struct mm_struct *mm = BPF_CORE_READ(bpf_get_current_task_btf(), mm);
	struct rw_semaphore___counted *lock = (void *)&mm->mmap_lock;

	if (!bpf_core_field_exists(lock->count))
		return true;
	return BPF_CORE_READ(lock, count.counter) & RWSEM_TAKEN;
}

/* At the sample: the build IDs as the kernel's helper gives them. */
static void try_build_ids(struct attempt *attempt, void *ctx)
{
	struct build_ids *ids;
	__u32 zero = 0;
	long len;
	int i;

	ids = bpf_map_lookup_elem(&scratch, &zero);
	if (!ids)
		return;
	attempt->mm_locked = mm_is_locked();
	len = bpf_get_stack(ctx, ids, sizeof(*ids), BPF_F_USER_STACK | BPF_F_USER_BUILD_ID);
	attempt->nr_build_ids = len > 0 ? len / sizeof(ids->of[0]) : 0;
	attempt->build_ids[0] = 0;
	attempt->build_ids[1] = 0;
	bpf_for(i, 0, MAX_FRAMES) {
		if (i >= attempt->nr_build_ids)
			break;
		if (ids->of[i].status == BPF_STACK_BUILD_ID_VALID)
			attempt->build_ids[(i >> 6) & 1] |= 1ULL << (i & 63);
	}
}

#endif /* __STACK_BPF_H */
