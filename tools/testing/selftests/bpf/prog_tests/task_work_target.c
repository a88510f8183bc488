// SPDX-License-Identifier: GPL-2.0
/*
 * What users have to know: work finds the credentials of its task there, ends some of
 * its system calls early, waits for a task that is stopped, but not for one that is
 * frozen, and can keep one from its system call for ever; it may find a lock of io_uring
 * taken; the element under a callback may become another key's.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <linux/io_uring.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include "cgroup_helpers.h"
#include "task_work_target.skel.h"

#define ENOUGH	100
#define UID	4711
#define GID	4712

/* What epoll_wait() of the C library calls; newer architectures have but one of the two. */
#ifdef __NR_epoll_wait
#define NR_EPOLL_WAIT __NR_epoll_wait
#else
#define NR_EPOLL_WAIT __NR_epoll_pwait
#endif

/* A child that does one thing; it tells by its exit status how that went. */
struct child {
	pid_t pid;
	int fd;
};

static bool child_start(struct task_work_target *skel, struct child *child, int (*body)(int fd))
{
	int fds[2];

	if (!ASSERT_OK(pipe2(fds, O_CLOEXEC), "pipe"))
		return false;
	child->pid = fork();
	if (!child->pid) {
		close(fds[1]);
		_exit(body(fds[0]));
	}
	close(fds[0]);
	child->fd = fds[1];
	skel->bss->target_tid = child->pid;
	return ASSERT_GT(child->pid, 0, "fork");
}

/* The child reads the end of its pipe, if it still does. */
static int child_end(struct child *child)
{
	int status = -1;

	close(child->fd);
	ASSERT_EQ(waitpid(child->pid, &status, 0), child->pid, "child ends");
	return status;
}

static bool child_asleep(struct child *child, long syscall_nr)
{
	unsigned long arg0;

	return wait_for(syscall_of(child->pid, &arg0) == syscall_nr);
}

static char child_state(struct child *child)
{
	char path[64], line[512] = "", *state;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", child->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	close(fd);
	state = strrchr(line, ')');
	return state ? state[2] : '?';
}

/* 0: nothing disturbed the read. */
static int read_once(int fd)
{
	char c;

	return read(fd, &c, 1) == 0 ? 0 : errno;
}

/* First on the CPU that it has in common with the test: if that wakes it, it has run. */
static int wait_with_epoll(int fd)
{
	struct sched_param first = { .sched_priority = 1 };
	struct epoll_event event = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(0);

	if (sched_setscheduler(0, SCHED_FIFO, &first))
		return errno;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	return epoll_wait(epoll_fd, &event, 1, -1) == 1 ? 0 : errno;
}

static int read_as_other_user(int fd)
{
	if (setresgid(GID, GID, GID) || setresuid(UID, UID, UID))
		return errno;
	return read_once(fd);
}

static void schedule_and_see(struct task_work_target *skel)
{
	ASSERT_OK(run(skel, schedule_target), "schedule");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) == 1), "callback");
	ASSERT_EQ(skel->bss->ran_in, skel->bss->target_tid, "in the task");
}

/* The callback has what the task has: no check was made whether its program may. */
static void test_credentials(struct task_work_target *skel)
{
	struct child child;

	if (!child_start(skel, &child, read_as_other_user))
		return;
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep");
	schedule_and_see(skel);
	ASSERT_EQ(skel->bss->uid_gid, (__u64)GID << 32 | UID, "credentials");
	ASSERT_OK(child_end(&child), "read");
}

/* A system call that can start again does so, and its caller sees nothing. */
static void test_read_restarts(struct task_work_target *skel)
{
	struct child child;

	if (!child_start(skel, &child, read_once))
		return;
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep");
	schedule_and_see(skel);
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep again");
	ASSERT_OK(child_end(&child), "read");
}

