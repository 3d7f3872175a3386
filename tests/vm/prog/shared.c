// SPDX-License-Identifier: MIT
/*
 * Memory that several processes share: shared anonymous and memfd; writes are seen by all after the
 * move.
 */
#include "prog.h"

#define LEN MB

int main(int argc, char **argv)
{
	char *anon, *memfd, *memfd_priv, *cow;
	pid_t pid;
	int fd;

	prog_init(argc, argv);
	anon = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(anon != MAP_FAILED, "shared mmap failed");
	fd = MUST(memfd_create("test", 0));
	MUST(ftruncate(fd, LEN));
	memfd = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memfd_priv = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(memfd != MAP_FAILED && memfd_priv != MAP_FAILED, "mmap of a memfd failed");
	content_fill(anon, LEN, 1);
	content_fill(memfd, LEN, 2);
	cow = map_content(LEN, 4);
	content_fill(memfd_priv, 16 * PAGE, 5);
	pid = MUST(fork());
	if (pid)
		prog_ready();
	else
		prog_wait();
	CHECK_CONTENT(cow, LEN, 4, "private memory beside shared memory");
	CHECK_CONTENT_AT(anon, PAGE, LEN - PAGE, 1, "shared anonymous memory");
	CHECK_CONTENT_AT(memfd, PAGE, LEN - PAGE, 2, "memfd");
	CHECK_CONTENT(memfd_priv, 16 * PAGE, 5, "private memfd mapping, dirty");
	CHECK_CONTENT_AT(memfd, 16 * PAGE, PAGE, 2, "memfd behind a dirty private mapping");
	if (!pid) {
		*(uint64_t *)anon = 11;
		*(uint64_t *)memfd = 12;
		_exit(0);
	}
	wait_child(pid, "shared");
	CHECK(*(uint64_t *)anon == 11 && *(uint64_t *)memfd == 12,
	      "what the child wrote to shared memory is not seen");
	prog_pass();
}
