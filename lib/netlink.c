// SPDX-License-Identifier: MIT
#include <errno.h>
#include <linux/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mitosis.h"

#define NETLINK_BUFFER	(1 << 20)	/* bytes; an event is about 100, a full request 66,000 */
#define NETLINK_MESSAGE	(128 << 10)
#define HOLD_USER_LIMIT	"/sys/module/mitosis/parameters/max_held_user_mb"

struct mitosis {
	struct nl_sock *sk;
	struct nl_sock *events;
	int family;
	char kernel_error[256];	/* sentence of the extended acknowledgement */
	char error[MITOSIS_ERROR_LEN];
};

/* A request under way. */
struct call {
	struct mitosis *ctl;
	int (*reply)(struct nlattr **attrs, void *arg);
	void *arg;
	int error;		/* negative errno of the kernel */
	int verdict;		/* what reply() has returned */
	bool done;
};

__attribute__((format(printf, 3, 4)))
static int netlink_fail(struct mitosis *ctl, int ret, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ctl->error, sizeof(ctl->error), fmt, args);
	va_end(args);
	return ret;
}

static int netlink_errno(int nlerr)
{
	switch (nlerr < 0 ? -nlerr : nlerr) {
	case 0:
		return 0;
	case NLE_INTR:
		return -EINTR;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_OBJ_NOTFOUND:
		return -ENOENT;
	case NLE_MSGSIZE:
		return -EMSGSIZE;
	default:
		return -EIO;
	}
}

static void netlink_take_extack(struct mitosis *ctl, struct nlmsghdr *nlh, int offset)
{
	struct nlattr *attrs[NLMSGERR_ATTR_MAX + 1];
	int len = (int)nlh->nlmsg_len - NLMSG_HDRLEN - offset;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS) || len <= 0)
		return;
	if (nla_parse(attrs, NLMSGERR_ATTR_MAX,
		      (struct nlattr *)((char *)nlh + NLMSG_HDRLEN + offset), len, NULL))
		return;
	if (attrs[NLMSGERR_ATTR_MSG])
		nla_strlcpy(ctl->kernel_error, attrs[NLMSGERR_ATTR_MSG], sizeof(ctl->kernel_error));
}

static int netlink_on_error(struct sockaddr_nl *who, struct nlmsgerr *err, void *arg)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)((char *)err - NLMSG_HDRLEN);
	struct call *call = arg;
	int offset = NLMSG_ALIGN(sizeof(*err));

	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		offset += NLMSG_ALIGN(err->msg.nlmsg_len - NLMSG_HDRLEN);
	netlink_take_extack(call->ctl, nlh, offset);
	call->error = err->error;
	call->done = true;
	return NL_STOP;
}

static int netlink_on_ack(struct nl_msg *msg, void *arg)
{
	struct call *call = arg;

	call->done = true;
	return NL_STOP;
}

/* A dump that failed half-way says so in the last message, which libnl does not look at. */
static int netlink_on_finish(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct call *call = arg;
	int error = 0;

	if (nlmsg_datalen(nlh) >= (int)sizeof(error))
		memcpy(&error, nlmsg_data(nlh), sizeof(error));
	if (error < 0) {
		call->error = error;
		netlink_take_extack(call->ctl, nlh, NLMSG_ALIGN(sizeof(error)));
	}
	call->done = true;
	return NL_STOP;
}

static int netlink_on_valid(struct nl_msg *msg, void *arg)
{
	struct nlattr *attrs[MITOSIS_A_MAX + 1];
	struct call *call = arg;

	if (!call->reply || call->verdict)
		return NL_OK;
	if (genlmsg_parse(nlmsg_hdr(msg), 0, attrs, MITOSIS_A_MAX, NULL)) {
		call->verdict = -EBADMSG;
		return NL_OK;
	}
	call->verdict = call->reply(attrs, call->arg);
	return NL_OK;
}

static struct nl_msg *netlink_request(struct mitosis *ctl, int cmd, int flags, size_t room)
{
	struct nl_msg *msg = nlmsg_alloc_size(room + 1024);

	if (!msg)
		return NULL;
	if (!genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, ctl->family, 0, flags, cmd,
			 MITOSIS_GENL_VERSION)) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

/* Sends msg, which it frees, and takes the answers; what names the object of the error. */
static int netlink_call(struct mitosis *ctl, struct nl_msg *msg, const char *what,
			int (*reply)(struct nlattr **attrs, void *arg), void *arg)
{
	struct call call = { .ctl = ctl, .reply = reply, .arg = arg };
	struct nl_cb *cb;
	int ret;

	ctl->error[0] = 0;
	ctl->kernel_error[0] = 0;
	cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!cb) {
		nlmsg_free(msg);
		return netlink_fail(ctl, -ENOMEM, "%s: no memory", what);
	}
	nl_cb_err(cb, NL_CB_CUSTOM, netlink_on_error, &call);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, netlink_on_ack, &call);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, netlink_on_finish, &call);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, netlink_on_valid, &call);
	ret = nl_send_auto(ctl->sk, msg);
	while (ret >= 0 && !call.done)
		ret = nl_recvmsgs(ctl->sk, cb);
	nl_cb_put(cb);
	nlmsg_free(msg);
	if (call.done && !call.error)
		ret = call.verdict;
	else if (call.done)
		ret = call.error;
	else
		ret = netlink_errno(ret);
	if (ret >= 0)
		return ret;
	if (ctl->kernel_error[0])
		return netlink_fail(ctl, ret, "%s: %s", what, ctl->kernel_error);
	return netlink_fail(ctl, ret, "%s: %s", what, strerror(-ret));
}

