// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Transport over reliable connections of any verbs device that rdma_cm connects by IB CM, which is
 * InfiniBand and RoCE.
 *
 * Source: each exposure has a protection domain of its own. Its regions are registered in there,
 * and a peer's queue pair is created in there once the peer has shown id and key. So a remote key
 * is worth nothing on any other connection, and the device itself does all the checking of
 * addresses. Registration needs a queue pair in the domain before there is any peer: one connected
 * to itself.
 *
 * What remains to a hostile peer that has the key: a SEND with invalidation makes a region of its
 * snapshot unreadable, for itself and for others that have the key. Verbs know no way to forbid
 * that. The peer is disconnected and counted, and those who read next are refused, not misled.
 *
 * Who may destroy what, and when a device goes away
 * -------------------------------------------------
 * rdma_cm tells each of our ids that its device is being removed, and the removal waits until the
 * ids have been destroyed. An id can not be destroyed by its own handler in the midst of other work
 * on it, so handlers here never destroy anything that has been set up: they note what happened and
 * queue work. The removal is held up just as long as that work takes.
 *
 *   peer      Owned by its work item from the moment that it is READY: all that happens to
 *             a peer is a bit in peer->flags and a run of peer_work(), which alone tears down.
 *             Before READY it belongs to the handler of the connection request, which is still
 *             setting up.
 *   exposure  expose_teardown() releases the objects on the device. Both rc_expose_destroy() and
 *             the removal's work call it, in any order or at once; ex->objects serialises them and
 *             ex->cm_id says whether there is anything left to release.
 *   conn      conn_teardown() likewise, called from rc_conn_close() and from the removal's work,
 *             serialised by conn->objects. Until rc_conn_open() has returned, only that function
 *             tears down; a removal makes it fail.
 *
 * Lock order: rdma_cm's handler mutexes are taken inside ex->objects and conn->objects (by
 * rdma_destroy_id()), so no handler takes these. Handlers may take rc_lock and ex->lock, so
 * nothing of rdma_cm is called under those.
 */
#define pr_fmt(fmt) "mitosis: " fmt

#include <crypto/algapi.h>
#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <rdma/ib_cm.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "stats.h"
#include "transport.h"
#include "xprt_reg.h"
#include "xprt_rc_wire.h"

/*
 * 4.096 us << 17, tried 7 times: a peer that has vanished is noticed within four seconds, or within
 * four times that where the device takes the liberty that the standard gives. Not 7 retries: that
 * is "for ever" to rxe.
 */
#define XPRT_ACK_TIMEOUT	17
#define XPRT_RETRIES		6

#define XPRT_PEERS_MAX		1024
#define XPRT_PING_INTERVAL	(10 * HZ)
#define XPRT_BACKLOG		128

#define PEER_SENDS		2	/* ACK and PING */
#define PEER_RECVS		2	/* DONE, and one to see what else comes */

#define CONN_READS		256
#define CONN_BATCH		16
#define CONN_RECVS		4
#define CONN_DEPTH_MAX		128	/* READs in flight that we ask the source for */
#define CONN_DONE_TIMEOUT	(10 * HZ)
/*
 * ib_core can miss that a neighbour has become known between its look and its waiting; it looks
 * once more when the time that it was given is over.
 */
#define CONN_RESOLVE_MS		200U
/*
 * Without a completion for so long, with reads in flight, the connection is taken for dead whatever
 * the device thinks. Devices may stretch the ack timeout by four: 0.54 s * 4 * (XPRT_RETRIES + 1).
 */
#define CONN_STALL_TIMEOUT	(20 * HZ)

static ushort port = MITOSIS_PORT;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "rdma_cm port on which snapshots are offered");

static LIST_HEAD(rc_exposures);
static DEFINE_MUTEX(rc_lock);		/* rc_exposures */
static struct rdma_cm_id *xprt_listener;
static struct workqueue_struct *xprt_peer_wq;
/* Apart, as it waits for the above: enough removals at once would leave the peers no worker. */
static struct workqueue_struct *xprt_removal_wq;

struct rc_exposure {
	struct xprt_exposure base;
	struct kref kref;
	struct list_head list;		/* rc_lock */
	u64 id;
	u8 key[MITOSIS_KEY_LEN];
	const struct xprt_expose_ops *ops;
	void *priv;
	struct work_struct removal;
	struct sockaddr_storage addr;

	/* Fixed while a peer exists. */
	struct xprt_reg reg;

	struct mutex objects;		/* what follows, and reg */
	struct rdma_cm_id *cm_id;	/* NULL once the device's objects have been released */

	struct mutex lock;		/* what follows */
	struct list_head peers;
	unsigned int npeers;
	bool open, closing;
	wait_queue_head_t peers_wait;
};

enum peer_flag {
	PEER_READY,		/* the request has been accepted; peer_work() owns the peer */
	PEER_UP,
	PEER_DONE,
	PEER_DEAD,
	PEER_FAULTED,		/* a request that the device refused has been counted */
	PEER_PINGED,		/* a PING has not been answered yet */
};

struct rc_peer {
	struct kref kref;
	struct list_head list;		/* ex->lock */
	struct rc_exposure *ex;
	struct rdma_cm_id *cm_id;
	struct ib_cq *cq;
	unsigned long flags;
	struct delayed_work work;	/* each queued instance holds a reference */
	struct ib_cqe recv_cqe, ack_cqe, ping_cqe;
	struct completion acked;
	/* peer_work() only */
	bool told_up, told_done, gone;
};

enum conn_state {
	CONN_OPENING,
	CONN_UP,
	CONN_DOWN,
};

struct rc_conn {
	struct xprt_conn base;
	const struct xprt_conn_ops *ops;
	void *priv;

	struct mutex objects;		/* the device's objects */
	struct rdma_cm_id *cm_id;	/* NULL once they have been released */
	struct ib_device *device;
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct work_struct removal;

	struct completion step;		/* of opening */
	int step_err;

	spinlock_t lock;		/* what follows; posting to the queue pair as well */
	enum conn_state state;
	int err;
	bool opened;			/* rc_conn_open() has returned it */
	bool done_posted;
	unsigned int inflight, max_inflight;
	unsigned long progress;		/* jiffies of the last completion */
	struct timer_list watch;
	struct list_head pending;
	struct ib_rdma_wr wr[CONN_BATCH];
	struct ib_sge sge[CONN_BATCH];

