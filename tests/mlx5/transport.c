// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reliable and datagram transport. A requester numbers its packets, READs by their answers, and
 * goes back to what is missing; a responder takes them in order. A DC initiator connects with the
 * first packet to a target and has one target at a time: each packet carries the key and the
 * connection's number, so that a target knows a new connection without being asked.
 */
#include "mlx5.h"
#include <infiniband/mlx5dv.h>
#include "qemu/main-loop.h"

#define WINDOW 128   /* packets that are not acknowledged, of one queue pair */
#define ACK_EVERY 16 /* packets of a long message */
#define MAX_WRS 256  /* requests begun, of one queue pair */
#define QP_BUDGET 16 /* packets before another queue pair has its turn */
#define LOOP_BUDGET 64
#define MAX_CONNS 1024 /* of one DC target */
#define GRH_SIZE 40
#define PSN_MASK 0xffffff

enum step { STEP_MORE, STEP_BLOCKED };

static bool is_local(const struct wr *w)
{
	return w->opcode == MLX5_OPCODE_NOP || w->opcode == MLX5_OPCODE_UMR;
}

static bool is_unreliable(const struct qp *q)
{
	return q->st == MLX5_QPC_ST_UC;
}

static bool receives(const struct qp *q)
{
	return q->state == MLX5_QPC_STATE_RTR || q->state == MLX5_QPC_STATE_RTS;
}

/*
 * The device goes on as soon as it may. By the guest's clock, not by a bottom half: where the clock
 * counts instructions, a guest that waits for the device would see it leap to what else is due.
 */
void work_schedule(struct mdev *d)
{
	if (!timer_pending(d->work_timer))
		timer_mod(d->work_timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + 1);
}

/* The queue pair has its turn in the main loop. */
void qp_kick(struct qp *q)
{
	if (!QTAILQ_IN_USE(q, work))
		QTAILQ_INSERT_TAIL(&q->d->active, q, work);
	work_schedule(q->d);
}

static void dcr_kick(struct dcr *r)
{
	struct mdev *d = r->dct->d;

	if (!QTAILQ_IN_USE(r, work))
		QTAILQ_INSERT_TAIL(&d->active_dcrs, r, work);
	work_schedule(d);
}

/* The wire takes packets again. */
void transport_resume(struct mdev *d)
{
	struct dcr *r;
	uint32_t i;

	d->congested = false;
	for (i = 0; i < d->qps.size; i++) {
		struct dct *t = d->qps.p[i];

		if (!t)
			continue;
		if (!t->is_dct)
			qp_kick(d->qps.p[i]);
		else
			QTAILQ_FOREACH(r, &t->conns, list)
				dcr_kick(r);
	}
}

/* ---- requester ---- */

static uint64_t ack_timeout_ns(const struct qp *q)
{
	uint32_t t = QPC(q, primary_address_path.ack_timeout);

	return t ? MAX(4096ull << t, (uint64_t)q->d->ack_timeout_min_ms * SCALE_MS) : 0;
}

static struct wr *first_outstanding(struct qp *q)
{
	struct wr *w;

	QTAILQ_FOREACH(w, &q->wrs, list)
		if (!w->done)
			return w->begun ? w : NULL;
	return NULL;
}

static void timer_restart(struct qp *q)
{
	uint64_t ns = ack_timeout_ns(q);

	if (q->rnr_wait)
		return;
	if (!ns || !first_outstanding(q))
		timer_del(q->timer);
	else
		timer_mod(q->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + ns);
}

static void progress(struct qp *q)
{
	q->retries = QPC(q, retry_count);
	q->rnr_retries = QPC(q, rnr_retry);
	q->asked_again = false;
	timer_restart(q);
}

/* It may have been about to be sent once more. */
static void tx_leave(struct qp *q, struct wr *w)
{
	if (q->tx == w)
		q->tx = QTAILQ_NEXT(w, list);
}

static void wr_done(struct qp *q, struct wr *w)
{
	w->done = true;
	tx_leave(q, w);
}

static void wr_remove(struct qp *q, struct wr *w)
{
	tx_leave(q, w);
	QTAILQ_REMOVE(&q->wrs, w, list);
	if (w->begun && !w->done && wr_has_answer(w))
		q->nreads--;
	q->nwrs--;
	wr_free(w);
}

void requester_reset(struct qp *q)
{
	struct wr *w;

	while ((w = QTAILQ_FIRST(&q->wrs)))
		wr_remove(q, w);
	if (q->timer)
		timer_del(q->timer);
	q->fetched = 0;
	q->conn = 0;
	q->rnr_wait = false;
	q->asked_again = false;
}

static void requester_fail(struct qp *q, struct wr *w, uint8_t syndrome)
{
	struct counters *n = &q->d->cnt;

	mlog(q->d, "QP 0x%x: request 0x%x with opcode 0x%x ends with syndrome 0x%x", q->o.n,
	     w->index, w->opcode, syndrome);
	switch (syndrome) {
	case MLX5_CQE_SYNDROME_LOCAL_PROT_ERR:
		n->req_local_prot++;
		break;
	case MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR:
		n->req_local_length++;
		break;
	case MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR:
		n->req_local_qp++;
		break;
	case MLX5_CQE_SYNDROME_REMOTE_ACCESS_ERR:
		n->req_remote_access++;
		break;
	case MLX5_CQE_SYNDROME_REMOTE_INVAL_REQ_ERR:
		n->req_remote_invalid++;
		break;
	case MLX5_CQE_SYNDROME_REMOTE_OP_ERR:
		n->req_remote_op++;
		break;
	case MLX5_CQE_SYNDROME_TRANSPORT_RETRY_EXC_ERR:
		n->retry_exceeded++;
		break;
	case MLX5_CQE_SYNDROME_RNR_RETRY_EXC_ERR:
		n->rnr_exceeded++;
		break;
	}
	timer_del(q->timer);
	q->rnr_wait = false;
	cqe_req(q, w, syndrome);
	wr_remove(q, w);
	qp_set_error(q);
}

/* What is done at the head of the queue is completed, in order. */
static void retire(struct qp *q)
{
	struct wr *w;

	while ((w = QTAILQ_FIRST(&q->wrs)) && w->done) {
		if (w->signaled)
			cqe_req(q, w, 0);
		wr_remove(q, w);
	}
	qp_kick(q);
}

