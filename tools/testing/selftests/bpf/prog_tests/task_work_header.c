// SPDX-License-Identifier: GPL-2.0
/*
 * One object for every kernel that has task work: what bpf_task_work.h promises. These
 * cases are for other kernels, too; there a case is skipped if that kernel lacks the
 * functions its object asks for, after a look that it says so in the right way.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <bpf/btf.h>
#include "progs/task_work_header.h"

#define TEXT "far away"

/* What the kernel offers, and what a program can do with. */
#define ARGS4	1	/* bpf_task_work_schedule_signal() */
#define ARGS5	2	/* bpf_task_work_schedule_signal_impl() */

struct object {
	const char *name;
	const char *file;
	int needs;	/* one of them */
	bool weak;	/* and loads without */
};

static const struct object objects[] = {
	{ "header", "task_work_header.bpf.o", ARGS4 | ARGS5, true },
	{ "late", "task_work_header_late.bpf.o", ARGS4 | ARGS5, true },
	{ "types", "task_work_header_types.bpf.o", ARGS4 | ARGS5, true },
	{ "uapi", "task_work_header_uapi.bpf.o", ARGS4 | ARGS5, true },
	{ "plain", "task_work_header_plain.bpf.o", ARGS4 | ARGS5, true },
	{ "6_18", "task_work_6_18.bpf.o", ARGS5 },
	{ "7_0", "task_work_7_0.bpf.o", ARGS4 },
};

static const struct how {
	const char *name;
	int needs;
} hows[] = {
	{ "by_signal", ARGS4 | ARGS5 },
	{ "by_resume", ARGS4 | ARGS5 },
	{ "by_sample", ARGS4 | ARGS5 },
	{ "by_args4", ARGS4 },
	{ "by_args5", ARGS5 },
};

static const struct btf_type *find_func(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);

	return id > 0 ? btf__type_by_id(btf, btf__type_by_id(btf, id)->type) : NULL;
}

/* 7.x has a function with "_impl" that is not for programs: it takes no void pointer. */
static int offered_by_kernel(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *proto;
	int offered = 0;

	if (!ASSERT_OK_PTR(btf, "types of the kernel"))
		return 0;
	if (find_func(btf, "bpf_task_work_schedule_signal"))
		offered |= ARGS4;
	proto = find_func(btf, "bpf_task_work_schedule_signal_impl");
	if (proto && btf_vlen(proto) == 5 &&
	    !btf__type_by_id(btf, btf_params(proto)[4].type)->type)
		offered |= ARGS5;
	btf__free(btf);
	return offered;
}

/* With one of its programs only. */
static struct bpf_object *open_object(const struct object *object, const char *prog_name)
{
	struct bpf_object *obj = bpf_object__open_file(object->file, NULL);
	struct bpf_program *prog;

	if (!ASSERT_OK_PTR(obj, "open"))
		return NULL;
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), prog_name));
	return obj;
}

static bool has_program(const struct object *object, const char *prog_name)
{
	struct bpf_object *obj = bpf_object__open_file(object->file, NULL);
	bool has = ASSERT_OK_PTR(obj, "open") && bpf_object__find_program_by_name(obj, prog_name);

	bpf_object__close(obj);
	return has;
}

static bool read_elem(struct bpf_object *obj, struct header_elem *elem)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(obj, "elems"), &key, elem);
}

static bool arm(struct bpf_object *obj)
{
	struct header_elem elem = { .user_ptr = (unsigned long)TEXT, .armed = 1, .ret = 1 };
	__u32 key = 0;

	return ASSERT_OK(bpf_map_update_elem(bpf_object__find_map_fd_by_name(obj, "elems"),
					     &key, &elem, BPF_ANY), "arm");
}

static void trigger(struct bpf_object *obj, struct bpf_program *prog)
{
	struct header_elem elem;
	struct bpf_link *link;

	if (bpf_program__type(prog) == BPF_PROG_TYPE_SYSCALL) {
		ASSERT_OK(run_syscall_prog(bpf_program__fd(prog)), "run");
		return;
	}
	link = attach_clock(prog, 0);
	if (ASSERT_OK_PTR(link, "attach"))
		ASSERT_TRUE(wait_for(read_elem(obj, &elem) && !elem.armed), "sampled");
	bpf_link__destroy(link);
}

