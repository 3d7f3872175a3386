// SPDX-License-Identifier: GPL-2.0-or-later
/* Work queues: what is posted to them, and how it is completed. */
#include "mlx5.h"
#include <infiniband/mlx5dv.h>

#define BB 64 /* a basic block of the send queue */
#define SEG 16
#define AV_EXTENDED 48
#define ERRORS_POLL_MS 2

enum { DBR_RECV = 0, DBR_SEND = 4 };
enum { CE_ALWAYS = 1 << 3, SOLICITED = 1 << 1 };

uint32_t mtu_of(const struct qp *q)
{
	return mtu_bytes(QPC(q, mtu));
}

bool qp_is_datagram(const struct qp *q)
{
	return q->st == MLX5_QPC_ST_UD || q->st == MLX5_QPC_ST_QP1 || q->st == MLX5_QPC_ST_QP0;
}

bool qp_is_connected(const struct qp *q)
{
	return q->st == MLX5_QPC_ST_RC || q->st == MLX5_QPC_ST_UC || q->st == MLX5_QPC_ST_XRC;
}

bool wr_is_atomic(const struct wr *w)
{
	return w->opcode == MLX5_OPCODE_ATOMIC_CS || w->opcode == MLX5_OPCODE_ATOMIC_FA;
}

bool wr_has_answer(const struct wr *w)
{
	return w->opcode == MLX5_OPCODE_RDMA_READ || wr_is_atomic(w);
}

void sq_doorbell(struct mdev *d, uint32_t page, uint32_t qpn)
{
	struct qp *q = qp_get(d, qpn);

	if (!q || !q->has_sq || q->uar != page) {
		mlog(d, "doorbell of QP 0x%x in UAR 0x%x, which is not its own", qpn, page);
		return;
	}
	qp_kick(q);
}

void wr_free(struct wr *w)
{
	g_free(w->inl);
	g_free(w);
}

static bool op_allowed(const struct qp *q, uint8_t op)
{
	switch (op) {
	case MLX5_OPCODE_NOP:
		return true;
	case MLX5_OPCODE_UMR:
		return q->st == MLX5_QPC_ST_REG_UMR || q->st == MLX5_QPC_ST_RC;
	case MLX5_OPCODE_SEND:
	case MLX5_OPCODE_SEND_IMM:
		return q->st != MLX5_QPC_ST_REG_UMR;
	case MLX5_OPCODE_RDMA_WRITE:
	case MLX5_OPCODE_RDMA_WRITE_IMM:
		return !qp_is_datagram(q) && q->st != MLX5_QPC_ST_REG_UMR;
	case MLX5_OPCODE_SEND_INVAL:
	case MLX5_OPCODE_RDMA_READ:
	case MLX5_OPCODE_ATOMIC_CS:
	case MLX5_OPCODE_ATOMIC_FA:
		return q->st == MLX5_QPC_ST_RC || q->st == MLX5_QPC_ST_DCI ||
		       q->st == MLX5_QPC_ST_XRC;
	}
	return false;
}

/* The address of a datagram or DC request; how long it is, 0: too short a request. */
static uint32_t av_parse(struct av *a, const uint8_t *p, uint32_t left)
{
	const struct mlx5_wqe_av *v = (const void *)p;

	if (left < SEG)
		return 0;
	a->dc_key = ldq_be_p(p);
	a->qkey = ldl_be_p(p);
	a->qpn = ldl_be_p(&v->dqp_dct);
	a->sl = v->stat_rate_sl & 0xf;
	a->dlid = lduw_be_p(&v->rlid);
	if (!(a->qpn & MLX5_EXTENDED_UD_AV))
		return SEG;
	a->qpn &= 0xffffff;
	if (left < AV_EXTENDED)
		return 0;
	a->grh = ldl_be_p(&v->grh_gid_fl) >> 30 & 1;
	a->flow = ldl_be_p(&v->grh_gid_fl) & 0xfffff;
	a->tclass = v->tclass;
	a->hop_limit = v->hop_limit;
	memcpy(a->gid, v->rgid, sizeof(a->gid));
	return AV_EXTENDED;
}

