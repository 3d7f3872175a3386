// SPDX-License-Identifier: MIT
/* prepare, extend and resume: a snapshot of a process that runs on, and its children. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/files.h"
#include "images/mitosis_image.h"
#include "images/tty.h"
#include "mitosis-criu-plugin/finish.h"

#define IMAGE_MAX	(256UL << 20)	/* bytes of one that is written anew */
#define HOSTS_MAX	256
#define RESTORE_S	600		/* the time of one child, at most */

/* Seconds of "90", "10m", "2h" or "1d"; false when it is none of these. */
static bool parse_lease(const char *text, uint32_t *seconds)
{
	unsigned long long n, unit = 1;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *text < '0' || *text > '9')
		return false;
	switch (*end) {
	case 'd':
		unit = 86400;
		break;
	case 'h':
		unit = 3600;
		break;
	case 'm':
		unit = 60;
		break;
	case 's':
	case 0:
		break;
	default:
		return false;
	}
	if ((*end && end[1]) || n > UINT32_MAX / unit)
		return false;
	*seconds = n * unit;
	return true;
}

char *cli_first_word(int *argc, char ***argv)
{
	if (*argc < 2 || *(*argv)[1] == '-')
		return NULL;
	++*argv;
	--*argc;
	return **argv;
}

bool cli_name_is_good(const char *name)
{
	return *name && *name != '.' && !strchr(name, '/') && strlen(name) < MITOSIS_NAME_LEN;
}

/* The snapshot that a descriptor is of, 0 when it is none. */
uint64_t cli_descriptor_snapshot(const char *dir)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct mitosis_image *img = NULL;
	char err[MITOSIS_ERROR_LEN];
	uint64_t snapshot = 0;

	if (dirfd < 0)
		return 0;
	if (!mitosis_image_read(dirfd, &img, err, sizeof(err)))
		snapshot = img->snapshot;
	mitosis_image_free(img);
	close(dirfd);
	return snapshot;
}

void cli_sweep_prepared(struct mitosis *ctl)
{
	DIR *d = opendir(CLI_PREPARED_DIR);
	char path[PATH_MAX];
	struct dirent *e;
	struct mitosis_hold_info hold;
	uint64_t id;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", CLI_PREPARED_DIR, e->d_name);
		id = cli_descriptor_snapshot(path);
		/* without mitosis.img criu may be at work there */
		if (id && !mitosis_hold_find(ctl, id, &hold))
			cli_remove_dir(path);
	}
	if (d)
		closedir(d);
}

struct prepare {
	const char *name, *addr, *transport;
	pid_t pid;
	uint32_t lease;
	bool pin, json, replace;
	json_object *stdio;
	char dir[PATH_MAX];	/* where the images are */
	char named[PATH_MAX];	/* where they go when all is well; empty with --dir */
	char **criu_args;
	int ncriu_args;
	struct mitosis_image *img;
	uint64_t pages, bytes, ms;
};

/*
 * What standard file @fd of the process is to CRIU, where a child can have another one in its
 * place; else "".
 */
static void stdio_key(pid_t pid, int fd, char *key, size_t len)
{
	char path[64], target[PATH_MAX];
	struct stat st;
	ssize_t n;

	*key = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	if (!strncmp(target, "pipe:[", 6))
		snprintf(key, len, "%.100s", target);
	else if (!strncmp(target, "/dev/pts/", 9) && !stat(path, &st))
		snprintf(key, len, "tty[%lx:%lx]", (unsigned long)st.st_rdev,
			 (unsigned long)st.st_dev);
}

