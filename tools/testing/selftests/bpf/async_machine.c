// SPDX-License-Identifier: GPL-2.0
/* What the task work tests ask of the machine: see async_machine.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include "async_machine.h"

static long seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

struct patience new_patience(void)
{
	const char *looks = getenv("TASK_WORK_MAX_LOOKS");

	return (struct patience){
		.looks = looks ? atoi(looks) : 20000000,
		.until = seconds_now() + (looks ? 8 : 30),
	};
}

/* Few looks look at the clock, too. */
bool patience_ends(struct patience *p)
{
	return p->looks-- <= 0 && p->looks % 1024 == 0 && seconds_now() >= p->until;
}

int nth_cpu(int n)
{
	cpu_set_t set;
	int cpu;

	if (sched_getaffinity(0, sizeof(set), &set))
		return -1;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && !n--)
			return cpu;
	return -1;
}

/* The reason is printed at once: the log of a test that does not fail is not shown. */
bool have_or_skip(bool have, const char *who, const char *what)
{
	if (!have) {
		fprintf(env.stdout_saved, "%s:SKIP:needs %s\n", who, what);
		test__skip();
	}
	return have;
}

bool have_two_cpus(const char *who)
{
	return have_or_skip(nth_cpu(1) >= 0, who, "a second CPU");
}

static bool file_has(const char *path, const char *word)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[4096] = "";

	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strstr(text, word);
}

/* To be attached is not enough: the kernel calls what is in its list. */
bool bpf_lsm_works(void)
{
	return file_has("/sys/kernel/security/lsm", "bpf") &&
	       libbpf_find_vmlinux_btf_id("bpf_lsm_task_alloc", BPF_TRACE_FENTRY) >= 0;
}

bool have_bpf_lsm(const char *who)
{
	return have_or_skip(bpf_lsm_works(), who,
			    "CONFIG_BPF_LSM and bpf in the list of LSMs, as securityfs shows it");
}

/* 6.12 has no timers there, and allocates a workqueue under a raw lock. */
bool is_preempt_rt(void)
{
	struct utsname name;

	return !uname(&name) && strstr(name.version, "PREEMPT_RT");
}

bool have_async(const char *who)
{
	return have_or_skip(!is_preempt_rt(), who,
			    "bpf_timer and bpf_wq, which PREEMPT_RT does without");
}

/* Sleepable programs may trace a system call only as a function that errors are injected into. */
bool sleepable_tracing_works(void)
{
	return libbpf_find_vmlinux_btf_id("within_error_injection_list", BPF_TRACE_FENTRY) >= 0;
}

bool have_sleepable_tracing(const char *who)
{
	return have_or_skip(sleepable_tracing_works(), who, "CONFIG_FUNCTION_ERROR_INJECTION");
}

bool have_true(const char *who)
{
	return have_or_skip(!access(TRUE_PATH, X_OK), who, TRUE_PATH);
}

int pin_to_cpu(pthread_t thread, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return pthread_setaffinity_np(thread, sizeof(set), &set);
}

bool pin_self(int cpu, cpu_set_t *before)
{
	return ASSERT_OK(sched_getaffinity(0, sizeof(*before), before), "affinity") &&
	       !pin_to_cpu(pthread_self(), cpu);
}

void unpin_self(const cpu_set_t *before)
{
	ASSERT_OK(sched_setaffinity(0, sizeof(*before), before), "unpin");
}

static int open_cpu_switch(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return open(path, O_RDWR | O_CLOEXEC);
}

int set_cpu_online(int cpu, const char *online)
{
	int fd = open_cpu_switch(cpu), err = 0;

	if (fd < 0 || write(fd, online, 1) != 1)
		err = -errno;
	close(fd);
	return err;
}

int last_cpu_with_switch(int below)
{
	int cpu, fd;
	char online;

	for (cpu = below - 1; cpu >= 0; cpu--) {
		fd = open_cpu_switch(cpu);
		online = '0';
		if (fd >= 0 && read(fd, &online, 1) != 1)
			online = '0';
		close(fd);
		if (online == '1')
			break;
	}
	return cpu;
}

