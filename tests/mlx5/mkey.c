// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory keys: what they open, how addresses are translated, and the work requests that change them
 * (UMR).
 */
#include "mlx5.h"
#include <infiniband/mlx5dv.h>

#define SYNDROME_FILE 5
#define MAX_INDIRECTION 4
#define OCTWORD 16
#define MTT_READ 1
#define MTT_WRITE 2

/* A UMR work request behind its control segment. */
enum {
	UMR_FLAGS = 0,
	UMR_OCTWORDS = 4,
	UMR_OFFSET = 6,
	UMR_MASK = 8,
	UMR_OFFSET_HIGH = 16,
	UMR_MKEY = 48,
	UMR_DATA = 112
};
enum {
	UMR_OFFSET_EN = 1 << 4,
	UMR_MUST_BE_FREE = 1 << 5,
	UMR_MUST_BE_USED = 1 << 6,
	UMR_INLINE = 1 << 7
};
enum {
	MASK_LEN = 0,
	MASK_PAGE_SIZE = 1,
	MASK_START = 6,
	MASK_PD = 7,
	MASK_RINVAL = 8,
	MASK_KEY = 13,
	MASK_QPN = 14,
	MASK_LR = 17,
	MASK_LW = 18,
	MASK_RR = 19,
	MASK_RW = 20,
	MASK_A = 21,
	MASK_SMALL_FENCE = 23,
	MASK_FREE = 29,
};

#define M(m, f) GET(mkc, (m)->context, f)

static struct mkey *mkey_get(struct mdev *d, uint32_t key)
{
	struct mkey *m = table_get(&d->mkeys, key >> 8);

	return m && !M(m, free) && M(m, mkey_7_0) == (key & 0xff) ? m : NULL;
}

static bool mkey_allows(const struct mkey *m, enum access need)
{
	return (!(need & ACCESS_LR) || M(m, lr)) && (!(need & ACCESS_LW) || M(m, lw)) &&
	       (!(need & ACCESS_RR) || M(m, rr)) && (!(need & ACCESS_RW) || M(m, rw)) &&
	       (!(need & ACCESS_A) || M(m, a));
}

/* With no p nothing is moved. */
static void move(struct mdev *d, uint64_t addr, uint8_t *p, uint64_t len, bool write)
{
	if (p && write)
		dma_put(d, addr, p, len);
	else if (p)
		dma_get(d, addr, p, len);
}

/* With no p the range is only checked. */
static bool mkey_walk(struct mdev *d, uint32_t key, const struct pd *pd, uint64_t va, uint8_t *p,
		      uint64_t len, enum access need, int depth)
{
	struct mkey *m = mkey_get(d, key);
	bool write = need & (ACCESS_LW | ACCESS_RW | ACCESS_A);
	uint64_t start, off, page, at = 0, size;
	uint32_t mode, i, log;

	if (!m || m->pd != pd || !mkey_allows(m, need) || depth > MAX_INDIRECTION)
		return false;
	start = M(m, start_addr);
	if (!M(m, length64) && (va < start || len > M(m, len) || va - start > M(m, len) - len))
		return false;
	mode = M(m, access_mode_1_0);
	log = M(m, log_page_size);
	if (mode == MLX5_MKC_ACCESS_MODE_PA) {
		move(d, va, p, len, write);
		return true;
	}
	if (mode == MLX5_MKC_ACCESS_MODE_MTT) {
		page = 1ull << log;
		for (off = va - (start & ~(page - 1)); len; off += size, len -= size) {
			uint64_t entry, in_page = off & (page - 1);

			if ((off >> log) / 2 >= m->num_octwords)
				return false;
			entry = ldq_be_p(m->xlt + 8 * (off >> log));
			if (!(entry & (write ? MTT_WRITE : MTT_READ)))
				return false;
			size = MIN(len, page - in_page);
			move(d, (entry & ~7ull) + in_page, p, size, write);
			p = p ? p + size : NULL;
		}
		return true;
	}
	/* Lists of other keys; what those are opened for is what the device does itself. */
	need = write ? ACCESS_LW : ACCESS_LR;
	off = va - start;
	for (i = 0; len && i < m->num_octwords; i++, at += page) {
		const uint8_t *e = m->xlt + OCTWORD * i;

		page = mode == MLX5_MKC_ACCESS_MODE_KSM ? 1ull << log : ldl_be_p(e);
		if (off >= at + page)
			continue;
		size = MIN(len, at + page - off);
		if (!mkey_walk(d, ldl_be_p(e + 4), pd, ldq_be_p(e + 8) + off - at, p, size, need,
			       depth + 1))
			return false;
		off += size;
		len -= size;
		p = p ? p + size : NULL;
	}
	return !len;
}

