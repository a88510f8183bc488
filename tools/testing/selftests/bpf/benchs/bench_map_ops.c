// SPDX-License-Identifier: GPL-2.0
/*
 * What operations on a map cost that everybody uses, so that two kernels can be compared.
 * Each case prints nanoseconds for one operation; in a guest whose clock counts
 * instructions those are instructions.
 */
#define _GNU_SOURCE
#include <bpf/btf.h>
#include <fcntl.h>
#include <semaphore.h>
#include "bench.h"
#include "bpf_util.h"
#include "progs/map_ops_bench.h"
#include "map_ops_bench.skel.h"

/* A round is over before the next tick, mostly, so the median one has none in it. */
#define NR_ROUNDS	25
#define NR_WARM_UP	50
#define NR_CALLS	20
#define NR_ELEMS	1024
#define NR_BATCH	64
#define NR_PROGS	24

static void fail(const char *what)
{
	fprintf(stderr, "map-ops: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void print(const char *op, const char *kind, double ns)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", op, kind ? "-" : "", kind ?: "");
	printf("%-31s %12.1f ns\n", name, ns);
}

static int compare(const void *a, const void *b)
{
	double x = *(double *)a, y = *(double *)b;

	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, NR_ROUNDS, sizeof(*values), compare);
	return values[NR_ROUNDS / 2];
}

struct kind {
	const char *name;
	enum bpf_map_type type;
	__u32 flags;
	enum map_field field;
};

/* With one seed the elements of a hash are in the same buckets in each run. */
static const struct kind hash = { "hash", BPF_MAP_TYPE_HASH, BPF_F_ZERO_SEED };
static const struct kind hash_malloc = { "hash-malloc", BPF_MAP_TYPE_HASH,
					 BPF_F_ZERO_SEED | BPF_F_NO_PREALLOC };
static const struct kind lru_hash = { "lru-hash", BPF_MAP_TYPE_LRU_HASH, BPF_F_ZERO_SEED };
static const struct kind percpu_hash = { "percpu-hash", BPF_MAP_TYPE_PERCPU_HASH,
					 BPF_F_ZERO_SEED };
static const struct kind lru_percpu_hash = { "lru-percpu-hash", BPF_MAP_TYPE_LRU_PERCPU_HASH,
					     BPF_F_ZERO_SEED };
static const struct kind array = { "array", BPF_MAP_TYPE_ARRAY };
static const struct kind percpu_array = { "percpu-array", BPF_MAP_TYPE_PERCPU_ARRAY };
static const struct kind hash_timer = { "hash-timer", BPF_MAP_TYPE_HASH, BPF_F_ZERO_SEED,
					MAP_FIELD_TIMER };
static const struct kind hash_malloc_timer = { "hash-malloc-timer", BPF_MAP_TYPE_HASH,
					       BPF_F_ZERO_SEED | BPF_F_NO_PREALLOC,
					       MAP_FIELD_TIMER };
static const struct kind lru_hash_timer = { "lru-hash-timer", BPF_MAP_TYPE_LRU_HASH,
					    BPF_F_ZERO_SEED, MAP_FIELD_TIMER };
static const struct kind array_timer = { "array-timer", BPF_MAP_TYPE_ARRAY, 0, MAP_FIELD_TIMER };
static const struct kind hash_wq = { "hash-wq", BPF_MAP_TYPE_HASH, BPF_F_ZERO_SEED,
				     MAP_FIELD_WQ };

static void be_of_kind(struct bpf_map *map, const struct kind *kind)
{
	if (bpf_map__set_type(map, kind->type) || bpf_map__set_map_flags(map, kind->flags) ||
	    bpf_map__set_max_entries(map, NR_ELEMS))
		fail(kind->name);
}

static void run(const struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
		fail(bpf_program__name(prog));
}

static void insert_first(struct bpf_map *map)
{
	char value[24 * libbpf_num_possible_cpus()];
	__u32 zero = 0;

	memset(value, 0, sizeof(value));
	if (bpf_map_update_elem(bpf_map__fd(map), &zero, value, BPF_ANY))
		fail("insert");
}

static struct bpf_map *map_of(const struct map_ops_bench *skel, const struct kind *kind)
{
	switch (kind->field) {
	case MAP_FIELD_TIMER:
		return skel->maps.timers;
	case MAP_FIELD_WQ:
		return skel->maps.queues;
	default:
		return skel->maps.elems;
	}
}

static struct map_ops_bench *load_programs(const struct kind *kind, enum map_op op)
{
	struct map_ops_bench *skel = map_ops_bench__open();

	if (!skel)
		fail("open");
	skel->rodata->op = op;
	skel->rodata->field = kind->field;
	be_of_kind(map_of(skel, kind), kind);
	if (map_ops_bench__load(skel))
		fail("load");
	insert_first(map_of(skel, kind));
	return skel;
}

