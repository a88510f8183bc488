// SPDX-License-Identifier: GPL-2.0
/* Every value that scheduling returns, provoked; for -ENOENT see task_work_retire.c. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <linux/elf.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "task_work_errno.skel.h"

#define KTHREADD 2

/* Run the program of that name in this thread and return what it returns. */

static void test_ok(struct task_work_errno *skel)
{
	int i;

	/* Again and again: the slot is free when the callback has ended. */
	for (i = 1; i <= 3; i++) {
		ASSERT_OK(run(skel, schedule_current), "schedule");
		ASSERT_EQ(skel->bss->ran, i, "ran before the system call returned");
	}
}

static void test_busy_pending(struct task_work_errno *skel)
{
	ASSERT_EQ(run(skel, schedule_twice), -EBUSY, "second of two");
	ASSERT_OK(skel->bss->ret_first, "first of two");
	ASSERT_EQ(skel->bss->ran, 1, "ran once");
	ASSERT_OK(run(skel, schedule_current), "slot is free again");
	ASSERT_EQ(skel->bss->ran, 2, "ran twice");
}

static void test_busy_in_callback(struct task_work_errno *skel)
{
	skel->bss->ret_in_callback = 1;
	ASSERT_OK(run(skel, schedule_in_callback), "schedule");
	ASSERT_EQ(skel->bss->ret_in_callback, -EBUSY, "own slot in the callback");
	ASSERT_EQ(skel->bss->ran, 1, "ran once");
}

static void test_busy_running(struct task_work_errno *skel)
{
	struct sleeper sleeper;

	if (!sleeper_open(&sleeper, __func__))
		goto out;
	skel->bss->user_ptr = sleeper.page.addr;
	sleeper_run(&sleeper, skel->progs.schedule_sleeper);
	ASSERT_EQ(run(skel, schedule_current), -EBUSY, "slot with a running callback");
	sleeper_wake(&sleeper);
	ASSERT_EQ(skel->bss->ran, 1, "ran once");
out:
	sleeper_close(&sleeper);
}

/* The frequent failure of a sampler has to be cheap: it takes no reference. */
static void test_busy_takes_no_reference(struct task_work_errno *skel)
{
	struct bpf_link *link = bpf_program__attach(skel->progs.count_prog_refs);

	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	skel->bss->sampled_tid = syscall(__NR_gettid);
	ASSERT_EQ(run(skel, schedule_twice), -EBUSY, "second of two");
	/* What was claimed takes its own in line, which only the bench's counts would tell. */
	ASSERT_EQ(skel->bss->prog_refs, 0, "references taken by a call");
	bpf_link__destroy(link);
}

static void test_kthread(struct task_work_errno *skel)
{
	skel->bss->pid = KTHREADD;
	skel->bss->mode = MODE_SIGNAL;
	ASSERT_EQ(run(skel, schedule_pid), -EOPNOTSUPP, "signal");
	skel->bss->mode = MODE_RESUME;
	ASSERT_EQ(run(skel, schedule_pid), -EOPNOTSUPP, "resume");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
}

static void test_idle(struct task_work_errno *skel)
{
	struct bpf_link *link;

	/* This one is busy looking. */
	if (!have_two_cpus(__func__))
		return;
	link = bpf_program__attach(skel->progs.schedule_idle);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	skel->bss->armed = 1;
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->idle_met)), "a CPU goes idle");
	ASSERT_EQ(skel->bss->ret_idle, -EOPNOTSUPP, "idle task");
	bpf_link__destroy(link);
	ASSERT_OK(run(skel, schedule_current), "slot is free");
}

