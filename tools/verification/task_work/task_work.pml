// SPDX-License-Identifier: GPL-2.0
/*
 * Everybody who may touch a context of BPF task work, at once: see README.
 */
#include "kernel.pml"
#include "functions.pml"

/* A configuration: what there is besides a task and the end of the map. */
#ifndef DIRECT
#define DIRECT 0	/* calls of a program that may lock */
#endif
#ifndef NMI
#define NMI 0		/* calls of one that may not, in an NMI of CPU 0 */
#endif
#ifndef DELETE
#define DELETE 0	/* a deleter */
#endif
#ifndef KIND
#define KIND 0		/* of this kind, or any */
#endif
#ifndef FROM_NMI
#define FROM_NMI 0	/* the deleter may be one that may not lock */
#endif
#ifndef LOCKER
#define LOCKER 0	/* somebody holds pi_lock */
#endif
#ifndef MISSES
#define MISSES 0	/* the walk of the last user reference may miss the element */
#endif
#ifndef MAP_LAST
#define MAP_LAST 0	/* the map ends after all programs have */
#endif

#define UPDATE 1	/* of an array's element */
#define REPLACE 2	/* deleted, and its memory inserted again, maybe with another key */
#define FREE 3		/* deleted, and its memory freed */
byte kind;		/* of deletion */
byte programs;		/* that have not ended, deleters among them */
bit map_ended, task_ended;

/* A program that schedules: PROGRAM_1 is in an NMI of CPU 0, PROGRAM_0 may lock. */
proctype program(byte me; byte cpu; bool can_lock; byte calls)
{
	byte ctx = NULL, was, n;
	byte old, from;
	bool yes, err, may_lock, wakes, is_current, in_irq;

	do
	:: atomic {
		calls && linked && reachable && task_users ->
		calls--;
		sections = sections | me;
		if
		:: EXIT -> is_current = true; task_current = task_current | me
		:: EXIT -> task_usage++
		:: !EXIT
		fi
	   };
	   bpf_task_work_schedule();
	   d_step {
		section_end(me);
		task_usage = task_usage - (EXIT && !is_current);
		task_current = task_current & ~me;
		is_current = false;
		if
		:: !err -> balance++
		:: else
		fi
	   }
	:: !calls || !linked || !reachable || !task_users -> break
	od;
	programs--
}

/* The interrupt comes where interrupts are enabled, and so nothing of CPU 0 holds pi_lock. */
proctype irq(byte cpu)
{
	byte ctx = NULL, list, me;
	byte old;
	bool yes, err, task, may_lock, can_lock = true, in_irq = true;

end:	do
	:: d_step {
		cpus[cpu].irq_work && !(pi_lock && cpu == 0) ->
		cpus[cpu].irq_work = false;
		cpus[cpu].in_irq = true
	   };
	   bpf_task_work_irq();
	   cpus[cpu].in_irq = false
	od
}

proctype worker()
{
	byte ctx = NULL, work = NULL, list, found, n, done, me = REAPER, cpu;
	byte old;
	bool yes, task, may_lock, can_lock = true, in_irq;

end:	do
	:: d_step {
		reaper ->
		reaper = false;
		in_reap = true
	   };
	   bpf_task_work_reap();
	   in_reap = false
	od
}

/* What an NMI or the irq_work of CPU 0 may interrupt, or not. */
proctype locker()
{
end:	do
	:: d_step {
		!pi_lock && !cpus[0].in_irq && !(sections & PROGRAM_1) -> pi_lock = true
	   };
	   d_step {
		!cpus[0].in_irq && !(sections & PROGRAM_1) -> pi_lock = false
	   }
	od
}

/* Runs its works whenever it likes, sleeps for ever or exits. */
proctype target()
{
	byte ctx = NULL, me, cpu;
	byte old;
	bool yes, may_lock, can_lock = true, in_irq;

	do
	:: d_step {
		works ->
		taken = works;
		works = 0
	   };
	   do
	   :: taken ->
		choose(ctx, taken);
		bpf_task_work_callback(ctx)
	   :: else -> break
	   od
	:: d_step { EXIT && !exiting && !task_current -> exiting = true }
	:: d_step { !exiting && map_ended && !programs -> asleep = true }; break
	:: d_step { exiting && !works && !task_current -> exited = true }; d_step { !task_current -> put_task() }; break
	od;
	task_ended = true
}

