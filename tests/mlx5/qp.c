// SPDX-License-Identifier: GPL-2.0-or-later
/* Queue pairs and DC targets: making, changing and ending them. */
#include "mlx5.h"

#define SYNDROME_FILE 6
#define KIND_QP 0 /* of what an event is about */

enum { RQ_OWN = 0, RQ_SRQ = 1, RQ_NONE = 3 }; /* rq_type */

/* Bits of opt_param_mask, and the fields that they let a command change. */
enum {
	OPT_RRE = 1,
	OPT_RAE = 2,
	OPT_RWE = 3,
	OPT_PKEY = 4,
	OPT_QKEY = 5,
	OPT_RNR_TIMER = 6,
	OPT_SRA_MAX = 8,
	OPT_RRA_MAX = 9,
	OPT_PM_STATE = 10,
	OPT_RETRY = 12,
	OPT_RNR_RETRY = 13,
	OPT_ACK_TIMEOUT = 14,
	OPT_PORT = 16,
	OPT_COUNTERS = 25,
};

#define Q(f) F(qpc, f)
#define PATH(f) Q(primary_address_path.f)
#define NO_OPT 0xff
#define KEEP 0xfe

struct change {
	uint8_t opt; /* the bit that it needs, or NO_OPT, or KEEP: zero leaves it as it is */
	struct field f;
};

/* In each state. Datagram queue pairs have the length of messages told in each. */
static const struct change common[] = { { KEEP, Q(pm_state) },
					{ KEEP, Q(rlky) },
					{ KEEP, Q(log_ack_req_freq) },
					{ KEEP, Q(counter_set_id) },
					{ KEEP, Q(mtu) },
					{ KEEP, Q(log_msg_max) },
					{ KEEP, Q(deth_sqpn) },
					{} };

static const struct change to_init[] = { { NO_OPT, PATH(pkey_index) },
					 { NO_OPT, PATH(vhca_port_num) },
					 { NO_OPT, Q(rre) },
					 { NO_OPT, Q(rwe) },
					 { NO_OPT, Q(rae) },
					 { NO_OPT, Q(atomic_mode) },
					 { NO_OPT, Q(q_key) },
					 { KEEP, Q(dbr_addr) },
					 {} };

static const struct change to_rtr[] = {
	{ NO_OPT, Q(remote_qpn) },   { NO_OPT, Q(next_rcv_psn) },
	{ NO_OPT, Q(log_rra_max) },  { NO_OPT, Q(min_rnr_nak) },
	{ NO_OPT, PATH(grh) },	     { NO_OPT, PATH(mlid) },
	{ NO_OPT, PATH(rlid) },	     { NO_OPT, PATH(src_addr_index) },
	{ NO_OPT, PATH(stat_rate) }, { NO_OPT, PATH(hop_limit) },
	{ NO_OPT, PATH(tclass) },    { NO_OPT, PATH(flow_label) },
	{ NO_OPT, PATH(rgid_rip) },  { NO_OPT, PATH(sl) },
	{ NO_OPT, PATH(fl) },	     { KEEP, PATH(vhca_port_num) },
	{ KEEP, PATH(ack_timeout) }, { OPT_PKEY, PATH(pkey_index) },
	{ OPT_RRE, Q(rre) },	     { OPT_RWE, Q(rwe) },
	{ OPT_RAE, Q(rae) },	     { OPT_RAE, Q(atomic_mode) },
	{ OPT_QKEY, Q(q_key) },	     {}
};

static const struct change to_rts[] = { { NO_OPT, Q(next_send_psn) },
					{ NO_OPT, PATH(ack_timeout) },
					{ KEEP, PATH(vhca_port_num) },
					{ NO_OPT, Q(retry_count) },
					{ NO_OPT, Q(rnr_retry) },
					{ NO_OPT, Q(log_sra_max) },
					{ OPT_RRE, Q(rre) },
					{ OPT_RWE, Q(rwe) },
					{ OPT_RAE, Q(rae) },
					{ OPT_RAE, Q(atomic_mode) },
					{ OPT_QKEY, Q(q_key) },
					{ OPT_RNR_TIMER, Q(min_rnr_nak) },
					{ OPT_PKEY, PATH(pkey_index) },
					{} };

