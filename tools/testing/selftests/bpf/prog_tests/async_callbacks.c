// SPDX-License-Identifier: GPL-2.0
/* What the verifier refuses of the callbacks of workqueues and timers, and what it does not. */
#define _GNU_SOURCE
#include <test_progs.h>
#include "cap_helpers.h"
#include "async_machine.h"
#include "async_callbacks.skel.h"
#include "async_callbacks_ext.skel.h"
#include "async_callees.skel.h"
#include "async_fields.skel.h"
#include "async_perfmon.skel.h"
#include "async_timer.skel.h"

void test_async_fields(void)
{
	RUN_TESTS(async_fields);
}

void test_async_callbacks(void)
{
	RUN_TESTS(async_callbacks);
}

void test_async_callees(void)
{
	RUN_TESTS(async_callees);
}

void test_async_timer(void)
{
	if (have_async(__func__))
		RUN_TESTS(async_timer);
}

static int load_extension_of(int prog_fd, char *log, size_t log_size)
{
	struct async_callbacks_ext *skel = async_callbacks_ext__open();
	int err;

	if (!skel)
		return -errno;
	bpf_program__set_autoload(skel->progs.add_two, true);
	bpf_program__set_log_buf(skel->progs.add_two, log, log_size);
	err = bpf_program__set_attach_target(skel->progs.add_two, prog_fd, "add_one") ?:
	      async_callbacks_ext__load(skel);
	async_callbacks_ext__destroy(skel);
	return err;
}

/* An extension is verified as if the program itself called it. */
static void load_extension(const char *prog_name, int err, const char *msg)
{
	struct async_callees *skel = async_callees__open();
	struct bpf_program *prog;
	char log[4096] = "";

	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), prog_name));
	prog = bpf_object__find_program_by_name(skel->obj, prog_name);
	if (ASSERT_OK(async_callees__load(skel), "load")) {
		ASSERT_EQ(load_extension_of(bpf_program__fd(prog), log, sizeof(log)), err,
			  "load extension");
		ASSERT_HAS_SUBSTR(log, msg, "log");
	}
	async_callees__destroy(skel);
}

void test_async_extension(void)
{
	const char *refused = "Cannot replace what an async callback calls";

	if (test__start_subtest("of_program"))
		load_extension("program_adds", 0, "");
	if (test__start_subtest("of_program_and_callback"))
		load_extension("both_add", -EINVAL, refused);
	if (test__start_subtest("of_callback"))
		load_extension("callback_adds", -EINVAL, refused);
	if (test__start_subtest("of_callback_in_callback"))
		load_extension("element_of_callback_adds", -EINVAL, refused);
}

/* All programs can be loaded: this and nothing else is why some are not. */
static void load_with_perfmon(void)
{
	struct async_perfmon *skel = async_perfmon__open_and_load();

	ASSERT_OK_PTR(skel, "load");
	async_perfmon__destroy(skel);
}

void test_async_perfmon(void)
{
	__u64 caps = 0;

	if (!have_async(__func__) ||
	    !ASSERT_OK(cap_disable_effective(1ULL << CAP_SYS_ADMIN, &caps), "drop CAP_SYS_ADMIN"))
		return;
	if (test__start_subtest("with"))
		load_with_perfmon();
	if (ASSERT_OK(cap_disable_effective(1ULL << CAP_PERFMON, NULL), "drop CAP_PERFMON"))
		RUN_TESTS(async_perfmon);
	ASSERT_OK(cap_enable_effective(caps, NULL), "restore capabilities");
}
