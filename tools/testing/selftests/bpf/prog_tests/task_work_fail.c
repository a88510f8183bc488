// SPDX-License-Identifier: GPL-2.0
/* What is refused when a program is loaded or a map is created. */
#define _GNU_SOURCE
#include "task_work_helpers.h"
#include <bpf/btf.h>
#include "cap_helpers.h"
#include "task_work_context.skel.h"
#include "task_work_initial.skel.h"
#include "task_work_map_fail.skel.h"
#include "task_work_perfmon.skel.h"
#include "task_work_prog_fail.skel.h"
#include "task_work_timer.skel.h"

void test_task_work_fail(void)
{
	RUN_TESTS(task_work_prog_fail);
}

void test_task_work_context(void)
{
	RUN_TESTS(task_work_context);
}

void test_task_work_timer(void)
{
	if (have_async(__func__))
		RUN_TESTS(task_work_timer);
}

/* Where the field can't be, map creation fails, as for timers. */
static const struct map_case {
	const char *name;
	enum bpf_map_type type;
	__u32 flags;
	int err;
} map_cases[] = {
	{ "create_hash", BPF_MAP_TYPE_HASH },
	{ "create_hash_malloc", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ "create_lru_hash", BPF_MAP_TYPE_LRU_HASH },
	{ "create_array", BPF_MAP_TYPE_ARRAY },
	{ "create_mmapable_array", BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE, -EOPNOTSUPP },
	{ "create_read_only_hash", BPF_MAP_TYPE_HASH, BPF_F_RDONLY_PROG, -EACCES },
	{ "create_write_only_array", BPF_MAP_TYPE_ARRAY, BPF_F_WRONLY_PROG, -EACCES },
	{ "create_percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 0, -EOPNOTSUPP },
	{ "create_lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 0, -EOPNOTSUPP },
	{ "create_percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 0, -EOPNOTSUPP },
	{ "create_task_storage", BPF_MAP_TYPE_TASK_STORAGE, BPF_F_NO_PREALLOC, -EOPNOTSUPP },
	{ "create_inode_storage", BPF_MAP_TYPE_INODE_STORAGE, BPF_F_NO_PREALLOC, -EOPNOTSUPP },
	{ "create_cgrp_storage", BPF_MAP_TYPE_CGRP_STORAGE, BPF_F_NO_PREALLOC, -EOPNOTSUPP },
	{ "create_sk_storage", BPF_MAP_TYPE_SK_STORAGE, BPF_F_NO_PREALLOC, -EOPNOTSUPP },
};

/* The types that map creation looks at: an int, a value that is the field, a section of it. */
static struct btf *value_btf(int *key_id, int *value_id)
{
	struct btf *btf = btf__new_empty();
	int field_id, u64_id;

	if (!btf)
		return NULL;
	*key_id = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	u64_id = btf__add_int(btf, "unsigned long long", 8, 0);
	field_id = btf__add_struct(btf, "bpf_task_work", 8);
	btf__add_field(btf, "__opaque", u64_id, 0, 0);
	*value_id = btf__add_struct(btf, "elem", 8);
	btf__add_field(btf, "tw", field_id, 0, 0);
	btf__add_var(btf, "variable", BTF_VAR_STATIC, *value_id);
	btf__add_datasec(btf, ".data", 8);
	btf__add_datasec_var_info(btf, *value_id + 1, 0, 8);
	if (btf__load_into_kernel(btf)) {
		btf__free(btf);
		return NULL;
	}
	return btf;
}

/* What user space writes to the field is ignored. Plain memory keeps it. */
static void write_value(int fd, __u64 expected)
{
	__u64 value = ~0ULL;
	__u32 key = 0;

	ASSERT_OK(bpf_map_update_elem(fd, &key, &value, BPF_ANY), "update");
	ASSERT_OK(bpf_map_lookup_elem(fd, &key, &value), "lookup");
	ASSERT_EQ(value, expected, "value");
}

static bool have_type(const struct map_case *c)
{
	bool have = c->type != BPF_MAP_TYPE_INODE_STORAGE ||
		    libbpf_find_vmlinux_btf_id("bpf_lsm_task_alloc", BPF_TRACE_FENTRY) >= 0;

	return have_or_skip(have, c->name, "CONFIG_BPF_LSM");
}

static int new_map(const struct map_case *c, const struct btf *btf, int key_id, int value_id)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = c->flags);
	bool storage = c->flags == BPF_F_NO_PREALLOC && c->type != BPF_MAP_TYPE_HASH;

	opts.btf_fd = btf__fd(btf);
	opts.btf_key_type_id = key_id;
	opts.btf_value_type_id = value_id;
	return bpf_map_create(c->type, NULL, 4, 8, storage ? 0 : 1, &opts);
}

static void create_map(const struct map_case *c)
{
	int key_id = 0, value_id = 0, fd;
	struct btf *btf;

	btf = value_btf(&key_id, &value_id);
	if (!ASSERT_OK_PTR(btf, "btf"))
		return;
	fd = new_map(c, btf, key_id, value_id);
	btf__free(btf);
	ASSERT_EQ(fd < 0 ? fd : 0, c->err, "create");
	if (fd < 0)
		return;
	write_value(fd, 0);
	close(fd);
}

/* Whoever may not call the functions has no use for the field. */
static void create_unprivileged(void)
{
	static const struct map_case array = { .type = BPF_MAP_TYPE_ARRAY };
	__u64 caps = 0, dropped = 1ULL << CAP_SYS_ADMIN | 1ULL << CAP_BPF;
	int key_id = 0, value_id = 0, fd;
	struct btf *btf;

	btf = value_btf(&key_id, &value_id);
	if (!ASSERT_OK_PTR(btf, "btf"))
		return;
	if (ASSERT_OK(cap_disable_effective(dropped, &caps), "drop CAP_BPF")) {
		fd = new_map(&array, btf, key_id, value_id);
		ASSERT_OK(cap_enable_effective(caps, NULL), "restore capabilities");
		ASSERT_EQ(fd, -EPERM, "create");
	}
	btf__free(btf);
}

/* What libbpf makes of a section: one element, whose type is a DATASEC, and no key. */
static void create_section(__u32 flags)
{
	const struct map_case section = { .type = BPF_MAP_TYPE_ARRAY, .flags = flags };
	int key_id = 0, value_id = 0, fd;
	struct btf *btf;

	btf = value_btf(&key_id, &value_id);
	if (!ASSERT_OK_PTR(btf, "btf"))
		return;
	fd = new_map(&section, btf, 0, value_id + 2);
	btf__free(btf);
	if (!ASSERT_OK_FD(fd, "create"))
		return;
	write_value(fd, ~0ULL);
	close(fd);
}

/* Reading a pinned map shows its values, and the field holds a kernel address. */
static void read_pinned_map(void)
{
	const char *path = "/sys/fs/bpf/task_work_map";
	struct task_work_perfmon *skel = task_work_perfmon__open_and_load();
	int fd;

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	/* A run that was killed may have left its own. */
	unlink(path);
	if (ASSERT_OK(bpf_map__pin(skel->maps.map, path), "pin")) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_EQ(fd < 0 ? -errno : fd, -EIO, "open");
		ASSERT_OK(bpf_map__unpin(skel->maps.map, path), "unpin");
	}
	task_work_perfmon__destroy(skel);
}

