// SPDX-License-Identifier: MIT
/*
 * A random walk of memory operations against a shadow, with threads that read, write, drop and
 * futex on memory of their own.
 *
 *	walk [now] SEED STEPS [PAGES [THREADS]]
 *
 * A quarter of the steps is taken before the move. A failure names the seed and the step; the same
 * arguments take the same steps.
 */
#include "prog.h"
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/uio.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define MAX_PAGES 65536
#define YARD 1024
#define SLICE 512
#define MAX_THREADS 8
#define NLAST 12

enum prot { UNMAPPED, RW, RO, NONE };

static char *base, *yard;
static unsigned int npages;
static uint64_t tags[MAX_PAGES];	/* 0: the page is zero */
static uint8_t prots[MAX_PAGES];
static uint64_t yard_tags[YARD];

static uint64_t seed, rng;
static unsigned long step, nsteps;
static int depth;
static uint64_t last_tag;
static char *self;
static char last[NLAST][96];
static unsigned int nlast;

static const int words[] = { 0, 3, 200, 511 };

static uint32_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng >> 16;
}

__attribute__((format(printf, 1, 2)))
static void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last[nlast++ % NLAST], sizeof(last[0]), fmt, ap);
	va_end(ap);
}

#define BAD(...) do { \
	for (unsigned int n_ = nlast > NLAST ? nlast - NLAST : 0; n_ < nlast; n_++) \
		say("  %s", last[n_ % NLAST]); \
	say("  seed %lu step %lu depth %d", (unsigned long)seed, step, depth); \
	FAIL(__VA_ARGS__); \
} while (0)

static char *addr(unsigned int i)
{
	return base + i * PAGE;
}

static void page_put(char *p, uint64_t tag)
{
	volatile uint64_t *w = (uint64_t *)p;

	for (int i = 0; i < 4; i++)
		w[words[i]] = content_word(tag, i);
}

static void page_look(const char *p, uint64_t tag, const char *what, unsigned int i)
{
	const volatile uint64_t *w = (const uint64_t *)p;

	/* One word that is never written shows a page of somebody else's. */
	if (w[100])
		BAD("%s: page %u (%p) has foreign content", what, i, p);
	for (int k = 0; k < 4; k++) {
		uint64_t want = tag ? content_word(tag, k) : 0;

		if (w[words[k]] != want)
			BAD("%s: word %d of page %u (%p) is %#lx, not %#lx%s", what, words[k], i, p,
			    (unsigned long)w[words[k]], (unsigned long)want,
			    w[words[k]] ? "" : " (it is zero)");
	}
}

static void look(unsigned int i, const char *what)
{
	if (prots[i] == RW || prots[i] == RO)
		page_look(addr(i), tags[i], what, i);
}

static void put(unsigned int i)
{
	if (prots[i] != RW)
		return;
	tags[i] = ++last_tag;
	page_put(addr(i), tags[i]);
}

static bool all(unsigned int i, unsigned int n, uint8_t *same)
{
	for (unsigned int k = i; k < i + n; k++)
		if (prots[k] == UNMAPPED || (same && prots[k] != prots[i]))
			return false;
	if (same)
		*same = prots[i];
	return true;
}

static void shadow_set(unsigned int i, unsigned int n, enum prot prot)
{
	memset(prots + i, prot, n);
	memset(tags + i, 0, n * sizeof(*tags));
}

static void unmap(unsigned int i, unsigned int n)
{
	MUST(munmap(addr(i), n * PAGE));
	shadow_set(i, n, UNMAPPED);
}

static const int prot_bits[] = {
	[RW] = PROT_READ | PROT_WRITE, [RO] = PROT_READ, [NONE] = PROT_NONE
};

/* munlock() ends at the first hole. */
static void unlock(unsigned int i, unsigned int n)
{
	for (unsigned int k = i, run; k < i + n; k += run + 1) {
		for (run = 0; k + run < i + n && prots[k + run] != UNMAPPED; run++)
			;
		if (run)
			MUST(munlock(addr(k), run * PAGE));
	}
}

static void do_dontneed(unsigned int i, unsigned int n)
{
	unlock(i, n);
	if (madvise(addr(i), n * PAGE, MADV_DONTNEED) && errno != ENOMEM)
		BAD("MADV_DONTNEED: %s", strerror(errno));
	memset(tags + i, 0, n * sizeof(*tags));
}

