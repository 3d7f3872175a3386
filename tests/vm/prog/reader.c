// SPDX-License-Identifier: MIT
/* Reads more than its memory cgroup may have room for, several times, and writes a little of it. */
#include "prog.h"

#define LEN (12 * MB)

int main(int argc, char **argv)
{
	char *area;

	prog_init(argc, argv);
	area = map_content(LEN, 1);
	prog_ready();
	for (int i = 0; i < 2; i++)
		CHECK_CONTENT(area, LEN, 1, "what is only read");
	content_fill(area, MB, 2);
	CHECK_CONTENT(area, MB, 2, "what it has written");
	CHECK_CONTENT_AT(area, MB, LEN - MB, 1, "the rest");
	prog_pass();
}
