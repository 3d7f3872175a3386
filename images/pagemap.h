/* SPDX-License-Identifier: MIT */
/*
 * CRIU's pagemap-N.img: which pages of process N are in its images (PE_PRESENT), in a parent's
 * images (PE_PARENT), or neither, because they can be read from the source (PE_LAZY alone).
 *
 * Returns and err as in mitosis_image.h.
 */
#ifndef MITOSIS_PAGEMAP_H
#define MITOSIS_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mitosis.h"

#define PAGEMAP_NAME_LEN	32	/* bytes, for pagemap_name() */

/*
 * The runs of pages that are PE_LAZY alone, neighbours merged. *runs is the caller's; NULL when
 * there is none.
 */
int pagemap_lazy_runs(const void *buf, size_t len, struct mitosis_run **runs, size_t *nruns,
		      char *err, size_t errlen);

/*
 * The same file without these entries, which a restore without --lazy-pages can read. *out is the
 * caller's. -ENODATA when no entry would be left, as CRIU can not restore that.
 */
int pagemap_strip(const void *buf, size_t len, void **out, size_t *outlen, char *err,
		  size_t errlen);

/* pagemap-PID.img and back; pagemap_name_pid() gives 0 for any other name. */
void pagemap_name(uint32_t pid, char name[PAGEMAP_NAME_LEN]);
uint32_t pagemap_name_pid(const char *name);

#endif /* MITOSIS_PAGEMAP_H */
