/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BPF task work: a part of helpers.c
 *
 * A program that runs where nothing may sleep schedules a callback, which runs
 * in the context of a chosen task, in a sleepable RCU Tasks Trace section, when
 * that task is about to return to user mode. The map value that holds a struct
 * bpf_task_work is the slot; a bpf_task_work_ctx hangs off it from the first use
 * until the element is deleted, so that scheduling again allocates nothing.
 *
 * State Transitions
 * =================
 *
 * The state and the count of references are one word, and move together.
 *
 *                            finish
 *      .------------------------------------------------------.
 *      v        claim           add               run         |
 *   STANDBY ----------> PENDING --------> SCHEDULED -----> RUNNING
 *   1 ref   <---------- 2 refs  <-------- 2 refs           2 refs
 *             give up          add failed
 *
 *   any of these --- cancel ---> FREED, as many refs --- put ---> 1 ref less
 *   last put: destroyed
 *
 * The first use of a slot begins in PENDING. An add fails if the task has exited.
 *
 * State Descriptions
 * ==================
 *
 * STANDBY: Nothing is scheduled. The one reference is the slot's. Whoever moves the
 * context to PENDING gets another one, and is its owner. The program is NULL.
 *
 * PENDING: Owned by the program that claimed it, which fills it in. It then adds it
 * to the task's list or, if it may not do that where it runs, queues it for the
 * irq_work of its CPU, the next owner. Nobody else reads the fields.
 *
 * SCHEDULED: Set before task_work_add(), because after it the callback may run,
 * finish and be scheduled once more before task_work_add() has returned. Owned
 * by the task's list, also in the moment before it is on that list. From here on
 * the program does not change until the callback runs or the context is destroyed,
 * or the task refuses it.
 *
 * RUNNING: Owned by the callback. Entered inside the Tasks Trace section that the
 * callback runs in. So a grace period of Tasks Trace that begins after FREED is set
 * waits for a callback that still runs. The element's memory is kept for that long, by
 * the allocator of the map's elements, or by bpf_map_cancel_deferred().
 *
 * FREED: A flag, set by the canceller, which then empties the slot and takes over the
 * slot's reference. The count stays, and nobody gets a reference any more: all
 * other transitions are cmpxchg()s from a state without the flag. An owner whose
 * transition fails puts its reference; the canceller puts the slot's when the slot is
 * empty. The last put, whichever it is, destroys the context. The delete of an element
 * may empty the slot before it sets FREED, as it also is what frees the element later.
 * All others have to set FREED first: a delete that finds the slot empty frees the
 * element at once.
 *
 * A work that was SCHEDULED stays on its task's list until the reaper takes it off, or
 * the task gets there first. The reaper is a kernel worker, to which the canceller
 * hands its reference: finding one of n works takes a walk over all of them, and one
 * walk serves all that are FREED. If the reaper comes before task_work_add(), the work
 * waits for the task, or for the next walk over its list.
 *
 * Until then cancelled works are memory that no map's size limits, and references to
 * programs. So those that wait for the reaper are counted, and while they are too many
 * nothing is allocated: a slot that is empty stays empty. What else may be FREED needs
 * no count. There is one RUNNING for each task at most; and what is queued for the
 * irq_work waits for an interrupt, without which the allocator gets no memory either.
 *
 * The slot is NULL, or a context, or RETIRED while the element is deleted:
 *
 *   NULL --- alloc ---> context --- cancel ---> NULL
 *   NULL, context --- retire ---> RETIRED --- revive ---> NULL
 *
 * A program may still hold a deleted element, and what it scheduled would belong to
 * nobody, or to the next key. It gets -ENOENT instead.
 *
 * Upstream has a state SCHEDULING, between the decision to call task_work_add() and
 * its success. Setting SCHEDULED first makes it unnecessary.
 *
 * Memory Ordering
 * ===============
 *
 * Every transition is an atomic operation that returns a value, and so a full barrier
 * on success: what an owner wrote is seen by the next one. A plain read of the state
 * is a hint that saves the common -EBUSY an atomic operation.
 *
 * The last put sees all that the others did before theirs. Either it is an
 * atomic_sub_return() of its own, or it finds, by a load-acquire, that only its own
 * reference is left: that pairs with the atomic_sub_return() of the other one. If there
 * was no other one, FREED was set from STANDBY, and pairs with that. Nobody gets a
 * reference from FREED, so a count of one stays one.
 *
 * A context is attached to its slot (cmpxchg) before usercnt is read; the release
 * of the last user reference decrements usercnt before it reads the slots. One of
 * the two sees the other. See bpf_task_work_check_map() and bpf_map_put_uref().
 *
 * See tools/verification/task_work/README for a litmus test of each rule.
 *
 * Lifetimes
 * =========
 *
 * The context: the slot's reference, which the canceller takes over, and the owner's.
 * Others read it through the slot, with preemption disabled, which is an RCU section:
 * its memory is reused a grace period after it was destroyed, and it is destroyed when
 * the slot no longer has it. And they read the state of those on the list of a task,
 * with its pi_lock held: nobody else takes one off without it, and the task takes and
 * releases it before it runs the works that it has taken.
 *
 * The program: a reference from get_prog, after the claim, until the callback has
 * returned, the owner gives up, or the context is destroyed.
 *
 * The task: a reference until the work is on its list, unless it is current. From then
 * on the work itself, which the task runs before it goes. bpf_task_work_ctx.task is
 * for the reaper. An owner that finds FREED after SCHEDULED clears it, and only then
 * drops the reference, or lets the task go on, to its end perhaps. A grace period is
 * between the last reference and the end of the task_struct: so if it is not NULL
 * there in an RCU section, the task_struct stays until that ends. The only other one
 * to clear it is the reaper itself, of which there is one at a time.
 *
 * References to programs and tasks are put where interrupts are enabled, or in the irq_work,
 * which can interrupt only such code. What an NMI or a section with interrupts
 * disabled has to drop is queued for the irq_work: they may have interrupted, or hold,
 * a lock that is needed for it.
 */
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/rcupdate_trace.h>
#include <linux/task_work.h>

