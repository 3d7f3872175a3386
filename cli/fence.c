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
		cli_say("%s cannot be written (%s): is cgroup v2 mounted at %s?", path, strerror(-ret),
			CLI_CGROUP);
	return ret;
}

/* Waits until cgroup.events has the line. */
static int fence_wait(const char *dir, const char *line)
{
	uint64_t end = cli_now_ms() + FENCE_WAIT_MS;
	char path[640], *text;
	bool found;

	snprintf(path, sizeof(path), "%s/cgroup.events", dir);
	for (;;) {
		text = cli_read_file(path);
		if (!text)
			return -errno;
		found = strstr(text, line);
		free(text);
		if (found)
			return 0;
		if (cli_now_ms() > end)
			break;
		usleep(1000);
	}
	cli_say("cgroup %s does not get to \"%s\" within %d s: a process in it does not react", dir, line,
		FENCE_WAIT_MS / 1000);
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
		cli_say("cgroup %s cannot be made (%s): is cgroup v2 mounted at %s?", dir, strerror(-ret),
			CLI_CGROUP);
	return ret;
}

int fence_move(const char *dir, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return fence_write(dir, "cgroup.procs", text);
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

void fence_undo(json_object *journal)
{
	json_object *procs = json_object_object_get(journal, "procs");
	const char *dir = jstr(journal, "fence");
	size_t i, n = procs ? json_object_array_length(procs) : 0;

	if (!fence_exists(dir))
		return;
	/* back first, thawed then: a process must not run outside its own limits */
	for (i = 0; i < n; i++) {
		json_object *p = json_object_array_get_idx(procs, i);
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d", (int)jint(p, "pid"));
		if (!access(path, F_OK))
			fence_move(jstr(p, "cgroup"), jint(p, "pid"));
	}
	fence_write(dir, "cgroup.freeze", "0");
	fence_remove(dir);
}
