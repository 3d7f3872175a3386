// SPDX-License-Identifier: MIT
/*
 * DC from user space, with libmlx5. "dc serve SECONDS [write]" makes a DC target and prints how it
 * is reached; "dc use LID DCTN RKEY ADDR [write]" reads through it, is refused with a wrong key and
 * with that of another region and goes on, writes if it may, and closes with a message. Each side
 * looks at the data. Sizes and times are those that mitosis chooses, so that what both ask the
 * device for can be compared.
 *
 *	dc peer LID DCTN KEY COMMAND	a peer of a snapshot's source, with whatever key and
 *					intentions
 *
 * COMMAND, and what it says, as "access" has it: read, again, write, atomic, send, imm; and, of
 * messages,
 *	junk SEED			as long as a reader's, and of random content
 */
#include "prog.h"
#include <endian.h>
#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>

#define KEY 0x1122334455667788
#define LEN 65536
#define PIECE 4096
#define MESSAGE 32
#define BLOCKS 256 /* basic blocks of the send queue */

/* What is in the region: of the one that serves, or of the one that writes. */
#define SERVED 1
#define WRITTEN 2

#define OK(what) \
	do { \
		if (!(what)) \
			die(#what); \
	} while (0)

static struct ibv_context *ctx;
static struct ibv_port_attr port;
static struct ibv_pd *pd;
static struct ibv_mr *mr;
static uint8_t *buf;
static size_t buf_len = LEN;
static uint64_t dci_ops =
	IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_SEND;
static int access_flags = IBV_ACCESS_REMOTE_READ;

static void die(const char *what)
{
	printf("FAIL: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void device_open(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	int i;

	OK(list);
	for (i = 0; list[i] && strcmp(ibv_get_device_name(list[i]), name); i++)
		;
	OK(list[i]);
	ctx = mlx5dv_open_device(list[i], &(struct mlx5dv_context_attr){});
	OK(ctx);
	ibv_free_device_list(list);
	OK(!ibv_query_port(ctx, 1, &port));
	pd = ibv_alloc_pd(ctx);
	OK(pd);
	OK(!posix_memalign((void **)&buf, PAGE, buf_len));
	mr = ibv_reg_mr(pd, buf, buf_len, IBV_ACCESS_LOCAL_WRITE | access_flags);
	OK(mr);
}

static void state_set(struct ibv_qp *qp, struct ibv_qp_attr attr, int mask)
{
	errno = ibv_modify_qp(qp, &attr, mask | IBV_QP_STATE);
	OK(!errno);
}

static void dci_start(struct ibv_qp *qp)
{
	state_set(qp, (struct ibv_qp_attr){ .qp_state = IBV_QPS_INIT, .port_num = 1 },
		  IBV_QP_PKEY_INDEX | IBV_QP_PORT);
	state_set(qp,
		  (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTR,
					.path_mtu = port.active_mtu,
					.ah_attr.port_num = 1 },
		  IBV_QP_PATH_MTU | IBV_QP_AV);
	state_set(qp,
		  (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTS,
					.timeout = 17,
					.retry_cnt = 6,
					.rnr_retry = 6,
					.max_rd_atomic = 16 },
		  IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
			  IBV_QP_MAX_QP_RD_ATOMIC);
}

static struct ibv_qp *dct_make(struct ibv_cq *cq, struct ibv_srq *srq)
{
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.srq = srq,
		.qp_type = IBV_QPT_DRIVER,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = pd,
	};
	struct mlx5dv_qp_init_attr dc = {
		.comp_mask = MLX5DV_QP_INIT_ATTR_MASK_DC,
		.dc_init_attr = { .dc_type = MLX5DV_DCTYPE_DCT, .dct_access_key = KEY },
	};
	struct ibv_qp *dct = mlx5dv_create_qp(ctx, &attr, &dc);

	OK(dct);
	state_set(dct,
		  (struct ibv_qp_attr){ .qp_state = IBV_QPS_INIT,
					.port_num = 1,
					.qp_access_flags = access_flags },
		  IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
	state_set(dct,
		  (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTR,
					.path_mtu = port.active_mtu,
					.min_rnr_timer = 12,
					.ah_attr.port_num = 1 },
		  IBV_QP_PATH_MTU | IBV_QP_MIN_RNR_TIMER | IBV_QP_AV);
	return dct;
}

static struct ibv_qp *dci_make(struct ibv_cq *cq)
{
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_DRIVER,
		.cap = { .max_send_wr = BLOCKS / 2, .max_send_sge = 1, .max_inline_data = MESSAGE },
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = pd,
		.send_ops_flags = dci_ops,
	};
	struct mlx5dv_qp_init_attr dc = {
		.comp_mask = MLX5DV_QP_INIT_ATTR_MASK_DC | MLX5DV_QP_INIT_ATTR_MASK_QP_CREATE_FLAGS,
		.create_flags = MLX5DV_QP_CREATE_DISABLE_SCATTER_TO_CQE,
		.dc_init_attr = { .dc_type = MLX5DV_DCTYPE_DCI },
	};
	struct ibv_qp *dci = mlx5dv_create_qp(ctx, &attr, &dc);

	OK(dci);
	dci_start(dci);
	return dci;
}

static struct ibv_wc wc_get(struct ibv_cq *cq, int seconds)
{
	struct ibv_wc wc = { .status = IBV_WC_RESP_TIMEOUT_ERR };
	int i;

	for (i = 0; i < seconds * 1000 && !ibv_poll_cq(cq, 1, &wc); i++)
		usleep(1000);
	return wc;
}

static void serve(int seconds)
{
	struct ibv_srq_init_attr attr = { .attr = { .max_wr = 31, .max_sge = 1 } };
	struct ibv_recv_wr wr = {}, *bad;
	struct ibv_qp *dct;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_mr *message_mr;
	uint8_t message[MESSAGE] = {};
	struct ibv_sge sge = { .addr = (uintptr_t)message, .length = MESSAGE };
	uint64_t content = access_flags & IBV_ACCESS_REMOTE_WRITE ? WRITTEN : SERVED;
	struct ibv_wc wc;

	cq = ibv_create_cq(ctx, 63, NULL, NULL, 0);
	OK(cq);
	srq = ibv_create_srq(pd, &attr);
	OK(srq);
	message_mr = ibv_reg_mr(pd, message, MESSAGE, IBV_ACCESS_LOCAL_WRITE);
	OK(message_mr);
	sge.lkey = message_mr->lkey;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	OK(!ibv_post_srq_recv(srq, &wr, &bad));
	dct = dct_make(cq, srq);
	content_fill(buf, LEN, SERVED);
	printf("ready %u %u %u %zu\n", port.lid, dct->qp_num, mr->rkey, (size_t)buf);
	fflush(stdout);
	wc = wc_get(cq, seconds);
	if (wc.status || wc.opcode != IBV_WC_RECV || wc.byte_len != MESSAGE) {
		printf("FAIL: message: %s, %u bytes\n", ibv_wc_status_str(wc.status), wc.byte_len);
		exit(1);
	}
	for (int i = 0; i < MESSAGE; i++)
		OK(message[i] == i);
	OK(content_differs(buf, LEN, content) < 0);
	OK(!ibv_destroy_qp(dct) && !ibv_destroy_srq(srq) && !ibv_destroy_cq(cq) &&
	   !ibv_dereg_mr(message_mr));
}

struct target {
	unsigned int lid, dctn, rkey, imm;
	uint64_t addr, key;
	struct ibv_ah *ah;
};

enum op { READ, WRITE, SEND, SEND_IMM, ATOMIC };

static void post(struct ibv_qp *dci, const struct target *t, enum op what, size_t at, size_t len)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(dci);

	qp->wr_id = at;
	qp->wr_flags = IBV_SEND_SIGNALED;
	switch (what) {
	case READ:
		ibv_wr_rdma_read(qp, t->rkey, t->addr + at);
		break;
	case WRITE:
		ibv_wr_rdma_write(qp, t->rkey, t->addr + at);
		break;
	case SEND:
		ibv_wr_send(qp);
		break;
	case SEND_IMM:
		ibv_wr_send_imm(qp, htobe32(t->imm));
		break;
	case ATOMIC:
		ibv_wr_atomic_fetch_add(qp, t->rkey, t->addr + at, 1);
		break;
	}
	mlx5dv_wr_set_dc_addr(mlx5dv_qp_ex_from_ibv_qp_ex(qp), t->ah, t->dctn, t->key);
	if (what == SEND && len <= MESSAGE)
		ibv_wr_set_inline_data(qp, buf, len);
	else
		ibv_wr_set_sge(qp, mr->lkey, (uintptr_t)buf + at, len);
}