static void prepare_stdio(struct prepare *p)
{
	json_object *fds = json_object_new_array();
	char key[128];
	int fd;

	for (fd = 0; fd < 3; fd++) {
		stdio_key(p->pid, fd, key, sizeof(key));
		json_object_array_add(fds, json_object_new_string(key));
	}
	p->stdio = json_object_new_object();
	json_object_object_add(p->stdio, "fds", fds);
	/* a session that somebody else leads cannot be restored */
	json_object_object_add(p->stdio, "shell_job",
			       json_object_new_boolean(getsid(p->pid) != p->pid));
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool same_ns(pid_t a, pid_t b, const char *ns)
{
	char x[64], y[64];

	snprintf(x, sizeof(x), "/proc/%d/ns/%s", a, ns);
	snprintf(y, sizeof(y), "/proc/%d/ns/%s", b, ns);
	return same_file(x, y);
}

/*
 * The first process of the pid namespace of @pid, 0 when it is not among those that it has come
 * from.
 */
static pid_t namespace_init(pid_t pid)
{
	char path[64], *text, *ppid;

	while (pid > 1 && mitosis_proc_inner_pid(pid) != 1) {
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		text = cli_read_file(path);
		ppid = text ? strstr(text, "\nPPid:") : NULL;
		pid = ppid ? atoi(ppid + 6) : 0;
		free(text);
	}
	return pid > 1 ? pid : 0;
}

/*
 * A child of a snapshot is not the first process of its namespace, so criu must be in there with
 * it. That is for namespaces that we have made and nobody else: criu would be what its mount
 * namespace says that it is. Returns how much of argv was taken, or -errno.
 */
static int prepare_enter(const struct prepare *p, pid_t inner, char **argv, char *pid, size_t len)
{
	char *const enter[] = { "nsenter", "--target", pid, "--mount", "--pid", "--" };
	pid_t init = inner > 1 ? namespace_init(p->pid) : 0, self = getpid();
	char exe[64];

	snprintf(exe, sizeof(exe), "/proc/%d/exe", init);
	if (!init || !same_file(exe, "/proc/self/exe") || !same_ns(p->pid, self, "user") ||
	    !same_ns(p->pid, init, "mnt") || !same_ns(p->pid, init, "pid"))
		return 0;
	if (!same_ns(p->pid, self, "net")) {
		cli_say("process %d is a child with a network namespace of its own (--netns), and cannot be a parent: start it without",
			p->pid);
		return -EOPNOTSUPP;
	}
	snprintf(pid, len, "%d", p->pid);
	memcpy(argv, enter, sizeof(enter));
	return sizeof(enter) / sizeof(enter[0]);
}

/* Of which device, 0: the process has none. */
static unsigned int controlling_terminal(pid_t pid)
{
	char path[64], *text, *end;
	unsigned int device = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	text = cli_read_file(path);
	end = text ? strrchr(text, ')') : NULL;
	if (end && sscanf(end, ") %*c %*d %*d %*d %u", &device) != 1)
		device = 0;
	free(text);
	return device;
}

/*
 * A child's standard files are another terminal, which controls nobody. One that the tree has both
 * sides of is CRIU's business.
 */
static int prepare_check_terminal(struct prepare *p)
{
	json_object *fds = json_object_object_get(p->stdio, "fds");
	pid_t *tree, found = 0;
	char want[32];
	size_t i, n;
	int fd;

	tree = cli_tree(p->pid, &n);
	for (i = 0; tree && i < n && !found; i++) {
		snprintf(want, sizeof(want), "tty[%x:", controlling_terminal(tree[i]));
		for (fd = 0; fd < 3 && !found; fd++)
			if (!strncmp(json_object_get_string(json_object_array_get_idx(fds, fd)),
				     want, strlen(want)) &&
			    cli_has_open(tree[i], "/dev/tty"))
				found = tree[i];
	}
	free(tree);
	if (!found)
		return 0;
	cli_say("process %d has opened its controlling terminal, /dev/tty, and a child has none: interactive shells do so, prepare what they have started",
		found);
	return -ENOTTY;
}

static int prepare_criu(struct prepare *p)
{
	char pid[16], outer[16], lease[16], *argv[CLI_CRIU_ARGS];
	int n, i, status = 0, ret;
	pid_t criu, inner = mitosis_proc_inner_pid(p->pid);

	n = prepare_enter(p, inner, argv, outer, sizeof(outer));
	if (n < 0)
		return n;
	snprintf(pid, sizeof(pid), "%d", n ? inner : p->pid);
	snprintf(lease, sizeof(lease), "%u", p->lease);
	setenv("MITOSIS_LEASE", lease, 1);
	setenv("MITOSIS_NAME", p->name, 1);
	setenv("MITOSIS_INHERIT", "1", 1);
	/* criu does not tell its plugin */
	setenv("MITOSIS_LEAVE_RUNNING", "1", 1);
	if (!p->pin)
		setenv("MITOSIS_FOLLOW", "1", 1);
	if (p->addr)
		setenv("MITOSIS_ADDR", p->addr, 1);
	if (p->transport)
		setenv("MITOSIS_TRANSPORT", p->transport, 1);
	n += cli_criu_dump(argv + n, pid, p->dir);
	argv[n++] = "--leave-running";
	if (jbool(p->stdio, "shell_job"))
		argv[n++] = "--shell-job";
	for (i = 0; i < 3; i++) {
		json_object *fds = json_object_object_get(p->stdio, "fds");
		const char *key = json_object_get_string(json_object_array_get_idx(fds, i));

		if (strncmp(key, "tty[", 4))
			continue;
		argv[n++] = "--external";
		argv[n++] = (char *)key;
	}
	cli_criu_options(argv, n, p->criu_args, p->ncriu_args);
	ret = cli_spawn(argv, -1, 2, &criu);
	if (ret) {
		cli_say("criu cannot be started: %s", strerror(-ret));
		return ret;
	}
	while (waitpid(criu, &status, 0) < 0 && errno == EINTR)
		;
	if (!status)
		return 0;
	cli_say_criu_errors(p->dir, "dump.log");
	cli_say("criu could not take a snapshot of process %d (status %#x): it runs on; criu's own words are above, see criu-dump options after --",
		p->pid, status);
	return -EIO;
}

typedef int (*prepare_rewrite)(const void *buf, size_t len, void **out, size_t *outlen, char *err,
			       size_t errlen);

static int prepare_image(int dirfd, const char *name, prepare_rewrite rewrite, char *err,
			 size_t errlen)
{
	void *buf = NULL, *out = NULL;
	size_t len, outlen;
	int ret;

	ret = mitosis_file_read(dirfd, name, IMAGE_MAX, &buf, &len, err, errlen);
	if (!ret)
		ret = rewrite(buf, len, &out, &outlen, err, errlen);
	if (!ret)
		ret = mitosis_file_write(dirfd, name, out, outlen, false, err, errlen);
	free(buf);
	free(out);
	return ret;
}

/*
 * A fork goes on where its parent does, also with files that have grown since, and on another
 * terminal.
 */
static int prepare_images(int dirfd, char *err, size_t errlen)
{
	int ret = prepare_image(dirfd, FILES_NAME, files_forget_sizes, err, errlen);

	if (!ret && !faccessat(dirfd, TTY_NAME, F_OK, 0))
		ret = prepare_image(dirfd, TTY_NAME, tty_forget_sessions, err, errlen);
	return ret;
}

static int prepare_write_stdio(struct prepare *p, int dirfd, char *err, size_t errlen)
{
	const char *text = json_object_to_json_string(p->stdio);

	return mitosis_file_write(dirfd, CLI_STDIO_IMAGE, text, strlen(text), false, err, errlen);
}

/* An earlier snapshot of that name goes; one that children still read from loses only its name. */
static void prepare_replace(struct prepare *p, struct mitosis *ctl)
{
	uint64_t id = cli_descriptor_snapshot(p->named);
	char aside[PATH_MAX + 32];
	struct mitosis_hold_info hold;

	if (!id)
		return;
	if (mitosis_hold_find(ctl, id, &hold) > 0 && hold.npeers) {
		snprintf(aside, sizeof(aside), "%s-%016lx", p->named, (unsigned long)id);
		rename(p->named, aside);
	} else {
		mitosis_release(ctl, id);
		cli_remove_dir(p->named);
	}
}

static int prepare_describe(struct prepare *p, struct mitosis *ctl)
{
	int dirfd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;
	struct mitosis_hold_info hold;
	char err[MITOSIS_ERROR_LEN];

	ret = mitosis_image_read(dirfd, &p->img, err, sizeof(err));
	if (!ret)
		ret = prepare_images(dirfd, err, sizeof(err));
	if (!ret)
		ret = prepare_write_stdio(p, dirfd, err, sizeof(err));
	if (ret) {
		cli_say("%s", err);
		mitosis_dump_abandon(ctl, dirfd, 0);
	} else {
		if (mitosis_hold_find(ctl, p->img->snapshot, &hold) > 0)
			p->pages = hold.pages_held;
		p->bytes = cli_images_size(dirfd);
	}
	close(dirfd);
	return ret;
}

/*
 * The name is given to what is complete; an earlier snapshot of that name goes when there is a new
 * one.
 */
static int prepare_name(struct prepare *p, struct mitosis *ctl)
{
	int ret;

	if (p->replace)
		prepare_replace(p, ctl);
	if (!rename(p->dir, p->named)) {
		strcpy(p->dir, p->named);
		return 0;
	}
	ret = -errno;
	cli_say("%s cannot be made (%s): choose another --name, or --replace", p->named,
		strerror(-ret));
	mitosis_release(ctl, p->img->snapshot);
	return ret;
}

static int prepare(struct prepare *p, struct mitosis *ctl)
{
	uint64_t begin = cli_now_ms();
	char id[17], whole[PATH_MAX];
	int lock, ret;

	cli_sweep_work_dirs();
	cli_sweep_prepared(ctl);
	if (!p->replace && *p->named && !access(p->named, F_OK)) {
		cli_say("there is a snapshot %s already: choose another --name, or --replace",
			p->named);
		return -EEXIST;
	}
	prepare_stdio(p);
	ret = prepare_check_terminal(p);
	if (ret)
		return ret;
	ret = cli_mkdir_p(CLI_PREPARED_DIR, 0700);
	wire_new_id(id);
	if (!ret && *p->named)
		lock = cli_work_dir(CLI_RUN_DIR, id, p->dir, sizeof(p->dir));
	else
		lock = ret || mkdir(p->dir, 0700) ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);
	/* criu may have another working directory */
	if (lock >= 0 && realpath(p->dir, whole))
		strcpy(p->dir, whole);
	if (lock < 0) {
		ret = ret ? ret : -errno;
		cli_say("directory %s cannot be made (%s): choose another --dir", p->dir,
			strerror(-ret));
		return ret;
	}
	ret = prepare_criu(p);
	if (!ret)
		ret = prepare_describe(p, ctl);
	if (!ret && *p->named)
		ret = prepare_name(p, ctl);
	if (ret)
		cli_remove_dir(p->dir);
	close(lock);
	p->ms = cli_now_ms() - begin;
	return ret;
}