void test_task_work_map_fail(void)
{
	unsigned int i;

	RUN_TESTS(task_work_map_fail);
	for (i = 0; i < ARRAY_SIZE(map_cases); i++)
		if (test__start_subtest(map_cases[i].name) && have_type(&map_cases[i]))
			create_map(&map_cases[i]);
	if (test__start_subtest("create_unprivileged"))
		create_unprivileged();
	if (test__start_subtest("create_section"))
		create_section(0);
	if (test__start_subtest("create_mmapable_section"))
		create_section(BPF_F_MMAPABLE);
	if (test__start_subtest("create_read_only_section"))
		create_section(BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
	if (test__start_subtest("read_pinned_map"))
		read_pinned_map();
}

static void start_element(const struct task_work_initial *skel, const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int ran = skel->data_mapped->ran;

	ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "run");
	ASSERT_OK(opts.retval, "update and schedule");
	ASSERT_EQ(skel->data_mapped->ran - ran, 3, "callbacks that found what the variable holds");
}

void test_task_work_initial(void)
{
	struct task_work_initial *skel = task_work_initial__open_and_load();
	struct bpf_program *prog;

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	bpf_object__for_each_program(prog, skel->obj)
		if (test__start_subtest(bpf_program__name(prog)))
			start_element(skel, prog);
	task_work_initial__destroy(skel);
}

/* All programs can be loaded: this and nothing else is why some are not. */
static void load_with_perfmon(void)
{
	struct task_work_perfmon *skel = task_work_perfmon__open_and_load();

	ASSERT_OK_PTR(skel, "load");
	task_work_perfmon__destroy(skel);
}

void test_task_work_perfmon(void)
{
	__u64 caps = 0;

	if (!ASSERT_OK(cap_disable_effective(1ULL << CAP_SYS_ADMIN, &caps), "drop CAP_SYS_ADMIN"))
		return;
	if (test__start_subtest("with"))
		load_with_perfmon();
	if (ASSERT_OK(cap_disable_effective(1ULL << CAP_PERFMON, NULL), "drop CAP_PERFMON"))
		RUN_TESTS(task_work_perfmon);
	ASSERT_OK(cap_enable_effective(caps, NULL), "restore capabilities");
}
