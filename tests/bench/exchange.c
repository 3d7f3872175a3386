// SPDX-License-Identifier: MIT
/*
 * What a page over TCP costs two programs: a request as long as a READ of transport tcp, and an
 * answer as long as one page with its head. Prints "exchange: N times, min MIN, median MEDIAN, mean
 * MEAN ns".
 *
 *	exchange PORT			answers
 *	exchange PORT ADDRESS TIMES	asks
 */
#include "tests/bench/times.h"
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST 24
#define ANSWER (8 + 4096)
#define WARM 16 /* not counted */
#define MUST(call) ({ int r_ = (call); if (r_ < 0) err(1, #call); r_; })

static bool get(int fd, char *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static void put(int fd, const char *buf, size_t len)
{
	if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		err(1, "send");
}

static _Noreturn void answer(struct sockaddr_in *at)
{
	static char buf[ANSWER];
	int one = 1, listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), fd;

	MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	MUST(bind(listener, (struct sockaddr *)at, sizeof(*at)));
	MUST(listen(listener, 1));
	for (;;) {
		fd = MUST(accept(listener, NULL, NULL));
		MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		while (get(fd, buf, REQUEST))
			put(fd, buf, ANSWER);
		close(fd);
	}
}

static void ask(const struct sockaddr_in *at, size_t n)
{
	uint64_t *took = calloc(n, sizeof(*took)), begin;
	int one = 1, fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
	static char buf[ANSWER];

	if (!took)
		err(1, "calloc");
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	MUST(connect(fd, (const struct sockaddr *)at, sizeof(*at)));
	for (size_t i = 0; i < n + WARM; i++) {
		begin = times_now();
		put(fd, buf, REQUEST);
		if (!get(fd, buf, ANSWER))
			errx(1, "the answer does not come");
		if (i >= WARM)
			took[i - WARM] = times_now() - begin;
	}
	printf("exchange: %zu times, %s\n", n, times_text(took, n));
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;

	if (argc != 2 && (argc != 4 || !n))
		errx(2, "usage: exchange PORT [ADDRESS TIMES]");
	at.sin_port = htons(strtoul(argv[1], NULL, 10));
	if (argc == 2)
		answer(&at);
	if (inet_pton(AF_INET, argv[2], &at.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", argv[2]);
	ask(&at, n);
}
