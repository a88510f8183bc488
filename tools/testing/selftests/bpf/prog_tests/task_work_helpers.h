/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tools of the task work tests: a thread to schedule work on, a page that is
 * missing until the test fills it in, elements of maps.
 */
#ifndef _TASK_WORK_HELPERS_H
#define _TASK_WORK_HELPERS_H

#include <fcntl.h>
#include <glob.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <test_progs.h>
#include "progs/task_work_elem.h"
#include "task_work_machine.h"

/*
 * A thread that obeys one-byte commands and sleeps in read() between them, so
 * that work scheduled on it for its next return to user mode stays pending
 * until it is told something.
 */
enum target_command {
	TARGET_RETURN	= 'r',	/* to user mode, and sleep again */
	TARGET_SPIN	= 's',	/* in user mode until ->spinning is cleared */
	TARGET_RUN	= 'x',	/* the syscall program ->prog_fd */
};

struct target {
	pthread_t thread;
	int tid;
	int command_fd;
	int told_fd;
	int obeyed;
	int told;
	int spinning;
	int prog_fd;
	int prog_ret;
	bool apart;
	cpu_set_t before;
};

static inline int run_syscall_prog(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err = bpf_prog_test_run_opts(prog_fd, &opts);

	return err ?: (int)opts.retval;
}

