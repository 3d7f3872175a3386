// SPDX-License-Identifier: MIT
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <infiniband/mlx5dv.h>

#include "vectors.h"
#include "fields.h"

#define FIELDS(f) .fields = f, .n = sizeof(f) / sizeof(*(f))
#define WORK_REQUEST 0xffff /* no opcode of the firmware's */
#define SEPARATORS "\n "

/* Segments of a work request stand behind each other. */
#define CTRL(member) (8 * offsetof(struct mlx5_wqe_ctrl_seg, member))
#define AV_SEG 128
#define AV(member) (AV_SEG + 8 * offsetof(struct mlx5_wqe_av, member))
#define RADDR_SEG (AV_SEG + 8 * sizeof(struct mlx5_wqe_av))
#define RADDR(member) (RADDR_SEG + 8 * offsetof(struct mlx5_wqe_raddr_seg, member))
#define DATA_SEG (RADDR_SEG + 8 * sizeof(struct mlx5_wqe_raddr_seg))
#define DATA(member) (DATA_SEG + 8 * offsetof(struct mlx5_wqe_data_seg, member))

/*
 * A work request of a DC initiator. Its control segment and address are followed by what to read
 * and where to put it, or by the data: each kind has a part of this table.
 */
#define INLINE_FIELDS 2
static const struct vec_field fields_wqe[] = {
	{ "inline.inline", RADDR_SEG, 1 },
	{ "inline.byte_count", RADDR_SEG + 1, 31 },
	{ "ctrl.opmod", CTRL(opmod_idx_opcode), 8 },
	{ "ctrl.wqe_index", CTRL(opmod_idx_opcode) + 8, 16 },
	{ "ctrl.opcode", CTRL(opmod_idx_opcode) + 24, 8 },
	{ "ctrl.qpn", CTRL(qpn_ds), 24 },
	{ "ctrl.ds", CTRL(qpn_ds) + 24, 8 },
	{ "ctrl.signature", CTRL(signature), 8 },
	{ "ctrl.dci_stream_channel_id", CTRL(dci_stream_channel_id), 16 },
	{ "ctrl.fm_ce_se", CTRL(fm_ce_se), 8 },
	{ "ctrl.imm", CTRL(imm), 32 },
	{ "av.dc_key", AV(key), 64 },
	{ "av.ext", AV(dqp_dct), 1 },
	{ "av.reserved_at_41", AV(dqp_dct) + 1, 7 },
	{ "av.dctn", AV(dqp_dct) + 8, 24 },
	{ "av.stat_rate", AV(stat_rate_sl), 4 },
	{ "av.sl", AV(stat_rate_sl) + 4, 4 },
	{ "av.fl", AV(fl_mlid), 1 },
	{ "av.mlid", AV(fl_mlid) + 1, 7 },
	{ "av.rlid", AV(rlid), 16 },
	{ "av.reserved_at_80", AV(reserved0), 32 },
	{ "av.rmac", AV(rmac), 48 },
	{ "av.tclass", AV(tclass), 8 },
	{ "av.hop_limit", AV(hop_limit), 8 },
	{ "av.reserved_at_e0", AV(grh_gid_fl), 1 },
	{ "av.grh", AV(grh_gid_fl) + 1, 1 },
	{ "av.reserved_at_e2", AV(grh_gid_fl) + 2, 2 },
	{ "av.src_addr_index", AV(grh_gid_fl) + 4, 8 },
	{ "av.flow_label", AV(grh_gid_fl) + 12, 20 },
	{ "av.rgid", AV(rgid), 128 },
	{ "raddr.raddr", RADDR(raddr), 64 },
	{ "raddr.rkey", RADDR(rkey), 32 },
	{ "raddr.reserved_at_60", RADDR(reserved), 32 },
	{ "data.byte_count", DATA(byte_count), 32 },
	{ "data.lkey", DATA(lkey), 32 },
	{ "data.addr", DATA(addr), 64 },
};

#define DC_FIELDS 28 /* of control segment and address */

