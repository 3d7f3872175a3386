// SPDX-License-Identifier: MIT
/*
 * A parent and its children over a snapshot. Each finds its memory as it was when the snapshot was taken, writes to it, and sees
 * nothing of what the others write. The parent goes on writing a log meanwhile. A child's lines go to a log of its own.
 */
#include "prog.h"

#define LEN (8 * MB)

static char *area;
static int grow;
static pid_t pid;

static _Noreturn void be_child(int index)
{
	char *end = prog_log + strlen(prog_log);
	int fd;

	snprintf(end, sizeof(prog_log) - (end - prog_log), ".%d", index);
	CHECK(getpid() == pid, "the child has pid %d, its parent %d", getpid(), pid);
	CHECK_CONTENT_AT(area, LEN / 2, LEN / 2, 1, "the upper half in a child");
	content_fill(area, MB, 100 + index);
	prog_sleep_ms(500);
	CHECK_CONTENT(area, MB, 100 + index, "what a child has written");
	CHECK_CONTENT_AT(area, MB, LEN - MB, 1, "the rest in a child");
	CHECK(write(grow, "child\n", 6) == 6, "a child cannot write to the log: %s", strerror(errno));
	/* memory of its own, and processes */
	fd = MUST(fork());
	if (!fd)
		_exit(content_differs_at(area, MB, LEN - MB, 1) < 0 ? 0 : 1);
	wait_child(fd, "a child's child");
	prog_pass();
}

int main(int argc, char **argv)
{
	char path[300];
	FILE *f;
	int index;

	prog_init(argc, argv);
	pid = getpid();
	area = map_content(LEN, 1);
	snprintf(path, sizeof(path), "%s.grow", prog_log);
	grow = MUST(open(path, O_WRONLY | O_CREAT | O_APPEND, 0644));
	say("ready %d", pid);
	while (!prog_may_go()) {
		f = fopen("/run/mitosis-child/index", "r");
		if (f && fscanf(f, "%d", &index) == 1)
			be_child(index);
		if (f)
			fclose(f);
		MUST(write(grow, "parent\n", 7));
		prog_sleep_ms(5);
	}
	content_fill(area, LEN, 2);
	prog_sleep_ms(1000);
	CHECK_CONTENT(area, LEN, 2, "what the parent has written");
	prog_pass();
}
