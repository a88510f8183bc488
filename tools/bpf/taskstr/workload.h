/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __WORKLOAD_H
#define __WORKLOAD_H

#include <stdbool.h>

/* The string that the workload touches next. A sampler reads it by address. */
extern const char *next_string;

/**
 * make_string() - write the string that stands on a page of the file
 * @buf: STRING_LEN bytes
 * @nr: number of the page
 */
void make_string(char *buf, unsigned int nr);

/**
 * run_workload() - walk over the strings of a file, work a while before each
 * @path: file to make; it has no name any more once the walk begins
 * @nr_strings: number of strings, one a page
 * @announce_fd: gets a byte each time that next_string holds a new string
 * @finished: number of strings that may be touched; raised by somebody else
 * @resident: touch each string before it is announced as well; without it, no
 *	string is in memory when it is announced
 *
 * Any failure ends the process with a message; so does a string that is in
 * memory too early or not the one that was written.
 */
void run_workload(const char *path, unsigned int nr_strings, int announce_fd,
		  const unsigned int *finished, bool resident);

#endif /* __WORKLOAD_H */
