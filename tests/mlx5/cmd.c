// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The command interface: the queue, mailboxes, and what is checked of every command before it runs.
 */
#include "mlx5.h"

#define SYNDROME_FILE 1
#define BLOCK_DATA 512
#define BLOCK_SIZE 576
#define MAX_CMD_LEN (2 << 20)

/* An entry of the queue. */
enum {
	ENT_TYPE = 0,
	ENT_IN_LEN = 4,
	ENT_IN_PTR = 8,
	ENT_IN = 16,
	ENT_OUT = 32,
	ENT_OUT_PTR = 48,
	ENT_OUT_LEN = 56,
	ENT_TOKEN = 60,
	ENT_STATUS_OWN = 63,
	ENT_SIZE = 64,
	ENT_INLINE = 16,
};

enum { BLK_NEXT = 560, BLK_NUM = 568, BLK_TOKEN = 573 };

enum {
	DELIVERY_OK = 0x0,
	DELIVERY_TOKEN = 0x2,
	DELIVERY_BLOCK = 0x3,
	DELIVERY_OUT_PTR = 0x4,
	DELIVERY_IN_PTR = 0x5,
	DELIVERY_IN_LEN = 0x7,
	DELIVERY_OUT_LEN = 0x8,
	DELIVERY_DESCRIPTOR = 0x10,
};

int cmd_refuse(struct cmd *c, int status, uint32_t syndrome, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	c->syndrome = syndrome;
	return status;
}

static const struct cmd_def *def_find(uint16_t op)
{
	static const struct cmd_def *const all[] = { device_cmds, object_cmds, event_cmds, qp_cmds,
						     mkey_cmds };
	const struct cmd_def *def;
	size_t i;

	for (i = 0; i < G_N_ELEMENTS(all); i++)
		for (def = all[i]; def->name; def++)
			if (def->op == op)
				return def;
	return NULL;
}

/* Fields may be wider than a number. What is copied from nowhere is zero. */
void field_copy(uint8_t *to, const uint8_t *from, const struct field *f)
{
	uint32_t i, n;

	for (i = 0; i < f->bits; i += n) {
		n = MIN(f->bits - i, 32);
		bits_set(to, f->offset + i, n, from ? bits_get(from, f->offset + i, n) : 0);
	}
}

void field_clear(uint8_t *p, const struct field *f)
{
	field_copy(p, NULL, f);
}

/* Bits that stand in no field of the command are reserved or not implemented: both must be zero. */
static int check_fields(struct cmd *c)
{
	uint32_t len = c->def->in_len, i;
	g_autofree uint8_t *left = g_memdup2(c->in, len);
	const struct field *f;

	SET(alloc_pd_in, left, opcode, 0);
	SET(alloc_pd_in, left, op_mod, 0);
	for (f = c->def->fields; f && f->bits; f++)
		if (f->offset + f->bits <= 8 * len)
			field_clear(left, f);
	for (i = 0; i + 4 <= len; i += 4)
		if (ldl_be_p(left + i))
			return refuse(c, STAT_BAD_PARAM,
				      "bits 0x%08x at 0x%x are reserved or not implemented",
				      ldl_be_p(left + i), i);
	return STAT_OK;
}

static int cmd_check(struct cmd *c)
{
	const struct cmd_def *def = c->def;
	struct mdev *d = c->d;

	if (!def)
		return refuse(c, STAT_BAD_OP, "opcode 0x%x is not implemented", c->op);
	if (c->in_len < def->in_len || (def->tail == TAIL_NONE && c->in_len != def->in_len) ||
	    (def->tail == TAIL_PAS && (c->in_len - def->in_len) % 8))
		return refuse(c, STAT_BAD_INP_LEN, "%u bytes of input where %u are expected",
			      c->in_len, def->in_len);
	if (c->out_len < def->out_len)
		return refuse(c, STAT_BAD_OUTP_LEN,
			      "room for %u bytes of output where %u are needed", c->out_len,
			      def->out_len);
	if (def->when >= WHEN_ENABLED && !d->hca_enabled)
		return refuse(c, STAT_BAD_SYS_STATE, "the HCA is not enabled");
	if (def->when == WHEN_READY && !d->hca_ready)
		return refuse(c, STAT_BAD_SYS_STATE, "the HCA is not initialized");
	if (d->faults.refuse_next && c->op == d->faults.refuse_op) {
		d->faults.refuse_next--;
		return refuse(c, STAT_NO_RES, "a fault that is injected");
	}
	return check_fields(c);
}

