// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "netlink.h"
#include "pager.h"
#include "stats.h"
#include "trace.h"

/*
 * No plain mapping has both readahead hints, or the high bit, set: no merge between armed and
 * plain ones. The hints also keep the multi-generational LRU's walk away from mappings without a
 * file that are not vma_is_anonymous(). The high bit is for when madvise(MADV_NORMAL) clears them.
 */
#define PAGER_VM_HINTS (VM_SEQ_READ | VM_RAND_READ)
#define PAGER_VM_TAG (1UL << 50)
#define PAGER_VM_FLAGS (PAGER_VM_TAG | PAGER_VM_HINTS)

/* What is mapped around a page of the node's cache, in bytes; the kernel's own figure for files. */
#define PAGER_AROUND (16 * PAGE_SIZE)

/* How often a page is tried to be made the process's own before whoever asks comes again. */
#define PAGER_COPY_TRIES 8

/* How long a fault that may not drop the mmap lock waits for a page. */
#define PAGER_NORETRY_MS 20000

static LIST_HEAD(pager_all);
static DEFINE_SPINLOCK(pager_lock);	/* pager_all */
static struct workqueue_struct *pager_wq;
static struct page *pager_zero;		/* only ever copied from, never mapped */

static const struct vm_operations_struct pager_vm_ops;

bool pager_armed(const struct vm_area_struct *vma, const struct attach *at)
{
	return vma->vm_ops == &pager_vm_ops && (!at || vma->vm_private_data == at);
}

u64 pager_pg(const struct vm_area_struct *vma, unsigned long addr)
{
	return vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
}

