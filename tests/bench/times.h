/* SPDX-License-Identifier: MIT */
/* How long something took, many times. */
#ifndef TIMES_H
#define TIMES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t times_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static inline int times_compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Sorts @took. */
static inline const char *times_text(uint64_t *took, size_t n)
{
	static char text[128];
	uint64_t sum = 0;

	qsort(took, n, sizeof(*took), times_compare);
	for (size_t i = 0; i < n; i++)
		sum += took[i];
	snprintf(text, sizeof(text), "min %lu, median %lu, mean %lu ns", took[0], took[n / 2],
		 sum / n);
	return text;
}

#endif
