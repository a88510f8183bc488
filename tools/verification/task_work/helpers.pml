// SPDX-License-Identifier: GPL-2.0
/*
 * BPF task work, function by function as in kernel/bpf/helpers.c and in the same
 * order. ./check compares what the two do to states, slots, references and lists,
 * and whom they call. A function's result is in ctx, yes or err.
 */
/* ctx->mode: all but to resume current may wake the task. */
#define WAKES true
#define atomic64_read(word) word
#define refcount_set(ctx, value) ctxs[ctx].refcnt = value
#define bpf_task_work_may_lock() can_lock

/* Not in C: a schedule that returned 0, or will, has run or is cancelled. Part of a step. */
inline settle(ctx)
{
	if
	:: ctxs[ctx].ticket -> ctxs[ctx].ticket = false; balance--
	:: else
	fi
}

inline bpf_task_work_defer(ctx, arm)
{
	llist_add(ctx, cpus[cpu].list[arm]);
	if
	:: yes -> irq_work_queue()
	:: else
	fi
}

inline bpf_task_work_drop_refs(ctx)
{
	d_step {
		valid(ctx);
		if
		:: ctxs[ctx].prog -> bpf_prog_put(); ctxs[ctx].prog = false
		:: else
		fi;
		if
		:: ctxs[ctx].task -> bpf_task_release(); ctxs[ctx].task = false
		:: else
		fi
	}
}

inline bpf_task_work_destroy(ctx)
{
	bpf_task_work_drop_refs(ctx);
	bpf_mem_free_rcu(ctx)
}

inline bpf_task_work_put(ctx, may_lock)
{
	refcount_dec_and_test(ctx);
	if
	:: !yes
	:: yes && may_lock -> bpf_task_work_destroy(ctx)
	:: yes && !may_lock -> bpf_task_work_defer(ctx, false)
	fi
}

inline bpf_task_work_finish(ctx, from, may_lock)
{
	bpf_task_work_drop_refs(ctx);
	cmpxchg_state(ctx, from, BPF_TW_STANDBY);
	bpf_task_work_put(ctx, may_lock)
}

inline bpf_task_work_give_up(ctx)
{
	may_lock = bpf_task_work_may_lock();
	if
	:: !may_lock && (ctxs[ctx].prog || ctxs[ctx].task) ->
		bpf_task_work_defer(ctx, true)
	:: else ->
		bpf_task_work_finish(ctx, BPF_TW_PENDING, may_lock)
	fi
}

/* The callback sleeps between its two accesses of the element. */
inline bpf_task_work_run(ctx)
{
	d_step {
		valid(ctx);
		assert(ctxs[ctx].ticket);
		assert(!gone && !exiting && ctxs[ctx].prog && prog_users > 0)
	};
	d_step {
		valid(ctx);
		assert(!gone && ctxs[ctx].prog && prog_users > 0)
	}
}

inline bpf_task_work_callback(ctx)
{
	rcu_read_lock_trace();
	cmpxchg_state(ctx, BPF_TW_SCHEDULED, BPF_TW_RUNNING);
	if
	:: old != BPF_TW_SCHEDULED ->
		d_step {
			rcu_read_unlock_trace();
			assert(old == BPF_TW_FREED);
			settle(ctx)
		};
		bpf_task_work_put(ctx, true)
	:: else ->
		if
		:: !exiting -> bpf_task_work_run(ctx)
		:: exiting
		fi;
		d_step {
			rcu_read_unlock_trace();
			settle(ctx)
		};
		bpf_task_work_finish(ctx, BPF_TW_RUNNING, true)
	fi
}

inline bpf_task_work_arm(ctx, wakes, may_lock)
{
	cmpxchg_state(ctx, BPF_TW_PENDING, BPF_TW_SCHEDULED);
	err = false;
	freed = (old != BPF_TW_PENDING);
	if
	:: !freed -> task_work_add(ctx, wakes)
	:: else
	fi;
	if
	:: err ->
		cmpxchg_state(ctx, BPF_TW_SCHEDULED, BPF_TW_PENDING);
		freed = (old != BPF_TW_SCHEDULED)
	:: else
	fi;
	if
	:: freed ->
		err = false;
		d_step {
			assert(old == BPF_TW_FREED);
			settle(ctx)
		};
		bpf_task_work_put(ctx, may_lock)
	:: else
	fi
}

inline bpf_task_work_is_freed(work)
{
	read_state(work);
	yes = (old == BPF_TW_FREED)
}

inline bpf_task_work_unlink(ctx)
{
	task_work_cancel_all(ctx, found);
	do
	:: found ->
		choose(work, found);
		d_step {
			valid(work);
			ctxs[work].func = false;
			settle(work)
		};
		bpf_task_work_put(work, true)
	:: else -> break
	od
}

inline bpf_task_work_reap()
{
	llist_del_all(list, cancelled);
	do
	:: list ->
		llist_next(ctx, list);
		if
		:: ctxs[ctx].func -> bpf_task_work_unlink(ctx)
		:: else
		fi;
		bpf_task_work_put(ctx, true)
	:: else -> break
	od
}

inline bpf_task_work_reap_later(ctx)
{
	llist_add(ctx, cancelled);
	if
	:: yes -> queue_work()
	:: else
	fi
}

inline bpf_task_work_irq_arm(ctx)
{
	err = true;
	if
	:: ctxs[ctx].task -> bpf_task_work_arm(ctx, WAKES, true)
	:: else
	fi;
	if
	:: err ->
		d_step { settle(ctx) };
		bpf_task_work_finish(ctx, BPF_TW_PENDING, true)
	:: else
	fi
}

