// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/auxiliary_bus.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/mlx5/device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>
#include <rdma/ib_cache.h>

#include "mlx5_dc.h"

/*
 * What a device does not let go of is not given back: it might write there. It is asked again after
 * so long; a device that is down has let go, and mlx5_core says so in its place.
 */
#define DC_RETRY_SECONDS	1

/* -------- Devices -------- */

static int dc_dev_match(struct device *dev, const void *parent)
{
	return dev->parent == parent && strstarts(dev_name(dev), "mlx5_core.rdma.");
}

/*
 * mlx5_ib tells nobody; but what it is bound to is public. It stays as long as the ib_device does.
 */
static struct mlx5_core_dev *dc_dev_core(struct ib_device *ibdev)
{
	struct auxiliary_device *adev;
	struct mlx5_core_dev *mdev;

	adev = auxiliary_find_device(NULL, ibdev->dev.parent, dc_dev_match);
	if (!adev)
		return NULL;
	mdev = container_of(adev, struct mlx5_adev, adev)->mdev;
	put_device(&adev->dev);
	return mdev;
}

/* mlx5_ib's own are for what programs have. Without any a device is as good. */
static void dc_dev_alloc_counters(struct dc_dev *dev)
{
	u32 in[MLX5_ST_SZ_DW(alloc_q_counter_in)] = {};
	u32 out[MLX5_ST_SZ_DW(alloc_q_counter_out)] = {};

	dev->counters = 0;
	if (!MLX5_CAP_GEN(dev->mdev, enhanced_error_q_counters))
		return;
	MLX5_SET(alloc_q_counter_in, in, opcode, MLX5_CMD_OP_ALLOC_Q_COUNTER);
	if (!mlx5_cmd_exec_inout(dev->mdev, alloc_q_counter, in, out))
		dev->counters = MLX5_GET(alloc_q_counter_out, out, counter_set_id);
}

int dc_dev_init(struct dc_dev *dev, struct ib_device *ibdev, const char **why)
{
	*why = "is no mlx5 device";
	if (ibdev->ops.driver_id != RDMA_DRIVER_MLX5)
		return -EOPNOTSUPP;
	*why = "has no device of mlx5_core";
	dev->ibdev = ibdev;
	dev->mdev = dc_dev_core(ibdev);
	if (!dev->mdev)
		return -EOPNOTSUPP;
	*why = "lacks DC transport (ConnectX-4 and later have it, unless the firmware's settings hide it)";
	if (!MLX5_CAP_GEN(dev->mdev, dct))
		return -EOPNOTSUPP;
	*why = "is too old: its firmware has no shared receive queues of today's kind";
	if (!dev->mdev->issi)
		return -EOPNOTSUPP;
	/* A target belongs to one port; behind a bond requests come in on either. */
	*why = "bonds its ports, over which DC transport is not offered";
	if (mlx5_lag_is_active(dev->mdev))
		return -EOPNOTSUPP;
	*why = NULL;
	dev->uar = mlx5_get_uars_page(dev->mdev);
	if (IS_ERR(dev->uar))
		return PTR_ERR(dev->uar);
	dc_dev_alloc_counters(dev);
	return 0;
}

void dc_dev_exit(struct dc_dev *dev)
{
	u32 in[MLX5_ST_SZ_DW(dealloc_q_counter_in)] = {};

	if (dev->counters) {
		MLX5_SET(dealloc_q_counter_in, in, opcode, MLX5_CMD_OP_DEALLOC_Q_COUNTER);
		MLX5_SET(dealloc_q_counter_in, in, counter_set_id, dev->counters);
		mlx5_cmd_exec_in(dev->mdev, dealloc_q_counter, in);
	}
	mlx5_put_uars_page(dev->mdev, dev->uar);
}

int dc_dev_refused(struct dc_dev *dev, u32 *n)
{
	u32 in[MLX5_ST_SZ_DW(query_q_counter_in)] = {};
	u32 out[MLX5_ST_SZ_DW(query_q_counter_out)] = {};
	int ret;

	*n = 0;
	if (!dev->counters)
		return 0;
	MLX5_SET(query_q_counter_in, in, opcode, MLX5_CMD_OP_QUERY_Q_COUNTER);
	MLX5_SET(query_q_counter_in, in, counter_set_id, dev->counters);
	ret = mlx5_cmd_exec_inout(dev->mdev, query_q_counter, in, out);
	if (!ret)
		*n = MLX5_GET(query_q_counter_out, out, resp_remote_access_errors);
	return ret;
}