	struct ib_cqe recv_cqe, done_cqe;
	wait_queue_head_t wait;
	bool done_completed, done_sent, acked;
};

struct read_priv {
	struct ib_cqe cqe;
	u64 dma;
};

static_assert(sizeof(struct read_priv) <= sizeof_field(struct xprt_read, priv));

static struct rc_exposure *to_rc_exposure(struct xprt_exposure *base)
{
	return container_of(base, struct rc_exposure, base);
}

static struct rc_conn *to_rc_conn(struct xprt_conn *base)
{
	return container_of(base, struct rc_conn, base);
}

static struct read_priv *read_priv(struct xprt_read *rd)
{
	return (struct read_priv *)rd->priv;
}

static int xprt_send(struct ib_qp *qp, struct ib_cqe *cqe, enum xprt_msg msg)
{
	struct ib_send_wr wr = {
		.wr_cqe = cqe,
		.opcode = IB_WR_SEND_WITH_IMM,
		.send_flags = IB_SEND_SIGNALED,
		.ex.imm_data = cpu_to_be32(msg),
	};

	return ib_post_send(qp, &wr, NULL);
}

static int xprt_recv(struct ib_qp *qp, struct ib_cqe *cqe)
{
	struct ib_recv_wr wr = { .wr_cqe = cqe };

	return ib_post_recv(qp, &wr, NULL);
}

/* The message in a successful completion of a receive; 0 for anything that is not one of ours. */
static u32 xprt_wc_msg(const struct ib_wc *wc)
{
	if (wc->opcode != IB_WC_RECV || wc->byte_len || !(wc->wc_flags & IB_WC_WITH_IMM))
		return 0;
	return be32_to_cpu(wc->ex.imm_data);
}

/*
 * IB CM grants a responder RDMA WRITE and atomics as well. No region of ours allows them, but what
 * nobody needs need not get as far as the regions.
 */
static int xprt_limit_access(struct ib_qp *qp, int flags)
{
	struct ib_qp_attr attr = { .qp_access_flags = flags };

	return ib_modify_qp(qp, &attr, IB_QP_ACCESS_FLAGS);
}

/* -------- Source: peers -------- */

static void expose_free(struct kref *kref)
{
	struct rc_exposure *ex = container_of(kref, struct rc_exposure, kref);

	mutex_destroy(&ex->objects);
	mutex_destroy(&ex->lock);
	memzero_explicit(ex->key, sizeof(ex->key));
	kfree(ex);
}

static void expose_put(struct rc_exposure *ex)
{
	kref_put(&ex->kref, expose_free);
}

static void peer_free(struct kref *kref)
{
	struct rc_peer *peer = container_of(kref, struct rc_peer, kref);

	expose_put(peer->ex);
	kfree(peer);
}

static void peer_put(struct rc_peer *peer)
{
	kref_put(&peer->kref, peer_free);
}

/* Has peer_work() look at what happened. Any context, while the peer is listed. */
static void peer_kick(struct rc_peer *peer)
{
	kref_get(&peer->kref);
	if (mod_delayed_work(xprt_peer_wq, &peer->work, 0))
		peer_put(peer);
}

static void peer_set(struct rc_peer *peer, enum peer_flag flag)
{
	if (!test_and_set_bit(flag, &peer->flags))
		peer_kick(peer);
}

/* The device stopped the queue pair as the peer asked for what it may not have. */
static void peer_fault(struct rc_peer *peer)
{
	if (!test_and_set_bit(PEER_FAULTED, &peer->flags)) {
		mitosis_stat_add(MITOSIS_STAT_ACCESS_ERRORS, 1);
		pr_warn_ratelimited("snapshot %016llx: %pISpc asked for what it may not read; it is disconnected\n",
				    peer->ex->id, &peer->cm_id->route.addr.dst_addr);
	}
	peer_set(peer, PEER_DEAD);
}

static void peer_recv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rc_peer *peer = cq->cq_context;

	if (wc->status == IB_WC_SUCCESS) {
		if (xprt_wc_msg(wc) == XPRT_MSG_DONE && !test_bit(PEER_DONE, &peer->flags))
			peer_set(peer, PEER_DONE);
		else
			peer_fault(peer);
		return;
	}
	/*
	 * Not all devices raise an event when they refuse a request, but all flush. We ourselves
	 * stop the queue pair only after PEER_DEAD has been set, or before PEER_READY when the
	 * connection does not come about.
	 */
	if (!test_bit(PEER_READY, &peer->flags))
		peer_set(peer, PEER_DEAD);
	else if (!test_bit(PEER_DEAD, &peer->flags))
		peer_fault(peer);
}

static void peer_ack_sent(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rc_peer *peer = cq->cq_context;

	complete(&peer->acked);
	if (wc->status != IB_WC_SUCCESS)
		peer_set(peer, PEER_DEAD);
}

static void peer_ping_sent(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rc_peer *peer = cq->cq_context;

	if (wc->status == IB_WC_SUCCESS)
		clear_bit(PEER_PINGED, &peer->flags);
	else
		peer_set(peer, PEER_DEAD);
}

static void peer_qp_event(struct ib_event *event, void *context)
{
	struct rc_peer *peer = context;

	switch (event->event) {
	case IB_EVENT_COMM_EST:
		rdma_notify(peer->cm_id, IB_EVENT_COMM_EST);
		break;
	case IB_EVENT_QP_REQ_ERR:
	case IB_EVENT_QP_ACCESS_ERR:
		peer_fault(peer);
		break;
	case IB_EVENT_QP_FATAL:
		peer_set(peer, PEER_DEAD);
		break;
	default:
		break;
	}
}

/* Nothing is destroyed here: see the top. */
static int peer_cm_handler(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	struct rc_peer *peer = id->context;

	switch (event->event) {
	case RDMA_CM_EVENT_ESTABLISHED:
		peer_set(peer, PEER_UP);
		break;
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_ADDR_CHANGE:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		peer_set(peer, PEER_DEAD);
		break;
	default:
		break;
	}
	return 0;
}

static void peer_unlist(struct rc_peer *peer)
{
	struct rc_exposure *ex = peer->ex;

	mutex_lock(&ex->lock);
	list_del(&peer->list);
	ex->npeers--;
	wake_up_all(&ex->peers_wait);
	mutex_unlock(&ex->lock);
}

