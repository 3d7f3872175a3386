/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Destination: reads pages of a snapshot to its link's cache before there is a process that they
 * are for.
 */
#ifndef MITOSIS_FILL_H
#define MITOSIS_FILL_H

#include <linux/types.h>

#include "mitosis.h"

struct link;

/*
 * Reads what @runs have of @regions, both ascending, and returns when it is here; *npages of them
 * are then. Without memory it leaves out some, as it does what the source cannot read. -EINVAL: a
 * page is in no region; -EAGAIN: nothing has come for a while; -EINTR; -ENOLINK.
 */
int fill(struct link *link, u32 mm, const struct mitosis_run *runs, unsigned int nruns,
	 const struct mitosis_region *regions, unsigned int nregions, u64 *npages);

#endif
