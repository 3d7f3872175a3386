// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Transport over TCP, for machines without RDMA: docs/tcp.md, xprt_tcp_wire.h.
 *
 * Nothing here waits for a peer: sockets are never blocked on, and all that happens to one is a run
 * of its work item. So one that does not read what it has asked for, or says nothing, has a socket
 * and a few kilobytes, and no thread.
 *
 * Source. Answers are the held pages themselves, which the socket refers to until they have been
 * acknowledged; only what an interface without scatter-gather sends is copied. An exposure that
 * ends resets its connections, which drops what is queued. What the interface already has may still
 * go out; it is of a READ that was allowed, and the references keep the page from being freed, or
 * written to by a process that shares it, until it has.
 *
 * Destination. What comes is put right where the READ wants it.
 *
 * Who may destroy what
 * --------------------
 *   peer      Owned by its work item: others set a bit in peer->flags and have it run; peer_work()
 *             alone tears down. Each queued run has a reference.
 *   exposure  Has peers that have shown its key. xtcp_expose_destroy() waits until they are gone; a
 *             page is looked up by peer_work() only.
 *   conn      conn_work() alone has the READs that are under way, and the socket; xtcp_conn_close()
 *             waits for it.
 *
 * Lock order: xtcp_lock, ex->lock and xtcp_place_lock are never held at once. sk_callback_lock is
 * the innermost. A socket's operations take its lock, so none is called under a lock of ours.
 */
#define pr_fmt(fmt) "mitosis: " fmt

#include <crypto/algapi.h>
#include <crypto/hash.h>
#include <linux/bitmap.h>
#include <linux/bvec.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "compat.h"
#include "stats.h"
#include "transport.h"
#include "xprt_tcp_tls.h"
#include "xprt_tcp_wire.h"

#define XTCP_BACKLOG		128
/* connections that have not shown a key; the oldest makes room */
#define XTCP_STRANGERS		64
#define XTCP_STRANGERS_ADDR	16	/* of these, from one address */
#define XTCP_STRANGER_TIME	HZ	/* that one has in any case */
#define XTCP_PEERS_EXPOSURE	1024	/* as many have shown it */
#define XTCP_PEERS		4096	/* of all snapshots; strangers have places of their own */
#define XTCP_GREETING		(5 * HZ)
#define XTCP_TLS_MS		10000	/* that tlshd may take for a handshake */
/*
 * At a time, at the source; each is a process of tlshd. The kernel has 50 wait for it, NFS's and
 * NVMe's among them.
 */
#define XTCP_HANDSHAKES		32
#define XTCP_HANDSHAKES_EXPOSURE 8
#define XTCP_PLACE_WAIT		(10 * HZ)	/* for one of them */
/* The last word of a source: how long it is waited for that it arrives. */
#define XTCP_ACK_WAIT		(5 * HZ)
#define XTCP_ACK_LOOK		(HZ / 50)
#define XTCP_DONE_TIMEOUT	(10 * HZ)
#define XTCP_NOMEM_MS		20	/* until memory is asked for again */
#define XTCP_BUDGET		64	/* steps of one run of a reader's work item */
#define XTCP_PEER_BUDGET	8	/* of a peer's: there may be many */
#define XTCP_IN_MAX		(sizeof(struct xtcp_head) + XTCP_BATCH * sizeof(struct xtcp_read))

static ushort port = MITOSIS_TCP_PORT;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "TCP port on which snapshots are offered");

static uint timeout = 6;
module_param(timeout, uint, 0644);
MODULE_PARM_DESC(timeout,
		 "Seconds after which a machine that does not answer is taken for gone (3 to 600); for connections made from then on");

static LIST_HEAD(xtcp_exposures);
static LIST_HEAD(xtcp_strangers);	/* peers that have not shown a key, the oldest first */
static unsigned int xtcp_nstrangers, xtcp_npeers;
static DEFINE_MUTEX(xtcp_lock);		/* all of the above */
static DECLARE_WAIT_QUEUE_HEAD(xtcp_peers_wait);
static struct workqueue_struct *xtcp_wq;	/* readers: faults wait for it */
/* the source: whoever is on the network has work done by it */
static struct workqueue_struct *xtcp_peer_wq;
static struct socket *xtcp_listener;	/* from the first exposure on: who only reads has none */
static DEFINE_MUTEX(xtcp_listen_lock);	/* while it is being made */
/* the kernel's own: who is accepted has the listener's */
static void (*xtcp_data_ready)(struct sock *sk);
/* has a key that nobody has, for snapshots that there are not */
static struct crypto_shash *xtcp_nobody;
static atomic_t xtcp_rkey;
static unsigned int xtcp_handshakes;	/* peers with PEER_PLACE */
static LIST_HEAD(xtcp_waiting);		/* those who want it, the first one first */
static DEFINE_MUTEX(xtcp_place_lock);	/* both */

/* What both ends of a connection have: messages come into in, and leave from out. */
struct xtcp_io {
	struct socket *sock;
	void (*kick)(struct xtcp_io *io);	/* any context */
	void (*data_ready)(struct sock *sk);
	void (*write_space)(struct sock *sk);
	void (*state_change)(struct sock *sk);
	struct xtcp_tls tls;
	unsigned int in_len, out_len, out_pos;
	u8 in[XTCP_IN_MAX];
	u8 out[XTCP_IN_MAX];
};
static_assert(sizeof(struct xtcp_verdict) <= XTCP_IN_MAX);

struct xtcp_region {
	u64 va;
	unsigned int npages;
	struct page **pages;			/* the owner's */
};

struct xtcp_exposure {
	struct xprt_exposure base;
	struct kref kref;
	struct list_head list;			/* xtcp_lock */
	u64 id;
	struct crypto_shash *hmac;
	const struct xprt_expose_ops *ops;
	void *priv;
	unsigned int nhandshakes;		/* xtcp_place_lock */
	bool open, have_addr, tls;
	struct in6_addr addr;			/* where it is offered; of IPv4 as IPv6 maps it */
	struct sockaddr_storage where;
	struct xarray regions;

	struct mutex lock;			/* what follows */
	struct list_head peers;
	unsigned int npeers;
	bool closing;
	wait_queue_head_t peers_wait;
};

enum peer_flag {
	PEER_DEAD,
	PEER_LATE,
	PEER_PLACE,				/* may have a TLS handshake; xtcp_place_lock */
};

enum peer_state {
	PEER_HELLO,				/* expected */
	PEER_PROOF,
	PEER_WAIT,				/* for PEER_PLACE */
	PEER_TLS,				/* tlshd has the socket */
	PEER_UP,
	PEER_TURNED_AWAY,			/* has been told to go */
};

/* The answer to a READ: a head, and what is left of its pages. */
struct xtcp_answer {
	struct page **pages;
	size_t offset, left;			/* bytes */
};

struct xtcp_peer {
	struct kref kref;
	struct list_head list;			/* xtcp_lock, or ex->lock once there is one */
	struct list_head waiting;		/* xtcp_place_lock */
	struct work_struct work;
	/* what it is at takes too long; then, whether the last word has arrived */
	struct timer_list timer;
	unsigned long flags;
	struct sockaddr_storage addr;
	unsigned long since;			/* jiffies */

	/* peer_work() only */
	struct xtcp_io io;
	enum peer_state state;
	bool gone;
	struct xtcp_hello hello;
	struct xtcp_challenge challenge;
	struct xtcp_exposure *ex;		/* NULL before it has shown the key */
	struct xtcp_answer answer;
	bool done, told_done;
	unsigned long done_by;			/* jiffies */
	/*
	 * READs to be answered; no more are taken off the socket while there is no room for a
	 * message of them
	 */
	struct xtcp_read reads[XTCP_DEPTH];
	unsigned int first, nreads;
};

enum conn_state {
	CONN_INIT,				/* there is no socket yet */
	CONN_CONNECT,				/* what is under way */
	CONN_CHALLENGE,
	CONN_VERDICT,
	CONN_TLS,				/* tlshd has the socket */
	CONN_GREETED,				/* xtcp_conn_open() is to return it */
	CONN_UP,
	CONN_DOWN,
};

struct xtcp_conn {
	struct xprt_conn base;
	const struct xprt_conn_ops *ops;
	void *priv;
	/* local: of no family, or where it is to come from */
	struct sockaddr_storage local, peer;
	struct crypto_shash *hmac;
	bool tls;
	struct work_struct work;
	struct timer_list watch;
	unsigned long stall;			/* jiffies */
	wait_queue_head_t wait;

	spinlock_t lock;			/* what follows */
	enum conn_state state;
	int err;
	struct list_head pending;
	bool done_wanted, acked;

	/* conn_work() only */
	struct xtcp_io io;
	struct xtcp_hello hello;
	struct xtcp_challenge challenge;
	struct xprt_read *reads[XTCP_DEPTH];
	unsigned int inflight;
	/* jiffies of the last page, or of the first READ after a pause */
	unsigned long progress;
	struct xprt_read *rd;			/* whose data is coming */
	size_t rd_off;
	bool done_sent;
	bool refused;				/* by the other side's verdict */
};

