// SPDX-License-Identifier: GPL-2.0
/*
 * Names of addresses: libdw reads the symbols of files, /proc/kallsyms has the
 * kernel's. A file is opened as soon as it is first seen, while most probably
 * somebody runs it. Its build ID, or for lack of that its size and the time when it was
 * written last, tells whether the path still leads to it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <symbol/kallsyms.h>

#include "prof.h"

#define NSEC_PER_SEC	1000000000ULL
#define OPEN_TRIES	4	/* processes that are asked for a file */

struct binary {
	char *path;
	uint32_t pid;		/* a process that ran it */
	uint32_t tries;
	uint64_t size;
	uint64_t mtime;
	uint8_t build_id[BUILD_ID_LEN];
	uint32_t id_len;
	bool id_came;		/* ... even if there is none */
	bool id_in_file;	/* it has a build ID, read or not */
	Dwfl *dwfl;
	Dwfl_Module *module;
};

struct name {
	uint64_t addr;
	uint32_t file;
	char *text;
};

struct kernel_symbol {
	uint64_t start;
	char *name;
};

static struct binary *binaries;
static uint32_t nr_binaries;
static void *names;
static struct kernel_symbol *kernel_symbols;
static size_t nr_kernel_symbols;

static char *debuginfo_path;
static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
	.section_address = dwfl_offline_section_address,
	.debuginfo_path = &debuginfo_path,
};

static struct binary *get_binary(uint32_t file)
{
	if (file >= nr_binaries) {
		uint32_t nr = file + 64;

		binaries = must(realloc(binaries, nr * sizeof(*binaries)));
		memset(binaries + nr_binaries, 0, (nr - nr_binaries) * sizeof(*binaries));
		nr_binaries = nr;
	}
	return &binaries[file];
}

/* The names come from the leaf to the root. */
void add_path(const struct path_record *record)
{
	struct binary *binary = get_binary(record->file);
	const char *name = record->names;
	char path[PATH_LEN + NAME_LEN + 1];
	char *at = path + sizeof(path) - 1;
	uint32_t i;

	*at = '\0';
	for (i = 0; i < record->nr_names; i++, name += strlen(name) + 1) {
		at -= strlen(name);
		memcpy(at, name, strlen(name));
		*--at = '/';
	}
	free(binary->path);
	binary->path = must(strdup(at));
	binary->pid = record->pid;
	binary->size = record->size;
	binary->mtime = record->mtime;
}

/* What lies there now need not be a file: not to wait for the writer of a pipe. */
static int open_file(const char *path, struct stat *stat)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (!fstat(fd, stat) && S_ISREG(stat->st_mode))
		return fd;
	close(fd);
	return -1;
}

static bool is_same_file(const struct binary *binary, const struct stat *stat, Elf *elf)
{
	const void *id;
	ssize_t len = dwelf_elf_gnu_build_id(elf, &id);

	if (binary->id_len)
		return len == binary->id_len && !memcmp(id, binary->build_id, len);
	return stat->st_size == binary->size &&
	       stat->st_mtim.tv_sec * NSEC_PER_SEC + stat->st_mtim.tv_nsec == binary->mtime;
}

static bool read_symbols(struct binary *binary, const char *path)
{
	const unsigned char *id;
	GElf_Addr addr, bias;
	struct stat stat;
	Elf *elf;
	int fd = open_file(path, &stat);

	if (fd < 0)
		return false;
	binary->dwfl = must(dwfl_begin(&callbacks));
	binary->module = dwfl_report_offline(binary->dwfl, path, path, fd);
	dwfl_report_end(binary->dwfl, NULL, NULL);
	/* libdwfl owns the descriptor once it has the module. */
	if (!binary->module)
		close(fd);
	elf = binary->module ? dwfl_module_getelf(binary->module, &bias) : NULL;
	if (elf && is_same_file(binary, &stat, elf)) {
		binary->id_in_file = dwfl_module_build_id(binary->module, &id, &addr) > 0;
		return true;
	}
	dwfl_end(binary->dwfl);
	binary->dwfl = NULL;
	binary->module = NULL;
	return false;
}

static void open_binary(struct binary *binary)
{
	char inside[PATH_LEN + NAME_LEN + 64];

	binary->tries++;
	/* As its process sees it, which may be in a container. */
	snprintf(inside, sizeof(inside), "/proc/%u/root%s", binary->pid, binary->path);
	if (!read_symbols(binary, inside) && !read_symbols(binary, binary->path) && opt.verbose)
		warnx("%s (process %u): no such file any more to read names from", binary->path,
		      binary->pid);
}