static void header_init(struct qp *q, struct pkt *h, enum pkt_op op, uint32_t psn)
{
	memset(h, 0, sizeof(*h));
	h->op = op;
	h->psn = psn & PSN_MASK;
	h->sqpn = q->o.n;
	h->mtu = QPC(q, mtu);
	if (q->st == MLX5_QPC_ST_DCI) {
		h->flags |= PKT_DC;
		h->dlid = q->conn_av.dlid;
		h->dqpn = q->conn_av.qpn;
		h->dc_key = q->conn_av.dc_key;
		h->sl = q->conn_av.sl;
		h->conn = q->conn;
		h->first_psn = q->conn_psn;
	} else {
		h->dlid = QPC(q, primary_address_path.rlid);
		h->dqpn = QPC(q, remote_qpn);
		h->sl = QPC(q, primary_address_path.sl);
	}
}

static bool wr_data(struct qp *q, const struct wr *w, uint64_t off, void *p, uint32_t len)
{
	if (w->inl) {
		memcpy(p, w->inl + off, len);
		return true;
	}
	return sge_copy(q->d, q->pd, w->sge, w->nsge, off, p, len, false);
}

static bool send_datagram(struct qp *q, struct wr *w)
{
	uint8_t data[MAX_DATA];
	struct pkt h;

	if (!wr_data(q, w, 0, data, w->len))
		return false;
	header_init(q, &h, PKT_UD, q->psn++);
	h.flags = PKT_FIRST | PKT_LAST | (w->opcode == MLX5_OPCODE_SEND_IMM ? PKT_IMM : 0) |
		  (w->solicited ? PKT_SOLICITED : 0) | (w->av.grh ? PKT_GRH : 0);
	h.dlid = w->av.dlid;
	h.dqpn = w->av.qpn;
	h.sl = w->av.sl;
	if (QPC(q, deth_sqpn))
		h.sqpn = QPC(q, deth_sqpn);
	/* With the highest bit set it is the queue pair's own. */
	h.qkey = w->av.qkey >> 31 ? QPC(q, q_key) : w->av.qkey;
	h.imm = w->imm;
	h.flow = w->av.flow;
	h.tclass = w->av.tclass;
	h.hop_limit = w->av.hop_limit;
	gid_fill(q->d, h.sgid);
	memcpy(h.dgid, w->av.gid, sizeof(h.dgid));
	h.data_len = w->len;
	/* QP0 is the subnet manager's, and there is none. */
	if (q->st != MLX5_QPC_ST_QP0)
		wire_send(q->d, &h, data);
	return true;
}

static enum pkt_op request_op(const struct wr *w)
{
	switch (w->opcode) {
	case MLX5_OPCODE_RDMA_READ:
		return PKT_READ;
	case MLX5_OPCODE_ATOMIC_CS:
		return PKT_CMP_SWAP;
	case MLX5_OPCODE_ATOMIC_FA:
		return PKT_FETCH_ADD;
	case MLX5_OPCODE_RDMA_WRITE:
	case MLX5_OPCODE_RDMA_WRITE_IMM:
		return PKT_WRITE;
	}
	return PKT_SEND;
}

/* The packet w->next of the request, which for a READ asks for all answers from there on. */
static bool send_request(struct qp *q, struct wr *w)
{
	uint32_t mtu = mtu_of(q), off = w->next * mtu;
	bool last = w->next + 1 == w->npsn;
	uint8_t data[MAX_DATA];
	struct pkt h;

	header_init(q, &h, request_op(w), w->psn + w->next);
	if (q->st == MLX5_QPC_ST_XRC) {
		h.flags |= PKT_XRC;
		h.srqn = w->qpn;
	}
	h.va = w->raddr + (w->opcode == MLX5_OPCODE_RDMA_READ ? off : 0);
	h.rkey = w->rkey;
	h.len = w->len - (w->opcode == MLX5_OPCODE_RDMA_READ ? off : 0);
	if (wr_has_answer(w)) {
		h.flags |= PKT_FIRST | PKT_LAST;
		h.swap = w->swap;
		h.compare = w->compare;
		wire_send(q->d, &h, NULL);
		w->next = w->npsn;
		return true;
	}
	h.data_len = MIN(mtu, w->len - off);
	if (!wr_data(q, w, off, data, h.data_len))
		return false;
	if (!w->next)
		h.flags |= PKT_FIRST;
	if (last) {
		h.flags |= PKT_LAST | (w->solicited ? PKT_SOLICITED : 0);
		if (w->opcode == MLX5_OPCODE_SEND_IMM || w->opcode == MLX5_OPCODE_RDMA_WRITE_IMM)
			h.flags |= PKT_IMM;
		if (w->opcode == MLX5_OPCODE_SEND_INVAL)
			h.flags |= PKT_INV;
		h.imm = w->imm;
	}
	wire_send(q->d, &h, data);
	w->next++;
	return true;
}

/* A DC initiator has one target at a time: it leaves one when nothing is outstanding. */
static bool dc_connect(struct qp *q, const struct wr *w, bool oldest)
{
	const struct av *a = &w->av, *b = &q->conn_av;

	if (q->conn && a->dlid == b->dlid && a->qpn == b->qpn && a->dc_key == b->dc_key)
		return true;
	if (!oldest)
		return false;
	q->conn = ++q->d->next_conn ? q->d->next_conn : ++q->d->next_conn;
	q->conn_av = *a;
	q->conn_psn = q->psn;
	return true;
}

static enum step requester_step(struct qp *q, struct wr *w)
{
	bool oldest = w == QTAILQ_FIRST(&q->wrs);
	uint16_t dlid;

