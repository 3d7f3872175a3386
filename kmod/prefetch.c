// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "cache.h"
#include "pager.h"
#include "prefetch.h"

/*
 * What a replay keeps in flight: so long does a fault wait behind it, as the link answers in order.
 */
#define PREFETCH_READS 32
#define PREFETCH_PAGES 256

struct prefetch_block {
	u64 block;			/* original page index >> PAGER_BLOCK_SHIFT */
	DECLARE_BITMAP(touched, PAGER_BLOCK_PAGES);
};

struct prefetch_record {
	struct list_head list;		/* link->mutex; link->records, and freed with the link */
	u32 mm;
	unsigned long nblocks;
	struct prefetch_block blocks[];	/* sorted */
};

/* Index of the first block at or after page @pg. */
static unsigned long prefetch_lower(const struct prefetch_record *r, u64 pg)
{
	unsigned long lo = 0, hi = r->nblocks;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;

		if (r->blocks[mid].block < pg >> PAGER_BLOCK_SHIFT)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void prefetch_note(struct attach *at, u64 pg)
{
	struct prefetch_record *r = at->prefetch.record;
	unsigned long i;

	if (!r)
		return;
	i = prefetch_lower(r, pg);
	if (i < r->nblocks && r->blocks[i].block == pg >> PAGER_BLOCK_SHIFT)
		set_bit(pg % PAGER_BLOCK_PAGES, r->blocks[i].touched);
}

/* The next run of @r at or after page @pg: within a block, so that one read can have it. */
static bool prefetch_run(struct prefetch_record *r, u64 pg, struct mitosis_run *run)
{
	unsigned long i;

	for (i = prefetch_lower(r, pg); i < r->nblocks; i++) {
		struct prefetch_block *b = &r->blocks[i];
		u64 first = b->block << PAGER_BLOCK_SHIFT;
		unsigned int from = pg > first ? pg - first : 0, to;

		from = find_next_bit(b->touched, PAGER_BLOCK_PAGES, from);
		if (from == PAGER_BLOCK_PAGES)
			continue;
		to = find_next_zero_bit(b->touched, PAGER_BLOCK_PAGES, from);
		run->start = (first + from) << PAGE_SHIFT;
		run->npages = to - from;
		return true;
	}
	return false;
}

/* link->mutex held. */
static struct prefetch_record *prefetch_find(struct link *link, u32 mm)
{
	struct prefetch_record *r;

	list_for_each_entry(r, &link->records, list)
		if (r->mm == mm)
			return r;
	return NULL;
}

static struct prefetch_record *prefetch_record(struct attach *at)
{
	struct prefetch_record *r, *other;
	struct link *link = at->link;
	unsigned long i;
	u32 mm = at->mm_id;

	r = kvzalloc(struct_size(r, blocks, at->nblocks), GFP_KERNEL);
	if (!r)
		return NULL;
	r->mm = mm;
	/* one of each, whatever its sources */
	for (i = 0; i < at->nblocks; i++)
		if (!r->nblocks || r->blocks[r->nblocks - 1].block != at->blocks[i].block)
			r->blocks[r->nblocks++].block = at->blocks[i].block;
	mutex_lock(&link->mutex);
	other = prefetch_find(link, mm);
	if (!other)
		list_add_tail(&r->list, &link->records);
	mutex_unlock(&link->mutex);
	if (other)
		kvfree(r);
	return other ?: r;
}

bool prefetch_recorded(struct link *link, unsigned long index, u32 *mm, u64 *pg,
		       struct mitosis_run *run)
{
	struct prefetch_record *r;
	bool found = false;

	mutex_lock(&link->mutex);
	list_for_each_entry(r, &link->records, list) {
		if (index--)
			continue;
		found = true;
		*mm = r->mm;
		if (!prefetch_run(r, *pg, run))
			run->npages = 0;
		break;
	}
	mutex_unlock(&link->mutex);
	return found;
}

void prefetch_forget(struct link *link)
{
	struct prefetch_record *r, *next;

	list_for_each_entry_safe(r, next, &link->records, list)
		kvfree(r);
	INIT_LIST_HEAD(&link->records);
}

/* What is to be replayed: as the caller of ATTACH_ADD says, or what others have noted here. */
static int prefetch_runs(struct attach *at, const struct list_head *lms)
{
	struct prefetch *p = &at->prefetch;
	struct link_mm *lm = list_first_entry(lms, struct link_mm, list);
	struct prefetch_record *r;
	struct mitosis_run run;
	unsigned long n = 0, i;
	u64 pg;

	/* of the link's own snapshot, which is first */
	if (lm->nrecord) {
		p->runs = lm->record;
		p->nruns = lm->nrecord;
		lm->record = NULL;
		lm->nrecord = 0;
		return 0;
	}
	mutex_lock(&at->link->mutex);
	r = prefetch_find(at->link, at->mm_id);
	mutex_unlock(&at->link->mutex);
	if (!r)
		return 0;
	for (pg = 0; prefetch_run(r, pg, &run); pg = (run.start >> PAGE_SHIFT) + run.npages)
		n++;
	p->runs = kvmalloc_array(n, sizeof(*p->runs), GFP_KERNEL);
	if (n && !p->runs)
		return -ENOMEM;
	/* others may be noting more */
	for (pg = 0, i = 0; i < n && prefetch_run(r, pg, &p->runs[i]); i++)
		pg = (p->runs[i].start >> PAGE_SHIFT) + p->runs[i].npages;
	p->nruns = i;
	return 0;
}

int prefetch_setup(struct attach *at, const struct pager_policy *policy,
		   const struct list_head *lms)
{
	struct prefetch *p = &at->prefetch;

	p->policy = policy->prefetch;
	p->window = policy->window;
	if (policy->flags & MITOSIS_ATTACH_F_RECORD) {
		p->record = prefetch_record(at);
		if (!p->record)
			return -ENOMEM;
	}
	return p->policy == MITOSIS_PREFETCH_RECORDED ? prefetch_runs(at, lms) : 0;
}

void prefetch_fork(struct attach *at, const struct attach *from)
{
	at->prefetch.policy = from->prefetch.policy;
	at->prefetch.window = from->prefetch.window;
	at->prefetch.record = from->prefetch.record;
}

void prefetch_free(struct attach *at)
{
	kvfree(at->prefetch.runs);
}

/* Whether page @pg of a block would have to be read. */
static bool prefetch_wants(struct attach *at, struct pager_block *b, u64 pg)
{
	return test_bit(pg % PAGER_BLOCK_PAGES, b->pending) &&
	       !(at->cache && cache_has(&at->link->cache, at->mm_id, pg)) &&
	       link_readable(at->links[b->src].link, b->rkey, pg, 1);
}

/* How many pages to read upwards when @pg is touched: more and more while faults go upwards. */
static unsigned int prefetch_upwards(struct attach *at, u64 pg)
{
	struct prefetch *p = &at->prefetch;
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&at->lock, flags);
	if (pg >= p->from && pg <= p->end + p->size)
		p->size = min(2 * p->size, p->window);
	else
		p->size /= 2;
	p->size = max(p->size, 1U);
	p->from = pg;
	p->end = pg + p->size;
	n = p->size;
	spin_unlock_irqrestore(&at->lock, flags);
	return n;
}

