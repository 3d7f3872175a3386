/* SPDX-License-Identifier: MIT */
/*
 * The last step of a dump, with the tasks still frozen and CRIU's images complete. A migration takes it in the
 * post-dump step, in a process of its own; otherwise the plugin does when CRIU says goodbye.
 */
#ifndef MITOSIS_FINISH_H
#define MITOSIS_FINISH_H

#include <stddef.h>
#include <stdint.h>

struct mitosis;

struct mitosis_finish {
	uint64_t snapshot;
	uint64_t pages;		/* held at the source */
	uint64_t mms;
};

/*
 * Takes the pages of all lazy runs of the pagemap images in dirfd, seals the snapshot and completes mitosis.img. The pagemap images
 * go into it: a restore without the plugin fails instead of giving zeros. Does nothing when that is done already. info may be NULL. 0 or a
 * negative errno with a sentence in err; the images are as before then.
 */
int mitosis_dump_finish(struct mitosis *ctl, int dirfd, struct mitosis_finish *info, char *err,
			size_t errlen);

#endif
