// SPDX-License-Identifier: MIT
/*
 * Memory of which the source cannot read two pages; see ctl lazify. All else is right, before the
 * drain and after it. Who touches one of the two is killed, and nobody else; and who discards one
 * has it back.
 */
#include "prog.h"
#include <sys/uio.h>

#define BLOCK (2 * MB)
#define NPAGES 200	/* of each of two blocks; the page after them cannot be read */

static char *area[2];

static void check_killed(const char *what, bool by_kernel)
{
	const volatile char *bad = area[0] + NPAGES * PAGE;
	int status, fds[2];
	pid_t pid;

	MUST(pipe(fds));
	pid = MUST(fork());
	if (!pid) {
		if (by_kernel)
			_exit(write(fds[1], (const char *)bad, 1) < 0 ? 2 : 3);
		_exit(*bad ? 4 : 5);
	}
	MUST(waitpid(pid, &status, 0));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "%s: a child that touches the unreadable page ends with status %#x", what, status);
	close(fds[0]);
	close(fds[1]);
}

/* It gets an error, and the process lives. */
static void check_seen_from_outside(const char *what)
{
	pid_t me = getpid(), pid = MUST(fork());
	int status;

	if (!pid) {
		char byte;
		struct iovec to = { &byte, 1 }, from = { area[0] + NPAGES * PAGE, 1 };

		if (process_vm_readv(me, &to, 1, &from, 1, 0) != -1)
			_exit(2);
		_exit(errno == EFAULT ? 0 : 3);
	}
	MUST(waitpid(pid, &status, 0));
	CHECK(!status, "%s: reading the unreadable page from outside ends with status %#x", what,
	      status);
}

int main(int argc, char **argv)
{
	char *base;

	prog_init(argc, argv);
	base = map_anon(NULL, 4 * BLOCK, PROT_NONE);
	base = (char *)(((uintptr_t)base + BLOCK - 1) & ~(BLOCK - 1));
	for (int i = 0; i < 2; i++) {
		area[i] = map_anon(base + i * BLOCK, (NPAGES + 1) * PAGE, PROT_READ | PROT_WRITE);
		content_fill(area[i], NPAGES * PAGE, i);
	}
	say("beyond %lx,%lx", (unsigned long)area[0] + NPAGES * PAGE,
	    (unsigned long)area[1] + NPAGES * PAGE);
	prog_ready();
	/* many: one page costs one connection */
	for (int i = 0; i < 70; i++)
		check_killed("before the drain", false);
	check_seen_from_outside("before the drain");
	check_killed("before the drain, in a system call", true);
	CHECK_CONTENT_AT(area[0], 100 * PAGE, 100 * PAGE, 0, "before the drain");
	say("drain");
	strcat(prog_go, "2");
	prog_wait();
	check_killed("after the drain", false);
	check_seen_from_outside("after the drain");
	check_killed("after the drain, in a system call", true);
	for (int i = 0; i < 2; i++)
		CHECK_CONTENT(area[i], NPAGES * PAGE, i, "after the drain");
	MUST(madvise(area[1] + (NPAGES - 1) * PAGE, 2 * PAGE, MADV_DONTNEED));
	CHECK_ZERO(area[1] + (NPAGES - 1) * PAGE, 2 * PAGE,
		   "a discarded page that could not be read");
	content_fill(area[1], (NPAGES + 1) * PAGE, 7);
	CHECK_CONTENT(area[1], (NPAGES + 1) * PAGE, 7, "written after the drain");
	prog_pass();
}
