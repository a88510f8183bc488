// SPDX-License-Identifier: GPL-2.0
/* What an iterator may not hand to a global function. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include "bpf_misc.h"

char _license[] SEC("license") = "GPL";

__noinline int read_global(const __u32 *p)
{
	return p ? *p : 0;
}

/* A global function may write whatever it takes: the type is no promise. */
SEC("iter/bpf_map_elem")
__failure __msg("R1 cannot write into rdonly_buf")
int key_for_global(struct bpf_iter__bpf_map_elem *ctx)
{
	return ctx->key ? read_global(ctx->key) : 0;
}
