// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Transport over dynamically connected queue pairs of mlx5 devices: nothing is connected.
 *
 * Source: each exposure has a protection domain and a DC target of its own in there, with a random
 * key; the device lets in who has the key, to the regions of that domain and to nothing else.
 * Destination: each port has a pool of initiators that all snapshots share; a work request carries
 * address, number and key of the target that it is for.
 *
 * Presence. A source must know whether somebody still reads. So readers say so to the target, see
 * xprt_dc_wire.h; and a source believes them, as it does over a connection: who has the key may
 * pretend to be up to DC_PEERS_MAX readers, and keep the snapshot by that, or say that a
 * migration's only reader is done; or send so much that others' messages find no room and have to
 * be repeated. It gets no more to read by any of that.
 *
 * A refused READ. The device of the source says the same of memory that it can not read and of a
 * target that is no more. So the reader is not told before a message to the same target has, or has
 * not, been acknowledged.
 *
 * Who may destroy what, and when a device goes away
 * -------------------------------------------------
 *   hca       One for each usable device. Its memory has a count; what is on the device is released
 *             by dc_remove() alone, which the removal of the device and the module's exit wait for.
 *             Others that make or destroy anything on the device hold hca->lock and find hca->gone.
 *   exposure  expose_teardown() releases what it has on the device; dc_expose_destroy() and
 *             dc_remove() call it, ex->objects serialises them.
 *   conn      Has nothing but an address handle there. Its operations are in a queue's hands from
 *             conn->nops on; it is freed when there are none any more.
 *   queue     An initiator and what is posted on it. Only queue_work_fn() and pool_stop() change
 *             the initiator's state; state QUEUE_UP is what lets others post.
 *
 * Lock order: dc_lock, hca->lock, ex->objects; queue->lock and conn->lock (softirq) never at once,
 * and no callback under either.
 */
#define pr_fmt(fmt) "mitosis: " fmt

#include <linux/hashtable.h>
#include <linux/inet.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <net/ipv6.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "mlx5_dc.h"
#include "stats.h"
#include "transport.h"
#include "xprt_dc_wire.h"
#include "xprt_reg.h"

#define DC_AV_GRH		BIT(30)	/* of mlx5_av.grh_gid_fl; mlx5_core has no name for it */

#define DC_PEERS_MAX		1024
#define DC_PEERS_LOOK		(5 * HZ)
#define DC_REFUSED_LOOK		HZ

/* initiators for each processor, so that few sources share one */
#define DC_QUEUES_CPU		4
#define DC_GROUPS_MAX		16	/* processors with initiators of their own */
#define DC_DEPTH		128	/* operations under way on an initiator */
#define DC_BUDGET		64	/* completions at once */
/* of an operation that is flushed by nothing that is known */
#define DC_TRIES		8
/* An error flushes all that is behind it; after so long without, the device is not waited for. */
#define DC_FLUSH_TIMEOUT	HZ
/* As for connections: see CONN_STALL_TIMEOUT. */
#define DC_STALL_TIMEOUT	(20 * HZ)
#define DC_RETRY_INTERVAL	HZ
#define DC_DONE_TIMEOUT		(10 * HZ)
#define DC_BYE_TIMEOUT		(5 * HZ)

static char *devices = "";
module_param(devices, charp, 0444);
MODULE_PARM_DESC(devices, "Ports to use, as in mlx5_0,mlx5_1:2 (default: all that can)");

static uint poll_us = 8;
module_param(poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us,
		 "Wait for a READ by polling where they take no longer than this, us (0: never)");

static LIST_HEAD(dc_hcas);
static DEFINE_MUTEX(dc_lock);		/* dc_hcas */
static struct workqueue_struct *dc_wq;
static siphash_key_t dc_node;		/* of this node, for its readers' names */

enum queue_state {
	QUEUE_UP,
	QUEUE_ERROR,			/* to be brought up again */
	QUEUE_STUCK,			/* as that, and the device has refused */
	QUEUE_DEAD,
};

struct dc_queue {
	struct dc_port *port;
	struct delayed_work work;	/* recovery, and looking for a device that is stuck */

	spinlock_t lock;		/* what follows */
	enum queue_state state;
	bool closing;			/* work is not queued any more */
	struct dc_initiator ini;
	struct dc_op *slots[DC_DEPTH];
	u32 first;			/* oldest operation under way; up to ini.posted */
	unsigned long progress;		/* jiffies */
	const struct dc_conn *target;	/* of what was posted last; not to be looked at */
	bool slow;			/* that one is */
	struct list_head flushed, pending;
	/* an operation of its own fault is among those that came back */
	bool culprit;
	bool stalled;			/* the oldest operation is, for all that is known */
	u32 wait_ns;			/* what a READ takes lately */
};

struct dc_port {
	struct dc_hca *hca;
	u32 num;
	/* hca->lock; there is a pool once nqueues is not 0 */
	struct ib_pd *pd;
	struct ib_srq *srq;
	enum ib_mtu mtu;
	unsigned int nqueues;
	struct dc_queue *queues;
};

struct dc_hca {
	struct kref kref;
	struct list_head list;		/* dc_lock */
	struct dc_dev dev;
	struct ib_event_handler events;
	u64 guid;
	struct delayed_work refused_work;	/* while there are exposures */

	struct mutex lock;		/* what follows */
	bool gone;
	u32 refused;			/* of what the device counts, what is in the stats */
	struct list_head exposures, conns;
	u32 nports;
	struct dc_port ports[];
};

/* What a port is at the moment. */
struct dc_port_info {
	bool roce;
	u8 gid_index;
	union ib_gid gid;
	u16 lid;
	bool grh;
	enum ib_mtu mtu;
};

struct dc_peer {
	struct hlist_node node;
	u64 id;
	unsigned long seen;		/* jiffies */
	bool told_up, done, told_done, bye;
};

struct dc_exposure {
	struct xprt_exposure base;
	struct list_head list;		/* hca->lock */
	struct dc_hca *hca;
	u64 id;
	const struct xprt_expose_ops *ops;
	void *priv;
	struct mitosis_dct addr;
	bool open;
	struct delayed_work work;	/* tells the owner about peers */

	struct mutex objects;		/* what follows */
	bool live;			/* the device's objects have not been released */
	struct xprt_reg reg;
	struct dc_target target;
	u8 gid_index;
	bool unreachable;		/* has been said */

	spinlock_t lock;		/* what follows; softirq */
	DECLARE_HASHTABLE(peers, 6);
	unsigned int npeers;
	bool done;			/* a reader is that is not in the table */
};

enum op_kind {
	OP_READ,
	OP_MSG,
};

/* A READ's is in the private part of struct xprt_read. */
struct dc_op {
	struct list_head list;
	struct dc_conn *conn;
	u64 dma;
	u64 posted_ns;			/* 0: not to be measured */
	int err;			/* what it ends with: -EIO until the device has said more */
	u8 kind;
	u8 tries;
	bool mapped;
};
static_assert(sizeof(struct dc_op) <= sizeof_field(struct xprt_read, priv));

enum conn_state {
	CONN_OPENING,
	CONN_UP,
	CONN_DOWN,
};

struct dc_conn {
	struct xprt_conn base;
	struct list_head list;		/* hca->lock */
	struct dc_hca *hca;
	struct dc_port *port;
	struct ib_ah *ah;		/* hca->lock; NULL once the device is gone */
	struct mlx5_av av;
	u64 peer;
	u64 snapshot;			/* for people */
	struct xprt_addr *where;
	const struct xprt_conn_ops *ops;
	void *priv;
	struct delayed_work alive;
	wait_queue_head_t wait;

	spinlock_t lock;		/* what follows */
	enum conn_state state;
	int err;
	bool quiet;			/* it is being closed */
	unsigned int nops;
	/* One message at a time. */
	struct dc_op msg;
	struct dc_msg body;
	bool saying;
	unsigned int want, said;	/* BIT(enum dc_msg_type) */
	/* READs: the message under way judges, the next one is to judge */
	struct list_head asked, refused;
};

static struct dc_op *read_op(struct xprt_read *rd)
{
	return (struct dc_op *)rd->priv;
}

static struct xprt_read *op_read(struct dc_op *op)
{
	return container_of((void *)op, struct xprt_read, priv);
}

static struct dc_exposure *to_dc_exposure(struct xprt_exposure *base)
{
	return container_of(base, struct dc_exposure, base);
}

