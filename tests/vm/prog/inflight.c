// SPDX-License-Identifier: MIT
/*
 * Reads that go past the page cache, under way at any time, into one half of pages whose other half
 * is written to meanwhile. The device writes to the page that it was given: one that has been
 * copied on write since is another one.
 *
 *	inflight direct		pread() with O_DIRECT, in a thread
 *	inflight aio		io_submit()
 *	inflight uring
 *	inflight file		only makes the file, which a child needs where it is
 */
#include "uring.h"
#include <linux/aio_abi.h>

#define FILE_NAME "/root/inflight.data"
#define NPAGES 4
#define HALF (PAGE / 2)
/* After it may go: whatever was read before has been looked at by then. */
#define ROUNDS 20

static char *area, *content;
static atomic_bool stop;

static void file_make(void)
{
	int fd = MUST(open(FILE_NAME ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600));

	CHECK(write(fd, content, NPAGES * PAGE) == (ssize_t)(NPAGES * PAGE), "write: %s",
	      strerror(errno));
	MUST(fsync(fd));
	close(fd);
	MUST(rename(FILE_NAME ".new", FILE_NAME));
}

/* Writes beside what is read. */
static void scribble(unsigned int round)
{
	for (size_t i = 0; i < NPAGES; i++)
		memset(area + i * PAGE, round, HALF);
}

static void *scribbler(void *arg)
{
	for (unsigned int round = 0; !stop; round++) {
		scribble(round);
		prog_sleep_ms(1);
	}
	return NULL;
}

static char *lower(int page)
{
	return area + page * PAGE + HALF;
}

static void forget(void)
{
	for (int i = 0; i < NPAGES; i++)
		memset(lower(i), 0xee, HALF);
}

static void look(unsigned long round)
{
	for (int i = 0; i < NPAGES; i++)
		CHECK(!memcmp(lower(i), content + i * PAGE, HALF),
		      "round %lu: what was read into page %d is not there: %#x", round, i,
		      *(unsigned char *)lower(i));
}

static void read_direct(int fd)
{
	for (int i = 0; i < NPAGES; i++)
		CHECK(pread(fd, lower(i), HALF, i * PAGE) == (ssize_t)HALF, "O_DIRECT read: %s",
		      strerror(errno));
}

static aio_context_t aio;

static void read_aio(int fd)
{
	static struct iocb cb[NPAGES];
	struct io_event event[NPAGES];
	struct iocb *cbs[NPAGES];
	static unsigned int round;
	long got = 0, n;

	for (int i = 0; i < NPAGES; i++) {
		cb[i] = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD,
				       .aio_fildes = fd,
				       .aio_buf = (uintptr_t)lower(i),
				       .aio_nbytes = HALF,
				       .aio_offset = i * PAGE };
		cbs[i] = &cb[i];
	}
	CHECK(syscall(SYS_io_submit, aio, NPAGES, cbs) == NPAGES, "io_submit: %s", strerror(errno));
	while (got < NPAGES) {
		scribble(round++);
		n = syscall(SYS_io_getevents, aio, 1, NPAGES - got, event + got,
			    &(struct timespec){ 0, 2000000 });
		got += n > 0 ? n : 0;
	}
	for (int i = 0; i < NPAGES; i++)
		CHECK(event[i].res == (long)HALF, "io_getevents: a read gives %lld",
		      (long long)event[i].res);
}

static void read_uring(int fd)
{
	for (int i = 0; i < NPAGES; i++) {
		int n = ring_do(IORING_OP_READ, fd, lower(i), HALF, i * PAGE, 0, 0);

		CHECK(n == (int)HALF, "io_uring read gives %d", n);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "direct";
	void (*read)(int fd) = read_direct;
	unsigned long round = 0, last = 0;
	pthread_t t;
	int fd;

	prog_init(argc, argv);
	area = map_content(NPAGES * PAGE, 1);
	content = map_content(NPAGES * PAGE, 2);
	file_make();
	if (!strcmp(mode, "file"))
		return 0;
	fd = MUST(open(FILE_NAME, O_RDONLY | O_DIRECT));
	if (!strcmp(mode, "aio")) {
		MUST(syscall(SYS_io_setup, NPAGES, &aio));
		read = read_aio;
	} else {
		if (!strcmp(mode, "uring")) {
			ring_setup();
			read = read_uring;
		}
		CHECK(!pthread_create(&t, NULL, scribbler, NULL), "no thread");
	}
	say("ready %d", (int)getpid());
	while (!last || round < last) {
		forget();
		read(fd);
		look(round++);
		if (!last && prog_may_go())
			last = round + ROUNDS;
	}
	if (aio) {
		MUST(syscall(SYS_io_destroy, aio));
	} else {
		stop = true;
		pthread_join(t, NULL);
	}
	if (ring)
		ring_end();
	if (prog_now)
		unlink(FILE_NAME);
	prog_pass();
}
