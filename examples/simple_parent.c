// SPDX-License-Identifier: MIT
/*
 * Counts, can be forked from other machines when it has come to 10, and counts on. See
 * simple_child.c.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mitosis/mitosis.h>

#define HANDLER_ID 73

int main(void)
{
	const char *who = "parent";

	for (int i = 0; ; i++) {
		printf("%s: %d\n", who, i);
		fflush(stdout);
		if (i == 10) {
			int ret = mitosis_fork_prepare(HANDLER_ID, 0);

			if (ret < 0) {
				fprintf(stderr, "no snapshot can be taken: %s\n", strerror(-ret));
				return 1;
			}
			if (ret == 1)
				who = "child";
		}
		usleep(200000);
	}
}
