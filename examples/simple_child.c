// SPDX-License-Identifier: MIT
/*
 * simple_child NODE: becomes a child of the simple_parent that runs on NODE, and counts on from 11.
 */
#include <stdio.h>
#include <string.h>

#include <mitosis/mitosis.h>

#define HANDLER_ID 73

int main(int argc, char **argv)
{
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: %s NODE\n", argv[0]);
		return 2;
	}
	ret = mitosis_fork_resume(argv[1], HANDLER_ID, 0);
	fprintf(stderr, "no child can be started: %s\n", strerror(-ret));
	return 1;
}
