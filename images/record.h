/* SPDX-License-Identifier: MIT */
/*
 * mitosis-record.img: which pages children of a snapshot have touched, to be read before they are
 * touched the next time. It lies beside mitosis.img, or does not. Text:
 *
 *	mitosis record 1 SNAPSHOT
 *	PID START NPAGES
 *	...
 *
 * one line a run: the process as CRIU's images name it, its first byte, how many pages. PID and
 * NPAGES are decimal, the others hexadecimal; ascending for one PID after the other.
 *
 * Returns and err as in mitosis_image.h.
 */
#ifndef MITOSIS_RECORD_H
#define MITOSIS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "mitosis.h"

#define RECORD_NAME	"mitosis-record.img"
#define RECORD_MAX_LEN	(16U << 20)	/* bytes of a file */

struct record_run {
	uint32_t pid;
	struct mitosis_run run;
};

struct record {
	uint64_t snapshot;
	struct record_run *runs;	/* owned */
	size_t nruns, room;
	uint64_t npages;
};

/* -ENOMEM */
int record_add(struct record *r, uint32_t pid, const struct mitosis_run *runs, size_t nruns);
void record_free(struct record *r);

/* The text, NUL-terminated and the caller's; NULL: no memory. */
char *record_format(const struct record *r);
/* -EINVAL: it is none. *r is the caller's to free, unless it fails. */
int record_parse(const char *text, struct record *r, char *err, size_t errlen);

/*
 * The file in the image directory dirfd. -ENOENT: there is none. -EINVAL: it is none, or of another
 * snapshot.
 */
int record_read(int dirfd, uint64_t snapshot, struct record *r, char *err, size_t errlen);

#endif /* MITOSIS_RECORD_H */