/* By a program, many in one run. */
static double measure_op(const struct kind *kind, enum map_op op)
{
	struct map_ops_bench *skel = load_programs(kind, op);
	double rounds[NR_ROUNDS];
	int i;

	for (i = 0; i < NR_WARM_UP; i++)
		run(skel->progs.do_ops);
	for (i = 0; i < NR_ROUNDS; i++) {
		run(skel->progs.do_ops);
		rounds[i] = (double)skel->bss->ns / NR_MAP_OPS;
	}
	if (skel->bss->errors)
		fail("an operation failed");
	map_ops_bench__destroy(skel);
	return median(rounds);
}

static const struct {
	const char *name;
	enum map_op op;
	const struct kind *kinds[8];
} by_program[] = {
	{ "lookup", MAP_OP_LOOKUP, { &hash, &lru_hash, &percpu_hash, &array } },
	{ "update", MAP_OP_UPDATE, { &hash, &hash_malloc, &lru_hash, &percpu_hash,
				     &lru_percpu_hash, &array, &percpu_array } },
	{ "insert-delete", MAP_OP_INSERT_DELETE, { &hash, &hash_malloc, &lru_hash,
						   &percpu_hash } },
	{ "evict", MAP_OP_EVICT, { &lru_hash } },
	{ "update", MAP_OP_UPDATE, { &hash_timer, &hash_malloc_timer, &lru_hash_timer,
				     &array_timer, &hash_wq } },
	{ "insert-delete", MAP_OP_INSERT_DELETE, { &hash_timer, &hash_malloc_timer,
						   &lru_hash_timer, &hash_wq } },
	{ "life-in", MAP_OP_LIFE, { &hash_timer, &hash_malloc_timer, &hash_wq } },
};

static void measure_programs(void)
{
	double nothing = measure_op(&hash, MAP_OP_NOTHING);
	int i, j;

	for (i = 0; i < ARRAY_SIZE(by_program); i++)
		for (j = 0; by_program[i].kinds[j]; j++)
			print(by_program[i].name, by_program[i].kinds[j]->name,
			      measure_op(by_program[i].kinds[j], by_program[i].op) - nothing);
}

/* What a system call works on: @fd is a map of 32-bit keys and 64-bit values. */
static __u32 keys[NR_BATCH], out_batch;
static __u64 values[NR_BATCH];

static int new_map(const struct kind *kind)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = kind->flags);
	int fd = bpf_map_create(kind->type, "map_ops", 4, 8, NR_ELEMS, &opts);

	if (fd < 0)
		fail("create a map");
	return fd;
}

static void update_batch(int fd)
{
	__u32 n = NR_BATCH;

	if (bpf_map_update_batch(fd, keys, values, &n, NULL))
		fail("update a batch");
}

static void lookup_batch(int fd)
{
	__u32 n = NR_BATCH;

	if (bpf_map_lookup_batch(fd, NULL, &out_batch, keys, values, &n, NULL) && errno != ENOENT)
		fail("look a batch up");
}

static void update_and_delete_batch(int fd)
{
	__u32 n = NR_BATCH;

	update_batch(fd);
	if (bpf_map_delete_batch(fd, keys, &n, NULL))
		fail("delete a batch");
}

static void take(int fd)
{
	if (bpf_map_update_elem(fd, &keys[0], &values[0], BPF_ANY) ||
	    bpf_map_lookup_and_delete_elem(fd, &keys[0], &values[0]))
		fail("look up and delete");
}

static void create_and_close(int fd)
{
	close(new_map(&hash));
}

/* In an outer map: the inner one that was there goes. */
static void replace_inner(int fd)
{
	__u32 zero = 0;
	int inner = new_map(&array);

	if (bpf_map_update_elem(fd, &zero, &inner, BPF_ANY))
		fail("replace an inner map");
	close(inner);
}

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static double measure_calls(clockid_t clock, void (*call)(int fd), int fd)
{
	double rounds[NR_ROUNDS], begin;
	int i, j;

	for (i = 0; i < NR_WARM_UP; i++)
		call(fd);
	for (i = 0; i < NR_ROUNDS; i++) {
		begin = now(clock);
		for (j = 0; j < NR_CALLS; j++)
			call(fd);
		rounds[i] = (now(clock) - begin) / NR_CALLS;
	}
	return median(rounds);
}

static const struct {
	const char *name;
	void (*call)(int fd);
	int nr_ops;
	const struct kind *kinds[4];
} by_call[] = {
	{ "update-batch", update_batch, NR_BATCH, { &hash, &hash_malloc, &lru_hash } },
	{ "lookup-batch", lookup_batch, NR_BATCH, { &hash } },
	{ "update-and-delete-batch", update_and_delete_batch, NR_BATCH, { &hash, &hash_malloc } },
	{ "update-lookup-and-delete", take, 1, { &hash, &hash_malloc } },
};

