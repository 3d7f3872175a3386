/* SPDX-License-Identifier: MIT */
/*
 * mitosis.img, the descriptor of a dump whose memory stays at its source.
 *
 * Functions return 0 or a negative errno; on an error they put one sentence without a final newline
 * into err (errlen bytes, never NULL or 0). Nothing here is thread-safe on one and the same object.
 */
#ifndef MITOSIS_IMAGE_H
#define MITOSIS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mitosis.h"

#define MITOSIS_IMAGE_NAME	"mitosis.img"
#define MITOSIS_IMAGE_VERSION	4U
#define MITOSIS_IMAGE_MAX_LEN	(64U << 20)	/* bytes of a file */
#define MITOSIS_IMAGE_MAX_ADDRS	16
#define MITOSIS_IMAGE_MAX_MMS	65536
#define MITOSIS_IMAGE_MAX_RUNS	(16U << 20)	/* all runs of lazy pages of a file; 256 MiB here */
#define MITOSIS_IMAGE_TRANSPORT	8		/* bytes of a name, final NUL included */
#define MITOSIS_IMAGE_MAX_HOST	256		/* bytes, final NUL included */

/* First byte that no process of x86-64 can map, five-level page tables included. */
#define MITOSIS_IMAGE_ADDR_END	((1ULL << 56) - 4096)

enum mitosis_image_state {
	MITOSIS_IMAGE_OPEN = 1,
	MITOSIS_IMAGE_SEALED = 2,
	MITOSIS_IMAGE_PRECOPY = 3,
};

/* Pages at one source. Arrays are owned. */
struct mitosis_image_pages {
	/* what a restore reads: ascending, not adjacent, each page in a region */
	struct mitosis_run *runs;
	size_t nruns;
	struct mitosis_region *regions;	/* ascending, not overlapping */
	size_t nregions;
};

/* Pages of one parent that the process had not got yet when it was dumped. */
struct mitosis_image_inherited {
	size_t parent;			/* index into image->parents */
	struct mitosis_image_pages pages;
};

/* Another snapshot that pages come from. */
struct mitosis_image_parent {
	uint64_t snapshot;
	uint8_t key[MITOSIS_KEY_LEN];
	/* empty: dct where there is a dct, and else rc */
	char transport[MITOSIS_IMAGE_TRANSPORT];
	bool insecure;			/* over tcp, unencrypted */
	uint16_t port;
	char *addr;			/* numeric, but for people where there is a dct; owned */
	struct mitosis_dct dct;		/* number 0: none, but address and port */
};

struct mitosis_image_mm {
	uint32_t pid;			/* as CRIU's images name the process: N of pagemap-N.img */
	struct mitosis_image_pages pages;
	/* pagemap-N.img without lazy pages; owned; NULL but in a sealed image */
	uint8_t *pagemap;
	size_t pagemap_len;		/* bytes */
	struct mitosis_image_inherited *inherited;	/* at most one of each parent; owned */
	size_t ninherited;
};

struct mitosis_image {
	enum mitosis_image_state state;
	uint64_t snapshot;
	uint8_t key[MITOSIS_KEY_LEN];
	uint16_t port;
	/* MITOSIS_HOLD_F_*, MITOSIS_F_INSECURE: over tcp, unencrypted */
	uint32_t flags;
	/* empty: dct where there is a dct, and else rc */
	char transport[MITOSIS_IMAGE_TRANSPORT];
	uint64_t created;		/* seconds since 1970; 0: not recorded */
	char *host;			/* name of the source; NULL: not recorded; owned */
	char **addrs;			/* numeric ones of the source, by preference; owned */
	size_t naddrs;
	struct mitosis_dct dct;		/* instead of addresses; number 0: none */
	struct mitosis_image_mm *mms;	/* ascending by pid; owned */
	size_t nmms;
	struct mitosis_image_parent *parents;	/* owned */
	size_t nparents;
};

/* An empty image in state OPEN, or NULL. */
struct mitosis_image *mitosis_image_new(void);
void mitosis_image_free(struct mitosis_image *img);

/* The name of that over which the source offers it. */
const char *mitosis_image_transport(const struct mitosis_image *img);

/* Copies addr; -ENOMEM otherwise. */
int mitosis_image_add_addr(struct mitosis_image *img, const char *addr);

/*
 * Puts an empty mm in its place; NULL without memory or when pid is there already (errno says
 * which).
 */
struct mitosis_image_mm *mitosis_image_add_mm(struct mitosis_image *img, uint32_t pid);

/*
 * The one of this snapshot, put there first if need be; NULL without memory. Pointers to others of
 * the same array go stale.
 */
struct mitosis_image_inherited *
mitosis_image_add_inherited(struct mitosis_image *img, struct mitosis_image_mm *mm,
			    const struct mitosis_image_parent *parent);
struct mitosis_image_mm *mitosis_image_find_mm(const struct mitosis_image *img, uint32_t pid);

/* How many pages there are to be read of this snapshot, and of those that it inherits from. */
uint64_t mitosis_image_npages(const struct mitosis_image *img);
uint64_t mitosis_image_ninherited(const struct mitosis_image *img);
/* Leaves what is this snapshot's own. */
void mitosis_image_drop_inherited(struct mitosis_image *img);

/*
 * Looks at everything that can be judged without the source: numbers, order, limits, and that
 * each page which is to be read is in a region. -EINVAL with the
 * first fault found.
 */
int mitosis_image_check(const struct mitosis_image *img, char *err, size_t errlen);

/* Bytes of a file to a checked image and back. *img and *buf are the caller's. */
int mitosis_image_parse(const void *buf, size_t len, struct mitosis_image **img, char *err,
			size_t errlen);
int mitosis_image_format(const struct mitosis_image *img, void **buf, size_t *len, char *err,
			 size_t errlen);

/*
 * The file in the image directory dirfd. Writing checks first and replaces at once, so that a
 * reader finds the old file or the new one; a sealed one outlasts a power cut. Reading: -ENOENT
 * when there is none.
 */
int mitosis_image_read(int dirfd, struct mitosis_image **img, char *err, size_t errlen);
int mitosis_image_write(int dirfd, const struct mitosis_image *img, char *err, size_t errlen);
int mitosis_image_remove(int dirfd);

/*
 * Whole regular files of an image directory, as above; symbolic links are not followed. With sync
 * what is written outlasts a power cut.
 */
int mitosis_file_read(int dirfd, const char *name, size_t max, void **buf, size_t *len, char *err,
		      size_t errlen);
int mitosis_file_write(int dirfd, const char *name, const void *buf, size_t len, bool sync,
		       char *err, size_t errlen);

#endif /* MITOSIS_IMAGE_H */
