// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/kmod.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "stats.h"
#include "transport.h"

static LIST_HEAD(xprt_list);
static DEFINE_MUTEX(xprt_lock);		/* xprt_list */

static char transports[XPRT_NAMES_LEN] = "dct,rc,tcp";
module_param_string(transports, transports, sizeof(transports), 0644);
MODULE_PARM_DESC(transports,
		 "Transports over which snapshots are offered, the best first; those that are not loaded or have no device are passed over");

void xprt_register(struct xprt *xprt)
{
	mutex_lock(&xprt_lock);
	list_add_tail(&xprt->list, &xprt_list);
	mutex_unlock(&xprt_lock);
}
EXPORT_SYMBOL_GPL(xprt_register);

void xprt_unregister(struct xprt *xprt)
{
	mutex_lock(&xprt_lock);
	list_del(&xprt->list);
	mutex_unlock(&xprt_lock);
}
EXPORT_SYMBOL_GPL(xprt_unregister);

/* With a reference on its module. */
static struct xprt *xprt_get(const char *name)
{
	struct xprt *xprt, *found = NULL;

	mutex_lock(&xprt_lock);
	list_for_each_entry(xprt, &xprt_list, list) {
		if (!strcmp(xprt->name, name) && try_module_get(xprt->owner))
			found = xprt;
	}
	mutex_unlock(&xprt_lock);
	return found;
}

static void xprt_put(const struct xprt *xprt)
{
	module_put(xprt->owner);
}

/* As xprt_get(); who asks for one by name may have it loaded. */
static struct xprt *xprt_load(const char *name)
{
	struct xprt *xprt = xprt_get(name);

	if (!xprt && !request_module("mitosis-xprt-%s", name))
		xprt = xprt_get(name);
	return xprt;
}

/* Transports in the order in which they are tried. */
struct xprt_order {
	const char *next;
	bool load, insecure;
	bool unallowed;			/* one was passed over as it goes in the clear */
	char preferred[XPRT_NAMES_LEN];
};

/* @names: NULL for what the administrator prefers; a write to the parameter ends in a newline. */
static void xprt_order_begin(struct xprt_order *order, const char *names, bool insecure)
{
	order->load = names;
	order->insecure = insecure;
	order->unallowed = false;
	order->next = names ?: order->preferred;
	if (names)
		return;
	kernel_param_lock(THIS_MODULE);
	strscpy(order->preferred, transports, sizeof(order->preferred));
	kernel_param_unlock(THIS_MODULE);
	strim(order->preferred);
}

/* Whether @name may not be used. Nor is it loaded then: it is code for who is on the network. */
static bool xprt_order_forbids(struct xprt_order *order, const char *name)
{
	struct xprt *xprt;

	if (order->insecure || !xprt_is_in_clear(name, false))
		return false;
	xprt = xprt_get(name);
	if (xprt)
		xprt_put(xprt);
	/* Who did not name it did not mean one that is not there. */
	order->unallowed |= xprt || order->load;
	return true;
}

/* The next one that there is and that may be used, as xprt_get(); NULL: that was the last. */
static struct xprt *xprt_order_next(struct xprt_order *order)
{
	char name[XPRT_NAMES_LEN];
	struct xprt *xprt = NULL;
	size_t n;

	while (!xprt && (n = strcspn(order->next, ","))) {
		strscpy(name, order->next, min(sizeof(name), n + 1));
		order->next += n;
		if (*order->next)
			order->next++;
		if (!xprt_order_forbids(order, name))
			xprt = order->load ? xprt_load(name) : xprt_get(name);
	}
	return xprt;
}

void xprt_usable(const char *names, bool insecure, char *usable, size_t len)
{
	struct xprt_order order;
	struct xprt *xprt;
	char why[8];
	size_t n = 0;

	*usable = 0;
	xprt_order_begin(&order, names, insecure);
	while ((xprt = xprt_order_next(&order))) {
		if (!xprt->usable || !xprt->usable(why, sizeof(why)))
			n += scnprintf(usable + n, len - n, "%s%s", n ? "," : "", xprt->name);
		xprt_put(xprt);
	}
}