static void check_callback(struct bpf_object *obj)
{
	struct header_elem elem = {};

	if (!ASSERT_TRUE(read_elem(obj, &elem), "lookup") || !ASSERT_OK(elem.ret, "schedule"))
		return;
	ASSERT_TRUE(wait_for(read_elem(obj, &elem) && elem.ran), "callback");
	ASSERT_EQ(elem.ran, 1, "callback ran once");
	ASSERT_EQ(elem.tid, syscall(__NR_gettid), "callback is in this task");
	ASSERT_EQ(elem.copied, 0, "callback reads the string");
	ASSERT_STREQ(elem.text, TEXT, "string");
}

static void check_absence(struct bpf_object *obj)
{
	struct header_elem elem = {};

	ASSERT_TRUE(read_elem(obj, &elem), "lookup");
	ASSERT_EQ(elem.ret, -38, "schedule returns BPF_TASK_WORK_ENOSYS");
	ASSERT_EQ(elem.ran, 0, "no callback");
}

/* libbpf says why: the kernel has no such name, or nothing for programs behind it. */
static void load_what_is_lacking(struct bpf_object *obj, bool may_lack_name)
{
	char *log;
	int err;

	if (!ASSERT_OK(start_libbpf_log_capture(), "capture what libbpf says"))
		return;
	err = bpf_object__load(obj);
	log = stop_libbpf_log_capture();
	ASSERT_ERR(err, "load of what the kernel lacks");
	if (ASSERT_OK_PTR(log, "log") &&
	    !(may_lack_name && strstr(log, "not found in kernel or module BTFs")))
		ASSERT_HAS_SUBSTR(log, "incompatible with vmlinux", "log");
	free(log);
}

static void run_case(const char *name, const struct object *object, const struct how *how,
		     int offered)
{
	struct bpf_object *obj = open_object(object, how->name);

	if (!obj)
		return;
	offered &= object->needs & how->needs;
	if (!offered && !object->weak) {
		load_what_is_lacking(obj, true);
	} else if (ASSERT_OK(bpf_object__load(obj), "load") && arm(obj)) {
		trigger(obj, bpf_object__find_program_by_name(obj, how->name));
		if (offered)
			check_callback(obj);
		else
			check_absence(obj);
	}
	have_or_skip(offered, name, "a kernel with the task work functions that it calls");
	bpf_object__close(obj);
}

/* bpf_task_work_supported() */
static void check_supported(const struct object *object, int offered)
{
	struct bpf_object *obj = open_object(object, "by_name");
	struct bpf_program *prog;

	if (!obj)
		return;
	prog = bpf_object__find_program_by_name(obj, "by_name");
	if (ASSERT_OK(bpf_object__load(obj), "load"))
		ASSERT_EQ(run_syscall_prog(bpf_program__fd(prog)), offered != 0, "supported");
	bpf_object__close(obj);
}

/* Not by the header: what one gets for a prototype that looks right and is not. */
static void check_typed(int offered)
{
	const struct object object = { .file = "task_work_typed.bpf.o" };
	struct bpf_object *obj;

	if (!have_or_skip(offered & ARGS4, "typed_args4", "bpf_task_work_schedule_signal()"))
		return;
	obj = open_object(&object, "by_signal");
	if (obj)
		load_what_is_lacking(obj, false);
	bpf_object__close(obj);
}

void test_task_work_header(void)
{
	int offered = offered_by_kernel();
	char name[64];
	int i, j;

	for (i = 0; i < ARRAY_SIZE(objects); i++) {
		for (j = 0; j < ARRAY_SIZE(hows); j++) {
			snprintf(name, sizeof(name), "%s_%s", objects[i].name, hows[j].name);
			if (has_program(&objects[i], hows[j].name) && test__start_subtest(name))
				run_case(name, &objects[i], &hows[j], offered);
		}
		snprintf(name, sizeof(name), "%s_supported", objects[i].name);
		if (objects[i].weak && test__start_subtest(name))
			check_supported(&objects[i], offered);
	}
	if (test__start_subtest("typed_args4"))
		check_typed(offered);
}
