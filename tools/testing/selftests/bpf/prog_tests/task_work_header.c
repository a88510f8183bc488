// SPDX-License-Identifier: GPL-2.0
/*
 * One object for every kernel that has task work: what bpf_task_work.h promises. These
 * cases are for other kernels, too; there a case is skipped if that kernel lacks the
 * functions its object asks for, after a look that it says so in the right way.
 */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <bpf/btf.h>
#include <bpf/skel_internal.h>
#include "progs/task_work_header.h"

#define TEXT "far away"

/* What the kernel offers, and what a program can do with. */
#define ARGS4	1	/* bpf_task_work_schedule_signal() */
#define ARGS5	2	/* bpf_task_work_schedule_signal_impl() */
#define TYPE5	4	/* the name with "_impl" is in the types, and is for nobody */

struct object {
	const char *name;
	const char *file;
	int needs;	/* one of them */
	bool weak;	/* and loads without */
	enum {
		NEVER, WORKS, REFUSED,
	} light;	/* and so does its light skeleton, or it is refused where one is needed */
	bool extra;	/* may not be built */
};

static const struct object objects[] = {
	{ "header", "task_work_header.bpf.o", ARGS4 | ARGS5, true, WORKS },
	{ "late", "task_work_header_late.bpf.o", ARGS4 | ARGS5, true, REFUSED },
	{ "types", "task_work_header_types.bpf.o", ARGS4 | ARGS5, true, REFUSED },
	{ "uapi", "task_work_header_uapi.bpf.o", ARGS4 | ARGS5, true, WORKS },
	{ "plain", "task_work_header_plain.bpf.o", ARGS4 | ARGS5, true, WORKS },
	/* From C++, and from "bpftool gen object": no rule of the kernel makes these. */
	{ "cpp", "task_work_header_cpp.bpf.o", ARGS4 | ARGS5, true, WORKS, true },
	{ "linked", "task_work_header_linked.bpf.o", ARGS4 | ARGS5, true, NEVER, true },
	{ "6_18", "task_work_6_18.bpf.o", ARGS5 },
	{ "7_0", "task_work_7_0.bpf.o", ARGS4 },
};