int cmd_prepare(int argc, char **argv)
{
	static const struct option options[] = {
		{ "pid", 1, NULL, 'p' }, { "lease", 1, NULL, 'l' }, { "name", 1, NULL, 'n' },
		{ "pin", 0, NULL, 'P' }, { "dir", 1, NULL, 'd' }, { "addr", 1, NULL, 'a' },
		{ "json", 0, NULL, 'j' }, { "replace", 0, NULL, 'r' },
		{ "transport", 1, NULL, 'x' }, { "insecure", 0, NULL, 'i' }, {}
	};
	struct prepare p = {};
	const char *dir = NULL;
	struct mitosis *ctl;
	json_object *o;
	char name[32];
	int c, ret;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			p.pid = atoi(optarg);
			break;
		case 'l':
			if (!parse_lease(optarg, &p.lease)) {
				cli_say("--lease %s is no time: give seconds, or 10m, 2h, 1d",
					optarg);
				return CLI_USAGE;
			}
			break;
		case 'n':
			p.name = optarg;
			break;
		case 'r':
			p.replace = true;
			break;
		case 'P':
			p.pin = true;
			break;
		case 'd':
			dir = optarg;
			break;
		case 'a':
			p.addr = optarg;
			break;
		case 'x':
			if (!cli_transports_are_good(optarg))
				return CLI_USAGE;
			p.transport = optarg;
			break;
		case 'i':
			cli_set_insecure(true);
			break;
		case 'j':
			p.json = true;
			break;
		default:
			return CLI_USAGE;
		}
	}
	if (p.pid <= 0) {
		cli_say("prepare needs --pid: see mitosis-cli prepare --help");
		return CLI_USAGE;
	}
	snprintf(name, sizeof(name), "pid-%d-%lu", p.pid, (unsigned long)time(NULL));
	p.name = p.name ? p.name : name;
	if (!cli_name_is_good(p.name)) {
		cli_say("--name %s is none: at most %d characters, no slash, no dot first", p.name,
			MITOSIS_NAME_LEN - 1);
		return CLI_USAGE;
	}
	if (snprintf(p.dir, sizeof(p.dir), "%s", dir ? dir : "") >= (int)sizeof(p.dir)) {
		cli_say("--dir is too long a path");
		return CLI_USAGE;
	}
	if (!dir)
		snprintf(p.named, sizeof(p.named), CLI_PREPARED_DIR "/%s", p.name);
	p.criu_args = argv + optind;
	p.ncriu_args = argc - optind;
	ctl = cli_open();
	if (!ctl)
		return CLI_FAILED;
	ret = prepare(&p, ctl);
	mitosis_close(ctl);
	if (ret)
		return CLI_FAILED;
	o = json_object_new_object();
	json_object_object_add(o, "dir", json_object_new_string(p.dir));
	json_object_object_add(o, "snapshot", cli_json_id(p.img->snapshot));
	json_object_object_add(o, "name", json_object_new_string(p.name));
	json_object_object_add(o, "pages", json_object_new_int64(p.pages));
	json_object_object_add(o, "image_bytes", json_object_new_int64(p.bytes));
	json_object_object_add(o, "ms", json_object_new_int64(p.ms));
	if (p.json)
		printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	else
		printf("snapshot %s of process %d: %s\n%.1f MiB are held, the images have %.1f KiB; %ld ms\n",
		       jstr(o, "snapshot"), p.pid, p.dir, p.pages / 256.0, p.bytes / 1024.0,
		       (long)p.ms);
	json_object_put(o);
	json_object_put(p.stdio);
	mitosis_image_free(p.img);
	return CLI_OK;
}

