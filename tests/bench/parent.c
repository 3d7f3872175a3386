// SPDX-License-Identifier: MIT
/*
 * A parent of MB megabytes, and what becomes of it as a child.
 *
 *	parent MB STEP MODE	one page in STEP has content; MODE:
 *	  fork			says what fork() costs: "fork: NS"
 *	  register		says what it costs to register its memory with rxe0: "register: NS"
 *	  parent		runs on. From when parent.go exists it says what gaps it has seen in
 *				its life: "gap NS", the largest last
 *
 * A child reads as many pages as $TEST_DIR/parent.work says, in a random order, and writes to one
 * in eight. When it has found them right it writes "bench: answer" to the file that parent.work
 * names next. It then sleeps.
 */
#include "tests/vm/prog/prog.h"
#include <infiniband/verbs.h>

static char *memory;
static size_t pages, step;

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static uint64_t *word_of(size_t i)
{
	return (uint64_t *)(memory + i * step * PAGE);
}

/* The child of the fork() is there until the clock has been read. */
static long fork_ns(void)
{
	int wait[2];
	pid_t pid;
	long begin, end;

	MUST(pipe(wait));
	begin = now_ns();
	pid = MUST(fork());
	end = now_ns();
	if (!pid) {
		close(wait[1]);
		if (read(wait[0], &begin, 1))
			_exit(1);
		_exit(0);
	}
	close(wait[0]);
	close(wait[1]);
	wait_child(pid, "the fork");
	return end - begin;
}

static long register_ns(void)
{
	struct ibv_device **devices = ibv_get_device_list(NULL);
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	long begin, end;

	while (devices && *devices && strcmp(ibv_get_device_name(*devices), "rxe0"))
		devices++;
	CHECK(devices && *devices, "there is no device rxe0");
	context = ibv_open_device(*devices);
	pd = context ? ibv_alloc_pd(context) : NULL;
	CHECK(pd, "rxe0 cannot be opened: %s", strerror(errno));
	begin = now_ns();
	mr = ibv_reg_mr(pd, memory, pages * step * PAGE, IBV_ACCESS_REMOTE_READ);
	end = now_ns();
	CHECK(mr, "the memory cannot be registered: %s", strerror(errno));
	ibv_dereg_mr(mr);
	return end - begin;
}

static _Noreturn void be_child(void)
{
	char path[300], mark[128] = "", answer[] = "bench: answer";
	size_t work = 0;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "%.*s.work", (int)(strrchr(prog_go, '.') - prog_go), prog_go);
	f = fopen(path, "r");
	CHECK(f && fscanf(f, "%zu %127s", &work, mark) == 2, "%s does not say what to do", path);
	fclose(f);
	for (size_t i = 0; i < work; i++) {
		/* an odd step through a power of two visits each page once */
		size_t page = (i * 2654435761UL) % pages;
		uint64_t *word = word_of(page);

		CHECK(*word == content_word(1, page),
		      "page %zu of a child has another content: %#lx", page, *word);
		if (i % 8 == 0)
			word[1] = 1;
	}
	if (work) {
		fd = MUST(open(mark, O_WRONLY));
		MUST(write(fd, answer, sizeof(answer) - 1));
		close(fd);
	}
	for (;;)
		pause();
}

static _Noreturn void be_parent(void)
{
	long last = 0, now, gap, largest = 0;

	say("ready %d", (int)getpid());
	for (;;) {
		prog_sleep_ms(1);
		if (!access("/run/mitosis-child/index", F_OK))
			be_child();
		now = now_ns();
		gap = last ? now - last : 0;
		last = prog_may_go() ? now : 0;
		if (gap <= largest)
			continue;
		largest = gap;
		say("gap %ld", gap);
		/* what saying it takes is no gap */
		last = now_ns();
	}
}

int main(int argc, char **argv)
{
	size_t mb = argc > 3 ? strtoul(argv[1], NULL, 10) : 0;

	prog_init(argc, argv);
	step = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
	CHECK(mb && step, "usage: parent MB STEP fork|register|parent");
	pages = mb * MB / PAGE / step;
	memory = map_anon(NULL, mb * MB, PROT_READ | PROT_WRITE);
	MUST(madvise(memory, mb * MB, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < pages; i++)
		*word_of(i) = content_word(1, i);
	if (!strcmp(argv[3], "parent"))
		be_parent();
	if (!strcmp(argv[3], "fork"))
		say("fork: %ld", fork_ns());
	else
		say("register: %ld", register_ns());
	prog_pass();
}
