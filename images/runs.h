/* SPDX-License-Identifier: MIT */
/* Arrays of runs of pages that grow. */
#ifndef MITOSIS_RUNS_H
#define MITOSIS_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "mitosis.h"

/*
 * Puts @npages pages from @start on behind the last of the @n runs; those that go on where it ends
 * become part of it. *runs is NULL or has grown in here, and is the caller's to free. -ENOMEM.
 */
int runs_append(struct mitosis_run **runs, size_t *n, uint64_t start, uint64_t npages);

/*
 * Takes what is in the @nless runs of less out of the *n ones of *runs, both ascending. -ENOMEM:
 * they are as they were.
 */
int runs_subtract(struct mitosis_run **runs, size_t *n, const struct mitosis_run *less,
		  size_t nless);

#endif /* MITOSIS_RUNS_H */
