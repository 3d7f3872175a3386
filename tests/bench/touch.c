// SPDX-License-Identifier: MIT
/*
 * Touches pages of its memory in a random order and times each: what a fault costs the process.
 *
 *	touch MB PAGES
 *
 * Its log gets "touch: N pages, min MIN, median MEDIAN, mean MEAN ns".
 */
#include "tests/bench/times.h"
#include "tests/vm/prog/prog.h"

int main(int argc, char **argv)
{
	size_t mb = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
	size_t pages = mb * MB / PAGE;
	uint64_t *took, begin;
	volatile char *memory;

	prog_init(argc, argv);
	CHECK(mb && n && n <= pages / 2, "usage: touch MB PAGES, at most half of all pages");
	memory = MUST(mmap(NULL, mb * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0));
	content_fill((void *)memory, mb * MB, 1);
	took = MUST(mmap(NULL, n * sizeof(*took), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	prog_ready();
	memset(took, 0xff, n * sizeof(*took));
	for (size_t i = 0; i < n; i++) {
		/* an odd step through a power of two visits each page once */
		size_t page = (i * 2654435761UL) % pages;

		begin = times_now();
		(void)memory[page * PAGE];
		took[i] = times_now() - begin;
	}
	say("touch: %zu pages, %s", n, times_text(took, n));
	CHECK(content_differs((void *)memory, mb * MB, 1) < 0, "memory differs");
	prog_pass();
}