static struct dc_conn *to_dc_conn(struct xprt_conn *base)
{
	return container_of(base, struct dc_conn, base);
}

static void hca_free(struct kref *kref)
{
	struct dc_hca *hca = container_of(kref, struct dc_hca, kref);

	mutex_destroy(&hca->lock);
	kfree(hca);
}

static void hca_put(struct dc_hca *hca)
{
	kref_put(&hca->kref, hca_free);
}

/* -------- Ports -------- */

static bool port_is_allowed(const struct dc_port *port)
{
	const char *name = dev_name(&port->hca->dev.ibdev->dev), *p = devices;
	size_t len = strlen(name), n;
	u32 num;

	if (!*p)
		return true;
	for (; *p; p += n + !!p[n]) {
		n = strcspn(p, ",");
		if (n < len || memcmp(p, name, len))
			continue;
		if (n == len || (sscanf(p + len, ":%u", &num) == 1 && num == port->num))
			return true;
	}
	return false;
}

enum gid_kind {
	GID_LINK_LOCAL,
	GID_IPV6,
	GID_IPV4,
};

static enum gid_kind gid_kind(const void *gid)
{
	const struct in6_addr *addr = gid;

	return ipv6_addr_v4mapped(addr) ? GID_IPV4 :
	       ipv6_addr_type(addr) & IPV6_ADDR_LINKLOCAL ? GID_LINK_LOCAL : GID_IPV6;
}

/*
 * Of the addresses of a RoCE port one that IP routes lead to. @want: that one, if the port has it,
 * or else one of its kind.
 */
static int port_find_gid(const struct dc_port *port, const struct in6_addr *want,
			 struct dc_port_info *info)
{
	struct ib_device *ibdev = port->hca->dev.ibdev;
	const struct ib_gid_attr *attr;
	int i, rank, best = 0;

	for (i = 0; i < ibdev->port_data[port->num].immutable.gid_tbl_len && i < 256; i++) {
		attr = rdma_get_gid_attr(ibdev, port->num, i);
		if (IS_ERR(attr))
			continue;
		rank = attr->gid_type != IB_GID_TYPE_ROCE_UDP_ENCAP ? 0 :
		       want && !memcmp(want, &attr->gid, sizeof(attr->gid)) ? GID_IPV4 + 3 :
		       want && gid_kind(want) == gid_kind(&attr->gid) ? GID_IPV4 + 2 :
		       gid_kind(&attr->gid) + 1;
		if (rank > best) {
			best = rank;
			info->gid = attr->gid;
			info->gid_index = i;
		}
		rdma_put_gid_attr(attr);
	}
	return best ? 0 : -EADDRNOTAVAIL;
}

/* 0, or *why is a sentence without an end, to go behind the port's name. */
static int port_look(const struct dc_port *port, const struct in6_addr *want,
		     struct dc_port_info *info, const char **why)
{
	struct ib_device *ibdev = port->hca->dev.ibdev;
	struct ib_port_attr attr;

	memset(info, 0, sizeof(*info));
	*why = "is not among the module's devices=";
	if (!port_is_allowed(port))
		return -ENODEV;
	*why = "does not say what it is";
	if (ib_query_port(ibdev, port->num, &attr))
		return -ENODEV;
	*why = "is not up: see rdma link";
	if (attr.state != IB_PORT_ACTIVE)
		return -ENODEV;
	info->mtu = attr.active_mtu;
	info->lid = attr.lid;
	info->grh = rdma_is_grh_required(ibdev, port->num);
	if (rdma_protocol_ib(ibdev, port->num)) {
		*why = "has no GID";
		return rdma_query_gid(ibdev, port->num, 0, &info->gid);
	}
	info->roce = true;
	info->grh = true;
	info->lid = 0;
	*why = "is an Ethernet port without RoCE: see devlink dev param show";
	if (!rdma_protocol_roce_udp_encap(ibdev, port->num))
		return -ENODEV;
	*why = "has no RoCE v2 address: see ip addr";
	return port_find_gid(port, want, info);
}

/* -------- Destination: connections -------- */

static void queue_post(struct dc_conn *conn, struct list_head *ops);
static void queue_take_pending(struct dc_queue *q, const struct dc_conn *conn,
			       struct list_head *to);

static void conn_op_put(struct dc_conn *conn)
{
	unsigned long flags;

	spin_lock_irqsave(&conn->lock, flags);
	if (!--conn->nops)
		wake_up_all(&conn->wait);
	spin_unlock_irqrestore(&conn->lock, flags);
}

static void read_finish(struct dc_op *op, int err)
{
	struct xprt_read *rd = op_read(op);
	struct dc_conn *conn = op->conn;

	if (op->mapped)
		ib_dma_unmap_page(conn->hca->dev.ibdev, op->dma, (size_t)rd->npages << PAGE_SHIFT,
				  DMA_FROM_DEVICE);
	rd->done(rd, err);
	conn_op_put(conn);
}

static void reads_finish(struct list_head *ops, int err)
{
	struct dc_op *op;

	while ((op = list_first_entry_or_null(ops, struct dc_op, list))) {
		list_del(&op->list);
		read_finish(op, err);
	}
}

static void ops_end(struct list_head *ended);

/*
 * Takes the connection out of service. What has not been posted fails; what has been comes back by
 * itself.
 */
static void conn_down(struct dc_conn *conn, int err, bool tell)
{
	LIST_HEAD(waiting);
	LIST_HEAD(reads);
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&conn->lock, flags);
	if (conn->state == CONN_DOWN) {
		spin_unlock_irqrestore(&conn->lock, flags);
		return;
	}
	tell &= conn->state == CONN_UP && !conn->quiet;
	conn->state = CONN_DOWN;
	conn->err = err;
	conn->nops++;		/* ours: it is not freed before the end */
	list_splice_tail_init(&conn->asked, &reads);
	list_splice_tail_init(&conn->refused, &reads);
	wake_up_all(&conn->wait);
	spin_unlock_irqrestore(&conn->lock, flags);

	if (tell)
		conn->ops->error(conn->priv, err);
	reads_finish(&reads, -EIO);
	for (i = 0; i < conn->port->nqueues; i++)
		queue_take_pending(&conn->port->queues[i], conn, &waiting);
	ops_end(&waiting);
	conn_op_put(conn);
}

/* conn->lock held. Whether there is something to say, which the caller then posts. */
static bool conn_say_next(struct dc_conn *conn)
{
	unsigned int type;

	lockdep_assert_held(&conn->lock);
	if (conn->saying || !conn->want || conn->state == CONN_DOWN)
		return false;
	type = __ffs(conn->want);
	conn->want &= ~BIT(type);
	conn->saying = true;
	conn->nops++;
	list_splice_tail_init(&conn->refused, &conn->asked);
	conn->body = (struct dc_msg) {
		.magic = cpu_to_le32(DC_MSG_MAGIC),
		.version = cpu_to_le16(DC_MSG_VERSION),
		.type = cpu_to_le16(type),
		.peer = cpu_to_le64(conn->peer),
	};
	conn->msg = (struct dc_op) { .conn = conn, .kind = OP_MSG, .err = -EIO };
	return true;
}

static void conn_post_msg(struct dc_conn *conn)
{
	LIST_HEAD(ops);

	list_add(&conn->msg.list, &ops);
	queue_post(conn, &ops);
}

static void conn_say(struct dc_conn *conn, enum dc_msg_type type)
{
	unsigned long flags;
	bool post;

	spin_lock_irqsave(&conn->lock, flags);
	conn->want |= BIT(type);
	post = conn_say_next(conn);
	spin_unlock_irqrestore(&conn->lock, flags);
	if (post)
		conn_post_msg(conn);
}

static void msg_finish(struct dc_conn *conn, int err)
{
	u16 type = le16_to_cpu(conn->body.type);
	bool post = false, busy = err == -EAGAIN;
	LIST_HEAD(judged);
	unsigned long flags;

	if (err == -EREMOTEIO)
		err = -EACCES;
	if (busy)
		WRITE_ONCE(conn->where->slow, true);
	if (err && !busy)
		conn_down(conn, err, true);
	spin_lock_irqsave(&conn->lock, flags);
	conn->saying = false;
	if (!err || busy) {
		if (!busy)
			conn->said |= BIT(type);
		else if (type != DC_MSG_ALIVE)	/* which is said again anyway */
			conn->want |= BIT(type);
		list_splice_init(&conn->asked, &judged);
		if (!list_empty(&conn->refused))
			conn->want |= BIT(DC_MSG_ALIVE);
		post = conn_say_next(conn);
	}
	wake_up_all(&conn->wait);
	spin_unlock_irqrestore(&conn->lock, flags);
	/* The target is there: what it has refused it refuses. */
	reads_finish(&judged, -EREMOTEIO);
	if (post)
		conn_post_msg(conn);
	conn_op_put(conn);
}

