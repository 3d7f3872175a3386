// SPDX-License-Identifier: MIT
/*
 * Memory for others to look at: a debugger, a core dump, a killer. It says where its content is and touches it no more;
 * with "touch" a thread reads it all over again, in order, and counts the rounds.
 *
 *	target [now] [MB [touch|listen PORT [MB]]]
 *
 * The second MB are of shared memory, which goes along with the images.
 */
#include "prog.h"
#include <netinet/in.h>
#include <sys/socket.h>

static uint64_t target_rounds;
static char *target_area;
static size_t target_len;

static void *touch(void *arg)
{
	for (;;) {
		for (size_t off = 0; off < target_len; off += PAGE)
			CHECK_CONTENT_AT(target_area, off, 64, 1, "page");
		if (++target_rounds == 1)
			say("round");
		prog_sleep_ms(20);
	}
	return NULL;
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
	pthread_t t;

	prog_init(argc, argv);
	arg += prog_now;
	target_len = (argc > arg ? atoi(argv[arg]) : 4) * MB;
	mode = argc > arg + 1 ? argv[arg + 1] : "";
	target_area = map_content(target_len, 1);
	if (!strcmp(mode, "listen"))
		fd = listen_on(argc > arg + 2 ? atoi(argv[arg + 2]) : 7000);
	if (argc > arg + 3) {
		size_t len = atoi(argv[arg + 3]) * MB;

		memset(MUST(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)), 1, len);
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
		pthread_create(&t, NULL, touch, NULL);
	prog_pass();
}
