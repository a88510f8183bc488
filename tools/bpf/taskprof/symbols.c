// SPDX-License-Identifier: GPL-2.0
/* Symbols of a file, by libdwfl, which finds debug files, too. Only in a child: see job.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>

#include "prof.h"

struct symbol {
	uint64_t start;
	uint64_t end;
	uint64_t max_end;	/* of this one and those before */
	const char *name;
	int rank;		/* of several at one place the lowest has the name */
};

static Dwfl *dwfl;
static Dwfl_Module *module;
static struct symbol *symbols;
static size_t nr_symbols;

/*
 * Only a debug file with the same build ID is right. Without that, libdwfl would take what
 * lies beside the file, or in a directory that it names, under a certain name. It opens
 * that, too, whatever it is.
 */
static int find_debug_file(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			   const char *file, const char *link, GElf_Word crc, char **debug_file)
{
	const unsigned char *id;
	GElf_Addr addr;

	if (dwfl_module_build_id(module, &id, &addr) <= 0)
		return -1;
	return dwfl_standard_find_debuginfo(module, userdata, name, base, NULL, NULL, 0,
					    debug_file);
}

static int find_no_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
		       char **file, Elf **elf)
{
	return -1;
}

static char *debuginfo_path;
static const Dwfl_Callbacks callbacks = {
	.find_elf = find_no_elf,
	.find_debuginfo = find_debug_file,
	.debuginfo_path = &debuginfo_path,
};

