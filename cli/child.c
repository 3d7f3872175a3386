// SPDX-License-Identifier: MIT
/*
 * Children of a snapshot on this machine. Each has a pid namespace, so that it keeps its parent's
 * pids beside other children, and a mount namespace, where CLI_CHILD_DIR says which child it is. A
 * process of ours is the first of the namespace: it starts criu, takes over what criu restores,
 * passes SIGTERM on, and ends when all of it has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"

#define CHILD_MS	300000	/* so long may criu and the hook of one take */
#define CHILD_PHASES	CLI_CHILD_DIR "/phases"
#define CHILD_PREFETCH	"none"
#define CHILD_PIDFILE	CLI_CHILD_DIR "/pid"

struct child {
	pid_t init;		/* as we know it; 0: not known yet */
	int pipe;		/* -1: nothing more will come */
	char text[1024];	/* what has come */
	size_t len;
	uint64_t begin;		/* 0: its verdict has come */
	char phases[128];	/* what the plugin says */
};

static pid_t root_pid;
static bool restored;

/* In the first process of a namespace, where a signal without a handler is nothing. */
static void pass_on(int sig)
{
	if (!restored)
		_exit(128 + sig);
	/* the rest of a tree whose root has ended */
	kill(root_pid > 0 ? root_pid : -1, sig);
}

static void child_ended(int sig)
{
	(void)sig;
}

/* The last words of a process that is to become a child. */
__attribute__((format(printf, 2, 3), noreturn))
static void child_fail(int out, const char *fmt, ...)
{
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(out, "error %s\n", text);
	_exit(1);
}

static int child_tell(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int child_tell(const char *name, const char *fmt, ...)
{
	char path[128], text[256];
	va_list ap;
	int fd, n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/%s", CLI_CHILD_DIR, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return -1;
	n = write(fd, text, n) == n ? 0 : -1;
	close(fd);
	return n;
}

/* What a child can read of itself; cli.h says what it means. */
static int child_identity(const struct child_opts *o, unsigned int index)
{
	uint64_t id[2];
	char host[65] = "";

	if (mount("tmpfs", CLI_CHILD_DIR, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "mode=0755,size=64k") ||
	    getrandom(id, sizeof(id), 0) != sizeof(id))
		return -1;
	gethostname(host, sizeof(host) - 1);
	return child_tell("index", "%u\n", index) ||
	       child_tell("id", "%016lx%016lx\n", id[0], id[1]) ||
	       child_tell("snapshot", "%016lx\n", (unsigned long)o->snapshot) ||
	       child_tell("node", "%s\n", host);
}

static int loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	return ret;
}

__attribute__((noreturn))
static void child_criu(const struct child_opts *o, unsigned int index, int out)
{
	char log[32], give_up[16], number[16], *argv[CLI_CRIU_ARGS];
	int n, status;

	snprintf(number, sizeof(number), "%u", index);
	setenv("MITOSIS_CHILD", number, 1);
	if (o->netns) {
		/* the module is spoken to from the namespace where it is */
		setenv("MITOSIS_NETNS", "/proc/1/ns/net", 1);
		if (unshare(CLONE_NEWNET) || loopback_up())
			child_fail(out, "no network namespace can be made: %s", strerror(errno));
	}
	if (o->hook) {
		status = system(o->hook);
		if (status)
			child_fail(out, "the hook '%s' failed (status %#x)", o->hook, status);
	}
	snprintf(give_up, sizeof(give_up), "%u", o->give_up);
	setenv("MITOSIS_GIVE_UP", give_up, 1);
	if (!o->no_cache)
		setenv("MITOSIS_CACHE", "1", 1);
	if (!o->eager)
		setenv("MITOSIS_NO_DRAIN", "1", 1);
	setenv("MITOSIS_PHASES", CHILD_PHASES, 1);
	if (o->record)
		setenv("MITOSIS_RECORD", "1", 1);
	setenv("MITOSIS_PREFETCH",
	       o->prefetch ? o->prefetch : o->eager ? "none" : CHILD_PREFETCH, 1);
	snprintf(log, sizeof(log), "restore-%u.log", index);
	n = cli_criu_restore(argv, (char *)o->dir, log);
	argv[n++] = "--pidfile";
	argv[n++] = CHILD_PIDFILE;
	n = stdio_criu_args(argv, n);
	cli_criu_options(argv, n, o->criu_args, o->ncriu_args);
	execvp(argv[0], argv);
	child_fail(out, "criu cannot be started: %s", strerror(errno));
}

