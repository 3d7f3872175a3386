// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "hold.h"
#include "netlink.h"
#include "pager.h"
#include "stats.h"
#include "trace.h"

#define HOLD_BLOCK_PAGES (1U << (MITOSIS_REGION_SHIFT - PAGE_SHIFT))

static LIST_HEAD(hold_list);
static DEFINE_MUTEX(hold_lock);		/* hold_list, and what is charged to those in it */
static struct workqueue_struct *hold_wq;

static ulong max_held_mb;
module_param(max_held_mb, ulong, 0644);
MODULE_PARM_DESC(max_held_mb,
		 "Most memory that all snapshots together may hold, MiB (0: no limit)");

static ulong max_held_user_mb;
module_param(max_held_user_mb, ulong, 0644);
MODULE_PARM_DESC(max_held_user_mb,
		 "Most memory that the snapshots of one user's processes may hold, MiB (0: no limit; root has none)");

static void hold_free(struct kref *kref)
{
	struct hold *hold = container_of(kref, struct hold, kref);

	put_pid(hold->root);
	memzero_explicit(hold->key, sizeof(hold->key));
	memzero_explicit(&hold->where, sizeof(hold->where));
	mutex_destroy(&hold->lock);
	kfree(hold);
}

void hold_put(struct hold *hold)
{
	kref_put(&hold->kref, hold_free);
}

struct hold *hold_get(u64 id)
{
	struct hold *hold;

	mutex_lock(&hold_lock);
	list_for_each_entry(hold, &hold_list, list) {
		if (hold->id == id) {
			kref_get(&hold->kref);
			mutex_unlock(&hold_lock);
			return hold;
		}
	}
	mutex_unlock(&hold_lock);
	return NULL;
}

int hold_for_each(int (*fn)(struct hold *hold, void *arg), void *arg)
{
	struct hold *hold;
	int ret = 0;

	mutex_lock(&hold_lock);
	list_for_each_entry(hold, &hold_list, list) {
		ret = fn(hold, arg);
		if (ret)
			break;
	}
	mutex_unlock(&hold_lock);
	return ret;
}

static void hold_peer_up(void *priv)
{
	struct hold *hold = priv;

	atomic_inc(&hold->npeers);
	netlink_event(MITOSIS_EVENT_PEER, hold->id, 0, 0, 0);
}

static void hold_peer_gone(void *priv)
{
	struct hold *hold = priv;

	WRITE_ONCE(hold->idle_ns, ktime_get_ns());
	atomic_dec(&hold->npeers);
	netlink_event(MITOSIS_EVENT_PEER_GONE, hold->id, 0, 0, 0);
}

/* Runs inside the exposure that a release destroys, hence the detour. */
static void hold_peer_done(void *priv)
{
	struct hold *hold = priv;

	if (!(hold->flags & MITOSIS_HOLD_F_ONESHOT))
		return;
	kref_get(&hold->kref);
	if (!queue_work(hold_wq, &hold->done))
		hold_put(hold);
}

static const struct xprt_expose_ops hold_expose_ops = {
	.peer_up = hold_peer_up,
	.peer_gone = hold_peer_gone,
	.peer_done = hold_peer_done,
};

static void hold_done_work(struct work_struct *work)
{
	struct hold *hold = container_of(work, struct hold, done);

	hold_release(hold, 0);
	hold_put(hold);
}

/*
 * Lock held. The timer has a reference. Timers are exact for some weeks only, so it looks once a
 * day.
 */
static void hold_arm_expire(struct hold *hold)
{
	u64 now = ktime_get_ns(), left = hold->expires_ns > now ? hold->expires_ns - now : 0;

	kref_get(&hold->kref);
	if (mod_delayed_work(hold_wq, &hold->expire,
			     min_t(u64, nsecs_to_jiffies(left) + 1, 86400UL * HZ)))
		hold_put(hold);
}

static void hold_expire_work(struct work_struct *work)
{
	struct hold *hold = container_of(to_delayed_work(work), struct hold, expire);
	bool over;

	/* the lock orders this against hold_extend(), which may have come just before */
	mutex_lock(&hold->lock);
	over = hold->expires_ns && ktime_get_ns() >= hold->expires_ns;
	if (!over && hold->expires_ns && hold->state != MITOSIS_HOLD_RELEASED)
		hold_arm_expire(hold);
	mutex_unlock(&hold->lock);
	if (over)
		hold_release(hold, ETIME);
	hold_put(hold);
}

