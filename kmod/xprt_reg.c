// SPDX-License-Identifier: GPL-2.0 OR MIT
#define pr_fmt(fmt) "mitosis: " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "mitosis.h"
#include "transport.h"
#include "xprt_reg.h"

#define REG_PAGES	(1U << (MITOSIS_REGION_SHIFT - PAGE_SHIFT))
#define REG_TIMEOUT	(10 * HZ)
#define REG_RETRY_SECONDS 1

struct xprt_region {
	struct list_head list;
	struct ib_mr *mr;
	struct sg_table sgt;
	struct ib_cqe cqe;
	struct completion done;
	enum ib_wc_status status;
};

int xprt_bind(struct rdma_cm_id *id, const struct sockaddr_storage *addr)
{
	struct sockaddr_storage bind = *addr;
	int ret;

	/* The port does not matter, nobody connects to it. */
	xprt_set_port(&bind, 0);
	ret = rdma_bind_addr(id, (struct sockaddr *)&bind);
	if (!ret && !id->device)	/* a wildcard */
		ret = -EADDRNOTAVAIL;
	return !ret || ret == -ENOMEM ? ret : -EADDRNOTAVAIL;
}
EXPORT_SYMBOL_GPL(xprt_bind);

/**
 * reg_connect_self() - bring the queue pair into RTS without a peer
 * @reg: has a queue pair that has just been made
 * @gid: of the port, or NULL
 *
 * Registration is a work request, so it needs a queue pair that may send. This one is its own other
 * end; nothing is ever sent over it, nothing is posted to receive, and it grants no access.
 */
static int reg_connect_self(struct xprt_reg *reg, const struct ib_gid_attr *gid)
{
	struct ib_qp_attr attr = { .qp_state = IB_QPS_INIT, .port_num = reg->port_num };
	struct ib_port_attr port;
	int ret;

	ret = ib_modify_qp(reg->qp, &attr, IB_QP_STATE | IB_QP_PKEY_INDEX | IB_QP_PORT |
			   IB_QP_ACCESS_FLAGS);
	if (ret)
		return ret;
	ret = ib_query_port(reg->device, reg->port_num, &port);
	if (ret)
		return ret;
	memset(&attr, 0, sizeof(attr));
	attr.qp_state = IB_QPS_RTR;
	attr.dest_qp_num = reg->qp->qp_num;
	attr.max_dest_rd_atomic = 1;
	attr.min_rnr_timer = 12;
	attr.path_mtu = port.active_mtu;
	attr.ah_attr.type = rdma_ah_find_type(reg->device, reg->port_num);
	rdma_ah_set_port_num(&attr.ah_attr, reg->port_num);
	if (attr.ah_attr.type == RDMA_AH_ATTR_TYPE_ROCE) {
		if (!gid)
			return -EADDRNOTAVAIL;
		ret = rdma_read_gid_l2_fields(gid, NULL, attr.ah_attr.roce.dmac);
		if (ret)
			return ret;
	} else {
		rdma_ah_set_dlid(&attr.ah_attr, port.lid);
	}
	if (gid) {
		union ib_gid dgid = gid->gid;

		rdma_ah_set_grh(&attr.ah_attr, &dgid, 0, gid->index, 1, 0);
	}
	ret = ib_modify_qp(reg->qp, &attr, IB_QP_STATE | IB_QP_AV | IB_QP_PATH_MTU |
			   IB_QP_DEST_QPN | IB_QP_RQ_PSN | IB_QP_MAX_DEST_RD_ATOMIC |
			   IB_QP_MIN_RNR_TIMER);
	if (ret)
		return ret;

	memset(&attr, 0, sizeof(attr));
	attr.qp_state = IB_QPS_RTS;
	attr.timeout = 17;
	attr.retry_cnt = 6;
	attr.rnr_retry = 7;
	attr.max_rd_atomic = 1;
	return ib_modify_qp(reg->qp, &attr, IB_QP_STATE | IB_QP_TIMEOUT | IB_QP_RETRY_CNT |
			    IB_QP_RNR_RETRY | IB_QP_SQ_PSN | IB_QP_MAX_QP_RD_ATOMIC);
}

