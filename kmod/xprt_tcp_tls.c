// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * tlshd is told of a key by its number, where this side is the client, and finds it by its name,
 * which the client says, where it is the server: among keys of type "psk" of the keyrings that it
 * has linked when it started. Of those there is one that it links unasked: that of NVMe over TCP,
 * whose module has that type, too.
 *
 * A key is for one connection, and goes with its handshake.
 */
#define pr_fmt(fmt) "mitosis: " fmt

#include <keys/user-type.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/key.h>
#include <linux/key-type.h>
#include <linux/net.h>
#include <linux/nvme-keyring.h>
#include <net/handshake.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>
#include <net/tls.h>

#include "xprt_tcp_tls.h"

/* tlshd is root's, and has the keyring linked. */
#define TLS_KEY_PERM                                                                    \
	(KEY_POS_SEARCH | KEY_POS_VIEW | KEY_POS_READ | KEY_USR_SEARCH | KEY_USR_VIEW | \
	 KEY_USR_READ)

static int tls_key_server(struct xtcp_tls *tls, const char *name, const u8 *psk)
{
	key_ref_t ref;

	tls->keyring = key_lookup(nvme_keyring_id());
	if (IS_ERR(tls->keyring))
		return PTR_ERR(tls->keyring);
	ref = key_create_or_update(make_key_ref(tls->keyring, true), "psk", name, psk, XTCP_PSK_LEN,
				   TLS_KEY_PERM, KEY_ALLOC_NOT_IN_QUOTA);
	if (IS_ERR(ref)) {
		key_put(tls->keyring);
		return PTR_ERR(ref);
	}
	tls->key = key_ref_to_ptr(ref);
	return 0;
}

/* In no keyring: reader and source may be one machine, and have a key of that name each. */
static int tls_key_client(struct xtcp_tls *tls, const char *name, const u8 *psk)
{
	struct key *key;
	int ret;

	key = key_alloc(&key_type_user, name, GLOBAL_ROOT_UID, GLOBAL_ROOT_GID, current_cred(),
			TLS_KEY_PERM, KEY_ALLOC_NOT_IN_QUOTA, NULL);
	if (IS_ERR(key))
		return PTR_ERR(key);
	ret = key_instantiate_and_link(key, psk, XTCP_PSK_LEN, NULL, NULL);
	if (ret) {
		key_put(key);
		return ret;
	}
	tls->keyring = NULL;
	tls->key = key;
	return 0;
}

static void tls_key_drop(struct xtcp_tls *tls)
{
	if (tls->keyring) {
		key_unlink(tls->keyring, tls->key);
		key_put(tls->keyring);
	}
	/* tlshd may have found it, and have it still. */
	key_revoke(tls->key);
	key_put(tls->key);
	tls->key = NULL;
}

static void tls_done(void *data, int status, key_serial_t peer)
{
	struct xtcp_tls *tls = data;

	/* The kernel's own errors come with the other sign. */
	tls->err = -abs(status);
	/* The server's key has been looked for by what the other side said. */
	if (!status && peer != key_serial(tls->key))
		tls->err = -EKEYREJECTED;
	/* pairs with that of who sees it */
	smp_store_release(&tls->is_over, true);
	tls->ended(tls);
	complete(&tls->done);
}

int xtcp_tls_begin(struct xtcp_tls *tls, struct socket *sock, bool server, const char *name,
		   const u8 *psk, unsigned int timeout_ms)
{
	struct tls_handshake_args args = {
		.ta_sock = sock,
		.ta_done = tls_done,
		.ta_data = tls,
		/*
		 * for tlshd's log, beside the address; otherwise it asks the DNS. It has to stay.
		 */
		.ta_peername = "mitosis",
		.ta_timeout_ms = timeout_ms,
		.ta_num_peerids = 1,
	};
	void (*destruct)(struct sock *sk) = sock->sk->sk_destruct;
	int ret;

	init_completion(&tls->done);
	tls->is_over = false;
	ret = server ? tls_key_server(tls, name, psk) : tls_key_client(tls, name, psk);
	if (ret)
		return ret;
	args.ta_my_peerids[0] = key_serial(tls->key);
	ret = server ? tls_server_hello_psk(&args, GFP_KERNEL) :
		       tls_client_hello_psk(&args, GFP_KERNEL);
	if (ret) {
		/* 6.12 leaves its own there, which then does nothing. */
		sock->sk->sk_destruct = destruct;
		tls_key_drop(tls);
	}
	return ret;
}

/* Whether what goes over it is encrypted, in both directions: that is not tlshd's word alone. */
static bool tls_is_on(struct sock *sk)
{
	const struct tcp_ulp_ops *ulp;
	const struct tls_context *ctx;
	bool on = false;

	lock_sock(sk);
	ulp = inet_csk(sk)->icsk_ulp_ops;
	ctx = tls_get_ctx(sk);
	if (ulp && !strcmp(ulp->name, "tls") && ctx)
		/*
		 * 0 where no keys have been set; with others than software and devices for TLS, the
		 * kernel does not know them
		 */
		on = (ctx->tx_conf == TLS_SW || ctx->tx_conf == TLS_HW) &&
		     (ctx->rx_conf == TLS_SW || ctx->rx_conf == TLS_HW) &&
		     ctx->crypto_send.info.version == TLS_1_3_VERSION &&
		     ctx->crypto_recv.info.version == TLS_1_3_VERSION;
	release_sock(sk);
	return on;
}

int xtcp_tls_end(struct xtcp_tls *tls, struct socket *sock)
{
	int ret = -ECANCELED;

	/* Who comes too late to cancel it waits for what it calls. */
	if (smp_load_acquire(&tls->is_over) || !tls_handshake_cancel(sock->sk)) {
		wait_for_completion(&tls->done);
		ret = tls->err;
		if (!ret && !tls_is_on(sock->sk)) {
			pr_err_ratelimited("the agent for TLS handshakes says that one has succeeded, and the connection is not encrypted by TLS 1.3: is it tlshd?\n");
			ret = -EKEYREJECTED;
		}
	}
	tls_key_drop(tls);
	return ret;
}
