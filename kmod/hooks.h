/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Sees MADV_DONTNEED and mremap() before they act on an armed mapping, which no VMA operation and
 * no MMU notifier tells apart from harmless events: a function entry hook on
 * zap_page_range_single() and move_page_tables().
 */
#ifndef MITOSIS_HOOKS_H
#define MITOSIS_HOOKS_H

#include <linux/types.h>

int hooks_init(void);
void hooks_exit(void);

/* Watches the calling thread until both hooks have been seen to fire in it. */
void hooks_selftest_begin(void);
/* Whether a self-test has passed since the module was loaded. */
bool hooks_ok(void);

#endif
