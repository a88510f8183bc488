// SPDX-License-Identifier: GPL-2.0
/*
 * A program that was loaded through a BPF token reaches the tasks of the token's user
 * namespace and of those below it, and no others.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <linux/mount.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "task_work_token.skel.h"

/* The children have no part in the framework: what they find out is kept here. */
struct outcome {
	int err;	/* that had nothing to do with task work */
	int schedule;
	int again;	/* a second schedule, when the task is through with the first */
	int ran;
	int ran_in;
	pid_t target;
	int exec_status;
	char log[4096];
};

/* A user namespace, and the root of a BPF file system of its own, which makes tokens. */
struct space {
	int user_ns;
	int bpffs;
	struct outcome *out;
};

/* In a namespace of its own until it is killed. */
static void child_of_new_namespace(int told_fd)
{
	int fs_fd = -1;

	if (!unshare(CLONE_NEWUSER | CLONE_NEWNS))
		fs_fd = syscall(__NR_fsopen, "bpf", 0);
	if (write(told_fd, &fs_fd, sizeof(fs_fd)) == sizeof(fs_fd))
		pause();
	_exit(1);
}

/* Returns the number that the file descriptor of the file system has in the child. */
static pid_t start_namespace(int *fs_fd)
{
	int fds[2];
	pid_t pid;

	*fs_fd = -1;
	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid)
		child_of_new_namespace(fds[1]);
	close(fds[1]);
	if (read(fds[0], fs_fd, sizeof(*fs_fd)) != sizeof(*fs_fd))
		*fs_fd = -1;
	close(fds[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid, "child ends");
}

/* Only who is privileged outside may say what a token of the file system allows. */
static int delegate_all(int fs_fd)
{
	static const char * const what[] = {
		"delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(what); i++)
		if (syscall(__NR_fsconfig, fs_fd, FSCONFIG_SET_STRING, what[i], "any", 0))
			return -errno;
	return syscall(__NR_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) ? -errno : 0;
}

static int open_user_ns(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool space_open_as(struct space *space, pid_t pid, int childs_fd)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0);
	int fs_fd = syscall(__NR_pidfd_getfd, pidfd, childs_fd, 0);
	bool ok = ASSERT_OK_FD(fs_fd, "file system of the namespace") &&
		  ASSERT_OK(delegate_all(fs_fd), "delegate");

	if (ok) {
		space->user_ns = open_user_ns(pid);
		space->bpffs = syscall(__NR_fsmount, fs_fd, 0, 0);
		ok = ASSERT_OK_FD(space->user_ns, "user namespace") &&
		     ASSERT_OK_FD(space->bpffs, "mount");
	}
	close(fs_fd);
	close(pidfd);
	return ok;
}

static bool space_open(struct space *space)
{
	int childs_fd;
	pid_t pid;
	bool ok;

	space->user_ns = -1;
	space->bpffs = -1;
	space->out = mmap(NULL, sizeof(*space->out), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!ASSERT_NEQ(space->out, MAP_FAILED, "memory"))
		return false;
	pid = start_namespace(&childs_fd);
	ok = ASSERT_GT(pid, 0, "fork") && space_open_as(space, pid, childs_fd);
	end_child(pid);
	return ok;
}

static void space_close(struct space *space)
{
	close(space->bpffs);
	close(space->user_ns);
	if (space->out != MAP_FAILED)
		munmap(space->out, sizeof(*space->out));
}

/* In a child within the namespace. */
static struct task_work_token *open_with_token(const struct space *space)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", space->bpffs);
	opts.bpf_token_path = path;
	return task_work_token__open_opts(&opts);
}

static void signal_target(const struct space *space, struct task_work_token *skel, pid_t target)
{
	struct outcome *out = space->out;
	int prog_fd = bpf_program__fd(skel->progs.signal_target);

	skel->bss->target_tid = target;
	out->target = target;
	out->schedule = run_syscall_prog(prog_fd);
	if (!out->schedule && !wait_for(READ_ONCE(skel->bss->ran)))
		out->err = -ETIMEDOUT;
	out->ran = skel->bss->ran;
	out->ran_in = skel->bss->ran_in;
}

static void body_own(const struct space *space, struct task_work_token *skel)
{
	signal_target(space, skel, getpid());
}

static void body_given(const struct space *space, struct task_work_token *skel)
{
	signal_target(space, skel, space->out->target);
}