/* One that can't ends early, as a signal with a handler would make it. */
static void test_epoll_is_interrupted(struct task_work_target *skel)
{
	struct child child;
	int status;

	if (!child_start(skel, &child, wait_with_epoll))
		return;
	ASSERT_TRUE(child_asleep(&child, NR_EPOLL_WAIT), "asleep");
	schedule_and_see(skel);
	status = child_end(&child);
	ASSERT_EQ(WEXITSTATUS(status), EINTR, "epoll_wait");
}

/* To resume does not wake: the work waits as long as the task does. */
static void test_epoll_is_not_resumed(struct task_work_target *skel)
{
	struct child child;

	skel->bss->mode = MODE_RESUME;
	if (!child_start(skel, &child, wait_with_epoll))
		return;
	ASSERT_TRUE(child_asleep(&child, NR_EPOLL_WAIT), "asleep");
	ASSERT_OK(run(skel, schedule_target), "schedule");
	ASSERT_EQ(run(skel, schedule_target), -EBUSY, "slot is taken as long");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks while asleep");
	ASSERT_OK(child_end(&child), "epoll_wait");
	ASSERT_EQ(skel->bss->ran, 1, "callbacks");
}

static void test_stopped(struct task_work_target *skel)
{
	struct child child;

	if (!child_start(skel, &child, read_once))
		return;
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep");
	ASSERT_OK(kill(child.pid, SIGSTOP), "stop");
	ASSERT_TRUE(wait_for(child_state(&child) == 'T'), "stopped");
	ASSERT_OK(run(skel, schedule_target), "schedule");
	ASSERT_EQ(run(skel, schedule_target), -EBUSY, "slot is taken as long");
	ASSERT_EQ(child_state(&child), 'T', "a signal of ours does not continue it");
	ASSERT_EQ(skel->bss->ran, 0, "callbacks while stopped");
	ASSERT_OK(kill(child.pid, SIGCONT), "continue");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) == 1), "callback");
	ASSERT_OK(child_end(&child), "read");
}

/* '1' or '0', as its file tells. */
static char cgroup_frozen(int cgroup_fd)
{
	int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	char lines[128] = "", *frozen;

	if (read(fd, lines, sizeof(lines) - 1) < 0)
		lines[0] = '\0';
	close(fd);
	frozen = strstr(lines, "frozen ");
	return frozen ? frozen[strlen("frozen ")] : '?';
}

static void see_in_frozen(struct task_work_target *skel, struct child *child, int cgroup_fd)
{
	ASSERT_TRUE(wait_for(cgroup_frozen(cgroup_fd) == '1'), "frozen");
	schedule_and_see(skel);
	/* With the end of the pipe the child would read on and exit. */
	close(child->fd);
	child->fd = -1;
	ASSERT_TRUE(wait_for(child_state(child) == 'S'), "asleep");
	ASSERT_EQ(waitpid(child->pid, NULL, WNOHANG), 0, "the child does not get anywhere");
	ASSERT_EQ(cgroup_frozen(cgroup_fd), '1', "frozen as before");
}

/* A signal of ours wakes a task in a frozen cgroup, which runs the work and sleeps on. */
static void test_frozen(struct task_work_target *skel)
{
	struct child child;
	char pid[16];
	int fd;

	if (!ASSERT_OK(setup_cgroup_environment(), "cgroups"))
		return;
	fd = create_and_get_cgroup("/frozen");
	if (!ASSERT_OK_FD(fd, "cgroup") || !child_start(skel, &child, read_once))
		goto out;
	snprintf(pid, sizeof(pid), "%d", child.pid);
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep");
	ASSERT_OK(write_cgroup_file("/frozen", "cgroup.procs", pid), "move the child");
	ASSERT_OK(write_cgroup_file("/frozen", "cgroup.freeze", "1"), "freeze");
	see_in_frozen(skel, &child, fd);
	ASSERT_OK(write_cgroup_file("/frozen", "cgroup.freeze", "0"), "thaw");
	ASSERT_OK(child_end(&child), "read");
	ASSERT_EQ(skel->bss->ran, 1, "callbacks");
out:
	if (fd >= 0)
		close(fd);
	cleanup_cgroup_environment();
}