/* What is read when @pg is touched, which is in it: its first page, and how many. */
static u64 prefetch_plan(struct attach *at, u64 pg, unsigned int *n)
{
	struct prefetch *p = &at->prefetch;
	struct pager_block *b = pager_find_block(at, pg);
	u64 low = pg, high = pg + 1, from = pg, to = pg + 1;

	if (b && prefetch_wants(at, b, pg)) {
		if (p->policy == MITOSIS_PREFETCH_WINDOW) {
			low = pg & ~(u64)(p->window - 1);
			high = low + p->window;
		} else if (p->policy == MITOSIS_PREFETCH_SEQUENTIAL) {
			high = min(pg + prefetch_upwards(at, pg),
				   (b->block + 1) << PAGER_BLOCK_SHIFT);
		}
		while (from > low && prefetch_wants(at, b, from - 1))
			from--;
		while (to < high && prefetch_wants(at, b, to))
			to++;
	}
	*n = to - from;
	return from;
}

static void prefetch_count(struct attach *at, unsigned int n)
{
	atomic_long_add(n, &at->nahead);
	mitosis_stat_add(MITOSIS_STAT_PAGES_AHEAD, n);
}

static struct pager_read *prefetch_start(struct attach *at, u64 pg, unsigned int n,
					 unsigned long addr)
{
	struct pager_read *pr;
	LIST_HEAD(post);

	pr = pager_read_prepare(at, pg, n, addr, &post);
	if (!list_empty(&post)) {
		prefetch_count(at, pr->n - 1);
		pager_post(&post);
	}
	return pr;
}

struct pager_read *prefetch_read(struct attach *at, u64 pg, unsigned long addr)
{
	unsigned int n = 1;
	struct pager_read *pr;
	u64 from = pg;

	if (at->prefetch.policy != MITOSIS_PREFETCH_NONE)
		from = prefetch_plan(at, pg, &n);
	if (from < pg) {
		pr = prefetch_start(at, from, n, addr - ((pg - from) << PAGE_SHIFT));
		if (!IS_ERR(pr)) {
			if (pg - pr->pg < pr->n)
				return pr;
			/* memory is fragmented, or somebody else is reading what is below */
			pager_read_put(pr);
		}
	}
	return prefetch_start(at, pg, n - (pg - from), addr);
}