int xprt_reg_create(struct xprt_reg *reg, struct ib_device *device, u32 port_num,
		    const struct ib_gid_attr *gid, u64 id)
{
	struct ib_qp_init_attr qp_attr = {
		.cap = {
			.max_send_wr = 1,
			.max_recv_wr = 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
	};
	int ret;

	if (!(device->attrs.device_cap_flags & IB_DEVICE_MEM_MGT_EXTENSIONS) ||
	    device->attrs.max_fast_reg_page_list_len < REG_PAGES ||
	    device->attrs.max_mr <= 0 || !device->ops.map_mr_sg)
		return -EOPNOTSUPP;
	*reg = (struct xprt_reg) { .device = device, .port_num = port_num, .id = id };
	INIT_LIST_HEAD(&reg->regions);
	reg->pd = ib_alloc_pd(device, 0);
	if (IS_ERR(reg->pd))
		return PTR_ERR(reg->pd);
	reg->cq = ib_alloc_cq_any(device, reg, 2, IB_POLL_SOFTIRQ);
	if (IS_ERR(reg->cq)) {
		ret = PTR_ERR(reg->cq);
		goto err_pd;
	}
	qp_attr.send_cq = reg->cq;
	qp_attr.recv_cq = reg->cq;
	reg->qp = ib_create_qp(reg->pd, &qp_attr);
	if (IS_ERR(reg->qp)) {
		ret = PTR_ERR(reg->qp);
		goto err_cq;
	}
	ret = reg_connect_self(reg, gid);
	if (ret)
		goto err_qp;
	return 0;

err_qp:
	ib_destroy_qp(reg->qp);
err_cq:
	ib_free_cq(reg->cq);
err_pd:
	ib_dealloc_pd(reg->pd);
	return ret;
}
EXPORT_SYMBOL_GPL(xprt_reg_create);

static void region_registered(struct ib_cq *cq, struct ib_wc *wc)
{
	struct xprt_region *region = container_of(wc->wr_cqe, struct xprt_region, cqe);

	region->status = wc->status;
	complete(&region->done);
}

/* Has the device take up the mapping; the region is listed by then, whatever becomes of it. */
static int region_register(struct xprt_reg *reg, struct xprt_region *region)
{
	struct ib_reg_wr wr = {
		.wr.wr_cqe = &region->cqe,
		.wr.opcode = IB_WR_REG_MR,
		.wr.send_flags = IB_SEND_SIGNALED,
		.mr = region->mr,
		.key = region->mr->rkey,
		.access = IB_ACCESS_REMOTE_READ,
	};
	int ret;

	region->cqe.done = region_registered;
	init_completion(&region->done);
	ret = ib_post_send(reg->qp, &wr.wr, NULL);
	if (ret)
		return ret;
	if (!wait_for_completion_timeout(&region->done, REG_TIMEOUT)) {
		/* It may complete yet: the region stays until the queue pair is gone. */
		reg->broken = true;
		return -ETIMEDOUT;
	}
	if (region->status != IB_WC_SUCCESS) {
		pr_warn_ratelimited("snapshot %016llx: registering memory failed (%s)\n", reg->id,
				    ib_wc_status_msg(region->status));
		reg->broken = true;
		return -EIO;
	}
	return 0;
}

int xprt_reg_add(struct xprt_reg *reg, u64 va, struct page **pages, unsigned int npages,
		 u32 *rkey)
{
	struct xprt_region *region;
	int ret, nents;
	u8 key;

	if (!npages || npages > REG_PAGES || !PAGE_ALIGNED(va) ||
	    va + ((u64)npages << PAGE_SHIFT) < va)
		return -EINVAL;
	if (reg->broken)
		return -EIO;
	region = kzalloc(sizeof(*region), GFP_KERNEL);
	if (!region)
		return -ENOMEM;
	ret = sg_alloc_table_from_pages_segment(&region->sgt, pages, npages, 0,
						(unsigned long)npages << PAGE_SHIFT,
						ib_dma_max_seg_size(reg->device), GFP_KERNEL);
	if (ret)
		goto err_free;
	region->mr = ib_alloc_mr(reg->pd, IB_MR_TYPE_MEM_REG, npages);
	if (IS_ERR(region->mr)) {
		ret = PTR_ERR(region->mr);
		goto err_sgt;
	}
	ret = -EIO;
	nents = ib_dma_map_sg(reg->device, region->sgt.sgl, region->sgt.orig_nents, DMA_TO_DEVICE);
	if (nents <= 0)
		goto err_mr;
	if (ib_map_mr_sg(region->mr, region->sgt.sgl, nents, NULL, PAGE_SIZE) != nents ||
	    region->mr->length != (u64)npages << PAGE_SHIFT)
		goto err_unmap;
	/* What peers ask for is the address in the process, not the one that the device uses. */
	region->mr->iova = va;
	get_random_bytes(&key, sizeof(key));
	ib_update_fast_reg_key(region->mr, key);
	list_add_tail(&region->list, &reg->regions);
	ret = region_register(reg, region);
	if (!ret)
		*rkey = region->mr->rkey;
	return ret;

err_unmap:
	ib_dma_unmap_sg(reg->device, region->sgt.sgl, region->sgt.orig_nents, DMA_TO_DEVICE);
err_mr:
	ib_dereg_mr(region->mr);
err_sgt:
	sg_free_table(&region->sgt);
err_free:
	kfree(region);
	return ret;
}
EXPORT_SYMBOL_GPL(xprt_reg_add);

/*
 * A device takes its time, or has no memory for the command: pages that it lets peers read are not
 * given back.
 */
static void region_revoke(struct xprt_reg *reg, struct xprt_region *region)
{
	int ret;

	while ((ret = ib_dereg_mr(region->mr))) {
		pr_err_ratelimited("snapshot %016llx: %s does not take back what it lets peers read (%d): it is asked again\n",
				   reg->id, dev_name(&reg->device->dev), ret);
		ssleep(REG_RETRY_SECONDS);
	}
}

void xprt_reg_destroy(struct xprt_reg *reg)
{
	struct xprt_region *region, *next;

	/* No registration completes after that, not even one that was not waited for any longer. */
	ib_destroy_qp(reg->qp);
	ib_free_cq(reg->cq);
	list_for_each_entry_safe(region, next, &reg->regions, list) {
		list_del(&region->list);
		region_revoke(reg, region);
		ib_dma_unmap_sg(reg->device, region->sgt.sgl, region->sgt.orig_nents,
				DMA_TO_DEVICE);
		sg_free_table(&region->sgt);
		kfree(region);
		cond_resched();
	}
	ib_dealloc_pd(reg->pd);
}
EXPORT_SYMBOL_GPL(xprt_reg_destroy);
