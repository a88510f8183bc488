// SPDX-License-Identifier: GPL-2.0
/* Programs that go on using the timer and the workqueue of an element that was deleted. */
#include "async_common.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct elem {
	struct bpf_timer timer;
	struct bpf_wq wq;
	__u64 pad;
};

/* read by the test */
int ret_timer;
int ret_wq;
int ret_timer_again;
int ret_wq_again;

/* What each field says to its first use. */
static __always_inline void use(void *map, struct elem *elem)
{
	ret_timer = bpf_timer_init(&elem->timer, map, 1 /* CLOCK_MONOTONIC */);
	ret_wq = bpf_wq_init(&elem->wq, map, 0);
}

static __always_inline bool use_failed(void)
{
	return ret_timer || ret_wq;
}

static __always_inline void use_other(void *map, struct elem *elem)
{
	ret_timer_again = bpf_timer_init(&elem->timer, map, 1 /* CLOCK_MONOTONIC */);
	ret_wq_again = bpf_wq_init(&elem->wq, map, 0);
}

#include "async_deleted.h"
