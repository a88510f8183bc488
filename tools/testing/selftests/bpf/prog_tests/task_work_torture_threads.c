// SPDX-License-Identifier: GPL-2.0
/*
 * The threads of the task work torture and what each of them does. Every operation
 * is decided by one number that is drawn for it.
 */
#define _GNU_SOURCE
#include "task_work_torture_threads.h"
#include "task_work_torture.skel.h"
#include <poll.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#define MAX_NMIS	1000	/* each adds to the kernel's log, which is to stay whole */
#define NR_BATCH	8

/* In each pass, so many threads do so many operations each. */
struct role {
	int threads;
	int rounds;
	void (*operate)(struct worker *w, __u64 draw);
};

const char * const torture_op_names[NR_OPS] = {
	"insert", "delete", "lookup and delete", "update batch", "delete batch",
	"lookup and delete batch", "drop page", "fill page", "end asleep",
	"exit", "exec", "exec of a thread", "kill", "kill asleep",
	"swap inner", "orphan inner", "load", "offline", "online", "NMI",
};

static void did(struct torture *t, enum torture_op op, bool ok)
{
	if (ok)
		__atomic_fetch_add(&t->ops[op], 1, __ATOMIC_SEQ_CST);
}

void torture_failed(struct torture *t, const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	__atomic_fetch_add(&t->failures, 1, __ATOMIC_SEQ_CST);
}

int torture_secs(const struct torture *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - t->start.tv_sec;
}

static char *user_page(struct torture *t, __u32 nr)
{
	return t->pages + nr % NR_PAGES * getpagesize();
}

static struct torture_elem new_elem(struct torture *t, __u32 key)
{
	return (struct torture_elem){ .id = key, .user_ptr = user_page(t, key) };
}

static int insert(struct torture *t, int fd, __u32 key)
{
	struct torture_elem value = new_elem(t, key);

	return bpf_map_update_elem(fd, &key, &value, BPF_ANY);
}

int torture_fill_map(struct torture *t, int fd, __u32 first, __u32 nr)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct torture_elem values[nr];
	__u32 keys[nr], i;

	for (i = 0; i < nr; i++) {
		keys[i] = first + i;
		values[i] = new_elem(t, first + i);
	}
	return bpf_map_update_batch(fd, keys, values, &nr, &opts);
}

static void delete_batch(struct torture *t, int fd, __u32 first)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 keys[NR_BATCH], i, nr = NR_BATCH;

	for (i = 0; i < NR_BATCH; i++)
		keys[i] = (first + i) % NR_KEYS;
	bpf_map_delete_batch(fd, keys, &nr, &opts);
	did(t, OP_DELETE_BATCH, nr > 0);
}

static void lookup_and_delete_batch(struct torture *t, int fd)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct torture_elem values[NR_BATCH];
	__u32 keys[NR_BATCH], next, nr = NR_BATCH;

	bpf_map_lookup_and_delete_batch(fd, NULL, &next, keys, values, &nr, &opts);
	did(t, OP_LOOKUP_AND_DELETE_BATCH, nr > 0);
}

/* From time to time all of the map that bursts use, so that they have to allocate. */
static void renew_many(struct torture *t, __u64 draw)
{
	if (draw_number(draw) / 16 % 8)
		return;
	did(t, OP_UPDATE_BATCH, !torture_fill_map(t, t->many_fd, 0, NR_MANY));
}

/* Run the program in_task, which makes the system call fail in a way of its own. */
static int act(__u64 draw)
{
	return prctl(TORTURE_PRCTL, draw, 0, 0, 0) && errno == TORTURE_DONE ? 0 : -1;
}

