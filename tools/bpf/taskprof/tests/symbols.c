// SPDX-License-Identifier: GPL-2.0
/*
 * A name must not take longer in a file with more symbols. Of this program's own file, which
 * has many, 20,000 names take less time than to read its symbols once.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "prof.h"

#define NR_LOOKUPS	20000
#define NR_SYMBOLS	200000	/* as in the loop below */

/* Functions of one byte that nobody calls: many_0, many_1, ... */
asm(".altmacro\n"
	".macro function n\n"
	".type many_\\n, @function\n"
	"many_\\n: .byte 0\n"
	".size many_\\n, 1\n"
	".endm\n"
	".text\n"
	".set i, 0\n"
	".rept 200000\n"
	"function %i\n"
	".set i, i + 1\n"
	".endr\n"
	".noaltmacro\n");
extern char many_0[];

struct options opt;

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Where code of this program is in its file. */
static int find_offset(struct dl_phdr_info *info, size_t size, void *to)
{
	uintptr_t addr = (uintptr_t)many_0 - info->dlpi_addr;
	int i;

	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *phdr = &info->dlpi_phdr[i];

		if (phdr->p_type == PT_LOAD && addr - phdr->p_vaddr < phdr->p_filesz)
			*(uint64_t *)to = addr - phdr->p_vaddr + phdr->p_offset;
	}
	return 1;
}

static void check(uint64_t start, unsigned int n)
{
	const char *name = find_symbol(start + n);
	char wanted[32];

	snprintf(wanted, sizeof(wanted), "many_%u", n);
	if (!name || strcmp(name, wanted))
		errx(1, "%s instead of %s", name ?: "no name", wanted);
}

int main(void)
{
	struct binary binary = { .path = "/proc/self/exe" };
	double start, loaded, named;
	struct stat stat;
	uint64_t offset;
	unsigned int i;

	binary.fd = open(binary.path, O_PATH);
	if (fstat(binary.fd, &stat))
		err(1, "%s", binary.path);
	binary.size = stat.st_size;
	binary.mtime = stat.st_mtim.tv_sec * 1000000000ULL + stat.st_mtim.tv_nsec;
	dl_iterate_phdr(find_offset, &offset);
	start = cpu_seconds();
	if (!load_symbols(&binary))
		errx(1, "no symbols");
	loaded = cpu_seconds();
	for (i = 0; i < NR_LOOKUPS; i++)
		check(offset, i * (NR_SYMBOLS / NR_LOOKUPS));
	named = cpu_seconds();
	printf("%d names took %.2f of the time that their file took\n", NR_LOOKUPS,
	       (named - loaded) / (loaded - start));
	return named - loaded > loaded - start;
}
