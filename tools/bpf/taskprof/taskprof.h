/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __TASKPROF_H
#define __TASKPROF_H

/* What the BPF program and user space share. */

#define MAX_FRAMES	127	/* of a stack: what the kernel takes at most by default; a mask */
#define NR_SLOTS	4096	/* samples that wait for their callback at one time */
#define COMM_LEN	16
#define BUILD_ID_LEN	20
#define NAME_LEN	256	/* of one component of a path, with its NUL */
#define NR_ERRORS	128	/* a power of two, so that a mask tells the verifier enough */
#define PATH_LEN	2048	/* where no further component is begun; a power of two, too */

/* What becomes of a sample: exactly one of these. */
enum outcome {
	DONE_BY_CALLBACK,	/* user stack read */
	DONE_KERNEL_THREAD,	/* there is no user stack to read */
	DONE_IN_EXEC,		/* in execve(), and its caller's stack read before that went */
	DONE_IN_EXIT,		/* ... and the same in exit */
	DROP_EXITING,		/* the task was exiting or killed when it was sampled */
	DROP_GONE,		/* ... it was gone before the callback could run */
	DROP_EXEC,		/* ... execve() had taken the user stack away */
	DROP_IN_KERNEL,		/* ... it still slept or worked there at the end */
	DROP_UNFINISHED,	/* the callback still waited for a page at the end */
	DROP_NO_SLOT,		/* too many samples waited for their callback */
	DROP_REFUSED,		/* the kernel took no work for another reason */
	DROP_RING_FULL,		/* no room in the ring buffer */
	DROP_RING_BUSY,		/* its lock was taken, and an NMI can't wait */
	NR_OUTCOMES,
	FIRST_DROP = DROP_EXITING,
};

/* Why a user stack ends where it does. */
enum stack_end {
	END_OF_CHAIN,
	END_BY_FAULT,		/* the next frame could not be read */
	END_IN_DATA,		/* the next return address is not in code */
	END_TOO_DEEP,
	END_IN_A_LOOP,		/* the frame pointers lead back to where they have been */
};

enum record_type {
	RECORD_SAMPLE,
	RECORD_PATH,
	RECORD_BUILD_ID,
	RECORD_AREAS,
	RECORD_COPY,
};

/*
 * A frame of user code: which file it is in, and where. File 0 is none: code of a JIT
 * compiler has no end of addresses, so they are not told. The frame of a caller is the
 * address that it is returned to; one behind where the code is, if a signal cut in there;
 * or all ones, which no name belongs to, if it was not called.
 */
#define FILE_SHIFT	48
#define OFFSET_MASK	((1ULL << FILE_SHIFT) - 1)

/* --compare: what could be had at the moment of the sample. */
struct attempt {
	__u64 fp;		/* of the last frame */
	__u32 nr_frames;
	__u32 end;		/* enum stack_end */
	__u32 nr_build_ids;	/* frames whose build ID was asked for */
	__u32 mm_locked;	/* somebody writes to the memory map */
	__u64 build_ids[2];	/* a bit for each that was had */
};

struct sample_record {
	__u32 type;
	__u32 outcome;
	char comm[COMM_LEN];	/* in whole words */
	__u32 pid;		/* as in /proc; 0 if it is not in that namespace */
	__u32 in_nmi;
	__u32 moved;		/* user registers had changed when the callback ran */
	__u32 end;		/* enum stack_end */
	__u32 nr_kernel;
	__u32 nr_user;
	__u32 areas_locked;	/* frames whose file the callback could not look up */
	__u32 copy;		/* --call-graph dwarf: the number of the stack's copy, or 0 */
	__u32 lost_copy;	/* enum lost_copy */
	__u64 cgroup;
	struct attempt attempt;
	__u64 frames[2 * MAX_FRAMES];	/* from the leaf on: of the kernel, then of the user */
};

/* The first time that code of a file is seen: its path from the leaf to the root... */
struct path_record {
	__u32 type;
	__u32 file;
	__u32 pid;		/* as in /proc, or 0 */
	__u32 nr_names;
	__u32 is_vdso;		/* code that the kernel gives to each process, in no file */
	__u32 is_program;	/* what the process executes */
	__u64 start;		/* where the process has mapped it */
	__u64 end;
	__u64 size;
	__u64 mtime;		/* in nanoseconds */
	char names[PATH_LEN + NAME_LEN];
};

/* ... and its build ID. */
struct build_id_record {
	__u32 type;
	__u32 file;
	__u32 len;		/* 0: it has none, or it is: */
	__u32 unread;
	__u8 build_id[BUILD_ID_LEN];
};

/* --call-graph dwarf: a process' code. A set has a number, by which copies refer to it. */
#define MAX_AREAS	4096

struct code_area {
	__u64 start;
	__u64 end;
	__u64 frame;		/* what its first byte would be as a frame */
};

struct areas_record {
	__u32 type;
	__u32 id;
	__u64 owner;		/* tells processes apart */
	__u32 nr;
	__u32 pad;
	struct code_area areas[MAX_AREAS];
};

/* All registers, as struct pt_regs begins; enough for x86-64 and arm64. */
#define NR_REGS		34

struct all_regs {
	__u64 of[NR_REGS];
};

#define MAX_STACK	65528

struct copy_record {
	__u32 type;
	__u32 id;
	__u32 areas;
	__u32 size;		/* of the copy, in bytes, from the stack pointer on */
	__u64 owner;
	struct all_regs regs;
	__u8 stack[MAX_STACK];
};

/* Why there is no copy of a stack, or not all callers were found in it. */
enum lost_copy {
	NOT_LOST,
	LOST_NO_BUFFER,		/* all were in use */
	LOST_AREAS,		/* the process' code could not be listed */
	LOST_UNREADABLE,	/* the stack pointer leads nowhere */
	LOST_NO_ROOM,		/* in the ring buffer */
	LOST_FORGOTTEN,		/* so many processes came between that its list was dropped */
	LOST_BEHIND,		/* too many copies waited */
	LOST_UNWINDER,		/* the one who looked for callers failed */
	LOST_NO_TABLES,		/* some code has none that can be read */
	LOST_NOT_COPIED,	/* they lie further up, or on another stack */
	NR_LOST_COPIES,
};

#endif /* __TASKPROF_H */