static void test_dead(struct task_work_errno *skel)
{
	siginfo_t info;
	pid_t pid;
	int mode;

	pid = fork();
	if (!ASSERT_GE(pid, 0, "fork"))
		return;
	if (!pid)
		_exit(0);
	skel->bss->pid = pid;
	ASSERT_OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), "wait for a zombie");
	for (mode = 0; mode < NR_MODES; mode++) {
		skel->bss->mode = mode;
		ASSERT_EQ(run(skel, schedule_pid), -ESRCH, "zombie");
	}
	ASSERT_OK(run(skel, keep_pid), "keep the task");
	ASSERT_EQ(waitpid(pid, NULL, 0), pid, "reap");
	ASSERT_EQ(run(skel, schedule_pid), -ENODEV, "there is no such process");
	ASSERT_EQ(run(skel, schedule_kept), -ESRCH, "but its task");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
	ASSERT_EQ(skel->bss->ran, 1, "ran once");
}

/* A child that waits for what it is told, or is killed; a program is attached that knows it. */
static int child_meets(struct task_work_errno *skel, struct bpf_program *prog, bool killed)
{
	struct bpf_link *link = NULL;
	int fds[2], status = -1;
	pid_t pid;
	char c;

	if (!ASSERT_OK(pipe2(fds, O_CLOEXEC), "pipe"))
		return -1;
	pid = fork();
	if (!pid)
		_exit(read(fds[0], &c, 1) != 1);
	if (!ASSERT_GT(pid, 0, "fork"))
		goto out;
	skel->bss->pid = pid;
	link = bpf_program__attach(prog);
	ASSERT_OK_PTR(link, "attach");
	if (killed)
		ASSERT_OK(kill(pid, SIGKILL), "kill the child");
	else
		ASSERT_EQ(write(fds[1], "", 1), 1, "tell the child");
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "child ends");
	bpf_link__destroy(link);
out:
	close(fds[0]);
	close(fds[1]);
	return status;
}

static void test_exiting(struct task_work_errno *skel)
{
	ASSERT_OK(child_meets(skel, skel->progs.schedule_exiting, false), "child");
	ASSERT_EQ(skel->bss->ret_exiting, -ESRCH, "exiting task");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
}

static void test_killed(struct task_work_errno *skel)
{
	int status = child_meets(skel, skel->progs.schedule_killed, true);

	ASSERT_TRUE(WIFSIGNALED(status), "child is killed");
	ASSERT_EQ(skel->bss->ret_killed, -ESRCH, "killed task");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
}

/* -ESRCH, however the task would be notified; each from a slot of its own. */
static void refused(struct task_work_errno *skel, pid_t pid, const char *what)
{
	__u32 max_slots = bpf_map__max_entries(skel->maps.slots);

	skel->bss->pid = pid;
	for (skel->bss->mode = 0; skel->bss->mode < NR_MODES; skel->bss->mode++) {
		ASSERT_EQ(run(skel, schedule_pid), -ESRCH, what);
		skel->bss->slot_nr = (skel->bss->slot_nr + 1) % max_slots;
	}
	skel->bss->mode = MODE_RESUME;
}

/* It is not marked as exiting yet, but has begun to. */
static void test_traced_exit(struct task_work_errno *skel)
{
	int status = 0;
	pid_t pid;

	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	if (!ASSERT_GT(pid, 0, "fork"))
		return;
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "stops");
	ASSERT_OK(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT),
		  "trace its exit");
	ASSERT_OK(ptrace(PTRACE_CONT, pid, 0, 0), "go on");
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "stops again");
	ASSERT_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8, "in its exit");
	refused(skel, pid, "task at PTRACE_EVENT_EXIT");
	ASSERT_OK(ptrace(PTRACE_CONT, pid, 0, 0), "go on");
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "child ends");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
}

/* A core is piped to a handler that does not read until it is told. */
struct dump {
	char dir[64];
	char pattern[128];	/* as it was */
	char limit[16];
	struct dump_child {
		int tid;	/* of its other thread */
		char data[8 * 65536];	/* more than a pipe takes at once */
	} *child;
	int told_fd;
	pid_t pid;
};

#define CORE_PATTERN "/proc/sys/kernel/core_pattern"
#define CORE_PIPE_LIMIT "/proc/sys/kernel/core_pipe_limit"

static int read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, line, size - 1);

	close(fd);
	line[len > 0 ? len : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return len > 0 ? 0 : -1;
}

