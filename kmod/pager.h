/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Destination: address spaces whose missing pages come over a link.
 *
 * An armed mapping is a private anonymous one with vm_ops, vm_private_data and three flags of ours;
 * vm_file stays NULL. All armed mappings of an address space share one struct attach, keyed by the
 * page index of the *original* virtual address: vm_pgoff, which travels with mremap, split and
 * merge. mremap() can also leave two mappings with the same page index (the tail of a grown
 * mapping, the old one of MREMAP_DONTUNMAP): "moved" says where each page is, and only there it can
 * be missing. One bit a page says whether the source's content is still the page's content and not
 * here yet ("pending"). Who clears it: the installer, when the page has become anonymous memory;
 * MADV_DONTNEED and munmap, because the page reads zero from then on. It is never set again. A page
 * of the node's cache that is mapped read-only is not the process's own: it stays pending, and the
 * kernel makes it anonymous when the process writes.
 *
 * Pages are installed under the mmap lock held for writing, so MADV_DONTNEED, which holds it for
 * reading, cannot come between the look at the bit and the page table entry. The exception are
 * faults that may not drop the lock; see pager.c.
 *
 * Lock order: mmap_lock, read->keeping, link->mutex, attach->lock, cache->lock, link->lock.
 */
#ifndef MITOSIS_PAGER_H
#define MITOSIS_PAGER_H

#include <linux/completion.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/workqueue.h>

#include "link.h"
#include "mitosis.h"
#include "prefetch.h"
#include "stats.h"

#define PAGER_BLOCK_SHIFT (MITOSIS_REGION_SHIFT - PAGE_SHIFT)
#define PAGER_BLOCK_PAGES (1U << PAGER_BLOCK_SHIFT)

/*
 * What is known of one aligned block of 2 MiB of original address space. There is one for each
 * source that has pages of it; no page is pending in two.
 */
struct pager_block {
	u64 block;			/* original page index >> PAGER_BLOCK_SHIFT */
	u32 rkey;
	u16 src;			/* index into attach->links */
	u16 first, npages;		/* of the source's region in it */
	DECLARE_BITMAP(pending, PAGER_BLOCK_PAGES);
};

/*
 * A fault under the mmap lock held for reading, or the installer: hands its page to the fault
 * handler.
 */
struct pager_install {
	struct list_head list;
	struct task_struct *task;
	struct page *page;		/* NULL: only prepare the mapping */
	u64 pg;
};

/* A source of an address space. */
struct attach_link {
	struct list_head list;		/* link->mutex; link->attached */
	struct attach *at;
	struct link *link;
	bool listed;			/* link->mutex */
};

struct attach {
	refcount_t ref;
	struct list_head all;		/* pager_lock */
	struct link *link;		/* links[0].link: of its snapshot */
	/* The others are of snapshots that its snapshot inherits pages from; as above. */
	struct attach_link links[MITOSIS_MAX_PARENTS + 1];
	unsigned int nlinks;
	struct mm_struct *mm;		/* mmgrab()ed */
	u32 mm_id, pid;
	/* no memory for the state at fork: killed at the first fault */
	bool broken;
	unsigned long killed;		/* bit 0: told and counted, once for all who wait */
	bool ready;			/* link->mutex; armed: the drain may work on it */
	/* mmap_lock for writing; drained but for unreadable pages: off the link */
	bool cut;

	/*
	 * mmap_lock for writing: who takes cache pages out of the page tables, and where to go on
	 */
	struct task_struct *unmapping;
	unsigned long unmap_next;
	/* pages that it may have before its cgroup's room is looked at again */
	atomic_t room;

	/* shares what it reads with others of the link; set before it is armed, as the next one */
	bool cache;
	bool drains;			/* whether or not the link does */

	spinlock_t lock;		/* bitmaps, lists below, move_* */
	struct list_head installs;
	struct list_head reads;		/* struct pager_read in flight or just arrived */
	unsigned long dead_seq;		/* counts calls that made pages read zero */
	/*
	 * Present minus original page index, biased, of ranges that have been moved; absent: 0.
	 * mmap_lock for writing.
	 */
	struct maple_tree moved;
	/*
	 * A move under way, which the hook has no memory to enter above: what of [move_pg, +
	 * move_n) was at move_from.
	 */
	u64 move_pg, move_n;
	unsigned long move_from, move_to;

	unsigned long nblocks;
	struct pager_block *blocks;	/* sorted */
	atomic_long_t npending;
	u64 ntotal;
	atomic_long_t nfault, nshared, ndrain, neager, ndead;
	atomic_long_t nahead;		/* read by its prefetch before they were touched */
	atomic_long_t nfilled;		/* installed from what a fill has brought here before */
	struct latency latency;

	/* original page index of the latest fault: the drain goes on there */
	u64 hint;
	struct prefetch prefetch;
	struct work_struct replay;
	struct work_struct drain;
	struct work_struct release;
	/* lock, as the next two: reads, and time with at least one */
	unsigned int outstanding;
	u64 busy_since, busy_ns;
	u64 drain_ns, drained_ns;
};

/*
 * For a snapshot of an address space that still misses pages itself: those that it misses of one
 * source.
 */
struct pager_inherit {
	struct list_head list;
	struct link *link;		/* pinned */
	unsigned long nblocks;
	struct pager_block *blocks;	/* sorted; "pending" are the pages */
};