/* Of the two references, one is the slot's, the other the owner's. */
enum bpf_task_work_state {
	BPF_TW_FREED = 4,				/* a flag: cancelled; below it the state */
	BPF_TW_REF = 8,					/* all above counts references */
	BPF_TW_STANDBY = 0 + 1 * BPF_TW_REF,		/* no owner */
	BPF_TW_PENDING = 1 + 2 * BPF_TW_REF,		/* the claimer, then the irq_work */
	BPF_TW_SCHEDULED = 2 + 2 * BPF_TW_REF,		/* the task's list */
	BPF_TW_RUNNING = 3 + 2 * BPF_TW_REF,		/* the callback */
};

struct bpf_task_work_ctx {
	struct callback_head work;	/* on the task's list */
	struct llist_node node;		/* on a list of bpf_task_work_cpu, or of the reaper */
	struct task_struct *task;	/* for the irq_work, with a reference; for the reaper */
	struct bpf_prog *prog;
	bpf_callback_t callback;
	/* From the first use on: */
	struct bpf_map *map;		/* no reference: prog has it, if it is not an inner map */
	void *value;
	void *key;
	u32 index;			/* the key of an array's element */
	atomic_t state;			/* enum bpf_task_work_state */
	enum task_work_notify_mode mode;
};

/* What struct bpf_task_work is to the kernel. */
struct bpf_task_work_kern {
	struct bpf_task_work_ctx *ctx;
} __aligned(8);

#define BPF_TW_RETIRED ((struct bpf_task_work_ctx *)ERR_PTR(-ENOENT))

/*
 * One irq_work for each CPU and none in a context: it is never initialised again
 * while it may still be busy, and a burst shares one interrupt.
 */
struct bpf_task_work_cpu {
	struct llist_head add;	/* PENDING: to be added to the list of their task */
	struct llist_head drop;	/* FREED: for the reaper, or to be destroyed */
	struct irq_work irq_work;
};

static void bpf_task_work_irq(struct irq_work *irq_work);

static DEFINE_PER_CPU(struct bpf_task_work_cpu, bpf_task_work_cpu) = {
	.irq_work = IRQ_WORK_INIT_HARD(bpf_task_work_irq),
};

/*
 * So many cancelled works may wait for the reaper, a megabyte and a half, before no slot
 * gets a context any more. A mass delete may make them more; then first uses fail, of all
 * maps, until the reaper is done. It is for all maps together as a map may be gone before
 * the contexts that it had.
 */