static void read_refused(struct dc_op *op)
{
	struct dc_conn *conn = op->conn;
	unsigned long flags;
	bool down, post = false;

	spin_lock_irqsave(&conn->lock, flags);
	down = conn->state == CONN_DOWN;
	if (!down) {
		list_add_tail(&op->list, &conn->refused);
		conn->want |= BIT(DC_MSG_ALIVE);
		post = conn_say_next(conn);
	}
	spin_unlock_irqrestore(&conn->lock, flags);
	if (down)
		read_finish(op, -EIO);
	if (post)
		conn_post_msg(conn);
}

/*
 * An operation has come back, on no list and under no lock. Its err: 0, -EREMOTEIO: refused,
 * -ETIMEDOUT: no answer, -EAGAIN: the target is there and has no room for a message, or what else
 * the device says.
 */
static void op_end(struct dc_op *op)
{
	int err = op->err;

	if (op->kind == OP_MSG) {
		msg_finish(op->conn, err);
	} else if (!err) {
		read_finish(op, 0);
	} else if (err == -EREMOTEIO) {
		read_refused(op);
	} else {
		conn_down(op->conn, err == -EAGAIN ? -ETIMEDOUT : err, true);
		read_finish(op, -EIO);
	}
}

static void ops_end(struct list_head *ended)
{
	struct dc_op *op;

	while ((op = list_first_entry_or_null(ended, struct dc_op, list))) {
		list_del(&op->list);
		op_end(op);
	}
}

/* -------- Destination: queues -------- */

static u32 queue_used(const struct dc_queue *q)
{
	return READ_ONCE(q->ini.posted) - READ_ONCE(q->first);
}

static void queue_kick(struct dc_queue *q, unsigned long delay)
{
	lockdep_assert_held(&q->lock);
	if (!q->closing)
		mod_delayed_work(dc_wq, &q->work, delay);
}

static int queue_map(struct dc_queue *q, struct dc_op *op)
{
	struct ib_device *ibdev = q->port->hca->dev.ibdev;
	struct xprt_read *rd = op_read(op);

	if (op->mapped)
		return 0;
	if (WARN_ON_ONCE(!rd->npages || rd->npages > XPRT_READ_MAX))
		return -EINVAL;
	op->dma = ib_dma_map_page(ibdev, rd->page, 0, (size_t)rd->npages << PAGE_SHIFT,
				  DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(ibdev, op->dma))
		return -ENOMEM;
	op->mapped = true;
	return 0;
}

/* Posts what waits and has room, with one doorbell; @ended gets what can not be. */
static void queue_pump(struct dc_queue *q, struct list_head *ended)
{
	struct dc_initiator *ini = &q->ini;
	u32 used = queue_used(q), before = used, index;
	bool no_room = false;
	struct xprt_read *rd;
	struct dc_op *op;
	int ret;

	lockdep_assert_held(&q->lock);
	if (q->state == QUEUE_DEAD)
		list_splice_tail_init(&q->pending, ended);
	if (q->state != QUEUE_UP)
		return;
	if (!used)
		q->progress = jiffies;
	while (used < DC_DEPTH) {
		op = list_first_entry_or_null(&q->pending, struct dc_op, list);
		if (!op)
			break;
		ret = 0;
		/*
		 * Pairs with conn_down(), which looks through the queues after it has set the
		 * state.
		 */
		if (READ_ONCE(op->conn->state) == CONN_DOWN)
			ret = -EIO;
		else if (op->kind == OP_READ)
			ret = queue_map(q, op);
		/* Mapping space comes back when something completes, or others give it back. */
		if (ret == -ENOMEM) {
			no_room = !used;
			break;
		}
		list_del_init(&op->list);
		if (ret) {
			list_add_tail(&op->list, ended);
			continue;
		}
		if (op->kind == OP_READ) {
			rd = op_read(op);
			index = dc_initiator_read(ini, &op->conn->av, rd->raddr, rd->rkey, op->dma,
						  q->port->pd->local_dma_lkey,
						  rd->npages << PAGE_SHIFT);
		} else {
			index = dc_initiator_send(ini, &op->conn->av, &op->conn->body);
		}
		q->slots[index] = op;
		q->target = op->conn;
		q->slow = READ_ONCE(op->conn->where->slow);
		used++;
	}
	if (used != before)
		dc_initiator_ring(ini);
	if (no_room)
		queue_kick(q, 1);
	else if (used && !delayed_work_pending(&q->work))
		queue_kick(q, DC_STALL_TIMEOUT);
}

