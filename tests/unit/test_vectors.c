// SPDX-License-Identifier: MIT
/* What the comparison of commands and work requests reads out of a trace, and what it lets pass. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"
#include "tests/vectors/vectors.h"

/*
 * Input and output of commands as mlx5_ib sends them, with the fields that tests ask for; the rest
 * is zero.
 */
#define QPC 192
#define DCTC 128

/* A DC READ of libmlx5's: 4096 bytes through DC target 0x117 of the port with LID 7. */
static const char *const read_wqe[] = {
	"00000010000118060000000800000000", "11223344556677888000011700000007",
	"00000000000000000000000000000000", "00000000000000000000000000000000",
	"000012345678900000abcd0000000000", "00001000001122000000000007000000",
};

struct message {
	uint8_t b[512];
	size_t len;
};

struct options {
	uint64_t pm_state; /* of the DC initiator */
	uint64_t cq; /* that it names; 0: the one that was made */
	bool no_send;
};

static void put(struct message *m, unsigned int start, unsigned int bits, uint64_t v)
{
	unsigned int i;

	for (i = 0; i < bits; i++, start++)
		if (v >> (bits - 1 - i) & 1)
			m->b[start / 8] |= 0x80 >> start % 8;
	if (m->len < (start + 7) / 8)
		m->len = (start + 7) / 8;
}

static void hex_write(FILE *f, const struct message *m, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		fprintf(f, "%02x", m->b[i]);
}

/* A command that makes the object of that number, which all outputs but one have in one place. */
static void command(FILE *f, unsigned int opcode, struct message *in, size_t len,
		    unsigned int number)
{
	struct message out = {};

	put(&out, opcode == 0x301 ? 88 : 72, opcode == 0x301 ? 8 : 24, number);
	put(in, 0, 16, opcode);
	fprintf(f, "cmd %04x 00 ", opcode);
	hex_write(f, in, len);
	fputc(' ', f);
	hex_write(f, &out, 16);
	fputc('\n', f);
}

static void transition(FILE *f, unsigned int opcode, unsigned int qpn)
{
	struct message m = {};

	put(&m, 72, 24, qpn);
	put(&m, QPC + 8, 8, 5);
	command(f, opcode, &m, 272, 0);
}

static void work_request(FILE *f, unsigned int opcode, unsigned int qpn)
{
	struct message m = {};

	put(&m, 24, 8, opcode);
	put(&m, 32, 24, qpn);
	put(&m, 128, 64, 0x1122334455667788);
	fprintf(f, "wqe %06x 0 ", qpn);
	hex_write(f, &m, 96);
	fputc('\n', f);
}

/* All that one side makes; its numbers begin at base. */
static void side(FILE *f, unsigned int base, const struct options *o)
{
	struct message m;

	command(f, 0x800, memset(&m, 0, sizeof(m)), 16, base);
	command(f, 0x400, memset(&m, 0, sizeof(m)), 280, base + 1);
	command(f, 0x400, memset(&m, 0, sizeof(m)), 280, base + 2);
	command(f, 0x90c, memset(&m, 0, sizeof(m)), 280, base + 3);
	memset(&m, 0, sizeof(m));
	put(&m, DCTC + 72, 24, base + 2);
	put(&m, DCTC + 168, 24, base + 3);
	put(&m, DCTC + 200, 24, base);
	put(&m, DCTC + 256, 64, 0x1122334455667788);
	command(f, 0x710, &m, 128, base + 4);
	memset(&m, 0, sizeof(m));
	put(&m, QPC + 8, 8, 5);
	put(&m, QPC + 19, 2, o->pm_state);
	put(&m, QPC + 40, 24, base);
	put(&m, QPC + 0x3e8, 24, o->cq ? o->cq : base + 1);
	put(&m, 272 * 8, 64, 0x1000);
	command(f, 0x500, &m, 280, base + 5);
	transition(f, 0x502, base + 5);
	transition(f, 0x503, base + 5);
	transition(f, 0x504, base + 5);
	work_request(f, 0x10, base + 5);
	if (!o->no_send)
		work_request(f, 0xa, base + 5);
}

struct text {
	char *p;
	size_t size;
};

static FILE *text_open(struct text *t)
{
	FILE *f = open_memstream(&t->p, &t->size);

	if (!f)
		abort();
	return f;
}

static FILE *text_read(const char *text)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");

	if (!f)
		abort();
	return f;
}

static int trace_read(const char *text, struct vec_trace *t, char *message)
{
	FILE *f = text_read(text);
	int rc = vec_trace_read(f, t, message, 256);

	fclose(f);
	return rc;
}