static int netlink_too_small(struct mitosis *ctl, struct nl_msg *msg, const char *what)
{
	nlmsg_free(msg);
	return netlink_fail(ctl, -EMSGSIZE, "%s: the request is too long", what);
}

#define NETLINK_NO_MEMORY(ctl, what) netlink_fail(ctl, -ENOMEM, "%s: no memory", what)

static uint64_t attr_u64(struct nlattr **a, int attr)
{
	return a[attr] && nla_len(a[attr]) >= 8 ? nla_get_u64(a[attr]) : 0;
}

static uint32_t attr_u32(struct nlattr **a, int attr)
{
	return a[attr] && nla_len(a[attr]) >= 4 ? nla_get_u32(a[attr]) : 0;
}

static uint16_t attr_u16(struct nlattr **a, int attr)
{
	return a[attr] && nla_len(a[attr]) >= 2 ? nla_get_u16(a[attr]) : 0;
}

/* Elements that are not there are 0. */
static void attr_array(struct nlattr **a, int attr, uint64_t *out, size_t n)
{
	size_t len = a[attr] ? nla_len(a[attr]) : 0;

	memset(out, 0, n * sizeof(*out));
	if (len)
		memcpy(out, nla_data(a[attr]), len < n * sizeof(*out) ? len : n * sizeof(*out));
}

/* One whose elements have this size, and stay the message's; -1: it is cut off, or not there. */
static ssize_t attr_list(struct nlattr **a, int attr, size_t size, const void **list)
{
	if (!a[attr] || nla_len(a[attr]) % size)
		return -1;
	*list = nla_data(a[attr]);
	return nla_len(a[attr]) / size;
}

static void attr_string(struct nlattr **a, int attr, char *buf, size_t len)
{
	buf[0] = 0;
	if (a[attr])
		nla_strlcpy(buf, a[attr], len);
}

static void attr_dct(struct nlattr **a, struct mitosis_dct *dct)
{
	memset(dct, 0, sizeof(*dct));
	if (a[MITOSIS_A_DCT] && nla_len(a[MITOSIS_A_DCT]) >= (int)sizeof(*dct))
		memcpy(dct, nla_data(a[MITOSIS_A_DCT]), sizeof(*dct));
}

static struct nl_sock *netlink_socket(char *err, size_t errlen)
{
	struct nl_sock *sk = nl_socket_alloc();
	int ret, on = 1;

	if (!sk) {
		snprintf(err, errlen, "netlink: no memory for a socket");
		errno = ENOMEM;
		return NULL;
	}
	ret = genl_connect(sk);
	if (!ret)
		ret = nl_socket_set_buffer_size(sk, NETLINK_BUFFER, NETLINK_BUFFER);
	if (!ret)
		ret = nl_socket_set_msg_buf_size(sk, NETLINK_MESSAGE);
	if (ret) {
		snprintf(err, errlen, "netlink: no socket can be had (%s)", nl_geterror(ret));
		nl_socket_free(sk);
		errno = -netlink_errno(ret);
		return NULL;
	}
	/* Kernels without these still answer, with less to say. */
	setsockopt(nl_socket_get_fd(sk), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(nl_socket_get_fd(sk), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return sk;
}

struct mitosis *mitosis_open(char *err, size_t errlen)
{
	struct mitosis *ctl = calloc(1, sizeof(*ctl));
	int saved;

	if (!ctl) {
		snprintf(err, errlen, "mitosis: no memory");
		errno = ENOMEM;
		return NULL;
	}
	ctl->sk = netlink_socket(err, errlen);
	if (!ctl->sk)
		goto out_free;
	ctl->family = genl_ctrl_resolve(ctl->sk, MITOSIS_GENL_NAME);
	if (ctl->family < 0) {
		snprintf(err, errlen,
			 "module mitosis is not loaded: load it with modprobe mitosis and look at dmesg if that fails");
		errno = ENODEV;
		goto out_socket;
	}
	return ctl;
out_socket:
	saved = errno;
	nl_socket_free(ctl->sk);
	errno = saved;
out_free:
	free(ctl);
	return NULL;
}

void mitosis_close(struct mitosis *ctl)
{
	if (!ctl)
		return;
	nl_socket_free(ctl->sk);
	nl_socket_free(ctl->events);
	free(ctl);
}

const char *mitosis_error(const struct mitosis *ctl)
{
	return ctl->error[0] ? ctl->error : "no error";
}

static int netlink_reply_info(struct nlattr **a, void *arg)
{
	struct mitosis_info *info = arg;

	attr_string(a, MITOSIS_A_VERSION, info->version, sizeof(info->version));
	info->hooks = a[MITOSIS_A_HOOKS] && nla_get_u8(a[MITOSIS_A_HOOKS]);
	return 0;
}

int mitosis_info(struct mitosis *ctl, struct mitosis_info *info)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_INFO_GET, NLM_F_ACK, 0);

	memset(info, 0, sizeof(*info));
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, "information");
	return netlink_call(ctl, msg, "information", netlink_reply_info, info);
}

static int netlink_put_insecure(struct nl_msg *msg, bool insecure)
{
	return insecure ? nla_put_u32(msg, MITOSIS_A_FLAGS, MITOSIS_F_INSECURE) : 0;
}

static int netlink_reply_usable(struct nlattr **a, void *arg)
{
	attr_string(a, MITOSIS_A_TRANSPORT, arg, MITOSIS_TRANSPORTS_LEN);
	return 0;
}

int mitosis_usable(struct mitosis *ctl, const char *transports, bool insecure,
		   char usable[MITOSIS_TRANSPORTS_LEN])
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_INFO_GET, NLM_F_ACK, 0);

	*usable = 0;
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, "transports");
	if ((transports && nla_put_string(msg, MITOSIS_A_TRANSPORT, transports)) ||
	    netlink_put_insecure(msg, insecure))
		return netlink_too_small(ctl, msg, "transports");
	return netlink_call(ctl, msg, "transports", netlink_reply_usable, usable);
}