static const struct how {
	const char *name;
	int needs;
	const char *light;	/* the same in a light skeleton */
} hows[] = {
	{ "by_signal", ARGS4 | ARGS5, "light_by_signal" },
	{ "by_resume", ARGS4 | ARGS5 },
	{ "by_sample", ARGS4 | ARGS5 },
	{ "by_args4", ARGS4, "light_by_args4" },
	{ "by_args5", ARGS5, "light_by_args5" },
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
	else if (proto)
		offered |= TYPE5;
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

static int elems_of(struct bpf_object *obj)
{
	return bpf_object__find_map_fd_by_name(obj, "elems");
}

static bool read_elem(int map_fd, struct header_elem *elem)
{
	__u32 key = 0;

	return !bpf_map_lookup_elem(map_fd, &key, elem);
}

static bool arm(int map_fd)
{
	struct header_elem elem = { .user_ptr = (unsigned long)TEXT, .armed = 1, .ret = 1 };
	__u32 key = 0;

	return ASSERT_OK(bpf_map_update_elem(map_fd, &key, &elem, BPF_ANY), "arm");
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
		ASSERT_TRUE(wait_for(read_elem(elems_of(obj), &elem) && !elem.armed), "sampled");
	bpf_link__destroy(link);
}

static void check_callback(int map_fd)
{
	struct header_elem elem = {};

	if (!ASSERT_TRUE(read_elem(map_fd, &elem), "lookup") || !ASSERT_OK(elem.ret, "schedule"))
		return;
	ASSERT_TRUE(wait_for(read_elem(map_fd, &elem) && elem.ran), "callback");
	ASSERT_EQ(elem.ran, 1, "callback ran once");
	ASSERT_EQ(elem.tid, syscall(__NR_gettid), "callback is in this task");
	ASSERT_EQ(elem.copied, 0, "callback reads the string");
	ASSERT_STREQ(elem.text, TEXT, "string");
}

static void check_absence(int map_fd)
{
	struct header_elem elem = {};

	ASSERT_TRUE(read_elem(map_fd, &elem), "lookup");
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

static void run_case(const struct object *object, const struct how *how, int offered)
{
	struct bpf_object *obj = open_object(object, how->name);

	if (!obj)
		return;
	offered &= object->needs & how->needs;
	if (!offered && !object->weak) {
		load_what_is_lacking(obj, true);
	} else if (ASSERT_OK(bpf_object__load(obj), "load") && arm(elems_of(obj))) {
		trigger(obj, bpf_object__find_program_by_name(obj, how->name));
		if (offered)
			check_callback(elems_of(obj));
		else
			check_absence(elems_of(obj));
	}
	have_or_skip(offered, how->name, "a kernel with the task work functions that it calls");
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
		ASSERT_EQ(run_syscall_prog(bpf_program__fd(prog)), !!(offered & object->needs),
			  "supported");
	bpf_object__close(obj);
}

/* What "bpftool gen skeleton -L" makes of an object with one map and one program to load. */
struct light_skeleton {
	struct bpf_loader_ctx ctx;
	struct bpf_map_desc elems;
	struct bpf_prog_desc prog;
};

static int load_light(struct light_skeleton *light, struct bpf_object *obj)
{
	LIBBPF_OPTS(gen_loader_opts, gen);
	struct bpf_load_and_run_opts opts = { .ctx = &light->ctx };

	if (!ASSERT_OK(bpf_object__gen_loader(obj, &gen), "generate") ||
	    !ASSERT_OK(bpf_object__load(obj), "generated"))
		return 0;
	light->ctx.sz = sizeof(*light);
	opts.data = gen.data;
	opts.data_sz = gen.data_sz;
	opts.insns = gen.insns;
	opts.insns_sz = gen.insns_sz;
	return bpf_load_and_run(&opts);
}

static void call_light(const struct light_skeleton *light, bool offered)
{
	int map_fd = light->elems.map_fd;

	if (!arm(map_fd) || !ASSERT_OK(run_syscall_prog(light->prog.prog_fd), "run"))
		return;
	if (offered)
		check_callback(map_fd);
	else
		check_absence(map_fd);
}

/*
 * The loader of a light skeleton takes names as they are, and compares no types. With
 * flavours it finds nothing: where there is something to find, that has to be told from a
 * kernel without task work. And it finds what is for nobody.
 */
static const char *light_refused(const struct object *object, const struct how *how, int offered)
{
	if ((offered & object->needs) && object->light == REFUSED)
		return "The loader missed the functions";
	if ((offered & TYPE5) && (how->needs & ARGS5))
		return "bpf_task_work_schedule_signal_impl";
	return NULL;
}

static void run_light(const struct object *object, const struct how *how, int offered)
{
	static char log[64 * 1024];
	struct light_skeleton light = {
		.ctx = { .log_level = 1, .log_size = sizeof(log), .log_buf = (unsigned long)log },
	};
	const char *refused = light_refused(object, how, offered);
	struct bpf_object *obj = open_object(object, how->name);
	int err;

	if (!obj)
		return;
	log[0] = 0;
	err = load_light(&light, obj);
	if (refused) {
		ASSERT_ERR(err, "load");
		ASSERT_HAS_SUBSTR(log, refused, "log");
	} else if (ASSERT_OK(err, "load")) {
		call_light(&light, offered & how->needs);
	}
	have_or_skip(offered & how->needs, how->light, "a kernel with the task work functions");
	skel_closenz(light.elems.map_fd);
	skel_closenz(light.prog.prog_fd);
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

static bool start(const struct object *object, const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", object->name, what);
	return test__start_subtest(name);
}

static void run_cases(const struct object *object, int offered)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		if (!has_program(object, hows[i].name))
			continue;
		if (start(object, hows[i].name))
			run_case(object, &hows[i], offered);
		if (object->light && hows[i].light && start(object, hows[i].light))
			run_light(object, &hows[i], offered);
	}
	if (object->weak && start(object, "supported"))
		check_supported(object, offered);
}

void test_task_work_header(void)
{
	int offered = offered_by_kernel();
	int i;

	for (i = 0; i < ARRAY_SIZE(objects); i++)
		if (!objects[i].extra || !access(objects[i].file, R_OK))
			run_cases(&objects[i], offered);
	if (test__start_subtest("typed_args4"))
		check_typed(offered);
}
