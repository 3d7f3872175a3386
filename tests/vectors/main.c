// SPDX-License-Identifier: MIT
/*
 * Reads a trace of the modelled ConnectX: prints its objects with names, or compares those of two
 * parts of it.
 */
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

static void usage(void)
{
	fprintf(stderr, "usage: mlx5-vectors print TRACE\n"
			"       mlx5-vectors compare TRACE STOCK MITOSIS DIFFERENCES KERNEL\n"
			"STOCK and MITOSIS are parts of the trace: the bytes FROM-TO\n");
	exit(2);
}

static FILE *open_or_end(const char *name)
{
	FILE *f = fopen(name, "r");

	if (!f) {
		fprintf(stderr, "mlx5-vectors: %s cannot be read (%m): name a file that is there\n",
			name);
		exit(2);
	}
	return f;
}

static struct vec_range range_read(const char *text)
{
	struct vec_range r;

	if (sscanf(text, "%zu-%zu", &r.from, &r.to) != 2)
		usage();
	return r;
}

int main(int argc, char **argv)
{
	struct vec_trace t;
	char message[256];
	int wrong = 0;
	FILE *f;
	size_t i;

	if (argc < 3 || (strcmp(argv[1], "print") && (strcmp(argv[1], "compare") || argc != 7)))
		usage();
	f = open_or_end(argv[2]);
	if (vec_trace_read(f, &t, message, sizeof(message))) {
		fprintf(stderr, "mlx5-vectors: %s\n", message);
		exit(2);
	}
	fclose(f);
	if (!strcmp(argv[1], "print")) {
		for (i = 0; i < t.n; i++)
			if (t.records[i].kind != VEC_OTHER)
				vec_print(&t.records[i], stdout);
	} else {
		f = open_or_end(argv[5]);
		wrong = vec_compare(&t, range_read(argv[3]), range_read(argv[4]), f, argv[6],
				    stdout);
		fclose(f);
	}
	vec_trace_free(&t);
	return wrong ? 1 : 0;
}