void torture_worker_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	__u32 map = draw_map(draw), key = draw_key(draw);
	int fd = t->map_fds[map];
	struct torture_elem elem;

	if (map == MAP_INNER) {
		renew_many(t, draw);
		return;
	}
	switch (draw_number(draw) % 16) {
	default:
		if (act(draw))
			torture_failed(t, "prctl");
		break;
	case 10:
	case 11:
		did(t, OP_INSERT, !insert(t, fd, key));
		break;
	case 12:
		did(t, OP_DELETE, !bpf_map_delete_elem(fd, &key));
		break;
	case 13:
		did(t, OP_LOOKUP_AND_DELETE, !bpf_map_lookup_and_delete_elem(fd, &key, &elem));
		break;
	case 14:
		if (key % 2)
			delete_batch(t, fd, key);
		else
			lookup_and_delete_batch(t, fd);
		break;
	case 15:
		did(t, OP_DROP_PAGE,
		    !madvise(user_page(t, key), getpagesize(), MADV_DONTNEED));
		break;
	}
}

/* Pages that nobody fills in: who touches them sleeps until it is killed. */
static void child_lose_pages(struct torture *t)
{
	size_t size = NR_PAGES * getpagesize();

	if (madvise(t->pages, size, MADV_DONTNEED) || open_userfaults(t->pages, size) < 0)
		_exit(1);
}

static void *exec_true(void *unused)
{
	execl(TRUE_PATH, "true", NULL);
	_exit(1);
}

static void child_thread_exec(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, exec_true, NULL))
		_exit(1);
	for (;;)
		pause();
}

/* All that a child does has been decided by its parent. */
static void child(struct worker *w, enum torture_op end, __u64 draw)
{
	__u32 i;

	if (end == OP_KILL_ASLEEP)
		child_lose_pages(w->t);
	for (i = 0; end == OP_KILL_ASLEEP || i < draw_number(draw) % 16; i++)
		act(torture_draw(draw, w->nr, i));
	switch (end) {
	case OP_EXEC:
		exec_true(NULL);
		break;
	case OP_THREAD_EXEC:
		child_thread_exec();
		break;
	case OP_KILL:
		for (;;)
			pause();
		break;
	default:
		break;
	}
	syscall(__NR_exit_group, 0);
}

/* Schedule on the child, where the draw of its parent says so, and make it end. */
static void spawner_op(struct worker *w, __u64 draw)
{
	enum torture_op end = OP_EXIT + draw_action(draw) % (OP_KILL_ASLEEP - OP_EXIT + 1);
	bool kills = end == OP_KILL || end == OP_KILL_ASLEEP;
	int i, status = 0;
	pid_t pid = fork();

	if (!pid)
		child(w, end, draw);
	if (pid < 0) {
		torture_failed(w->t, "fork");
		return;
	}
	WRITE_ONCE(w->t->skel->bss->tids[TID_CHILD + w->spawner], pid);
	for (i = 0; i < NR_WAITS; i++) {
		act(torture_draw(~draw, w->nr, i));
		sched_yield();
	}
	if (kills)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid ||
	    (kills ? !WIFSIGNALED(status) : !WIFEXITED(status) || WEXITSTATUS(status)))
		torture_failed(w->t, torture_op_names[end]);
	else
		did(w->t, end, true);
}

static int new_inner(struct torture *t)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	struct bpf_map *inner = t->skel->maps.inner;

	opts.btf_fd = bpf_object__btf_fd(t->skel->obj);
	opts.btf_key_type_id = bpf_map__btf_key_type_id(inner);
	opts.btf_value_type_id = bpf_map__btf_value_type_id(inner);
	return bpf_map_create(bpf_map__type(inner), "inner", sizeof(__u32),
			      sizeof(struct torture_elem), NR_KEYS, &opts);
}

/* The old one goes as soon as its last user reference does, or loses that before. */
static void swapper_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	int fd = new_inner(t), outer = bpf_map__fd(t->skel->maps.outer), i;
	bool orphan = draw_action(draw) % 2;
	__u32 zero = 0;

	if (fd < 0 || torture_fill_map(t, fd, 0, NR_KEYS))
		torture_failed(t, "new inner map");
	if (orphan)
		close(t->inner_fd);
	for (i = 0; i < NR_WAITS; i++)
		act(torture_draw(draw, w->nr, i));
	if (bpf_map_update_elem(outer, &zero, &fd, BPF_ANY))
		torture_failed(t, "replace inner map");
	if (!orphan)
		close(t->inner_fd);
	t->inner_fd = fd;
	did(t, orphan ? OP_ORPHAN_INNER : OP_SWAP_INNER, true);
}