/* All pieces behind one doorbell. */
static void move(struct ibv_qp *dci, struct ibv_cq *cq, const struct target *t, enum op what)
{
	struct ibv_wc wc;
	size_t at;

	ibv_wr_start(ibv_qp_to_qp_ex(dci));
	for (at = 0; at < LEN; at += PIECE)
		post(dci, t, what, at, PIECE);
	OK(!ibv_wr_complete(ibv_qp_to_qp_ex(dci)));
	for (at = 0; at < LEN; at += PIECE) {
		wc = wc_get(cq, 60);
		if (wc.status || wc.wr_id != at) {
			printf("FAIL: piece at %zu: %s\n", at, ibv_wc_status_str(wc.status));
			exit(1);
		}
	}
}

static void read_all(struct ibv_qp *dci, struct ibv_cq *cq, const struct target *t,
		     uint64_t content)
{
	memset(buf, 0, LEN);
	move(dci, cq, t, READ);
	OK(content_differs(buf, LEN, content) < 0);
}

/*
 * One that may not be done, and what comes behind it: nothing of it, and the queue pair can be used
 * again.
 */
static void refused(struct ibv_qp *dci, struct ibv_cq *cq, const struct target *t, const char *what)
{
	enum ibv_wc_status status[2];

	memset(buf, 0, LEN);
	ibv_wr_start(ibv_qp_to_qp_ex(dci));
	post(dci, t, READ, 0, PIECE);
	post(dci, t, READ, PIECE, PIECE);
	OK(!ibv_wr_complete(ibv_qp_to_qp_ex(dci)));
	status[0] = wc_get(cq, 60).status;
	status[1] = wc_get(cq, 60).status;
	printf("%s: %s, then %s\n", what, ibv_wc_status_str(status[0]),
	       ibv_wc_status_str(status[1]));
	OK(status[0] != IBV_WC_SUCCESS && status[0] != IBV_WC_RESP_TIMEOUT_ERR &&
	   status[1] == IBV_WC_WR_FLUSH_ERR);
	OK(zero_differs(buf, LEN) < 0);
	state_set(dci, (struct ibv_qp_attr){ .qp_state = IBV_QPS_RESET }, 0);
	dci_start(dci);
}

