/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Dynamically connected transport of mlx5 devices, for the kernel: verbs offer it to user space
 * only, but mlx5_core exports all that it takes. No locking in here: who owns an object says who
 * may touch it.
 */
#ifndef MITOSIS_MLX5_DC_H
#define MITOSIS_MLX5_DC_H

#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/mlx5/cq.h>
#include <linux/mlx5/driver.h>
#include <linux/mlx5/qp.h>
#include <linux/notifier.h>
#include <rdma/ib_verbs.h>

/* -------- Devices -------- */

struct dc_dev {
	struct ib_device *ibdev;
	struct mlx5_core_dev *mdev;
	struct mlx5_uars_page *uar;	/* for all doorbells */
	u8 counters;			/* of targets; 0: the device has none to give */
};

/* -EOPNOTSUPP: *why is a sentence without an end, to go behind the device's name. */
int dc_dev_init(struct dc_dev *dev, struct ib_device *ibdev, const char **why);
void dc_dev_exit(struct dc_dev *dev);
/*
 * How many requests targets have refused for what they ask for: the device's own count
 * (resp_remote_access_errors), which goes on at 0 after 2^32 - 1. 0 where it does not count.
 * Sleeps.
 */
int dc_dev_refused(struct dc_dev *dev, u32 *n);
/* The device's own number of a protection domain. */
int dc_dev_pdn(struct dc_dev *dev, struct ib_pd *pd, u32 *pdn);

/* -------- Completion queues -------- */

struct dc_cq {
	struct mlx5_core_cq mcq;
	struct dc_dev *dev;
	struct mlx5_frag_buf buf;
	struct mlx5_frag_buf_ctrl fbc;
	struct mlx5_db db;
	u32 n;
	struct tasklet_struct tasklet;
	void (*comp)(struct dc_cq *cq);
};

/* @comp runs in softirq when there is something to poll and the queue has been armed. */
int dc_cq_create(struct dc_dev *dev, struct dc_cq *cq, u32 n, int vector,
		 void (*comp)(struct dc_cq *cq));
/* @comp does not run any more. */
void dc_cq_destroy(struct dc_cq *cq);
/* The next completion, or NULL; it is the caller's until dc_cq_next(). */
struct mlx5_cqe64 *dc_cq_peek(struct dc_cq *cq);
void dc_cq_next(struct dc_cq *cq);
/* Has @comp called; also for what has come since the queue was found empty. */
void dc_cq_arm(struct dc_cq *cq);

/* -------- Targets -------- */

#define DC_MSG_LEN	32	/* bytes that fit into a message */
#define DC_MSG_DEPTH	64	/* messages that wait to be looked at; a power of two */

struct dc_target {
	struct dc_dev *dev;
	u32 number;			/* 24 bits */
	u32 rmpn;
	struct dc_cq cq;
	struct mlx5_frag_buf wq;
	struct mlx5_db db;
	u32 posted;			/* ever */
	u16 tail;
	void *msgs;
	dma_addr_t msgs_dma;
	struct notifier_block events;
	struct completion drained;
	bool draining;
	/* Softirq. @msg is NULL when the device reports an error or the length is another. */
	void (*recv)(struct dc_target *target, const void *msg);
};

struct dc_target_attr {
	struct ib_pd *pd;
	u64 key;
	u32 port_num;
	u8 gid_index;
	bool roce;
	enum ib_mtu mtu;
	void (*recv)(struct dc_target *target, const void *msg);
};

int dc_target_create(struct dc_dev *dev, struct dc_target *target,
		     const struct dc_target_attr *attr);
/* How many requests with a wrong key there have been. */
int dc_target_violations(struct dc_target *target, u32 *n);
/* Begins what dc_target_destroy() then waits for; optional. */
void dc_target_drain(struct dc_target *target);
/* Nobody reads through it any more, and recv() does not run; waits for a device that refuses. */
void dc_target_destroy(struct dc_target *target);

/* -------- Initiators -------- */

/* Each work request takes as much of the queue. */
#define DC_WQE_BBS	2

struct dc_initiator {
	struct dc_dev *dev;
	u32 qpn;
	u32 pdn;
	u32 port_num;
	enum ib_mtu mtu;
	struct dc_cq cq;
	struct mlx5_frag_buf sq;
	struct mlx5_frag_buf_ctrl fbc;
	struct mlx5_db db;
	u32 depth;			/* work requests; a power of two */
	u32 posted;			/* since it came up */
	void *last;			/* posted */
	bool destroyed;			/* its memory is there, that is all */
};

struct dc_initiator_attr {
	u32 pdn;
	/* of an empty shared receive queue: nobody sends to initiators */
	u32 srqn;
	u32 port_num;
	enum ib_mtu mtu;
	u32 depth;
	int vector;
	void (*comp)(struct dc_cq *cq);
};

/* Ready to send. */
int dc_initiator_create(struct dc_dev *dev, struct dc_initiator *ini,
			const struct dc_initiator_attr *attr);
void dc_initiator_destroy(struct dc_initiator *ini);
/*
 * Stops it: the device forgets what has not completed, and writes no completions any more. If it
 * fails all of that may go on.
 */
int dc_initiator_reset(struct dc_initiator *ini);
/* As dc_initiator_reset(), for good, and does not return before it has. */
void dc_initiator_stop(struct dc_initiator *ini);
/* Ready to send once more. */
int dc_initiator_up(struct dc_initiator *ini);
/*
 * The next work request, to be seen by the device after dc_initiator_ring(). The caller counts how
 * many are in the queue. @av has key and number of the target. They return its index, which its
 * completion has; below depth.
 */
u32 dc_initiator_read(struct dc_initiator *ini, const struct mlx5_av *av, u64 raddr, u32 rkey,
		      dma_addr_t to, u32 lkey, u32 len);
u32 dc_initiator_send(struct dc_initiator *ini, const struct mlx5_av *av,
		      const void *msg /* DC_MSG_LEN */);
/*
 * The key of the target does not stay in a request that has completed, which others may not come
 * after for long.
 */
void dc_initiator_forget(struct dc_initiator *ini, u32 index);
/* For at least one that has been posted since it was called last. */
void dc_initiator_ring(struct dc_initiator *ini);

static inline u32 dc_initiator_index(const struct dc_initiator *ini, const struct mlx5_cqe64 *cqe)
{
	return be16_to_cpu(cqe->wqe_counter) / DC_WQE_BBS % ini->depth;
}

#endif
