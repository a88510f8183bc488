// SPDX-License-Identifier: GPL-2.0
/*
 * Callers, from a copy of the stack and the unwind tables of files, by libdwfl. Only in a
 * child: see job.c.
 */
#define _GNU_SOURCE
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

#include "prof.h"

#define NR_CONTEXTS	32
#define DWARF_REGS	33
#define ONE_THREAD	1

/* The files of a process that were needed until now. */
struct context {
	uint32_t areas;			/* number of its set, or 0 */
	uint64_t last_use;
	Dwfl *dwfl;
	bool attached;
	bool tried[MAX_AREAS];
};

static struct context contexts[NR_CONTEXTS];
static uint64_t nr_uses;

/* The one that is at work. */
static const struct copy_record *copy;
static const struct areas_record *set;
static struct unwound *result;
static bool beyond;			/* ... looked for its caller outside of the copy */
static bool has_tables;			/* ... where it was last */
static bool is_reporting;		/* between dwfl_report_begin_add() and _end() */

/* libdwfl would look for debug files; unwind tables are in the file itself. */
static int find_nothing(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			const char *file, const char *link, GElf_Word crc, char **debug_file)
{
	return -1;
}

static int find_no_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
		       char **file, Elf **elf)
{
	return -1;
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = find_no_elf,
	.find_debuginfo = find_nothing,
};

static int compare_to_area(const void *key, const void *element)
{
	const struct code_area *area = element;
	uint64_t addr = *(const uint64_t *)key;

	return addr < area->start ? -1 : addr >= area->end;
}

static int find_area(uint64_t addr)
{
	const struct code_area *area = bsearch(&addr, set->areas, set->nr, sizeof(*area),
					       compare_to_area);

	return area ? area - set->areas : -1;
}

/* What to add to the file's addresses to have those of the process. */
static bool find_bias(Elf *elf, const struct code_area *area, uint64_t *bias)
{
	uint64_t offset = area->frame & OFFSET_MASK, page = sysconf(_SC_PAGESIZE);
	GElf_Phdr phdr;
	size_t nr, i;

	if (elf_getphdrnum(elf, &nr))
		return false;
	for (i = 0; i < nr; i++) {
		if (!gelf_getphdr(elf, i, &phdr) || phdr.p_type != PT_LOAD ||
		    !(phdr.p_flags & PF_X) || offset < (phdr.p_offset & -page) ||
		    offset >= phdr.p_offset + phdr.p_filesz)
			continue;
		*bias = area->start - offset - (phdr.p_vaddr - phdr.p_offset);
		return true;
	}
	return false;
}

static bool examine(const struct binary *binary, int fd, const struct code_area *area,
		    uint64_t *bias)
{
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	bool good = elf && is_same_file(binary, fd, elf) && find_bias(elf, area, bias);

	elf_end(elf);
	return good;
}

/* A program that is not relocatable may have been mapped elsewhere: then it is of no use. */
static bool is_in_place(Dwfl_Module *module, uint64_t wanted)
{
	GElf_Addr bias;

	return dwfl_module_getelf(module, &bias) && bias == wanted;
}

static void report_area(struct context *context, const struct code_area *area)
{
	const struct binary *binary = get_binary(area->frame >> FILE_SHIFT);
	Dwfl_Module *module = NULL;
	void **file;
	char name[32];
	uint64_t bias;
	int fd;

	tell_file(area->frame >> FILE_SHIFT);
	fd = open_binary(binary);
	if (fd < 0)
		return;
	/* Its name has to be its own. The descriptor is libdwfl's, if it takes the file. */
	snprintf(name, sizeof(name), "%llx", (unsigned long long)area->start);
	if (examine(binary, fd, area, &bias))
		module = dwfl_report_elf(context->dwfl, name, binary->path, fd, bias,
					 true);
	if (!module) {
		close(fd);
		return;
	}
	dwfl_module_info(module, &file, NULL, NULL, NULL, NULL, NULL, NULL);
	if (is_in_place(module, bias))
		*file = (void *)(uintptr_t)(area->frame >> FILE_SHIFT);
}

static void need(struct context *context, uint64_t addr)
{
	int i = find_area(addr);

	if (i < 0 || context->tried[i])
		return;
	context->tried[i] = true;
	if (!(set->areas[i].frame >> FILE_SHIFT))
		return;
	if (!is_reporting)
		dwfl_report_begin_add(context->dwfl);
	is_reporting = true;
	report_area(context, &set->areas[i]);
}

