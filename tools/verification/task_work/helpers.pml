// SPDX-License-Identifier: GPL-2.0
/*
 * BPF task work, function by function as in kernel/bpf/helpers.c and in the same
 * order. ./check compares what the two do to states, slots, references and lists,
 * and whom they call. A function's result is in ctx, yes or err.
 */
/* ctx->mode: all that goes to another task, or by way of the irq_work, may wake the task. */
#define WAKES true
#define atomic64_read(word) word
/* Interrupts are disabled in the irq_work, though it may do what needs them enabled. */
#define bpf_task_work_may_lock() (can_lock && !in_irq)

/* Not in C: a schedule that will return 0, or has. It has to run or be cancelled. Parts of a step. */
inline book(ctx)
{
	assert(!ctxs[ctx].ticket);
	ctxs[ctx].ticket = true
}

inline unbook(ctx)
{
	assert(ctxs[ctx].ticket);
	ctxs[ctx].ticket = false
}

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
	irq_work_queue()
}

/* Part of a step. */
inline bpf_task_work_put_prog()
{
	bpf_prog_put()
}

/* Any put may be the last. */
inline bpf_task_work_drop_prog(ctx)
{
	d_step {
		valid(ctx);
		if
		:: ctxs[ctx].prog -> ctxs[ctx].prog = false; bpf_task_work_put_prog()
		:: else
		fi
	}
}

inline bpf_task_work_destroy(ctx)
{
	bpf_task_work_drop_prog(ctx);
	bpf_mem_free_rcu(ctx)
}

inline bpf_task_work_leave(ctx)
{
	xchg_state(ctx, BPF_TW_LEFT);
	if
	:: old == BPF_TW_FREED
	:: old == BPF_TW_LEFT ->
		d_step {
			valid(ctx);
			may_lock = !ctxs[ctx].prog || bpf_task_work_may_lock()
		};
		if
		:: may_lock -> bpf_task_work_destroy(ctx)
		:: !may_lock -> bpf_task_work_defer(ctx, false)
		fi
	fi
}

inline bpf_task_work_leave_task(ctx)
{
	clear_task(ctx);
	bpf_task_work_leave(ctx)
}

inline bpf_task_work_finish(ctx, from)
{
	bpf_task_work_drop_prog(ctx);
	cmpxchg_state(ctx, from, BPF_TW_STANDBY);
	if
	:: old != from -> bpf_task_work_leave(ctx)
	:: else
	fi
}

inline bpf_task_work_give_up(ctx)
{
	clear_task(ctx);
	if
	:: ctxs[ctx].prog && !bpf_task_work_may_lock() ->
		bpf_task_work_defer(ctx, true)
	:: else ->
		bpf_task_work_finish(ctx, BPF_TW_PENDING)
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
			settle(ctx)
		};
		bpf_task_work_leave_task(ctx)
	:: else ->
		if
		:: !exiting -> bpf_task_work_run(ctx)
		:: exiting
		fi;
		d_step {
			rcu_read_unlock_trace();
			settle(ctx)
		};
		bpf_task_work_finish(ctx, BPF_TW_RUNNING)
	fi
}

inline bpf_task_work_disarm(ctx)
{
	cmpxchg_state(ctx, BPF_TW_SCHEDULED, BPF_TW_PENDING);
	if
	:: old != BPF_TW_SCHEDULED ->
		d_step { settle(ctx); err = false };
		bpf_task_work_leave_task(ctx)
	:: else
	fi
}

inline bpf_task_work_arm(ctx, wakes)
{
	cmpxchg_state(ctx, BPF_TW_PENDING, BPF_TW_SCHEDULED);
	err = false;
	if
	:: old != BPF_TW_PENDING ->
		d_step { settle(ctx) };
		bpf_task_work_leave(ctx)
	:: else ->
		task_work_add(ctx, wakes);
		if
		:: err -> bpf_task_work_disarm(ctx)
		:: else
		fi
	fi
}

