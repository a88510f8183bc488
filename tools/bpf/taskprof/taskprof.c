// SPDX-License-Identifier: GPL-2.0
/*
 * taskprof: a sampling profiler that completes its samples with BPF task work
 *
 * The sample is taken in an NMI or an interrupt, where user memory can't be
 * waited for. A callback reads the user stack and the build IDs before the
 * thread returns to user mode. See README.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "prof.h"
#include "taskprof.skel.h"

#define POLL_MS		100
#define BATCH		1024	/* records that are read at one time */
#define MAX_FREQ	100000
#define MAX_SECONDS	1000000
#define MAX_RING_KB	(1024 * 1024)
/* How long callbacks that wait for a page may take at the end, in rounds of POLL_MS. */
#define LAST_ROUNDS	20

struct options opt = {
	.freq = 99,
	.ring_kb = 4096,
};

static struct taskprof_bpf *skel;
static struct ring_buffer *ring;
static pid_t command;
static FILE *out;

static void print_usage(FILE *to)
{
	fputs("usage: taskprof [options] {-a | -p PID | [-a] [--] COMMAND [ARG]...}\n"
	      "  -a, --all            all CPUs\n"
	      "  -p, --pid PID        a process, its threads and the children it makes\n"
	      "  -F, --freq HERTZ     samples a second (99)\n"
	      "  -d, --duration SECS  stop after so long, and end COMMAND by SIGTERM; else Ctrl-C,\n"
	      "                       or the end of the process\n"
	      "  -o, --output FILE    instead of standard output\n"
	      "      --folded         a line for each stack, for flame graphs (default)\n"
	      "      --json           stacks and counters as JSON\n"
	      "      --call-graph fp|dwarf[,BYTES]  callers by frame pointers (fp), or by unwind tables\n"
	      "                       and a copy of so many bytes of the stack (8192; for -O2 code)\n"
	      "      --debuginfod     ask the servers in DEBUGINFOD_URLS for names; this may take long\n"
	      "      --compare        also try all at the sample, and count what is lost there\n"
	      "      --nmi            sample at NMIs from sysrq instead of perf events: for machines\n"
	      "                       without a PMU; all CPUs but one, a backtrace in the log for each\n"
	      "  -m, --ring KBYTES    size of the ring buffer, a power of two (4096)\n"
	      "  -v, --verbose        all counters, and what goes wrong on the way\n", to);
}

static unsigned int to_number(const char *option, unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(optarg, &end, 10);
	if (*end || end == optarg || errno || *optarg == '-' || !value || value > max)
		errx(2, "%s %s: not from 1 to %lu", option, optarg, max);
	return value;
}

#define STACK_SIZE	8192

static void parse_call_graph(const char *mode)
{
	opt.stack_size = 0;
	if (!strcmp(mode, "fp"))
		return;
	if (!can_unwind)
		errx(2, "--call-graph %s: fp is all there is on this architecture", mode);
	opt.stack_size = STACK_SIZE;
	if (!strncmp(mode, "dwarf,", 6)) {
		optarg += 6;
		opt.stack_size = (to_number("--call-graph dwarf,", MAX_STACK) + 7) & ~7U;
	} else if (strcmp(mode, "dwarf")) {
		errx(2, "--call-graph %s: there is fp, dwarf, and dwarf,BYTES", mode);
	}
}

static void parse_option(int c)
{
	switch (c) {
	case 'g':
		parse_call_graph(optarg);
		break;
	case 'p':
		opt.pid = to_number("-p", INT32_MAX);
		break;
	case 'F':
		opt.freq = to_number("-F", MAX_FREQ);
		break;
	case 'd':
		opt.seconds = to_number("-d", MAX_SECONDS);
		break;
	case 'm':
		opt.ring_kb = to_number("-m", MAX_RING_KB);
		break;
	case 'o':
		opt.output = optarg;
		break;
	case 'a':
		opt.all = 1;
		break;
	case 'v':
		opt.verbose = 1;
		break;
	case 'h':
		print_usage(stdout);
		exit(0);
	case '?':
		print_usage(stderr);
		exit(2);
	}
}

static const struct option options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "pid", required_argument, NULL, 'p' },
	{ "freq", required_argument, NULL, 'F' },
	{ "duration", required_argument, NULL, 'd' },
	{ "output", required_argument, NULL, 'o' },
	{ "ring", required_argument, NULL, 'm' },
	{ "folded", no_argument, &opt.json, 0 },
	{ "json", no_argument, &opt.json, 1 },
	{ "call-graph", required_argument, NULL, 'g' },
	{ "debuginfod", no_argument, &opt.debuginfod, 1 },
	{ "compare", no_argument, &opt.compare, 1 },
	{ "nmi", no_argument, &opt.nmi, 1 },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{}
};

