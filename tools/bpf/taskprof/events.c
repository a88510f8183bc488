// SPDX-License-Identifier: GPL-2.0
/* Where samples come from: perf events, or the kernel's own NMIs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>

#include "prof.h"
#include "taskprof.skel.h"

#define MAX_RATE	"/proc/sys/kernel/perf_event_max_sample_rate"
#define PRINTK		"/proc/sys/kernel/printk"

static struct bpf_link **links;
static unsigned int nr_links;
static int go[2] = { -1, -1 };
static int sysrq = -1;
static pthread_t nmi_thread;
static bool nmi_stop;
static int loglevel = -1;

/* It waits until the events are there. That we ignore SIGCHLD must not take its status. */
pid_t start_command(void)
{
	sigset_t none;
	pid_t pid;
	char byte;

	if (pipe2(go, O_CLOEXEC))
		err(1, "pipe");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid) {
		signal(SIGCHLD, SIG_DFL);
		return pid;
	}
	close(go[1]);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (read(go[0], &byte, 1) != 1)
		_exit(1);
	execvp(opt.command[0], opt.command);
	err(127, "%s", opt.command[0]);
}

void run_command(void)
{
	if (write(go[1], "", 1) != 1)
		err(1, "cannot start %s", opt.command[0]);
}

static void add_link(struct bpf_link *link)
{
	links = must(realloc(links, (nr_links + 1) * sizeof(*links)));
	links[nr_links++] = link;
}

