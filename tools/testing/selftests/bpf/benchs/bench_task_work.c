// SPDX-License-Identifier: GPL-2.0
/*
 * What task work costs. Most cases measure a fixed piece of work once, and print
 * nanoseconds; in a guest whose clock counts instructions those are instructions.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <bpf/btf.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/timerfd.h>
#include "bench.h"
#include "bpf_util.h"
#include "testing_helpers.h"
#include "progs/task_work_bench.h"
#include "task_work_bench.skel.h"

/* A round is over before the next tick, mostly, so the median one has none in it. */
#define NR_ROUNDS	25
#define NR_RUNS		100
#define WARM_UP_NS	30000000

static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "task-work: %s: %s\n", what, why);
	exit(1);
}

static void fail(const char *what)
{
	give_up(what, strerror(errno));
}

static void expect(bool cond, const char *what)
{
	if (!cond)
		give_up(what, "the figure would be wrong");
}

static void print(const char *name, double value, const char *unit)
{
	printf("%-31s %12.1f %s\n", name, value, unit);
}

/* One load of the programs for each operation: what is not measured is not in them. */
static struct task_work_bench *load_programs(enum task_work_op op, bool timed, __u32 nr_elems,
					     int nr_producers)
{
	struct task_work_bench *skel = task_work_bench__open();

	if (!skel)
		fail("open");
	skel->rodata->op = op;
	skel->rodata->timed = timed;
	skel->rodata->nr_elems = nr_elems;
	bpf_map__set_max_entries(skel->maps.elems, nr_elems ?: 1);
	skel->rodata->nr_producers = nr_producers;
	bpf_map__set_max_entries(skel->maps.slots, SLOT_OF(nr_producers) + 1);
	if (task_work_bench__load(skel))
		fail("load (does this kernel have task work?)");
	skel->bss->target_tid = syscall(__NR_gettid);
	return skel;
}

/* What the program returned. */
static int try_run(const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
		fail(bpf_program__name(prog));
	return opts.retval;
}

static void run(const struct bpf_program *prog)
{
	errno = -try_run(prog);
	if (errno)
		fail(bpf_program__name(prog));
}

/* Where a program runs: how that is set up, and what makes it run there once. */
struct origin {
	const char *name;
	struct bpf_link *(*attach)(struct task_work_bench *skel);
	void (*trigger)(struct task_work_bench *skel);
};

static void trigger_in_task(struct task_work_bench *skel)
{
	run(skel->progs.in_task);
}

static int timer_fd = -1;

static struct bpf_link *attach_irqs_off(struct task_work_bench *skel)
{
	if (timer_fd < 0)
		timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (timer_fd < 0)
		fail("timer");
	return bpf_program__attach(skel->progs.in_irqs_off);
}

static void trigger_irqs_off(struct task_work_bench *skel)
{
	struct itimerspec in_a_day = { .it_value.tv_sec = 86400 };

	skel->bss->armed = 1;
	if (timerfd_settime(timer_fd, 0, &in_a_day, NULL))
		fail("start a timer");
}

static struct bpf_link *attach_nmi(struct task_work_bench *skel)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.sample_period = 1,
		.bp_type = HW_BREAKPOINT_W,
		.bp_len = sizeof(long),
	};
	int fd;

	run(skel->progs.find_touched);
	attr.bp_addr = (unsigned long)skel->bss->touched_addr;
	fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		fail("breakpoint");
	return bpf_program__attach_perf_event(skel->progs.in_nmi, fd);
}

static void trigger_nmi(struct task_work_bench *skel)
{
	run(skel->progs.touch);
}

static const struct origin in_task = { "task", NULL, trigger_in_task };
static const struct origin in_irqs_off = { "irqs-off", attach_irqs_off, trigger_irqs_off };
static const struct origin in_nmi = { "nmi", attach_nmi, trigger_nmi };

