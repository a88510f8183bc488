/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/*
 * Task work for BPF programs, in one object for every kernel that has it: Linux 6.18
 * and 6.19, 7.0 and later, and 6.12 with the series that this file comes with.
 *
 *	#include <bpf/bpf_task_work.h>	// before vmlinux.h, or instead of it
 *
 *	struct elem {
 *		struct bpf_task_work tw;
 *		...
 *	};	// the value of the hash, LRU hash or array "map"
 *
 *	static int callback(struct bpf_map *map, void *key, void *value);
 *
 *	err = bpf_task_work_schedule_resume(task, &elem->tw, &map, callback);
 *
 * bpf_task_work_schedule_signal() is the other way. What both return is described
 * in Documentation/bpf/task_work.rst, and what of that not to rely on elsewhere; beyond
 * that, BPF_TASK_WORK_ENOSYS says that this kernel has no task work, and so does
 * bpf_task_work_supported() beforehand. The program loads there all the same. This
 * takes libbpf 1.3 or later. The program's own declarations of these functions have to
 * go: they are macros here.
 *
 * User space asks the kernel's types, not its version, as distributions add features:
 *
 *	btf__find_by_name_kind(vmlinux_btf, "bpf_task_work_schedule_signal", BTF_KIND_FUNC)
 *
 * is positive on 7.0 and later and on 6.12; on 6.18 and 6.19 it is so for the name with
 * "_impl" at the end. 7.x has types for that one, too, and yet nobody can call it.
 *
 * struct bpf_task_work is defined here if this header comes before vmlinux.h: it then
 * includes that itself (or <linux/bpf.h>, if there is none) and keeps whatever that has
 * under the same name out of the way. A vmlinux.h under another name has to come first.
 * No file can ask whether a type is defined. So after a vmlinux.h that lacks it, of an
 * older kernel, define BPF_TASK_WORK_TYPES before this is included. With one that has it
 * there is nothing to do.
 *
 * Loaders
 *
 * The kernel is asked for the functions by their plain names. Not so after a vmlinux.h,
 * which may have declared these with other types, unless BPF_NO_KFUNC_PROTOTYPES says that
 * it has not. Then they get a ___flavour, which libbpf strips, and few others do: not the
 * loader of a light skeleton ("bpftool gen skeleton -L"), not cilium/ebpf. For those
 * define BPF_TASK_WORK_NO_FLAVOURS, and what would need a flavour is an error.
 *
 * BPF_TASK_WORK_FLAVOUR is a word to be used for the flavour, and asks for one anywhere.
 * Objects that "bpftool gen object" makes one of need it, a word of its own for each: with
 * libbpf 1.5 no two objects can ask for the same function; with 1.7 they can, but one that
 * declares the functions without this header differs in the types.
 *
 * A loader that finds no function although the kernel has struct bpf_task_work would make
 * every schedule fail. The verifier refuses such a program instead, and the log shows
 * where in this file.
 *
 * Light skeletons, which compare no types, and cilium/ebpf 0.22, which wants all of them to
 * be right, refuse a program that merely names a function that is there for others: the
 * one with "_impl" on 7.x. For these write two programs around one body, with "impl" a
 * constant in each,
 *
 *	bpf_task_work_schedule_resume_as(impl, task, &elem->tw, &map, callback);
 *
 * and load the one for "false" if the types above have the name without "_impl".
 *
 * C++ needs no extern "C" around this header. It does need another bpf_helper_defs.h than
 * libbpf's, which is no C++.
 */
#ifndef __BPF_TASK_WORK_H__
#define __BPF_TASK_WORK_H__

#if defined(BPF_TASK_WORK_FLAVOUR) && defined(BPF_TASK_WORK_NO_FLAVOURS)
#error "BPF_TASK_WORK_FLAVOUR and BPF_TASK_WORK_NO_FLAVOURS exclude each other"
#endif

