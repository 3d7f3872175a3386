// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/atomic.h>

#include "stats.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static atomic_long_t mitosis_stats[__MITOSIS_STAT_MAX];

void mitosis_stat_add(enum mitosis_stat stat, long n)
{
	atomic_long_add(n, &mitosis_stats[stat]);
}

u64 mitosis_stat_get(enum mitosis_stat stat)
{
	return atomic_long_read(&mitosis_stats[stat]);
}
