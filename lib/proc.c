// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/mitosis.h"

#define STAT_COMM_FIELD		2
#define STAT_START_TIME_FIELD	22

int mitosis_proc_parse_start_time(const char *stat, uint64_t *start_time)
{
	/* The name may hold spaces and parentheses; nothing after it does. */
	const char *p = strrchr(stat, ')');
	char *end;
	int field;

	if (!p)
		return -EINVAL;
	p++;
	for (field = STAT_COMM_FIELD; field < STAT_START_TIME_FIELD; field++) {
		p = strchr(field == STAT_COMM_FIELD ? p : p + 1, ' ');
		if (!p)
			return -EINVAL;
	}
	if (p[1] < '0' || p[1] > '9')
		return -EINVAL;
	errno = 0;
	*start_time = strtoull(p + 1, &end, 10);
	return errno || *end != ' ' ? -EINVAL : 0;
}

static int proc_read_stat(pid_t pid, char *buf, size_t size)
{
	char path[64];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	len = read(fd, buf, size - 1);
	if (len < 0)
		len = -errno;
	close(fd);
	if (len < 0)
		return len;
	buf[len] = 0;
	return 0;
}

int mitosis_proc_get(pid_t pid, struct mitosis_proc *proc, int *pidfd)
{
	struct pollfd pfd = { .events = POLLIN };
	char stat[2048];
	int ret, n;

	if (pid <= 0)
		return -EINVAL;
	pfd.fd = syscall(SYS_pidfd_open, pid, 0);
	if (pfd.fd < 0)
		return -errno;
	ret = proc_read_stat(pid, stat, sizeof(stat));
	if (!ret)
		ret = mitosis_proc_parse_start_time(stat, &proc->start_time);
	if (ret)
		goto out;
	/*
	 * As long as this process lives its pid is not given to another, so what was read is its
	 * own.
	 */
	n = poll(&pfd, 1, 0);
	if (n)
		ret = n < 0 ? -errno : -ESRCH;
	proc->pid = pid;
out:
	if (ret || !pidfd)
		close(pfd.fd);
	else
		*pidfd = pfd.fd;
	return ret;
}

uint32_t mitosis_proc_inner_pid(pid_t pid)
{
	char path[64], line[512], *last;
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "NSpid:", 6))
			continue;
		last = strrchr(line, '\t');
		if (last)
			n = strtoul(last + 1, NULL, 10);
		break;
	}
	fclose(f);
	return n > INT_MAX ? 0 : (uint32_t)n;
}