int dc_dev_pdn(struct dc_dev *dev, struct ib_pd *pd, u32 *pdn)
{
	u32 out[MLX5_ST_SZ_DW(query_mkey_out)] = {};
	struct ib_mr *mr;
	int ret;

	/* Whatever is in the domain knows its number. */
	mr = ib_alloc_mr(pd, IB_MR_TYPE_MEM_REG, 1);
	if (IS_ERR(mr))
		return PTR_ERR(mr);
	ret = mlx5_core_query_mkey(dev->mdev, mr->lkey & ~0xff, out, sizeof(out));
	if (!ret)
		*pdn = MLX5_GET(query_mkey_out, out, memory_key_mkey_entry.pd);
	ib_dereg_mr(mr);
	return ret;
}

/* -------- Completion queues -------- */

static int dc_cq_eqn(struct mlx5_core_dev *mdev, int vector, int *eqn)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return mlx5_comp_eqn_get(mdev, vector, eqn);
#else
	return mlx5_vector2eqn(mdev, vector, eqn);
#endif
}

/*
 * In the interrupt itself; mlx5_core has a tasklet for this, too, but it is not the same from one
 * kernel to the next.
 */
static void dc_cq_comp(struct mlx5_core_cq *mcq, struct mlx5_eqe *eqe)
{
	struct dc_cq *cq = container_of(mcq, struct dc_cq, mcq);

	tasklet_schedule(&cq->tasklet);
}

static void dc_cq_tasklet(struct tasklet_struct *tasklet)
{
	struct dc_cq *cq = from_tasklet(cq, tasklet, tasklet);

	cq->comp(cq);
}

static void dc_cq_event(struct mlx5_core_cq *mcq, enum mlx5_event type)
{
	pr_err_ratelimited("mitosis: completion queue %#x: event %#x\n", mcq->cqn, type);
}

int dc_cq_create(struct dc_dev *dev, struct dc_cq *cq, u32 n, int vector,
		 void (*comp)(struct dc_cq *cq))
{
	u32 out[MLX5_ST_SZ_DW(create_cq_out)] = {};
	int node = dev->mdev->priv.numa_node;
	size_t len;
	void *in, *cqc;
	int ret, eqn;
	u32 i;

	memset(cq, 0, sizeof(*cq));
	cq->dev = dev;
	cq->comp = comp;
	cq->n = n;
	ret = mlx5_db_alloc_node(dev->mdev, &cq->db, node);
	if (ret)
		return ret;
	ret = mlx5_frag_buf_alloc_node(dev->mdev, n * sizeof(struct mlx5_cqe64), &cq->buf, node);
	if (ret)
		goto err_db;
	mlx5_init_fbc(cq->buf.frags, ilog2(sizeof(struct mlx5_cqe64)), ilog2(n), &cq->fbc);
	for (i = 0; i < n; i++) {
		struct mlx5_cqe64 *cqe = mlx5_frag_buf_get_wqe(&cq->fbc, i);

		cqe->op_own = MLX5_CQE_INVALID << 4 | MLX5_CQE_OWNER_MASK;
	}
	cq->mcq.cqe_sz = sizeof(struct mlx5_cqe64);
	cq->mcq.set_ci_db = cq->db.db;
	cq->mcq.arm_db = cq->db.db + 1;
	cq->mcq.event = dc_cq_event;
	cq->mcq.comp = dc_cq_comp;
	tasklet_setup(&cq->tasklet, dc_cq_tasklet);
	ret = dc_cq_eqn(dev->mdev, vector, &eqn);
	if (ret)
		goto err_buf;
	len = MLX5_ST_SZ_BYTES(create_cq_in) + sizeof(u64) * cq->buf.npages;
	in = kvzalloc(len, GFP_KERNEL);
	ret = -ENOMEM;
	if (!in)
		goto err_buf;
	cqc = MLX5_ADDR_OF(create_cq_in, in, cq_context);
	MLX5_SET(cqc, cqc, log_cq_size, ilog2(n));
	MLX5_SET(cqc, cqc, uar_page, dev->uar->index);
	MLX5_SET(cqc, cqc, c_eqn_or_apu_element, eqn);
	MLX5_SET(cqc, cqc, log_page_size, cq->buf.page_shift - MLX5_ADAPTER_PAGE_SHIFT);
	MLX5_SET64(cqc, cqc, dbr_addr, cq->db.dma);
	mlx5_fill_page_frag_array(&cq->buf, MLX5_ADDR_OF(create_cq_in, in, pas));
	ret = mlx5_core_create_cq(dev->mdev, &cq->mcq, in, len, out, sizeof(out));
	kvfree(in);
	if (!ret)
		return 0;
err_buf:
	mlx5_frag_buf_free(dev->mdev, &cq->buf);
err_db:
	mlx5_db_free(dev->mdev, &cq->db);
	return ret;
}

