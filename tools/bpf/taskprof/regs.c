// SPDX-License-Identifier: GPL-2.0
/* What the numbers of registers are, to the kernel and to unwind tables. */
#include <string.h>

#include "prof.h"

#if defined(__x86_64__)
#define IP	16
#define SP	19
/* From the numbers of DWARF to places in struct pt_regs. Last, the return address. */
static const uint8_t places[] = { 10, 12, 11, 5, 13, 14, 4, SP, 9, 8, 7, 6, 3, 2, 1, 0, IP };
#elif defined(__aarch64__)
#define IP	32
#define SP	31
#endif

#if defined(IP)
const bool can_unwind = true;

uint64_t initial_ip(const struct all_regs *regs)
{
	return regs->of[IP];
}

uint64_t initial_sp(const struct all_regs *regs)
{
	return regs->of[SP];
}

/* Returns how many there are. */
unsigned int dwarf_registers(const struct all_regs *regs, uint64_t *to)
{
#if defined(__x86_64__)
	unsigned int i;

	for (i = 0; i < sizeof(places); i++)
		to[i] = regs->of[places[i]];
	return sizeof(places);
#else
	memcpy(to, regs->of, (SP + 1) * sizeof(*to));
	return SP + 1;
#endif
}
#else
const bool can_unwind;

uint64_t initial_ip(const struct all_regs *regs) { return 0; }
uint64_t initial_sp(const struct all_regs *regs) { return 0; }
unsigned int dwarf_registers(const struct all_regs *regs, uint64_t *to) { return 0; }
#endif