/* Index of the first of @n sorted blocks at or after page @pg. */
static unsigned long pager_lower_of(const struct pager_block *blocks, unsigned long n, u64 pg)
{
	u64 block = pg >> PAGER_BLOCK_SHIFT;
	unsigned long lo = 0, hi = n;

	while (lo < hi) {
		unsigned long mid = lo + (hi - lo) / 2;

		if (blocks[mid].block < block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static unsigned long pager_lower(const struct attach *at, u64 pg)
{
	return pager_lower_of(at->blocks, at->nblocks, pg);
}

/* Whether block @i is one of those that page @pg may be in. */
static bool pager_in_block(const struct attach *at, unsigned long i, u64 pg)
{
	return i < at->nblocks && at->blocks[i].block == pg >> PAGER_BLOCK_SHIFT;
}

/* The block that page @pg is pending in; NULL: it is not. */
struct pager_block *pager_find_block(struct attach *at, u64 pg)
{
	unsigned long i;

	for (i = pager_lower(at, pg); pager_in_block(at, i, pg); i++)
		if (test_bit(pg % PAGER_BLOCK_PAGES, at->blocks[i].pending))
			return &at->blocks[i];
	return NULL;
}

/* The one of source @src. */
static struct pager_block *pager_find_src(struct attach *at, u64 pg, unsigned int src)
{
	unsigned long i;

	for (i = pager_lower(at, pg); pager_in_block(at, i, pg); i++)
		if (at->blocks[i].src == src)
			return &at->blocks[i];
	return NULL;
}

/* Biased so that a move to lower addresses is a valid entry, too. */
#define PAGER_BIAS (1UL << 40)

static unsigned long pager_vma_bias(const struct vm_area_struct *vma)
{
	return (vma->vm_start >> PAGE_SHIFT) - vma->vm_pgoff + PAGER_BIAS;
}

/* Where page @pg is: its present minus its original page index, biased. */
static unsigned long pager_bias(struct attach *at, u64 pg)
{
	unsigned long bias = PAGER_BIAS;
	void *entry;

	if (!mtree_empty(&at->moved)) {
		entry = mtree_load(&at->moved, pg);
		if (entry)
			bias = xa_to_value(entry);
	}
	/* only the task that holds the mmap lock for writing sees move_n set */
	if (at->move_n && pg - at->move_pg < at->move_n && bias == at->move_from)
		bias = at->move_to;
	return bias;
}

unsigned long pager_addr(struct attach *at, u64 pg)
{
	return (pg + pager_bias(at, pg) - PAGER_BIAS) << PAGE_SHIFT;
}

bool pager_pending(struct attach *at, const struct vm_area_struct *vma, u64 pg)
{
	return pager_find_block(at, pg) && pager_bias(at, pg) == pager_vma_bias(vma);
}

/* Clears the bit; whether it was set. */
static bool pager_settle(struct attach *at, u64 pg)
{
	struct pager_block *b = pager_find_block(at, pg);
	unsigned long flags;
	bool was;

	if (!b)
		return false;
	spin_lock_irqsave(&at->lock, flags);
	was = __test_and_clear_bit(pg % PAGER_BLOCK_PAGES, b->pending);
	spin_unlock_irqrestore(&at->lock, flags);
	if (was)
		atomic_long_dec(&at->npending);
	return was;
}

/*
 * [pg, pg + n) of @vma reads zero from now on. Atomic context. The lock is taken for each block: a
 * range can have millions of pages.
 */
static void pager_dead(struct attach *at, const struct vm_area_struct *vma, u64 pg, u64 n)
{
	bool whole = mtree_empty(&at->moved) && !at->move_n && pager_vma_bias(vma) == PAGER_BIAS;
	unsigned long flags, i;
	u64 end = pg + n;
	long cleared = 0;

	WRITE_ONCE(at->dead_seq, at->dead_seq + 1);
	for (i = pager_lower(at, pg); i < at->nblocks; i++) {
		struct pager_block *b = &at->blocks[i];
		u64 first = b->block << PAGER_BLOCK_SHIFT;
		unsigned int from, to;

		if (first >= end)
			break;
		from = pg > first ? pg - first : 0;
		to = min_t(u64, end - first, PAGER_BLOCK_PAGES);
		spin_lock_irqsave(&at->lock, flags);
		if (whole && !from && to == PAGER_BLOCK_PAGES) {
			cleared += bitmap_weight(b->pending, PAGER_BLOCK_PAGES);
			bitmap_zero(b->pending, PAGER_BLOCK_PAGES);
		} else {
			for_each_set_bit_from(from, b->pending, to) {
				if (pager_bias(at, first + from) != pager_vma_bias(vma))
					continue;
				__clear_bit(from, b->pending);
				cleared++;
			}
		}
		spin_unlock_irqrestore(&at->lock, flags);
	}
	if (cleared) {
		atomic_long_sub(cleared, &at->npending);
		atomic_long_add(cleared, &at->ndead);
		mitosis_stat_add(MITOSIS_STAT_PAGES_DEAD, cleared);
	}
}

void notrace pager_zap(struct vm_area_struct *vma, unsigned long address, unsigned long size)
{
	struct attach *at = vma->vm_private_data;

	/* what is taken out of page tables is still to be had */
	if (vma->vm_ops != &pager_vm_ops || READ_ONCE(at->unmapping) == current)
		return;
	pager_dead(at, vma, pager_pg(vma, address),
		   PAGE_ALIGN(size) >> PAGE_SHIFT);
}

/*
 * The mmap lock is held for writing. mremap() calls this once to move, and when it fails once more
 * to move back, before pager_mremap() has entered the move: then what is entered is right again.
 */
void notrace pager_move(struct vm_area_struct *vma, unsigned long address,
			struct vm_area_struct *to, unsigned long to_address, unsigned long size)
{
	struct attach *at;
	unsigned long flags;

	if (vma->vm_ops != &pager_vm_ops)
		return;
	at = vma->vm_private_data;
	spin_lock_irqsave(&at->lock, flags);
	if (at->move_n) {
		WRITE_ONCE(at->move_n, 0);
	} else {
		at->move_pg = pager_pg(vma, address);
		at->move_from = pager_vma_bias(vma);
		at->move_to = (to_address >> PAGE_SHIFT) - at->move_pg + PAGER_BIAS;
		WRITE_ONCE(at->move_n, size >> PAGE_SHIFT);
	}
	spin_unlock_irqrestore(&at->lock, flags);
}

/* Killing is how a page that cannot be had is answered: SIGBUS would be EFAULT in a system call. */
void pager_kill(struct attach *at, const char *why)
{
	struct task_struct *p;
	bool any = false;
	u32 pid = 0;

	rcu_read_lock();
	for_each_process(p) {
		struct task_struct *t;

		/* the leader may have exited before its threads */
		for_each_thread(p, t) {
			if (READ_ONCE(t->mm) != at->mm)
				continue;
			pid = task_tgid_nr(p);
			send_sig_info(SIGKILL, SEND_SIG_PRIV, p);
			any = true;
			break;
		}
	}
	rcu_read_unlock();
	if (!any || test_and_set_bit(0, &at->killed))
		return;
	mitosis_stat_add(MITOSIS_STAT_KILLED, 1);
	pr_err("mitosis: snapshot %016llx: killed process %u (mm %u): %s\n", at->link->id, pid,
	       at->mm_id, why);
}

struct pager_count {
	struct attach *at;
	unsigned int src, n;
};

static void pager_count_pending(u32 rkey, u64 pg, void *arg)
{
	struct pager_count *c = arg;
	struct pager_block *b = pager_find_block(c->at, pg);

	if (b && b->src == c->src && b->rkey == rkey)
		c->n++;
}

/* Pages of source @src that it cannot read. */
static unsigned int pager_nunreadable_of(struct attach *at, unsigned int src)
{
	struct pager_count c = { .at = at, .src = src };

	link_visit_refused(at->links[src].link, pager_count_pending, &c);
	return c.n;
}

unsigned int pager_nunreadable(struct attach *at)
{
	unsigned int src, n = 0;

	for (src = 0; src < at->nlinks; src++)
		n += pager_nunreadable_of(at, src);
	return n;
}

/* Whether it still needs source @src. */
static bool pager_needs(struct attach *at, unsigned int src)
{
	unsigned long i, n = 0;

	if (at->nlinks == 1)
		return atomic_long_read(&at->npending) > pager_nunreadable(at);
	for (i = 0; i < at->nblocks; i++)
		if (at->blocks[i].src == src)
			n += bitmap_weight(at->blocks[i].pending, PAGER_BLOCK_PAGES);
	return n > pager_nunreadable_of(at, src);
}

u32 pager_pid(struct attach *at)
{
	struct task_struct *p, *t;
	u32 pid = 0;

	/* a fork's child is not known yet when its memory is copied */
	if (at->pid)
		return at->pid;
	rcu_read_lock();
	for_each_process(p) {
		/* the leader may have exited before its threads */
		for_each_thread(p, t)
			if (READ_ONCE(t->mm) == at->mm)
				pid = task_tgid_nr(p);
		if (pid)
			break;
	}
	rcu_read_unlock();
	/* looking at all processes is not for every listing */
	if (pid)
		WRITE_ONCE(at->pid, pid);
	return pid;
}

int pager_visit(int (*fn)(struct attach *at, void *arg), void *arg)
{
	unsigned int skip = 0, i;
	struct attach *at, *found;
	unsigned long flags;
	int ret = 0;

	do {
		found = NULL;
		i = 0;
		spin_lock_irqsave(&pager_lock, flags);
		list_for_each_entry(at, &pager_all, all) {
			if (i++ >= skip && refcount_inc_not_zero(&at->ref)) {
				found = at;
				break;
			}
		}
		spin_unlock_irqrestore(&pager_lock, flags);
		skip = i;
		if (found) {
			ret = fn(found, arg);
			attach_put(found);
		}
	} while (found && !ret);
	return ret;
}

void pager_kill_all(struct link *link)
{
	struct attach_link *al;

	list_for_each_entry(al, &link->attached, list)
		if (pager_needs(al->at, al - al->at->links)) {
			pager_kill(al->at, "pages of it cannot be had any more");
			netlink_event(MITOSIS_EVENT_KILLED, link->id, al->at->mm_id,
				      al->at->pid, 0);
		}
}

void pager_drain_all(struct link *link)
{
	struct attach_link *al;

	list_for_each_entry(al, &link->attached, list)
		if (al->at->link == link)
			drain_start_wanted(al->at);
}

/* The links may go: nothing will be read over them for @at any more. */
static void attach_unlist(struct attach *at)
{
	unsigned int i;

	for (i = 0; i < at->nlinks; i++) {
		struct attach_link *al = &at->links[i];

		mutex_lock(&al->link->mutex);
		if (al->listed) {
			al->listed = false;
			list_del(&al->list);
			link_detached(al->link);
		}
		mutex_unlock(&al->link->mutex);
	}
}

static void attach_add_link(struct attach *at, struct link *link)
{
	struct attach_link *al = &at->links[at->nlinks++];

	link_ref(link);
	al->link = link;
	al->at = at;
	INIT_LIST_HEAD(&al->list);
}

static void attach_free(struct attach *at)
{
	prefetch_free(at);
	mtree_destroy(&at->moved);
	mmdrop(at->mm);
	while (at->nlinks)
		link_put(at->links[--at->nlinks].link);
	kvfree(at->blocks);
	kfree(at);
	module_put(THIS_MODULE);
}

/*
 * The module reference is dropped here, never by close(): the workqueue is destroyed before the
 * code goes.
 */
static void pager_release_work(struct work_struct *work)
{
	struct attach *at = container_of(work, struct attach, release);

	attach_unlist(at);
	attach_free(at);
}

void attach_put(struct attach *at)
{
	unsigned long flags;

	if (!refcount_dec_and_test(&at->ref))
		return;
	spin_lock_irqsave(&pager_lock, flags);
	list_del(&at->all);
	spin_unlock_irqrestore(&pager_lock, flags);
	queue_work(pager_wq, &at->release);
}

static struct attach *attach_alloc(struct link *link, struct mm_struct *mm, unsigned long nblocks,
				   gfp_t gfp)
{
	struct attach *at;

	at = kzalloc(sizeof(*at), gfp);
	if (!at)
		return NULL;
	if (nblocks) {
		at->blocks = kvcalloc(nblocks, sizeof(*at->blocks), GFP_KERNEL);
		if (!at->blocks) {
			kfree(at);
			return NULL;
		}
	}
	at->nblocks = nblocks;
	refcount_set(&at->ref, 1);
	spin_lock_init(&at->lock);
	mt_init(&at->moved);
	INIT_LIST_HEAD(&at->all);
	INIT_LIST_HEAD(&at->installs);
	INIT_LIST_HEAD(&at->reads);
	INIT_WORK(&at->drain, drain_work);
	INIT_WORK(&at->replay, prefetch_work);
	INIT_WORK(&at->release, pager_release_work);
	attach_add_link(at, link);
	at->link = link;
	mmgrab(mm);
	at->mm = mm;
	__module_get(THIS_MODULE);
	return at;
}

static void attach_list(struct attach *at)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&pager_lock, flags);
	list_add(&at->all, &pager_all);
	spin_unlock_irqrestore(&pager_lock, flags);
	for (i = 0; i < at->nlinks && !at->cut; i++) {
		struct attach_link *al = &at->links[i];

		mutex_lock(&al->link->mutex);
		al->listed = true;
		list_add_tail(&al->list, &al->link->attached);
		link_attached(al->link);
		if (!i)
			drain_start_wanted(at);
		mutex_unlock(&al->link->mutex);
	}
}

static struct attach *attach_find(struct mm_struct *mm)
{
	struct attach *at, *found = NULL;
	unsigned long flags;

	spin_lock_irqsave(&pager_lock, flags);
	list_for_each_entry(at, &pager_all, all) {
		if (at->mm == mm && refcount_inc_not_zero(&at->ref)) {
			found = at;
			break;
		}
	}
	spin_unlock_irqrestore(&pager_lock, flags);
	return found;
}

void drain_start_wanted(struct attach *at)
{
	if (!at->ready || !(at->link->draining || at->drains))
		return;
	/* on its way out, but still on the link's list */
	if (!refcount_inc_not_zero(&at->ref))
		return;
	if (!queue_work(pager_wq, &at->drain))
		attach_put(at);
}

static int attach_copy_moved(struct attach *at, struct attach *from)
{
	MA_STATE(mas, &from->moved, 0, 0);
	void *entry;
	int ret = 0;

	/* the parent's mmap lock is held for writing: nothing moves */
	rcu_read_lock();
	mas_for_each(&mas, entry, ULONG_MAX) {
		unsigned long first = mas.index, last = mas.last;

		mas_pause(&mas);
		rcu_read_unlock();
		ret = mtree_store_range(&at->moved, first, last, entry, GFP_KERNEL);
		rcu_read_lock();
		if (ret)
			break;
	}
	rcu_read_unlock();
	return ret;
}

/*
 * A child of one that is cut for the rest of its life needs no more than the pages that were not to
 * be had.
 */
static bool attach_has_use(const struct attach *from, const struct pager_block *b)
{
	return !from->cut || !bitmap_empty(b->pending, PAGER_BLOCK_PAGES);
}

static unsigned long attach_nblocks(const struct attach *from)
{
	unsigned long i, n = 0;

	for (i = 0; i < from->nblocks; i++)
		n += attach_has_use(from, &from->blocks[i]);
	return n;
}

/* A forked child is a lazy process of its own, with its parent's missing pages. */
static struct attach *attach_fork(struct attach *from, struct mm_struct *mm)
{
	struct attach *at = attach_alloc(from->link, mm, attach_nblocks(from), GFP_KERNEL);
	unsigned long i, n = 0;

	if (at && attach_copy_moved(at, from)) {
		attach_put(at);
		at = NULL;
	}
	if (!at) {
		/* open() cannot fail; a child that cannot be served is killed at its first fault */
		at = attach_alloc(from->link, mm, 0, GFP_KERNEL | __GFP_NOFAIL);
		at->broken = true;
	}
	for (i = 1; i < from->nlinks; i++)
		attach_add_link(at, from->links[i].link);
	at->mm_id = from->mm_id;
	at->cut = from->cut;
	at->cache = from->cache;
	at->drains = from->drains;
	prefetch_fork(at, from);
	for (i = 0; n < at->nblocks; i++) {
		if (!attach_has_use(from, &from->blocks[i]))
			continue;
		at->blocks[n] = from->blocks[i];
		bitmap_zero(at->blocks[n++].pending, PAGER_BLOCK_PAGES);
	}
	at->ready = true;
	attach_list(at);
	return at;
}

/* Where the reads are that @at may find. */
static spinlock_t *pager_reads_lock(struct attach *at)
{
	return at->cache ? &at->link->cache.lock : &at->lock;
}

static void pager_read_done(struct link_read *lr, int err)
{
	struct pager_read *pr = container_of(lr, struct pager_read, lr);
	struct attach *at = pr->at;
	unsigned long flags;

	spin_lock_irqsave(&at->lock, flags);
	if (!--at->outstanding)
		at->busy_ns += ktime_get_ns() - at->busy_since;
	spin_unlock_irqrestore(&at->lock, flags);
	if (err) {
		/* whoever wants one of these pages asks anew */
		spin_lock_irqsave(pager_reads_lock(at), flags);
		list_del_init(&pr->list);
		spin_unlock_irqrestore(pager_reads_lock(at), flags);
	}
	pr->err = err;
	complete_all(&pr->arrived);
	pager_read_put(pr);
}

/* Whether a process still has the memory that a read is for. */
static bool pager_read_wanted(struct link_read *lr)
{
	struct pager_read *pr = container_of(lr, struct pager_read, lr);

	struct attach *at = pr->at;
	unsigned long flags;
	bool wanted;

	if (atomic_read(&at->mm->mm_users))
		return true;
	if (!at->cache)
		return false;
	/* another process may wait for it, too; when it does not, none shall find it any more */
	spin_lock_irqsave(&at->link->cache.lock, flags);
	wanted = refcount_read(&pr->ref) > 1;
	if (!wanted)
		list_del_init(&pr->list);
	spin_unlock_irqrestore(&at->link->cache.lock, flags);
	return wanted;
}

void pager_read_put(struct pager_read *pr)
{
	struct attach *at = pr->at;
	unsigned long flags;
	unsigned int i;

	if (!refcount_dec_and_test(&pr->ref))
		return;
	spin_lock_irqsave(pager_reads_lock(at), flags);
	list_del(&pr->list);
	spin_unlock_irqrestore(pager_reads_lock(at), flags);
	for (i = 0; i < pr->n; i++)
		put_page(pr->page + i);
	kfree(pr);
	attach_put(at);
}

void pager_read_used(struct pager_read *pr)
{
	struct link *link = pr->filled ? pr->lr.link : NULL;
	unsigned int n = pr->n;
	u32 rkey = pr->lr.rd.rkey;
	u64 pg = pr->pg;

	if (link)
		link_ref(link);
	pager_read_put(pr);
	if (!link)
		return;
	cache_drop_region(&link->cache, rkey, pg, n);
	link_put(link);
}

int pager_read_keep(struct attach *at, struct pager_read *pr, bool last)
{
	struct mem_cgroup *memcg, *old;
	unsigned int i;
	int ret = 0;

	if (!at->cache)
		return 0;
	mutex_lock(&pr->keeping);
	if (!pr->kept) {
		/* a drain does it for its process */
		memcg = get_mem_cgroup_from_mm(at->mm);
		old = set_active_memcg(memcg);
		for (i = 0; i < pr->n; i++)
			if (cache_add(&at->link->cache, at->mm_id, pr->pg + i,
				      pr->page + i) == -ENOMEM)
				ret = -ENOMEM;
		set_active_memcg(old);
		mem_cgroup_put(memcg);
		/* what may be mapped from now on is not to be locked, as it is while it is added */
		pr->kept = !ret || last;
	}
	mutex_unlock(&pr->keeping);
	return ret;
}

/*
 * The read that brings page @pg, referenced, if there is one. Otherwise, unless the source has
 * refused the page (-EREMOTEIO), @pr, which may be NULL, becomes that one.
 */
static struct pager_read *pager_read_enter(struct attach *at, u64 pg, const struct pager_block *b,
					   struct pager_read *pr)
{
	struct list_head *reads = at->cache ? &at->link->cache.reads : &at->reads;
	struct pager_read *other, *found = NULL;
	unsigned long flags;

	spin_lock_irqsave(pager_reads_lock(at), flags);
	list_for_each_entry(other, reads, list) {
		if (other->lr.mm == at->mm_id && pg >= other->pg && pg < other->pg + other->n &&
		    refcount_inc_not_zero(&other->ref)) {
			found = other;
			break;
		}
	}
	/*
	 * looked at after the reads: a read that is refused is noted first and then taken from the
	 * list
	 */
	if (!found && !link_readable(at->links[b->src].link, b->rkey, pg, 1))
		found = ERR_PTR(-EREMOTEIO);
	if (!found && pr)
		list_add_tail(&pr->list, reads);
	spin_unlock_irqrestore(pager_reads_lock(at), flags);
	if (!IS_ERR_OR_NULL(found) && found->at != at)
		mitosis_stat_add(MITOSIS_STAT_CACHE_HITS, 1);
	return found;
}

static void pager_read_init(struct pager_read *pr, struct attach *at, u64 pg, unsigned int n,
			    unsigned long addr)
{
	refcount_set(&pr->ref, 1);
	INIT_LIST_HEAD(&pr->list);
	refcount_inc(&at->ref);
	pr->at = at;
	pr->pg = pg;
	pr->n = n;
	pr->addr = addr;
	init_completion(&pr->arrived);
	mutex_init(&pr->keeping);
}

/*
 * A read that has arrived already, of @n pages from @page on that are here, each with a reference
 * that it takes over; NULL: no @page.
 */
static struct pager_read *pager_read_arrived(struct attach *at, u64 pg, struct page *page,
					     unsigned int n, unsigned long addr)
{
	struct pager_read *pr;
	unsigned int i;

	if (!page)
		return NULL;
	pr = kzalloc(sizeof(*pr), GFP_KERNEL);
	if (!pr) {
		for (i = 0; i < n; i++)
			put_page(page + i);
		return ERR_PTR(-ENOMEM);
	}
	pager_read_init(pr, at, pg, n, addr);
	pr->page = page;
	pr->kept = true;
	mitosis_stat_add(MITOSIS_STAT_CACHE_HITS, n);
	complete_all(&pr->arrived);
	return pr;
}

static struct pager_read *pager_read_cached(struct attach *at, u64 pg, unsigned long addr)
{
	return pager_read_arrived(at, pg, cache_get(&at->link->cache, at->mm_id, pg), 1, addr);
}

/*
 * Of up to @n pages that a fill has brought here before there was the process, if they are in one
 * piece.
 */
static struct pager_read *pager_read_filled(struct attach *at, const struct pager_block *b, u64 pg,
					    unsigned int n, unsigned long addr)
{
	struct link *link = at->links[b->src].link;
	struct page *page, *next = NULL;
	struct pager_read *pr;
	unsigned int i;

	page = cache_get_region(&link->cache, b->rkey, pg);
	for (i = 1; page && i < n; i++) {
		next = cache_get_region(&link->cache, b->rkey, pg + i);
		if (next != page + i)
			break;
		next = NULL;
	}
	if (next)
		put_page(next);
	pr = pager_read_arrived(at, pg, page, i, addr);
	if (IS_ERR_OR_NULL(pr))
		return pr;
	pr->filled = true;
	pr->lr.link = link;
	pr->lr.rd.rkey = b->rkey;
	return pr;
}

/*
 * What is here of pages that are to be read; else NULL, and @n is how many are before the next one
 * that is.
 */
static struct pager_read *pager_read_here(struct attach *at, const struct pager_block *b, u64 pg,
					  unsigned int *n, unsigned long addr)
{
	struct cache *filled = &at->links[b->src].link->cache;
	struct pager_read *pr;
	unsigned int i;

	if (at->cache) {
		pr = pager_read_cached(at, pg, addr);
		if (pr)
			return pr;
		for (i = 1; i < *n; i++)
			if (cache_has(&at->link->cache, at->mm_id, pg + i))
				*n = i;
	}
	if (!READ_ONCE(filled->filled))
		return NULL;
	pr = pager_read_filled(at, b, pg, *n, addr);
	for (i = 1; !pr && i < *n; i++)
		if (cache_has_region(filled, b->rkey, pg + i))
			*n = i;
	return pr;
}

unsigned int pager_readable(struct attach *at, u64 pg, unsigned int n)
{
	struct pager_block *b = pager_find_block(at, pg);

	return b ? link_readable(at->links[b->src].link, b->rkey, pg, n) : 0;
}

/*
 * Asks for [pg, pg + n), which are pending in one region, unless pg is on its way already, or here.
 * Returns a referenced read or an ERR_PTR. @n becomes a smaller number of pages when memory is
 * fragmented, or when others are here.
 */
struct pager_read *pager_read_prepare(struct attach *at, u64 pg, unsigned int n, unsigned long addr,
				      struct list_head *post)
{
	struct pager_block *b = pager_find_block(at, pg);
	struct pager_read *pr, *other;
	unsigned int order = 0, i;
	unsigned long flags;

	if (!b)
		return ERR_PTR(-EAGAIN);
	pr = pager_read_here(at, b, pg, &n, addr);
	if (pr)
		return pr;
	other = pager_read_enter(at, pg, b, NULL);
	if (other)
		return other;

	pr = kzalloc(sizeof(*pr), GFP_KERNEL);
	if (!pr)
		return ERR_PTR(-ENOMEM);
	if (n > 1) {
		order = ilog2(roundup_pow_of_two(n));
		pr->page = alloc_pages(GFP_HIGHUSER | __GFP_NOWARN | __GFP_NORETRY, order);
	}
	if (pr->page) {
		/* READ wants them contiguous, the fault handler wants each for itself */
		split_page(pr->page, order);
		for (i = n; i < 1U << order; i++)
			__free_page(pr->page + i);
	} else {
		n = 1;
		pr->page = alloc_page(GFP_HIGHUSER);
		if (!pr->page) {
			kfree(pr);
			return ERR_PTR(-ENOMEM);
		}
	}
	pager_read_init(pr, at, pg, n, addr);
	refcount_inc(&pr->ref);		/* the read's */
	pr->lr.done = pager_read_done;
	pr->lr.wanted = pager_read_wanted;
	pr->lr.link = at->links[b->src].link;
	pr->lr.mm = at->mm_id;
	pr->lr.rd.raddr = pg << PAGE_SHIFT;
	pr->lr.rd.rkey = b->rkey;
	pr->lr.rd.npages = n;
	pr->lr.rd.page = pr->page;

	spin_lock_irqsave(&at->lock, flags);
	if (!at->outstanding++)
		at->busy_since = ktime_get_ns();
	spin_unlock_irqrestore(&at->lock, flags);
	other = pager_read_enter(at, pg, b, pr);
	if (other) {
		/* as a read that has failed: nobody else knows of it */
		pager_read_done(&pr->lr, -EAGAIN);
		pager_read_put(pr);
		return other;
	}
	list_add_tail(&pr->lr.rd.list, post);
	return pr;
}

void pager_post(struct list_head *post)
{
	struct link_read *lr, *next;

	while (!list_empty(post)) {
		struct link *link = list_first_entry(post, struct link_read, rd.list)->link;
		LIST_HEAD(same);

		list_for_each_entry_safe(lr, next, post, rd.list)
			if (lr->link == link)
				list_move_tail(&lr->rd.list, &same);
		link_read_list(link, &same);
	}
}

struct pager_read *pager_read_start(struct attach *at, u64 pg, unsigned int n, unsigned long addr)
{
	struct pager_read *pr;
	LIST_HEAD(post);

	pr = pager_read_prepare(at, pg, n, addr, &post);
	if (!list_empty(&post))
		pager_post(&post);
	return pr;
}

/*
 * Hands @page (NULL: nothing) to the fault that handle_mm_fault() makes at @addr. With @write,
 * FAULT_FLAG_WRITE, the kernel's own copy-on-write puts anonymous memory there, whatever the
 * protection; with 0 @page itself is mapped.
 */
static int pager_feed(struct attach *at, struct vm_area_struct *vma, unsigned long addr,
		      struct page *page, unsigned int write)
{
	struct pager_install in = {
		.task = current,
		.page = page,
		.pg = pager_pg(vma, addr),
	};
	unsigned long flags;
	vm_fault_t ret;

	spin_lock_irqsave(&at->lock, flags);
	list_add(&in.list, &at->installs);
	spin_unlock_irqrestore(&at->lock, flags);
	ret = handle_mm_fault(vma, addr, write | FAULT_FLAG_REMOTE, NULL);
	spin_lock_irqsave(&at->lock, flags);
	list_del(&in.list);
	spin_unlock_irqrestore(&at->lock, flags);
	if (ret & VM_FAULT_OOM)
		return -ENOMEM;
	if (ret & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE))
		return -EHWPOISON;
	if (ret & VM_FAULT_ERROR)
		return -EFAULT;
	return 0;
}

