// SPDX-License-Identifier: GPL-2.0
/* The second program that the documentation shows does what it says there. */
#include <sys/stat.h>
#include <test_progs.h>
#include "progs/task_work_example_open.h"
#include "task_work_example_open.skel.h"
#include "async_helpers.h"

struct scene {
	struct ring_buffer *names;
	struct bpf_map *calls;
	char *page;	/* that children share, and that they have not touched */
	int tid;	/* the thread whose reports count */
	int reports;
	struct opened last;
};

static int keep_report(void *ctx, void *data, size_t size)
{
	const struct opened *opened = data;
	struct scene *s = ctx;

	if (opened->tid == s->tid) {
		s->last = *opened;
		s->reports++;
	}
	return 0;
}

static void collect_reports(struct scene *s)
{
	ASSERT_GE(ring_buffer__consume(s->names), 0, "ring buffer");
}

static void put_on_page(struct scene *s, const char *name)
{
	snprintf(s->page, getpagesize(), "%s", name);
}

static int find_call(struct scene *s)
{
	char value[bpf_map__value_size(s->calls)];

	return bpf_map_lookup_elem(bpf_map__fd(s->calls), &s->tid, value);
}

static void check_report(struct scene *s, bool late)
{
	ASSERT_EQ(s->reports, 1, "reports");
	ASSERT_EQ(s->last.late, late, "late");
	ASSERT_EQ(find_call(s), -ENOENT, "element after the call");
}

static void check_name(struct scene *s, bool late, const char *name)
{
	check_report(s, late);
	ASSERT_EQ(s->last.len, strlen(name) + 1, "length");
	ASSERT_STREQ(s->last.name, name, "name");
}

/* The kernel refuses the flags before it looks at the name: nobody else has that read in. */
static void open_refused(struct scene *s, const char *name)
{
	collect_reports(s);
	s->reports = 0;
	s->tid = syscall(__NR_gettid);
	ASSERT_EQ(syscall(__NR_openat, AT_FDCWD, name, O_CREAT | O_DIRECTORY, 0), -1, "open");
	ASSERT_EQ(errno, EINVAL, "refused");
	collect_reports(s);
}

static void name_is_there(struct scene *s)
{
	char name[] = "a name on the stack";

	open_refused(s, name);
	check_name(s, false, name);
}

/* What is on the page stays in memory, but to read it is a fault. */
static void name_is_absent(struct scene *s)
{
	const char *name = "a name on a page that is not mapped";

	put_on_page(s, name);
	ASSERT_OK(madvise(s->page, getpagesize(), MADV_DONTNEED), "unmap the page");
	open_refused(s, s->page);
	check_name(s, true, name);
}

static void name_is_nowhere(struct scene *s)
{
	open_refused(s, NULL);
	check_report(s, true);
	ASSERT_EQ(s->last.len, -EFAULT, "no name");
}

static bool blocks_in_open(struct scene *s)
{
	unsigned long arg0;

	/* The looks open files, too. */
	return wait_for(ring_buffer__consume(s->names) < 0 ||
			syscall_of(s->tid, &arg0) == __NR_openat);
}

/* A child that opens a FIFO for which there is no reader yet. */
static int start_child(struct scene *s, const char *fifo)
{
	put_on_page(s, fifo);
	s->reports = 0;
	s->tid = fork();
	if (!s->tid)
		_exit(syscall(__NR_openat, AT_FDCWD, s->page, O_WRONLY, 0) < 0);
	if (!ASSERT_GT(s->tid, 0, "fork"))
		return -ECHILD;
	ASSERT_TRUE(blocks_in_open(s), "child blocks");
	ASSERT_EQ(s->reports, 0, "reports, so far");
	ASSERT_OK(find_call(s), "element during the call");
	return 0;
}

static void end_child(struct scene *s, int status)
{
	int ended_by = -1;

	ASSERT_EQ(waitpid(s->tid, &ended_by, 0), s->tid, "wait");
	ASSERT_EQ(ended_by, status, "status of the child");
	collect_reports(s);
}

/* The kernel has read one name of the FIFO, and the callback reads another. */
static void name_changes(struct scene *s, const char *fifo)
{
	char other[128];
	int fd;

	if (start_child(s, fifo))
		return;
	snprintf(other, sizeof(other), "/..%s", fifo);
	put_on_page(s, other);
	fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (!ASSERT_OK_FD(fd, "open as a reader"))
		kill(s->tid, SIGKILL);
	end_child(s, 0);
	check_name(s, true, other);
	close(fd);
}

/* The callback runs before it dies. */
static void thread_is_killed(struct scene *s, const char *fifo)
{
	if (start_child(s, fifo))
		return;
	ASSERT_OK(kill(s->tid, SIGKILL), "kill");
	end_child(s, SIGKILL);
	check_name(s, true, fifo);
}

static void with_fifo(struct scene *s, void (*test)(struct scene *s, const char *fifo))
{
	char fifo[64];

	snprintf(fifo, sizeof(fifo), "/tmp/task_work_example_open.%d", getpid());
	if (!ASSERT_OK(mkfifo(fifo, 0600), "FIFO"))
		return;
	test(s, fifo);
	unlink(fifo);
}

static void run_subtests(struct scene *s)
{
	if (test__start_subtest("there"))
		name_is_there(s);
	if (test__start_subtest("absent"))
		name_is_absent(s);
	if (test__start_subtest("nowhere"))
		name_is_nowhere(s);
	if (test__start_subtest("changed"))
		with_fifo(s, name_changes);
	if (test__start_subtest("killed"))
		with_fifo(s, thread_is_killed);
}

void test_task_work_example_open(void)
{
	struct task_work_example_open *skel = task_work_example_open__open_and_load();
	struct scene s = {};

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	s.page = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	s.calls = skel->maps.calls;
	s.names = ring_buffer__new(bpf_map__fd(skel->maps.names), keep_report, &s, NULL);
	if (ASSERT_NEQ(s.page, MAP_FAILED, "mmap") && ASSERT_OK_PTR(s.names, "ring buffer") &&
	    ASSERT_OK(task_work_example_open__attach(skel), "attach"))
		run_subtests(&s);
	ring_buffer__free(s.names);
	munmap(s.page, getpagesize());
	task_work_example_open__destroy(skel);
}