static bool prog_exists(__u32 id)
{
	__u32 next;

	return !bpf_prog_get_next_id(id - 1, &next) && next == id;
}

/* A second instance of the programs: one of them, all maps, but the same accounting. */
static struct task_work_torture *load_another(struct torture *t)
{
	struct task_work_torture *skel = task_work_torture__open();
	struct bpf_program *prog;

	if (!skel)
		return NULL;
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, prog == skel->progs.in_syscall);
	if (bpf_map__reuse_fd(skel->maps.bss, bpf_map__fd(t->skel->maps.bss)) ||
	    task_work_torture__load(skel)) {
		task_work_torture__destroy(skel);
		return NULL;
	}
	return skel;
}

/*
 * The elements of a hash without pre-allocation are allocated a few at a time, from an
 * irq_work that may be late.
 */
static int insert_in_the_end(struct torture *t, int fd, __u32 key)
{
	int err = 0;

	wait_for((err = insert(t, fd, key)) != -ENOMEM);
	return err;
}

static int run_another(struct torture *t, struct task_work_torture *skel, struct worker *w,
		       __u64 draw)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int prog_fd = bpf_program__fd(skel->progs.in_syscall), err = 0;
	__u32 key, i;
	__u64 ctx;

	opts.ctx_in = &ctx;
	opts.ctx_size_in = sizeof(ctx);
	for (key = 0; key < NR_KEYS && !err; key++)
		err = insert(t, bpf_map__fd(skel->maps.hash), key) ?:
		      insert_in_the_end(t, bpf_map__fd(skel->maps.hash_malloc), key) ?:
		      insert(t, bpf_map__fd(skel->maps.lru_hash), key) ?:
		      insert(t, bpf_map__fd(skel->maps.array), key) ?:
		      insert(t, bpf_map__fd(skel->maps.inner), key);
	for (i = 0; i < NR_WAITS && !err; i++) {
		ctx = torture_draw(draw, w->nr, i);
		err = bpf_prog_test_run_opts(prog_fd, &opts);
	}
	return err;
}

/* The program goes first: then only the work that is pending holds it. */
static void loader_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	struct task_work_torture *skel = load_another(t);
	__u32 id;

	if (!skel) {
		torture_failed(t, "load another");
		return;
	}
	id = prog_id(bpf_program__fd(skel->progs.in_syscall));
	if (run_another(t, skel, w, draw))
		torture_failed(t, "run another");
	bpf_program__unload(skel->progs.in_syscall);
	task_work_torture__destroy(skel);
	if (!wait_for(!prog_exists(id)))
		torture_failed(t, "program stays");
	did(t, OP_LOAD, true);
}

void torture_list_upper_cpus(struct torture *t)
{
	int cpu = CPU_SETSIZE;

	while (t->nr_upper < get_nprocs() / 2 && t->nr_upper < MAX_UPPER) {
		cpu = last_cpu_with_switch(cpu);
		if (cpu < 0)
			return;
		t->upper_cpus[t->nr_upper++] = cpu;
	}
}

static void hotplug_op(struct worker *w, __u64 draw)
{
	int cpu = w->t->upper_cpus[draw_number(draw) % w->t->nr_upper], i;
	bool ok = !set_cpu_online(cpu, "0");

	did(w->t, OP_OFFLINE, ok);
	for (i = 0; i < NR_WAITS; i++)
		act(torture_draw(draw, w->nr, i));
	if (!ok || set_cpu_online(cpu, "1"))
		torture_failed(w->t, "hotplug");
	else
		did(w->t, OP_ONLINE, true);
}

static void nmi_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	__u64 due = t->secs ? MAX_NMIS * torture_secs(t) / t->secs : MAX_NMIS;
	int i;

	if (t->pass && t->ops[OP_NMI] >= due)
		return;
	if (send_nmis())
		torture_failed(t, "NMI");
	else
		did(t, OP_NMI, true);
	for (i = 0; i < NR_WAITS; i++)
		act(torture_draw(draw, w->nr, i));
}