/* A ring with a thread of its own, and one of ours that asks for something of that. */
struct ring {
	struct missing_page page;
	pthread_t asker;
	int fd;
	int asker_tid;
	int answered;
};

static int find_sqpoll_thread(void)
{
	glob_t names;
	int tid = 0;
	char name[32];
	size_t i;

	if (glob("/proc/self/task/*/comm", 0, NULL, &names))
		return 0;
	for (i = 0; i < names.gl_pathc; i++) {
		int fd = open(names.gl_pathv[i], O_RDONLY | O_CLOEXEC);
		ssize_t len = read(fd, name, sizeof(name) - 1);

		close(fd);
		if (len > 0 && !strncmp(name, "iou-sqp-", strlen("iou-sqp-")))
			tid = atoi(names.gl_pathv[i] + strlen("/proc/self/task/"));
	}
	globfree(&names);
	return tid;
}

static bool ring_open(struct task_work_target *skel, struct ring *ring, const char *who)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL };

	memset(ring, 0, sizeof(*ring));
	ring->page.fd = -1;
	ring->fd = -1;
	if (!have_or_skip(!access("/proc/sys/kernel/io_uring_disabled", F_OK), who,
			  "CONFIG_IO_URING") || !have_missing_pages(who))
		return false;
	ring->fd = syscall(__NR_io_uring_setup, 1, &params);
	if (!ASSERT_OK_FD(ring->fd, "ring") || !ASSERT_OK(missing_page_open(&ring->page), "page"))
		return false;
	skel->bss->user_ptr = ring->page.addr;
	return ASSERT_TRUE(wait_for(skel->bss->target_tid = find_sqpoll_thread()), "its thread");
}

/* Neither number is changed, but the lock under which the thread works is taken. */
static void *ask_ring(void *arg)
{
	__u32 limits[2] = {};
	struct ring *ring = arg;

	WRITE_ONCE(ring->asker_tid, syscall(__NR_gettid));
	syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2);
	WRITE_ONCE(ring->answered, 1);
	return NULL;
}

/* The thread sleeps in a callback; is it asked in vain? */
static void ring_sleeps(struct task_work_target *skel, struct ring *ring, int mode)
{
	skel->bss->mode = mode;
	ASSERT_OK(run(skel, schedule_sleep_in_target), "schedule");
	/* What resumes it waits until it has something to do. */
	syscall(__NR_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	ASSERT_TRUE(missing_page_faulted(&ring->page), "the callback sleeps");
	ASSERT_OK(pthread_create(&ring->asker, NULL, ask_ring, ring), "thread that asks");
}

static void ring_wakes(struct task_work_target *skel, struct ring *ring)
{
	ASSERT_OK(missing_page_fill(&ring->page, ""), "fill page");
	ASSERT_OK(pthread_join(ring->asker, NULL), "the thread that asks ends");
	ASSERT_TRUE(ring->answered, "with an answer");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) == 1), "callback");
}

static void ring_close(struct ring *ring)
{
	missing_page_close(&ring->page);
	if (ring->fd >= 0)
		close(ring->fd);
}

/* The thread of a ring holds the lock of the ring meanwhile: who needs that waits. */
static void test_sqpoll_is_resumed(struct task_work_target *skel)
{
	struct child asker;
	struct ring ring;

	if (!ring_open(skel, &ring, __func__))
		goto out;
	ring_sleeps(skel, &ring, MODE_RESUME);
	ASSERT_TRUE(wait_for(asker.pid = READ_ONCE(ring.asker_tid)), "it asks");
	ASSERT_TRUE(wait_for(child_state(&asker) == 'D'), "and waits for a lock");
	ASSERT_FALSE(READ_ONCE(ring.answered), "no answer meanwhile");
	ring_wakes(skel, &ring);
out:
	ring_close(&ring);
}

