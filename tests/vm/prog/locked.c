// SPDX-License-Identifier: MIT
/*
 * mlock before the move, mlock and mlock2 while lazy, then mlockall; locked means resident and
 * right.
 */
#include "prog.h"

#define LEN (2 * MB)

static long locked_kb(void)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmLck: %ld kB", &kb);
	if (f)
		fclose(f);
	return kb;
}

int main(int argc, char **argv)
{
	char *before, *half, *while_lazy, *onfault, *ro, *all, *fresh;

	prog_init(argc, argv);
	before = map_content(LEN, 1);
	half = map_content(LEN, 2);
	while_lazy = map_content(LEN, 3);
	onfault = map_content(LEN, 4);
	ro = map_content(LEN, 5);
	all = map_content(LEN, 6);
	MUST(mlock(before, LEN));
	MUST(mlock(half + 10 * PAGE, LEN / 2));
	MUST(mprotect(ro, LEN, PROT_READ));
	prog_ready();

	CHECK(locked_kb() == (long)(LEN + LEN / 2) / 1024, "%ld KiB are locked", locked_kb());
	MUST(mlock(while_lazy + 3 * PAGE, LEN - 6 * PAGE));
	CHECK_CONTENT(while_lazy, LEN, 3, "locked while lazy");
	MUST(mlock(ro, LEN));
	CHECK_CONTENT(ro, LEN, 5, "read-only, locked while lazy");
	MUST(mlock2(onfault, LEN, MLOCK_ONFAULT));
	CHECK_CONTENT(onfault, LEN, 4, "locked on fault");
	MUST(munlock(while_lazy, LEN));
	MUST(munlock(half, LEN));
	CHECK_CONTENT(half, LEN, 2, "half locked before the move");
	CHECK_CONTENT(before, LEN, 1, "locked before the move");

	MUST(mlockall(MCL_CURRENT | MCL_FUTURE));
	CHECK_CONTENT(all, LEN, 6, "after mlockall");
	fresh = map_anon(NULL, LEN, PROT_READ | PROT_WRITE);
	CHECK_ZERO(fresh, LEN, "fresh memory after mlockall");
	MUST(munlockall());
	MUST(madvise(all, LEN, MADV_DONTNEED));
	CHECK_ZERO(all, LEN, "dropped after munlockall");
	CHECK(locked_kb() == 0, "%ld KiB stay locked", locked_kb());
	prog_pass();
}
