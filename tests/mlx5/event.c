// SPDX-License-Identifier: GPL-2.0-or-later
/* Completion and event queues. */
#include "mlx5.h"
#include <infiniband/mlx5dv.h>
#include "hw/pci/msix.h"

#define SYNDROME_FILE 3
#define ENTRY_SIZE 64 /* of an event; of a completion the end, which says all */
#define EQE_DATA 32
#define COMP_CQN 24 /* in an event's data */
#define OBJECT_KIND 20
#define OBJECT_N 24
#define CQ_ERR_SYNDROME 11
#define CQ_OVERRUN 1

enum { MODIFY_CQ_MODERATION = 0, MODIFY_CQ_RESIZE = 1 };

static void entry_put(struct mdev *d, const struct ring *r, uint64_t at, uint8_t *e, uint32_t round)
{
	e[ENTRY_SIZE - 1] |= round & 1;
	ring_put(d, r, at, e, ENTRY_SIZE - 1);
	/* The owner's bit is the last that the driver sees. It changes with each round. */
	smp_wmb();
	ring_put(d, r, at + ENTRY_SIZE - 1, e + ENTRY_SIZE - 1, 1);
}

static void eq_put(struct mdev *d, struct eq *q, enum event_type type, uint8_t sub_type,
		   const void *data, uint32_t len)
{
	uint8_t e[ENTRY_SIZE] = { [1] = type, [3] = sub_type };
	uint64_t at = (uint64_t)(q->pi & ((1u << q->log) - 1)) * ENTRY_SIZE;

	if (diff24(q->pi, q->ci) >= 1 << q->log) {
		if (!q->overrun)
			mlog(d, "EQ %u is full: events are lost", q->o.n);
		q->overrun = true;
		return;
	}
	memcpy(e + EQE_DATA, data, len);
	if (d->trace >= 0) {
		GString *line = g_string_new(NULL);

		g_string_printf(line, "evt %02x ", type);
		trace_hex(line, e + EQE_DATA, ENTRY_SIZE - EQE_DATA - 4);
		trace_write(d, line);
	}
	entry_put(d, &q->ring, at, e, q->pi >> q->log);
	q->pi++;
	if (q->armed) {
		q->armed = false;
		msix_notify(&d->parent_obj, q->vector);
	}
}

/* The queue that asked for this type of events, NULL: there is none. */
struct eq *eq_wanting(struct mdev *d, enum event_type type)
{
	uint32_t i;

	for (i = 0; i < d->eqs.size; i++) {
		struct eq *q = d->eqs.p[i];

		if (q && q->mask[type / 64] & (1ull << type % 64))
			return q;
	}
	return NULL;
}

void eq_event(struct mdev *d, enum event_type type, uint8_t sub_type, const void *data,
	      uint32_t len)
{
	struct eq *q = eq_wanting(d, type);

	if (q)
		eq_put(d, q, type, sub_type, data, len);
	else
		mlog(d, "event 0x%x: nobody wants it", type);
}

void eq_event_object(struct mdev *d, enum event_type type, uint32_t n, uint8_t kind)
{
	uint8_t data[28] = { [OBJECT_KIND] = kind };

	stl_be_p(data + OBJECT_N, n);
	eq_event(d, type, 0, data, sizeof(data));
}

void eq_doorbell(struct mdev *d, uint32_t page, uint32_t value, bool arm)
{
	struct eq *q = table_get(&d->eqs, value >> 24);

	if (!q || q->uar != page) {
		mlog(d, "doorbell of EQ %u in UAR 0x%x, which is not its own", value >> 24, page);
		return;
	}
	q->ci = value & 0xffffff;
	if (!arm)
		return;
	q->armed = true;
	if (diff24(q->pi, q->ci)) {
		q->armed = false;
		msix_notify(&d->parent_obj, q->vector);
	}
}

void eq_free(void *p)
{
	struct eq *q = p;

	ring_free(&q->ring);
	g_free(q);
}