static const struct change in_state[] = { { OPT_RRE, Q(rre) },
					  { OPT_RWE, Q(rwe) },
					  { OPT_RAE, Q(rae) },
					  { OPT_RAE, Q(atomic_mode) },
					  { OPT_QKEY, Q(q_key) },
					  { OPT_PKEY, PATH(pkey_index) },
					  { OPT_PORT, PATH(vhca_port_num) },
					  { OPT_RNR_TIMER, Q(min_rnr_nak) },
					  { OPT_ACK_TIMEOUT, PATH(ack_timeout) },
					  { OPT_RETRY, Q(retry_count) },
					  { OPT_RNR_RETRY, Q(rnr_retry) },
					  { OPT_SRA_MAX, Q(log_sra_max) },
					  { OPT_RRA_MAX, Q(log_rra_max) },
					  { KEEP, PATH(vhca_port_num) },
					  {} };

#define OPT_ALL                                                                             \
	(1u << OPT_RRE | 1u << OPT_RAE | 1u << OPT_RWE | 1u << OPT_PKEY | 1u << OPT_QKEY |  \
	 1u << OPT_RNR_TIMER | 1u << OPT_SRA_MAX | 1u << OPT_RRA_MAX | 1u << OPT_PM_STATE | \
	 1u << OPT_RETRY | 1u << OPT_RNR_RETRY | 1u << OPT_ACK_TIMEOUT | 1u << OPT_PORT |   \
	 1u << OPT_COUNTERS)

/* What a change command repeats of how the queue pair was made. */
static const struct field repeated[] = { Q(st), Q(pd), Q(cqn_snd), Q(cqn_rcv), {} };

uint32_t mtu_bytes(uint32_t mtu)
{
	return 128u << mtu;
}

struct qp *qp_get(struct mdev *d, uint32_t n)
{
	struct qp *q = table_get(&d->qps, n);

	return q && !q->is_dct ? q : NULL;
}

struct dct *dct_get(struct mdev *d, uint32_t n)
{
	struct dct *t = table_get(&d->qps, n);

	return t && t->is_dct ? t : NULL;
}

static void errors_remove(struct qp *q)
{
	if (QTAILQ_IN_USE(q, errors))
		QTAILQ_REMOVE(&q->d->errors, q, errors);
}

static void qp_release(struct qp *q)
{
	requester_reset(q);
	responder_clear(&q->r);
	errors_remove(q);
	if (QTAILQ_IN_USE(q, work))
		QTAILQ_REMOVE(&q->d->active, q, work);
	if (q->timer)
		timer_free(q->timer);
	if (q->pd)
		q->pd->o.refs--;
	if (q->cq_send)
		q->cq_send->o.refs--;
	if (q->cq_recv)
		q->cq_recv->o.refs--;
	if (q->srq)
		q->srq->o.refs--;
	if (q->xrcd)
		q->xrcd->refs--;
	ring_free(&q->ring);
	g_free(q);
}

static void dct_release(struct dct *t)
{
	struct dcr *r;

	while ((r = QTAILQ_FIRST(&t->conns)))
		dcr_free(r);
	if (t->pd)
		t->pd->o.refs--;
	if (t->srq)
		t->srq->o.refs--;
	if (t->cq)
		t->cq->o.refs--;
	g_free(t);
}

void qp_free(void *p)
{
	struct dct *t = p;

	if (t->is_dct)
		dct_release(t);
	else
		qp_release(p);
}

/*
 * All that is queued comes back as flushed; so does what is posted later, until the queue pair is
 * reset.
 */
