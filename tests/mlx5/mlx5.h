/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ConnectX-class device for tests: what its parts share. Everything runs under QEMU's big lock,
 * in a processor's access to the BAR or in the main loop.
 */
#ifndef MLX5_MODEL_H
#define MLX5_MODEL_H

#include "qemu/osdep.h"
#include "hw/pci/pci.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "bits.h"

#define MLX5_PAGE 4096
#define NUM_EQS 16
#define NUM_VECTORS 16
#define NUM_UARS 512
#define MAX_SGE 32
#define MAX_WQE 1024
#define LOG_MAX_MSG 30
#define UAR_BASE_PAGE 0x100 /* of the BAR: below are the registers */
#define BAR_SIZE (4 << 20)
#define CMD_LOG_SIZE 5
#define CMD_LOG_STRIDE 6
#define RESERVED_LKEY 0x100 /* ends a list of scatter entries, opens nothing */

enum cmd_status {
	STAT_OK = 0x0,
	STAT_BAD_OP = 0x2,
	STAT_BAD_PARAM = 0x3,
	STAT_BAD_SYS_STATE = 0x4,
	STAT_BAD_RES = 0x5,
	STAT_RES_BUSY = 0x6,
	STAT_BAD_RES_STATE = 0x9,
	STAT_BAD_INDEX = 0xa,
	STAT_NO_RES = 0xf,
	STAT_BAD_QP_STATE = 0x10,
	STAT_BAD_INP_LEN = 0x50,
	STAT_BAD_OUTP_LEN = 0x51,
};

enum event_type {
	EVENT_COMP = 0x00,
	EVENT_CQ_ERROR = 0x04,
	EVENT_PORT_CHANGE = 0x09,
	EVENT_CMD = 0x0a,
	EVENT_WQ_INVAL_REQ = 0x10,
	EVENT_WQ_ACCESS = 0x11,
	EVENT_SRQ_LAST_WQE = 0x13,
	EVENT_SRQ_LIMIT = 0x14,
	EVENT_DCT_DRAINED = 0x1c,
};

struct mdev;
struct qp;

/* Memory of the guest in pages, as a list of addresses that a command gave. */
struct ring {
	uint64_t *pas;
	uint8_t log_page;
	uint32_t offset;
};

/* Numbered objects. A number is not given again soon, so that a stale one is noticed. */
struct table {
	void **p;
	uint32_t size, next, first, count;
};

/* What other objects refer to begins with this. */
struct obj {
	uint32_t n;
	int refs;
};

struct eq {
	struct obj o;
	struct ring ring;
	uint32_t log, pi, ci, uar, vector;
	uint64_t mask[4];
	bool armed, overrun;
};

enum cq_arm { CQ_NOT_ARMED, CQ_ARMED_SOLICITED, CQ_ARMED };

struct cq {
	struct obj o;
	struct ring ring;
	struct eq *eq;
	uint32_t log, pi, uar, cqe_size, last_solicited, notified;
	uint64_t dbr;
	enum cq_arm armed;
	bool ignore_overrun, overrun;
	uint8_t context[64];
};

struct pd {
	struct obj o;
};

/* What queue pairs and targets that name it have refused. */
struct counter_set {
	struct obj o;
	uint32_t resp_remote_access, resp_remote_invalid;
};

struct mkey {
	uint8_t context[64];   /* as QUERY_MKEY tells it */
	uint32_t num_octwords; /* room for translations, 16 bytes each */
	uint8_t *xlt;
	struct pd *pd;
};

struct srq {
	struct obj o;
	bool xrc, cyclic;
	struct ring ring;
	struct pd *pd;
	struct cq *cq;
	struct obj *xrcd;
	uint32_t log, stride, user_index;
	uint64_t dbr;
	uint16_t head;	/* linked list: the next entry to use */
	uint16_t taken; /* how many have been */
	uint16_t lwm;
	uint8_t context[512];
};

struct sge {
	uint64_t addr;
	uint32_t lkey, len;
};