static void peer_work(struct work_struct *work)
{
	struct rc_peer *peer = container_of(to_delayed_work(work), struct rc_peer, work);
	struct rc_exposure *ex = peer->ex;

	if (!test_bit(PEER_READY, &peer->flags) || peer->gone)
		goto out;

	/* The first message can overtake the word that the connection stands. */
	if (!peer->told_up &&
	    (test_bit(PEER_UP, &peer->flags) || test_bit(PEER_DONE, &peer->flags))) {
		peer->told_up = true;
		ex->ops->peer_up(ex->priv);
	}
	if (test_bit(PEER_DONE, &peer->flags) && !peer->told_done) {
		peer->told_done = true;
		/*
		 * peer_done() may have the exposure destroyed; let the peer have its answer
		 * before that.
		 */
		if (!xprt_send(peer->cm_id->qp, &peer->ack_cqe, XPRT_MSG_ACK))
			wait_for_completion_timeout(&peer->acked, HZ);
		ex->ops->peer_done(ex->priv);
	}
	if (!test_bit(PEER_DEAD, &peer->flags)) {
		/* A destination that crashed sends nothing, so only asking finds out. */
		if (peer->told_up && !test_and_set_bit(PEER_PINGED, &peer->flags) &&
		    xprt_send(peer->cm_id->qp, &peer->ping_cqe, XPRT_MSG_PING))
			peer_set(peer, PEER_DEAD);
		kref_get(&peer->kref);
		if (!queue_delayed_work(xprt_peer_wq, &peer->work, XPRT_PING_INTERVAL))
			peer_put(peer);
		goto out;
	}

	rdma_disconnect(peer->cm_id);
	ib_drain_qp(peer->cm_id->qp);
	rdma_destroy_qp(peer->cm_id);
	ib_free_cq(peer->cq);
	rdma_destroy_id(peer->cm_id);
	peer->gone = true;
	if (peer->told_up)
		ex->ops->peer_gone(ex->priv);
	peer_unlist(peer);
	peer_put(peer);
out:
	peer_put(peer);
}

/* For the handler of the connection request; the peer is its own until PEER_READY. */
static struct rc_peer *peer_create(struct rc_exposure *ex, struct rdma_cm_id *id)
{
	struct ib_qp_init_attr qp_attr = {
		.cap = {
			.max_send_wr = PEER_SENDS + 1,	/* ib_drain_qp() */
			.max_recv_wr = PEER_RECVS + 1,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
		.event_handler = peer_qp_event,
	};
	struct rc_peer *peer;
	int ret, i;

	peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	if (!peer)
		return ERR_PTR(-ENOMEM);
	kref_init(&peer->kref);
	INIT_DELAYED_WORK(&peer->work, peer_work);
	init_completion(&peer->acked);
	peer->recv_cqe.done = peer_recv_done;
	peer->ack_cqe.done = peer_ack_sent;
	peer->ping_cqe.done = peer_ping_sent;
	peer->cm_id = id;
	kref_get(&ex->kref);
	peer->ex = ex;

	/* Listed before anything is made on the device, so that a teardown waits for it. */
	mutex_lock(&ex->lock);
	ret = -ENOENT;
	if (ex->closing) {
		mutex_unlock(&ex->lock);
		goto err_put;
	}
	ret = -EBUSY;
	if (ex->npeers >= XPRT_PEERS_MAX) {
		mutex_unlock(&ex->lock);
		goto err_put;
	}
	list_add_tail(&peer->list, &ex->peers);
	ex->npeers++;
	mutex_unlock(&ex->lock);

	peer->cq = ib_alloc_cq_any(id->device, peer, PEER_SENDS + PEER_RECVS + 2,
				   IB_POLL_SOFTIRQ);
	if (IS_ERR(peer->cq)) {
		ret = PTR_ERR(peer->cq);
		goto err_unlist;
	}
	qp_attr.send_cq = peer->cq;
	qp_attr.recv_cq = peer->cq;
	qp_attr.qp_context = peer;
	ret = rdma_create_qp(id, ex->reg.pd, &qp_attr);
	if (ret)
		goto err_cq;
	for (i = 0; i < PEER_RECVS; i++) {
		ret = xprt_recv(id->qp, &peer->recv_cqe);
		if (ret)
			goto err_qp;
	}
	return peer;

err_qp:
	rdma_destroy_qp(id);
err_cq:
	ib_free_cq(peer->cq);
err_unlist:
	peer_unlist(peer);
err_put:
	peer_put(peer);
	return ERR_PTR(ret);
}

/* Undoes peer_create(), for the handler of the request; peer_work() has not touched the peer. */
static void peer_abort(struct rc_peer *peer)
{
	set_bit(PEER_DEAD, &peer->flags);
	rdma_destroy_qp(peer->cm_id);
	ib_free_cq(peer->cq);
	peer_unlist(peer);
	peer_put(peer);
}

/* Finds what a request asks for, with a reference. */
static struct rc_exposure *listen_find(const struct rdma_cm_id *id,
					 const struct rdma_conn_param *param,
					 enum xprt_reject_reason *reason)
{
	const struct xprt_req *req = param->private_data;
	struct rc_exposure *ex, *found = NULL;

	*reason = XPRT_REJECT_MALFORMED;
	if (!req || param->private_data_len < sizeof(*req) ||
	    req->magic != cpu_to_le32(XPRT_MAGIC))
		return NULL;
	*reason = XPRT_REJECT_VERSION;
	if (req->version != cpu_to_le16(XPRT_VERSION))
		return NULL;
	*reason = XPRT_REJECT_MALFORMED;
	/* The retry count becomes that of our pings: more of it would keep a dead peer. */
	if (req->reserved || !param->responder_resources || param->retry_count > XPRT_RETRIES)
		return NULL;

