// SPDX-License-Identifier: MIT
/*
 * Reads more than its memory cgroup may have room for, twice; a child of it, which shares what it
 * has not read itself, does as well, with a thread that never stops reading. Then it waits until
 * its log has been joined by a file .again, looks once more, and writes a little.
 */
#include <pthread.h>

#include "prog.h"

#define LEN (12 * MB)

static char *area;
static volatile bool stop;

static void *read_on(void *arg)
{
	volatile char sum = 0;

	while (!stop)
		for (size_t i = 0; i < LEN; i += PAGE)
			sum += area[i];
	return NULL;
}

int main(int argc, char **argv)
{
	char again[300];
	pthread_t reader;
	int child;

	prog_init(argc, argv);
	snprintf(again, sizeof(again), "%s.again", prog_log);
	area = map_content(LEN, 1);
	prog_ready();
	for (int i = 0; i < 2; i++)
		CHECK_CONTENT(area, LEN, 1, "what is only read");
	child = MUST(fork());
	CHECK(!pthread_create(&reader, NULL, read_on, NULL), "no thread can be started");
	if (child)
		say("read");
	while (!prog_now && access(again, F_OK))
		prog_sleep_ms(20);
	CHECK_CONTENT(area, LEN, 1, "what was only read, later");
	stop = true;
	CHECK(!pthread_join(reader, NULL), "the thread does not end");
	content_fill(area, MB, 2);
	CHECK_CONTENT(area, MB, 2, "what it has written");
	CHECK_CONTENT_AT(area, MB, LEN - MB, 1, "the rest");
	if (!child)
		_exit(0);
	wait_child(child, "the child");
	prog_pass();
}
