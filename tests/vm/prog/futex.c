// SPDX-License-Identifier: MIT
/*
 * Futexes in memory that is not here yet: private and shared keys, waiters from before the move,
 * PI, conditions, semaphores.
 */
#include "prog.h"
#include <linux/futex.h>
#include <semaphore.h>

struct shared_page {
	uint32_t word;
	uint32_t turn;
	pthread_mutex_t mutex, pi, pshared;
	pthread_cond_t cond;
	sem_t sem;
	int waiting;
	bool signalled;
};

static struct shared_page *page;
static uint32_t *words;
static int *sh_words;

static long futex(void *p, int op, uint32_t val, const struct timespec *ts)
{
	return syscall(SYS_futex, p, op, val, ts, NULL, 0);
}

/* Waits from before the move until it is woken after it. */
static void *wait_on_word(void *arg)
{
	while (!__atomic_load_n(&page->word, __ATOMIC_ACQUIRE))
		futex(&page->word, FUTEX_WAIT_PRIVATE, 0, NULL);
	return NULL;
}

static void *wait_on_cond(void *arg)
{
	pthread_mutex_lock(&page->mutex);
	page->waiting = 1;
	while (!page->signalled)
		pthread_cond_wait(&page->cond, &page->mutex);
	pthread_mutex_unlock(&page->mutex);
	sem_post(&page->sem);
	return NULL;
}

static void *ping_pong(void *arg)
{
	uint32_t me = (uintptr_t)arg;
	int op = me & 2 ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE;
	int wake = me & 2 ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE;

	prog_wait();
	/* Each round on a page of its own. */
	for (int i = 0; i < 100; i++) {
		uint32_t *w = words + ((me & 2 ? 100 : 0) + i) * 1024, turn;

		while ((turn = __atomic_load_n(w, __ATOMIC_ACQUIRE)) % 2 != (me & 1) && turn < 6)
			futex(w, op, turn, NULL);
		for (; (turn = __atomic_load_n(w, __ATOMIC_ACQUIRE)) < 6;) {
			if (turn % 2 == (me & 1)) {
				__atomic_store_n(w, turn + 1, __ATOMIC_RELEASE);
				futex(w, wake, 1, NULL);
			} else {
				futex(w, op, turn, NULL);
			}
		}
	}
	return NULL;
}

static void *lock_pi(void *arg)
{
	for (int i = 0; i < 50; i++) {
		CHECK(!pthread_mutex_lock(&page->pi), "a PI mutex cannot be locked");
		page->turn++;
		pthread_mutex_unlock(&page->pi);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t word, cond, pp[4], pi[2];
	struct timespec ms = { 0, 1000000 };
	pthread_mutexattr_t attr;
	char *filler;
	pid_t pid;

	prog_init(argc, argv);
	filler = map_content(MB, 1);
	page = map_anon(NULL, PAGE, PROT_READ | PROT_WRITE);
	words = map_anon(NULL, 300 * PAGE, PROT_READ | PROT_WRITE);
	for (int i = 0; i < 300; i++)
		words[i * 1024 + 1] = i + 1;
	sh_words = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attr);
	pthread_mutex_init(&page->mutex, &attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&page->pshared, &attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&page->pi, &attr);
	pthread_cond_init(&page->cond, NULL);
	sem_init(&page->sem, 0, 0);
	pthread_create(&word, NULL, wait_on_word, NULL);
	pthread_create(&cond, NULL, wait_on_cond, NULL);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&pp[i], NULL, ping_pong, (void *)i);
	for (int seen = 0; !seen;) {
		pthread_mutex_lock(&page->mutex);
		seen = page->waiting;
		pthread_mutex_unlock(&page->mutex);
		prog_sleep_ms(1);
	}
	prog_ready();

	/* A page that nobody touched: the call itself brings it in, and compares. */
	CHECK(futex(&words[299 * 1024 + 1], FUTEX_WAIT_PRIVATE, 0, &ms) == -1 && errno == EAGAIN,
	      "FUTEX_WAIT does not see the word's value: %s", strerror(errno));
	CHECK(futex(&words[298 * 1024 + 1], FUTEX_WAIT, 299, &ms) == -1 && errno == ETIMEDOUT,
	      "FUTEX_WAIT with a shared key does not see the word's value: %s", strerror(errno));
	CHECK(futex(&words[297 * 1024 + 1], FUTEX_WAKE, 1, NULL) == 0, "FUTEX_WAKE fails: %s",
	      strerror(errno));

	__atomic_store_n(&page->word, 1, __ATOMIC_RELEASE);
	CHECK(futex(&page->word, FUTEX_WAKE_PRIVATE, 1, NULL) >= 0, "FUTEX_WAKE fails: %s",
	      strerror(errno));
	pthread_join(word, NULL);
	pthread_mutex_lock(&page->mutex);
	page->signalled = true;
	pthread_cond_signal(&page->cond);
	pthread_mutex_unlock(&page->mutex);
	sem_wait(&page->sem);
	pthread_join(cond, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&pi[i], NULL, lock_pi, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(pi[i], NULL);
	CHECK(page->turn == 100, "two threads counted to %u under a PI mutex, not 100", page->turn);
	for (int i = 0; i < 4; i++)
		pthread_join(pp[i], NULL);
	for (int i = 0; i < 200; i++)
		CHECK(words[i * 1024] == 6 && words[i * 1024 + 1] == (uint32_t)i + 1,
		      "word %d is %u", i, words[i * 1024]);

	/* Between processes. */
	pid = MUST(fork());
	if (!pid) {
		while (!__atomic_load_n(&sh_words[0], __ATOMIC_ACQUIRE))
			futex(sh_words, FUTEX_WAIT, 0, NULL);
		sh_words[1] = 2;
		_exit(0);
	}
	prog_sleep_ms(20);
	__atomic_store_n(&sh_words[0], 1, __ATOMIC_RELEASE);
	futex(sh_words, FUTEX_WAKE, 1, NULL);
	wait_child(pid, "shared futex");
	CHECK(sh_words[1] == 2, "the other process did not wake up");
	CHECK(!pthread_mutex_lock(&page->pshared) && !pthread_mutex_unlock(&page->pshared),
	      "a shared mutex fails");
	CHECK_CONTENT(filler, MB, 1, "beside the futexes");
	prog_pass();
}