/* The file that is held, which is a regular one: that was looked at. */
int open_binary(const struct binary *binary)
{
	char path[32];

	if (binary->fd < 0 || binary->is_bad)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", binary->fd);
	return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/* The kernel does not tell how long it is: a shorter one ends in zeroes. */
static bool is_build_id(const struct binary *binary, Elf *elf)
{
	uint8_t padded[BUILD_ID_LEN] = {};
	const void *id;
	ssize_t len = dwelf_elf_gnu_build_id(elf, &id);

	if (len <= 0 || len > BUILD_ID_LEN)
		return false;
	memcpy(padded, id, len);
	return !memcmp(padded, binary->build_id, BUILD_ID_LEN);
}

/* It has not been written to, and has the build ID, if one is known. */
bool is_same_file(const struct binary *binary, int fd, Elf *elf)
{
	if (elf_kind(elf) != ELF_K_ELF || !(binary->is_vdso || is_unchanged(binary, fd)))
		return false;
	return binary->id_len ? is_build_id(binary, elf) : !binary->is_vdso;
}

static bool check_file(const struct binary *binary, int fd)
{
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	bool same = elf && is_same_file(binary, fd, elf);

	elf_end(elf);
	return same;
}

static bool report_file(const struct binary *binary)
{
	int fd = open_binary(binary);

	dwfl = dwfl_begin(&callbacks);
	/* It takes over the descriptor, if it takes the file. */
	if (fd >= 0 && dwfl && check_file(binary, fd))
		module = dwfl_report_elf(dwfl, binary->path, binary->path, fd, 0, true);
	if (fd >= 0 && !module)
		close(fd);
	return module && !dwfl_report_end(dwfl, NULL, NULL);
}

static int rank_of(const GElf_Sym *symbol, const char *name)
{
	static const int by_binding[] = { [STB_LOCAL] = 2, [STB_GLOBAL] = 0, [STB_WEAK] = 1 };
	int bind = GELF_ST_BIND(symbol->st_info);

	return 100 * (bind <= STB_WEAK ? by_binding[bind] : 0) + strspn(name, "_");
}

static bool is_code(const GElf_Sym *symbol, const GElf_Shdr *section, const char *name)
{
	int type = GELF_ST_TYPE(symbol->st_info);

	return (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE) &&
	       section->sh_flags & SHF_EXECINSTR && *name && *name != '$';
}

/* Its end stays open (0) if the file does not tell its size. */
static void add_symbol(int i, bool has_all)
{
	GElf_Addr addr, bias;
	GElf_Shdr section;
	GElf_Sym symbol;
	GElf_Word index;
	const char *name;
	Elf *elf;

	name = dwfl_module_getsym_info(module, i, &symbol, &addr, &index, &elf, &bias);
	if (!name || !elf || !gelf_getshdr(elf_getscn(elf, index), &section) ||
	    !is_code(&symbol, &section, name) || (!symbol.st_size && !has_all))
		return;
	symbols[nr_symbols++] = (struct symbol){
		.start = addr,
		.end = symbol.st_size ? addr + symbol.st_size : 0,
		.max_end = section.sh_addr + section.sh_size + bias,
		.name = name,
		.rank = rank_of(&symbol, name),
	};
}

static int compare_symbols(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->rank != y->rank ? x->rank - y->rank : strcmp(x->name, y->name);
}

/* A function whose size is not told, in assembly, ends with its section or at the next one. */
static void close_symbols(void)
{
	uint64_t next = UINT64_MAX, max_end = 0;
	size_t i;

	for (i = nr_symbols; i-- > 0;) {
		struct symbol *symbol = &symbols[i];

		if (i + 1 < nr_symbols && symbol->start != symbols[i + 1].start)
			next = symbols[i + 1].start;
		if (!symbol->end)
			symbol->end = next < symbol->max_end ? next : symbol->max_end;
	}
	for (i = 0; i < nr_symbols; i++) {
		max_end = symbols[i].end > max_end ? symbols[i].end : max_end;
		symbols[i].max_end = max_end;
	}
}

/*
 * A table that has only what is exported knows nothing of the functions in between: there,
 * one whose size is not told could be any of them. Such a table has no local symbols.
 */
bool load_symbols(const struct binary *binary)
{
	int i, nr;

	elf_version(EV_CURRENT);
	if (!report_file(binary))
		return false;
	nr = dwfl_module_getsymtab(module);
	symbols = nr > 0 ? calloc(nr, sizeof(*symbols)) : NULL;
	if (!symbols)
		return false;
	for (i = 1; i < nr; i++)
		add_symbol(i, dwfl_module_getsymtab_first_global(module) > 1);
	qsort(symbols, nr_symbols, sizeof(*symbols), compare_symbols);
	close_symbols();
	return true;
}

void drop_symbols(void)
{
	dwfl_end(dwfl);
	dwfl = NULL;
	module = NULL;
	free(symbols);
	symbols = NULL;
	nr_symbols = 0;
}

/* From the place in the file to the address that its symbols have. */
static bool to_address(uint64_t offset, uint64_t *addr)
{
	GElf_Addr bias;
	GElf_Phdr phdr;
	size_t nr, i;
	Elf *elf = dwfl_module_getelf(module, &bias);

	if (!elf || elf_getphdrnum(elf, &nr))
		return false;
	for (i = 0; i < nr; i++) {
		if (!gelf_getphdr(elf, i, &phdr) || phdr.p_type != PT_LOAD ||
		    offset < phdr.p_offset || offset >= phdr.p_offset + phdr.p_filesz)
			continue;
		*addr = bias + phdr.p_vaddr + offset - phdr.p_offset;
		return true;
	}
	return false;
}

/* How many symbols start there or before. */
static size_t count_up_to(uint64_t addr)
{
	size_t low = 0, high = nr_symbols;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (symbols[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The innermost one, as one function can lie within another. */
const char *find_symbol(uint64_t offset)
{
	const struct symbol *found = NULL;
	uint64_t addr;
	size_t i;

	if (!to_address(offset, &addr))
		return NULL;
	for (i = count_up_to(addr); i-- > 0 && symbols[i].max_end > addr;) {
		if (found && symbols[i].start != found->start)
			break;
		if (symbols[i].end > addr)
			found = &symbols[i];
	}
	return found ? found->name : NULL;
}
