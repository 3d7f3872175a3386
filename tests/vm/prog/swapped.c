// SPDX-License-Identifier: MIT
/*
 * Pages that are in swap when the process is moved. The runner has switched swap on at the source.
 */
#include "prog.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define LEN (8 * MB)

static long swapped_kb(void)
{
	char line[256];
	long kb = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmSwap: %ld kB", &kb);
	if (f)
		fclose(f);
	return kb;
}

int main(int argc, char **argv)
{
	char *p, *shared_with_child;
	pid_t pid;

	prog_init(argc, argv);
	p = map_content(LEN, 1);
	shared_with_child = map_content(LEN / 4, 2);
	MUST(madvise(p, LEN, MADV_PAGEOUT));
	MUST(madvise(shared_with_child, LEN / 4, MADV_PAGEOUT));
	if (!prog_now)
		CHECK(swapped_kb() > (long)LEN / 2048, "only %ld KiB are in swap", swapped_kb());
	/* After it: pages that two processes have mapped are not swapped out. */
	pid = MUST(fork());
	if (!pid) {
		prog_wait();
		CHECK_CONTENT(shared_with_child, LEN / 4, 2, "swapped, in the child");
		_exit(0);
	}
	/* Some are back again, and dirty. */
	for (size_t off = 0; off < LEN; off += 64 * PAGE)
		content_fill(p + off, PAGE, 3);
	prog_ready();
	for (size_t off = 0; off < LEN; off += 64 * PAGE) {
		CHECK_CONTENT(p + off, PAGE, 3, "swapped, brought back and written");
		CHECK_CONTENT_AT(p, off + PAGE, 63 * PAGE, 1, "swapped");
	}
	CHECK_CONTENT(shared_with_child, LEN / 4, 2, "swapped, shared with a child");
	wait_child(pid, "swapped");
	prog_pass();
}