static int queue_errno(u8 syndrome)
{
	switch (syndrome) {
	case MLX5_CQE_SYNDROME_REMOTE_INVAL_REQ_ERR:
	case MLX5_CQE_SYNDROME_REMOTE_ACCESS_ERR:
	case MLX5_CQE_SYNDROME_REMOTE_OP_ERR:
	case MLX5_CQE_SYNDROME_REMOTE_ABORTED_ERR:
		return -EREMOTEIO;
	case MLX5_CQE_SYNDROME_TRANSPORT_RETRY_EXC_ERR:
		return -ETIMEDOUT;
	case MLX5_CQE_SYNDROME_RNR_RETRY_EXC_ERR:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

/* An operation that was not carried out, through no fault of its own. */
static void queue_flushed(struct dc_queue *q, struct dc_op *op)
{
	op->posted_ns = 0;
	list_add_tail(&op->list, &q->flushed);
}

/* What was flushed is posted again; but not for ever when nobody says what is wrong. */
static void queue_unflush(struct dc_queue *q, struct list_head *ended)
{
	struct dc_op *op, *next;

	lockdep_assert_held(&q->lock);
	if (!q->culprit)
		list_for_each_entry_safe(op, next, &q->flushed, list)
			if (++op->tries > DC_TRIES)
				list_move_tail(&op->list, ended);
	q->culprit = false;
	list_splice_init(&q->flushed, &q->pending);
}

static void queue_measure(struct dc_queue *q, const struct dc_op *op)
{
	u64 ns = ktime_get_ns() - op->posted_ns;

	q->wait_ns = (7ULL * q->wait_ns + min_t(u64, ns, U32_MAX / 8)) / 8;
}

/* The first of what is posted, which the device is done with. */
static struct dc_op *queue_take(struct dc_queue *q)
{
	u32 slot = q->first++ & (DC_DEPTH - 1);

	dc_initiator_forget(&q->ini, slot);
	return q->slots[slot];
}

static void queue_complete(struct dc_queue *q, struct mlx5_cqe64 *cqe, struct list_head *ended)
{
	u8 opcode = get_cqe_opcode(cqe), syndrome = ((struct mlx5_err_cqe *)cqe)->syndrome;
	u32 index = dc_initiator_index(&q->ini, cqe), slot;
	bool ok = opcode == MLX5_CQE_REQ;
	struct dc_op *op;

	lockdep_assert_held(&q->lock);
	if ((!ok && opcode != MLX5_CQE_REQ_ERR) ||
	    ((index - q->first) & (DC_DEPTH - 1)) >= queue_used(q)) {
		pr_err_ratelimited("DC initiator %#x: a completion that nobody has asked for\n",
				   q->ini.qpn);
		return;
	}
	q->progress = jiffies;
	q->stalled = false;
	/* They complete in order. */
	do {
		slot = q->first & (DC_DEPTH - 1);
		op = queue_take(q);
		if (ok) {
			if (op->posted_ns)
				queue_measure(q, op);
			op->err = 0;
			list_add_tail(&op->list, ended);
		} else if (slot != index || syndrome == MLX5_CQE_SYNDROME_WR_FLUSH_ERR) {
			queue_flushed(q, op);
		} else {
			q->culprit = true;
			op->err = queue_errno(syndrome);
			list_add_tail(&op->list, ended);
			pr_info_ratelimited("snapshot %016llx: %s failed: syndrome %#x\n",
					    op->conn->snapshot,
					    op->kind == OP_READ ? "READ" : "message", syndrome);
		}
	} while (slot != index);
	if (!ok && q->state == QUEUE_UP)
		q->state = QUEUE_ERROR;
	if (q->state == QUEUE_ERROR)
		queue_kick(q, queue_used(q) ? DC_FLUSH_TIMEOUT : 0);
}

static void queue_poll(struct dc_queue *q, bool arm)
{
	struct mlx5_cqe64 *cqe;
	unsigned int n = 0;
	unsigned long flags;
	LIST_HEAD(ended);

	spin_lock_irqsave(&q->lock, flags);
again:
	while (n < DC_BUDGET && (cqe = dc_cq_peek(&q->ini.cq))) {
		queue_complete(q, cqe, &ended);
		dc_cq_next(&q->ini.cq);
		n++;
	}
	if (arm) {
		dc_cq_arm(&q->ini.cq);
		if (n < DC_BUDGET && dc_cq_peek(&q->ini.cq))
			goto again;
	}
	queue_pump(q, &ended);
	spin_unlock_irqrestore(&q->lock, flags);
	ops_end(&ended);
}

static void queue_comp(struct dc_cq *cq)
{
	queue_poll(container_of(cq, struct dc_queue, ini.cq), true);
}

/* All that the initiator had is the queue's again: it is in reset, or destroyed. */
static void queue_reclaim(struct dc_queue *q, struct list_head *ended)
{
	struct mlx5_cqe64 *cqe;
	struct dc_op *op;

	lockdep_assert_held(&q->lock);
	while ((cqe = dc_cq_peek(&q->ini.cq))) {
		queue_complete(q, cqe, ended);
		dc_cq_next(&q->ini.cq);
	}
	if (q->stalled && queue_used(q)) {
		op = queue_take(q);
		op->err = -ETIMEDOUT;
		WRITE_ONCE(op->conn->where->slow, true);
		list_add_tail(&op->list, ended);
		q->culprit = true;
	}
	q->stalled = false;
	while (queue_used(q))
		queue_flushed(q, queue_take(q));
}

/*
 * The initiator is not up, and not soon. What it has not got goes elsewhere: connections are opened
 * anew.
 */
static void queue_postpone(struct dc_queue *q, const char *what, int err)
{
	LIST_HEAD(ended);

	pr_err_ratelimited("DC initiator %#x of %s can not be %s (%d)\n", q->ini.qpn,
			   dev_name(&q->port->hca->dev.ibdev->dev), what, err);
	spin_lock_irq(&q->lock);
	list_splice_tail_init(&q->flushed, &ended);
	list_splice_tail_init(&q->pending, &ended);
	q->state = QUEUE_STUCK;
	q->culprit = false;
	queue_kick(q, DC_RETRY_INTERVAL);
	spin_unlock_irq(&q->lock);
	ops_end(&ended);
}

static void queue_recover(struct dc_queue *q)
{
	LIST_HEAD(ended);
	int ret;

	ret = dc_initiator_reset(&q->ini);
	if (ret) {
		/* The device may yet write to the pages of what was posted: they stay. */
		queue_postpone(q, "stopped", ret);
		return;
	}
	spin_lock_irq(&q->lock);
	queue_reclaim(q, &ended);
	q->first = 0;
	q->ini.posted = 0;
	spin_unlock_irq(&q->lock);
	/*
	 * Before anything is posted again, so that nothing is that goes to a target just given up.
	 */
	ops_end(&ended);

	ret = dc_initiator_up(&q->ini);
	if (ret) {
		queue_postpone(q, "brought up again", ret);
		return;
	}
	spin_lock_irq(&q->lock);
	q->state = QUEUE_UP;
	queue_unflush(q, &ended);
	queue_pump(q, &ended);
	dc_cq_arm(&q->ini.cq);
	spin_unlock_irq(&q->lock);
	ops_end(&ended);
}

static void queue_work_fn(struct work_struct *work)
{
	struct dc_queue *q = container_of(to_delayed_work(work), struct dc_queue, work);
	bool recover;

	/* Should an event have been lost. */
	queue_poll(q, false);
	spin_lock_irq(&q->lock);
	if (q->state == QUEUE_UP && queue_used(q) && !q->closing) {
		if (time_after_eq(jiffies, q->progress + DC_STALL_TIMEOUT)) {
			pr_warn_ratelimited("DC initiator %#x: nothing has completed for %u s and the device does not say why\n",
					    q->ini.qpn, DC_STALL_TIMEOUT / HZ);
			q->state = QUEUE_ERROR;
			q->stalled = true;
		} else {
			queue_kick(q, q->progress + DC_STALL_TIMEOUT - jiffies);
		}
	}
	recover = (q->state == QUEUE_ERROR || q->state == QUEUE_STUCK) && !q->closing;
	spin_unlock_irq(&q->lock);
	if (recover)
		queue_recover(q);
}

static void queue_take_pending(struct dc_queue *q, const struct dc_conn *conn,
			       struct list_head *to)
{
	struct dc_op *op, *next;
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	list_for_each_entry_safe(op, next, &q->flushed, list)
		if (op->conn == conn)
			list_move_tail(&op->list, to);
	list_for_each_entry_safe(op, next, &q->pending, list)
		if (op->conn == conn)
			list_move_tail(&op->list, to);
	spin_unlock_irqrestore(&q->lock, flags);
}

/*
 * An initiator turns to another target when it has heard all from the one before, and one target
 * may be silent for seconds. So: one of this processor's that is at this target already, or else
 * that is idle, or else that has least to do. Where none of them is up, of any processor's. Who has
 * kept an initiator waiting has one of the processor's to share with its like, so that others are
 * not kept for long.
 */
static struct dc_queue *queue_pick(const struct dc_conn *conn)
{
	const struct dc_port *port = conn->port;
	unsigned int first = raw_smp_processor_id() * DC_QUEUES_CPU % port->nqueues, i;
	bool slow = READ_ONCE(conn->where->slow);
	enum queue_state good = slow ? QUEUE_ERROR : QUEUE_UP;
	struct dc_queue *q, *best = NULL;
	u32 score, best_score = U32_MAX;

	for (i = 0; i < port->nqueues; i++) {
		if (i >= (slow ? 1 : DC_QUEUES_CPU) && READ_ONCE(best->state) <= good)
			break;
		q = &port->queues[(first + i) % port->nqueues];
		score = queue_used(q) + (list_empty(&q->pending) ? 0 : DC_DEPTH);
		if (score && READ_ONCE(q->target) == conn)
			score = 0;
		else
			score++;
		if (!slow && queue_used(q) && READ_ONCE(q->slow))
			score += 2 * DC_DEPTH;
		if (READ_ONCE(q->state) != QUEUE_UP)
			score += 4 * DC_DEPTH;
		if (READ_ONCE(q->state) > QUEUE_ERROR)
			score += 4 * DC_DEPTH;
		if (score < best_score) {
			best_score = score;
			best = q;
		}
	}
	return best;
}

/* Waits a little for a single READ, where that has lately been worth it. */
static void queue_spin(struct dc_queue *q, u32 until)
{
	u64 end;

	if (READ_ONCE(q->wait_ns) > READ_ONCE(poll_us) * NSEC_PER_USEC)
		return;
	end = ktime_get_ns() + 2 * READ_ONCE(q->wait_ns);
	do {
		if (dc_cq_peek(&q->ini.cq))
			queue_poll(q, false);
		if ((s32)(READ_ONCE(q->first) - until) >= 0)
			break;
		cpu_relax();
	} while (ktime_get_ns() < end && READ_ONCE(q->state) == QUEUE_UP);
}

static void queue_post(struct dc_conn *conn, struct list_head *ops)
{
	struct dc_queue *q = queue_pick(conn);
	bool single = list_is_singular(ops);
	struct dc_op *op;
	unsigned long flags;
	LIST_HEAD(ended);
	u32 until;

	spin_lock_irqsave(&q->lock, flags);
	if (single) {
		op = list_first_entry(ops, struct dc_op, list);
		single = op->kind == OP_READ && !queue_used(q) && list_empty(&q->pending);
		if (single)
			op->posted_ns = ktime_get_ns();
	}
	list_splice_tail_init(ops, &q->pending);
	queue_pump(q, &ended);
	until = q->ini.posted;
	single &= queue_used(q) == 1;
	spin_unlock_irqrestore(&q->lock, flags);
	ops_end(&ended);
	if (single)
		queue_spin(q, until);
}

/* Nothing is posted any more, and what was has failed; hca->lock held. */
static void pool_stop(struct dc_port *port)
{
	struct dc_queue *q;
	unsigned int i;
	LIST_HEAD(ended);

	for (i = 0; i < port->nqueues; i++) {
		q = &port->queues[i];
		spin_lock_irq(&q->lock);
		q->closing = true;
		spin_unlock_irq(&q->lock);
		cancel_delayed_work_sync(&q->work);
		spin_lock_irq(&q->lock);
		q->state = QUEUE_DEAD;
		spin_unlock_irq(&q->lock);
		dc_initiator_stop(&q->ini);
		spin_lock_irq(&q->lock);
		queue_reclaim(q, &ended);
		list_splice_init(&q->flushed, &q->pending);
		queue_pump(q, &ended);
		spin_unlock_irq(&q->lock);
		ops_end(&ended);
	}
}

/* Nobody looks at its queues any more; hca->lock held. */
static void pool_destroy(struct dc_port *port)
{
	unsigned int i;

	for (i = 0; i < port->nqueues; i++)
		dc_initiator_destroy(&port->queues[i].ini);
	if (port->srq)
		ib_destroy_srq(port->srq);
	if (port->pd)
		ib_dealloc_pd(port->pd);
	port->srq = NULL;
	port->pd = NULL;
	port->nqueues = 0;
	kvfree(port->queues);
	port->queues = NULL;
}

/* hca->lock held. */
static bool pool_is_used(const struct dc_port *port)
{
	struct dc_conn *conn;

	list_for_each_entry(conn, &port->hca->conns, list)
		if (conn->port == port)
			return true;
	return false;
}

/* hca->lock held. */
static int pool_create(struct dc_port *port, const struct dc_port_info *info)
{
	struct ib_srq_init_attr srq_attr = {
		.attr = { .max_wr = 1, .max_sge = 1 },
		.srq_type = IB_SRQT_BASIC,
	};
	struct ib_device *ibdev = port->hca->dev.ibdev;
	struct dc_initiator_attr attr = {
		.port_num = port->num,
		.mtu = info->mtu,
		.depth = DC_DEPTH,
		.comp = queue_comp,
	};
	unsigned int groups = min3(num_online_cpus(), (unsigned int)ibdev->num_comp_vectors,
				   (unsigned int)DC_GROUPS_MAX);
	struct dc_queue *q;
	unsigned int i;
	int ret;

	/* Made once, and kept as long as the device is there and the port is what it was. */
	if (port->nqueues && port->mtu == info->mtu)
		return 0;
	if (port->nqueues) {
		if (pool_is_used(port)) {
			pr_warn_ratelimited("%s port %u has another MTU since it was first used: it is taken up when no link uses the port\n",
					    dev_name(&ibdev->dev), port->num);
			return -ENODEV;
		}
		pool_stop(port);
		pool_destroy(port);
	}
	groups = max(groups, 1U);
	port->queues = kvcalloc(groups * DC_QUEUES_CPU, sizeof(*port->queues), GFP_KERNEL);
	if (!port->queues)
		return -ENOMEM;
	port->mtu = info->mtu;
	port->pd = ib_alloc_pd(ibdev, 0);
	if (IS_ERR(port->pd)) {
		ret = PTR_ERR(port->pd);
		port->pd = NULL;
		goto err;
	}
	port->srq = ib_create_srq(port->pd, &srq_attr);
	if (IS_ERR(port->srq)) {
		ret = PTR_ERR(port->srq);
		port->srq = NULL;
		goto err;
	}
	attr.srqn = port->srq->ext.xrc.srq_num;
	ret = dc_dev_pdn(&port->hca->dev, port->pd, &attr.pdn);
	for (i = 0; !ret && i < groups * DC_QUEUES_CPU; i++) {
		q = &port->queues[i];
		q->port = port;
		INIT_DELAYED_WORK(&q->work, queue_work_fn);
		spin_lock_init(&q->lock);
		INIT_LIST_HEAD(&q->flushed);
		INIT_LIST_HEAD(&q->pending);
		q->state = QUEUE_UP;
		attr.vector = i / DC_QUEUES_CPU;
		ret = dc_initiator_create(&port->hca->dev, &q->ini, &attr);
		if (!ret)
			port->nqueues = i + 1;
	}
	if (!ret)
		return 0;
err:
	pool_destroy(port);
	return ret;
}

/* -------- Destination: opening and closing -------- */

static void conn_alive_work(struct work_struct *work)
{
	struct dc_conn *conn = container_of(to_delayed_work(work), struct dc_conn, alive);

	/* It would be a new reader after that. */
	if (READ_ONCE(conn->said) & BIT(DC_MSG_DONE))
		return;
	conn_say(conn, DC_MSG_ALIVE);
	if (READ_ONCE(conn->state) != CONN_DOWN)
		queue_delayed_work(dc_wq, &conn->alive, DC_ALIVE_INTERVAL);
}

/* A handle for @to from @port, which is @info; hca->lock held. */
static int conn_address(struct dc_conn *conn, const struct dc_port_info *info,
			const struct mitosis_dct *to)
{
	struct dc_port *port = conn->port;
	struct ib_device *ibdev = port->hca->dev.ibdev;
	struct rdma_ah_attr attr = { .type = rdma_ah_find_type(ibdev, port->num) };
	union ib_gid dgid;

	rdma_ah_set_port_num(&attr, port->num);
	memcpy(&dgid, to->gid, sizeof(dgid));
	if (!info->roce)
		rdma_ah_set_dlid(&attr, to->lid);
	if (info->grh)
		rdma_ah_set_grh(&attr, &dgid, 0, info->gid_index, 64, 0);
	/* This one asks neighbours for the address of an Ethernet card. */
	conn->ah = rdma_create_user_ah(port->pd, &attr, NULL);
	if (IS_ERR(conn->ah)) {
		int ret = PTR_ERR(conn->ah);

		conn->ah = NULL;
		return ret == -ENOMEM ? ret : -EHOSTUNREACH;
	}
	conn->av = to_mah(conn->ah)->av;
	/* Over RoCE it is understood, and the bit is reserved. */
	if (info->roce)
		conn->av.grh_gid_fl &= ~cpu_to_be32(DC_AV_GRH);
	conn->av.key.dc_key = cpu_to_be64(to->key);
	conn->av.dqp_dct = cpu_to_be32(to->number | MLX5_EXTENDED_UD_AV);
	return 0;
}

/* Whether what is at @port can be reached from there; -EHOSTUNREACH otherwise. */
static int port_reaches(const struct dc_port *port, const struct dc_port_info *info,
			const struct mitosis_dct *to)
{
	if (info->roce != (to->link == MITOSIS_DCT_ROCE))
		return -EHOSTUNREACH;
	if (!info->roce && memcmp(info->gid.raw, to->gid, 8))
		return -EHOSTUNREACH;
	/*
	 * An answer is cut into packets as its target is set, and put together as its initiator is.
	 */
	if (info->mtu != to->mtu) {
		pr_warn_ratelimited("%s port %u and the source's have different MTUs (%d and %d): DC transport needs the same\n",
				    dev_name(&port->hca->dev.ibdev->dev), port->num,
				    ib_mtu_enum_to_int(info->mtu), ib_mtu_enum_to_int(to->mtu));
		return -EHOSTUNREACH;
	}
	return 0;
}

static void conn_free(struct dc_conn *conn)
{
	struct dc_hca *hca = conn->hca;

	mutex_lock(&hca->lock);
	list_del_init(&conn->list);
	if (conn->ah)
		rdma_destroy_ah(conn->ah, RDMA_DESTROY_AH_SLEEPABLE);
	mutex_unlock(&hca->lock);
	hca_put(hca);
	memzero_explicit(conn, sizeof(*conn));
	kfree(conn);
}

/* Until nothing of it is on a queue, nor anybody at a queue on its behalf. */
static void conn_wait(struct dc_conn *conn)
{
	spin_lock_irq(&conn->lock);
	wait_event_lock_irq(conn->wait, !conn->nops, conn->lock);
	spin_unlock_irq(&conn->lock);
}

static void conn_stop(struct dc_conn *conn, int err)
{
	conn_down(conn, err, false);
	cancel_delayed_work_sync(&conn->alive);
	conn_wait(conn);
}

static bool conn_has_said(struct dc_conn *conn, enum dc_msg_type type)
{
	return READ_ONCE(conn->said) & BIT(type) || READ_ONCE(conn->state) == CONN_DOWN;
}

static struct dc_conn *conn_try(struct dc_port *port, struct xprt_addr *where, u64 id,
				unsigned long deadline, const struct xprt_conn_ops *ops, void *priv)
{
	const struct mitosis_dct *to = &where->dct;
	struct dc_hca *hca = port->hca;
	struct dc_port_info info;
	struct dc_conn *conn;
	const char *why;
	long left;
	int ret;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&conn->lock);
	init_waitqueue_head(&conn->wait);
	INIT_DELAYED_WORK(&conn->alive, conn_alive_work);
	INIT_LIST_HEAD(&conn->list);
	INIT_LIST_HEAD(&conn->asked);
	INIT_LIST_HEAD(&conn->refused);
	conn->snapshot = id;
	conn->where = where;
	conn->peer = siphash_1u64(id, &dc_node);
	conn->ops = ops;
	conn->priv = priv;
	conn->port = port;
	kref_get(&hca->kref);
	conn->hca = hca;

	mutex_lock(&hca->lock);
	ret = hca->gone ? -ENODEV : port_look(port, (void *)to->gid, &info, &why);
	if (!ret)
		ret = port_reaches(port, &info, to);
	if (!ret)
		ret = pool_create(port, &info);
	if (!ret)
		ret = conn_address(conn, &info, to);
	if (!ret)
		list_add(&conn->list, &hca->conns);
	mutex_unlock(&hca->lock);
	if (ret) {
		conn_free(conn);
		return ERR_PTR(ret);
	}

	conn_say(conn, DC_MSG_HELLO);
	left = max_t(long, deadline - jiffies, 1);
	left = wait_event_killable_timeout(conn->wait, conn_has_said(conn, DC_MSG_HELLO), left);
	spin_lock_irq(&conn->lock);
	if (conn->state == CONN_DOWN)
		ret = conn->err;
	else if (!(conn->said & BIT(DC_MSG_HELLO)))
		ret = left < 0 ? -EINTR : -ETIMEDOUT;
	else
		conn->state = CONN_UP;
	spin_unlock_irq(&conn->lock);
	if (!ret) {
		queue_delayed_work(dc_wq, &conn->alive, DC_ALIVE_INTERVAL);
		return conn;
	}
	conn_stop(conn, ret);
	conn_free(conn);
	return ERR_PTR(ret);
}

/* The @n-th port of the node, with a reference to its device. */
static struct dc_port *port_get(unsigned int n)
{
	struct dc_port *found = NULL;
	struct dc_hca *hca;

	mutex_lock(&dc_lock);
	list_for_each_entry(hca, &dc_hcas, list) {
		if (n < hca->nports) {
			kref_get(&hca->kref);
			found = &hca->ports[n];
			break;
		}
		n -= hca->nports;
	}
	mutex_unlock(&dc_lock);
	return found;
}

static struct xprt_conn *dc_conn_open(bool insecure, const struct sockaddr_storage *local,
				      struct xprt_addr *peer, u64 id, const u8 *key,
				      unsigned int timeout_ms, const struct xprt_conn_ops *ops,
				      void *priv)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(timeout_ms);
	struct dc_conn *conn = ERR_PTR(-ENODEV), *other;
	struct dc_port *port;
	unsigned int n;
	u64 via;

	for (n = 0; (port = port_get(n)); n++) {
		via = port->hca->guid + port->num;
		other = conn_try(port, peer, id, deadline, ops, priv);
		hca_put(port->hca);
		if (!IS_ERR(other)) {
			peer->via = via;
			return &other->base;
		}
		/*
		 * Subnets may look alike: another one's refusal is nothing to go by while ours can
		 * not be asked.
		 */
		if (other == ERR_PTR(-EACCES) && peer->via && peer->via != via)
			other = ERR_PTR(-EHOSTUNREACH);
		/* That somebody is there tells more than that somewhere nobody is. */
		if (conn == ERR_PTR(-ENODEV) || other == ERR_PTR(-EACCES))
			conn = other;
		if (other == ERR_PTR(-EINTR) || other == ERR_PTR(-ENOMEM))
			return ERR_CAST(other);
	}
	if (conn == ERR_PTR(-EIO))
		return ERR_PTR(-EHOSTUNREACH);
	return ERR_CAST(conn);
}

