// SPDX-License-Identifier: GPL-2.0
/*
 * Names of the kernel's code, from /proc/kallsyms. That has no sizes: behind the code of a
 * module or a BPF program may lie anything. What comes and goes has a name only if it had
 * it both before the first sample and after the last one.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <symbol/kallsyms.h>

#include "prof.h"

#define END_OF_CORE	"_etext"	/* what lies below neither comes nor goes */

struct symbol {
	uint64_t start;
	char *name;
};

struct table {
	struct symbol *of;
	size_t nr;
	uint64_t end_of_core;
};

static struct table before, after;

static int add_symbol(void *arg, const char *name, char type, u64 start)
{
	struct table *table = arg;
	size_t nr = table->nr;

	if (!kallsyms__is_function(type) || !start)
		return 0;
	if (!(nr & (nr - 1)))
		table->of = must(realloc(table->of, (nr ? 2 * nr : 1) * sizeof(*table->of)));
	table->of[nr].start = start;
	/* A module's name follows a tab. */
	table->of[nr].name = must(strndup(name, strcspn(name, "\t")));
	if (!strcmp(name, END_OF_CORE))
		table->end_of_core = start;
	table->nr++;
	return 0;
}

static int compare_symbols(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void load(struct table *table)
{
	if (kallsyms__parse("/proc/kallsyms", table, add_symbol))
		warn("/proc/kallsyms");
	qsort(table->of, table->nr, sizeof(*table->of), compare_symbols);
}

/* With the BPF programs of this process, before the first sample. */
void begin_kernel_names(void)
{
	load(&before);
	if (!before.nr)
		warnx("no names for the kernel: see /proc/sys/kernel/kptr_restrict");
}

/* After the last one, while those programs are still loaded. */
void end_kernel_names(void)
{
	load(&after);
}

static const struct symbol *find(const struct table *table, uint64_t addr)
{
	size_t low = 0, high = table->nr;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (table->of[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &table->of[low - 1] : NULL;
}

static bool is_same(const struct symbol *x, const struct symbol *y)
{
	return x && y && x->start == y->start && !strcmp(x->name, y->name);
}

const char *kernel_name(uint64_t addr)
{
	const struct symbol *symbol = find(&after, addr);

	if (!symbol || (addr >= after.end_of_core && !is_same(symbol, find(&before, addr))))
		return "[kernel]";
	return symbol->name;
}