/* The element is updated (array), or deleted and inserted again, or deleted and freed. */
proctype deleter(byte cpu; bool can_lock)
{
	byte ctx = NULL, was, n, me = DELETER;
	byte old, from;
	bool yes, may_lock, in_irq;

	if
	:: d_step {
		linked && reachable -> sections = sections | me
	   };
	   if
	   :: kind == UPDATE ->
	      bpf_task_work_cancel_and_free();
	      d_step { section_end(me) }
	   :: kind == REPLACE ->
	      linked = false;
	      bpf_task_work_retire();
	      linked = true;
	      bpf_task_work_revive();
	      d_step { section_end(me) }
	   :: kind == FREE ->
	      linked = false;
	      bpf_task_work_retire();
	      d_step {
		section_end(me);
		elem_gp = sections
	      };
	      d_step { !elem_gp -> gone = true }
	   fi
	:: !reachable
	fi;
	programs--
}

/* In the elements that are in the map, or in all that it has allocated beforehand. */
inline walk()
{
	if
	:: d_step {
		!gone && linked -> sections = sections | MAP
	   };
	   bpf_task_work_cancel_and_free();
	   d_step { section_end(MAP) }
	:: gone || !linked
	fi
}

/* The last user reference goes, then the last of all, then the memory. */
proctype map_end()
{
	byte ctx = NULL, was, n, me = MAP, cpu;
	byte old, from;
	bool yes, may_lock, missed, can_lock = true, in_irq;

	!MAP_LAST || !programs;
	usercnt = 0;
	if
	:: walk()
	:: MISSES -> missed = true
	fi;
	d_step { reachable = false; map_gp = sections & ~TASK };
	d_step { !map_gp -> assert(IS_ERR_OR_NULL(slot) || missed) };
	walk();
	map_gp = sections & TASK;
	d_step { !map_gp -> gone = true };
	map_ended = true
}

#define is_tried(kind) (DELETE && (!KIND || KIND == kind))
#define idle(cpu) (!cpus[cpu].irq_work && !cpus[cpu].in_irq && !cpus[cpu].add && !cpus[cpu].drop)
#define is_free(ctx) (!ctxs[ctx].used && !ctxs[ctx].wait)
/* Cancelled before the task had it: the task has the last reference, and will not look at it. */
#define left(ctx) (ctxs[ctx].late && (ctxs[ctx].state & BPF_TW_FREED) && ctxs[ctx].state < 2 * BPF_TW_REF && \
		   (works & set_of(ctx)))

init
{
	byte n;

	atomic {
		run irq(0);
		run worker();
		run target();
		run map_end();
		if
		:: DIRECT -> programs++; run program(PROGRAM_0, 1, true, DIRECT)
		:: else
		fi;
		if
		:: NMI -> programs++; run program(PROGRAM_1, 0, false, NMI)
		:: else
		fi;
		if
		:: LOCKER -> run locker()
		:: else
		fi;
		if
		:: is_tried(UPDATE) -> kind = UPDATE
		:: is_tried(REPLACE) -> kind = REPLACE
		:: is_tried(FREE) -> kind = FREE
		:: !DELETE
		fi;
		if
		:: DELETE -> programs++; run deleter(1, true)
		:: DELETE && FROM_NMI -> programs++; run deleter(0, false)
		:: DELETE && FROM_NMI -> programs++; run deleter(1, false); run irq(1)
		:: !DELETE
		fi
	};
	/* Quiescence. What has leaked is an end state that is not valid. */
	d_step {
		task_ended && map_ended && !programs && !reaper && !in_reap && !cancelled &&
		idle(0) && idle(1) && (is_free(0) || asleep && left(0)) && (is_free(1) || asleep && left(1)) ->
		assert(IS_ERR_OR_NULL(slot) && !taken && !nr_cancelled);
		n = left(0) + left(1);
		assert(prog_users == n && balance == n && task_users == asleep)
	}
}