static void measure_system_calls(void)
{
	int i, j, fd;

	for (i = 0; i < NR_BATCH; i++)
		keys[i] = i;
	for (i = 0; i < ARRAY_SIZE(by_call); i++)
		for (j = 0; by_call[i].kinds[j]; j++) {
			fd = new_map(by_call[i].kinds[j]);
			update_batch(fd);
			print(by_call[i].name, by_call[i].kinds[j]->name,
			      measure_calls(CLOCK_MONOTONIC, by_call[i].call, fd) /
			      by_call[i].nr_ops);
			close(fd);
		}
	print("create-and-close", "hash", measure_calls(CLOCK_MONOTONIC, create_and_close, -1));
}

static void load_progs(int *fds)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int i;

	for (i = 0; i < NR_PROGS; i++) {
		fds[i] = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "map_ops", "GPL", insns,
				       ARRAY_SIZE(insns), NULL);
		if (fds[i] < 0)
			fail("load a program");
	}
}

static void close_progs(const int *fds)
{
	int i;

	for (i = 0; i < NR_PROGS; i++)
		close(fds[i]);
	/* What is left to do after some grace periods is not to count for the next ones. */
	usleep(50000);
}

static void measure_loads(void)
{
	double rounds[NR_ROUNDS], begin;
	int fds[NR_PROGS], i;

	for (i = 0; i < NR_ROUNDS; i++) {
		begin = now(CLOCK_MONOTONIC);
		load_progs(fds);
		rounds[i] = (now(CLOCK_MONOTONIC) - begin) / NR_PROGS;
		close_progs(fds);
	}
	print("load", "program", median(rounds));
}

static void measure_map_in_map(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	int inner = new_map(&array), fd;

	opts.inner_map_fd = inner;
	fd = bpf_map_create(BPF_MAP_TYPE_HASH_OF_MAPS, "map_ops", 4, 4, 1, &opts);
	if (fd < 0)
		fail("create an outer map");
	/* It waits for a grace period: that is not to count. */
	print("replace-inner", "hash-of-maps",
	      measure_calls(CLOCK_THREAD_CPUTIME_ID, replace_inner, fd));
	close(fd);
	close(inner);
}

/* The whole map is read once, by a program for each element. */
static void read_iter(int link_fd)
{
	int fd = bpf_iter_create(link_fd);
	char c;

	if (fd < 0 || read(fd, &c, 1))
		fail("iterate");
	close(fd);
}

static void measure_iterator(const struct kind *kind)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	struct map_ops_bench *skel = load_programs(kind, MAP_OP_NOTHING);
	int map_fd = bpf_map__fd(skel->maps.elems), i;
	union bpf_iter_link_info info = { .map.map_fd = map_fd };
	struct bpf_link *link;
	__u64 value[2] = {};

	for (i = 0; i < NR_ELEMS; i++)
		if (bpf_map_update_elem(map_fd, &i, value, BPF_ANY))
			fail("insert");
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	link = bpf_program__attach_iter(skel->progs.see_elem, &opts);
	if (!link)
		fail("attach the iterator");
	print("iterate", kind->name,
	      measure_calls(CLOCK_MONOTONIC, read_iter, bpf_link__fd(link)) / NR_ELEMS);
	bpf_link__destroy(link);
	map_ops_bench__destroy(skel);
}

static void measure_all(void)
{
	measure_programs();
	measure_system_calls();
	measure_loads();
	measure_map_in_map();
	measure_iterator(&hash);
	measure_iterator(&array);
}

/* The producer measures, until then nobody is to report. */
static sem_t measured;

static void setup(void)
{
	setup_libbpf();
	sem_init(&measured, 0, 0);
}

static void *producer(void *arg)
{
	measure_all();
	sem_post(&measured);
	return NULL;
}

static void measure(struct bench_res *res)
{
}

static void report_progress(int iter, struct bench_res *res, long delta_ns)
{
}

static void report_final(struct bench_res res[], int res_cnt)
{
	while (sem_wait(&measured))
		if (errno != EINTR)
			fail("wait for the figures");
}

static void validate(void)
{
	if (env.consumer_cnt || env.producer_cnt != 1) {
		fprintf(stderr, "one producer, and no consumers\n");
		exit(1);
	}
}

const struct bench bench_map_ops = {
	.name = "map-ops",
	.validate = validate,
	.setup = setup,
	.producer_thread = producer,
	.measure = measure,
	.report_progress = report_progress,
	.report_final = report_final,
};
