/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What differs between the kernels this module builds against: 6.1 to 6.12. */
#ifndef MITOSIS_COMPAT_H
#define MITOSIS_COMPAT_H

#include <linux/bvec.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <net/genetlink.h>

static inline long compat_gup_remote(struct mm_struct *mm, unsigned long start,
				     unsigned long npages, unsigned int flags,
				     struct page **pages, int *locked)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	return get_user_pages_remote(mm, start, npages, flags, pages, NULL, locked);
#else
	return get_user_pages_remote(mm, start, npages, flags, pages, locked);
#endif
}

/* The caller holds the mmap lock for writing; 6.3 added per-VMA locks and flag accessors. */
static inline void compat_vma_start_write(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	vma_start_write(vma);
#endif
}

static inline void compat_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

static inline void compat_vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(vma, flags);
#else
	vma->vm_flags &= ~flags;
#endif
}

/* Only one of the two is exported in each kernel. */
static inline void compat_zap_range(struct vm_area_struct *vma, unsigned long start,
				    unsigned long size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	zap_page_range_single(vma, start, size, NULL);
#else
	zap_page_range(vma, start, size);
#endif
}

typedef unsigned long (*compat_shrink_fn)(struct shrinker *shrinker, struct shrink_control *sc);

static inline struct shrinker *compat_shrinker_register(const char *name, compat_shrink_fn count,
							compat_shrink_fn scan)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	struct shrinker *s = shrinker_alloc(0, "%s", name);
#else
	struct shrinker *s = kzalloc(sizeof(*s), GFP_KERNEL);
#endif
	if (!s)
		return NULL;
	s->count_objects = count;
	s->scan_objects = scan;
	s->seeks = DEFAULT_SEEKS;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_register(s);
#else
	if (register_shrinker(s, "%s", name)) {
		kfree(s);
		return NULL;
	}
#endif
	return s;
}

static inline void compat_shrinker_free(struct shrinker *s)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(s);
#else
	unregister_shrinker(s);
	kfree(s);
#endif
}

static inline struct nlattr **compat_dump_attrs(struct netlink_callback *cb)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return genl_dumpit_info(cb)->info.attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

/*
 * Sends @len bytes from @offset on of @pages without copying them: the socket has references until
 * they have been acknowledged. Returns how many bytes it has taken. @flags: with MSG_DONTWAIT.
 */
static inline int compat_send_pages(struct socket *sock, struct page **pages, size_t offset,
				    size_t len, int flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	struct msghdr msg = { .msg_flags = flags | MSG_SPLICE_PAGES };
	struct bio_vec vec[16];
	size_t left = len;
	unsigned int n;

	for (n = 0; left && n < ARRAY_SIZE(vec); n++) {
		size_t at = offset_in_page(offset), part = min(left, PAGE_SIZE - at);

		bvec_set_page(&vec[n], pages[offset >> PAGE_SHIFT], part, at);
		offset += part;
		left -= part;
	}
	if (left)
		msg.msg_flags |= MSG_MORE;
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, vec, n, len - left);
	return sock_sendmsg(sock, &msg);
#else
	size_t at = offset_in_page(offset), part = min(len, PAGE_SIZE - at);

	if (part < len)
		flags |= MSG_MORE | MSG_SENDPAGE_NOTLAST;
	return kernel_sendpage(sock, pages[offset >> PAGE_SHIFT], at, part, flags);
#endif
}

#ifndef VM_DROPPABLE
#define VM_DROPPABLE 0UL
#endif
#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK 0UL
#endif

#endif