int cmd_extend(int argc, char **argv)
{
	static const struct option options[] = { { "lease", 1, NULL, 'l' }, {} };
	struct mitosis *ctl;
	bool given = false;
	uint32_t lease = 0;
	uint64_t id = 0;
	int c, ret;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'l' || !parse_lease(optarg, &lease)) {
			cli_say("extend takes --lease with seconds, 10m, 2h or 1d; 0: until it is released");
			return CLI_USAGE;
		}
		given = true;
	}
	if (!given || optind != argc - 1 || !cli_parse_id(argv[optind], &id)) {
		cli_say("extend needs a snapshot, 16 hexadecimal digits, and --lease: mitosis-cli list names snapshots");
		return CLI_USAGE;
	}
	ctl = cli_open();
	if (!ctl)
		return CLI_FAILED;
	ret = mitosis_hold_extend(ctl, id, lease);
	if (ret)
		cli_say("%s", mitosis_error(ctl));
	mitosis_close(ctl);
	return ret ? CLI_FAILED : CLI_OK;
}

struct host {
	const char *name;	/* NULL: this one */
	struct wire wire;
	pid_t ssh_pid;
	unsigned int first;	/* index of its first child */
};

struct resume {
	struct child_opts opts;
	const char *ssh, *from;
	/* of the descriptor; before it is read, what the user wants; NULL: any */
	const char *transport;
	char offered[MITOSIS_IMAGE_TRANSPORT];
	char dir[PATH_MAX], id[17];
	int lock;		/* of a directory of our own; 0: none */
	bool foreground;
	unsigned int n, nhosts;
	struct host hosts[HOSTS_MAX];
	bool json;
	json_object *children;
	unsigned int failed;
};

