#!/bin/bash
# Two BPF objects that call the same kernel function can't be linked by bpftool 7.5 (libbpf 1.5), whichever function it is; an
# object that calls it twice is fine, and so is bpftool 7.8 (libbpf 1.8). The linker wants the size of what both declare, and a
# function has none. Seen with Debian's bpftool 7.5.0+6.12.117-1 (13) and 7.8.0+7.3.4-1~bpo13+1 (13, backports), objects by
# clang 19:
#	7.5: libbpf: failed to resolve size of underlying type: -22
#	7.8: links, and the object has one symbol bpf_task_release
# For users of this series: Documentation/bpf/task_work.rst, "Loaders and compilers".
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fetch() {
	"$here/../vm/fetch" "$1" "$2" "$3" >log 2>&1 || { cat log; exit 1; }
}
fetch trixie bpftool=7.5.0+6.12.117-1 7.5
fetch trixie-backports 'bpftool=7.8.0+7.3.4-1~bpo13+1' 7.8
# Both want the C library of Debian 13, and what else they are linked with.
for package in libc6 libelf1t64 zlib1g libcap2 libssl3t64 libzstd1; do fetch trixie "$package" root; done

bpftool() {
	local loader
	loader=$(find root -name 'ld-linux-*.so.2' -type f)
	"$loader" --library-path "${loader%/*}" "$1/usr/sbin/bpftool" "${@:2}"
}

for name in one two; do
	cat >"$name.c" <<-END
	struct task_struct {
		int pid;
	};
	extern void bpf_task_release(struct task_struct *task) __attribute__((section(".ksyms")));

	__attribute__((section("tp_btf/task_newtask"))) int $name(unsigned long long *ctx)
	{
		bpf_task_release((struct task_struct *)ctx[0]);
		return 0;
	}
	END
	"${CLANG:-clang}" -g -O2 --target=bpf -c "$name.c" -o "$name.o"
done

if bpftool 7.5 gen object both.o one.o two.o 2>said; then echo "bpftool 7.5 links them now"; exit 1; fi
grep -F 'failed to resolve size of underlying type: -22' said
bpftool 7.5 gen object alone.o one.o
bpftool 7.8 gen object both.o one.o two.o
[ "$(readelf -sW both.o 2>/dev/null | grep -c ' UND bpf_task_release$')" = 1 ]
echo 'bpftool 7.8 links them'