	*reason = XPRT_REJECT_REFUSED;
	mutex_lock(&rc_lock);
	list_for_each_entry(ex, &rc_exposures, list) {
		if (ex->id == le64_to_cpu(req->id)) {
			found = ex;
			break;
		}
	}
	if (found && (crypto_memneq(found->key, req->key, sizeof(found->key)) ||
		      !READ_ONCE(found->open)))
		found = NULL;
	if (found)
		kref_get(&found->kref);
	mutex_unlock(&rc_lock);
	if (!found)
		return NULL;
	if (found->reg.device != id->device || found->reg.port_num != id->port_num) {
		*reason = XPRT_REJECT_DEVICE;
		expose_put(found);
		return NULL;
	}
	return found;
}

static void listen_reject(struct rdma_cm_id *id, enum xprt_reject_reason reason)
{
	struct xprt_rej rej = {
		.magic = cpu_to_le32(XPRT_MAGIC),
		.reason = cpu_to_le16(reason),
		.version = cpu_to_le16(XPRT_VERSION),
	};

	mitosis_stat_add(MITOSIS_STAT_PEERS_REFUSED, 1);
	pr_warn_ratelimited("connection from %pISpc refused: %s\n", &id->route.addr.dst_addr,
			    reason == XPRT_REJECT_REFUSED ?
			    "no such snapshot, or the wrong key for it" :
			    reason == XPRT_REJECT_MALFORMED ? "malformed request" :
			    reason == XPRT_REJECT_VERSION ? "other version of the protocol" :
			    reason == XPRT_REJECT_DEVICE ?
			    "the snapshot is offered on another device" : "out of resources");
	rdma_reject(id, &rej, sizeof(rej), IB_CM_REJ_CONSUMER_DEFINED);
}

/* Returns nonzero to have rdma_cm destroy @id. */
static int listen_request(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	struct xprt_rep rep = {
		.magic = cpu_to_le32(XPRT_MAGIC),
		.version = cpu_to_le16(XPRT_VERSION),
	};
	struct rdma_conn_param param = {
		.private_data = &rep,
		.private_data_len = sizeof(rep),
		.rnr_retry_count = 7,
	};
	enum xprt_reject_reason reason;
	struct rc_exposure *ex;
	struct rc_peer *peer;
	int ret;

	ex = listen_find(id, &event->param.conn, &reason);
	if (!ex) {
		listen_reject(id, reason);
		return -ECONNREFUSED;
	}
	rdma_set_ack_timeout(id, XPRT_ACK_TIMEOUT);
	peer = peer_create(ex, id);
	expose_put(ex);
	if (IS_ERR(peer)) {
		listen_reject(id, PTR_ERR(peer) == -ENOENT ? XPRT_REJECT_REFUSED :
							     XPRT_REJECT_BUSY);
		return PTR_ERR(peer);
	}
	id->context = peer;
	id->event_handler = peer_cm_handler;
	param.responder_resources = min_t(int, event->param.conn.responder_resources,
					  id->device->attrs.max_qp_rd_atom);
	ret = rdma_accept(id, &param);
	if (!ret) {
		ret = xprt_limit_access(id->qp, IB_ACCESS_REMOTE_READ);
		if (ret)
			rdma_disconnect(id);
	}
	if (ret) {
		pr_warn_ratelimited("connection from %pISpc failed (%d)\n",
				    &id->route.addr.dst_addr, ret);
		peer_abort(peer);
		return ret;
	}
	mitosis_stat_add(MITOSIS_STAT_PEERS, 1);
	set_bit(PEER_READY, &peer->flags);
	peer_kick(peer);
	return 0;
}

static int listen_cm_handler(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	/*
	 * The listener on wildcard addresses outlives devices: rdma_cm has an id of its own for
	 * each device and looks after those itself.
	 */
	if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST)
		return 0;
	return listen_request(id, event);
}

/* -------- Source: exposures -------- */

/*
 * Releases the device's objects; safe to call more than once. On return nobody can read. Returns
 * whether there was anything to release.
 */
static bool expose_teardown(struct rc_exposure *ex)
{
	struct rc_peer *peer;
	bool had;

	mutex_lock(&ex->objects);
	mutex_lock(&ex->lock);
	ex->closing = true;
	list_for_each_entry(peer, &ex->peers, list)
		peer_set(peer, PEER_DEAD);
	mutex_unlock(&ex->lock);
	wait_event(ex->peers_wait, !READ_ONCE(ex->npeers));

	had = ex->cm_id;
	if (had) {
		xprt_reg_destroy(&ex->reg);
		rdma_destroy_id(ex->cm_id);
		ex->cm_id = NULL;
	}
	mutex_unlock(&ex->objects);
	return had;
}

static void expose_removal_work(struct work_struct *work)
{
	struct rc_exposure *ex = container_of(work, struct rc_exposure, removal);

	if (expose_teardown(ex))
		pr_warn("snapshot %016llx: its RDMA device has been removed; it can not be read any more\n",
			ex->id);
	expose_put(ex);
}

static int expose_cm_handler(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	struct rc_exposure *ex = id->context;

	if (event->event == RDMA_CM_EVENT_DEVICE_REMOVAL) {
		kref_get(&ex->kref);
		if (!queue_work(xprt_removal_wq, &ex->removal))
			expose_put(ex);
	}
	return 0;
}

static struct xprt_exposure *rc_expose_create(bool insecure, const struct sockaddr_storage *addr,
					      u64 id, const u8 *key,
					      const struct xprt_expose_ops *ops, void *priv)
{
	struct rc_exposure *ex;
	int ret;

	if (!addr)
		return ERR_PTR(-EADDRNOTAVAIL);
	ex = kzalloc(sizeof(*ex), GFP_KERNEL);
	if (!ex)
		return ERR_PTR(-ENOMEM);
	kref_init(&ex->kref);
	mutex_init(&ex->objects);
	mutex_init(&ex->lock);
	INIT_LIST_HEAD(&ex->list);
	INIT_LIST_HEAD(&ex->peers);
	init_waitqueue_head(&ex->peers_wait);
	INIT_WORK(&ex->removal, expose_removal_work);
	ex->id = id;
	ex->addr = *addr;
	memcpy(ex->key, key, sizeof(ex->key));
	ex->ops = ops;
	ex->priv = priv;

	/*
	 * From here to the end the device may be on its way out already. The removal's work then
	 * waits for us, and tears down after us.
	 */
	mutex_lock(&ex->objects);
	ex->cm_id = rdma_create_id(&init_net, expose_cm_handler, ex, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(ex->cm_id)) {
		ret = PTR_ERR(ex->cm_id);
		goto err_unlock;
	}
	ret = xprt_bind(ex->cm_id, addr);
	if (ret)
		goto err_id;
	ret = -EOPNOTSUPP;
	if (!rdma_cap_ib_cm(ex->cm_id->device, ex->cm_id->port_num))
		goto err_id;
	ret = xprt_reg_create(&ex->reg, ex->cm_id->device, ex->cm_id->port_num,
			      ex->cm_id->route.addr.dev_addr.sgid_attr, id);
	if (ret)
		goto err_id;
	mutex_unlock(&ex->objects);

	mutex_lock(&rc_lock);
	list_add_tail(&ex->list, &rc_exposures);
	mutex_unlock(&rc_lock);
	return &ex->base;

err_id:
	rdma_destroy_id(ex->cm_id);
err_unlock:
	ex->cm_id = NULL;
	mutex_unlock(&ex->objects);
	expose_put(ex);
	return ERR_PTR(ret);
}

