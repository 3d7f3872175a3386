// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects without much of a life of their own: protection domains, UARs, XRC domains, sets of
 * counters; and shared receive queues.
 */
#include "mlx5.h"

#define SYNDROME_FILE 4
#define KIND_SRQ 0 /* of what an event is about */

static void srq_free(void *p)
{
	struct srq *s = p;

	if (s->pd)
		s->pd->o.refs--;
	if (s->cq)
		s->cq->o.refs--;
	if (s->xrcd)
		s->xrcd->refs--;
	ring_free(&s->ring);
	g_free(s);
}

/* In this order: what refers to others goes first. */
void objects_clear(struct mdev *d)
{
	if (!d->qps.p)
		return;
	table_clear(&d->qps, qp_free);
	table_clear(&d->srqs, srq_free);
	table_clear(&d->mkeys, mkey_free);
	table_clear(&d->cqs, cq_free);
	table_clear(&d->eqs, eq_free);
	table_clear(&d->pds, g_free);
	table_clear(&d->xrcds, g_free);
	table_clear(&d->tds, g_free);
	table_clear(&d->counter_sets, g_free);
	packets_free(&d->loop);
}

/* As after power-on: there are none. */
void objects_reset(struct mdev *d)
{
	objects_clear(d);
	memset(d->uars, 0, sizeof(d->uars));
	table_init(&d->eqs, 1, NUM_EQS - 1);
	table_init(&d->cqs, 0x400, 1 << 14);
	table_init(&d->pds, 0x10, 1 << 14);
	table_init(&d->xrcds, 0x10, 1 << 12);
	table_init(&d->tds, 0x10, 1 << 10);
	table_init(&d->mkeys, 0x1000, 1 << 17);
	table_init(&d->srqs, 0x800, 1 << 14);
	table_init(&d->qps, 0x100, 1 << 15);
	table_init(&d->counter_sets, 1, 63);
	QTAILQ_INIT(&d->active);
	QTAILQ_INIT(&d->active_dcrs);
	QTAILQ_INIT(&d->errors);
}

bool uar_valid(struct mdev *d, uint32_t page)
{
	return page >= UAR_BASE_PAGE && page - UAR_BASE_PAGE < NUM_UARS &&
	       d->uars[page - UAR_BASE_PAGE];
}

static int cmd_alloc_uar(struct cmd *c)
{
	struct mdev *d = c->d;
	uint32_t i;

	for (i = 0; i < NUM_UARS; i++) {
		uint32_t n = (d->next_uar + i) % NUM_UARS;

		if (!d->uars[n]) {
			d->uars[n] = true;
			d->next_uar = n + 1;
			SET(alloc_uar_out, c->out, uar, UAR_BASE_PAGE + n);
			snprintf(c->why, sizeof(c->why), "UAR 0x%x", UAR_BASE_PAGE + n);
			return STAT_OK;
		}
	}
	return refuse(c, STAT_NO_RES, "all UARs are in use");
}

static bool uar_is_used(struct mdev *d, uint32_t page)
{
	uint32_t i;

	for (i = 0; i < d->eqs.size; i++)
		if (d->eqs.p[i] && ((struct eq *)d->eqs.p[i])->uar == page)
			return true;
	for (i = 0; i < d->cqs.size; i++)
		if (d->cqs.p[i] && ((struct cq *)d->cqs.p[i])->uar == page)
			return true;
	for (i = 0; i < d->qps.size; i++) {
		struct qp *q = qp_get(d, d->qps.first + i);

		if (q && q->has_sq && q->uar == page)
			return true;
	}
	return false;
}

static int cmd_dealloc_uar(struct cmd *c)
{
	uint32_t n = GET(dealloc_uar_in, c->in, uar);

	if (!uar_valid(c->d, n))
		return refuse(c, STAT_BAD_RES, "UAR 0x%x", n);
	/* The driver sees no users of those that a process has asked for. */
	if (uar_is_used(c->d, n))
		mlog(c->d, "UAR 0x%x goes before those that use it", n);
	c->d->uars[n - UAR_BASE_PAGE] = false;
	return STAT_OK;
}

/* Objects that are just a number with users. */
static int obj_alloc(struct cmd *c, struct table *t, size_t size, const char *what, uint32_t *n)
{
	struct obj *o = g_malloc0(size);

	o->n = table_add(t, o);
	if (!o->n) {
		g_free(o);
		return refuse(c, STAT_NO_RES, "no %s is left", what);
	}
	*n = o->n;
	snprintf(c->why, sizeof(c->why), "%s 0x%x", what, *n);
	return STAT_OK;
}

