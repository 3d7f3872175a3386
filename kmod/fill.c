// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/kref.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "fill.h"
#include "link.h"
#include "stats.h"

/* What is kept in flight, as the drain of a process does. */
#define FILL_DEPTH 6
/*
 * The caller keeps others from changing what generic netlink has, and has a session that may have
 * ended: for silence, and for beginning reads.
 */
#define FILL_WAIT_MS 2000
#define FILL_CALL_MS 1000

/* Reads that are on their way when the caller has gone end without it. */
struct fill {
	struct kref kref;
	spinlock_t lock;		/* the next four; softirq */
	struct list_head arrived;	/* struct fill_read */
	unsigned int flying;
	bool left;
	int err;			/* -ENOLINK */
	wait_queue_head_t wait;
};

struct fill_read {
	struct link_read lr;
	struct fill *fill;
	struct list_head list;		/* fill->arrived */
	int err;
};

static void fill_free(struct kref *kref)
{
	kfree(container_of(kref, struct fill, kref));
}

static void fill_read_free(struct fill_read *fr)
{
	unsigned int i;

	for (i = 0; i < fr->lr.rd.npages; i++)
		put_page(fr->lr.rd.page + i);
	kref_put(&fr->fill->kref, fill_free);
	kfree(fr);
}

static void fill_read_done(struct link_read *lr, int err)
{
	struct fill_read *fr = container_of(lr, struct fill_read, lr);
	struct fill *f = fr->fill;
	unsigned long flags;
	bool left;

	fr->err = err;
	spin_lock_irqsave(&f->lock, flags);
	f->flying--;
	left = f->left;
	if (!left) {
		list_add_tail(&fr->list, &f->arrived);
		/* under the lock: whoever waits may let go of it */
		wake_up(&f->wait);
	}
	spin_unlock_irqrestore(&f->lock, flags);
	if (left)
		fill_read_free(fr);
}

static bool fill_read_wanted(struct link_read *lr)
{
	return !READ_ONCE(container_of(lr, struct fill_read, lr)->fill->left);
}

/* Begins to read [pg, pg + *n) of a region, or fewer pages where memory is fragmented. -ENOMEM. */
static int fill_read_start(struct fill *f, struct link *link, u32 mm, u32 rkey, u64 pg,
			   unsigned int *n)
{
	unsigned int order = order_base_2(*n), i;
	struct fill_read *fr = kzalloc(sizeof(*fr), GFP_KERNEL);
	struct page *page;

	if (!fr)
		return -ENOMEM;
	page = alloc_pages(GFP_HIGHUSER | __GFP_NOWARN | __GFP_NORETRY, order);
	if (page) {
		split_page(page, order);
		for (i = *n; i < 1U << order; i++)
			__free_page(page + i);
	} else {
		*n = 1;
		page = alloc_page(GFP_HIGHUSER | __GFP_NOWARN | __GFP_NORETRY);
	}
	if (!page) {
		kfree(fr);
		return -ENOMEM;
	}
	kref_get(&f->kref);
	fr->fill = f;
	fr->lr.done = fill_read_done;
	fr->lr.wanted = fill_read_wanted;
	fr->lr.mm = mm;
	fr->lr.rd.raddr = pg << PAGE_SHIFT;
	fr->lr.rd.rkey = rkey;
	fr->lr.rd.npages = *n;
	fr->lr.rd.page = page;
	spin_lock_irq(&f->lock);
	f->flying++;
	spin_unlock_irq(&f->lock);
	link_read(link, &fr->lr);
	return 0;
}

/* Nothing is under way, or has arrived. */
static bool fill_is_idle(struct fill *f)
{
	bool idle;

	spin_lock_irq(&f->lock);
	idle = !f->flying && list_empty(&f->arrived);
	spin_unlock_irq(&f->lock);
	return idle;
}

/*
 * Waits for a read and keeps what it has brought; how many pages that are, or -EAGAIN, -EINTR,
 * -ENOLINK.
 */