static int rc_expose_region(struct xprt_exposure *base, u64 va, struct page **pages,
			    unsigned int npages, u32 *rkey)
{
	struct rc_exposure *ex = to_rc_exposure(base);
	int ret = -ENODEV;

	mutex_lock(&ex->objects);
	if (ex->cm_id)
		ret = xprt_reg_add(&ex->reg, va, pages, npages, rkey);
	mutex_unlock(&ex->objects);
	return ret;
}

static void rc_expose_addr(struct xprt_exposure *base, struct xprt_addr *addr)
{
	addr->ip = to_rc_exposure(base)->addr;
	xprt_set_port(&addr->ip, port);
}

static void rc_expose_open(struct xprt_exposure *base)
{
	WRITE_ONCE(to_rc_exposure(base)->open, true);
}

static void rc_expose_destroy(struct xprt_exposure *base)
{
	struct rc_exposure *ex = to_rc_exposure(base);

	mutex_lock(&rc_lock);
	list_del(&ex->list);
	mutex_unlock(&rc_lock);
	expose_teardown(ex);
	/* A removal that is queued still has a reference of its own and will find nothing to do. */
	expose_put(ex);
}

/* -------- Destination -------- */

/*
 * Takes the connection out of service. What waits inside moves to @failed, for the caller to fail
 * without the lock. Returns whether the owner is to be told.
 */
static bool conn_down(struct rc_conn *conn, int err, struct list_head *failed)
{
	bool tell = conn->state == CONN_UP;

	lockdep_assert_held(&conn->lock);
	if (conn->state != CONN_DOWN)
		conn->err = err;
	conn->state = CONN_DOWN;
	list_splice_tail_init(&conn->pending, failed);
	return tell;
}

static void conn_finish(struct rc_conn *conn, bool tell, struct list_head *failed)
{
	struct xprt_read *rd;

	if (tell)
		conn->ops->error(conn->priv, conn->err);
	while ((rd = list_first_entry_or_null(failed, struct xprt_read, list))) {
		list_del_init(&rd->list);
		rd->done(rd, -EIO);
	}
	wake_up_all(&conn->wait);
}

static void conn_fail(struct rc_conn *conn, int err)
{
	LIST_HEAD(failed);
	unsigned long flags;
	bool tell;

	spin_lock_irqsave(&conn->lock, flags);
	tell = conn_down(conn, err, &failed);
	spin_unlock_irqrestore(&conn->lock, flags);
	conn_finish(conn, tell, &failed);
}

/*
 * Armed while reads are in flight, and not for each of them: it runs at most once in
 * CONN_STALL_TIMEOUT.
 */
static void conn_watch(struct timer_list *timer)
{
	struct rc_conn *conn = container_of(timer, struct rc_conn, watch);
	unsigned long flags;
	bool stalled = false;

	spin_lock_irqsave(&conn->lock, flags);
	if (conn->state == CONN_UP && conn->inflight) {
		stalled = time_after_eq(jiffies, conn->progress + CONN_STALL_TIMEOUT);
		if (!stalled)
			mod_timer(&conn->watch, conn->progress + CONN_STALL_TIMEOUT);
	}
	spin_unlock_irqrestore(&conn->lock, flags);
	if (!stalled)
		return;
	pr_warn_ratelimited("connection to %pISpc: nothing has been read for %u s and the device does not say why\n",
			    &conn->cm_id->route.addr.dst_addr, CONN_STALL_TIMEOUT / HZ);
	conn_fail(conn, -ETIMEDOUT);
}

static void conn_read_unmap(struct rc_conn *conn, struct xprt_read *rd)
{
	ib_dma_unmap_page(conn->device, read_priv(rd)->dma, (size_t)rd->npages << PAGE_SHIFT,
			  DMA_FROM_DEVICE);
}

static bool conn_pump(struct rc_conn *conn, struct list_head *failed);

static void conn_read_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct read_priv *priv = container_of(wc->wr_cqe, struct read_priv, cqe);
	struct xprt_read *rd = container_of((void *)priv, struct xprt_read, priv);
	struct rc_conn *conn = cq->cq_context;
	LIST_HEAD(failed);
	unsigned long flags;
	bool tell;
	int err;

	switch (wc->status) {
	case IB_WC_SUCCESS:
		err = 0;
		break;
	case IB_WC_REM_ACCESS_ERR:
	case IB_WC_REM_INV_REQ_ERR:
	case IB_WC_REM_OP_ERR:
		err = -EREMOTEIO;
		break;
	default:
		err = -EIO;
		break;
	}
	conn_read_unmap(conn, rd);
	spin_lock_irqsave(&conn->lock, flags);
	conn->inflight--;
	conn->progress = jiffies;
	tell = err ? conn_down(conn, err, &failed) : conn_pump(conn, &failed);
	spin_unlock_irqrestore(&conn->lock, flags);
	if (tell && err)
		pr_info_ratelimited("read from %pISpc failed: %s\n",
				    &conn->cm_id->route.addr.dst_addr,
				    ib_wc_status_msg(wc->status));
	/* A refusal comes before the loss of the connection that it brings about. */
	rd->done(rd, err);
	conn_finish(conn, tell, &failed);
}

