// SPDX-License-Identifier: MIT
/*
 * MADV_FREE is refused while memory is lazy; what callers then do (MADV_DONTNEED) works, and
 * nothing is lost.
 */
#include "prog.h"

#define LEN (2 * MB)

int main(int argc, char **argv)
{
	char *p, *fresh;

	prog_init(argc, argv);
	p = map_content(LEN, 1);
	prog_ready();
	if (madvise(p, LEN / 2, MADV_FREE)) {
		CHECK(errno == EINVAL, "MADV_FREE is refused with %s", strerror(errno));
		say("refused");
		CHECK_CONTENT(p, LEN, 1, "after a refused MADV_FREE");
		MUST(madvise(p, LEN / 2, MADV_DONTNEED));
		CHECK_ZERO(p, LEN / 2, "after the fallback");
	} else {
		say("taken");
		for (size_t off = 0; off < LEN / 2; off += PAGE)
			CHECK(content_differs_at(p, off, PAGE, 1) < 0 ||
				      zero_differs(p + off, PAGE) < 0,
			      "page %#zx after MADV_FREE is neither old nor zero", off);
	}
	content_fill(p, LEN / 2, 2);
	CHECK_CONTENT(p, LEN / 2, 2, "written after MADV_FREE");
	CHECK_CONTENT_AT(p, LEN / 2, LEN / 2, 1, "beside MADV_FREE");

	fresh = map_anon(NULL, LEN, PROT_READ | PROT_WRITE);
	content_fill(fresh, LEN, 3);
	CHECK(!madvise(fresh, LEN, MADV_FREE) || errno == EINVAL, "MADV_FREE on fresh memory: %s",
	      strerror(errno));
	content_fill(fresh, LEN, 4);
	CHECK_CONTENT(fresh, LEN, 4, "fresh memory after MADV_FREE");
	prog_pass();
}