void dc_cq_destroy(struct dc_cq *cq)
{
	mlx5_core_destroy_cq(cq->dev->mdev, &cq->mcq);
	tasklet_kill(&cq->tasklet);
	mlx5_frag_buf_free(cq->dev->mdev, &cq->buf);
	mlx5_db_free(cq->dev->mdev, &cq->db);
}

struct mlx5_cqe64 *dc_cq_peek(struct dc_cq *cq)
{
	u32 ci = cq->mcq.cons_index;
	struct mlx5_cqe64 *cqe = mlx5_frag_buf_get_wqe(&cq->fbc, ci & (cq->n - 1));
	u8 op_own = READ_ONCE(cqe->op_own);

	if (op_own >> 4 == MLX5_CQE_INVALID || (op_own & MLX5_CQE_OWNER_MASK) != !!(ci & cq->n))
		return NULL;
	/* the device writes the owner last */
	dma_rmb();
	return cqe;
}

void dc_cq_next(struct dc_cq *cq)
{
	cq->mcq.cons_index++;
	mlx5_cq_set_ci(&cq->mcq);
}

void dc_cq_arm(struct dc_cq *cq)
{
	mlx5_cq_arm(&cq->mcq, MLX5_CQ_DB_REQ_NOT, cq->dev->uar->map, cq->mcq.cons_index);
}

/* -------- Targets -------- */

#define DC_RECV_STRIDE	(sizeof(struct mlx5_wqe_srq_next_seg) + sizeof(struct mlx5_wqe_data_seg))
#define DC_DRAIN_SECONDS	10
/*
 * 41 ms: with the readers' retries a burst of messages may keep a processor busy for a quarter of a
 * second.
 */
#define DC_MIN_RNR_NAK		24
#define DC_HOP_LIMIT		64

static struct mlx5_wqe_srq_next_seg *dc_target_wqe(struct dc_target *target, u32 i)
{
	return target->wq.frags[0].buf + i * DC_RECV_STRIDE;
}

/*
 * All but one wait in the device's list; the last one's link is written when there is one to follow
 * it.
 */
static void dc_target_fill(struct dc_target *target, u32 lkey)
{
	struct mlx5_wqe_srq_next_seg *next;
	struct mlx5_wqe_data_seg *data;
	u32 i;

	for (i = 0; i < DC_MSG_DEPTH; i++) {
		next = dc_target_wqe(target, i);
		data = (void *)(next + 1);
		next->next_wqe_index = cpu_to_be16((i + 1) % DC_MSG_DEPTH);
		data->byte_count = cpu_to_be32(DC_MSG_LEN);
		data->lkey = cpu_to_be32(lkey);
		data->addr = cpu_to_be64(target->msgs_dma + i * DC_MSG_LEN);
	}
	target->tail = DC_MSG_DEPTH - 1;
	target->posted = DC_MSG_DEPTH - 1;
	*target->db.db = cpu_to_be32(target->posted);
}

static void dc_target_repost(struct dc_target *target, u16 i)
{
	dc_target_wqe(target, target->tail)->next_wqe_index = cpu_to_be16(i);
	target->tail = i;
	target->posted++;
	/* the link before the count */
	dma_wmb();
	*target->db.db = cpu_to_be32(target->posted & 0xffff);
}

static void dc_target_comp(struct dc_cq *cq)
{
	struct dc_target *target = container_of(cq, struct dc_target, cq);
	u8 msg[DC_MSG_LEN] __aligned(8);
	unsigned int n = 0;
	struct mlx5_cqe64 *cqe;
	bool ok;
	u16 i;

again:
	/*
	 * Whoever floods us gets no more than a round at a time; for the rest, arming raises
	 * another event.
	 */
	while (n++ < DC_MSG_DEPTH && (cqe = dc_cq_peek(cq))) {
		i = be16_to_cpu(cqe->wqe_counter);
		ok = get_cqe_opcode(cqe) == MLX5_CQE_RESP_SEND &&
		     be32_to_cpu(cqe->byte_cnt) == DC_MSG_LEN;
		if (i < DC_MSG_DEPTH) {
			/* a copy: the place is the device's again before it is looked at */
			memcpy(msg, target->msgs + i * DC_MSG_LEN, DC_MSG_LEN);
			dc_target_repost(target, i);
		}
		dc_cq_next(cq);
		target->recv(target, ok && i < DC_MSG_DEPTH ? msg : NULL);
	}
	dc_cq_arm(cq);
	if (n < DC_MSG_DEPTH && dc_cq_peek(cq))
		goto again;
}