static int netlink_selftest_run(struct mitosis *ctl)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *old, *new;
	int ret = 0;

	old = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	new = mmap(NULL, 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (old == MAP_FAILED || new == MAP_FAILED) {
		ret = netlink_fail(ctl, -ENOMEM, "self-test: no memory");
		goto out;
	}
	memset(old, 1, 2 * page);
	if (madvise(old, 2 * page, MADV_DONTNEED) ||
	    mremap(old, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, new) == MAP_FAILED) {
		ret = netlink_fail(ctl, -errno, "self-test: %s", strerror(errno));
		goto out;
	}
	old = MAP_FAILED;
out:
	if (old != MAP_FAILED)
		munmap(old, 2 * page);
	if (new != MAP_FAILED)
		munmap(new, 2 * page);
	return ret;
}

int mitosis_selftest(struct mitosis *ctl)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_SELFTEST, NLM_F_ACK, 0);
	struct mitosis_info info;
	int ret;

	if (!msg)
		return NETLINK_NO_MEMORY(ctl, "self-test");
	ret = netlink_call(ctl, msg, "self-test", NULL, NULL);
	if (!ret)
		ret = netlink_selftest_run(ctl);
	if (!ret)
		ret = mitosis_info(ctl, &info);
	if (!ret && !info.hooks)
		ret = netlink_fail(ctl, -ENOTCONN,
				   "self-test: this kernel's madvise or mremap does not go where module mitosis looks, so no process can be received on it: use a kernel that mitosis supports");
	return ret;
}

struct stats_reply {
	uint64_t *stats, *latency;
};

static int netlink_reply_stats(struct nlattr **a, void *arg)
{
	struct stats_reply *reply = arg;

	if (!a[MITOSIS_A_STATS])
		return -EBADMSG;
	attr_array(a, MITOSIS_A_STATS, reply->stats, __MITOSIS_STAT_MAX);
	if (reply->latency)
		attr_array(a, MITOSIS_A_LATENCY, reply->latency, MITOSIS_LATENCY_MAX);
	return 0;
}

int mitosis_stats(struct mitosis *ctl, uint64_t *stats, uint64_t *latency)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_STATS_GET, NLM_F_ACK, 0);
	struct stats_reply reply = { .stats = stats, .latency = latency };

	memset(stats, 0, __MITOSIS_STAT_MAX * sizeof(*stats));
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, "counters");
	return netlink_call(ctl, msg, "counters", netlink_reply_stats, &reply);
}

struct transport_tested {
	uint64_t ns;
	uint32_t error;
	char why[192];
};

static int netlink_reply_tested(struct nlattr **a, void *arg)
{
	struct transport_tested *tested = arg;

	tested->ns = attr_u64(a, MITOSIS_A_NS);
	tested->error = attr_u32(a, MITOSIS_A_ERROR);
	attr_string(a, MITOSIS_A_WHY, tested->why, sizeof(tested->why));
	return 0;
}

int mitosis_transport_test(struct mitosis *ctl, const char *transport, bool insecure,
			   const char *addr, uint64_t *ns)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_XPRT_TEST, NLM_F_ACK, 0);
	struct transport_tested tested = {};
	char what[64];
	int ret;

	snprintf(what, sizeof(what), "self-test of transport %s", transport);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_string(msg, MITOSIS_A_TRANSPORT, transport) ||
	    (addr && nla_put_string(msg, MITOSIS_A_ADDR, addr)) ||
	    netlink_put_insecure(msg, insecure))
		return netlink_too_small(ctl, msg, what);
	ret = netlink_call(ctl, msg, what, netlink_reply_tested, &tested);
	if (!ret && tested.error)
		ret = netlink_fail(ctl, -(int)tested.error, "%s: %s", what, tested.why);
	*ns = tested.ns;
	return ret;
}

struct hold_created {
	uint64_t snapshot;
	uint8_t *key;
	struct mitosis_where where;
};

static int netlink_reply_created(struct nlattr **a, void *arg)
{
	struct hold_created *created = arg;

	created->snapshot = attr_u64(a, MITOSIS_A_SNAPSHOT);
	attr_string(a, MITOSIS_A_TRANSPORT, created->where.transport,
		    sizeof(created->where.transport));
	created->where.port = attr_u16(a, MITOSIS_A_PORT);
	attr_dct(a, &created->where.dct);
	if (!created->snapshot || !a[MITOSIS_A_KEY] ||
	    nla_len(a[MITOSIS_A_KEY]) != MITOSIS_KEY_LEN)
		return -EBADMSG;
	memcpy(created->key, nla_data(a[MITOSIS_A_KEY]), MITOSIS_KEY_LEN);
	return 0;
}

