// SPDX-License-Identifier: MIT
/*
 * Code in anonymous memory, as a JIT has it, in the first executable mapping of the process: CRIU
 * puts its own code there for a moment. The code must run and its bytes be as they were.
 */
#include "prog.h"

#define AT ((char *)0x200000)
#define LEN (64 * PAGE)

typedef long (*code)(void);

/* mov $n, %eax; ret */
static void emit(char *p, int n)
{
	p[0] = (char)0xb8;
	memcpy(p + 1, &n, 4);
	p[5] = (char)0xc3;
}

int main(int argc, char **argv)
{
	char *p;

	prog_init(argc, argv);
	p = mmap(AT, LEN, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(p == AT, "the low address is taken: %s", strerror(errno));
	content_fill(p, LEN, 1);
	for (int i = 0; i < 64; i++)
		emit(p + i * PAGE + 128, 1000 + i);
	MUST(mprotect(p, LEN / 2, PROT_READ | PROT_EXEC));
	prog_ready();
	for (int i = 63; i >= 0; i--) {
		char want[8];
		long got = ((code)(p + i * PAGE + 128))();

		CHECK(got == 1000 + i, "the code of page %d returned %ld", i, got);
		emit(want, 1000 + i);
		CHECK(!memcmp(p + i * PAGE + 128, want, 6), "the code of page %d differs", i);
		CHECK_CONTENT_AT(p, i * PAGE, 128, 1, "before the code");
		CHECK_CONTENT_AT(p, i * PAGE + 136, PAGE - 136, 1, "behind the code");
	}
	for (int i = 32; i < 64; i++) {
		emit(p + i * PAGE + 128, 2000 + i);
		CHECK(((code)(p + i * PAGE + 128))() == 2000 + i,
		      "new code of page %d does not run", i);
	}
	prog_pass();
}
