// SPDX-License-Identifier: MIT
/*
 * For snapshots without CRIU: a parent, a first child that serves as its copy-on-write clone, and
 * two that are made to get their memory from the snapshot (ctl fork). Their addresses are the same.
 * The parent writes to its memory when it is told to go on, children do with brood.children: they
 * must not see it, nor what their sibling writes. A child's lines go to a log of its own.
 */
#include "prog.h"

/* Small: it is done again for each of many allocations, on a kernel that checks all it does. */
#define LEN (64 * PAGE)

static char *area;

static _Noreturn void be_child(int index)
{
	char *end = prog_log + strlen(prog_log);
	char word[300];

	snprintf(word, sizeof(word), "%.*schildren", (int)(strlen(prog_go) - strlen("go")),
		 prog_go);
	snprintf(end, sizeof(prog_log) - (end - prog_log), ".%d", index);
	while (!prog_now && access(word, F_OK))
		prog_sleep_ms(20);
	CHECK_CONTENT(area, LEN, 1, "memory of the snapshot");
	content_fill(area, LEN / 2, 100 + index);
	prog_sleep_ms(200);
	CHECK_CONTENT(area, LEN / 2, 100 + index, "what a child has written");
	CHECK_CONTENT_AT(area, LEN / 2, LEN / 2, 1, "the rest in a child");
	prog_pass();
}

int main(int argc, char **argv)
{
	pid_t pid;

	prog_init(argc, argv);
	/* nobody waits for children that are killed */
	signal(SIGCHLD, SIG_IGN);
	area = map_content(LEN, 1);
	for (int i = 0; i < 3; i++) {
		pid = MUST(fork());
		if (!pid)
			be_child(i);
		say("child %d", (int)pid);
	}
	prog_ready();
	content_fill(area, LEN, 2);
	prog_sleep_ms(200);
	CHECK_CONTENT(area, LEN, 2, "what the parent has written");
	prog_pass();
}
