/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Source: the held pages of snapshots. A hold is made by one caller that adds address spaces and
 * pages, then sealed; from then on it does not change until it is released.
 */
#ifndef MITOSIS_HOLD_H
#define MITOSIS_HOLD_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>

#include "mitosis.h"
#include "transport.h"

struct pager_block;
struct task_struct;

/* Pages of one region, all in one block of 2 MiB; holes are the zero page. */
struct hold_region {
	struct list_head list;
	u64 start;
	u32 npages;
	u32 rkey;
	struct page *pages[];
};

/* An earlier snapshot of this node, pinned: pages that are still the same are read from it. */
struct hold_base {
	struct list_head list;
	struct hold *hold;
};

/*
 * Those of one address space. Their being the very same page says that nothing has been written
 * there since: what is held does not change.
 */
struct hold_same {
	struct list_head list;
	struct hold *base;
	/* base->lock; where the look-up of ascending addresses is; NULL: at the end */
	struct hold_region *region;
	struct list_head *regions;	/* of base */
	unsigned long nblocks;
	struct pager_block *blocks;	/* ascending; "pending" are the pages */
};

struct hold_mm {
	struct list_head list;
	u32 mm;				/* CRIU's pid */
	struct mm_struct *orig, *clone;	/* NULL once sealed; clone may be NULL before */
	struct list_head regions;	/* ascending */
	/* struct pager_inherit: what the process itself misses, without what is held */
	struct list_head inherited;
	struct list_head same;		/* struct hold_same: what is held by earlier snapshots */
	u64 next;			/* first address that may follow */
	/* the region being filled */
	u64 block;
	u32 first, last;		/* page index in the block; first > last: empty */
	struct page **fill;
};

struct hold {
	struct kref kref;
	struct list_head list;		/* hold_lock */
	u64 id;
	u8 key[MITOSIS_KEY_LEN];
	char name[MITOSIS_NAME_LEN];
	char addr[64];			/* for people */
	u32 flags;
	/* hold_lock; netlink port that created it: while open, its close releases it; 0: closed */
	u32 owner;
	unsigned int npinned;		/* hold_lock; by holds that have it as a base */
	/* hold_lock; of the first address space's process, whose snapshot it is */
	kuid_t uid;
	u64 npages;			/* hold_lock; charged to the user and to the machine */
	u64 created_ns;
	atomic_t npeers;
	/* since when the last peer is gone; 0: there has been none */
	u64 idle_ns;
	struct delayed_work follow;
	struct delayed_work expire;
	struct work_struct done;	/* a peer of a one-shot hold has drained */

	struct mutex lock;		/* all below, and calls into the exposure */
	enum mitosis_hold_state state;
	u64 expires_ns;			/* 0: never */
	/* of the first address space's process; NULL unless FOLLOW */
	struct pid *root;
	struct list_head mms;
	struct list_head bases;		/* struct hold_base, the latest first */
	u64 nregions;
	char transport[XPRT_NAMES_LEN];
	struct xprt_addr where;
	struct xprt_exposure *exposure;
};

int hold_init(void);
void hold_exit(void);

/*
 * Returns a referenced hold or an ERR_PTR. @transports: as xprt_expose_create() has it; @addr and
 * @addr_text may be NULL.
 */
struct hold *hold_create(const char *transports, const struct sockaddr_storage *addr,
			 const char *addr_text, const char *name, u32 lease, u32 flags, u32 owner);
struct hold *hold_get(u64 id);
void hold_put(struct hold *hold);

/*
 * Before the first address space, the latest first. -EINVAL: it is not sealed, or the same. -E2BIG:
 * there are too many.
 */
int hold_add_base(struct hold *hold, struct hold *base);
int hold_add_mm(struct hold *hold, u32 mm, struct task_struct *task, struct task_struct *clone);
int hold_add_pages(struct hold *hold, u32 mm, const struct mitosis_run *runs, unsigned int n);
/* -ESTALE: an earlier snapshot that it shares pages with has been released meanwhile. */
int hold_seal(struct hold *hold);
/*
 * How many of its pages no process has mapped any more: they have been written to since, or given
 * up.
 */
int hold_changed(struct hold *hold, u64 *npages);
/* @lease: seconds from now, 0: none. */
int hold_extend(struct hold *hold, u32 lease);
/* When it returns no peer can read and the pages are free. @error goes into the event. */
void hold_release(struct hold *hold, int error);
/* -EBUSY: it is a base of another. */
int hold_release_unpinned(struct hold *hold);
void hold_release_all(void);
void hold_owner_gone(u32 owner);

/* Calls @fn under the lock of the list of holds with every hold; stops when it returns non-zero. */
int hold_for_each(int (*fn)(struct hold *hold, void *arg), void *arg);

#endif
