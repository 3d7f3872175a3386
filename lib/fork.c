// SPDX-License-Identifier: MIT
/*
 * fork and exec, across machines. A process cannot be stopped and described by a program that it
 * waits for: so a helper that is nobody's child does it, while the process looks again and again
 * whether it is done, or whether it finds itself a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/mitosis.h"

#define FORK_CLI	"mitosis-cli"
#define FORK_CHILD_ID	"/run/mitosis-child/id"
#define FORK_DIR	"/run"		/* where the helper leaves its word */
#define FORK_WAIT_MS	600000

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

/* Runs the command and writes its exit status to the file, which is empty until then. */
__attribute__((noreturn))
static void fork_helper(const char *word, char *const argv[])
{
	int status = 1 << 8, fd;
	sigset_t none;
	pid_t pid;

	setsid();
	pid = fork();
	if (pid)
		_exit(pid < 0);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* standard output is the caller's own; what else it has open is nobody's but its */
	dup2(STDERR_FILENO, STDOUT_FILENO);
	fd = open("/dev/null", O_RDONLY);
	if (fd >= 0)
		dup2(fd, STDIN_FILENO);
	syscall(SYS_close_range, 3, ~0U, 0);
	pid = fork();
	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	fd = open(word, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		dprintf(fd, "%d\n", status);
	_exit(0);
}

/* A file for the helper's word that is nobody else's. */
static int fork_word(char *word, size_t len)
{
	uint64_t unique;
	int fd;

	if (getrandom(&unique, sizeof(unique), 0) != sizeof(unique))
		return -EIO;
	snprintf(word, len, FORK_DIR "/mitosis-fork-%d-%016" PRIx64, (int)getpid(), unique);
	fd = open(word, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Nothing is kept open meanwhile: the snapshot is taken somewhere in here. 1: this is a child. */
static int fork_await(const char *word, const char *before)
{
	struct timespec pause = { 0, 2000000 };
	char now[64];
	struct stat st;
	bool told = false;
	int i;

	for (i = 0; i < FORK_WAIT_MS / 2; i++) {
		if (told || (!stat(word, &st) && st.st_size))
			told = true;
		/*
		 * where a child comes to itself: it looks at this after the word, which may be its
		 * parent's
		 */
		fork_child_id(now, sizeof(now));
		if (*now && strcmp(now, before))
			return 1;
		if (told)
			return 0;
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

int mitosis_fork_prepare(unsigned int id, unsigned int flags)
{
	char before[64], word[80], pid[16], name[32], text[16] = "";
	char *argv[] = {
		FORK_CLI, "prepare", "--replace", "--pid", pid, "--name", name, NULL, NULL
	};
	int status = 0, fd, ret;
	pid_t helper, got;

	if (flags & ~MITOSIS_FORK_PIN)
		return -EINVAL;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(name, sizeof(name), MITOSIS_FORK_NAME, id);
	if (flags & MITOSIS_FORK_PIN)
		argv[7] = "--pin";
	fork_child_id(before, sizeof(before));
	ret = fork_word(word, sizeof(word));
	if (ret)
		return ret;
	helper = fork();
	if (!helper)
		fork_helper(word, argv);
	ret = helper < 0 ? -errno : 0;
	do {
		got = helper > 0 ? waitpid(helper, &status, 0) : helper;
	} while (got < 0 && helper > 0 && errno == EINTR);
	/* with SIGCHLD ignored there is nothing to wait for */
	if (got == helper && status)
		ret = -EAGAIN;
	if (!ret)
		ret = fork_await(word, before);
	if (ret) {
		if (ret < 0)
			unlink(word);
		return ret;
	}
	fd = open(word, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '1';
	if (fd >= 0)
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