static void child_criu_error(const struct child_opts *o, unsigned int index, int status, int out)
{
	char log[32], *error;

	snprintf(log, sizeof(log), "restore-%u.log", index);
	error = cli_criu_error(o->dir, log);
	if (error)
		child_fail(out, "criu could not restore it (status %#x): %s", status, error);
	child_fail(out, "criu could not restore it (status %#x): see %s/%s", status, o->dir, log);
}

/* The first process of the namespace. */
__attribute__((noreturn))
static void child_init(const struct child_opts *o, unsigned int index, int out, bool keeper)
{
	int status = 1, result = 0, ret;
	sigset_t chld, none;
	pid_t pid;
	char *text;

	signal(SIGTERM, pass_on);
	signal(SIGINT, pass_on);
	signal(SIGQUIT, pass_on);
	signal(SIGHUP, keeper ? pass_on : SIG_IGN);
	/* it does not outlive its keeper */
	if (keeper && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid()))
		child_fail(out, "its keeper has ended");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		child_fail(out, "/proc cannot be mounted anew: %s", strerror(errno));
	if (child_identity(o, index))
		child_fail(out, "%s cannot be filled: %s", CLI_CHILD_DIR, strerror(errno));
	ret = stdio_begin(o->dir);
	if (ret)
		child_fail(out, "it can have no terminal or pipe of its own: %s", strerror(-ret));
	pid = fork();
	if (pid < 0)
		child_fail(out, "criu cannot be started: %s", strerror(errno));
	if (!pid)
		child_criu(o, index, out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		child_criu_error(o, index, status, out);
	stdio_restored();
	text = cli_read_file(CHILD_PIDFILE);
	root_pid = text ? atoi(text) : 0;
	free(text);
	text = keeper ? NULL : cli_read_file(CHILD_PHASES);
	unlink(CHILD_PHASES);
	if (text)
		dprintf(out, "phases %s", text);
	free(text);
	restored = true;
	/* with this it is somebody's; who is the first of a namespace takes its processes along */
	if (dprintf(out, "pid %d\n", root_pid) < 0)
		_exit(1);
	close(out);
	/* its end is seen, and only there, while nothing is to be handed on */
	sigemptyset(&none);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	signal(SIGCHLD, child_ended);
	while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
		if (pid && pid == root_pid) {
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			root_pid = 0;
		}
		if (!pid)
			stdio_wait(&none);
	}
	stdio_end();
	_exit(result);
}

static pid_t keeper_init;

static void keeper_pass_on(int sig)
{
	kill(keeper_init, sig);
}

/*
 * A terminal among the standard files, with the modes that it has before it is the child's; -1:
 * there is none.
 */
static int terminal_save(struct termios *modes)
{
	int fd;

	for (fd = 0; fd < 3; fd++)
		if (!tcgetattr(fd, modes))
			return fd;
	return -1;
}