#define BPF_TW_MAX_CANCELLED 16384
static atomic_t bpf_task_work_nr_cancelled;

/* FREED contexts that may still be on their task's list. */
static LLIST_HEAD(bpf_task_work_cancelled);
static void bpf_task_work_reap(struct work_struct *unused);
static DECLARE_WORK(bpf_task_work_reaper, bpf_task_work_reap);

/*
 * May this context take locks that are held with interrupts disabled? If it runs
 * with them enabled, and not in an NMI, then this CPU holds none of them.
 */
static bool bpf_task_work_may_lock(void)
{
	return !in_nmi() && !irqs_disabled();
}

/*
 * The lists are for code that may not lock. It can't be preempted either, so it queues
 * the irq_work of the CPU whose list it uses. If that CPU goes down, another one runs
 * the irq_work. Here: a context that is PENDING, with the owner's reference.
 */
static void bpf_task_work_queue_add(struct bpf_task_work_ctx *ctx)
{
	struct bpf_task_work_cpu *cpu = this_cpu_ptr(&bpf_task_work_cpu);

	llist_add(&ctx->node, &cpu->add);
	irq_work_queue(&cpu->irq_work);
}

/* One that is FREED: by its canceller, or by whoever had the last reference. */
static void bpf_task_work_queue_drop(struct bpf_task_work_ctx *ctx)
{
	struct bpf_task_work_cpu *cpu = this_cpu_ptr(&bpf_task_work_cpu);

	llist_add(&ctx->node, &cpu->drop);
	irq_work_queue(&cpu->irq_work);
}

/* By the owner in PENDING and RUNNING, and by whoever destroys the context. */
static void bpf_task_work_put_prog(struct bpf_task_work_ctx *ctx)
{
	struct bpf_prog *prog = ctx->prog;

	if (!prog)
		return;
	ctx->prog = NULL;
	bpf_prog_put_nosleep(prog);
}

/* Nobody else has a reference, so the slot does not have the context any more. */
static void bpf_task_work_destroy(struct bpf_task_work_ctx *ctx)
{
	bpf_task_work_put_prog(ctx);
	preempt_disable(); /* the allocator's caches are a CPU's */
	/* The grace period pairs with the guards of claim and of the cancellers. */
	bpf_mem_free_rcu(&bpf_global_ma, ctx);
	preempt_enable();
}

/*
 * Put a reference to a context that is FREED, and touch it no more. As for an sk_buff, the
 * last put is no atomic operation if the load shows that it is the last one.
 */
static void bpf_task_work_put(struct bpf_task_work_ctx *ctx)
{
	if (atomic_read_acquire(&ctx->state) >= 2 * BPF_TW_REF &&
	    atomic_sub_return(BPF_TW_REF, &ctx->state) >= BPF_TW_REF)
		return;
	if (!ctx->prog || bpf_task_work_may_lock())
		bpf_task_work_destroy(ctx);
	else
		bpf_task_work_queue_drop(ctx);
}

/*
 * The same for the owner that found FREED after SCHEDULED. The context is not on its
 * task's list, and will not be: the reaper must not look at the task, which may go.
 */
static void bpf_task_work_put_unlisted(struct bpf_task_work_ctx *ctx)
{
	WRITE_ONCE(ctx->task, NULL);
	bpf_task_work_put(ctx);
}

/* The owner's way back to STANDBY, from PENDING or RUNNING, where programs are released. */
static void bpf_task_work_finish(struct bpf_task_work_ctx *ctx, enum bpf_task_work_state from)
{
	bpf_task_work_put_prog(ctx);
	if (atomic_cmpxchg(&ctx->state, from, BPF_TW_STANDBY) != from)
		bpf_task_work_put(ctx);
}

/*
 * The claimer's way back to STANDBY, by way of the irq_work if it has to drop the program.
 *
 * Return: @err, so that it can be the last call of its caller.
 */
static noinline int bpf_task_work_give_up(struct bpf_task_work_ctx *ctx, int err)
{
	ctx->task = NULL;
	if (ctx->prog && !bpf_task_work_may_lock())
		bpf_task_work_queue_add(ctx);
	else
		bpf_task_work_finish(ctx, BPF_TW_PENDING);
	return err;
}