/* Prepares one read as the @i-th of a chain. */
static int conn_prepare(struct rc_conn *conn, struct xprt_read *rd, unsigned int i)
{
	size_t len = (size_t)rd->npages << PAGE_SHIFT;
	struct read_priv *priv = read_priv(rd);

	if (WARN_ON_ONCE(!rd->npages || rd->npages > XPRT_READ_MAX))
		return -EINVAL;
	priv->dma = ib_dma_map_page(conn->device, rd->page, 0, len, DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(conn->device, priv->dma))
		return -ENOMEM;
	priv->cqe.done = conn_read_done;
	conn->sge[i] = (struct ib_sge) {
		.addr = priv->dma,
		.length = len,
		.lkey = conn->pd->local_dma_lkey,
	};
	conn->wr[i] = (struct ib_rdma_wr) {
		.wr.wr_cqe = &priv->cqe,
		.wr.opcode = IB_WR_RDMA_READ,
		.wr.send_flags = IB_SEND_SIGNALED,
		.wr.sg_list = &conn->sge[i],
		.wr.num_sge = 1,
		.remote_addr = rd->raddr,
		.rkey = rd->rkey,
	};
	return 0;
}

/**
 * conn_pump() - post what waits and has room
 * @conn: connection, lock held
 * @failed: gets the reads that can not be posted
 *
 * Posting happens under the lock, so that nothing more is posted once the state is CONN_DOWN:
 * ib_drain_qp() relies on that.
 *
 * Return: whether the owner is to be told that the connection is gone.
 */
static bool conn_pump(struct rc_conn *conn, struct list_head *failed)
{
	const struct ib_send_wr *bad = &conn->wr[0].wr;
	struct xprt_read *rd, *batch[CONN_BATCH];
	unsigned int n, i;
	int ret;

	lockdep_assert_held(&conn->lock);
	if (conn->state != CONN_UP) {
		list_splice_tail_init(&conn->pending, failed);
		return false;
	}
	if (!conn->inflight)
		conn->progress = jiffies;
	do {
		n = 0;
		while (n < CONN_BATCH && conn->inflight + n < conn->max_inflight) {
			rd = list_first_entry_or_null(&conn->pending, struct xprt_read, list);
			if (!rd)
				break;
			ret = conn_prepare(conn, rd, n);
			/* Mapping space comes back when something completes. */
			if (ret == -ENOMEM && conn->inflight + n)
				break;
			list_del_init(&rd->list);
			if (ret) {
				list_add_tail(&rd->list, failed);
				continue;
			}
			if (n)
				conn->wr[n - 1].wr.next = &conn->wr[n].wr;
			batch[n++] = rd;
		}
		if (!n)
			break;
		ret = ib_post_send(conn->cm_id->qp, &conn->wr[0].wr, &bad);
		if (ret) {
			/* Those before the bad one have been posted and will complete. */
			for (i = 0; i < n && bad != &conn->wr[i].wr; i++)
				conn->inflight++;
			for (; i < n; i++) {
				conn_read_unmap(conn, batch[i]);
				list_add_tail(&batch[i]->list, failed);
			}
			return conn_down(conn, -EIO, failed);
		}
		conn->inflight += n;
		if (!timer_pending(&conn->watch))
			mod_timer(&conn->watch, conn->progress + CONN_STALL_TIMEOUT);
	} while (n == CONN_BATCH);
	return false;
}

static void rc_conn_read_list(struct xprt_conn *base, struct list_head *reads)
{
	struct rc_conn *conn = to_rc_conn(base);
	LIST_HEAD(failed);
	unsigned long flags;
	bool tell;

	spin_lock_irqsave(&conn->lock, flags);
	list_splice_tail_init(reads, &conn->pending);
	tell = conn_pump(conn, &failed);
	spin_unlock_irqrestore(&conn->lock, flags);
	if (tell || !list_empty(&failed))
		conn_finish(conn, tell, &failed);
}

static void conn_recv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rc_conn *conn = cq->cq_context;
	unsigned long flags;
	int ret = 0;

	if (wc->status != IB_WC_SUCCESS) {
		conn_fail(conn, -EIO);
		return;
	}
	switch (xprt_wc_msg(wc)) {
	case XPRT_MSG_ACK:
		WRITE_ONCE(conn->acked, true);
		wake_up_all(&conn->wait);
		break;
	case XPRT_MSG_PING:
		break;
	default:
		conn_fail(conn, -EPROTO);
		return;
	}
	spin_lock_irqsave(&conn->lock, flags);
	if (conn->state != CONN_DOWN)
		ret = xprt_recv(conn->cm_id->qp, &conn->recv_cqe);
	spin_unlock_irqrestore(&conn->lock, flags);
	if (ret)
		conn_fail(conn, -EIO);
}

static void conn_done_sent(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rc_conn *conn = cq->cq_context;

	if (wc->status == IB_WC_SUCCESS)
		WRITE_ONCE(conn->done_sent, true);
	/* Pairs with conn_told(): whoever sees the completion sees its result. */
	smp_store_release(&conn->done_completed, true);
	if (wc->status != IB_WC_SUCCESS)
		conn_fail(conn, -EIO);
	wake_up_all(&conn->wait);
}

static bool conn_told(struct rc_conn *conn)
{
	if (READ_ONCE(conn->acked))
		return true;
	/*
	 * A source may release at once and disconnect; that it got the message is all that counts.
	 * Pairs with conn_done_sent().
	 */
	return READ_ONCE(conn->state) == CONN_DOWN && smp_load_acquire(&conn->done_completed);
}

static int rc_conn_done(struct xprt_conn *base)
{
	struct rc_conn *conn = to_rc_conn(base);
	unsigned long flags;
	int ret = 0;

	spin_lock_irqsave(&conn->lock, flags);
	if (!conn->done_posted) {
		ret = -ENOTCONN;
		if (conn->state == CONN_UP)
			ret = xprt_send(conn->cm_id->qp, &conn->done_cqe, XPRT_MSG_DONE);
		conn->done_posted = !ret;
	}
	spin_unlock_irqrestore(&conn->lock, flags);
	if (ret)
		return ret;
	if (!wait_event_timeout(conn->wait, conn_told(conn), CONN_DONE_TIMEOUT))
		return -ETIMEDOUT;
	return READ_ONCE(conn->acked) || READ_ONCE(conn->done_sent) ? 0 : -ENOTCONN;
}

