// SPDX-License-Identifier: GPL-2.0
/* as_user COMMAND...: run it as somebody who may load BPF programs and count events, no more. */
#define _GNU_SOURCE
#include <err.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>

#define USER	1000

static const int kept[] = { CAP_BPF, CAP_PERFMON };

int main(int argc, char **argv)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};
	unsigned int i;

	if (argc < 2)
		errx(2, "usage: as_user COMMAND [ARG]...");
	for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		data[kept[i] / 32].permitted |= 1U << kept[i] % 32;
		data[kept[i] / 32].effective |= 1U << kept[i] % 32;
		data[kept[i] / 32].inheritable |= 1U << kept[i] % 32;
	}
	if (prctl(PR_SET_KEEPCAPS, 1) || setresgid(USER, USER, USER) ||
	    setresuid(USER, USER, USER) || syscall(SYS_capset, &header, data))
		err(1, "capabilities");
	for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0))
			err(1, "PR_CAP_AMBIENT");
	execvp(argv[1], argv + 1);
	err(127, "%s", argv[1]);
}
