/* SPDX-License-Identifier: MIT */
/*
 * The last step of a dump: the tasks still stand still, and CRIU's images are complete. criu runs
 * mitosis-dump-finish for it, as the first of its post-dump scripts.
 */
#ifndef MITOSIS_FINISH_H
#define MITOSIS_FINISH_H

#include <stddef.h>
#include <stdint.h>

#define MITOSIS_FINISH_PROGRAM	"mitosis-dump-finish"

/*
 * For a snapshot of processes that run on at once, MITOSIS_SNAPSHOT in the environment of criu: it
 * is taken there, criu's dump fails then, which lets them go on, and the file has a line "PID MM"
 * for each of them, if it was taken of all.
 */
#define MITOSIS_TAKEN_NAME	"mitosis-taken"

struct mitosis;
struct mitosis_image;

struct mitosis_finish {
	uint64_t snapshot;
	uint64_t pages;		/* held at the source */
	uint64_t inherited;	/* besides, by earlier snapshots */
	uint64_t mms;
};

/*
 * Takes the pages of all lazy runs of the pagemap images in dirfd, seals the snapshot and completes
 * mitosis.img. The pagemap images move into it, so that a restore without the plugin fails instead
 * of giving zeros. Takes nothing when that is done already. info may be NULL. 0, or a negative
 * errno with a sentence in err: call mitosis_dump_abandon() then.
 */
int mitosis_dump_finish(struct mitosis *ctl, int dirfd, struct mitosis_finish *info, char *err,
			size_t errlen);

/* Seals the snapshot of @img, and completes @img as to memory. */
int mitosis_seal(struct mitosis *ctl, struct mitosis_image *img, char *err, size_t errlen);

/*
 * Lets go of the memory and makes the images unusable: mitosis.img goes, and each pagemap-N.img
 * that needs it. snapshot 0 stands for the one in mitosis.img.
 */
void mitosis_dump_abandon(struct mitosis *ctl, int dirfd, uint64_t snapshot);

#endif /* MITOSIS_FINISH_H */