static int dc_target_event(struct notifier_block *nb, unsigned long type, void *data)
{
	struct dc_target *target = container_of(nb, struct dc_target, events);
	struct mlx5_eqe *eqe = data;

	if (type != MLX5_EVENT_TYPE_DCT_DRAINED ||
	    (be32_to_cpu(eqe->data.dct.dctn) & 0xffffff) != target->number)
		return NOTIFY_DONE;
	complete(&target->drained);
	return NOTIFY_OK;
}

static int dc_target_create_rmp(struct dc_target *target, u32 pdn)
{
	size_t len = MLX5_ST_SZ_BYTES(create_rmp_in) + sizeof(u64) * target->wq.npages;
	u32 out[MLX5_ST_SZ_DW(create_rmp_out)] = {};
	void *in, *rmpc, *wq;
	int ret;

	in = kvzalloc(len, GFP_KERNEL);
	if (!in)
		return -ENOMEM;
	MLX5_SET(create_rmp_in, in, opcode, MLX5_CMD_OP_CREATE_RMP);
	rmpc = MLX5_ADDR_OF(create_rmp_in, in, ctx);
	MLX5_SET(rmpc, rmpc, state, MLX5_RMPC_STATE_RDY);
	wq = MLX5_ADDR_OF(rmpc, rmpc, wq);
	MLX5_SET(wq, wq, wq_type, MLX5_WQ_TYPE_LINKED_LIST);
	MLX5_SET(wq, wq, pd, pdn);
	MLX5_SET(wq, wq, log_wq_stride, ilog2(DC_RECV_STRIDE));
	MLX5_SET(wq, wq, log_wq_sz, ilog2(DC_MSG_DEPTH));
	MLX5_SET(wq, wq, log_wq_pg_sz, target->wq.page_shift - MLX5_ADAPTER_PAGE_SHIFT);
	MLX5_SET64(wq, wq, dbr_addr, target->db.dma);
	mlx5_fill_page_frag_array(&target->wq, MLX5_ADDR_OF(wq, wq, pas));
	ret = mlx5_cmd_exec(target->dev->mdev, in, len, out, sizeof(out));
	if (!ret)
		target->rmpn = MLX5_GET(create_rmp_out, out, rmpn);
	kvfree(in);
	return ret;
}

static void dc_target_destroy_rmp(struct dc_target *target)
{
	u32 in[MLX5_ST_SZ_DW(destroy_rmp_in)] = {};

	MLX5_SET(destroy_rmp_in, in, opcode, MLX5_CMD_OP_DESTROY_RMP);
	MLX5_SET(destroy_rmp_in, in, rmpn, target->rmpn);
	mlx5_cmd_exec_in(target->dev->mdev, destroy_rmp, in);
}

static int dc_target_create_dct(struct dc_target *target, const struct dc_target_attr *attr,
				u32 pdn)
{
	u32 in[MLX5_ST_SZ_DW(create_dct_in)] = {}, out[MLX5_ST_SZ_DW(create_dct_out)] = {};
	void *dctc = MLX5_ADDR_OF(create_dct_in, in, dct_context_entry);
	int ret;

	MLX5_SET(create_dct_in, in, opcode, MLX5_CMD_OP_CREATE_DCT);
	MLX5_SET(dctc, dctc, pd, pdn);
	MLX5_SET(dctc, dctc, srqn_xrqn, target->rmpn);
	MLX5_SET(dctc, dctc, cqn, target->cq.mcq.cqn);
	MLX5_SET64(dctc, dctc, dc_access_key, attr->key);
	if (MLX5_CAP_GEN(target->dev->mdev, cqe_version))
		MLX5_SET(dctc, dctc, user_index, 0xffffff);
	MLX5_SET(dctc, dctc, rre, 1);
	MLX5_SET(dctc, dctc, port, attr->port_num);
	MLX5_SET(dctc, dctc, mtu, attr->mtu);
	if (attr->roce) {
		MLX5_SET(dctc, dctc, my_addr_index, attr->gid_index);
		MLX5_SET(dctc, dctc, hop_limit, DC_HOP_LIMIT);
	}
	MLX5_SET(dctc, dctc, min_rnr_nak, DC_MIN_RNR_NAK);
	MLX5_SET(dctc, dctc, counter_set_id, target->dev->counters);
	ret = mlx5_cmd_exec(target->dev->mdev, in, sizeof(in), out, sizeof(out));
	if (!ret)
		target->number = MLX5_GET(create_dct_out, out, dctn);
	memzero_explicit(in, sizeof(in));
	return ret;
}