static void parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "+ap:F:d:o:m:vh", options, NULL)) != -1)
		parse_option(c);
	if (optind < argc)
		opt.command = argv + optind;
	opt.all |= opt.nmi;
	if (!opt.pid && !opt.all && !opt.command) {
		print_usage(stderr);
		exit(2);
	}
	if (opt.pid && (opt.all || opt.command))
		errx(2, "-p PID goes neither with a command nor with all CPUs (-a, --nmi)");
	if (opt.ring_kb & (opt.ring_kb - 1) || opt.ring_kb < getpagesize() / 1024)
		errx(2, "-m %u: not a power of two, or less than a page", opt.ring_kb);
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (!opt.verbose || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, format, args);
}

/* The version of a kernel does not tell: the feature is carried to older ones. */
static void need_task_work(const struct btf *btf)
{
	if (btf__find_by_name_kind(btf, "bpf_task_work_schedule_resume", BTF_KIND_FUNC) < 0 &&
	    btf__find_by_name_kind(btf, "bpf_task_work_schedule_resume_impl", BTF_KIND_FUNC) < 0)
		errx(1, "%s, and 6.12 with the task work series",
		     "this kernel has no BPF task work: Linux 6.18 and later have it");
}

/* Linux 6.10 and later have the tracepoint. */
static bool can_complete_in_exec(const struct btf *btf)
{
	return btf__find_by_name_kind(btf, "btf_trace_sched_prepare_exec", BTF_KIND_TYPEDEF) > 0;
}

/* By what this kernel has, and what is asked for. */
static void choose_programs(void)
{
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		err(1, "this kernel does not tell its types (CONFIG_DEBUG_INFO_BTF)");
	need_task_work(btf);
	bpf_program__set_autoload(skel->progs.on_nmi, opt.nmi);
	bpf_program__set_autoload(skel->progs.on_event, !opt.nmi);
	skel->rodata->all_tasks = opt.all || opt.nmi;
	skel->rodata->sees_exec = can_complete_in_exec(btf);
	bpf_program__set_autoload(skel->progs.on_exec, skel->rodata->sees_exec);
	bpf_program__set_autoload(skel->progs.on_exit, !opt.stack_size &&
				  btf__find_by_name_kind(btf, "exit_signals", BTF_KIND_FUNC) > 0);
	btf__free(btf);
}

static void explain_load(void)
{
	if (errno == EPERM)
		errx(1, "no permission for BPF programs: needs root, or CAP_BPF and CAP_PERFMON");
	err(1, "cannot load the BPF program (-v says more)");
}

/* /proc may be that of a namespace further out: how many levels. NSpid begins with ours there. */
static unsigned int proc_distance(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[512], *at = NULL;
	unsigned int nr = 0;

	while (status && !at && fgets(line, sizeof(line), status))
		if (!strncmp(line, "NSpid:", 6))
			at = line + 6;
	for (; at && *at; at++)
		nr += *at == '\t';
	if (status)
		fclose(status);
	return nr ? nr - 1 : 0;
}

/* Processes are to be called what they are called in /proc. */
static void find_proc(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);

	skel->bss->proc_distance = proc_distance();
	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.find_proc), &run))
		err(1, "cannot find out which namespace /proc has");
}

static void load_program(void)
{
	libbpf_set_print(print_libbpf);
	skel = taskprof_bpf__open();
	if (!skel)
		err(1, "cannot open the BPF program");
	skel->rodata->compare = opt.compare;
	skel->rodata->stack_size = opt.stack_size;
	skel->rodata->page_shift = __builtin_ctz(getpagesize());
	skel->rodata->wakeup_size = opt.ring_kb * 1024 / 4;
	choose_programs();
	if (bpf_map__set_max_entries(skel->maps.ring, opt.ring_kb * 1024))
		err(1, "cannot size the ring buffer");
	if (!opt.stack_size) {
		bpf_map__set_max_entries(skel->maps.copies, 1);
		bpf_map__set_max_entries(skel->maps.area_sets, 1);
		bpf_map__set_max_entries(skel->maps.processes, 1);
	}
	if (taskprof_bpf__load(skel))
		explain_load();
	find_proc();
	ring = ring_buffer__new(bpf_map__fd(skel->maps.ring), add_record, NULL, NULL);
	if (!ring)
		err(1, "cannot map the ring buffer");
}