static void bpf_task_work_run(struct bpf_task_work_ctx *ctx)
{
	migrate_disable();
	ctx->callback((u64)(long)ctx->map, (u64)(long)ctx->key, (u64)(long)ctx->value, 0, 0);
	migrate_enable();
}

/*
 * An exiting task runs its works when it has given up its mm. User memory would be read
 * from whatever address space the CPU has borrowed. And execve() may have put its memory
 * out of reach for the program's token. Almost no program has one.
 */
static bool bpf_task_work_may_run(struct bpf_task_work_ctx *ctx)
{
	const struct bpf_token *token = ctx->prog->aux->token;

	return current->mm && (likely(!token) || bpf_token_reaches_mm(token, current->mm));
}

/* Called by the task, from its list of works. */
static void bpf_task_work_callback(struct callback_head *work)
{
	struct bpf_task_work_ctx *ctx = container_of(work, struct bpf_task_work_ctx, work);

	rcu_read_lock_trace();
	if (atomic_cmpxchg(&ctx->state, BPF_TW_SCHEDULED, BPF_TW_RUNNING) != BPF_TW_SCHEDULED) {
		rcu_read_unlock_trace();
		bpf_task_work_put_unlisted(ctx);
		return;
	}
	if (bpf_task_work_may_run(ctx))
		bpf_task_work_run(ctx);
	rcu_read_unlock_trace();
	bpf_task_work_finish(ctx, BPF_TW_RUNNING);
}

/*
 * The task takes no more work.
 *
 * Return: as bpf_task_work_add().
 */
static noinline int bpf_task_work_add_failed(struct bpf_task_work_ctx *ctx)
{
	if (atomic_cmpxchg(&ctx->state, BPF_TW_SCHEDULED, BPF_TW_PENDING) == BPF_TW_SCHEDULED)
		return -ESRCH;
	bpf_task_work_put_unlisted(ctx);
	return 0;
}

/*
 * Add the context, PENDING and owned by the caller, to the list of its task.
 *
 * Return: 0 if it is not the caller's any more, because the task has it or because
 * it was cancelled. -ESRCH if the task takes no more work; then the context is
 * PENDING, and the caller's, as before.
 */
static __always_inline int bpf_task_work_add(struct bpf_task_work_ctx *ctx,
					     struct task_struct *task,
					     enum task_work_notify_mode notify)
{
	if (atomic_cmpxchg(&ctx->state, BPF_TW_PENDING, BPF_TW_SCHEDULED) != BPF_TW_PENDING) {
		bpf_task_work_put(ctx);
		return 0;
	}
	/* No allocation for a KASAN report under the locks of the caller. */
	if (!task_work_add(task, &ctx->work, notify | TWAF_NO_ALLOC))
		return 0;
	return bpf_task_work_add_failed(ctx);
}

/* A context on its task's list is not destroyed, so it may be looked at. */
static bool bpf_task_work_is_freed(struct callback_head *work, void *unused)
{
	struct bpf_task_work_ctx *ctx = container_of(work, struct bpf_task_work_ctx, work);

	return work->func == bpf_task_work_callback && (atomic_read(&ctx->state) & BPF_TW_FREED);
}

/*
 * Take all FREED contexts off the list that @ctx may be on. That may include some that
 * their canceller has not yet handed to the reaper: without a task it will know them.
 * If there is a task, then its task_struct stays for this section: see above.
 */
static void bpf_task_work_unlink(struct bpf_task_work_ctx *ctx)
{
	struct callback_head *work = NULL, *next;
	struct task_struct *task;

	scoped_guard(rcu) {
		task = READ_ONCE(ctx->task);
		if (task)
			work = task_work_cancel_all(task, bpf_task_work_is_freed, NULL);
	}
	for (; work; work = next) {
		next = work->next;
		bpf_task_work_put_unlisted(container_of(work, struct bpf_task_work_ctx, work));
	}
}

/*
 * If a work is not on the list, then the callback is under way, or task_work_add() and
 * later the callback, unless it fails: the owner finds FREED, and puts its reference.
 */