void qp_set_error(struct qp *q)
{
	if (q->state == MLX5_QPC_STATE_ERR)
		return;
	q->state = MLX5_QPC_STATE_ERR;
	mlog(q->d, "QP 0x%x is in error", q->o.n);
	responder_reset(&q->r, 0);
	qp_kick(q);
	if (q->has_rq) {
		if (!QTAILQ_IN_USE(q, errors))
			QTAILQ_INSERT_TAIL(&q->d->errors, q, errors);
		errors_poll(q->d);
	} else if (q->srq && q->st != MLX5_QPC_ST_DCI) {
		eq_event_object(q->d, EVENT_SRQ_LAST_WQE, q->o.n, KIND_QP);
	}
}

static bool st_known(uint32_t st)
{
	return st == MLX5_QPC_ST_RC || st == MLX5_QPC_ST_UC || st == MLX5_QPC_ST_UD ||
	       st == MLX5_QPC_ST_XRC || st == MLX5_QPC_ST_DCI || st == MLX5_QPC_ST_QP0 ||
	       st == MLX5_QPC_ST_QP1 || st == MLX5_QPC_ST_REG_UMR;
}

static int qp_init(struct cmd *c, struct qp *q)
{
	struct mdev *d = c->d;
	uint8_t *x = q->context;
	uint32_t pdn = GET(qpc, x, pd), cqs = GET(qpc, x, cqn_snd), cqr = GET(qpc, x, cqn_rcv),
		 type = GET(qpc, x, rq_type);
	uint32_t srqn = GET(qpc, x, srqn_rmpn_xrqn), xrcdn = GET(qpc, x, xrcd);
	uint64_t rq_bytes = 0, sq_bytes = 0;

	q->st = GET(qpc, x, st);
	if (!st_known(q->st))
		return refuse(c, STAT_BAD_PARAM, "service type 0x%x is not implemented", q->st);
	if (GET(qpc, x, state))
		return refuse(c, STAT_BAD_PARAM, "a state other than reset");
	if (type != RQ_OWN && type != RQ_SRQ && type != RQ_NONE)
		return refuse(c, STAT_BAD_PARAM, "rq_type %u is not implemented", type);
	/* A queue pair for UMR alone gets its protection domain when it leaves the reset state. */
	if (pdn || q->st != MLX5_QPC_ST_REG_UMR) {
		q->pd = table_get(&d->pds, pdn);
		if (!q->pd)
			return refuse(c, STAT_BAD_RES, "PD 0x%x", pdn);
		q->pd->o.refs++;
	}
	q->cq_send = table_get(&d->cqs, cqs);
	if (!q->cq_send)
		return refuse(c, STAT_BAD_RES, "CQ 0x%x", cqs);
	q->cq_send->o.refs++;
	q->cq_recv = table_get(&d->cqs, cqr);
	if (!q->cq_recv)
		return refuse(c, STAT_BAD_RES, "CQ 0x%x", cqr);
	q->cq_recv->o.refs++;
	q->has_sq = !GET(qpc, x, no_sq);
	q->has_rq = type == RQ_OWN && q->st != MLX5_QPC_ST_REG_UMR && q->st != MLX5_QPC_ST_DCI &&
		    q->st != MLX5_QPC_ST_XRC;
	if (type == RQ_OWN && !q->has_rq &&
	    (GET(qpc, x, log_rq_size) || GET(qpc, x, log_rq_stride)))
		return refuse(c, STAT_BAD_PARAM, "a receive queue on a service that has none");
	/* Drivers name default ones where none is used. */
	if (srqn) {
		struct srq *s = table_get(&d->srqs, srqn);

		if (!s)
			return refuse(c, STAT_BAD_RES, "SRQ 0x%x", srqn);
		q->srq = s;
		s->o.refs++;
	} else if (type == RQ_SRQ) {
		return refuse(c, STAT_BAD_RES, "SRQ 0x%x", srqn);
	}
	if (xrcdn) {
		q->xrcd = table_get(&d->xrcds, xrcdn);
		if (!q->xrcd)
			return refuse(c, STAT_BAD_RES, "XRCD 0x%x", xrcdn);
		q->xrcd->refs++;
	}
	q->dbr = GET(qpc, x, dbr_addr);
	if (q->dbr % 8)
		return refuse(c, STAT_BAD_PARAM, "doorbell record at 0x%" PRIx64, q->dbr);
	q->uar = GET(qpc, x, uar_page);
	if (q->has_sq && !uar_valid(d, q->uar))
		return refuse(c, STAT_BAD_RES, "UAR 0x%x", q->uar);
	q->log_sq = GET(qpc, x, log_sq_size);
	q->log_rq = GET(qpc, x, log_rq_size);
	q->rq_stride = 16 << GET(qpc, x, log_rq_stride);
	if (q->has_rq)
		rq_bytes = (uint64_t)q->rq_stride << q->log_rq;
	if (q->has_sq)
		sq_bytes = 64ull << q->log_sq;
	q->sq_offset = rq_bytes;
	if (rq_bytes || sq_bytes)
		return ring_init(c, &q->ring, rq_bytes + sq_bytes, GET(qpc, x, log_page_size),
				 GET(qpc, x, page_offset), c->in + SZ(create_qp_in));
	return STAT_OK;
}