int hold_extend(struct hold *hold, u32 lease)
{
	int ret = -ENOENT;

	mutex_lock(&hold->lock);
	if (hold->state != MITOSIS_HOLD_RELEASED) {
		hold->expires_ns = lease ? ktime_get_ns() + (u64)lease * NSEC_PER_SEC : 0;
		if (lease)
			hold_arm_expire(hold);
		else if (cancel_delayed_work(&hold->expire))
			hold_put(hold);
		ret = 0;
	}
	mutex_unlock(&hold->lock);
	return ret;
}

static bool hold_root_ended(struct hold *hold)
{
	struct task_struct *task;
	bool ended;

	rcu_read_lock();
	task = pid_task(hold->root, PIDTYPE_TGID);
	ended = !task || (task->exit_state && thread_group_empty(task));
	rcu_read_unlock();
	return ended;
}

static bool hold_needed_by_peers(struct hold *hold)
{
	u64 idle = READ_ONCE(hold->idle_ns);

	return atomic_read(&hold->npeers) ||
	       (idle && ktime_get_ns() - idle < (u64)MITOSIS_GIVE_UP_DEFAULT * NSEC_PER_SEC);
}

static void hold_follow_work(struct work_struct *work)
{
	struct hold *hold = container_of(to_delayed_work(work), struct hold, follow);

	if (hold_root_ended(hold) && !hold_needed_by_peers(hold)) {
		hold_release(hold, ESRCH);
		hold_put(hold);
		return;
	}
	mutex_lock(&hold->lock);
	if (hold->state == MITOSIS_HOLD_RELEASED || !queue_delayed_work(hold_wq, &hold->follow, HZ))
		hold_put(hold);
	mutex_unlock(&hold->lock);
}

struct hold *hold_create(const char *transports, const struct sockaddr_storage *addr,
			 const char *addr_text, const char *name, u32 lease, u32 flags, u32 owner)
{
	struct hold *hold;
	int ret;

	hold = kzalloc(sizeof(*hold), GFP_KERNEL);
	if (!hold)
		return ERR_PTR(-ENOMEM);
	kref_init(&hold->kref);
	mutex_init(&hold->lock);
	INIT_LIST_HEAD(&hold->mms);
	INIT_LIST_HEAD(&hold->bases);
	INIT_DELAYED_WORK(&hold->expire, hold_expire_work);
	INIT_DELAYED_WORK(&hold->follow, hold_follow_work);
	INIT_WORK(&hold->done, hold_done_work);
	do {
		hold->id = get_random_u64();
	} while (!hold->id);
	get_random_bytes(hold->key, sizeof(hold->key));
	strscpy(hold->name, name ? name : "", sizeof(hold->name));
	hold->flags = flags;
	hold->owner = owner;
	hold->uid = INVALID_UID;
	hold->created_ns = ktime_get_ns();

	hold->exposure = xprt_expose_create(transports, flags & MITOSIS_F_INSECURE, addr, hold->id,
					    hold->key, &hold_expose_ops, hold);
	if (IS_ERR(hold->exposure)) {
		ret = PTR_ERR(hold->exposure);
		hold_put(hold);
		return ERR_PTR(ret);
	}
	strscpy(hold->transport, hold->exposure->xprt->name, sizeof(hold->transport));
	xprt_expose_addr(hold->exposure, &hold->where);
	if (hold->where.dct.number)
		xprt_dct_text(&hold->where.dct, hold->addr, sizeof(hold->addr));
	else
		strscpy(hold->addr, addr_text ?: "any", sizeof(hold->addr));
	mitosis_stat_add(MITOSIS_STAT_SNAPSHOTS, 1);
	kref_get(&hold->kref);		/* the list's */
	mutex_lock(&hold_lock);
	list_add_tail(&hold->list, &hold_list);
	mutex_unlock(&hold_lock);
	if (lease)
		hold_extend(hold, lease);
	return hold;
}

static struct hold_mm *hold_find_mm(struct hold *hold, u32 mm)
{
	struct hold_mm *hm;

