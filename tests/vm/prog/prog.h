/* SPDX-License-Identifier: MIT */
/*
 * What the guest programs share: fill memory with computed content, say "ready", wait until they
 * have been moved, check.
 *
 * A program NAME appends lines to $TEST_DIR/NAME.log and opens that file anew for each line,
 * because an open file would have to be the same on both machines. It goes on when
 * $TEST_DIR/NAME.go exists, which the runner makes on the destination only. Its last line is "PASS"
 * or "FAIL: sentence". With "now" as its first argument it does not wait.
 */
#ifndef PROG_H
#define PROG_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define MB (1UL << 20)

static char prog_log[256], prog_go[256];
static bool prog_now;
static pid_t prog_main;

__attribute__((format(printf, 1, 2)))
static inline void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int fd, n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	fd = open(prog_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, n) != n)
		_exit(98);
	close(fd);
}

/* The first failure is what the runner reports; any process of the tree may find it. */
#define FAIL(...) do { say("FAIL: " __VA_ARGS__); _exit(1); } while (0)
#define CHECK(cond, ...) do { if (!(cond)) FAIL(__VA_ARGS__); } while (0)
#define MUST(call) ({ \
	__auto_type r_ = (call); \
	CHECK((long)r_ != -1, "%s in line %d: %s", #call, __LINE__, strerror(errno)); \
	r_; })

/*
 * CRIU 4.1 takes all memory for a stack, and copies it, when a thread's stack pointer is at the
 * very beginning of a page: one process in 256 by chance. These programs start until theirs has
 * room in its page.
 */
static inline void prog_place_stack(char **argv)
{
	if (((uintptr_t)__builtin_frame_address(0) & (PAGE - 1)) < 3 * PAGE / 4 &&
	    strchr(argv[0], '/'))
		execv(argv[0], argv);
}

static inline void prog_init(int argc, char **argv)
{
	const char *dir = getenv("TEST_DIR"), *name = strrchr(argv[0], '/');

	prog_place_stack(argv);
	dir = dir ? dir : "/tmp/mt";
	name = name ? name + 1 : argv[0];
	snprintf(prog_log, sizeof(prog_log), "%s/%s.log", dir, name);
	snprintf(prog_go, sizeof(prog_go), "%s/%s.go", dir, name);
	prog_now = argc > 1 && !strcmp(argv[1], "now");
	prog_main = getpid();
}

static inline void prog_sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static inline bool prog_may_go(void)
{
	return prog_now || !access(prog_go, F_OK);
}

/* Every process and thread of a program may call this; only the first process says "ready". */
static inline void prog_wait(void)
{
	while (!prog_may_go())
		prog_sleep_ms(5);
}

static inline void prog_ready(void)
{
	say("ready %d", (int)getpid());
	prog_wait();
}

/* Stays, so that the runner can look at what has become of the process; it is then killed. */
_Noreturn static inline void prog_pass(void)
{
	say("PASS");
	if (prog_now)
		exit(0);
	for (;;)
		pause();
}

static inline uint64_t content_word(uint64_t seed, uint64_t index)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + index + 1;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	return x ^ x >> 32;
}

static inline void content_fill(void *p, size_t len, uint64_t seed)
{
	uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		w[i] = content_word(seed, i);
}

/* The index of the first byte that is not what content_fill() left, or -1. */
static inline long content_differs(const void *p, size_t len, uint64_t seed)
{
	const volatile uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		if (w[i] != content_word(seed, i))
			return i * 8;
	return -1;
}

static inline long zero_differs(const void *p, size_t len)
{
	const volatile uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		if (w[i])
			return i * 8;
	return -1;
}

/* [@p + @off, + @len) of an area that was filled with @seed from @p on. */
static inline long content_differs_at(const void *p, size_t off, size_t len, uint64_t seed)
{
	const volatile uint64_t *w = p;

	for (size_t i = off / 8; i < (off + len) / 8; i++)
		if (w[i] != content_word(seed, i))
			return i * 8;
	return -1;
}

#define CHECK_CONTENT(p, len, seed, what)                                                         \
	do {                                                                                      \
		long at_ = content_differs(p, len, seed);                                         \
		CHECK(at_ < 0, "%s: byte %#lx of %#lx (page %p) has another content: %#lx", what, \
		      at_, (unsigned long)(len), (void *)((char *)(p) + at_),                     \
		      (unsigned long)*(uint64_t *)((char *)(p) + at_));                           \
	} while (0)

#define CHECK_CONTENT_AT(p, off, len, seed, what) do { \
	long at_ = content_differs_at(p, off, len, seed); \
	CHECK(at_ < 0, "%s: byte %#lx of %#lx.. (page %p) has another content: %#lx", what, at_, \
	      (unsigned long)(off), (void *)((char *)(p) + at_), \
	      (unsigned long)*(uint64_t *)((char *)(p) + at_)); \
} while (0)

#define CHECK_ZERO(p, len, what)                                                               \
	do {                                                                                   \
		long at_ = zero_differs(p, len);                                               \
		CHECK(at_ < 0, "%s: byte %#lx of %#lx (page %p) is not zero: %#lx", what, at_, \
		      (unsigned long)(len), (void *)((char *)(p) + at_),                       \
		      (unsigned long)*(uint64_t *)((char *)(p) + at_));                        \
	} while (0)

static inline void *map_anon(void *at, size_t len, int prot)
{
	void *p = mmap(at, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	CHECK(p != MAP_FAILED, "mmap of %#zx bytes: %s", len, strerror(errno));
	return p;
}

/*
 * An area of its own mapping: neighbours that cannot be touched keep others from merging with it.
 */
static inline char *map_content(size_t len, uint64_t seed)
{
	char *p = map_anon(NULL, len + 2 * PAGE, PROT_NONE);

	p = map_anon(p + PAGE, len, PROT_READ | PROT_WRITE);
	content_fill(p, len, seed);
	return p;
}

static inline void wait_child(pid_t pid, const char *what)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR, "%s: waitpid: %s", what, strerror(errno));
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "%s: child ended with status %#x", what,
	      status);
}

#endif
