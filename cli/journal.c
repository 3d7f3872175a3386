// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static void journal_path(const char *id, const char *suffix, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s.json%s", CLI_STATE_DIR, id, suffix);
}

json_object *journal_load(const char *id)
{
	json_object *journal;
	char path[256];

	journal_path(id, "", path, sizeof(path));
	if (access(path, F_OK))
		return NULL;
	journal = json_object_from_file(path);
	errno = EIO;
	return journal;
}

int journal_save(const char *id, json_object *journal)
{
	const char *text = json_object_to_json_string_ext(journal, JSON_C_TO_STRING_PRETTY);
	char path[256], fresh[256];
	size_t len = strlen(text);
	int fd, dir, ret;

	ret = cli_mkdir_p(CLI_STATE_DIR, 0700);
	if (ret)
		goto out;
	journal_path(id, "", path, sizeof(path));
	journal_path(id, ".new", fresh, sizeof(fresh));
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		ret = -errno;
		goto out;
	}
	if (write(fd, text, len) != (ssize_t)len || fsync(fd))
		ret = errno ? -errno : -EIO;
	close(fd);
	if (!ret && rename(fresh, path))
		ret = -errno;
	dir = open(CLI_STATE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!ret && (dir < 0 || fsync(dir)))
		ret = -errno;
	if (dir >= 0)
		close(dir);
out:
	if (ret)
		cli_say("the journal %s/%s.json cannot be written (%s): make room there",
			CLI_STATE_DIR, id, strerror(-ret));
	return ret;
}

void journal_remove(const char *id)
{
	char path[256];

	journal_path(id, "", path, sizeof(path));
	unlink(path);
}

int journal_for_each(int (*fn)(const char *id, json_object *journal, void *arg), void *arg)
{
	DIR *d = opendir(CLI_STATE_DIR);
	struct dirent *e;
	int ret = 0;

	while (d && !ret && (e = readdir(d))) {
		char id[32], *dot = strstr(e->d_name, ".json");
		json_object *journal;

		if (!dot || strcmp(dot, ".json") || dot - e->d_name >= (int)sizeof(id))
			continue;
		snprintf(id, sizeof(id), "%.*s", (int)(dot - e->d_name), e->d_name);
		journal = journal_load(id);
		if (journal)
			ret = fn(id, journal, arg);
		json_object_put(journal);
	}
	if (d)
		closedir(d);
	return ret;
}

const char *journal_state(json_object *journal)
{
	return journal ? jstr(journal, "state") : "";
}

void journal_own(json_object *journal)
{
	cli_process_add(journal, "owner", getpid());
}

bool journal_owner_lives(json_object *journal)
{
	return cli_process_lives(journal, "owner");
}

int journal_lock(const char *id)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int fd, ret = cli_mkdir_p(CLI_STATE_DIR, 0700);

	fd = ret ? -1 :
		   open(CLI_STATE_DIR "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		cli_say(CLI_STATE_DIR "/lock cannot be opened (%s): make room there",
			strerror(errno));
		return -1;
	}
	/* one file, and a byte of it for each migration */
	lock.l_start = strtoull(id, NULL, 16) & INT64_MAX;
	while (fcntl(fd, F_OFD_SETLKW, &lock)) {
		if (errno == EINTR)
			continue;
		cli_say(CLI_STATE_DIR
			"/lock cannot be locked (%s): put it on a file system that can",
			strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

void journal_unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}
