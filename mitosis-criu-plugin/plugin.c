// SPDX-License-Identifier: MIT
#include "mitosis-criu-plugin/plugin.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLUGIN_CONF	"/etc/criu/mitosis-plugin.conf"
#define CRIU_LOG_ERROR	1

static const char *const settings[] = {
	"MITOSIS_ADDR", "MITOSIS_TRANSPORT", "MITOSIS_ONESHOT", "MITOSIS_LEASE", "MITOSIS_GIVE_UP",
	"MITOSIS_NO_DRAIN", "MITOSIS_DRAIN_WAIT", "MITOSIS_NAME", "MITOSIS_FOLLOW",
	"MITOSIS_INHERIT", "MITOSIS_NETNS", "MITOSIS_CACHE", "MITOSIS_PREFETCH", "MITOSIS_RECORD",
	"MITOSIS_INSECURE", "MITOSIS_PHASES", "MITOSIS_FENCE", "MITOSIS_FENCE_HOME",
	"MITOSIS_GATE", "MITOSIS_LEAVE_RUNNING",
};

void plugin_say(const char *fmt, ...)
{
	struct stat err, log;
	char text[1024];
	bool to_log;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	to_log = log_get_fd && print_on_level && !fstat(log_get_fd(), &log);
	if (to_log)
		print_on_level(CRIU_LOG_ERROR, "Error (mitosis): %s\n", text);
	if (to_log && !fstat(STDERR_FILENO, &err) && err.st_dev == log.st_dev &&
	    err.st_ino == log.st_ino)
		return;
	fprintf(stderr, "mitosis: %s\n", text);
}

const char *plugin_setting(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

int plugin_setting_u32(const char *name, uint32_t *value)
{
	const char *text = plugin_setting(name);
	unsigned long n;
	char *end;

	*value = 0;
	if (!text)
		return 0;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9' || n > UINT32_MAX) {
		plugin_say("%s=%s is no number of seconds: set it to one or leave it away", name,
			   text);
		return -EINVAL;
	}
	*value = (uint32_t)n;
	return 0;
}

int plugin_each_thread(pid_t pid, int (*fn)(pid_t tid, void *arg), void *arg)
{
	char path[64];
	struct dirent *e;
	int tid, ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (!ret && (e = readdir(d))) {
		tid = atoi(e->d_name);
		if (tid > 0)
			ret = fn(tid, arg);
	}
	closedir(d);
	return ret;
}

/* The file's settings stand back behind the environment's. */
static int plugin_conf_line(char *line, unsigned int number)
{
	char *value;
	size_t i;

	line[strcspn(line, "#\n")] = 0;
	line += strspn(line, " \t");
	for (i = strlen(line); i && strchr(" \t\r", line[i - 1]); i--)
		line[i - 1] = 0;
	if (!*line)
		return 0;
	value = strchr(line, '=');
	if (value) {
		*value++ = 0;
		for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
			if (!strcmp(line, settings[i]))
				return setenv(line, value, 0) ? -errno : 0;
	}
	plugin_say(PLUGIN_CONF " has an unknown setting in line %u: correct it, it is NAME=VALUE with a name such as MITOSIS_ADDR",
		   number);
	return -EINVAL;
}

static int plugin_conf_read(void)
{
	unsigned int number = 0;
	char *line = NULL;
	size_t room = 0;
	int ret = 0;
	FILE *f;

	f = fopen(PLUGIN_CONF, "re");
	if (!f && errno == ENOENT)
		return 0;
	if (!f) {
		ret = -errno;
		plugin_say(PLUGIN_CONF " can not be read (%s): correct or remove it",
			   strerror(-ret));
		return ret;
	}
	while (!ret && getline(&line, &room, f) > 0)
		ret = plugin_conf_line(line, ++number);
	free(line);
	fclose(f);
	return ret;
}

/* A word for no is not to be taken for a yes. */
static int plugin_check_insecure(void)
{
	const char *value = plugin_setting("MITOSIS_INSECURE");

	if (!value || !strcmp(value, "1"))
		return 0;
	plugin_say("MITOSIS_INSECURE=%s is neither yes nor no: set it to 1 to let memory go unencrypted over transport tcp, or leave it away",
		   value);
	return -EINVAL;
}

static int plugin_init(int stage)
{
	if (stage != CR_PLUGIN_STAGE__DUMP && stage != CR_PLUGIN_STAGE__RESTORE)
		return 0;
	if (plugin_conf_read() || plugin_check_insecure())
		return -1;
	return stage == CR_PLUGIN_STAGE__DUMP ? dump_init() : restore_init();
}

static void plugin_fini(int stage, int ret)
{
	if (stage == CR_PLUGIN_STAGE__DUMP)
		dump_fini(ret);
	else if (stage == CR_PLUGIN_STAGE__RESTORE)
		restore_fini(ret);
}

/* -ENOTSUP for "done": anything else would keep criu from asking the next plugin. */
static int plugin_pause(int pid)
{
	return dump_pause(pid) ? -1 : -ENOTSUP;
}

static int plugin_checkpoint(int pid)
{
	return dump_checkpoint(pid) ? -1 : -ENOTSUP;
}

static int plugin_resume_late(int pid)
{
	return restore_resume(pid) ? -1 : -ENOTSUP;
}

__attribute__((visibility("default"))) extern cr_plugin_desc_t CR_PLUGIN_DESC;

CR_PLUGIN_REGISTER(PLUGIN_NAME, plugin_init, plugin_fini)
CR_PLUGIN_REGISTER_HOOK(CR_PLUGIN_HOOK__PAUSE_DEVICES, plugin_pause)
CR_PLUGIN_REGISTER_HOOK(CR_PLUGIN_HOOK__CHECKPOINT_DEVICES, plugin_checkpoint)
CR_PLUGIN_REGISTER_HOOK(CR_PLUGIN_HOOK__RESUME_DEVICES_LATE, plugin_resume_late)