/* Releases the device's objects, with every read's done() called; safe to call more than once. */
static void conn_teardown(struct rc_conn *conn)
{
	mutex_lock(&conn->objects);
	conn_fail(conn, -ENODEV);
	/* Armed with the state CONN_UP only. */
	del_timer_sync(&conn->watch);
	if (conn->cm_id) {
		if (conn->cm_id->qp) {
			rdma_disconnect(conn->cm_id);
			ib_drain_qp(conn->cm_id->qp);
			rdma_destroy_qp(conn->cm_id);
		}
		if (conn->cq)
			ib_free_cq(conn->cq);
		if (conn->pd)
			ib_dealloc_pd(conn->pd);
		rdma_destroy_id(conn->cm_id);
		conn->cm_id = NULL;
	}
	mutex_unlock(&conn->objects);
}

static void conn_removal_work(struct work_struct *work)
{
	conn_teardown(container_of(work, struct rc_conn, removal));
}

static void conn_free(struct rc_conn *conn)
{
	mutex_destroy(&conn->objects);
	kfree(conn);
}

static void rc_conn_close(struct xprt_conn *base)
{
	struct rc_conn *conn = to_rc_conn(base);
	unsigned long flags;
	LIST_HEAD(failed);

	/* The owner knows, so it is not told. */
	spin_lock_irqsave(&conn->lock, flags);
	conn_down(conn, -ECONNABORTED, &failed);
	spin_unlock_irqrestore(&conn->lock, flags);
	conn_finish(conn, false, &failed);
	conn_teardown(conn);
	/* No handler runs any more that could queue it. */
	cancel_work_sync(&conn->removal);
	conn_free(conn);
}

static void conn_step(struct rc_conn *conn, int err)
{
	WRITE_ONCE(conn->step_err, err);
	complete(&conn->step);
}

/* Why the source refused. */
static int conn_rejected(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	const struct xprt_rej *rej;
	u8 len = 0;

	rej = rdma_consumer_reject_data(id, event, &len);
	if (!rej || len < sizeof(*rej) || rej->magic != cpu_to_le32(XPRT_MAGIC)) {
		pr_info_ratelimited("connection to %pISpc refused: %s\n",
				    &id->route.addr.dst_addr, rdma_reject_msg(id, event->status));
		return -ECONNREFUSED;
	}
	pr_info_ratelimited("connection to %pISpc refused (reason %u)\n",
			    &id->route.addr.dst_addr, le16_to_cpu(rej->reason));
	return rej->reason == cpu_to_le16(XPRT_REJECT_REFUSED) ? -EACCES : -ECONNREFUSED;
}

/* Nothing is destroyed here: see the top. */
static int conn_cm_handler(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	struct rc_conn *conn = id->context;
	const struct xprt_rep *rep = event->param.conn.private_data;
	unsigned long flags;
	int err;

	switch (event->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		conn_step(conn, 0);
		return 0;
	case RDMA_CM_EVENT_ESTABLISHED:
		if (!rep || event->param.conn.private_data_len < sizeof(*rep) ||
		    rep->magic != cpu_to_le32(XPRT_MAGIC) ||
		    rep->version != cpu_to_le16(XPRT_VERSION))
			conn_step(conn, -ECONNREFUSED);
		else
			conn_step(conn, 0);
		return 0;
	case RDMA_CM_EVENT_ADDR_ERROR:
		/* nothing is there yet, and it may be tried again */
		conn_step(conn, event->status ?: -EHOSTUNREACH);
		return 0;
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_ADDR_CHANGE:
		err = event->status ?: -EHOSTUNREACH;
		break;
	case RDMA_CM_EVENT_REJECTED:
		err = conn_rejected(id, event);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		err = -ECONNRESET;
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		err = -ENODEV;
		break;
	default:
		return 0;
	}
	conn_fail(conn, err);
	conn_step(conn, err);
	/* Reads in flight would otherwise wait for answers until the device gives up. */
	if (id->qp && event->event != RDMA_CM_EVENT_DEVICE_REMOVAL)
		rdma_disconnect(id);
	if (event->event == RDMA_CM_EVENT_DEVICE_REMOVAL) {
		spin_lock_irqsave(&conn->lock, flags);
		if (conn->opened)
			queue_work(xprt_removal_wq, &conn->removal);
		spin_unlock_irqrestore(&conn->lock, flags);
	}
	return 0;
}

/*
 * Waits for the handler's word on a step that has been started with result @ret. Each step takes
 * one completion; that of a failure in between steps is found by the next.
 */
static int conn_wait_step(struct rc_conn *conn, int ret, unsigned long deadline)
{
	long left = deadline - jiffies;

	if (ret)
		return ret;
	ret = wait_for_completion_killable_timeout(&conn->step, max(left, 1L));
	if (ret < 0)
		return -EINTR;
	if (!ret)
		return -ETIMEDOUT;
	return READ_ONCE(conn->step_err);
}

static unsigned int conn_left_ms(unsigned long deadline)
{
	long left = deadline - jiffies;

	return jiffies_to_msecs(max(left, 1L));
}