bool pager_maps_shared(const struct attach *at, pte_t pte)
{
	return pte_present(pte) && !pte_special(pte) &&
	       cache_keeps(&at->link->cache, pte_page(pte));
}

struct pager_entry {
	struct attach *at;
	bool present, shared;
};

static int pager_look(pte_t *ptep, unsigned long addr, void *arg)
{
	struct pager_entry *e = arg;

	e->present = true;
	e->shared = pager_maps_shared(e->at, *ptep);
	return 0;
}

/* mmap lock held for writing. What the page table has at @addr. */
static struct pager_entry pager_entry_at(struct attach *at, unsigned long addr)
{
	struct pager_entry e = { .at = at };

	apply_to_existing_page_range(at->mm, addr, PAGE_SIZE, pager_look, &e);
	return e;
}

/* mmap lock held for writing. An madvise() may have cleared them. */
static void pager_rehint_vma(struct vm_area_struct *vma)
{
	if ((vma->vm_flags & PAGER_VM_HINTS) == PAGER_VM_HINTS)
		return;
	compat_vma_start_write(vma);
	compat_vm_flags_set(vma, PAGER_VM_HINTS);
}

int pager_install_page(struct attach *at, struct vm_area_struct *vma, unsigned long addr,
		       struct page *page)
{
	u64 pg = pager_pg(vma, addr);
	int ret, i;