int mitosis_hold_create(struct mitosis *ctl, const char *transports, const char *addr,
			const char *name, uint32_t lease, uint32_t flags, uint64_t *snapshot,
			uint8_t key[MITOSIS_KEY_LEN], struct mitosis_where *where)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_HOLD_CREATE, NLM_F_ACK, 0);
	struct hold_created created = { .key = key };
	char what[128];
	int ret;

	if (!msg)
		return NETLINK_NO_MEMORY(ctl, "snapshot");
	if ((addr && nla_put_string(msg, MITOSIS_A_ADDR, addr)) ||
	    (transports && nla_put_string(msg, MITOSIS_A_TRANSPORT, transports)) ||
	    (name && nla_put_string(msg, MITOSIS_A_NAME, name)) ||
	    (lease && nla_put_u32(msg, MITOSIS_A_LEASE, lease)) ||
	    (flags && nla_put_u32(msg, MITOSIS_A_FLAGS, flags)))
		return netlink_too_small(ctl, msg, "snapshot");
	snprintf(what, sizeof(what), "snapshot at address %s", addr ? addr : "none");
	if (transports && !addr)
		snprintf(what, sizeof(what), "snapshot over transport %s", transports);
	ret = netlink_call(ctl, msg, what, netlink_reply_created, &created);
	if (ret)
		return ret;
	*snapshot = created.snapshot;
	*where = created.where;
	where->insecure = !strcmp(where->transport, "tcp") && flags & MITOSIS_F_INSECURE;
	if (!where->dct.number)
		snprintf(where->addr, sizeof(where->addr), "%s", addr ? addr : "");
	return 0;
}

int mitosis_hold_base(struct mitosis *ctl, uint64_t snapshot, uint64_t base)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_HOLD_BASE, NLM_F_ACK, 0);
	char what[128];

	snprintf(what, sizeof(what), "snapshot %016llx after snapshot %016llx",
		 (unsigned long long)snapshot, (unsigned long long)base);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) ||
	    nla_put_u64(msg, MITOSIS_A_PARENT, base))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, NULL, NULL);
}

static int netlink_reply_changed(struct nlattr **a, void *arg)
{
	*(uint64_t *)arg = attr_u64(a, MITOSIS_A_PAGES_CHANGED);
	return 0;
}

int mitosis_hold_changed(struct mitosis *ctl, uint64_t snapshot, uint64_t *pages)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_HOLD_CHANGED, NLM_F_ACK, 0);
	char what[128];

	snprintf(what, sizeof(what), "snapshot %016llx", (unsigned long long)snapshot);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, netlink_reply_changed, pages);
}

int mitosis_hold_mm(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
		    const struct mitosis_proc *proc, const struct mitosis_proc *clone)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_HOLD_MM, NLM_F_ACK, 0);
	char what[128];

	snprintf(what, sizeof(what), "memory of process %u for snapshot %016llx", mm,
		 (unsigned long long)snapshot);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) ||
	    nla_put_u32(msg, MITOSIS_A_MM, mm) ||
	    nla_put_u32(msg, MITOSIS_A_PID, proc->pid) ||
	    nla_put_u64(msg, MITOSIS_A_START_TIME, proc->start_time) ||
	    (clone && nla_put_u32(msg, MITOSIS_A_CLONE_PID, clone->pid)) ||
	    (clone && nla_put_u64(msg, MITOSIS_A_CLONE_START_TIME, clone->start_time)))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, NULL, NULL);
}

struct hold_quota {
	uint64_t snapshot;
	uint32_t uid;
	uint64_t pages;		/* in other snapshots of the user */
};

static int hold_quota_add(const struct mitosis_hold_info *hold, void *arg)
{
	struct hold_quota *q = arg;

	if (hold->uid == q->uid && hold->snapshot != q->snapshot)
		q->pages += hold->pages_held;
	return 0;
}

/* The module's sentence cannot say which user, and how much that is. */
static int hold_over_quota(struct mitosis *ctl, uint64_t snapshot, const char *what)
{
	struct hold_quota q = { .snapshot = snapshot };
	FILE *f = fopen(HOLD_USER_LIMIT, "re");
	struct mitosis_hold_info hold = { .uid = UINT32_MAX };
	unsigned long limit = 0;

	if (f && fscanf(f, "%lu", &limit) != 1)
		limit = 0;
	if (f)
		fclose(f);
	mitosis_hold_find(ctl, snapshot, &hold);
	q.uid = hold.uid;
	mitosis_hold_get(ctl, 0, hold_quota_add, &q);
	return netlink_fail(ctl, -EDQUOT,
			    "%s: user %u would hold more than %lu MiB, %.1f MiB of it in other snapshots: release one, see mitosis-cli list, or raise " HOLD_USER_LIMIT,
			    what, q.uid, limit, q.pages / 256.0);
}

static size_t netlink_part(size_t n)
{
	return n < MITOSIS_MAX_ARRAY ? n : MITOSIS_MAX_ARRAY;
}

/*
 * A command that takes runs of an address space as attribute @attr, in as many parts as they need.
 */
static int netlink_runs(struct mitosis *ctl, int cmd, int attr, uint64_t snapshot, uint32_t mm,
			const struct mitosis_run *runs, size_t nruns)
{
	char what[128];
	int ret = 0;

	snprintf(what, sizeof(what), "pages of process %u for snapshot %016llx", mm,
		 (unsigned long long)snapshot);
	while (nruns && !ret) {
		size_t n = netlink_part(nruns);
		struct nl_msg *msg = netlink_request(ctl, cmd, NLM_F_ACK, n * sizeof(*runs));

		if (!msg)
			return NETLINK_NO_MEMORY(ctl, what);
		if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) ||
		    nla_put_u32(msg, MITOSIS_A_MM, mm) ||
		    nla_put(msg, attr, n * sizeof(*runs), runs))
			return netlink_too_small(ctl, msg, what);
		ret = netlink_call(ctl, msg, what, NULL, NULL);
		runs += n;
		nruns -= n;
	}
	return ret == -EDQUOT ? hold_over_quota(ctl, snapshot, what) : ret;
}

int mitosis_hold_pages(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
		       const struct mitosis_run *runs, size_t nruns)
{
	return netlink_runs(ctl, MITOSIS_CMD_HOLD_PAGES, MITOSIS_A_RUNS, snapshot, mm, runs, nruns);
}