struct av {
	uint64_t dc_key;
	uint32_t qkey, qpn;
	uint16_t dlid;
	uint8_t sl;
	bool grh;
	uint8_t gid[16];
	uint32_t flow;
	uint8_t tclass, hop_limit;
};

/* A work request that the send queue has begun. */
struct wr {
	QTAILQ_ENTRY(wr) list;
	uint16_t index; /* of its first basic block */
	uint8_t opcode, fence;
	bool signaled, solicited, begun, done;
	uint8_t syndrome; /* it failed, once it is the oldest */
	uint32_t imm, rkey, qpn;
	uint64_t raddr, swap, compare;
	struct av av;
	uint32_t len, psn,
		npsn;  /* the packets, or for a READ the answers, are psn .. psn + npsn - 1 */
	uint32_t next; /* packet to send, for a READ answer to ask for */
	uint32_t got;  /* answers to a READ or an atomic */
	int nsge;
	struct sge sge[MAX_SGE];
	uint8_t *inl; /* data, or what follows the control segment of an UMR */
	uint32_t inl_len;
};

/* What is owed to a peer, in this order: the packets of a READ, or an acknowledgement. */
struct answer {
	QTAILQ_ENTRY(answer) list;
	uint8_t op, syndrome;
	bool counted; /* among the requests that the peer may have outstanding */
	uint32_t psn, npsn, next, len, rkey, mtu;
	uint64_t va, old;
};

#define NUM_ATOMICS 16

/*
 * Requests of one peer as they come in: of an RC queue pair, or of one connection to a DC target.
 */
struct responder {
	uint32_t psn;  /* expected next */
	bool nak_sent; /* what follows a packet that is missing is not complained of again */
	bool failed;   /* nothing more is taken once the peer has been told */
	bool skip;     /* unreliable: the rest of a message that is lost */
	bool held;     /* an entry to receive into has been taken, and not used up */
	/* the message that has begun */
	uint8_t op; /* 0: none */
	uint32_t got, len, rkey;
	uint64_t va;
	struct recv {
		uint16_t index;
		int nsge;
		struct sge sge[MAX_SGE];
	} recv;
	QTAILQ_HEAD(, answer) answers;
	uint32_t nreads;
	uint32_t atomic_psn[NUM_ATOMICS], natomics;
	uint64_t atomic_old[NUM_ATOMICS];
};

struct dct {
	struct obj o;
	bool is_dct;
	struct mdev *d;
	uint8_t context[64];
	uint8_t state;
	struct pd *pd;
	struct srq *srq;
	struct cq *cq;
	uint64_t key;
	uint32_t violations;
	QTAILQ_HEAD(, dcr) conns;
	uint32_t nconns;
};

/* A connection that a DC initiator has made, as the target knows it. */
struct dcr {
	QTAILQ_ENTRY(dcr) list;
	struct dct *dct;
	uint16_t slid;
	uint32_t qpn, conn;
	struct responder r;
	QTAILQ_ENTRY(dcr) work;
};

struct qp {
	struct obj o;
	bool is_dct; /* at the same place as in struct dct */
	struct mdev *d;
	uint8_t context[256 - 24]; /* the QP context as QUERY_QP tells it */
	uint8_t st, state;
	struct ring ring;
	struct pd *pd;
	struct cq *cq_send, *cq_recv;
	struct srq *srq;
	struct obj *xrcd;
	bool has_rq, has_sq;
	uint32_t uar, log_sq, log_rq, rq_stride, sq_offset;
	uint64_t dbr;
	uint16_t rq_taken;

	/* what sends */
	uint16_t fetched; /* basic blocks of the send queue */
	QTAILQ_HEAD(, wr) wrs;
	struct wr *tx; /* the oldest that is not sent whole */
	uint32_t psn, una, nwrs, nreads;
	uint8_t retries, rnr_retries;
	bool rnr_wait;
	bool asked_again;	 /* for what is missing; later answers show no more than that */
	uint32_t conn, conn_psn; /* DC: the connection, 0: none, and its first packet */
	struct av conn_av;
	QEMUTimer *timer;