bool mkey_check(struct mdev *d, uint32_t key, const struct pd *pd, uint64_t va, uint64_t len,
		enum access need)
{
	return mkey_walk(d, key, pd, va, NULL, len, need, 0);
}

/*
 * To memory if it is to be written to, else from there. Nothing is copied unless all of it may be.
 */
bool mkey_copy(struct mdev *d, uint32_t key, const struct pd *pd, uint64_t va, void *p,
	       uint64_t len, enum access need)
{
	return mkey_walk(d, key, pd, va, NULL, len, need, 0) &&
	       mkey_walk(d, key, pd, va, p, len, need, 0);
}

/* As a peer's SEND asks for. */
bool mkey_invalidate(struct mdev *d, uint32_t key, const struct pd *pd)
{
	struct mkey *m = mkey_get(d, key);

	if (!m || m->pd != pd || !M(m, en_rinval) || !M(m, umr_en))
		return false;
	SET(mkc, m->context, free, 1);
	return true;
}

static void mkey_set_pd(struct mkey *m, struct pd *pd)
{
	if (m->pd)
		m->pd->o.refs--;
	m->pd = pd;
	if (pd)
		pd->o.refs++;
}

/* The completion's syndrome, 0: it is done. */
uint8_t mkey_umr(struct qp *q, const struct wr *w)
{
	static const struct {
		uint8_t bit;
		struct field f;
	} masks[] = {
		{ MASK_LEN, F(mkc, len) },
		{ MASK_LEN, F(mkc, length64) },
		{ MASK_PAGE_SIZE, F(mkc, log_page_size) },
		{ MASK_START, F(mkc, start_addr) },
		{ MASK_PD, F(mkc, pd) },
		{ MASK_RINVAL, F(mkc, en_rinval) },
		{ MASK_KEY, F(mkc, mkey_7_0) },
		{ MASK_QPN, F(mkc, qpn) },
		{ MASK_LR, F(mkc, lr) },
		{ MASK_LW, F(mkc, lw) },
		{ MASK_RR, F(mkc, rr) },
		{ MASK_RW, F(mkc, rw) },
		{ MASK_A, F(mkc, a) },
		{ MASK_SMALL_FENCE, F(mkc, small_fence_on_rdma_read_response) },
		{ MASK_FREE, F(mkc, free) },
	};
	struct mdev *d = q->d;
	struct mkey *m = table_get(&d->mkeys, w->imm >> 8);
	const uint8_t *u = w->inl;
	struct pd *pd = NULL;
	uint64_t mask, known = 0, size, offset;
	g_autofree uint8_t *xlt = NULL;
	const char *why = NULL;
	uint8_t flags;
	size_t i;

	if (w->inl_len < UMR_DATA)
		return MLX5_CQE_SYNDROME_LOCAL_QP_OP_ERR;
	flags = u[UMR_FLAGS];
	mask = ldq_be_p(u + UMR_MASK);
	size = (uint64_t)lduw_be_p(u + UMR_OCTWORDS) * OCTWORD;
	offset = flags & UMR_OFFSET_EN ? ((uint64_t)ldl_be_p(u + UMR_OFFSET_HIGH) << 16 |
					  lduw_be_p(u + UMR_OFFSET)) *
						 OCTWORD :
					 0;
	for (i = 0; i < G_N_ELEMENTS(masks); i++)
		known |= 1ull << masks[i].bit;
	if (mask & ~known)
		why = "its mask has bits that are not implemented";
	else if (!m || !M(m, umr_en))
		why = "there is no such key, or none for UMR";
	else if (flags & UMR_MUST_BE_FREE && !M(m, free))
		why = "the key is not free";
	else if (flags & UMR_MUST_BE_USED && M(m, free))
		why = "the key is free";
	else if (q->st != MLX5_QPC_ST_REG_UMR && (m->pd != q->pd || mask & 1ull << MASK_PD))
		why = "the key is of another protection domain";
	else if (offset + size > (uint64_t)m->num_octwords * OCTWORD)
		why = "the key has no room for so many translations";
	else if (mask & 1ull << MASK_PD && !(pd = table_get(&d->pds, GET(mkc, u + UMR_MKEY, pd))))
		why = "there is no such protection domain";
	if (!why && size) {
		xlt = g_malloc0(size);
		if (flags & UMR_INLINE)
			memcpy(xlt, u + UMR_DATA, MIN(size, w->inl_len - UMR_DATA));
		else if (w->inl_len < UMR_DATA + 16 ||
			 !mkey_copy(d, ldl_be_p(u + UMR_DATA + 4), q->pd,
				    ldq_be_p(u + UMR_DATA + 8), xlt,
				    MIN(size, ldl_be_p(u + UMR_DATA) & 0x7fffffff), ACCESS_LR))
			return MLX5_CQE_SYNDROME_LOCAL_PROT_ERR;
	}
	if (why) {
		mlog(d, "QP 0x%x: UMR of key 0x%x is refused: %s", q->o.n, w->imm, why);
		return MLX5_CQE_SYNDROME_MW_BIND_ERR;
	}
	for (i = 0; i < G_N_ELEMENTS(masks); i++)
		if (mask & 1ull << masks[i].bit)
			field_copy(m->context, u + UMR_MKEY, &masks[i].f);
	if (pd)
		mkey_set_pd(m, pd);
	if (size)
		memcpy(m->xlt + offset, xlt, size);
	return 0;
}

