// SPDX-License-Identifier: MIT
/*
 * Speaks on its standard output: "parent" until it finds itself a child, which says "child", how
 * many columns its standard input has where that is a terminal, what it reads there when it is told
 * to go on, and then more than a pipe or a terminal holds.
 */
#include "prog.h"
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct winsize ws = {};
	char line[64] = "";

	prog_init(argc, argv);
	say("ready %d", (int)getpid());
	while (!prog_now && access("/run/mitosis-child/index", F_OK)) {
		MUST(write(STDOUT_FILENO, "parent\n", 7));
		prog_sleep_ms(50);
	}
	printf("child\n");
	if (!ioctl(STDIN_FILENO, TIOCGWINSZ, &ws))
		printf("columns %d\n", ws.ws_col);
	fflush(stdout);
	if (!prog_now && prog_may_go()) {
		MUST(read(STDIN_FILENO, line, sizeof(line) - 1));
		printf("read %s", line);
	}
	for (int i = 0; i < 20000; i++)
		printf("line %d\n", i);
	CHECK(!fflush(stdout), "what it says cannot be written: %s", strerror(errno));
	say("PASS");
	return prog_now ? 0 : 7;
}