	if (w->syndrome) {
		if (!oldest)
			return STEP_BLOCKED;
		requester_fail(q, w, w->syndrome);
		return STEP_MORE;
	}
	/*
	 * All kinds of fences wait for all that was posted before, which is more than some ask for.
	 */
	if (w->fence >= 2 && !oldest && !w->begun)
		return STEP_BLOCKED;
	if (is_local(w) || qp_is_datagram(q)) {
		if (w->opcode == MLX5_OPCODE_UMR)
			w->syndrome = mkey_umr(q, w);
		else if (w->opcode != MLX5_OPCODE_NOP && !send_datagram(q, w))
			w->syndrome = MLX5_CQE_SYNDROME_LOCAL_PROT_ERR;
		if (w->syndrome)
			return STEP_MORE;
		wr_done(q, w);
		retire(q);
		return STEP_MORE;
	}
	if (q->st == MLX5_QPC_ST_DCI && !w->begun && !dc_connect(q, w, oldest))
		return STEP_BLOCKED;
	if (!w->begun) {
		if (wr_has_answer(w) && q->nreads >= 1u << QPC(q, log_sra_max))
			return STEP_BLOCKED;
		/* Numbers are compared by half of their range. */
		if (!oldest && diff24(q->psn + w->npsn, q->una) > PSN_MASK / 4)
			return STEP_BLOCKED;
		if (oldest)
			q->una = q->psn;
		w->begun = true;
		w->psn = q->psn;
		q->psn = (q->psn + w->npsn) & PSN_MASK;
		q->nreads += wr_has_answer(w);
	}
	dlid = q->st == MLX5_QPC_ST_DCI ? q->conn_av.dlid : QPC(q, primary_address_path.rlid);
	if (wire_congested(q->d, dlid) ||
	    (!wr_has_answer(w) && !is_unreliable(q) && diff24(w->psn + w->next, q->una) >= WINDOW))
		return STEP_BLOCKED;
	if (!send_request(q, w)) {
		w->syndrome = MLX5_CQE_SYNDROME_LOCAL_PROT_ERR;
		return STEP_MORE;
	}
	if (w->next == w->npsn) {
		q->tx = QTAILQ_NEXT(w, list);
		if (is_unreliable(q)) {
			w->done = true;
			retire(q);
		}
	}
	if (!is_unreliable(q) && !timer_pending(q->timer))
		timer_restart(q);
	return STEP_MORE;
}

static struct wr *requester_fetch(struct qp *q)
{
	struct wr *w = q->nwrs < MAX_WRS ? sq_fetch(q) : NULL;

	if (w) {
		QTAILQ_INSERT_TAIL(&q->wrs, w, list);
		q->nwrs++;
	}
	return w;
}

/* Whether there is more to do when others have had their turn. */
static bool requester_run(struct qp *q)
{
	int budget;
	struct wr *w;

	if (!q->has_sq)
		return false;
	for (budget = QP_BUDGET; budget; budget--) {
		if (q->state == MLX5_QPC_STATE_ERR) {
			w = QTAILQ_FIRST(&q->wrs) ? QTAILQ_FIRST(&q->wrs) : requester_fetch(q);
			if (!w)
				return false;
			cqe_req(q, w, MLX5_CQE_SYNDROME_WR_FLUSH_ERR);
			wr_remove(q, w);
			continue;
		}
		if (q->state != MLX5_QPC_STATE_RTS || q->rnr_wait)
			return false;
		if (!q->tx)
			q->tx = requester_fetch(q);
		if (!q->tx || requester_step(q, q->tx) == STEP_BLOCKED)
			return false;
	}
	return true;
}

/* All from the packet with this number on is sent once more; of answers, what has not come. */
static void go_back(struct qp *q, struct wr *w, uint32_t psn)
{
	q->tx = w;
	w->next = wr_has_answer(w) ? w->got : MAX(diff24(psn, w->psn), 0);
	for (w = QTAILQ_NEXT(w, list); w; w = QTAILQ_NEXT(w, list))
		if (w->begun && !is_local(w))
			w->next = 0;
	qp_kick(q);
}

/* Again from the oldest packet that is not acknowledged. */
static void ask_again(struct qp *q)
{
	struct wr *w = first_outstanding(q);

	if (w)
		go_back(q, w, q->una);
	timer_restart(q);
}

void requester_timer(void *opaque)
{
	struct qp *q = opaque;
	struct wr *w;

	if (q->state != MLX5_QPC_STATE_RTS)
		return;
	if (q->rnr_wait) {
		q->rnr_wait = false;
		timer_restart(q);
		qp_kick(q);
		return;
	}
	q->asked_again = false;
	w = first_outstanding(q);
	if (!w)
		return;
	q->d->cnt.local_ack_timeout++;
	mlog(q->d, "QP 0x%x: no answer in time, %u tries left", q->o.n, q->retries);
	if (!q->retries) {
		requester_fail(q, w, MLX5_CQE_SYNDROME_TRANSPORT_RETRY_EXC_ERR);
		return;
	}
	q->retries--;
	ask_again(q);
}

/* All up to psn has come. False: an answer is missing before, which is asked for once more. */
static bool acked(struct qp *q, uint32_t psn)
{
	struct wr *w;

	QTAILQ_FOREACH(w, &q->wrs, list) {
		if (w->done)
			continue;
		if (!w->begun || diff24(psn, w->psn) < 0)
			break;
		if (wr_has_answer(w)) {
			if ((int32_t)w->got > diff24(psn, w->psn))
				break;
			if (!q->asked_again) {
				q->d->cnt.implied_nak++;
				q->asked_again = true;
				ask_again(q);
			}
			return false;
		}
		if (diff24(psn, w->psn + w->npsn - 1) < 0)
			break;
		wr_done(q, w);
	}
	if (diff24(psn + 1, q->una) > 0) {
		q->una = (psn + 1) & PSN_MASK;
		w = q->tx;
		if (w && w->begun && !wr_has_answer(w) && diff24(q->una, w->psn + w->next) > 0)
			w->next = diff24(q->una, w->psn);
		progress(q);
	}
	retire(q);
	return true;
}

static uint64_t rnr_ns(uint32_t code)
{
	/* in units of 10 us */
	static const uint32_t t[] = {
		65536, 1,    2,	   3,	 4,    6,     8,     12,    16,	   24,	  32,
		48,    64,   96,   128,	 192,  256,   384,   512,   768,   1024,  1536,
		2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
	};

	return t[code & 31] * 10ull * SCALE_US;
}