	struct responder r;

	QTAILQ_ENTRY(qp) work;
	QTAILQ_ENTRY(qp) errors;
};

/* Ops on the wire. */
enum pkt_op {
	PKT_SEND = 1,
	PKT_WRITE,
	PKT_READ,
	PKT_CMP_SWAP,
	PKT_FETCH_ADD,
	PKT_READ_ANSWER,
	PKT_ACK,
	PKT_ATOMIC_ACK,
	PKT_UD,
	PKT_OP_MAX,
};

enum pkt_flag {
	PKT_FIRST = 1 << 0,
	PKT_LAST = 1 << 1,
	PKT_IMM = 1 << 2,
	PKT_INV = 1 << 3,
	PKT_SOLICITED = 1 << 4,
	PKT_DC = 1 << 5,
	PKT_GRH = 1 << 6,
	PKT_XRC = 1 << 7,
};

/* Acknowledgements' syndromes. */
enum {
	ACK_OK,
	ACK_RNR,
	NAK_SEQUENCE,
	NAK_INVALID_REQUEST,
	NAK_REMOTE_ACCESS,
	NAK_REMOTE_OP,
};

#define PKT_MAGIC 0x35784c4d

/* What goes before the data of a packet. Both ends are on one machine: its own byte order. */
struct pkt {
	uint32_t magic;
	uint8_t op, flags, syndrome, rnr_timer;
	uint16_t slid, dlid;
	uint32_t dqpn, sqpn, psn;
	uint32_t imm, rkey, len;
	uint32_t qkey, conn, first_psn, srqn;
	uint64_t va, swap, compare, dc_key;
	uint8_t sl, hop_limit, tclass, mtu;
	uint32_t flow;
	uint8_t sgid[16], dgid[16];
	uint32_t data_len;
};

#define MAX_DATA 4096

struct packet {
	QTAILQ_ENTRY(packet) list;
	int64_t due;
	struct pkt h;
	uint8_t data[];
};

QTAILQ_HEAD(packets, packet);

struct peer {
	QTAILQ_ENTRY(peer) list;
	struct mdev *d;
	uint16_t lid;
	int fd;
	union packets out;
	uint32_t nout;
};

struct faults {
	uint32_t drop_next, drop_every, drop_ops; /* counted among packets of drop_ops, 0: any */
	uint32_t seen;
	uint32_t rnr_next, access_error_rkey;
	uint32_t refuse_op, refuse_next; /* commands with this opcode */
	uint32_t delay_us, rate_mbit;
	bool link_down, fatal, absent, dc_reject_silent;
	uint64_t dropped;
};

struct counters {
	uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes;
	uint32_t rx_write, rx_read, rx_atomic, rx_dct_connect, out_of_buffer, out_of_sequence,
		duplicate, rnr_nak_retry, packet_seq_err, implied_nak, local_ack_timeout,
		rnr_exceeded, retry_exceeded, req_remote_access, req_remote_invalid, req_remote_op,
		req_local_prot, resp_local_prot, req_flush, resp_flush, req_cqe_err, resp_cqe_err,
		cq_overflow, resp_local_length, req_local_length, req_local_qp;
};

struct mdev {
	PCIDevice parent_obj;
	MemoryRegion bar;

	/* properties */
	uint16_t lid;
	uint64_t guid;
	char *wire, *log_name;
	uint32_t ack_timeout_min_ms;

	bool loopback_wire;

	FILE *log;
	char *trace_name;
	int trace;

	/* initialization segment */
	uint32_t cmdq_h, cmdq_l, nic_interface, health_counter;
	bool hca_enabled, hca_ready;
	uint8_t issi;
	uint64_t *pages;
	uint32_t npages, room_pages;
	uint8_t caps_max[4096], caps_cur[4096], atomic_max[4096], atomic_cur[4096];
	bool uars[NUM_UARS];
	uint32_t next_uar;
	uint32_t uar_high[NUM_UARS]; /* the first half of a 64-bit doorbell */
	char node_desc[64];

