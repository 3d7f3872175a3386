// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Destination: when memory is short, pages of the node's cache are taken out of the page tables of
 * children that have not used them lately, so that reclaim can have them: it does not find these
 * mappings by itself, see cache.h. Who touches such a page again finds it in the cache, or reads it
 * once more.
 */
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>

#include "compat.h"
#include "pager.h"
#include "stats.h"

/*
 * What one look at one process takes, and goes over, at most: its faults wait meanwhile. Blocks
 * without a page table take next to no time.
 */
#define UNMAP_PAGES 4096
#define UNMAP_BLOCKS 1024
#define UNMAP_EMPTY 65536

/* How often all processes are looked at: what a processor still has in its TLB looks unused. */
#define UNMAP_EVERY HZ

/*
 * Pages that a memory cgroup is made sure to have room for, and how many a process may then be
 * given before that is looked at again. Others of the cgroup use the room, too, and so does the
 * kernel when who has a page mapped writes to it, which nobody here is asked about.
 */
#define ROOM_PAGES 64
#define ROOM_USE 16

struct unmap {
	struct attach *at;
	const struct vm_area_struct *vma;
	unsigned long base;
	unsigned long n;
	unsigned int nblocks, nempty;
	bool seen;
	DECLARE_BITMAP(take, PAGER_BLOCK_PAGES);
};

static struct shrinker *unmap_shrinker;
static struct workqueue_struct *unmap_wq;

static void unmap_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(unmap_work, unmap_work_fn);

/* The page table's lock is held. */
static int unmap_look(pte_t *ptep, unsigned long addr, void *arg)
{
	struct unmap *u = arg;
	pte_t pte = *ptep;

	u->seen = true;
	if (!pager_maps_shared(u->at, pte))
		return 0;
	/*
	 * the entry is read-only: this bit is all that the processor may set meanwhile, and then
	 * the page goes although it is used
	 */
	if (pte_young(pte))
		set_pte_at(u->at->mm, addr, ptep, pte_mkold(pte));
	/* what is not pending could not be had again */
	else if (pager_pending(u->at, u->vma, pager_pg(u->vma, addr)))
		__set_bit((addr - u->base) >> PAGE_SHIFT, u->take);
	return 0;
}

/*
 * mmap lock held for writing: nobody makes one of these pages anonymous between the look and the
 * zap. Returns where it has stopped.
 */
static unsigned long unmap_vma(struct unmap *u, struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long from, to, end;

	/* mlock() */
	if (vma->vm_flags & VM_LOCKED)
		return vma->vm_end;
	u->vma = vma;
	compat_vma_start_write(vma);
	for (; addr < vma->vm_end && u->n < UNMAP_PAGES && u->nblocks < UNMAP_BLOCKS &&
	       u->nempty < UNMAP_EMPTY;
	     addr = end) {
		end = min(ALIGN_DOWN(addr, PMD_SIZE) + PMD_SIZE, vma->vm_end);
		u->base = addr;
		u->seen = false;
		bitmap_zero(u->take, PAGER_BLOCK_PAGES);
		if (apply_to_existing_page_range(u->at->mm, addr, end - addr, unmap_look, u))
			continue;
		*(u->seen ? &u->nblocks : &u->nempty) += 1;
		for_each_set_bitrange(from, to, u->take, PAGER_BLOCK_PAGES) {
			compat_zap_range(vma, addr + (from << PAGE_SHIFT),
					 (to - from) << PAGE_SHIFT);
			u->n += to - from;
		}
	}
	return addr;
}

/*
 * One look, from where the latest has stopped; how many pages it has taken. mmap lock held for
 * writing.
 */
static unsigned long unmap_look_on(struct unmap *u)
{
	struct attach *at = u->at;
	unsigned long addr = at->unmap_next;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, at->mm, addr);

	u->n = 0;
	u->nblocks = 0;
	u->nempty = 0;
	at->unmap_next = 0;
	/* a fork that failed has left it half there */
	if (check_stable_address_space(at->mm))
		return 0;
	at->unmapping = current;
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
	mitosis_stat_add(MITOSIS_STAT_CACHE_UNMAPPED, u->n);
	return u->n;
}

static struct unmap *unmap_alloc(struct attach *at)
{
	struct unmap *u = kzalloc(sizeof(*u), GFP_NOWAIT | __GFP_NOWARN);

	if (u)
		u->at = at;
	return u;
}

void pager_make_room(struct attach *at)
{
	struct unmap *u = unmap_alloc(at);
	unsigned int rounds = 0;
	unsigned long n;

	/* the first round may only find what has been used since it was mapped */
	do {
		if (!u || mmap_write_lock_killable(at->mm))
			break;
		n = unmap_look_on(u);
		rounds += !at->unmap_next;
		mmap_write_unlock(at->mm);
	} while (!n && rounds < 2);
	kfree(u);
	/* others may have mapped what is charged here */
	if (rounds == 2)
		queue_delayed_work(unmap_wq, &unmap_work, 0);
}

/*
 * Whether the cgroup of @mm has room, or reclaim gets it from pages that nobody has mapped. Asked
 * without the mmap lock and without killing anybody; what is found free stays so for who is charged
 * next.
 */
static bool unmap_has_room(struct mm_struct *mm)
{
	bool room = true;
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mm), *m, *old;
	unsigned long want = ROOM_PAGES, n;
	struct page *page, *next;
	LIST_HEAD(pages);

	for (m = memcg; m; m = parent_mem_cgroup(m)) {
		unsigned long max = READ_ONCE(m->memory.max);

		if (page_counter_read(&m->memory) + ROOM_PAGES > max)
			room = false;
		/* of a small one all that it uses cannot go at once */
		want = min(want, max / 8);
	}
	if (!room) {
		old = set_active_memcg(memcg);
		for (n = 0; n < want; n++) {
			page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN);
			if (!page)
				break;
			list_add(&page->lru, &pages);
		}
		set_active_memcg(old);
		list_for_each_entry_safe(page, next, &pages, lru)
			__free_page(page);
		room = n == want;
	}
	mem_cgroup_put(memcg);
#endif
	return room;
}

void pager_ensure_room(struct attach *at, unsigned int n)
{
	unsigned int tries;

	if (!at->cache || atomic_sub_return(n, &at->room) >= 0)
		return;
	for (tries = 0; tries < 2 && !unmap_has_room(at->mm); tries++)
		pager_make_room(at);
	atomic_set(&at->room, ROOM_USE);
}

static int unmap_attach(struct attach *at, void *arg)
{
	struct unmap *u;

	if (!at->cache || at->cut || !mmget_not_zero(at->mm))
		return 0;
	u = unmap_alloc(at);
	/* whoever has it may wait for a source, and other processes shall not */
	if (u && down_write_trylock(&at->mm->mmap_lock)) {
		unmap_look_on(u);
		mmap_write_unlock(at->mm);
	}
	kfree(u);
	mmput_async(at->mm);
	return 0;
}

static void unmap_work_fn(struct work_struct *work)
{
	pager_visit(unmap_attach, NULL);
}

static unsigned long unmap_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return cache_pages() ?: SHRINK_EMPTY;
}

/*
 * Called with any lock held: the work is for somebody else, and the gain is reclaim's in its next
 * round.
 */
static unsigned long unmap_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	queue_delayed_work(unmap_wq, &unmap_work, UNMAP_EVERY);
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
	cancel_delayed_work_sync(&unmap_work);
	destroy_workqueue(unmap_wq);
}