void add_build_id(const struct build_id_record *record)
{
	struct binary *binary = get_binary(record->file);

	binary->id_len = record->len;
	binary->id_came = true;
	memcpy(binary->build_id, record->build_id, BUILD_ID_LEN);
	if (binary->path)
		open_binary(binary);
}

/* The process that was seen first may be gone, and with it its way to the file. */
void try_again(uint32_t file, uint32_t pid)
{
	struct binary *binary = get_binary(file);

	if (!binary->path || !binary->id_came || binary->module || binary->pid == pid ||
	    binary->tries == OPEN_TRIES)
		return;
	binary->pid = pid;
	open_binary(binary);
}

bool build_id_was_read(uint32_t file)
{
	return get_binary(file)->id_len;
}

bool has_build_id(uint32_t file)
{
	return get_binary(file)->id_len || get_binary(file)->id_in_file;
}

bool has_names(uint32_t file)
{
	return get_binary(file)->module;
}

/* From the place in the file to the address that its symbols have. */
static const char *find_symbol(const struct binary *binary, uint64_t offset)
{
	size_t nr, i;
	GElf_Phdr phdr;
	GElf_Off within;
	GElf_Sym symbol;
	GElf_Addr bias;
	Elf *elf;

	elf = dwfl_module_getelf(binary->module, &bias);
	if (!elf || elf_getphdrnum(elf, &nr))
		return NULL;
	for (i = 0; i < nr; i++) {
		if (!gelf_getphdr(elf, i, &phdr) || phdr.p_type != PT_LOAD ||
		    offset < phdr.p_offset || offset >= phdr.p_offset + phdr.p_filesz)
			continue;
		return dwfl_module_addrinfo(binary->module,
					    bias + phdr.p_vaddr + offset - phdr.p_offset,
					    &within, &symbol, NULL, NULL, NULL);
	}
	return NULL;
}

/* Without a name, the file is better than nothing. */
static char *make_name(const struct frame *frame)
{
	struct binary *binary = get_binary(frame->file);
	const char *symbol = NULL;
	char *text;

	if (!frame->file)
		return must(strdup("[unknown]"));
	if (binary->module)
		symbol = find_symbol(binary, frame->addr);
	if (symbol)
		return must(strdup(symbol));
	if (asprintf(&text, "[%s]", binary->path ? basename(binary->path) : "unknown") < 0)
		err(1, "out of memory");
	return text;
}

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* A return address may lie behind the end of the function that called last. */
const char *user_name(const struct frame *frame, bool is_caller)
{
	struct frame at = { .addr = frame->addr - is_caller, .file = frame->file };
	struct name key = { .addr = at.addr, .file = at.file }, *name, **known;

	known = tfind(&key, &names, compare_names);
	if (known)
		return (*known)->text;
	name = must(malloc(sizeof(*name)));
	*name = key;
	name->text = make_name(&at);
	must(tsearch(name, &names, compare_names));
	return name->text;
}

static int add_kernel_symbol(void *arg, const char *name, char type, u64 start)
{
	size_t nr = nr_kernel_symbols;

	if (!kallsyms__is_function(type) || !start)
		return 0;
	if (!(nr & (nr - 1)))
		kernel_symbols = must(realloc(kernel_symbols,
					      (nr ? 2 * nr : 1) * sizeof(*kernel_symbols)));
	kernel_symbols[nr].start = start;
	/* A module's name follows a tab. */
	kernel_symbols[nr].name = must(strndup(name, strcspn(name, "\t")));
	nr_kernel_symbols++;
	return 0;
}

static int compare_kernel_symbols(const void *a, const void *b)
{
	const struct kernel_symbol *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

void load_kernel_symbols(void)
{
	if (kallsyms__parse("/proc/kallsyms", NULL, add_kernel_symbol))
		warn("/proc/kallsyms");
	if (!nr_kernel_symbols)
		warnx("no names for the kernel: see /proc/sys/kernel/kptr_restrict");
	qsort(kernel_symbols, nr_kernel_symbols, sizeof(*kernel_symbols), compare_kernel_symbols);
}

const char *kernel_name(uint64_t addr)
{
	size_t low = 0, high = nr_kernel_symbols;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (kernel_symbols[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? kernel_symbols[low - 1].name : "[kernel]";
}