void xprt_dct_text(const struct mitosis_dct *dct, char *text, size_t len)
{
	if (dct->link == MITOSIS_DCT_ROCE)
		snprintf(text, len, "%pI6c DCT %#x", dct->gid, dct->number);
	else
		snprintf(text, len, "LID %u DCT %#x", dct->lid, dct->number);
}

struct xprt_exposure *xprt_expose_create(const char *names, bool insecure,
					 const struct sockaddr_storage *addr, u64 id,
					 const u8 *key, const struct xprt_expose_ops *ops,
					 void *priv)
{
	struct xprt_exposure *ex = ERR_PTR(-EPROTONOSUPPORT);
	char failed[XPRT_NAMES_LEN] = "";
	struct xprt_order order;
	struct xprt *xprt;
	int err = 0;

	xprt_order_begin(&order, names, insecure);
	while ((xprt = xprt_order_next(&order))) {
		ex = xprt->expose_create(insecure, addr, id, key, ops, priv);
		if (!IS_ERR(ex)) {
			ex->xprt = xprt;
			if (err && xprt_is_in_clear(xprt->name, insecure))
				pr_notice("mitosis: snapshot %016llx is offered over %s, unencrypted, as %s can not (%d)\n",
					  id, xprt->name, failed, err);
			break;
		}
		err = PTR_ERR(ex);
		strscpy(failed, xprt->name, sizeof(failed));
		xprt_put(xprt);
		if (PTR_ERR(ex) == -ENOMEM)
			break;
	}
	/* What has been wrong with others is to be told rather. */
	if (order.unallowed && PTR_ERR(ex) == -EPROTONOSUPPORT)
		return ERR_PTR(-EPERM);
	return ex;
}

void xprt_expose_destroy(struct xprt_exposure *ex)
{
	const struct xprt *xprt = ex->xprt;

	xprt->expose_destroy(ex);
	xprt_put(xprt);
}

int xprt_conn_errno(int err)
{
	switch (err) {
	case -EACCES:
	case -ECONNREFUSED:
	case -EINTR:
	case -EKEYREJECTED:
	case -ENODEV:
	case -ENOMEM:
	case -ENOPKG:
	case -EREMOTEIO:
	case -ETIMEDOUT:
		return err;
	case -EADDRNOTAVAIL:
		return -ENODEV;
	case -ECONNRESET:
		return -ECONNREFUSED;
	default:
		return -EHOSTUNREACH;
	}
}
EXPORT_SYMBOL_GPL(xprt_conn_errno);

struct xprt_conn *xprt_conn_open(const char *name, bool insecure,
				 const struct sockaddr_storage *local,
				 struct xprt_addr *peer, u64 id, const u8 *key,
				 unsigned int timeout_ms, const struct xprt_conn_ops *ops,
				 void *priv)
{
	struct xprt_conn *conn;
	struct xprt *xprt;

	if (!insecure && xprt_is_in_clear(name, false))
		return ERR_PTR(-EPERM);
	xprt = xprt_load(name);
	if (!xprt)
		return ERR_PTR(-EPROTONOSUPPORT);
	conn = xprt->conn_open(insecure, local, peer, id, key, timeout_ms, ops, priv);
	if (IS_ERR(conn))
		xprt_put(xprt);
	else
		conn->xprt = xprt;
	return conn;
}

void xprt_conn_close(struct xprt_conn *conn)
{
	const struct xprt *xprt = conn->xprt;

	xprt->conn_close(conn);
	xprt_put(xprt);
}

/* -------- Self-test -------- */

#define TEST_VA		0x10000
#define TEST_MS		5000
#define TEST_WAIT	(30 * HZ)
#define TEST_ROUNDS	32

struct xprt_test {
	const char *name;
	bool insecure;
	u8 key[MITOSIS_KEY_LEN];
	u64 id;
	struct page *from, *other, *to;
	u32 rkey, other_rkey;
	struct xprt_exposure *ex, *other_ex;
	struct xprt_addr addr;
	struct xprt_conn *conn;
	struct completion done;		/* the source has been told */
	char *why;
	size_t len;
};

struct test_read {
	struct xprt_read rd;
	struct completion done;
	int err;
};

#define test_fails(t, fmt, ...) ({ snprintf((t)->why, (t)->len, fmt, ##__VA_ARGS__); -EBADE; })

