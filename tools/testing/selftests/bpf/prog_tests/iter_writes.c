// SPDX-License-Identifier: GPL-2.0
/* An iterator is handed bare values: what programs may not write it may not write either. */
#define _GNU_SOURCE
#include <test_progs.h>
#include "iter_writes.skel.h"
#include "iter_writes_ext.skel.h"
#include "iter_writes_fail.skel.h"

static struct bpf_link *open_iter(struct bpf_program *prog, struct bpf_map *map)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = { .map.map_fd = bpf_map__fd(map) };

	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	return bpf_program__attach_iter(prog, &opts);
}

static int attach_iter(struct bpf_program *prog, struct bpf_map *map)
{
	struct bpf_link *link = open_iter(prog, map);

	if (!link)
		return -errno;
	bpf_link__destroy(link);
	return 0;
}

/* It may write a value only if no pointer of the kernel's is in it. */
static void test_iterator(struct iter_writes *skel)
{
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.pair), -EACCES, "write");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_helper, skel->maps.pair), -EACCES,
		  "write by a helper");
	ASSERT_EQ(attach_iter(skel->progs.print_to_elem, skel->maps.pair), -EACCES, "print");
	ASSERT_EQ(attach_iter(skel->progs.print_btf_to_elem, skel->maps.pair), -EACCES,
		  "print a type");
	ASSERT_EQ(attach_iter(skel->progs.pop_to_elem, skel->maps.pair), -EACCES,
		  "copy from a queue");
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.timed), -EACCES, "write a timer");
	ASSERT_OK(attach_iter(skel->progs.read_elem, skel->maps.pair), "read");
	ASSERT_OK(attach_iter(skel->progs.write_elem, skel->maps.plain), "write another map");
}

/* What is handed to others is as good as written, unless they are known not to write it. */
static void test_iterator_hands_on(struct iter_writes *skel)
{
	struct bpf_map *map = skel->maps.pair, *plain = skel->maps.plain;

	ASSERT_OK(attach_iter(skel->progs.read_elem_with_kfunc, map), "to a kfunc that reads");
	ASSERT_OK(attach_iter(skel->progs.read_elem_with_kfunc_len, map),
		  "to a kfunc that reads a length");
	ASSERT_OK(attach_iter(skel->progs.read_elem_with_static, map), "to a static function");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_kfunc, map), -EACCES,
		  "to a kfunc that may write");
	ASSERT_OK(attach_iter(skel->progs.write_elem_with_kfunc, plain), "write another map");
}

/* A global function is verified by itself, but for what it is handed. */
static void test_iterator_calls_global(struct iter_writes *skel)
{
	struct bpf_map *map = skel->maps.pair, *plain = skel->maps.plain;

	ASSERT_OK(attach_iter(skel->progs.read_elem_with_global, map), "that reads");
	ASSERT_OK(attach_iter(skel->progs.report_elem_with_global, map), "that reports");
	ASSERT_OK(attach_iter(skel->progs.read_elem_and_write_own, map), "that writes its own");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_global, map), -EACCES, "that writes");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_globals_helper, map), -EACCES,
		  "that writes by a helper");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_two_globals, map), -EACCES,
		  "that calls one that writes");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_and_own, map), -EACCES,
		  "that writes other memory, too");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_with_static, map), -EACCES,
		  "that calls a static one that writes");
	ASSERT_EQ(attach_iter(skel->progs.write_elem_or_own, map), -EACCES, "by the same call");
	ASSERT_EQ(attach_iter(skel->progs.write_own_or_elem, map), -EACCES,
		  "by the same call, the other way round");
	ASSERT_OK(attach_iter(skel->progs.write_elem_with_two_globals, plain), "write another map");
}

/* The map of its value is not known: any kernel pointer may be in it. */
static void test_iterator_other_fields(struct iter_writes *skel)
{
	struct bpf_map *map = skel->maps.pinned;

	ASSERT_EQ(attach_iter(skel->progs.write_elem, map), -EACCES, "write a kptr");
	ASSERT_OK(attach_iter(skel->progs.read_elem, map), "read beside a kptr");
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.locked), -EACCES,
		  "write a lock");
	ASSERT_EQ(attach_iter(skel->progs.write_elem, skel->maps.constant), -EACCES,
		  "write a constant");
	ASSERT_OK(attach_iter(skel->progs.write_elem, skel->maps.pinned_percpu), "write a copy");
	map = skel->maps.pinned_storage;
	ASSERT_EQ(attach_iter(skel->progs.write_storage, map), -EACCES, "write a socket's kptr");
	ASSERT_OK(attach_iter(skel->progs.read_storage, map), "read a socket's value");
	ASSERT_OK(attach_iter(skel->progs.write_storage, skel->maps.storage),
		  "write a socket's plain value");
}