static void cmd_trace(const struct cmd *c, int status)
{
	GString *line = g_string_new(NULL);

	g_string_printf(line, "cmd %04x %02x ", c->op, status);
	trace_hex(line, c->in, c->in_len);
	g_string_append_c(line, ' ');
	trace_hex(line, c->out, c->out_len);
	trace_write(c->d, line);
}

static void cmd_run(struct cmd *c)
{
	struct mdev *d = c->d;
	int status;

	c->op = lduw_be_p(c->in);
	c->op_mod = lduw_be_p(c->in + 6);
	c->def = def_find(c->op);
	status = cmd_check(c);
	if (status == STAT_OK)
		status = c->def->run(c);
	if (status != STAT_OK) {
		memset(c->out, 0, c->out_len);
		mlog(d, "refused: %s (0x%x) op_mod 0x%x: status 0x%x syndrome 0x%x: %s",
		     c->def ? c->def->name : "command", c->op, c->op_mod, status, c->syndrome,
		     c->why);
	} else {
		mlog(d, "%s op_mod 0x%x%s%s", c->def->name, c->op_mod, c->why[0] ? ": " : "",
		     c->why);
	}
	bits_set(c->out, 0, 8, status);
	stl_be_p(c->out + 4, c->syndrome);
	if (d->trace >= 0)
		cmd_trace(c, status);
}

/* Block n of a mailbox; bad_ptr is the status where its address is none. */
static int block_get(struct mdev *d, uint64_t ptr, uint8_t token, uint32_t n, uint8_t *b,
		     int bad_ptr)
{
	if (!ptr || ptr % BLOCK_DATA)
		return bad_ptr;
	dma_get(d, ptr, b, BLOCK_SIZE);
	if (b[BLK_TOKEN] != token)
		return DELIVERY_TOKEN;
	if (ldl_be_p(b + BLK_NUM) != n)
		return DELIVERY_BLOCK;
	return DELIVERY_OK;
}

static int mailbox_in(struct cmd *c, uint64_t ptr, uint8_t token)
{
	uint8_t b[BLOCK_SIZE];
	uint32_t o, n = 0;
	int err;

	for (o = ENT_INLINE; o < c->in_len; o += BLOCK_DATA, n++) {
		err = block_get(c->d, ptr, token, n, b, DELIVERY_IN_PTR);
		if (err)
			return err;
		memcpy(c->in + o, b, MIN(BLOCK_DATA, c->in_len - o));
		ptr = ldq_be_p(b + BLK_NEXT);
	}
	return DELIVERY_OK;
}

static int mailbox_out(struct cmd *c, uint64_t ptr, uint8_t token, bool write)
{
	uint8_t b[BLOCK_SIZE];
	uint32_t o, n = 0;
	int err;

	for (o = ENT_INLINE; o < c->out_len; o += BLOCK_DATA, n++) {
		err = block_get(c->d, ptr, token, n, b, DELIVERY_OUT_PTR);
		if (err)
			return err;
		if (write) {
			memset(b, 0, BLOCK_DATA);
			memcpy(b, c->out + o, MIN(BLOCK_DATA, c->out_len - o));
			dma_put(c->d, ptr, b, BLOCK_DATA);
		}
		ptr = ldq_be_p(b + BLK_NEXT);
	}
	return DELIVERY_OK;
}

static int entry_run(struct mdev *d, uint8_t *e)
{
	struct cmd c = { .d = d,
			 .in_len = ldl_be_p(e + ENT_IN_LEN),
			 .out_len = ldl_be_p(e + ENT_OUT_LEN) };
	uint64_t in_ptr = ldq_be_p(e + ENT_IN_PTR), out_ptr = ldq_be_p(e + ENT_OUT_PTR);
	int delivery;

	if (e[ENT_TYPE] != 7 || !(e[ENT_STATUS_OWN] & 1))
		return DELIVERY_DESCRIPTOR;
	if (c.in_len < 8 || c.in_len > MAX_CMD_LEN)
		return DELIVERY_IN_LEN;
	if (c.out_len < 8 || c.out_len > MAX_CMD_LEN)
		return DELIVERY_OUT_LEN;
	/* Handlers may look at the first mailbox before lengths are compared. */
	c.in = g_malloc0(c.in_len + ENT_SIZE);
	c.out = g_malloc0(c.out_len + ENT_SIZE);
	memcpy(c.in, e + ENT_IN, MIN(ENT_INLINE, c.in_len));
	delivery = mailbox_in(&c, in_ptr, e[ENT_TOKEN]);
	if (!delivery)
		delivery = mailbox_out(&c, out_ptr, e[ENT_TOKEN], false);
	if (!delivery) {
		cmd_run(&c);
		memcpy(e + ENT_OUT, c.out, ENT_INLINE);
		delivery = mailbox_out(&c, out_ptr, e[ENT_TOKEN], true);
	}
	g_free(c.in);
	g_free(c.out);
	return delivery;
}

