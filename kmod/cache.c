// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/shrinker.h>

#include "cache.h"
#include "compat.h"
#include "stats.h"

#define CACHE_PG_BITS 40		/* of an original page index: more than any user address has */

static LIST_HEAD(cache_list);
/* Taken in reclaim: nothing is allocated under it. */
static DEFINE_MUTEX(cache_mutex);
static struct shrinker *cache_shrinker;

static bool cache_takes(u32 mm, u64 pg)
{
	return !(pg >> CACHE_PG_BITS) && !(mm >> (BITS_PER_LONG - CACHE_PG_BITS));
}

static unsigned long cache_index(u32 mm, u64 pg)
{
	return (unsigned long)mm << CACHE_PG_BITS | pg;
}

void cache_create(struct cache *c)
{
	xa_init_flags(&c->pages, XA_FLAGS_LOCK_IRQ);
	spin_lock_init(&c->lock);
	INIT_LIST_HEAD(&c->reads);
	mutex_lock(&cache_mutex);
	list_add_tail(&c->list, &cache_list);
	mutex_unlock(&cache_mutex);
}

/* At most @n pages; how many it was. */
static unsigned long cache_drop(struct cache *c, unsigned long n)
{
	unsigned long index, dropped = 0;
	struct page *page;

	xa_for_each(&c->pages, index, page) {
		if (dropped == n)
			break;
		page = xa_erase_irq(&c->pages, index);
		if (!page)
			continue;
		put_page(page);
		dropped++;
	}
	mitosis_stat_add(MITOSIS_STAT_CACHE_PAGES, -(long)dropped);
	return dropped;
}

void cache_destroy(struct cache *c)
{
	mutex_lock(&cache_mutex);
	list_del(&c->list);
	mutex_unlock(&cache_mutex);
	cache_drop(c, ULONG_MAX);
	xa_destroy(&c->pages);
}

struct page *cache_get(struct cache *c, u32 mm, u64 pg)
{
	struct page *page, *failed = NULL;
	unsigned long flags;

	if (!cache_takes(mm, pg))
		return NULL;
	xa_lock_irqsave(&c->pages, flags);
	page = xa_load(&c->pages, cache_index(mm, pg));
	if (page && PageHWPoison(page)) {
		/* this node's memory has failed: the source still has the page */
		failed = __xa_erase(&c->pages, cache_index(mm, pg));
		page = NULL;
	}
	if (page)
		get_page(page);
	xa_unlock_irqrestore(&c->pages, flags);
	if (failed) {
		put_page(failed);
		mitosis_stat_add(MITOSIS_STAT_CACHE_PAGES, -1);
	}
	if (page)
		mitosis_stat_add(MITOSIS_STAT_CACHE_HITS, 1);
	return page;
}

bool cache_has(struct cache *c, u32 mm, u64 pg)
{
	return cache_takes(mm, pg) && xa_load(&c->pages, cache_index(mm, pg));
}

void cache_add(struct cache *c, u32 mm, u64 pg, struct page *page)
{
	unsigned long flags;
	bool kept;

	if (!cache_takes(mm, pg))
		return;
	get_page(page);
	xa_lock_irqsave(&c->pages, flags);
	kept = !__xa_insert(&c->pages, cache_index(mm, pg), page, GFP_ATOMIC | __GFP_NOWARN);
	xa_unlock_irqrestore(&c->pages, flags);
	if (kept)
		mitosis_stat_add(MITOSIS_STAT_CACHE_PAGES, 1);
	else
		put_page(page);
}

static unsigned long cache_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return mitosis_stat_get(MITOSIS_STAT_CACHE_PAGES) ? : SHRINK_EMPTY;
}

static unsigned long cache_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long freed = 0;
	struct cache *c;

	if (!mutex_trylock(&cache_mutex))
		return SHRINK_STOP;
	list_for_each_entry(c, &cache_list, list) {
		if (freed >= sc->nr_to_scan)
			break;
		freed += cache_drop(c, sc->nr_to_scan - freed);
	}
	/* who comes first now is not who pays next */
	if (!list_empty(&cache_list))
		list_rotate_left(&cache_list);
	mutex_unlock(&cache_mutex);
	return freed ? : SHRINK_STOP;
}

int cache_init(void)
{
	cache_shrinker = compat_shrinker_register("mitosis-cache", cache_count, cache_scan);
	return cache_shrinker ? 0 : -ENOMEM;
}

void cache_exit(void)
{
	compat_shrinker_free(cache_shrinker);
}
