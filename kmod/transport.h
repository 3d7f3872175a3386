/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What a transport must do. It knows nothing of processes: it exposes pages under 64-bit addresses,
 * and reads from what a peer exposed.
 *
 * Source: an exposure belongs to one snapshot. Peers that present its id and key are let in once it
 * is open; what they can read is its regions and nothing else.
 * Destination: a connection to one exposure. Reads are asynchronous and may complete in any order.
 */
#ifndef MITOSIS_TRANSPORT_H
#define MITOSIS_TRANSPORT_H

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/kconfig.h>
#include <linux/socket.h>
#include <linux/string.h>
#include <linux/types.h>
#include <net/ipv6.h>

#include "mitosis.h"

struct module;
struct page;

/* The base of what a transport has for each. */
struct xprt_exposure {
	const struct xprt *xprt;
};

/* Where an exposure is found. */
struct xprt_addr {
	struct sockaddr_storage ip;	/* rc, tcp: with the port */
	struct mitosis_dct dct;		/* dct */
	/* The transport's, at the destination; it must stay as long as the connection. */
	u64 via;			/* what has led there; 0: nothing yet */
	bool slow;			/* it has kept others waiting */
};

struct xprt_conn {
	const struct xprt *xprt;
};

/* Called in process context that may sleep, never after expose_destroy() has returned. */
struct xprt_expose_ops {
	void (*peer_up)(void *priv);
	void (*peer_gone)(void *priv);
	void (*peer_done)(void *priv);	/* the peer needs nothing any more */
};

/*
 * One read of up to XPRT_READ_MAX contiguous pages. The caller owns it and fills in all but @priv;
 * the transport owns it from conn_read_list() until it calls done(), which runs in softirq or
 * process context, must not sleep, and may free it.
 *
 * err: 0; -EREMOTEIO: the peer refuses this address or key, now and later; -EIO: the
 * connection is gone, the read may be repeated on another one.
 */
#define XPRT_READ_MAX	32

struct xprt_read {
	u64 raddr;
	u32 rkey;
	u32 npages;
	struct page *page;	/* first of npages physically contiguous pages */
	void (*done)(struct xprt_read *rd, int err);
	struct list_head list;	/* of the owner while the transport does not own it */
	u64 priv[8];		/* of the transport */
};

/* error() may be called in any context that may not sleep, once; reads fail with -EIO after it. */
struct xprt_conn_ops {
	void (*error)(void *priv, int err);
};

struct xprt {
	const char *name;
	struct module *owner;
	struct list_head list;
	/* A READ that is refused fails alone; otherwise it costs the connection. */
	bool refuses_alone;
	/*
	 * -EACCES of conn_open() may be the word of anybody who has come to have the peer's address
	 * for a while.
	 */
	bool refuses_unproved;

	/* 0; or why it can not be used here now, as a sentence without its end in @why. Sleeps. */
	int (*usable)(char *why, size_t len);

	/*
	 * Finds the device that has address @addr and gets ready to register memory on it. Sleeps.
	 * Returns an ERR_PTR: -EADDRNOTAVAIL no device has the address, -ENODEV none can do it,
	 * -EADDRINUSE another program has the port, -EOPNOTSUPP the device lacks fast registration
	 * of 2 MiB, -ENOMEM. @addr may be NULL: any device that does without will do. @insecure,
	 * here and in conn_open(): unencrypted, if it can be encrypted otherwise.
	 */
	struct xprt_exposure *(*expose_create)(bool insecure, const struct sockaddr_storage *addr,
					       u64 id, const u8 *key,
					       const struct xprt_expose_ops *ops, void *priv);
	/* Fills in what is this transport's. */
	void (*expose_addr)(struct xprt_exposure *ex, struct xprt_addr *addr);
	/*
	 * Makes @npages (at most 2 MiB of them) readable at [@va, @va + npages * PAGE_SIZE) for
	 * peers of @ex. @pages and they are the caller's and must stay until expose_destroy() has
	 * returned. The region belongs to @ex. Sleeps. The caller serialises calls for one
	 * exposure.
	 */
	int (*expose_region)(struct xprt_exposure *ex, u64 va, struct page **pages,
			     unsigned int npages, u32 *rkey);
	/* From now on peers with the right key are accepted. */
	void (*expose_open)(struct xprt_exposure *ex);
	/*
	 * Disconnects peers and invalidates all regions: when it returns nobody can read. Sleeps.
	 */
	void (*expose_destroy)(struct xprt_exposure *ex);

	/*
	 * Connects to exposure @id at @peer, within @timeout_ms. Sleeps, killably:
	 * -EINTR. -EACCES: the peer refused. -EHOSTUNREACH, -ETIMEDOUT, -ECONNREFUSED, -ENODEV: not
	 * reached. -ENOPKG, -EREMOTEIO: nobody here, or there, does TLS handshakes. -EKEYREJECTED:
	 * that has failed. @local may be NULL.
	 */
	struct xprt_conn *(*conn_open)(bool insecure, const struct sockaddr_storage *local,
				       struct xprt_addr *peer, u64 id, const u8 *key,
				       unsigned int timeout_ms, const struct xprt_conn_ops *ops,
				       void *priv);
	/*
	 * Posts a list of reads (linked by ->list, emptied) with one doorbell; may be called in
	 * atomic context. Never fails: errors go to done(), which may be called before it returns.
	 * More reads than the queue takes wait inside in order.
	 */
	void (*conn_read_list)(struct xprt_conn *conn, struct list_head *reads);
	/*
	 * Tells the source that this peer needs nothing any more; waits until it has been told.
	 * Sleeps.
	 */
	int (*conn_done)(struct xprt_conn *conn);
	/* Fails outstanding reads with -EIO, waits for their done(), frees. Sleeps. */
	void (*conn_close)(struct xprt_conn *conn);
};

