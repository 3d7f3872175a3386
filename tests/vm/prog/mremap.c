// SPDX-License-Identifier: MIT
/*
 * mremap of pages that are not here yet: moved, grown, shrunk, onto others, there and back, with
 * the old range kept.
 */
#include "prog.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define LEN (2 * MB)

static char *move(char *from, size_t old, size_t new, int flags, char *to)
{
	char *p = mremap(from, old, new, flags, to);

	CHECK(p != MAP_FAILED, "mremap %#zx to %#zx with flags %d: %s", old, new, flags,
	      strerror(errno));
	return p;
}

int main(int argc, char **argv)
{
	char *moved, *grown, *inplace, *shrunk, *onto, *target, *there, *keep, *keep2, *p, *q, *dup,
		*part, *swap1, *swap2, *tmp;

	prog_init(argc, argv);
	moved = map_content(LEN, 1);
	grown = map_content(LEN, 2);
	shrunk = map_content(LEN, 3);
	onto = map_content(LEN, 4);
	target = map_content(LEN, 5);
	there = map_content(LEN, 6);
	keep = map_content(LEN, 7);
	keep2 = map_content(LEN, 8);
	part = map_content(LEN, 9);
	swap1 = map_content(LEN, 10);
	swap2 = map_content(LEN, 11);
	inplace = map_content(LEN, 12);
	prog_ready();

	p = map_anon(NULL, 3 * LEN, PROT_NONE);
	q = move(moved, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE);
	CHECK_CONTENT(q, LEN, 1, "moved");
	map_anon(moved, LEN, PROT_READ | PROT_WRITE);
	CHECK_ZERO(moved, LEN, "mapped where something was moved away");

	/* The neighbour cannot be touched, so this moves. */
	q = move(grown, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL);
	CHECK_ZERO(q + LEN, LEN, "what was grown");
	CHECK_CONTENT(q, LEN, 2, "what was there before it grew");

	MUST(munmap(inplace + LEN, PAGE));
	q = mremap(inplace, LEN, LEN + PAGE, 0);
	CHECK(q == inplace, "a mapping does not grow in place: %s", strerror(errno));
	CHECK_ZERO(q + LEN, PAGE, "grown in place");
	CHECK_CONTENT(q, LEN, 12, "before what was grown in place");

	q = move(shrunk, LEN, 16 * PAGE, 0, NULL);
	CHECK_CONTENT(q, 16 * PAGE, 3, "shrunk");
	p = mmap(shrunk + 16 * PAGE, LEN - 16 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(p == shrunk + 16 * PAGE, "the room of a shrunk mapping is not free");
	CHECK_ZERO(p, LEN - 16 * PAGE, "mapped where something was shrunk");
	CHECK_CONTENT(shrunk, 16 * PAGE, 3, "shrunk, with a new neighbour");

	/* The target's own pages are not here either; they must not come. */
	move(onto, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	CHECK_CONTENT(target, LEN, 4, "moved onto another");

	tmp = map_anon(NULL, LEN, PROT_NONE);
	move(there, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, tmp);
	(void)*(volatile char *)(tmp + 5 * PAGE);
	move(tmp, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, there);
	CHECK_CONTENT(there, LEN, 6, "there and back");

	dup = move(keep, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	CHECK_ZERO(keep, LEN, "old range after MREMAP_DONTUNMAP");
	CHECK_CONTENT(dup, LEN, 7, "new range after MREMAP_DONTUNMAP");
	CHECK_ZERO(keep, LEN, "old range after MREMAP_DONTUNMAP, read later");

	/* The other order: the new range is read first, then written, then the old one is used. */
	dup = move(keep2, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	CHECK_CONTENT_AT(dup, 0, LEN / 2, 8, "new range, first half");
	content_fill(keep2, LEN, 80);
	CHECK_CONTENT(keep2, LEN, 80, "old range written");
	CHECK_CONTENT(dup, LEN, 8, "new range after the old one was written");
	MUST(munmap(keep2, LEN));
	CHECK_CONTENT(dup, LEN, 8, "new range after the old one was unmapped");

	/*
	 * A part from the middle, moved to before the rest, where it merges with nothing it should
	 * not.
	 */
	p = map_anon(NULL, 64 * PAGE, PROT_NONE);
	move(part + 100 * PAGE, 50 * PAGE, 50 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p);
	for (int i = 0; i < 50; i++)
		CHECK(content_differs(p + i * PAGE, 8, 9) != -1 || i == 0,
		      "a page moved from the middle has the first's content");
	for (int i = 0; i < 50; i++)
		for (int w = 0; w < 512; w += 51)
			CHECK(((uint64_t *)(p + i * PAGE))[w] ==
				      content_word(9, (100 + i) * 512 + w),
			      "page %d moved from the middle differs", i);
	CHECK_CONTENT_AT(part, 0, 100 * PAGE, 9, "before what was moved from the middle");
	CHECK_CONTENT_AT(part, 150 * PAGE, LEN - 150 * PAGE, 9,
			 "behind what was moved from the middle");

	/* Two areas swap their places page by page. */
	tmp = map_anon(NULL, PAGE, PROT_READ | PROT_WRITE);
	for (size_t off = 0; off < 32 * PAGE; off += PAGE) {
		move(swap1 + off, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, tmp);
		move(swap2 + off, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, swap1 + off);
		move(tmp, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, swap2 + off);
	}
	CHECK_CONTENT_AT(swap1, 0, 32 * PAGE, 11, "first area, swapped");
	CHECK_CONTENT_AT(swap1, 32 * PAGE, LEN - 32 * PAGE, 10, "first area, the rest");
	CHECK_CONTENT_AT(swap2, 0, 32 * PAGE, 10, "second area, swapped");
	CHECK_CONTENT_AT(swap2, 32 * PAGE, LEN - 32 * PAGE, 11, "second area, the rest");
	prog_pass();
}