static void resume_report(json_object *child, const char *host, struct resume *r)
{
	if (!host)
		host = "here";
	json_object_object_add(child, "host", json_object_new_string(host));
	if (*jstr(child, "failed")) {
		r->failed++;
		cli_say("child %d on %s: %s", (int)jint(child, "child"), host,
			jstr(child, "failed"));
	} else if (!r->json) {
		printf("child %d on %s: process %d, %ld ms\n", (int)jint(child, "child"), host,
		       (int)jint(child, "pid"), (long)jint(child, "ms"));
		fflush(stdout);
	}
	json_object_array_add(r->children, child);
}

static int resume_report_here(json_object *child, void *arg)
{
	resume_report(child, NULL, arg);
	return 0;
}

static int resume_here(struct resume *r, struct host *h)
{
	int ret = child_start_all(&r->opts, h->first, r->n, resume_report_here, r);

	if (ret)
		cli_say("children cannot be started here: %s", strerror(-ret));
	return ret;
}

/* The session, the images, and the word to begin. */
static int resume_send(struct resume *r, struct host *h)
{
	json_object *fork = json_object_new_object(), *args = json_object_new_array();
	json_object *hello, *o, *problems;
	char id[17];
	uint64_t bytes = 0;
	int i, ret = -1;

	wire_new_id(id);
	hello = wire_hello(id);
	for (i = 0; i < r->opts.ncriu_args; i++)
		json_object_array_add(args, json_object_new_string(r->opts.criu_args[i]));
	json_object_object_add(fork, "first", json_object_new_int(h->first));
	json_object_object_add(fork, "n", json_object_new_int(r->n));
	json_object_object_add(fork, "eager", json_object_new_boolean(r->opts.eager));
	json_object_object_add(fork, "no_cache", json_object_new_boolean(r->opts.no_cache));
	json_object_object_add(fork, "record", json_object_new_boolean(r->opts.record));
	if (r->opts.prefetch)
		json_object_object_add(fork, "prefetch", json_object_new_string(r->opts.prefetch));
	json_object_object_add(fork, "netns", json_object_new_boolean(r->opts.netns));
	json_object_object_add(fork, "give_up", json_object_new_int(r->opts.give_up));
	if (r->opts.hook)
		json_object_object_add(fork, "hook", json_object_new_string(r->opts.hook));
	json_object_object_add(fork, "criu_options", args);
	json_object_object_add(hello, "fork", fork);
	json_object_object_add(hello, "transport", json_object_new_string(r->transport));
	json_object_object_add(hello, "insecure", json_object_new_boolean(cli_insecure()));
	if (wire_remote(&h->wire, r->ssh, h->name, &h->ssh_pid)) {
		json_object_put(hello);
		return -1;
	}
	wire_send(&h->wire, hello);
	o = wire_recv(&h->wire, WIRE_STALL_S * 1000);
	if (o && json_object_object_get_ex(o, "problems", &problems) &&
	    json_object_is_type(problems, json_type_array))
		ret = check_report(problems, h->name, NULL) ? -1 : 0;
	else
		cli_say("%s: %s", h->name,
			o && *jstr(o, "error") ?
				jstr(o, "error") :
				"mitosis-cli there does not answer: is ssh allowed without a password, and mitosis installed?");
	json_object_put(o);
	return ret ? ret : wire_send_images(&h->wire, r->opts.dir, h->name, &bytes, NULL, NULL);
}

