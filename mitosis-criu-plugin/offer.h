/* SPDX-License-Identifier: MIT */
/* Where a source offers memory, and how a destination reaches it. */
#ifndef MITOSIS_OFFER_H
#define MITOSIS_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mitosis;
struct mitosis_image;

struct mitosis_offer {
	const char *transports;	/* "dct,rc"; NULL: the module's setting */
	const char *addr;	/* numeric; NULL: none is asked for */
	const char *name;	/* of the snapshot */
	bool insecure;		/* see MITOSIS_F_INSECURE */
	uint32_t lease;		/* seconds; 0: until released */
};

/*
 * Creates a snapshot, with the flags of @img, and writes down in @img what it is and where it is
 * found. 0, or a negative errno with a sentence in err: then there is no snapshot.
 */
int mitosis_offer(struct mitosis *ctl, struct mitosis_image *img, const struct mitosis_offer *offer,
		  char *err, size_t errlen);

/*
 * Opens a link to the source of @img, by the first of its addresses that it can be reached at. As
 * mitosis_link_open(), which -EEXIST is of, too; a sentence in err.
 */
int mitosis_reach(struct mitosis *ctl, const struct mitosis_image *img, uint32_t give_up, char *err,
		  size_t errlen);

#endif /* MITOSIS_OFFER_H */
