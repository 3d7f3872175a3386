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

int runs_subtract(struct mitosis_run **runs, size_t *n, const struct mitosis_run *less,
		  size_t nless)
{
	struct mitosis_run *left = NULL;
	size_t nleft = 0, i, j = 0;
	int ret = 0;

	for (i = 0; i < *n && !ret; i++) {
		uint64_t at = (*runs)[i].start, end = at + (*runs)[i].npages * 4096;

		while (j < nless && less[j].start + less[j].npages * 4096 <= at)
			j++;
		/* one that reaches beyond the end is for the next run, too */
		while (at < end && !ret) {
			uint64_t from = j < nless && less[j].start < end ? less[j].start : end;

			if (at < from)
				ret = runs_append(&left, &nleft, at, (from - at) / 4096);
			if (from == end)
				break;
			at = less[j].start + less[j].npages * 4096;
			if (at <= end)
				j++;
		}
	}
	if (ret) {
		free(left);
		return ret;
	}
	free(*runs);
	*runs = left;
	*n = nleft;
	return 0;
}