int child_run(const struct child_opts *o, void (*runs)(void *arg), void *arg)
{
	char text[1024] = "";
	struct termios modes;
	int out[2], status = 1 << 8, terminal = terminal_save(&modes);
	size_t len = 0;
	ssize_t n;

	if ((mkdir(CLI_CHILD_DIR, 0755) && errno != EEXIST) || pipe2(out, O_CLOEXEC) ||
	    unshare(CLONE_NEWNS | CLONE_NEWPID)) {
		cli_say("no child can be started here: %s", strerror(errno));
		return CLI_FAILED;
	}
	keeper_init = fork();
	if (keeper_init < 0) {
		cli_say("no child can be started here: %s", strerror(errno));
		return CLI_FAILED;
	}
	if (!keeper_init) {
		if (dup3(out[1], 3, O_CLOEXEC) < 0 && errno != EINVAL)
			_exit(1);
		/* what the caller had open is none of the child's */
		syscall(SYS_close_range, 4, ~0U, 0);
		fcntl(3, F_SETFD, FD_CLOEXEC);
		child_init(o, 0, 3, true);
	}
	signal(SIGTERM, keeper_pass_on);
	signal(SIGINT, keeper_pass_on);
	signal(SIGQUIT, keeper_pass_on);
	signal(SIGHUP, keeper_pass_on);
	close(out[1]);
	while ((n = read(out[0], text + len, sizeof(text) - 1 - len)) > 0 ||
	       (n < 0 && errno == EINTR))
		len += n > 0 ? n : 0;
	close(out[0]);
	text[len ? len - 1 : 0] = 0;
	if (strncmp(text, "pid ", 4))
		cli_say("the child: %s",
			strncmp(text, "error ", 6) ? "it was killed while it was restored" :
						     text + 6);
	runs(arg);
	while (waitpid(keeper_init, &status, 0) < 0 && errno == EINTR)
		;
	/* in the background they are somebody else's */
	if (terminal >= 0 && tcgetpgrp(terminal) == getpgrp())
		tcsetattr(terminal, TCSANOW, &modes);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Detached from whoever starts it: it may outlive the session. */
static int child_start(const struct child_opts *o, unsigned int index, struct child *c)
{
	int out[2], null;
	pid_t pid;

	c->begin = cli_now_ms();
	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		close(out[0]);
		close(out[1]);
		return -EAGAIN;
	}
	if (pid) {
		close(out[1]);
		c->pipe = out[0];
		waitpid(pid, NULL, 0);
		return 0;
	}
	setsid();
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
	    (dup3(out[1], 3, O_CLOEXEC) < 0 && errno != EINVAL) ||
	    syscall(SYS_close_range, 4, ~0U, 0))
		_exit(1);
	signal(SIGPIPE, SIG_DFL);
	if (unshare(CLONE_NEWNS | CLONE_NEWPID))
		child_fail(3, "no pid namespace can be made: %s", strerror(errno));
	pid = fork();
	if (!pid)
		child_init(o, index, 3, false);
	if (pid < 0)
		child_fail(3, "no process can be started: %s", strerror(errno));
	dprintf(3, "init %d\n", pid);
	_exit(0);
}

/* The pid here of what its namespace calls @inner. */
static pid_t child_outer_pid(pid_t init, pid_t inner)
{
	char path[64], *text, *p, *end;
	pid_t found = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", init, init);
	text = cli_read_file(path);
	for (p = text; p && *p && !found; p = end) {
		pid_t pid = strtol(p, &end, 10);

		if (end == p)
			break;
		if (mitosis_proc_inner_pid(pid) == (uint32_t)inner)
			found = pid;
	}
	free(text);
	return found;
}

/* Its verdict has not been reported: it goes, with all of its namespace. */
static void child_end(struct child *c)
{
	struct pollfd p = { c->pipe, POLLIN, 0 };

	/* the first that it says has been said before child_start() returned */
	if (!c->init && poll(&p, 1, 0) > 0 && read(c->pipe, c->text, sizeof(c->text) - 1) > 0 &&
	    sscanf(c->text, "init %d", &c->init) != 1)
		c->init = 0;
	if (c->init > 0)
		kill(c->init, SIGKILL);
	close(c->pipe);
	c->pipe = -1;
}

/* Where the time of a restore has gone, from its beginning to now, in ms. */
static json_object *child_phases(const struct child *c, uint64_t now)
{
	static const char *const names[] = { "start", "link", "criu", "attach", "finish" };
	unsigned long long at[6] = { c->begin, [5] = now };
	json_object *o = json_object_new_object();
	unsigned int i;

	if (sscanf(c->phases, "%llu %llu %llu %llu", &at[1], &at[2], &at[3], &at[4]) != 4)
		return o;
	for (i = 0; i < 5; i++)
		json_object_object_add(o, names[i], json_object_new_int64(at[i + 1] - at[i]));
	return o;
}

