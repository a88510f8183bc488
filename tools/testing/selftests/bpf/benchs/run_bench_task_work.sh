#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Each line is a name, a figure and its unit. BENCH= runs the bench in another way.

set -euf

BENCH=${BENCH:-sudo ./bench -q -w1 -d1}

# Memory first: what other cases free comes back when the kernel gets to it.
$BENCH task-work --case memory --elems 50000
for name in task irqs-off nmi floor busy other; do
	$BENCH task-work --case $name
done
for elems in 500 16000 50000; do
	$BENCH task-work --case delete --elems $elems
	$BENCH task-work --case drop --elems $elems
done
# What many do at once, each on a CPU and an element of its own.
producers=1
while [ $producers -le "$(nproc)" ]; do
	$BENCH -a -p $producers task-work --case throughput |
		sed -n "s,^Summary: throughput *\\([0-9.]*\\) .*,throughput-$producers \\1 M/s,p"
	producers=$((producers * 2))
done
