// SPDX-License-Identifier: GPL-2.0
/*
 * taskstr: show what BPF task work is good for
 *
 * A profiler that takes its samples in an NMI loses the strings whose pages are
 * not in memory. taskstr samples a workload that walks over such strings, tries
 * to read each of them in the NMI, and asks for a callback that reads it again
 * before the workload returns to user mode. It counts both.
 *
 * The NMIs are real ones and need no PMU: writing 'l' to /proc/sysrq-trigger
 * sends one to every other CPU.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "taskstr.h"
#include "workload.h"
#include "taskstr.skel.h"

#define MAX_SAMPLES	1000000
/* An NMI is in vain when another task has the workload's CPU at that moment. */
#define MAX_NMIS	1000
#define PRINTK		"/proc/sys/kernel/printk"

static struct {
	const char *path;
	unsigned int nr_samples;
	bool by_signal;
	bool resident;
} opt = {
	.path = "taskstr.strings",
	.nr_samples = 512,
};

/* What the reports of the callbacks add up to. */
static struct {
	unsigned int read;
	unsigned int failed;
	unsigned int mismatched;
} callbacks;

static struct taskstr_bpf *skel;
static pid_t workload;
static int sysrq_fd;
static int own_cpu, workload_cpu;
static int loglevel = -1;
static volatile sig_atomic_t stop;

static void print_usage(FILE *out)
{
	fprintf(out,
		"usage: taskstr [-rs] [-n samples] [-f file]\n"
		"  -f file     file for the workload's strings, on a disk (default %s)\n"
		"  -n samples  strings to walk over, one sample each (default %u)\n"
		"  -r          for comparison: have the strings in memory\n"
		"  -s          use bpf_task_work_schedule_signal() instead of ..._resume()\n",
		opt.path, opt.nr_samples);
}

static void parse_options(int argc, char **argv)
{
	char *end;
	long nr;
	int c;

	while ((c = getopt(argc, argv, "f:hn:rs")) != -1) {
		switch (c) {
		case 'f':
			opt.path = optarg;
			break;
		case 'h':
			print_usage(stdout);
			exit(0);
		case 'n':
			nr = strtol(optarg, &end, 10);
			if (*end || nr < 1 || nr > MAX_SAMPLES)
				errx(2, "-n %s: not a number from 1 to %d", optarg, MAX_SAMPLES);
			opt.nr_samples = nr;
			break;
		case 'r':
			opt.resident = true;
			break;
		case 's':
			opt.by_signal = true;
			break;
		default:
			print_usage(stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		print_usage(stderr);
		exit(2);
	}
}

static void open_sysrq(void)
{
	sysrq_fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (sysrq_fd >= 0)
		return;
	if (errno == ENOENT)
		errx(1, "no /proc/sysrq-trigger to send NMIs with (CONFIG_MAGIC_SYSRQ)");
	err(1, "/proc/sysrq-trigger (taskstr must run as root)");
}

static void need_task_work(void)
{
	const char *name = opt.by_signal ? "bpf_task_work_schedule_signal" :
					   "bpf_task_work_schedule_resume";
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		err(1, "cannot read the types of the kernel (CONFIG_DEBUG_INFO_BTF)");
	if (btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) < 0)
		errx(1, "this kernel has no %s(): take 7.0 or 6.12 with the task work series",
		     name);
	btf__free(btf);
}

/* The NMIs go to every CPU but the writer's: the workload needs another one. */
static void choose_cpus(void)
{
	cpu_set_t cpus;
	int cpu;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		err(1, "sched_getaffinity");
	if (CPU_COUNT(&cpus) < 2)
		errx(1, "needs two CPUs: the NMIs for the workload are sent from another CPU");

	for (cpu = 0; !CPU_ISSET(cpu, &cpus); cpu++)
		;
	own_cpu = cpu;
	for (cpu++; !CPU_ISSET(cpu, &cpus); cpu++)
		;
	workload_cpu = cpu;
}

static void pin_to(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "cannot run on CPU %d", cpu);
}

static void load_program(void)
{
	skel = taskstr_bpf__open();
	if (!skel)
		err(1, "cannot open the BPF program");
	skel->rodata->by_signal = opt.by_signal;
	if (bpf_map__set_max_entries(skel->maps.slots, opt.nr_samples))
		err(1, "cannot size the BPF map");
	if (taskstr_bpf__load(skel))
		err(1, "cannot load the BPF program");
	if (taskstr_bpf__attach(skel))
		err(1, "cannot attach to the tracepoint nmi_handler (x86 has it)");
}

/* The workload shares the counters of the BPF program, which paces it. */
static int start_workload(void)
{
	int announce[2];

	if (pipe2(announce, O_CLOEXEC))
		err(1, "pipe");
	fflush(NULL);
	workload = fork();
	if (workload < 0)
		err(1, "fork");
	if (!workload) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(announce[0]);
		pin_to(workload_cpu);
		run_workload(opt.path, opt.nr_samples, announce[1], &skel->bss->finished,
			     opt.resident);
		exit(0);
	}
	close(announce[1]);
	skel->bss->next_at = (unsigned long)&next_string;
	skel->bss->workload = workload;
	return announce[0];
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
	if (loglevel < 0)
		return;
	atexit(restore_console);
	set_loglevel(1);
}