static void bpf_task_work_reap(struct work_struct *unused)
{
	struct bpf_task_work_ctx *ctx, *next;
	struct llist_node *list;
	int done = 0;

	list = llist_del_all(&bpf_task_work_cancelled);
	llist_for_each_entry_safe(ctx, next, list, node) {
		bpf_task_work_unlink(ctx);
		bpf_task_work_put(ctx);
		done++;
		cond_resched();
	}
	/*
	 * Before that their memory can't be used again. And a walk may be long, however few
	 * it finds: so the next one is for all that are cancelled meanwhile.
	 */
	synchronize_rcu();
	atomic_sub(done, &bpf_task_work_nr_cancelled);
}

/* With the canceller's reference. */
static void bpf_task_work_queue_reap(struct bpf_task_work_ctx *ctx)
{
	atomic_inc(&bpf_task_work_nr_cancelled);
	if (llist_add(&ctx->node, &bpf_task_work_cancelled))
		queue_work(system_unbound_wq, &bpf_task_work_reaper);
}

/* How to notify current, of which the caller knows that it is not in schedule(). */
static enum task_work_notify_mode bpf_tw_mode_for_current(enum task_work_notify_mode mode)
{
	return mode == TWA_SIGNAL ? TWA_SIGNAL_CURRENT : TWA_RESUME_CURRENT;
}

/*
 * With a task, and a reference to it, unless the claimer has given up. As a rule it is
 * current, as it was when it was scheduled for. Then it is not in schedule(): this has
 * interrupted it where interrupts are enabled, or it is taking down the CPU that had this
 * queued. It looks at the flag on its way out, or before it sleeps.
 */
static void bpf_task_work_irq_add(struct bpf_task_work_ctx *ctx)
{
	enum task_work_notify_mode mode = ctx->mode;
	struct task_struct *task = ctx->task;

	if (task == current)
		mode = bpf_tw_mode_for_current(mode);
	if (!task || bpf_task_work_add(ctx, task, mode))
		bpf_task_work_finish(ctx, BPF_TW_PENDING);
	if (task)
		bpf_task_release(task);
}

/* If the owner has put its reference (this pairs with that), the reaper has nothing to find. */
static void bpf_task_work_irq_drop(struct bpf_task_work_ctx *ctx)
{
	if (atomic_read_acquire(&ctx->state) >= 2 * BPF_TW_REF)
		bpf_task_work_queue_reap(ctx);
	else
		bpf_task_work_destroy(ctx);
}

/* First come, first served. Whoever adds one while this looks raises the irq_work again. */
static struct llist_node *bpf_task_work_take(struct llist_head *head)
{
	struct llist_node *list;

	if (llist_empty(head))
		return NULL;
	list = llist_del_all(head);
	return list->next ? llist_reverse_order(list) : list;
}

static void bpf_task_work_irq(struct irq_work *irq_work)
{
	struct bpf_task_work_cpu *cpu = container_of(irq_work, struct bpf_task_work_cpu, irq_work);
	struct bpf_task_work_ctx *ctx, *next;
	struct llist_node *list;

	/* The next node is read before this one moves on. */
	list = bpf_task_work_take(&cpu->add);
	llist_for_each_entry_safe(ctx, next, list, node)
		bpf_task_work_irq_add(ctx);
	list = bpf_task_work_take(&cpu->drop);
	llist_for_each_entry_safe(ctx, next, list, node)
		bpf_task_work_irq_drop(ctx);
}

/*
 * For one that found the context in its slot, and has disabled preemption since before
 * that, or that owns it. The first of several is the canceller.
 */
static void bpf_task_work_cancel(struct bpf_task_work_ctx *ctx, struct bpf_task_work_kern *tw)
{
	int from = atomic_read(&ctx->state);

	do {
		if (from & BPF_TW_FREED)
			return;
	} while (!atomic_try_cmpxchg(&ctx->state, &from, from | BPF_TW_FREED));
	/* Unless a delete was here first. Only after FREED, and before the slot's put. */
	(void)cmpxchg(&tw->ctx, ctx, NULL);
	if (from != BPF_TW_SCHEDULED)
		bpf_task_work_put(ctx);
	else if (bpf_task_work_may_lock())
		bpf_task_work_queue_reap(ctx);
	else
		bpf_task_work_queue_drop(ctx);
}

