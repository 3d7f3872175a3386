/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef MITOSIS_STATS_H
#define MITOSIS_STATS_H

#include <linux/atomic.h>

#include "mitosis.h"

/* Faults by how long they waited: MITOSIS_A_LATENCY. */
struct latency {
	atomic_long_t faults[MITOSIS_LATENCY_MAX];
};

extern struct latency mitosis_latency;	/* of all */

/* Any context. */
void mitosis_stat_add(enum mitosis_stat stat, long n);
u64 mitosis_stat_get(enum mitosis_stat stat);
/* A fault has waited @ns: into @l and into that of all. Any context. */
void mitosis_latency_add(struct latency *l, u64 ns);

#endif
