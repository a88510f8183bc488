// SPDX-License-Identifier: GPL-2.0
/*
 * BPF task work, function by function as in kernel/bpf/task_work.h and in the same
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

inline bpf_task_work_queue_add(ctx)
{
	llist_add(ctx, cpus[cpu].add);
	irq_work_queue()
}

inline bpf_task_work_queue_drop(ctx)
{
	llist_add(ctx, cpus[cpu].drop);
	irq_work_queue()
}

/* Any put may be the last. */
inline bpf_task_work_put_prog(ctx)
{
	d_step {
		valid(ctx);
		if
		:: ctxs[ctx].prog -> ctxs[ctx].prog = false; bpf_prog_put_nosleep()
		:: else
		fi
	}
}

inline bpf_task_work_destroy(ctx)
{
	bpf_task_work_put_prog(ctx);
	bpf_mem_free_rcu(ctx)
}

inline bpf_task_work_put(ctx)
{
	d_step { acquire_state(ctx); yes = old < 2 * BPF_TW_REF };
	if
	:: !yes -> d_step { sub_state(ctx, BPF_TW_REF); yes = old < BPF_TW_REF }
	:: yes
	fi;
	if
	:: yes ->
		d_step {
			valid(ctx);
			may_lock = !ctxs[ctx].prog || bpf_task_work_may_lock()
		};
		if
		:: may_lock -> bpf_task_work_destroy(ctx)
		:: !may_lock -> bpf_task_work_queue_drop(ctx)
		fi
	:: !yes
	fi
}

inline bpf_task_work_put_unlisted(ctx)
{
	clear_task(ctx);
	bpf_task_work_put(ctx)
}

inline bpf_task_work_finish(ctx, from)
{
	bpf_task_work_put_prog(ctx);
	cmpxchg_state(ctx, from, BPF_TW_STANDBY);
	if
	:: old != from -> bpf_task_work_put(ctx)
	:: else
	fi
}

inline bpf_task_work_give_up(ctx)
{
	clear_task(ctx);
	if
	:: ctxs[ctx].prog && !bpf_task_work_may_lock() ->
		bpf_task_work_queue_add(ctx)
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

inline bpf_task_work_may_run()
{
	yes = !exiting
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
		bpf_task_work_put_unlisted(ctx)
	:: else ->
		bpf_task_work_may_run();
		if
		:: yes -> bpf_task_work_run(ctx)
		:: !yes
		fi;
		d_step {
			rcu_read_unlock_trace();
			settle(ctx)
		};
		bpf_task_work_finish(ctx, BPF_TW_RUNNING)
	fi
}

inline bpf_task_work_add_failed(ctx)
{
	cmpxchg_state(ctx, BPF_TW_SCHEDULED, BPF_TW_PENDING);
	if
	:: old != BPF_TW_SCHEDULED ->
		d_step { settle(ctx); err = false };
		bpf_task_work_put_unlisted(ctx)
	:: else
	fi
}

inline bpf_task_work_add(ctx, wakes)
{
	cmpxchg_state(ctx, BPF_TW_PENDING, BPF_TW_SCHEDULED);
	err = false;
	if
	:: old != BPF_TW_PENDING ->
		d_step { settle(ctx) };
		bpf_task_work_put(ctx)
	:: else ->
		task_work_add(ctx, wakes);
		if
		:: err -> bpf_task_work_add_failed(ctx)
		:: else
		fi
	fi
}

inline bpf_task_work_is_freed(work)
{
	read_state(work);
	yes = (old & BPF_TW_FREED) != 0
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
		bpf_task_work_put_unlisted(work)
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
		bpf_task_work_put(ctx);
		done++
	:: else -> break
	od;
	synchronize_rcu();
	d_step {
		atomic_sub(done, nr_cancelled);
		done = 0
	}
}

inline bpf_task_work_queue_reap(ctx)
{
	d_step { atomic_inc(nr_cancelled) };
	llist_add(ctx, cancelled);
	if
	:: yes -> queue_work()
	:: else
	fi
}

inline bpf_task_work_irq_add(ctx)
{
	d_step {
		read_task(ctx);
		err = true
	};
	if
	:: task -> bpf_task_work_add(ctx, WAKES)
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
	:: old >= 2 * BPF_TW_REF -> bpf_task_work_queue_reap(ctx)
	:: else -> bpf_task_work_destroy(ctx)
	fi
}

inline bpf_task_work_take(to, head)
{
	llist_del_all(to, head)
}

inline bpf_task_work_irq()
{
	bpf_task_work_take(list, cpus[cpu].add);
	do
	:: list ->
		llist_next(ctx, list);
		bpf_task_work_irq_add(ctx)
	:: else -> break
	od;
	bpf_task_work_take(list, cpus[cpu].drop);
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
	:: old & BPF_TW_FREED -> break
	:: else ->
		from = old;
		cmpxchg_state(ctx, from, from | BPF_TW_FREED);
		if
		:: old != from
		:: old == from ->
			d_step { cmpxchg_slot(ctx, NULL) };
			if
			:: from != BPF_TW_SCHEDULED ->
				bpf_task_work_put(ctx)
			:: from == BPF_TW_SCHEDULED && bpf_task_work_may_lock() ->
				bpf_task_work_queue_reap(ctx)
			:: from == BPF_TW_SCHEDULED && !can_lock ->
				bpf_task_work_queue_drop(ctx)
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

inline bpf_task_work_check_map(ctx)
{
	err = atomic64_read(usercnt) == 0;
	if
	:: err -> bpf_task_work_cancel(ctx)
	:: else
	fi
}

inline bpf_task_work_get_prog(ctx)
{
	atomic {
		valid(ctx);
		bpf_prog_inc_not_zero(ctx)
	}
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

inline bpf_task_work_add_remote(ctx)
{
	bpf_task_work_get_task(ctx);
	if
	:: !err ->
		bpf_task_work_add(ctx, WAKES);
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

inline bpf_task_work_queue_irq(ctx)
{
	bpf_task_work_get_task(ctx);
	if
	:: err ->
		d_step { unbook(ctx) };
		bpf_task_work_give_up(ctx);
		err = true
	:: else ->
		bpf_task_work_queue_add(ctx)
	fi
}

inline bpf_task_work_add_current(ctx)
{
	set_task(ctx);
	bpf_task_work_add(ctx, !WAKES);
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
		bpf_task_work_add_current(ctx)
	:: else ->
		may_lock = bpf_task_work_may_lock();
		if
		:: may_lock ->
			bpf_task_work_add_remote(ctx)
		:: !may_lock ->
			bpf_task_work_queue_irq(ctx)
		fi
	fi
}

inline bpf_task_work_check_task()
{
	err = exiting
}

inline bpf_task_work_submit(ctx)
{
	bpf_task_work_check_map(ctx);
	if
	:: !err -> bpf_task_work_get_prog(ctx)
	:: else
	fi;
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
	:: !err && ctx != NULL -> bpf_task_work_submit(ctx)
	:: !err && ctx == NULL -> bpf_task_work_submit_first()
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
