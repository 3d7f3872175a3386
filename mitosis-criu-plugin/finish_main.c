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
#include <unistd.h>

#include "lib/mitosis.h"
#include "mitosis-criu-plugin/finish.h"

/* Standard error is criu's log; criu's own may be the user's terminal. */
static void finish_say(const char *text)
{
	struct stat ours, theirs;
	char path[64];
	FILE *f;

	fprintf(stderr, "mitosis: %s\n", text);
	snprintf(path, sizeof(path), "/proc/%d/fd/2", (int)getppid());
	f = fopen(path, "ae");
	if (!f)
		return;
	if (fstat(STDERR_FILENO, &ours) || fstat(fileno(f), &theirs) ||
	    ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		fprintf(f, "mitosis: %s\n", text);
	fclose(f);
}

int main(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *dir = getenv("CRTOOLS_IMAGE_DIR");
	char err[MITOSIS_ERROR_LEN];
	struct mitosis *ctl;
	int dirfd, ret;

	if (!action || !dir) {
		fprintf(stderr, MITOSIS_FINISH_PROGRAM " is run by criu: use criu dump with mitosis_plugin.so\n");
		return 2;
	}
	if (strcmp(action, "post-dump"))
		return 0;
	/* criu closes standard input, and no file of ours should take its place. */
	if (fcntl(STDIN_FILENO, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
		return 1;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		snprintf(err, sizeof(err), "the image directory can not be opened (%s): dump to another one",
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
