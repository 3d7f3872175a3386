// SPDX-License-Identifier: MIT
/*
 * Memory for others to look at: a debugger, a core dump, a killer. It says where its content is and
 * touches it no more; with "touch" threads read it all over again, each a part of it in order, and
 * say when all have been round. With "bad" a child touches a page of its own when there is a file
 * target.bad.
 *
 *	target [now] [MB [touch [THREADS [bad]]|listen PORT [MB]]]
 *
 * The second MB are of shared memory, which goes along with the images.
 */
#include "prog.h"
#include <netinet/in.h>
#include <sys/socket.h>

#define BLOCK (2 * MB) /* of a region */
#define POLL_MS 20

static char *target_area;
static size_t target_len;
static int target_threads = 1;
/*
 * Waited for without polling: many threads that poll leave a machine with a debug kernel no time
 * for anything else. All are woken at once: with a mutex alone each would first have to fault
 * before it lets the next one go.
 */
static pthread_mutex_t target_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t target_cond = PTHREAD_COND_INITIALIZER;
static bool target_may;
static atomic_int target_rounds;

static void *touch(void *arg)
{
	size_t len = target_len / target_threads & ~(PAGE - 1), from = (long)arg * len, off;
	bool first = true;

	pthread_mutex_lock(&target_lock);
	while (!target_may)
		pthread_cond_wait(&target_cond, &target_lock);
	pthread_mutex_unlock(&target_lock);
	for (;;) {
		for (off = from; off < from + len; off += PAGE)
			CHECK_CONTENT_AT(target_area, off, first ? PAGE : 64, 1, "page");
		if (first && atomic_fetch_add(&target_rounds, 1) + 1 == target_threads)
			say("round");
		first = false;
		prog_sleep_ms(POLL_MS * target_threads);
	}
	return NULL;
}

static void touch_start(void)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16 * PAGE);
	for (long i = 0; i < target_threads; i++)
		CHECK(!pthread_create(&t, &attr, touch, (void *)i), "pthread_create failed");
}

/* The page has a region to itself. */
static pid_t bad_start(void)
{
	char *bad = map_anon(NULL, 3 * BLOCK, PROT_NONE);
	pid_t pid;

	bad = map_anon((char *)(((uintptr_t)bad + BLOCK - 1) & ~(BLOCK - 1)), PAGE,
		       PROT_READ | PROT_WRITE);
	content_fill(bad, PAGE, 2);
	pid = MUST(fork());
	if (!pid) {
		strcpy(strrchr(prog_go, '.'), ".bad");
		prog_wait();
		_exit(content_differs(bad, PAGE, 2) < 0 ? 0 : 1);
	}
	MUST(munmap(bad, PAGE));
	say("bad %d %lu", (int)pid, (unsigned long)bad);
	return pid;
}

_Noreturn static void touch_watch(pid_t bad)
{
	int status;

	pthread_mutex_lock(&target_lock);
	target_may = true;
	pthread_cond_broadcast(&target_cond);
	pthread_mutex_unlock(&target_lock);
	for (;;) {
		if (bad && waitpid(bad, &status, WNOHANG) == bad) {
			say("child ended with status %#x", status);
			bad = 0;
		}
		prog_sleep_ms(POLL_MS);
	}
}

static int listen_on(int port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	MUST(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	MUST(listen(fd, 16));
	return fd;
}

/* Answers each caller with a line: its pid, and whether its memory is right. */
_Noreturn static void serve(int fd)
{
	size_t off = 0;
	char line[128];

	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			continue;
		off = (off + 7 * PAGE) % target_len;
		snprintf(line, sizeof(line), "%d %s\n", (int)getpid(),
			 content_differs_at(target_area, off, PAGE, 1) < 0 ? "right" : "WRONG");
		if (write(c, line, strlen(line)) < 0)
			say("a caller went away");
		close(c);
	}
}

int main(int argc, char **argv)
{
	int arg = 1, fd = -1;
	const char *mode;
	pid_t bad = 0;

	prog_init(argc, argv);
	arg += prog_now;
	target_len = (argc > arg ? atoi(argv[arg]) : 4) * MB;
	mode = argc > arg + 1 ? argv[arg + 1] : "";
	target_area = map_content(target_len, 1);
	if (!strcmp(mode, "listen"))
		fd = listen_on(argc > arg + 2 ? atoi(argv[arg + 2]) : 7000);
	if (!strcmp(mode, "touch")) {
		target_threads = argc > arg + 2 ? atoi(argv[arg + 2]) : 1;
		if (argc > arg + 3)
			bad = bad_start();
		touch_start();
	} else if (argc > arg + 3) {
		size_t len = atoi(argv[arg + 3]) * MB;

		memset(MUST(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				 0)),
		       1, len);
	}
	say("area %p %zu", target_area, target_len);
	if (fd >= 0) {
		say("ready %d", (int)getpid());
		if (prog_now)
			prog_pass();
		serve(fd);
	}
	prog_ready();
	if (!strcmp(mode, "touch"))
		touch_watch(bad);
	prog_pass();
}