void xprt_register(struct xprt *xprt);
/* Nothing uses it any more: its module's references see to that. */
void xprt_unregister(struct xprt *xprt);

/* 0: it has none. Port and family are at the same place in both kinds of address. */
static inline u16 xprt_port(const struct xprt_addr *addr)
{
	return be16_to_cpu(((const struct sockaddr_in6 *)&addr->ip)->sin6_port);
}

static inline void xprt_set_port(struct sockaddr_storage *addr, u16 port)
{
	((struct sockaddr_in6 *)addr)->sin6_port = cpu_to_be16(port);
}

/* The address, of IPv4 as IPv6 maps it. */
static inline void xprt_in6(const struct sockaddr_storage *addr, struct in6_addr *in6)
{
	if (addr->ss_family == AF_INET6)
		*in6 = ((const struct sockaddr_in6 *)addr)->sin6_addr;
	else
		ipv6_addr_set_v4mapped(((const struct sockaddr_in *)addr)->sin_addr.s_addr, in6);
}

/* Reduces what may come out of sockets and rdma_cm to what conn_open() may return. */
int xprt_conn_errno(int err);

/* For people. */
void xprt_dct_text(const struct mitosis_dct *dct, char *text, size_t len);

/*
 * Who is on the way can read and change what goes over @name: it is for those who say that they
 * allow that. Not to be asked of the transport, as one who may not use it is not to have it loaded.
 * Who does not has TLS, where this kernel has it for modules.
 */
static inline bool xprt_is_in_clear(const char *name, bool insecure)
{
	return !strcmp(name, "tcp") && (insecure || !IS_ENABLED(CONFIG_MITOSIS_TLS));
}

/* Sentences, without their ends. */
#define XPRT_UNALLOWED \
	"memory would go over transport tcp unencrypted, as this kernel has no TLS for modules, or as it is offered: allow that with --insecure, or MITOSIS_INSECURE"
#define XPRT_NO_TLSHD \
	"nobody here does TLS handshakes: install ktls-utils and start tlshd, or allow unencrypted memory with --insecure"
#define XPRT_TLS_FAILS \
	"the TLS handshake fails: tlshd has to be started after module nvme-keyring has been loaded (systemctl restart tlshd), and its log says why"

#define XPRT_NAME_LEN	8
#define XPRT_NAMES_LEN	32

/*
 * Those of @names that are usable here; NULL: of what the administrator prefers. @insecure, here
 * and below: transports that are in the clear may be used, and without it they fail with -EPERM.
 */
void xprt_usable(const char *names, bool insecure, char *usable, size_t len);
/*
 * Exposes a page with transport @name and reads it over the same device, and what it may not; @ns:
 * what a READ takes. Or an error, and in
 * @why a sentence without its end. Sleeps.
 */
int xprt_test(const char *name, bool insecure, const struct sockaddr_storage *addr, u64 *ns,
	      char *why, size_t len);

/*
 * As the operations above. @names: transports, the best first, of which the first that can is
 * taken; NULL: what the administrator prefers. -EPROTONOSUPPORT: none of them is loaded.
 */
struct xprt_exposure *xprt_expose_create(const char *names, bool insecure,
					 const struct sockaddr_storage *addr, u64 id,
					 const u8 *key, const struct xprt_expose_ops *ops,
					 void *priv);
void xprt_expose_destroy(struct xprt_exposure *ex);
struct xprt_conn *xprt_conn_open(const char *name, bool insecure,
				 const struct sockaddr_storage *local,
				 struct xprt_addr *peer, u64 id, const u8 *key,
				 unsigned int timeout_ms, const struct xprt_conn_ops *ops,
				 void *priv);
void xprt_conn_close(struct xprt_conn *conn);

static inline int xprt_expose_region(struct xprt_exposure *ex, u64 va, struct page **pages,
				     unsigned int npages, u32 *rkey)
{
	return ex->xprt->expose_region(ex, va, pages, npages, rkey);
}

static inline void xprt_expose_addr(struct xprt_exposure *ex, struct xprt_addr *addr)
{
	if (ex->xprt->expose_addr)
		ex->xprt->expose_addr(ex, addr);
}

static inline void xprt_expose_open(struct xprt_exposure *ex)
{
	ex->xprt->expose_open(ex);
}

static inline void xprt_conn_read_list(struct xprt_conn *conn, struct list_head *reads)
{
	conn->xprt->conn_read_list(conn, reads);
}

static inline int xprt_conn_done(struct xprt_conn *conn)
{
	return conn->xprt->conn_done(conn);
}

#endif
