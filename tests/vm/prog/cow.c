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

static void descend(char *p, int level, int ready_fd)
{
	pid_t child = 0;

	if (level) {
		for (int i = 0; i < NPAGES; i++)
			if (page_seed(i, level) != page_seed(i, level - 1))
				content_fill(p + i * PAGE, PAGE, page_seed(i, level));
	}
	if (level < DEPTH) {
		child = MUST(fork());
		if (!child)
			descend(p, level + 1, ready_fd);
	} else {
		MUST(write(ready_fd, "", 1));
		close(ready_fd);
	}
	if (!level) {
		char c;

		MUST(read(ready_fd - 1, &c, 1));
		close(ready_fd - 1);
		close(ready_fd);
		prog_ready();
	} else {
		close(ready_fd);
		close(ready_fd - 1);
		prog_wait();
	}
	look(p, level);
	/* Writes after the move must not show elsewhere. */
	for (int i = level; i < NPAGES; i += 7)
		*(uint64_t *)(p + i * PAGE) = level;
	for (int i = level; i < NPAGES; i += 7)
		CHECK(*(uint64_t *)(p + i * PAGE) == (uint64_t)level, "level %d: page %d got another's write", level, i);
	if (child)
		wait_child(child, "cow");
	for (int i = 0; i < NPAGES; i++)
		if (i < level || (i - level) % 7)
			CHECK_CONTENT(p + i * PAGE, PAGE, page_seed(i, level), "after the child ended");
	if (level)
		_exit(0);
	prog_pass();
}

int main(int argc, char **argv)
{
	int fds[2];
	char *p;

	prog_init(argc, argv);
	p = map_anon(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE);
	for (int i = 0; i < NPAGES; i++)
		content_fill(p + i * PAGE, PAGE, page_seed(i, 0));
	MUST(pipe(fds));
	MUST(dup2(fds[0], 100));
	MUST(dup2(fds[1], 101));
	close(fds[0]);
	close(fds[1]);
	descend(p, 0, 101);
}