static void test_peer(void *priv)
{
}

static void test_peer_done(void *priv)
{
	struct xprt_test *t = priv;

	complete(&t->done);
}

static const struct xprt_expose_ops test_expose_ops = {
	.peer_up = test_peer,
	.peer_gone = test_peer,
	.peer_done = test_peer_done,
};

static void test_conn_error(void *priv, int err)
{
}

static const struct xprt_conn_ops test_conn_ops = {
	.error = test_conn_error,
};

static void test_read_done(struct xprt_read *rd, int err)
{
	struct test_read *tr = container_of(rd, struct test_read, rd);

	tr->err = err;
	complete(&tr->done);
}

static int test_read(struct xprt_test *t, u64 va, u32 rkey)
{
	struct test_read tr = {
		.rd = {
			.raddr = va, .rkey = rkey, .npages = 1, .page = t->to,
			.done = test_read_done,
		},
	};
	LIST_HEAD(reads);

	init_completion(&tr.done);
	list_add(&tr.rd.list, &reads);
	xprt_conn_read_list(t->conn, &reads);
	/* it is the device's until it is done, and that takes a time that the transport bounds */
	wait_for_completion(&tr.done);
	return tr.err;
}

static int test_open(struct xprt_test *t)
{
	t->conn = xprt_conn_open(t->name, t->insecure, NULL, &t->addr, t->id, t->key, TEST_MS,
				 &test_conn_ops, t);
	if (!IS_ERR(t->conn))
		return 0;
	if (PTR_ERR(t->conn) == -ENOPKG || PTR_ERR(t->conn) == -EREMOTEIO)
		snprintf(t->why, t->len, XPRT_NO_TLSHD);
	else if (PTR_ERR(t->conn) == -EKEYREJECTED)
		snprintf(t->why, t->len, XPRT_TLS_FAILS);
	else
		snprintf(t->why, t->len, "the port does not reach itself (%ld)", PTR_ERR(t->conn));
	return PTR_ERR(t->conn);
}

static void test_close(struct xprt_test *t)
{
	if (!IS_ERR_OR_NULL(t->conn))
		xprt_conn_close(t->conn);
	t->conn = NULL;
}

static int test_good(struct xprt_test *t, u64 *ns)
{
	u64 begin = ktime_get_ns();
	int ret;

	clear_page(page_address(t->to));
	ret = test_read(t, TEST_VA, t->rkey);
	*ns = min(*ns, ktime_get_ns() - begin);
	if (ret)
		return test_fails(t, "a READ of what is exposed fails (%d)", ret);
	if (memcmp(page_address(t->to), page_address(t->from), PAGE_SIZE))
		return test_fails(t, "a READ brings other data than what is exposed");
	return 0;
}

static int test_bad(struct xprt_test *t, u64 va, u32 rkey, const char *what)
{
	u64 ns = U64_MAX;
	int ret;

	clear_page(page_address(t->to));
	ret = test_read(t, va, rkey);
	if (ret != -EREMOTEIO)
		return test_fails(t, "a READ of %s is not refused (%d)", what, ret);
	if (memchr_inv(page_address(t->to), 0, PAGE_SIZE))
		return test_fails(t, "a READ of %s brings data", what);
	if (!t->ex->xprt->refuses_alone) {
		test_close(t);
		ret = test_open(t);
		if (ret)
			return ret;
	}
	return test_good(t, &ns);
}

/* Without the key nobody gets anywhere. */
static int test_key(struct xprt_test *t)
{
	struct xprt_addr addr = t->addr;
	u8 key[MITOSIS_KEY_LEN];
	struct xprt_conn *conn;
	u64 ns = U64_MAX;

	memcpy(key, t->key, sizeof(key));
	key[0] ^= 1;
	addr.dct.key ^= 1;
	conn = xprt_conn_open(t->name, t->insecure, NULL, &addr, t->id, key, TEST_MS,
			      &test_conn_ops, t);
	memzero_explicit(key, sizeof(key));
	memzero_explicit(&addr, sizeof(addr));
	if (!IS_ERR(conn)) {
		xprt_conn_close(conn);
		return test_fails(t, "a wrong key is as good as the right one");
	}
	if (PTR_ERR(conn) != -EACCES)
		return test_fails(t,
				  "a wrong key is not refused, but ends in error %ld: please report it, with the syndrome that dmesg has",
				  PTR_ERR(conn));
	/* One that is refused may cost others nothing. */
	return test_good(t, &ns);
}