	pager_rehint_vma(vma);
	if (page && !pager_pending(at, vma, pg))
		return 0;
	ret = pager_feed(at, vma, addr, page ?: pager_zero, FAULT_FLAG_WRITE);
	/*
	 * Where a page of the cache is mapped the kernel may have done something else first: taken
	 * note of a use, or of the NUMA node. What is not the process's own must not be settled.
	 */
	for (i = 0; i < PAGER_COPY_TRIES && at->cache && !ret; i++) {
		if (!pager_entry_at(at, addr).shared)
			break;
		ret = pager_feed(at, vma, addr, page ?: pager_zero, FAULT_FLAG_WRITE);
	}
	if (at->cache && !ret && pager_entry_at(at, addr).shared)
		return -EAGAIN;
	if (at->cache && ret == -EHWPOISON && pager_entry_at(at, addr).shared) {
		/* this node's memory has failed, and the source still has the page */
		at->unmapping = current;
		compat_zap_range(vma, addr, PAGE_SIZE);
		at->unmapping = NULL;
		return -EAGAIN;
	}
	if (ret)
		return ret;
	return page ? pager_settle(at, pg) : 1;
}

/*
 * For a fault that only reads: maps pages of the node's cache, which other children map, too. One
 * that is here is mapped with those around it, each of which would cost a fault of its own.
 */
static int pager_map_shared(struct attach *at, struct vm_area_struct *vma, unsigned long addr,
			    struct page *page)
{
	unsigned long from = max(ALIGN_DOWN(addr, PAGER_AROUND), vma->vm_start);
	unsigned long to = min(ALIGN_DOWN(addr, PAGER_AROUND) + PAGER_AROUND, vma->vm_end);
	struct page *near;
	int ret;