	list_for_each_entry(hm, &hold->mms, list)
		if (hm->mm == mm)
			return hm;
	return NULL;
}

int hold_add_base(struct hold *hold, struct hold *base)
{
	struct hold_base *hb, *other;
	unsigned int n = 0;
	int ret = 0;

	if (hold == base)
		return -EINVAL;
	hb = kzalloc(sizeof(*hb), GFP_KERNEL);
	if (!hb)
		return -ENOMEM;
	hb->hold = base;
	mutex_lock(&hold->lock);
	if (hold->state != MITOSIS_HOLD_OPEN || !list_empty(&hold->mms))
		ret = -EBUSY;
	list_for_each_entry(other, &hold->bases, list)
		n++;
	if (n >= MITOSIS_MAX_PARENTS)
		ret = ret ?: -E2BIG;
	mutex_lock(&hold_lock);
	/* a base cannot get bases any more, so there are no circles */
	if (READ_ONCE(base->state) != MITOSIS_HOLD_SEALED)
		ret = ret ?: -EINVAL;
	if (!ret)
		base->npinned++;
	mutex_unlock(&hold_lock);
	if (!ret) {
		kref_get(&base->kref);
		list_add_tail(&hb->list, &hold->bases);
	}
	mutex_unlock(&hold->lock);
	if (ret)
		kfree(hb);
	return ret;
}

static void hold_same_free(struct hold_mm *hm)
{
	struct hold_same *hs, *next;

	list_for_each_entry_safe(hs, next, &hm->same, list) {
		kvfree(hs->blocks);
		kfree(hs);
	}
	INIT_LIST_HEAD(&hm->same);
}

/* Locks of holds nest in the order in which they were made. */
static bool hold_lock_base(struct hold *base)
{
	mutex_lock_nested(&base->lock, SINGLE_DEPTH_NESTING);
	return base->state == MITOSIS_HOLD_SEALED;
}

/* Gets ready to find what @base, locked, has of the address space. */
static int hold_same_add(struct hold_mm *hm, struct hold *base)
{
	struct hold_mm *old = hold_find_mm(base, hm->mm);
	struct hold_region *region;
	struct hold_same *hs;
	unsigned long n = 0;

	if (!old || list_empty(&old->regions))
		return 0;
	list_for_each_entry(region, &old->regions, list)
		n++;
	hs = kzalloc(sizeof(*hs), GFP_KERNEL);
	if (!hs)
		return -ENOMEM;
	hs->blocks = kvcalloc(n, sizeof(*hs->blocks), GFP_KERNEL);
	if (!hs->blocks) {
		kfree(hs);
		return -ENOMEM;
	}
	hs->base = base;
	hs->regions = &old->regions;
	hs->region = list_first_entry(&old->regions, struct hold_region, list);
	list_add_tail(&hs->list, &hm->same);
	return 0;
}

static int hold_same_init(struct hold *hold, struct hold_mm *hm)
{
	struct hold_base *hb;
	int ret = 0;

	list_for_each_entry(hb, &hold->bases, list) {
		if (hold_lock_base(hb->hold))
			ret = ret ?: hold_same_add(hm, hb->hold);
		mutex_unlock(&hb->hold->lock);
	}
	return ret;
}

/*
 * Whether the base holds this very page at @va; takes note of it. base->lock held; addresses
 * ascend.
 */
static bool hold_same_page(struct hold_same *hs, u64 va, const struct page *page)
{
	struct hold_region *r = hs->region;
	struct pager_block *b;

	while (r && r->start + ((u64)r->npages << PAGE_SHIFT) <= va)
		r = list_is_last(&r->list, hs->regions) ? NULL : list_next_entry(r, list);
	hs->region = r;
	if (!r || va < r->start || r->pages[(va - r->start) >> PAGE_SHIFT] != page)
		return false;
	b = hs->nblocks ? &hs->blocks[hs->nblocks - 1] : NULL;
	if (!b || b->block != va >> MITOSIS_REGION_SHIFT) {
		b = &hs->blocks[hs->nblocks++];
		b->block = va >> MITOSIS_REGION_SHIFT;
		b->rkey = r->rkey;
		b->first = (r->start >> PAGE_SHIFT) % HOLD_BLOCK_PAGES;
		b->npages = r->npages;
	}
	__set_bit((va >> PAGE_SHIFT) % HOLD_BLOCK_PAGES, b->pending);
	return true;
}