static void do_mprotect(unsigned int i, unsigned int n)
{
	enum prot prot = 1 + rnd() % 3;

	if (!all(i, n, NULL))
		return;
	MUST(mprotect(addr(i), n * PAGE, prot_bits[prot]));
	memset(prots + i, prot, n);
}

static void do_mmap(unsigned int i, unsigned int n)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (rnd() % 4 ? 0 : MAP_NORESERVE) |
		    (rnd() % 16 ? 0 : MAP_POPULATE);
	enum prot prot = rnd() % 8 ? RW : RO;

	CHECK(mmap(addr(i), n * PAGE, prot_bits[prot], flags, -1, 0) == addr(i), "mmap: %s",
	      strerror(errno));
	shadow_set(i, n, prot);
}

/*
 * A range that spans mappings cannot be moved (EFAULT), and its target is unmapped then all the
 * same. Returns whether it was moved.
 */
static bool yard_move(unsigned int i, unsigned int n, unsigned int y, int flags)
{
	char *to = yard + y * PAGE;

	if (mremap(addr(i), n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) == to) {
		memcpy(yard_tags + y, tags + i, n * sizeof(*tags));
		return true;
	}
	if (errno != EFAULT && errno != EINVAL)
		BAD("mremap: %s", strerror(errno));
	map_anon(to, n * PAGE, PROT_NONE);
	return false;
}

static void yard_return(unsigned int y, unsigned int n, unsigned int i, enum prot prot)
{
	char *from = yard + y * PAGE;

	if (mremap(from, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, addr(i)) != addr(i))
		BAD("mremap back: %s", strerror(errno));
	memset(prots + i, prot, n);
	memcpy(tags + i, yard_tags + y, n * sizeof(*tags));
	map_anon(from, n * PAGE, PROT_NONE);
}

static void do_away_and_back(unsigned int i, unsigned int n, bool keep)
{
	unsigned int y, j;
	uint8_t prot;

	n = n > YARD / 2 ? YARD / 2 : n;
	y = rnd() % (YARD - n);
	if (!all(i, n, &prot) || !yard_move(i, n, y, keep ? MREMAP_DONTUNMAP : 0))
		return;
	if (keep)
		memset(tags + i, 0, n * sizeof(*tags));
	else
		shadow_set(i, n, UNMAPPED);
	if (prot != NONE && rnd() % 2) {
		unsigned int k = rnd() % n;

		page_look(yard + (y + k) * PAGE, yard_tags[y + k], "moved away", k);
	}
	if (prot == RW && rnd() % 4 == 0) {
		unsigned int k = rnd() % n;

		yard_tags[y + k] = ++last_tag;
		page_put(yard + (y + k) * PAGE, last_tag);
	}
	if (rnd() % 4 == 0) {
		/* All of it, or it would be two mappings. */
		MUST(munlock(yard + y * PAGE, n * PAGE));
		MUST(madvise(yard + y * PAGE, PAGE, MADV_DONTNEED));
		yard_tags[y] = 0;
	}
	if (keep && rnd() % 2)
		look(i + rnd() % n, "old range after MREMAP_DONTUNMAP");
	if (keep && rnd() % 2)
		put(i + rnd() % n);
	switch (rnd() % 4) {
	case 0:
		map_anon(yard + y * PAGE, n * PAGE, PROT_NONE);
		return;
	case 1:
		j = rnd() % (npages - n);
		break;
	default:
		j = i;
	}
	yard_return(y, n, j, prot);
}

static void do_onto(unsigned int i, unsigned int n)
{
	unsigned int j = rnd() % (npages - n);
	uint8_t prot;

	if (!all(i, n, &prot) || (j < i + n && i < j + n))
		return;
	if (mremap(addr(i), n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, addr(j)) !=
	    addr(j)) {
		if (errno != EFAULT)
			BAD("mremap onto another: %s", strerror(errno));
		unmap(j, n);
		return;
	}
	memset(prots + j, prot, n);
	memcpy(tags + j, tags + i, n * sizeof(*tags));
	shadow_set(i, n, UNMAPPED);
}