static int cmd_create_qp(struct cmd *c)
{
	struct mdev *d = c->d;
	struct qp *q = g_new0(struct qp, 1);
	int err;

	q->d = d;
	QTAILQ_INIT(&q->wrs);
	responder_reset(&q->r, 0);
	memcpy(q->context, ADDR(create_qp_in, c->in, qpc), SZ(qpc));
	err = qp_init(c, q);
	if (!err) {
		q->o.n = table_add(&d->qps, q);
		if (!q->o.n)
			err = refuse(c, STAT_NO_RES, "all QPs are in use");
	}
	if (err) {
		qp_release(q);
		return err;
	}
	q->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, requester_timer, q);
	SET(create_qp_out, c->out, qpn, q->o.n);
	snprintf(c->why, sizeof(c->why), "QP 0x%x, service type 0x%x, PD 0x%x", q->o.n, q->st,
		 (int)QPC(q, pd));
	return STAT_OK;
}

static struct qp *qp_of(struct cmd *c, uint32_t n)
{
	struct qp *q = qp_get(c->d, n);

	if (!q)
		refuse(c, STAT_BAD_RES, "QP 0x%x", n);
	else
		snprintf(c->why, sizeof(c->why), "QP 0x%x", n);
	return q;
}

static int cmd_destroy_qp(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(destroy_qp_in, c->in, qpn));

	if (!q)
		return STAT_BAD_RES;
	table_remove(&c->d->qps, q->o.n);
	qp_release(q);
	return STAT_OK;
}

static int cmd_query_qp(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(query_qp_in, c->in, qpn));
	uint8_t *x = ADDR(query_qp_out, c->out, qpc);

	if (!q)
		return STAT_BAD_RES;
	memcpy(x, q->context, SZ(qpc));
	SET(qpc, x, state, q->state);
	if (q->state >= MLX5_QPC_STATE_RTS && q->state != MLX5_QPC_STATE_ERR)
		SET(qpc, x, next_send_psn, q->psn);
	if (q->state >= MLX5_QPC_STATE_RTR && q->state != MLX5_QPC_STATE_ERR)
		SET(qpc, x, next_rcv_psn, q->r.psn);
	SET(qpc, x, hw_sq_wqebb_counter, q->fetched);
	SET(qpc, x, hw_rq_counter, q->rq_taken);
	return STAT_OK;
}

static int bad_state(struct cmd *c, const struct qp *q)
{
	return refuse(c, STAT_BAD_QP_STATE, "QP 0x%x is in state %u", q->o.n, q->state);
}

static void change_clear(uint8_t *left, const struct change *h)
{
	for (; h->f.bits; h++)
		field_clear(left, &h->f);
}

static void change_apply(uint8_t *context, const uint8_t *in, const struct change *h, uint32_t opt)
{
	for (; h->f.bits; h++)
		if (h->opt == KEEP ? bits_get(in, h->f.offset, h->f.bits) != 0 :
				     h->opt == NO_OPT || opt & 1u << h->opt)
			field_copy(context, in, &h->f);
}