/* Of what has been written, which is a trace. */
static void trace_take(FILE *f, struct text *text, struct vec_trace *t)
{
	char message[256];

	fclose(f);
	CU_ASSERT_EQUAL_FATAL(trace_read(text->p, t, message), 0);
	free(text->p);
}

static const char *value(const struct vec_record *r, const char *field)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (!strcmp(r->values[i].field, field))
			return r->values[i].text;
	return "no such field";
}

static const struct vec_record *of_kind(const struct vec_trace *t, enum vec_kind kind)
{
	static const struct vec_record none;
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->records[i].kind == kind)
			return &t->records[i];
	return &none;
}

#define IS(record, field, text) CU_ASSERT_STRING_EQUAL(value(record, field), text)

static void test_numbers(void)
{
	const struct vec_record *r;
	struct text text = {};
	struct vec_trace t;
	FILE *f;

	f = text_open(&text);
	side(f, 0x100, &(struct options){ .pm_state = 3 });
	trace_take(f, &text, &t);
	r = of_kind(&t, VEC_DCT);
	IS(r, "dct_context_entry.pd", "pd");
	IS(r, "dct_context_entry.srqn_xrqn", "rmp");
	IS(r, "dct_context_entry.cqn", "cq");
	IS(r, "dct_context_entry.dc_access_key", "key");
	IS(r, "dct_context_entry.rre", "0x0");
	IS(r, "opcode", "0x710");
	r = of_kind(&t, VEC_DCI_CREATE);
	IS(r, "qpc.st", "0x5");
	IS(r, "qpc.pm_state", "0x3");
	IS(r, "qpc.pd", "pd");
	IS(r, "qpc.cqn_snd", "cq");
	IS(r, "qpc.cqn_rcv", "0x0");
	IS(r, "pas[]", "address");
	IS(of_kind(&t, VEC_DCI_RTR2RTS), "qpn", "qp");
	CU_ASSERT_PTR_EQUAL(of_kind(&t, VEC_DCI_CQ), &t.records[1]);
	CU_ASSERT_PTR_EQUAL(of_kind(&t, VEC_DCT_CQ), &t.records[2]);
	CU_ASSERT_PTR_EQUAL(of_kind(&t, VEC_DCT_RMP), &t.records[3]);
	vec_trace_free(&t);
}

static void test_work_request(void)
{
	const struct vec_record *r;
	struct text text = {};
	struct vec_trace t;
	size_t i;
	FILE *f;

	f = text_open(&text);
	side(f, 0x113, &(struct options){});
	fputs("wqe 000118 0 ", f);
	for (i = 0; i < sizeof(read_wqe) / sizeof(*read_wqe); i++)
		fputs(read_wqe[i], f);
	/* not of a DC initiator */
	fprintf(f, "\nwqe 000119 0 %s\n", read_wqe[0]);
	trace_take(f, &text, &t);
	r = &t.records[t.n - 2];
	CU_ASSERT_EQUAL_FATAL(r->kind, VEC_READ);
	IS(r, "ctrl.opcode", "0x10");
	IS(r, "ctrl.qpn", "qp");
	IS(r, "ctrl.ds", "0x6");
	IS(r, "ctrl.fm_ce_se", "0x8");
	IS(r, "av.dc_key", "key");
	IS(r, "av.ext", "0x1");
	IS(r, "av.dctn", "dct");
	IS(r, "av.rlid", "0x7");
	IS(r, "av.grh", "0x0");
	IS(r, "raddr.raddr", "address");
	IS(r, "raddr.rkey", "number-of-nothing");
	IS(r, "data.byte_count", "size");
	IS(r, "data.addr", "address");
	vec_trace_free(&t);
}

static void test_key_of_another(void)
{
	struct text text = {};
	struct vec_trace t;
	FILE *f;

	f = text_open(&text);
	side(f, 0x113, &(struct options){});
	fputs("wqe 000118 0 0000001000011806000000080000000011223344556677898000011700000007\n", f);
	trace_take(f, &text, &t);
	IS(&t.records[t.n - 1], "av.dc_key", "other-key");
	/* a short one has zeros behind its end */
	IS(&t.records[t.n - 1], "data.addr", "0x0");
	vec_trace_free(&t);
}

/* A number that is given again stands for the new object; a refused command makes nothing. */
static void test_numbers_again(void)
{
	struct text text = {};
	struct vec_trace t;
	FILE *f;

	f = text_open(&text);
	side(f, 0x100, &(struct options){});
	side(f, 0x100, &(struct options){});
	fputs("cmd 0800 05 08000000000000000000000000000000 00000000000000000000020000000000\n", f);
	side(f, 0x200, &(struct options){ .cq = 0x999 });
	trace_take(f, &text, &t);
	CU_ASSERT_EQUAL(t.records[1].kind, VEC_DCI_CQ);
	CU_ASSERT_EQUAL(t.records[12].kind, VEC_DCI_CQ);
	IS(&t.records[t.n - 6], "qpc.cqn_snd", "number-of-nothing");
	vec_trace_free(&t);
}

