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
	DROP_EXITING,		/* the task was exiting or killed when it was sampled */
	DROP_GONE,		/* ... it was gone before the callback could run */
	DROP_EXEC,		/* ... it was in execve(), which took the user stack away */
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
};

enum record_type {
	RECORD_SAMPLE,
	RECORD_PATH,
	RECORD_BUILD_ID,
};

/* An offset in a file, or 0 in none: code of a JIT compiler has no end of addresses. */
struct frame {
	__u64 addr;
	__u32 file;
	__u32 pad;
};

/* --compare: what could be had at the moment of the sample. */
struct attempt {
	__u32 nr_frames;
	__u32 end;		/* enum stack_end */
	__u32 nr_build_ids;	/* frames whose build ID was asked for */
	__u32 mm_locked;	/* somebody writes to the memory map */
	__u64 build_ids[2];	/* a bit for each that was had */
};

struct sample_record {
	__u32 type;
	__u32 outcome;
	__s32 error;
	__u32 pid;
	__u32 tid;
	__u32 in_nmi;
	__u32 moved;		/* user registers had changed when the callback ran */
	__u32 end;		/* enum stack_end */
	__u32 nr_kernel;
	__u32 nr_user;
	__u32 areas_locked;	/* frames whose file the callback could not look up */
	__u64 cgroup;
	char comm[COMM_LEN];
	struct attempt attempt;
	__u64 kernel[MAX_FRAMES];
	struct frame user[MAX_FRAMES];
};

/* The first time that code of a file is seen: its path from the leaf to the root... */
struct path_record {
	__u32 type;
	__u32 file;
	__u32 pid;
	__u32 nr_names;
	__u64 size;
	__u64 mtime;		/* in nanoseconds */
	char names[PATH_LEN + NAME_LEN];
};

/* ... and its build ID. */
struct build_id_record {
	__u32 type;
	__u32 file;
	__u32 len;		/* 0: it has none, or none was found */
	__u8 build_id[BUILD_ID_LEN];
};

#endif /* __TASKPROF_H */