static uint8_t data_parse(struct wr *w, const uint8_t *p, uint32_t left)
{
	while (left >= SEG) {
		uint32_t n = ldl_be_p(p), size;

		if (n & MLX5_INLINE_SEG) {
			n &= ~MLX5_INLINE_SEG;
			size = ROUND_UP(n + 4, SEG);
			if (n > MAX_WQE || size > left || w->nsge)
				return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
			w->inl = g_realloc(w->inl, w->inl_len + n + 1);
			memcpy(w->inl + w->inl_len, p + 4, n);
			w->inl_len += n;
			w->len += n;
		} else {
			struct sge *s = &w->sge[w->nsge];

			size = SEG;
			if (w->inl || w->nsge == MAX_SGE)
				return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
			s->len = n;
			s->lkey = ldl_be_p(p + 4);
			s->addr = ldq_be_p(p + 8);
			w->nsge++;
			if (n > (1u << LOG_MAX_MSG) - w->len)
				return MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR;
			w->len += n;
		}
		p += size;
		left -= size;
	}
	return 0;
}

/* What the request asks for; the syndrome if it is none that can be carried out. */
static uint8_t wqe_parse(struct qp *q, struct wr *w, const uint8_t *p, uint32_t left)
{
	uint32_t n;
	uint8_t err;

	if (!op_allowed(q, w->opcode))
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	if (w->opcode == MLX5_OPCODE_NOP)
		return 0;
	if (w->opcode == MLX5_OPCODE_UMR) {
		w->inl = g_memdup2(p, left);
		w->inl_len = left;
		return 0;
	}
	if (q->st == MLX5_QPC_ST_DCI || qp_is_datagram(q)) {
		n = av_parse(&w->av, p, left);
		if (!n)
			return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
		p += n;
		left -= n;
	}
	if (q->st == MLX5_QPC_ST_XRC) {
		if (left < SEG)
			return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
		w->qpn = ldl_be_p(p);
		p += SEG;
		left -= SEG;
	}
	switch (w->opcode) {
	case MLX5_OPCODE_RDMA_WRITE:
	case MLX5_OPCODE_RDMA_WRITE_IMM:
	case MLX5_OPCODE_RDMA_READ:
	case MLX5_OPCODE_ATOMIC_CS:
	case MLX5_OPCODE_ATOMIC_FA:
		if (left < SEG)
			return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
		w->raddr = ldq_be_p(p);
		w->rkey = ldl_be_p(p + 8);
		p += SEG;
		left -= SEG;
	}
	if (wr_is_atomic(w)) {
		if (left < SEG)
			return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
		w->swap = ldq_be_p(p);
		w->compare = ldq_be_p(p + 8);
		p += SEG;
		left -= SEG;
	}
	err = data_parse(w, p, left);
	if (err)
		return err;
	if (w->inl && wr_has_answer(w))
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	if (wr_is_atomic(w) && w->len != 8)
		return MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR;
	if (w->len > mtu_of(q) && qp_is_datagram(q))
		return MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR;
	return 0;
}

static void wqe_trace(const struct qp *q, const struct wr *w, const uint8_t *b, uint32_t len)
{
	GString *line = g_string_new(NULL);

	g_string_printf(line, "wqe %06x %u ", q->o.n, w->index);
	trace_hex(line, b, len);
	trace_write(q->d, line);
}

/*
 * The next request of the send queue, NULL: nothing is posted. One that is broken has its syndrome
 * set.
 */
struct wr *sq_fetch(struct qp *q)
{
	uint16_t posted = (uint16_t)dma_get_be32(q->d, q->dbr + DBR_SEND) - q->fetched;
	uint32_t size = 1u << q->log_sq, ds, n, i;
	uint8_t b[MAX_WQE];
	struct wr *w;

