/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tools of tests about what runs later than its program, and beside it: a thread to hold
 * or to put to sleep, a page that is missing until the test fills it in, maps and
 * programs that go.
 */
#ifndef _ASYNC_HELPERS_H
#define _ASYNC_HELPERS_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <test_progs.h>
#include "progs/async_shared.h"
#include "async_machine.h"

static inline int run_syscall_prog(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err = bpf_prog_test_run_opts(prog_fd, &opts);

	return err ?: (int)opts.retval;
}

#define run(skel, name) run_syscall_prog(bpf_program__fd((skel)->progs.name))

/*
 * A thread that obeys one-byte commands and sleeps in read() between them, so
 * that work scheduled on it for its next return to user mode stays pending
 * until a command comes.
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

/* Blocked in read() for the next command? */
static inline bool task_in_read(int tid, int fd)
{
	unsigned long arg0;

	return syscall_of(tid, &arg0) == __NR_read && arg0 == (unsigned long)fd;
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
	p->fd = -1;
	p->size = getpagesize();
	p->addr = mmap(NULL, p->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->addr == MAP_FAILED)
		return -errno;
	p->fd = open_userfaults(p->addr, p->size);
	if (p->fd >= 0)
		return 0;
	munmap(p->addr, p->size);
	return p->fd;
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

/* The last user reference goes and comes back, through an id that the map keeps. */
static inline int renew_user_reference(int map_fd)
{
	__u32 id = map_id(map_fd);
	int err = drop_user_reference(map_fd), new_fd;

	if (err)
		return err;
	new_fd = bpf_map_get_fd_by_id(id);
	if (new_fd < 0 || dup2(new_fd, map_fd) < 0)
		return -errno;
	return close(new_fd);
}

/* By enum deleted_kind. */
static const char * const kind_names[] = { "hash", "hash_malloc", "lru_hash" };

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

/* A map like that one, which is in no program and in no other map. */
static inline int create_like(int map_fd, const char *name)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int fd;

	if (bpf_map_get_info_by_fd(map_fd, &info, &len))
		return -errno;
	opts.btf_fd = bpf_btf_get_fd_by_id(info.btf_id);
	opts.btf_key_type_id = info.btf_key_type_id;
	opts.btf_value_type_id = info.btf_value_type_id;
	fd = bpf_map_create(info.type, name, info.key_size, info.value_size, info.max_entries,
			    &opts);
	close(opts.btf_fd);
	return fd;
}

/*
 * Maps that nobody uses come and go: a map that waits for nobody has gone by then. The
 * counter is that of progs/async_map_free.h.
 */
static inline void free_other_maps(int *freed)
{
	int i, fd;

	for (i = 1; i <= 3; i++) {
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, OTHER_NAME, 4, 8, 1, NULL);
		if (!ASSERT_OK_FD(fd, "create another map"))
			return;
		close(fd);
		kern_sync_rcu();
		ASSERT_TRUE(wait_for(READ_ONCE(*freed) == i), "it is freed");
	}
}

/* By then what waits for RCU alone is over, unless it has to wait for somebody else. */
static inline void wait_for_rcu(void)
{
	kern_sync_rcu();
	kern_sync_rcu();
}

static inline bool has_symbol(const char *func)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[512], end[64];
	bool found = false;

	if (!f)
		return false;
	snprintf(end, sizeof(end), "_%s\t[bpf]", func);
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, end);
	fclose(f);
	return found;
}

/* A look reads all symbols: these are enough. */
static inline bool symbol_goes(const char *func)
{
	int looks = 500;

	while (has_symbol(func))
		if (!--looks)
			return false;
	return true;
}

#endif