static int conn_create_objects(struct rc_conn *conn)
{
	struct ib_qp_init_attr qp_attr = {
		.cap = {
			.max_recv_wr = CONN_RECVS + 1,	/* ib_drain_qp() */
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
	};
	struct rdma_cm_id *id = conn->cm_id;
	struct ib_device *dev = id->device;
	void *obj;
	int ret, i;

	if (!rdma_cap_ib_cm(dev, id->port_num) || dev->attrs.max_qp_wr < 8)
		return -ENODEV;
	conn->device = dev;
	conn->max_inflight = min(CONN_READS, dev->attrs.max_qp_wr - 4);
	qp_attr.cap.max_send_wr = conn->max_inflight + 2;	/* DONE, ib_drain_qp() */

	obj = ib_alloc_pd(dev, 0);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	conn->pd = obj;
	/* In softirq, as a fault waits for it. */
	obj = ib_alloc_cq_any(dev, conn, qp_attr.cap.max_send_wr + qp_attr.cap.max_recv_wr,
			      IB_POLL_SOFTIRQ);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	conn->cq = obj;
	qp_attr.send_cq = conn->cq;
	qp_attr.recv_cq = conn->cq;
	ret = rdma_create_qp(id, conn->pd, &qp_attr);
	if (ret)
		return ret;
	for (i = 0; i < CONN_RECVS; i++) {
		ret = xprt_recv(id->qp, &conn->recv_cqe);
		if (ret)
			return ret;
	}
	return 0;
}

static int conn_connect(struct rc_conn *conn, u64 id, const u8 *key)
{
	struct xprt_req req = {
		.magic = cpu_to_le32(XPRT_MAGIC),
		.version = cpu_to_le16(XPRT_VERSION),
		.id = cpu_to_le64(id),
	};
	struct rdma_conn_param param = {
		.private_data = &req,
		.private_data_len = sizeof(req),
		.initiator_depth = clamp(conn->device->attrs.max_qp_init_rd_atom, 1,
					 CONN_DEPTH_MAX),
		.retry_count = XPRT_RETRIES,
		.rnr_retry_count = 7,
	};
	int ret;

	memcpy(req.key, key, sizeof(req.key));
	ret = rdma_connect(conn->cm_id, &param);
	memzero_explicit(&req, sizeof(req));
	return ret;
}

static struct xprt_conn *rc_conn_open(bool insecure, const struct sockaddr_storage *local,
				      struct xprt_addr *peer, u64 id, const u8 *key,
				      unsigned int timeout_ms, const struct xprt_conn_ops *ops,
				      void *priv)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(timeout_ms);
	struct sockaddr_storage src, dst = peer->ip;
	struct rc_conn *conn;
	int ret;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return ERR_PTR(-ENOMEM);
	mutex_init(&conn->objects);
	INIT_WORK(&conn->removal, conn_removal_work);
	init_completion(&conn->step);
	spin_lock_init(&conn->lock);
	timer_setup(&conn->watch, conn_watch, 0);
	INIT_LIST_HEAD(&conn->pending);
	init_waitqueue_head(&conn->wait);
	conn->recv_cqe.done = conn_recv_done;
	conn->done_cqe.done = conn_done_sent;
	conn->ops = ops;
	conn->priv = priv;

	conn->cm_id = rdma_create_id(&init_net, conn_cm_handler, conn, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(conn->cm_id)) {
		ret = PTR_ERR(conn->cm_id);
		conn_free(conn);
		return ERR_PTR(ret);
	}
	rdma_set_ack_timeout(conn->cm_id, XPRT_ACK_TIMEOUT);
	if (local)
		src = *local;
	do {
		ret = rdma_resolve_addr(conn->cm_id, local ? (struct sockaddr *)&src : NULL,
					(struct sockaddr *)&dst,
					min(conn_left_ms(deadline), CONN_RESOLVE_MS));
		ret = conn_wait_step(conn, ret, deadline);
	} while (ret == -ETIMEDOUT && time_before(jiffies, deadline));
	if (ret)
		goto err;
	ret = rdma_resolve_route(conn->cm_id, conn_left_ms(deadline));
	ret = conn_wait_step(conn, ret, deadline);
	if (ret)
		goto err;
	ret = conn_create_objects(conn);
	if (ret)
		goto err;
	ret = conn_connect(conn, id, key);
	ret = conn_wait_step(conn, ret, deadline);
	if (ret)
		goto err;
	ret = xprt_limit_access(conn->cm_id->qp, 0);
	if (ret)
		goto err;

	spin_lock_irq(&conn->lock);
	ret = conn->state == CONN_DOWN ? conn->err : 0;
	if (!ret) {
		conn->state = CONN_UP;
		conn->opened = true;
	}
	spin_unlock_irq(&conn->lock);
	if (!ret)
		return &conn->base;
err:
	conn_teardown(conn);
	conn_free(conn);
	return ERR_PTR(xprt_conn_errno(ret));
}

/* -------- Listener -------- */

static struct xprt xprt_rc = {
	.name = "rc",
	.owner = THIS_MODULE,
	.expose_create = rc_expose_create,
	.expose_addr = rc_expose_addr,
	.expose_region = rc_expose_region,
	.expose_open = rc_expose_open,
	.expose_destroy = rc_expose_destroy,
	.conn_open = rc_conn_open,
	.conn_read_list = rc_conn_read_list,
	.conn_done = rc_conn_done,
	.conn_close = rc_conn_close,
};

static int __init rc_init(void)
{
	struct sockaddr_in6 addr = {
		.sin6_family = AF_INET6,
		.sin6_port = cpu_to_be16(port),
	};
	int ret = -ENOMEM;

	xprt_peer_wq = alloc_workqueue("mitosis-peer", WQ_UNBOUND, 0);
	if (!xprt_peer_wq)
		return ret;
	xprt_removal_wq = alloc_workqueue("mitosis-removal", WQ_UNBOUND, 0);
	if (!xprt_removal_wq)
		goto err_peer_wq;
	xprt_listener = rdma_create_id(&init_net, listen_cm_handler, NULL, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(xprt_listener)) {
		ret = PTR_ERR(xprt_listener);
		goto err_removal_wq;
	}
	/* One listener for IPv4 as well, whatever net.ipv6.bindv6only says. */
	ret = rdma_set_afonly(xprt_listener, 0);
	if (ret)
		goto err_id;
	ret = rdma_bind_addr(xprt_listener, (struct sockaddr *)&addr);
	if (ret)
		goto err_id;
	ret = rdma_listen(xprt_listener, XPRT_BACKLOG);
	if (ret)
		goto err_id;
	xprt_register(&xprt_rc);
	return 0;

err_id:
	rdma_destroy_id(xprt_listener);
	pr_err("can not listen on rdma_cm port %u (%d): is another program using it? Choose another with port=\n",
	       port, ret);
err_removal_wq:
	destroy_workqueue(xprt_removal_wq);
err_peer_wq:
	destroy_workqueue(xprt_peer_wq);
	return ret;
}

/* Exposures and connections hold the module. */
static void __exit rc_exit(void)
{
	xprt_unregister(&xprt_rc);
	rdma_destroy_id(xprt_listener);
	destroy_workqueue(xprt_removal_wq);
	destroy_workqueue(xprt_peer_wq);
}

module_init(rc_init);
module_exit(rc_exit);

MODULE_DESCRIPTION("Transport of mitosis over reliable connections of RDMA devices");
MODULE_VERSION(MITOSIS_VERSION);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_ALIAS("mitosis-xprt-rc");
