/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Memory that is registered for remote reading, in a protection domain of its own: what transports
 * over verbs devices have in common at the source.
 */
#ifndef MITOSIS_XPRT_REG_H
#define MITOSIS_XPRT_REG_H

#include <linux/list.h>
#include <linux/types.h>

struct ib_cq;
struct ib_device;
struct ib_gid_attr;
struct ib_pd;
struct ib_qp;
struct page;
struct rdma_cm_id;
struct sockaddr_storage;

/*
 * Binds @id, which is not known to anybody, to the port of a device that has @addr; whatever port
 * @addr has. -EADDRNOTAVAIL: no device has the address, or it is a wildcard; -ENOMEM.
 */
int xprt_bind(struct rdma_cm_id *id, const struct sockaddr_storage *addr);

struct xprt_reg {
	struct ib_device *device;
	u32 port_num;
	u64 id;				/* of the snapshot, for people */
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct ib_qp *qp;
	struct list_head regions;
	bool broken;			/* registration is stuck */
};

/*
 * Gets ready to register on @device; @gid is one of the port's, NULL where it is reached by LID.
 * Sleeps. -EOPNOTSUPP: the device lacks fast registration of 2 MiB.
 */
int xprt_reg_create(struct xprt_reg *reg, struct ib_device *device, u32 port_num,
		    const struct ib_gid_attr *gid, u64 id);
/* As expose_region(). */
int xprt_reg_add(struct xprt_reg *reg, u64 va, struct page **pages, unsigned int npages,
		 u32 *rkey);
/* Nobody can read when it returns. */
void xprt_reg_destroy(struct xprt_reg *reg);

#endif
