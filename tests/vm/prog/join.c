// SPDX-License-Identifier: MIT
/*
 * The death of the source's copy writes into its memory: clear_child_tid is cleared and held robust
 * futexes get FUTEX_OWNER_DIED. None of that may be seen here: pthread_join waits for a thread that
 * lives, a robust mutex is busy while its owner lives.
 */
#include "prog.h"

static pthread_mutex_t mutexes[8];
static atomic_int stage;
static atomic_bool done;

static void *hold_mutexes(void *arg)
{
	for (int i = 0; i < 8; i++)
		pthread_mutex_lock(&mutexes[i]);
	atomic_store(&stage, 1);
	while (atomic_load(&stage) < 2)
		prog_sleep_ms(5);
	atomic_store(&done, true);
	return NULL;
}

static void *ask(void *arg)
{
	prog_wait();
	for (int i = 0; i < 8; i++) {
		int err = pthread_mutex_trylock(&mutexes[i]);

		CHECK(err == EBUSY, "robust mutex %d of a living owner: trylock says %s", i,
		      strerror(err));
	}
	prog_sleep_ms(200);
	CHECK(!atomic_load(&done), "the owner went on by itself");
	atomic_store(&stage, 2);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_mutexattr_t attr;
	pthread_t owner, asker;

	prog_init(argc, argv);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (int i = 0; i < 8; i++) {
		if (i == 4)
			pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
		pthread_mutex_init(&mutexes[i], &attr);
	}
	pthread_create(&owner, NULL, hold_mutexes, NULL);
	while (!atomic_load(&stage))
		prog_sleep_ms(1);
	pthread_create(&asker, NULL, ask, NULL);
	say("ready %d", (int)getpid());
	/* The main thread is inside this wait when it is moved. */
	CHECK(!pthread_join(owner, NULL), "pthread_join failed");
	CHECK(atomic_load(&done), "pthread_join returned before the thread had ended");
	pthread_join(asker, NULL);
	for (int i = 0; i < 8; i++) {
		int err = pthread_mutex_lock(&mutexes[i]);

		CHECK(err == EOWNERDEAD, "robust mutex %d of a dead owner: lock says %s", i,
		      strerror(err));
		CHECK(!pthread_mutex_consistent(&mutexes[i]), "mutex %d does not become consistent",
		      i);
		pthread_mutex_unlock(&mutexes[i]);
	}
	prog_pass();
}