/*
 * Fields that this change may set go into the context; all others must be zero, or as they are
 * where a driver repeats them.
 */
static int qp_merge(struct cmd *c, struct qp *q, const struct change *changes)
{
	const uint8_t *in = ADDR(init2rtr_qp_in, c->in, qpc);
	uint32_t opt = GET(init2rtr_qp_in, c->in, opt_param_mask), i;
	g_autofree uint8_t *left = g_memdup2(in, SZ(qpc));
	const struct field *f;

	if (q->st == MLX5_QPC_ST_REG_UMR && !q->pd) {
		q->pd = table_get(&c->d->pds, GET(qpc, in, pd));
		if (!q->pd)
			return refuse(c, STAT_BAD_RES, "PD 0x%x", (int)GET(qpc, in, pd));
		q->pd->o.refs++;
		SET(qpc, q->context, pd, q->pd->o.n);
	}
	if (opt & ~OPT_ALL)
		return refuse(c, STAT_BAD_PARAM, "opt_param_mask 0x%x", opt);
	for (f = repeated; f->bits; f++) {
		uint64_t v = bits_get(in, f->offset, f->bits);
		bool must = f == &repeated[0] || f == &repeated[1];

		if ((v || must) && v != bits_get(q->context, f->offset, f->bits))
			return refuse(c, STAT_BAD_PARAM,
				      "st, pd or CQs are not those of QP 0x%x: 0x%" PRIx64
				      " at bit 0x%x",
				      q->o.n, v, f->offset);
		field_clear(left, f);
	}
	change_clear(left, common);
	change_clear(left, changes);
	for (i = 0; i < SZ(qpc); i += 4)
		if (ldl_be_p(left + i))
			return refuse(
				c, STAT_BAD_PARAM,
				"QP context: bits 0x%08x at 0x%x may not be set in this state",
				ldl_be_p(left + i), i);
	if (q->st != MLX5_QPC_ST_QP0 && GET(qpc, in, primary_address_path.vhca_port_num) > 1)
		return refuse(c, STAT_BAD_PARAM, "port");
	change_apply(q->context, in, common, opt);
	change_apply(q->context, in, changes, opt);
	return STAT_OK;
}

static int cmd_rst2init(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(rst2init_qp_in, c->in, qpn));
	int err;

	if (!q)
		return STAT_BAD_RES;
	if (q->state != MLX5_QPC_STATE_RST)
		return bad_state(c, q);
	if (GET(rst2init_qp_in, c->in, qpc.dbr_addr) &&
	    GET(rst2init_qp_in, c->in, qpc.dbr_addr) != q->dbr)
		return refuse(c, STAT_BAD_PARAM, "another doorbell record");
	if (GET(rst2init_qp_in, c->in, qpc.primary_address_path.vhca_port_num) != 1)
		return refuse(c, STAT_BAD_PARAM, "port %u",
			      (int)GET(rst2init_qp_in, c->in,
				       qpc.primary_address_path.vhca_port_num));
	err = qp_merge(c, q, to_init);
	if (!err)
		q->state = MLX5_QPC_STATE_INIT;
	return err;
}

static int change_in_state(struct cmd *c, uint8_t state)
{
	struct qp *q = qp_of(c, GET(init2rtr_qp_in, c->in, qpn));

	if (!q)
		return STAT_BAD_RES;
	if (q->state != state)
		return bad_state(c, q);
	return qp_merge(c, q, in_state);
}

static int cmd_init2init(struct cmd *c)
{
	return change_in_state(c, MLX5_QPC_STATE_INIT);
}

