/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The threads of the task work torture of which there are few: they make and end
 * children, inner maps, programs and CPUs, and serve missing pages. A part of
 * task_work_torture.c.
 */
#ifndef _TASK_WORK_TORTURE_ROLES_H
#define _TASK_WORK_TORTURE_ROLES_H

#include <poll.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include "task_work_torture_ops.h"

/* Pages that nobody fills in: who touches them sleeps until it is killed. */
static void child_lose_pages(struct torture *t)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		.range = { (unsigned long)t->pages, NR_PAGES * getpagesize() },
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	madvise(t->pages, NR_PAGES * getpagesize(), MADV_DONTNEED);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
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
static void child(struct worker *w, enum deed end, __u64 draw)
{
	__u32 i;

	if (end == DEED_KILL_ASLEEP)
		child_lose_pages(w->t);
	for (i = 0; end == DEED_KILL_ASLEEP || i < draw_number(draw) % 16; i++)
		act(torture_draw(draw, w->nr, i));
	switch (end) {
	case DEED_EXEC:
		exec_true(NULL);
		break;
	case DEED_THREAD_EXEC:
		child_thread_exec();
		break;
	case DEED_KILL:
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
	enum deed end = DEED_EXIT + draw_action(draw) % (DEED_KILL_ASLEEP - DEED_EXIT + 1);
	bool kills = end == DEED_KILL || end == DEED_KILL_ASLEEP;
	int i, status = 0;
	pid_t pid = fork();

	if (!pid)
		child(w, end, draw);
	if (pid < 0) {
		failed(w->t, "fork");
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
		failed(w->t, deed_names[end]);
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

	if (fd < 0 || fill_map(t, fd, 0, NR_KEYS))
		failed(t, "new inner map");
	if (orphan)
		close(t->inner_fd);
	for (i = 0; i < NR_WAITS; i++)
		act(torture_draw(draw, w->nr, i));
	if (bpf_map_update_elem(outer, &zero, &fd, BPF_ANY))
		failed(t, "replace inner map");
	if (!orphan)
		close(t->inner_fd);
	t->inner_fd = fd;
	did(t, orphan ? DEED_ORPHAN_INNER : DEED_SWAP_INNER, true);
}

static bool prog_exists(__u32 id)
{
	__u32 next;

	return !bpf_prog_get_next_id(id - 1, &next) && next == id;
}

/* A second instance of the programs: one of them, all maps, but the same books. */
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
static void comer_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	struct task_work_torture *skel = load_another(t);
	__u32 id;

	if (!skel) {
		failed(t, "load another");
		return;
	}
	id = prog_id(bpf_program__fd(skel->progs.in_syscall));
	if (run_another(t, skel, w, draw))
		failed(t, "run another");
	bpf_program__unload(skel->progs.in_syscall);
	task_work_torture__destroy(skel);
	if (!wait_for(!prog_exists(id)))
		failed(t, "program stays");
	did(t, DEED_LOAD, true);
}

static void list_upper_cpus(struct torture *t)
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

	did(w->t, DEED_OFFLINE, ok);
	for (i = 0; i < NR_WAITS; i++)
		act(torture_draw(draw, w->nr, i));
	if (!ok || set_cpu_online(cpu, "1"))
		failed(w->t, "hotplug");
	else
		did(w->t, DEED_ONLINE, true);
}

static void nmi_op(struct worker *w, __u64 draw)
{
	struct torture *t = w->t;
	__u64 due = t->secs ? MAX_NMIS * torture_secs(t) / t->secs : MAX_NMIS;
	int i;

	if (t->pass && t->deeds[DEED_NMI] >= due)
		return;
	if (send_nmis())
		failed(t, "NMI");
	else
		did(t, DEED_NMI, true);
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
	did(t, DEED_END_ASLEEP, any);
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
		did(t, DEED_FILL_PAGE, true);
	else if (errno != EEXIST || ioctl(t->uffd, UFFDIO_WAKE, &range))
		failed(t, "fill page");
}

/* The one that fills in missing pages. It runs no callback, so that it sleeps in none. */
static void *server_thread(void *arg)
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

#endif