inline bpf_task_work_is_freed(work)
{
	read_state(work);
	yes = (old == BPF_TW_FREED || old == BPF_TW_LEFT)
}

inline bpf_task_work_unlink(ctx)
{
	d_step {
		rcu_read_lock();
		read_task(ctx);
		found = 0
	};
	if
	:: task -> task_work_cancel_all(found)
	:: else
	fi;
	rcu_read_unlock();
	do
	:: found ->
		choose(work, found);
		d_step { settle(work) };
		bpf_task_work_leave_task(work)
	:: else -> break
	od
}

inline bpf_task_work_reap()
{
	llist_del_all(list, cancelled);
	done = 0;
	do
	:: list ->
		llist_next(ctx, list);
		bpf_task_work_unlink(ctx);
		bpf_task_work_leave(ctx);
		done++
	:: else -> break
	od;
	synchronize_rcu();
	d_step {
		atomic_sub(done, nr_cancelled);
		done = 0
	}
}

inline bpf_task_work_reap_later(ctx)
{
	d_step { atomic_inc(nr_cancelled) };
	llist_add(ctx, cancelled);
	if
	:: yes -> queue_work()
	:: else
	fi
}

inline bpf_task_work_irq_arm(ctx)
{
	d_step {
		read_task(ctx);
		err = true
	};
	if
	:: task -> bpf_task_work_arm(ctx, WAKES)
	:: else
	fi;
	if
	:: err ->
		d_step { settle(ctx) };
		bpf_task_work_finish(ctx, BPF_TW_PENDING)
	:: else
	fi;
	if
	:: task -> bpf_task_release()
	:: else
	fi
}

inline bpf_task_work_irq_drop(ctx)
{
	d_step { acquire_state(ctx) };
	if
	:: old == BPF_TW_FREED -> bpf_task_work_reap_later(ctx)
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
	d_step { read_state(ctx) };
	do
	:: old == BPF_TW_FREED || old == BPF_TW_LEFT -> break
	:: else ->
		from = old;
		cmpxchg_state(ctx, from, BPF_TW_FREED);
		if
		:: old != from
		:: old == from ->
			d_step { cmpxchg_slot(ctx, NULL) };
			if
			:: from == BPF_TW_STANDBY -> bpf_task_work_destroy(ctx)
			:: from == BPF_TW_PENDING || from == BPF_TW_RUNNING ->
				bpf_task_work_leave(ctx)
			:: from == BPF_TW_SCHEDULED && bpf_task_work_may_lock() ->
				bpf_task_work_reap_later(ctx)
			:: from == BPF_TW_SCHEDULED && !can_lock ->
				bpf_task_work_defer(ctx, false)
			fi;
			break
		fi
	od
}

inline bpf_task_work_claim()
{
	d_step {
		rcu_read_lock();
		read_slot()
	};
	ctx = was;
	err = (ctx == BPF_TW_RETIRED);
	if
	:: !IS_ERR_OR_NULL(ctx) ->
		err = true;
		d_step { read_state(ctx) };
		if
		:: old == BPF_TW_STANDBY ->
			cmpxchg_state(ctx, BPF_TW_STANDBY, BPF_TW_PENDING);
			err = (old != BPF_TW_STANDBY)
		:: else
		fi
	:: else
	fi;
	rcu_read_unlock()
}

/*
 * What comes behind the look at usercnt is one step, as nobody else sees the context before
 * it is in the slot; the count may change in between, and then it was just a hint.
 */