const char *const vec_kind_name[VEC_KINDS] = {
	[VEC_DCI_CREATE] = "CREATE_QP/DCI",
	[VEC_DCI_RST2INIT] = "RST2INIT_QP/DCI",
	[VEC_DCI_INIT2RTR] = "INIT2RTR_QP/DCI",
	[VEC_DCI_RTR2RTS] = "RTR2RTS_QP/DCI",
	[VEC_DCI_CQ] = "CREATE_CQ/DCI",
	[VEC_DCT] = "CREATE_DCT",
	[VEC_DCT_CQ] = "CREATE_CQ/DCT",
	[VEC_DCT_RMP] = "CREATE_RMP/DCT",
	[VEC_READ] = "READ/DCI",
	[VEC_SEND] = "SEND/DCI",
};

static const struct {
	const struct vec_field *fields;
	size_t n;
} layouts[VEC_KINDS] = {
	[VEC_DCI_CREATE] = { FIELDS(fields_create_qp_in) },
	[VEC_DCI_RST2INIT] = { FIELDS(fields_rst2init_qp_in) },
	[VEC_DCI_INIT2RTR] = { FIELDS(fields_init2rtr_qp_in) },
	[VEC_DCI_RTR2RTS] = { FIELDS(fields_rtr2rts_qp_in) },
	[VEC_DCI_CQ] = { FIELDS(fields_create_cq_in) },
	[VEC_DCT] = { FIELDS(fields_create_dct_in) },
	[VEC_DCT_CQ] = { FIELDS(fields_create_cq_in) },
	[VEC_DCT_RMP] = { FIELDS(fields_create_rmp_in) },
	[VEC_READ] = { fields_wqe + INLINE_FIELDS,
		       sizeof(fields_wqe) / sizeof(*fields_wqe) - INLINE_FIELDS },
	[VEC_SEND] = { fields_wqe, INLINE_FIELDS + DC_FIELDS },
};

/*
 * Where a command's output has the number of what it has made, and by what name that goes. Queues
 * to receive from share their numbers.
 */
enum numbers { PD, UAR, CQ, EQ, QP, DCT, SRQ, XRCD, MKEY, SPACES };

#define MAKER(OPCODE, command, space, name, field) \
	{ MLX5_CMD_OP_##OPCODE, space, name, FIELDS(fields_##command##_out), .number = field }

static const struct maker {
	uint16_t opcode;
	enum numbers space;
	const char *name;
	const struct vec_field *fields; /* of its output */
	size_t n;
	const char *number;
} makers[] = {
	MAKER(CREATE_MKEY, create_mkey, MKEY, "mkey", "mkey_index"),
	MAKER(CREATE_EQ, create_eq, EQ, "eq", "eq_number"),
	MAKER(CREATE_CQ, create_cq, CQ, "cq", "cqn"),
	MAKER(CREATE_QP, create_qp, QP, "qp", "qpn"),
	MAKER(CREATE_XRC_SRQ, create_xrc_srq, SRQ, "xrc_srq", "xrc_srqn"),
	MAKER(CREATE_DCT, create_dct, DCT, "dct", "dctn"),
	MAKER(ALLOC_PD, alloc_pd, PD, "pd", "pd"),
	MAKER(ALLOC_UAR, alloc_uar, UAR, "uar", "uar"),
	MAKER(ALLOC_XRCD, alloc_xrcd, XRCD, "xrcd", "xrcd"),
	MAKER(CREATE_RMP, create_rmp, SRQ, "rmp", "rmpn"),
};

/*
 * Fields by the last name of their path that hold the number of an object, or what else differs
 * from run to run.
 */
enum { ADDRESS = SPACES, KEY, COUNTER, SIZE, PLACE };

static const struct {
	const char *name;
	int what;
} references[] = {
	{ "pd", PD },		{ "uar_page", UAR },
	{ "cqn", CQ },		{ "cqn_snd", CQ },
	{ "cqn_rcv", CQ },	{ "c_eqn_or_apu_element", EQ },
	{ "qpn", QP },		{ "dctn", DCT },
	{ "srqn_xrqn", SRQ },	{ "srqn_rmpn_xrqn", SRQ },
	{ "xrcd", XRCD },	{ "lkey", MKEY },
	{ "rkey", MKEY },	{ "dbr_addr", ADDRESS },
	{ "pas[]", ADDRESS },	{ "addr", ADDRESS },
	{ "raddr", ADDRESS },	{ "dc_access_key", KEY },
	{ "dc_key", KEY },	{ "wqe_index", COUNTER },
	{ "byte_count", SIZE },
	{ "page_offset", PLACE },
	{ "log_page_size", PLACE },
};

/* The numbers that are known when a line of the trace is read; record: the one that made it. */
struct number {
	enum numbers space;
	uint64_t n;
	const char *name;
	size_t record;
};

struct reader {
	struct vec_trace *t;
	struct number *numbers;
	size_t n;
};

static void *grown(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n, size);
	if (!p)
		abort();
	return p;
}