/*
 * Claim the slot's context. Disabled preemption keeps its memory until it is the
 * caller's: sleepable programs have only a Tasks Trace section.
 *
 * A cmpxchg that was lost is not tried again: this may have interrupted the code that
 * is changing the slot.
 *
 * Return: the context, PENDING and owned by the caller; NULL if the slot is empty;
 * -EBUSY if work is in flight or just being cancelled; -ENOENT if the element is
 * deleted.
 */
static __always_inline struct bpf_task_work_ctx *
bpf_task_work_claim(struct bpf_task_work_kern *tw)
{
	struct bpf_task_work_ctx *ctx;

	guard(preempt)();
	ctx = READ_ONCE(tw->ctx);
	if (!ctx || ctx == BPF_TW_RETIRED)
		return ctx;
	if (atomic_read(&ctx->state) == BPF_TW_STANDBY &&
	    atomic_cmpxchg(&ctx->state, BPF_TW_STANDBY, BPF_TW_PENDING) == BPF_TW_STANDBY)
		return ctx;
	return ERR_PTR(-EBUSY);
}

/*
 * Allocate the slot's context, claimed by the caller from the start.
 *
 * Return: the context; -EPERM, as bpf_task_work_check_map() would say, if user space
 * holds no reference to the map; -ENOMEM, also if too many wait for the reaper; if the
 * slot is not empty any more, then -ENOENT or -EBUSY.
 */
static struct bpf_task_work_ctx *bpf_task_work_alloc(struct bpf_task_work_kern *tw,
						     struct bpf_map *map)
{
	struct bpf_task_work_ctx *ctx, *other;

	if (!atomic64_read(&map->usercnt))
		return ERR_PTR(-EPERM);
	/* A hint: each one that is here may look before all that the others add. */
	if (atomic_read(&bpf_task_work_nr_cancelled) >= BPF_TW_MAX_CANCELLED)
		return ERR_PTR(-ENOMEM);
	preempt_disable(); /* the allocator's caches are a CPU's */
	ctx = bpf_mem_alloc(&bpf_global_ma, sizeof(*ctx));
	preempt_enable();
	if (!ctx)
		return ERR_PTR(-ENOMEM);
	memset(ctx, 0, sizeof(*ctx));
	init_task_work(&ctx->work, bpf_task_work_callback);
	ctx->map = map;
	ctx->value = (void *)tw - map->record->task_work_off;
	ctx->key = map_key_from_value(map, ctx->value, &ctx->index);
	atomic_set(&ctx->state, BPF_TW_PENDING);
	other = cmpxchg(&tw->ctx, NULL, ctx);
	if (!other)
		return ctx;
	/* Nobody has seen it: no need for a grace period. Safe in an NMI, too. */
	preempt_disable();
	bpf_mem_free(&bpf_global_ma, ctx);
	preempt_enable();
	return other == BPF_TW_RETIRED ? other : ERR_PTR(-EBUSY);
}

/*
 * For a claimed context. The walk of the last user reference may have passed this slot
 * before the context was attached: then nobody would take it off again. On an error the
 * caller has to give the context up.
 */
static __always_inline int bpf_task_work_check_map(struct bpf_task_work_ctx *ctx,
						   struct bpf_task_work_kern *tw)
{
	if (likely(atomic64_read(&ctx->map->usercnt)))
		return 0;
	bpf_task_work_cancel(ctx, tw);
	return -EPERM;
}

/* Get the reference to the program of one schedule. */
static __always_inline int bpf_task_work_get_prog(struct bpf_task_work_ctx *ctx,
						  struct bpf_prog_aux *aux)
{
	if (!atomic64_inc_not_zero(&aux->refcnt))
		return -EBADF;
	ctx->prog = aux->prog;
	return 0;
}

/*
 * A task that is being forked loses its works, and if the fork fails it is freed whoever
 * has a reference. Until it is past that its pid does not lead to it; when it has failed,
 * it is dead.
 */
static struct task_struct *bpf_task_work_get_task(struct task_struct *task)
{
	unsigned int state = READ_ONCE(task->__state);

	if (state == TASK_DEAD)
		return NULL;
	if (state == TASK_NEW) {
		guard(rcu)();
		if (pid_task(READ_ONCE(task->thread_pid), PIDTYPE_PID) != task)
			return NULL;
	}
	return bpf_task_acquire(task);
}