int dc_target_create(struct dc_dev *dev, struct dc_target *target,
		     const struct dc_target_attr *attr)
{
	int node = dev->mdev->priv.numa_node;
	u32 pdn;
	int ret;

	memset(target, 0, sizeof(*target));
	target->dev = dev;
	target->recv = attr->recv;
	init_completion(&target->drained);
	ret = dc_dev_pdn(dev, attr->pd, &pdn);
	if (ret)
		return ret;
	target->msgs = dma_alloc_coherent(dev->mdev->device, DC_MSG_DEPTH * DC_MSG_LEN,
					  &target->msgs_dma, GFP_KERNEL);
	if (!target->msgs)
		return -ENOMEM;
	ret = mlx5_db_alloc_node(dev->mdev, &target->db, node);
	if (ret)
		goto err_msgs;
	ret = mlx5_frag_buf_alloc_node(dev->mdev, DC_MSG_DEPTH * DC_RECV_STRIDE, &target->wq, node);
	if (ret)
		goto err_db;
	dc_target_fill(target, attr->pd->local_dma_lkey);
	ret = dc_cq_create(dev, &target->cq, DC_MSG_DEPTH, 0, dc_target_comp);
	if (ret)
		goto err_wq;
	ret = dc_target_create_rmp(target, pdn);
	if (ret)
		goto err_cq;
	ret = dc_target_create_dct(target, attr, pdn);
	if (ret)
		goto err_rmp;
	target->events.notifier_call = dc_target_event;
	mlx5_notifier_register(dev->mdev, &target->events);
	dc_cq_arm(&target->cq);
	return 0;

err_rmp:
	dc_target_destroy_rmp(target);
err_cq:
	dc_cq_destroy(&target->cq);
err_wq:
	mlx5_frag_buf_free(dev->mdev, &target->wq);
err_db:
	mlx5_db_free(dev->mdev, &target->db);
err_msgs:
	dma_free_coherent(dev->mdev->device, DC_MSG_DEPTH * DC_MSG_LEN, target->msgs,
			  target->msgs_dma);
	return ret;
}

int dc_target_violations(struct dc_target *target, u32 *n)
{
	u32 in[MLX5_ST_SZ_DW(query_dct_in)] = {}, out[MLX5_ST_SZ_DW(query_dct_out)] = {};
	int ret;

	MLX5_SET(query_dct_in, in, opcode, MLX5_CMD_OP_QUERY_DCT);
	MLX5_SET(query_dct_in, in, dctn, target->number);
	ret = mlx5_cmd_exec_inout(target->dev->mdev, query_dct, in, out);
	if (!ret)
		*n = MLX5_GET(query_dct_out, out, dct_context_entry.dc_access_key_violation_count);
	memzero_explicit(out, sizeof(out));
	return ret;
}

/* Whether the device says that nobody is being answered any more. */
static bool dc_target_is_drained(struct dc_target *target)
{
	struct mlx5_core_dev *mdev = target->dev->mdev;
	unsigned int i;

	for (i = 0; i < DC_DRAIN_SECONDS; i++) {
		/* One that is going away says nothing. */
		if (mdev->state == MLX5_DEVICE_STATE_INTERNAL_ERROR ||
		    wait_for_completion_timeout(&target->drained, HZ))
			return true;
	}
	return false;
}

void dc_target_drain(struct dc_target *target)
{
	u32 in[MLX5_ST_SZ_DW(drain_dct_in)] = {};

	MLX5_SET(drain_dct_in, in, opcode, MLX5_CMD_OP_DRAIN_DCT);
	MLX5_SET(drain_dct_in, in, dctn, target->number);
	target->draining = !mlx5_cmd_exec_in(target->dev->mdev, drain_dct, in);
}

void dc_target_destroy(struct dc_target *target)
{
	u32 in[MLX5_ST_SZ_DW(destroy_dct_in)] = {};
	struct mlx5_core_dev *mdev = target->dev->mdev;

	/* Requests that are being answered end first. */
	if (!target->draining)
		dc_target_drain(target);
	if (target->draining && !dc_target_is_drained(target))
		pr_warn("mitosis: DC target %#x: the device does not say that it is drained\n",
			target->number);
	MLX5_SET(destroy_dct_in, in, opcode, MLX5_CMD_OP_DESTROY_DCT);
	MLX5_SET(destroy_dct_in, in, dctn, target->number);
	/* As long as there is one it writes messages to memory of ours. */
	while (mlx5_cmd_exec_in(mdev, destroy_dct, in)) {
		pr_err_ratelimited("mitosis: DC target %#x can not be destroyed: its device is waited for\n",
				   target->number);
		ssleep(DC_RETRY_SECONDS);
	}
	mlx5_notifier_unregister(mdev, &target->events);
	dc_target_destroy_rmp(target);
	dc_cq_destroy(&target->cq);
	mlx5_frag_buf_free(mdev, &target->wq);
	mlx5_db_free(mdev, &target->db);
	dma_free_coherent(mdev->device, DC_MSG_DEPTH * DC_MSG_LEN, target->msgs,
			  target->msgs_dma);
}