static int compare(const void *a, const void *b)
{
	double x = *(double *)a, y = *(double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, int n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

struct cost {
	double total;
	double caller;
	double latency;
};

static void measure_round(const struct origin *origin, struct task_work_bench *skel,
			  struct cost *cost)
{
	__u64 begin;
	int i;

	skel->bss->caller_ns = 0;
	skel->bss->latency_ns = 0;
	begin = get_time_ns();
	for (i = 0; i < NR_RUNS; i++)
		origin->trigger(skel);
	cost->total = (double)(get_time_ns() - begin) / NR_RUNS;
	cost->caller = (double)skel->bss->caller_ns / NR_RUNS;
	cost->latency = (double)skel->bss->latency_ns / NR_RUNS;
}

/* Each of the figures by itself. */
static struct cost median_cost(struct cost *rounds)
{
	double totals[NR_ROUNDS], callers[NR_ROUNDS], latencies[NR_ROUNDS];
	int i;

	for (i = 0; i < NR_ROUNDS; i++) {
		totals[i] = rounds[i].total;
		callers[i] = rounds[i].caller;
		latencies[i] = rounds[i].latency;
	}
	return (struct cost){
		.total = median(totals, NR_ROUNDS),
		.caller = median(callers, NR_ROUNDS),
		.latency = median(latencies, NR_ROUNDS),
	};
}

static bool has_callback(enum task_work_op op)
{
	return op == OP_RESUME || op == OP_SIGNAL;
}

/* A machine that was idle is slow at first. */
static void warm_up(const struct origin *origin, struct task_work_bench *skel)
{
	__u64 begin = get_time_ns();

	while (get_time_ns() - begin < WARM_UP_NS)
		origin->trigger(skel);
	skel->bss->ran = 0;
}

/* On the way back from each trigger the callback runs, or what is added in its place. */
static struct cost measure_op(const struct origin *origin, enum task_work_op op, bool timed)
{
	struct task_work_bench *skel = load_programs(op, timed, 0, 0);
	struct cost rounds[NR_ROUNDS];
	struct bpf_link *link = NULL;
	int i;

	if (origin->attach) {
		link = origin->attach(skel);
		if (!link)
			fail("attach");
	}
	warm_up(origin, skel);
	for (i = 0; i < NR_ROUNDS; i++)
		measure_round(origin, skel, &rounds[i]);
	expect(!skel->bss->errors, "a schedule failed");
	if (has_callback(op))
		expect(skel->bss->ran == NR_ROUNDS * NR_RUNS, "a schedule without callback");
	bpf_link__destroy(link);
	task_work_bench__destroy(skel);
	return median_cost(rounds);
}

static void print_op(const struct origin *origin, enum task_work_op op, const char *op_name)
{
	struct cost nothing = measure_op(origin, OP_NOTHING, false);
	struct cost something = measure_op(origin, op, false);
	struct cost timed;
	char name[64];

	snprintf(name, sizeof(name), "%s-%s", op_name, origin->name);
	print(name, something.total - nothing.total, "ns");
	timed = measure_op(origin, op, true);
	snprintf(name, sizeof(name), "%s-%s-in-caller", op_name, origin->name);
	print(name, timed.caller, "ns");
	if (!has_callback(op))
		return;
	snprintf(name, sizeof(name), "%s-%s-latency", op_name, origin->name);
	print(name, timed.latency, "ns");
}

static void case_task(void)
{
	print_op(&in_task, OP_RESUME, "resume");
	print_op(&in_task, OP_SIGNAL, "signal");
}

static void case_irqs_off(void)
{
	print_op(&in_irqs_off, OP_RESUME, "resume");
	print_op(&in_irqs_off, OP_SIGNAL, "signal");
}

static void case_nmi(void)
{
#if defined(__x86_64__)
	print_op(&in_nmi, OP_RESUME, "resume");
	print_op(&in_nmi, OP_SIGNAL, "signal");
#else
	fprintf(stderr, "task-work: a breakpoint is no NMI here\n");
#endif
}

/*
 * Only the kernel that this bench was built with has that function, in bpf_testmod.ko,
 * and only if it lets modules add task work.
 */
static void case_floor(void)
{
	struct task_work_bench *skel = load_programs(OP_ADD_RESUME, false, 0, 0);
	int err = try_run(skel->progs.in_task);

	task_work_bench__destroy(skel);
	if (err) {
		fprintf(stderr, "task-work: no floor without bpf_testmod.ko of this kernel\n");
		return;
	}
	print_op(&in_task, OP_ADD_RESUME, "floor-resume");
	print_op(&in_task, OP_ADD_SIGNAL, "floor-signal");
	print_op(&in_task, OP_ADD_SECTION, "floor-section");
	print_op(&in_irqs_off, OP_ADD_RESUME, "floor-resume");
#if defined(__x86_64__)
	print_op(&in_nmi, OP_ADD_RESUME, "floor-resume");
#endif
}

static void case_busy(void)
{
	struct task_work_bench *skel = load_programs(OP_RESUME, false, 0, 0);
	double rounds[NR_ROUNDS];
	int i;

	for (i = 0; i < NR_ROUNDS; i++) {
		skel->bss->busy_ns = 0;
		run(skel->progs.while_busy);
		rounds[i] = (double)skel->bss->busy_ns / NR_BUSY;
	}
	expect(!skel->bss->errors, "a slot in flight was not busy");
	print("busy", median(rounds, NR_ROUNDS), "ns");
	task_work_bench__destroy(skel);
}

/* CPUs that the bench was started on */
static cpu_set_t allowed;

/* A thread to schedule work on, which sleeps, or spins in user mode. */
struct target {
	pthread_t thread;
	int pipe[2];
	int tid;
	bool spins;
	bool stop;
};

static void *target_thread(void *arg)
{
	struct target *target = arg;
	char c;

	__atomic_store_n(&target->tid, syscall(__NR_gettid), __ATOMIC_RELEASE);
	while (target->spins && !__atomic_load_n(&target->stop, __ATOMIC_RELAXED))
		;
	return read(target->pipe[0], &c, 1) == 1 ? target : NULL;
}

static void target_start(struct target *target)
{
	if (pipe2(target->pipe, O_CLOEXEC))
		fail("pipe");
	errno = pthread_create(&target->thread, NULL, target_thread, target);
	if (errno)
		fail("thread");
	while (!__atomic_load_n(&target->tid, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void target_stop(struct target *target)
{
	__atomic_store_n(&target->stop, true, __ATOMIC_RELAXED);
	if (write(target->pipe[1], "", 1) != 1)
		fail("wake the target");
	pthread_join(target->thread, NULL);
	close(target->pipe[0]);
	close(target->pipe[1]);
}

/* CPU number n, counted among those that the bench may use; -1: fewer. */
static int nth_cpu(int n)
{
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !n--)
			return cpu;
	return -1;
}

static void pin(pthread_t thread, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	errno = pthread_setaffinity_np(thread, sizeof(set), &set);
	if (errno)
		fail("a CPU for each thread");
}

/* Interrupts so far that CPUs have sent each other, or themselves; -1: by other names. */
static long count_interrupts(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	long total = -1, n;
	char *line = NULL, *at;
	size_t size = 0;
	int len;

	if (!file)
		fail("/proc/interrupts");
	while (getline(&line, &size, file) > 0) {
		at = line + strspn(line, " ");
		if (strncmp(at, "IWI:", 4) && strncmp(at, "RES:", 4) && strncmp(at, "CAL:", 4))
			continue;
		total += total < 0;
		for (at += 4; sscanf(at, "%ld%n", &n, &len) == 1; at += len)
			total += n;
	}
	free(line);
	fclose(file);
	return total;
}

/* The slot is busy until a little after its callback has run. */
static void schedule_on_other(struct task_work_bench *skel)
{
	int err;

	do {
		err = try_run(skel->progs.on_other);
	} while (err == -EBUSY);
	errno = -err;
	if (err)
		fail("schedule on another task");
}

struct other_cost {
	struct cost cost;
	double interrupts;
};

/* One at a time, on a thread that runs on another CPU. */
static struct other_cost measure_other(enum task_work_op op)
{
	struct task_work_bench *skel = load_programs(op, true, 0, 0);
	struct target target = { .spins = true };
	struct other_cost other;
	struct cost rounds[NR_ROUNDS] = {};
	long before;
	int i;

	target_start(&target);
	pin(target.thread, nth_cpu(1));
	skel->bss->target_tid = target.tid;
	before = count_interrupts();
	for (i = 0; i < NR_ROUNDS; i++) {
		skel->bss->caller_ns = 0;
		skel->bss->latency_ns = 0;
		schedule_on_other(skel);
		/* An emulator that runs one CPU at a time is to turn to the other one. */
		do
			usleep(1);
		while (op != OP_NOTHING && __atomic_load_n(&skel->bss->ran, __ATOMIC_ACQUIRE) == i);
		rounds[i].caller = skel->bss->caller_ns;
		rounds[i].latency = skel->bss->latency_ns;
	}
	other.interrupts = before < 0 ? -1 : (double)(count_interrupts() - before) / NR_ROUNDS;
	other.cost = median_cost(rounds);
	target_stop(&target);
	task_work_bench__destroy(skel);
	return other;
}

static void print_other(enum task_work_op op, const char *op_name)
{
	struct other_cost nothing = measure_other(OP_NOTHING);
	struct other_cost other = measure_other(op);
	char name[64];

	snprintf(name, sizeof(name), "%s-other-in-caller", op_name);
	print(name, other.cost.caller, "ns");
	snprintf(name, sizeof(name), "%s-other-latency", op_name);
	print(name, other.cost.latency, "ns");
	if (other.interrupts < 0)
		return;
	snprintf(name, sizeof(name), "%s-other-interrupts", op_name);
	print(name, other.interrupts - nothing.interrupts, "interrupts");
}

static void case_other(void)
{
	if (nth_cpu(1) < 0) {
		fprintf(stderr, "task-work: no other CPU\n");
		return;
	}
	print_other(OP_RESUME, "resume");
	print_other(OP_SIGNAL, "signal");
}

static struct task_work_args {
	const char *use_case;
	__u32 nr_elems;
} args = {
	.use_case = "task",
	.nr_elems = 500,
};

/* What loading, inserting and allocating has left for later is not to be measured. */
static void settle(void)
{
	usleep(500000);
}

/* The map has that many elements; their target sleeps. */
static struct task_work_bench *load_pending(struct target *target)
{
	struct task_work_bench *skel = load_programs(OP_RESUME, false, args.nr_elems, 0);
	char value[16] = {};
	__u32 key;

	target_start(target);
	skel->bss->target_tid = target->tid;
	for (key = 0; key < args.nr_elems; key++)
		if (bpf_map__update_elem(skel->maps.elems, &key, sizeof(key), value, sizeof(value),
					 BPF_ANY))
			fail("insert");
	settle();
	return skel;
}

static void schedule_all(struct task_work_bench *skel)
{
	run(skel->progs.schedule_all);
	expect(!skel->bss->errors, "not all could be scheduled");
}

static void finish_pending(struct task_work_bench *skel, struct target *target)
{
	target_stop(target);
	expect(!skel->bss->ran && !skel->bss->errors, "not all were cancelled");
	task_work_bench__destroy(skel);
}

static __u32 prog_id(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		fail("program id");
	return info.id;
}

static bool is_prog_there(__u32 id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0 && errno != ENOENT)
		fail("look for the program");
	close(fd);
	return fd >= 0;
}

/* The last reference is put some time later, on this CPU perhaps. */
static void wait_prog_gone(__u32 id)
{
	while (is_prog_there(id))
		sched_yield();
}

static void print_per_elem(const char *what, double ns)
{
	char name[64];

	snprintf(name, sizeof(name), "%s-%u", what, args.nr_elems);
	print(name, ns / args.nr_elems, "ns");
}

#define NR_BULK_ROUNDS	5

/* Where it takes long fewer are enough, and other things matter less. */
static int bulk_rounds(void)
{
	return args.nr_elems > 20000 ? 3 : NR_BULK_ROUNDS;
}

/*
 * With work for each element. The program with @id is gone when no work holds it any more:
 * whoever cancels has done so, in the caller or after it.
 */
static struct task_work_bench *load_to_cancel(struct target *target, __u32 *id)
{
	struct task_work_bench *skel = load_pending(target);

	*id = prog_id(skel->progs.schedule_all);
	schedule_all(skel);
	bpf_program__unload(skel->progs.schedule_all);
	settle();
	return skel;
}

static void measure_delete(double *caller, double *all)
{
	struct target target = {};
	__u32 id;
	struct task_work_bench *skel = load_to_cancel(&target, &id);
	__u64 begin = get_time_ns();

	run(skel->progs.delete_all);
	*caller = skel->bss->caller_ns;
	wait_prog_gone(id);
	*all = get_time_ns() - begin;
	finish_pending(skel, &target);
}

/* The shortest period that the kernel lets such a clock have, in nanoseconds. */
#define TICK_NS	10000

static struct bpf_link *attach_tick(struct task_work_bench *skel, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(attr),
		.sample_period = TICK_NS,
	};
	int fd = syscall(__NR_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	struct bpf_link *link;

	if (fd < 0)
		fail("clock");
	link = bpf_program__attach_perf_event(skel->progs.on_tick, fd);
	if (!link)
		fail("attach to the clock");
	return link;
}

/*
 * How late an interrupt may come while all are deleted and taken off their task, on
 * whichever CPU that is: interrupts were disabled for so long, or another one was served.
 */
static double measure_irqs_off(void)
{
	struct target target = {};
	__u32 id;
	struct task_work_bench *skel = load_to_cancel(&target, &id);
	struct bpf_link *links[MAX_CLOCKS];
	double longest;
	int i, n;

	for (n = 0; n < MAX_CLOCKS && nth_cpu(n) >= 0; n++)
		links[n] = attach_tick(skel, nth_cpu(n));
	run(skel->progs.delete_all);
	wait_prog_gone(id);
	longest = (double)skel->bss->longest_ns - TICK_NS;
	for (i = 0; i < n; i++)
		bpf_link__destroy(links[i]);
	finish_pending(skel, &target);
	return longest;
}

static void case_delete(void)
{
	double caller[NR_BULK_ROUNDS], all[NR_BULK_ROUNDS], irqs_off[NR_BULK_ROUNDS];
	int i, n = bulk_rounds();
	char name[64];

	for (i = 0; i < n; i++) {
		measure_delete(&caller[i], &all[i]);
		irqs_off[i] = measure_irqs_off();
	}
	print_per_elem("delete", median(all, n));
	print_per_elem("delete-in-caller", median(caller, n));
	snprintf(name, sizeof(name), "delete-irqs-off-%u", args.nr_elems);
	print(name, median(irqs_off, n), "ns");
}

/* How long the only CPU had nothing to do since the boot, in nanoseconds. */
static double idle_ns(void)
{
	FILE *file = fopen("/proc/timer_list", "r");
	double idle = -1;
	char line[128];

	if (!file)
		fail("/proc/timer_list");
	while (idle < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, " .idle_sleeptime : %lf", &idle) != 1)
			idle = -1;
	fclose(file);
	expect(idle >= 0, "/proc/timer_list has no idle_sleeptime");
	return idle;
}

/*
 * As user space deletes them, one by one. A kernel worker begins meanwhile, and waits for a
 * grace period: that is not counted.
 */
static double measure_delete_by_call(void)
{
	struct target target = {};
	__u32 key, id;
	struct task_work_bench *skel = load_to_cancel(&target, &id);
	int fd = bpf_map__fd(skel->maps.elems);
	double idle = idle_ns(), begin = get_time_ns(), busy;

	for (key = 0; key < args.nr_elems; key++)
		if (bpf_map_delete_elem(fd, &key))
			fail("delete");
	while (is_prog_there(id))
		usleep(5000);
	busy = get_time_ns() - begin - (idle_ns() - idle);
	finish_pending(skel, &target);
	return busy;
}

/* The first by itself: right after a boot the memory for all that has to be found. */
static void case_delete_by_call(void)
{
	double busy[NR_BULK_ROUNDS];
	int i, n = bulk_rounds();

	expect(nth_cpu(0) >= 0 && nth_cpu(1) < 0, "delete-by-call is for one CPU");
	for (i = 0; i < n; i++)
		busy[i] = measure_delete_by_call();
	print_per_elem("delete-by-call-first", busy[0]);
	print_per_elem("delete-by-call", median(busy, n));
}

/* The walk of the last user reference. The map itself goes some grace periods later. */
static double measure_drop(void)
{
	struct target target = {};
	struct task_work_bench *skel = load_pending(&target);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct bpf_program *prog;
	__u64 begin, end;

	schedule_all(skel);
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__unload(prog);
	settle();
	begin = get_time_ns();
	if (null < 0 || dup2(null, bpf_map__fd(skel->maps.elems)) < 0)
		fail("drop the map");
	end = get_time_ns();
	close(null);
	finish_pending(skel, &target);
	return end - begin;
}

static void case_drop(void)
{
	double rounds[NR_BULK_ROUNDS];
	int i, n = bulk_rounds();

	for (i = 0; i < n; i++)
		rounds[i] = measure_drop();
	print_per_elem("drop", median(rounds, n));
}

/* In use by the slab allocator, in bytes, once each CPU has added its own count. */
static long slab_bytes(void)
{
	FILE *file = fopen("/proc/sys/vm/stat_refresh", "w");
	char line[128];
	long kb = -1;

	if (!file || fputs("1", file) < 0 || fclose(file))
		fail("/proc/sys/vm/stat_refresh");
	file = fopen("/proc/meminfo", "r");
	if (!file)
		fail("/proc/meminfo");
	while (kb < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "Slab: %ld", &kb) != 1)
			kb = -1;
	fclose(file);
	return kb * 1024;
}

/* What this kernel says that it puts into each value. */
static int field_bytes(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id = btf ? btf__find_by_name_kind(btf, "bpf_task_work", BTF_KIND_STRUCT) : -errno;

	errno = -id;
	if (id < 0)
		fail("struct bpf_task_work");
	id = btf__type_by_id(btf, id)->size;
	btf__free(btf);
	return id;
}

static void case_memory(void)
{
	struct target target = {};
	struct task_work_bench *skel = load_pending(&target);
	long before = slab_bytes();

	schedule_all(skel);
	print("memory-in-use", (double)(slab_bytes() - before) / args.nr_elems, "bytes");
	print("memory-never-used", field_bytes(), "bytes");
	run(skel->progs.delete_all);
	finish_pending(skel, &target);
}

/* The slots of the producers: what one writes no other reads. */
static struct task_work_bench *shared;
static struct counter *hits;

static void produce(long producer)
{
	__u32 slot = SLOT_OF(producer);
	struct bpf_test_run_opts opts = {
		.sz = sizeof(opts),
		.ctx_in = &slot,
		.ctx_size_in = sizeof(slot),
	};
	int fd = bpf_program__fd(shared->progs.in_slot);

	while (true) {
		if (bpf_prog_test_run_opts(fd, &opts))
			fail("run");
		expect(!opts.retval, "a schedule failed");
		atomic_inc(&hits[producer].value);
	}
}

static void throughput_setup(void)
{
	shared = load_programs(OP_RESUME, false, 0, env.producer_cnt);
	hits = calloc(env.producer_cnt, sizeof(*hits));
	if (!hits)
		fail("memory");
}

static const struct use_case {
	const char *name;
	void (*measure)(void);
} use_cases[] = {
	{ "task", case_task },
	{ "irqs-off", case_irqs_off },
	{ "nmi", case_nmi },
	{ "floor", case_floor },
	{ "busy", case_busy },
	{ "other", case_other },
	{ "delete", case_delete },
	{ "delete-by-call", case_delete_by_call },
	{ "drop", case_drop },
	{ "memory", case_memory },
	{ "throughput", NULL },
};

static const struct use_case *use_case;

enum {
	ARG_USE_CASE = 11000,
	ARG_NR_ELEMS = 11001,
};

static const struct argp_option opts[] = {
	{ "case", ARG_USE_CASE, "CASE", 0,
	  "task, irqs-off, nmi, floor, busy, other, delete[-by-call], drop, memory, throughput" },
	{ "elems", ARG_NR_ELEMS, "NUM", 0,
	  "Elements with pending work for delete*, drop, memory (default 500)" },
	{},
};

static error_t parse_arg(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARG_USE_CASE:
		args.use_case = arg;
		break;
	case ARG_NR_ELEMS:
		args.nr_elems = atoi(arg);
		if (!args.nr_elems || args.nr_elems > INT_MAX) {
			fprintf(stderr, "Invalid number of elements: %s\n", arg);
			argp_usage(state);
		}
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp bench_task_work_argp = {
	.options = opts,
	.parser = parse_arg,
};

static void validate(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(use_cases); i++)
		if (!strcmp(use_cases[i].name, args.use_case))
			use_case = &use_cases[i];
	if (!use_case) {
		fprintf(stderr, "no case '%s'\n", args.use_case);
		exit(1);
	}
	if (env.consumer_cnt || (use_case->measure && env.producer_cnt != 1)) {
		fprintf(stderr, "no consumers, and more than one producer only for throughput\n");
		exit(1);
	}
	if (use_case->measure && env.affinity) {
		fprintf(stderr, "no -a: all cases but throughput choose their CPUs\n");
		exit(1);
	}
}

/* The producer measures, until then nobody is to report. */
static sem_t measured;

static void setup(void)
{
	setup_libbpf();
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		fail("CPUs");
	if (use_case->measure)
		sem_init(&measured, 0, 0);
	else
		throughput_setup();
}

static void *producer(void *arg)
{
	if (!use_case->measure)
		produce((long)arg);
	pin(pthread_self(), nth_cpu(0));
	use_case->measure();
	sem_post(&measured);
	return NULL;
}

static void measure(struct bench_res *res)
{
	int i;

	for (i = 0; hits && i < env.producer_cnt; i++)
		res->hits += atomic_swap(&hits[i].value, 0);
}

static void report_progress(int iter, struct bench_res *res, long delta_ns)
{
	if (!use_case->measure)
		ops_report_progress(iter, res, delta_ns);
}

static void report_final(struct bench_res res[], int res_cnt)
{
	if (!use_case->measure) {
		ops_report_final(res, res_cnt);
		return;
	}
	while (sem_wait(&measured))
		if (errno != EINTR)
			fail("wait for the figures");
}

const struct bench bench_task_work = {
	.name = "task-work",
	.argp = &bench_task_work_argp,
	.validate = validate,
	.setup = setup,
	.producer_thread = producer,
	.measure = measure,
	.report_progress = report_progress,
	.report_final = report_final,
};