void prefetch_install(struct attach *at, struct vm_area_struct *vma, unsigned long addr,
		      struct pager_read *pr, u64 pg)
{
	unsigned int i;

	if (at->cache || at->prefetch.policy == MITOSIS_PREFETCH_NONE)
		return;
	for (i = 0; i < pr->n; i++) {
		unsigned long other = addr + ((pr->pg + i - pg) << PAGE_SHIFT);

		if (other == addr || other < vma->vm_start || other >= vma->vm_end)
			continue;
		/*
		 * it will not be seen to be touched, so it counts as if it were; without memory it
		 * can wait
		 */
		if (pager_install_page(at, vma, other, pr->page + i) > 0)
			prefetch_note(at, pr->pg + i);
	}
}

struct replay {
	struct attach *at;
	unsigned long run;		/* where it is */
	u64 pg;				/* 0: at the run's beginning */
	struct pager_read *fly[PREFETCH_READS];
	unsigned int head, n, npages;
};

/* The next pages of the record that are to be read. */
static bool replay_pick(struct replay *r, u64 *pg, unsigned int *n)
{
	struct attach *at = r->at;
	struct prefetch *p = &at->prefetch;

	for (; r->run < p->nruns; r->run++, r->pg = 0) {
		u64 first = p->runs[r->run].start >> PAGE_SHIFT;
		u64 end = first + p->runs[r->run].npages;

		r->pg = max(r->pg, first);
		while ((*n = pager_next(at, NULL, &r->pg, end, XPRT_READ_MAX))) {
			*n = pager_readable(at, r->pg, *n);
			if (*n && !(at->cache && cache_has(&at->link->cache, at->mm_id, r->pg))) {
				*pg = r->pg;
				return true;
			}
			r->pg++;
		}
	}
	return false;
}

/* As many reads as may be in flight, behind one doorbell. */
static int replay_fill(struct replay *r)
{
	struct attach *at = r->at;
	struct pager_read *pr;
	LIST_HEAD(post);
	unsigned int n;
	int ret = 0;
	u64 pg;

	while (r->n < PREFETCH_READS && r->npages < PREFETCH_PAGES && replay_pick(r, &pg, &n)) {
		struct list_head *last = post.prev;

		pr = pager_read_prepare(at, pg, n, pager_addr(at, pg), &post);
		ret = PTR_ERR_OR_ZERO(pr);
		/* discarded since it was picked */
		if (ret == -EAGAIN) {
			ret = 0;
			continue;
		}
		if (ret)
			break;
		if (post.prev != last)
			prefetch_count(at, pr->n);
		r->pg = pr->pg + pr->n;
		r->fly[(r->head + r->n++) % PREFETCH_READS] = pr;
		r->npages += pr->n;
	}
	if (!list_empty(&post))
		pager_post(&post);
	return ret;
}

static int replay_land(struct replay *r)
{
	struct pager_read *pr = r->fly[r->head];
	struct attach *at = r->at;
	unsigned int i;
	int ret = 0;

	r->head = (r->head + 1) % PREFETCH_READS;
	r->n--;
	r->npages -= pr->n;
	do {
		if (atomic_read(&at->mm->mm_users) == 1)
			ret = -ESRCH;
	} while (!ret && !wait_for_completion_timeout(&pr->arrived, HZ));
	/* what the source refuses is for a fault to find out */
	if (!ret && pr->err != -EREMOTEIO)
		ret = pr->err;
	if (!ret && !pr->err) {
		pager_read_keep(at, pr, true);
		/* what is installed will not be seen to be touched */
		for (i = 0; i < pr->n && !at->cache; i++)
			prefetch_note(at, pr->pg + i);
		if (!at->cache)
			ret = min(drain_install(at, pr, pager_addr(at, pr->pg)), 0);
	}
	pager_read_put(pr);
	return ret;
}

/* Without memory, or a link, it ends: faults bring in the rest. */
void prefetch_work(struct work_struct *work)
{
	struct attach *at = container_of(work, struct attach, replay);
	struct replay *r;
	int ret = 0;

	if (!mmget_not_zero(at->mm))
		goto out;
	r = kzalloc(sizeof(*r), GFP_KERNEL);
	if (r) {
		r->at = at;
		do {
			ret = ret ?: replay_fill(r);
			while (r->n && (ret || r->npages > PREFETCH_PAGES / 2 ||
					r->n > PREFETCH_READS / 2 || r->run == at->prefetch.nruns))
				ret = min(replay_land(r), ret);
			cond_resched();
		} while (!ret && r->run < at->prefetch.nruns);
		while (r->n)
			replay_land(r);
		kfree(r);
	}
	mmput(at->mm);
out:
	attach_put(at);
}

void prefetch_begin(struct attach *at)
{
	if (!at->prefetch.nruns)
		return;
	refcount_inc(&at->ref);
	pager_queue(&at->replay);
}