	if (!posted)
		return NULL;
	ring_get(q->d, &q->ring, q->sq_offset + (uint64_t)(q->fetched & (size - 1)) * BB, b, BB);
	ds = b[7] & 0x3f;
	n = DIV_ROUND_UP(ds, BB / SEG);
	w = g_new0(struct wr, 1);
	w->index = q->fetched;
	w->opcode = b[3];
	w->fence = b[11] >> 5;
	w->signaled = b[11] & CE_ALWAYS;
	w->solicited = b[11] & SOLICITED;
	w->imm = ldl_be_p(b + 12);
	w->npsn = 1;
	if (!ds || n > MIN(posted, size) || ldl_be_p(b + 4) >> 8 != q->o.n ||
	    lduw_be_p(b + 1) != q->fetched || b[0]) {
		mlog(q->d,
		     "QP 0x%x: request 0x%x has ds %u, QP 0x%x, index 0x%x, opmod 0x%x, of 0x%x",
		     q->o.n, q->fetched, ds, ldl_be_p(b + 4) >> 8, lduw_be_p(b + 1), b[0], posted);
		w->syndrome = MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
		q->fetched++;
		return w;
	}
	for (i = 1; i < n; i++)
		ring_get(q->d, &q->ring,
			 q->sq_offset + (uint64_t)((q->fetched + i) & (size - 1)) * BB, b + i * BB,
			 BB);
	q->fetched += n;
	if (q->d->trace >= 0)
		wqe_trace(q, w, b, ds * SEG);
	w->syndrome = wqe_parse(q, w, b + SEG, ds * SEG - SEG);
	if (w->syndrome)
		mlog(q->d, "QP 0x%x: request 0x%x with opcode 0x%x, ds %u: syndrome 0x%x", q->o.n,
		     w->index, w->opcode, ds, w->syndrome);
	if (w->len && q->state == MLX5_QPC_STATE_RTS && q->st != MLX5_QPC_ST_REG_UMR)
		w->npsn = DIV_ROUND_UP(w->len, mtu_of(q));
	return w;
}

uint64_t sge_len(const struct sge *sge, int nsge)
{
	uint64_t len = 0;
	int i;

	for (i = 0; i < nsge; i++)
		len += sge[i].len;
	return len;
}

/* Between a list of memory and a buffer; false: a key does not open it. */
bool sge_copy(struct mdev *d, const struct pd *pd, const struct sge *sge, int nsge, uint64_t offset,
	      void *p, uint32_t len, bool write)
{
	int i;

	for (i = 0; i < nsge && len; i++) {
		uint32_t n;

		if (offset >= sge[i].len) {
			offset -= sge[i].len;
			continue;
		}
		n = MIN(len, sge[i].len - offset);
		if (!mkey_copy(d, sge[i].lkey, pd, sge[i].addr + offset, p, n,
			       write ? ACCESS_LW : ACCESS_LR))
			return false;
		p += n;
		len -= n;
		offset = 0;
	}
	return !len;
}

static void recv_parse(struct recv *r, const uint8_t *p, uint32_t left)
{
	for (r->nsge = 0; left >= SEG && r->nsge < MAX_SGE; p += SEG, left -= SEG) {
		struct sge *s = &r->sge[r->nsge];

		s->len = ldl_be_p(p);
		s->lkey = ldl_be_p(p + 4);
		s->addr = ldq_be_p(p + 8);
		if (s->lkey == RESERVED_LKEY)
			break;
		if (s->len)
			r->nsge++;
	}
}

/* The next entry to receive into, of a shared queue or of its own; false: none is posted. */
bool rq_take(struct mdev *d, struct qp *q, struct srq *s, struct recv *r)
{
	uint8_t b[512 * 16];

	if (s) {
		uint32_t skip = s->cyclic ? 0 : SEG;

		if ((uint16_t)dma_get_be32(d, s->dbr) == s->taken)
			return false;
		r->index = s->cyclic ? s->taken & ((1u << s->log) - 1) :
				       s->head & ((1u << s->log) - 1);
		ring_get(d, &s->ring, (uint64_t)r->index * s->stride, b, s->stride);
		s->head = lduw_be_p(b + 2);
		s->taken++;
		recv_parse(r, b + skip, s->stride - skip);
		srq_limit_check(d, s);
		return true;
	}
	if ((uint16_t)dma_get_be32(d, q->dbr + DBR_RECV) == q->rq_taken)
		return false;
	r->index = q->rq_taken++;
	ring_get(d, &q->ring, (uint64_t)(r->index & ((1u << q->log_rq) - 1)) * q->rq_stride, b,
		 q->rq_stride);
	recv_parse(r, b, q->rq_stride);
	return true;
}