static void rx_rnr(struct qp *q, const struct pkt *h)
{
	struct wr *w;

	if (!acked(q, h->psn - 1))
		return;
	w = first_outstanding(q);
	if (!w)
		return;
	q->d->cnt.rnr_nak_retry++;
	if (QPC(q, rnr_retry) != 7) {
		if (!q->rnr_retries) {
			requester_fail(q, w, MLX5_CQE_SYNDROME_RNR_RETRY_EXC_ERR);
			return;
		}
		q->rnr_retries--;
	}
	go_back(q, w, h->psn);
	q->rnr_wait = true;
	timer_mod(q->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + rnr_ns(h->rnr_timer));
}

static void rx_ack(struct qp *q, const struct pkt *h)
{
	static const uint8_t syndromes[] = {
		[NAK_INVALID_REQUEST] = MLX5_CQE_SYNDROME_REMOTE_INVAL_REQ_ERR,
		[NAK_REMOTE_ACCESS] = MLX5_CQE_SYNDROME_REMOTE_ACCESS_ERR,
		[NAK_REMOTE_OP] = MLX5_CQE_SYNDROME_REMOTE_OP_ERR,
	};
	struct wr *w;

	switch (h->syndrome) {
	case ACK_OK:
		acked(q, h->psn);
		break;
	case ACK_RNR:
		if (!q->rnr_wait)
			rx_rnr(q, h);
		break;
	case NAK_SEQUENCE:
		q->d->cnt.packet_seq_err++;
		if (acked(q, h->psn - 1))
			ask_again(q);
		break;
	default:
		if (h->syndrome >= G_N_ELEMENTS(syndromes) || !acked(q, h->psn - 1))
			return;
		w = first_outstanding(q);
		if (w)
			requester_fail(q, w, syndromes[h->syndrome]);
	}
}

static void rx_answer(struct qp *q, const struct pkt *h, const uint8_t *data)
{
	struct wr *w;
	int32_t i;
	uint64_t v = h->va;

	if (!acked(q, h->psn - 1))
		return;
	w = first_outstanding(q);
	if (!w || !wr_has_answer(w))
		return;
	i = diff24(h->psn, w->psn);
	if (i != (int32_t)w->got)
		return;
	if (wr_is_atomic(w) != (h->op == PKT_ATOMIC_ACK) ||
	    (h->op == PKT_READ_ANSWER && h->data_len != MIN(mtu_of(q), w->len - i * mtu_of(q)))) {
		requester_fail(q, w, MLX5_CQE_SYNDROME_BAD_RESP_ERR);
		return;
	}
	if (!sge_copy(q->d, q->pd, w->sge, w->nsge, (uint64_t)i * mtu_of(q),
		      h->op == PKT_ATOMIC_ACK ? (void *)&v : (void *)data,
		      h->op == PKT_ATOMIC_ACK ? 8 : h->data_len, true)) {
		requester_fail(q, w, MLX5_CQE_SYNDROME_LOCAL_PROT_ERR);
		return;
	}
	w->got++;
	if (q->tx == w)
		w->next = w->got;
	q->una = (h->psn + 1) & PSN_MASK;
	if (w->got == w->npsn) {
		q->nreads--;
		wr_done(q, w);
	}
	progress(q);
	retire(q);
}

static void requester_receive(struct qp *q, const struct pkt *h, const uint8_t *data)
{
	if (q->state != MLX5_QPC_STATE_RTS || (q->st == MLX5_QPC_ST_DCI && h->conn != q->conn))
		return;
	/* of what has been sent and is not acknowledged */
	if (!first_outstanding(q) || diff24(h->psn, q->una) < 0 || diff24(h->psn, q->psn) >= 0)
		return;
	if (h->op == PKT_ACK)
		rx_ack(q, h);
	else
		rx_answer(q, h, data);
}

/* ---- responder ---- */

/* Who answers, as far as it differs between a queue pair and a connection to a DC target. */
struct ctx {
	struct mdev *d;
	struct responder *r;
	struct qp *q;
	struct dcr *dcr;
	const struct pd *pd;
	struct srq *srq;
	struct cq *cq;
	uint32_t n, user_index, mtu, max_reads, rnr_timer, conn, counter_set;
	bool rre, rwe, rae;
	uint16_t peer_lid;
	uint32_t peer_qpn;
};

static void ctx_qp(struct ctx *c, struct qp *q)
{
	*c = (struct ctx){
		.d = q->d,
		.r = &q->r,
		.q = q,
		.pd = q->pd,
		.srq = q->has_rq ? NULL : q->srq,
		.cq = q->cq_recv,
		.n = q->o.n,
		.user_index = QPC(q, user_index),
		.mtu = QPC(q, mtu),
		.max_reads = 1u << QPC(q, log_rra_max),
		.rnr_timer = QPC(q, min_rnr_nak),
		.counter_set = QPC(q, counter_set_id),
		.rre = QPC(q, rre),
		.rwe = QPC(q, rwe),
		.rae = QPC(q, rae),
		.peer_lid = QPC(q, primary_address_path.rlid),
		.peer_qpn = QPC(q, remote_qpn),
	};
}

static void ctx_dcr(struct ctx *c, struct dcr *r)
{
	struct dct *t = r->dct;
	const uint8_t *x = t->context;

	*c = (struct ctx){
		.d = t->d,
		.r = &r->r,
		.dcr = r,
		.pd = t->pd,
		.srq = t->srq,
		.cq = t->cq,
		.n = t->o.n,
		.user_index = GET(dctc, x, user_index),
		.mtu = GET(dctc, x, mtu),
		.max_reads = 1u << GET(cmd_hca_cap, t->d->caps_cur, log_max_ra_res_dc),
		.rnr_timer = GET(dctc, x, min_rnr_nak),
		.conn = r->conn,
		.counter_set = GET(dctc, x, counter_set_id),
		.rre = GET(dctc, x, rre),
		.rwe = GET(dctc, x, rwe),
		.rae = GET(dctc, x, rae),
		.peer_lid = r->slid,
		.peer_qpn = r->qpn,
	};
}

void responder_clear(struct responder *r)
{
	struct answer *a;

	while ((a = QTAILQ_FIRST(&r->answers))) {
		QTAILQ_REMOVE(&r->answers, a, list);
		g_free(a);
	}
}