static int open_event(struct perf_event_attr *attr, pid_t pid, int cpu)
{
	return syscall(SYS_perf_event_open, attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static bool has_cycles(struct perf_event_attr *attr)
{
	int fd = open_event(attr, 0, -1);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || (errno != ENOENT && errno != EOPNOTSUPP && errno != ENODEV);
}

/* The counter of the hardware, which interrupts with an NMI; else the timer of perf. */
static void choose_event(struct perf_event_attr *attr)
{
	attr->size = sizeof(*attr);
	attr->type = PERF_TYPE_HARDWARE;
	attr->config = PERF_COUNT_HW_CPU_CYCLES;
	attr->freq = 1;
	attr->sample_freq = opt.freq;
	attr->inherit = !opt.all;
	attr->disabled = 1;
	attr->exclude_hv = 1;
	if (has_cycles(attr))
		return;
	attr->type = PERF_TYPE_SOFTWARE;
	attr->config = PERF_COUNT_SW_CPU_CLOCK;
	/* Not all counters can, and the BPF program leaves idle CPUs out itself. */
	attr->exclude_idle = 1;
	if (opt.verbose)
		warnx("no hardware cycles here: sampling by cpu-clock");
}

static void explain_event(void)
{
	if (errno == EACCES || errno == EPERM)
		errx(1, "no permission for perf events: needs root, or CAP_BPF and CAP_PERFMON");
	if (errno == EINVAL)
		errx(1, "-F %u: more than the kernel allows (%s)?", opt.freq, MAX_RATE);
	err(1, "perf_event_open");
}

static void attach_event(struct taskprof_bpf *skel, struct perf_event_attr *attr, pid_t pid,
			 int cpu)
{
	int fd = open_event(attr, pid, cpu);
	struct bpf_link *link;

	if (fd < 0) {
		/* Offline, or a thread that has ended, even if it is the first of its process. */
		if ((cpu >= 0 && errno == ENODEV) || (pid > 0 && errno == ESRCH))
			return;
		explain_event();
	}
	link = bpf_program__attach_perf_event(skel->progs.on_event, fd);
	if (!link)
		err(1, "cannot attach to a perf event");
	add_link(link);
}

static pid_t *list_threads(size_t *nr)
{
	struct dirent *entry;
	pid_t *threads = NULL;
	char path[64];
	DIR *dir;

	*nr = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", opt.pid);
	dir = opendir(path);
	if (!dir)
		errx(1, "process %d has ended", opt.pid);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		threads = must(realloc(threads, (*nr + 1) * sizeof(*threads)));
		threads[(*nr)++] = atoi(entry->d_name);
	}
	closedir(dir);
	return threads;
}

/*
 * Threads and children of a thread inherit its event. Those that start meanwhile may do so
 * from one that has it already: so they are not asked for once more.
 */
static void attach_process(struct taskprof_bpf *skel, struct perf_event_attr *attr)
{
	size_t i, nr;
	pid_t *threads = list_threads(&nr);

	for (i = 0; i < nr; i++)
		attach_event(skel, attr, threads[i], -1);
	free(threads);
}

static void attach_cpus(struct taskprof_bpf *skel, struct perf_event_attr *attr)
{
	int cpu, nr = libbpf_num_possible_cpus();

	for (cpu = 0; cpu < nr; cpu++)
		attach_event(skel, attr, -1, cpu);
}

static void set_loglevel(int level)
{
	FILE *file = fopen(PRINTK, "w");

	if (file) {
		fprintf(file, "%d\n", level);
		fclose(file);
	}
}

static void restore_console(void)
{
	if (loglevel >= 0)
		set_loglevel(loglevel);
	loglevel = -1;
}

/* Each NMI prints a backtrace: that is for the log, not for the console. */
static void quiet_console(void)
{
	FILE *file = fopen(PRINTK, "r");

	if (!file)
		return;
	if (fscanf(file, "%d", &loglevel) != 1)
		loglevel = -1;
	fclose(file);
	if (loglevel >= 0 && !atexit(restore_console))
		set_loglevel(1);
}

static void *send_nmis(void *unused)
{
	struct timespec period = { .tv_nsec = 1000000000 / opt.freq % 1000000000 };

	if (opt.freq == 1)
		period.tv_sec = 1;
	while (!__atomic_load_n(&nmi_stop, __ATOMIC_RELAXED)) {
		if (write(sysrq, "l", 1) != 1) {
			warn("no further samples: /proc/sysrq-trigger");
			break;
		}
		nanosleep(&period, NULL);
	}
	return NULL;
}

/* 'l' makes all CPUs but the writer's print where they are, and asks them by an NMI. */
static void attach_nmis(struct taskprof_bpf *skel)
{
	struct bpf_link *link;

	sysrq = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (sysrq < 0)
		err(1, "--nmi: /proc/sysrq-trigger (needs root, and CONFIG_MAGIC_SYSRQ)");
	link = bpf_program__attach(skel->progs.on_nmi);
	if (!link)
		err(1, "--nmi: cannot attach to the tracepoint of NMIs (x86 and arm64 have one)");
	add_link(link);
	quiet_console();
	errno = pthread_create(&nmi_thread, NULL, send_nmis, NULL);
	if (errno)
		err(1, "cannot start a thread");
}

static void attach_events(struct taskprof_bpf *skel)
{
	unsigned int nr_before = nr_links;
	struct perf_event_attr attr = {};

	choose_event(&attr);
	if (opt.all)
		attach_cpus(skel, &attr);
	else
		attach_process(skel, &attr);
	if (nr_links > nr_before)
		return;
	if (opt.all)
		errx(1, "no CPU has the event");
	errx(1, "process %d has ended", opt.pid);
}

static void attach_exec(struct taskprof_bpf *skel)
{
	struct bpf_link *link;

	if (!bpf_program__autoload(skel->progs.on_exec))
		return;
	link = bpf_program__attach(skel->progs.on_exec);
	if (!link)
		err(1, "cannot attach to the tracepoint sched_prepare_exec");
	add_link(link);
}

/* The kernel may have no such function to attach to, or be one that has no trampolines. */
static void attach_exit(struct taskprof_bpf *skel)
{
	struct bpf_link *link;

	if (!bpf_program__autoload(skel->progs.on_exit))
		return;
	link = bpf_program__attach(skel->progs.on_exit);
	if (link)
		add_link(link);
	else if (opt.verbose)
		warn("exit_signals(): samples in exit have no user stack");
}

void start_sampling(struct taskprof_bpf *skel)
{
	attach_exec(skel);
	attach_exit(skel);
	if (opt.nmi)
		attach_nmis(skel);
	else
		attach_events(skel);
}

/*
 * In a child: it has the descriptors, too, and a link lasts as long as any of them. The
 * console is the parent's business.
 */
void leave_sampling(void)
{
	unsigned int i;

	for (i = 0; i < nr_links; i++)
		close(bpf_link__fd(links[i]));
	loglevel = -1;
}

void stop_sampling(void)
{
	if (sysrq >= 0) {
		__atomic_store_n(&nmi_stop, true, __ATOMIC_RELAXED);
		pthread_join(nmi_thread, NULL);
		restore_console();
	}
	/* First the events, and then who looks after their samples. */
	while (nr_links)
		bpf_link__destroy(links[--nr_links]);
}
