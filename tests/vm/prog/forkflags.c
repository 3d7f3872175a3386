// SPDX-License-Identifier: MIT
/*
 * MADV_WIPEONFORK and MADV_DONTFORK, set before the move or while lazy: the process keeps its
 * content, children do not get it.
 */
#include "prog.h"
#include <setjmp.h>

#define LEN MB

static sigjmp_buf on_fault;

static void segv(int sig)
{
	siglongjmp(on_fault, 1);
}

static bool is_mapped(volatile char *p)
{
	if (sigsetjmp(on_fault, 1))
		return false;
	(void)*p;
	return true;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = segv };
	char *wipe, *dont, *wipe_late, *dont_late, *undone;

	prog_init(argc, argv);
	wipe = map_content(LEN, 1);
	dont = map_content(LEN, 2);
	wipe_late = map_content(LEN, 3);
	dont_late = map_content(LEN, 4);
	undone = map_content(LEN, 5);
	MUST(madvise(wipe, LEN, MADV_WIPEONFORK));
	MUST(madvise(dont, LEN, MADV_DONTFORK));
	MUST(madvise(undone, LEN, MADV_WIPEONFORK));
	sigaction(SIGSEGV, &sa, NULL);
	prog_ready();

	MUST(madvise(wipe_late, LEN, MADV_WIPEONFORK));
	MUST(madvise(dont_late, LEN, MADV_DONTFORK));
	MUST(madvise(undone, LEN, MADV_KEEPONFORK));
	for (int round = 0; round < 2; round++) {
		pid_t pid = MUST(fork());

		if (!pid) {
			CHECK_ZERO(wipe, LEN, "MADV_WIPEONFORK in the child");
			CHECK_ZERO(wipe_late, LEN, "MADV_WIPEONFORK while lazy, in the child");
			CHECK(!is_mapped(dont), "MADV_DONTFORK memory is mapped in the child");
			CHECK(!is_mapped(dont_late),
			      "MADV_DONTFORK memory is mapped in the child, set while lazy");
			CHECK_CONTENT(undone, LEN, 5, "MADV_KEEPONFORK in the child");
			_exit(0);
		}
		wait_child(pid, "child");
		CHECK_CONTENT(wipe, LEN, 1, "MADV_WIPEONFORK in the parent");
		CHECK_CONTENT(dont, LEN, 2, "MADV_DONTFORK in the parent");
		CHECK_CONTENT(wipe_late, LEN, 3, "MADV_WIPEONFORK while lazy, in the parent");
		CHECK_CONTENT(dont_late, LEN, 4, "MADV_DONTFORK while lazy, in the parent");
		CHECK_CONTENT(undone, LEN, 5, "MADV_KEEPONFORK in the parent");
	}
	prog_pass();
}