static int cmd_init2rtr(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(init2rtr_qp_in, c->in, qpn));
	uint32_t mtu = GET(init2rtr_qp_in, c->in, qpc.mtu);
	int err;

	if (!q)
		return STAT_BAD_RES;
	if (q->state != MLX5_QPC_STATE_INIT)
		return bad_state(c, q);
	if (q->st != MLX5_QPC_ST_REG_UMR &&
	    (mtu < MLX5_QPC_MTU_256_BYTES || mtu > MLX5_QPC_MTU_4K_BYTES))
		return refuse(c, STAT_BAD_PARAM, "MTU %u", mtu);
	if (GET(init2rtr_qp_in, c->in, qpc.log_msg_max) > LOG_MAX_MSG)
		return refuse(c, STAT_BAD_PARAM, "log_msg_max");
	if (GET(init2rtr_qp_in, c->in, qpc.log_rra_max) >
	    GET(cmd_hca_cap, c->d->caps_cur, log_max_ra_res_qp))
		return refuse(c, STAT_BAD_PARAM, "log_rra_max");
	if (qp_is_connected(q) && !GET(init2rtr_qp_in, c->in, qpc.primary_address_path.rlid))
		return refuse(c, STAT_BAD_PARAM, "no remote LID");
	err = qp_merge(c, q, to_rtr);
	if (err)
		return err;
	responder_reset(&q->r, QPC(q, next_rcv_psn));
	q->state = MLX5_QPC_STATE_RTR;
	return STAT_OK;
}

static int cmd_rtr2rts(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(rtr2rts_qp_in, c->in, qpn));
	uint32_t cap;
	int err;

	if (!q)
		return STAT_BAD_RES;
	if (q->state != MLX5_QPC_STATE_RTR)
		return bad_state(c, q);
	cap = q->st == MLX5_QPC_ST_DCI ? GET(cmd_hca_cap, c->d->caps_cur, log_max_ra_req_dc) :
					 GET(cmd_hca_cap, c->d->caps_cur, log_max_ra_req_qp);
	if (GET(rtr2rts_qp_in, c->in, qpc.log_sra_max) > cap)
		return refuse(c, STAT_BAD_PARAM, "log_sra_max");
	err = qp_merge(c, q, to_rts);
	if (err)
		return err;
	q->psn = QPC(q, next_send_psn);
	q->una = q->psn;
	q->retries = QPC(q, retry_count);
	q->rnr_retries = QPC(q, rnr_retry);
	q->state = MLX5_QPC_STATE_RTS;
	qp_kick(q);
	return STAT_OK;
}

static int cmd_rts2rts(struct cmd *c)
{
	return change_in_state(c, MLX5_QPC_STATE_RTS);
}

static int cmd_2err(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(qp_2err_in, c->in, qpn));

	if (!q)
		return STAT_BAD_RES;
	if (q->state == MLX5_QPC_STATE_RST)
		return bad_state(c, q);
	qp_set_error(q);
	return STAT_OK;
}

static int cmd_2rst(struct cmd *c)
{
	struct qp *q = qp_of(c, GET(qp_2rst_in, c->in, qpn));

	if (!q)
		return STAT_BAD_RES;
	requester_reset(q);
	responder_reset(&q->r, 0);
	errors_remove(q);
	q->rq_taken = 0;
	q->state = MLX5_QPC_STATE_RST;
	return STAT_OK;
}