static int dump_write_handler(struct dump *d)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/told", d->dir);
	if (mkfifo(path, 0600))
		return -errno;
	/* For both, so that neither end waits for the other. */
	d->told_fd = open(path, O_RDWR | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/handler", d->dir);
	f = fopen(path, "w");
	if (d->told_fd < 0 || !f)
		return -errno;
	fprintf(f, "read x <%s/told\nexec cat >%s/core\n", d->dir, d->dir);
	return fclose(f);
}

static bool dump_open(struct dump *d, const char *who)
{
	char pattern[128];

	memset(d, 0, sizeof(*d));
	d->told_fd = -1;
	if (!have_or_skip(!access(CORE_PATTERN, W_OK), who, "CONFIG_COREDUMP"))
		return false;
	snprintf(d->dir, sizeof(d->dir), "/tmp/task_work_core.XXXXXX");
	if (!ASSERT_OK_PTR(mkdtemp(d->dir), "directory") ||
	    !ASSERT_OK(dump_write_handler(d), "handler"))
		return false;
	d->child = mmap(NULL, sizeof(*d->child), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!ASSERT_NEQ(d->child, MAP_FAILED, "memory"))
		return false;
	memset(d->child->data, 1, sizeof(d->child->data));
	ASSERT_OK(read_line(CORE_PATTERN, d->pattern, sizeof(d->pattern)), "pattern before");
	ASSERT_OK(read_line(CORE_PIPE_LIMIT, d->limit, sizeof(d->limit)), "limit before");
	snprintf(pattern, sizeof(pattern), "|/bin/sh %s/handler", d->dir);
	/* With a limit, who dumps waits for its handler. */
	return ASSERT_OK(write_sysctl(CORE_PIPE_LIMIT, "4"), "limit") &&
	       ASSERT_OK(write_sysctl(CORE_PATTERN, pattern), "pattern");
}

static void dump_close(struct dump *d)
{
	static const char * const names[] = { "told", "handler", "core" };
	char path[96];
	unsigned int i;

	if (d->limit[0]) {
		ASSERT_OK(write_sysctl(CORE_PATTERN, d->pattern), "pattern as before");
		ASSERT_OK(write_sysctl(CORE_PIPE_LIMIT, d->limit), "limit as before");
	}
	if (d->told_fd >= 0)
		close(d->told_fd);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", d->dir, names[i]);
		unlink(path);
	}
	rmdir(d->dir);
}

static void *dump_other_thread(void *arg)
{
	struct dump *d = arg;

	WRITE_ONCE(d->child->tid, syscall(__NR_gettid));
	for (;;)
		pause();
	return NULL;
}

static int dump_in_child(struct dump *d, int fd)
{
	struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
	pthread_t thread;
	char c;

	/* What it shares, and no more. */
	if (write_sysctl("/proc/self/coredump_filter", "2") ||
	    setrlimit(RLIMIT_CORE, &no_limit) ||
	    pthread_create(&thread, NULL, dump_other_thread, d) || read(fd, &c, 1) != 1)
		return 1;
	signal(SIGQUIT, SIG_DFL);
	syscall(__NR_tgkill, getpid(), getpid(), SIGQUIT);
	return 2;
}

/* Asleep in the write of its core? */
static bool dump_waits(struct dump *d)
{
	char path[64], stat[512], *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", d->pid);
	if (read_line(path, stat, sizeof(stat)))
		return false;
	state = strrchr(stat, ')');
	return state && state[2] == 'S';
}

/* A child that dumps core until its pipe is full, and a thread of it that waits for that. */
static bool dump_start(struct dump *d, struct task_work_errno *skel)
{
	int fds[2];

	if (!ASSERT_OK(pipe2(fds, O_CLOEXEC), "pipe"))
		return false;
	d->pid = fork();
	if (!d->pid)
		_exit(dump_in_child(d, fds[0]));
	skel->bss->pid = d->pid;
	ASSERT_GT(d->pid, 0, "fork");
	ASSERT_TRUE(wait_for(READ_ONCE(d->child->tid)), "other thread");
	ASSERT_EQ(write(fds[1], "", 1), 1, "tell the child");
	close(fds[0]);
	close(fds[1]);
	return true;
}