static int cmd_create_eq(struct cmd *c)
{
	struct mdev *d = c->d;
	uint8_t *x = ADDR(create_eq_in, c->in, eq_context_entry);
	uint32_t log = GET(eqc, x, log_eq_size), uar = GET(eqc, x, uar_page),
		 vector = GET(eqc, x, intr), i;
	struct eq *q;
	int err;

	if (!uar_valid(d, uar))
		return refuse(c, STAT_BAD_RES, "UAR 0x%x", uar);
	if (vector >= NUM_VECTORS)
		return refuse(c, STAT_BAD_PARAM, "interrupt vector %u", vector);
	if (log > GET(cmd_hca_cap, d->caps_cur, log_max_eq_sz))
		return refuse(c, STAT_BAD_PARAM, "2^%u entries", log);
	q = g_new0(struct eq, 1);
	q->log = log;
	q->uar = uar;
	q->vector = vector;
	for (i = 0; i < 4; i++)
		q->mask[i] = ldq_be_p(ADDR(create_eq_in, c->in, event_bitmask) + 8 * i);
	err = ring_init(c, &q->ring, (uint64_t)ENTRY_SIZE << log, GET(eqc, x, log_page_size),
			GET(eqc, x, page_offset), c->in + SZ(create_eq_in));
	if (err) {
		g_free(q);
		return err;
	}
	q->o.n = table_add(&d->eqs, q);
	if (!q->o.n) {
		eq_free(q);
		return refuse(c, STAT_NO_RES, "all EQs are in use");
	}
	SET(create_eq_out, c->out, eq_number, q->o.n);
	snprintf(c->why, sizeof(c->why), "EQ %u, vector %u", q->o.n, vector);
	return STAT_OK;
}

static int cmd_destroy_eq(struct cmd *c)
{
	uint32_t n = GET(destroy_eq_in, c->in, eq_number);
	struct eq *q = table_get(&c->d->eqs, n);

	if (!q)
		return refuse(c, STAT_BAD_RES, "EQ %u", n);
	if (q->o.refs)
		return refuse(c, STAT_RES_BUSY, "EQ %u has %d CQs", n, q->o.refs);
	table_remove(&c->d->eqs, n);
	eq_free(q);
	return STAT_OK;
}

static int cmd_query_eq(struct cmd *c)
{
	uint32_t n = GET(query_eq_in, c->in, eq_number);
	struct eq *q = table_get(&c->d->eqs, n);
	uint8_t *x = ADDR(query_eq_out, c->out, eq_context_entry);

	if (!q)
		return refuse(c, STAT_BAD_RES, "EQ %u", n);
	SET(eqc, x, st, q->armed ? MLX5_EQC_ST_ARMED : MLX5_EQC_ST_FIRED);
	SET(eqc, x, log_eq_size, q->log);
	SET(eqc, x, uar_page, q->uar);
	SET(eqc, x, intr, q->vector);
	SET(eqc, x, log_page_size, q->ring.log_page - 12);
	SET(eqc, x, consumer_counter, q->ci);
	SET(eqc, x, producer_counter, q->pi);
	return STAT_OK;
}

static void cq_notify(struct mdev *d, struct cq *q)
{
	uint8_t data[28] = { 0 };

	q->armed = CQ_NOT_ARMED;
	q->notified = q->pi;
	stl_be_p(data + COMP_CQN, q->o.n);
	eq_put(d, q->eq, EVENT_COMP, 0, data, sizeof(data));
}

static void cq_put(struct mdev *d, struct cq *q, uint8_t *cqe)
{
	uint64_t at = (uint64_t)(q->pi & ((1u << q->log) - 1)) * q->cqe_size + q->cqe_size -
		      ENTRY_SIZE;

	/* In its place an error has its syndrome. */
	if (cqe[63] >> 4 != MLX5_CQE_REQ_ERR && cqe[63] >> 4 != MLX5_CQE_RESP_ERR)
		stq_be_p(cqe + offsetof(struct mlx5_cqe64, timestamp),
			 qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));
	entry_put(d, &q->ring, at, cqe, q->pi >> q->log);
	q->pi = (q->pi + 1) & 0xffffff;
}

