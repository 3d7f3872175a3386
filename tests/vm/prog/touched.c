// SPDX-License-Identifier: MIT
/*
 * A parent whose children touch what they are told to. The Nth child on a machine has the log
 * FILE.N, and waits for FILE.N.go, with one word: "up" and "down" read the lower half of the memory
 * in that order, "some" every other pair of its pages, "upper" the upper half. "write" reads the
 * lower half, and then writes to the upper.
 */
#include "prog.h"

#define LEN (8 * MB)

static char *area;

static void touch(size_t page)
{
	CHECK_CONTENT_AT(area, page * PAGE, PAGE, 1, "a page in a child");
}

static _Noreturn void be_child(void)
{
	char base[sizeof(prog_log) - 16], name[sizeof(prog_log)], go[sizeof(name) + 8];
	char how[16] = "";
	size_t pages = LEN / 2 / PAGE, i;
	int fd = -1, n;
	FILE *f;

	CHECK(snprintf(base, sizeof(base), "%s", prog_log) < (int)sizeof(base),
	      "the path of the log is too long");
	for (n = 0; fd < 0; n++) {
		snprintf(name, sizeof(name), "%s.%d", base, n);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 && errno != EEXIST)
			_exit(98);
	}
	close(fd);
	strcpy(prog_log, name);
	snprintf(go, sizeof(go), "%s.go", name);
	while (!*how) {
		prog_sleep_ms(20);
		f = fopen(go, "r");
		if (f && fscanf(f, "%15s", how) != 1)
			*how = 0;
		if (f)
			fclose(f);
	}
	for (i = 0; i < pages; i++) {
		if (!strcmp(how, "up"))
			touch(i);
		else if (!strcmp(how, "down"))
			touch(pages - 1 - i);
		else if (!strcmp(how, "upper"))
			touch(pages + i);
		else if (!strcmp(how, "write") || i / 2 % 2)
			touch(i);
	}
	if (!strcmp(how, "write")) {
		content_fill(area + LEN / 2, LEN / 2, 2);
		CHECK_CONTENT(area + LEN / 2, LEN / 2, 2, "what it has written");
	}
	prog_pass();
}

int main(int argc, char **argv)
{
	prog_init(argc, argv);
	area = map_content(LEN, 1);
	say("ready %d", getpid());
	while (!prog_may_go()) {
		if (!access("/run/mitosis-child/index", F_OK))
			be_child();
		prog_sleep_ms(5);
	}
	prog_pass();
}
