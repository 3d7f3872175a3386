// SPDX-License-Identifier: MIT
/*
 * A parent, a child of it that has touched a part of its memory, and a child of that one. Each
 * knows by /run/mitosis-child/id, which is another one in each, that it has been forked. Logs: that
 * of the parent, of its child with .1, of that one's child with .2.
 */
#include "prog.h"

#define QUARTER (2 * MB)

static char *area;

static bool is_forked(void)
{
	static char known[64];
	char id[64] = "";
	FILE *f = fopen("/run/mitosis-child/id", "r");

	if (!f)
		return false;
	if (!fgets(id, sizeof(id), f))
		*id = 0;
	fclose(f);
	if (!*id || !strcmp(id, known))
		return false;
	strcpy(known, id);
	return true;
}

int main(int argc, char **argv)
{
	char *end;
	int depth = 0;

	prog_init(argc, argv);
	end = prog_log + strlen(prog_log);
	area = map_content(4 * QUARTER, 1);
	say("ready %d", getpid());
	while (!prog_may_go()) {
		prog_sleep_ms(20);
		if (!is_forked())
			continue;
		depth++;
		snprintf(end, sizeof(prog_log) - (end - prog_log), ".%d", depth);
		if (depth == 1) {
			CHECK_CONTENT_AT(area, QUARTER, QUARTER, 1, "what the child reads");
			content_fill(area, QUARTER, 2);
			MUST(madvise(area + 2 * QUARTER, QUARTER, MADV_DONTNEED));
			say("ready %d", getpid());
		} else {
			CHECK_CONTENT(area, QUARTER, 2, "what the child has written");
			CHECK_CONTENT_AT(area, QUARTER, QUARTER, 1, "what the child has read");
			CHECK_ZERO(area + 2 * QUARTER, QUARTER, "what the child has discarded");
			CHECK_CONTENT_AT(area, 3 * QUARTER, QUARTER, 1,
					 "what the child has never touched");
			prog_pass();
		}
	}
	content_fill(area, 4 * QUARTER, 3);
	prog_sleep_ms(300);
	CHECK_CONTENT(area, 4 * QUARTER, 3, "what it writes after the fork");
	prog_pass();
}
