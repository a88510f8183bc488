# SPDX-License-Identifier: GPL-2.0
# BPF task work for Linux 6.12: build, boot, test. `make help` says what there is.

V ?= default
J ?= $(shell nproc)
T ?=
M ?=
SECS ?= 600
SEED ?=
VS ?=
CMD ?=

# What is given to this make is not for the kernel's, to which M= is a directory of modules.
MAKEOVERRIDES :=

VARIANTS  := default $(patsubst kernel/configs/task_work-%.config,%,$(wildcard kernel/configs/task_work-*.config))
ifeq ($(filter $(V),$(VARIANTS)),)
$(error unknown V=$(V); there are: $(VARIANTS) (kernel/configs))
endif
ifneq ($(filter run,$(MAKECMDGOALS)),)
$(if $(CMD),,$(error make run needs CMD='...'))
endif
FRAGMENTS := kernel/configs/task_work.config $(filter %-$(V).config,$(wildcard kernel/configs/*.config))
# A variant is built with gcc, or as its fragment says in a line like: # LLVM=-19
export LLVM := $(shell sed -n 's/^\# LLVM=//p' $(FRAGMENTS))
# and with the variables of its lines like: # make KCSAN_SANITIZE=n
KERNEL_MAKE := $(shell sed -n 's/^\# make //p' $(FRAGMENTS))

LINUX     := $(CURDIR)/build/linux
O         := $(CURDIR)/build/$(V)
IMAGE     := $(O)/arch/x86/boot/bzImage
SELFTESTS := $(O)/selftests
TASKSTR   := $(O)/taskstr
MAINLINE  := $(CURDIR)/build/mainline
CLANG     := clang-19
STRIP     := llvm-strip-19

# What Debian 12 and 13 call what the build and the guest need. SRC= is a kernel source of your own.
PACKAGES  := $(if $(SRC),,$(shell awk '$$1 == "package" { print $$2 }' base)) bc bison busybox-static clang-19 flex gcc git \
	     libc6-dev libelf-dev $(if $(LLVM),lld$(LLVM)) llvm-19 make pahole python3 qemu-system-x86 rsync xz-utils zlib1g-dev
CHECKERS  := perl python3-git python3-ply shellcheck sparse
export SRC

.NOTPARALLEL:
.PHONY: help demo test test-all bench torture model mutants shell run apply refresh check plot mainline series packages source config kernel selftests bench-selftests taskstr

help: ## this list
	@echo "BPF task work for Linux 6.12. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo "V=variant of the kernel ($(VARIANTS)), J=jobs ($(J)), SRC=kernel source (a tarball or a directory)."

demo: taskstr ## the main job, from nothing: what a callback reads that its NMI could not
	@vm/run -i $(IMAGE) -f $(TASKSTR)/taskstr -- /taskstr -n 512 -f /mnt/strings

test: selftests ## the tests, from nothing; T=task_work only some
	@vm/test $(O) '$(T)'

test-all: ## the tests on every variant of the kernel, and a table
	@MAKE='$(MAKE)' vm/test-all $(VARIANTS)

bench: bench-selftests $(filter mainline,$(VS)) ## what task work costs, counted in instructions if emulated; VS=image: on that kernel, too; VS=mainline
	@CLANG=$(CLANG) vm/bench $(O) $(VS:mainline=$(MAINLINE)/objects/arch/x86/boot/bzImage)

torture: selftests ## everything at once for SECS=600 seconds; SEED=n repeats what was decided
	@vm/run -i $(IMAGE) -m 4G -s 8 -t 900 -a log_buf_len=64M -f $(SELFTESTS)/guest:/selftests -- sh -c 'cd /selftests && \
		TASK_WORK_TORTURE_SECS=$(SECS) TASK_WORK_TORTURE_SEED=$(SEED) exec ./test_progs -v -t task_work_torture'

model: source ## search the model of the state machine, with and without its guards, and compare it with the C code
	@vm/packages spin gcc
	@tools/verification/task_work/run $(LINUX)/kernel/bpf/helpers.c

mutants: selftests ## take one guard out at a time: a test must notice; M='no_mm_check ...' only some
	@J=$(J) mutants/run $(O) $(M)

shell: selftests taskstr ## a prompt in the guest
	@vm/run -i $(IMAGE) -f $(SELFTESTS)/guest:/selftests -f $(TASKSTR)/taskstr -I

run: selftests taskstr ## one command in the guest: CMD='uname -a'
	@vm/run -i $(IMAGE) -f $(SELFTESTS)/guest:/selftests -f $(TASKSTR)/taskstr -- sh -c '$(subst ','\'',$(CMD))'

apply: source ## the series -> commits in build/linux

refresh: packages ## commits in build/linux -> the series
	@patches/refresh

check: source ## round trip, checkpatch, sparse, warnings, kernel-doc, shellcheck, each step builds
	@vm/packages $(CHECKERS)
	@J=$(J) patches/check $(FRAGMENTS)

plot: ## draw what make bench VS=mainline found, in Documentation/bpf
	@vm/packages gnuplot-nox
	@vm/plot $(O)/bench/ours.figures $(O)/bench/theirs.figures "$$(sed -n 's/^kernel: //p' $(O)/bench/theirs.log)" Documentation/bpf

mainline: packages ## a kernel that has task work of its own, with our configuration, in build/mainline
	@J=$(J) vm/stage mainline vm/mainline $(MAINLINE) $(FRAGMENTS)

series: source ## the whole series as mails for git am, in build/series
	@patches/mail build/series

packages:
	@vm/packages $(PACKAGES)
	@mkdir -p build && : >build/log

source: packages
	@vm/stage source patches/unpack
	@patches/apply

config: source
	@vm/stage config vm/config $(LINUX) $(O) $(FRAGMENTS)

kernel: config
	@vm/stage kernel $(MAKE) -C $(LINUX) O=$(O) $(KERNEL_MAKE) -j$(J)

selftests: kernel
	@vm/stage selftests vm/selftests $(LINUX) $(O) test_progs CLANG=$(CLANG) LLVM_STRIP=$(STRIP) -j$(J)

bench-selftests: kernel
	@vm/stage bench vm/selftests $(LINUX) $(O) bench CLANG=$(CLANG) LLVM_STRIP=$(STRIP) -j$(J)

taskstr: kernel
	@mkdir -p $(TASKSTR)
	@vm/stage taskstr $(MAKE) -C $(LINUX)/tools/bpf/taskstr OUTPUT=$(TASKSTR) VMLINUX_BTF=$(O)/vmlinux CLANG=$(CLANG) -j$(J)