/* The second name is that of the file in the kernel's source. */
#if !defined(__VMLINUX_H__) && !defined(__LINUX_BPF_H__) && !defined(_UAPI__LINUX_BPF_H__)
#define bpf_task_work bpf_task_work___vmlinux
#define bpf_task_work_callback_t bpf_task_work_callback_t___vmlinux
#define bpf_task_work_schedule_signal bpf_task_work_schedule_signal___vmlinux
#define bpf_task_work_schedule_resume bpf_task_work_schedule_resume___vmlinux
#define bpf_task_work_schedule_signal_impl bpf_task_work_schedule_signal_impl___vmlinux
#define bpf_task_work_schedule_resume_impl bpf_task_work_schedule_resume_impl___vmlinux
#if __has_include("vmlinux.h")
#include "vmlinux.h"
#else
#include <linux/bpf.h>
#endif
#undef bpf_task_work
#undef bpf_task_work_callback_t
#undef bpf_task_work_schedule_signal
#undef bpf_task_work_schedule_resume
#undef bpf_task_work_schedule_signal_impl
#undef bpf_task_work_schedule_resume_impl
#undef BPF_TASK_WORK_TYPES
#define BPF_TASK_WORK_TYPES
#elif defined(__VMLINUX_H__) && !defined(BPF_NO_KFUNC_PROTOTYPES)
#ifdef BPF_TASK_WORK_NO_FLAVOURS
#error "vmlinux.h may have declared the functions: include bpf_task_work.h before it"
#elif !defined(BPF_TASK_WORK_FLAVOUR)
#define BPF_TASK_WORK_FLAVOUR header
#endif
#endif

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#if __has_include("bpf/libbpf_version.h")
#include <bpf/libbpf_version.h>
#if LIBBPF_MAJOR_VERSION < 1 || (LIBBPF_MAJOR_VERSION == 1 && LIBBPF_MINOR_VERSION < 3)
#error "bpf_task_work.h needs libbpf 1.3 or later"
#endif
#endif

struct task_struct;
struct bpf_map;

#ifdef BPF_TASK_WORK_TYPES
struct bpf_task_work {
	__u64 __opaque;
};

typedef int (*bpf_task_work_callback_t)(struct bpf_map *map, void *key, void *value);
#endif

/* On every architecture, and no value that the kernel's functions return. */
#define BPF_TASK_WORK_ENOSYS (-38)

/*
 * Loaders compare the kinds of the arguments with the kernel's, through pointers, and a
 * struct that is only declared is of another kind. So these prototypes name one with a
 * body, whatever the program knows of struct task_struct and struct bpf_map.
 */
struct __bpf_task_work_arg {
	__u64 __opaque;
};

/* C++ puts the body of a struct into the object only if something needs to know it. */
_Static_assert(sizeof(struct __bpf_task_work_arg) == sizeof(struct bpf_task_work),
	       "struct bpf_task_work has another size than in bpf_task_work.h");

typedef int (*__bpf_task_work_fn)(struct __bpf_task_work_arg *map, void *key, void *value);

#ifdef BPF_TASK_WORK_FLAVOUR
#define __bpf_task_work_paste(name, flavour) name##___##flavour
#define __bpf_task_work_flavoured(name, flavour) __bpf_task_work_paste(name, flavour)
#define __bpf_task_work_name(name) __bpf_task_work_flavoured(name, BPF_TASK_WORK_FLAVOUR)
#else
#define __bpf_task_work_name(name) name
#endif

#define __bpf_task_work_signal4 __bpf_task_work_name(bpf_task_work_schedule_signal)
#define __bpf_task_work_resume4 __bpf_task_work_name(bpf_task_work_schedule_resume)
#define __bpf_task_work_signal5 __bpf_task_work_name(bpf_task_work_schedule_signal_impl)
#define __bpf_task_work_resume5 __bpf_task_work_name(bpf_task_work_schedule_resume_impl)