void mkey_free(void *p)
{
	struct mkey *m = p;

	mkey_set_pd(m, NULL);
	g_free(m->xlt);
	g_free(m);
}

static int cmd_create_mkey(struct cmd *c)
{
	struct mdev *d = c->d;
	uint8_t *x = ADDR(create_mkey_in, c->in, memory_key_mkey_entry);
	uint32_t mode = GET(mkc, x, access_mode_1_0),
		 octwords = GET(mkc, x, translations_octword_size);
	uint32_t actual = GET(create_mkey_in, c->in, translations_octword_actual_size),
		 log = GET(mkc, x, log_page_size);
	struct pd *pd = table_get(&d->pds, GET(mkc, x, pd));
	struct mkey *m;
	uint32_t n;

	if (!pd)
		return refuse(c, STAT_BAD_RES, "PD 0x%x", (int)GET(mkc, x, pd));
	if (GET(mkc, x, qpn) != 0xffffff)
		return refuse(c, STAT_BAD_PARAM, "keys of a single QP are not implemented");
	if (octwords > 1 << 24 || actual > octwords ||
	    (mode == MLX5_MKC_ACCESS_MODE_PA && octwords))
		return refuse(c, STAT_BAD_PARAM, "0x%x octwords of translations, 0x%x given",
			      octwords, actual);
	if (c->in_len - SZ(create_mkey_in) < (uint64_t)actual * OCTWORD)
		return refuse(c, STAT_BAD_INP_LEN, "0x%x octwords of translations in %u bytes",
			      actual, c->in_len);
	if (!GET(mkc, x, free) && mode == MLX5_MKC_ACCESS_MODE_MTT && (log < 12 || log > 31))
		return refuse(c, STAT_BAD_PARAM, "pages of 2^%u bytes", log);
	if (!GET(mkc, x, free) && mode == MLX5_MKC_ACCESS_MODE_MTT && !GET(mkc, x, length64) &&
	    GET(mkc, x, len) + (GET(mkc, x, start_addr) & ((1ull << log) - 1)) >
		    (2ull * octwords << log))
		return refuse(c, STAT_BAD_PARAM,
			      "0x%" PRIx64 " bytes with 0x%x octwords of translations",
			      GET(mkc, x, len), octwords);
	m = g_new0(struct mkey, 1);
	memcpy(m->context, x, sizeof(m->context));
	/* UMR writes 64 bytes at a time. */
	m->num_octwords = ROUND_UP(octwords, 64 / OCTWORD);
	m->xlt = g_malloc0((uint64_t)MAX(m->num_octwords, 1) * OCTWORD);
	memcpy(m->xlt, c->in + SZ(create_mkey_in), (uint64_t)actual * OCTWORD);
	mkey_set_pd(m, pd);
	n = table_add(&d->mkeys, m);
	if (!n) {
		mkey_free(m);
		return refuse(c, STAT_NO_RES, "all keys are in use");
	}
	SET(create_mkey_out, c->out, mkey_index, n);
	snprintf(c->why, sizeof(c->why), "key 0x%x%02x, mode %u, PD 0x%x%s%s", n,
		 (int)M(m, mkey_7_0), mode, pd->o.n, M(m, free) ? ", free" : "",
		 M(m, umr_en) ? ", for UMR" : "");
	return STAT_OK;
}

