// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/swap.h>

#include "cache.h"
#include "mitosis.h"

/* of an original page index: more than any user address has */
#define CACHE_PG_BITS 40
#define CACHE_REGION (1UL << (BITS_PER_LONG - 1))	/* an index by region */
#define CACHE_REGION_BITS (MITOSIS_REGION_SHIFT - PAGE_SHIFT)
#define CACHE_MAGIC 0x6d69746f

static LIST_HEAD(cache_list);
static DEFINE_SPINLOCK(cache_lock);	/* cache_list */
static struct vfsmount *cache_mnt;

static const struct address_space_operations cache_aops = {
	.dirty_folio = noop_dirty_folio,
};

static bool cache_takes(u32 mm, u64 pg)
{
	return !(pg >> CACHE_PG_BITS) && !(mm >> (BITS_PER_LONG - 1 - CACHE_PG_BITS));
}

static pgoff_t cache_index(u32 mm, u64 pg)
{
	return (pgoff_t)mm << CACHE_PG_BITS | pg;
}

/* A region lies within one block. */
static pgoff_t cache_region_index(u32 rkey, u64 pg)
{
	return CACHE_REGION | (pgoff_t)rkey << CACHE_REGION_BITS |
	       (pg & ((1U << CACHE_REGION_BITS) - 1));
}

int cache_create(struct cache *c)
{
	/* unlike alloc_anon_inode() known to drop_caches */
	struct inode *inode = new_inode(cache_mnt->mnt_sb);

	if (!inode)
		return -ENOMEM;
	inode->i_ino = get_next_ino();
	inode->i_mapping->a_ops = &cache_aops;
	c->inode = inode;
	spin_lock_init(&c->lock);
	INIT_LIST_HEAD(&c->reads);
	spin_lock(&cache_lock);
	list_add_tail(&c->list, &cache_list);
	spin_unlock(&cache_lock);
	return 0;
}

void cache_empty(struct cache *c)
{
	truncate_inode_pages(c->inode->i_mapping, 0);
}

void cache_destroy(struct cache *c)
{
	if (!c->inode)
		return;
	spin_lock(&cache_lock);
	list_del(&c->list);
	spin_unlock(&cache_lock);
	iput(c->inode);
}

static struct page *cache_get_at(struct cache *c, pgoff_t index)
{
	struct page *page = find_get_page(c->inode->i_mapping, index);

	if (!page)
		return NULL;
	/* when this node's memory has failed the source still has the page */
	if (!PageUptodate(page) || PageHWPoison(page)) {
		put_page(page);
		return NULL;
	}
	return page;
}

struct page *cache_get(struct cache *c, u32 mm, u64 pg)
{
	struct page *page = cache_takes(mm, pg) ? cache_get_at(c, cache_index(mm, pg)) : NULL;

	if (page)
		mark_page_accessed(page);
	return page;
}

struct page *cache_get_region(struct cache *c, u32 rkey, u64 pg)
{
	return cache_get_at(c, cache_region_index(rkey, pg));
}

static bool cache_has_at(struct cache *c, pgoff_t index)
{
	void *entry = xa_load(&c->inode->i_mapping->i_pages, index);

	/* a value is a note of the kernel's about a page that it has taken away */
	return entry && !xa_is_value(entry);
}

bool cache_has(struct cache *c, u32 mm, u64 pg)
{
	return cache_takes(mm, pg) && cache_has_at(c, cache_index(mm, pg));
}

bool cache_has_region(struct cache *c, u32 rkey, u64 pg)
{
	return cache_has_at(c, cache_region_index(rkey, pg));
}

static int cache_add_at(struct cache *c, pgoff_t index, struct folio *folio)
{
	/* who has reached the limit of its cgroup is not killed for the sake of others' faults */
	int ret = filemap_add_folio(c->inode->i_mapping, folio, index,
				    GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);

	if (ret)
		return ret;
	folio_mark_uptodate(folio);
	folio_unlock(folio);
	return 0;
}

int cache_add(struct cache *c, u32 mm, u64 pg, struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio->mapping)
		return 0;
	if (!cache_takes(mm, pg))
		return -EINVAL;
	return cache_add_at(c, cache_index(mm, pg), folio);
}

int cache_add_region(struct cache *c, u32 rkey, u64 pg, struct page *page)
{
	WRITE_ONCE(c->filled, true);
	return cache_add_at(c, cache_region_index(rkey, pg), page_folio(page));
}

void cache_drop_region(struct cache *c, u32 rkey, u64 pg, unsigned int n)
{
	pgoff_t index = cache_region_index(rkey, pg);

	invalidate_mapping_pages(c->inode->i_mapping, index, index + n - 1);
}

bool cache_keeps(struct cache *c, struct page *page)
{
	/* only removed by who finds no other reference, or when no child is left */
	return page_folio(page)->mapping == c->inode->i_mapping;
}

unsigned long cache_pages(void)
{
	unsigned long n = 0;
	struct cache *c;

	spin_lock(&cache_lock);
	list_for_each_entry(c, &cache_list, list)
		n += c->inode->i_mapping->nrpages;
	spin_unlock(&cache_lock);
	return n;
}

static int cache_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, CACHE_MAGIC) ? 0 : -ENOMEM;
}

/* Without an owner: its only mount goes in cache_exit(). */
static struct file_system_type cache_fs = {
	.name = "mitosis-cache",
	.init_fs_context = cache_init_fs_context,
	.kill_sb = kill_anon_super,
};

int cache_init(void)
{
	cache_mnt = kern_mount(&cache_fs);
	return PTR_ERR_OR_ZERO(cache_mnt);
}

void cache_exit(void)
{
	kern_unmount(cache_mnt);
}