static void do_resize(unsigned int i, unsigned int n)
{
	unsigned int m = 1 + rnd() % (2 * n), y;
	uint8_t prot;
	char *p;

	m = i + m > npages ? npages - i : m;
	if (!all(i, n, &prot) || m == n)
		return;
	if (rnd() % 2 && m < YARD) {
		/* Resized on the way to the yard, and back again. */
		y = rnd() % (YARD - m);
		p = yard + y * PAGE;
		if (mremap(addr(i), n * PAGE, m * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p) != p) {
			if (errno != EFAULT)
				BAD("mremap, moved and resized: %s", strerror(errno));
			map_anon(p, m * PAGE, PROT_NONE);
			/* With a smaller size the rest has been cut off already. */
			if (m < n)
				unmap(i + m, n - m);
			return;
		}
		memset(yard_tags + y, 0, m * sizeof(*tags));
		memcpy(yard_tags + y, tags + i, (m < n ? m : n) * sizeof(*tags));
		shadow_set(i, n, UNMAPPED);
		yard_return(y, m, i, prot);
		return;
	}
	if (m > n) {
		for (unsigned int k = i + n; k < i + m; k++)
			if (prots[k] != UNMAPPED)
				return;
		p = mremap(addr(i), n * PAGE, m * PAGE, 0);
		if (p == MAP_FAILED) {
			/* Its mapping goes on elsewhere, or ends earlier. */
			if (errno != EFAULT && errno != ENOMEM)
				BAD("mremap, grown in place: %s", strerror(errno));
			return;
		}
		memset(prots + i + n, prot, m - n);
		memset(tags + i + n, 0, (m - n) * sizeof(*tags));
		return;
	}
	MUST(mremap(addr(i), n * PAGE, m * PAGE, 0));
	shadow_set(i + m, n - m, UNMAPPED);
}

static void do_advise(unsigned int i, unsigned int n)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_MERGEABLE, MADV_UNMERGEABLE,
		20 /* COLD */, 21 /* PAGEOUT */, 22 /* POPULATE_READ */, 23 /* POPULATE_WRITE */,
		25 /* COLLAPSE */, MADV_FREE
	};
	int a = advice[rnd() % (sizeof(advice) / sizeof(*advice))];

	/* These reach only as far as they can; none changes a content but MADV_FREE, which may. */
	if (madvise(addr(i), n * PAGE, a) && errno != ENOMEM && errno != EINVAL &&
	    errno != EFAULT && errno != EAGAIN && errno != EBUSY && errno != EBADF)
		BAD("madvise(%d): %s", a, strerror(errno));
	note("  advice %d", a);
	if (a == MADV_FREE)
		do_dontneed(i, n);
}

static void do_mlock(unsigned int i, unsigned int n)
{
	/* Fails behind a hole or at PROT_NONE, but may have locked what is before. */
	if (rnd() % 4)
		mlock(addr(i), n * PAGE);
	else
		mlock2(addr(i), n * PAGE, MLOCK_ONFAULT);
	if (rnd() % 2)
		unlock(i, n);
}

static int pipe_fds[2];

static void do_pipe(unsigned int i)
{
	struct iovec local, there;
	static uint64_t buf[512];
	bool readable = prots[i] == RW || prots[i] == RO;
	ssize_t n;

	n = write(pipe_fds[1], addr(i), PAGE);
	if (n != (readable ? (ssize_t)PAGE : -1) || (!readable && errno != EFAULT))
		BAD("write of page %u to a pipe gives %zd: %s", i, n, strerror(errno));
	if (readable) {
		MUST(read(pipe_fds[0], buf, PAGE));
		page_look((char *)buf, tags[i], "written to a pipe", i);
	}
	if (rnd() % 2) {
		memset(buf, 0, PAGE);
		page_put((char *)buf, ++last_tag);
		MUST(write(pipe_fds[1], buf, PAGE));
		n = read(pipe_fds[0], addr(i), PAGE);
		if (n == (ssize_t)PAGE && prots[i] == RW)
			tags[i] = last_tag;
		else if (n == -1 && errno == EFAULT && prots[i] != RW)
			MUST(read(pipe_fds[0], buf, PAGE));
		else
			BAD("read from a pipe into page %u gives %zd: %s", i, n, strerror(errno));
	}
	local = (struct iovec){ buf, PAGE };
	there = (struct iovec){ addr(i), PAGE };
	n = process_vm_readv(getpid(), &local, 1, &there, 1, 0);
	readable = prots[i] == RW || prots[i] == RO;
	if (n != (readable ? (ssize_t)PAGE : -1))
		BAD("process_vm_readv of page %u gives %zd: %s", i, n, strerror(errno));
	if (readable)
		page_look((char *)buf, tags[i], "read by process_vm_readv", i);
}

static void walk(unsigned long n);

