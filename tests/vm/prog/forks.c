// SPDX-License-Identifier: MIT
/*
 * fork, vfork, posix_spawn and exec by a process whose memory is not all here: parents and children
 * see their own.
 */
#include "prog.h"
#include <spawn.h>

#define LEN (4 * MB)

extern char **environ;
static char *area;
static char *self;

static void child_looks(int n)
{
	/*
	 * Its own half is untouched by anybody so far, and it writes where the parent looks later.
	 */
	CHECK_CONTENT_AT(area, n * MB / 4, MB / 4, 1, "fork child, before it wrote");
	for (size_t off = 0; off < LEN; off += 16 * PAGE)
		*(uint64_t *)(area + off + n * PAGE) = n;
	MUST(madvise(area + 2 * MB, MB, MADV_DONTNEED));
	CHECK_ZERO(area + 2 * MB, MB, "fork child, dropped");
	if (n == 0) {
		pid_t pid = MUST(fork());

		if (!pid) {
			CHECK_ZERO(area + 2 * MB, MB, "grandchild, dropped by its parent");
			CHECK_CONTENT_AT(area, 3 * MB + 15 * PAGE, PAGE, 1, "grandchild");
			_exit(0);
		}
		wait_child(pid, "grandchild");
	}
	MUST(munmap(area + 3 * MB, MB / 2));
	_exit(0);
}

static void *fork_in_thread(void *arg)
{
	for (int i = 0; i < 4; i++) {
		pid_t pid = MUST(fork());

		if (!pid) {
			CHECK_CONTENT_AT(area, LEN - MB + i * 16 * PAGE, 16 * PAGE, 1,
					 "child of a thread");
			_exit(0);
		}
		wait_child(pid, "child of a thread");
	}
	return NULL;
}

int main(int argc, char **argv)
{
	char *exec_argv[] = { argv[0], "exec", NULL };
	pthread_t threads[2];
	pid_t pids[4], pid;
	int fds[2];
	char byte;

	prog_init(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "exec"))
		return 42;
	self = realpath("/proc/self/exe", NULL);
	area = map_content(LEN, 1);
	prog_ready();

	for (int i = 0; i < 4; i++) {
		pids[i] = MUST(fork());
		if (!pids[i])
			child_looks(i);
	}
	/* The path is in memory that may not be here. */
	MUST(pipe(fds));
	pid = vfork();
	if (!pid) {
		execv(self, exec_argv);
		_exit(1);
	}
	int status;

	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42,
	      "vfork and exec ended with status %#x", status);
	CHECK(!posix_spawn(&pid, self, NULL, NULL, exec_argv, environ), "posix_spawn failed");
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42,
	      "posix_spawn ended with status %#x", status);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, fork_in_thread, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++)
		wait_child(pids[i], "fork child");
	CHECK_CONTENT(area, LEN, 1, "parent after its children ended");

	/* A child outlives its parent's mapping. */
	pid = MUST(fork());
	if (!pid) {
		close(fds[1]);
		MUST(read(fds[0], &byte, 1));
		CHECK_CONTENT(area, LEN, 1, "child after its parent unmapped");
		_exit(0);
	}
	MUST(munmap(area, LEN));
	MUST(write(fds[1], "", 1));
	wait_child(pid, "child after its parent unmapped");
	prog_pass();
}
