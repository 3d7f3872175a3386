// SPDX-License-Identifier: MIT
/*
 * MADV_DONTNEED while other threads fault on the same pages and the drain installs them: when it
 * has returned and nobody writes, the page reads zero; a reader sees the content or zero, and never
 * the content after zero.
 */
#include "prog.h"

#define NREADERS 3
#define NPAGES 4096

static char *area;
static atomic_bool stop;
static atomic_int started;
static char seen_zero[NREADERS][NPAGES];
/* Pages below are dropped for good. */
static atomic_int dropped;

static void *reader(void *arg)
{
	long me = (long)arg;
	uint32_t x = me * 7919 + 1;

	prog_wait();
	atomic_fetch_add(&started, 1);
	while (!atomic_load(&stop)) {
		int below = atomic_load(&dropped), i;
		uint64_t v, want;

		x = x * 1664525 + 1013904223;
		/* Mostly right where the other thread drops. */
		i = x >> 31 ? (below + (x >> 8) % 16) % NPAGES : (x >> 8) % NPAGES;
		v = *(volatile uint64_t *)(area + i * PAGE + 64);
		want = content_word(9, (i * PAGE + 64) / 8);
		CHECK(v == 0 || v == want, "page %d has neither its content nor zero: %#lx", i,
		      (unsigned long)v);
		CHECK(v == 0 || i >= below, "page %d has its content after it was dropped", i);
		CHECK(v == 0 || !seen_zero[me][i], "page %d has its content again after zero", i);
		seen_zero[me][i] = v == 0;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[NREADERS];

	prog_init(argc, argv);
	area = map_content(NPAGES * PAGE, 9);
	for (long i = 0; i < NREADERS; i++)
		pthread_create(&t[i], NULL, reader, (void *)i);
	prog_ready();
	while (atomic_load(&started) < NREADERS)
		sched_yield();
	for (int i = 0; i < NPAGES;) {
		int n = i % 5 ? 1 : 1 + i % 13;

		n = i + n > NPAGES ? NPAGES - i : n;
		MUST(madvise(area + i * PAGE, n * PAGE, MADV_DONTNEED));
		for (int k = i; k < i + n; k++)
			CHECK(!*(volatile uint64_t *)(area + k * PAGE + 64),
			      "page %d is not zero when MADV_DONTNEED has returned", k);
		i += n;
		atomic_store(&dropped, i);
	}
	prog_sleep_ms(50);
	atomic_store(&stop, true);
	for (int i = 0; i < NREADERS; i++)
		pthread_join(t[i], NULL);
	CHECK_ZERO(area, NPAGES * PAGE, "all pages at the end");
	prog_pass();
}