void cmd_doorbell(struct mdev *d, uint32_t vector)
{
	uint64_t base = (uint64_t)d->cmdq_h << 32 | d->cmdq_l;
	/* Who created the queue of command events polls for that command's end. */
	bool events = eq_wanting(d, EVENT_CMD);
	int i;

	for (i = 0; i < 1 << CMD_LOG_SIZE; i++) {
		uint64_t at = base + ((uint64_t)i << CMD_LOG_STRIDE);
		uint8_t e[ENT_SIZE], done[28] = { 0 };
		int delivery;

		if (!(vector & (1u << i)))
			continue;
		dma_get(d, at, e, sizeof(e));
		delivery = entry_run(d, e);
		if (delivery)
			mlog(d, "refused: command entry %d: delivery status 0x%x", i, delivery);
		dma_put(d, at + ENT_OUT, e + ENT_OUT, ENT_INLINE);
		e[ENT_STATUS_OWN] = delivery << 1;
		/* The owner's bit is the last that the driver sees. */
		smp_wmb();
		dma_put(d, at + ENT_STATUS_OWN, e + ENT_STATUS_OWN, 1);
		stl_be_p(done, 1u << i);
		if (events && eq_wanting(d, EVENT_CMD))
			eq_event(d, EVENT_CMD, 0, done, sizeof(done));
	}
}

/*
 * The pages behind the fixed part of the command hold a ring of so many bytes. An offset is in
 * 64ths of a page, as the device has it for rings that do not begin where a page does.
 */
int ring_init(struct cmd *c, struct ring *r, uint64_t bytes, uint32_t log_page, uint32_t offset,
	      const uint8_t *pas)
{
	uint32_t have = (c->in + c->in_len - pas) / 8, i;
	uint64_t page, need;

	r->log_page = log_page + 12;
	if (r->log_page > 40)
		return refuse(c, STAT_BAD_PARAM, "pages of 2^%u bytes", r->log_page);
	page = 1ull << r->log_page;
	r->offset = offset * (page / 64);
	need = DIV_ROUND_UP(r->offset + bytes, page);
	if (have < need)
		return refuse(c, STAT_BAD_INP_LEN, "%u pages where %" PRIu64 " bytes need %" PRIu64,
			      have, bytes, need);
	r->pas = g_new(uint64_t, MAX(need, 1));
	for (i = 0; i < need; i++) {
		r->pas[i] = ldq_be_p(pas + 8 * i);
		if (r->pas[i] % page) {
			ring_free(r);
			return refuse(c, STAT_BAD_PARAM, "page %u is not aligned to its size", i);
		}
	}
	return STAT_OK;
}

void ring_free(struct ring *r)
{
	g_free(r->pas);
	r->pas = NULL;
}

static uint64_t ring_addr(const struct ring *r, uint64_t offset, uint32_t *len)
{
	uint64_t page = 1ull << r->log_page;

	offset += r->offset;
	*len = MIN(*len, page - (offset & (page - 1)));
	return r->pas[offset >> r->log_page] + (offset & (page - 1));
}

void ring_get(struct mdev *d, const struct ring *r, uint64_t offset, void *p, uint32_t len)
{
	while (len) {
		uint32_t n = len;
		uint64_t a = ring_addr(r, offset, &n);

		dma_get(d, a, p, n);
		offset += n;
		p += n;
		len -= n;
	}
}

void ring_put(struct mdev *d, const struct ring *r, uint64_t offset, const void *p, uint32_t len)
{
	while (len) {
		uint32_t n = len;
		uint64_t a = ring_addr(r, offset, &n);

		dma_put(d, a, p, n);
		offset += n;
		p += n;
		len -= n;
	}
}