static void cq_set_overrun(struct mdev *d, struct cq *q)
{
	uint8_t data[28] = { [CQ_ERR_SYNDROME] = CQ_OVERRUN };

	mlog(d, "CQ 0x%x is full: overrun", q->o.n);
	q->overrun = true;
	d->cnt.cq_overflow++;
	stl_be_p(data, q->o.n);
	eq_event(d, EVENT_CQ_ERROR, 0, data, sizeof(data));
}

/* Entries that are still to be read. */
static int32_t cq_used(struct mdev *d, const struct cq *q)
{
	return diff24(q->pi, dma_get_be32(d, q->dbr));
}

/*
 * An entry without its owner's bit, and whether who waits for solicited events only is told as
 * well.
 */
void cq_push(struct mdev *d, struct cq *q, uint8_t *cqe, bool solicited)
{
	if (q->overrun)
		return;
	if (!q->ignore_overrun && cq_used(d, q) >= 1 << q->log) {
		cq_set_overrun(d, q);
		return;
	}
	cq_put(d, q, cqe);
	if (solicited)
		q->last_solicited = q->pi;
	if (q->armed == CQ_ARMED || (q->armed == CQ_ARMED_SOLICITED && solicited))
		cq_notify(d, q);
}

void cq_doorbell(struct mdev *d, uint32_t page, uint32_t cmd_ci, uint32_t cqn)
{
	struct cq *q = table_get(&d->cqs, cqn);
	uint32_t seen = cmd_ci & 0xffffff;
	bool pending;

	if (!q || q->uar != page) {
		mlog(d, "doorbell of CQ 0x%x in UAR 0x%x, which is not its own", cqn, page);
		return;
	}
	/* There is one event for an entry, also where its reader arms before it reads. */
	if (diff24(q->notified, seen) > 0)
		seen = q->notified;
	if (cmd_ci & MLX5_CQ_DB_REQ_NOT_SOL) {
		q->armed = CQ_ARMED_SOLICITED;
		pending = diff24(q->last_solicited, seen) > 0;
	} else {
		q->armed = CQ_ARMED;
		pending = diff24(q->pi, seen) > 0;
	}
	if (pending)
		cq_notify(d, q);
}

void cq_free(void *p)
{
	struct cq *q = p;

	q->eq->o.refs--;
	ring_free(&q->ring);
	g_free(q);
}

static int cq_ring_init(struct cmd *c, struct ring *r, const uint8_t *x, const uint8_t *pas)
{
	uint32_t log = GET(cqc, x, log_cq_size), size = GET(cqc, x, cqe_sz);

	if (!log || log > GET(cmd_hca_cap, c->d->caps_cur, log_max_cq_sz))
		return refuse(c, STAT_BAD_PARAM, "2^%u entries", log);
	if (size > MLX5_CQC_CQE_SZ_128_BYTES)
		return refuse(c, STAT_BAD_PARAM, "cqe_sz %u", size);
	return ring_init(c, r, 64ull << (log + size), GET(cqc, x, log_page_size),
			 GET(cqc, x, page_offset), pas);
}