/*
 * To another task, directly. The reference that the caller has may be one that does not
 * end with a grace period.
 */
static noinline int bpf_task_work_add_remote(struct bpf_task_work_ctx *ctx,
					     struct task_struct *task,
					     enum task_work_notify_mode mode)
{
	int err = -ESRCH;

	ctx->task = bpf_task_work_get_task(task);
	if (ctx->task) {
		err = bpf_task_work_add(ctx, task, mode);
		bpf_task_release(task);
	}
	return err ? bpf_task_work_give_up(ctx, err) : 0;
}

/* By way of the irq_work, which comes when the caller's reference to @task may be gone. */
static noinline int bpf_task_work_queue_irq(struct bpf_task_work_ctx *ctx,
					    struct task_struct *task,
					    enum task_work_notify_mode mode)
{
	ctx->task = bpf_task_work_get_task(task);
	if (!ctx->task)
		return bpf_task_work_give_up(ctx, -ESRCH);
	ctx->mode = mode;
	bpf_task_work_queue_add(ctx);
	return 0;
}

/* To current, directly, in an NMI, too. */
static noinline int bpf_task_work_add_current(struct bpf_task_work_ctx *ctx,
					      enum task_work_notify_mode mode)
{
	int err;

	mode = in_nmi() ? TWA_NMI_CURRENT : bpf_tw_mode_for_current(mode);
	ctx->task = current;
	err = bpf_task_work_add(ctx, current, mode);
	return err ? bpf_task_work_give_up(ctx, err) : 0;
}

/*
 * Hand the filled context to the task, from here if that is possible.
 *
 * Current can be resumed in any context: the work goes on a lock-less list, and a flag
 * is set. Another task may have to be woken, which takes its pi_lock and a run-queue
 * lock. A signal to current needs interrupts enabled, too: with them disabled it may be
 * in the middle of schedule(), past its look at the flag. If it were woken there, where
 * it is no longer counted as running, the wake-up would be lost.
 *
 * A program that runs with interrupts disabled after the last look at the flag (on
 * kvm_entry, say) is not too late, but has to wait for the task's next entry to the
 * kernel.
 */
static __always_inline int bpf_task_work_dispatch(struct bpf_task_work_ctx *ctx,
						  struct task_struct *task,
						  enum task_work_notify_mode mode)
{
	if (task == current && (mode == TWA_RESUME || bpf_task_work_may_lock()))
		return bpf_task_work_add_current(ctx, mode);
	if (bpf_task_work_may_lock())
		return bpf_task_work_add_remote(ctx, task, mode);
	return bpf_task_work_queue_irq(ctx, task, mode);
}

/*
 * Only a task that will return to user mode runs its works, and has an mm to read. One
 * that is killed would run them, but it has to die even if its callbacks go on
 * scheduling each other: a task does not look at its signals while it has works.
 *
 * SIGKILL is pending until it is taken. From then on PF_SIGNALED shows it, also for a
 * task that dumps core, that was killed by an execve(), or that cleans up, as threads of
 * io_uring do. do_exit() sets PF_POSTCOREDUMP before anything can wait there, PF_EXITING
 * much later. Not the flags in task->signal: a failed fork() frees that before the task.
 */
static __always_inline int bpf_task_work_check_task(struct task_struct *task)
{
	unsigned int flags = READ_ONCE(task->flags);

	if (flags & PF_KTHREAD)
		return -EOPNOTSUPP;
	if ((flags & (PF_SIGNALED | PF_POSTCOREDUMP)) || fatal_signal_pending(task))
		return -ESRCH;
	return 0;
}

/* The same as below, for the few programs that have a token. */
static noinline int bpf_task_work_submit_token(struct bpf_task_work_ctx *ctx,
					       struct bpf_task_work_kern *tw,
					       struct task_struct *task,
					       bpf_task_work_callback_t callback,
					       struct bpf_prog_aux *aux,
					       enum task_work_notify_mode mode)
{
	int err = bpf_task_work_check_map(ctx, tw) ?:
		  bpf_task_work_get_prog(ctx, aux) ?:
		  bpf_token_reaches_task(aux->token, task);

	if (err)
		return bpf_task_work_give_up(ctx, err);
	ctx->callback = (void *)callback;
	return bpf_task_work_dispatch(ctx, task, mode);
}

