// SPDX-License-Identifier: MIT
/* A tree of processes whose memory is shared copy-on-write in part: each keeps its own content. */
#include "prog.h"

#define DEPTH 3
#define NPAGES 512

/* Level @level has rewritten every page whose number is a multiple of its own. */
static uint64_t page_seed(int i, int level)
{
	uint64_t seed = i;

	for (int l = 1; l <= level; l++)
		if (i % (l + 1) == 0)
			seed = l * 100000 + i;
	return seed;
}

static void look(char *p, int level)
{
	for (int i = 0; i < NPAGES; i++)
		CHECK_CONTENT(p + i * PAGE, PAGE, page_seed(i, level), level ? "child" : "parent");
}

int main(int argc, char **argv)
{
	pid_t child = 0;
	int fds[2], level = 0;
	char *p, c;

	prog_init(argc, argv);
	p = map_anon(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE);
	for (int i = 0; i < NPAGES; i++)
		content_fill(p + i * PAGE, PAGE, page_seed(i, 0));
	MUST(pipe(fds));
	while (level < DEPTH) {
		child = MUST(fork());
		if (child)
			break;
		level++;
		for (int i = 0; i < NPAGES; i++)
			if (page_seed(i, level) != page_seed(i, level - 1))
				content_fill(p + i * PAGE, PAGE, page_seed(i, level));
	}
	if (level == DEPTH)
		MUST(write(fds[1], "", 1));
	close(fds[1]);
	if (!level) {
		MUST(read(fds[0], &c, 1));
		prog_ready();
	} else {
		prog_wait();
	}
	look(p, level);
	/* Writes after the move must not show elsewhere. */
	for (int i = level; i < NPAGES; i += 7)
		*(uint64_t *)(p + i * PAGE) = level;
	for (int i = level; i < NPAGES; i += 7)
		CHECK(*(uint64_t *)(p + i * PAGE) == (uint64_t)level,
		      "level %d: page %d got another's write", level, i);
	if (child)
		wait_child(child, "cow");
	for (int i = 0; i < NPAGES; i++)
		if (i < level || (i - level) % 7)
			CHECK_CONTENT(p + i * PAGE, PAGE, page_seed(i, level),
				      "after the child ended");
	if (level)
		_exit(0);
	prog_pass();
}
