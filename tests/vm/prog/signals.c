// SPDX-License-Identifier: MIT
/*
 * Signal frames on memory that is not here yet, alternative stacks, pending and queued signals,
 * timers across the move.
 */
#include "prog.h"

static char *alt, *barrier;
static atomic_int hits, queued, alarms;

static void on_usr1(int sig, siginfo_t *si, void *ctx)
{
	char here;

	CHECK(&here >= alt && &here < alt + 64 * PAGE,
	      "the handler does not run on its alternative stack");
	atomic_fetch_add(&hits, 1);
}

static void on_rt(int sig, siginfo_t *si, void *ctx)
{
	CHECK(si->si_value.sival_int == atomic_load(&queued), "queued signal %d carries %d",
	      atomic_load(&queued), si->si_value.sival_int);
	atomic_fetch_add(&queued, 1);
}

static void on_alarm(int sig)
{
	atomic_fetch_add(&alarms, 1);
}

/* A write barrier as a garbage collector has it. */
static void on_segv(int sig, siginfo_t *si, void *ctx)
{
	char *page = (char *)((uintptr_t)si->si_addr & ~(PAGE - 1));

	CHECK(page >= barrier && page < barrier + 256 * PAGE, "SIGSEGV at %p", si->si_addr);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t ss = { 0 };
	sigset_t set;

	prog_init(argc, argv);
	alt = map_content(64 * PAGE, 1);
	barrier = map_content(256 * PAGE, 2);
	MUST(mprotect(barrier, 256 * PAGE, PROT_READ));
	ss.ss_sp = alt;
	ss.ss_size = 64 * PAGE;
	MUST(sigaltstack(&ss, NULL));
	sigaction(SIGUSR1, &sa, NULL);
	sa.sa_flags = SA_SIGINFO;
	sa.sa_sigaction = on_rt;
	sigaction(SIGRTMIN + 1, &sa, NULL);
	sa.sa_sigaction = on_segv;
	sigaction(SIGSEGV, &sa, NULL);
	signal(SIGALRM, on_alarm);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 5; i++)
		MUST(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i }));
	prog_ready();

	raise(SIGUSR1);
	CHECK(atomic_load(&hits) == 1, "the handler did not run");
	CHECK_CONTENT_AT(alt, 0, 32 * PAGE, 1, "the lower part of the alternative stack");
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK(atomic_load(&queued) == 5, "%d of 5 queued signals arrived", atomic_load(&queued));
	for (int i = 0; i < 256; i++)
		*(uint64_t *)(barrier + (i * 37 % 256) * PAGE) = i;
	for (int i = 0; i < 256; i++) {
		CHECK(*(uint64_t *)(barrier + (i * 37 % 256) * PAGE) == (uint64_t)i,
		      "a write through a write barrier is lost");
		CHECK_CONTENT_AT(barrier, i * PAGE + 8, PAGE - 8, 2,
				 "a page behind a write barrier");
	}
	alarm(1);
	for (int i = 0; i < 2000 && !atomic_load(&alarms); i++)
		prog_sleep_ms(10);
	CHECK(atomic_load(&alarms) == 1, "the alarm did not come");
	prog_pass();
}