/* Every address of code in the copy may be a return address. */
static void report_needed(struct context *context)
{
	uint64_t word;
	uint32_t i;

	is_reporting = false;
	need(context, initial_ip(&copy->regs));
	for (i = 0; i + sizeof(word) <= copy->size; i += sizeof(word)) {
		memcpy(&word, copy->stack + i, sizeof(word));
		need(context, word);
	}
	if (is_reporting)
		dwfl_report_end(context->dwfl, NULL, NULL);
}

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread)
{
	pid_t next = *thread ? 0 : ONE_THREAD;

	*thread = arg;
	return next;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread)
{
	*thread = arg;
	return true;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr addr, Dwarf_Word *word, void *arg)
{
	uint64_t offset = addr - initial_sp(&copy->regs);

	if (offset > copy->size || copy->size - offset < sizeof(*word)) {
		beyond = true;
		return false;
	}
	memcpy(word, copy->stack + offset, sizeof(*word));
	return true;
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	Dwarf_Word regs[DWARF_REGS];
	unsigned int nr = dwarf_registers(&copy->regs, regs);

	dwfl_thread_state_register_pc(thread, initial_ip(&copy->regs));
	return dwfl_thread_state_registers(thread, 0, nr, regs);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_memory,
	.set_initial_registers = set_registers,
};

static bool covers(Dwarf_CFI *cfi, Dwarf_Addr pc)
{
	Dwarf_Frame *frame;

	if (!cfi || dwarf_cfi_addrframe(cfi, pc, &frame))
		return false;
	free(frame);
	return true;
}

/*
 * Whether the file that is mapped at @pc tells how to go on from there. If none does, libdwfl
 * tries frame pointers, as if there were any.
 */
static bool look_for_tables(Dwfl *dwfl, Dwarf_Addr pc, int area)
{
	Dwfl_Module *module = dwfl_addrmodule(dwfl, pc);
	void **file;
	Dwarf_Addr bias;
	Dwarf_CFI *cfi;

	if (!module || area < 0)
		return false;
	dwfl_module_info(module, &file, NULL, NULL, NULL, NULL, NULL, NULL);
	if ((uintptr_t)*file != set->areas[area].frame >> FILE_SHIFT)
		return false;
	cfi = dwfl_module_eh_cfi(module, &bias);
	if (covers(cfi, pc - bias))
		return true;
	cfi = dwfl_module_dwarf_cfi(module, &bias);
	return covers(cfi, pc - bias);
}

/* What a signal interrupted did not call: see FILE_SHIFT. */
static int add_frame(Dwfl_Frame *frame, void *arg)
{
	Dwarf_Addr pc, at;
	bool exact;
	int i;

	/* Whether the frame is exact depends on its caller: so the caller is looked for here. */
	beyond = false;
	if (!dwfl_frame_pc(frame, &pc, &exact))
		return DWARF_CB_ABORT;
	at = result->nr && !exact ? pc - 1 : pc;
	i = find_area(at);
	if (result->nr && (i < 0 || !has_tables)) {
		result->end = END_IN_DATA;
		return DWARF_CB_ABORT;
	}
	has_tables = look_for_tables(arg, at, i);
	result->frames[result->nr] = 0;
	if (i >= 0 && set->areas[i].frame >> FILE_SHIFT)
		result->frames[result->nr] = set->areas[i].frame + pc - set->areas[i].start +
					     (result->nr && exact);
	result->nr++;
	if (result->nr < MAX_FRAMES)
		return DWARF_CB_OK;
	result->end = END_TOO_DEEP;
	return DWARF_CB_ABORT;
}

/* Of those that were not used for longest one has to go. */
static struct context *get_context(void)
{
	struct context *context = contexts, *oldest = contexts;

	for (; context < contexts + NR_CONTEXTS && context->areas != set->id; context++)
		if (context->last_use < oldest->last_use)
			oldest = context;
	if (context == contexts + NR_CONTEXTS) {
		context = oldest;
		dwfl_end(context->dwfl);
		memset(context, 0, sizeof(*context));
		context->areas = set->id;
		context->dwfl = must(dwfl_begin(&callbacks));
	}
	context->last_use = ++nr_uses;
	return context;
}

/* Whether a caller's frame pointer and a return address lie there, in the last copy. */
bool is_link(uint64_t fp)
{
	Dwarf_Word ip;

	return read_memory(NULL, fp + sizeof(ip), &ip, NULL) && find_area(ip) >= 0;
}

/* No frames if none of the files can be used. */
void unwind(const struct copy_record *from, const struct areas_record *areas,
	    struct unwound *to)
{
	struct context *context;
	bool failed;

	copy = from;
	set = areas;
	result = to;
	result->end = END_OF_CHAIN;
	beyond = false;
	context = get_context();
	report_needed(context);
	if (!context->attached)
		context->attached = dwfl_attach_state(context->dwfl, NULL, ONE_THREAD,
						      &thread_callbacks, context);
	if (!context->attached)
		return;
	/* To libdwfl, a caller that can't be read is one that there is not. */
	failed = dwfl_getthread_frames(context->dwfl, ONE_THREAD, add_frame, context->dwfl) < 0;
	if (result->end == END_OF_CHAIN && (failed || beyond))
		result->end = beyond ? END_BY_FAULT : END_IN_DATA;
}