/* -------- Initiators -------- */

/*
 * 4.096 us << 17, tried 7 times: a peer that has vanished is noticed within four seconds, as over a
 * connection. Retries for a peer that has no room for a message are bounded, too: it says itself
 * how long they take.
 */
#define DC_ACK_TIMEOUT	17
#define DC_RETRIES	6
#define DC_RNR_RETRIES	6
#define DC_ACK_REQ_FREQ	8
#define DC_READS_LOG	4	/* READs under way at one target */

/*
 * What mlx5_ib says of such a queue pair each time. Where it sends from, and to, is in each work
 * request.
 */
static void dc_initiator_context(struct dc_initiator *ini, void *qpc)
{
	MLX5_SET(qpc, qpc, st, MLX5_QPC_ST_DCI);
	MLX5_SET(qpc, qpc, pm_state, MLX5_QP_PM_MIGRATED);
	MLX5_SET(qpc, qpc, pd, ini->pdn);
}

/* One mailbox at a time is enough for a stack. */
static noinline_for_stack int dc_initiator_to_init(struct dc_initiator *ini)
{
	u32 in[MLX5_ST_SZ_DW(rst2init_qp_in)] = {};
	void *qpc = MLX5_ADDR_OF(rst2init_qp_in, in, qpc);

	MLX5_SET(rst2init_qp_in, in, opcode, MLX5_CMD_OP_RST2INIT_QP);
	MLX5_SET(rst2init_qp_in, in, qpn, ini->qpn);
	dc_initiator_context(ini, qpc);
	MLX5_SET(qpc, qpc, log_ack_req_freq, DC_ACK_REQ_FREQ);
	MLX5_SET(qpc, qpc, primary_address_path.vhca_port_num, ini->port_num);
	return mlx5_cmd_exec_in(ini->dev->mdev, rst2init_qp, in);
}

static noinline_for_stack int dc_initiator_to_rtr(struct dc_initiator *ini)
{
	u32 in[MLX5_ST_SZ_DW(init2rtr_qp_in)] = {};
	void *qpc = MLX5_ADDR_OF(init2rtr_qp_in, in, qpc);

	MLX5_SET(init2rtr_qp_in, in, opcode, MLX5_CMD_OP_INIT2RTR_QP);
	MLX5_SET(init2rtr_qp_in, in, qpn, ini->qpn);
	dc_initiator_context(ini, qpc);
	MLX5_SET(qpc, qpc, log_ack_req_freq, DC_ACK_REQ_FREQ);
	MLX5_SET(qpc, qpc, mtu, ini->mtu);
	MLX5_SET(qpc, qpc, log_msg_max, MLX5_CAP_GEN(ini->dev->mdev, log_max_msg));
	MLX5_SET(qpc, qpc, primary_address_path.vhca_port_num, ini->port_num);
	return mlx5_cmd_exec_in(ini->dev->mdev, init2rtr_qp, in);
}

static noinline_for_stack int dc_initiator_to_rts(struct dc_initiator *ini)
{
	u32 in[MLX5_ST_SZ_DW(rtr2rts_qp_in)] = {};
	void *qpc = MLX5_ADDR_OF(rtr2rts_qp_in, in, qpc);

	MLX5_SET(rtr2rts_qp_in, in, opcode, MLX5_CMD_OP_RTR2RTS_QP);
	MLX5_SET(rtr2rts_qp_in, in, qpn, ini->qpn);
	dc_initiator_context(ini, qpc);
	MLX5_SET(qpc, qpc, log_ack_req_freq, DC_ACK_REQ_FREQ);
	MLX5_SET(qpc, qpc, retry_count, DC_RETRIES);
	MLX5_SET(qpc, qpc, rnr_retry, DC_RNR_RETRIES);
	MLX5_SET(qpc, qpc, log_sra_max,
		 min_t(u32, DC_READS_LOG, MLX5_CAP_GEN(ini->dev->mdev, log_max_ra_req_dc)));
	MLX5_SET(qpc, qpc, primary_address_path.ack_timeout, DC_ACK_TIMEOUT);
	return mlx5_cmd_exec_in(ini->dev->mdev, rtr2rts_qp, in);
}