/* Up to 64 bits; those behind the end of a message are zero. */
static uint64_t bits_get(const uint8_t *b, size_t len, unsigned int start, unsigned int bits)
{
	uint64_t v = 0;
	unsigned int i;

	for (i = start; i < start + bits; i++)
		v = v << 1 | (i / 8 < len ? b[i / 8] >> (7 - i % 8) & 1 : 0);
	return v;
}

static uint64_t field_get(const struct vec_field *fields, size_t n, const char *name,
			  const uint8_t *b, size_t len)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(fields[i].name, name))
			return bits_get(b, len, fields[i].start, fields[i].bits);
	fprintf(stderr, "vectors: mlx5_ifc.h has no field %s: correct vectors.c\n", name);
	abort();
}

#define GET(r, kind, name) field_get(layouts[kind].fields, layouts[kind].n, name, (r)->in, (r)->len)

static struct number *number_find(struct reader *rd, enum numbers space, uint64_t n)
{
	size_t i;

	/* the latest: numbers are used again */
	for (i = rd->n; i--;)
		if (rd->numbers[i].space == space && rd->numbers[i].n == n)
			return &rd->numbers[i];
	return NULL;
}

/* The record that made the object of that number. */
static struct vec_record *record_find(struct reader *rd, enum numbers space, uint64_t n)
{
	struct number *number = number_find(rd, space, n);

	return number ? &rd->t->records[number->record] : NULL;
}

static bool is_dci(struct reader *rd, uint64_t qpn)
{
	struct vec_record *r = record_find(rd, QP, qpn);

	return r && r->kind == VEC_DCI_CREATE;
}

static bool key_is_known(struct reader *rd, uint64_t key)
{
	size_t i;

	for (i = 0; i < rd->n; i++)
		if (rd->numbers[i].space == DCT &&
		    GET(&rd->t->records[rd->numbers[i].record], VEC_DCT,
			"dct_context_entry.dc_access_key") == key)
			return true;
	return false;
}

static int reference_of(const char *path)
{
	const char *name = strrchr(path, '.');
	size_t i;

	name = name ? name + 1 : path;
	for (i = 0; i < sizeof(references) / sizeof(*references); i++)
		if (!strcmp(references[i].name, name))
			return references[i].what;
	return -1;
}

static const char *reference_tell(struct reader *rd, const char *path, int what, uint64_t v)
{
	struct number *number;

	switch (what) {
	case ADDRESS:
		return "address";
	case KEY:
		return strstr(path, "dc_access_key") || key_is_known(rd, v) ? "key" : "other-key";
	case COUNTER:
		return "counter";
	case SIZE:
		return "size";
	case PLACE:
		return "place";
	default:
		number = number_find(rd, what, what == MKEY ? v >> 8 : v);
		return number ? number->name : "number-of-nothing";
	}
}

static void value_tell(struct reader *rd, const struct vec_field *f, uint64_t v,
		       struct vec_value *value)
{
	int what = reference_of(f->name);

	/* Zero stands for nothing, but counters and places begin there. */
	if (what < 0 || (!v && what != COUNTER && what != PLACE))
		snprintf(value->text, sizeof(value->text), "0x%llx", (unsigned long long)v);
	else
		snprintf(value->text, sizeof(value->text), "%s",
			 reference_tell(rd, f->name, what, v));
}

static bool is_zero(const struct vec_record *r, const struct vec_field *f)
{
	unsigned int i;

	for (i = 0; i < f->bits; i++)
		if (bits_get(r->in, r->len, f->start + i, 1))
			return false;
	return true;
}