/* Of the pages at @va on those that earlier snapshots hold are let go of; @same tells which. */
static void hold_drop_same(struct hold_mm *hm, u64 va, struct page **pages, unsigned int n,
			   unsigned long *same)
{
	struct hold_same *hs;
	unsigned int i;

	bitmap_zero(same, HOLD_BLOCK_PAGES);
	list_for_each_entry(hs, &hm->same, list) {
		bool sealed = hold_lock_base(hs->base);

		for (i = 0; sealed && i < n; i++) {
			if (!pages[i] || pages[i] == ZERO_PAGE(0) ||
			    !hold_same_page(hs, va + ((u64)i << PAGE_SHIFT), pages[i]))
				continue;
			put_page(pages[i]);
			pages[i] = NULL;
			__set_bit(i, same);
		}
		mutex_unlock(&hs->base->lock);
	}
}

int hold_add_mm(struct hold *hold, u32 mm, struct task_struct *task, struct task_struct *clone)
{
	struct hold_mm *hm;
	int ret;

	/* it does not stand still while its pages are taken */
	if ((hold->flags & MITOSIS_HOLD_F_PRECOPY) && !clone)
		return -EINVAL;
	hm = kzalloc(sizeof(*hm), GFP_KERNEL);
	if (!hm)
		return -ENOMEM;
	hm->mm = mm;
	hm->first = HOLD_BLOCK_PAGES;
	INIT_LIST_HEAD(&hm->regions);
	INIT_LIST_HEAD(&hm->inherited);
	INIT_LIST_HEAD(&hm->same);
	hm->fill = kcalloc(HOLD_BLOCK_PAGES, sizeof(*hm->fill), GFP_KERNEL);
	ret = -ENOMEM;
	if (!hm->fill)
		goto err_free;

	ret = -ESRCH;
	hm->orig = get_task_mm(task);
	if (!hm->orig)
		goto err_free;
	if (clone) {
		hm->clone = get_task_mm(clone);
		if (!hm->clone)
			goto err_mm;
		ret = -EINVAL;
		if (hm->clone == hm->orig)
			goto err_clone;
	}

	/*
	 * of the process, not the clone, which lacks mappings: whatever comes in from now on criu
	 * sees, too, and asks us to hold
	 */
	ret = pager_inherit(hm->orig, &hm->inherited);
	if (ret)
		goto err_clone;

	mutex_lock(&hold->lock);
	if (hold->state != MITOSIS_HOLD_OPEN)
		ret = -EBUSY;
	else if (hold_find_mm(hold, mm))
		ret = -EEXIST;
	else
		ret = hold_same_init(hold, hm);
	if (!ret) {
		if (list_empty(&hold->mms)) {
			mutex_lock(&hold_lock);
			hold->uid = task_uid(task);
			mutex_unlock(&hold_lock);
		}
		if ((hold->flags & MITOSIS_HOLD_F_FOLLOW) && !hold->root)
			hold->root = get_task_pid(task, PIDTYPE_TGID);
		list_add_tail(&hm->list, &hold->mms);
	}
	mutex_unlock(&hold->lock);
	if (!ret)
		return 0;
	hold_same_free(hm);
err_clone:
	pager_inherit_free(&hm->inherited);
	if (hm->clone)
		mmput(hm->clone);
err_mm:
	mmput(hm->orig);
err_free:
	kfree(hm->fill);
	kfree(hm);
	return ret;
}

/*
 * Before the pages are taken, so that snapshots which are made at the same time find each other's.
 */
static int hold_charge(struct hold *hold, unsigned int n)
{
	u64 all = n, users = n;
	struct hold *other;
	int ret = 0;

	mutex_lock(&hold_lock);
	list_for_each_entry(other, &hold_list, list) {
		all += other->npages;
		if (uid_eq(other->uid, hold->uid))
			users += other->npages;
	}
	if (max_held_mb && all > (u64)max_held_mb << (20 - PAGE_SHIFT))
		ret = -ENOSPC;
	else if (max_held_user_mb && users > (u64)max_held_user_mb << (20 - PAGE_SHIFT) &&
		 !uid_eq(hold->uid, GLOBAL_ROOT_UID))
		ret = -EDQUOT;
	else
		hold->npages += n;
	mutex_unlock(&hold_lock);
	return ret;
}