static int resume_follow(struct resume *r, struct host *h)
{
	unsigned int reported = 0;
	json_object *o;

	while ((o = wire_recv(&h->wire, RESTORE_S * 1000))) {
		if (json_object_object_get_ex(o, "child", NULL)) {
			reported++;
			resume_report(o, h->name, r);
			continue;
		}
		if (json_object_object_get_ex(o, "done", NULL) && reported == r->n) {
			json_object_put(o);
			return 0;
		}
		cli_say("%s: %s", h->name,
			*jstr(o, "error") ? jstr(o, "error") :
					    "it does not say what has become of all children");
		json_object_put(o);
		return -1;
	}
	cli_say("the ssh session to %s ended: %u of %u children are known to run there", h->name,
		reported, r->n);
	return -1;
}

static int resume(struct resume *r)
{
	char err[MITOSIS_ERROR_LEN];
	unsigned int i, lost = 0;
	int ret = 0;

	r->children = json_object_new_array();
	/* another host looks for itself */
	if (r->opts.prefetch && !strcmp(r->opts.prefetch, "recorded") && !r->hosts[0].name &&
	    record_check(r->dir, r->opts.snapshot, err, sizeof(err))) {
		cli_say("%s", err);
		json_object_put(r->children);
		return CLI_FAILED;
	}
	for (i = 0; i < r->nhosts && !ret; i++) {
		r->hosts[i].first = i * r->n;
		if (r->hosts[i].name)
			ret = resume_send(r, &r->hosts[i]);
	}
	/*
	 * none begins before all are ready; one that is lost then does not keep the others from
	 * being followed
	 */
	for (i = 0; i < r->nhosts && !ret; i++)
		if (r->hosts[i].name)
			wire_send_key(&r->hosts[i].wire, "begin");
	for (i = 0; i < r->nhosts && !ret; i++)
		if (!r->hosts[i].name)
			lost += !!resume_here(r, &r->hosts[i]);
	for (i = 0; i < r->nhosts && !ret; i++)
		if (r->hosts[i].name)
			lost += !!resume_follow(r, &r->hosts[i]);
	for (i = 0; i < r->nhosts; i++)
		if (r->hosts[i].ssh_pid > 0)
			wire_remote_end(&r->hosts[i].wire, r->hosts[i].ssh_pid);
	if (r->json)
		printf("%s\n",
		       json_object_to_json_string_ext(r->children, JSON_C_TO_STRING_PRETTY));
	json_object_put(r->children);
	return ret || lost || r->failed ? CLI_FAILED : CLI_OK;
}

