// SPDX-License-Identifier: MIT
/*
 * Thousands of separate runs in hundreds of mappings, in a large reservation, with zero pages and
 * never-touched pages between.
 */
#include "prog.h"

#define RESERVED (1UL << 36)
#define NMAPS 400
#define NPAGES 64

static bool page_has_content(int map, int i)
{
	return (map * 31 + i * 17) % 3 == 0;
}

static char *map_at(char *base, int map)
{
	/* Some share a block of 2 MiB, some are far apart. */
	return base + (map % 4) * 100 * PAGE + (map / 4) * (RESERVED / 128);
}

int main(int argc, char **argv)
{
	volatile char sum = 0;
	char *base, *p;

	prog_init(argc, argv);
	base = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(base != MAP_FAILED, "the reservation fails: %s", strerror(errno));
	for (int m = 0; m < NMAPS; m++) {
		p = map_at(base, m);
		MUST(mprotect(p, NPAGES * PAGE, PROT_READ | PROT_WRITE));
		for (int i = 0; i < NPAGES; i++) {
			if (page_has_content(m, i))
				content_fill(p + i * PAGE, PAGE, m * 1000 + i);
			else if (i % 5 == 0)
				sum += p[i * PAGE];	/* the zero page */
		}
	}
	prog_ready();
	for (int m = NMAPS - 1; m >= 0; m--) {
		p = map_at(base, m);
		for (int i = 0; i < NPAGES; i += m % 2 ? 1 : 3) {
			if (page_has_content(m, i))
				CHECK_CONTENT(p + i * PAGE, PAGE, m * 1000 + i, "one of many runs");
			else
				CHECK_ZERO(p + i * PAGE, PAGE, "a page between runs");
		}
	}
	/* What was reserved can be used. */
	for (int m = 0; m < NMAPS; m += 40) {
		p = map_at(base, m) + 512 * PAGE;
		MUST(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE));
		CHECK_ZERO(p, 4 * PAGE, "a part of the reservation, first used after the move");
		content_fill(p, 4 * PAGE, m);
		CHECK_CONTENT(p, 4 * PAGE, m, "a part of the reservation, written after the move");
	}
	MUST(munmap(base, RESERVED));
	prog_pass();
}
