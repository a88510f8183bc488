#!/bin/bash
# gcc for arm64 takes the address of a weak symbol from a global offset table even with -fno-pie, which the kernel is built with: of
# a weak symbol only, as one that is missing is at 0, farther away than an instruction reaches. Linux 6.12 loads no module with such
# a relocation ("unsupported RELA relocation: 311"), so "if (!function)" of an optional function makes the module useless, but for
# arm64 only. A call of it, and its address in data, are relocated as ever. Seen with Debian's gcc-12-aarch64-linux-gnu
# 12.2.0-14cross1 (12) and gcc-14-aarch64-linux-gnu 14.2.0-19cross1 (13):
#	in code, weak:	adrp x0, :got:maybe
#	in code:	adrp x0, surely
#	in data, weak:	.xword maybe
# For this series: bpf_testmod of the selftests looks at a pointer in data.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >code.c <<END
extern int maybe(void) __attribute__((weak));
extern int surely(void);
void *in_data = maybe;
void *weak_in_code(void) { return maybe; }
void *in_code(void) { return surely; }
END

# compile SUITE PACKAGE=VERSION: its compiler proper, by its own C library.
compile() {
	local loader cc1
	"$here/../vm/fetch" -d "$1" "$2" "$1" >log 2>&1 || { cat log; exit 1; }
	loader=$(find "$1" -name 'ld-linux-x86-64.so.*' -type f)
	cc1=$(find "$1" -path '*/gcc-cross/*' -name cc1)
	"$loader" --library-path "${loader%/*}:$1/usr/lib/x86_64-linux-gnu" "$cc1" -quiet -O2 -fno-pie code.c -o "$1.s"
}

for compiler in bookworm/gcc-12-aarch64-linux-gnu=12.2.0-14cross1 trixie/gcc-14-aarch64-linux-gnu=14.2.0-19cross1; do
	suite=${compiler%%/*}
	compile "$suite" "${compiler#*/}"
	grep -E 'maybe|surely' "$suite.s"
	grep -qE 'adrp.*:got:maybe' "$suite.s"
	grep -qE 'adrp.* surely' "$suite.s"
	if grep ':got:surely' "$suite.s"; then exit 1; fi
	grep -qE '\.xword.*maybe' "$suite.s"
done