static int cmd_create_cq(struct cmd *c)
{
	struct mdev *d = c->d;
	uint8_t *x = ADDR(create_cq_in, c->in, cq_context);
	uint32_t uar = GET(cqc, x, uar_page), eqn = GET(cqc, x, c_eqn_or_apu_element);
	struct eq *eq = table_get(&d->eqs, eqn);
	struct cq *q;
	int err;

	if (!uar_valid(d, uar))
		return refuse(c, STAT_BAD_RES, "UAR 0x%x", uar);
	if (!eq)
		return refuse(c, STAT_BAD_RES, "EQ %u", eqn);
	if (GET(cqc, x, dbr_addr) % 8)
		return refuse(c, STAT_BAD_PARAM, "doorbell record at 0x%" PRIx64,
			      GET(cqc, x, dbr_addr));
	q = g_new0(struct cq, 1);
	err = cq_ring_init(c, &q->ring, x, c->in + SZ(create_cq_in));
	if (err) {
		g_free(q);
		return err;
	}
	memcpy(q->context, x, sizeof(q->context));
	q->eq = eq;
	q->uar = uar;
	q->log = GET(cqc, x, log_cq_size);
	q->cqe_size = 64 << GET(cqc, x, cqe_sz);
	q->dbr = GET(cqc, x, dbr_addr);
	q->ignore_overrun = GET(cqc, x, oi);
	eq->o.refs++;
	q->o.n = table_add(&d->cqs, q);
	if (!q->o.n) {
		cq_free(q);
		return refuse(c, STAT_NO_RES, "all CQs are in use");
	}
	SET(create_cq_out, c->out, cqn, q->o.n);
	snprintf(c->why, sizeof(c->why), "CQ 0x%x of EQ %u", q->o.n, eqn);
	return STAT_OK;
}

static int cmd_destroy_cq(struct cmd *c)
{
	uint32_t n = GET(destroy_cq_in, c->in, cqn);
	struct cq *q = table_get(&c->d->cqs, n);

	if (!q)
		return refuse(c, STAT_BAD_RES, "CQ 0x%x", n);
	if (q->o.refs)
		return refuse(c, STAT_RES_BUSY, "CQ 0x%x has %d users", n, q->o.refs);
	table_remove(&c->d->cqs, n);
	cq_free(q);
	snprintf(c->why, sizeof(c->why), "CQ 0x%x", n);
	return STAT_OK;
}

static int cmd_query_cq(struct cmd *c)
{
	uint32_t n = GET(query_cq_in, c->in, cqn);
	struct cq *q = table_get(&c->d->cqs, n);
	uint8_t *x = ADDR(query_cq_out, c->out, cq_context);

	if (!q)
		return refuse(c, STAT_BAD_RES, "CQ 0x%x", n);
	memcpy(x, q->context, sizeof(q->context));
	SET(cqc, x, status, q->overrun ? MLX5_CQC_STATUS_CQ_OVERFLOW : MLX5_CQC_STATUS_OK);
	SET(cqc, x, st,
	    q->armed == CQ_ARMED	   ? MLX5_CQC_ST_NOTIFICATION_REQUEST_ARMED :
	    q->armed == CQ_ARMED_SOLICITED ? MLX5_CQC_ST_SOLICITED_NOTIFICATION_REQUEST_ARMED :
					     MLX5_CQC_ST_FIRED);
	SET(cqc, x, last_notified_index, q->notified);
	SET(cqc, x, last_solicit_index, q->last_solicited);
	SET(cqc, x, consumer_counter, dma_get_be32(c->d, q->dbr));
	SET(cqc, x, producer_counter, q->pi);
	return STAT_OK;
}

/*
 * The old ring ends with an entry that says so, which uses up an index: what comes then stands in
 * the new one.
 */
