// SPDX-License-Identifier: MIT
/*
 * A parent and its children over a snapshot. Each finds its memory as it was when the snapshot was
 * taken, writes to it, and sees nothing of what the others write. The parent goes on writing a log
 * meanwhile. A child's lines go to a log of its own.
 *
 *	forked [MB [wait]]
 *
 * wait: child N touches none of it before forked.child.N or forked.children exists.
 */
#include "prog.h"

static char *area;
static size_t area_len = 8 * MB;
static bool wait_for_word;
static int grow;
static pid_t pid;

/* Seldom: there can be many of us on one processor. */
static void child_wait(int index)
{
	size_t n = strlen(prog_go) - strlen("go");
	char all[300], mine[300];

	snprintf(all, sizeof(all), "%.*schildren", (int)n, prog_go);
	snprintf(mine, sizeof(mine), "%.*schild.%d", (int)n, prog_go, index);
	while (access(all, F_OK) && access(mine, F_OK))
		prog_sleep_ms(200);
}

static void child_identity(void)
{
	char id[64] = "";
	int fd = MUST(open("/run/mitosis-child/id", O_RDONLY | O_CLOEXEC));
	ssize_t n = MUST(read(fd, id, sizeof(id) - 1));

	close(fd);
	id[n > 0 ? n - 1 : 0] = 0;
	say("id %s", id);
}

static _Noreturn void be_child(int index)
{
	char *end = prog_log + strlen(prog_log);
	int fd;

	snprintf(end, sizeof(prog_log) - (end - prog_log), ".%d", index);
	child_identity();
	if (wait_for_word)
		child_wait(index);
	CHECK(getpid() == pid, "the child has pid %d, its parent %d", getpid(), pid);
	CHECK_CONTENT_AT(area, area_len / 2, area_len / 2, 1, "the upper half in a child");
	content_fill(area, MB, 100 + index);
	prog_sleep_ms(500);
	CHECK_CONTENT(area, MB, 100 + index, "what a child has written");
	CHECK_CONTENT_AT(area, MB, area_len - MB, 1, "the rest in a child");
	CHECK(write(grow, "child\n", 6) == 6, "a child cannot write to the log: %s",
	      strerror(errno));
	/* memory of its own, and processes */
	fd = MUST(fork());
	if (!fd)
		_exit(content_differs_at(area, MB, area_len - MB, 1) < 0 ? 0 : 1);
	wait_child(fd, "a child's child");
	prog_pass();
}

int main(int argc, char **argv)
{
	char path[300];
	FILE *f;
	int index;

	prog_init(argc, argv);
	if (argc > 1 && !prog_now) {
		area_len = atoi(argv[1]) * MB;
		wait_for_word = argc > 2 && !strcmp(argv[2], "wait");
	}
	pid = getpid();
	area = map_content(area_len, 1);
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
	content_fill(area, area_len, 2);
	prog_sleep_ms(1000);
	CHECK_CONTENT(area, area_len, 2, "what the parent has written");
	prog_pass();
}