/* An initiator, and a way to the target. */
static struct ibv_qp *dci_for(struct target *t)
{
	struct ibv_ah_attr attr = { .dlid = t->lid, .port_num = 1 };
	struct ibv_cq *cq = ibv_create_cq(ctx, BLOCKS / 2 - 1, NULL, NULL, 0);

	OK(cq);
	t->ah = ibv_create_ah(pd, &attr);
	OK(t->ah);
	return dci_make(cq);
}

static void use(struct target t)
{
	struct ibv_qp *dci = dci_for(&t);
	struct ibv_cq *cq = dci->send_cq;
	struct target wrong;
	size_t i;

	read_all(dci, cq, &t, SERVED);
	wrong = t;
	wrong.key++;
	refused(dci, cq, &wrong, "wrong key");
	wrong = t;
	wrong.rkey ^= 1;
	refused(dci, cq, &wrong, "wrong region");
	wrong = t;
	wrong.addr += LEN;
	refused(dci, cq, &wrong, "behind the region");
	read_all(dci, cq, &t, SERVED);
	if (access_flags & IBV_ACCESS_REMOTE_WRITE) {
		content_fill(buf, LEN, WRITTEN);
		move(dci, cq, &t, WRITE);
		read_all(dci, cq, &t, WRITTEN);
	}
	for (i = 0; i < MESSAGE; i++)
		buf[i] = i;
	ibv_wr_start(ibv_qp_to_qp_ex(dci));
	post(dci, &t, SEND, 0, MESSAGE);
	OK(!ibv_wr_complete(ibv_qp_to_qp_ex(dci)));
	OK(wc_get(cq, 60).status == IBV_WC_SUCCESS);
	OK(!ibv_destroy_qp(dci) && !ibv_destroy_ah(t.ah) && !ibv_destroy_cq(cq));
}

