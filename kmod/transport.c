// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/err.h>
#include <linux/export.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>

#include "transport.h"

static LIST_HEAD(xprt_list);
static DEFINE_MUTEX(xprt_lock);		/* xprt_list */

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
		/* mitosis.ko itself needs none: it releases all that is held before it goes */
		if (!strcmp(xprt->name, name) &&
		    (xprt->owner == THIS_MODULE || try_module_get(xprt->owner)))
			found = xprt;
	}
	mutex_unlock(&xprt_lock);
	return found;
}

static void xprt_put(const struct xprt *xprt)
{
	if (xprt->owner != THIS_MODULE)
		module_put(xprt->owner);
}

struct xprt_exposure *xprt_expose_create(const char *name, const struct sockaddr_storage *addr,
					 u64 id, const u8 *key, const struct xprt_expose_ops *ops,
					 void *priv)
{
	struct xprt *xprt = xprt_get(name);
	struct xprt_exposure *ex;

	if (!xprt)
		return ERR_PTR(-EPROTONOSUPPORT);
	ex = xprt->expose_create(addr, id, key, ops, priv);
	if (IS_ERR(ex))
		xprt_put(xprt);
	else
		ex->xprt = xprt;
	return ex;
}

void xprt_expose_destroy(struct xprt_exposure *ex)
{
	const struct xprt *xprt = ex->xprt;

	xprt->expose_destroy(ex);
	xprt_put(xprt);
}

struct xprt_conn *xprt_conn_open(const char *name, const struct sockaddr_storage *local,
				 const struct sockaddr_storage *peer, u64 id, const u8 *key,
				 unsigned int timeout_ms, const struct xprt_conn_ops *ops,
				 void *priv)
{
	struct xprt *xprt = xprt_get(name);
	struct xprt_conn *conn;

	if (!xprt)
		return ERR_PTR(-EPROTONOSUPPORT);
	conn = xprt->conn_open(local, peer, id, key, timeout_ms, ops, priv);
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