static void dc_conn_read_list(struct xprt_conn *base, struct list_head *reads)
{
	struct dc_conn *conn = to_dc_conn(base);
	struct xprt_read *rd;
	unsigned int n = 0;
	struct dc_op *op;
	unsigned long flags;
	LIST_HEAD(ops);
	bool up;

	while ((rd = list_first_entry_or_null(reads, struct xprt_read, list))) {
		list_del_init(&rd->list);
		op = read_op(rd);
		*op = (struct dc_op) { .conn = conn, .kind = OP_READ, .err = -EIO };
		list_add_tail(&op->list, &ops);
		n++;
	}
	if (!n)
		return;
	spin_lock_irqsave(&conn->lock, flags);
	conn->nops += n + 1;	/* and ours, while we look at its queue */
	up = conn->state == CONN_UP;
	spin_unlock_irqrestore(&conn->lock, flags);
	if (up)
		queue_post(conn, &ops);
	else
		reads_finish(&ops, -EIO);
	conn_op_put(conn);
}

static int dc_conn_done(struct xprt_conn *base)
{
	struct dc_conn *conn = to_dc_conn(base);

	cancel_delayed_work_sync(&conn->alive);
	conn_say(conn, DC_MSG_DONE);
	if (!wait_event_timeout(conn->wait, conn_has_said(conn, DC_MSG_DONE), DC_DONE_TIMEOUT)) {
		/* The owner tries again; it is not gone until then. */
		queue_delayed_work(dc_wq, &conn->alive, DC_ALIVE_INTERVAL);
		return -ETIMEDOUT;
	}
	return READ_ONCE(conn->said) & BIT(DC_MSG_DONE) ? 0 : -ENOTCONN;
}