static int cmd_create_dct(struct cmd *c)
{
	struct mdev *d = c->d;
	uint8_t *x = ADDR(create_dct_in, c->in, dct_context_entry);
	uint32_t pdn = GET(dctc, x, pd), srqn = GET(dctc, x, srqn_xrqn), cqn = GET(dctc, x, cqn),
		 mtu = GET(dctc, x, mtu), set = GET(dctc, x, counter_set_id);
	struct pd *pd = table_get(&d->pds, pdn);
	struct srq *s = table_get(&d->srqs, srqn);
	struct cq *cq = table_get(&d->cqs, cqn);
	struct dct *t;

	if (!pd)
		return refuse(c, STAT_BAD_RES, "PD 0x%x", pdn);
	if (!s)
		return refuse(c, STAT_BAD_RES, "SRQ 0x%x", srqn);
	if (!cq)
		return refuse(c, STAT_BAD_RES, "CQ 0x%x", cqn);
	if (set && !table_get(&d->counter_sets, set))
		return refuse(c, STAT_BAD_RES, "set of counters %u", set);
	if (GET(dctc, x, port) != 1)
		return refuse(c, STAT_BAD_PARAM, "port %u", (int)GET(dctc, x, port));
	if (mtu < MLX5_DCTC_MTU_256_BYTES || mtu > MLX5_DCTC_MTU_4K_BYTES)
		return refuse(c, STAT_BAD_PARAM, "MTU %u", mtu);
	t = g_new0(struct dct, 1);
	t->d = d;
	t->is_dct = true;
	QTAILQ_INIT(&t->conns);
	memcpy(t->context, x, MIN(sizeof(t->context), SZ(dctc)));
	t->key = GET(dctc, x, dc_access_key);
	t->pd = pd;
	pd->o.refs++;
	t->srq = s;
	s->o.refs++;
	t->cq = cq;
	cq->o.refs++;
	t->o.n = table_add(&d->qps, t);
	if (!t->o.n) {
		dct_release(t);
		return refuse(c, STAT_NO_RES, "all QPs are in use");
	}
	SET(create_dct_out, c->out, dctn, t->o.n);
	snprintf(c->why, sizeof(c->why), "DCT 0x%x, PD 0x%x", t->o.n, pdn);
	return STAT_OK;
}

static struct dct *dct_of(struct cmd *c, uint32_t n)
{
	struct dct *t = dct_get(c->d, n);

	if (!t)
		refuse(c, STAT_BAD_RES, "DCT 0x%x", n);
	else
		snprintf(c->why, sizeof(c->why), "DCT 0x%x", n);
	return t;
}

/* Its connections are over once all that is owed to them has been sent. */
void dct_check_drained(struct mdev *d, struct dct *t)
{
	struct dcr *r, *next;

	if (t->state != MLX5_DCTC_STATE_DRAINING)
		return;
	QTAILQ_FOREACH_SAFE(r, &t->conns, list, next)
		if (QTAILQ_EMPTY(&r->r.answers))
			dcr_free(r);
	if (QTAILQ_EMPTY(&t->conns)) {
		t->state = MLX5_DCTC_STATE_DRAINED;
		eq_event_object(d, EVENT_DCT_DRAINED, t->o.n, 0);
	}
}

static int cmd_drain_dct(struct cmd *c)
{
	struct dct *t = dct_of(c, GET(drain_dct_in, c->in, dctn));

	if (!t)
		return STAT_BAD_RES;
	if (t->state != MLX5_DCTC_STATE_ACTIVE)
		return refuse(c, STAT_BAD_RES_STATE, "DCT 0x%x is not active", t->o.n);
	t->state = MLX5_DCTC_STATE_DRAINING;
	dct_check_drained(c->d, t);
	return STAT_OK;
}

static int cmd_destroy_dct(struct cmd *c)
{
	struct dct *t = dct_of(c, GET(destroy_dct_in, c->in, dctn));

	if (!t)
		return STAT_BAD_RES;
	if (t->state != MLX5_DCTC_STATE_DRAINED)
		return refuse(c, STAT_BAD_RES_STATE, "DCT 0x%x is not drained", t->o.n);
	table_remove(&c->d->qps, t->o.n);
	dct_release(t);
	return STAT_OK;
}

static int cmd_query_dct(struct cmd *c)
{
	struct dct *t = dct_of(c, GET(query_dct_in, c->in, dctn));
	uint8_t *x = ADDR(query_dct_out, c->out, dct_context_entry);

	if (!t)
		return STAT_BAD_RES;
	memcpy(x, t->context, MIN(sizeof(t->context), SZ(dctc)));
	SET(dctc, x, state, t->state);
	SET(dctc, x, dc_access_key_violation_count, t->violations);
	return STAT_OK;
}

