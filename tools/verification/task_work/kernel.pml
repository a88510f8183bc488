// SPDX-License-Identifier: GPL-2.0
/*
 * What BPF task work uses of the kernel: memory, grace periods, lists, a task's works.
 *
 * A process that uses it has these variables of its own:
 *
 *	me		its bit in sets of readers, or 0
 *	cpu		whose lists it defers to
 *	can_lock	it runs with interrupts enabled, and not in an NMI
 *	old, was	the state, the slot before the last access
 *	yes, err	results of the last call
 *	n		a counter
 */

#ifndef CELLS
#define CELLS 2
#endif

/* A pointer to a context is the index of its cell. */
#define NULL CELLS
#define BPF_TW_RETIRED (CELLS + 1)
#define IS_ERR_OR_NULL(ctx) (ctx >= NULL)

/* Sets of contexts, of readers. */
#define set_of(ctx) (1 << (ctx))
#define PROGRAM_0 1
#define PROGRAM_1 2
#define DELETER 4
#define TASK 8
#define MAP 16

mtype = { BPF_TW_STANDBY, BPF_TW_PENDING, BPF_TW_SCHEDULED, BPF_TW_RUNNING, BPF_TW_FREED };

typedef bpf_task_work_ctx {
	byte refcnt;
	mtype state;
	bit func;	/* work.func: the callback, or NULL */
	bit task;	/* the task, or NULL */
	bit prog;	/* the program, or NULL */
	/* Not in C: */
	bit used;	/* allocated */
	byte wait;	/* freed, but these readers are in a section that began before */
	bit node;	/* on an llist */
	bit ticket;	/* a schedule that neither ran nor was cancelled yet */
	bit late;	/* put on its task's list when it was FREED */
};

/* The order on a list is left open: an llist is a set, and whoever empties it chooses. */
typedef bpf_task_work_cpu {
	byte list[2];	/* drop, arm */
	bit irq_work;	/* raised */
	bit in_irq;	/* the handler runs */
};

bpf_task_work_ctx ctxs[CELLS];
bpf_task_work_cpu cpus[2];
byte cancelled;		/* bpf_task_work_cancelled, a list */
bit reaper;		/* bpf_task_work_reaper is queued */
bit in_reap;		/* and runs */

/* The element */
byte slot = NULL;
bit linked = true;	/* can be looked up */
bit gone;		/* its memory is something else */

/* The map */
byte usercnt = 1;
bit reachable = true;	/* by a program that begins */

/* The task */
byte works;		/* task_works */
byte taken;		/* what task_work_run() took off it */
bit exited;		/* task_works is &work_exited */
bit exiting;		/* PF_EXITING is set, mm is NULL */
bit asleep;		/* never to run again */
byte task_users = 1;	/* rcu_users: its own, and those of contexts */
bit pi_lock;		/* held by CPU 0, with interrupts disabled: locker() */

byte prog_users;	/* references of contexts to the program */

byte rcu;		/* who is in the RCU section of bpf_task_work_acquire() */
byte sections;		/* who runs a program or callback, with the element in hand */
byte elem_gp, map_gp;	/* of them, those that the grace period waits for */

short balance;		/* schedules that returned 0, less those that ran or were cancelled */

/*
 * Memory
 *
 * A grace period ends as early as it may: when those have left their sections who were
 * in one when it began. Each access of a context says by valid() that its memory is
 * still a context's: allocated, or freed while the accessor was in its section.
 */
inline valid(ctx)
{
	assert(ctxs[ctx].used || (ctxs[ctx].wait & me))
}

inline wipe(ctx)
{
	ctxs[ctx].wait = 0;
	ctxs[ctx].refcnt = 0;
	ctxs[ctx].state = 0;
	ctxs[ctx].func = false;
	ctxs[ctx].late = false
}

/* Parts of a step. */
inline bpf_mem_alloc(ctx)
{
	ctx = 0;
	do
	:: ctx < CELLS && (ctxs[ctx].used || ctxs[ctx].wait) -> ctx++
	:: else -> break
	od;
	if
	:: ctx < CELLS -> ctxs[ctx].used = true
	:: else
	fi
}

inline bpf_mem_free(ctx)
{
	ctxs[ctx].used = false;
	wipe(ctx)
}

inline bpf_mem_free_rcu(ctx)
{
	d_step {
		assert(ctxs[ctx].used && ctxs[ctx].refcnt == 0);
		assert(!ctxs[ctx].prog && !ctxs[ctx].task && !ctxs[ctx].ticket);
		assert(!ctxs[ctx].node && !((works | taken) & set_of(ctx)));
		ctxs[ctx].used = false;
		ctxs[ctx].wait = rcu;
		if
		:: !rcu -> wipe(ctx)
		:: else
		fi
	}
}

inline rcu_read_lock()
{
	rcu = rcu | me
}

inline rcu_read_unlock()
{
	d_step {
		rcu = rcu & ~me;
		n = 0;
		do
		:: n < CELLS && ctxs[n].wait == me -> wipe(n); n++
		:: n < CELLS && ctxs[n].wait != me -> ctxs[n].wait = ctxs[n].wait & ~me; n++
		:: else -> break
		od;
		n = 0
	}
}