static int test_expose(struct xprt_test *t, const struct sockaddr_storage *addr)
{
	int ret;

	t->ex = xprt_expose_create(t->name, t->insecure, addr, t->id, t->key, &test_expose_ops, t);
	if (IS_ERR(t->ex)) {
		struct xprt *xprt = xprt_get(t->name);

		ret = PTR_ERR(t->ex);
		if (ret == -EPERM)
			snprintf(t->why, t->len, XPRT_UNALLOWED);
		else if (!xprt)
			snprintf(t->why, t->len, "it is not loaded: modprobe mitosis_%s", t->name);
		else if (ret == -EADDRINUSE)
			snprintf(t->why, t->len,
				 "another program listens on its port: end that, or load mitosis_%s with another port=",
				 t->name);
		else if (!xprt->usable || !xprt->usable(t->why, t->len))
			snprintf(t->why, t->len, "no device can expose memory (%d)", ret);
		if (xprt)
			xprt_put(xprt);
		return ret;
	}
	xprt_expose_addr(t->ex, &t->addr);
	ret = xprt_expose_region(t->ex, TEST_VA, &t->from, 1, &t->rkey);
	if (ret) {
		snprintf(t->why, t->len, "memory can not be registered (%d)", ret);
		return ret;
	}
	xprt_expose_open(t->ex);
	t->other_ex = xprt_expose_create(t->name, t->insecure, addr, t->id + 1, t->key,
					 &test_expose_ops, t);
	if (IS_ERR(t->other_ex))
		return test_fails(t, "nothing more can be exposed (%ld)", PTR_ERR(t->other_ex));
	ret = xprt_expose_region(t->other_ex, TEST_VA, &t->other, 1, &t->other_rkey);
	if (ret)
		return test_fails(t, "memory can not be registered twice (%d)", ret);
	return 0;
}

static int test_run(struct xprt_test *t, const struct sockaddr_storage *addr, u64 *ns)
{
	int ret, i;

	ret = test_expose(t, addr) ?: test_open(t);
	for (i = 0; !ret && i < TEST_ROUNDS; i++)
		ret = test_good(t, ns);
	ret = ret ?: test_bad(t, TEST_VA + PAGE_SIZE, t->rkey, "what is not exposed") ?:
	      test_bad(t, TEST_VA, t->other_rkey, "another snapshot's memory") ?: test_key(t);
	if (ret)
		return ret;
	ret = xprt_conn_done(t->conn);
	if (ret || !wait_for_completion_timeout(&t->done, TEST_WAIT))
		return test_fails(t, "the source does not hear its reader (%d)", ret);
	return 0;
}

int xprt_test(const char *name, bool insecure, const struct sockaddr_storage *addr, u64 *ns,
	      char *why, size_t len)
{
	struct xprt_test t = {
		.name = name, .insecure = insecure, .why = why, .len = len,
		.id = get_random_u64() | 1,
	};
	int ret = -ENOMEM;

	init_completion(&t.done);
	get_random_bytes(t.key, sizeof(t.key));
	*ns = U64_MAX;
	snprintf(why, len, "there is no memory");
	t.from = alloc_page(GFP_KERNEL);
	t.other = alloc_page(GFP_KERNEL | __GFP_ZERO);
	t.to = alloc_page(GFP_KERNEL);
	if (t.from && t.other && t.to) {
		get_random_bytes(page_address(t.from), PAGE_SIZE);
		ret = test_run(&t, addr, ns);
	}
	test_close(&t);
	memzero_explicit(t.key, sizeof(t.key));
	memzero_explicit(&t.addr, sizeof(t.addr));
	if (!IS_ERR_OR_NULL(t.other_ex))
		xprt_expose_destroy(t.other_ex);
	if (!IS_ERR_OR_NULL(t.ex))
		xprt_expose_destroy(t.ex);
	if (t.from)
		__free_page(t.from);
	if (t.other)
		__free_page(t.other);
	if (t.to)
		__free_page(t.to);
	return ret;
}