	struct table eqs, cqs, pds, xrcds, tds, mkeys, srqs, qps, counter_sets;
	QTAILQ_HEAD(, qp) active;
	QTAILQ_HEAD(, dcr) active_dcrs;
	QTAILQ_HEAD(, qp) errors;
	QEMUTimer *error_timer;
	QEMUTimer *work_timer;
	QTAILQ_HEAD(, peer) peers;
	int fd;
	union packets loop, slow;
	uint32_t nslow, next_conn;
	bool congested;
	QEMUTimer *slow_timer;
	int64_t link_free;
	struct faults faults;
	struct counters cnt;
};

#define TYPE_MLX5_MODEL "mlx5-model"
DECLARE_INSTANCE_CHECKER(struct mdev, MDEV, TYPE_MLX5_MODEL)

/* A command on its way. */
struct cmd {
	struct mdev *d;
	const struct cmd_def *def;
	uint16_t op, op_mod;
	uint8_t *in, *out;
	uint32_t in_len, out_len;
	uint32_t syndrome;
	char why[256];
};

/* A field that a command may set; what is in no such field must be zero. */
struct field {
	uint32_t offset, bits;
};

#define F(t, f)                               \
	{                                     \
		FLD_OFF(t, f), FLD_BITS(t, f) \
	}

struct cmd_def {
	uint16_t op;
	const char *name;
	uint32_t in_len, out_len; /* of the fixed parts */
	enum { TAIL_NONE, TAIL_PAS, TAIL_ANY } tail;
	enum { WHEN_ANY, WHEN_ENABLED, WHEN_READY } when;
	int (*run)(struct cmd *c);
	const struct field *fields;
};

#define CMD(op, name, when, tail, run, fields)                                    \
	{                                                                         \
		op, #name, SZ(name##_in), SZ(name##_out), tail, when, run, fields \
	}

/* The number tells where in the sources a command was refused. */
#define refuse(c, status, ...) cmd_refuse(c, status, SYNDROME_FILE << 16 | __LINE__, __VA_ARGS__)
int cmd_refuse(struct cmd *c, int status, uint32_t syndrome, const char *fmt, ...)
	G_GNUC_PRINTF(4, 5);

extern const struct cmd_def device_cmds[], object_cmds[], event_cmds[], qp_cmds[], mkey_cmds[];