/* Part of a step. */
inline section_end(who)
{
	sections = sections & ~who;
	elem_gp = elem_gp & ~who;
	map_gp = map_gp & ~who
}

inline rcu_read_lock_trace()
{
	sections = sections | TASK
}

/* Part of a step. */
inline rcu_read_unlock_trace()
{
	section_end(TASK)
}

/* Accesses of the state and the slot */
inline cmpxchg_state(ctx, from, to)
{
	d_step {
		valid(ctx);
		old = ctxs[ctx].state;
		if
		:: old == from -> ctxs[ctx].state = to
		:: else
		fi
	}
}

inline xchg_state(ctx, to)
{
	d_step {
		valid(ctx);
		old = ctxs[ctx].state;
		ctxs[ctx].state = to
	}
}

/* Part of a step. */
inline read_state(ctx)
{
	valid(ctx);
	old = ctxs[ctx].state
}

/* Part of a step. */
inline cmpxchg_slot(from, to)
{
	assert(!gone);
	was = slot;
	if
	:: was == from -> slot = to
	:: else
	fi
}

inline xchg_slot(to)
{
	d_step {
		assert(!gone);
		was = slot;
		slot = to
	}
}

/* Part of a step. */
inline read_slot()
{
	assert(!gone);
	was = slot
}

inline write_slot(to)
{
	d_step {
		assert(!gone);
		slot = to
	}
}

/* References */
inline refcount_inc_not_zero(ctx)
{
	d_step {
		valid(ctx);
		yes = ctxs[ctx].refcnt != 0;
		ctxs[ctx].refcnt = ctxs[ctx].refcnt + yes
	}
}

inline refcount_dec_and_test(ctx)
{
	d_step {
		valid(ctx);
		assert(ctxs[ctx].refcnt > 0);
		ctxs[ctx].refcnt--;
		yes = ctxs[ctx].refcnt == 0
	}
}

inline refcount_read(ctx)
{
	d_step {
		valid(ctx);
		yes = ctxs[ctx].refcnt != 0
	}
}

/* The program that runs may be on its way out. */
inline bpf_prog_inc_not_zero(ctx)
{
	if
	:: err = true
	:: err = false; prog_users++; ctxs[ctx].prog = true
	fi
}

inline bpf_task_acquire(ctx)
{
	err = task_users == 0;
	task_users = task_users + !err;
	ctxs[ctx].task = !err
}

/* Parts of a step. */
inline bpf_prog_put()
{
	assert(can_lock && prog_users > 0);
	prog_users--
}

inline bpf_task_release()
{
	assert(can_lock && task_users > 0);
	task_users--
}

/* Lists */
inline llist_add(ctx, head)
{
	d_step {
		valid(ctx);
		assert(!ctxs[ctx].node);
		ctxs[ctx].node = true;
		yes = head == 0;
		head = head | set_of(ctx)
	}
}

inline llist_del_all(to, head)
{
	d_step {
		to = head;
		head = 0
	}
}

/* From a set of the caller's own. */
inline choose(ctx, set)
{
	if
	:: set & 1 -> ctx = 0
	:: set & 2 -> ctx = 1
	fi;
	set = set & ~set_of(ctx)
}

/* One round of llist_for_each_entry_safe(): from here on the node may be used again. */
inline llist_next(ctx, list)
{
	atomic {
		choose(ctx, list);
		valid(ctx);
		ctxs[ctx].node = false
	}
}

inline irq_work_queue()
{
	cpus[cpu].irq_work = true
}

inline queue_work()
{
	d_step {
		assert(can_lock);
		reaper = true
	}
}

/*
 * A task's works
 *
 * One step each. In C they are more, but what task_work_run() and the walk of a canceller
 * do to one another is over before either goes on: see README.
 */
inline init_task_work(ctx)
{
	ctxs[ctx].func = true;
	assert(!ctxs[ctx].ticket);
	ctxs[ctx].ticket = true
}

inline task_work_add(ctx, wakes)
{
	d_step {
		!wakes || !pi_lock ->
		valid(ctx);
		assert(!wakes || can_lock);
		assert(ctxs[ctx].task && task_users > 0);
		err = exited;
		if
		:: !err ->
			assert(!((works | taken) & set_of(ctx)));
			works = works | set_of(ctx);
			ctxs[ctx].late = (ctxs[ctx].state == BPF_TW_FREED)
		:: else
		fi
	}
}

/* Walks from work to work, and so may miss what happens behind it. */
inline task_work_cancel_all(ctx, found)
{
	n = 0;
	found = 0;
	do
	:: n < CELLS ->
		d_step {
			!pi_lock ->
			valid(ctx);
			assert(can_lock && ctxs[ctx].task && task_users > 0);
			yes = false;
			if
			:: works & set_of(n) -> bpf_task_work_is_freed(n)
			:: else
			fi;
			if
			:: yes -> works = works & ~set_of(n); found = found | set_of(n)
			:: else
			fi;
			n++
		}
	:: else -> break
	od;
	n = 0
}