	ret = pager_feed(at, vma, addr, page, 0);
	/* what is mapped so is not seen to be touched */
	if (at->prefetch.record)
		return ret;
	for (; from < to && !ret; from += PAGE_SIZE) {
		/*
		 * one that is mapped, or was written to and is swapped out, is none of our business
		 */
		if (from == addr || !pager_pending(at, vma, pager_pg(vma, from)) ||
		    pager_entry_at(at, from).present)
			continue;
		near = cache_get(&at->link->cache, at->mm_id, pager_pg(vma, from));
		if (!near)
			continue;
		/* nobody has asked for it: without memory for its page table entry it can wait */
		pager_feed(at, vma, from, near, 0);
		put_page(near);
	}
	return ret;
}

static struct pager_install *pager_installing(struct attach *at)
{
	struct pager_install *in;
	unsigned long flags;

	spin_lock_irqsave(&at->lock, flags);
	list_for_each_entry(in, &at->installs, list) {
		if (in->task == current) {
			spin_unlock_irqrestore(&at->lock, flags);
			return in;
		}
	}
	spin_unlock_irqrestore(&at->lock, flags);
	return NULL;
}

/*
 * The mmap lock is not held. Waits as the fault's flags allow; 0, -EINTR or why the page cannot be
 * had.
 */
static int pager_wait(struct pager_read *pr, unsigned int flags)
{
	int ret = 0;

	/*
	 * In a system call only a fatal signal helps: with others the core would fault again at
	 * once.
	 */
	if ((flags & FAULT_FLAG_INTERRUPTIBLE) && (flags & FAULT_FLAG_USER))
		ret = wait_for_completion_interruptible(&pr->arrived);
	else if (flags & FAULT_FLAG_KILLABLE)
		ret = wait_for_completion_killable(&pr->arrived);
	else
		wait_for_completion(&pr->arrived);
	if (ret)
		return -EINTR;
	return pr->err;
}

/*
 * Brings in the page for a fault that may drop the mmap lock, and returns with it dropped: 0 when
 * the fault should be tried again, else -errno.
 */
static int pager_bring(struct attach *at, struct mm_struct *mm, unsigned long addr, u64 pg,
		       bool pending, unsigned int flags)
{
	struct vm_area_struct *vma;
	struct pager_read *pr = NULL;
	u64 t0 = ktime_get_ns();
	int ret = 0;

	if (pending) {
		WRITE_ONCE(at->hint, pg + 1);
		do {
			if (pr)
				pager_read_put(pr);
			pr = ret ? pager_read_start(at, pg, 1, addr) : prefetch_read(at, pg, addr);
			/* discarded meanwhile, or brought in by somebody else */
			if (PTR_ERR_OR_ZERO(pr) == -EAGAIN) {
				pr = NULL;
				break;
			}
			if (IS_ERR(pr))
				return PTR_ERR(pr);
			if (!completion_done(&pr->arrived))
				mitosis_stat_add(MITOSIS_STAT_FAULTS_WAITED, 1);
			ret = pager_wait(pr, flags);
			/* one of several pages is refused: not which */
		} while (ret == -EREMOTEIO && pr->n > 1);
		if (ret && pr)
			goto out;
		ret = 0;
		/* at the limit of its cgroup, which knows of no mapped page that could go */
		if (pr && pager_read_keep(at, pr, false) == -ENOMEM) {
			pager_make_room(at);
			pager_read_keep(at, pr, true);
		}
	}
	pager_ensure_room(at, 1);
	if (flags & FAULT_FLAG_KILLABLE) {
		ret = mmap_write_lock_killable(mm) ? -EINTR : 0;
		if (ret)
			goto out;
	} else {
		mmap_write_lock(mm);
	}
	vma = find_vma(mm, addr);
	if (vma && vma->vm_start <= addr && pager_armed(vma, at) && pager_pg(vma, addr) == pg) {
		if (!pager_pending(at, vma, pg)) {
			/*
			 * zero, or somebody else has brought it in: feeding leaves what is there
			 * alone
			 */
			ret = pager_install_page(at, vma, addr, NULL);
		} else if (pr) {
			struct page *page = pr->page + (pg - pr->pg);

			pager_rehint_vma(vma);
			if (at->cache && !(flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)) &&
			    cache_keeps(&at->link->cache, page)) {
				ret = pager_map_shared(at, vma, addr, page);
			} else {
				ret = pager_install_page(at, vma, addr, page);
				if (ret > 0) {
					atomic_long_inc(&at->nfault);
					atomic_long_add(pr->filled, &at->nfilled);
				}
				prefetch_install(at, vma, addr, pr, pg);
			}
		}
		/* the fault comes again */
		ret = ret == -EAGAIN ? 0 : min(ret, 0);
	}
	mmap_write_unlock(mm);
out:
	if (pr) {
		u64 ns = ktime_get_ns() - t0;

		mitosis_stat_add(MITOSIS_STAT_FAULTS_READ, 1);
		mitosis_stat_add(MITOSIS_STAT_FAULT_NS, ns);
		mitosis_latency_add(&at->latency, ns);
		trace_mitosis_fault(at->link->id, at->mm_id, pg << PAGE_SHIFT, ns, ret);
		pager_read_put(pr);
	} else {
		mitosis_stat_add(MITOSIS_STAT_FAULTS_ZERO, 1);
	}
	return ret;
}

/*
 * Whether the process itself asks, and would be misled by an error. A core dump leaves out what it
 * cannot have, and who looks from outside is told.
 */
static bool pager_own_access(struct mm_struct *mm)
{
	return current->mm == mm && !(current->flags & (PF_EXITING | PF_KTHREAD | PF_DUMPCORE));
}

/* mmap lock held. */
static bool pager_still_pending(struct attach *at, unsigned long addr, u64 pg)
{
	struct vm_area_struct *vma = find_vma(at->mm, addr);

	return vma && vma->vm_start <= addr && pager_armed(vma, at) && pager_pg(vma, addr) == pg &&
	       pager_pending(at, vma, pg);
}

/*
 * The answer to faults that may not drop the mmap lock: ptrace, /proc/PID/mem, uprobes, futexes,
 * long-term pins. The page is installed under the lock held for reading; a MADV_DONTNEED of another
 * thread can come between, and then nobody can tell which of the two contents is right: dead_seq
 * shows it, and the process is killed rather than left to misread.
 */
static vm_fault_t pager_fault_noretry(struct attach *at, struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long addr = vmf->address & PAGE_MASK;
	u64 pg = vmf->pgoff;
	unsigned long bound = msecs_to_jiffies(PAGER_NORETRY_MS);
	/* a futex operation, not a debugger: an error would be misread */
	bool own = pager_own_access(vma->vm_mm), fed;
	struct pager_read *pr = NULL;
	unsigned long seq;
	long left;
	int ret;

	mitosis_stat_add(MITOSIS_STAT_FAULTS_NORETRY, 1);
	if (!pager_pending(at, vma, pg)) {
		ret = pager_feed(at, vma, addr, pager_zero, FAULT_FLAG_WRITE);
		return ret ? (ret == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS) : VM_FAULT_NOPAGE;
	}
	do {
		if (pr)
			pager_read_put(pr);
		pr = pager_read_start(at, pg, 1, addr);
		if (PTR_ERR_OR_ZERO(pr) == -ENOMEM)
			return VM_FAULT_OOM;
		/* discarded meanwhile: the fault comes again */
		if (PTR_ERR_OR_ZERO(pr) == -EAGAIN)
			return VM_FAULT_NOPAGE;
		if (IS_ERR(pr)) {
			ret = PTR_ERR(pr);
			break;
		}
		if (own)
			left = wait_for_completion_killable(&pr->arrived) ? 0 : 1;
		else
			left = wait_for_completion_killable_timeout(&pr->arrived, bound);
		ret = left > 0 ? pr->err : -EINTR;
	} while (ret == -EREMOTEIO && pr->n > 1);
	if (ret) {
		if (own && ret != -EINTR)
			pager_kill(at, "a page of it cannot be had any more");
		else
			pr_warn_ratelimited("mitosis: snapshot %016llx: an access from outside to %lx of mm %u failed: the page did not arrive\n",
					    at->link->id, addr, at->mm_id);
		if (!IS_ERR(pr))
			pager_read_put(pr);
		return VM_FAULT_SIGBUS;
	}
	pager_read_keep(at, pr, true);
	seq = READ_ONCE(at->dead_seq);
	fed = pager_pending(at, vma, pg);
	ret = fed ? pager_feed(at, vma, addr, pr->page + (pg - pr->pg), FAULT_FLAG_WRITE) : 0;
	pager_read_put(pr);
	if (ret)
		return ret == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	if (pager_settle(at, pg))
		atomic_long_inc(&at->nfault);
	else if (fed && READ_ONCE(at->dead_seq) != seq)
		pager_kill(at, "it discarded a page while it was read from outside");
	return VM_FAULT_NOPAGE;
}

