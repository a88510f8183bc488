// SPDX-License-Identifier: GPL-2.0
/* Print the stacks, folded or as JSON, and the counters. */
#define _GNU_SOURCE
#include <err.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "json_writer.h"
#include "prof.h"

/* Stacks that differ in addresses only have the same names. Each text is there once. */
struct line {
	uint64_t cgroup;	/* 0 in folded stacks: they do not tell */
	uint64_t count;
	uint32_t nr;
	const char *names[];	/* thread, outermost, ..., innermost */
};

static void *lines;
static void *texts;

static const char *const outcome_names[NR_OUTCOMES] = {
	[DONE_BY_CALLBACK]	= "completed by the callback",
	[DONE_KERNEL_THREAD]	= "completed at once: kernel thread",
	[DONE_IN_EXEC]		= "completed in execve()",
	[DONE_IN_EXIT]		= "completed in exit",
	[DROP_EXITING]		= "task was exiting",
	[DROP_GONE]		= "task gone before the callback",
	[DROP_EXEC]		= "stack replaced by execve",
	[DROP_IN_KERNEL]	= "task still in the kernel at the end",
	[DROP_UNFINISHED]	= "callback not through at the end",
	[DROP_NO_SLOT]		= "too many samples waiting",
	[DROP_REFUSED]		= "refused by the kernel",
	[DROP_RING_FULL]	= "ring buffer full (-m)",
	[DROP_RING_BUSY]	= "ring buffer busy",
};

static const char *const loss_names[NR_LOSSES] = {
	[LOST_STACK_PAGE]	= "user stack: page not resident",
	[LOST_BUILD_ID_PAGE]	= "build ID: page not resident",
	[LOST_BUILD_ID_LOCK]	= "build ID: lock taken",
	[LOST_TASK_GONE]	= "names: task gone",
	[LOST_NO_POINTER]	= "user stack: frame pointer was none",
};

static const char *const lost_copy_names[NR_LOST_COPIES] = {
	[LOST_NO_BUFFER]	= "callers lost: no buffer",
	[LOST_AREAS]		= "callers lost: code not listed",
	[LOST_UNREADABLE]	= "callers lost: stack unreadable",
	[LOST_NO_ROOM]		= "callers lost: ring buffer full",
	[LOST_FORGOTTEN]	= "callers lost: too many processes",
	[LOST_BEHIND]		= "callers lost: unwinder too slow",
	[LOST_UNWINDER]		= "callers lost: unwinder failed",
	[LOST_NO_TABLES]	= "callers lost: no unwind tables",
	[LOST_NOT_COPIED]	= "callers lost: not in the copy",
};

static const char unread_name[] = "files without names: unreadable";
static const char files_lost_name[] = "files unknown: no room";

