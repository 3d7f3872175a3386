// SPDX-License-Identifier: MIT
/*
 * Standard input, output and error of a child, where they are pipes or terminals at its parent:
 * CRIU is given ours in their place. It opens them anew, which does for a pipe and a terminal; a
 * file would be written from its beginning, beside the descriptor of who started us, and a socket
 * cannot be opened. What was a terminal has to be one. So where ours does not serve, the child gets
 * a pipe, or a terminal of its own, and the first process of its namespace, which this is part of,
 * hands on what it writes there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static const int order[3] = { STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO };
/*
 * in that order; CRIU takes the first of a name: of those with the same one only the first is here
 */
static char keys[3][128];
static bool shell_job;

static struct relay {
	int fd, from, to;	/* from: -1 nothing comes any more; to: -1 for nobody */
	bool terminal;
} relays[3];
static int nrelays;

static int terminal = -1;	/* which of 0 to 2 CRIU is given in a terminal's place; -1: none */

static void stdio_load(const char *dir)
{
	json_object *stdio, *fds;
	char path[PATH_MAX], *text;
	int i, j;

	snprintf(path, sizeof(path), "%s/%s", dir, CLI_STDIO_IMAGE);
	text = cli_read_file(path);
	stdio = text ? json_tokener_parse(text) : NULL;
	free(text);
	fds = json_object_object_get(stdio, "fds");
	for (i = 0; i < 3 && json_object_is_type(fds, json_type_array); i++) {
		json_object *key = json_object_array_get_idx(fds, order[i]);

		if (json_object_is_type(key, json_type_string))
			snprintf(keys[i], sizeof(keys[i]), "%s", json_object_get_string(key));
		for (j = 0; j < i; j++)
			if (!strcmp(keys[i], keys[j]))
				keys[i][0] = 0;
	}
	shell_job = jbool(stdio, "shell_job");
	json_object_put(stdio);
}

/* What is written to @inner from now on, in place of @fd, can be read from @from. */
static int relay_add(int fd, int inner, int from, bool is_terminal)
{
	struct relay *r = &relays[nrelays];

	*r = (struct relay){ .fd = fd, .from = from, .to = -1, .terminal = is_terminal };
	if (fd != STDIN_FILENO)
		r->to = fcntl(fd, F_DUPFD_CLOEXEC, 4);
	if ((fd != STDIN_FILENO && r->to < 0) || fcntl(from, F_SETFL, O_NONBLOCK) ||
	    dup2(inner, fd) < 0)
		return -errno;
	close(inner);
	nrelays++;
	return 0;
}

static int relay_terminal(int fd)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	char name[64];

	if (master < 0 || grantpt(master) || unlockpt(master) ||
	    ptsname_r(master, name, sizeof(name)))
		return -errno;
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return slave < 0 ? -errno : relay_add(fd, slave, master, true);
}

static int relay_pipe(int fd)
{
	int p[2];

	return pipe2(p, O_CLOEXEC) ? -errno : relay_add(fd, p[1], p[0], false);
}

int stdio_begin(const char *dir)
{
	struct stat st;
	int i, ret = 0;

	stdio_load(dir);
	for (i = 0; i < 3 && !ret; i++) {
		int fd = order[i];

		if (!strncmp(keys[i], "tty[", 4)) {
			if (!isatty(fd))
				ret = relay_terminal(fd);
			else if (terminal < 0)
				terminal = fd;
		} else if (keys[i][0] && fd != STDIN_FILENO && !fstat(fd, &st) &&
			   (S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode))) {
			ret = relay_pipe(fd);
		}
	}
	return ret;
}

int stdio_criu_args(char **argv, int n)
{
	static char arg[3][160];
	struct winsize ws;
	char size[80];
	int i;

	for (i = 0; i < 3; i++) {
		if (!keys[i][0])
			continue;
		snprintf(arg[i], sizeof(arg[i]), "fd[%d]:%.127s", order[i], keys[i]);
		argv[n++] = "--inherit-fd";
		argv[n++] = arg[i];
	}
	/*
	 * CRIU changes it to the parent's, and closes what it has been given; the plugin changes it
	 * back before the child has looked
	 */
	if (terminal >= 0 && !ioctl(terminal, TIOCGWINSZ, &ws)) {
		snprintf(size, sizeof(size), "%d %d %d %d %d", dup(terminal), ws.ws_row, ws.ws_col,
			 ws.ws_xpixel, ws.ws_ypixel);
		setenv("MITOSIS_WINSIZE", size, 1);
	}
	if (shell_job) {
		argv[n++] = "--shell-job";
		setsid();
	}
	return n;
}

/* The end of what it writes is seen only when nobody else can. */
void stdio_restored(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;

	for (i = 0; i < nrelays && null >= 0; i++)
		dup2(null, relays[i].fd);
	if (null >= 0)
		close(null);
}

static int relay_write(int to, const char *at, size_t len)
{
	struct pollfd p = { to, POLLOUT, 0 };
	ssize_t n;

	while (len) {
		n = write(to, at, len);
		if (n < 0 && errno == EAGAIN)
			poll(&p, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			len -= n;
		}
	}
	return 0;
}

static void relay_pass(struct relay *r)
{
	char buf[16384];
	ssize_t n = read(r->from, buf, sizeof(buf));
	bool end = n < 0 ? errno != EAGAIN && errno != EINTR : !n;

	if (n > 0 && r->to >= 0 && relay_write(r->to, buf, n)) {
		/* who writes to a pipe is told that nobody reads */
		end = !r->terminal;
		close(r->to);
		r->to = -1;
	}
	if (end) {
		close(r->from);
		r->from = -1;
	}
}

void stdio_wait(const sigset_t *mask)
{
	struct pollfd p[3];
	int i, n = nrelays;

	for (i = 0; i < n; i++)
		p[i] = (struct pollfd){ relays[i].from, POLLIN, 0 };
	if (ppoll(p, n, NULL, mask) <= 0)
		return;
	for (i = 0; i < n; i++)
		if (p[i].revents)
			relay_pass(&relays[i]);
}

void stdio_end(void)
{
	int i;

	for (i = 0; i < nrelays; i++) {
		struct pollfd p = { relays[i].from, POLLIN, 0 };

		while (relays[i].from >= 0 && poll(&p, 1, 0) > 0)
			relay_pass(&relays[i]);
	}
}
