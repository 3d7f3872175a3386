/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Destination: pages that are read before they are touched, and the record of those that have been
 * touched.
 *
 * A record belongs to a link and an address space: one bit a page, for all processes here that note
 * in it (MITOSIS_ATTACH_F_RECORD).
 */
#ifndef MITOSIS_PREFETCH_H
#define MITOSIS_PREFETCH_H

#include <linux/types.h>

#include "mitosis.h"

struct attach;
struct link;
struct link_mm;
struct mm_struct;
struct pager_read;
struct prefetch_record;
struct vm_area_struct;
struct work_struct;

/* What ATTACH_ARM says of an address space. */
struct pager_policy {
	u32 flags;			/* MITOSIS_ATTACH_F_* */
	enum mitosis_prefetch prefetch;
	unsigned int window;		/* pages, a power of two */
};

struct prefetch {
	enum mitosis_prefetch policy;
	unsigned int window;
	struct prefetch_record *record;	/* notes here; NULL: does not */
	/* attach->lock, as the next two; sequential: pages that the latest one read */
	unsigned int size;
	u64 from, end;			/* and which */
	struct mitosis_run *runs;	/* recorded: what is to be read; the worker's */
	unsigned long nruns;
};

/* For a process that is not armed yet. -ENOMEM. */
int prefetch_setup(struct attach *at, const struct pager_policy *policy,
		   const struct list_head *lms);
void prefetch_fork(struct attach *at, const struct attach *from);
void prefetch_free(struct attach *at);
/* Begins to read what is recorded, if it is to. */
void prefetch_begin(struct attach *at);
void prefetch_work(struct work_struct *work);

/* As pager_read_start(), of page @pg and of what the policy reads with it. */
struct pager_read *prefetch_read(struct attach *at, u64 pg, unsigned long addr);
/*
 * Without a cache what has come with page @pg goes into @vma, which has @pg at @addr. mmap lock
 * held for writing.
 */
void prefetch_install(struct attach *at, struct vm_area_struct *vma, unsigned long addr,
		      struct pager_read *pr, u64 pg);
/* Page @pg has been touched. Any context. */
void prefetch_note(struct attach *at, u64 pg);

/*
 * The next run at or after page *pg of the @index-th record of the link, and whose it is; false:
 * there is none. Sleeps.
 */
bool prefetch_recorded(struct link *link, unsigned long index, u32 *mm, u64 *pg,
		       struct mitosis_run *run);
void prefetch_forget(struct link *link);

#endif
