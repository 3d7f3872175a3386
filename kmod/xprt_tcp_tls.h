/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * TLS 1.3 under a connection of transport tcp: the kernel has tlshd (ktls-utils), in user space,
 * agree on the session's keys, and encrypts itself then.
 */
#ifndef MITOSIS_XPRT_TCP_TLS_H
#define MITOSIS_XPRT_TCP_TLS_H

#include <linux/completion.h>
#include <linux/errno.h>
#include <linux/types.h>

#define XTCP_PSK_LEN	32	/* that of SHA-256, by which tlshd chooses its ciphers */

struct key;
struct socket;

/* One handshake; all zeroes before the first. */
struct xtcp_tls {
	struct key *key;		/* NULL: none is under way */
	struct key *keyring;		/* in which it is, so that tlshd finds it by its name */
	void (*ended)(struct xtcp_tls *tls);	/* by tlshd, in its context; is_over is set then */
	bool is_over;
	int err;
	struct completion done;
};

#ifdef CONFIG_MITOSIS_TLS
/*
 * With the other side, which does the same with the same key and name, over @sock, which has a file
 * and nobody's callbacks. -ESRCH: tlshd does not run; -EAGAIN: too many handshakes wait for it.
 */
int xtcp_tls_begin(struct xtcp_tls *tls, struct socket *sock, bool server, const char *name,
		   const u8 *psk, unsigned int timeout_ms);
/*
 * After it, or to cancel it; ended() is not called any more. Returns the handshake's error. Sleeps.
 */
int xtcp_tls_end(struct xtcp_tls *tls, struct socket *sock);
#else
static inline int xtcp_tls_begin(struct xtcp_tls *tls, struct socket *sock, bool server,
				 const char *name, const u8 *psk, unsigned int timeout_ms)
{
	return -EOPNOTSUPP;
}

static inline int xtcp_tls_end(struct xtcp_tls *tls, struct socket *sock)
{
	return -EOPNOTSUPP;
}
#endif

#endif
