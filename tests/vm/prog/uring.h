/* SPDX-License-Identifier: MIT */
/* One io_uring, one request at a time. */
#ifndef URING_H
#define URING_H

#include <linux/io_uring.h>

#include "prog.h"

static struct io_uring_params params;
static unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
static struct io_uring_cqe *cqes;
static struct io_uring_sqe *sqes;
static char *sq;
static size_t sq_len = MB;
static int ring;

static void ring_setup(void)
{

	ring = syscall(SYS_io_uring_setup, 8, &params);
	CHECK(ring >= 0, "io_uring_setup: %s", strerror(errno));
	CHECK(params.features & IORING_FEAT_SINGLE_MMAP, "this kernel's io_uring is too old");
	sq = mmap(NULL, sq_len, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	if (sq == MAP_FAILED) {
		sq_len = PAGE;
		sq = mmap(NULL, sq_len, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
			  IORING_OFF_SQ_RING);
	}
	sqes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	CHECK(sq != MAP_FAILED && sqes != MAP_FAILED, "io_uring's rings cannot be mapped: %s",
	      strerror(errno));
	sq_tail = (void *)(sq + params.sq_off.tail);
	sq_mask = (void *)(sq + params.sq_off.ring_mask);
	sq_array = (void *)(sq + params.sq_off.array);
	cq_head = (void *)(sq + params.cq_off.head);
	cq_tail = (void *)(sq + params.cq_off.tail);
	cq_mask = (void *)(sq + params.cq_off.ring_mask);
	cqes = (void *)(sq + params.cq_off.cqes);
}

static int ring_do(int op, int fd, void *addr, size_t len, uint64_t off, int flags, int buf)
{
	unsigned int i = *sq_tail & *sq_mask;
	int res;

	sqes[i] = (struct io_uring_sqe){ .opcode = op,
					 .fd = fd,
					 .addr = (uintptr_t)addr,
					 .len = len,
					 .off = off,
					 .flags = flags,
					 .buf_index = buf };
	sq_array[i] = i;
	__atomic_store_n(sq_tail, *sq_tail + 1, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1,
	      "io_uring_enter: %s", strerror(errno));
	/* a debugger, or criu, that stops us ends a wait */
	while (__atomic_load_n(cq_tail, __ATOMIC_ACQUIRE) == *cq_head)
		CHECK(!syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) ||
			      errno == EINTR,
		      "io_uring_enter: %s", strerror(errno));
	res = cqes[*cq_head & *cq_mask].res;
	__atomic_store_n(cq_head, *cq_head + 1, __ATOMIC_RELEASE);
	return res;
}

static void ring_end(void)
{
	munmap(sq, sq_len);
	munmap(sqes, PAGE);
	close(ring);
}

#endif