static vm_fault_t pager_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct attach *at = vma->vm_private_data;
	struct mm_struct *mm = vma->vm_mm;
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned int flags = vmf->flags;
	struct pager_install *in;
	u64 pg = vmf->pgoff;
	bool pending, retry;
	int ret;

	if (unlikely(at->broken)) {
		pager_kill(at, "no memory for its state at fork");
		return VM_FAULT_SIGBUS;
	}
	in = pager_installing(at);
	if (in) {
		if (!in->page || in->pg != pg)
			return VM_FAULT_NOPAGE;
		if (!(flags & FAULT_FLAG_WRITE))
			atomic_long_inc(&at->nshared);
		get_page(in->page);
		vmf->page = in->page;
		return 0;
	}

	mitosis_stat_add(MITOSIS_STAT_FAULTS, 1);
	if (at->prefetch.record && pager_pending(at, vma, pg))
		prefetch_note(at, pg);
	if (!(flags & FAULT_FLAG_ALLOW_RETRY))
		return pager_fault_noretry(at, vmf);
	if (!pager_pending(at, vma, pg) && (flags & FAULT_FLAG_WRITE)) {
		/* settled pages never become pending again: nothing to race with */
		mitosis_stat_add(MITOSIS_STAT_FAULTS_ZERO, 1);
		get_page(pager_zero);
		vmf->page = pager_zero;
		return 0;
	}
	if (flags & FAULT_FLAG_RETRY_NOWAIT) {
		struct pager_read *pr;

		if (pager_pending(at, vma, pg)) {
			pr = pager_read_start(at, pg, 1, addr);
			if (!IS_ERR(pr))
				pager_read_put(pr);
		}
		return VM_FAULT_RETRY;
	}

	pending = pager_pending(at, vma, pg);
	refcount_inc(&at->ref);
	mmap_read_unlock(mm);
	ret = pager_bring(at, mm, addr, pg, pending, flags);
	retry = ret == 0 || ret == -EINTR;
	/*
	 * errors are returned with the lock held; taking it may sleep, so the module must be held,
	 * too
	 */
	if (!retry)
		mmap_read_lock(mm);
	if (ret == -ENOLINK || ret == -EREMOTEIO) {
		bool own = pager_own_access(mm);

		if (!pager_still_pending(at, addr, pg)) {
			/*
			 * somebody else has brought it in, and the link may have gone because
			 * nothing was missing any more
			 */
			retry = true;
		} else if (own || ret == -ENOLINK) {
			pager_kill(at, "a page of it cannot be had any more");
			/*
			 * one that takes no signal, or is not of this process, would try for ever
			 */
			retry = own;
		}
		if (retry)
			mmap_read_unlock(mm);
	}
	attach_put(at);
	if (retry)
		return VM_FAULT_RETRY;
	return ret == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
}

/*
 * What is pending for the parent's mapping is pending for the child's copy @vma of it. The parent's
 * mmap lock is held for writing: nothing else changes its bits.
 */
static void pager_copy_pending(struct attach *child, struct attach *from,
			       struct vm_area_struct *vma)
{
	u64 pg = vma->vm_pgoff, end = pg + vma_pages(vma);
	unsigned int n;

	for (; (n = pager_next(from, vma, &pg, end, PAGER_BLOCK_PAGES)); pg += n) {
		struct pager_block *b = pager_find_src(child, pg, pager_find_block(from, pg)->src);

		bitmap_set(b->pending, pg % PAGER_BLOCK_PAGES, n);
		atomic_long_add(n, &child->npending);
		child->ntotal += n;
	}
}

static void pager_open(struct vm_area_struct *vma)
{
	struct attach *at = vma->vm_private_data, *child;
	struct mm_struct *mm = vma->vm_mm;

	if (at->mm == mm) {
		refcount_inc(&at->ref);
		return;
	}
	child = attach_find(mm);
	if (!child)
		child = attach_fork(at, mm);
	vma->vm_private_data = child;
	if (!child->broken && !(vma->vm_flags & VM_WIPEONFORK))
		pager_copy_pending(child, at, vma);
}

static void pager_close(struct vm_area_struct *vma)
{
	struct attach *at = vma->vm_private_data;

	pager_dead(at, vma, vma->vm_pgoff, vma_pages(vma));
	attach_put(at);
}

/*
 * Called by mremap() when all has been moved: enters what the hook has noted. Pages that only look
 * moved, because their index is shared with the tail of a mapping that once grew, stay where they
 * are.
 */
static int pager_mremap(struct vm_area_struct *vma)
{
	struct attach *at = vma->vm_private_data;
	u64 pg, end;
	int ret = 0;

	if (!at->move_n)
		return 0;
	pg = at->move_pg;
	end = pg + at->move_n;
	while (pg < end && !ret) {
		MA_STATE(mas, &at->moved, pg, pg);
		unsigned long bias = PAGER_BIAS;
		u64 stop = end;
		void *entry;

		rcu_read_lock();
		entry = mas_find(&mas, end - 1);
		if (entry && mas.index <= pg) {
			bias = xa_to_value(entry);
			stop = min_t(u64, end, mas.last + 1);
		} else if (entry) {
			stop = mas.index;
		}
		rcu_read_unlock();
		if (bias == at->move_from)
			ret = mtree_store_range(&at->moved, pg, stop - 1,
						xa_mk_value(at->move_to), GFP_KERNEL);
		pg = stop;
	}
	if (ret)
		pager_kill(at, "no memory to note where mremap() has moved its pages");
	else
		WRITE_ONCE(at->move_n, 0);
	return ret;
}

static const struct vm_operations_struct pager_vm_ops = {
	.fault = pager_fault,
	.open = pager_open,
	.close = pager_close,
	.mremap = pager_mremap,
};

void pager_rehint(struct attach *at)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, at->mm, 0);

	for_each_vma(vmi, vma) {
		if (pager_armed(vma, at))
			pager_rehint_vma(vma);
	}
}

void pager_disarm(struct attach *at)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, at->mm, 0);
	u64 pg;

	for_each_vma(vmi, vma) {
		if (!pager_armed(vma, at))
			continue;
		pg = vma->vm_pgoff;
		if (pager_next(at, vma, &pg, pg + vma_pages(vma), 1)) {
			at->cut = true;
			continue;
		}
		compat_vma_start_write(vma);
		vma->vm_ops = NULL;
		vma->vm_private_data = NULL;
		compat_vm_flags_clear(vma, PAGER_VM_FLAGS);
		if (!vma->anon_vma)
			vma->vm_pgoff = vma->vm_start >> PAGE_SHIFT;
		attach_put(at);
	}
	if (at->cut)
		attach_unlist(at);
}

static int pager_block_cmp(const void *a, const void *b)
{
	const struct pager_block *x = a, *y = b;

	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->src < y->src ? -1 : x->src > y->src;
}

static int pager_block_pend(struct attach *at, const struct link_mm *lm, unsigned int src)
{
	unsigned long i;

	for (i = 0; i < lm->nruns; i++) {
		u64 pg = lm->runs[i].start >> PAGE_SHIFT, end = pg + lm->runs[i].npages;

		while (pg < end) {
			unsigned int from = pg % PAGER_BLOCK_PAGES, n;
			struct pager_block *b = pager_find_src(at, pg, src);
			unsigned long j;

			n = min_t(u64, PAGER_BLOCK_PAGES - from, end - pg);
			/* every page of a run must be readable */
			if (!b || from < b->first || from + n > b->first + b->npages)
				return -EINVAL;
			/* and have one source */
			for (j = pager_lower(at, pg); pager_in_block(at, j, pg); j++)
				if (find_next_bit(at->blocks[j].pending, from + n, from) < from + n)
					return -EINVAL;
			bitmap_set(b->pending, from, n);
			at->ntotal += n;
			pg += n;
			cond_resched();
		}
	}
	return 0;
}

static int pager_block_build(struct attach *at, const struct list_head *lms)
{
	const struct link_mm *lm;
	unsigned int src = 0;
	unsigned long i, b = 0;
	int ret = 0;

	list_for_each_entry(lm, lms, list) {
		/* there is none of the link's own snapshot when all is inherited */
		src += !src && lm->parent;
		for (i = 0; i < lm->nregions; i++) {
			struct pager_block *block = &at->blocks[b++];

			block->block = lm->regions[i].start >> MITOSIS_REGION_SHIFT;
			block->src = src;
			block->rkey = lm->regions[i].rkey;
			block->first = (lm->regions[i].start >> PAGE_SHIFT) % PAGER_BLOCK_PAGES;
			block->npages = lm->regions[i].npages;
		}
		src++;
	}
	if (at->nlinks > 1)
		sort(at->blocks, at->nblocks, sizeof(*at->blocks), pager_block_cmp, NULL);
	src = 0;
	list_for_each_entry(lm, lms, list) {
		src += !src && lm->parent;
		ret = ret ?: pager_block_pend(at, lm, src++);
	}
	atomic_long_set(&at->npending, at->ntotal);
	return ret;
}

