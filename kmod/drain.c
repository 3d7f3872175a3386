// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The background drain: reads what is pending with several reads in flight, near the latest fault
 * first, and turns the address space into an ordinary one when nothing is pending any more.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/sched/mm.h>

#include "netlink.h"
#include "pager.h"
#include "stats.h"
#include "trace.h"

static uint drain_depth = 6;
module_param(drain_depth, uint, 0644);
MODULE_PARM_DESC(drain_depth,
		 "Reads of up to 128 KiB that the drain of one process keeps in flight (1 to 32)");

#define DRAIN_DEPTH_MAX 32

/*
 * What is read right behind a fault: the link answers in order, and the next fault must not wait
 * long.
 */
#define DRAIN_WINDOW_MIN 4

struct drain {
	struct attach *at;
	unsigned long cursor;		/* present address where to go on */
	u64 hint;			/* the fault that was followed last */
	/* pages to read at a time: small after a fault, then doubling */
	unsigned int window;
	bool found;			/* something in this pass */
	bool more;			/* the cursor is not at the end of this pass */
	struct pager_read *fly[DRAIN_DEPTH_MAX];
	unsigned int head, n;
};

/* Where the latest fault is now, if it has not been followed yet. mmap lock held. */
static void drain_follow(struct drain *d)
{
	struct attach *at = d->at;
	u64 hint = READ_ONCE(at->hint);
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, at->mm, 0);

	if (hint == d->hint)
		return;
	d->hint = hint;
	for_each_vma(vmi, vma) {
		if (pager_armed(vma, at) && hint >= vma->vm_pgoff &&
		    hint < vma->vm_pgoff + vma_pages(vma)) {
			d->cursor = vma->vm_start + ((hint - vma->vm_pgoff) << PAGE_SHIFT);
			d->window = DRAIN_WINDOW_MIN;
			return;
		}
	}
}

/* The next pages to read from the cursor on; false at the end of the pass. mmap lock held. */
static bool drain_pick(struct drain *d, u64 *pg, unsigned long *addr, unsigned int *n)
{
	struct attach *at = d->at;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, at->mm, d->cursor);

	for_each_vma(vmi, vma) {
		u64 end;

		if (!pager_armed(vma, at))
			continue;
		*addr = max(d->cursor, vma->vm_start);
		*pg = pager_pg(vma, *addr);
		end = vma->vm_pgoff + vma_pages(vma);
		while ((*n = pager_next(at, vma, pg, end, d->window))) {
			*n = pager_readable(at, *pg, *n);
			if (*n) {
				*addr = vma->vm_start + ((*pg - vma->vm_pgoff) << PAGE_SHIFT);
				return true;
			}
			++*pg;
		}
	}
	return false;
}

/*
 * Whether the process has any use for its pages: nobody else uses the address space any more, or a
 * fork that failed or the OOM killer has left it half there. mmap lock held.
 */
static bool drain_useless(struct mm_struct *mm)
{
	return atomic_read(&mm->mm_users) == 1 || check_stable_address_space(mm);
}

int drain_install(struct attach *at, struct pager_read *pr, unsigned long addr)
{
	struct mm_struct *mm = at->mm;
	struct vm_area_struct *vma = NULL;
	int ret = 0, n = 0;
	unsigned int i;

	mmap_write_lock(mm);
	if (drain_useless(mm)) {
		mmap_write_unlock(mm);
		return -ESRCH;
	}
	for (i = 0; i < pr->n; i++, addr += PAGE_SIZE) {
		if (!vma || addr >= vma->vm_end) {
			vma = find_vma(mm, addr);
			if (!vma)
				break;
		}
		/* what has moved meanwhile is found by the next pass, or by a fault */
		if (addr < vma->vm_start || !pager_armed(vma, at) ||
		    pager_pg(vma, addr) != pr->pg + i)
			continue;
		ret = pager_install_page(at, vma, addr, pr->page + i);
		if (ret < 0)
			break;
		n += ret;
	}
	pager_rehint(at);
	mmap_write_unlock(mm);
	return ret < 0 ? ret : n;
}

/* Waits for the oldest read and installs it. */
static int drain_land(struct drain *d)
{
	struct pager_read *pr = d->fly[d->head];
	struct attach *at = d->at;
	struct mm_struct *mm = at->mm;
	int ret;

	d->head = (d->head + 1) % DRAIN_DEPTH_MAX;
	d->n--;
	/*
	 * the read has a reference of its own: a process that has ended need not wait for the link
	 */
	while (!wait_for_completion_timeout(&pr->arrived, HZ)) {
		if (atomic_read(&mm->mm_users) == 1) {
			ret = -ESRCH;
			goto out;
		}
	}
	ret = pr->err;
	if (ret == -EREMOTEIO) {
		/*
		 * One of them: the others come with smaller reads, and a single one is not asked
		 * for again.
		 */
		if (pr->n > 1) {
			d->cursor = pr->addr;
			d->window = 1;
			d->more = true;
		}
		ret = 0;
		goto out;
	}
	if (ret)
		goto out;
	pager_read_keep(at, pr, true);
	pager_ensure_room(at, pr->n);
	ret = drain_install(at, pr, pr->addr);
	if (ret > 0) {
		if (pr->filled)
			atomic_long_add(ret, &at->nfilled);
		atomic_long_add(ret, &at->ndrain);
		mitosis_stat_add(MITOSIS_STAT_PAGES_DRAIN, ret);
		ret = 0;
	}
	pager_read_used(pr);
	return ret;
out:
	pager_read_put(pr);
	return ret;
}

