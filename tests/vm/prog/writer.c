// SPDX-License-Identifier: MIT
/*
 * Writes to its memory all the time, before it is moved, while, and after that, and knows what must
 * be where: each page begins with its number and how often it has been written to, which is counted
 * elsewhere, too. It also gives pages back, and maps some anew.
 *
 *	writer [now] MB RATE HOT [SECONDS [aio | name | children | keep]]
 *
 * RATE: KiB that are written to a second, 0: none; HOT: of all memory, the percentage that is. On
 * the destination it writes for SECONDS (1) more, and then looks at all. With "aio" it has a
 * context of io_setup(), with "name" a name of two lines, with "children" a child at any time, each
 * of which ends soon; with "keep" it gives nothing back. Its log has "stopped MS" whenever it has
 * stood still for longer than 20 ms, which on the destination is the move.
 */
#include "prog.h"
#include <sys/prctl.h>

#define TICK_MS	10
#define STOPPED_MS 20
#define CHILD_MS 200

static char *area;
static uint32_t *counts;	/* 0: never, or given back: zero */
static size_t npages;
static uint64_t total, seed = 1;
static bool keep;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static uint64_t draw(uint64_t n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 33) % n;
}

static void write_page(size_t i)
{
	uint64_t *p = (uint64_t *)(area + i * PAGE);

	counts[i]++;
	total++;
	p[0] = i;
	p[1] = counts[i];
	p[PAGE / 8 - 1] = content_word(counts[i], i);
}

static void forget(size_t i, size_t n)
{
	for (; n; n--, i++) {
		total -= counts[i];
		counts[i] = 0;
	}
}

static void step(size_t hot)
{
	size_t i = draw(hot), n = hot / 16 ? draw(hot / 16) + 1 : 1;

	switch (keep ? 2 : draw(4096)) {
	case 0:
		n = i + n > npages ? npages - i : n;
		MUST(madvise(area + i * PAGE, n * PAGE, MADV_DONTNEED));
		forget(i, n);
		break;
	case 1:
		n = i + n > npages ? npages - i : n;
		map_anon(area + i * PAGE, n * PAGE, PROT_READ | PROT_WRITE);
		forget(i, n);
		break;
	default:
		write_page(i);
	}
}

static void check(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < npages; i++) {
		const volatile uint64_t *p = (uint64_t *)(area + i * PAGE);
		bool is_right = counts[i] ? p[0] == i && p[1] == counts[i] &&
						    p[PAGE / 8 - 1] == content_word(counts[i], i) :
					    !p[0] && !p[1] && !p[PAGE / 8 - 1];

		CHECK(is_right,
		      "page %zu (%p) has been written to %u times, it says page %lu and %lu times",
		      i, (void *)p, counts[i], p[0], p[1]);
		sum += counts[i];
	}
	CHECK(sum == total, "pages have been written to %lu times, they say %lu", total, sum);
}

/* One child more; those before it have ended, or will. */
static void next_child(bool last)
{
	pid_t pid;

	while (waitpid(-1, NULL, last ? 0 : WNOHANG) > 0)
		;
	if (last)
		return;
	pid = MUST(fork());
	if (!pid) {
		prog_sleep_ms(CHILD_MS);
		_exit(0);
	}
}

int main(int argc, char **argv)
{
	const char *also;
	uint64_t last, now, end = 0, owed = 0, child = 0;
	size_t mb, rate, hot, seconds, at;
	unsigned long context = 0;

	prog_init(argc, argv);
	at = prog_now ? 2 : 1;
	CHECK((size_t)argc > at + 2, "usage: writer [now] MB RATE HOT [SECONDS]");
	mb = strtoul(argv[at], NULL, 10);
	rate = strtoul(argv[at + 1], NULL, 10);
	npages = mb * MB / PAGE;
	hot = npages * strtoul(argv[at + 2], NULL, 10) / 100;
	seconds = (size_t)argc > at + 3 ? strtoul(argv[at + 3], NULL, 10) : 1;
	CHECK(npages && (hot || !rate), "usage: writer [now] MB RATE HOT [SECONDS]");
	also = (size_t)argc > at + 4 ? argv[at + 4] : "";
	keep = !strcmp(also, "keep");
	if (!strcmp(also, "aio"))
		MUST(syscall(SYS_io_setup, 1, &context));
	if (!strcmp(also, "name"))
		MUST(prctl(PR_SET_NAME, "wri\nter"));
	area = map_anon(NULL, npages * PAGE, PROT_READ | PROT_WRITE);
	counts = map_anon(NULL, npages * sizeof(*counts), PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < npages; i++)
		write_page(i);
	say("ready %d", (int)getpid());
	for (last = now_ms(); !end || last < end; last = now) {
		prog_sleep_ms(TICK_MS);
		now = now_ms();
		if (now > last + TICK_MS + STOPPED_MS)
			say("stopped %lu", now - last - TICK_MS);
		/* what it has not written while it stood still it does not make up for */
		owed += rate * (now > last && now < last + 1000 ? now - last : TICK_MS);
		for (; owed >= PAGE / 1024 * 1000; owed -= PAGE / 1024 * 1000)
			step(hot);
		if (!strcmp(also, "children") && now - child >= CHILD_MS / 2) {
			next_child(false);
			child = now;
		}
		if (!end && prog_may_go())
			end = now + seconds * 1000;
	}
	next_child(true);
	check();
	prog_pass();
}