int mitosis_attach_record(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
			  const struct mitosis_run *runs, size_t nruns)
{
	return netlink_runs(ctl, MITOSIS_CMD_ATTACH_ADD, MITOSIS_A_RECORD, snapshot, mm, runs,
			    nruns);
}

/* A command whose only argument is a snapshot. */
static int netlink_simple(struct mitosis *ctl, int cmd, uint64_t snapshot, const char *kind)
{
	struct nl_msg *msg = netlink_request(ctl, cmd, NLM_F_ACK, 0);
	char what[128];

	snprintf(what, sizeof(what), "%s %016llx", kind, (unsigned long long)snapshot);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, NULL, NULL);
}

int mitosis_hold_seal(struct mitosis *ctl, uint64_t snapshot)
{
	return netlink_simple(ctl, MITOSIS_CMD_HOLD_SEAL, snapshot, "snapshot");
}

int mitosis_hold_extend(struct mitosis *ctl, uint64_t snapshot, uint32_t lease)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_HOLD_EXTEND, NLM_F_ACK, 0);
	char what[128];

	snprintf(what, sizeof(what), "snapshot %016llx", (unsigned long long)snapshot);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) ||
	    (lease && nla_put_u32(msg, MITOSIS_A_LEASE, lease)))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, NULL, NULL);
}

int mitosis_release(struct mitosis *ctl, uint64_t snapshot)
{
	return netlink_simple(ctl, MITOSIS_CMD_RELEASE, snapshot, "snapshot");
}

int mitosis_release_all(struct mitosis *ctl)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_RELEASE, NLM_F_ACK, 0);

	if (!msg)
		return NETLINK_NO_MEMORY(ctl, "snapshots");
	if (nla_put_u32(msg, MITOSIS_A_FLAGS, MITOSIS_RELEASE_ALL))
		return netlink_too_small(ctl, msg, "snapshots");
	return netlink_call(ctl, msg, "snapshots", NULL, NULL);
}

int mitosis_link_drain(struct mitosis *ctl, uint64_t snapshot)
{
	return netlink_simple(ctl, MITOSIS_CMD_LINK_DRAIN, snapshot, "link to snapshot");
}

int mitosis_link_close(struct mitosis *ctl, uint64_t snapshot)
{
	return netlink_simple(ctl, MITOSIS_CMD_LINK_CLOSE, snapshot, "link to snapshot");
}

struct filled {
	uint64_t pages;
	uint32_t error;
};

static int netlink_reply_filled(struct nlattr **a, void *arg)
{
	*(struct filled *)arg = (struct filled){
		.pages = attr_u64(a, MITOSIS_A_PAGES_FILLED),
		.error = attr_u32(a, MITOSIS_A_ERROR),
	};
	return 0;
}

int mitosis_link_fill(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
		      const struct mitosis_run *runs, size_t nruns,
		      const struct mitosis_region *regions, size_t nregions, uint64_t *pages)
{
	struct filled filled = {};
	struct nl_msg *msg;
	char what[128];
	int ret;

	*pages = 0;
	snprintf(what, sizeof(what), "pages of process %u of snapshot %016llx", mm,
		 (unsigned long long)snapshot);
	if (nruns > MITOSIS_MAX_ARRAY || nregions > MITOSIS_MAX_ARRAY)
		return netlink_fail(ctl, -E2BIG, "%s: more than %d runs or regions", what,
				    MITOSIS_MAX_ARRAY);
	msg = netlink_request(ctl, MITOSIS_CMD_LINK_FILL, NLM_F_ACK,
			      nruns * sizeof(*runs) + nregions * sizeof(*regions));
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) || nla_put_u32(msg, MITOSIS_A_MM, mm) ||
	    nla_put(msg, MITOSIS_A_RUNS, nruns * sizeof(*runs), runs) ||
	    nla_put(msg, MITOSIS_A_REGIONS, nregions * sizeof(*regions), regions))
		return netlink_too_small(ctl, msg, what);
	ret = netlink_call(ctl, msg, what, netlink_reply_filled, &filled);
	*pages = filled.pages;
	if (ret || !filled.error)
		return ret;
	return netlink_fail(ctl, -EAGAIN, "%s: not all have come yet", what);
}

/* What a dump calls for each message. */
struct dump {
	union {
		mitosis_hold_cb hold;
		mitosis_region_cb region;
		mitosis_link_cb link;
		mitosis_attach_cb attach;
		mitosis_inherit_cb inherit;
		mitosis_record_cb record;
	};
	void *arg;
};

static int netlink_dump(struct mitosis *ctl, int cmd, uint64_t snapshot, const char *what,
			int (*reply)(struct nlattr **attrs, void *arg), struct dump *dump)
{
	struct nl_msg *msg = netlink_request(ctl, cmd, NLM_F_DUMP, 0);

	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (snapshot && nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, reply, dump);
}

static int netlink_reply_hold(struct nlattr **a, void *arg)
{
	struct mitosis_hold_info hold = {
		.snapshot = attr_u64(a, MITOSIS_A_SNAPSHOT),
		.port = attr_u16(a, MITOSIS_A_PORT),
		.flags = attr_u32(a, MITOSIS_A_FLAGS),
		.state = attr_u32(a, MITOSIS_A_STATE),
		.lease = attr_u32(a, MITOSIS_A_LEASE),
		.leased = a[MITOSIS_A_LEASE],
		.pages_held = attr_u64(a, MITOSIS_A_PAGES_HELD),
		.nregions = attr_u64(a, MITOSIS_A_NREGIONS),
		.npeers = attr_u32(a, MITOSIS_A_NPEERS),
		.uid = a[MITOSIS_A_UID] ? attr_u32(a, MITOSIS_A_UID) : UINT32_MAX,
		.age_ms = attr_u64(a, MITOSIS_A_AGE_MS),
	};
	struct dump *dump = arg;

	attr_string(a, MITOSIS_A_NAME, hold.name, sizeof(hold.name));
	attr_string(a, MITOSIS_A_ADDR, hold.addr, sizeof(hold.addr));
	attr_string(a, MITOSIS_A_TRANSPORT, hold.transport, sizeof(hold.transport));
	return dump->hold(&hold, dump->arg);
}