static void hold_uncharge(struct hold *hold, unsigned int n)
{
	mutex_lock(&hold_lock);
	hold->npages -= n;
	mutex_unlock(&hold_lock);
}

static int hold_gup(struct mm_struct *mm, u64 va, unsigned int n, struct page **pages)
{
	int locked = 1;
	long got;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	/* FOLL_GET, not FOLL_PIN: a pin would unshare, that is copy, every page. */
	got = compat_gup_remote(mm, va, n, FOLL_FORCE, pages, &locked);
	if (locked)
		mmap_read_unlock(mm);
	if (got == 0)
		return -EFAULT;
	return got;
}

struct hold_walk {
	struct work_struct work;
	struct mm_struct *mm;
	u64 va;
	unsigned int n;
	struct page **pages;
	int got;
};

static void hold_walk_work(struct work_struct *work)
{
	struct hold_walk *walk = container_of(work, struct hold_walk, work);

	kthread_use_mm(walk->mm);
	walk->got = get_user_pages_fast_only(walk->va, walk->n, 0, walk->pages);
	kthread_unuse_mm(walk->mm);
}

/*
 * The fast walk takes a page in less than half the time. It is for the caller's own address space,
 * and only a kernel thread can take on another one. It ends before the first page that is not
 * present or not readable.
 */
static int hold_gup_clone(struct mm_struct *mm, u64 va, unsigned int n, bool first,
			  struct page **pages)
{
	struct hold_walk walk = { .mm = mm, .va = va, .n = n, .pages = pages };

	if (first && n > 1) {
		INIT_WORK_ONSTACK(&walk.work, hold_walk_work);
		queue_work(system_unbound_wq, &walk.work);
		flush_work(&walk.work);
		destroy_work_on_stack(&walk.work);
	}
	return walk.got > 0 ? walk.got : hold_gup(mm, va, n, pages);
}

/*
 * What the clone does not have, VM_DONTCOPY and VM_WIPEONFORK, is copied: the process's own pages
 * do not stand still once it runs on or dies.
 */
static int hold_copy(struct mm_struct *mm, u64 va, struct page **page)
{
	struct page *src, *dst;
	int ret;

	ret = hold_gup(mm, va, 1, &src);
	if (ret < 0)
		return ret;
	dst = alloc_page(GFP_HIGHUSER);
	if (dst)
		copy_highpage(dst, src);
	put_page(src);
	if (!dst)
		return -ENOMEM;
	*page = dst;
	return 1;
}

/*
 * Finds how much from @va on is in one mapping of the process, and whether the clone has it. 1: it
 * is left out, as the process runs on, and what it has had mapped is known from its clone only.
 */
static int hold_extent(const struct hold *hold, struct hold_mm *hm, u64 va, u64 *end, bool *copy)
{
	bool precopy = hold->flags & MITOSIS_HOLD_F_PRECOPY;
	struct mm_struct *mm = precopy ? hm->clone : hm->orig;
	struct vm_area_struct *vma;
	int ret = -EFAULT;

	*copy = !hm->clone;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = find_vma(mm, va);
	if (vma && vma->vm_start <= va) {
		*end = vma->vm_end;
		if (vma->vm_flags & (VM_DONTCOPY | VM_WIPEONFORK))
			*copy = true;
		ret = precopy && *copy;
	} else if (precopy) {
		*end = vma ? vma->vm_start : U64_MAX;
		ret = 1;
	}
	mmap_read_unlock(mm);
	return ret;
}

static void hold_put_pages(struct page **pages, unsigned int n)
{
	long held = 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!pages[i] || pages[i] == ZERO_PAGE(0))
			continue;
		put_page(pages[i]);
		held++;
	}
	mitosis_stat_add(MITOSIS_STAT_PAGES_HELD, -held);
}