static void dc_conn_close(struct xprt_conn *base)
{
	struct dc_conn *conn = to_dc_conn(base);

	cancel_delayed_work_sync(&conn->alive);
	/* The owner knows, so it is not told what comes of this. */
	spin_lock_irq(&conn->lock);
	conn->quiet = true;
	spin_unlock_irq(&conn->lock);
	if (READ_ONCE(conn->state) == CONN_UP && !(READ_ONCE(conn->said) & BIT(DC_MSG_DONE))) {
		conn_say(conn, DC_MSG_BYE);
		wait_event_timeout(conn->wait, conn_has_said(conn, DC_MSG_BYE), DC_BYE_TIMEOUT);
	}
	conn_stop(conn, -ECONNABORTED);
	conn_free(conn);
}

/* -------- Source: peers -------- */

static void expose_recv(struct dc_target *target, const void *data)
{
	struct dc_exposure *ex = container_of(target, struct dc_exposure, target);
	const struct dc_msg *msg = data;
	struct dc_peer *peer, *found = NULL;
	bool look = false, leaves;
	unsigned int type;
	u64 id;

	if (!msg || !READ_ONCE(ex->open) || msg->magic != cpu_to_le32(DC_MSG_MAGIC) ||
	    msg->version != cpu_to_le16(DC_MSG_VERSION) || msg->reserved[0] || msg->reserved[1])
		goto refuse;
	type = le16_to_cpu(msg->type);
	if (!type || type >= __DC_MSG_MAX)
		goto refuse;
	id = le64_to_cpu(msg->peer);

	spin_lock(&ex->lock);
	hash_for_each_possible(ex->peers, peer, node, id)
		if (peer->id == id)
			found = peer;
	if (!found && type == DC_MSG_DONE) {
		/* Its reader will not say it again. */
		ex->done = true;
		look = true;
	} else if (!found && type != DC_MSG_BYE) {
		if (ex->npeers < DC_PEERS_MAX)
			found = kzalloc(sizeof(*found), GFP_ATOMIC);
		if (!found) {
			spin_unlock(&ex->lock);
			goto refuse;
		}
		found->id = id;
		hash_add(ex->peers, &found->node, id);
		ex->npeers++;
		look = true;
	}
	if (found) {
		leaves = type == DC_MSG_DONE || type == DC_MSG_BYE;
		look |= leaves;
		found->seen = jiffies;
		found->done |= type == DC_MSG_DONE;
		found->bye = leaves;
	}
	spin_unlock(&ex->lock);
	if (look)
		mod_delayed_work(dc_wq, &ex->work, 0);
	return;
refuse:
	mitosis_stat_add(MITOSIS_STAT_PEERS_REFUSED, 1);
	pr_warn_ratelimited("snapshot %016llx: a message that is none of a reader's is ignored\n",
			    ex->id);
}