/* All that its headers name is there. */
static bool core_is_complete(struct dump *d)
{
	size_t end = 0, i;
	char path[96];
	struct elf64_hdr eh;
	struct elf64_phdr ph;
	struct stat st;
	FILE *f;

	snprintf(path, sizeof(path), "%s/core", d->dir);
	f = fopen(path, "r");
	if (!f || fread(&eh, sizeof(eh), 1, f) != 1 || fseek(f, eh.e_phoff, SEEK_SET))
		goto out;
	for (i = 0; i < eh.e_phnum && fread(&ph, sizeof(ph), 1, f) == 1; i++)
		if (end < ph.p_offset + ph.p_filesz)
			end = ph.p_offset + ph.p_filesz;
	if (i < eh.e_phnum || fstat(fileno(f), &st))
		end = 0;
out:
	if (f)
		fclose(f);
	return end > sizeof(d->child->data) && (size_t)st.st_size >= end;
}

static void dump_end(struct dump *d)
{
	int status = 0;

	ASSERT_EQ(write(d->told_fd, "\n", 1), 1, "tell the handler");
	ASSERT_EQ(waitpid(d->pid, &status, 0), d->pid, "child ends");
	ASSERT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status), "it dumped core");
	ASSERT_TRUE(core_is_complete(d), "the core is complete");
}

/* It has taken its signal, and writes; other threads wait for it with SIGKILL taken. */
static void test_dumping(struct task_work_errno *skel)
{
	struct bpf_link *link = NULL;
	struct dump dump;

	if (!dump_open(&dump, __func__))
		goto out;
	link = bpf_program__attach(skel->progs.schedule_dumping);
	if (!ASSERT_OK_PTR(link, "attach") || !dump_start(&dump, skel))
		goto out;
	ASSERT_TRUE(wait_for(dump_waits(&dump)), "the pipe is full");
	ASSERT_EQ(skel->bss->ret_dumping, -ESRCH, "task that begins to dump core");
	refused(skel, dump.pid, "task that dumps core");
	refused(skel, dump.child->tid, "thread that waits for it");
	dump_end(&dump);
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
out:
	dump_close(&dump);
	bpf_link__destroy(link);
}

/* That can't be refused, and what notifies the task is there for as long as it lives. */
static void test_before_dumping(struct task_work_errno *skel)
{
	struct bpf_link *link = NULL;
	struct dump dump;

	skel->bss->ret_crashing = 1;
	if (!dump_open(&dump, __func__))
		goto out;
	link = bpf_program__attach(skel->progs.schedule_crashing);
	if (!ASSERT_OK_PTR(link, "attach") || !dump_start(&dump, skel))
		goto out;
	dump_end(&dump);
	ASSERT_OK(skel->bss->ret_crashing, "task that gets a signal");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
out:
	dump_close(&dump);
	bpf_link__destroy(link);
}

/* A child that comes and goes while a program is attached that meets it as it is made. */
static pid_t fork_meets(struct task_work_errno *skel, struct bpf_program *prog)
{
	struct bpf_link *link = bpf_program__attach(prog);
	pid_t pid;

	if (!ASSERT_OK_PTR(link, "attach"))
		return -1;
	skel->bss->sampled_tid = syscall(__NR_gettid);
	pid = fork();
	if (!pid)
		_exit(0);
	bpf_link__destroy(link);
	if (ASSERT_GT(pid, 0, "fork"))
		ASSERT_EQ(waitpid(pid, NULL, 0), pid, "child ends");
	return pid;
}

static void test_unborn(struct task_work_errno *skel)
{
	if (!have_bpf_lsm(__func__))
		return;
	for (skel->bss->mode = 0; skel->bss->mode < NR_MODES; skel->bss->mode++) {
		skel->bss->ret_unborn = 0;
		fork_meets(skel, skel->progs.schedule_unborn);
		ASSERT_EQ(skel->bss->ret_unborn, -ESRCH, "task that is being forked");
	}
	ASSERT_EQ(skel->bss->ran, 0, "callbacks");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
}