/* Closes the region that is being filled. */
static int hold_close_region(struct hold *hold, struct hold_mm *hm)
{
	struct hold_region *region;
	unsigned int i, n;
	int ret;

	if (hm->first > hm->last)
		return 0;
	n = hm->last - hm->first + 1;
	region = kvzalloc(struct_size(region, pages, n), GFP_KERNEL);
	if (!region)
		return -ENOMEM;
	region->start = (hm->block << MITOSIS_REGION_SHIFT) + ((u64)hm->first << PAGE_SHIFT);
	region->npages = n;
	for (i = 0; i < n; i++)
		region->pages[i] = hm->fill[hm->first + i] ?: ZERO_PAGE(0);
	ret = xprt_expose_region(hold->exposure, region->start, region->pages, n, &region->rkey);
	if (ret) {
		kvfree(region);
		return ret;
	}
	list_add_tail(&region->list, &hm->regions);
	hold->nregions++;
	mitosis_stat_add(MITOSIS_STAT_REGIONS, 1);
	memset(hm->fill, 0, HOLD_BLOCK_PAGES * sizeof(*hm->fill));
	hm->first = HOLD_BLOCK_PAGES;
	hm->last = 0;
	return 0;
}

/* Takes [va, end), which lies within one block and one mapping. */
static int hold_take(struct hold *hold, struct hold_mm *hm, u64 va, u64 end, bool copy)
{
	unsigned int i = (va >> PAGE_SHIFT) % HOLD_BLOCK_PAGES;
	unsigned int n = (end - va) >> PAGE_SHIFT, left = n, held = 0, j;
	DECLARE_BITMAP(same, HOLD_BLOCK_PAGES);
	int got, ret;

	ret = hold_charge(hold, n);
	if (ret)
		return ret;
	hm->block = va >> MITOSIS_REGION_SHIFT;
	while (left) {
		if (fatal_signal_pending(current))
			got = -EINTR;
		else if (copy)
			got = hold_copy(hm->orig, va, &hm->fill[i]);
		else
			got = hold_gup_clone(hm->clone, va, left, left == n, &hm->fill[i]);
		if (got <= 0) {
			ret = got ?: -EFAULT;
			break;
		}
		hold_drop_same(hm, va, &hm->fill[i], got, same);
		/* the zero page is everybody's; holes stand for it */
		for (j = i; j < i + got; j++) {
			if (test_bit(j - i, same))
				continue;
			hm->first = min(hm->first, j);
			hm->last = j;
			if (hm->fill[j] == ZERO_PAGE(0)) {
				put_page(hm->fill[j]);
				hm->fill[j] = NULL;
			} else {
				held++;
			}
		}
		i += got;
		left -= got;
		va += (u64)got << PAGE_SHIFT;
		cond_resched();
	}
	if (held < n)
		hold_uncharge(hold, n - held);
	mitosis_stat_add(MITOSIS_STAT_PAGES_HELD, held);
	return ret;
}

int hold_add_pages(struct hold *hold, u32 mm, const struct mitosis_run *runs, unsigned int n)
{
	struct hold_mm *hm;
	unsigned int i;
	bool copy;
	int ret;

	mutex_lock(&hold->lock);
	ret = -EBUSY;
	if (hold->state != MITOSIS_HOLD_OPEN)
		goto out;
	ret = -ENOENT;
	hm = hold_find_mm(hold, mm);
	if (!hm)
		goto out;
	for (i = 0; i < n; i++) {
		u64 va = runs[i].start, end, extent, stop;

		ret = -EINVAL;
		if (!PAGE_ALIGNED(va) || !runs[i].npages || va < hm->next ||
		    runs[i].npages > (TASK_SIZE_MAX >> PAGE_SHIFT))
			goto out;
		end = va + (runs[i].npages << PAGE_SHIFT);
		if (end > TASK_SIZE_MAX)
			goto out;
		hm->next = end;
		pager_inherit_less(&hm->inherited, va >> PAGE_SHIFT, runs[i].npages);
		while (va < end) {
			ret = hold_extent(hold, hm, va, &extent, &copy);
			if (ret < 0)
				goto out;
			extent = min(extent, end);
			if (ret)
				va = extent;
			while (va < extent) {
				if (va >> MITOSIS_REGION_SHIFT != hm->block) {
					ret = hold_close_region(hold, hm);
					if (ret)
						goto out;
				}
				stop = ((va >> MITOSIS_REGION_SHIFT) + 1) << MITOSIS_REGION_SHIFT;
				stop = min(extent, stop);
				ret = hold_take(hold, hm, va, stop, copy);
				if (ret)
					goto out;
				va = stop;
			}
		}
	}
	ret = 0;
out:
	mutex_unlock(&hold->lock);
	return ret;
}