/* Also of one that is new, and all zero. */
void responder_reset(struct responder *r, uint32_t psn)
{
	responder_clear(r);
	memset(r, 0, sizeof(*r));
	QTAILQ_INIT(&r->answers);
	r->psn = psn;
}

void dcr_free(struct dcr *r)
{
	responder_clear(&r->r);
	QTAILQ_REMOVE(&r->dct->conns, r, list);
	r->dct->nconns--;
	if (QTAILQ_IN_USE(r, work))
		QTAILQ_REMOVE(&r->dct->d->active_dcrs, r, work);
	g_free(r);
}

static void answer_header(const struct ctx *c, struct pkt *h, uint8_t op, uint32_t psn)
{
	memset(h, 0, sizeof(*h));
	h->op = op;
	h->psn = psn & PSN_MASK;
	h->dlid = c->peer_lid;
	h->dqpn = c->peer_qpn;
	h->sqpn = c->n;
	h->conn = c->conn;
	h->rnr_timer = c->rnr_timer;
}

static struct answer *answer_add(const struct ctx *c, uint8_t op, uint8_t syndrome, uint32_t psn)
{
	struct answer *a = g_new0(struct answer, 1);

	a->op = op;
	a->syndrome = syndrome;
	a->psn = psn & PSN_MASK;
	a->npsn = 1;
	a->counted = op != PKT_ACK;
	c->r->nreads += a->counted;
	QTAILQ_INSERT_TAIL(&c->r->answers, a, list);
	if (c->q)
		qp_kick(c->q);
	else
		dcr_kick(c->dcr);
	return a;
}

static void ack(const struct ctx *c, uint8_t syndrome, uint32_t psn)
{
	if (!c->q || !is_unreliable(c->q))
		answer_add(c, PKT_ACK, syndrome, psn);
}

/*
 * The peer is told behind all answers that it waits for; then a queue pair is in error, and a
 * connection over.
 */
static void responder_fail(const struct ctx *c, uint8_t nak, uint32_t psn, const char *why)
{
	struct counter_set *set = table_get(&c->d->counter_sets, c->counter_set);

	mlog(c->d, "QP 0x%x: request from LID %u, QP 0x%x is refused: %s", c->n, c->peer_lid,
	     c->peer_qpn, why);
	if (set) {
		set->resp_remote_access += nak == NAK_REMOTE_ACCESS;
		set->resp_remote_invalid += nak == NAK_INVALID_REQUEST;
	}
	if (c->q && is_unreliable(c->q)) {
		/* The message is dropped, and nobody told. */
		c->r->op = 0;
		c->r->skip = true;
		return;
	}
	c->r->failed = true;
	ack(c, nak, psn);
}

static void recv_fail(const struct ctx *c, uint8_t syndrome, uint8_t nak, uint32_t psn)
{
	c->d->cnt.resp_local_length += syndrome == MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR;
	c->d->cnt.resp_local_prot += syndrome == MLX5_CQE_SYNDROME_LOCAL_PROT_ERR;
	mlog(c->d,
	     "QP 0x%x: entry 0x%x of %s 0x%x has room for %" PRIu64
	     " bytes in %d pieces, the first with key 0x%x",
	     c->n, c->r->recv.index, c->srq ? "SRQ" : "QP", c->srq ? c->srq->o.n : c->n,
	     sge_len(c->r->recv.sge, c->r->recv.nsge), c->r->recv.nsge, c->r->recv.sge[0].lkey);
	cqe_resp_error(c->d, c->cq, c->user_index, c->n, c->r->recv.index, syndrome);
	c->r->held = false;
	responder_fail(c, nak, psn, "it does not fit into what is posted to receive it");
}

/* An entry of the receive queue for this message; false: none, and the peer is asked to wait. */
static bool recv_take(const struct ctx *c, const struct pkt *h)
{
	struct faults *f = &c->d->faults;

	/* For a message that got lost on the way. */
	if (c->r->held)
		return true;
	if (f->rnr_next) {
		f->rnr_next--;
		mlog(c->d, "fault: QP 0x%x is not ready to receive", c->n);
	} else if (rq_take(c->d, c->q, c->srq, &c->r->recv)) {
		c->r->held = true;
		return true;
	}
	c->d->cnt.out_of_buffer++;
	c->r->nak_sent = true;
	c->r->skip = true;
	ack(c, ACK_RNR, h->psn);
	return false;
}

static void message_packet_done(const struct ctx *c, const struct pkt *h)
{
	struct responder *r = c->r;

	r->psn = (r->psn + 1) & PSN_MASK;
	r->got += h->data_len;
	if (h->flags & PKT_LAST)
		r->op = 0;
	if (h->flags & PKT_LAST || !(h->psn % ACK_EVERY))
		ack(c, ACK_OK, h->psn);
}

static void rx_send(const struct ctx *c, const struct pkt *h, const uint8_t *data)
{
	struct responder *r = c->r;
	uint8_t op = MLX5_CQE_RESP_SEND;

	if (h->flags & PKT_FIRST) {
		if (!recv_take(c, h))
			return;
		r->op = PKT_SEND;
		r->got = 0;
	}
	if ((uint64_t)r->got + h->data_len > sge_len(r->recv.sge, r->recv.nsge)) {
		recv_fail(c, MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR, NAK_INVALID_REQUEST, h->psn);
		return;
	}
	if (!sge_copy(c->d, c->srq ? c->srq->pd : c->pd, r->recv.sge, r->recv.nsge, r->got,
		      (void *)data, h->data_len, true)) {
		recv_fail(c, MLX5_CQE_SYNDROME_LOCAL_PROT_ERR, NAK_REMOTE_OP, h->psn);
		return;
	}
	if (h->flags & PKT_LAST) {
		if (h->flags & PKT_IMM)
			op = MLX5_CQE_RESP_SEND_IMM;
		if (h->flags & PKT_INV) {
			op = MLX5_CQE_RESP_SEND_INV;
			if (!mkey_invalidate(c->d, h->imm, c->pd)) {
				recv_fail(c, MLX5_CQE_SYNDROME_LOCAL_PROT_ERR, NAK_REMOTE_ACCESS,
					  h->psn);
				return;
			}
		}
		cqe_resp(c->d, c->cq, c->user_index, c->n, h, op, r->got + h->data_len,
			 r->recv.index, h->flags & PKT_SOLICITED);
		r->held = false;
	}
	message_packet_done(c, h);
}

