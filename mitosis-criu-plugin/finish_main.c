// SPDX-License-Identifier: MIT
/*
 * mitosis-dump-finish: an action script of criu, which the plugin adds. When it fails criu lets the
 * tasks run on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/mitosis.h"
#include "mitosis-criu-plugin/finish.h"

/*
 * Standard error is criu's log; criu's own may be the user's terminal, or a file whose offset is
 * criu's.
 */
static void finish_say(const char *text)
{
	int criu = syscall(SYS_pidfd_open, getppid(), 0), fd = -1;
	struct stat ours, theirs;

	fprintf(stderr, "mitosis: %s\n", text);
	if (criu >= 0)
		fd = syscall(SYS_pidfd_getfd, criu, STDERR_FILENO, 0);
	if (fd >= 0 && (fstat(STDERR_FILENO, &ours) || fstat(fd, &theirs) ||
			ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino))
		dprintf(fd, "mitosis: %s\n", text);
	if (fd >= 0)
		close(fd);
	if (criu >= 0)
		close(criu);
}

int main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *dir = getenv("CRTOOLS_IMAGE_DIR");
	char err[MITOSIS_ERROR_LEN];
	struct mitosis *ctl;
	int dirfd, ret;

	if (!action || !dir) {
		fprintf(stderr, MITOSIS_FINISH_PROGRAM
			" is run by criu: use criu dump with mitosis_plugin.so\n");
		return 2;
	}
	if (strcmp(action, "post-dump"))
		return 0;
	/* criu closes standard input, and no file of ours should take its place. */
	if (fcntl(STDIN_FILENO, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
		return 1;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		snprintf(err, sizeof(err),
			 "the image directory can not be opened (%s): dump to another one",
			 strerror(errno));
		finish_say(err);
		return 1;
	}
	ctl = mitosis_open(err, sizeof(err));
	if (!ctl) {
		finish_say(err);
		return 1;
	}
	ret = mitosis_dump_finish(ctl, dirfd, NULL, err, sizeof(err));
	if (ret) {
		finish_say(err);
		mitosis_dump_abandon(ctl, dirfd, 0);
	}
	mitosis_close(ctl);
	return ret ? 1 : 0;
}