/* Fields wider than 64 bits, reserved ones nearly all, are told by their bytes. */
static void wide_tell(const struct vec_record *r, const struct vec_field *f,
		      struct vec_value *value)
{
	char *p = value->text;
	unsigned int i;

	if (is_zero(r, f)) {
		strcpy(value->text, "0x0");
		return;
	}
	for (i = 0; i < f->bits && p < value->text + sizeof(value->text) - 3; i += 8)
		p += sprintf(p, "%02x",
			     (unsigned int)bits_get(r->in, r->len, f->start + i,
						    f->bits - i < 8 ? f->bits - i : 8));
}

static bool is_list(const struct vec_field *f)
{
	return f->name[strlen(f->name) - 1] == ']';
}

static void value_add(struct reader *rd, struct vec_record *r, const struct vec_field *f)
{
	struct vec_value *value;

	r->values = grown(r->values, r->n + 1, sizeof(*r->values));
	value = &r->values[r->n++];
	value->field = f->name;
	if (f->bits > 64)
		wide_tell(r, f, value);
	else
		value_tell(rd, f, bits_get(r->in, r->len, f->start, f->bits), value);
}

static void record_decode(struct reader *rd, struct vec_record *r)
{
	const struct vec_field *f = layouts[r->kind].fields, *end = f + layouts[r->kind].n;
	struct vec_field one;

	for (; f < end; f++) {
		if (!is_list(f)) {
			value_add(rd, r, f);
			continue;
		}
		for (one = *f; one.start + one.bits <= 8 * r->len; one.start += one.bits)
			value_add(rd, r, &one);
	}
}

/* What the object is for is known only when it is used: by the first one that names it. */
static void made_for(struct reader *rd, enum numbers space, uint64_t n, enum vec_kind kind)
{
	struct vec_record *r = record_find(rd, space, n);

	if (r && r->kind == VEC_OTHER &&
	    (kind != VEC_DCT_RMP || r->opcode == MLX5_CMD_OP_CREATE_RMP))
		r->kind = kind;
}

static void number_add(struct reader *rd, const struct maker *m, size_t record, uint64_t n)
{
	rd->numbers = grown(rd->numbers, rd->n + 1, sizeof(*rd->numbers));
	rd->numbers[rd->n++] = (struct number){ m->space, n, m->name, record };
}

static void transition_classify(struct reader *rd, struct vec_record *r, enum vec_kind kind)
{
	if (is_dci(rd, GET(r, kind, "qpn")))
		r->kind = kind;
}

/* What a record is, as far as it tells itself; the queues it uses are told by it. */
static void record_classify(struct reader *rd, struct vec_record *r)
{
	switch (r->opcode) {
	case MLX5_CMD_OP_CREATE_QP:
		if (GET(r, VEC_DCI_CREATE, "qpc.st") != MLX5_QPC_ST_DCI)
			break;
		r->kind = VEC_DCI_CREATE;
		made_for(rd, CQ, GET(r, VEC_DCI_CREATE, "qpc.cqn_snd"), VEC_DCI_CQ);
		break;
	case MLX5_CMD_OP_RST2INIT_QP:
		transition_classify(rd, r, VEC_DCI_RST2INIT);
		break;
	case MLX5_CMD_OP_INIT2RTR_QP:
		transition_classify(rd, r, VEC_DCI_INIT2RTR);
		break;
	case MLX5_CMD_OP_RTR2RTS_QP:
		transition_classify(rd, r, VEC_DCI_RTR2RTS);
		break;
	case MLX5_CMD_OP_CREATE_DCT:
		r->kind = VEC_DCT;
		made_for(rd, CQ, GET(r, VEC_DCT, "dct_context_entry.cqn"), VEC_DCT_CQ);
		made_for(rd, SRQ, GET(r, VEC_DCT, "dct_context_entry.srqn_xrqn"), VEC_DCT_RMP);
		break;
	case WORK_REQUEST:
		if (!is_dci(rd, GET(r, VEC_READ, "ctrl.qpn")))
			break;
		if (GET(r, VEC_READ, "ctrl.opcode") == MLX5_OPCODE_RDMA_READ)
			r->kind = VEC_READ;
		else if (GET(r, VEC_READ, "ctrl.opcode") == MLX5_OPCODE_SEND)
			r->kind = VEC_SEND;
		break;
	}
}