/* Pages on their way; several faults and the drain may wait for one. */
struct pager_read {
	struct link_read lr;
	refcount_t ref;
	/* attach->reads, attach->lock; or cache->reads, cache->lock */
	struct list_head list;
	struct attach *at;
	u64 pg;				/* original page index of the first */
	unsigned long addr;		/* its present address when the drain asked */
	unsigned int n;
	struct page *page;
	int err;
	bool filled;			/* has been here, of the source's link's cache */
	struct completion arrived;
	struct mutex keeping;
	bool kept;			/* keeping; the cache has had its chance */
};

/*
 * Has pages of the node's cache that @at does not use taken out of its page tables. Its address
 * space is held, no lock is.
 */
void pager_make_room(struct attach *at);
/*
 * Before a process that shares pages is given @n of its own: who is charged for one, in a cgroup
 * that is full of mapped pages, is killed. As above; sleeps.
 */
void pager_ensure_room(struct attach *at, unsigned int n);
int unmap_init(void);
void unmap_exit(void);

int pager_init(void);
void pager_exit(void);

/* Hooks; atomic context, any mapping. */
void pager_zap(struct vm_area_struct *vma, unsigned long address, unsigned long size);
void pager_move(struct vm_area_struct *vma, unsigned long address, struct vm_area_struct *to,
		unsigned long to_address, unsigned long size);

int pager_arm(struct link *link, u32 owner, u32 mm_id, struct task_struct *task,
	      const struct mitosis_run *eager, unsigned int neager, const struct mitosis_keep *keep,
	      unsigned int nkeep, const struct pager_policy *policy);
/* link->mutex held. */
void pager_kill_all(struct link *link);
void pager_drain_all(struct link *link);
/* Calls @fn with every attachment; it may sleep. */
int pager_visit(int (*fn)(struct attach *at, void *arg), void *arg);
/* Pages pending that the source cannot read. */
unsigned int pager_nunreadable(struct attach *at);
/* Its process's pid, 0 when there is none any more. */
u32 pager_pid(struct attach *at);

void attach_put(struct attach *at);

/*
 * What @mm misses, if it does, added to @to. -EXDEV: pages of it have been moved since; -EREMOTEIO:
 * some can never be had; -ESHUTDOWN: a source is gone; -E2BIG: there are too many.
 */
int pager_inherit(struct mm_struct *mm, struct list_head *to);
/* [pg, pg + n) are not missing. */
void pager_inherit_less(struct list_head *from, u64 pg, u64 n);
/* Lets go of sources that nothing is missing of any more. */
void pager_inherit_trim(struct list_head *from);
void pager_inherit_free(struct list_head *from);

/* Between pager.c, drain.c and prefetch.c. */
bool pager_armed(const struct vm_area_struct *vma, const struct attach *at);
u64 pager_pg(const struct vm_area_struct *vma, unsigned long addr);
/*
 * Whether the source's content is what @vma must show for page @pg, and is not here as the
 * process's own yet.
 */
bool pager_pending(struct attach *at, const struct vm_area_struct *vma, u64 pg);
/* Whether a page table entry maps a page of the node's cache. */
bool pager_maps_shared(const struct attach *at, pte_t pte);
/*
 * First pending page at or after *pg and before @end; returns how many follow it in the same block,
 * at most
 * @max. @vma: only pages that belong there. NULL: all.
 */
unsigned int pager_next(struct attach *at, const struct vm_area_struct *vma, u64 *pg, u64 end,
			unsigned int max);
struct pager_block *pager_find_block(struct attach *at, u64 pg);
/* Where page @pg is now. */
unsigned long pager_addr(struct attach *at, u64 pg);
void pager_queue(struct work_struct *work);
/*
 * As pager_read_start(), but a read that is to be made is only put on @post, which goes to
 * pager_post() soon: others may wait for it already.
 */
struct pager_read *pager_read_prepare(struct attach *at, u64 pg, unsigned int n, unsigned long addr,
				      struct list_head *post);
void pager_post(struct list_head *post);
/*
 * How many of the @n pages from @pg on, pending in one block, come before one that the source has
 * refused.
 */
unsigned int pager_readable(struct attach *at, u64 pg, unsigned int n);
/* -EREMOTEIO: the source cannot read it. -EAGAIN: it is not pending any more. */
struct pager_read *pager_read_start(struct attach *at, u64 pg, unsigned int n, unsigned long addr);
void pager_read_put(struct pager_read *pr);
/* As above, of one whose pages have been installed: nobody else is expected to want them. */
void pager_read_used(struct pager_read *pr);
/*
 * What has arrived, for other children; by all who wait for it, before they install. -ENOMEM: some
 * are not kept, and can be tried again unless this was the last time, after which they may be
 * installed. Sleeps.
 */
int pager_read_keep(struct attach *at, struct pager_read *pr, bool last);
/* mmap lock held for writing. Returns 1 when installed, 0 when it need not be, or -errno. */
int pager_install_page(struct attach *at, struct vm_area_struct *vma, unsigned long addr,
		       struct page *page);
/*
 * mmap lock held for writing; nothing is pending but what the source cannot read. Mappings become
 * ordinary; those that have such a page stay armed, to kill who touches it, and the link is not
 * needed any more.
 */
void pager_disarm(struct attach *at);
/* mmap lock held for writing; sets again what an madvise() has cleared. */
void pager_rehint(struct attach *at);
void pager_kill(struct attach *at, const char *why);
void drain_work(struct work_struct *work);
/*
 * Installs what has been read and is still pending, from @addr on; how many pages that were, or
 * -errno: -ESRCH when there is no use for them. mmap lock not held.
 */
int drain_install(struct attach *at, struct pager_read *pr, unsigned long addr);
/* If it is to be drained. link->mutex held. */
void drain_start_wanted(struct attach *at);

#endif
