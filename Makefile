# SPDX-License-Identifier: GPL-2.0
# BPF task work: build, boot, test. `make help` says what there is.

V ?= default
J ?= $(shell nproc)
T ?=
M ?=
SECS ?= 600
SEED ?=
VS ?=
CMD ?=
DESTDIR ?=
prefix ?= /usr
JSON ?=
JUNIT ?=
FLAVOUR ?= cloud-amd64
RUNNER ?= test_progs
# The kernel that the series is for, and one series of several (a heading of patches/BASE/series): each is built in a directory of
# its own. patches/where knows what there is.
override BASE := $(shell BASE='$(BASE)' SERIES='$(SERIES)' bash -c '. patches/where && echo $$BASE')
$(if $(BASE),,$(error patches/ has no such series))
export BASE SERIES
BUILD := build/$(BASE)$(addprefix -,$(SERIES))

# The machine that the kernel is for: this one, or ARCH=. vm/arch knows what it is called, built and emulated with.
ABOUT := $(shell MACHINE='$(ARCH)' bash -c '. patches/where && . vm/arch && echo $$machine $$boot $$triplet $${cross:-none} $$emulator_package')
$(if $(ABOUT),,$(error ARCH=$(ARCH) is not supported))
unexport ARCH
export MACHINE := $(word 1,$(ABOUT))
CROSS := $(filter-out none,$(word 4,$(ABOUT)))

# What is given to this make is not for the kernel's, to which M= is a directory of modules.
MAKEOVERRIDES :=

