// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/bitops.h>
#include <linux/export.h>
#include <linux/minmax.h>

#include "stats.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static atomic_long_t mitosis_stats[__MITOSIS_STAT_MAX];
struct latency mitosis_latency;

void mitosis_stat_add(enum mitosis_stat stat, long n)
{
	atomic_long_add(n, &mitosis_stats[stat]);
}
EXPORT_SYMBOL_GPL(mitosis_stat_add);

u64 mitosis_stat_get(enum mitosis_stat stat)
{
	return atomic_long_read(&mitosis_stats[stat]);
}

void mitosis_latency_add(struct latency *l, u64 ns)
{
	int i = min(fls64(ns), MITOSIS_LATENCY_MAX - 1);

	atomic_long_inc(&l->faults[i]);
	atomic_long_inc(&mitosis_latency.faults[i]);
}