int mitosis_hold_get(struct mitosis *ctl, uint64_t snapshot, mitosis_hold_cb cb, void *arg)
{
	struct dump dump = { .hold = cb, .arg = arg };

	return netlink_dump(ctl, MITOSIS_CMD_HOLD_GET, snapshot, "snapshots", netlink_reply_hold,
			    &dump);
}

static int hold_found(const struct mitosis_hold_info *hold, void *arg)
{
	*(struct mitosis_hold_info *)arg = *hold;
	return 1;
}

int mitosis_hold_find(struct mitosis *ctl, uint64_t snapshot, struct mitosis_hold_info *hold)
{
	return mitosis_hold_get(ctl, snapshot, hold_found, hold);
}

static int netlink_reply_region(struct nlattr **a, void *arg)
{
	const void *regions;
	ssize_t n = attr_list(a, MITOSIS_A_REGIONS, sizeof(struct mitosis_region), &regions);
	struct dump *dump = arg;

	return n < 0 ? -EBADMSG : dump->region(attr_u32(a, MITOSIS_A_MM), regions, n, dump->arg);
}

int mitosis_region_get(struct mitosis *ctl, uint64_t snapshot, mitosis_region_cb cb, void *arg)
{
	struct dump dump = { .region = cb, .arg = arg };
	char what[64];

	snprintf(what, sizeof(what), "regions of snapshot %016llx", (unsigned long long)snapshot);
	return netlink_dump(ctl, MITOSIS_CMD_REGION_GET, snapshot, what, netlink_reply_region,
			    &dump);
}

static int netlink_reply_inherit(struct nlattr **a, void *arg)
{
	struct nlattr *runs = a[MITOSIS_A_RUNS], *regions = a[MITOSIS_A_REGIONS];
	struct mitosis_inherit_info in = {
		.mm = attr_u32(a, MITOSIS_A_MM),
		.parent = attr_u64(a, MITOSIS_A_PARENT),
		.where.port = attr_u16(a, MITOSIS_A_PORT),
		.where.insecure = attr_u32(a, MITOSIS_A_FLAGS) & MITOSIS_F_INSECURE,
		.runs = runs ? nla_data(runs) : NULL,
		.nruns = runs ? nla_len(runs) / sizeof(*in.runs) : 0,
		.regions = regions ? nla_data(regions) : NULL,
		.nregions = regions ? nla_len(regions) / sizeof(*in.regions) : 0,
	};
	struct dump *dump = arg;

	if (!a[MITOSIS_A_KEY] || nla_len(a[MITOSIS_A_KEY]) != MITOSIS_KEY_LEN)
		return -EBADMSG;
	memcpy(in.key, nla_data(a[MITOSIS_A_KEY]), MITOSIS_KEY_LEN);
	attr_string(a, MITOSIS_A_TRANSPORT, in.where.transport, sizeof(in.where.transport));
	attr_string(a, MITOSIS_A_PEER_ADDR, in.where.addr, sizeof(in.where.addr));
	attr_dct(a, &in.where.dct);
	return dump->inherit(&in, dump->arg);
}

int mitosis_inherit_get(struct mitosis *ctl, uint64_t snapshot, mitosis_inherit_cb cb, void *arg)
{
	struct dump dump = { .inherit = cb, .arg = arg };
	char what[80];

	snprintf(what, sizeof(what), "inherited pages of snapshot %016llx",
		 (unsigned long long)snapshot);
	return netlink_dump(ctl, MITOSIS_CMD_INHERIT_GET, snapshot, what, netlink_reply_inherit,
			    &dump);
}

static int netlink_reply_link(struct nlattr **a, void *arg)
{
	struct mitosis_link_info link = {
		.snapshot = attr_u64(a, MITOSIS_A_SNAPSHOT),
		.state = attr_u32(a, MITOSIS_A_STATE),
		.error = attr_u32(a, MITOSIS_A_ERROR),
		.give_up = attr_u32(a, MITOSIS_A_GIVE_UP),
		.nattached = attr_u32(a, MITOSIS_A_NATTACHED),
		.age_ms = attr_u64(a, MITOSIS_A_AGE_MS),
		.down_ms = attr_u64(a, MITOSIS_A_DOWN_MS),
		.drain_ns = attr_u64(a, MITOSIS_A_DRAIN_NS),
	};
	struct dump *dump = arg;

	attr_string(a, MITOSIS_A_PEER_ADDR, link.peer_addr, sizeof(link.peer_addr));
	attr_string(a, MITOSIS_A_TRANSPORT, link.transport, sizeof(link.transport));
	return dump->link(&link, dump->arg);
}

int mitosis_link_get(struct mitosis *ctl, uint64_t snapshot, mitosis_link_cb cb, void *arg)
{
	struct dump dump = { .link = cb, .arg = arg };

	return netlink_dump(ctl, MITOSIS_CMD_LINK_GET, snapshot, "links", netlink_reply_link,
			    &dump);
}