/*
 * Takes a peer that there is something to tell about; it is a copy, and off the list when it is
 * gone.
 */
static bool expose_next(struct dc_exposure *ex, struct dc_peer *news, bool all)
{
	struct hlist_node *tmp;
	struct dc_peer *peer;
	bool found = false, gone;
	int i;

	spin_lock_bh(&ex->lock);
	hash_for_each_safe(ex->peers, i, tmp, peer, node) {
		gone = all || peer->bye || time_after(jiffies, peer->seen + DC_SILENCE);
		if (peer->told_up && peer->done == peer->told_done && !gone)
			continue;
		*news = *peer;
		news->bye = gone;
		peer->told_up = true;
		peer->told_done = peer->done;
		if (gone) {
			hash_del(&peer->node);
			ex->npeers--;
			kfree(peer);
		}
		found = true;
		break;
	}
	spin_unlock_bh(&ex->lock);
	return found;
}

static void expose_tell(struct dc_exposure *ex, bool all)
{
	struct dc_peer news;
	bool done;

	spin_lock_bh(&ex->lock);
	done = ex->done;
	ex->done = false;
	spin_unlock_bh(&ex->lock);
	if (done)
		ex->ops->peer_done(ex->priv);
	while (expose_next(ex, &news, all)) {
		if (!news.told_up) {
			mitosis_stat_add(MITOSIS_STAT_PEERS, 1);
			ex->ops->peer_up(ex->priv);
		}
		if (news.done && !news.told_done)
			ex->ops->peer_done(ex->priv);
		if (news.bye)
			ex->ops->peer_gone(ex->priv);
	}
}

static void expose_work(struct work_struct *work)
{
	struct dc_exposure *ex = container_of(to_delayed_work(work), struct dc_exposure, work);

	expose_tell(ex, false);
	if (READ_ONCE(ex->npeers))
		queue_delayed_work(dc_wq, &ex->work, DC_PEERS_LOOK);
}

/* -------- Source: exposures -------- */

/* Nobody is told of what a device refuses: it is asked. With hca->lock. */
static void refused_count(struct dc_hca *hca)
{
	u32 n, more;

	if (hca->gone || dc_dev_refused(&hca->dev, &n) || n == hca->refused)
		return;
	more = n - hca->refused;
	hca->refused = n;
	mitosis_stat_add(MITOSIS_STAT_ACCESS_ERRORS, more);
	pr_warn_ratelimited("%s has refused %u requests for what they asked for\n",
			    dev_name(&hca->dev.ibdev->dev), more);
}

static void refused_work(struct work_struct *work)
{
	struct dc_hca *hca = container_of(to_delayed_work(work), struct dc_hca, refused_work);

	mutex_lock(&hca->lock);
	refused_count(hca);
	if (!hca->gone && !list_empty(&hca->exposures))
		queue_delayed_work(dc_wq, &hca->refused_work, DC_REFUSED_LOOK);
	mutex_unlock(&hca->lock);
}

/*
 * Releases what is on the device; safe to call more than once. Returns whether there was anything.
 */
static bool expose_teardown(struct dc_exposure *ex)
{
	u32 violations = 0;
	bool had;

	mutex_lock(&ex->objects);
	had = ex->live;
	if (had) {
		ex->live = false;
		if (!dc_target_violations(&ex->target, &violations) && violations) {
			mitosis_stat_add(MITOSIS_STAT_ACCESS_ERRORS, violations);
			pr_warn("snapshot %016llx: the device has refused %u requests with a wrong key\n",
				ex->id, violations);
		}
		dc_target_destroy(&ex->target);
		cancel_delayed_work_sync(&ex->work);
		expose_tell(ex, true);
		xprt_reg_destroy(&ex->reg);
	}
	mutex_unlock(&ex->objects);
	return had;
}

static int expose_try(struct dc_exposure *ex, struct dc_port *port, const struct in6_addr *want)
{
	struct ib_device *ibdev = port->hca->dev.ibdev;
	struct dc_target_attr attr = { .port_num = port->num, .recv = expose_recv };
	const struct ib_gid_attr *gid = NULL;
	struct dc_port_info info;
	const char *why;
	int ret;

	ret = port_look(port, want, &info, &why);
	if (ret)
		return -ENODEV;
	if (info.grh) {
		gid = rdma_get_gid_attr(ibdev, port->num, info.gid_index);
		if (IS_ERR(gid))
			return -ENODEV;
	}
	ret = xprt_reg_create(&ex->reg, ibdev, port->num, gid, ex->id);
	if (gid)
		rdma_put_gid_attr(gid);
	if (ret)
		return ret;
	attr.pd = ex->reg.pd;
	attr.key = get_random_u64();
	attr.gid_index = info.gid_index;
	attr.roce = info.roce;
	attr.mtu = info.mtu;
	ret = dc_target_create(&port->hca->dev, &ex->target, &attr);
	ex->addr.key = attr.key;
	memzero_explicit(&attr, sizeof(attr));
	if (ret) {
		xprt_reg_destroy(&ex->reg);
		return ret;
	}
	memcpy(ex->addr.gid, &info.gid, sizeof(ex->addr.gid));
	ex->addr.number = ex->target.number;
	ex->addr.lid = info.lid;
	ex->addr.link = info.roce ? MITOSIS_DCT_ROCE : MITOSIS_DCT_IB;
	ex->addr.mtu = info.mtu;
	ex->gid_index = info.gid_index;
	return 0;
}

/* Where an exposure is wanted. */
struct dc_want {
	const struct ib_device *ibdev;	/* only to be compared */
	u32 port_num;
	struct in6_addr gid;		/* as RoCE has the address */
};

static int want_cm_handler(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	return 0;
}

/*
 * The port that has @addr, of RoCE or IP over InfiniBand, by the rules that connections go by, too.
 */
static int want_find(struct dc_want *want, const struct sockaddr_storage *addr)
{
	struct rdma_cm_id *id;
	int ret;

	xprt_in6(addr, &want->gid);
	id = rdma_create_id(&init_net, want_cm_handler, NULL, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id))
		return PTR_ERR(id);
	ret = xprt_bind(id, addr);
	want->ibdev = id->device;
	want->port_num = id->port_num;
	rdma_destroy_id(id);
	return ret;
}

static struct xprt_exposure *dc_expose_create(bool insecure, const struct sockaddr_storage *addr,
					      u64 id, const u8 *key,
					      const struct xprt_expose_ops *ops, void *priv)
{
	struct dc_exposure *ex;
	struct dc_want want;
	struct dc_port *port;
	int ret = -ENODEV;
	unsigned int n;

	if (addr) {
		ret = want_find(&want, addr);
		if (ret)
			return ERR_PTR(ret);
		ret = -EADDRNOTAVAIL;
	}
	ex = kzalloc(sizeof(*ex), GFP_KERNEL);
	if (!ex)
		return ERR_PTR(-ENOMEM);
	mutex_init(&ex->objects);
	spin_lock_init(&ex->lock);
	hash_init(ex->peers);
	INIT_DELAYED_WORK(&ex->work, expose_work);
	ex->id = id;
	ex->ops = ops;
	ex->priv = priv;
	/* The port that has the address; who names none gets the first that is up. */
	for (n = 0; ret && (port = port_get(n)); n++) {
		if (addr && (port->hca->dev.ibdev != want.ibdev || port->num != want.port_num)) {
			hca_put(port->hca);
			continue;
		}
		mutex_lock(&port->hca->lock);
		ret = port->hca->gone ? -ENODEV : expose_try(ex, port, addr ? &want.gid : NULL);
		if (!ret) {
			ex->hca = port->hca;
			ex->live = true;
			list_add(&ex->list, &ex->hca->exposures);
			queue_delayed_work(dc_wq, &ex->hca->refused_work, DC_REFUSED_LOOK);
		}
		mutex_unlock(&port->hca->lock);
		if (ret)
			hca_put(port->hca);
	}
	if (!ret)
		return &ex->base;
	memzero_explicit(ex, sizeof(*ex));
	kfree(ex);
	return ERR_PTR(ret);
}

static void dc_expose_addr(struct xprt_exposure *base, struct xprt_addr *addr)
{
	addr->dct = to_dc_exposure(base)->addr;
}

