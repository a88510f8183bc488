// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's emulator (its interface of version 3) for x86-64: what the guest executes from the schedule of a task work to
 * the end of its callback. Arguments: out=FILE, and addresses of the kernel: from=FUNCTION, that schedules; callback=FUNCTION, that
 * task_work_run() calls; run=FIRST and run_end=BEHIND of that. FILE gets, of a window of the length that
 * most have, how many instructions these are and how many of them are atomic, and then their addresses, with an A behind the
 * atomic ones.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*translated_fn)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*executed_fn)(unsigned int cpu, void *data);
typedef void (*exit_fn)(uint64_t id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn fn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_fn fn, int flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, exit_fn fn, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);

#define PUBLIC		__attribute__((visibility("default")))
#define MAX_WINDOW	8192	/* instructions; after that it is none */

PUBLIC int qemu_plugin_version = 3;

/* One for each translated instruction; they stay. */
struct insn {
	uint64_t at;
	bool is_atomic;
};

struct window {
	unsigned int nr;
	unsigned int nr_atomic;
	const struct insn *of[MAX_WINDOW];
};

static const char *out;
static uint64_t from, callback, run, run_end;
static struct window now, usual;
static unsigned int times[MAX_WINDOW + 1];	/* that a window had this length */
static bool is_open, is_called;

static void keep_usual(void)
{
	if (++times[now.nr] > times[usual.nr])
		usual = now;
}

/* One CPU, so one window at a time. */
static void executed(unsigned int cpu, void *data)
{
	const struct insn *insn = data;

	if (insn->at == from) {
		is_open = true;
		is_called = false;
		now.nr = now.nr_atomic = 0;
	}
	if (!is_open)
		return;
	is_called |= insn->at == callback;
	if (is_called && insn->at >= run && insn->at < run_end) {
		is_open = false;
		keep_usual();
	} else if (now.nr == MAX_WINDOW) {
		is_open = false;
	} else {
		now.of[now.nr++] = insn;
		now.nr_atomic += insn->is_atomic;
	}
}

/*
 * LOCK comes before the other prefixes, as compilers write it, but for a segment's. A kernel with one CPU has put a prefix of no
 * meaning in its place (DS). XCHG with memory needs none.
 */
static bool is_atomic(const uint8_t *code)
{
	while (*code == 0x64 || *code == 0x65 || *code == 0x66)
		code++;
	if (*code == 0xf0 || (*code == 0x3e && code[1] != 0xff))
		return true;
	if ((*code & 0xf0) == 0x40)
		code++;
	return (*code == 0x86 || *code == 0x87) && code[1] < 0xc0;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct insn *known = malloc(sizeof(*known));
		uint8_t code[16] = {};

		if (!known)
			abort();
		qemu_plugin_insn_data(insn, code, sizeof(code) - 1);
		known->at = qemu_plugin_insn_vaddr(insn);
		known->is_atomic = is_atomic(code);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, 0, known);
	}
}

static void write_usual(uint64_t id, void *data)
{
	FILE *file = fopen(out, "w");
	unsigned int i;

	if (!file || !usual.nr)
		return;
	fprintf(file, "%u %u\n", usual.nr, usual.nr_atomic);
	for (i = 0; i < usual.nr; i++)
		fprintf(file, "%lx%s\n", usual.of[i]->at, usual.of[i]->is_atomic ? " A" : "");
	fclose(file);
}

static void take_argument(const char *arg)
{
	static const struct {
		const char *name;
		uint64_t *to;
	} addresses[] = {
		{ "from=", &from }, { "callback=", &callback }, { "run=", &run }, { "run_end=", &run_end },
	};
	size_t i;

	if (!strncmp(arg, "out=", 4))
		out = strdup(arg + 4);
	for (i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if (!strncmp(arg, addresses[i].name, strlen(addresses[i].name)))
			*addresses[i].to = strtoull(arg + strlen(addresses[i].name), NULL, 16);
}

struct qemu_info_t;

PUBLIC int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc; i++)
		take_argument(argv[i]);
	if (!out || !from || !callback || !run || !run_end) {
		fprintf(stderr, "trace: not all of out, from, callback, run, run_end\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, write_usual, NULL);
	return 0;
}
