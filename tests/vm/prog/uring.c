// SPDX-License-Identifier: MIT
/*
 * io_uring started while memory is lazy: plain, by worker threads, and with registered (pinned)
 * buffers.
 */
#include "uring.h"
#include <sys/uio.h>

#define LEN (64 * PAGE)

int main(int argc, char **argv)
{
	char path[300], *out, *in, *async_out, *async_in, *fixed;
	struct iovec iov;
	int fd, n;

	prog_init(argc, argv);
	out = map_content(LEN, 1);
	in = map_content(LEN, 2);
	async_out = map_content(LEN, 3);
	async_in = map_content(LEN, 4);
	fixed = map_content(LEN, 5);
	snprintf(path, sizeof(path), "%s.tmp", prog_log);
	prog_ready();

	ring_setup();
	fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
	unlink(path);
	n = ring_do(IORING_OP_WRITE, fd, out, LEN, 0, 0, 0);
	CHECK(n == (int)LEN, "io_uring write gives %d", n);
	n = ring_do(IORING_OP_READ, fd, in, LEN, 0, 0, 0);
	CHECK(n == (int)LEN, "io_uring read gives %d", n);
	CHECK_CONTENT(in, LEN, 1, "written and read by io_uring");
	n = ring_do(IORING_OP_WRITE, fd, async_out, LEN, LEN, IOSQE_ASYNC, 0);
	CHECK(n == (int)LEN, "io_uring write by a worker gives %d", n);
	n = ring_do(IORING_OP_READ, fd, async_in, LEN, LEN, IOSQE_ASYNC, 0);
	CHECK(n == (int)LEN, "io_uring read by a worker gives %d", n);
	CHECK_CONTENT(async_in, LEN, 3, "written and read by io_uring's worker");

	iov = (struct iovec){ fixed, LEN };
	CHECK(!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1),
	      "a buffer that is not here cannot be registered: %s", strerror(errno));
	n = ring_do(IORING_OP_WRITE_FIXED, fd, fixed, LEN, 0, 0, 0);
	CHECK(n == (int)LEN, "io_uring write of a registered buffer gives %d", n);
	CHECK(pread(fd, in, LEN, 0) == (ssize_t)LEN, "read: %s", strerror(errno));
	CHECK_CONTENT(in, LEN, 5, "written from a registered buffer");
	/*
	 * The pinned pages must be the process's own: what is read into them is seen, what it
	 * writes is written.
	 */
	n = ring_do(IORING_OP_READ_FIXED, fd, fixed, LEN / 2, LEN, 0, 0);
	CHECK(n == (int)LEN / 2, "io_uring read into a registered buffer gives %d", n);
	CHECK_CONTENT(fixed, LEN / 2, 3, "read into a registered buffer");
	CHECK_CONTENT_AT(fixed, LEN / 2, LEN / 2, 5,
			 "behind what was read into a registered buffer");
	content_fill(fixed, LEN, 6);
	n = ring_do(IORING_OP_WRITE_FIXED, fd, fixed, LEN, 0, 0, 0);
	CHECK(n == (int)LEN && pread(fd, in, LEN, 0) == (ssize_t)LEN, "io_uring write gives %d", n);
	CHECK_CONTENT(in, LEN, 6, "written from a registered buffer that was changed");
	ring_end();
	prog_pass();
}