static void test_newborn(struct task_work_errno *skel)
{
	pid_t pid;

	for (skel->bss->mode = 0; skel->bss->mode < NR_MODES; skel->bss->mode++) {
		skel->bss->ran = 0;
		skel->bss->ret_newborn = -1;
		pid = fork_meets(skel, skel->progs.schedule_newborn);
		ASSERT_OK(skel->bss->ret_newborn, "task that has been forked");
		ASSERT_EQ(skel->bss->ran, 1, "callbacks");
		ASSERT_EQ(skel->bss->ran_in, pid, "in the child");
	}
}

/* Interrupts are off in the sampler, so its allocator lives on what it has. */
static void test_no_memory(struct task_work_errno *skel)
{
	struct bpf_link *link = NULL;
	struct target target;

	if (!ASSERT_OK(target_start(&target), "thread"))
		return;
	skel->bss->sampled_tid = target.tid;
	skel->bss->armed = 1;
	link = attach_clock(skel->progs.schedule_many, target.tid);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	ASSERT_OK(target_tell(&target, TARGET_SPIN), "spin");
	ASSERT_TRUE(wait_for(!READ_ONCE(skel->bss->armed)), "sample");
	WRITE_ONCE(target.spinning, 0);
	ASSERT_TRUE(target_obeyed(&target), "thread is back");
	ASSERT_EQ(skel->bss->ret_many, -ENOMEM, "the first that fails");
	ASSERT_GT(skel->bss->scheduled_many, 0, "others before it");
	ASSERT_EQ(skel->bss->ran, skel->bss->scheduled_many, "those before it ran");
	ASSERT_OK(run(skel, schedule_refused), "now there is memory");
	ASSERT_EQ(skel->bss->ran, skel->bss->scheduled_many + 1, "that one ran as well");
out:
	bpf_link__destroy(link);
	target_stop(&target);
}

static void test_no_user_reference(struct task_work_errno *unused)
{
	struct task_work_errno *skel = task_work_errno__open_and_load();
	int map_fd, prog_fd;
	__u32 id;

	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	id = map_id(bpf_map__fd(skel->maps.slots));
	prog_fd = dup(bpf_program__fd(skel->progs.schedule_current));
	ASSERT_OK(run_syscall_prog(prog_fd), "with a reference");
	task_work_errno__destroy(skel);

	/* The program is the only one that still holds the map. */
	ASSERT_EQ(run_syscall_prog(prog_fd), -EPERM, "without a reference");
	map_fd = bpf_map_get_fd_by_id(id);
	ASSERT_OK_FD(map_fd, "map by id");
	ASSERT_OK(run_syscall_prog(prog_fd), "with a new reference");
	close(map_fd);
	ASSERT_EQ(run_syscall_prog(prog_fd), -EPERM, "and without it");
	close(prog_fd);
	ASSERT_TRUE(map_is_gone(id), "map is gone");
}

static void drop_user_reference_meanwhile(struct task_work_errno *skel, struct target *target)
{
	int map_fd = bpf_map__fd(skel->maps.slots);
	__u32 id = map_id(map_fd);

	target->prog_fd = bpf_program__fd(skel->progs.schedule_current);
	ASSERT_OK(target_tell(target, TARGET_RUN), "run");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->entered)), "stopped at the counter");
	ASSERT_OK(drop_user_reference(map_fd), "drop the last reference");
	WRITE_ONCE(skel->bss->may_go_on, 1);
	ASSERT_TRUE(target_obeyed(target), "scheduler ends");
	ASSERT_EQ(target->prog_ret, -EPERM, "reference went meanwhile");
	map_fd = bpf_map_get_fd_by_id(id);
	ASSERT_OK_FD(map_fd, "map by id");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
	ASSERT_EQ(skel->bss->ran, 1, "ran once");
	close(map_fd);
}