static struct xtcp_exposure *to_xtcp_exposure(struct xprt_exposure *base)
{
	return container_of(base, struct xtcp_exposure, base);
}

static struct xtcp_conn *to_xtcp_conn(struct xprt_conn *base)
{
	return container_of(base, struct xtcp_conn, base);
}

/* -------- Keys -------- */

static struct crypto_shash *xtcp_key(const u8 *key)
{
	struct crypto_shash *hmac = crypto_alloc_shash("hmac(sha256)", 0, 0);
	int ret;

	if (IS_ERR(hmac))
		return hmac;
	ret = crypto_shash_setkey(hmac, key, MITOSIS_KEY_LEN);
	if (!ret)
		return hmac;
	crypto_free_shash(hmac);
	return ERR_PTR(ret);
}

static int xtcp_swear(struct crypto_shash *hmac, const char *who, const struct xtcp_hello *hello,
		      const struct xtcp_challenge *challenge, u8 *proof)
{
	struct xtcp_sworn sworn = { .hello = *hello, .challenge = *challenge };
	SHASH_DESC_ON_STACK(desc, hmac);
	int ret;

	strscpy(sworn.who, who, sizeof(sworn.who));
	desc->tfm = hmac;
	ret = crypto_shash_digest(desc, (u8 *)&sworn, sizeof(sworn), proof);
	shash_desc_zero(desc);
	return ret;
}

/* Whether @proof is what who has the key would say. */
static bool xtcp_is_sworn(struct crypto_shash *hmac, const char *who,
			  const struct xtcp_hello *hello, const struct xtcp_challenge *challenge,
			  const u8 *proof)
{
	u8 good[XTCP_PROOF_LEN];
	bool ok;

	ok = !xtcp_swear(hmac, who, hello, challenge, good) &&
	     !crypto_memneq(good, proof, sizeof(good));
	memzero_explicit(good, sizeof(good));
	return ok;
}

/* -------- Sockets -------- */

static unsigned int xtcp_timeout(void)
{
	return clamp(READ_ONCE(timeout), 3U, 600U);
}

static void listen_data_ready(struct sock *sk);

static void io_state_change(struct sock *sk)
{
	struct xtcp_io *io;

	read_lock_bh(&sk->sk_callback_lock);
	io = sk->sk_user_data;
	if (io)
		io->kick(io);
	read_unlock_bh(&sk->sk_callback_lock);
}

