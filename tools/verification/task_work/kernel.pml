// SPDX-License-Identifier: GPL-2.0
/*
 * What BPF task work uses of the kernel: memory, grace periods, lists, a task's works.
 *
 * A process that uses it has these variables of its own:
 *
 *	me		its bit in sets of readers, or 0
 *	cpu		whose lists it defers to
 *	can_lock	it runs with interrupts enabled, and not in an NMI, or in the irq_work
 *	in_irq		that
 *	old, was	the state, the slot before the last access
 *	yes, err	results of the last call
 *	n		a counter
 */

#ifndef CELLS
#define CELLS 2
#endif
#ifndef EXIT
#define EXIT 0		/* the task may exit */
#endif
#ifndef BPF_TW_MAX_CANCELLED
#define BPF_TW_MAX_CANCELLED (CELLS + 1)
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
#define REAPER 32

#define BPF_TW_FREED 4
#define BPF_TW_REF 8
#define BPF_TW_STANDBY (0 + 1 * BPF_TW_REF)
#define BPF_TW_PENDING (1 + 2 * BPF_TW_REF)
#define BPF_TW_SCHEDULED (2 + 2 * BPF_TW_REF)
#define BPF_TW_RUNNING (3 + 2 * BPF_TW_REF)

typedef bpf_task_work_ctx {
	byte state;
	bit task;	/* the task, or NULL */
	bit prog;	/* the program, or NULL */
	/* Not in C: */
	bit used;	/* allocated */
	byte wait;	/* freed, but these readers are in a section that began before */
	bit node;	/* on an llist */
	bit ticket;	/* a schedule that neither ran nor was cancelled yet */
	bit late;	/* put on its task's list when it was cancelled */
};

/* The order on a list is left open: an llist is a set, and whoever empties it chooses. */
typedef bpf_task_work_cpu {
	byte add, drop;
	bit irq_work;	/* raised */
	bit in_irq;	/* the handler runs */
};

bpf_task_work_ctx ctxs[CELLS];
bpf_task_work_cpu cpus[2];
byte cancelled;		/* bpf_task_work_cancelled, a list */
byte nr_cancelled;	/* bpf_task_work_nr_cancelled */
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
byte task_users = 1;	/* rcu_users: its own, those of owners and of the irq_work */
byte task_usage;	/* usage, but for rcu_users: who schedules has one */
byte task_current;	/* programs that run in the task, or have interrupted it */
byte task_wait;		/* there are none, but these readers are in a section that began before */
bit pi_lock;		/* held by CPU 0, with interrupts disabled: locker() */

byte prog_users;	/* references of contexts to the program */

byte rcu;		/* who is in an RCU section, or has preemption disabled */
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
	ctxs[ctx].state = 0;
	ctxs[ctx].task = false;
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
		assert(ctxs[ctx].used && slot != ctx && ctxs[ctx].state < 2 * BPF_TW_REF);
		assert(!ctxs[ctx].prog && !ctxs[ctx].ticket);
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

/* Nothing is lost if it takes no time: any step may take long. */
#define synchronize_rcu() skip

inline rcu_read_unlock()
{
	d_step {
		rcu = rcu & ~me;
		task_wait = task_wait & ~me;
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

/* Not in C, but in mutants. */
inline xchg_state(ctx, to)
{
	d_step {
		valid(ctx);
		old = ctxs[ctx].state;
		ctxs[ctx].state = to
	}
}

/* Part of a step. Of a context that is cancelled, and has as many references. */
inline sub_state(ctx, refs)
{
	valid(ctx);
	assert((ctxs[ctx].state & BPF_TW_FREED) && ctxs[ctx].state >= refs);
	ctxs[ctx].state = ctxs[ctx].state - refs;
	old = ctxs[ctx].state
}

/* Part of a step. */
inline read_state(ctx)
{
	valid(ctx);
	old = ctxs[ctx].state
}

/* Part of a step. Steps are in order. */
inline acquire_state(ctx)
{
	read_state(ctx)
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

/* Part of a step. */
inline xchg_slot(to)
{
	assert(!gone);
	was = slot;
	slot = to
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

/* References. The program that runs may be on its way out. */
inline bpf_prog_inc_not_zero(ctx)
{
	if
	:: err = true
	:: err = false; prog_users++; ctxs[ctx].prog = true
	fi
}

/* Part of a step. */
inline bpf_task_acquire(ctx)
{
	assert(task_users + task_usage > 0);
	err = (task_users == 0);
	task_users = task_users + !err;
	ctxs[ctx].task = !err
}

/* Part of a step. */
inline bpf_prog_put_nosleep()
{
	assert(can_lock && prog_users > 0);
	prog_users--
}

/* Part of a step. The last one ends the task_struct, after a grace period. */
inline put_task()
{
	assert(task_users > 0);
	task_users--;
	if
	:: task_users == 0 -> task_wait = rcu
	:: else
	fi
}

inline bpf_task_release()
{
	d_step {
		assert(can_lock);
		put_task()
	}
}

/* The task of a context */
inline set_task(ctx)
{
	d_step {
		valid(ctx);
		ctxs[ctx].task = true
	}
}

inline clear_task(ctx)
{
	d_step {
		valid(ctx);
		ctxs[ctx].task = false
	}
}

/* Part of a step. */
inline read_task(ctx)
{
	valid(ctx);
	task = ctxs[ctx].task
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

/* A count. Parts of a step. */
#define atomic_read(count) count

inline atomic_inc(count)
{
	count++
}

inline atomic_sub(i, count)
{
	assert(count >= i);
	count = count - i
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
#define init_task_work(ctx) skip

inline task_work_add(ctx, wakes)
{
	d_step {
		!wakes || !pi_lock ->
		valid(ctx);
		assert(!wakes || can_lock);
		assert(task_users + task_usage + task_current > 0);
		err = exited;
		if
		:: !err ->
			assert(!((works | taken) & set_of(ctx)));
			works = works | set_of(ctx);
			ctxs[ctx].late = (ctxs[ctx].state != BPF_TW_SCHEDULED)
		:: else
		fi
	}
}

/* Walks from work to work, and so may miss what happens behind it. */
inline task_work_cancel_all(found)
{
	n = 0;
	do
	:: n < CELLS ->
		d_step {
			!pi_lock ->
			assert(can_lock && (task_users + task_usage > 0 || (task_wait & me)));
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
