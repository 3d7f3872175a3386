// SPDX-License-Identifier: MIT
/*
 * One process reads and writes another's memory that is not here yet: process_vm_readv,
 * /proc/PID/mem, ptrace.
 */
#include "prog.h"
#include <sys/ptrace.h>
#include <sys/uio.h>

#define LEN (2 * MB)

static char *vm, *mem, *pt, *poked, *ro;

static void look_from_outside(pid_t pid)
{
	char *copy = map_anon(NULL, LEN, PROT_READ | PROT_WRITE), path[64];
	struct iovec local = { copy, LEN }, there = { vm, LEN };
	int fd, status;
	ssize_t n;

	n = process_vm_readv(pid, &local, 1, &there, 1, 0);
	CHECK(n == (ssize_t)LEN, "process_vm_readv gives %zd (%s)", n, strerror(errno));
	CHECK_CONTENT(copy, LEN, 1, "read by process_vm_readv");
	there.iov_base = poked;
	there.iov_len = local.iov_len = LEN / 2;
	content_fill(copy, LEN, 50);
	n = process_vm_writev(pid, &local, 1, &there, 1, 0);
	CHECK(n == (ssize_t)LEN / 2, "process_vm_writev gives %zd (%s)", n, strerror(errno));

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = MUST(open(path, O_RDWR));
	n = pread(fd, copy, LEN, (off_t)(uintptr_t)mem);
	CHECK(n == (ssize_t)LEN, "read of /proc/PID/mem gives %zd (%s)", n, strerror(errno));
	CHECK_CONTENT(copy, LEN, 2, "read through /proc/PID/mem");
	/* Even where the process itself may not read. */
	n = pread(fd, copy, 16 * PAGE, (off_t)(uintptr_t)ro);
	CHECK(n == (ssize_t)(16 * PAGE),
	      "read of PROT_NONE memory through /proc/PID/mem gives %zd (%s)", n, strerror(errno));
	CHECK_CONTENT(copy, 16 * PAGE, 5, "PROT_NONE memory read through /proc/PID/mem");
	close(fd);

	MUST(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	MUST(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status),
	      "the other process does not stop");
	for (size_t off = 0; off < LEN; off += 16 * PAGE) {
		errno = 0;
		uint64_t v = ptrace(PTRACE_PEEKDATA, pid, pt + off + 8, NULL);

		CHECK(!errno && v == content_word(3, off / 8 + 1),
		      "PTRACE_PEEKDATA gives %#lx (%s)", (unsigned long)v, strerror(errno));
		MUST(ptrace(PTRACE_POKEDATA, pid, pt + off + PAGE, off));
	}
	MUST(ptrace(PTRACE_DETACH, pid, NULL, NULL));
}

int main(int argc, char **argv)
{
	char *unread;
	pid_t pid;
	int fds[2];
	char c;

	prog_init(argc, argv);
	vm = map_content(LEN, 1);
	mem = map_content(LEN, 2);
	pt = map_content(LEN, 3);
	poked = map_content(LEN, 4);
	ro = map_content(LEN, 5);
	unread = map_content(LEN, 6);
	MUST(mprotect(ro, LEN, PROT_NONE));
	MUST(pipe(fds));
	pid = MUST(fork());
	if (!pid) {
		/* Drops what it has of these, so that all must come from the other process. */
		for (int i = 0; i < 5; i++)
			MUST(madvise((char *[]){ vm, mem, pt, poked, ro }[i], LEN, MADV_DONTNEED));
		prog_wait();
		look_from_outside(getppid());
		MUST(write(fds[1], "", 1));
		_exit(0);
	}
	prog_ready();
	MUST(read(fds[0], &c, 1));
	wait_child(pid, "the process that looks");
	CHECK_CONTENT(vm, LEN, 1, "after process_vm_readv");
	CHECK_CONTENT(mem, LEN, 2, "after reads of /proc/PID/mem");
	CHECK_CONTENT(poked, LEN / 2, 50, "what process_vm_writev wrote");
	CHECK_CONTENT_AT(poked, LEN / 2, LEN / 2, 4, "behind what process_vm_writev wrote");
	for (size_t off = 0; off < LEN; off += 16 * PAGE) {
		CHECK(*(uint64_t *)(pt + off + PAGE) == off,
		      "what ptrace wrote at %#zx is not there", off);
		CHECK_CONTENT_AT(pt, off, PAGE, 3, "before what ptrace wrote");
		CHECK_CONTENT_AT(pt, off + PAGE + 8, 15 * PAGE - 8, 3, "behind what ptrace wrote");
	}
	MUST(mprotect(ro, LEN, PROT_READ));
	CHECK_CONTENT(ro, LEN, 5, "what was PROT_NONE");
	CHECK_CONTENT(unread, LEN, 6, "what nobody read");
	prog_pass();
}