/* One operation, and what comes of it. */
static void operate(struct ibv_qp *dci, const struct target *t, enum op what, size_t len)
{
	enum ibv_wc_status status;

	ibv_wr_start(ibv_qp_to_qp_ex(dci));
	post(dci, t, what, 0, len);
	OK(!ibv_wr_complete(ibv_qp_to_qp_ex(dci)));
	status = wc_get(dci->send_cq, 60).status;
	if (status)
		printf("error: %s\n", ibv_wc_status_str(status));
	else if (what == READ)
		printf("read %#lx\n", (unsigned long)*(uint64_t *)buf);
	else
		printf("done\n");
	fflush(stdout);
}

/* Some begin as a reader's messages do; what those leave zero is not. */
static void junk_fill(uint64_t seed)
{
	static const uint8_t like[] = { 'D', 'd', 't', 'M', 1, 0, 1, 0 };

	content_fill(buf, MESSAGE, seed);
	memcpy(buf, like, seed % (sizeof(like) + 1));
}

static void peer(struct target t, const char *cmd, const uint64_t *arg)
{
	struct ibv_qp *dci = dci_for(&t);

	t.addr = arg[0];
	t.rkey = arg[1];
	t.imm = arg[0];
	content_fill(buf, buf_len, 3);
	if (!strcmp(cmd, "junk")) {
		junk_fill(arg[0]);
		operate(dci, &t, SEND, MESSAGE);
	} else if (!strcmp(cmd, "send")) {
		operate(dci, &t, SEND, arg[0]);
	} else if (!strcmp(cmd, "imm")) {
		operate(dci, &t, SEND_IMM, 0);
	} else if (!strcmp(cmd, "atomic")) {
		operate(dci, &t, ATOMIC, 8);
	} else {
		operate(dci, &t, !strcmp(cmd, "write") ? WRITE : READ, arg[2]);
	}
	if (!strcmp(cmd, "again")) {
		prog_wait();
		operate(dci, &t, READ, arg[2]);
	}
}

int main(int argc, char **argv)
{
	bool serves = argc >= 3 && !strcmp(argv[1], "serve"),
	     uses = argc >= 6 && !strcmp(argv[1], "use"),
	     peers = argc >= 7 && !strcmp(argv[1], "peer");
	uint64_t arg[3] = { 0 };

	if (!serves && !uses && !peers) {
		fprintf(stderr,
			"usage: dc serve SECONDS [write]\n       dc use LID DCTN RKEY ADDR [write]\n"
			"       dc peer LID DCTN KEY COMMAND\n");
		return 2;
	}
	if (peers) {
		prog_init(1, argv);
		for (int i = 6; i < argc && i < 9; i++)
			arg[i - 6] = strtoull(argv[i], NULL, 0);
		buf_len = 2 * MB;
		dci_ops |= IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD;
		device_open("mlx5_0");
		peer((struct target){ .lid = atoi(argv[2]),
				      .dctn = strtoul(argv[3], NULL, 0),
				      .key = strtoull(argv[4], NULL, 16) },
		     argv[5], arg);
		/* All it has goes with the process. */
		return 0;
	}
	if (!strcmp(argv[argc - 1], "write"))
		access_flags |= IBV_ACCESS_REMOTE_WRITE;
	device_open("mlx5_0");
	if (serves)
		serve(atoi(argv[2]));
	else
		use((struct target){ .lid = atoi(argv[2]),
				     .dctn = strtoul(argv[3], NULL, 10),
				     .rkey = strtoul(argv[4], NULL, 10),
				     .addr = strtoull(argv[5], NULL, 10),
				     .key = KEY });
	OK(!ibv_dereg_mr(mr) && !ibv_dealloc_pd(pd) && !ibv_close_device(ctx));
	puts("PASS");
	return 0;
}