static int cmd_modify_cq(struct cmd *c)
{
	struct mdev *d = c->d;
	uint32_t n = GET(modify_cq_in, c->in, cqn);
	uint8_t *x = ADDR(modify_cq_in, c->in, cq_context),
		cqe[64] = { [63] = MLX5_CQE_RESIZE_CQ << 4 };
	struct cq *q = table_get(&d->cqs, n);
	struct ring r;
	int err, used;

	if (!q)
		return refuse(c, STAT_BAD_RES, "CQ 0x%x", n);
	if (c->op_mod != MODIFY_CQ_RESIZE)
		return refuse(c, STAT_BAD_PARAM, "only resizing is implemented");
	if (q->overrun)
		return refuse(c, STAT_BAD_RES_STATE, "CQ 0x%x has overrun", n);
	used = cq_used(d, q);
	if (used >= 1 << GET(cqc, x, log_cq_size))
		return refuse(c, STAT_BAD_PARAM, "CQ 0x%x has %d entries to be read", n, used);
	err = cq_ring_init(c, &r, x, c->in + SZ(modify_cq_in));
	if (err)
		return err;
	cq_put(d, q, cqe);
	ring_free(&q->ring);
	q->ring = r;
	q->log = GET(cqc, x, log_cq_size);
	q->cqe_size = 64 << GET(cqc, x, cqe_sz);
	SET(cqc, q->context, log_cq_size, q->log);
	SET(cqc, q->context, cqe_sz, GET(cqc, x, cqe_sz));
	SET(cqc, q->context, log_page_size, GET(cqc, x, log_page_size));
	SET(cqc, q->context, page_offset, GET(cqc, x, page_offset));
	return STAT_OK;
}

static const struct field eqn_fields[] = { F(destroy_eq_in, eq_number), {} };
static const struct field cqn_fields[] = { F(destroy_cq_in, cqn), {} };
static const struct field create_eq_fields[] = { F(create_eq_in, eq_context_entry.page_offset),
						 F(create_eq_in, eq_context_entry.log_eq_size),
						 F(create_eq_in, eq_context_entry.uar_page),
						 F(create_eq_in, eq_context_entry.intr),
						 F(create_eq_in, eq_context_entry.log_page_size),
						 F(create_eq_in, event_bitmask),
						 {} };
static const struct field create_cq_fields[] = { F(create_cq_in, cq_context.cqe_sz),
						 F(create_cq_in, cq_context.oi),
						 F(create_cq_in, cq_context.page_offset),
						 F(create_cq_in, cq_context.log_cq_size),
						 F(create_cq_in, cq_context.uar_page),
						 F(create_cq_in, cq_context.c_eqn_or_apu_element),
						 F(create_cq_in, cq_context.log_page_size),
						 F(create_cq_in, cq_context.dbr_addr),
						 {} };
static const struct field modify_cq_fields[] = {
	F(modify_cq_in, cqn),
	F(modify_cq_in, modify_field_select_resize_field_select),
	F(modify_cq_in, cq_context.cqe_sz),
	F(modify_cq_in, cq_context.page_offset),
	F(modify_cq_in, cq_context.log_cq_size),
	F(modify_cq_in, cq_context.log_page_size),
	{}
};

const struct cmd_def event_cmds[] = {
	CMD(MLX5_CMD_OP_CREATE_EQ, create_eq, WHEN_READY, TAIL_PAS, cmd_create_eq,
	    create_eq_fields),
	CMD(MLX5_CMD_OP_DESTROY_EQ, destroy_eq, WHEN_READY, TAIL_NONE, cmd_destroy_eq, eqn_fields),
	{ MLX5_CMD_OP_QUERY_EQ, "query_eq", SZ(query_eq_in), 16 + SZ(eqc), TAIL_NONE, WHEN_READY,
	  cmd_query_eq, eqn_fields },
	CMD(MLX5_CMD_OP_CREATE_CQ, create_cq, WHEN_READY, TAIL_PAS, cmd_create_cq,
	    create_cq_fields),
	CMD(MLX5_CMD_OP_DESTROY_CQ, destroy_cq, WHEN_READY, TAIL_NONE, cmd_destroy_cq, cqn_fields),
	{ MLX5_CMD_OP_QUERY_CQ, "query_cq", SZ(query_cq_in), 16 + SZ(cqc), TAIL_NONE, WHEN_READY,
	  cmd_query_cq, cqn_fields },
	CMD(MLX5_CMD_OP_MODIFY_CQ, modify_cq, WHEN_READY, TAIL_PAS, cmd_modify_cq,
	    modify_cq_fields),
	{}
};