static void on_signal(int sig)
{
	stop = 1;
}

/* No SA_RESTART: a signal ends the wait for the workload. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static unsigned int samples_taken(void)
{
	return __atomic_load_n(&skel->bss->samples, __ATOMIC_ACQUIRE);
}

static void take_sample(unsigned int nr)
{
	int nmis;

	__atomic_store_n(&skel->bss->wanted, nr + 1, __ATOMIC_RELEASE);
	for (nmis = 0; samples_taken() <= nr; nmis++) {
		if (nmis == MAX_NMIS)
			errx(1, "%d NMIs in a row did not find the workload on CPU %d",
			     nmis, workload_cpu);
		if (write(sysrq_fd, "l", 1) != 1)
			err(1, "/proc/sysrq-trigger");
	}
}

static const char *outcome(int len)
{
	return len > 0 ? "read" : strerror(-len);
}

/* A few from the start, and the last. */
static void show(const struct report *report)
{
	if (report->nr >= 3 && report->nr != opt.nr_samples - 1)
		return;
	printf("sample %-5u in the NMI: %s; in the callback: %s", report->nr,
	       outcome(report->in_nmi), outcome(report->in_callback));
	if (report->in_callback > 0)
		printf(" \"%s\"", report->string);
	printf("\n");
}

static int add_report(void *ctx, void *data, size_t size)
{
	const struct report *report = data;
	char expected[STRING_LEN];

	make_string(expected, report->nr);
	if (report->in_callback <= 0)
		callbacks.failed++;
	else if (strcmp(report->string, expected))
		callbacks.mismatched++;
	else
		callbacks.read++;
	show(report);
	return 0;
}

static void progress(unsigned int nr)
{
	if (nr && nr % 64 == 0)
		fprintf(stderr, "taskstr: %u of %u samples\n", nr, opt.nr_samples);
}

/*
 * The workload announces a string only when it is through with the one before.
 * So a byte from it means that all earlier samples are finished, and the end
 * of file, that all are.
 */
static void sample(int announced)
{
	struct ring_buffer *ring;
	unsigned int nr;
	char byte;

	ring = ring_buffer__new(bpf_map__fd(skel->maps.reports), add_report, NULL, NULL);
	if (!ring)
		err(1, "cannot map the ring buffer");

	for (nr = 0; read(announced, &byte, 1) == 1 && !stop; nr++) {
		ring_buffer__consume(ring);
		progress(nr);
		take_sample(nr);
	}
	ring_buffer__consume(ring);
	ring_buffer__free(ring);
}

/* Interrupted, the workload still waits for a sample: it has to be killed. */
static bool end_workload(void)
{
	int status;

	if (stop)
		kill(workload, SIGKILL);
	if (waitpid(workload, &status, 0) < 0)
		err(1, "waitpid");
	if (!stop && WIFSIGNALED(status))
		warnx("the workload was killed by signal %d", WTERMSIG(status));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static unsigned int sum_drops(void)
{
	unsigned int cause, sum = 0;

	for (cause = 0; cause < NR_CAUSES; cause++)
		sum += skel->bss->dropped[cause];
	return sum;
}

static void print_drops(void)
{
	unsigned int cause, nr;

	printf("dropped               %u\n", sum_drops());
	for (cause = 0; cause < NR_CAUSES; cause++) {
		nr = skel->bss->dropped[cause];
		if (nr)
			printf("  %-19s %u\n", strerror(cause), nr);
	}
}

/* Each sample was answered by a callback or dropped, or else it is unaccounted for. */
static void print_result(void)
{
	unsigned int samples = samples_taken();
	unsigned int answered = callbacks.read + callbacks.failed + callbacks.mismatched;

	printf("samples               %u\n", samples);
	printf("read in the NMI       %u, failed %u\n", skel->bss->read_in_nmi,
	       samples - skel->bss->read_in_nmi);
	printf("read by the callback  %u, failed %u, another string %u\n",
	       callbacks.read, callbacks.failed, callbacks.mismatched);
	print_drops();
	printf("unaccounted for       %u\n", samples - answered - sum_drops());
	printf("NMI read %u of %u, callback read %u of %u\n",
	       skel->bss->read_in_nmi, samples, callbacks.read, samples);
}

int main(int argc, char **argv)
{
	bool workload_ok, complete;
	int announced;

	parse_options(argc, argv);
	open_sysrq();
	need_task_work();
	choose_cpus();
	load_program();
	announced = start_workload();
	pin_to(own_cpu);
	catch_signals();
	quiet_console();

	sample(announced);
	workload_ok = end_workload();
	complete = callbacks.read == opt.nr_samples;
	/* When the workload could not even begin, it has said why. */
	if (workload_ok || samples_taken())
		print_result();
	taskstr_bpf__destroy(skel);
	return workload_ok && complete ? 0 : 1;
}
