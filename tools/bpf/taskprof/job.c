// SPDX-License-Identifier: GPL-2.0
/*
 * What reads files that anybody may have made is done by a child: a file can be cut off
 * while it is mapped, be such that a library fails at it, or belong to a file system that
 * never answers. Then the child ends, and another one goes on behind the question that it
 * was at, without that file. It inherits all that is known, and sends answers, each with
 * the number of the question.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prof.h"

#define READ_SIZE	65536
#define MAX_ANSWER	65536
#define MAX_MEMORY	(16ULL << 30)

struct head {
	uint64_t question;
	uint64_t len;
};

/* Which file the child is about, for the case that it gets no further. */
static uint32_t *present_file;

void tell_file(uint32_t file)
{
	if (present_file)
		*present_file = file;
}

/* In the child. */
void answer(FILE *to, size_t question, const void *data, size_t len)
{
	struct head head = { .question = question, .len = len };

	fwrite(&head, sizeof(head), 1, to);
	fwrite(data, len, 1, to);
}

/* If memory ends, it is not the one that has the samples that should go. */
static void be_expendable(void)
{
	const struct rlimit none = {}, memory = { MAX_MEMORY, MAX_MEMORY };
	FILE *file = fopen("/proc/self/oom_score_adj", "we");

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_AS, &memory);
	if (file) {
		fputs("1000", file);
		fclose(file);
	}
}

static void __attribute__((noreturn)) work_for(struct job *job, int fd)
{
	FILE *to = fdopen(fd, "w");

	be_expendable();
	leave_sampling();
	if (write(fd, "", 1) == 1 && to)
		job->work(job->next, to);
	_exit(!to || fclose(to));
}

/* Who waits for a file system does not end at once, and nobody waits for it. */
static pid_t *ending;
static size_t nr_ending;

static void reap(void)
{
	size_t i, nr = 0;

	for (i = 0; i < nr_ending; i++)
		if (!waitpid(ending[i], NULL, WNOHANG))
			ending[nr++] = ending[i];
	nr_ending = nr;
}

void end_job(struct job *job)
{
	close(job->fd);
	job->fd = -1;
	kill(job->pid, SIGKILL);
	ending = must(realloc(ending, (nr_ending + 1) * sizeof(*ending)));
	ending[nr_ending++] = job->pid;
	reap();
}

static bool start_child(struct job *job, int fds[2])
{
	char byte;

	fflush(NULL);
	job->pid = fork();
	if (!job->pid)
		work_for(job, fds[1]);
	close(fds[1]);
	job->fd = fds[0];
	job->len = 0;
	if (job->pid > 0) {
		/* Until the child has left the BPF program alone, it would keep it attached. */
		if (read(fds[0], &byte, 1) == 1)
			return true;
		end_job(job);
		return false;
	}
	close(fds[0]);
	return false;
}

/* From the first question that has no answer. Returns false if that can't be. */
bool start_job(struct job *job)
{
	int fds[2];

	reap();
	if (!present_file) {
		present_file = mmap(NULL, sizeof(*present_file), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (present_file == MAP_FAILED)
			present_file = NULL;
	}
	tell_file(0);
	if (pipe2(fds, O_CLOEXEC)) {
		warn("pipe");
		return false;
	}
	if (start_child(job, fds))
		return true;
	warn("no child to read files");
	return false;
}

/* The child got no further: nobody tries that file again. Returns false if it was at none. */
bool give_up_file(void)
{
	uint32_t file = present_file ? *present_file : 0;
	struct binary *binary = get_binary(file % (1U << (64 - FILE_SHIFT)));

	if (!file || binary->is_bad)
		return false;
	binary->is_bad = true;
	profile.files_unread++;
	if (opt.verbose)
		warnx("%s: can't be read", binary->path ?: "a file");
	return true;
}

/* Returns false if the child is out of its mind. */
static bool take_answers(struct job *job)
{
	const char *at = job->data;
	size_t rest = job->len;
	struct head head;

	while (rest >= sizeof(head)) {
		memcpy(&head, at, sizeof(head));
		if (head.len > MAX_ANSWER || head.question < job->next || head.question >= job->nr)
			return false;
		if (rest - sizeof(head) < head.len)
			break;
		job->take(head.question, at + sizeof(head), head.len);
		job->next = head.question + 1;
		at += sizeof(head) + head.len;
		rest -= sizeof(head) + head.len;
	}
	memmove(job->data, at, rest);
	job->len = rest;
	return true;
}

/* Take what has come, or comes within @ms milliseconds. */
enum job_state go_on(struct job *job, int ms)
{
	struct pollfd poll_fd = { .fd = job->fd, .events = POLLIN };
	ssize_t len;
	int nr;

	if (job->size - job->len < READ_SIZE) {
		job->size = job->len + 2 * READ_SIZE;
		job->data = must(realloc(job->data, job->size));
	}
	nr = poll(&poll_fd, 1, ms);
	if (!nr || (nr < 0 && errno == EINTR))
		return JOB_WAITS;
	len = read(job->fd, job->data + job->len, job->size - job->len);
	job->len += len > 0 ? len : 0;
	if (len > 0 && take_answers(job))
		return JOB_WORKS;
	end_job(job);
	return JOB_ENDED;
}