/* pci.c */
void mlog(struct mdev *d, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void trace_write(struct mdev *d, GString *line);
void trace_hex(GString *line, const void *p, uint32_t len);
void dma_get(struct mdev *d, uint64_t addr, void *p, uint64_t len);
void dma_put(struct mdev *d, uint64_t addr, const void *p, uint64_t len);
uint32_t dma_get_be32(struct mdev *d, uint64_t addr);
void device_reset_all(struct mdev *d);

/* cmd.c */
void field_copy(uint8_t *to, const uint8_t *from, const struct field *f);
void field_clear(uint8_t *p, const struct field *f);
void cmd_doorbell(struct mdev *d, uint32_t vector);
int ring_init(struct cmd *c, struct ring *r, uint64_t bytes, uint32_t log_page, uint32_t offset,
	      const uint8_t *pas);
void ring_free(struct ring *r);
void ring_get(struct mdev *d, const struct ring *r, uint64_t offset, void *p, uint32_t len);
void ring_put(struct mdev *d, const struct ring *r, uint64_t offset, const void *p, uint32_t len);

/* device.c */
void gid_fill(const struct mdev *d, uint8_t *gid);

/* caps.c */
void caps_init(struct mdev *d);

/* table.c */
void table_init(struct table *t, uint32_t first, uint32_t size);
uint32_t table_add(struct table *t, void *p); /* 0: full */
void *table_get(const struct table *t, uint32_t n);
void *table_remove(struct table *t, uint32_t n);
void table_clear(struct table *t, void (*release)(void *));

/* objects.c */
void objects_clear(struct mdev *d);
void objects_reset(struct mdev *d);
void srq_limit_check(struct mdev *d, struct srq *s);
bool uar_valid(struct mdev *d, uint32_t page);

/* event.c */
struct eq *eq_wanting(struct mdev *d, enum event_type type);
void eq_event(struct mdev *d, enum event_type type, uint8_t sub_type, const void *data,
	      uint32_t len);
void eq_event_object(struct mdev *d, enum event_type type, uint32_t n, uint8_t kind);
void eq_doorbell(struct mdev *d, uint32_t page, uint32_t value, bool arm);
void eq_free(void *p);
void cq_free(void *p);
void cq_push(struct mdev *d, struct cq *q, uint8_t *cqe, bool solicited);
void cq_doorbell(struct mdev *d, uint32_t page, uint32_t cmd_ci, uint32_t cqn);

/* mkey.c */
enum access { ACCESS_LR = 1, ACCESS_LW = 2, ACCESS_RR = 4, ACCESS_RW = 8, ACCESS_A = 16 };

bool mkey_check(struct mdev *d, uint32_t key, const struct pd *pd, uint64_t va, uint64_t len,
		enum access need);
bool mkey_copy(struct mdev *d, uint32_t key, const struct pd *pd, uint64_t va, void *p,
	       uint64_t len, enum access need);
bool mkey_invalidate(struct mdev *d, uint32_t key, const struct pd *pd);
uint8_t mkey_umr(struct qp *q, const struct wr *w);
void mkey_free(void *p);

/* qp.c */
void qp_free(void *p);
struct qp *qp_get(struct mdev *d, uint32_t n);
struct dct *dct_get(struct mdev *d, uint32_t n);
void qp_set_error(struct qp *q);
void dcr_free(struct dcr *r);
void dct_check_drained(struct mdev *d, struct dct *t);
uint32_t mtu_bytes(uint32_t mtu);

#define QPC(q, f) GET(qpc, (q)->context, f)

/* wq.c */
bool qp_is_datagram(const struct qp *q);
bool qp_is_connected(const struct qp *q);
bool wr_is_atomic(const struct wr *w);
bool wr_has_answer(const struct wr *w);
void sq_doorbell(struct mdev *d, uint32_t page, uint32_t qpn);
struct wr *sq_fetch(struct qp *q);
void wr_free(struct wr *w);
bool sge_copy(struct mdev *d, const struct pd *pd, const struct sge *sge, int nsge, uint64_t offset,
	      void *p, uint32_t len, bool write);
uint64_t sge_len(const struct sge *sge, int nsge);
bool rq_take(struct mdev *d, struct qp *q, struct srq *s, struct recv *r);
void errors_poll(void *opaque);
void cqe_resp(struct mdev *d, struct cq *cq, uint32_t uidx, uint32_t qpn, const struct pkt *h,
	      uint8_t op, uint32_t len, uint16_t wqe, bool solicited);
void cqe_resp_error(struct mdev *d, struct cq *cq, uint32_t uidx, uint32_t qpn, uint16_t wqe,
		    uint8_t syndrome);
uint32_t mtu_of(const struct qp *q);
void cqe_req(struct qp *q, const struct wr *w, uint8_t syndrome);

/* transport.c */
void work_schedule(struct mdev *d);
void qp_kick(struct qp *q);
void requester_reset(struct qp *q);
void requester_timer(void *opaque);
void responder_clear(struct responder *r);
void responder_reset(struct responder *r, uint32_t psn);
void transport_receive(struct mdev *d, const struct pkt *h, const uint8_t *data);
void transport_work(void *opaque);
void transport_resume(struct mdev *d);

/* wire.c */
bool wire_open(struct mdev *d, Error **errp);
void wire_close(struct mdev *d);
void packets_free(union packets *l);
bool wire_congested(struct mdev *d, uint16_t dlid);
void wire_send(struct mdev *d, struct pkt *h, const void *data);
void wire_loop(struct mdev *d, int budget);
void wire_slow_timer(void *opaque);

/* faults.c */
void faults_class_init(ObjectClass *c);
bool faults_drop(struct mdev *d, const struct pkt *h);

#endif