static void resume_forget_images(void *arg)
{
	struct resume *r = arg;

	if (r->lock <= 0)
		return;
	cli_remove_dir(r->dir);
	close(r->lock);
	r->lock = 0;
}

/* The descriptor of that name of another machine. */
static int resume_fetch(struct resume *r, const char *what)
{
	json_object *hello = wire_hello(r->id);
	struct wire w;
	pid_t ssh_pid;
	int ret;

	json_object_object_add(hello, "fetch", json_object_new_string(what));
	r->lock = cli_work_dir(CLI_RUN_DIR, r->id, r->dir, sizeof(r->dir));
	if (r->lock < 0) {
		cli_say("no directory for the images can be made in " CLI_RUN_DIR " (%s)",
			strerror(errno));
		json_object_put(hello);
		return -1;
	}
	if (wire_remote(&w, r->ssh, r->from, &ssh_pid)) {
		json_object_put(hello);
		resume_forget_images(r);
		return -1;
	}
	wire_send(&w, hello);
	ret = cli_receive_images(&w, r->dir);
	wire_remote_end(&w, ssh_pid);
	if (ret) {
		cli_say("%s has not sent a descriptor %s: is mitosis installed there, and has prepare made one of that name?",
			r->from, what);
		resume_forget_images(r);
	}
	return ret;
}

int cli_descriptor_dir(const char *what, char dir[PATH_MAX])
{
	if (strchr(what, '/')) {
		if (!realpath(what, dir))
			snprintf(dir, PATH_MAX, "%s", what);
	} else if (cli_name_is_good(what)) {
		snprintf(dir, PATH_MAX, "%s/%s", CLI_PREPARED_DIR, what);
	} else {
		cli_say("%s is neither a path, with a slash, nor a name that prepare was given",
			what);
		return -1;
	}
	if (!access(dir, R_OK | X_OK))
		return 0;
	cli_say("there is no descriptor %s (%s): mitosis-cli prepare makes one", dir,
		strerror(errno));
	return -1;
}

static int resume_find(struct resume *r, const char *what)
{
	struct mitosis_image *img;
	char err[MITOSIS_ERROR_LEN];
	const char *offered;
	int dirfd, ret;

	if (r->from) {
		if (resume_fetch(r, what))
			return -1;
	} else if (cli_descriptor_dir(what, r->dir)) {
		return -1;
	}
	dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = mitosis_image_read(dirfd, &img, err, sizeof(err));
	close(dirfd);
	if (ret) {
		cli_say("%s: %s", r->dir, err);
		return -1;
	}
	offered = mitosis_image_transport(img);
	r->opts.dir = r->dir;
	r->opts.snapshot = img->snapshot;
	if (img->state != MITOSIS_IMAGE_SEALED) {
		cli_say("%s is not complete: its dump is under way, or was cut off", r->dir);
		ret = -1;
	} else if (img->flags & MITOSIS_HOLD_F_ONESHOT) {
		cli_say("%s is of a migration, which has one destination: mitosis-cli restore",
			r->dir);
		ret = -1;
	} else if (r->transport && !mitosis_transports_have(r->transport, offered)) {
		cli_say("%s is offered over transport %s: prepare it with --transport %s", r->dir,
			offered, r->transport);
		ret = -1;
	} else if (img->flags & MITOSIS_F_INSECURE && !cli_insecure()) {
		cli_say("%s is offered unencrypted over transport tcp: allow that with --insecure",
			r->dir);
		ret = -1;
	}
	snprintf(r->offered, sizeof(r->offered), "%s", offered);
	r->transport = r->offered;
	mitosis_image_free(img);
	return ret;
}