static bool remote_allows(const struct ctx *c, uint32_t rkey, uint64_t va, uint64_t len,
			  enum access need)
{
	if (c->d->faults.access_error_rkey && c->d->faults.access_error_rkey == rkey) {
		mlog(c->d, "fault: key 0x%x is refused", rkey);
		return false;
	}
	return mkey_check(c->d, rkey, c->pd, va, len, need);
}

static void rx_write(const struct ctx *c, const struct pkt *h, const uint8_t *data)
{
	struct responder *r = c->r;

	if (h->flags & PKT_FIRST) {
		if (!c->rwe) {
			responder_fail(c, NAK_REMOTE_ACCESS, h->psn, "WRITE is not allowed");
			return;
		}
		if (h->len && !remote_allows(c, h->rkey, h->va, h->len, ACCESS_RW)) {
			responder_fail(c, NAK_REMOTE_ACCESS, h->psn,
				       "a WRITE with a key that does not open this memory for it");
			return;
		}
		r->len = h->len;
		r->va = h->va;
		r->rkey = h->rkey;
		r->got = 0;
	}
	if (r->got + h->data_len > r->len ||
	    (h->flags & PKT_LAST && r->got + h->data_len != r->len)) {
		responder_fail(c, NAK_INVALID_REQUEST, h->psn,
			       "a WRITE of another length than announced");
		return;
	}
	if (h->flags & PKT_IMM && !recv_take(c, h))
		return;
	r->op = PKT_WRITE;
	if (h->data_len && !mkey_copy(c->d, r->rkey, c->pd, r->va + r->got, (void *)data,
				      h->data_len, ACCESS_RW)) {
		responder_fail(c, NAK_REMOTE_ACCESS, h->psn, "the key of a WRITE has changed");
		return;
	}
	c->d->cnt.rx_write += !!(h->flags & PKT_FIRST);
	if (h->flags & PKT_IMM) {
		cqe_resp(c->d, c->cq, c->user_index, c->n, h, MLX5_CQE_RESP_WR_IMM, r->len,
			 r->recv.index, h->flags & PKT_SOLICITED);
		r->held = false;
	}
	message_packet_done(c, h);
}

static void rx_read(const struct ctx *c, const struct pkt *h, bool again)
{
	uint32_t mtu = mtu_bytes(h->mtu);
	struct answer *a;

	if (!c->rre || (h->len && !remote_allows(c, h->rkey, h->va, h->len, ACCESS_RR))) {
		responder_fail(c, NAK_REMOTE_ACCESS, h->psn,
			       c->rre ? "a READ with a key that does not open this memory for it" :
					"READ is not allowed");
		return;
	}
	a = answer_add(c, PKT_READ_ANSWER, 0, h->psn);
	a->len = h->len;
	a->va = h->va;
	a->rkey = h->rkey;
	a->mtu = mtu;
	a->npsn = MAX(1, DIV_ROUND_UP(h->len, mtu));
	c->d->cnt.rx_read++;
	if (!again)
		c->r->psn = (c->r->psn + a->npsn) & PSN_MASK;
}

static void rx_atomic(const struct ctx *c, const struct pkt *h)
{
	struct responder *r = c->r;
	uint64_t v, new;
	uint32_t i;

	if (!c->rae || h->va % 8 || !remote_allows(c, h->rkey, h->va, 8, ACCESS_A)) {
		responder_fail(
			c, h->va % 8 ? NAK_INVALID_REQUEST : NAK_REMOTE_ACCESS, h->psn,
			!c->rae	  ? "atomics are not allowed" :
			h->va % 8 ? "an atomic on memory that is not aligned" :
				    "an atomic with a key that does not open this memory for it");
		return;
	}
	/* To whom it is a write it is a read, too. */
	mkey_copy(c->d, h->rkey, c->pd, h->va, &v, 8, 0);
	new = h->op == PKT_FETCH_ADD ? v + h->swap : v == h->compare ? h->swap : v;
	mkey_copy(c->d, h->rkey, c->pd, h->va, &new, 8, ACCESS_A);
	i = r->natomics++ % NUM_ATOMICS;
	r->atomic_psn[i] = h->psn;
	r->atomic_old[i] = v;
	r->psn = (r->psn + 1) & PSN_MASK;
	c->d->cnt.rx_atomic++;
	answer_add(c, PKT_ATOMIC_ACK, 0, h->psn)->old = v;
}

static void answer_remove(struct responder *r, struct answer *a)
{
	r->nreads -= a->counted;
	QTAILQ_REMOVE(&r->answers, a, list);
	g_free(a);
}

/* The peer asks once more for all from psn on: what is not sent of that waits for its turn. */
static void answers_cut(struct responder *r, uint32_t psn)
{
	struct answer *a, *next;

	QTAILQ_FOREACH_SAFE(a, &r->answers, list, next) {
		int32_t before = diff24(psn, a->psn);

		if (before > 0 && (uint32_t)before < a->npsn) {
			a->npsn = before;
			r->nreads -= a->counted;
			a->counted = false;
		}
		if (before <= 0 || a->next >= a->npsn)
			answer_remove(r, a);
	}
}

/* Sent once more: its answer was lost, or is on its way. */
static void rx_duplicate(const struct ctx *c, const struct pkt *h)
{
	struct responder *r = c->r;
	uint32_t i;

	c->d->cnt.duplicate++;
	switch (h->op) {
	case PKT_READ:
		answers_cut(r, h->psn);
		rx_read(c, h, true);
		break;
	case PKT_CMP_SWAP:
	case PKT_FETCH_ADD:
		for (i = 0; i < MIN(r->natomics, NUM_ATOMICS); i++)
			if (r->atomic_psn[i] == h->psn)
				answer_add(c, PKT_ATOMIC_ACK, 0, h->psn)->old = r->atomic_old[i];
		break;
	default:
		if (h->flags & PKT_LAST)
			ack(c, ACK_OK, h->psn);
	}
}

