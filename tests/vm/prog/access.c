// SPDX-License-Identifier: MIT
/*
 * A peer of a snapshot's source by raw verbs, with whatever key and intentions.
 *
 *	access ADDR PORT SNAPSHOT KEY COMMAND
 *	  read RADDR RKEY LEN		prints "read WORD", the first eight bytes
 *	  again RADDR RKEY LEN		as read, and once more when $TEST_DIR/access.go exists
 *	  write RADDR RKEY LEN, atomic RADDR RKEY
 *	  send LEN, imm WORD		what a peer has no business to send
 *	  request LEN SEED		a connection request of random content
 *
 * The first word of the answer is read, done, refused (no connection) or error (of the operation,
 * with its name).
 */
#include "prog.h"
#include <endian.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

struct request {
	uint32_t magic;
	uint16_t version, reserved;
	uint64_t id;
	uint8_t key[16];
} __attribute__((packed));

static struct rdma_cm_id *id;
static char *buf;
static struct ibv_mr *mr;
#define BUF_LEN (4 * MB)

#define DIE(...)                                            \
	do {                                                \
		fprintf(stderr, __VA_ARGS__);               \
		fprintf(stderr, ": %s\n", strerror(errno)); \
		exit(2);                                    \
	} while (0)

/* False: refused. */
static bool open_to(const char *addr, const char *port, const void *data, size_t len)
{
	struct ibv_qp_init_attr attr = {
		.cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = 1,
	};
	struct rdma_addrinfo hints = { .ai_port_space = RDMA_PS_TCP }, *ai;
	struct rdma_conn_param param = {
		.private_data = data,
		.private_data_len = len,
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = 3,
		.rnr_retry_count = 3,
	};

	if (rdma_getaddrinfo(addr, port, &hints, &ai))
		DIE("%s", addr);
	if (rdma_create_ep(&id, ai, NULL, &attr))
		DIE("no endpoint to %s", addr);
	rdma_freeaddrinfo(ai);
	buf = map_anon(NULL, BUF_LEN, PROT_READ | PROT_WRITE);
	mr = ibv_reg_mr(id->pd, buf, BUF_LEN, IBV_ACCESS_LOCAL_WRITE);
	if (!mr)
		DIE("memory cannot be registered");
	/* A ping of the source's needs something to land in. */
	for (int i = 0; i < 4; i++)
		if (rdma_post_recv(id, NULL, buf, 0, mr))
			DIE("no receive");
	return !rdma_connect(id, &param);
}

static enum ibv_wc_status done(void)
{
	struct ibv_wc wc;
	int n;

	do
		n = rdma_get_send_comp(id, &wc);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		DIE("no completion");
	return wc.status;
}

static void operate(int op, uint64_t raddr, uint32_t rkey, uint32_t len, uint32_t imm)
{
	struct ibv_sge sge = { .addr = (uintptr_t)buf, .length = len, .lkey = mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = len ? 1 : 0, .opcode = op,
		.send_flags = IBV_SEND_SIGNALED
	};
	struct ibv_send_wr *bad;
	enum ibv_wc_status status;

	wr.imm_data = htobe32(imm);
	if (op == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = raddr;
		wr.wr.atomic.rkey = rkey;
		wr.wr.atomic.compare_add = 1;
	} else {
		wr.wr.rdma.remote_addr = raddr;
		wr.wr.rdma.rkey = rkey;
	}
	if (ibv_post_send(id->qp, &wr, &bad)) {
		printf("error: not posted\n");
		return;
	}
	status = done();
	if (status)
		printf("error: %s\n", ibv_wc_status_str(status));
	else if (op == IBV_WR_RDMA_READ)
		printf("read %#lx\n", (unsigned long)*(uint64_t *)buf);
	else
		printf("done\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct request req = { .magic = htole32(0x4d746f73), .version = htole16(1) };
	char junk[56];
	const char *cmd;
	uint64_t a[3] = { 0 };
	int op;

	if (argc < 7)
		return 2;
	prog_init(1, argv);
	cmd = argv[5];
	for (int i = 6; i < argc && i < 9; i++)
		a[i - 6] = strtoull(argv[i], NULL, 0);
	req.id = htole64(strtoull(argv[3], NULL, 16));
	for (int i = 0; i < 16; i++)
		sscanf(argv[4] + 2 * i, "%2hhx", &req.key[i]);
	if (!strcmp(cmd, "request")) {
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = content_word(a[1], i);
		/* Half of them are nearly right. */
		if (a[1] % 2)
			memcpy(junk, &req, a[1] / 2 % (sizeof(req) - 1));
		if (!open_to(argv[1], argv[2], junk, a[0] <= sizeof(junk) ? a[0] : sizeof(junk)))
			printf("refused\n");
		else
			printf("accepted\n");
		return 0;
	}
	if (!open_to(argv[1], argv[2], &req, sizeof(req))) {
		printf("refused\n");
		return 0;
	}
	op = !strcmp(cmd, "write")  ? IBV_WR_RDMA_WRITE :
	     !strcmp(cmd, "atomic") ? IBV_WR_ATOMIC_FETCH_AND_ADD :
	     !strcmp(cmd, "send")   ? IBV_WR_SEND :
	     !strcmp(cmd, "imm")    ? IBV_WR_SEND_WITH_IMM :
				      IBV_WR_RDMA_READ;
	if (op == IBV_WR_SEND)
		operate(op, 0, 0, a[0], 0);
	else if (op == IBV_WR_SEND_WITH_IMM)
		operate(op, 0, 0, 0, a[0]);
	else
		operate(op, a[0], a[1], op == IBV_WR_ATOMIC_FETCH_AND_ADD ? 8 : a[2], 0);
	if (!strcmp(cmd, "again")) {
		prog_wait();
		operate(op, a[0], a[1], a[2], 0);
	}
	/*
	 * Its queue pair is gone with the process; a disconnect would only wait for the other side.
	 */
	return 0;
}