/* For a context that the caller has claimed. No call but the last: it costs registers. */
static noinline int bpf_task_work_submit(struct bpf_task_work_ctx *ctx,
					 struct bpf_task_work_kern *tw, struct task_struct *task,
					 bpf_task_work_callback_t callback,
					 struct bpf_prog_aux *aux, enum task_work_notify_mode mode)
{
	int err;

	if (unlikely(aux->token))
		return bpf_task_work_submit_token(ctx, tw, task, callback, aux, mode);
	err = bpf_task_work_check_map(ctx, tw) ?: bpf_task_work_get_prog(ctx, aux);
	if (err)
		return bpf_task_work_give_up(ctx, err);
	ctx->callback = (void *)callback;
	return bpf_task_work_dispatch(ctx, task, mode);
}

static noinline int bpf_task_work_submit_first(struct bpf_map *map, struct bpf_task_work_kern *tw,
					       struct task_struct *task,
					       bpf_task_work_callback_t callback,
					       struct bpf_prog_aux *aux,
					       enum task_work_notify_mode mode)
{
	struct bpf_task_work_ctx *ctx = bpf_task_work_alloc(tw, map);

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	return bpf_task_work_submit(ctx, tw, task, callback, aux, mode);
}

/* In line up to the claim, without a call: -EBUSY is to be cheap, in a hot hook above all. */
static __always_inline int
bpf_task_work_schedule(struct task_struct *task, struct bpf_task_work *field, struct bpf_map *map,
		       bpf_task_work_callback_t callback, struct bpf_prog_aux *aux,
		       enum task_work_notify_mode mode)
{
	struct bpf_task_work_kern *tw = (struct bpf_task_work_kern *)field;
	struct bpf_task_work_ctx *ctx;
	int err;

	BTF_TYPE_EMIT(struct bpf_task_work);
	BUILD_BUG_ON(sizeof(*tw) != sizeof(*field));
	BUILD_BUG_ON(__alignof__(*tw) != __alignof__(*field));
	/* The allocator puts a list node in front: this fits its bucket of 96. */
	BUILD_BUG_ON(sizeof(*ctx) + sizeof(struct llist_node) > 96);

	err = bpf_task_work_check_task(task);
	if (err)
		return err;
	ctx = bpf_task_work_claim(tw);
	if (!IS_ERR_OR_NULL(ctx))
		return bpf_task_work_submit(ctx, tw, task, callback, aux, mode);
	if (!ctx)
		return bpf_task_work_submit_first(map, tw, task, callback, aux, mode);
	return PTR_ERR(ctx);
}

/*
 * Cancel the work of a map value; the slot is as new, or stays RETIRED. For the update
 * of an array's element, the last user reference to a map, and the map's end. Any
 * context.
 *
 * A callback that is running is not waited for, see RUNNING above.
 */
void bpf_task_work_cancel_and_free(void *val)
{
	struct bpf_task_work_kern *tw = val;
	struct bpf_task_work_ctx *ctx;

	/* Another canceller may free it meanwhile. */
	guard(preempt)();
	ctx = READ_ONCE(tw->ctx);
	if (!IS_ERR_OR_NULL(ctx))
		bpf_task_work_cancel(ctx, tw);
}

/* Is there a context to cancel? */
bool bpf_has_task_work(const void *val)
{
	const struct bpf_task_work_kern *tw = val;

	return !IS_ERR_OR_NULL(READ_ONCE(tw->ctx));
}

/* The same for an element that leaves its map: it takes no work until it is revived. */
void bpf_task_work_retire(void *val)
{
	struct bpf_task_work_kern *tw = val;
	struct bpf_task_work_ctx *ctx;

	guard(preempt)();
	ctx = xchg(&tw->ctx, BPF_TW_RETIRED);
	if (!IS_ERR_OR_NULL(ctx))
		bpf_task_work_cancel(ctx, tw);
}

/* The element is in a map. Its memory is new, or that of an element that was retired. */
void bpf_task_work_revive(void *val)
{
	struct bpf_task_work_kern *tw = val;

	if (READ_ONCE(tw->ctx) != BPF_TW_RETIRED)
		return;
	/* Whoever attaches a context after this store sees the element linked. */
	smp_store_release(&tw->ctx, NULL);
}