static int cmd_query_mkey(struct cmd *c)
{
	uint32_t n = GET(query_mkey_in, c->in, mkey_index);
	struct mkey *m = table_get(&c->d->mkeys, n);

	if (!m)
		return refuse(c, STAT_BAD_RES, "key 0x%x00", n);
	memcpy(ADDR(query_mkey_out, c->out, memory_key_mkey_entry), m->context, sizeof(m->context));
	return STAT_OK;
}

static int cmd_destroy_mkey(struct cmd *c)
{
	uint32_t n = GET(destroy_mkey_in, c->in, mkey_index);
	struct mkey *m = table_remove(&c->d->mkeys, n);

	if (!m)
		return refuse(c, STAT_BAD_RES, "key 0x%x00", n);
	mkey_free(m);
	return STAT_OK;
}

#define X(f) F(create_mkey_in, memory_key_mkey_entry.f)
static const struct field create_mkey_fields[] = { F(create_mkey_in,
						     translations_octword_actual_size),
						   X(free),
						   X(small_fence_on_rdma_read_response),
						   X(umr_en),
						   X(a),
						   X(rw),
						   X(rr),
						   X(lw),
						   X(lr),
						   X(access_mode_1_0),
						   X(qpn),
						   X(mkey_7_0),
						   X(length64),
						   X(en_rinval),
						   X(pd),
						   X(start_addr),
						   X(len),
						   X(translations_octword_size),
						   X(log_page_size),
						   {} };
#undef X
static const struct field query_mkey_fields[] = { F(query_mkey_in, mkey_index), {} };
static const struct field destroy_mkey_fields[] = { F(destroy_mkey_in, mkey_index), {} };

const struct cmd_def mkey_cmds[] = { CMD(MLX5_CMD_OP_CREATE_MKEY, create_mkey, WHEN_READY, TAIL_ANY,
					 cmd_create_mkey, create_mkey_fields),
				     { MLX5_CMD_OP_QUERY_MKEY, "query_mkey", SZ(query_mkey_in),
				       16 + SZ(mkc), TAIL_NONE, WHEN_READY, cmd_query_mkey,
				       query_mkey_fields },
				     CMD(MLX5_CMD_OP_DESTROY_MKEY, destroy_mkey, WHEN_READY,
					 TAIL_NONE, cmd_destroy_mkey, destroy_mkey_fields),
				     {} };