/* Callbacks sleep in a fault on the page: perhaps end what they were called for. */
static void end_asleep(struct torture *t, __u32 page, __u64 draw)
{
	bool any = false;
	__u32 key, map;

	for (key = page; key < NR_KEYS; key += NR_PAGES)
		for (map = 0; map < NR_MAPS; map++)
			any |= draw_mode(draw) || map == MAP_ARRAY ?
				!insert(t, t->map_fds[map], key) :
				!bpf_map_delete_elem(t->map_fds[map], &key);
	did(t, OP_END_ASLEEP, any);
}

static void fill_page(struct torture *t, __u32 page)
{
	static char text[1 << 16] = "text";
	struct uffdio_copy copy = {
		.dst = (unsigned long)user_page(t, page),
		.src = (unsigned long)text,
		.len = getpagesize(),
	};
	struct uffdio_range range = { copy.dst, copy.len };

	if (!ioctl(t->uffd, UFFDIO_COPY, &copy))
		did(t, OP_FILL_PAGE, true);
	else if (errno != EEXIST || ioctl(t->uffd, UFFDIO_WAKE, &range))
		torture_failed(t, "fill page");
}

/* The one that fills in missing pages. It runs no callback, so that it sleeps in none. */
void *torture_page_server(void *arg)
{
	struct torture *t = arg;
	struct pollfd fds[] = {
		{ .fd = t->uffd, .events = POLLIN },
		{ .fd = t->server_stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;
	__u64 n = 0, draw;
	__u32 page;

	WRITE_ONCE(t->skel->bss->untouchable[0], syscall(__NR_gettid));
	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		if (read(t->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		page = (msg.arg.pagefault.address - (unsigned long)t->pages) / getpagesize();
		draw = torture_draw(t->seed, SERVER, n++);
		if (draw_action(draw) % 2)
			end_asleep(t, page, draw);
		fill_page(t, page);
	}
	return NULL;
}

static const struct role roles[] = {
	{ NR_WORKERS,	3000,	torture_worker_op },
	{ NR_SPAWNERS,	20,	spawner_op },
	{ 1,		40,	swapper_op },
	{ 1,		4,	loader_op },
	{ 1,		3,	hotplug_op },
	{ 1,		40,	nmi_op },
};

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct torture *t = w->t;
	struct task_work_torture__bss *bss = t->skel->bss;
	__u64 n = (__u64)t->pass * w->role->rounds;
	int i;

	if (w->role->operate == torture_worker_op)
		WRITE_ONCE(bss->tids[TID_WORKER + w->nr], syscall(__NR_gettid));
	if (w->role->operate == loader_op)
		bss->untouchable[1] = syscall(__NR_gettid);
	WRITE_ONCE(w->tid, syscall(__NR_gettid));
	while (!READ_ONCE(t->go))
		sched_yield();
	for (i = 0; i < w->role->rounds && !t->failures; i++)
		w->role->operate(w, torture_draw(t->seed, w->nr, n + i));
	return NULL;
}

static bool start_worker(struct worker *w)
{
	if (pthread_create(&w->thread, NULL, worker_thread, w) || !wait_for(READ_ONCE(w->tid)))
		return false;
	if (w->role->operate != torture_worker_op)
		return true;
	w->sampler = attach_clock(w->t->skel->progs.in_interrupt, w->tid);
	return w->sampler;
}

int torture_start_workers(struct torture *t, struct worker *workers)
{
	int role, i, nr = 0;

	for (role = 0; role < (int)ARRAY_SIZE(roles); role++)
		for (i = 0; i < roles[role].threads; i++, nr++) {
			workers[nr] = (struct worker){
				.t = t, .role = &roles[role], .nr = nr, .spawner = i,
			};
			if (!start_worker(&workers[nr]))
				torture_failed(t, "start of a thread");
		}
	return nr;
}