/* The slot was looked at by the walk of that reference before the context was there. */
static void test_user_reference_goes(struct task_work_errno *unused)
{
	struct task_work_errno *skel;
	struct bpf_link *link = NULL;
	int cpu = nth_cpu(1);	/* where the target will be */
	struct target target;

	if (!have_two_cpus(__func__) || !have_breakpoints(__func__))
		return;
	skel = task_work_errno__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	if (!ASSERT_OK(target_start_apart(&target), "thread on a CPU of its own"))
		goto out;
	ASSERT_OK(run(skel, find_usercnt), "address of the counter");
	link = attach_breakpoint_on(skel->progs.stop_at_usercnt,
				    skel->bss->slots_addr + skel->bss->usercnt_offset, cpu);
	skel->bss->mode = MODE_RESUME;
	skel->bss->armed = 1;
	if (ASSERT_OK_PTR(link, "attach"))
		drop_user_reference_meanwhile(skel, &target);
	bpf_link__destroy(link);
	target_stop(&target);
out:
	task_work_errno__destroy(skel);
}

static void test_prog_unloaded(struct task_work_errno *unused)
{
	struct task_work_errno *skel;
	int callees_fd, callee_fd;
	struct target target;
	__u32 nr = 0;

	if (!have_two_cpus(__func__))
		return;
	skel = task_work_errno__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	callees_fd = bpf_map__fd(skel->maps.callees);
	callee_fd = bpf_program__fd(skel->progs.callee);
	if (!ASSERT_OK(bpf_map_update_elem(callees_fd, &nr, &callee_fd, BPF_ANY), "add callee") ||
	    !ASSERT_OK(target_start_apart(&target), "thread on a CPU of its own"))
		goto out;
	bpf_program__unload(skel->progs.callee);
	target.prog_fd = bpf_program__fd(skel->progs.caller);
	ASSERT_OK(target_tell(&target, TARGET_RUN), "run");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->entered)), "callee runs");
	ASSERT_OK(bpf_map_delete_elem(callees_fd, &nr), "drop callee");
	WRITE_ONCE(skel->bss->may_go_on, 1);
	ASSERT_TRUE(target_obeyed(&target), "callee ends");
	ASSERT_EQ(target.prog_ret, -EBADF, "program without references");
	ASSERT_OK(run(skel, schedule_current), "slot is free");
	ASSERT_EQ(skel->bss->ran, 1, "ran once");
	target_stop(&target);
out:
	task_work_errno__destroy(skel);
}

static const struct {
	const char *name;
	void (*test)(struct task_work_errno *skel);
} cases[] = {
	{ "ok", test_ok },
	{ "busy_pending", test_busy_pending },
	{ "busy_in_callback", test_busy_in_callback },
	{ "busy_running", test_busy_running },
	{ "busy_takes_no_reference", test_busy_takes_no_reference },
	{ "kthread", test_kthread },
	{ "idle", test_idle },
	{ "dead", test_dead },
	{ "exiting", test_exiting },
	{ "killed", test_killed },
	{ "traced_exit", test_traced_exit },
	{ "dumping", test_dumping },
	{ "before_dumping", test_before_dumping },
	{ "unborn", test_unborn },
	{ "newborn", test_newborn },
	{ "no_memory", test_no_memory },
	{ "no_user_reference", test_no_user_reference },
	{ "user_reference_goes", test_user_reference_goes },
	{ "prog_unloaded", test_prog_unloaded },
};

/* One CPU or another is held for a while: that is not for others to meet. */
void serial_test_task_work_errno(void)
{
	struct task_work_errno *skel = task_work_errno__open();
	unsigned int i;

	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_program__set_autoload(skel->progs.schedule_unborn, bpf_lsm_works());
	bpf_program__set_autoload(skel->progs.schedule_dumping, !access(CORE_PATTERN, W_OK));
	if (!ASSERT_OK(task_work_errno__load(skel), "load"))
		goto out;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		memset(skel->bss, 0, sizeof(*skel->bss));
		skel->bss->slot_nr = i % bpf_map__max_entries(skel->maps.slots);
		skel->bss->mode = MODE_RESUME;
		cases[i].test(skel);
	}
out:
	task_work_errno__destroy(skel);
}