static inline void *target_thread(void *arg)
{
	struct target *t = arg;
	char command;

	WRITE_ONCE(t->tid, syscall(__NR_gettid));
	while (read(t->command_fd, &command, 1) == 1) {
		if (command == TARGET_SPIN)
			while (READ_ONCE(t->spinning))
				;
		if (command == TARGET_RUN)
			t->prog_ret = run_syscall_prog(t->prog_fd);
		__atomic_fetch_add(&t->obeyed, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static inline int target_start(struct target *t)
{
	int fds[2], err;

	memset(t, 0, sizeof(*t));
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	t->command_fd = fds[0];
	t->told_fd = fds[1];
	err = pthread_create(&t->thread, NULL, target_thread, t);
	if (err) {
		close(fds[0]);
		close(fds[1]);
		return -err;
	}
	return wait_for(READ_ONCE(t->tid)) ? 0 : -ETIMEDOUT;
}

static inline int target_tell(struct target *t, enum target_command command)
{
	char c = command;

	t->spinning = command == TARGET_SPIN;
	t->told++;
	return write(t->told_fd, &c, 1) == 1 ? 0 : -errno;
}

static inline bool target_obeyed(struct target *t)
{
	return wait_for(__atomic_load_n(&t->obeyed, __ATOMIC_SEQ_CST) == t->told);
}

/* Blocked in read() for the next command, as the kernel itself sees it? */
static inline bool task_in_read(int tid, int fd)
{
	unsigned long nr, arg0;
	char path[64], line[128];
	ssize_t len;
	int proc_fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	proc_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (proc_fd < 0)
		return false;
	len = read(proc_fd, line, sizeof(line) - 1);
	close(proc_fd);
	if (len <= 0)
		return false;
	line[len] = '\0';
	return sscanf(line, "%lu %lx", &nr, &arg0) == 2 &&
	       nr == __NR_read && arg0 == (unsigned long)fd;
}

static inline bool target_asleep(struct target *t)
{
	return wait_for(task_in_read(t->tid, t->command_fd));
}

static inline void target_stop(struct target *t)
{
	if (!t->tid)
		return;
	WRITE_ONCE(t->spinning, 0);
	close(t->told_fd);
	pthread_join(t->thread, NULL);
	close(t->command_fd);
	t->tid = 0;
	if (t->apart)
		sched_setaffinity(0, sizeof(t->before), &t->before);
}

/*
 * As target_start(), and until target_stop() it has a CPU that the caller stays away
 * from: for a thread that is going to wait for the caller where nothing else can run.
 */
static inline int target_start_apart(struct target *t)
{
	int cpu = nth_cpu(0), other_cpu = nth_cpu(1);
	int err = target_start(t);

	if (err)
		return err;
	t->apart = !sched_getaffinity(0, sizeof(t->before), &t->before);
	err = pin_to_cpu(t->thread, other_cpu) ?: pin_to_cpu(pthread_self(), cpu);
	if (err)
		target_stop(t);
	return err;
}

/*
 * A page that is not there until missing_page_fill(): whoever touches it
 * sleeps until then, and in a place that may not sleep the access fails.
 */
struct missing_page {
	int fd;
	size_t size;
	void *addr;
};

static inline void missing_page_close(struct missing_page *p)
{
	if (p->fd < 0)
		return;
	close(p->fd);
	munmap(p->addr, p->size);
	p->fd = -1;
}

static inline int missing_page_open(struct missing_page *p)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int err;

	p->fd = -1;
	p->size = getpagesize();
	p->addr = mmap(NULL, p->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->addr == MAP_FAILED)
		return -errno;
	p->fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	reg.range.start = (unsigned long)p->addr;
	reg.range.len = p->size;
	if (p->fd < 0 || ioctl(p->fd, UFFDIO_API, &api) ||
	    ioctl(p->fd, UFFDIO_REGISTER, &reg)) {
		err = -errno;
		munmap(p->addr, p->size);
		close(p->fd);
		p->fd = -1;
		return err;
	}
	return 0;
}

static inline bool have_missing_pages(const char *who)
{
	struct missing_page page;
	int err = missing_page_open(&page);

	missing_page_close(&page);
	return have_or_skip(err != -ENOSYS && err != -EPERM && err != -EACCES, who,
			    "CONFIG_USERFAULTFD, and faults of the kernel to be allowed there");
}

/* A task sleeps in a fault on the page. */
static inline bool missing_page_faulted(struct missing_page *p)
{
	struct uffd_msg msg = {};

	return wait_for(read(p->fd, &msg, sizeof(msg)) == sizeof(msg)) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

static inline int missing_page_fill(struct missing_page *p, const char *text)
{
	char page[p->size];
	struct uffdio_copy copy = {
		.dst = (unsigned long)p->addr,
		.src = (unsigned long)page,
		.len = p->size,
	};

	memset(page, 0, p->size);
	memcpy(page, text, strlen(text));
	return ioctl(p->fd, UFFDIO_COPY, &copy) ? -errno : 0;
}

static inline int missing_page_drop(struct missing_page *p)
{
	return madvise(p->addr, p->size, MADV_DONTNEED) ? -errno : 0;
}

/* A thread that sleeps in a fault of the program it runs, or of that one's callback. */
struct sleeper {
	struct missing_page page;
	struct target thread;
};

static inline bool sleeper_open(struct sleeper *s, const char *who)
{
	memset(s, 0, sizeof(*s));
	s->page.fd = -1;
	return have_missing_pages(who) &&
	       ASSERT_OK(missing_page_open(&s->page), "page") &&
	       ASSERT_OK(target_start(&s->thread), "thread that is to sleep");
}

/* The program knows the address of the page. */
static inline bool sleeper_run(struct sleeper *s, const struct bpf_program *prog)
{
	s->thread.prog_fd = bpf_program__fd(prog);
	return ASSERT_OK(target_tell(&s->thread, TARGET_RUN), "run") &&
	       ASSERT_TRUE(missing_page_faulted(&s->page), "asleep");
}

static inline void sleeper_wake(struct sleeper *s)
{
	ASSERT_OK(missing_page_fill(&s->page, ""), "fill page");
	ASSERT_TRUE(target_obeyed(&s->thread), "awake and done");
	ASSERT_OK(s->thread.prog_ret, "program of the sleeper");
}

/* Without the page it wakes, too. */
static inline void sleeper_close(struct sleeper *s)
{
	missing_page_close(&s->page);
	target_stop(&s->thread);
}

/* The id of an element is in its key; its value begins with a multiple of this. */
#define ELEM_COOKIE 1000003ULL

static inline void elem_key(__u32 id, struct task_work_key *key)
{
	*key = (struct task_work_key){ id, 2 * id, ~id };
}

static inline int elem_update(int map_fd, __u32 id)
{
	struct task_work_elem value = { .cookie = id * ELEM_COOKIE };
	struct task_work_key key;

	/* The field itself is the kernel's: what is given here is ignored. */
	memset(&value.tw, 0xff, sizeof(value.tw));
	elem_key(id, &key);
	return bpf_map_update_elem(map_fd, &key, &value, BPF_ANY);
}

static inline int elem_lookup(int map_fd, __u32 id, struct task_work_elem *value)
{
	struct task_work_key key;

	elem_key(id, &key);
	return bpf_map_lookup_elem(map_fd, &key, value);
}

static inline int elem_delete(int map_fd, __u32 id)
{
	struct task_work_key key;

	elem_key(id, &key);
	return bpf_map_delete_elem(map_fd, &key);
}

static inline __u32 map_id(int map_fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_map_get_info_by_fd(map_fd, &info, &len) ? 0 : info.id;
}

/* The last file descriptor of the map becomes one of something else. */
static inline int drop_user_reference(int map_fd)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0 || dup2(fd, map_fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* How often the program did not run, as it was running on that CPU already. */
static inline __u64 misses(struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	/* To know of none is strict. */
	if (bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		return 0;
	return info.recursion_misses;
}

static inline __u32 prog_id(int prog_fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_prog_get_info_by_fd(prog_fd, &info, &len) ? 0 : info.id;
}

static inline bool id_is_gone(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd == -ENOENT;
}

/* The last reference is dropped some time after what held it let go. */
static inline bool prog_is_gone(__u32 id)
{
	return wait_for(id_is_gone(bpf_prog_get_fd_by_id(id)));
}

static inline bool map_is_gone(__u32 id)
{
	return wait_for(id_is_gone(bpf_map_get_fd_by_id(id)));
}

/* KASAN keeps what is freed, and it counts as in use, until its cache is asked to shrink. */
static inline void shrink_context_caches(void)
{
	glob_t caches;
	size_t i;

	if (glob("/sys/kernel/slab/kmalloc-*96/shrink", 0, NULL, &caches))
		return;
	for (i = 0; i < caches.gl_pathc; i++)
		write_sysctl(caches.gl_pathv[i], "1");
	globfree(&caches);
}

/* Objects in use of the size that contexts have, whoever uses them, or an error. */
static inline long context_objects(void)
{
	FILE *f = fopen("/proc/slabinfo", "r");
	char line[512], name[64];
	long active, total = 0;

	if (!f)
		return -errno;
	shrink_context_caches();
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", name, &active) == 2 &&
		    !strncmp(name, "kmalloc-", 8) && !strcmp(strrchr(name, '-'), "-96"))
			total += active;
	fclose(f);
	return total;
}

#endif