static void body_below(const struct space *space, struct task_work_token *skel)
{
	int unused;
	pid_t pid = start_namespace(&unused);

	signal_target(space, skel, pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static const char *exec_path;

static pid_t start_exec(int *told_fd)
{
	int fds[2];
	pid_t pid;
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		if (read(fds[0], &c, 1) == 1)
			execl(exec_path, "true", NULL);
		_exit(1);
	}
	close(fds[0]);
	*told_fd = fds[1];
	return pid;
}

/* On a task that is on its way into execve(): when it comes back it is another program. */
static void body_exec(const struct space *space, struct task_work_token *skel)
{
	struct outcome *out = space->out;
	struct bpf_link *link;
	int told_fd = -1;
	pid_t pid = start_exec(&told_fd);

	skel->bss->target_tid = pid;
	skel->bss->syscall_nr = __NR_execve;
	skel->bss->schedule_ret = 1;
	link = bpf_program__attach(skel->progs.schedule_in_syscall);
	if (!link || write(told_fd, "", 1) != 1)
		out->err = -errno;
	close(told_fd);
	waitpid(pid, &out->exec_status, 0);
	bpf_link__destroy(link);
	out->schedule = skel->bss->schedule_ret;
	out->ran = skel->bss->ran;
	skel->bss->target_tid = getpid();
	out->again = run_syscall_prog(bpf_program__fd(skel->progs.signal_target));
}

/* It loads, too, and nothing is asked of it but that the verifier says why not. */
static void body_write_user(const struct space *space, struct task_work_token *skel)
{
	struct outcome *out = space->out;
	struct task_work_token *other = open_with_token(space);
	struct bpf_program *prog;

	if (!other) {
		out->err = -errno;
		return;
	}
	bpf_object__for_each_program(prog, other->obj)
		bpf_program__set_autoload(prog, prog == other->progs.callback_writes_user);
	bpf_program__set_log_buf(other->progs.callback_writes_user, out->log, sizeof(out->log));
	out->schedule = task_work_token__load(other);
}

typedef void (*body_fn)(const struct space *space, struct task_work_token *skel);

static int child_in_namespace(const struct space *space, body_fn body)
{
	struct task_work_token *skel;
	int err;

	if (setns(space->user_ns, CLONE_NEWUSER))
		return -errno;
	skel = open_with_token(space);
	if (!skel)
		return -errno;
	err = task_work_token__load(skel);
	if (err)
		return err;
	body(space, skel);
	return space->out->err;
}

static void in_namespace(const struct space *space, body_fn body)
{
	pid_t pid = fork();

	if (!pid) {
		space->out->err = child_in_namespace(space, body);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, NULL, 0), pid, "child ends");
	ASSERT_OK(space->out->err, "child");
}

static void check_accepted(const struct space *space)
{
	ASSERT_OK(space->out->schedule, "schedule");
	ASSERT_EQ(space->out->ran, 1, "callbacks");
	ASSERT_EQ(space->out->ran_in, space->out->target, "in the task");
}

static void check_refused(const struct space *space)
{
	ASSERT_EQ(space->out->schedule, -EPERM, "schedule");
	ASSERT_EQ(space->out->ran, 0, "callbacks");
}

static void test_own(const struct space *space)
{
	in_namespace(space, body_own);
	check_accepted(space);
}

static void test_below(const struct space *space)
{
	in_namespace(space, body_below);
	check_accepted(space);
}

/* The id of a task is what it is in the initial namespace, so any can be named. */
static void test_above(const struct space *space)
{
	space->out->target = getpid();
	in_namespace(space, body_given);
	check_refused(space);
}

static void test_beside(const struct space *space)
{
	int unused;
	pid_t pid = start_namespace(&unused);

	space->out->target = pid;
	in_namespace(space, body_given);
	end_child(pid);
	check_refused(space);
}

static void test_without_token(const struct space *space)
{
	struct task_work_token *skel = task_work_token__open_and_load();
	int unused;
	pid_t pid;

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	pid = start_namespace(&unused);
	signal_target(space, skel, pid);
	end_child(pid);
	check_accepted(space);
	WRITE_ONCE(skel->bss->ran, 0);
	signal_target(space, skel, getpid());
	check_accepted(space);
	task_work_token__destroy(skel);
}

static void test_exec(const struct space *space)
{
	struct outcome *out = space->out;

	exec_path = TRUE_PATH;
	in_namespace(space, body_exec);
	ASSERT_OK(out->exec_status, "child that executes");
	ASSERT_OK(out->schedule, "schedule");
	ASSERT_EQ(out->ran, 1, "callbacks");
	ASSERT_OK(out->again, "schedule again");
}

/* A program that its users can execute and not read, at @path. */
static int make_unreadable(char *path)
{
	int to = mkostemp(path, O_CLOEXEC);
	int from = open(TRUE_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t len = 1;
	int err = 0;

	while (len > 0)
		len = sendfile(to, from, NULL, 1 << 20);
	if (len < 0 || fchmod(to, 0111))
		err = -errno;
	close(from);
	close(to);
	return err;
}

/*
 * The memory of a program that nobody in the namespace may read is not the namespace's,
 * though the task is: ptrace() refuses it, too.
 */
static void test_exec_unreadable(const struct space *space)
{
	char path[] = "/tmp/task_work_token.XXXXXX";
	struct outcome *out = space->out;

	if (ASSERT_OK(make_unreadable(path), "program")) {
		exec_path = path;
		in_namespace(space, body_exec);
		ASSERT_OK(out->exec_status, "child that executes");
		ASSERT_OK(out->schedule, "schedule");
		ASSERT_EQ(out->ran, 0, "callbacks");
		ASSERT_OK(out->again, "schedule again");
	}
	unlink(path);
}

/* For that it takes CAP_SYS_ADMIN outside, in a callback as elsewhere. */
static void test_write_user(const struct space *space)
{
	in_namespace(space, body_write_user);
	ASSERT_EQ(space->out->schedule, -EINVAL, "load");
	ASSERT_HAS_SUBSTR(space->out->log, "cannot use helper bpf_probe_write_user", "log");
}

static const struct {
	const char *name;
	void (*test)(const struct space *space);
} cases[] = {
	{ "own", test_own },
	{ "below", test_below },
	{ "above", test_above },
	{ "beside", test_beside },
	{ "without_token", test_without_token },
	{ "exec", test_exec },
	{ "exec_unreadable", test_exec_unreadable },
	{ "write_user", test_write_user },
};

void test_task_work_token(void)
{
	struct space space;
	unsigned int i;

	if (space_open(&space))
		for (i = 0; i < ARRAY_SIZE(cases); i++) {
			memset(space.out, 0, sizeof(*space.out));
			if (test__start_subtest(cases[i].name))
				cases[i].test(&space);
		}
	space_close(&space);
}
