// SPDX-License-Identifier: MIT
/*
 * Each thread's TLS, errno, rseq registration and CPU number are intact; cancellation and
 * thread-specific data work.
 */
#include "prog.h"
#include <sched.h>
#include <sys/rseq.h>

#define NTHREADS 8

static __thread uint64_t tls_data[64] = { 5, 6, 7 };
static __thread uint64_t tls_bss[512];
static pthread_key_t key;
static atomic_int ready, destroyed;

static void destructor(void *p)
{
	atomic_fetch_add(&destroyed, 1);
}

static void rseq_look(long me)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	if (!__rseq_size)
		return;
	CHECK((int)rs->cpu_id >= 0, "thread %ld: rseq has no CPU number (%d)", me, (int)rs->cpu_id);
	CHECK((int)rs->cpu_id < sysconf(_SC_NPROCESSORS_CONF),
	      "thread %ld: rseq's CPU number is %d", me, (int)rs->cpu_id);
	CHECK(!rs->rseq_cs, "thread %ld: rseq_cs is set", me);
	/*
	 * Registering the same again is EBUSY; EINVAL or success would mean that the kernel has
	 * lost or moved it.
	 */
	CHECK(syscall(SYS_rseq, rs, 32, 0, RSEQ_SIG) == -1 && errno == EBUSY,
	      "thread %ld: rseq is not registered where it was: %s", me, strerror(errno));
}

static void *work(void *arg)
{
	long me = (long)arg;

	tls_data[0] = me;
	content_fill(tls_bss, sizeof(tls_bss), me);
	pthread_setspecific(key, arg);
	errno = 1000 + me;
	atomic_fetch_add(&ready, 1);
	while (!prog_may_go()) {
		prog_sleep_ms(5);
		errno = 1000 + me;
	}
	CHECK(errno == 1000 + me, "thread %ld: errno is %d", me, errno);
	CHECK(tls_data[0] == (uint64_t)me && tls_data[1] == 6 && tls_data[2] == 7 && !tls_data[63],
	      "thread %ld: its TLS data differs", me);
	CHECK_CONTENT(tls_bss, sizeof(tls_bss), me, "TLS");
	CHECK(pthread_getspecific(key) == arg, "thread %ld: its specific data differs", me);
	rseq_look(me);
	CHECK(sched_getcpu() >= 0, "sched_getcpu: %s", strerror(errno));
	if (me == 3) {
		pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
		for (;;)
			pause();
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t[NTHREADS];
	char *filler;
	void *ret;

	prog_init(argc, argv);
	filler = map_content(MB, 1);
	tls_data[0] = 99;
	pthread_key_create(&key, destructor);
	for (long i = 1; i < NTHREADS; i++)
		pthread_create(&t[i], NULL, work, (void *)i);
	while (atomic_load(&ready) < NTHREADS - 1)
		prog_sleep_ms(1);
	prog_ready();
	CHECK(tls_data[0] == 99, "the main thread's TLS differs");
	rseq_look(0);
	CHECK(!pthread_cancel(t[3]), "pthread_cancel failed");
	for (long i = 1; i < NTHREADS; i++) {
		CHECK(!pthread_join(t[i], &ret), "pthread_join failed");
		CHECK(ret == (i == 3 ? PTHREAD_CANCELED : (void *)i), "thread %ld returned %p", i,
		      ret);
	}
	CHECK(atomic_load(&destroyed) == NTHREADS - 1, "%d destructors ran, not %d",
	      atomic_load(&destroyed), NTHREADS - 1);
	CHECK_CONTENT(filler, MB, 1, "beside TLS");
	prog_pass();
}