/* The switch may be there, and yet the machine, or who runs it, refuses. */
bool have_hotplug(const char *who)
{
	int cpu = last_cpu_with_switch(CPU_SETSIZE);
	int err = cpu < 0 ? -EOPNOTSUPP : set_cpu_online(cpu, "0");

	if (!err)
		ASSERT_OK(set_cpu_online(cpu, "1"), "bring the CPU up");
	return have_or_skip(err != -EOPNOTSUPP && err != -EBUSY && err != -EPERM, who,
			    "a CPU that can be taken down");
}

/* It may be one that a cpuset keeps this process from. */
bool have_cpu(int cpu, const char *who)
{
	cpu_set_t before;
	bool have = pin_self(cpu, &before);

	if (have)
		unpin_self(&before);
	return have_or_skip(have, who, "the last CPU in its cpuset");
}

/* Its first number is the level of the console. It takes any, where syslog() refuses some. */
#define PRINTK_LEVELS "/proc/sys/kernel/printk"

static int console_level(void)
{
	FILE *f = fopen(PRINTK_LEVELS, "r");
	int level;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &level) != 1)
		level = -1;
	fclose(f);
	return level;
}

static void set_console_level(int level)
{
	FILE *f = fopen(PRINTK_LEVELS, "w");

	if (!f)
		return;
	fprintf(f, "%d\n", level);
	fclose(f);
}

bool machine_is(const char *machine)
{
	struct utsname name;

	return !uname(&name) && !strcmp(name.machine, machine);
}

/*
 * An NMI on every other CPU: the backtrace of sysrq-l. It needs no performance
 * monitoring unit, so this is what there is on most virtual machines. The backtraces
 * are in the kernel's log; a serial console would take seconds for each.
 */
int send_nmis(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	int level = console_level(), err = 0;

	if (fd < 0)
		return -errno;
	if (level >= 0)
		set_console_level(1);
	if (write(fd, "l", 1) != 1)
		err = -errno;
	if (level >= 0)
		set_console_level(level);
	close(fd);
	return err;
}

/* A program for NMIs that does nothing but be counted. */
static int load_nmi_counter(int btf_id)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = BPF_TRACE_RAW_TP,
		    .attach_btf_id = btf_id);
	const struct bpf_insn insns[] = {
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};

	return bpf_prog_load(BPF_PROG_TYPE_TRACING, "nmi_counter", "GPL", insns,
			     ARRAY_SIZE(insns), &opts);
}

static __u64 run_count(int prog_fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_prog_get_info_by_fd(prog_fd, &info, &len) ? 0 : info.run_cnt;
}

static bool nmi_arrives(int btf_id)
{
	int stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	int prog_fd = load_nmi_counter(btf_id);
	int link_fd = bpf_raw_tracepoint_open(NULL, prog_fd);
	bool arrives = stats_fd >= 0 && link_fd >= 0 && !send_nmis() &&
		       wait_for(run_count(prog_fd));

	close(link_fd);
	close(prog_fd);
	close(stats_fd);
	return arrives;
}

/* On arm64 a backtrace is an ordinary interrupt's, unless the kernel was told to have NMIs. */
static bool backtrace_is_nmi(void)
{
	return machine_is("x86_64") ||
	       (machine_is("aarch64") && file_has("/proc/cmdline", "irqchip.gicv3_pseudo_nmi=1"));
}

/*
 * Some machines offer NMIs for other CPUs and lose them. sysrq-l waits ten seconds for
 * each of those, so find out only once in a process, whichever test asks.
 */
