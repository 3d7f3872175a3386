/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Destination: pages of one snapshot that have come to this node, for the other children of it. A
 * snapshot does not change, so a page is read once, and is right for all.
 *
 * They are the page cache of an inode that has no name. So the kernel charges a page to the memory
 * cgroup of who needed it first, as with a file, and takes back, of that cgroup or of the machine,
 * what nobody has mapped. Children map them read-only without being in the inode's list of
 * mappings: what is mapped is not found there and stays, and the inode must outlive all children.
 *
 * Pages may also have come before there is any process that they are for (fill.c): these are found
 * by the key of their region, which with the page's address is all that a READ is told.
 */
#ifndef MITOSIS_CACHE_H
#define MITOSIS_CACHE_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct inode;
struct page;

struct cache {
	struct list_head list;		/* cache_lock */
	struct inode *inode;
	bool filled;			/* has had pages by region */
	spinlock_t lock;		/* reads; softirq */
	struct list_head reads;		/* struct pager_read: on their way for any child */
};

int cache_init(void);
void cache_exit(void);

int cache_create(struct cache *c);
/* No process has any of the pages mapped, and nothing is added any more. Sleeps. */
void cache_empty(struct cache *c);
void cache_destroy(struct cache *c);
/* A referenced page, or NULL. */
struct page *cache_get(struct cache *c, u32 mm, u64 pg);
bool cache_has(struct cache *c, u32 mm, u64 pg);
/*
 * Keeps @page, unless there is one already (-EEXIST), or no memory (-ENOMEM). Nobody else adds it
 * meanwhile. Sleeps.
 */
int cache_add(struct cache *c, u32 mm, u64 pg, struct page *page);
/* The same by region: what a READ of page @pg with key @rkey gives. */
struct page *cache_get_region(struct cache *c, u32 rkey, u64 pg);
bool cache_has_region(struct cache *c, u32 rkey, u64 pg);
int cache_add_region(struct cache *c, u32 rkey, u64 pg, struct page *page);
/* Lets go of [pg, pg + n), of one region, unless somebody uses them. They can be read again. */
void cache_drop_region(struct cache *c, u32 rkey, u64 pg, unsigned int n);
/* Whether the cache keeps @page, which the caller has a reference on. */
bool cache_keeps(struct cache *c, struct page *page);
/* Of all caches. */
unsigned long cache_pages(void);

#endif