/*
 * In the order of the trace, because numbers are used again. Twice: what a queue is for is known
 * only when it is used, and what the numbers in its command stood for only when it was made.
 */
static void trace_walk(struct vec_trace *t, bool decode)
{
	struct reader rd = { .t = t };
	const struct maker *m;
	struct vec_record *r;
	size_t i, j;

	for (i = 0; i < t->n; i++) {
		r = &t->records[i];
		if (decode && r->kind != VEC_OTHER)
			record_decode(&rd, r);
		else if (!decode)
			record_classify(&rd, r);
		for (j = 0; j < sizeof(makers) / sizeof(*makers); j++) {
			m = &makers[j];
			if (r->out && m->opcode == r->opcode)
				number_add(&rd, m, i,
					   field_get(m->fields, m->n, m->number, r->out,
						     r->out_len));
		}
	}
	free(rd.numbers);
}

static int hex_read(const char *hex, uint8_t **bytes, size_t *len)
{
	size_t i, n = strlen(hex);
	unsigned int byte;

	if (n % 2)
		return -EINVAL;
	*bytes = grown(NULL, n / 2 + 1, 1);
	*len = n / 2;
	for (i = 0; i < *len; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1 || !isxdigit(hex[2 * i]) ||
		    !isxdigit(hex[2 * i + 1])) {
			free(*bytes);
			*bytes = NULL;
			return -EINVAL;
		}
		(*bytes)[i] = byte;
	}
	return 0;
}

/*
 * "cmd OPCODE STATUS INPUT OUTPUT" and "wqe QPN INDEX BYTES", bytes and numbers but the index in
 * hexadecimal. A refused command makes nothing. Other lines are for other readers.
 */
static int line_read(char *line, struct vec_record *r)
{
	char *word = strtok(line, SEPARATORS), *number, *status, *in, *out = NULL, *end;

	*r = (struct vec_record){ .kind = VEC_OTHER };
	if (!word || (strcmp(word, "cmd") && strcmp(word, "wqe")))
		return 0;
	number = strtok(NULL, SEPARATORS);
	status = strtok(NULL, SEPARATORS);
	in = strtok(NULL, SEPARATORS);
	if (!number || !status || !in)
		return -EINVAL;
	if (!strcmp(word, "cmd")) {
		out = strtok(NULL, SEPARATORS);
		r->opcode = strtoul(number, &end, 16);
		if (!out || *end)
			return -EINVAL;
	} else {
		r->opcode = WORK_REQUEST;
	}
	if (hex_read(in, &r->in, &r->len))
		return -EINVAL;
	if (out && !strcmp(status, "00") && hex_read(out, &r->out, &r->out_len))
		return -EINVAL;
	return 1;
}

int vec_trace_read(FILE *f, struct vec_trace *t, char *message, size_t size)
{
	size_t room = 0, offset = 0, n = 0;
	struct vec_record r;
	char *line = NULL;
	ssize_t len;
	int rc = 0;

	*t = (struct vec_trace){};
	while (rc >= 0 && (len = getline(&line, &room, f)) >= 0) {
		n++;
		rc = line_read(line, &r);
		if (rc > 0) {
			r.offset = offset;
			t->records = grown(t->records, t->n + 1, sizeof(r));
			t->records[t->n++] = r;
		}
		if (rc < 0) {
			free(r.in);
			snprintf(message, size,
				 "line %zu of the trace cannot be read: take one of this model's",
				 n);
		}
		offset += len;
	}
	free(line);
	if (rc >= 0) {
		trace_walk(t, false);
		trace_walk(t, true);
	} else {
		vec_trace_free(t);
	}
	return rc < 0 ? rc : 0;
}

void vec_trace_free(struct vec_trace *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		free(t->records[i].in);
		free(t->records[i].out);
		free(t->records[i].values);
	}
	free(t->records);
	*t = (struct vec_trace){};
}

void vec_print(const struct vec_record *r, FILE *out)
{
	size_t i;

	fprintf(out, "%s\n", vec_kind_name[r->kind]);
	for (i = 0; i < r->n; i++)
		if (strcmp(r->values[i].text, "0x0"))
			fprintf(out, "\t%-48s %s\n", r->values[i].field, r->values[i].text);
}