static void do_fork(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		BAD("fork: %s", strerror(errno));
	if (!pid) {
		depth++;
		/* The parent's pipes are its own. */
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		MUST(pipe(pipe_fds));
		rng ^= 0x5555;
		walk(depth > 1 ? 8 : 8 + rnd() % 40);
		for (int i = 0; i < 16; i++)
			look(rnd() % npages, "child");
		_exit(0);
	}
	/* The parent may write before its child reads. */
	for (int i = 0; i < 8; i++)
		put(rnd() % npages);
	if (rnd() % 8 == 0) {
		kill(pid, SIGKILL);
		MUST(waitpid(pid, &status, 0));
		if (!WIFSIGNALED(status) && status)
			_exit(1);
		return;
	}
	MUST(waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(1);
	if (status)
		BAD("a child ended with status %#x", status);
}

/* Its argument is in a page of the walk when one can be written. */
static void do_exec(unsigned int i)
{
	char *args[] = { self, "exec", NULL };
	bool v = rnd() % 2;
	int status;
	pid_t pid;

	if (prots[i] == RW) {
		tags[i] = 0;
		memset(addr(i), 0, PAGE);
		strcpy(addr(i) + 2000, "exec");
		args[1] = addr(i) + 2000;
	}
	pid = v ? vfork() : fork();
	if (!pid) {
		execv(self, args);
		_exit(1);
	}
	MUST(waitpid(pid, &status, 0));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
		BAD("%s and exec ended with status %#x", v ? "vfork" : "fork", status);
	if (args[1] != (char *)"exec" && prots[i] == RW)
		memset(addr(i) + 2000, 0, 8);
}

/* MADV_WIPEONFORK or MADV_DONTFORK around a fork. */
static void do_fork_advice(unsigned int i, unsigned int n)
{
	bool wipe = rnd() % 2;
	int status;
	pid_t pid;

	if (!all(i, n, NULL))
		return;
	MUST(madvise(addr(i), n * PAGE, wipe ? MADV_WIPEONFORK : MADV_DONTFORK));
	pid = MUST(fork());
	if (!pid) {
		depth++;
		if (wipe)
			memset(tags + i, 0, n * sizeof(*tags));
		else
			shadow_set(i, n, UNMAPPED);
		for (int k = 0; k < 16; k++)
			look(i + rnd() % n, "wiped on fork");
		for (int k = 0; k < 16; k++)
			look(rnd() % npages, "child of an advised process");
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0));
	if (status)
		BAD("a child after %s ended with status %#x",
		    wipe ? "MADV_WIPEONFORK" : "MADV_DONTFORK", status);
	MUST(madvise(addr(i), n * PAGE, wipe ? MADV_KEEPONFORK : MADV_DOFORK));
}

static const char *const names[] = {
	"read", "write", "dontneed", "mprotect", "munmap", "mmap", "away", "dontunmap", "onto",
	"resize", "advise", "mlock", "pipe", "fork", "exec", "forkadvice"
};

static void one_step(void)
{
	/* read, write, dontneed, ... by how often they come, of 64. */
	static const uint8_t often[] = { 12, 10, 6, 8, 3, 4, 3, 2, 3, 3, 4, 2, 3, 1, 0, 0 };
	unsigned int pick = rnd() % 64, op = 0, i, n;

	while (op < 15 && pick >= often[op])
		pick -= often[op++];
	if (op == 13 && depth)
		op = depth < 2 && rnd() % 16 == 0 ? 13 : 0;
	else if (op == 13 && rnd() % 2)
		op = rnd() % 4 ? 15 : 14;
	i = rnd() % npages;
	n = 1 + rnd() % (rnd() % 16 ? 8 : rnd() % 8 ? 64 : 600);
	n = i + n > npages ? npages - i : n;
	note("%lu: %s page %u + %u", step, names[op], i, n);
	switch (op) {
	case 0:
		for (unsigned int k = i; k < i + n && k < i + 4; k++)
			look(k, "read");
		return;
	case 1:
		for (unsigned int k = i; k < i + n && k < i + 4; k++)
			put(k);
		return;
	case 2:
		do_dontneed(i, n);
		break;
	case 3:
		do_mprotect(i, n);
		break;
	case 4:
		unmap(i, n);
		break;
	case 5:
		do_mmap(i, n);
		break;
	case 6:
	case 7:
		do_away_and_back(i, n, op == 7);
		break;
	case 8:
		do_onto(i, n);
		break;
	case 9:
		do_resize(i, n);
		break;
	case 10:
		do_advise(i, n);
		break;
	case 11:
		do_mlock(i, n);
		break;
	case 12:
		do_pipe(i);
		break;
	case 13:
		do_fork();
		break;
	case 14:
		do_exec(i);
		break;
	case 15:
		do_fork_advice(i, n);
		break;
	}
	/* At the edges, and not everywhere: a look brings a page in. */
	if (rnd() % 2)
		look(i, names[op]);
	if (rnd() % 4 == 0)
		look(i + n - 1, names[op]);
	if (rnd() % 4 == 0)
		look(i ? i - 1 : 0, names[op]);
	if (rnd() % 4 == 0)
		look(i + n < npages ? i + n : 0, names[op]);
}