inline bpf_task_work_irq_drop(ctx)
{
	refcount_read(ctx);
	if
	:: yes -> bpf_task_work_reap_later(ctx)
	:: else -> bpf_task_work_destroy(ctx)
	fi
}

inline bpf_task_work_irq()
{
	llist_del_all(list, cpus[cpu].list[true]);
	do
	:: list ->
		llist_next(ctx, list);
		bpf_task_work_irq_arm(ctx)
	:: else -> break
	od;
	llist_del_all(list, cpus[cpu].list[false]);
	do
	:: list ->
		llist_next(ctx, list);
		bpf_task_work_irq_drop(ctx)
	:: else -> break
	od
}

inline bpf_task_work_cancel(ctx)
{
	may_lock = bpf_task_work_may_lock();
	xchg_state(ctx, BPF_TW_FREED);
	if
	:: old != BPF_TW_SCHEDULED -> bpf_task_work_put(ctx, may_lock)
	:: old == BPF_TW_SCHEDULED && may_lock -> bpf_task_work_reap_later(ctx)
	:: old == BPF_TW_SCHEDULED && !may_lock -> bpf_task_work_defer(ctx, false)
	fi
}

/* One step, as nobody else sees the context before it is in the slot. */
inline bpf_task_work_alloc()
{
	d_step {
		bpf_mem_alloc(ctx);
		err = (ctx == NULL);
		if
		:: !err ->
			refcount_set(ctx, 2);
			ctxs[ctx].state = BPF_TW_PENDING;
			cmpxchg_slot(NULL, ctx);
			err = (was != NULL);
			if
			:: err -> bpf_mem_free(ctx)
			:: else
			fi
		:: else
		fi
	}
}

inline bpf_task_work_claim(ctx)
{
	refcount_inc_not_zero(ctx);
	if
	:: yes ->
		cmpxchg_state(ctx, BPF_TW_STANDBY, BPF_TW_PENDING);
		if
		:: old != BPF_TW_STANDBY ->
			bpf_task_work_put(ctx, bpf_task_work_may_lock());
			yes = false
		:: else
		fi
	:: else
	fi
}

inline bpf_task_work_acquire()
{
	d_step {
		rcu_read_lock();
		read_slot()
	};
	ctx = was;
	err = true;
	if
	:: ctx == NULL -> bpf_task_work_alloc()
	:: ctx == BPF_TW_RETIRED
	:: else ->
		d_step { read_state(ctx) };
		if
		:: old == BPF_TW_STANDBY -> bpf_task_work_claim(ctx); err = !yes
		:: else
		fi
	fi;
	rcu_read_unlock()
}

inline bpf_task_work_prepare(ctx)
{
	if
	:: atomic64_read(usercnt) == 0 ->
		d_step { cmpxchg_slot(ctx, NULL) };
		if
		:: was == ctx -> bpf_task_work_cancel(ctx)
		:: else
		fi;
		err = true
	:: else ->
		atomic {
			valid(ctx);
			bpf_prog_inc_not_zero(ctx);
			if
			:: !err -> bpf_task_acquire(ctx)
			:: else
			fi
		}
	fi
}

/* To resume current wakes nobody. */
inline bpf_task_work_dispatch(ctx)
{
	may_lock = bpf_task_work_may_lock();
	if
	:: wakes = true
	:: !may_lock -> wakes = false
	fi;
	if
	:: wakes && !may_lock ->
		bpf_task_work_defer(ctx, true);
		err = false
	:: else ->
		bpf_task_work_arm(ctx, wakes, may_lock);
		if
		:: err ->
			d_step { assert(ctxs[ctx].ticket); ctxs[ctx].ticket = false };
			bpf_task_work_give_up(ctx);
			err = true
		:: else
		fi
	fi
}

inline bpf_task_work_check_task()
{
	err = exiting
}

inline bpf_task_work_schedule()
{
	d_step {
		bpf_task_work_check_task();
		err = err || atomic64_read(usercnt) == 0
	};
	if
	:: !err -> bpf_task_work_acquire()
	:: else
	fi;
	if
	:: !err ->
		bpf_task_work_prepare(ctx);
		if
		:: err ->
			bpf_task_work_give_up(ctx);
			err = true
		:: else ->
			d_step { init_task_work(ctx) };
			bpf_task_work_dispatch(ctx)
		fi
	:: else
	fi
}

inline bpf_task_work_cancel_and_free()
{
	d_step {
		rcu_read_lock();
		read_slot()
	};
	ctx = was;
	yes = false;
	if
	:: !IS_ERR_OR_NULL(ctx) -> refcount_inc_not_zero(ctx)
	:: else
	fi;
	if
	:: yes ->
		bpf_task_work_cancel(ctx);
		d_step { cmpxchg_slot(ctx, NULL) };
		if
		:: was == ctx -> bpf_task_work_put(ctx, bpf_task_work_may_lock())
		:: else
		fi
	:: else
	fi;
	rcu_read_unlock()
}

inline bpf_task_work_retire()
{
	xchg_slot(BPF_TW_RETIRED);
	ctx = was;
	if
	:: !IS_ERR_OR_NULL(ctx) -> bpf_task_work_cancel(ctx)
	:: else
	fi
}

inline bpf_task_work_revive()
{
	d_step { read_slot() };
	if
	:: was == BPF_TW_RETIRED -> write_slot(NULL)
	:: else
	fi
}
