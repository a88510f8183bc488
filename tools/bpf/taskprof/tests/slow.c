// SPDX-License-Identifier: GPL-2.0
/* Runs a command while the profiler is held up (tests/slow.bpf.c), and says how many times. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/slow.skel.h"

int main(int argc, char **argv)
{
	struct slow_bpf *slow = slow_bpf__open_and_load();
	int status = -1;

	if (argc < 2 || !slow || slow_bpf__attach(slow))
		err(1, "slow");
	if (!fork()) {
		execvp(argv[1], argv + 1);
		err(1, "%s", argv[1]);
	}
	wait(&status);
	fprintf(stderr, "slow: %llu times\n", (unsigned long long)slow->bss->nr_changed);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