int dc_initiator_up(struct dc_initiator *ini)
{
	ini->posted = 0;
	ini->db.db[MLX5_SND_DBR] = 0;
	return dc_initiator_to_init(ini) ?: dc_initiator_to_rtr(ini) ?: dc_initiator_to_rts(ini);
}

int dc_initiator_reset(struct dc_initiator *ini)
{
	u32 in[MLX5_ST_SZ_DW(qp_2rst_in)] = {};

	MLX5_SET(qp_2rst_in, in, opcode, MLX5_CMD_OP_2RST_QP);
	MLX5_SET(qp_2rst_in, in, qpn, ini->qpn);
	return mlx5_cmd_exec_in(ini->dev->mdev, qp_2rst, in);
}

static int dc_initiator_destroy_qp(struct dc_initiator *ini)
{
	u32 in[MLX5_ST_SZ_DW(destroy_qp_in)] = {};

	MLX5_SET(destroy_qp_in, in, opcode, MLX5_CMD_OP_DESTROY_QP);
	MLX5_SET(destroy_qp_in, in, qpn, ini->qpn);
	return mlx5_cmd_exec_in(ini->dev->mdev, destroy_qp, in);
}

void dc_initiator_stop(struct dc_initiator *ini)
{
	while (dc_initiator_reset(ini)) {
		ini->destroyed = !dc_initiator_destroy_qp(ini);
		if (ini->destroyed)
			break;
		pr_err_ratelimited("mitosis: DC initiator %#x can not be stopped: its device is waited for\n",
				   ini->qpn);
		ssleep(DC_RETRY_SECONDS);
	}
}

static int dc_initiator_create_qp(struct dc_initiator *ini, u32 srqn)
{
	size_t len = MLX5_ST_SZ_BYTES(create_qp_in) + sizeof(u64) * ini->sq.npages;
	u32 out[MLX5_ST_SZ_DW(create_qp_out)] = {};
	struct mlx5_core_dev *mdev = ini->dev->mdev;
	void *in, *qpc;
	int ret;

	in = kvzalloc(len, GFP_KERNEL);
	if (!in)
		return -ENOMEM;
	MLX5_SET(create_qp_in, in, opcode, MLX5_CMD_OP_CREATE_QP);
	qpc = MLX5_ADDR_OF(create_qp_in, in, qpc);
	dc_initiator_context(ini, qpc);
	MLX5_SET(qpc, qpc, cqn_snd, ini->cq.mcq.cqn);
	MLX5_SET(qpc, qpc, cqn_rcv, ini->cq.mcq.cqn);
	MLX5_SET(qpc, qpc, uar_page, ini->dev->uar->index);
	MLX5_SET(qpc, qpc, log_page_size, ini->sq.page_shift - MLX5_ADAPTER_PAGE_SHIFT);
	MLX5_SET(qpc, qpc, log_sq_size, ilog2(ini->depth * DC_WQE_BBS));
	MLX5_SET(qpc, qpc, rq_type, MLX5_SRQ_RQ);
	MLX5_SET(qpc, qpc, srqn_rmpn_xrqn, srqn);
	MLX5_SET(qpc, qpc, ts_format, mlx5_get_qp_default_ts(mdev));
	MLX5_SET(qpc, qpc, rlky, 1);
	MLX5_SET64(qpc, qpc, dbr_addr, ini->db.dma);
	if (MLX5_CAP_GEN(mdev, cqe_version))
		MLX5_SET(qpc, qpc, user_index, 0xffffff);
	mlx5_fill_page_frag_array(&ini->sq, (__be64 *)MLX5_ADDR_OF(create_qp_in, in, pas));
	ret = mlx5_cmd_exec(mdev, in, len, out, sizeof(out));
	if (!ret)
		ini->qpn = MLX5_GET(create_qp_out, out, qpn);
	kvfree(in);
	return ret;
}