inline bpf_task_work_alloc()
{
	err = atomic64_read(usercnt) == 0;
	d_step {
		err = err || atomic_read(nr_cancelled) >= BPF_TW_MAX_CANCELLED;
		if
		:: !err -> bpf_mem_alloc(ctx); err = (ctx == NULL)
		:: else
		fi;
		if
		:: !err ->
			init_task_work(ctx);
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

inline bpf_task_work_prepare(ctx)
{
	if
	:: atomic64_read(usercnt) == 0 ->
		bpf_task_work_cancel(ctx);
		err = true
	:: else ->
		atomic {
			valid(ctx);
			bpf_prog_inc_not_zero(ctx)
		}
	fi
}

inline bpf_task_work_get_task(ctx)
{
	d_step {
		rcu_read_lock();
		valid(ctx);
		bpf_task_acquire(ctx)
	};
	rcu_read_unlock()
}

inline bpf_task_work_reach(ctx)
{
	bpf_task_work_get_task(ctx);
	if
	:: !err ->
		bpf_task_work_arm(ctx, WAKES);
		bpf_task_release()
	:: else
	fi;
	if
	:: err ->
		d_step { unbook(ctx) };
		bpf_task_work_give_up(ctx);
		err = true
	:: else
	fi
}

inline bpf_task_work_hop(ctx)
{
	bpf_task_work_get_task(ctx);
	if
	:: err ->
		d_step { unbook(ctx) };
		bpf_task_work_give_up(ctx);
		err = true
	:: else ->
		bpf_task_work_defer(ctx, true)
	fi
}

inline bpf_task_work_reach_current(ctx)
{
	set_task(ctx);
	bpf_task_work_arm(ctx, !WAKES);
	if
	:: err ->
		d_step { unbook(ctx) };
		bpf_task_work_give_up(ctx);
		err = true
	:: else
	fi
}

/*
 * Not in C: the mode and, if the task can't exit, only here which task it is. To resume
 * current wakes nobody, nor does a signal to it where that may be sent directly.
 */
inline choose_mode()
{
	if
	:: EXIT && is_current -> wakes = false
	:: EXIT && is_current -> wakes = true
	:: EXIT && !is_current -> wakes = true
	:: !EXIT && !may_lock -> wakes = false; is_current = true
	:: !EXIT -> wakes = true; is_current = false
	fi
}

inline bpf_task_work_dispatch(ctx)
{
	may_lock = bpf_task_work_may_lock();
	choose_mode();
	if
	:: is_current && (!wakes || may_lock) ->
		bpf_task_work_reach_current(ctx)
	:: else ->
		may_lock = bpf_task_work_may_lock();
		if
		:: may_lock ->
			bpf_task_work_reach(ctx)
		:: !may_lock ->
			bpf_task_work_hop(ctx)
		fi
	fi
}

inline bpf_task_work_check_task()
{
	err = exiting
}

inline bpf_task_work_submit(ctx)
{
	bpf_task_work_prepare(ctx);
	if
	:: err ->
		bpf_task_work_give_up(ctx)
	:: else ->
		d_step { book(ctx) };
		bpf_task_work_dispatch(ctx)
	fi
}

inline bpf_task_work_submit_first()
{
	bpf_task_work_alloc();
	if
	:: !err -> bpf_task_work_submit(ctx)
	:: else
	fi
}

inline bpf_task_work_schedule()
{
	bpf_task_work_check_task();
	if
	:: !err -> bpf_task_work_claim()
	:: else
	fi;
	if
	:: !err && ctx == NULL -> bpf_task_work_submit_first()
	:: !err && ctx != NULL -> bpf_task_work_submit(ctx)
	:: err
	fi
}

inline bpf_task_work_cancel_and_free()
{
	d_step {
		rcu_read_lock();
		read_slot()
	};
	ctx = was;
	if
	:: !IS_ERR_OR_NULL(ctx) -> bpf_task_work_cancel(ctx)
	:: else
	fi;
	rcu_read_unlock()
}

inline bpf_task_work_retire()
{
	d_step {
		rcu_read_lock();
		xchg_slot(BPF_TW_RETIRED)
	};
	ctx = was;
	if
	:: !IS_ERR_OR_NULL(ctx) -> bpf_task_work_cancel(ctx)
	:: else
	fi;
	rcu_read_unlock()
}

inline bpf_task_work_revive()
{
	d_step { read_slot() };
	if
	:: was == BPF_TW_RETIRED -> write_slot(NULL)
	:: else
	fi
}