/* Even what comes early ends with a report. If SIGHUP is ignored (nohup), it stays so. */
static int signals_fd(void)
{
	struct sigaction hangup;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		err(1, "signalfd");
	return fd;
}

/* A second Ctrl-C ends the report, too; not SIGHUP, as a terminal may send that twice. */
static void let_signals_end(int signals)
{
	struct signalfd_siginfo info;
	sigset_t set;

	while (read(signals, &info, sizeof(info)) > 0)
		;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int timer_fd(unsigned int seconds)
{
	struct itimerspec after = { .it_value.tv_sec = seconds };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &after, NULL))
		err(1, "timerfd");
	return fd;
}

/* Readable when the process has ended. */
static int process_fd(pid_t pid)
{
	int fd = pid ? syscall(SYS_pidfd_open, pid, 0) : -1;

	if (!pid || fd >= 0)
		return fd;
	if (errno == ESRCH)
		errx(1, "there is no process %d", pid);
	if (!kill(pid, 0))
		errx(1, "%d is a thread, not a process", pid);
	err(1, "pidfd_open");
}

/* On a terminal each second, else now and then. */
static void progress(void)
{
	static time_t next;
	time_t period = isatty(STDERR_FILENO) ? 1 : 10;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!next)
		next = now.tv_sec + period;
	if (now.tv_sec < next)
		return;
	next = now.tv_sec + period;
	fprintf(stderr, "taskprof: %llu samples\n", (unsigned long long)skel->bss->sampled);
}

/* Until a signal, the end of the time, or that of the process: looked at between batches. */
static void gather(int signals, int process)
{
	struct pollfd fds[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = timer_fd(opt.seconds), .events = POLLIN },
		{ .fd = process, .events = POLLIN },
		{ .fd = ring_buffer__epoll_fd(ring), .events = POLLIN },
	};
	int nr = 0;

	for (;;) {
		if (poll(fds, 4, nr == BATCH ? 0 : POLL_MS) < 0 && errno != EINTR)
			err(1, "poll");
		nr = ring_buffer__consume_n(ring, BATCH);
		if (fds[0].revents || fds[1].revents || fds[2].revents)
			return;
		unwind_some();
		progress();
	}
}

/* Samples that still wait are counted now. Callbacks that run get some time to end. */
static void collect_rest(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);
	int round, prog = bpf_program__fd(skel->progs.collect);

	for (round = 0;; round++) {
		skel->bss->give_up = round >= LAST_ROUNDS;
		if (bpf_prog_test_run_opts(prog, &run))
			err(1, "cannot collect the last samples");
		ring_buffer__consume(ring);
		if (!skel->bss->in_callback)
			return;
		poll(NULL, 0, POLL_MS);
	}
}

/* A reader that has gone is told like any other failure. */
static void open_output(void)
{
	signal(SIGPIPE, SIG_IGN);
	out = opt.output ? fopen(opt.output, "we") : stdout;
	if (!out)
		err(1, "%s", opt.output);
}

static int report(void)
{
	struct result result = {
		.sampled = skel->bss->sampled,
		.sampled_in_nmi = skel->bss->sampled_in_nmi,
		.outcomes = (const uint64_t *)skel->bss->outcomes,
		.refused = (const uint64_t *)skel->bss->refused,
		.files_lost = skel->bss->files_lost,
	};

	unwind_rest();
	load_names();
	print_stacks(out, &result);
	if (fflush(out) || ferror(out) || (out != stdout && fclose(out)))
		err(1, "%s", opt.output ? opt.output : "standard output");
	return print_counters(&result) ? 0 : 1;
}

/* Its status is ours if it ended badly. If it runs still, it has to end now. */
static int end_command(void)
{
	int status;

	pid_t ended;

	if (!command)
		return 0;
	ended = waitpid(command, &status, WNOHANG);
	if (!ended)
		kill(command, SIGTERM);
	if (ended <= 0)
		return 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	int signals, process, status;

	parse_options(argc, argv);
	/* It would ask servers as soon as a file lacks names. */
	if (!opt.debuginfod)
		unsetenv("DEBUGINFOD_URLS");
	signals = signals_fd();
	process = process_fd(opt.pid);
	load_program();
	open_output();
	if (opt.command) {
		command = start_command();
		process = process_fd(command);
		if (!opt.all)
			opt.pid = command;
	}
	raise_limit();
	begin_kernel_names();
	start_sampling(skel);
	if (opt.command)
		run_command();
	gather(signals, process);
	stop_sampling();
	end_kernel_names();
	let_signals_end(signals);
	collect_rest();
	status = end_command();
	return report() ?: status;
}
