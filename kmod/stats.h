/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef MITOSIS_STATS_H
#define MITOSIS_STATS_H

#include "mitosis.h"

/* Any context. */
void mitosis_stat_add(enum mitosis_stat stat, long n);
u64 mitosis_stat_get(enum mitosis_stat stat);

#endif
