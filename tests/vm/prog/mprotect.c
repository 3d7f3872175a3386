// SPDX-License-Identifier: MIT
/*
 * mprotect on pages that are not here yet; mappings that were PROT_NONE or read-only when the
 * process was moved.
 */
#include "prog.h"
#include <setjmp.h>

#define LEN (2 * MB)

static sigjmp_buf on_fault;
static volatile sig_atomic_t nfaults;

static void segv(int sig)
{
	nfaults++;
	siglongjmp(on_fault, 1);
}

static bool faults(volatile char *p, bool write)
{
	if (sigsetjmp(on_fault, 1))
		return true;
	if (write)
		*p = 1;
	else
		(void)*p;
	return false;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = segv };
	char *none, *ro, *odd, *exec, *guard;

	prog_init(argc, argv);
	none = map_content(LEN, 1);
	ro = map_content(LEN, 2);
	odd = map_content(LEN, 3);
	exec = map_content(16 * PAGE, 4);
	guard = map_content(64 * PAGE, 5);
	MUST(mprotect(none, LEN, PROT_NONE));
	MUST(mprotect(ro, LEN, PROT_READ));
	MUST(mprotect(exec, 16 * PAGE, PROT_READ | PROT_EXEC));
	for (int i = 1; i < 64; i += 4)
		MUST(mprotect(guard + i * PAGE, PAGE, PROT_NONE));
	sigaction(SIGSEGV, &sa, NULL);
	prog_ready();

	CHECK(faults(none, false) && faults(none + LEN - 1, true),
	      "PROT_NONE memory can be touched");
	MUST(mprotect(none, LEN / 2, PROT_READ));
	CHECK_CONTENT_AT(none, 0, LEN / 2, 1, "PROT_NONE made readable");
	CHECK(faults(none, true), "read-only memory can be written");
	CHECK(faults(none + LEN / 2, false), "the rest of PROT_NONE memory can be read");
	MUST(mprotect(none, LEN, PROT_READ | PROT_WRITE));
	*(uint64_t *)(none + LEN - PAGE) = 1;
	CHECK_CONTENT_AT(none, 0, LEN - PAGE, 1, "PROT_NONE made writable");
	CHECK_CONTENT_AT(none, LEN - PAGE + 8, PAGE - 8, 1, "beside a write to what was PROT_NONE");

	CHECK(faults(ro, true), "read-only memory can be written before it is read");
	CHECK_CONTENT_AT(ro, 0, LEN / 2, 2, "read-only");
	CHECK(faults(ro, true), "read-only memory can be written after it was read");
	MUST(mprotect(ro, LEN, PROT_READ | PROT_WRITE));
	for (size_t off = 0; off < LEN; off += PAGE)
		*(uint64_t *)(ro + off) = off;
	for (size_t off = 0; off < LEN; off += PAGE) {
		CHECK(*(uint64_t *)(ro + off) == off, "a write to what was read-only is lost");
		CHECK_CONTENT_AT(ro, off + 8, PAGE - 8, 2, "beside a write to what was read-only");
	}

	for (int i = 0; i + 3 < 512; i += 3)
		MUST(mprotect(odd + i * PAGE, (1 + i % 2) * PAGE, i % 5 ? PROT_READ : PROT_NONE));
	for (int i = 0; i + 3 < 512; i += 3)
		MUST(mprotect(odd + i * PAGE, 2 * PAGE,
			      PROT_READ | PROT_WRITE | (i % 4 ? 0 : PROT_EXEC)));
	CHECK_CONTENT(odd, LEN, 3, "after mprotect at odd pages");
	MUST(mprotect(odd, LEN, PROT_READ));
	CHECK_CONTENT(odd, LEN, 3, "after mprotect of all at once");

	CHECK(faults(exec, true), "executable read-only memory can be written");
	CHECK_CONTENT(exec, 16 * PAGE, 4, "executable");

	nfaults = 0;
	for (int i = 0; i < 64; i++) {
		if (i % 4 == 1)
			CHECK(faults(guard + i * PAGE, i % 8 == 1), "guard page %d can be touched",
			      i);
		else
			CHECK_CONTENT_AT(guard, i * PAGE, PAGE, 5, "between guard pages");
	}
	CHECK(nfaults == 16, "%d guard pages faulted, not 16", (int)nfaults);
	MUST(mprotect(guard, 64 * PAGE, PROT_READ));
	CHECK_CONTENT(guard, 64 * PAGE, 5, "guard pages made readable");
	prog_pass();
}