static void test_broken_trace(void)
{
	static const char *const broken[] = {
		"cmd\n",
		"cmd 0800\n",
		"cmd 0800 00 08\n",
		"cmd 0800 00 0 00\n",
		"cmd 0800 00 zz 00\n",
		"cmd x 00 08 00\n",
		"wqe 1 2\n",
		"wqe 1 2 123\n",
		"cmd 0800 00 08 0\n",
	};
	struct vec_trace t;
	char message[256];
	size_t i;

	for (i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		CU_ASSERT_NOT_EQUAL(trace_read(broken[i], &t, message), 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(message, "line 1 "));
	}
	CU_ASSERT_EQUAL(trace_read("evt 0a 00\n\n", &t, message), 0);
	CU_ASSERT_EQUAL(t.n, 0);
	vec_trace_free(&t);
}

/* What compare() has printed. */
static char said[4096];

/* How much is wrong between a plain side and another. */
static int compare(const struct options *o, const char *known, const char *kernel)
{
	struct text text = {}, out = {};
	struct vec_range stock, ours;
	struct vec_trace t;
	FILE *f, *k;
	int wrong;

	f = text_open(&text);
	side(f, 0x100, &(struct options){ .pm_state = 3 });
	fflush(f);
	stock = (struct vec_range){ 0, text.size };
	side(f, 0x200, o);
	trace_take(f, &text, &t);
	ours = (struct vec_range){ stock.to, text.size };
	f = text_open(&out);
	k = text_read(known);
	wrong = vec_compare(&t, stock, ours, k, kernel, f);
	fclose(k);
	fclose(f);
	snprintf(said, sizeof(said), "%s", out.p);
	vec_trace_free(&t);
	free(out.p);
	return wrong;
}

#define REASON "CREATE_QP/DCI qpc.pm_state 0x3 0x0 the path never moves\n"

static void test_compare(void)
{
	const struct options same = { .pm_state = 3 }, other = {};
	const struct options no_send = { .pm_state = 3, .no_send = true };
	const struct options no_cq = { .pm_state = 3, .cq = 0x999 };

	CU_ASSERT_EQUAL(compare(&same, "# nothing\n\n", "6.12"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "compared READ/DCI: 1 of stock's, 1 of mitosis'"));

	CU_ASSERT_EQUAL(compare(&other, "#", "6.12"), 1);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(said, "not ok CREATE_QP/DCI qpc.pm_state: stock has 0x3, mitosis has 0x0"));
	CU_ASSERT_EQUAL(compare(&other, REASON, "6.12"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "the path never moves"));
	CU_ASSERT_EQUAL(compare(&other, "@6.12 " REASON, "6.12"), 0);
	CU_ASSERT_EQUAL(compare(&other, "@6.1 " REASON, "6.12"), 1);
	CU_ASSERT_EQUAL(compare(&other, "@6.12 " REASON, "6.1"), 1);

	/* a reason for what does not differ */
	CU_ASSERT_EQUAL(compare(&same, REASON, "6.12"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "does not occur any more"));
	/* nor is one for another value a reason */
	CU_ASSERT_EQUAL(compare(&other, "CREATE_QP/DCI qpc.pm_state 0x3 0x1 why\n", "6.12"), 2);
	/* what is sent to nobody differs from a queue, and that queue is missed */
	CU_ASSERT_EQUAL(compare(&no_cq, "#", "6.12"), 2);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(said, "qpc.cqn_snd: stock has cq, mitosis has number-of-nothing"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "CREATE_CQ/DCI: mitosis sends none"));
	CU_ASSERT_EQUAL(compare(&no_send, "#", "6.12"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "SEND/DCI: mitosis sends none"));
}

static void test_known_broken(void)
{
	const struct options same = { .pm_state = 3 };

	CU_ASSERT(compare(&same, "CREATE_QP/DCI qpc.pm_state 0x3 0x0\n", "6.12") < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "line 1 of the known differences"));
	CU_ASSERT(compare(&same, "x\n", "6.12") < 0);
}

static CU_TestInfo tests[] = {
	TEST(test_numbers),
	TEST(test_work_request),
	TEST(test_key_of_another),
	TEST(test_numbers_again),
	TEST(test_broken_trace),
	TEST(test_compare),
	TEST(test_known_broken),
	CU_TEST_INFO_NULL,
};

CU_SuiteInfo suites[] = {
	{ "vectors", NULL, NULL, NULL, NULL, tests },
	CU_SUITE_INFO_NULL,
};