static int fill_land(struct fill *f, struct link *link)
{
	const struct xprt_read *rd;
	struct fill_read *fr;
	unsigned int i;
	long left;
	int ret = 0;

	left = wait_event_killable_timeout(f->wait, !list_empty_careful(&f->arrived),
					   msecs_to_jiffies(FILL_WAIT_MS));
	if (left <= 0)
		return left ? -EINTR : -EAGAIN;
	spin_lock_irq(&f->lock);
	fr = list_first_entry(&f->arrived, struct fill_read, list);
	list_del(&fr->list);
	spin_unlock_irq(&f->lock);
	rd = &fr->lr.rd;
	if (fr->err == -ENOLINK)
		ret = -ENOLINK;
	/* without memory, or when somebody has been quicker, it is not kept */
	for (i = 0; i < rd->npages && !fr->err; i++)
		ret += !cache_add_region(&link->cache, rd->rkey, (rd->raddr >> PAGE_SHIFT) + i,
					 rd->page + i);
	fill_read_free(fr);
	return ret;
}

/* Where it is; @r and @run are indices. */
struct fill_at {
	unsigned int r, run;
	u64 pg;
};

/* The next pages that are not here, @n of them, in one region. 0: that was all. */
static int fill_next(struct fill_at *at, struct link *link, const struct mitosis_run *runs,
		     unsigned int nruns, const struct mitosis_region *regions,
		     unsigned int nregions, unsigned int *n)
{
	for (; at->run < nruns; at->run++) {
		u64 first = runs[at->run].start >> PAGE_SHIFT, end = first + runs[at->run].npages;

		for (at->pg = max(at->pg, first); at->pg < end; at->pg++) {
			u64 from, to;

			while (at->r < nregions &&
			       (regions[at->r].start >> PAGE_SHIFT) + regions[at->r].npages <=
				       at->pg)
				at->r++;
			from = at->r < nregions ? regions[at->r].start >> PAGE_SHIFT : U64_MAX;
			if (at->pg < from)
				return -EINVAL;
			to = min(end, from + regions[at->r].npages);
			for (*n = 0; *n < XPRT_READ_MAX && at->pg + *n < to; ++*n)
				if (cache_has_region(&link->cache, regions[at->r].rkey,
						     at->pg + *n))
					break;
			if (*n)
				return 1;
		}
	}
	return 0;
}

int fill(struct link *link, u32 mm, const struct mitosis_run *runs, unsigned int nruns,
	 const struct mitosis_region *regions, unsigned int nregions, u64 *npages)
{
	unsigned long end = jiffies + msecs_to_jiffies(FILL_CALL_MS);
	struct fill *f = kzalloc(sizeof(*f), GFP_KERNEL);
	struct fill_read *fr, *next;
	bool more = true, cut = false;
	struct fill_at at = {};
	unsigned int n;
	int ret = 0;

	*npages = 0;
	if (!f)
		return -ENOMEM;
	kref_init(&f->kref);
	spin_lock_init(&f->lock);
	INIT_LIST_HEAD(&f->arrived);
	init_waitqueue_head(&f->wait);
	while (ret >= 0 && (more || !fill_is_idle(f))) {
		while (more && READ_ONCE(f->flying) < FILL_DEPTH) {
			ret = fill_next(&at, link, runs, nruns, regions, nregions, &n);
			/* without memory the rest is for who needs it to read */
			more = ret > 0 &&
			       !fill_read_start(f, link, mm, regions[at.r].rkey, at.pg, &n);
			at.pg += more ? n : 0;
		}
		if (ret < 0 || fill_is_idle(f))
			continue;
		ret = fill_land(f, link);
		*npages += max(ret, 0);
		if (more && time_after(jiffies, end)) {
			more = false;
			cut = true;
		}
		cond_resched();
	}
	/* what is read and cannot be kept is not read again */
	if (ret >= 0 && cut && *npages)
		ret = -EAGAIN;
	spin_lock_irq(&f->lock);
	f->left = true;
	spin_unlock_irq(&f->lock);
	list_for_each_entry_safe(fr, next, &f->arrived, list)
		fill_read_free(fr);
	mitosis_stat_add(MITOSIS_STAT_PAGES_FILLED, *npages);
	kref_put(&f->kref, fill_free);
	return min(ret, 0);
}
