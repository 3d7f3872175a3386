// SPDX-License-Identifier: MIT
/*
 * Pages that KSM has merged at the source, and mappings that it may merge at the destination while
 * lazy.
 */
#include "prog.h"

#define NPAGES 512

static long merged(void)
{
	char buf[32] = "";
	int fd = open("/sys/kernel/mm/ksm/pages_sharing", O_RDONLY);

	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		return 0;
	close(fd);
	return atol(buf);
}

int main(int argc, char **argv)
{
	char *a, *b;

	prog_init(argc, argv);
	a = map_content(NPAGES * PAGE, 0);
	b = map_content(NPAGES * PAGE, 0);
	for (int i = 0; i < NPAGES; i++) {
		/* All pages of one are alike, and like every other page of the other. */
		content_fill(a + i * PAGE, PAGE, 1);
		content_fill(b + i * PAGE, PAGE, 1 + i % 2);
	}
	MUST(madvise(a, NPAGES * PAGE, MADV_MERGEABLE));
	MUST(madvise(b, NPAGES * PAGE, MADV_MERGEABLE));
	/* The runner has switched it on; elsewhere there is nothing to wait for. */
	for (int i = 0; i < 3000 && !prog_now && merged() < NPAGES; i++)
		prog_sleep_ms(10);
	if (!prog_now)
		CHECK(merged() >= NPAGES, "KSM has merged only %ld pages", merged());
	prog_ready();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < NPAGES; i++) {
			CHECK_CONTENT(a + i * PAGE, PAGE, i % 3 || !round ? 1 : 5, "merged page");
			CHECK_CONTENT(b + i * PAGE, PAGE, 1 + i % 2, "half merged page");
			if (i % 3 == 0)
				content_fill(a + i * PAGE, PAGE, 5);
		}
		if (!prog_now)
			prog_sleep_ms(300);
	}
	MUST(madvise(b, NPAGES * PAGE, MADV_UNMERGEABLE));
	for (int i = 0; i < NPAGES; i++)
		CHECK_CONTENT(b + i * PAGE, PAGE, 1 + i % 2, "unmerged page");
	prog_pass();
}