/* Not so if it is signalled. */
static void test_sqpoll_is_signalled(struct task_work_target *skel)
{
	struct ring ring;

	if (!ring_open(skel, &ring, __func__))
		goto out;
	ring_sleeps(skel, &ring, MODE_SIGNAL);
	ASSERT_TRUE(wait_for(READ_ONCE(ring.answered)), "an answer meanwhile");
	ring_wakes(skel, &ring);
out:
	ring_close(&ring);
}

/*
 * A signal on current from the entry of a system call that blocks: it never does, but
 * starts again, and the program signals it again.
 */
static void test_signal_in_syscall(struct task_work_target *skel)
{
	struct bpf_link *link;
	struct child child;

	if (!child_start(skel, &child, read_once))
		return;
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep");
	skel->bss->syscall_nr = __NR_read;
	link = bpf_program__attach(skel->progs.signal_in_syscall);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	/* The first one wakes it. */
	ASSERT_OK(run(skel, schedule_target), "schedule");
	ASSERT_TRUE(wait_for(READ_ONCE(skel->bss->ran) > ENOUGH), "round and round");
	bpf_link__destroy(link);
	ASSERT_TRUE(child_asleep(&child, __NR_read), "asleep at last");
out:
	ASSERT_OK(child_end(&child), "read");
}

/* The memory stays, but it may be another key's before the callback has ended. */
static void test_recycled(struct task_work_target *skel)
{
	int map_fd = bpf_map__fd(skel->maps.map);
	struct sleeper sleeper;
	__u64 value[2] = {};
	__u32 other = 77;

	if (!sleeper_open(&sleeper, __func__))
		goto out;
	skel->bss->user_ptr = sleeper.page.addr;
	sleeper_run(&sleeper, skel->progs.schedule_sleeper);
	/* What was freed last on a CPU is handed out first. */
	ASSERT_OK(bpf_map_delete_elem(map_fd, &skel->bss->key), "delete");
	ASSERT_OK(bpf_map_update_elem(map_fd, &other, value, BPF_ANY), "insert another");
	sleeper_wake(&sleeper);
	ASSERT_EQ(skel->bss->key_before, skel->bss->key, "key before it slept");
	ASSERT_EQ(skel->bss->key_after, other, "key after it slept");
out:
	sleeper_close(&sleeper);
}

static const struct {
	const char *name;
	void (*test)(struct task_work_target *skel);
} cases[] = {
	{ "credentials", test_credentials },
	{ "read_restarts", test_read_restarts },
	{ "epoll_is_interrupted", test_epoll_is_interrupted },
	{ "epoll_is_not_resumed", test_epoll_is_not_resumed },
	{ "stopped", test_stopped },
	{ "frozen", test_frozen },
	{ "sqpoll_is_resumed", test_sqpoll_is_resumed },
	{ "sqpoll_is_signalled", test_sqpoll_is_signalled },
	{ "signal_in_syscall", test_signal_in_syscall },
	{ "recycled", test_recycled },
};

static void run_case(int i)
{
	struct task_work_target *skel = task_work_target__open_and_load();
	__u64 value[2] = {};

	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	skel->bss->key = 1;
	skel->bss->mode = MODE_SIGNAL;
	ASSERT_OK(pin_to_cpu(pthread_self(), nth_cpu(0)), "pin");
	ASSERT_OK(bpf_map_update_elem(bpf_map__fd(skel->maps.map), &skel->bss->key, value, BPF_ANY),
		  "insert");
	cases[i].test(skel);
	task_work_target__destroy(skel);
}

void serial_test_task_work_target(void)
{
	cpu_set_t before;
	unsigned int i;

	if (!ASSERT_OK(sched_getaffinity(0, sizeof(before), &before), "affinity"))
		return;
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		if (test__start_subtest(cases[i].name))
			run_case(i);
	sched_setaffinity(0, sizeof(before), &before);
}