#define X(f) F(create_qp_in, qpc.f)
static const struct field create_qp_fields[] = { X(st),
						 X(pm_state),
						 X(block_lb_mc),
						 X(latency_sensitive),
						 X(pd),
						 X(log_rq_size),
						 X(log_rq_stride),
						 X(no_sq),
						 X(log_sq_size),
						 X(retry_mode),
						 X(ts_format),
						 X(rlky),
						 X(uar_page),
						 X(user_index),
						 X(log_page_size),
						 X(fre),
						 X(cqn_snd),
						 X(deth_sqpn),
						 X(page_offset),
						 X(xrcd),
						 X(cqn_rcv),
						 X(dbr_addr),
						 X(rq_type),
						 X(srqn_rmpn_xrqn),
						 X(cs_req),
						 X(cs_res),
						 {} };
#undef X
/* The context of a change is looked at field by field, see qp_merge(). */
static const struct field change_qp_fields[] = { F(init2rtr_qp_in, qpn),
						 F(init2rtr_qp_in, opt_param_mask),
						 F(init2rtr_qp_in, qpc),
						 {} };
static const struct field qpn_fields[] = { F(destroy_qp_in, qpn), {} };
#define X(f) F(create_dct_in, dct_context_entry.f)
static const struct field create_dct_fields[] = {
	X(user_index), X(cqn),	      X(counter_set_id), X(atomic_mode),   X(rre),
	X(rwe),	       X(rae),	      X(cs_res),	 X(min_rnr_nak),   X(srqn_xrqn),
	X(pd),	       X(tclass),     X(flow_label),	 X(dc_access_key), X(mtu),
	X(port),       X(pkey_index), X(my_addr_index),	 X(hop_limit),	   {}
};
#undef X
static const struct field dctn_fields[] = { F(destroy_dct_in, dctn), {} };

#define CHANGE(op, name, run) \
	CMD(MLX5_CMD_OP_##op, name, WHEN_READY, TAIL_NONE, run, change_qp_fields)
const struct cmd_def qp_cmds[] = {
	CMD(MLX5_CMD_OP_CREATE_QP, create_qp, WHEN_READY, TAIL_PAS, cmd_create_qp,
	    create_qp_fields),
	CMD(MLX5_CMD_OP_DESTROY_QP, destroy_qp, WHEN_READY, TAIL_NONE, cmd_destroy_qp, qpn_fields),
	{ MLX5_CMD_OP_QUERY_QP, "query_qp", SZ(query_qp_in), 24 + SZ(qpc), TAIL_NONE, WHEN_READY,
	  cmd_query_qp, qpn_fields },
	CHANGE(RST2INIT_QP, rst2init_qp, cmd_rst2init),
	CHANGE(INIT2INIT_QP, init2init_qp, cmd_init2init),
	CHANGE(INIT2RTR_QP, init2rtr_qp, cmd_init2rtr),
	CHANGE(RTR2RTS_QP, rtr2rts_qp, cmd_rtr2rts),
	CHANGE(RTS2RTS_QP, rts2rts_qp, cmd_rts2rts),
	CMD(MLX5_CMD_OP_2ERR_QP, qp_2err, WHEN_READY, TAIL_NONE, cmd_2err, qpn_fields),
	CMD(MLX5_CMD_OP_2RST_QP, qp_2rst, WHEN_READY, TAIL_NONE, cmd_2rst, qpn_fields),
	CMD(MLX5_CMD_OP_CREATE_DCT, create_dct, WHEN_READY, TAIL_NONE, cmd_create_dct,
	    create_dct_fields),
	CMD(MLX5_CMD_OP_DRAIN_DCT, drain_dct, WHEN_READY, TAIL_NONE, cmd_drain_dct, dctn_fields),
	CMD(MLX5_CMD_OP_DESTROY_DCT, destroy_dct, WHEN_READY, TAIL_NONE, cmd_destroy_dct,
	    dctn_fields),
	CMD(MLX5_CMD_OP_QUERY_DCT, query_dct, WHEN_READY, TAIL_NONE, cmd_query_dct, dctn_fields),
	{}
};
