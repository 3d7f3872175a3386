// SPDX-License-Identifier: MIT
/* Huge pages at the source, or wanted at the destination: the content is right, in pieces too. */
#include "prog.h"

#define HUGE (2 * MB)
#define N 4

static char *map_huge(uint64_t seed, bool advise)
{
	char *p = map_anon(NULL, (N + 1) * HUGE, PROT_READ | PROT_WRITE);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (advise)
		MUST(madvise(p, N * HUGE, MADV_HUGEPAGE));
	content_fill(p, N * HUGE, seed);
	return p;
}

int main(int argc, char **argv)
{
	char *advised, *plain, *late, *p;

	prog_init(argc, argv);
	advised = map_huge(1, true);
	plain = map_huge(2, false);
	late = map_huge(3, false);
	/* A huge page in two mappings, and one with a hole. */
	MUST(mprotect(advised + 100 * PAGE, PAGE, PROT_READ));
	MUST(munmap(plain + HUGE + 7 * PAGE, PAGE));
	prog_ready();

	MUST(madvise(late, N * HUGE, MADV_HUGEPAGE));
	MUST(madvise(late + HUGE, 3 * PAGE, MADV_DONTNEED));
	CHECK_CONTENT_AT(late, 0, HUGE, 3, "before a drop in a huge page");
	CHECK_ZERO(late + HUGE, 3 * PAGE, "dropped from a huge page");
	CHECK_CONTENT_AT(late, HUGE + 3 * PAGE, HUGE, 3, "behind a drop in a huge page");
	p = map_anon(NULL, HUGE, PROT_NONE);
	CHECK(mremap(late + 2 * HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p,
	      "mremap of a huge page");
	for (int i = 0; i < 512; i++)
		CHECK(*(uint64_t *)(p + i * PAGE) == content_word(3, (2 * HUGE + i * PAGE) / 8),
		      "page %d of a moved huge page differs", i);
	CHECK_CONTENT_AT(late, 3 * HUGE, HUGE, 3, "behind a moved huge page");

	MUST(mprotect(advised + 100 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	for (int i = 1; i < N * 512; i += 2)
		*(uint64_t *)(advised + i * PAGE) = i;
	for (int i = 0; i < N * 512; i++) {
		if (i % 2) {
			CHECK(*(uint64_t *)(advised + i * PAGE) == (uint64_t)i,
			      "a write to page %d of a huge page is lost", i);
			CHECK_CONTENT_AT(advised, i * PAGE + 8, PAGE - 8, 1,
					 "beside a write to a huge page");
		} else {
			CHECK_CONTENT_AT(advised, i * PAGE, PAGE, 1,
					 "unwritten page of a huge page");
		}
	}
	map_anon(plain + HUGE + 7 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	CHECK_ZERO(plain + HUGE + 7 * PAGE, PAGE, "the hole in a huge page, filled");
	CHECK_CONTENT_AT(plain, 0, HUGE + 7 * PAGE, 2, "before the hole in a huge page");
	CHECK_CONTENT_AT(plain, HUGE + 8 * PAGE, (N - 1) * HUGE - 8 * PAGE, 2,
			 "behind the hole in a huge page");
	for (int i = 0; i < 3; i++) {
		pid_t pid = MUST(fork());

		if (!pid) {
			CHECK_CONTENT_AT(plain, 2 * HUGE, HUGE, 2, "huge page in a child");
			_exit(0);
		}
		wait_child(pid, "huge page");
	}
	prog_pass();
}
