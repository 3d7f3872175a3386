// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define FENCE_WAIT_MS 20000

static int fence_write(const char *dir, const char *file, const char *text)
{
	char path[640];
	int ret;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	ret = cli_write_file(path, text);
	if (ret)
		cli_say("%s cannot be written (%s): is cgroup v2 mounted at %s?", path,
			strerror(-ret), CLI_CGROUP);
	return ret;
}

/* 1, 0, or a negative errno when there is no such file. */
static int fence_has(const char *dir, const char *file, const char *line)
{
	char path[640], *text;
	bool found;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	text = cli_read_file(path);
	if (!text)
		return -errno;
	found = strstr(text, line);
	free(text);
	return found;
}

/* Waits until cgroup.events has the line. */
static int fence_wait(const char *dir, const char *line)
{
	uint64_t end = cli_now_ms() + FENCE_WAIT_MS;
	int has;

	for (;;) {
		has = fence_has(dir, "cgroup.events", line);
		if (has)
			return has < 0 ? has : 0;
		if (cli_now_ms() > end)
			break;
		usleep(1000);
	}
	cli_say("cgroup %s does not get to \"%s\" within %d s: a process in it does not react", dir,
		line, FENCE_WAIT_MS / 1000);
	return -ETIMEDOUT;
}

bool fence_exists(const char *dir)
{
	return *dir && !access(dir, F_OK);
}

int fence_make(const char *dir)
{
	int ret = mkdir(dir, 0755) && errno != EEXIST ? -errno : 0;

	if (ret)
		cli_say("cgroup %s cannot be made (%s): is cgroup v2 mounted at %s?", dir,
			strerror(-ret), CLI_CGROUP);
	return ret;
}

int fence_move(const char *dir, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return fence_write(dir, "cgroup.procs", text);
}

bool fence_is_frozen(const char *dir)
{
	return fence_has(dir, "cgroup.freeze", "1") > 0 && !fence_wait(dir, "frozen 1");
}

bool fence_is_populated(const char *dir)
{
	return fence_has(dir, "cgroup.events", "populated 1") > 0;
}

bool fence_stands_still(const char *dir)
{
	return fence_has(dir, "cgroup.events", "frozen 1") > 0;
}

int fence_freeze(const char *dir, bool frozen)
{
	int ret = fence_write(dir, "cgroup.freeze", frozen ? "1" : "0");

	return ret ? ret : fence_wait(dir, frozen ? "frozen 1" : "frozen 0");
}

int fence_kill(const char *dir)
{
	int ret;

	if (!fence_exists(dir))
		return 0;
	ret = fence_write(dir, "cgroup.kill", "1");
	return ret ? ret : fence_wait(dir, "populated 0");
}

int fence_remove(const char *dir)
{
	int i;

	/* a killed process leaves its cgroup a moment after it is dead */
	for (i = 0; i < 200; i++) {
		if (!rmdir(dir) || errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			break;
		usleep(10000);
	}
	return -errno;
}

/*
 * Where the journal says that a process was; the parent of the fence, where its root was, for any
 * other.
 */
static const char *fence_home(json_object *procs, const char *parent, pid_t pid)
{
	size_t i, n = procs ? json_object_array_length(procs) : 0;

	for (i = 0; i < n; i++) {
		json_object *p = json_object_array_get_idx(procs, i);

		if (jint(p, "pid") == pid && fence_exists(jstr(p, "cgroup")))
			return jstr(p, "cgroup");
	}
	return parent;
}

int fence_undo(json_object *journal)
{
	json_object *procs = json_object_object_get(journal, "procs");
	const char *dir = jstr(journal, "fence"), *slash = strrchr(dir, '/');
	char path[640], parent[640], *text, *p, *end;
	int tries, ret = 0;

	if (!fence_exists(dir))
		return 0;
	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - dir), dir);
	/*
	 * Back first, thawed then: a process must not run outside its own limits. Only what is in
	 * the fence: a pid of the journal may be another process by now. A fence that was not
	 * closed yet may get new ones meanwhile.
	 */
	for (tries = 0; tries < 10 && !ret; tries++) {
		text = cli_read_file(path);
		if (!text || !*text) {
			free(text);
			break;
		}
		for (p = text; *p && !ret; p = *end ? end + 1 : end) {
			pid_t pid = strtol(p, &end, 10);

			if (end == p)
				break;
			ret = fence_move(fence_home(procs, parent, pid), pid);
			/* it may have ended */
			if (ret == -ESRCH)
				ret = 0;
		}
		free(text);
	}
	fence_write(dir, "cgroup.freeze", "0");
	if (!ret)
		ret = fence_remove(dir);
	if (ret)
		cli_say("cgroup %s could not be taken away (%s): its processes run on in it", dir,
			strerror(-ret));
	return ret;
}
