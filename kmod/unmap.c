// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Destination: when memory is short, pages of the node's cache are taken out of the page tables of children that have not used them
 * lately, so that reclaim can have them: it does not find these mappings by itself, see cache.h. Who touches such a page again finds it in
 * the cache, or reads it once more.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>

#include "compat.h"
#include "pager.h"
#include "stats.h"

/* What one look at one process takes, and sees, at most: its faults wait meanwhile. */
#define UNMAP_PAGES 4096
#define UNMAP_BLOCKS 1024

struct unmap {
	struct attach *at;
	unsigned long base;
	unsigned long n;
	unsigned int nblocks;
	DECLARE_BITMAP(take, PAGER_BLOCK_PAGES);
};

static struct shrinker *unmap_shrinker;
static struct workqueue_struct *unmap_wq;

/* The page table's lock is held. */
static int unmap_look(pte_t *ptep, unsigned long addr, void *arg)
{
	struct unmap *u = arg;
	pte_t pte = *ptep;

	if (!pte_present(pte) || pte_special(pte) || !cache_keeps(&u->at->link->cache, pte_page(pte)))
		return 0;
	/* the entry is read-only: this bit is all that the processor may set meanwhile, and then the page goes although it is used */
	if (pte_young(pte))
		set_pte_at(u->at->mm, addr, ptep, pte_mkold(pte));
	else
		__set_bit((addr - u->base) >> PAGE_SHIFT, u->take);
	return 0;
}

/* mmap lock held for writing: nobody makes one of these pages anonymous between the look and the zap. Returns where it has stopped. */
static unsigned long unmap_vma(struct unmap *u, struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long from, to, end;

	compat_vma_start_write(vma);
	for (; addr < vma->vm_end && u->n < UNMAP_PAGES && u->nblocks < UNMAP_BLOCKS; addr = end) {
		end = min(ALIGN_DOWN(addr, PMD_SIZE) + PMD_SIZE, vma->vm_end);
		u->base = addr;
		u->nblocks++;
		bitmap_zero(u->take, PAGER_BLOCK_PAGES);
		if (apply_to_existing_page_range(u->at->mm, addr, end - addr, unmap_look, u))
			continue;
		for_each_set_bitrange(from, to, u->take, PAGER_BLOCK_PAGES) {
			compat_zap_range(vma, addr + (from << PAGE_SHIFT), (to - from) << PAGE_SHIFT);
			u->n += to - from;
		}
	}
	return addr;
}

unsigned long pager_unmap(struct attach *at)
{
	struct vm_area_struct *vma;
	unsigned long n, addr;
	struct unmap *u;

	u = kzalloc(sizeof(*u), GFP_NOWAIT | __GFP_NOWARN);
	if (!u)
		return 0;
	u->at = at;
	mmap_write_lock(at->mm);
	addr = at->unmap_next;
	at->unmap_next = 0;
	at->unmapping = current;
	VMA_ITERATOR(vmi, at->mm, addr);
	for_each_vma(vmi, vma) {
		if (!pager_armed(vma, at))
			continue;
		addr = unmap_vma(u, vma, max(addr, vma->vm_start));
		if (addr < vma->vm_end) {
			at->unmap_next = addr;
			break;
		}
	}
	at->unmapping = NULL;
	mmap_write_unlock(at->mm);
	n = u->n;
	kfree(u);
	mitosis_stat_add(MITOSIS_STAT_CACHE_UNMAPPED, n);
	return n;
}

static int unmap_attach(struct attach *at, void *arg)
{
	if (at->cache && !at->cut && mmget_not_zero(at->mm)) {
		pager_unmap(at);
		mmput(at->mm);
	}
	return 0;
}

static void unmap_work_fn(struct work_struct *work)
{
	pager_visit(unmap_attach, NULL);
}

static DECLARE_WORK(unmap_work, unmap_work_fn);

static unsigned long unmap_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return cache_pages() ? : SHRINK_EMPTY;
}

/* Called with any lock held: the work is for somebody else, and the gain is reclaim's in its next round. */
static unsigned long unmap_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	queue_work(unmap_wq, &unmap_work);
	return SHRINK_STOP;
}

int unmap_init(void)
{
	unmap_wq = alloc_workqueue("mitosis-unmap", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!unmap_wq)
		return -ENOMEM;
	unmap_shrinker = compat_shrinker_register("mitosis-unmap", unmap_count, unmap_scan);
	if (unmap_shrinker)
		return 0;
	destroy_workqueue(unmap_wq);
	return -ENOMEM;
}

void unmap_exit(void)
{
	compat_shrinker_free(unmap_shrinker);
	destroy_workqueue(unmap_wq);
}
