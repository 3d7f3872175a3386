// SPDX-License-Identifier: MIT
/*
 * Processes of one tree that end in every way at any time while their memory comes in; the others
 * are none the worse.
 */
#include "prog.h"
#include <sys/resource.h>

#define NCHILDREN 12
#define LEN MB

static void *touch(void *arg)
{
	char *p = arg;

	for (int round = 0;; round++)
		for (size_t off = 0; off < LEN; off += PAGE)
			CHECK(*(volatile uint64_t *)(p + off + 8) == content_word(1, off / 8 + 1),
			      "a page of a process about to end differs");
	return NULL;
}

static void live_and_die(int me, char *p, char *self)
{
	pthread_t t;

	prog_wait();
	if (me % 3 != 2)
		pthread_create(&t, NULL, touch, p);
	if (me >= 2) {
		long upto = content_word(me, 0) % (LEN / PAGE);

		for (long i = 0; i < upto; i++)
			CHECK(*(volatile uint64_t *)(p + LEN - PAGE - i * PAGE) ==
				      content_word(1, (LEN - PAGE - i * PAGE) / 8),
			      "a page differs");
	}
	switch (me % 6) {
	case 0:
		_exit(0);
	case 1:
		raise(SIGKILL);
		break;
	case 2:
		abort();
	case 3:
		execl(self, self, "exec", NULL);
		_exit(1);
	case 4:
		/* The main thread ends, the other goes on until it is killed. */
		pthread_exit(NULL);
	case 5:
		MUST(munmap(p, LEN));
		_exit(0);
	}
}

int main(int argc, char **argv)
{
	char *p, *self = realpath("/proc/self/exe", NULL);
	pid_t pids[NCHILDREN];
	int status;

	prog_init(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "exec"))
		return 0;
	p = map_content(LEN, 1);
	/* A core file a child would be much for a small machine. */
	MUST(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }));
	for (int i = 0; i < NCHILDREN; i++) {
		pids[i] = MUST(fork());
		if (!pids[i]) {
			/* Memory of its own, not only its parent's. */
			content_fill(p, LEN / 2, 1);
			live_and_die(i, p, self);
		}
	}
	prog_ready();
	prog_sleep_ms(300);
	for (int i = 0; i < NCHILDREN; i++)
		if (i % 6 == 4)
			kill(pids[i], SIGKILL);
	for (int i = 0; i < NCHILDREN; i++) {
		CHECK(waitpid(pids[i], &status, 0) == pids[i], "waitpid: %s", strerror(errno));
		if (i % 6 == 1 || i % 6 == 4)
			CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			      "child %d ended with %#x", i, status);
		else if (i % 6 == 2)
			CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
			      "child %d ended with %#x", i, status);
		else
			CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "child %d ended with %#x",
			      i, status);
	}
	CHECK_CONTENT(p, LEN, 1, "the survivor");
	prog_pass();
}