static int netlink_reply_attach(struct nlattr **a, void *arg)
{
	struct mitosis_attach_info attach = {
		.snapshot = attr_u64(a, MITOSIS_A_SNAPSHOT),
		.mm = attr_u32(a, MITOSIS_A_MM),
		.pid = attr_u32(a, MITOSIS_A_PID),
		.pages_total = attr_u64(a, MITOSIS_A_PAGES_TOTAL),
		.pages_pending = attr_u64(a, MITOSIS_A_PAGES_PENDING),
		.pages_fault = attr_u64(a, MITOSIS_A_PAGES_FAULT),
		.pages_shared = attr_u64(a, MITOSIS_A_PAGES_SHARED),
		.pages_drain = attr_u64(a, MITOSIS_A_PAGES_DRAIN),
		.pages_eager = attr_u64(a, MITOSIS_A_PAGES_EAGER),
		.pages_dead = attr_u64(a, MITOSIS_A_PAGES_DEAD),
		.pages_unreadable = attr_u64(a, MITOSIS_A_PAGES_UNREADABLE),
		.drain_ns = attr_u64(a, MITOSIS_A_DRAIN_NS),
		.busy_ns = attr_u64(a, MITOSIS_A_BUSY_NS),
		.flags = attr_u32(a, MITOSIS_A_FLAGS),
		.pages_ahead = attr_u64(a, MITOSIS_A_PAGES_AHEAD),
		.pages_filled = attr_u64(a, MITOSIS_A_PAGES_FILLED),
	};
	struct dump *dump = arg;

	attr_array(a, MITOSIS_A_LATENCY, attach.latency, MITOSIS_LATENCY_MAX);
	return dump->attach(&attach, dump->arg);
}

static int netlink_reply_record(struct nlattr **a, void *arg)
{
	const void *runs;
	ssize_t n = attr_list(a, MITOSIS_A_RUNS, sizeof(struct mitosis_run), &runs);
	struct dump *dump = arg;

	return n < 0 ? -EBADMSG : dump->record(attr_u32(a, MITOSIS_A_MM), runs, n, dump->arg);
}

int mitosis_record_get(struct mitosis *ctl, uint64_t snapshot, mitosis_record_cb cb, void *arg)
{
	struct dump dump = { .record = cb, .arg = arg };
	char what[64];

	snprintf(what, sizeof(what), "record of snapshot %016llx", (unsigned long long)snapshot);
	return netlink_dump(ctl, MITOSIS_CMD_RECORD_GET, snapshot, what, netlink_reply_record,
			    &dump);
}

int mitosis_attach_get(struct mitosis *ctl, uint64_t snapshot, mitosis_attach_cb cb, void *arg)
{
	struct dump dump = { .attach = cb, .arg = arg };

	return netlink_dump(ctl, MITOSIS_CMD_ATTACH_GET, snapshot, "attachments",
			    netlink_reply_attach, &dump);
}

static int netlink_link_open(struct mitosis *ctl, uint64_t snapshot,
			     const uint8_t key[MITOSIS_KEY_LEN], const struct mitosis_where *where,
			     const char *addr, uint32_t give_up)
{
	struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_LINK_OPEN, NLM_F_ACK, 0);
	char what[192];

	if (where->dct.number)
		snprintf(what, sizeof(what), "link to snapshot %016llx at DC target %#x",
			 (unsigned long long)snapshot, where->dct.number);
	else
		snprintf(what, sizeof(what), "link to snapshot %016llx at %s port %u",
			 (unsigned long long)snapshot, where->addr, where->port);
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) ||
	    nla_put(msg, MITOSIS_A_KEY, MITOSIS_KEY_LEN, key) ||
	    (where->dct.number ? nla_put(msg, MITOSIS_A_DCT, sizeof(where->dct), &where->dct) :
				 nla_put_string(msg, MITOSIS_A_PEER_ADDR, where->addr) ||
					 nla_put_u16(msg, MITOSIS_A_PORT, where->port)) ||
	    (*where->transport && nla_put_string(msg, MITOSIS_A_TRANSPORT, where->transport)) ||
	    netlink_put_insecure(msg, where->insecure) ||
	    (addr && nla_put_string(msg, MITOSIS_A_ADDR, addr)) ||
	    (give_up && nla_put_u32(msg, MITOSIS_A_GIVE_UP, give_up)))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, NULL, NULL);
}

int mitosis_link_open(struct mitosis *ctl, uint64_t snapshot, const uint8_t key[MITOSIS_KEY_LEN],
		      const struct mitosis_where *where, const char *addr, uint32_t give_up)
{
	struct mitosis_info info;
	int ret;

	ret = mitosis_info(ctl, &info);
	if (!ret && !info.hooks)
		ret = mitosis_selftest(ctl);
	if (ret)
		return ret;
	return netlink_link_open(ctl, snapshot, key, where, addr, give_up);
}

int mitosis_attach_add(struct mitosis *ctl, uint64_t snapshot, uint32_t mm, uint64_t parent,
		       const struct mitosis_run *runs, size_t nruns,
		       const struct mitosis_region *regions, size_t nregions)
{
	char what[128];
	int ret = 0;

	snprintf(what, sizeof(what), "attachment of process %u to snapshot %016llx", mm,
		 (unsigned long long)snapshot);
	while ((nruns || nregions) && !ret) {
		size_t n = netlink_part(nruns), m = netlink_part(nregions);
		struct nl_msg *msg = netlink_request(ctl, MITOSIS_CMD_ATTACH_ADD, NLM_F_ACK,
						     n * sizeof(*runs) + m * sizeof(*regions));

		if (!msg)
			return NETLINK_NO_MEMORY(ctl, what);
		if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) ||
		    nla_put_u32(msg, MITOSIS_A_MM, mm) ||
		    (parent && nla_put_u64(msg, MITOSIS_A_PARENT, parent)) ||
		    (n && nla_put(msg, MITOSIS_A_RUNS, n * sizeof(*runs), runs)) ||
		    (m && nla_put(msg, MITOSIS_A_REGIONS, m * sizeof(*regions), regions)))
			return netlink_too_small(ctl, msg, what);
		ret = netlink_call(ctl, msg, what, NULL, NULL);
		runs += n;
		nruns -= n;
		regions += m;
		nregions -= m;
	}
	return ret;
}

