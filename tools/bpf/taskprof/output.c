// SPDX-License-Identifier: GPL-2.0
/* Print the stacks, folded or as JSON, and the counters. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_writer.h"
#include "prof.h"

/* Stacks that differ in addresses only have the same names. */
struct line {
	char *folded;		/* thread;outermost;...;innermost */
	uint64_t cgroup;	/* 0 in folded stacks: they do not tell */
	uint64_t count;
};

static void *lines;

static const char *const outcome_names[NR_OUTCOMES] = {
	[DONE_BY_CALLBACK]	= "completed by the callback",
	[DONE_KERNEL_THREAD]	= "completed at once: kernel thread",
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
};

static const char no_frames_name[] = "user stack: frame pointer was none";

/* The separators of the format can't be in a name. */
static void print_name(FILE *out, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < len && name[i]; i++)
		fputc(name[i] == ';' ? ':' : name[i] == '\n' ? ' ' : name[i], out);
}

static bool is_nmi_entry(const char *name)
{
	return !strcmp(name, "asm_exc_nmi") || !strcmp(name, "end_repeat_nmi") ||
	       !strcmp(name, "first_nmi") || !strcmp(name, "repeat_nmi");
}

/* An event tells where it struck. A tracepoint is called on top of that, by the NMI. */
static uint32_t nmi_frames(const struct frame *kernel, uint32_t nr)
{
	uint32_t i, skip = 0;

	for (i = 0; opt.nmi && i < nr; i++)
		if (is_nmi_entry(kernel_name(kernel[i].addr)))
			skip = i + 1;
	return skip;
}

static char *fold(const struct stack *stack)
{
	const struct frame *kernel = stack->frames + stack->nr_user;
	uint32_t i, skip = nmi_frames(kernel, stack->nr_kernel);
	const char *name;
	char *folded;
	size_t len;
	FILE *out = open_memstream(&folded, &len);

	if (!out)
		err(1, "out of memory");
	print_name(out, stack->comm, COMM_LEN);
	for (i = stack->nr_user; i-- > 0;) {
		name = user_name(&stack->frames[i], i > 0);
		fputc(';', out);
		print_name(out, name, strlen(name));
	}
	for (i = stack->nr_kernel; i-- > skip;)
		fprintf(out, ";%s_[k]", kernel_name(kernel[i].addr - (i > skip)));
	fclose(out);
	return folded;
}

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int diff = strcmp(x->folded, y->folded);

	return diff ? diff : x->cgroup < y->cgroup ? -1 : x->cgroup > y->cgroup;
}

static void add_line(const struct stack *stack)
{
	struct line *line = calloc(1, sizeof(*line)), **known;

	if (!line)
		err(1, "out of memory");
	line->folded = fold(stack);
	line->cgroup = opt.json ? stack->cgroup : 0;
	known = tsearch(line, &lines, compare_lines);
	if (!known)
		err(1, "out of memory");
	(*known)->count += stack->count;
	if (*known != line) {
		free(line->folded);
		free(line);
	}
}

static FILE *folded_out;

static void print_folded(const void *node, VISIT which, int depth)
{
	const struct line *line = *(const struct line *const *)node;

	if (which == postorder || which == leaf)
		fprintf(folded_out, "%s %llu\n", line->folded, (unsigned long long)line->count);
}

/* A cgroup's number is a handle of its directory. */
static char *cgroup_path(uint64_t id)
{
	struct {
		struct file_handle head;
		uint64_t id;
	} handle = {
		.head = { .handle_bytes = sizeof(id), .handle_type = 0xfe },
		.id = id,
	};
	char link[64], path[PATH_MAX];
	ssize_t len = -1;
	int mount, fd;

	mount = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = open_by_handle_at(mount, &handle.head, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, path, sizeof(path) - 1);
		close(fd);
	}
	if (mount >= 0)
		close(mount);
	return len > 0 ? strndup(path, len) : NULL;
}

static json_writer_t *json;

static void print_json_frames(const char *folded)
{
	char *copy = strdup(folded), *rest = copy, *frame;

	if (!copy)
		err(1, "out of memory");
	jsonw_string_field(json, "thread", strsep(&rest, ";"));
	jsonw_name(json, "frames");
	jsonw_start_array(json);
	while ((frame = strsep(&rest, ";")))
		jsonw_string(json, frame);
	jsonw_end_array(json);
	free(copy);
}

static void print_json(const void *node, VISIT which, int depth)
{
	const struct line *line = *(const struct line *const *)node;
	char *path;

	if (which != postorder && which != leaf)
		return;
	path = cgroup_path(line->cgroup);
	jsonw_start_object(json);
	jsonw_lluint_field(json, "count", line->count);
	jsonw_lluint_field(json, "cgroup_id", line->cgroup);
	if (path)
		jsonw_string_field(json, "cgroup", path);
	print_json_frames(line->folded);
	jsonw_end_object(json);
	free(path);
}

static void print_json_counters(const struct result *result)
{
	int i;

	jsonw_name(json, "counters");
	jsonw_start_object(json);
	jsonw_lluint_field(json, "sampled", result->sampled);
	for (i = 0; i < NR_OUTCOMES; i++)
		jsonw_lluint_field(json, outcome_names[i], result->outcomes[i]);
	jsonw_end_object(json);
}

static void print_all_json(FILE *out, const struct result *result)
{
	json = jsonw_new(out);
	if (!json)
		err(1, "out of memory");
	jsonw_pretty(json, true);
	jsonw_start_object(json);
	print_json_counters(result);
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
	fprintf(stderr, "  %-35s %10llu %10s\n", no_frames_name,
		(unsigned long long)profile.no_frames, "-");
}

static void print_details(void)
{
	print_count("stacks that end at a bad address", profile.cut);
	print_count("frames not looked up: lock taken", profile.areas_locked);
	print_count("registers changed until callback", profile.moved);
}

/* Each sample has one outcome, and each but those of a full ring buffer has arrived. */
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
		print_count("files unknown: ring buffer full", result->files_lost);
	if (opt.verbose)
		print_details();
	if (opt.compare)
		print_comparison(result);
	return is_balanced(result);
}