static void responder_receive(const struct ctx *c, const struct pkt *h, const uint8_t *data)
{
	struct responder *r = c->r;
	int32_t diff = diff24(h->psn, r->psn);
	bool begins = h->flags & PKT_FIRST;

	if (r->failed)
		return;
	if (c->q && is_unreliable(c->q)) {
		/* What is lost stays lost, with the rest of its message. */
		r->skip |= diff != 0;
		if (begins) {
			r->skip = false;
			r->op = 0;
		}
		if (r->skip)
			return;
		r->psn = h->psn;
		diff = 0;
	}
	if (diff > 0) {
		if (!r->nak_sent) {
			r->nak_sent = true;
			c->d->cnt.out_of_sequence++;
			ack(c, NAK_SEQUENCE, r->psn);
		}
		return;
	}
	if (diff < 0) {
		rx_duplicate(c, h);
		return;
	}
	r->nak_sent = false;
	if (h->mtu < 1 || h->mtu > c->mtu || h->data_len > mtu_bytes(h->mtu) ||
	    h->len > 1u << LOG_MAX_MSG || (begins ? r->op != 0 : r->op != h->op) ||
	    (!(h->flags & PKT_LAST) && h->data_len != mtu_bytes(h->mtu))) {
		responder_fail(c, NAK_INVALID_REQUEST, h->psn,
			       "a packet that does not fit into the message, or into the MTU");
		return;
	}
	if ((h->op == PKT_READ || h->op == PKT_CMP_SWAP || h->op == PKT_FETCH_ADD) &&
	    r->nreads >= c->max_reads) {
		responder_fail(c, NAK_INVALID_REQUEST, h->psn,
			       "more READs and atomics at a time than agreed");
		return;
	}
	switch (h->op) {
	case PKT_SEND:
		rx_send(c, h, data);
		break;
	case PKT_WRITE:
		rx_write(c, h, data);
		break;
	case PKT_READ:
		rx_read(c, h, false);
		break;
	case PKT_CMP_SWAP:
	case PKT_FETCH_ADD:
		rx_atomic(c, h);
		break;
	}
}

/* One packet of an answer. False: it has failed, and everything that was to follow. */
static bool send_answer(const struct ctx *c, struct answer *a)
{
	uint8_t data[MAX_DATA];
	struct pkt h;

	answer_header(c, &h, a->op, a->psn + a->next);
	h.syndrome = a->syndrome;
	h.va = a->old;
	if (a->op == PKT_READ_ANSWER) {
		h.data_len = MIN(a->mtu, a->len - a->next * a->mtu);
		if (h.data_len &&
		    !mkey_copy(c->d, a->rkey, c->pd, a->va + (uint64_t)a->next * a->mtu, data,
			       h.data_len, ACCESS_RR)) {
			h.op = PKT_ACK;
			h.syndrome = NAK_REMOTE_ACCESS;
			h.data_len = 0;
			c->r->failed = true;
		}
	}
	wire_send(c->d, &h, data);
	a->next++;
	return h.op != PKT_ACK || h.syndrome < NAK_INVALID_REQUEST;
}

/* The peer has been told that its request is refused. */
static void responder_end(const struct ctx *c, uint8_t syndrome)
{
	struct mdev *d = c->d;
	struct dct *t;

	if (c->q) {
		eq_event_object(d,
				syndrome == NAK_INVALID_REQUEST ? EVENT_WQ_INVAL_REQ :
								  EVENT_WQ_ACCESS,
				c->n, 0);
		qp_set_error(c->q);
	} else {
		t = c->dcr->dct;
		dcr_free(c->dcr);
		dct_check_drained(d, t);
	}
}

/*
 * Whether there is more to do when others have had their turn; the context may be gone otherwise.
 */
static bool responder_run(const struct ctx *c)
{
	struct responder *r = c->r;
	struct answer *a;
	int budget;

	for (budget = QP_BUDGET; budget && (a = QTAILQ_FIRST(&r->answers)); budget--) {
		if (wire_congested(c->d, c->peer_lid))
			return false;
		if (!send_answer(c, a)) {
			responder_end(c, a->syndrome);
			return false;
		}
		if (a->next < a->npsn)
			continue;
		answer_remove(r, a);
	}
	return !QTAILQ_EMPTY(&r->answers);
}

/* ---- datagrams ---- */

static struct qp *datagram_qp(struct mdev *d, uint32_t n)
{
	struct qp *q;
	uint32_t i;

	if (n != 1)
		return qp_get(d, n);
	for (i = 0; i < d->qps.size; i++) {
		q = qp_get(d, d->qps.first + i);
		if (q && q->st == MLX5_QPC_ST_QP1)
			return q;
	}
	return NULL;
}

static void rx_datagram(struct mdev *d, const struct pkt *h, const uint8_t *data)
{
	struct qp *q = datagram_qp(d, h->dqpn);
	uint8_t buf[GRH_SIZE + MAX_DATA] = { 0 };
	uint32_t len = GRH_SIZE + h->data_len;
	struct recv r;

	if (!q || !qp_is_datagram(q) || !receives(q))
		return;
	if (h->qkey != QPC(q, q_key)) {
		mlog(d, "QP 0x%x: datagram with Q_Key 0x%x, not 0x%x", q->o.n, h->qkey,
		     (int)QPC(q, q_key));
		return;
	}
	if (!rq_take(d, q, q->has_rq ? NULL : q->srq, &r)) {
		d->cnt.out_of_buffer++;
		return;
	}
	if (h->flags & PKT_GRH) {
		stl_be_p(buf, 6u << 28 | h->tclass << 20 | h->flow);
		stw_be_p(buf + 4, h->data_len);
		buf[6] = 0x1b;
		buf[7] = h->hop_limit;
		memcpy(buf + 8, h->sgid, 16);
		memcpy(buf + 24, h->dgid, 16);
	}
	memcpy(buf + GRH_SIZE, data, h->data_len);
	if (len > sge_len(r.sge, r.nsge))
		cqe_resp_error(d, q->cq_recv, QPC(q, user_index), q->o.n, r.index,
			       MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR);
	else if (!sge_copy(d, q->pd, r.sge, r.nsge, 0, buf, len, true))
		cqe_resp_error(d, q->cq_recv, QPC(q, user_index), q->o.n, r.index,
			       MLX5_CQE_SYNDROME_LOCAL_PROT_ERR);
	else
		cqe_resp(d, q->cq_recv, QPC(q, user_index), q->o.n, h,
			 h->flags & PKT_IMM ? MLX5_CQE_RESP_SEND_IMM : MLX5_CQE_RESP_SEND, len,
			 r.index, h->flags & PKT_SOLICITED);
}

