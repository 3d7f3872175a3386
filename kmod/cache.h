/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Destination: pages of one snapshot that have come to this node, for the other children of it. A snapshot does not change, so a page is
 * read once, and is right for all. Memory shortage takes them away again, and they are read once more.
 */
#ifndef MITOSIS_CACHE_H
#define MITOSIS_CACHE_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

struct page;

struct cache {
	struct list_head list;		/* cache_mutex */
	struct xarray pages;
	spinlock_t lock;		/* reads; softirq */
	struct list_head reads;		/* struct pager_read: on their way for any child */
};

int cache_init(void);
void cache_exit(void);

void cache_create(struct cache *c);
/* Nothing is added any more. Sleeps. */
void cache_destroy(struct cache *c);
/* A referenced page, or NULL. Any context. */
struct page *cache_get(struct cache *c, u32 mm, u64 pg);
bool cache_has(struct cache *c, u32 mm, u64 pg);
/* Takes a reference if it keeps the page, for which there may be no memory. Any context. */
void cache_add(struct cache *c, u32 mm, u64 pg, struct page *page);

#endif