/* Of a socket with TLS, data_ready and write_space are TLS's own work, too. */
static void io_data_ready(struct sock *sk)
{
	struct xtcp_io *io;

	read_lock_bh(&sk->sk_callback_lock);
	io = sk->sk_user_data;
	if (io) {
		io->data_ready(sk);
		io->kick(io);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

static void io_write_space(struct sock *sk)
{
	struct xtcp_io *io;

	read_lock_bh(&sk->sk_callback_lock);
	io = sk->sk_user_data;
	if (io) {
		io->write_space(sk);
		if (sk_stream_is_writeable(sk)) {
			clear_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
			io->kick(io);
		}
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

static void io_options(struct socket *sock)
{
	unsigned int seconds = xtcp_timeout();
	struct sock *sk = sock->sk;

	tcp_sock_set_nodelay(sk);
	sock_set_keepalive(sk);
	tcp_sock_set_keepidle(sk, seconds / 3);
	tcp_sock_set_keepintvl(sk, seconds / 3);
	tcp_sock_set_keepcnt(sk, 2);
	tcp_sock_set_user_timeout(sk, seconds * MSEC_PER_SEC);
	/* A fault may wait for it, and reclaim for that. */
	sk->sk_allocation = GFP_NOIO;
	sk->sk_use_task_frag = false;
}

/* From now on @io is kicked whenever something has happened to its socket. */
static void io_watch(struct xtcp_io *io)
{
	struct sock *sk = io->sock->sk;

	write_lock_bh(&sk->sk_callback_lock);
	io->data_ready = sk->sk_data_ready == listen_data_ready ? xtcp_data_ready :
								  sk->sk_data_ready;
	io->write_space = sk->sk_write_space;
	io->state_change = sk->sk_state_change;
	sk->sk_user_data = io;
	sk->sk_data_ready = io_data_ready;
	sk->sk_write_space = io_write_space;
	sk->sk_state_change = io_state_change;
	write_unlock_bh(&sk->sk_callback_lock);
}

static void io_unwatch(struct xtcp_io *io)
{
	struct sock *sk = io->sock->sk;

	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	sk->sk_data_ready = io->data_ready;
	sk->sk_write_space = io->write_space;
	sk->sk_state_change = io->state_change;
	write_unlock_bh(&sk->sk_callback_lock);
}

/* @sock is its own from now on. */
static void io_begin(struct xtcp_io *io, struct socket *sock, void (*kick)(struct xtcp_io *io))
{
	io->sock = sock;
	io->kick = kick;
	io_watch(io);
}

/* It is not kicked any more; what is queued is dropped, and the other side told so. */
static void io_end(struct xtcp_io *io)
{
	struct socket *sock = io->sock;

	if (!sock)
		return;
	if (io->tls.key)
		xtcp_tls_end(&io->tls, sock);
	else
		io_unwatch(io);
	sock_no_linger(sock->sk);
	if (sock->file) {
		/* Its last reference may be tlshd's, and goes later in any case. */
		tcp_abort(sock->sk, ECONNABORTED);
		fput(sock->file);
	} else {
		sock_release(sock);
	}
	io->sock = NULL;
}

static bool io_is_closed(const struct xtcp_io *io)
{
	return READ_ONCE(io->sock->sk->sk_state) == TCP_CLOSE;
}

/* How many bytes have come; 0: none yet. */
static int io_recv(struct xtcp_io *io, struct msghdr *msg)
{
	int ret;

	msg->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	ret = sock_recvmsg(io->sock, msg, msg->msg_flags);
	if (ret == -EAGAIN)
		return 0;
	return ret ?: -ECONNRESET;
}

/* 1: in has @want bytes; 0: not yet. */
static int io_fill(struct xtcp_io *io, unsigned int want)
{
	while (io->in_len < want) {
		struct kvec vec = { io->in + io->in_len, want - io->in_len };
		struct msghdr msg = {};
		int ret;

		iov_iter_kvec(&msg.msg_iter, ITER_DEST, &vec, 1, vec.iov_len);
		ret = io_recv(io, &msg);
		if (ret <= 0)
			return ret;
		io->in_len += ret;
	}
	return 1;
}

/* Room for a message of @len bytes, once out is empty. */
static void *io_put(struct xtcp_io *io, unsigned int len)
{
	void *msg = io->out;

	io->out_len = len;
	io->out_pos = 0;
	memset(msg, 0, len);
	return msg;
}

/*
 * How many bytes have been sent, @ret being what the socket has said; 0: there is no room. Or no
 * memory: then nothing is queued, so TCP says at once that there is room, and without a pause this
 * would go round as fast as it can.
 */
static int io_sent(struct xtcp_io *io, int ret)
{
	if (ret != -EAGAIN)
		return ret;
	if (!READ_ONCE(io->sock->sk->sk_wmem_queued)) {
		msleep(XTCP_NOMEM_MS);
		/* TLS does not say it */
		io->kick(io);
	}
	return 0;
}

/* 1: all of out has been sent; 0: not yet. @more: there is more to be sent at once. */
static int io_flush(struct xtcp_io *io, bool more)
{
	while (io->out_pos < io->out_len) {
		struct kvec vec = { io->out + io->out_pos, io->out_len - io->out_pos };
		struct msghdr msg = {
			.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0),
		};
		int ret;

		ret = io_sent(io, kernel_sendmsg(io->sock, &msg, &vec, 1, vec.iov_len));
		if (ret <= 0)
			return ret;
		io->out_pos += ret;
	}
	io->out_len = 0;
	io->out_pos = 0;
	return 1;
}

static void io_tls_ended(struct xtcp_tls *tls)
{
	struct xtcp_io *io = container_of(tls, struct xtcp_io, tls);

	io->kick(io);
}

/*
 * Has tlshd encrypt what goes over @io from now on. The key is of this connection's greeting, so
 * that it is of no use on another one, and only who has the snapshot's has it. It is kicked once
 * that is done, and for nothing else until then. On error its socket may be gone.
 */
static int io_tls_begin(struct xtcp_io *io, bool server, struct crypto_shash *hmac,
			const struct xtcp_hello *hello, const struct xtcp_challenge *challenge)
{
	u8 psk[XTCP_PROOF_LEN];
	struct file *file;
	char name[48];
	int ret;

	static_assert(sizeof(psk) == XTCP_PSK_LEN);
	ret = xtcp_swear(hmac, "tls", hello, challenge, psk);
	if (ret)
		return ret;
	io_unwatch(io);
	file = sock_alloc_file(io->sock, O_CLOEXEC, NULL);
	if (IS_ERR(file)) {
		io->sock = NULL;
		ret = PTR_ERR(file);
		goto out;
	}
	snprintf(name, sizeof(name), "mitosis-%*phN", XTCP_NONCE_LEN, challenge->nonce);
	io->tls.ended = io_tls_ended;
	ret = xtcp_tls_begin(&io->tls, io->sock, server, name, psk, XTCP_TLS_MS);
	if (ret)
		io_watch(io);
out:
	memzero_explicit(psk, sizeof(psk));
	return ret;
}

/* 1: what goes over @io is encrypted; 0: not yet. */
static int io_tls(struct xtcp_io *io)
{
	int ret;

	/* pairs with tls_done() */
	if (!smp_load_acquire(&io->tls.is_over))
		return 0;
	ret = xtcp_tls_end(&io->tls, io->sock);
	io_watch(io);
	return ret ?: 1;
}

static int xtcp_addr_len(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
					     sizeof(struct sockaddr_in);
}

static int xtcp_socket(int family, struct socket **sock)
{
	return sock_create_kern(&init_net, family, SOCK_STREAM, IPPROTO_TCP, sock);
}

/* -------- Source: peers -------- */

static void expose_free(struct kref *kref)
{
	struct xtcp_exposure *ex = container_of(kref, struct xtcp_exposure, kref);

	mutex_destroy(&ex->lock);
	crypto_free_shash(ex->hmac);
	kfree(ex);
}

static void expose_put(struct xtcp_exposure *ex)
{
	kref_put(&ex->kref, expose_free);
}

static void peer_free(struct kref *kref)
{
	struct xtcp_peer *peer = container_of(kref, struct xtcp_peer, kref);

	if (peer->ex)
		expose_put(peer->ex);
	kfree(peer);
	/*
	 * Pairs with listen_close(). What is left of the work item that this is destroy_workqueue()
	 * waits for.
	 */
	mutex_lock(&xtcp_lock);
	xtcp_npeers--;
	wake_up_all(&xtcp_peers_wait);
	mutex_unlock(&xtcp_lock);
}

static void peer_put(struct xtcp_peer *peer)
{
	kref_put(&peer->kref, peer_free);
}

/* Has peer_work() look at what happened. Any context, while the peer is listed. */
static void peer_kick(struct xtcp_peer *peer)
{
	kref_get(&peer->kref);
	/* It is not the last one: the list has its own. */
	if (!queue_work(xtcp_peer_wq, &peer->work))
		peer_put(peer);
}

static void peer_io_kick(struct xtcp_io *io)
{
	peer_kick(container_of(io, struct xtcp_peer, io));
}

static void peer_set(struct xtcp_peer *peer, enum peer_flag flag)
{
	if (!test_and_set_bit(flag, &peer->flags))
		peer_kick(peer);
}

static void peer_timer(struct timer_list *timer)
{
	struct xtcp_peer *peer = from_timer(peer, timer, timer);

	/* Once it is up the timer has it look whether its last word has arrived. */
	if (READ_ONCE(peer->state) == PEER_UP)
		peer_kick(peer);
	else
		peer_set(peer, PEER_LATE);
}

/* The state that it is in may take @time from now on. */
static void peer_allow(struct xtcp_peer *peer, unsigned long time)
{
	del_timer_sync(&peer->timer);
	clear_bit(PEER_LATE, &peer->flags);
	mod_timer(&peer->timer, jiffies + time);
}

/*
 * Who is first has a place, unless its snapshot's readers have theirs: so that they keep nobody out
 * but each other.
 */
static void places_give(void)
{
	struct xtcp_peer *peer, *next;

	lockdep_assert_held(&xtcp_place_lock);
	list_for_each_entry_safe(peer, next, &xtcp_waiting, waiting) {
		if (xtcp_handshakes >= XTCP_HANDSHAKES)
			break;
		if (peer->ex->nhandshakes >= XTCP_HANDSHAKES_EXPOSURE)
			continue;
		list_del_init(&peer->waiting);
		xtcp_handshakes++;
		peer->ex->nhandshakes++;
		peer_set(peer, PEER_PLACE);
	}
}

static void peer_want_place(struct xtcp_peer *peer)
{
	mutex_lock(&xtcp_place_lock);
	list_add_tail(&peer->waiting, &xtcp_waiting);
	places_give();
	mutex_unlock(&xtcp_place_lock);
}

/* Whether it has one, or waits. */
static void peer_leave_place(struct xtcp_peer *peer)
{
	mutex_lock(&xtcp_place_lock);
	list_del_init(&peer->waiting);
	if (test_and_clear_bit(PEER_PLACE, &peer->flags)) {
		xtcp_handshakes--;
		peer->ex->nhandshakes--;
		places_give();
	}
	mutex_unlock(&xtcp_place_lock);
}

/* Takes the peer off its list, which had a reference. */
static void peer_unlist(struct xtcp_peer *peer)
{
	struct xtcp_exposure *ex = peer->ex;

	if (ex) {
		mutex_lock(&ex->lock);
		list_del(&peer->list);
		ex->npeers--;
		wake_up_all(&ex->peers_wait);
		mutex_unlock(&ex->lock);
	} else {
		mutex_lock(&xtcp_lock);
		list_del(&peer->list);
		xtcp_nstrangers--;
		mutex_unlock(&xtcp_lock);
	}
	peer_put(peer);
}

static void peer_end(struct xtcp_peer *peer)
{
	/* Only this work item would arm it again. */
	del_timer_sync(&peer->timer);
	io_end(&peer->io);
	peer->gone = true;
	peer_leave_place(peer);
	if (peer->state == PEER_UP)
		peer->ex->ops->peer_gone(peer->ex->priv);
	peer_unlist(peer);
}

static __printf(2, 3) void peer_refused(struct xtcp_peer *peer, const char *why, ...)
{
	struct va_format vaf = { .fmt = why };
	va_list args;

	va_start(args, why);
	vaf.va = &args;
	mitosis_stat_add(MITOSIS_STAT_PEERS_REFUSED, 1);
	pr_warn_ratelimited("connection from %pISpc refused: %pV\n", &peer->addr, &vaf);
	va_end(args);
}

/* What @hello asks for, with a reference, if it is there and offered at @at. */
static struct xtcp_exposure *peer_find(struct xtcp_peer *peer, const struct in6_addr *at)
{
	struct xtcp_exposure *ex, *found = NULL;

	mutex_lock(&xtcp_lock);
	list_for_each_entry(ex, &xtcp_exposures, list) {
		if (ex->id != le64_to_cpu(peer->hello.id))
			continue;
		if (READ_ONCE(ex->open) && (!ex->have_addr || ipv6_addr_equal(&ex->addr, at))) {
			kref_get(&ex->kref);
			found = ex;
		}
		break;
	}
	mutex_unlock(&xtcp_lock);
	return found;
}

/* Among those that may read. */
static int peer_admit(struct xtcp_peer *peer, struct xtcp_exposure *ex)
{
	int ret = -ENOENT;
	bool full;

	mutex_lock(&xtcp_lock);
	full = xtcp_npeers - xtcp_nstrangers >= XTCP_PEERS;
	list_del_init(&peer->list);
	xtcp_nstrangers--;
	mutex_unlock(&xtcp_lock);
	mutex_lock(&ex->lock);
	if (full || ex->npeers >= XTCP_PEERS_EXPOSURE)
		ret = -EBUSY;
	else if (!ex->closing)
		ret = 0;
	if (!ret) {
		list_add_tail(&peer->list, &ex->peers);
		ex->npeers++;
		peer->ex = ex;
	}
	mutex_unlock(&ex->lock);
	if (!ret)
		return 0;
	mutex_lock(&xtcp_lock);
	list_add_tail(&peer->list, &xtcp_strangers);
	xtcp_nstrangers++;
	mutex_unlock(&xtcp_lock);
	return ret;
}

/* The other side may read what is in its own time, and goes then. */
static void peer_turn_away(struct xtcp_peer *peer, enum xtcp_verdict_code code)
{
	struct xtcp_verdict *verdict = io_put(&peer->io, sizeof(*verdict));

	verdict->magic = cpu_to_le32(XTCP_MAGIC);
	/* Nobody else's word for it is believed. */
	if (code == XTCP_NO_TLS &&
	    xtcp_swear(peer->ex->hmac, "no-tls", &peer->hello, &peer->challenge, verdict->proof))
		code = XTCP_BUSY;
	verdict->code = cpu_to_le32(code);
	WRITE_ONCE(peer->state, PEER_TURNED_AWAY);
}

/* 1: it has been taken; 0: it has not all come yet. */
static int peer_recv_hello(struct xtcp_peer *peer)
{
	int ret = io_fill(&peer->io, sizeof(peer->hello));
	struct xtcp_challenge *challenge;

	if (ret <= 0)
		return ret;
	memcpy(&peer->hello, peer->io.in, sizeof(peer->hello));
	peer->io.in_len = 0;
	if (peer->hello.magic != cpu_to_le32(XTCP_MAGIC)) {
		peer_refused(peer, "it does not speak mitosis's protocol");
		return -EPROTO;
	}
	peer->challenge = (struct xtcp_challenge) {
		.magic = cpu_to_le32(XTCP_MAGIC),
		.version = cpu_to_le16(XTCP_VERSION),
	};
	get_random_bytes(peer->challenge.nonce, sizeof(peer->challenge.nonce));
	challenge = io_put(&peer->io, sizeof(*challenge));
	*challenge = peer->challenge;
	WRITE_ONCE(peer->state, PEER_PROOF);
	if (peer->hello.version != cpu_to_le16(XTCP_VERSION) ||
	    peer->hello.flags & ~cpu_to_le16(XTCP_F_TLS)) {
		WRITE_ONCE(peer->state, PEER_TURNED_AWAY);
		peer_refused(peer, "other version of the protocol");
	}
	return 1;
}

/* Not now, or not any more. */
static int peer_says_nothing(struct xtcp_peer *peer)
{
	return io_fill(&peer->io, 1) ? -ECONNABORTED : 0;
}

static int peer_up(struct xtcp_peer *peer)
{
	WRITE_ONCE(peer->state, PEER_UP);
	del_timer_sync(&peer->timer);
	mitosis_stat_add(MITOSIS_STAT_PEERS, 1);
	peer->ex->ops->peer_up(peer->ex->priv);
	return 1;
}

static int peer_welcome(struct xtcp_peer *peer)
{
	struct xtcp_verdict *verdict = io_put(&peer->io, sizeof(*verdict));

	verdict->magic = cpu_to_le32(XTCP_MAGIC);
	verdict->code = cpu_to_le32(XTCP_WELCOME);
	return xtcp_swear(peer->ex->hmac, "source", &peer->hello, &peer->challenge, verdict->proof);
}

/*
 * Before it is told that it is welcome, so that it can be told if it is not: the other side begins
 * with TLS when it has heard that, and tlshd here waits for it.
 */
static int peer_tls_begin(struct xtcp_peer *peer)
{
	int ret;

	peer_allow(peer, msecs_to_jiffies(XTCP_TLS_MS) + XTCP_GREETING);
	ret = io_tls_begin(&peer->io, true, peer->ex->hmac, &peer->hello, &peer->challenge);
	if (ret) {
		peer_leave_place(peer);
		if (!peer->io.sock)
			return ret;
		if (ret == -ESRCH) {
			peer_refused(peer,
				     "nobody here does TLS handshakes: install ktls-utils and start tlshd");
			peer_turn_away(peer, XTCP_NO_TLS);
		} else {
			/* no memory, for one, or too many wait for tlshd */
			peer_refused(peer, "no TLS handshake can be begun (%d)", ret);
			peer_turn_away(peer, XTCP_BUSY);
		}
		return 1;
	}
	WRITE_ONCE(peer->state, PEER_TLS);
	/* Nothing says when there is room for it; there always is. */
	ret = peer_welcome(peer) ?: io_flush(&peer->io, false);
	return ret ?: -ENOBUFS;
}

/* Others have theirs before it. */
static int peer_wait(struct xtcp_peer *peer)
{
	if (test_bit(PEER_PLACE, &peer->flags))
		return peer_tls_begin(peer);
	return peer_says_nothing(peer);
}

static int peer_tls(struct xtcp_peer *peer)
{
	int ret = io_tls(&peer->io);

	if (ret < 0)
		peer_refused(peer,
			     "the TLS handshake has failed (%d)%s: see the log of tlshd (ktls-utils) on both sides; here, has it been started after module nvme-keyring was loaded?",
			     ret, io_is_closed(&peer->io) ? ", the connection being closed" : "");
	if (ret <= 0)
		return ret;
	peer_leave_place(peer);
	return peer_up(peer);
}

static int peer_recv_proof(struct xtcp_peer *peer)
{
	int ret = io_fill(&peer->io, sizeof(struct xtcp_proof));
	const struct xtcp_proof *proof = (const struct xtcp_proof *)peer->io.in;
	const char *why = "no such snapshot, or the wrong key for it";
	struct sockaddr_storage local = {};
	struct xtcp_exposure *ex;
	struct in6_addr at;
	bool ok;

	if (ret <= 0)
		return ret;
	peer->io.in_len = 0;
	ret = kernel_getsockname(peer->io.sock, (struct sockaddr *)&local);
	if (ret < 0)
		return ret;
	xprt_in6(&local, &at);
	ex = peer_find(peer, &at);
	ok = xtcp_is_sworn(ex ? ex->hmac : xtcp_nobody, "reader", &peer->hello, &peer->challenge,
			   proof->proof);
	if (ex && ok && memcmp(peer->hello.addr, &at, sizeof(peer->hello.addr))) {
		why = "it has connected to another address: somebody passes this on, or translates addresses";
		ok = false;
	}
	if (ex && ok && ex->tls != !!(peer->hello.flags & cpu_to_le16(XTCP_F_TLS))) {
		why = ex->tls ?
			      "it does not want TLS, without which this snapshot is not offered" :
			      "it wants TLS, and this snapshot is offered without: with --insecure";
		ok = false;
	}
	ret = ex && ok ? peer_admit(peer, ex) : -ENOENT;
	if (ret) {
		peer_refused(peer, "%s", ret == -EBUSY ? "out of resources" : why);
		peer_turn_away(peer, ret == -EBUSY ? XTCP_BUSY : XTCP_REFUSED);
		if (ex)
			expose_put(ex);
		return 1;
	}
	if (!ex->tls)
		return peer_welcome(peer) ?: peer_up(peer);
	WRITE_ONCE(peer->state, PEER_WAIT);
	peer_allow(peer, XTCP_PLACE_WAIT);
	peer_want_place(peer);
	return 1;
}

static int peer_fault(struct xtcp_peer *peer)
{
	mitosis_stat_add(MITOSIS_STAT_ACCESS_ERRORS, 1);
	pr_warn_ratelimited("snapshot %016llx: %pISpc says what has no meaning; it is disconnected\n",
			    peer->ex->id, &peer->addr);
	return -EPROTO;
}

static int peer_recv_message(struct xtcp_peer *peer)
{
	const struct xtcp_head *head = (const struct xtcp_head *)peer->io.in;
	const struct xtcp_read *reads = (const struct xtcp_read *)(head + 1);
	unsigned int count, i;
	int ret;

	if (peer->nreads > XTCP_DEPTH - XTCP_BATCH)
		return 0;
	ret = io_fill(&peer->io, sizeof(*head));
	if (ret <= 0)
		return ret;
	count = le16_to_cpu(head->count);
	switch (le16_to_cpu(head->type)) {
	case XTCP_READ:
		if (!count || count > XTCP_BATCH || head->id || head->reserved)
			return peer_fault(peer);
		ret = io_fill(&peer->io, sizeof(*head) + count * sizeof(*reads));
		if (ret <= 0)
			return ret;
		for (i = 0; i < count; i++)
			peer->reads[(peer->first + peer->nreads++) % XTCP_DEPTH] = reads[i];
		break;
	case XTCP_DONE:
		if (count || head->id || head->reserved || peer->done)
			return peer_fault(peer);
		peer->done = true;
		break;
	default:
		return peer_fault(peer);
	}
	peer->io.in_len = 0;
	return 1;
}

static int peer_recv(struct xtcp_peer *peer)
{
	switch (peer->state) {
	case PEER_HELLO:
		return peer_recv_hello(peer);
	case PEER_PROOF:
		return peer_recv_proof(peer);
	case PEER_UP:
		return peer_recv_message(peer);
	case PEER_WAIT:
		return peer_wait(peer);
	case PEER_TLS:
		return peer_tls(peer);
	default:
		return peer_says_nothing(peer);
	}
}

/* The pages that a READ asks for; NULL: it may not, or they cannot be read. */
static struct page **peer_pages(struct xtcp_peer *peer, const struct xtcp_read *read)
{
	u64 raddr = le64_to_cpu(read->raddr), at;
	unsigned int npages = le16_to_cpu(read->npages), i;
	struct xtcp_region *region;

	if (!PAGE_ALIGNED(raddr) || !npages || npages > XPRT_READ_MAX)
		return NULL;
	region = xa_load(&peer->ex->regions, le32_to_cpu(read->rkey));
	if (!region || raddr < region->va)
		return NULL;
	at = (raddr - region->va) >> PAGE_SHIFT;
	if (at >= region->npages || npages > region->npages - at)
		return NULL;
	for (i = 0; i < npages; i++)
		if (PageHWPoison(region->pages[at + i]))
			return NULL;
	return region->pages + at;
}

static void peer_answer(struct xtcp_peer *peer)
{
	const struct xtcp_read *read = &peer->reads[peer->first];
	struct page **pages = peer_pages(peer, read);
	struct xtcp_head *head = io_put(&peer->io, sizeof(*head));

	head->id = read->id;
	if (pages) {
		head->type = cpu_to_le16(XTCP_DATA);
		head->count = read->npages;
		peer->answer.pages = pages;
		peer->answer.offset = 0;
		peer->answer.left = (size_t)le16_to_cpu(read->npages) << PAGE_SHIFT;
	} else {
		head->type = cpu_to_le16(XTCP_REFUSE);
		mitosis_stat_add(MITOSIS_STAT_ACCESS_ERRORS, 1);
		pr_warn_ratelimited("snapshot %016llx: %pISpc asked for what it may not read\n",
				    peer->ex->id, &peer->addr);
	}
	peer->first = (peer->first + 1) % XTCP_DEPTH;
	peer->nreads--;
}

/* 1: something has been sent, or is to be; 0: there is nothing, or no room. */
static int peer_send(struct xtcp_peer *peer)
{
	struct xtcp_answer *answer = &peer->answer;
	struct xtcp_head *head;
	int ret;

	ret = io_flush(&peer->io, answer->left || peer->nreads);
	if (ret <= 0)
		return ret;
	if (answer->left) {
		ret = compat_send_pages(peer->io.sock, answer->pages, answer->offset, answer->left,
					MSG_DONTWAIT | MSG_NOSIGNAL |
						(peer->nreads ? MSG_MORE : 0));
		ret = io_sent(&peer->io, ret);
		if (ret <= 0)
			return ret;
		answer->offset += ret;
		answer->left -= ret;
		return 1;
	}
	if (peer->nreads) {
		peer_answer(peer);
		return 1;
	}
	if (peer->done && !peer->done_by) {
		head = io_put(&peer->io, sizeof(*head));
		head->type = cpu_to_le16(XTCP_ACK);
		peer->done_by = (jiffies + XTCP_ACK_WAIT) | 1;
		return 1;
	}
	return 0;
}

/*
 * peer_done() may have the exposure destroyed, and with it what has not arrived: so not before the
 * peer has its answer. Nobody says when that is, so it is looked for.
 */
static void peer_look_done(struct xtcp_peer *peer)
{
	const struct tcp_sock *tp = tcp_sk(peer->io.sock->sk);

	if (!peer->done_by || peer->told_done)
		return;
	if ((READ_ONCE(tp->snd_una) != READ_ONCE(tp->write_seq) || peer->io.out_len) &&
	    time_before(jiffies, peer->done_by)) {
		mod_timer(&peer->timer, jiffies + XTCP_ACK_LOOK);
		return;
	}
	peer->told_done = true;
	peer->ex->ops->peer_done(peer->ex->priv);
}

static int peer_late(struct xtcp_peer *peer)
{
	switch (peer->state) {
	case PEER_WAIT:
		peer_leave_place(peer);
		peer_refused(peer, "too many TLS handshakes are under way");
		peer_turn_away(peer, XTCP_BUSY);
		peer_allow(peer, XTCP_GREETING);
		return 1;
	case PEER_TLS:
		peer_refused(peer, "the TLS handshake takes too long");
		return -ETIMEDOUT;
	case PEER_TURNED_AWAY:
		return -ETIMEDOUT;
	default:
		peer_refused(peer, "it does not show a key in time");
		return -ETIMEDOUT;
	}
}

static int peer_step(struct xtcp_peer *peer)
{
	int sent, ret;

	if (test_bit(PEER_DEAD, &peer->flags) || io_is_closed(&peer->io))
		return -ECONNRESET;
	if (test_bit(PEER_LATE, &peer->flags) && peer->state != PEER_UP)
		return peer_late(peer);
	sent = peer_send(peer);
	if (sent < 0)
		return sent;
	/* What is to be said goes before what may be an answer to it. */
	ret = peer->io.out_len && peer->state != PEER_UP ? 0 : peer_recv(peer);
	return ret < 0 ? ret : sent || ret;
}

static void peer_work(struct work_struct *work)
{
	struct xtcp_peer *peer = container_of(work, struct xtcp_peer, work);
	int ret = 0, i;

	if (peer->gone)
		goto out;
	for (i = 0; i < XTCP_PEER_BUDGET; i++) {
		ret = peer_step(peer);
		if (ret <= 0)
			break;
	}
	if (ret > 0)
		peer_kick(peer);
	if (ret >= 0) {
		peer_look_done(peer);
		goto out;
	}
	/* It has been heard, whatever has become of the answer. */
	if (peer->done && !peer->told_done) {
		peer->told_done = true;
		peer->ex->ops->peer_done(peer->ex->priv);
	}
	peer_end(peer);
out:
	peer_put(peer);
}

/* -------- Source: listener -------- */

/* Who has one address of IPv6 has all that differ from it in the second half. */
static bool peers_are_near(const struct xtcp_peer *a, const struct xtcp_peer *b)
{
	struct in6_addr a6, b6;

	xprt_in6(&a->addr, &a6);
	xprt_in6(&b->addr, &b6);
	return ipv6_addr_v4mapped(&a6) ? ipv6_addr_equal(&a6, &b6) :
					 ipv6_prefix_equal(&a6, &b6, 64);
}

/*
 * Whether there is room for @new, for which the oldest stranger may have to go: but not before it
 * could have shown a key, so that who connects again and again keeps nobody out; nor may one
 * address take all places.
 */
static bool listen_has_room(const struct xtcp_peer *new)
{
	struct xtcp_peer *peer, *oldest = NULL, *near = NULL;
	unsigned int n = 0, nnear = 0;

	lockdep_assert_held(&xtcp_lock);
	if (xtcp_nstrangers >= 2 * XTCP_STRANGERS)
		return false;
	list_for_each_entry(peer, &xtcp_strangers, list) {
		if (test_bit(PEER_DEAD, &peer->flags))
			continue;
		oldest = oldest ?: peer;
		n++;
		if (peers_are_near(peer, new)) {
			near = near ?: peer;
			nnear++;
		}
	}
	if (nnear >= XTCP_STRANGERS_ADDR)
		oldest = near;
	else if (n < XTCP_STRANGERS)
		return true;
	if (time_before(jiffies, oldest->since + XTCP_STRANGER_TIME))
		return false;
	peer_set(oldest, PEER_DEAD);
	mitosis_stat_add(MITOSIS_STAT_PEERS_REFUSED, 1);
	return true;
}

static void listen_take(struct socket *sock)
{
	struct xtcp_peer *peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	bool room = false;

	io_options(sock);
	/*
	 * not one that a BPF program has put into a map as it was established: that has callbacks
	 * and data of its own
	 */
	if (peer && !sock->sk->sk_user_data) {
		kref_init(&peer->kref);
		INIT_LIST_HEAD(&peer->list);
		INIT_LIST_HEAD(&peer->waiting);
		INIT_WORK(&peer->work, peer_work);
		timer_setup(&peer->timer, peer_timer, 0);
		peer->since = jiffies;
		if (kernel_getpeername(sock, (struct sockaddr *)&peer->addr) < 0)
			peer->addr.ss_family = AF_INET6;
		mutex_lock(&xtcp_lock);
		room = listen_has_room(peer);
		if (room) {
			xtcp_npeers++;
			xtcp_nstrangers++;
			list_add_tail(&peer->list, &xtcp_strangers);
			kref_get(&peer->kref);
			mod_timer(&peer->timer, jiffies + XTCP_GREETING);
			/* The work item is the owner from here on. */
			io_begin(&peer->io, sock, peer_io_kick);
		}
		mutex_unlock(&xtcp_lock);
	}
	if (!room) {
		mitosis_stat_add(MITOSIS_STAT_PEERS_REFUSED, 1);
		pr_warn_ratelimited("a connection is refused: there are too many, there is no memory, or a BPF program has its socket (sockmap)\n");
		sock_no_linger(sock->sk);
		sock_release(sock);
		kfree(peer);
		return;
	}
	/* Something may have come before it was kicked. */
	peer_kick(peer);
	peer_put(peer);
}

static void listen_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(xtcp_listen_work, listen_work);

static void listen_work(struct work_struct *work)
{
	struct socket *sock;
	int ret, i;

	for (i = 0; i < XTCP_PEER_BUDGET; i++) {
		ret = kernel_accept(xtcp_listener, &sock, O_NONBLOCK);
		if (ret == -EAGAIN)
			return;
		if (!ret)
			listen_take(sock);
		else if (ret != -ECONNABORTED)
			break;
	}
	/* Nothing says when there is memory again. */
	queue_delayed_work(xtcp_peer_wq, &xtcp_listen_work, ret && ret != -ECONNABORTED ? HZ : 0);
}

static void listen_data_ready(struct sock *sk)
{
	read_lock_bh(&sk->sk_callback_lock);
	/* Who is being accepted has it from the listener, until io_begin(). */
	if (READ_ONCE(sk->sk_state) == TCP_LISTEN && sk->sk_data_ready == listen_data_ready)
		mod_delayed_work(xtcp_peer_wq, &xtcp_listen_work, 0);
	read_unlock_bh(&sk->sk_callback_lock);
}

static int listen_open_family(int family)
{
	struct sockaddr_storage addr = { .ss_family = family };
	struct socket *sock;
	int ret;

	ret = xtcp_socket(family, &sock);
	if (ret)
		return ret;
	sock_set_reuseaddr(sock->sk);
	/* One listener for IPv4 as well, whatever net.ipv6.bindv6only says. */
	sock->sk->sk_ipv6only = false;
	xprt_set_port(&addr, port);
	ret = kernel_bind(sock, (struct sockaddr *)&addr, xtcp_addr_len(&addr));
	if (!ret) {
		xtcp_listener = sock;
		write_lock_bh(&sock->sk->sk_callback_lock);
		xtcp_data_ready = sock->sk->sk_data_ready;
		sock->sk->sk_data_ready = listen_data_ready;
		write_unlock_bh(&sock->sk->sk_callback_lock);
		ret = kernel_listen(sock, XTCP_BACKLOG);
	}
	if (ret) {
		sock_release(sock);
		xtcp_listener = NULL;
	}
	return ret;
}

static int xtcp_listen_err;

static void listen_open_work(struct work_struct *work)
{
	xtcp_listen_err = listen_open_family(AF_INET6);
	if (xtcp_listen_err == -EAFNOSUPPORT || xtcp_listen_err == -EADDRNOTAVAIL)
		xtcp_listen_err = listen_open_family(AF_INET);
	if (xtcp_listen_err)
		pr_err("can not listen on TCP port %u (%d): is another program using it? Choose another with port=\n",
		       port, xtcp_listen_err);
}

static DECLARE_WORK(xtcp_listen_open_work, listen_open_work);

static int listen_open(void)
{
	int ret = 0;

	mutex_lock(&xtcp_listen_lock);
	if (!xtcp_listener) {
		/*
		 * Its sockets are in its control group, which is not to be that of who happens to
		 * be the first.
		 */
		queue_work(xtcp_peer_wq, &xtcp_listen_open_work);
		flush_work(&xtcp_listen_open_work);
		ret = xtcp_listen_err;
	}
	mutex_unlock(&xtcp_listen_lock);
	return ret;
}

/* Nobody is accepted any more, and who has not shown a key goes. */
static void listen_close(void)
{
	struct xtcp_peer *peer;
	struct sock *sk;

	if (!xtcp_listener)
		return;
	sk = xtcp_listener->sk;
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_data_ready = xtcp_data_ready;
	write_unlock_bh(&sk->sk_callback_lock);
	/* Those that wait to be accepted have the listener's function. */
	cancel_delayed_work_sync(&xtcp_listen_work);
	sock_release(xtcp_listener);
	mutex_lock(&xtcp_lock);
	list_for_each_entry(peer, &xtcp_strangers, list)
		peer_set(peer, PEER_DEAD);
	mutex_unlock(&xtcp_lock);
	wait_event(xtcp_peers_wait, !READ_ONCE(xtcp_npeers));
}

/* -------- Source: exposures -------- */

/* Whether an interface here has it. */
static int expose_look_for(const struct sockaddr_storage *addr)
{
	struct sockaddr_storage at = *addr;
	struct socket *sock;
	int ret;

	ret = xtcp_socket(at.ss_family, &sock);
	if (ret)
		return ret == -ENOMEM ? ret : -EADDRNOTAVAIL;
	xprt_set_port(&at, 0);
	ret = kernel_bind(sock, (struct sockaddr *)&at, xtcp_addr_len(&at));
	sock_release(sock);
	return ret && ret != -ENOMEM ? -EADDRNOTAVAIL : ret;
}

static struct xprt_exposure *xtcp_expose_create(bool insecure, const struct sockaddr_storage *addr,
						u64 id, const u8 *key,
						const struct xprt_expose_ops *ops, void *priv)
{
	struct xtcp_exposure *ex;
	int ret;

	ret = addr ? expose_look_for(addr) : 0;
	if (!ret)
		ret = listen_open();
	if (ret)
		return ERR_PTR(ret);
	ex = kzalloc(sizeof(*ex), GFP_KERNEL);
	if (!ex)
		return ERR_PTR(-ENOMEM);
	kref_init(&ex->kref);
	mutex_init(&ex->lock);
	INIT_LIST_HEAD(&ex->peers);
	init_waitqueue_head(&ex->peers_wait);
	xa_init(&ex->regions);
	ex->id = id;
	ex->tls = !insecure;
	ex->ops = ops;
	ex->priv = priv;
	/*
	 * any address: IPv4 has always one that leads here, whatever is done to IPv6 by
	 * net.ipv6.conf.all.disable_ipv6
	 */
	ex->where.ss_family = AF_INET;
	if (addr) {
		ex->where = *addr;
		xprt_in6(addr, &ex->addr);
		ex->have_addr = !ipv6_addr_any(&ex->addr);
	}
	xprt_set_port(&ex->where, port);
	ex->hmac = xtcp_key(key);
	if (IS_ERR(ex->hmac)) {
		ret = PTR_ERR(ex->hmac);
		mutex_destroy(&ex->lock);
		kfree(ex);
		return ERR_PTR(ret == -ENOMEM ? ret : -ENODEV);
	}
	mutex_lock(&xtcp_lock);
	list_add_tail(&ex->list, &xtcp_exposures);
	mutex_unlock(&xtcp_lock);
	return &ex->base;
}

static void xtcp_expose_addr(struct xprt_exposure *base, struct xprt_addr *addr)
{
	addr->ip = to_xtcp_exposure(base)->where;
}

/* Keys of different snapshots differ, so that one is not taken for another's. */
static int xtcp_expose_region(struct xprt_exposure *base, u64 va, struct page **pages,
			      unsigned int npages, u32 *rkey)
{
	struct xtcp_exposure *ex = to_xtcp_exposure(base);
	struct xtcp_region *region = kmalloc(sizeof(*region), GFP_KERNEL);
	int ret;

	if (!region)
		return -ENOMEM;
	*region = (struct xtcp_region) { .va = va, .npages = npages, .pages = pages };
	do {
		*rkey = atomic_inc_return(&xtcp_rkey);
		ret = xa_insert(&ex->regions, *rkey, region, GFP_KERNEL);
	} while (ret == -EBUSY);
	if (ret)
		kfree(region);
	return ret;
}

static void xtcp_expose_open(struct xprt_exposure *base)
{
	WRITE_ONCE(to_xtcp_exposure(base)->open, true);
}

static void xtcp_expose_destroy(struct xprt_exposure *base)
{
	struct xtcp_exposure *ex = to_xtcp_exposure(base);
	struct xtcp_region *region;
	struct xtcp_peer *peer;
	unsigned long rkey;

	mutex_lock(&xtcp_lock);
	list_del(&ex->list);
	mutex_unlock(&xtcp_lock);

	mutex_lock(&ex->lock);
	ex->closing = true;
	list_for_each_entry(peer, &ex->peers, list)
		peer_set(peer, PEER_DEAD);
	mutex_unlock(&ex->lock);
	wait_event(ex->peers_wait, !READ_ONCE(ex->npeers));

	xa_for_each(&ex->regions, rkey, region)
		kfree(region);
	xa_destroy(&ex->regions);
	expose_put(ex);
}

/* -------- Destination -------- */

static void conn_kick(struct xtcp_conn *conn)
{
	queue_work(xtcp_wq, &conn->work);
}

static void conn_io_kick(struct xtcp_io *io)
{
	conn_kick(container_of(io, struct xtcp_conn, io));
}

static void conn_fail_reads(struct list_head *reads)
{
	struct xprt_read *rd;

	while ((rd = list_first_entry_or_null(reads, struct xprt_read, list))) {
		list_del_init(&rd->list);
		rd->done(rd, -EIO);
	}
}

/* Takes the connection out of service, for conn_work(), or when that does not run any more. */
static void conn_down(struct xtcp_conn *conn, int err, bool tell)
{
	LIST_HEAD(pending);
	unsigned int i;

	spin_lock_irq(&conn->lock);
	tell &= conn->state == CONN_UP;
	if (conn->state != CONN_DOWN)
		conn->err = err;
	WRITE_ONCE(conn->state, CONN_DOWN);
	list_splice_init(&conn->pending, &pending);
	spin_unlock_irq(&conn->lock);

	if (tell)
		conn->ops->error(conn->priv, err);
	conn->rd = NULL;
	for (i = 0; i < XTCP_DEPTH; i++) {
		struct xprt_read *rd = conn->reads[i];

		conn->reads[i] = NULL;
		if (rd)
			rd->done(rd, -EIO);
	}
	conn->inflight = 0;
	conn_fail_reads(&pending);
	wake_up_all(&conn->wait);
}

/* Armed while READs are under way, and not for each of them. */
static void conn_watch(struct timer_list *timer)
{
	struct xtcp_conn *conn = from_timer(conn, timer, watch);

	conn_kick(conn);
}

/* For when all that has come has been taken: that this is late is not held against the source. */
static bool conn_is_stalled(struct xtcp_conn *conn)
{
	unsigned long by = conn->progress + conn->stall;

	if (!conn->inflight)
		return false;
	if (time_before(jiffies, by)) {
		if (!timer_pending(&conn->watch))
			mod_timer(&conn->watch, by);
		return false;
	}
	pr_warn_ratelimited("connection to %pISpc: nothing has come for %u s\n", &conn->peer,
			    jiffies_to_msecs(conn->stall) / 1000);
	return true;
}

static void conn_set_state(struct xtcp_conn *conn, enum conn_state state)
{
	spin_lock_irq(&conn->lock);
	if (conn->state != CONN_DOWN)
		WRITE_ONCE(conn->state, state);
	spin_unlock_irq(&conn->lock);
}

static int conn_connected(struct xtcp_conn *conn)
{
	struct sock *sk = conn->io.sock->sk;
	struct sockaddr_storage peer = {};
	struct xtcp_hello *hello;
	struct in6_addr addr;
	int ret;

	/* Who has closed already may have said something before. */
	if ((1 << READ_ONCE(sk->sk_state)) & (TCPF_SYN_SENT | TCPF_SYN_RECV | TCPF_CLOSE))
		return 0;
	/* not that of conn->peer, which may be any of this machine's */
	ret = kernel_getpeername(conn->io.sock, (struct sockaddr *)&peer);
	if (ret < 0)
		return ret;
	xprt_in6(&peer, &addr);
	memcpy(conn->hello.addr, &addr, sizeof(conn->hello.addr));
	conn->hello.magic = cpu_to_le32(XTCP_MAGIC);
	conn->hello.version = cpu_to_le16(XTCP_VERSION);
	conn->hello.flags = cpu_to_le16(conn->tls ? XTCP_F_TLS : 0);
	get_random_bytes(conn->hello.nonce, sizeof(conn->hello.nonce));
	hello = io_put(&conn->io, sizeof(*hello));
	*hello = conn->hello;
	conn_set_state(conn, CONN_CHALLENGE);
	return 1;
}

static int conn_recv_challenge(struct xtcp_conn *conn)
{
	int ret = io_fill(&conn->io, sizeof(conn->challenge));
	struct xtcp_proof *proof;

	if (ret <= 0)
		return ret;
	memcpy(&conn->challenge, conn->io.in, sizeof(conn->challenge));
	conn->io.in_len = 0;
	if (conn->challenge.magic != cpu_to_le32(XTCP_MAGIC) ||
	    conn->challenge.version != cpu_to_le16(XTCP_VERSION)) {
		pr_info_ratelimited("%pISpc does not speak version %u of mitosis's protocol\n",
				    &conn->peer, XTCP_VERSION);
		return -ECONNREFUSED;
	}
	proof = io_put(&conn->io, sizeof(*proof));
	ret = xtcp_swear(conn->hmac, "reader", &conn->hello, &conn->challenge, proof->proof);
	conn_set_state(conn, CONN_VERDICT);
	return ret ?: 1;
}

static int conn_greeted(struct xtcp_conn *conn)
{
	conn_set_state(conn, CONN_GREETED);
	wake_up_all(&conn->wait);
	return 1;
}

static int conn_tls_begin(struct xtcp_conn *conn)
{
	int ret = io_tls_begin(&conn->io, false, conn->hmac, &conn->hello, &conn->challenge);

	if (ret == -ESRCH) {
		pr_warn_ratelimited("connection to %pISpc: nobody here does TLS handshakes: install ktls-utils and start tlshd\n",
				    &conn->peer);
		return -ENOPKG;
	}
	if (ret) {
		pr_warn_ratelimited("connection to %pISpc: no TLS handshake can be begun (%d)\n",
				    &conn->peer, ret);
		/* too many wait for tlshd */
		if (ret == -EAGAIN)
			return -ECONNREFUSED;
		return ret == -ENOMEM ? ret : -EKEYREJECTED;
	}
	conn_set_state(conn, CONN_TLS);
	return 1;
}

static int conn_tls(struct xtcp_conn *conn)
{
	int ret = io_tls(&conn->io);

	if (ret >= 0)
		return ret ? conn_greeted(conn) : 0;
	pr_warn_ratelimited("connection to %pISpc: the TLS handshake has failed (%d)%s: see the log of tlshd on both sides\n",
			    &conn->peer, ret,
			    io_is_closed(&conn->io) ? ", the connection being closed" : "");
	return -EKEYREJECTED;
}

static int conn_recv_verdict(struct xtcp_conn *conn)
{
	const struct xtcp_verdict *verdict = (const struct xtcp_verdict *)conn->io.in;
	int ret = io_fill(&conn->io, sizeof(*verdict));

	if (ret <= 0)
		return ret;
	conn->io.in_len = 0;
	if (verdict->magic != cpu_to_le32(XTCP_MAGIC))
		return -ECONNREFUSED;
	if (verdict->code != cpu_to_le32(XTCP_WELCOME)) {
		pr_info_ratelimited("connection to %pISpc refused (reason %u)\n", &conn->peer,
				    le32_to_cpu(verdict->code));
		conn->refused = verdict->code == cpu_to_le32(XTCP_REFUSED);
		if (conn->tls && verdict->code == cpu_to_le32(XTCP_NO_TLS) &&
		    xtcp_is_sworn(conn->hmac, "no-tls", &conn->hello, &conn->challenge,
				  verdict->proof))
			return -EREMOTEIO;
		return conn->refused ? -EACCES : -ECONNREFUSED;
	}
	/* Somebody else at its address: the source may come back. */
	if (!xtcp_is_sworn(conn->hmac, "source", &conn->hello, &conn->challenge, verdict->proof)) {
		pr_warn_ratelimited("%pISpc does not have the key of the snapshot that it is said to have\n",
				    &conn->peer);
		return -ECONNREFUSED;
	}
	return conn->tls ? conn_tls_begin(conn) : conn_greeted(conn);
}

static void conn_read_end(struct xtcp_conn *conn, unsigned int id, int err)
{
	struct xprt_read *rd = conn->reads[id];

	conn->reads[id] = NULL;
	conn->inflight--;
	conn->progress = jiffies;
	rd->done(rd, err);
}

static int conn_recv_head(struct xtcp_conn *conn)
{
	const struct xtcp_head *head = (const struct xtcp_head *)conn->io.in;
	int ret = io_fill(&conn->io, sizeof(*head));
	struct xprt_read *rd = NULL;
	unsigned int id, count;

	if (ret <= 0)
		return ret;
	conn->io.in_len = 0;
	id = le16_to_cpu(head->id);
	count = le16_to_cpu(head->count);
	if (id < XTCP_DEPTH)
		rd = conn->reads[id];
	switch (le16_to_cpu(head->type)) {
	case XTCP_DATA:
		if (!rd || count != rd->npages)
			return -EPROTO;
		conn->rd = rd;
		conn->rd_off = 0;
		return 1;
	case XTCP_REFUSE:
		if (!rd)
			return -EPROTO;
		conn_read_end(conn, id, -EREMOTEIO);
		return 1;
	case XTCP_ACK:
		if (!conn->done_sent)
			return -EPROTO;
		WRITE_ONCE(conn->acked, true);
		wake_up_all(&conn->wait);
		return 1;
	default:
		return -EPROTO;
	}
}

static int conn_recv_data(struct xtcp_conn *conn)
{
	/* its head is still there */
	const struct xtcp_head *head = (const struct xtcp_head *)conn->io.in;
	struct xprt_read *rd = conn->rd;
	size_t len = ((size_t)rd->npages << PAGE_SHIFT) - conn->rd_off;
	struct msghdr msg = {};
	struct bio_vec vec;
	int ret;

	bvec_set_page(&vec, rd->page + (conn->rd_off >> PAGE_SHIFT), len,
		      offset_in_page(conn->rd_off));
	iov_iter_bvec(&msg.msg_iter, ITER_DEST, &vec, 1, len);
	ret = io_recv(&conn->io, &msg);
	if (ret <= 0)
		return ret;
	conn->rd_off += ret;
	/* Whole pages count: with single bytes a source could keep its reader waiting for ever. */
	if (offset_in_page(conn->rd_off) < ret)
		conn->progress = jiffies;
	if (ret == len) {
		conn->rd = NULL;
		conn_read_end(conn, le16_to_cpu(head->id), 0);
	}
	return 1;
}

static int conn_recv(struct xtcp_conn *conn)
{
	switch (READ_ONCE(conn->state)) {
	case CONN_CONNECT:
		return conn_connected(conn);
	case CONN_CHALLENGE:
		return conn_recv_challenge(conn);
	case CONN_VERDICT:
		return conn_recv_verdict(conn);
	case CONN_TLS:
		return conn_tls(conn);
	case CONN_GREETED:
	case CONN_UP:
		return conn->rd ? conn_recv_data(conn) : conn_recv_head(conn);
	default:
		return 0;
	}
}

/*
 * From conn_work(), so that the socket, which all processes of a snapshot share, is not of the
 * control group of who opens the link first: that has limits for memory, and filters for the
 * network.
 */
static int conn_connect(struct xtcp_conn *conn)
{
	struct sockaddr_storage src = conn->local, dst = conn->peer;
	struct socket *sock;
	int ret;

	ret = xtcp_socket(dst.ss_family, &sock);
	if (ret)
		return ret;
	io_options(sock);
	io_begin(&conn->io, sock, conn_io_kick);
	if (src.ss_family) {
		xprt_set_port(&src, 0);
		ret = kernel_bind(sock, (struct sockaddr *)&src, xtcp_addr_len(&src));
		if (ret)
			return ret;
	}
	ret = kernel_connect(sock, (struct sockaddr *)&dst, xtcp_addr_len(&dst), O_NONBLOCK);
	if (ret && ret != -EINPROGRESS)
		return ret;
	conn_set_state(conn, CONN_CONNECT);
	return 1;
}

/* As many of the READs that wait as there is room for, in one message. */
static bool conn_put_reads(struct xtcp_conn *conn)
{
	unsigned int n = 0, id = 0, had = conn->inflight;
	struct xprt_read *rds[XTCP_BATCH];
	struct xtcp_head *head;
	struct xtcp_read *read;

	spin_lock_irq(&conn->lock);
	while (conn->state == CONN_UP && n < XTCP_BATCH && had + n < XTCP_DEPTH) {
		rds[n] = list_first_entry_or_null(&conn->pending, struct xprt_read, list);
		if (!rds[n])
			break;
		list_del_init(&rds[n++]->list);
	}
	spin_unlock_irq(&conn->lock);
	if (!n)
		return false;

	head = io_put(&conn->io, sizeof(*head) + n * sizeof(*read));
	head->type = cpu_to_le16(XTCP_READ);
	head->count = cpu_to_le16(n);
	read = (struct xtcp_read *)(head + 1);
	conn->inflight = had + n;
	for (; n; n--, read++) {
		struct xprt_read *rd = rds[le16_to_cpu(head->count) - n];

		while (conn->reads[id])
			id++;
		conn->reads[id] = rd;
		read->raddr = cpu_to_le64(rd->raddr);
		read->rkey = cpu_to_le32(rd->rkey);
		read->npages = cpu_to_le16(rd->npages);
		read->id = cpu_to_le16(id);
	}
	if (!had)
		conn->progress = jiffies;
	return true;
}

static int conn_send(struct xtcp_conn *conn)
{
	int ret = io_flush(&conn->io, false);
	struct xtcp_head *head;

	if (ret <= 0)
		return ret;
	if (READ_ONCE(conn->state) != CONN_UP)
		return 0;
	if (conn_put_reads(conn))
		return 1;
	if (READ_ONCE(conn->done_wanted) && !conn->done_sent) {
		head = io_put(&conn->io, sizeof(*head));
		head->type = cpu_to_le16(XTCP_DONE);
		conn->done_sent = true;
		return 1;
	}
	return 0;
}

static int conn_step(struct xtcp_conn *conn)
{
	int sent, ret;

	if (READ_ONCE(conn->state) == CONN_INIT)
		return conn_connect(conn);
	sent = READ_ONCE(conn->state) == CONN_CONNECT ? 0 : conn_send(conn);
	/* What has come before the other side went is still taken. */
	ret = conn_recv(conn);
	if (ret < 0)
		return ret;
	if (!ret && (sent < 0 || io_is_closed(&conn->io)))
		return sock_error(conn->io.sock->sk) ?: sent < 0 ? sent : -ECONNRESET;
	if (!ret && conn_is_stalled(conn))
		return -ETIMEDOUT;
	return sent > 0 || ret;
}

static void conn_work(struct work_struct *work)
{
	struct xtcp_conn *conn = container_of(work, struct xtcp_conn, work);
	unsigned int noio = memalloc_noio_save();
	int ret = 0, i;

	for (i = 0; i < XTCP_BUDGET && READ_ONCE(conn->state) != CONN_DOWN; i++) {
		ret = conn_step(conn);
		if (ret <= 0)
			break;
	}
	if (ret < 0)
		conn_down(conn, ret, true);
	else if (ret)
		conn_kick(conn);
	memalloc_noio_restore(noio);
}

static void xtcp_conn_read_list(struct xprt_conn *base, struct list_head *reads)
{
	struct xtcp_conn *conn = to_xtcp_conn(base);
	unsigned long flags;
	bool down;

	spin_lock_irqsave(&conn->lock, flags);
	down = conn->state == CONN_DOWN;
	if (!down)
		list_splice_tail_init(reads, &conn->pending);
	spin_unlock_irqrestore(&conn->lock, flags);
	if (down)
		conn_fail_reads(reads);
	else
		conn_kick(conn);
}

static int xtcp_conn_done(struct xprt_conn *base)
{
	struct xtcp_conn *conn = to_xtcp_conn(base);

	WRITE_ONCE(conn->done_wanted, true);
	conn_kick(conn);
	if (!wait_event_timeout(conn->wait,
				READ_ONCE(conn->acked) || READ_ONCE(conn->state) == CONN_DOWN,
				XTCP_DONE_TIMEOUT))
		return -ETIMEDOUT;
	return READ_ONCE(conn->acked) ? 0 : -ENOTCONN;
}

static void xtcp_conn_close(struct xprt_conn *base)
{
	struct xtcp_conn *conn = to_xtcp_conn(base);

	/* Its work arms the watch, which has it run. */
	spin_lock_irq(&conn->lock);
	if (conn->state != CONN_DOWN)
		conn->err = -ECONNABORTED;
	WRITE_ONCE(conn->state, CONN_DOWN);
	spin_unlock_irq(&conn->lock);
	cancel_work_sync(&conn->work);
	del_timer_sync(&conn->watch);
	io_end(&conn->io);
	cancel_work_sync(&conn->work);
	conn_down(conn, -ECONNABORTED, false);
	crypto_free_shash(conn->hmac);
	kfree(conn);
}

static struct xprt_conn *xtcp_conn_open(bool insecure, const struct sockaddr_storage *local,
					struct xprt_addr *peer, u64 id, const u8 *key,
					unsigned int timeout_ms, const struct xprt_conn_ops *ops,
					void *priv)
{
	unsigned int noio = memalloc_noio_save();
	struct xtcp_conn *conn;
	long left;
	int ret = -ENOMEM;

	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		goto err;
	INIT_WORK(&conn->work, conn_work);
	timer_setup(&conn->watch, conn_watch, 0);
	init_waitqueue_head(&conn->wait);
	spin_lock_init(&conn->lock);
	INIT_LIST_HEAD(&conn->pending);
	conn->ops = ops;
	conn->priv = priv;
	if (local)
		conn->local = *local;
	conn->peer = peer->ip;
	conn->tls = !insecure;
	conn->hello.id = cpu_to_le64(id);
	conn->stall = xtcp_timeout() * HZ;
	conn->hmac = xtcp_key(key);
	if (IS_ERR(conn->hmac)) {
		ret = PTR_ERR(conn->hmac);
		kfree(conn);
		goto err;
	}
	conn_kick(conn);
	left = wait_event_killable_timeout(conn->wait, READ_ONCE(conn->state) >= CONN_GREETED,
					   msecs_to_jiffies(timeout_ms));
	spin_lock_irq(&conn->lock);
	if (conn->state == CONN_GREETED) {
		WRITE_ONCE(conn->state, CONN_UP);
		ret = 0;
	} else {
		ret = conn->state == CONN_DOWN ? conn->err : left < 0 ? -EINTR :
		      conn->state == CONN_TLS ? -EKEYREJECTED : -ETIMEDOUT;
	}
	spin_unlock_irq(&conn->lock);
	if (!ret) {
		memalloc_noio_restore(noio);
		return &conn->base;
	}
	/* A route or a firewall that prohibits the way there is no word of the source's. */
	if (ret == -EACCES && !conn->refused)
		ret = -EHOSTUNREACH;
	/* It has ended the connection, one way or the other. */
	if (ret == -EPIPE || ret == -EPROTO)
		ret = -ECONNRESET;
	xtcp_conn_close(&conn->base);
err:
	memalloc_noio_restore(noio);
	return ERR_PTR(xprt_conn_errno(ret));
}

/* -------- Module -------- */

static struct xprt xprt_tcp = {
	.name = "tcp",
	.owner = THIS_MODULE,
	.refuses_alone = true,
	.refuses_unproved = true,
	.expose_create = xtcp_expose_create,
	.expose_addr = xtcp_expose_addr,
	.expose_region = xtcp_expose_region,
	.expose_open = xtcp_expose_open,
	.expose_destroy = xtcp_expose_destroy,
	.conn_open = xtcp_conn_open,
	.conn_read_list = xtcp_conn_read_list,
	.conn_done = xtcp_conn_done,
	.conn_close = xtcp_conn_close,
};

static int __init xtcp_init(void)
{
	u8 key[MITOSIS_KEY_LEN];
	int ret;

	get_random_bytes(key, sizeof(key));
	atomic_set(&xtcp_rkey, get_random_u32());
	xtcp_nobody = xtcp_key(key);
	memzero_explicit(key, sizeof(key));
	if (IS_ERR(xtcp_nobody)) {
		pr_err("this kernel has no HMAC-SHA256: load module hmac\n");
		return PTR_ERR(xtcp_nobody);
	}
	ret = -ENOMEM;
	/* Faults wait for them, and reclaim for those. */
	xtcp_wq = alloc_workqueue("mitosis-tcp", WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	if (!xtcp_wq)
		goto err_key;
	xtcp_peer_wq = alloc_workqueue("mitosis-tcp-peers", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!xtcp_peer_wq)
		goto err_wq;
	xprt_register(&xprt_tcp);
	return 0;

err_wq:
	destroy_workqueue(xtcp_wq);
err_key:
	crypto_free_shash(xtcp_nobody);
	return ret;
}

/* Exposures and connections hold the module. */
static void __exit xtcp_exit(void)
{
	xprt_unregister(&xprt_tcp);
	listen_close();
	destroy_workqueue(xtcp_peer_wq);
	destroy_workqueue(xtcp_wq);
	crypto_free_shash(xtcp_nobody);
}

module_init(xtcp_init);
module_exit(xtcp_exit);

MODULE_DESCRIPTION("Transport of mitosis over TCP");
MODULE_VERSION(MITOSIS_VERSION);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_ALIAS("mitosis-xprt-tcp");