static int obj_dealloc(struct cmd *c, struct table *t, const char *what, uint32_t n)
{
	struct obj *o = table_get(t, n);

	if (!o)
		return refuse(c, STAT_BAD_RES, "%s 0x%x", what, n);
	if (o->refs)
		return refuse(c, STAT_RES_BUSY, "%s 0x%x has %d users", what, n, o->refs);
	table_remove(t, n);
	g_free(o);
	snprintf(c->why, sizeof(c->why), "%s 0x%x", what, n);
	return STAT_OK;
}

#define OBJ_CMDS(name, type, objects, number, what)                             \
	static int cmd_alloc_##name(struct cmd *c)                              \
	{                                                                       \
		uint32_t n;                                                     \
		int err = obj_alloc(c, &c->d->objects, sizeof(type), what, &n); \
										\
		if (!err)                                                       \
			SET(alloc_##name##_out, c->out, number, n);             \
		return err;                                                     \
	}                                                                       \
	static int cmd_dealloc_##name(struct cmd *c)                            \
	{                                                                       \
		return obj_dealloc(c, &c->d->objects, what,                     \
				   GET(dealloc_##name##_in, c->in, number));    \
	}                                                                       \
	static const struct field dealloc_##name##_fields[] = { F(dealloc_##name##_in, number), {} }

OBJ_CMDS(pd, struct pd, pds, pd, "PD");
OBJ_CMDS(xrcd, struct obj, xrcds, xrcd, "XRCD");
OBJ_CMDS(transport_domain, struct obj, tds, transport_domain, "transport domain");
OBJ_CMDS(q_counter, struct counter_set, counter_sets, counter_set_id, "set of counters");

/* One figure for the whole device, whichever set is asked for, but for what is refused. */
static int cmd_query_q_counter(struct cmd *c)
{
	struct counters *n = &c->d->cnt;
	uint32_t id = GET(query_q_counter_in, c->in, counter_set_id);
	struct counter_set *set = table_get(&c->d->counter_sets, id);

	if (!set)
		return refuse(c, STAT_BAD_RES, "set of counters %u", id);
#define CNT(field, value) SET(query_q_counter_out, c->out, field, value)
	CNT(rx_write_requests, n->rx_write);
	CNT(rx_read_requests, n->rx_read);
	CNT(rx_atomic_requests, n->rx_atomic);
	CNT(rx_dct_connect, n->rx_dct_connect);
	CNT(out_of_buffer, n->out_of_buffer);
	CNT(out_of_sequence, n->out_of_sequence);
	CNT(duplicate_request, n->duplicate);
	CNT(rnr_nak_retry_err, n->rnr_nak_retry);
	CNT(packet_seq_err, n->packet_seq_err);
	CNT(implied_nak_seq_err, n->implied_nak);
	CNT(local_ack_timeout_err, n->local_ack_timeout);
	CNT(req_rnr_retries_exceeded, n->rnr_exceeded);
	CNT(req_transport_retries_exceeded, n->retry_exceeded);
	CNT(req_remote_access_errors, n->req_remote_access);
	CNT(resp_remote_access_errors, set->resp_remote_access);
	CNT(req_remote_invalid_request, n->req_remote_invalid);
	CNT(resp_remote_invalid_request, set->resp_remote_invalid);
	CNT(req_remote_operation_errors, n->req_remote_op);
	CNT(req_local_protection, n->req_local_prot);
	CNT(resp_local_protection, n->resp_local_prot);
	CNT(req_local_length_error, n->req_local_length);
	CNT(resp_local_length_error, n->resp_local_length);
	CNT(local_operation_error, n->req_local_qp);
	CNT(req_cqe_flush_error, n->req_flush);
	CNT(resp_cqe_flush_error, n->resp_flush);
	CNT(req_cqe_error, n->req_cqe_err);
	CNT(resp_cqe_error, n->resp_cqe_err);
	CNT(cq_overflow, n->cq_overflow);
#undef CNT
	return STAT_OK;
}

static int srq_add(struct cmd *c, struct srq *s, uint32_t pdn)
{
	struct mdev *d = c->d;

	s->pd = table_get(&d->pds, pdn);
	if (!s->pd)
		return refuse(c, STAT_BAD_RES, "PD 0x%x", pdn);
	s->pd->o.refs++;
	if (s->dbr % 4)
		return refuse(c, STAT_BAD_PARAM, "doorbell record at 0x%" PRIx64, s->dbr);
	if (s->log > GET(cmd_hca_cap, d->caps_cur, log_max_srq_sz))
		return refuse(c, STAT_BAD_PARAM, "2^%u entries", s->log);
	if (s->stride < 32 || s->stride > 512)
		return refuse(c, STAT_BAD_PARAM, "entries of %u bytes", s->stride);
	s->o.n = table_add(&d->srqs, s);
	if (!s->o.n)
		return refuse(c, STAT_NO_RES, "all SRQs are in use");
	snprintf(c->why, sizeof(c->why), "%s 0x%x", s->xrc ? "XRC SRQ" : "RMP", s->o.n);
	return STAT_OK;
}

static int cmd_create_rmp(struct cmd *c)
{
	uint8_t *x = ADDR(create_rmp_in, c->in, ctx), *w = ADDR(rmpc, x, wq);
	struct srq *s = g_new0(struct srq, 1);
	int err;

	s->cyclic = GET(wq, w, wq_type) == MLX5_WQ_TYPE_CYCLIC;
	s->log = GET(wq, w, log_wq_sz);
	s->stride = 1 << GET(wq, w, log_wq_stride);
	s->dbr = GET(wq, w, dbr_addr);
	s->lwm = GET(wq, w, lwm);
	memcpy(s->context, x, MIN(sizeof(s->context), SZ(rmpc)));
	if (GET(rmpc, x, state) != MLX5_RMPC_STATE_RDY || GET(wq, w, wq_type) > MLX5_WQ_TYPE_CYCLIC)
		err = refuse(c, STAT_BAD_PARAM, "state or kind of work queue");
	else
		err = ring_init(c, &s->ring, (uint64_t)s->stride << s->log,
				GET(wq, w, log_wq_pg_sz), GET(wq, w, page_offset),
				c->in + SZ(create_rmp_in));
	if (!err)
		err = srq_add(c, s, GET(wq, w, pd));
	if (err)
		srq_free(s);
	else
		SET(create_rmp_out, c->out, rmpn, s->o.n);
	return err;
}

static int cmd_create_xrc_srq(struct cmd *c)
{
	struct mdev *d = c->d;
	uint8_t *x = ADDR(create_xrc_srq_in, c->in, xrc_srq_context_entry);
	struct srq *s = g_new0(struct srq, 1);
	struct obj *xrcd = table_get(&d->xrcds, GET(xrc_srqc, x, xrcd));
	struct cq *cq = table_get(&d->cqs, GET(xrc_srqc, x, cqn));
	int err;

	s->xrc = true;
	s->log = GET(xrc_srqc, x, log_xrc_srq_size);
	s->stride = 1 << (GET(xrc_srqc, x, log_rq_stride) + 4);
	s->dbr = GET(xrc_srqc, x, db_record_addr_h) << 32 | GET(xrc_srqc, x, db_record_addr_l) << 2;
	s->lwm = GET(xrc_srqc, x, lwm);
	s->user_index = GET(xrc_srqc, x, user_index);
	memcpy(s->context, x, SZ(xrc_srqc));
	if (!xrcd)
		err = refuse(c, STAT_BAD_RES, "XRCD 0x%x", (int)GET(xrc_srqc, x, xrcd));
	else if (!cq)
		err = refuse(c, STAT_BAD_RES, "CQ 0x%x", (int)GET(xrc_srqc, x, cqn));
	else
		err = ring_init(c, &s->ring, (uint64_t)s->stride << s->log,
				GET(xrc_srqc, x, log_page_size), GET(xrc_srqc, x, page_offset),
				c->in + SZ(create_xrc_srq_in));
	if (!err) {
		s->xrcd = xrcd;
		xrcd->refs++;
		s->cq = cq;
		cq->o.refs++;
		err = srq_add(c, s, GET(xrc_srqc, x, pd));
	}
	if (err)
		srq_free(s);
	else
		SET(create_xrc_srq_out, c->out, xrc_srqn, s->o.n);
	return err;
}

static struct srq *srq_get(struct cmd *c, uint32_t n, bool xrc)
{
	struct srq *s = table_get(&c->d->srqs, n);

	if (s && s->xrc == xrc)
		return s;
	refuse(c, STAT_BAD_RES, "%s 0x%x", xrc ? "XRC SRQ" : "RMP", n);
	return NULL;
}

static int srq_destroy(struct cmd *c, uint32_t n, bool xrc)
{
	struct srq *s = srq_get(c, n, xrc);

	if (!s)
		return STAT_BAD_RES;
	if (s->o.refs)
		return refuse(c, STAT_RES_BUSY, "SRQ 0x%x has %d users", n, s->o.refs);
	table_remove(&c->d->srqs, n);
	srq_free(s);
	return STAT_OK;
}

static int cmd_destroy_rmp(struct cmd *c)
{
	return srq_destroy(c, GET(destroy_rmp_in, c->in, rmpn), false);
}

static int cmd_destroy_xrc_srq(struct cmd *c)
{
	return srq_destroy(c, GET(destroy_xrc_srq_in, c->in, xrc_srqn), true);
}

static int cmd_query_rmp(struct cmd *c)
{
	struct srq *s = srq_get(c, GET(query_rmp_in, c->in, rmpn), false);
	uint8_t *x = ADDR(query_rmp_out, c->out, rmp_context);

	if (!s)
		return STAT_BAD_RES;
	memcpy(x, s->context, MIN(sizeof(s->context), SZ(rmpc)));
	SET(rmpc, x, wq.lwm, s->lwm);
	return STAT_OK;
}

static int cmd_query_xrc_srq(struct cmd *c)
{
	struct srq *s = srq_get(c, GET(query_xrc_srq_in, c->in, xrc_srqn), true);
	uint8_t *x = ADDR(query_xrc_srq_out, c->out, xrc_srq_context_entry);

	if (!s)
		return STAT_BAD_RES;
	memcpy(x, s->context, SZ(xrc_srqc));
	SET(xrc_srqc, x, lwm, s->lwm);
	return STAT_OK;
}

/* Once fewer entries are left than the limit, its owner is told, once. */
void srq_limit_check(struct mdev *d, struct srq *s)
{
	if (s->lwm && (uint16_t)(dma_get_be32(d, s->dbr) - s->taken) < s->lwm) {
		s->lwm = 0;
		eq_event_object(d, EVENT_SRQ_LIMIT, s->o.n, KIND_SRQ);
	}
}

static int srq_arm(struct cmd *c, struct srq *s, uint32_t lwm)
{
	if (!s)
		return STAT_BAD_RES;
	if (lwm >> s->log)
		return refuse(c, STAT_BAD_PARAM, "a limit of %u for 2^%u entries", lwm, s->log);
	s->lwm = lwm;
	srq_limit_check(c->d, s);
	return STAT_OK;
}

static int cmd_modify_rmp(struct cmd *c)
{
	struct srq *s = srq_get(c, GET(modify_rmp_in, c->in, rmpn), false);

	if (GET(modify_rmp_in, c->in, rmp_state) != MLX5_RMPC_STATE_RDY ||
	    !GET(modify_rmp_in, c->in, bitmask.lwm))
		return refuse(c, STAT_BAD_PARAM, "only the limit can be changed");
	return srq_arm(c, s, GET(modify_rmp_in, c->in, ctx.wq.lwm));
}

static int cmd_arm_xrc_srq(struct cmd *c)
{
	if (c->op_mod != 1)
		return refuse(c, STAT_BAD_PARAM, "op_mod");
	return srq_arm(c, srq_get(c, GET(arm_xrc_srq_in, c->in, xrc_srqn), true),
		       GET(arm_xrc_srq_in, c->in, lwm));
}

static const struct field dealloc_uar_fields[] = { F(dealloc_uar_in, uar), {} };
static const struct field query_q_counter_fields[] = { F(query_q_counter_in, counter_set_id), {} };
static const struct field create_rmp_fields[] = { F(create_rmp_in, ctx.state),
						  F(create_rmp_in, ctx.wq.wq_type),
						  F(create_rmp_in, ctx.wq.page_offset),
						  F(create_rmp_in, ctx.wq.lwm),
						  F(create_rmp_in, ctx.wq.pd),
						  F(create_rmp_in, ctx.wq.dbr_addr),
						  F(create_rmp_in, ctx.wq.log_wq_stride),
						  F(create_rmp_in, ctx.wq.log_wq_pg_sz),
						  F(create_rmp_in, ctx.wq.log_wq_sz),
						  {} };
static const struct field rmpn_fields[] = { F(destroy_rmp_in, rmpn), {} };
static const struct field modify_rmp_fields[] = {
	F(modify_rmp_in, rmp_state), F(modify_rmp_in, rmpn),	   F(modify_rmp_in, bitmask.lwm),
	F(modify_rmp_in, ctx.state), F(modify_rmp_in, ctx.wq.lwm), {}
};
#define X(f) F(create_xrc_srq_in, xrc_srq_context_entry.f)
static const struct field create_xrc_srq_fields[] = { X(log_xrc_srq_size),
						      X(log_rq_stride),
						      X(xrcd),
						      X(page_offset),
						      X(cqn),
						      X(log_page_size),
						      X(user_index),
						      X(pd),
						      X(lwm),
						      X(db_record_addr_h),
						      X(db_record_addr_l),
						      {} };
#undef X
static const struct field xrc_srqn_fields[] = { F(destroy_xrc_srq_in, xrc_srqn), {} };
static const struct field arm_xrc_srq_fields[] = { F(arm_xrc_srq_in, xrc_srqn),
						   F(arm_xrc_srq_in, lwm),
						   {} };

const struct cmd_def object_cmds[] = {
	CMD(MLX5_CMD_OP_ALLOC_UAR, alloc_uar, WHEN_READY, TAIL_NONE, cmd_alloc_uar, NULL),
	CMD(MLX5_CMD_OP_DEALLOC_UAR, dealloc_uar, WHEN_READY, TAIL_NONE, cmd_dealloc_uar,
	    dealloc_uar_fields),
	CMD(MLX5_CMD_OP_ALLOC_PD, alloc_pd, WHEN_READY, TAIL_NONE, cmd_alloc_pd, NULL),
	CMD(MLX5_CMD_OP_DEALLOC_PD, dealloc_pd, WHEN_READY, TAIL_NONE, cmd_dealloc_pd,
	    dealloc_pd_fields),
	CMD(MLX5_CMD_OP_ALLOC_XRCD, alloc_xrcd, WHEN_READY, TAIL_NONE, cmd_alloc_xrcd, NULL),
	CMD(MLX5_CMD_OP_DEALLOC_XRCD, dealloc_xrcd, WHEN_READY, TAIL_NONE, cmd_dealloc_xrcd,
	    dealloc_xrcd_fields),
	CMD(MLX5_CMD_OP_ALLOC_TRANSPORT_DOMAIN, alloc_transport_domain, WHEN_READY, TAIL_NONE,
	    cmd_alloc_transport_domain, NULL),
	CMD(MLX5_CMD_OP_DEALLOC_TRANSPORT_DOMAIN, dealloc_transport_domain, WHEN_READY, TAIL_NONE,
	    cmd_dealloc_transport_domain, dealloc_transport_domain_fields),
	CMD(MLX5_CMD_OP_ALLOC_Q_COUNTER, alloc_q_counter, WHEN_READY, TAIL_NONE,
	    cmd_alloc_q_counter, NULL),
	CMD(MLX5_CMD_OP_DEALLOC_Q_COUNTER, dealloc_q_counter, WHEN_READY, TAIL_NONE,
	    cmd_dealloc_q_counter, dealloc_q_counter_fields),
	CMD(MLX5_CMD_OP_QUERY_Q_COUNTER, query_q_counter, WHEN_READY, TAIL_NONE,
	    cmd_query_q_counter, query_q_counter_fields),
	CMD(MLX5_CMD_OP_CREATE_RMP, create_rmp, WHEN_READY, TAIL_PAS, cmd_create_rmp,
	    create_rmp_fields),
	CMD(MLX5_CMD_OP_DESTROY_RMP, destroy_rmp, WHEN_READY, TAIL_NONE, cmd_destroy_rmp,
	    rmpn_fields),
	CMD(MLX5_CMD_OP_MODIFY_RMP, modify_rmp, WHEN_READY, TAIL_NONE, cmd_modify_rmp,
	    modify_rmp_fields),
	CMD(MLX5_CMD_OP_QUERY_RMP, query_rmp, WHEN_READY, TAIL_NONE, cmd_query_rmp, rmpn_fields),
	CMD(MLX5_CMD_OP_CREATE_XRC_SRQ, create_xrc_srq, WHEN_READY, TAIL_PAS, cmd_create_xrc_srq,
	    create_xrc_srq_fields),
	CMD(MLX5_CMD_OP_DESTROY_XRC_SRQ, destroy_xrc_srq, WHEN_READY, TAIL_NONE,
	    cmd_destroy_xrc_srq, xrc_srqn_fields),
	CMD(MLX5_CMD_OP_QUERY_XRC_SRQ, query_xrc_srq, WHEN_READY, TAIL_NONE, cmd_query_xrc_srq,
	    xrc_srqn_fields),
	CMD(MLX5_CMD_OP_ARM_XRC_SRQ, arm_xrc_srq, WHEN_READY, TAIL_NONE, cmd_arm_xrc_srq,
	    arm_xrc_srq_fields),
	{}
};
