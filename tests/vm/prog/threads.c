// SPDX-License-Identifier: MIT
/* Threads that count, share a mutex and touch their own memory all the while, across the move. */
#include "prog.h"

#define NTHREADS 4
#define AREA (2 * MB)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t total;
static atomic_bool stop;

struct worker {
	pthread_t thread;
	uint64_t rounds;
	char *area;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t seed = (uintptr_t)w;

	while (!atomic_load(&stop)) {
		char *page = w->area + w->rounds * 37 % (AREA / PAGE) * PAGE;
		uint64_t index = (page - w->area) / 8, *word = (uint64_t *)page;

		/* Word 0 counts the visits, the rest must be as filled. */
		CHECK(word[0] == w->rounds / (AREA / PAGE),
		      "page %p was visited %lu times, not %lu", page, (unsigned long)word[0],
		      (unsigned long)(w->rounds / (AREA / PAGE)));
		for (int i = 1; i < 512; i += 73)
			CHECK(word[i] == content_word(seed, index + i),
			      "word %d of page %p differs", i, page);
		word[0]++;
		w->rounds++;
		pthread_mutex_lock(&lock);
		total++;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct worker w[NTHREADS] = { 0 };
	uint64_t sum = 0, before;

	prog_init(argc, argv);
	for (int i = 0; i < NTHREADS; i++) {
		w[i].area = map_content(AREA, (uintptr_t)&w[i]);
		for (size_t off = 0; off < AREA; off += PAGE)
			*(uint64_t *)(w[i].area + off) = 0;
		CHECK(!pthread_create(&w[i].thread, NULL, work, &w[i]), "pthread_create failed");
	}
	prog_ready();
	pthread_mutex_lock(&lock);
	before = total;
	pthread_mutex_unlock(&lock);
	for (uint64_t now = before; now < before + 5000;) {
		prog_sleep_ms(5);
		pthread_mutex_lock(&lock);
		now = total;
		pthread_mutex_unlock(&lock);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < NTHREADS; i++) {
		CHECK(!pthread_join(w[i].thread, NULL), "pthread_join failed");
		sum += w[i].rounds;
	}
	CHECK(sum == total, "threads did %lu rounds, but the mutex counted %lu", (unsigned long)sum,
	      (unsigned long)total);
	prog_pass();
}