static void walk(unsigned long n)
{
	for (unsigned long k = 0; k < n; k++) {
		one_step();
		if (!depth)
			step++;
	}
}

/* Threads: each on memory of its own, beside the walk's and each other's. */

static atomic_bool stop;
static uint32_t doorbell;

static void *slice_work(void *arg)
{
	uint64_t x = (uintptr_t)arg * 7919 + seed;
	static uint64_t slice_tags[MAX_THREADS][SLICE];
	uint64_t *mine = slice_tags[(uintptr_t)arg], tag = (uintptr_t)arg << 40;
	char *area = map_anon(NULL, SLICE * PAGE, PROT_READ | PROT_WRITE);

	for (unsigned int i = 0; i < SLICE; i++)
		page_put(area + i * PAGE, mine[i] = ++tag);
	while (!atomic_load(&stop)) {
		unsigned int i, op;

		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		i = (x >> 33) % SLICE;
		op = (x >> 50) % 16;
		if (op < 8) {
			page_look(area + i * PAGE, mine[i], "a thread's page", i);
		} else if (op < 12) {
			page_put(area + i * PAGE, mine[i] = ++tag);
		} else if (op < 13) {
			MUST(madvise(area + i * PAGE, PAGE, MADV_DONTNEED));
			mine[i] = 0;
			page_look(area + i * PAGE, 0, "a thread's page after MADV_DONTNEED", i);
		} else if (op < 14) {
			uint32_t *w = (uint32_t *)(area + i * PAGE) + 6;
			struct timespec ts = { 0, 1000 };

			page_look(area + i * PAGE, mine[i], "a thread's page before a futex", i);
			syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, *w, &ts, NULL, 0);
		} else if (op < 15) {
			__atomic_fetch_add(&doorbell, 1, __ATOMIC_RELAXED);
			syscall(SYS_futex, &doorbell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		} else {
			/* Else a thread on the same processor gets nothing done. */
			prog_sleep_ms(1);
		}
		/* Few enough that the memory is still lazy for a while. */
		if (op % 4 == 0)
			sched_yield();
	}
	for (unsigned int i = 0; i < SLICE; i++)
		page_look(area + i * PAGE, mine[i], "a thread's page at the end", i);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	unsigned int nthreads;
	int arg;

	prog_init(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "exec"))
		return 42;
	arg = 1 + prog_now;
	if (argc < arg + 2)
		return 2;
	seed = strtoul(argv[arg], NULL, 10);
	nsteps = strtoul(argv[arg + 1], NULL, 10);
	npages = argc > arg + 2 ? atoi(argv[arg + 2]) : 8192;
	nthreads = argc > arg + 3 ? atoi(argv[arg + 3]) : 2;
	CHECK(npages >= 2048 && npages <= MAX_PAGES && nthreads <= MAX_THREADS,
	      "the arguments are out of range");
	self = realpath("/proc/self/exe", NULL);
	rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	MUST(pipe(pipe_fds));
	MUST(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }));
	base = map_anon(NULL, (npages + 2) * PAGE, PROT_NONE) + PAGE;
	map_anon(base, npages * PAGE, PROT_READ | PROT_WRITE);
	yard = map_anon(NULL, (YARD + 2) * PAGE, PROT_NONE) + PAGE;
	memset(prots, RW, npages);
	for (unsigned int i = 0; i < npages; i++)
		if (rnd() % 8)
			put(i);
	for (uintptr_t i = 0; i < nthreads; i++)
		CHECK(!pthread_create(&threads[i], NULL, slice_work, (void *)i),
		      "pthread_create failed");
	say("seed %lu steps %lu pages %u threads %u", (unsigned long)seed, nsteps, npages,
	    nthreads);
	walk(nsteps / 4);
	prog_ready();
	walk(nsteps - nsteps / 4);
	atomic_store(&stop, true);
	for (uintptr_t i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	for (unsigned int i = 0; i < npages; i++)
		look(i, "at the end");
	say("walked %lu", step);
	prog_pass();
}