/* ---- what comes in ---- */

static void dc_reject(struct mdev *d, const struct pkt *h, const char *why)
{
	struct pkt a = {
		.op = PKT_ACK,
		.syndrome = NAK_REMOTE_ACCESS,
		.psn = h->psn,
		.dlid = h->slid,
		.dqpn = h->sqpn,
		.sqpn = h->dqpn,
		.conn = h->conn,
	};

	mlog(d, "DCT 0x%x: request from LID %u, QP 0x%x is refused: %s", h->dqpn, h->slid, h->sqpn,
	     why);
	if (!d->faults.dc_reject_silent)
		wire_send(d, &a, NULL);
}

static struct dcr *dcr_get(struct dct *t, const struct pkt *h)
{
	struct dcr *r;

	QTAILQ_FOREACH(r, &t->conns, list)
		if (r->slid == h->slid && r->qpn == h->sqpn)
			break;
	if (r && r->conn == h->conn)
		return r;
	if (r && (int32_t)(h->conn - r->conn) < 0)
		return NULL;
	if (r)
		dcr_free(r);
	else if (t->nconns == MAX_CONNS)
		dcr_free(QTAILQ_FIRST(&t->conns));
	r = g_new0(struct dcr, 1);
	r->dct = t;
	r->slid = h->slid;
	r->qpn = h->sqpn;
	r->conn = h->conn;
	responder_reset(&r->r, h->first_psn);
	QTAILQ_INSERT_TAIL(&t->conns, r, list);
	t->nconns++;
	t->d->cnt.rx_dct_connect++;
	return r;
}

static void rx_dc(struct mdev *d, const struct pkt *h, const uint8_t *data)
{
	struct dct *t = dct_get(d, h->dqpn);
	struct dcr *r;
	struct ctx c;

	if (!t) {
		dc_reject(d, h, "there is no such target");
		return;
	}
	if (t->state != MLX5_DCTC_STATE_ACTIVE) {
		dc_reject(d, h, "the target is drained");
		return;
	}
	if (t->key != h->dc_key) {
		t->violations++;
		dc_reject(d, h, "the DC access key is wrong");
		return;
	}
	r = dcr_get(t, h);
	if (!r)
		return;
	ctx_dcr(&c, r);
	responder_receive(&c, h, data);
}

static void rx_request(struct mdev *d, const struct pkt *h, const uint8_t *data)
{
	struct qp *q = qp_get(d, h->dqpn);
	struct ctx c;

	if (!q || !qp_is_connected(q) || !receives(q) ||
	    !!(h->flags & PKT_XRC) != (q->st == MLX5_QPC_ST_XRC))
		return;
	ctx_qp(&c, q);
	if (h->slid != c.peer_lid || h->sqpn != c.peer_qpn) {
		mlog(d, "QP 0x%x: packet from LID %u, QP 0x%x, which is not its peer", q->o.n,
		     h->slid, h->sqpn);
		return;
	}
	/* What a request to an XRC domain may do is its SRQ's. */
	if (h->flags & PKT_XRC) {
		c.srq = table_get(&d->srqs, h->srqn);
		if (!c.srq || !c.srq->xrc || c.srq->xrcd != q->xrcd) {
			responder_fail(&c, NAK_INVALID_REQUEST, h->psn,
				       "no such SRQ in the XRC domain");
			return;
		}
		c.pd = c.srq->pd;
		c.cq = c.srq->cq;
		c.user_index = c.srq->user_index;
	}
	responder_receive(&c, h, data);
}

void transport_receive(struct mdev *d, const struct pkt *h, const uint8_t *data)
{
	struct qp *q;

	if (d->faults.link_down || d->faults.fatal || !d->hca_ready)
		return;
	d->cnt.rx_packets++;
	d->cnt.rx_bytes += h->data_len;
	switch (h->op) {
	case PKT_UD:
		rx_datagram(d, h, data);
		break;
	case PKT_ACK:
	case PKT_READ_ANSWER:
	case PKT_ATOMIC_ACK:
		q = qp_get(d, h->dqpn);
		if (q)
			requester_receive(q, h, data);
		break;
	default:
		if (h->op && h->op < PKT_OP_MAX) {
			if (h->flags & PKT_DC)
				rx_dc(d, h, data);
			else
				rx_request(d, h, data);
		}
	}
}

static void qp_run(struct qp *q)
{
	bool more = false;
	struct ctx c;

	QTAILQ_REMOVE(&q->d->active, q, work);
	if (!QTAILQ_EMPTY(&q->r.answers)) {
		ctx_qp(&c, q);
		more = responder_run(&c);
	}
	if (requester_run(q) || more)
		qp_kick(q);
}

static void dcr_run(struct dcr *r)
{
	struct dct *t = r->dct;
	struct ctx c;

	QTAILQ_REMOVE(&t->d->active_dcrs, r, work);
	ctx_dcr(&c, r);
	if (responder_run(&c))
		dcr_kick(r);
	else
		dct_check_drained(t->d, t);
}

/* Each that has something to do does a bounded part of it; then the main loop goes on. */
void transport_work(void *opaque)
{
	struct mdev *d = opaque;
	struct qp *q, *last_qp;
	struct dcr *r, *last_dcr;
	bool end;

	if (d->faults.fatal)
		return;
	wire_loop(d, LOOP_BUDGET);
	last_qp = QTAILQ_LAST(&d->active);
	last_dcr = QTAILQ_LAST(&d->active_dcrs);
	for (end = !last_qp; !end;) {
		q = QTAILQ_FIRST(&d->active);
		end = q == last_qp;
		qp_run(q);
	}
	for (end = !last_dcr; !end;) {
		r = QTAILQ_FIRST(&d->active_dcrs);
		if (!r)
			break;
		end = r == last_dcr;
		dcr_run(r);
	}
	if (!QTAILQ_EMPTY(&d->active) || !QTAILQ_EMPTY(&d->active_dcrs))
		work_schedule(d);
}
