// SPDX-License-Identifier: MIT
/*
 * System calls that read and write memory which is not here yet: no EFAULT, no short transfer, the
 * right bytes.
 */
#include "prog.h"
#include <poll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#define LEN MB

/* Every part below gets pages of its own, so that none was touched before. */
static char *area;
static size_t used;

static char *fresh(size_t npages)
{
	char *p = area + used;

	used += npages * PAGE;
	CHECK(used <= 8 * LEN, "the test's area is too small");
	return p;
}

#define SEED_AT(p) ((size_t)((p) - area))
#define CHECK_FRESH(p, len, what) CHECK_CONTENT_AT(area, SEED_AT(p), len, 1, what)

int main(int argc, char **argv)
{
	static char copy[64 * PAGE];
	struct iovec iov[3], iov2[3];
	struct msghdr msg = { 0 };
	struct timespec *ts;
	struct rlimit *rl;
	struct utsname *un;
	struct stat *st;
	int pipefd[2], sock[2], fd;
	char path[300], *p, *q, *r;
	ssize_t n;

	prog_init(argc, argv);
	area = map_content(8 * LEN, 1);
	snprintf(path, sizeof(path), "%s.tmp", prog_log);
	prog_ready();

	MUST(pipe(pipefd));
	p = fresh(16);
	n = write(pipefd[1], p + 100, 16 * PAGE - 200);
	CHECK(n == (ssize_t)(16 * PAGE - 200), "write of untouched memory to a pipe gives %zd (%s)",
	      n, strerror(errno));
	q = fresh(17);
	n = read(pipefd[0], q + 300, 16 * PAGE - 200);
	CHECK(n == (ssize_t)(16 * PAGE - 200),
	      "read from a pipe into untouched memory gives %zd (%s)", n, strerror(errno));
	CHECK(!memcmp(p + 100, q + 300, n), "what went through the pipe differs");
	CHECK_FRESH(p, 16 * PAGE, "written to a pipe");
	CHECK_CONTENT_AT(area, SEED_AT(q), 296, 1, "before what was read from a pipe");
	CHECK_CONTENT_AT(area, SEED_AT(q) + 16 * PAGE + 200, PAGE - 200, 1,
			 "behind what was read from a pipe");

	for (int i = 0; i < 3; i++) {
		iov[i] = (struct iovec){ fresh(3) + 8, 2 * PAGE };
		iov2[i] = (struct iovec){ fresh(3) + 16, 2 * PAGE };
	}
	n = writev(pipefd[1], iov, 3);
	CHECK(n == (ssize_t)(6 * PAGE), "writev gives %zd (%s)", n, strerror(errno));
	n = readv(pipefd[0], iov2, 3);
	CHECK(n == (ssize_t)(6 * PAGE), "readv gives %zd (%s)", n, strerror(errno));
	for (int i = 0; i < 3; i++) {
		CHECK(!memcmp(iov[i].iov_base, iov2[i].iov_base, 2 * PAGE),
		      "readv got other bytes than writev gave");
		CHECK_FRESH((char *)iov[i].iov_base, 2 * PAGE, "written by writev");
	}

	p = fresh(4);
	iov[0] = (struct iovec){ p, 4 * PAGE };
	n = vmsplice(pipefd[1], iov, 1, 0);
	CHECK(n == (ssize_t)(4 * PAGE), "vmsplice gives %zd (%s)", n, strerror(errno));
	CHECK(read(pipefd[0], copy, 4 * PAGE) == (ssize_t)(4 * PAGE) && !memcmp(copy, p, 4 * PAGE),
	      "vmsplice gave other bytes");
	CHECK_FRESH(p, 4 * PAGE, "vmspliced");

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	p = fresh(8);
	q = fresh(8);
	iov[0] = (struct iovec){ p, 8 * PAGE };
	msg.msg_iov = iov;
	msg.msg_iovlen = 1;
	n = sendmsg(sock[0], &msg, 0);
	CHECK(n == (ssize_t)(8 * PAGE), "sendmsg gives %zd (%s)", n, strerror(errno));
	iov[0].iov_base = q;
	n = recvmsg(sock[1], &msg, MSG_WAITALL);
	CHECK(n == (ssize_t)(8 * PAGE) && !memcmp(p, q, n), "recvmsg gives %zd or other bytes", n);
	CHECK_FRESH(p, 8 * PAGE, "sent by sendmsg");

	fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
	p = fresh(32);
	n = pwrite(fd, p, 32 * PAGE, 0);
	CHECK(n == (ssize_t)(32 * PAGE), "pwrite to a file gives %zd (%s)", n, strerror(errno));
	q = fresh(33);
	n = pread(fd, q + 8, 32 * PAGE, 0);
	CHECK(n == (ssize_t)(32 * PAGE) && !memcmp(p, q + 8, n),
	      "pread from a file gives %zd or other bytes", n);
	CHECK_FRESH(p, 32 * PAGE, "written to a file");
	CHECK_CONTENT_AT(area, SEED_AT(q), 8, 1, "before what was read from a file");

	/* A path that ends on the next page, and one that is made there. */
	p = fresh(2) + PAGE - 3;
	strcpy(p, "/tmp");
	MUST(chdir(p));
	q = fresh(2) + PAGE - 2;
	CHECK(getcwd(q, 64) && !strcmp(q, "/tmp"), "getcwd into untouched memory gives %s", q);
	r = fresh(2) + PAGE - 1;
	n = readlink("/proc/self/cwd", r, 64);
	CHECK(n == 4 && !memcmp(r, "/tmp", 4), "readlink into untouched memory gives %zd", n);

	st = (struct stat *)(fresh(2) + PAGE - 16);
	MUST(fstat(fd, st));
	CHECK(st->st_size == (off_t)(32 * PAGE), "fstat into untouched memory gives a size of %ld",
	      (long)st->st_size);
	un = (struct utsname *)(fresh(2) + PAGE - 100);
	MUST(uname(un));
	CHECK(!strcmp(un->sysname, "Linux"), "uname into untouched memory gives %s", un->sysname);
	ts = (struct timespec *)(fresh(2) + PAGE - 8);
	MUST(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, ts));
	CHECK(ts->tv_nsec < 1000000000 && ts->tv_sec < 1000000000,
	      "clock_gettime into untouched memory is wrong");
	rl = (struct rlimit *)fresh(1);
	MUST(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, rl));
	CHECK(rl->rlim_cur > 3 && rl->rlim_cur <= rl->rlim_max,
	      "prlimit into untouched memory is wrong");
	p = fresh(3);
	CHECK(getrandom(p + 8, 2 * PAGE, 0) == (ssize_t)(2 * PAGE),
	      "getrandom into untouched memory: %s", strerror(errno));
	CHECK(content_differs_at(area, SEED_AT(p) + 8, 2 * PAGE, 1) >= 0,
	      "getrandom left the memory as it was");
	CHECK_CONTENT_AT(area, SEED_AT(p), 8, 1, "before getrandom");

	struct pollfd *pfd = (struct pollfd *)(fresh(2) + PAGE - 4);

	pfd->fd = pipefd[1];
	pfd->events = POLLOUT;
	CHECK(poll(pfd, 1, 0) == 1 && pfd->revents == POLLOUT,
	      "poll with untouched memory is wrong");

	iov[0] = (struct iovec){ p = fresh(4), 4 * PAGE };
	iov2[0] = (struct iovec){ q = fresh(4), 4 * PAGE };
	n = process_vm_readv(getpid(), iov, 1, iov2, 1, 0);
	CHECK(n == (ssize_t)(4 * PAGE) && !memcmp(p, q, n),
	      "process_vm_readv of one's own gives %zd or other bytes", n);
	CHECK_FRESH(q, 4 * PAGE, "read by process_vm_readv");
	iov[0] = (struct iovec){ p = fresh(4), 4 * PAGE };
	iov2[0] = (struct iovec){ q = fresh(4), 4 * PAGE };
	n = process_vm_writev(getpid(), iov, 1, iov2, 1, 0);
	CHECK(n == (ssize_t)(4 * PAGE) && !memcmp(p, q, n),
	      "process_vm_writev of one's own gives %zd or other bytes", n);
	CHECK_FRESH(p, 4 * PAGE, "written by process_vm_writev");

	/* Through /proc/self/mem, without fault flags that allow a retry. */
	int mem = MUST(open("/proc/self/mem", O_RDWR));

	p = fresh(4);
	CHECK(pread(mem, copy, 4 * PAGE, (off_t)(uintptr_t)p) == (ssize_t)(4 * PAGE),
	      "/proc/self/mem read: %s", strerror(errno));
	CHECK(!memcmp(copy, p, 4 * PAGE), "/proc/self/mem gives other bytes");
	CHECK_FRESH(p, 4 * PAGE, "read through /proc/self/mem");
	p = fresh(4);
	CHECK(pwrite(mem, copy, 2 * PAGE, (off_t)(uintptr_t)p + 8) == (ssize_t)(2 * PAGE),
	      "/proc/self/mem write: %s", strerror(errno));
	CHECK(!memcmp(copy, p + 8, 2 * PAGE),
	      "what was written through /proc/self/mem is not there");
	CHECK_CONTENT_AT(area, SEED_AT(p), 8, 1, "before what was written through /proc/self/mem");
	CHECK_CONTENT_AT(area, SEED_AT(p) + 2 * PAGE + 8, 2 * PAGE - 8, 1,
			 "behind what was written through /proc/self/mem");

	CHECK_CONTENT_AT(area, used, 8 * LEN - used, 1, "what no call touched");
	unlink(path);
	prog_pass();
}