static void cqe_error(uint8_t *e, uint8_t syndrome)
{
	struct mlx5_err_cqe *x = (void *)e;

	x->syndrome = syndrome;
	x->vendor_err_synd = syndrome == MLX5_CQE_SYNDROME_WR_FLUSH_ERR ? 0xf9 : 0x80 | syndrome;
}

void cqe_req(struct qp *q, const struct wr *w, uint8_t syndrome)
{
	uint8_t e[64] = { 0 };
	struct mlx5_cqe64 *c = (void *)e;

	stl_be_p(&c->srqn_uidx, QPC(q, user_index));
	stl_be_p(&c->sop_drop_qpn, (uint32_t)w->opcode << 24 | q->o.n);
	stw_be_p(&c->wqe_counter, w->index);
	if (syndrome) {
		cqe_error(e, syndrome);
		q->d->cnt.req_cqe_err++;
		q->d->cnt.req_flush += syndrome == MLX5_CQE_SYNDROME_WR_FLUSH_ERR;
	} else {
		stl_be_p(&c->byte_cnt, w->len);
	}
	c->op_own = (syndrome ? MLX5_CQE_REQ_ERR : MLX5_CQE_REQ) << 4;
	cq_push(q->d, q->cq_send, e, syndrome || w->solicited);
}

void cqe_resp(struct mdev *d, struct cq *cq, uint32_t uidx, uint32_t qpn, const struct pkt *h,
	      uint8_t op, uint32_t len, uint16_t wqe, bool solicited)
{
	uint8_t e[64] = { 0 };
	struct mlx5_cqe64 *c = (void *)e;

	stl_be_p(&c->srqn_uidx, uidx);
	stl_be_p(&c->sop_drop_qpn, qpn);
	stw_be_p(&c->wqe_counter, wqe);
	stl_be_p(&c->byte_cnt, len);
	stl_be_p(&c->imm_inval_pkey, h->flags & (PKT_IMM | PKT_INV) ? h->imm : 0);
	stl_be_p(&c->flags_rqpn,
		 (h->flags & PKT_GRH ? 1u << 28 : 0) | (uint32_t)(h->sl & 0xf) << 24 | h->sqpn);
	stw_be_p(&c->slid, h->slid);
	c->op_own = op << 4 | (solicited ? 2 : 0);
	cq_push(d, cq, e, solicited);
}

void cqe_resp_error(struct mdev *d, struct cq *cq, uint32_t uidx, uint32_t qpn, uint16_t wqe,
		    uint8_t syndrome)
{
	uint8_t e[64] = { 0 };
	struct mlx5_cqe64 *c = (void *)e;

	stl_be_p(&c->srqn_uidx, uidx);
	stl_be_p(&c->sop_drop_qpn, qpn);
	stw_be_p(&c->wqe_counter, wqe);
	cqe_error(e, syndrome);
	c->op_own = MLX5_CQE_RESP_ERR << 4;
	d->cnt.resp_cqe_err++;
	d->cnt.resp_flush += syndrome == MLX5_CQE_SYNDROME_WR_FLUSH_ERR;
	cq_push(d, cq, e, true);
}

/*
 * Receive queues have no doorbell: those of queue pairs in error are looked at for what has been
 * posted meanwhile.
 */
void errors_poll(void *opaque)
{
	struct mdev *d = opaque;
	struct recv r;
	struct qp *q;

	QTAILQ_FOREACH(q, &d->errors, errors)
		while (rq_take(d, q, NULL, &r))
			cqe_resp_error(d, q->cq_recv, QPC(q, user_index), q->o.n, r.index,
				       MLX5_CQE_SYNDROME_WR_FLUSH_ERR);
	if (!QTAILQ_EMPTY(&d->errors))
		timer_mod(d->error_timer,
			  qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + ERRORS_POLL_MS * SCALE_MS);
}
