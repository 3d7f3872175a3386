// SPDX-License-Identifier: MIT
#include "images/runs.h"

#include <errno.h>
#include <stdlib.h>

#define RUNS_FIRST	64	/* a power of two, as all later sizes are */

int runs_append(struct mitosis_run **runs, size_t *n, uint64_t start, uint64_t npages)
{
	struct mitosis_run *more;

	if (*n) {
		struct mitosis_run *last = &(*runs)[*n - 1];

		if (last->start + last->npages * 4096 == start) {
			last->npages += npages;
			return 0;
		}
	}
	if (!*n || (*n >= RUNS_FIRST && !(*n & (*n - 1)))) {
		more = reallocarray(*runs, *n ? 2 * *n : RUNS_FIRST, sizeof(*more));
		if (!more)
			return -ENOMEM;
		*runs = more;
	}
	(*runs)[(*n)++] = (struct mitosis_run){ start, npages };
	return 0;
}