static int dc_expose_region(struct xprt_exposure *base, u64 va, struct page **pages,
			    unsigned int npages, u32 *rkey)
{
	struct dc_exposure *ex = to_dc_exposure(base);
	int ret = -ENODEV;

	mutex_lock(&ex->objects);
	if (ex->live)
		ret = xprt_reg_add(&ex->reg, va, pages, npages, rkey);
	mutex_unlock(&ex->objects);
	return ret;
}

static void dc_expose_open(struct xprt_exposure *base)
{
	WRITE_ONCE(to_dc_exposure(base)->open, true);
}

static void dc_expose_destroy(struct xprt_exposure *base)
{
	struct dc_exposure *ex = to_dc_exposure(base);
	struct dc_hca *hca = ex->hca;

	/* Listed meanwhile, so that dc_remove() waits for it. */
	expose_teardown(ex);
	mutex_lock(&hca->lock);
	refused_count(hca);
	list_del(&ex->list);
	mutex_unlock(&hca->lock);
	mutex_destroy(&ex->objects);
	hca_put(hca);
	memzero_explicit(ex, sizeof(*ex));
	kfree(ex);
}

static int dc_usable(char *why, size_t len)
{
	struct dc_port_info info;
	struct dc_port *port;
	const char *lacks;
	unsigned int n;
	int ret = -ENODEV;

	/* What a device lacks altogether has been said when it came. */
	snprintf(why, len, "there is no mlx5 device with DC transport, see dmesg");
	for (n = 0; ret && (port = port_get(n)); n++) {
		mutex_lock(&port->hca->lock);
		if (!port->hca->gone)
			ret = port_look(port, NULL, &info, &lacks);
		if (ret && !port->hca->gone)
			snprintf(why, len, "%s port %u %s", dev_name(&port->hca->dev.ibdev->dev),
				 port->num, lacks);
		mutex_unlock(&port->hca->lock);
		hca_put(port->hca);
	}
	return ret;
}

/* -------- Devices that come and go -------- */

static struct ib_client dc_client;

/*
 * A target has one address for life: the place of it in the device's table, which is not filled
 * again while something refers to it.
 */
static void expose_look(struct dc_exposure *ex, u32 port_num)
{
	const struct ib_gid_attr *gid;

	mutex_lock(&ex->objects);
	if (!ex->live || ex->unreachable || ex->addr.link != MITOSIS_DCT_ROCE ||
	    ex->reg.port_num != port_num)
		goto out;
	gid = rdma_get_gid_attr(ex->reg.device, port_num, ex->gid_index);
	if (IS_ERR(gid) || memcmp(&gid->gid, ex->addr.gid, sizeof(ex->addr.gid))) {
		ex->unreachable = true;
		pr_warn("snapshot %016llx: its address %pI6c has been taken away; it can not be read any more over transport dct, not even when the address is back: prepare it anew\n",
			ex->id, ex->addr.gid);
	}
	if (!IS_ERR(gid))
		rdma_put_gid_attr(gid);
out:
	mutex_unlock(&ex->objects);
}

static void dc_event(struct ib_event_handler *handler, struct ib_event *event)
{
	struct dc_hca *hca = container_of(handler, struct dc_hca, events);
	struct dc_exposure *ex;

	if (event->event != IB_EVENT_GID_CHANGE)
		return;
	mutex_lock(&hca->lock);
	list_for_each_entry(ex, &hca->exposures, list)
		expose_look(ex, event->element.port_num);
	mutex_unlock(&hca->lock);
}

static int dc_add(struct ib_device *ibdev)
{
	struct dc_hca *hca;
	const char *why;
	u32 i;
	int ret;

	if (ibdev->ops.driver_id != RDMA_DRIVER_MLX5)
		return -EOPNOTSUPP;
	hca = kzalloc(struct_size(hca, ports, ibdev->phys_port_cnt), GFP_KERNEL);
	if (!hca)
		return -ENOMEM;
	kref_init(&hca->kref);
	mutex_init(&hca->lock);
	INIT_LIST_HEAD(&hca->exposures);
	INIT_LIST_HEAD(&hca->conns);
	INIT_DELAYED_WORK(&hca->refused_work, refused_work);
	ret = dc_dev_init(&hca->dev, ibdev, &why);
	if (ret) {
		pr_info("%s %s\n", dev_name(&ibdev->dev), why ?: "has no room for another user");
		hca_put(hca);
		return -EOPNOTSUPP;
	}
	if (dc_dev_refused(&hca->dev, &hca->refused))
		pr_info("%s does not say what it refuses\n", dev_name(&ibdev->dev));
	hca->guid = be64_to_cpu(ibdev->node_guid);
	hca->nports = ibdev->phys_port_cnt;
	for (i = 0; i < hca->nports; i++) {
		hca->ports[i].hca = hca;
		hca->ports[i].num = i + 1;
	}
	ib_set_client_data(ibdev, &dc_client, hca);
	mutex_lock(&dc_lock);
	list_add_tail(&hca->list, &dc_hcas);
	mutex_unlock(&dc_lock);
	INIT_IB_EVENT_HANDLER(&hca->events, ibdev, dc_event);
	ib_register_event_handler(&hca->events);
	return 0;
}

static void dc_remove(struct ib_device *ibdev, void *client_data)
{
	struct dc_hca *hca = client_data;
	struct dc_exposure *ex;
	struct dc_conn *conn;
	u32 i;

	mutex_lock(&dc_lock);
	list_del(&hca->list);
	mutex_unlock(&dc_lock);
	ib_unregister_event_handler(&hca->events);

	mutex_lock(&hca->lock);
	refused_count(hca);
	hca->gone = true;
	/* All at once, so that they are waited for together. */
	list_for_each_entry(ex, &hca->exposures, list) {
		mutex_lock(&ex->objects);
		if (ex->live)
			dc_target_drain(&ex->target);
		mutex_unlock(&ex->objects);
	}
	list_for_each_entry(ex, &hca->exposures, list)
		if (expose_teardown(ex))
			pr_warn("snapshot %016llx: its RDMA device has been removed; it can not be read any more\n",
				ex->id);
	list_for_each_entry(conn, &hca->conns, list)
		conn_down(conn, -ENODEV, true);
	for (i = 0; i < hca->nports; i++)
		pool_stop(&hca->ports[i]);
	list_for_each_entry(conn, &hca->conns, list) {
		conn_wait(conn);
		rdma_destroy_ah(conn->ah, RDMA_DESTROY_AH_SLEEPABLE);
		conn->ah = NULL;
	}
	/* address handles are of the pools' protection domains */
	for (i = 0; i < hca->nports; i++)
		pool_destroy(&hca->ports[i]);
	mutex_unlock(&hca->lock);
	cancel_delayed_work_sync(&hca->refused_work);
	dc_dev_exit(&hca->dev);
	hca_put(hca);
}

static struct ib_client dc_client = {
	.name = "mitosis_dct",
	.add = dc_add,
	.remove = dc_remove,
};

static struct xprt xprt_dc = {
	.name = "dct",
	.owner = THIS_MODULE,
	.refuses_alone = true,
	.usable = dc_usable,
	.expose_create = dc_expose_create,
	.expose_addr = dc_expose_addr,
	.expose_region = dc_expose_region,
	.expose_open = dc_expose_open,
	.expose_destroy = dc_expose_destroy,
	.conn_open = dc_conn_open,
	.conn_read_list = dc_conn_read_list,
	.conn_done = dc_conn_done,
	.conn_close = dc_conn_close,
};

static int __init dc_init(void)
{
	int ret;

	get_random_bytes(&dc_node, sizeof(dc_node));
	dc_wq = alloc_workqueue("mitosis-dct", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!dc_wq)
		return -ENOMEM;
	ret = ib_register_client(&dc_client);
	if (ret) {
		destroy_workqueue(dc_wq);
		return ret;
	}
	xprt_register(&xprt_dc);
	return 0;
}

/* Exposures and connections hold the module. */
static void __exit dc_exit(void)
{
	xprt_unregister(&xprt_dc);
	ib_unregister_client(&dc_client);
	destroy_workqueue(dc_wq);
}

module_init(dc_init);
module_exit(dc_exit);

MODULE_DESCRIPTION("Transport of mitosis over dynamically connected queue pairs of mlx5 devices");
MODULE_VERSION(MITOSIS_VERSION);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_ALIAS("mitosis-xprt-dct");
