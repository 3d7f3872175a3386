// SPDX-License-Identifier: MIT
/*
 * The heap by brk and the stack: what was there is there, both grow and shrink, and what is new is
 * zero.
 */
#include "prog.h"

#define HEAP (2 * MB)

static uint64_t deep(int level, int sum_of)
{
	volatile uint64_t frame[256];
	uint64_t below = 0;

	for (int i = 0; i < 256; i++)
		frame[i] = content_word(level, i);
	if (level == sum_of)
		prog_ready();
	if (level)
		below = deep(level - 1, sum_of);
	for (int i = 0; i < 256; i++)
		CHECK(frame[i] == content_word(level, i), "the stack frame of level %d differs",
		      level);
	return below + level;
}

int main(int argc, char **argv)
{
	char *heap, *end;

	prog_init(argc, argv);
	heap = sbrk(0);
	heap = sbrk(PAGE - (uintptr_t)heap % PAGE + HEAP);
	heap = (char *)(((uintptr_t)heap + PAGE - 1) & ~(PAGE - 1));
	content_fill(heap, HEAP, 1);
	end = heap + HEAP;
	CHECK(!brk(end), "brk failed");

	/*
	 * Moved in the middle: 300 frames of 2 KiB above, then 1,200 more below where no stack was
	 * yet.
	 */
	CHECK(deep(1500, 1200) == 1500 * 1501 / 2, "the recursion gave a wrong sum");

	CHECK(!brk(end + MB), "the heap does not grow");
	CHECK_ZERO(end, MB, "the heap's new part");
	content_fill(end, MB, 2);
	CHECK(!brk(heap + MB), "the heap does not shrink");
	CHECK(!brk(end + MB), "the heap does not grow again");
	CHECK_CONTENT(heap, MB, 1, "the heap's old part");
	CHECK_ZERO(heap + MB, 2 * MB, "the heap's part that was given back");
	prog_pass();
}