VARIANTS  := default $(patsubst kernel/configs/task_work-%.config,%,$(wildcard kernel/configs/task_work-*.config))
ifeq ($(filter $(V),$(VARIANTS)),)
$(error unknown V=$(V); there are: $(VARIANTS) (kernel/configs))
endif
ifneq ($(filter run,$(MAKECMDGOALS)),)
$(if $(CMD),,$(error make run needs CMD='...'))
endif
# Debian's kernels and their packages are amd64's here.
ifneq ($(MACHINE),x86_64)
$(foreach target,$(filter test-kernels peer mutants deb test-deb,$(MAKECMDGOALS)),$(error make $(target) is for ARCH=x86_64 only))
endif
FRAGMENTS := kernel/configs/task_work.config kernel/configs/task_work.$(MACHINE).config $(filter %-$(V).config,$(wildcard kernel/configs/*.config))
# A variant is built with gcc, or as its fragment says in a line like: # LLVM=-19
export LLVM := $(shell sed -n 's/^\# LLVM=//p' $(FRAGMENTS))
# and with the variables of its lines like: # make KCSAN_SANITIZE=n
KERNEL_MAKE := $(shell sed -n 's/^\# make //p' $(FRAGMENTS))

LINUX     := $(CURDIR)/$(BUILD)/linux
OBJECTS   := $(BUILD)$(if $(CROSS),/$(MACHINE))
O         := $(CURDIR)/$(OBJECTS)/$(V)
BOOT      := $(word 2,$(ABOUT))
IMAGE     := $(O)/$(BOOT)
SELFTESTS := $(O)/selftests
TASKPROF  := $(O)/taskprof
# Its stacks have frame pointers, or registers that it knows: s390x has neither.
PROFILED  := $(if $(filter s390x,$(MACHINE)),,taskprof-tests)
MAINLINE  := $(CURDIR)/$(OBJECTS)/mainline
UNPATCHED := $(CURDIR)/$(OBJECTS)/base
DEB       := $(CURDIR)/$(BUILD)/deb/$(FLAVOUR)
DEB_OBJECTS := $(if $(filter vm,$(FLAVOUR)),$(O),$(DEB)/objects)
CLANG     := clang-19
STRIP     := llvm-strip-19

# What Debian 12 and 13 call what the build and the guest need. SRC= is a kernel source of your own.
PACKAGES  := $(if $(SRC),,$(shell awk '$$1 == "package" { print $$2 }' patches/$(BASE)/base)) bc bison busybox-static clang-19 flex gcc git \
	     libc6-dev libelf-dev $(if $(LLVM),lld$(LLVM)) llvm-19 make pahole patch python3 $(word 5,$(ABOUT)) rsync xz-utils zlib1g-dev \
	     $(if $(CROSS),$(addsuffix -$(subst _,-,$(word 3,$(ABOUT))),gcc g++))
# What else the kernel's own packaging needs.
PACKAGERS := cpio debhelper dpkg-dev kmod libssl-dev openssl $(if $(filter vm,$(FLAVOUR)),,linux-config-$(BASE))
CHECKERS  := perl python3-git python3-ply shellcheck sparse
SPHINX    := graphviz perl python3-sphinx
export SRC

.NOTPARALLEL:
.PHONY: help base demo test test-all test-kernels peer install-headers bench trace torture model litmus mutants shell run apply refresh check check-arch plot mainline series packages source config kernel selftests bench-selftests taskprof htmldocs check-base quilt deb test-deb

help: ## this list
	@echo "BPF task work for Linux $(BASE). Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo "V=variant of the kernel ($(VARIANTS)), J=jobs ($(J)), SRC=kernel source (a tarball or a directory),"
	@echo "ARCH=machine (x86_64 arm64 s390x; $(MACHINE)): another one's kernel is cross-compiled, and emulated."
	@bash -c '. patches/where && echo "SERIES=only up to this one ($$(headings | paste -sd" ")), BASE=kernel ($$(bases | paste -sd" "))."'

demo: taskprof ## the main job, from nothing: profile short-lived processes, count what the callback recovers, draw demo.svg
	@vm/packages libdevel-nytprof-perl
	@vm/demo $(IMAGE) $(TASKPROF) $(OBJECTS)

test: selftests $(PROFILED) ## the tests, from nothing; T=task_work only some; RUNNER=test_progs-no_alu32; JSON=file, JUNIT=file: results for machines
	@$(if $(JUNIT),vm/packages python3-junitparser)
	@RUNNER='$(RUNNER)' JSON='$(JSON)' JUNIT='$(JUNIT)' vm/test $(O) '$(T)'

test-all: ## the tests on every variant of the kernel and on other machines, and a table
	@MAKE='$(MAKE)' vm/test-all $(VARIANTS) $(addsuffix /default,$(filter-out $(MACHINE),arm64 s390x))

test-kernels: selftests taskprof ## the header on our kernel and on the distribution's, old and new (vm/KERNELS), and a table
	@MAKE='$(MAKE)' CLANG=$(CLANG) vm/test-kernels $(O) $(TASKPROF)

bench: bench-selftests $(filter base mainline,$(VS)) ## what it costs, counted in instructions if emulated; VS=image: on that kernel, too; VS=mainline; VS=base: maps without task work on the base
	@CLANG=$(CLANG) vm/bench $(O) $(if $(filter base,$(VS)),-b $(UNPATCHED)/$(BOOT),$(VS:mainline=$(MAINLINE)/objects/$(BOOT)))

trace: bench-selftests $(filter mainline,$(VS)) ## what is executed from a schedule to the end of its callback, and how much of it is atomic; VS=mainline
	@vm/trace $(O) $(if $(filter mainline,$(VS)),$(MAINLINE)/objects)

torture: selftests ## everything at once for SECS=600 seconds; SEED=n repeats what was decided
	@vm/run -i $(IMAGE) -m 4G -s 8 -t 900 -a log_buf_len=64M -f $(SELFTESTS)/guest:/selftests -- sh -c 'cd /selftests && \
		TASK_WORK_TORTURE_SECS=$(SECS) TASK_WORK_TORTURE_SEED=$(SEED) exec ./test_progs -v -t task_work_torture'

model: source ## search the model of the state machine, with and without its guards, and compare it with the C code
	@vm/packages spin gcc
	@tools/verification/task_work/run $(LINUX)/kernel/bpf/task_work.h

litmus: source ## the ordering rules of the state machine under the kernel's memory model, with and without each barrier
	@vm/herd7
	@HERD7=$(CURDIR)/vm/herd7 tools/verification/task_work/litmus/run $(LINUX)/tools/memory-model

mutants: selftests ## take one guard out at a time: a test must notice; M='no_mm_check ...' only some
	@J=$(J) mutants/run $(O) $(M)

peer: taskprof ## taskprof beside perf and its deferred callchains, on the newest kernel of vm/KERNELS: which stacks are right, and what they cost
	@vm/peer $(TASKPROF)

install-headers: ## bpf_task_work.h for BPF programs, beside libbpf's headers; DESTDIR=, prefix=/usr
	@install -D -m 644 -t $(DESTDIR)$(prefix)/include/bpf tools/testing/selftests/bpf/bpf_task_work.h

shell: selftests taskprof ## a prompt in the guest
	@vm/run -i $(IMAGE) -f $(SELFTESTS)/guest:/selftests -f $(TASKPROF)/taskprof -f $(TASKPROF)/workload -I

run: selftests taskprof ## one command in the guest: CMD='uname -a'
	@vm/run -i $(IMAGE) -f $(SELFTESTS)/guest:/selftests -f $(TASKPROF)/taskprof -f $(TASKPROF)/workload -- sh -c '$(subst ','\'',$(CMD))'

apply: source ## the series -> commits in a kernel tree, build/BASE/linux

refresh: packages ## commits in that tree -> the series
	@patches/refresh

check: source ## round trip, checkpatch, sparse, warnings, kernel-doc, shellcheck, each step builds
	@vm/packages $(CHECKERS)
	@J=$(J) patches/check $(FRAGMENTS)

check-arch: source ## what depends on the architecture or the configuration, compiled for each of vm/BUILDS; M='arm64 no_smp ...' only some
	@vm/packages libdw-dev $$(vm/check-arch -p $(M))
	@J=$(J) CLANG=$(CLANG) vm/check-arch $(firstword $(FRAGMENTS)) $(M)

htmldocs: source ## Documentation/bpf as web pages; a warning that the base does not give fails
	@vm/packages $(SPHINX)
	@vm/stage htmldocs patches/htmldocs
	@tail -n 3 $(BUILD)/log

check-base: source ## the series on each source package of its kernel in Debian's archive, with no fuzz; oldest and newest compiled
	@vm/packages quilt
	@J=$(J) patches/check-base $(FRAGMENTS)

plot: ## draw what make bench VS=mainline found, in Documentation/bpf
	@vm/packages gnuplot-nox
	@vm/plot $(O)/bench/ours.figures $(O)/bench/theirs.figures "$$(sed -n 's/^kernel: //p' $(O)/bench/theirs.log 2>/dev/null)" Documentation/bpf

base: source ## the base without the series, with our configuration, in build/BASE/base
	@J=$(J) vm/stage base vm/base $(LINUX) $(UNPATCHED) $(FRAGMENTS)

mainline: packages ## a kernel that has task work of its own, with our configuration, in build/BASE/mainline
	@J=$(J) vm/stage mainline vm/mainline $(MAINLINE) $(FRAGMENTS)

series: source ## the mails of each series for git am, with cover letters and what checkpatch says, in build/BASE/series
	@vm/packages $(CHECKERS)
	@patches/mail $(BUILD)/series

quilt: source ## the series as debian/patches of a Debian source package, in DESTDIR (build/BASE/quilt)
	@patches/quilt '$(or $(DESTDIR),$(BUILD)/quilt)'

deb: $(if $(filter vm,$(FLAVOUR)),kernel,source) ## Debian packages of the kernel with the series, in build/BASE/deb; FLAVOUR=vm: of the guest's, quickly
	@vm/packages $(PACKAGERS)
	@J=$(J) vm/stage deb vm/deb $(LINUX) $(CURDIR)/$(BUILD)/deb $(FLAVOUR) $(if $(filter vm,$(FLAVOUR)),$(O))
	@ls -sh $(DEB)/*.deb

# The kernel's other tests take a configuration that Debian's is not. It has no CONFIG_FUNCTION_ERROR_INJECTION either.
test-deb: deb ## the tests of the series on the kernel of those packages
	@vm/stage selftests vm/selftests $(LINUX) $(DEB_OBJECTS) test_progs CLANG=$(CLANG) LLVM_STRIP=$(STRIP) -j$(J)
	@dpkg-deb --fsys-tarfile $(DEB)/linux-image-*.deb | tar -xO --wildcards './boot/vmlinuz-*' >$(DEB)/vmlinuz
	@SKIPS='$(if $(filter vm,$(FLAVOUR)),,task_work_types/sleepable_fentry)' vm/test $(DEB_OBJECTS) '$(or $(T),$(shell vm/selftests -l))' $(DEB)/vmlinuz

packages:
	@vm/packages $(PACKAGES)
	@mkdir -p $(BUILD) && : >$(BUILD)/log
	@$(if $(CROSS),vm/stage cross vm/cross)

source: packages
	@vm/stage source patches/unpack
	@patches/apply

config: source
	@vm/stage config vm/config $(LINUX) $(O) $(FRAGMENTS)

kernel: config
	@vm/stage kernel $(MAKE) -C $(LINUX) O=$(O) $(KERNEL_MAKE) -j$(J)

selftests: kernel
	@vm/stage selftests vm/selftests $(LINUX) $(O) $(RUNNER) CLANG=$(CLANG) LLVM_STRIP=$(STRIP) -j$(J)

bench-selftests: kernel
	@vm/stage bench vm/selftests $(LINUX) $(O) bench CLANG=$(CLANG) LLVM_STRIP=$(STRIP) -j$(J)

taskprof taskprof-tests: kernel
	@vm/packages libdw-dev
	@vm/stage taskprof vm/taskprof $(LINUX) $(TASKPROF) VMLINUX_BTF=$(O)/vmlinux CLANG=$(CLANG) -j$(J)