static int child_line(struct child *c, unsigned int index, char *line, child_report report,
		      void *arg)
{
	uint64_t now = cli_now_ms();
	json_object *o;
	pid_t inner;

	if (!strncmp(line, "init ", 5)) {
		c->init = atoi(line + 5);
		return 0;
	}
	if (!strncmp(line, "phases ", 7)) {
		snprintf(c->phases, sizeof(c->phases), "%.100s", line + 7);
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "child", json_object_new_int(index));
	if (!strncmp(line, "pid ", 4)) {
		inner = atoi(line + 4);
		json_object_object_add(o, "init", json_object_new_int(c->init));
		json_object_object_add(o, "pid",
				       json_object_new_int(child_outer_pid(c->init, inner)));
		json_object_object_add(o, "inner_pid", json_object_new_int(inner));
		json_object_object_add(o, "ms", json_object_new_int64(now - c->begin));
		json_object_object_add(o, "phases", child_phases(c, now));
	} else {
		if (!strncmp(line, "error ", 6))
			line += 6;
		json_object_object_add(o, "failed", json_object_new_string(line));
	}
	c->begin = 0;
	return report(o, arg);
}

/*
 * What a child says, a line at a time; the end without a verdict is one, too. Not 0: its verdict
 * could not be reported.
 */
static int child_read(struct child *c, unsigned int index, child_report report, void *arg)
{
	char lost[] = "error it was killed while it was restored", *nl;
	ssize_t n = read(c->pipe, c->text + c->len, sizeof(c->text) - 1 - c->len);
	int ret = 0;

	if (n < 0 && errno == EINTR)
		return 0;
	if (n > 0)
		c->len += n;
	c->text[c->len] = 0;
	while ((nl = strchr(c->text, '\n'))) {
		*nl = 0;
		if (c->begin)
			ret = child_line(c, index, c->text, report, arg);
		c->len -= nl + 1 - c->text;
		memmove(c->text, nl + 1, c->len + 1);
	}
	if (n > 0 && c->len < sizeof(c->text) - 1 && c->begin)
		return 0;
	if (c->begin)
		ret = child_line(c, index, lost, report, arg);
	if (ret) {
		child_end(c);
		return -EPIPE;
	}
	close(c->pipe);
	c->pipe = -1;
	return 0;
}

int child_start_all(const struct child_opts *o, unsigned int first, unsigned int n,
		    child_report report, void *arg)
{
	long width = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int started = 0, i;
	struct child *children;
	struct pollfd *p;
	int ret = 0, failed = 0;

	if (n > CLI_CHILDREN_MAX || (mkdir(CLI_CHILD_DIR, 0755) && errno != EEXIST))
		return n > CLI_CHILDREN_MAX ? -E2BIG : -errno;
	children = calloc(n, sizeof(*children));
	p = calloc(n + 1, sizeof(*p));
	if (!children || !p)
		ret = -ENOMEM;
	while (!ret) {
		unsigned int live = 0, map[CLI_CHILDREN_MAX];

		for (i = 0; i < started; i++)
			if (children[i].pipe >= 0) {
				map[live] = i;
				p[live++] = (struct pollfd){ children[i].pipe, POLLIN, 0 };
			}
		p[live] = (struct pollfd){ o->session ? o->session : -1, POLLIN, 0 };
		/* restoring is work for a processor */
		if (started < n && live < (unsigned long)(width < 1 ? 1 : width) &&
		    poll(&p[live], 1, 0) <= 0) {
			/* those that are on their way come to an end first */
			failed = child_start(o, first + started, &children[started]);
			started += !failed;
			n = failed ? started : n;
			continue;
		}
		if (!live && started == n)
			break;
		if (poll(p, live + 1, 1000) < 0 && errno != EINTR)
			ret = -errno;
		if (p[live].revents)
			ret = -EPIPE;
		for (i = 0; i < started; i++)
			if (children[i].pipe >= 0 && children[i].init &&
			    cli_now_ms() - children[i].begin > CHILD_MS) {
				kill(children[i].init, SIGKILL);
				children[i].begin = cli_now_ms();
			}
		for (i = 0; i < live && !ret; i++)
			if (p[i].revents)
				ret = child_read(&children[map[i]], first + map[i], report, arg);
	}
	for (i = 0; children && i < started; i++)
		if (children[i].pipe >= 0)
			child_end(&children[i]);
	free(children);
	free(p);
	return ret ? ret : failed;
}