/* Links to the snapshots that pages are inherited from, which @owner has opened. */
static int pager_parents(struct attach *at, u32 owner, const struct list_head *lms)
{
	const struct link_mm *lm;
	struct link *parent;

	list_for_each_entry(lm, lms, list) {
		if (!lm->parent)
			continue;
		if (at->nlinks == ARRAY_SIZE(at->links))
			return -E2BIG;
		parent = link_get_opened(lm->parent, owner);
		if (!parent)
			return -ENOTCONN;
		attach_add_link(at, parent);
		link_put(parent);
	}
	return 0;
}

static bool pager_can_arm(struct mm_struct *mm, struct vm_area_struct *vma)
{
	const unsigned long never = VM_SHARED | VM_HUGETLB | VM_LOCKED | VM_LOCKONFAULT |
				    VM_GROWSDOWN | VM_PFNMAP | VM_MIXEDMAP | VM_IO |
				    VM_SHADOW_STACK | VM_DROPPABLE;

	if (!vma_is_anonymous(vma) || vma->vm_file || (vma->vm_flags & never))
		return false;
	if (vma->vm_pgoff != vma->vm_start >> PAGE_SHIFT || userfaultfd_armed(vma))
		return false;
	/* /proc/PID/cmdline and environ do not read mappings with operations */
	if (vma->vm_start < mm->arg_end && vma->vm_end > mm->arg_start)
		return false;
	return !(vma->vm_start < mm->env_end && vma->vm_end > mm->env_start);
}

unsigned int pager_next(struct attach *at, const struct vm_area_struct *vma, u64 *pg, u64 end,
			unsigned int max)
{
	unsigned long i = pager_lower(at, *pg);

	while (i < at->nblocks && *pg < end) {
		u64 first = at->blocks[i].block << PAGER_BLOCK_SHIFT;
		const struct pager_block *next = NULL;
		unsigned int from, to, nearest, n = 0;

		if (first >= end)
			break;
		*pg = max(*pg, first);
		to = min_t(u64, end - first, PAGER_BLOCK_PAGES);
		nearest = to;
		for (; pager_in_block(at, i, first); i++) {
			const struct pager_block *b = &at->blocks[i];

			from = *pg - first;
			for_each_set_bit_from(from, b->pending, nearest)
				if (!vma || pager_bias(at, first + from) == pager_vma_bias(vma))
					break;
			if (from < nearest) {
				nearest = from;
				next = b;
			}
		}
		if (next) {
			*pg = first + nearest;
			while (n < max && nearest + n < to &&
			       test_bit(nearest + n, next->pending) &&
			       (!vma || pager_bias(at, *pg + n) == pager_vma_bias(vma)))
				n++;
			/* discarded since it was found */
			if (n)
				return n;
		}
		*pg = first + PAGER_BLOCK_PAGES;
	}
	*pg = end;
	return 0;
}

static void pager_inherit_drop(struct pager_inherit *in)
{
	list_del(&in->list);
	link_unpin(in->link);
	kvfree(in->blocks);
	kfree(in);
}

static unsigned int pager_inherit_count(const struct list_head *from)
{
	const struct pager_inherit *in;
	unsigned int n = 0;

	list_for_each_entry(in, from, list)
		n++;
	return n;
}

static int pager_inherit_from(struct attach *at, unsigned int src, struct list_head *to)
{
	struct pager_inherit *in;
	unsigned long i, n = 0, flags;
	int ret;

	for (i = 0; i < at->nblocks; i++)
		n += at->blocks[i].src == src &&
		     !bitmap_empty(at->blocks[i].pending, PAGER_BLOCK_PAGES);
	if (!n)
		return 0;
	in = kzalloc(sizeof(*in), GFP_KERNEL);
	if (!in)
		return -ENOMEM;
	in->blocks = kvcalloc(n, sizeof(*in->blocks), GFP_KERNEL);
	ret = in->blocks ? link_pin(at->links[src].link) : -ENOMEM;
	if (ret) {
		kvfree(in->blocks);
		kfree(in);
		return ret;
	}
	in->link = at->links[src].link;
	list_add_tail(&in->list, to);
	/* no block gets pages that it has not had */
	for (i = 0; i < at->nblocks && in->nblocks < n; i++) {
		if (at->blocks[i].src != src)
			continue;
		spin_lock_irqsave(&at->lock, flags);
		in->blocks[in->nblocks] = at->blocks[i];
		spin_unlock_irqrestore(&at->lock, flags);
		in->nblocks += !bitmap_empty(in->blocks[in->nblocks].pending, PAGER_BLOCK_PAGES);
	}
	return 0;
}

int pager_inherit(struct mm_struct *mm, struct list_head *to)
{
	struct attach *at = attach_find(mm);
	unsigned int src;
	int ret = 0;

	if (!at)
		return 0;
	if (at->broken || pager_nunreadable(at))
		ret = -EREMOTEIO;
	else if (!mtree_empty(&at->moved))
		ret = -EXDEV;
	for (src = 0; src < at->nlinks && !ret; src++)
		ret = pager_inherit_from(at, src, to);
	/* its own snapshot is one more source of a restore */
	if (!ret && pager_inherit_count(to) > MITOSIS_MAX_PARENTS)
		ret = -E2BIG;
	attach_put(at);
	return ret;
}

void pager_inherit_less(struct list_head *from, u64 pg, u64 n)
{
	struct pager_inherit *in;
	u64 end = pg + n;

	list_for_each_entry(in, from, list) {
		unsigned long i = pager_lower_of(in->blocks, in->nblocks, pg);

		for (; i < in->nblocks && in->blocks[i].block << PAGER_BLOCK_SHIFT < end; i++) {
			u64 first = in->blocks[i].block << PAGER_BLOCK_SHIFT;
			unsigned int lo = pg > first ? pg - first : 0;
			unsigned int hi = min_t(u64, end - first, PAGER_BLOCK_PAGES);

			bitmap_clear(in->blocks[i].pending, lo, hi - lo);
		}
	}
}

void pager_inherit_free(struct list_head *from)
{
	struct pager_inherit *in, *next;

	list_for_each_entry_safe(in, next, from, list)
		pager_inherit_drop(in);
}

void pager_inherit_trim(struct list_head *from)
{
	struct pager_inherit *in, *next;

	list_for_each_entry_safe(in, next, from, list) {
		unsigned long i;

		for (i = 0; i < in->nblocks; i++)
			if (!bitmap_empty(in->blocks[i].pending, PAGER_BLOCK_PAGES))
				break;
		if (i == in->nblocks)
			pager_inherit_drop(in);
	}
}

/* mmap lock held for writing. Discards the run's present content and arms what can be armed. */
static int pager_arm_vmas(struct attach *at)
{
	struct mm_struct *mm = at->mm;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);
	int ret;

	for_each_vma(vmi, vma) {
		u64 pg = vma->vm_start >> PAGE_SHIFT, end = vma->vm_end >> PAGE_SHIFT;
		unsigned int n;

		if (!pager_next(at, NULL, &pg, end, 1) || !pager_can_arm(mm, vma))
			continue;
		compat_vma_start_write(vma);
		for (; (n = pager_next(at, NULL, &pg, end, PAGER_BLOCK_PAGES)); pg += n)
			compat_zap_range(vma, pg << PAGE_SHIFT, (unsigned long)n << PAGE_SHIFT);
		refcount_inc(&at->ref);
		vma->vm_private_data = at;
		vma->vm_ops = &pager_vm_ops;
		compat_vm_flags_set(vma, PAGER_VM_FLAGS);
		/*
		 * Without an anon_vma fork would not copy what has been brought in, and a core dump
		 * leave it out.
		 */
		if (!vma->anon_vma) {
			ret = pager_feed(at, vma, vma->vm_start, NULL, FAULT_FLAG_WRITE);
			if (ret)
				return ret;
			if (!vma->anon_vma)
				return -ENOMEM;
		}
	}
	return 0;
}

/* Writes @page over the page at @addr of a mapping that is not armed. */
static int pager_fill(struct mm_struct *mm, unsigned long addr, struct page *page)
{
	struct page *own;
	int locked = 1;
	long got;

	mmap_read_lock(mm);
	got = compat_gup_remote(mm, addr, 1, FOLL_WRITE | FOLL_FORCE, &own, &locked);
	if (locked)
		mmap_read_unlock(mm);
	if (got != 1)
		return got < 0 ? got : -EFAULT;
	copy_highpage(own, page);
	set_page_dirty_lock(own);
	put_page(own);
	return 0;
}