/* How long the UTF-8 character is at @text; 0 if it is malformed, or to control something. */
static int length_of(const char *text)
{
	static const uint32_t first[] = { ' ', 0xa0, 0x800, 0x10000 };
	const unsigned char *byte = (const unsigned char *)text;
	int i, more = (*byte >= 0xc0) + (*byte >= 0xe0) + (*byte >= 0xf0);
	uint32_t c = more ? *byte & (0x3f >> more) : *byte;

	if (*byte >= 0xf8)
		return 0;
	for (i = 1; i <= more; i++) {
		if ((byte[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (byte[i] & 0x3f);
	}
	if (c < first[more] || (!more && c > '~') || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return 0;
	return more + 1;
}

/* Whoever made a file or a thread chose its name. */
static void print_name(FILE *out, const char *name)
{
	int len;

	for (; *name; name += len ?: 1) {
		len = length_of(name);
		fwrite(len ? name : "?", len ?: 1, 1, out);
	}
}

static bool is_nmi_entry(const char *name)
{
	return !strcmp(name, "asm_exc_nmi") || !strcmp(name, "end_repeat_nmi") ||
	       !strcmp(name, "first_nmi") || !strcmp(name, "repeat_nmi") ||
	       !strcmp(name, "el1h_64_irq") || !strcmp(name, "el0t_64_irq");
}

/*
 * An event tells where it struck. A function of the NMI is called on top of that. Its entry
 * may have several names; further out, it may be that of an interrupt.
 */
static uint32_t nmi_frames(const uint64_t *kernel, uint32_t nr)
{
	uint32_t i, skip = 0;

	for (i = 0; opt.nmi && i < nr; i++) {
		if (is_nmi_entry(kernel_name(kernel[i])))
			skip = i + 1;
		else if (skip)
			break;
	}
	return skip;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

static const char *keep(const char *name, const char *suffix)
{
	char *text, **known;
	size_t len;
	FILE *out = must(open_memstream(&text, &len));

	print_name(out, name);
	fputs(suffix, out);
	if (fclose(out))
		err(1, "out of memory");
	known = must(tsearch(text, &texts, compare_texts));
	if (*known != text)
		free(text);
	return *known;
}

static struct line *line_of(const struct stack *stack)
{
	const uint64_t *kernel = stack->frames, *user = kernel + stack->nr_kernel;
	uint32_t i, skip = nmi_frames(kernel, stack->nr_kernel), nr = 0;
	struct line *line = must(calloc(1, sizeof(*line) + sizeof(line->names[0]) *
					   (1 + stack->nr_user + stack->nr_kernel)));

	line->names[nr++] = keep(stack->comm, "");
	for (i = stack->nr_user; i-- > 0;)
		line->names[nr++] = keep(user_name(user[i], i > 0), "");
	for (i = stack->nr_kernel; i-- > skip;)
		line->names[nr++] = keep(kernel_name(kernel[i] - (i > skip)), "_[k]");
	line->nr = nr;
	line->cgroup = opt.json ? stack->cgroup : 0;
	return line;
}

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	uint32_t i;

	for (i = 0; i < x->nr && i < y->nr; i++)
		if (x->names[i] != y->names[i])
			return strcmp(x->names[i], y->names[i]);
	if (x->nr != y->nr)
		return x->nr < y->nr ? -1 : 1;
	return x->cgroup < y->cgroup ? -1 : x->cgroup > y->cgroup;
}

static void add_line(const struct stack *stack)
{
	struct line *line = line_of(stack);
	struct line **known = must(tsearch(line, &lines, compare_lines));

	(*known)->count += stack->count;
	if (*known != line)
		free(line);
}

static FILE *folded_out;

/* The format's separator can't be in a name. */
static void print_folded(const void *node, VISIT which, int depth)
{
	const struct line *line = *(const struct line *const *)node;
	const char *c;
	uint32_t i;

	if (which != postorder && which != leaf)
		return;
	for (i = 0; i < line->nr; i++) {
		if (i)
			fputc(';', folded_out);
		for (c = line->names[i]; *c; c++)
			fputc(*c == ';' ? ':' : *c, folded_out);
	}
	fprintf(folded_out, " %llu\n", (unsigned long long)line->count);
}

static json_writer_t *json;

static void print_json_frames(const struct line *line)
{
	uint32_t i;

	jsonw_string_field(json, "thread", line->names[0]);
	jsonw_name(json, "frames");
	jsonw_start_array(json);
	for (i = 1; i < line->nr; i++)
		jsonw_string(json, line->names[i]);
	jsonw_end_array(json);
}

static void print_json_path(const char *path)
{
	char *text;
	size_t len;
	FILE *out = must(open_memstream(&text, &len));

	print_name(out, path);
	fclose(out);
	jsonw_string_field(json, "cgroup", text);
	free(text);
}

static void print_json(const void *node, VISIT which, int depth)
{
	const struct line *line = *(const struct line *const *)node;
	const char *path;

	if (which != postorder && which != leaf)
		return;
	path = cgroup_path(line->cgroup);
	jsonw_start_object(json);
	jsonw_lluint_field(json, "count", line->count);
	jsonw_lluint_field(json, "cgroup_id", line->cgroup);
	if (path)
		print_json_path(path);
	print_json_frames(line);
	jsonw_end_object(json);
}

static void print_json_refused(const struct result *result)
{
	unsigned int i;

	jsonw_name(json, "refused");
	jsonw_start_object(json);
	for (i = 0; i < NR_ERRORS; i++)
		if (result->refused[i])
			jsonw_lluint_field(json, strerror(i), result->refused[i]);
	jsonw_end_object(json);
}

static void print_json_comparison(void)
{
	int i;

	jsonw_name(json, "lost at the sample");
	jsonw_start_object(json);
	for (i = 0; i < NR_LOSSES; i++) {
		jsonw_name(json, loss_names[i]);
		jsonw_start_object(json);
		jsonw_lluint_field(json, "lost", profile.lost[i]);
		jsonw_lluint_field(json, "recovered", profile.recovered[i]);
		jsonw_end_object(json);
	}
	jsonw_end_object(json);
}

static void print_json_counters(const struct result *result)
{
	int i;

	jsonw_name(json, "counters");
	jsonw_start_object(json);
	jsonw_lluint_field(json, "sampled", result->sampled);
	jsonw_lluint_field(json, "sampled in an NMI", result->sampled_in_nmi);
	for (i = 0; i < NR_OUTCOMES; i++)
		jsonw_lluint_field(json, outcome_names[i], result->outcomes[i]);
	jsonw_lluint_field(json, files_lost_name, result->files_lost);
	jsonw_lluint_field(json, unread_name, profile.files_unread);
	for (i = NOT_LOST + 1; opt.stack_size && i < NR_LOST_COPIES; i++)
		jsonw_lluint_field(json, lost_copy_names[i], profile.lost_copies[i]);
	jsonw_end_object(json);
}

static void print_all_json(FILE *out, const struct result *result)
{
	json = must(jsonw_new(out));
	jsonw_pretty(json, true);
	jsonw_start_object(json);
	print_json_counters(result);
	print_json_refused(result);
	if (opt.compare)
		print_json_comparison();
	jsonw_name(json, "stacks");
	jsonw_start_array(json);
	twalk(lines, print_json);
	jsonw_end_array(json);
	jsonw_end_object(json);
	jsonw_destroy(&json);
}

void print_stacks(FILE *out, const struct result *result)
{
	walk_stacks(add_line);
	if (opt.json) {
		print_all_json(out, result);
		return;
	}
	folded_out = out;
	twalk(lines, print_folded);
}

static void print_count(const char *what, uint64_t nr)
{
	fprintf(stderr, "  %-35s %10llu\n", what, (unsigned long long)nr);
}

static void print_outcomes(const struct result *result, int from, int to)
{
	int i;

	for (i = from; i < to; i++)
		if (result->outcomes[i] || opt.verbose)
			print_count(outcome_names[i], result->outcomes[i]);
}

static uint64_t sum(const uint64_t *counts, int from, int to)
{
	uint64_t total = 0;

	while (from < to)
		total += counts[from++];
	return total;
}

static void print_refused(const struct result *result)
{
	unsigned int i;

	for (i = 0; i < NR_ERRORS; i++)
		if (result->refused[i])
			fprintf(stderr, "    %-33s %10llu\n", strerror(i),
				(unsigned long long)result->refused[i]);
}

static void print_comparison(const struct result *result)
{
	const char *where = result->sampled_in_nmi ? "in the NMI" : "in the interrupt";
	int i;

	fprintf(stderr, "Samples that lost something %s, and what the callback had:\n", where);
	fprintf(stderr, "  %-35s %10s %10s\n", "", "lost", "recovered");
	for (i = 0; i < NR_LOSSES; i++)
		fprintf(stderr, "  %-35s %10llu %10llu\n", loss_names[i],
			(unsigned long long)profile.lost[i],
			(unsigned long long)profile.recovered[i]);
}

static void print_lost_copies(void)
{
	int i;

	for (i = NOT_LOST + 1; opt.stack_size && i < NR_LOST_COPIES; i++)
		if (profile.lost_copies[i] || opt.verbose)
			print_count(lost_copy_names[i], profile.lost_copies[i]);
}

static void print_details(void)
{
	print_count("stacks that end at a bad address", profile.cut);
	print_count("frames not looked up: lock taken", profile.areas_locked);
	print_count("registers changed until callback", profile.moved);
}

/* Each sample has one outcome, and each that found its way into the ring buffer has arrived. */
static bool is_balanced(const struct result *result)
{
	int i;

	if (sum(result->outcomes, 0, NR_OUTCOMES) != result->sampled) {
		warnx("%llu samples, but %llu outcomes", (unsigned long long)result->sampled,
		      (unsigned long long)sum(result->outcomes, 0, NR_OUTCOMES));
		return false;
	}
	for (i = 0; i < NR_OUTCOMES; i++) {
		if (i == DROP_RING_FULL || i == DROP_RING_BUSY ||
		    profile.received[i] == result->outcomes[i])
			continue;
		warnx("%s: %llu samples, but %llu arrived", outcome_names[i],
		      (unsigned long long)result->outcomes[i],
		      (unsigned long long)profile.received[i]);
		return false;
	}
	return true;
}

static bool is_stopped(pid_t pid)
{
	char path[32], line[256];
	bool stopped = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && !stopped && fgets(line, sizeof(line), file))
		stopped = !strncmp(line, "State:\tT", 8);
	if (file)
		fclose(file);
	return stopped;
}

/* An empty profile is right, and yet hardly what was wanted. */
static void explain_nothing(void)
{
	if (opt.all)
		warnx("all CPUs were idle");
	else if (opt.command)
		warnx("%s ended before the first sample", opt.command[0]);
	else
		warnx("process %d did not run%s", opt.pid,
		      is_stopped(opt.pid) ? ": it is stopped" : "");
}

bool print_counters(const struct result *result)
{
	uint64_t dropped = sum(result->outcomes, FIRST_DROP, NR_OUTCOMES);

	fprintf(stderr, "taskprof: %llu sampled (%llu in an NMI) = %llu completed + %llu dropped\n",
		(unsigned long long)result->sampled, (unsigned long long)result->sampled_in_nmi,
		(unsigned long long)(result->sampled - dropped), (unsigned long long)dropped);
	print_outcomes(result, 0, FIRST_DROP);
	print_outcomes(result, FIRST_DROP, NR_OUTCOMES);
	print_refused(result);
	if (result->files_lost || opt.verbose)
		print_count(files_lost_name, result->files_lost);
	if (profile.files_unread || opt.verbose)
		print_count(unread_name, profile.files_unread);
	print_lost_copies();
	if (opt.verbose)
		print_details();
	if (opt.compare)
		print_comparison(result);
	if (!result->sampled)
		explain_nothing();
	return is_balanced(result);
}
