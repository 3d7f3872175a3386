// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

void cli_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mitosis-cli: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

json_object *cli_sentence(const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	return json_object_new_string(text);
}

struct mitosis *cli_open(void)
{
	char err[MITOSIS_ERROR_LEN];
	struct mitosis *ctl = mitosis_open(err, sizeof(err));

	if (!ctl)
		cli_say("%s", err);
	return ctl;
}

const char *cli_plugin_dir(void)
{
	const char *dir = getenv("MITOSIS_PLUGIN_DIR");

	return dir && *dir ? dir : CLI_PLUGIN_DIR;
}

bool cli_parse_id(const char *text, uint64_t *id)
{
	char *end;

	errno = 0;
	*id = strtoull(text, &end, 16);
	return *text && !*end && !errno && *id;
}

json_object *cli_json_id(uint64_t id)
{
	char text[17];

	snprintf(text, sizeof(text), "%016lx", (unsigned long)id);
	return json_object_new_string(text);
}

char *cli_read_file(const char *path)
{
	size_t len = 0, size = 0;
	char *buf = NULL, *grown;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	do {
		if (len + 1 >= size) {
			size = size ? size * 2 : 4096;
			grown = realloc(buf, size);
			if (!grown)
				break;
			buf = grown;
		}
		n = read(fd, buf + len, size - len - 1);
		if (n > 0)
			len += n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	close(fd);
	if (buf)
		buf[len] = 0;
	return buf;
}

int cli_write_file(const char *path, const char *text)
{
	size_t len = strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len)
		ret = -errno;
	close(fd);
	return ret;
}

int cli_criu_dump(char **argv, char *pid, char *dir)
{
	char *const args[] = {
		"criu",
		"dump",
		"-t",
		pid,
		"-D",
		dir,
		"-o",
		"dump.log",
		"-v2",
		"-L",
		(char *)cli_plugin_dir(),
		"--manage-cgroups=ignore",
	};

	memcpy(argv, args, sizeof(args));
	return sizeof(args) / sizeof(args[0]);
}

int cli_criu_restore(char **argv, char *dir, char *log)
{
	char *const args[] = {
		"criu",
		"restore",
		"-d",
		"-D",
		dir,
		"-o",
		log,
		"-v2",
		"-L",
		(char *)cli_plugin_dir(),
		"--manage-cgroups=ignore",
	};

	memcpy(argv, args, sizeof(args));
	return sizeof(args) / sizeof(args[0]);
}

void cli_criu_options(char **argv, int n, char **options, int noptions)
{
	int i;

	for (i = 0; i < noptions && n < CLI_CRIU_ARGS - 1; i++)
		argv[n++] = options[i];
	argv[n] = NULL;
}

char *cli_criu_error(const char *dir, const char *log)
{
	char path[PATH_MAX], *text, *line, *save, *found = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, log);
	text = cli_read_file(path);
	for (line = text ? strtok_r(text, "\n", &save) : NULL; line && !found;
	     line = strtok_r(NULL, "\n", &save))
		if (strstr(line, "Error (") && !strstr(line, "Restoring FAILED"))
			found = strdup(line);
	free(text);
	return found;
}

void cli_say_criu_errors(const char *dir, const char *log)
{
	char path[PATH_MAX], *text, *line, *save;

	snprintf(path, sizeof(path), "%s/%s", dir, log);
	text = cli_read_file(path);
	for (line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		if (strstr(line, "Error ("))
			fprintf(stderr, "criu: %s\n", line);
	free(text);
}

bool cli_is_image(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && !strcmp(name + len - 4, ".img");
}

uint64_t cli_images_size(int dir)
{
	DIR *d = fdopendir(dup(dir));
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d)))
		if (cli_is_image(e->d_name) &&
		    !fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			bytes += st.st_size;
	if (d)
		closedir(d);
	return bytes;
}

uint64_t cli_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

int cli_mkdir_p(const char *path, mode_t mode)
{
	char part[512];
	size_t i;

	snprintf(part, sizeof(part), "%s", path);
	for (i = 1; part[i]; i++) {
		if (part[i] != '/')
			continue;
		part[i] = 0;
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		part[i] = '/';
	}
	return mkdir(part, mode) && errno != EEXIST ? -errno : 0;
}

int cli_remove_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	return rmdir(path) ? -errno : 0;
}

bool cli_is_migration(const char *id)
{
	uint64_t value;

	return strlen(id) == 16 && strspn(id, "0123456789abcdef") == 16 && cli_parse_id(id, &value);
}

int cli_work_dir(const char *where, const char *id, char *dir, size_t len)
{
	struct stat made, there;
	int fd, ret;

	snprintf(dir, len, "%s/%s", where, id);
	ret = cli_mkdir_p(where, 0700);
	if (ret) {
		errno = -ret;
		return -1;
	}
	for (;;) {
		if (mkdir(dir, 0700))
			return -1;
		/* inherited: a criu whose parent is dead still uses it */
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		if (fd >= 0 && !flock(fd, LOCK_SH) && !fstat(fd, &made) && !stat(dir, &there) &&
		    made.st_ino == there.st_ino)
			return fd;
		/* before it was locked a sweep may have taken it away */
		if (fd >= 0)
			close(fd);
		if (errno != ENOENT)
			return -1;
	}
}