bool nmis_work(void)
{
	static enum { NMIS_UNKNOWN, NMIS_WORK, NMIS_LACKING } nmis;
	int btf_id;

	if (nmis == NMIS_UNKNOWN) {
		btf_id = libbpf_find_vmlinux_btf_id(machine_is("aarch64") ? "irq_handler_entry" :
						    "nmi_handler", BPF_TRACE_RAW_TP);
		nmis = get_nprocs() > 1 && !access("/proc/sysrq-trigger", W_OK) &&
		       backtrace_is_nmi() && btf_id >= 0 && nmi_arrives(btf_id) ?
		       NMIS_WORK : NMIS_LACKING;
	}
	return nmis == NMIS_WORK;
}

bool have_nmis(const char *who)
{
	return have_or_skip(nmis_work(), who,
			    "NMIs that arrive: a second CPU, CONFIG_MAGIC_SYSRQ, x86 or gicv3_pseudo_nmi=1");
}

/* Of a thread or a CPU; the other one is -1. */
static struct bpf_link *attach_event(const struct bpf_program *prog,
				     struct perf_event_attr *attr, int tid, int cpu)
{
	int fd = syscall(__NR_perf_event_open, attr, tid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	struct bpf_link *link;

	if (fd < 0)
		return NULL;
	link = bpf_program__attach_perf_event(prog, fd);
	if (!link)
		close(fd);
	return link;
}

/* A thousand times a second of the thread: in NMIs on some machines, and not at all on others. */
struct bpf_link *attach_cycles(const struct bpf_program *prog, int tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.config = PERF_COUNT_HW_CPU_CYCLES,
		.size = sizeof(attr),
		.freq = 1,
		.sample_freq = 1000,
	};

	return attach_event(prog, &attr, tid, -1);
}

/*
 * In hard interrupts, each millisecond; every machine can do that. A frequency might be
 * more than the kernel has come to allow, a period is not.
 */
struct bpf_link *attach_clock(const struct bpf_program *prog, int tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(attr),
		.sample_period = 1000000,
	};

	return attach_event(prog, &attr, tid, -1);
}

static struct perf_event_attr breakpoint_at(const void *addr)
{
	return (struct perf_event_attr){
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(struct perf_event_attr),
		.sample_period = 1,
		.bp_type = HW_BREAKPOINT_RW,
		.bp_addr = (unsigned long)addr,
		.bp_len = sizeof(long),
	};
}

/* Whenever the thread reads or writes that address in the kernel; not on arm64. */
struct bpf_link *attach_breakpoint(const struct bpf_program *prog, const void *addr, int tid)
{
	struct perf_event_attr attr = breakpoint_at(addr);

	return attach_event(prog, &attr, tid, -1);
}

struct bpf_link *attach_breakpoint_on(const struct bpf_program *prog, const void *addr, int cpu)
{
	struct perf_event_attr attr = breakpoint_at(addr);

	return attach_event(prog, &attr, -1, cpu);
}

/* Without them the kernel does not know that type of events. */
bool have_breakpoints(const char *who)
{
	static long watched;
	struct perf_event_attr attr = breakpoint_at(&watched);
	int fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	bool have = fd >= 0 || errno != ENOENT;

	close(fd);
	return have_or_skip(have, who, "CONFIG_HAVE_HW_BREAKPOINT");
}

/* Elsewhere a breakpoint is an exception like others. */
bool have_breakpoint_nmi(const char *who)
{
	return have_or_skip(machine_is("x86_64"), who, "x86, where a breakpoint is an NMI") &&
	       have_breakpoints(who);
}

/* The programs know how to read it: see progs/task_work_common.h. */
bool have_preempt_count(const char *who)
{
	return have_or_skip(machine_is("x86_64") || machine_is("aarch64") || machine_is("s390x"),
			    who, "preempt_count() for this architecture");
}

int open_userfaults(void *addr, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (unsigned long)addr, size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK), err;

	if (fd >= 0 && !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &reg))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

long syscall_of(int tid, unsigned long *arg0)
{
	char path[64], line[128];
	ssize_t len;
	long nr;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (len <= 0)
		return -1;
	line[len] = '\0';
	return sscanf(line, "%ld %lx", &nr, arg0) == 2 ? nr : -1;
}
