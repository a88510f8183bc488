/* SPDX-License-Identifier: GPL-2.0 */
/* A program that waits until the test lets it go on: include this once. */
#ifndef _ASYNC_HOLD_H
#define _ASYNC_HOLD_H

/* set by the test */
int may_go_on;

/* read by the test */
int entered;

static bool has_to_wait(void)
{
	/* or the compiler looks but once */
	barrier();
	return !may_go_on;
}

static long look(__u32 i, void *ctx)
{
	return has_to_wait() ? 0 : 1;
}

static long look_again(__u32 i, void *ctx)
{
	bpf_loop(1 << 20, look, NULL, 0);
	return has_to_wait() ? 0 : 1;
}

/*
 * Interrupts may be off here, so a test that never lets it go on must not keep the CPU:
 * half a billion looks take a second or two, and some ten seconds if emulated. Then the
 * program goes on, and the test fails. What the test does meanwhile takes milliseconds.
 */
static void wait_for_test(void)
{
	entered = 1;
	bpf_loop(1 << 9, look_again, NULL, 0);
}

#endif