int cmd_resume(int argc, char **argv)
{
	static const struct option options[] = {
		{ "number", 1, NULL, 'n' }, { "on", 1, NULL, 'o' }, { "ssh", 1, NULL, 's' },
		{ "eager", 0, NULL, 'e' }, { "netns", 0, NULL, 'N' }, { "hook", 1, NULL, 'h' },
		{ "no-cache", 0, NULL, 'C' }, { "give-up", 1, NULL, 'g' }, { "json", 0, NULL, 'j' },
		{ "from", 1, NULL, 'F' }, { "foreground", 0, NULL, 'f' },
		{ "prefetch", 1, NULL, 'p' }, { "record", 0, NULL, 'r' },
		{ "transport", 1, NULL, 'x' }, { "insecure", 0, NULL, 'i' }, {}
	};
	struct mitosis_arm policy;
	static struct resume r = { .n = 1, .opts.give_up = MITOSIS_GIVE_UP_DEFAULT };
	const char *what = NULL;
	int c;

	signal(SIGPIPE, SIG_IGN);
	what = cli_first_word(&argc, &argv);
	while ((c = getopt_long(argc, argv, "+n:", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			r.n = atoi(optarg);
			break;
		case 'o':
			if (r.nhosts == HOSTS_MAX || !wire_host_is_good(optarg))
				return CLI_USAGE;
			r.hosts[r.nhosts++].name = optarg;
			break;
		case 's':
			r.ssh = optarg;
			break;
		case 'e':
			r.opts.eager = true;
			break;
		case 'N':
			r.opts.netns = true;
			break;
		case 'F':
			if (!wire_host_is_good(optarg))
				return CLI_USAGE;
			r.from = optarg;
			break;
		case 'f':
			r.foreground = true;
			break;
		case 'C':
			r.opts.no_cache = true;
			break;
		case 'p':
			if (mitosis_prefetch_parse(optarg, &policy)) {
				cli_say("--prefetch %s is no policy: none, window, window=N, sequential, sequential=N or recorded, with N a power of two up to %d pages",
					optarg, MITOSIS_WINDOW_MAX);
				return CLI_USAGE;
			}
			r.opts.prefetch = optarg;
			break;
		case 'r':
			r.opts.record = true;
			break;
		case 'h':
			r.opts.hook = optarg;
			break;
		case 'x':
			if (!cli_transports_are_good(optarg))
				return CLI_USAGE;
			r.transport = optarg;
			break;
		case 'i':
			cli_set_insecure(true);
			break;
		case 'g':
			r.opts.give_up = atoi(optarg);
			break;
		case 'j':
			r.json = true;
			break;
		default:
			return CLI_USAGE;
		}
	}
	if (!what && optind < argc && strcmp(argv[optind - 1], "--"))
		what = argv[optind++];
	if (!what || r.n < 1 || r.n > CLI_CHILDREN_MAX || !r.opts.give_up) {
		cli_say("resume needs a descriptor, and -n from 1 to %d: see mitosis-cli resume --help",
			CLI_CHILDREN_MAX);
		return CLI_USAGE;
	}
	r.opts.criu_args = argv + optind;
	r.opts.ncriu_args = argc - optind;
	if (r.opts.record && r.opts.eager) {
		cli_say("--record notes what a child touches, and one that is --eager has it all: leave one of them out");
		return CLI_USAGE;
	}
	if (r.foreground && (r.n != 1 || r.nhosts)) {
		cli_say("--foreground is for one child on this machine");
		return CLI_USAGE;
	}
	if (!r.nhosts)
		r.nhosts = 1;
	wire_new_id(r.id);
	cli_sweep_work_dirs();
	if (resume_find(&r, what)) {
		resume_forget_images(&r);
		return CLI_FAILED;
	}
	if (r.foreground)
		return child_run(&r.opts, resume_forget_images, &r);
	c = resume(&r);
	resume_forget_images(&r);
	return c;
}