#ifdef __cplusplus
extern "C" {
#endif
int __bpf_task_work_signal4(struct __bpf_task_work_arg *task, struct bpf_task_work *tw,
			    void *map, __bpf_task_work_fn callback) __ksym __weak;
int __bpf_task_work_resume4(struct __bpf_task_work_arg *task, struct bpf_task_work *tw,
			    void *map, __bpf_task_work_fn callback) __ksym __weak;
int __bpf_task_work_signal5(struct __bpf_task_work_arg *task, struct bpf_task_work *tw,
			    void *map, __bpf_task_work_fn callback, void *aux) __ksym __weak;
int __bpf_task_work_resume5(struct __bpf_task_work_arg *task, struct bpf_task_work *tw,
			    void *map, __bpf_task_work_fn callback, void *aux) __ksym __weak;
#ifdef __cplusplus
}
#endif

/* Which functions a program names is known when it is compiled: impl is 0, 1, or this. */
#define __BPF_TASK_WORK_ANY 2

/*
 * The functions were not found. If the kernel has the type, then it has them, too, and they
 * were looked up by wrong names or types. Rather than to do nothing, and not to say why,
 * let the verifier refuse the program: it shows the line of the source, with its comment.
 */
static __always_inline int __bpf_task_work_absent(int impl)
{
	char *null = (char *)0;

	barrier_var(null);
	if (impl == __BPF_TASK_WORK_ANY && bpf_core_type_exists(struct bpf_task_work))
		*null = 0; /* The loader missed the functions: see "Loaders" in bpf_task_work.h */
	return BPF_TASK_WORK_ENOSYS;
}

static __always_inline int
__bpf_task_work_signal(int impl, struct task_struct *task, struct bpf_task_work *tw, void *map,
		       int (*callback)(struct bpf_map *map, void *key, void *value))
{
	struct __bpf_task_work_arg *arg = (struct __bpf_task_work_arg *)task;
	__bpf_task_work_fn fn = (__bpf_task_work_fn)callback;

	if (impl != 1 && bpf_ksym_exists(__bpf_task_work_signal4))
		return __bpf_task_work_signal4(arg, tw, map, fn);
	if (impl != 0 && bpf_ksym_exists(__bpf_task_work_signal5))
		return __bpf_task_work_signal5(arg, tw, map, fn, (void *)0);
	return __bpf_task_work_absent(impl);
}

static __always_inline int
__bpf_task_work_resume(int impl, struct task_struct *task, struct bpf_task_work *tw, void *map,
		       int (*callback)(struct bpf_map *map, void *key, void *value))
{
	struct __bpf_task_work_arg *arg = (struct __bpf_task_work_arg *)task;
	__bpf_task_work_fn fn = (__bpf_task_work_fn)callback;

	if (impl != 1 && bpf_ksym_exists(__bpf_task_work_resume4))
		return __bpf_task_work_resume4(arg, tw, map, fn);
	if (impl != 0 && bpf_ksym_exists(__bpf_task_work_resume5))
		return __bpf_task_work_resume5(arg, tw, map, fn, (void *)0);
	return __bpf_task_work_absent(impl);
}

/*
 * Whether the running kernel has task work. Without the barriers the compiler would look
 * at the bits of both addresses at once, which the verifier does not let it.
 */
static __always_inline int bpf_task_work_supported(void)
{
	int args4 = bpf_ksym_exists(__bpf_task_work_signal4);
	int args5 = bpf_ksym_exists(__bpf_task_work_signal5);

	barrier_var(args4);
	barrier_var(args5);
	return args4 || args5 || __bpf_task_work_absent(__BPF_TASK_WORK_ANY) > 0;
}

/* Macros, as vmlinux.h may have functions of these names. */
#define bpf_task_work_schedule_signal(task, tw, map, callback) \
	__bpf_task_work_signal(__BPF_TASK_WORK_ANY, task, tw, map, callback)
#define bpf_task_work_schedule_resume(task, tw, map, callback) \
	__bpf_task_work_resume(__BPF_TASK_WORK_ANY, task, tw, map, callback)
#define bpf_task_work_schedule_signal_as(impl, task, tw, map, callback) \
	__bpf_task_work_signal(!!(impl), task, tw, map, callback)
#define bpf_task_work_schedule_resume_as(impl, task, tw, map, callback) \
	__bpf_task_work_resume(!!(impl), task, tw, map, callback)

#endif