/* Brings in all pending pages of [pg, end) while the process stands still. */
static int pager_eager(struct attach *at, u64 pg, u64 end)
{
	struct mm_struct *mm = at->mm;
	struct vm_area_struct *vma;
	unsigned int n, i;
	int ret = 0;

	for (; (n = pager_next(at, NULL, &pg, end, XPRT_READ_MAX)); pg += n) {
		struct pager_read *pr = pager_read_start(at, pg, n, pg << PAGE_SHIFT);

		if (!IS_ERR(pr))
			ret = pager_wait(pr, FAULT_FLAG_KILLABLE);
		while (!IS_ERR(pr) && ret == -EREMOTEIO && pr->n > 1) {
			/* one of several pages, which others may have asked for: not which */
			pager_read_put(pr);
			pr = pager_read_start(at, pg, 1, pg << PAGE_SHIFT);
			if (!IS_ERR(pr))
				ret = pager_wait(pr, FAULT_FLAG_KILLABLE);
		}
		if (PTR_ERR_OR_ZERO(pr) == -EAGAIN) {
			/* somebody who looks from outside has brought it in */
			n = 0;
			continue;
		}
		if (IS_ERR(pr))
			return PTR_ERR(pr);
		if (!ret)
			pager_read_keep(at, pr, true);
		n = min_t(unsigned int, n, pr->pg + pr->n - pg);
		for (i = 0; i < n && !ret; i++) {
			unsigned long addr = (pg + i) << PAGE_SHIFT;
			struct page *page = pr->page + (pg + i - pr->pg);
			bool armed;

			mmap_write_lock(mm);
			vma = find_vma(mm, addr);
			armed = vma && vma->vm_start <= addr && pager_armed(vma, at);
			if (armed)
				ret = min(pager_install_page(at, vma, addr, page), 0);
			mmap_write_unlock(mm);
			if (!armed) {
				ret = pager_fill(mm, addr, page);
				if (!ret)
					pager_settle(at, pg + i);
			}
			if (!ret) {
				atomic_long_inc(&at->neager);
				atomic_long_add(pr->filled, &at->nfilled);
			}
		}
		pager_read_put(pr);
		if (ret)
			return ret;
	}
	return 0;
}

/* Brings in what lies in mappings that are not armed. */
static int pager_eager_unarmed(struct attach *at)
{
	struct mm_struct *mm = at->mm;
	unsigned long addr = 0;
	int ret;

	for (;;) {
		struct vm_area_struct *vma;
		unsigned long start, end;
		bool armed;

		mmap_read_lock(mm);
		vma = find_vma(mm, addr);
		if (vma) {
			start = vma->vm_start;
			end = vma->vm_end;
			armed = pager_armed(vma, at);
		}
		mmap_read_unlock(mm);
		if (!vma)
			return 0;
		if (!armed) {
			ret = pager_eager(at, start >> PAGE_SHIFT, end >> PAGE_SHIFT);
			if (ret)
				return ret;
		}
		addr = end;
	}
}

/*
 * Runs where the process has no mapping at all: the image and the process do not belong together.
 */
static int pager_check_mapped(struct attach *at)
{
	struct vm_area_struct *vma;
	u64 pg = 0, last = 0;
	VMA_ITERATOR(vmi, at->mm, 0);

	for_each_vma(vmi, vma) {
		pg = last;
		if (pager_next(at, NULL, &pg, vma->vm_start >> PAGE_SHIFT, 1))
			return -EFAULT;
		last = vma->vm_end >> PAGE_SHIFT;
	}
	pg = last;
	return pager_next(at, NULL, &pg, TASK_SIZE_MAX >> PAGE_SHIFT, 1) ? -EFAULT : 0;
}


/* Two callers that arm one address space at a time would not see each other. */
static DEFINE_MUTEX(pager_arm_mutex);

int pager_arm(struct link *link, u32 owner, u32 mm_id, struct task_struct *task,
	      const struct mitosis_run *eager, unsigned int neager, const struct mitosis_keep *keep,
	      unsigned int nkeep, const struct pager_policy *policy)
{
	struct attach *at = NULL, *other;
	unsigned long nregions = 0;
	struct mm_struct *mm;
	struct link_mm *lm;
	u8 **kept = NULL;
	LIST_HEAD(lms);
	unsigned int i;
	int ret;

	if (!link_take(link, owner, mm_id, &lms))
		return -ENOENT;
	list_for_each_entry(lm, &lms, list)
		nregions += lm->nregions;
	mm = get_task_mm(task);
	ret = -ESRCH;
	if (!mm)
		goto out_lm;
	mutex_lock(&pager_arm_mutex);
	other = attach_find(mm);
	at = other ? NULL : attach_alloc(link, mm, nregions, GFP_KERNEL);
	ret = -ENOMEM;
	if (at) {
		at->mm_id = mm_id;
		at->pid = task_tgid_nr(task);
		at->cache = policy->flags & MITOSIS_ATTACH_F_CACHE;
		at->drains = policy->flags & MITOSIS_ATTACH_F_DRAIN;
		ret = pager_parents(at, owner, &lms);
		attach_list(at);
	}
	mutex_unlock(&pager_arm_mutex);
	if (other)
		attach_put(other);
	if (other)
		ret = -EEXIST;
	if (!at)
		goto out_mm;
	if (!ret)
		ret = pager_block_build(at, &lms) ?: prefetch_setup(at, policy, &lms);
	if (ret)
		goto out_at;

	kept = kcalloc(max(nkeep, 1U), sizeof(*kept), GFP_KERNEL);
	ret = -ENOMEM;
	if (!kept)
		goto out_at;
	for (i = 0; i < nkeep; i++) {
		ret = -EINVAL;
		if (!keep[i].len || keep[i].len > PAGE_SIZE ||
		    offset_in_page(keep[i].start) + keep[i].len > PAGE_SIZE)
			goto out_at;
		ret = -ENOMEM;
		kept[i] = kmalloc(keep[i].len, GFP_KERNEL);
		if (!kept[i])
			goto out_at;
		ret = -EFAULT;
		if (access_process_vm(task, keep[i].start, kept[i], keep[i].len, FOLL_FORCE) !=
		    keep[i].len)
			goto out_at;
	}

	ret = -EINTR;
	if (mmap_write_lock_killable(mm))
		goto out_at;
	ret = pager_check_mapped(at);
	if (!ret)
		ret = pager_arm_vmas(at);
	mmap_write_unlock(mm);
	if (ret)
		goto out_at;

	ret = pager_eager_unarmed(at);
	for (i = 0; i < neager && !ret; i++) {
		u64 pg = eager[i].start >> PAGE_SHIFT;

		if (eager[i].npages > TASK_SIZE_MAX >> PAGE_SHIFT)
			ret = -EINVAL;
		else
			ret = pager_eager(at, pg, pg + eager[i].npages);
	}
	for (i = 0; i < nkeep && !ret; i++)
		if (access_process_vm(task, keep[i].start, kept[i], keep[i].len,
				      FOLL_FORCE | FOLL_WRITE) != keep[i].len)
			ret = -EFAULT;
	if (ret)
		goto out_at;
	mutex_lock(&link->mutex);
	at->ready = true;
	link->armed = true;
	drain_start_wanted(at);
	mutex_unlock(&link->mutex);
	prefetch_begin(at);
	trace_mitosis_attach(link->id, mm_id, at->ntotal);
	netlink_event(MITOSIS_EVENT_ATTACHED, link->id, mm_id, at->pid, 0);
out_at:
	/* On failure mappings may be armed already; they go when the caller kills the process. */
	attach_put(at);
out_mm:
	mmput(mm);
out_lm:
	if (kept)
		for (i = 0; i < nkeep; i++)
			kfree(kept[i]);
	kfree(kept);
	link_mms_free(&lms);
	link_armed(link, ret);
	return ret;
}

void pager_queue(struct work_struct *work)
{
	queue_work(pager_wq, work);
}

int pager_init(void)
{
	pager_zero = alloc_page(GFP_HIGHUSER | __GFP_ZERO);
	if (!pager_zero)
		return -ENOMEM;
	pager_wq = alloc_workqueue("mitosis-pager", WQ_UNBOUND, 0);
	if (!pager_wq) {
		__free_page(pager_zero);
		return -ENOMEM;
	}
	return 0;
}

void pager_exit(void)
{
	destroy_workqueue(pager_wq);
	__free_page(pager_zero);
}
