// SPDX-License-Identifier: MIT
/*
 * fork and exec, across machines. A process cannot be stopped and described by a program that it waits for: so a helper that is nobody's
 * child does it, while the process looks again and again whether it is done, or whether it finds itself a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/mitosis.h"

#define FORK_CLI	"mitosis-cli"
#define FORK_CHILD_ID	"/run/mitosis-child/id"
#define FORK_DIR	"/run"		/* where the helper leaves its word */

static void fork_child_id(char *buf, size_t len)
{
	int fd = open(FORK_CHILD_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, buf, len - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = 0;
}

/* Runs the command and leaves its exit status in a file of that name, which is there when it is whole. */
__attribute__((noreturn))
static void fork_helper(const char *word, char *const argv[])
{
	char temp[96];
	int status = 0, fd;
	pid_t pid;

	setsid();
	pid = fork();
	if (pid)
		_exit(pid < 0);
	pid = fork();
	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	else
		status = 1 << 8;
	snprintf(temp, sizeof(temp), "%s.new", word);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0) {
		dprintf(fd, "%d\n", status);
		close(fd);
		rename(temp, word);
	}
	_exit(0);
}

int mitosis_fork_prepare(unsigned int id, unsigned int flags)
{
	char before[64], now[64], word[80], pid[16], name[32], text[16] = "";
	char *argv[] = { FORK_CLI, "prepare", "--replace", "--pid", pid, "--name", name, NULL, NULL };
	struct timespec pause = { 0, 2000000 };
	int status, fd;
	pid_t helper;

	if (flags & ~MITOSIS_FORK_PIN)
		return -EINVAL;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(name, sizeof(name), MITOSIS_FORK_NAME, id);
	snprintf(word, sizeof(word), FORK_DIR "/mitosis-%s-%s", name, pid);
	if (flags & MITOSIS_FORK_PIN)
		argv[7] = "--pin";
	fork_child_id(before, sizeof(before));
	unlink(word);
	helper = fork();
	if (helper < 0)
		return -errno;
	if (!helper)
		fork_helper(word, argv);
	if (waitpid(helper, &status, 0) == helper && status)
		return -EAGAIN;
	for (;;) {
		/* this is where a child comes to itself: it looks at that first, as the parent's word may be there on the same machine */
		fork_child_id(now, sizeof(now));
		if (*now && strcmp(now, before))
			return 1;
		fd = open(word, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			break;
		nanosleep(&pause, NULL);
	}
	if (read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '1';
	close(fd);
	unlink(word);
	status = atoi(text);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return -ENOENT;
	return status ? -EIO : 0;
}

int mitosis_fork_resume(const char *node, unsigned int id, unsigned int flags)
{
	char name[32];
	char *argv[] = { FORK_CLI, "resume", name, "--foreground", "--from", (char *)node, NULL };

	if (flags)
		return -EINVAL;
	snprintf(name, sizeof(name), MITOSIS_FORK_NAME, id);
	if (!node || !*node)
		argv[4] = NULL;
	execvp(argv[0], argv);
	return -errno;
}