int mitosis_attach_arm(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
		       const struct mitosis_proc *proc, const struct mitosis_arm *arm)
{
	struct nl_msg *msg;
	char what[128];

	snprintf(what, sizeof(what), "attachment of process %u to snapshot %016llx", mm,
		 (unsigned long long)snapshot);
	if (arm->neager > MITOSIS_MAX_ARRAY || arm->nkeep > MITOSIS_MAX_ARRAY)
		return netlink_fail(ctl, -E2BIG, "%s: more than %d eager or kept ranges", what,
				    MITOSIS_MAX_ARRAY);
	msg = netlink_request(ctl, MITOSIS_CMD_ATTACH_ARM, NLM_F_ACK,
			      arm->neager * sizeof(*arm->eager) + arm->nkeep * sizeof(*arm->keep));
	if (!msg)
		return NETLINK_NO_MEMORY(ctl, what);
	if (nla_put_u64(msg, MITOSIS_A_SNAPSHOT, snapshot) || nla_put_u32(msg, MITOSIS_A_MM, mm) ||
	    nla_put_u32(msg, MITOSIS_A_PID, proc->pid) ||
	    nla_put_u64(msg, MITOSIS_A_START_TIME, proc->start_time) ||
	    (arm->flags && nla_put_u32(msg, MITOSIS_A_FLAGS, arm->flags)) ||
	    (arm->prefetch && nla_put_u32(msg, MITOSIS_A_PREFETCH, arm->prefetch)) ||
	    (arm->window && nla_put_u32(msg, MITOSIS_A_WINDOW, arm->window)) ||
	    (arm->neager &&
	     nla_put(msg, MITOSIS_A_EAGER, arm->neager * sizeof(*arm->eager), arm->eager)) ||
	    (arm->nkeep &&
	     nla_put(msg, MITOSIS_A_KEEP, arm->nkeep * sizeof(*arm->keep), arm->keep)))
		return netlink_too_small(ctl, msg, what);
	return netlink_call(ctl, msg, what, NULL, NULL);
}

int mitosis_event_subscribe(struct mitosis *ctl)
{
	char err[MITOSIS_ERROR_LEN];
	int group, ret;

	if (ctl->events)
		return 0;
	group = genl_ctrl_resolve_grp(ctl->sk, MITOSIS_GENL_NAME, MITOSIS_MCGRP_EVENTS);
	if (group < 0)
		return netlink_fail(ctl, -ENODEV, "events: module mitosis has none: load it again");
	ctl->events = netlink_socket(err, sizeof(err));
	if (!ctl->events)
		return netlink_fail(ctl, -errno, "events: %s", err);
	nl_socket_disable_seq_check(ctl->events);
	nl_socket_set_nonblocking(ctl->events);
	ret = nl_socket_add_memberships(ctl->events, group, 0);
	if (ret) {
		nl_socket_free(ctl->events);
		ctl->events = NULL;
		return netlink_fail(ctl, netlink_errno(ret), "events: %s", nl_geterror(ret));
	}
	return 0;
}

int mitosis_event_fd(const struct mitosis *ctl)
{
	return ctl->events ? nl_socket_get_fd(ctl->events) : -EBADF;
}

static int netlink_event_parse(struct nlmsghdr *nlh, int family, struct mitosis_event_info *event)
{
	struct nlattr *a[MITOSIS_A_MAX + 1];

	if (nlh->nlmsg_type != family || !genlmsg_valid_hdr(nlh, 0) ||
	    genlmsg_hdr(nlh)->cmd != MITOSIS_CMD_EVENT ||
	    genlmsg_parse(nlh, 0, a, MITOSIS_A_MAX, NULL) || !a[MITOSIS_A_EVENT])
		return -EBADMSG;
	event->event = attr_u32(a, MITOSIS_A_EVENT);
	event->snapshot = attr_u64(a, MITOSIS_A_SNAPSHOT);
	event->mm = attr_u32(a, MITOSIS_A_MM);
	event->pid = attr_u32(a, MITOSIS_A_PID);
	event->error = attr_u32(a, MITOSIS_A_ERROR);
	return 0;
}

int mitosis_event_next(struct mitosis *ctl, struct mitosis_event_info *event, int timeout)
{
	struct pollfd pfd = { .fd = mitosis_event_fd(ctl), .events = POLLIN };
	union {
		struct nlmsghdr nlh;
		char bytes[4096];
	} buf;
	ssize_t len;
	int n;

	if (!ctl->events)
		return netlink_fail(ctl, -EBADF, "events: not subscribed");
	for (;;) {
		len = recv(pfd.fd, &buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);
		if (len >= (ssize_t)sizeof(buf.nlh) && len <= (ssize_t)sizeof(buf) &&
		    nlmsg_ok(&buf.nlh, len) && !netlink_event_parse(&buf.nlh, ctl->family, event))
			return 0;
		if (len < 0 && errno == ENOBUFS)
			return netlink_fail(ctl, -ENOBUFS, "events: some were lost");
		if (len >= 0 || errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return netlink_fail(ctl, -errno, "events: %s", strerror(errno));
		n = poll(&pfd, 1, timeout);
		if (n < 0)
			return netlink_fail(ctl, -errno, "events: %s", strerror(errno));
		if (!n)
			return netlink_fail(ctl, -ETIMEDOUT, "events: none came");
	}
}