/*
 * Podman leaves a process behind that lives as long as the container, so it has no part in the
 * lock; but without the directory it finds another criu.
 */
static bool podman_needs(const char *id)
{
	json_object *journal = journal_load(id);
	bool lives = cli_process_lives(journal, "podman");

	json_object_put(journal);
	return lives;
}

static void sweep_work_dirs(const char *where)
{
	DIR *d = opendir(where);
	char path[512];
	struct dirent *e;
	int fd;

	while (d && (e = readdir(d))) {
		if (!cli_is_migration(e->d_name) || podman_needs(e->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", where, e->d_name);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!flock(fd, LOCK_EX | LOCK_NB))
			cli_remove_dir(path);
		close(fd);
	}
	if (d)
		closedir(d);
}

void cli_sweep_work_dirs(void)
{
	sweep_work_dirs(CLI_RUN_DIR);
	sweep_work_dirs(CLI_STATE_DIR);
}

static int tree_add(pid_t pid, pid_t **pids, size_t *n)
{
	char path[64], *children, *p, *end;
	struct dirent *e;
	pid_t *grown;
	int ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return -1;
	grown = reallocarray(*pids, *n + 1, sizeof(pid));
	if (!grown) {
		closedir(d);
		return -1;
	}
	*pids = grown;
	grown[(*n)++] = pid;
	while ((e = readdir(d)) && !ret) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", pid, e->d_name);
		children = cli_read_file(path);
		for (p = children; p && *p && !ret; p = end) {
			pid_t child = strtol(p, &end, 10);

			if (end == p)
				break;
			/* one that ends meanwhile is no loss */
			tree_add(child, pids, n);
		}
		free(children);
	}
	closedir(d);
	return ret;
}

pid_t *cli_tree(pid_t pid, size_t *n)
{
	pid_t *pids = NULL;

	*n = 0;
	if (tree_add(pid, &pids, n)) {
		free(pids);
		return NULL;
	}
	return pids;
}

void cli_process_add(json_object *o, const char *key, pid_t pid)
{
	struct mitosis_proc proc;
	char start[32];

	if (mitosis_proc_get(pid, &proc, NULL))
		return;
	snprintf(start, sizeof(start), "%s_start", key);
	json_object_object_add(o, key, json_object_new_int(proc.pid));
	json_object_object_add(o, start, json_object_new_uint64(proc.start_time));
}

bool cli_process_lives(json_object *o, const char *key)
{
	struct mitosis_proc proc;
	char start[32];

	snprintf(start, sizeof(start), "%s_start", key);
	return jint(o, key) && !mitosis_proc_get(jint(o, key), &proc, NULL) &&
	       proc.start_time == (uint64_t)jint(o, start);
}

int cli_cgroup_of(pid_t pid, char *buf, size_t len)
{
	char path[64], *text, *line, *end;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	text = cli_read_file(path);
	if (!text)
		return -1;
	line = strncmp(text, "0::", 3) ? strstr(text, "\n0::") : text;
	if (line) {
		line = strchr(line, ':') + 2;
		end = strchr(line, '\n');
		if (end)
			*end = 0;
		snprintf(buf, len, "%s%s", CLI_CGROUP, strcmp(line, "/") ? line : "");
	}
	free(text);
	return line ? 0 : -1;
}

uint64_t cli_cgroup_number(const char *cgroup, const char *file, const char *word)
{
	char path[PATH_MAX + 32], *text, *at;
	uint64_t n = UINT64_MAX;

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	text = cli_read_file(path);
	at = text && word ? strstr(text, word) : text;
	if (at && word)
		at += strlen(word);
	if (at && *at >= '0' && *at <= '9')
		n = strtoull(at, NULL, 10);
	free(text);
	return n;
}

const char *cli_test_step(const char *name)
{
	static char step[128];
	size_t len = strlen(name);
	char *from_file = cli_read_file(CLI_TEST_STEP);

	if (getenv("MITOSIS_TEST_STEP"))
		snprintf(step, sizeof(step), "%s", getenv("MITOSIS_TEST_STEP"));
	else if (from_file)
		snprintf(step, sizeof(step), "%.*s", (int)strcspn(from_file, "\n"), from_file);
	free(from_file);
	if (strncmp(step, name, len) || step[len] != ':')
		return NULL;
	if (!strcmp(step + len + 1, "kill"))
		raise(SIGKILL);
	if (strcmp(step + len + 1, "pause"))
		return step + len + 1;
	/* the test waits for the first file, does something to the machines and makes the other */
	close(creat(CLI_TEST_AT, 0600));
	while (access(CLI_TEST_GO, F_OK))
		usleep(20000);
	return NULL;
}

void cli_unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int cli_spawn(char *const argv[], int in, int out, pid_t *pid)
{
	*pid = fork();
	if (*pid < 0)
		return -errno;
	if (*pid)
		return 0;
	/* a terminal's ^C is for the command, which then ends things in order */
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	cli_unblock_signals();
	if (in >= 0)
		dup2(in, 0);
	if (out >= 0)
		dup2(out, 1);
	execvp(argv[0], argv);
	fprintf(stderr, "mitosis-cli: %s cannot be started: %s\n", argv[0], strerror(errno));
	_exit(127);
}