/* Keeps the link busy for one pass over the address space. */
static int drain_pass(struct drain *d)
{
	struct attach *at = d->at;
	unsigned int depth = clamp(READ_ONCE(drain_depth), 1U, (unsigned int)DRAIN_DEPTH_MAX);
	int ret = 0, err;

	d->cursor = 0;
	d->window = XPRT_READ_MAX;
	d->found = false;
	d->more = true;
	while (!ret && (d->more || d->n)) {
		while (d->more && d->n < (d->window < XPRT_READ_MAX ? min(depth, 2U) : depth)) {
			struct pager_read *pr;
			unsigned long addr;
			unsigned int n;
			u64 pg;

			mmap_read_lock(at->mm);
			if (drain_useless(at->mm)) {
				ret = -ESRCH;
				d->more = false;
			} else {
				drain_follow(d);
				d->more = drain_pick(d, &pg, &addr, &n);
			}
			mmap_read_unlock(at->mm);
			if (!d->more)
				break;
			d->found = true;
			pr = pager_read_start(at, pg, n, addr);
			/* discarded since it was picked */
			if (PTR_ERR_OR_ZERO(pr) == -EAGAIN)
				continue;
			if (IS_ERR(pr)) {
				ret = PTR_ERR(pr);
				break;
			}
			/* it may be a smaller one, or one that a fault has asked for */
			d->cursor = addr + ((unsigned long)(pr->pg + pr->n - pg) << PAGE_SHIFT);
			d->window = min(d->window * 2, (unsigned int)XPRT_READ_MAX);
			d->fly[(d->head + d->n++) % DRAIN_DEPTH_MAX] = pr;
		}
		if (d->n) {
			err = drain_land(d);
			ret = ret ?: err;
		}
		cond_resched();
	}
	while (d->n) {
		err = drain_land(d);
		ret = ret ?: err;
	}
	return ret;
}

/* Nothing is pending in any armed mapping: whether that is still so, and then the switch. */
static bool drain_finish(struct drain *d)
{
	struct attach *at = d->at;
	unsigned long addr;
	unsigned int n;
	bool done;
	u64 pg;

	mmap_write_lock(at->mm);
	if (drain_useless(at->mm)) {
		mmap_write_unlock(at->mm);
		return false;
	}
	d->cursor = 0;
	done = !drain_pick(d, &pg, &addr, &n);
	if (done)
		pager_disarm(at);
	mmap_write_unlock(at->mm);
	return done;
}

/* Reads of before, for arming and by faults, are not the drain's time. */
static void drain_clock_start(struct attach *at)
{
	unsigned long flags;

	spin_lock_irqsave(&at->lock, flags);
	at->drain_ns = ktime_get_ns();
	at->busy_since = at->drain_ns;
	at->busy_ns = 0;
	spin_unlock_irqrestore(&at->lock, flags);
}

void drain_work(struct work_struct *work)
{
	struct attach *at = container_of(work, struct attach, drain);
	struct drain *d;
	u64 pages;
	int ret;

	if (at->drained_ns || at->broken || !mmget_not_zero(at->mm))
		goto out;
	/* An allocation failure only delays: the process goes on by faults meanwhile. */
	while (!(d = kzalloc(sizeof(*d), GFP_KERNEL)))
		msleep(100);
	d->at = at;
	if (!at->drain_ns)
		drain_clock_start(at);
	for (;;) {
		ret = drain_pass(d);
		if (ret == -ENOLINK || ret == -ESRCH)
			break;
		if (ret)
			msleep(50);
		else if (!d->found && drain_finish(d))
			break;
	}
	if (!ret) {
		at->drained_ns = ktime_get_ns();
		pages = atomic_long_read(&at->ndrain);
		mitosis_stat_add(MITOSIS_STAT_DRAINED, 1);
		mitosis_stat_add(MITOSIS_STAT_DRAIN_NS, at->drained_ns - at->drain_ns);
		mitosis_stat_add(MITOSIS_STAT_DRAIN_BUSY_NS, at->busy_ns);
		trace_mitosis_drain(at->link->id, at->mm_id, pages);
		netlink_event(MITOSIS_EVENT_DRAINED, at->link->id, at->mm_id, at->pid,
			      at->cut ? EREMOTEIO : 0);
	}
	kfree(d);
	mmput(at->mm);
out:
	attach_put(at);
}