static void hold_drop_mms(struct hold *hold)
{
	struct hold_mm *hm;

	list_for_each_entry(hm, &hold->mms, list) {
		/*
		 * the end of an address space takes as long as its making, and the process stands
		 * still
		 */
		if (hm->clone)
			mmput_async(hm->clone);
		if (hm->orig)
			mmput(hm->orig);
		hm->clone = NULL;
		hm->orig = NULL;
	}
}

static bool hold_base_released(struct hold *hold)
{
	struct hold_base *hb;

	list_for_each_entry(hb, &hold->bases, list)
		if (READ_ONCE(hb->hold->state) == MITOSIS_HOLD_RELEASED)
			return true;
	return false;
}

int hold_seal(struct hold *hold)
{
	struct hold_mm *hm;
	int ret;

	mutex_lock(&hold->lock);
	ret = -EBUSY;
	if (hold->state != MITOSIS_HOLD_OPEN)
		goto out;
	ret = -ESTALE;
	if (hold_base_released(hold))
		goto out;
	list_for_each_entry(hm, &hold->mms, list) {
		ret = hold_close_region(hold, hm);
		if (ret)
			goto out;
	}
	list_for_each_entry(hm, &hold->mms, list)
		pager_inherit_trim(&hm->inherited);
	hold_drop_mms(hold);
	hold->state = MITOSIS_HOLD_SEALED;
	xprt_expose_open(hold->exposure);
	trace_mitosis_hold(hold->id, hold->npages, hold->nregions);
	if (hold->root) {
		kref_get(&hold->kref);	/* the timer's */
		queue_delayed_work(hold_wq, &hold->follow, HZ);
	}
	ret = 0;
out:
	mutex_unlock(&hold->lock);
	return ret;
}

/*
 * Whether a process has the page still. One that is swapped out has none mapped, and gets this one
 * when it comes back; what has been written to since then cannot be told from that.
 */
static bool hold_is_used(struct page *page)
{
	struct folio *folio = page_folio(page);

	return atomic_read(&page->_mapcount) >= 0 || folio_test_swapcache(folio) ||
	       (folio_test_large(folio) && folio_entire_mapcount(folio));
}

/* The clone that it was taken from maps its pages until it is let go of: a moment after sealing. */
int hold_changed(struct hold *hold, u64 *npages)
{
	struct hold_region *region;
	struct hold_mm *hm;
	unsigned int i;
	int ret = 0;

	*npages = 0;
	mutex_lock(&hold->lock);
	if (hold->state != MITOSIS_HOLD_SEALED)
		ret = -EBUSY;
	list_for_each_entry(hm, &hold->mms, list) {
		list_for_each_entry(region, &hm->regions, list) {
			for (i = 0; i < region->npages; i++)
				*npages += region->pages[i] != ZERO_PAGE(0) &&
					   !hold_is_used(region->pages[i]);
			cond_resched();
			if (fatal_signal_pending(current)) {
				ret = -EINTR;
				goto out;
			}
		}
	}
out:
	mutex_unlock(&hold->lock);
	return ret;
}

/* hold->lock held. False: it has been released, or is to be kept as it is pinned. */
static bool hold_release_begin(struct hold *hold, bool pinned)
{
	bool begun;

	mutex_lock(&hold_lock);
	begun = hold->state != MITOSIS_HOLD_RELEASED && (pinned || !hold->npinned);
	if (begun)
		WRITE_ONCE(hold->state, MITOSIS_HOLD_RELEASED);
	mutex_unlock(&hold_lock);
	return begun;
}

/*
 * What it had as bases gets to the end of @bases. -EBUSY: it is a base of another, and not @pinned
 * says that such a one stays.
 */