/* What is tail called is handed the value, too, and is compared with no map. */
static void test_iterator_tail_call(struct iter_writes *skel)
{
	ASSERT_EQ(attach_iter(skel->progs.tail_call, skel->maps.pair), -EACCES, "of a value");
	ASSERT_EQ(attach_iter(skel->progs.tail_call, skel->maps.plain), -EACCES,
		  "of a plain value");
	ASSERT_EQ(attach_iter(skel->progs.tail_call_of_storage, skel->maps.storage), -EACCES,
		  "of a socket's value");
	ASSERT_EQ(attach_iter(skel->progs.tail_call_of_sockmap, skel->maps.sockets), -EACCES,
		  "of a socket's key");
}

/* It could write what the function has only read when the iterator was attached. */
static void test_iterator_extension(struct iter_writes *skel)
{
	int fd = bpf_program__fd(skel->progs.read_elem_with_named);
	struct iter_writes_ext *ext = iter_writes_ext__open();
	struct bpf_link *link = NULL;

	if (!ASSERT_OK_PTR(ext, "open"))
		return;
	bpf_program__set_autoload(ext->progs.read_first, true);
	ASSERT_OK(bpf_program__set_attach_target(ext->progs.read_first, fd,
						 "bpf_iter_bpf_map_elem"), "set target");
	if (ASSERT_OK(iter_writes_ext__load(ext), "load")) {
		link = bpf_program__attach_trace(ext->progs.read_first);
		ASSERT_EQ(libbpf_get_error(link), -EINVAL, "attach");
	}
	bpf_link__destroy(link);
	iter_writes_ext__destroy(ext);
}

static __u32 prog_of_link(struct bpf_link *link)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	return bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len) ? 0 : info.prog_id;
}

/* The iterator keeps its program where the other one is refused. */
static int update_iter(struct bpf_program *from, struct bpf_program *to, struct bpf_map *map)
{
	struct bpf_link *link = open_iter(from, map);
	__u32 id;
	int err;

	if (!ASSERT_OK_PTR(link, "attach the first"))
		return -EBADF;
	id = prog_of_link(link);
	err = bpf_link__update_program(link, to);
	ASSERT_NEQ(id, 0, "program of the link");
	ASSERT_EQ(prog_of_link(link) == id, err != 0, "its program is replaced or kept");
	bpf_link__destroy(link);
	return err;
}

/* A program that can't be attached to an iterator can't replace one that can, either. */
static void test_iterator_update(struct iter_writes *skel)
{
	struct bpf_program *read = skel->progs.read_elem;
	struct bpf_map *map = skel->maps.pair, *plain = skel->maps.plain;

	ASSERT_OK(update_iter(read, skel->progs.read_first, map), "read");
	ASSERT_EQ(update_iter(read, skel->progs.write_elem, map), -EACCES, "write");
	ASSERT_EQ(update_iter(read, skel->progs.write_elem_with_helper, map), -EACCES,
		  "write by a helper");
	ASSERT_OK(update_iter(read, skel->progs.write_elem, plain), "write another map");
	ASSERT_EQ(update_iter(read, skel->progs.read_behind_elem, plain), -EACCES,
		  "read behind the value");
	ASSERT_EQ(update_iter(read, skel->progs.read_behind_key, plain), -EACCES,
		  "read behind the key");
	ASSERT_EQ(attach_iter(skel->progs.read_elem_sleepable, plain), -EINVAL, "attach to sleep");
	ASSERT_EQ(update_iter(read, skel->progs.read_elem_sleepable, plain), -EINVAL, "sleep");
	ASSERT_EQ(update_iter(skel->progs.read_storage, skel->progs.read_behind_storage,
			      skel->maps.storage), -EACCES, "read behind a socket's storage");
	ASSERT_OK(update_iter(skel->progs.read_storage, skel->progs.read_storage_again,
			      skel->maps.storage), "read a socket's storage");
	ASSERT_EQ(update_iter(skel->progs.read_socket_key, skel->progs.read_behind_socket_key,
			      skel->maps.sockets), -EACCES, "read behind a socket's key");
}

static const struct {
	const char *name;
	void (*test)(struct iter_writes *skel);
} cases[] = {
	{ "iterator", test_iterator },
	{ "iterator_update", test_iterator_update },
	{ "iterator_hands_on", test_iterator_hands_on },
	{ "iterator_calls_global", test_iterator_calls_global },
	{ "iterator_extension", test_iterator_extension },
	{ "iterator_tail_call", test_iterator_tail_call },
	{ "iterator_other_fields", test_iterator_other_fields },
};

void test_iter_writes(void)
{
	struct iter_writes *skel;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!test__start_subtest(cases[i].name))
			continue;
		skel = iter_writes__open();
		if (!ASSERT_OK_PTR(skel, "open"))
			return;
		/* Let the verifier compare states at each of their instructions. */
		bpf_program__set_flags(skel->progs.write_elem_or_own, BPF_F_TEST_STATE_FREQ);
		bpf_program__set_flags(skel->progs.write_own_or_elem, BPF_F_TEST_STATE_FREQ);
		if (ASSERT_OK(iter_writes__load(skel), "load"))
			cases[i].test(skel);
		iter_writes__destroy(skel);
	}
}

void test_iter_writes_fail(void)
{
	RUN_TESTS(iter_writes_fail);
}
