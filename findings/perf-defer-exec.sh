#!/bin/bash
# perf's deferred user callchains give a sample in execve() the stack of the program that has not begun: the kernel walks the stack
# when the thread returns to user mode, and perf does not see that an execve() came in between. Debian's perf and kernel 7.3.4
# (linux-perf and linux-binary-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1, trixie-backports), with a program that does little else:
#	samples in execve(): 793, under _start: 793, under again: 0
# _start is the first instruction of the new program, and again() is what calls execve(). How many there are depends on the machine.
# For users of this series: tools/bpf/taskprof/README, "Beside perf".
set -eu -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fetch() {
	"$here/../vm/fetch" "$@" >log 2>&1 || { cat log; exit 1; }
}
version=7.3.4-1~bpo13+1
fetch trixie-backports "linux-binary-7.3.4+deb13-cloud-amd64=$version" kernel
fetch -d trixie-backports "linux-perf=$version" perf
image=$(find kernel -name 'vmlinuz*' -type f)
loader=$(find perf -name 'ld-linux-*.so.2' -type f)
mkdir -p guest/lib
cp perf/usr/bin/perf guest
"$loader" --library-path "${loader%/*}" --list guest/perf | awk '$2 == "=>" { print $3 }' | xargs cp -Lt guest/lib
cp "$loader" guest/lib/ld.so

# Each function is on the stack: nothing is optimised, and the first instruction is that of _start.
cat >again.c <<'END'
static long call(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return ret;
}

/* argv[1] is how often, in letters. */
static void again(char **argv)
{
	static char *env[] = { 0 };

	if (argv[1][0]) {
		argv[1]++;
		call(59, (long)argv[0], (long)argv, (long)env);
	}
	call(231, 0, 0, 0);
}

__attribute__((used)) void begin(long *stack)
{
	again((char **)(stack + 1));
}

asm(".globl _start\n_start: xor %ebp, %ebp\n\tmov %rsp, %rdi\n\tcall begin\n");
END
"${CC:-gcc}" -O0 -fno-omit-frame-pointer -fno-stack-protector -fno-pie -no-pie -nostdlib -static again.c -o guest/again

# shellcheck disable=SC2016 # the guest's variables
"$here/../vm/run" -s 1 -t 900 -i "$image" -o "$work/vm" -g /tmp/text -f "$work/guest:/guest" -- sh -c '
	perf() { /guest/lib/ld.so --library-path /guest/lib /guest/perf "$@"; }
	cd /tmp && perf record -q -F 999 -e cpu-clock:I --call-graph fp,defer -o data -- /guest/again '"$(printf '%0500d' 0)"' &&
		perf script -i data -F comm,ip,sym >text'

# A sample is a name, then a line for each frame from the innermost on: 16 digits, and the function.
awk '
	function end_sample() {
		if (kernel ~ /execve/) {
			nr++
			start += user == " _start"
			again += user ~ / again/
		}
		kernel = user = ""
	}
	/^[^\t ]/ { end_sample() }
	/^[\t ]/ && NF > 1 { if ($1 ~ /^ffff/) kernel = kernel " " $2; else user = user " " $2 }
	END {
		end_sample()
		printf "samples in execve(): %d, under _start: %d, under again: %d\n", nr, start, again
		exit !(nr >= 50 && start > nr / 2)
	}' vm/text
