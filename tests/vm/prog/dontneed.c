// SPDX-License-Identifier: MIT
/*
 * MADV_DONTNEED and munmap on pages that are not here yet: they read zero from then on, and nothing
 * else does.
 */
#include "prog.h"
#include <linux/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define LEN (4 * MB)

int main(int argc, char **argv)
{
	char *whole, *part, *odd, *unmapped, *split, *hole, *locked, *again;

	prog_init(argc, argv);
	whole = map_content(LEN, 1);
	part = map_content(LEN, 2);
	odd = map_content(LEN, 3);
	unmapped = map_content(LEN, 4);
	split = map_content(LEN, 5);
	hole = map_content(LEN, 6);
	locked = map_content(MB, 7);
	again = map_content(MB, 8);
	prog_ready();

	MUST(madvise(whole, LEN, MADV_DONTNEED));
	CHECK_ZERO(whole, LEN, "all of a mapping after MADV_DONTNEED");

	MUST(madvise(part + 5 * PAGE, MB + 3 * PAGE, MADV_DONTNEED));
	CHECK_CONTENT_AT(part, 0, 5 * PAGE, 2, "before the dropped part");
	CHECK_ZERO(part + 5 * PAGE, MB + 3 * PAGE, "part of a mapping after MADV_DONTNEED");
	CHECK_CONTENT_AT(part, MB + 8 * PAGE, LEN - MB - 8 * PAGE, 2, "behind the dropped part");

	for (size_t off = PAGE; off < LEN; off += 2 * PAGE)
		MUST(madvise(odd + off, PAGE, MADV_DONTNEED));
	for (size_t off = 0; off < LEN; off += 2 * PAGE) {
		CHECK_CONTENT_AT(odd, off, PAGE, 3, "an even page");
		CHECK_ZERO(odd + off + PAGE, PAGE, "an odd page after MADV_DONTNEED");
	}

	MUST(munmap(unmapped + MB, MB));
	map_anon(unmapped + MB, MB, PROT_READ | PROT_WRITE);
	CHECK_ZERO(unmapped + MB, MB, "mapped anew after munmap");
	CHECK_CONTENT_AT(unmapped, 0, MB, 4, "before what was unmapped");
	CHECK_CONTENT_AT(unmapped, 2 * MB, 2 * MB, 4, "behind what was unmapped");
	map_anon(unmapped + 2 * MB + PAGE, PAGE, PROT_READ | PROT_WRITE);
	CHECK_ZERO(unmapped + 2 * MB + PAGE, PAGE, "mapped over with MAP_FIXED");

	/* A split in the middle of a block of 2 MiB must not be taken for a drop of the block. */
	MUST(mprotect(split + 3 * PAGE, PAGE, PROT_READ));
	MUST(mprotect(split + 2 * MB + 77 * PAGE, 9 * PAGE, PROT_NONE));
	MUST(madvise(split + PAGE, 4 * PAGE, MADV_DONTNEED));
	CHECK_CONTENT_AT(split, 0, PAGE, 5, "before a drop across mappings");
	CHECK_ZERO(split + PAGE, 4 * PAGE, "dropped across mappings");
	CHECK_CONTENT_AT(split, 5 * PAGE, 2 * MB + 72 * PAGE, 5, "between the splits");
	MUST(mprotect(split + 2 * MB + 77 * PAGE, 9 * PAGE, PROT_READ));
	CHECK_CONTENT_AT(split, 2 * MB + 77 * PAGE, LEN - 2 * MB - 77 * PAGE, 5,
			 "behind the splits");

	MUST(munmap(hole + MB, PAGE));
	CHECK(madvise(hole + MB - PAGE, 3 * PAGE, MADV_DONTNEED) == -1 && errno == ENOMEM,
	      "MADV_DONTNEED over a hole does not say ENOMEM");
	CHECK_ZERO(hole + MB - PAGE, PAGE, "dropped before a hole");
	CHECK_ZERO(hole + MB + PAGE, PAGE, "dropped behind a hole");
	CHECK_CONTENT_AT(hole, 0, MB - PAGE, 6, "before the drop over a hole");
	CHECK_CONTENT_AT(hole, MB + 2 * PAGE, LEN - MB - 2 * PAGE, 6,
			 "behind the drop over a hole");

	/*
	 * EAGAIN: a page did not come because memory was short, which inject-faults-dontneed sees
	 * to
	 */
	while (mlock(locked, 16 * PAGE))
		CHECK(errno == EAGAIN, "mlock: %s", strerror(errno));
	CHECK(madvise(locked, MB, MADV_DONTNEED) == -1 && errno == EINVAL,
	      "MADV_DONTNEED drops locked memory");
	CHECK_CONTENT_AT(locked, 0, 16 * PAGE, 7, "locked memory after a refused MADV_DONTNEED");
	MUST(madvise(locked, 16 * PAGE, MADV_DONTNEED_LOCKED));
	CHECK_ZERO(locked, 16 * PAGE, "after MADV_DONTNEED_LOCKED");
	CHECK_CONTENT_AT(locked, 16 * PAGE, MB - 16 * PAGE, 7, "behind MADV_DONTNEED_LOCKED");

	/* Dropped, written, dropped again. */
	for (int round = 0; round < 4; round++) {
		MUST(madvise(again, MB / 2, MADV_DONTNEED));
		CHECK_ZERO(again, MB / 2, "dropped again");
		content_fill(again, MB / 2, 100 + round);
		CHECK_CONTENT(again, MB / 2, 100 + round, "written after a drop");
	}
	CHECK_CONTENT_AT(again, MB / 2, MB / 2, 8, "beside what was dropped again");
	prog_pass();
}