static int hold_release_one(struct hold *hold, int error, bool pinned, struct list_head *bases)
{
	struct hold_region *region, *next_region;
	struct hold_mm *hm, *next;

	mutex_lock(&hold->lock);
	if (!hold_release_begin(hold, pinned)) {
		int ret = hold->state == MITOSIS_HOLD_RELEASED ? 0 : -EBUSY;

		mutex_unlock(&hold->lock);
		return ret;
	}
	xprt_expose_destroy(hold->exposure);
	hold->exposure = NULL;
	hold_drop_mms(hold);
	list_for_each_entry_safe(hm, next, &hold->mms, list) {
		list_for_each_entry_safe(region, next_region, &hm->regions, list) {
			hold_put_pages(region->pages, region->npages);
			kvfree(region);
			cond_resched();
		}
		hold_put_pages(hm->fill, HOLD_BLOCK_PAGES);
		pager_inherit_free(&hm->inherited);
		hold_same_free(hm);
		kfree(hm->fill);
		kfree(hm);
	}
	INIT_LIST_HEAD(&hold->mms);
	list_splice_tail_init(&hold->bases, bases);
	mitosis_stat_add(MITOSIS_STAT_REGIONS, -(long)hold->nregions);
	mutex_unlock(&hold->lock);

	if (cancel_delayed_work(&hold->expire))
		hold_put(hold);
	if (cancel_delayed_work(&hold->follow))
		hold_put(hold);
	mutex_lock(&hold_lock);
	list_del(&hold->list);
	mutex_unlock(&hold_lock);
	mitosis_stat_add(MITOSIS_STAT_SNAPSHOTS, -1);
	mitosis_stat_add(MITOSIS_STAT_RELEASED, 1);
	trace_mitosis_release(hold->id, error);
	netlink_event(MITOSIS_EVENT_RELEASED, hold->id, 0, 0, error);
	hold_put(hold);
	return 0;
}

/* One whose owner is gone was there for the last who had it as a base. */
static bool hold_unpin(struct hold *hold)
{
	bool unused;

	mutex_lock(&hold_lock);
	unused = !--hold->npinned && !hold->owner;
	mutex_unlock(&hold_lock);
	return unused;
}

static int hold_release_with_bases(struct hold *hold, int error, bool pinned)
{
	struct hold_base *base;
	LIST_HEAD(bases);
	int ret;

	ret = hold_release_one(hold, error, pinned, &bases);
	/* one by one: a chain of them is as long as somebody likes */
	while ((base = list_first_entry_or_null(&bases, struct hold_base, list))) {
		list_del(&base->list);
		if (hold_unpin(base->hold))
			hold_release_one(base->hold, 0, true, &bases);
		hold_put(base->hold);
		kfree(base);
	}
	return ret;
}

void hold_release(struct hold *hold, int error)
{
	hold_release_with_bases(hold, error, true);
}

int hold_release_unpinned(struct hold *hold)
{
	return hold_release_with_bases(hold, 0, false);
}

static struct hold *hold_first(u32 owner, bool any)
{
	struct hold *hold, *found = NULL;

	mutex_lock(&hold_lock);
	list_for_each_entry(hold, &hold_list, list) {
		/* The state is read unlocked: an owner that is gone cannot seal it any more. */
		if (READ_ONCE(hold->state) == MITOSIS_HOLD_RELEASED)
			continue;
		if (!any && hold->owner != owner)
			continue;
		if (!any && READ_ONCE(hold->state) != MITOSIS_HOLD_OPEN) {
			if (!(hold->flags & MITOSIS_HOLD_F_PRECOPY))
				continue;
			hold->owner = 0;
			if (hold->npinned)
				continue;
		}
		kref_get(&hold->kref);
		found = hold;
		break;
	}
	mutex_unlock(&hold_lock);
	return found;
}

void hold_release_all(void)
{
	struct hold *hold;

	while ((hold = hold_first(0, true))) {
		hold_release(hold, 0);
		hold_put(hold);
	}
}

void hold_owner_gone(u32 owner)
{
	struct hold *hold;

	while ((hold = hold_first(owner, false))) {
		hold_release(hold, EOWNERDEAD);
		hold_put(hold);
	}
}

int hold_init(void)
{
	hold_wq = alloc_workqueue("mitosis-hold", WQ_UNBOUND, 0);
	return hold_wq ? 0 : -ENOMEM;
}

/* No hold can be created any more. */
void hold_exit(void)
{
	hold_release_all();
	destroy_workqueue(hold_wq);
}