int dc_initiator_create(struct dc_dev *dev, struct dc_initiator *ini,
			const struct dc_initiator_attr *attr)
{
	int node = dev->mdev->priv.numa_node;
	u32 bbs = attr->depth * DC_WQE_BBS;
	int ret;

	memset(ini, 0, sizeof(*ini));
	ini->dev = dev;
	ini->pdn = attr->pdn;
	ini->port_num = attr->port_num;
	ini->mtu = attr->mtu;
	ini->depth = attr->depth;
	ret = dc_cq_create(dev, &ini->cq, attr->depth, attr->vector, attr->comp);
	if (ret)
		return ret;
	ret = mlx5_db_alloc_node(dev->mdev, &ini->db, node);
	if (ret)
		goto err_cq;
	ret = mlx5_frag_buf_alloc_node(dev->mdev, bbs * MLX5_SEND_WQE_BB, &ini->sq, node);
	if (ret)
		goto err_db;
	mlx5_init_fbc(ini->sq.frags, ilog2(MLX5_SEND_WQE_BB), ilog2(bbs), &ini->fbc);
	ret = dc_initiator_create_qp(ini, attr->srqn);
	if (ret)
		goto err_sq;
	ret = dc_initiator_up(ini);
	if (ret)
		goto err_qp;
	dc_cq_arm(&ini->cq);
	return 0;

err_qp:
	dc_initiator_destroy_qp(ini);
err_sq:
	mlx5_frag_buf_free(dev->mdev, &ini->sq);
err_db:
	mlx5_db_free(dev->mdev, &ini->db);
err_cq:
	dc_cq_destroy(&ini->cq);
	return ret;
}

void dc_initiator_destroy(struct dc_initiator *ini)
{
	if (!ini->destroyed)
		dc_initiator_destroy_qp(ini);
	dc_cq_destroy(&ini->cq);
	mlx5_frag_buf_free(ini->dev->mdev, &ini->sq);
	mlx5_db_free(ini->dev->mdev, &ini->db);
}

/* Begins a work request of @ds units of 16 bytes; @segment is what follows the address. */
static u32 dc_initiator_begin(struct dc_initiator *ini, u8 opcode, u8 ds,
			      const struct mlx5_av *av, void **segment)
{
	u32 index = ini->posted % ini->depth;
	u16 bb = ini->posted * DC_WQE_BBS;
	/* A power of two of basic blocks each: both are in one page. */
	struct mlx5_wqe_ctrl_seg *ctrl = mlx5_frag_buf_get_wqe(&ini->fbc, index * DC_WQE_BBS);
	struct mlx5_wqe_datagram_seg *to = (void *)(ctrl + 1);

	memset(ctrl, 0, DC_WQE_BBS * MLX5_SEND_WQE_BB);
	ctrl->opmod_idx_opcode = cpu_to_be32(bb << MLX5_WQE_CTRL_WQE_INDEX_SHIFT | opcode);
	ctrl->qpn_ds = cpu_to_be32(ini->qpn << MLX5_WQE_CTRL_QPN_SHIFT | ds);
	ctrl->fm_ce_se = MLX5_WQE_CTRL_CQ_UPDATE;
	to->av = *av;
	*segment = to + 1;
	ini->last = ctrl;
	ini->posted++;
	return index;
}

u32 dc_initiator_read(struct dc_initiator *ini, const struct mlx5_av *av, u64 raddr, u32 rkey,
		      dma_addr_t to, u32 lkey, u32 len)
{
	struct mlx5_wqe_raddr_seg *remote;
	struct mlx5_wqe_data_seg *data;
	u32 index;

	index = dc_initiator_begin(ini, MLX5_OPCODE_RDMA_READ, 6, av, (void **)&remote);
	remote->raddr = cpu_to_be64(raddr);
	remote->rkey = cpu_to_be32(rkey);
	data = (void *)(remote + 1);
	data->byte_count = cpu_to_be32(len);
	data->lkey = cpu_to_be32(lkey);
	data->addr = cpu_to_be64(to);
	return index;
}

u32 dc_initiator_send(struct dc_initiator *ini, const struct mlx5_av *av, const void *msg)
{
	struct mlx5_wqe_inline_seg *data;
	u32 index;

	index = dc_initiator_begin(ini, MLX5_OPCODE_SEND, 7, av, (void **)&data);
	data->byte_count = cpu_to_be32(DC_MSG_LEN | MLX5_INLINE_SEG);
	memcpy(data->data, msg, DC_MSG_LEN);
	return index;
}

void dc_initiator_forget(struct dc_initiator *ini, u32 index)
{
	struct mlx5_wqe_ctrl_seg *ctrl = mlx5_frag_buf_get_wqe(&ini->fbc, index * DC_WQE_BBS);

	memzero_explicit(ctrl + 1, sizeof(struct mlx5_wqe_datagram_seg));
}

void dc_initiator_ring(struct dc_initiator *ini)
{
	/* work requests before the record */
	dma_wmb();
	ini->db.db[MLX5_SND_DBR] = cpu_to_be32((u16)(ini->posted * DC_WQE_BBS));
	/* the record before the register */
	wmb();
	mlx5_write64(ini->last, ini->dev->uar->map + MLX5_BF_OFFSET);
}
