// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packets between devices: datagrams of UNIX sockets in a directory, one for each LID; to the own
 * LID they stay inside.
 */
#include "mlx5.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/main-loop.h"

#define RX_BUDGET 64 /* packets before the main loop has its turn */
#define QUEUE_MAX 64

static bool wire_addr(struct mdev *d, uint16_t lid, struct sockaddr_un *a)
{
	a->sun_family = AF_UNIX;
	return (size_t)snprintf(a->sun_path, sizeof(a->sun_path), "%s/%u", d->wire, lid) <
	       sizeof(a->sun_path);
}

static void wire_readable(void *opaque)
{
	struct mdev *d = opaque;
	struct {
		struct pkt h;
		uint8_t data[MAX_DATA];
	} p;
	int i;

	for (i = 0; i < RX_BUDGET; i++) {
		ssize_t n = recv(d->fd, &p, sizeof(p), MSG_DONTWAIT);

		if (n < 0)
			return;
		if ((size_t)n < sizeof(p.h) || p.h.magic != PKT_MAGIC || p.h.dlid != d->lid ||
		    (size_t)n != sizeof(p.h) + p.h.data_len) {
			mlog(d, "wire: %zd bytes that are no packet for LID %u", n, d->lid);
			continue;
		}
		transport_receive(d, &p.h, p.data);
	}
}

bool wire_open(struct mdev *d, Error **errp)
{
	struct sockaddr_un a;

	d->fd = -1;
	if (!d->wire)
		return true;
	if (!wire_addr(d, d->lid, &a)) {
		error_setg(errp, "mlx5-model: the path of wire=%s is too long for a socket",
			   d->wire);
		return false;
	}
	unlink(a.sun_path);
	d->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd < 0 || bind(d->fd, (struct sockaddr *)&a, sizeof(a))) {
		error_setg_errno(errp, errno, "mlx5-model: socket %s: make the directory first",
				 a.sun_path);
		return false;
	}
	qemu_set_fd_handler(d->fd, wire_readable, NULL, d);
	return true;
}

static void peer_close(struct peer *p)
{
	if (p->fd >= 0) {
		qemu_set_fd_handler(p->fd, NULL, NULL, NULL);
		close(p->fd);
	}
	p->fd = -1;
}

void packets_free(union packets *l)
{
	struct packet *p;

	while ((p = QTAILQ_FIRST(l))) {
		QTAILQ_REMOVE(l, p, list);
		g_free(p);
	}
}

void wire_close(struct mdev *d)
{
	struct sockaddr_un a;
	struct peer *p;

	while ((p = QTAILQ_FIRST(&d->peers))) {
		QTAILQ_REMOVE(&d->peers, p, list);
		peer_close(p);
		packets_free(&p->out);
		g_free(p);
	}
	packets_free(&d->loop);
	packets_free(&d->slow);
	if (d->fd < 0)
		return;
	qemu_set_fd_handler(d->fd, NULL, NULL, NULL);
	close(d->fd);
	wire_addr(d, d->lid, &a);
	unlink(a.sun_path);
}

static struct peer *peer_get(struct mdev *d, uint16_t lid)
{
	struct peer *p;

	QTAILQ_FOREACH(p, &d->peers, list)
		if (p->lid == lid)
			return p;
	p = g_new0(struct peer, 1);
	p->d = d;
	p->lid = lid;
	p->fd = -1;
	QTAILQ_INIT(&p->out);
	QTAILQ_INSERT_TAIL(&d->peers, p, list);
	return p;
}

/* Nobody there is as good as a packet lost. */
static bool peer_connect(struct peer *p)
{
	struct sockaddr_un a;

	if (p->fd >= 0)
		return true;
	if (!wire_addr(p->d, p->lid, &a))
		return false;
	p->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd >= 0 && connect(p->fd, (struct sockaddr *)&a, sizeof(a)))
		peer_close(p);
	return p->fd >= 0;
}

/* False: the peer cannot take it now. */
static bool peer_try(struct peer *p, const struct packet *k)
{
	struct iovec v[] = { { (void *)&k->h, sizeof(k->h) }, { (void *)k->data, k->h.data_len } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	int try;

	for (try = 0; try < 2; try++) {
		if (!peer_connect(p))
			return true;
		if (sendmsg(p->fd, &m, MSG_NOSIGNAL) >= 0)
			return true;
		if (errno == EAGAIN || errno == ENOBUFS)
			return false;
		/* It has gone, and perhaps come back. */
		peer_close(p);
	}
	return true;
}

static void peer_writable(void *opaque)
{
	struct peer *p = opaque;
	struct packet *k;

	while ((k = QTAILQ_FIRST(&p->out))) {
		if (!peer_try(p, k))
			return;
		QTAILQ_REMOVE(&p->out, k, list);
		g_free(k);
		p->nout--;
	}
	if (p->fd >= 0)
		qemu_set_fd_handler(p->fd, NULL, NULL, NULL);
	if (p->d->congested)
		transport_resume(p->d);
}

static void packet_route(struct mdev *d, struct packet *k)
{
	struct peer *p;

	if (k->h.dlid == d->lid && !(d->loopback_wire && d->wire)) {
		QTAILQ_INSERT_TAIL(&d->loop, k, list);
		work_schedule(d);
		return;
	}
	if (!d->wire) {
		g_free(k);
		return;
	}
	p = peer_get(d, k->h.dlid);
	if (QTAILQ_EMPTY(&p->out) && peer_try(p, k)) {
		g_free(k);
		return;
	}
	QTAILQ_INSERT_TAIL(&p->out, k, list);
	p->nout++;
	if (p->fd >= 0)
		qemu_set_fd_handler(p->fd, NULL, peer_writable, p);
}

void wire_slow_timer(void *opaque)
{
	struct mdev *d = opaque;
	int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
	struct packet *k;

	while ((k = QTAILQ_FIRST(&d->slow)) && k->due <= now) {
		QTAILQ_REMOVE(&d->slow, k, list);
		d->nslow--;
		packet_route(d, k);
	}
	if (k)
		timer_mod(d->slow_timer, k->due);
	if (d->congested && d->nslow < QUEUE_MAX)
		transport_resume(d);
}

/*
 * Whether more to this LID would only queue up. Who holds back is called again by
 * transport_resume().
 */
bool wire_congested(struct mdev *d, uint16_t dlid)
{
	bool full = d->nslow >= QUEUE_MAX || (d->wire && peer_get(d, dlid)->nout >= QUEUE_MAX);

	d->congested |= full;
	return full;
}

void wire_send(struct mdev *d, struct pkt *h, const void *data)
{
	int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
	struct packet *k;

	h->magic = PKT_MAGIC;
	h->slid = d->lid;
	d->cnt.tx_packets++;
	d->cnt.tx_bytes += h->data_len;
	if (faults_drop(d, h)) {
		d->faults.dropped++;
		mlog(d, "fault: packet op %u psn 0x%x to LID %u is lost", h->op, h->psn, h->dlid);
		return;
	}
	k = g_malloc(sizeof(*k) + h->data_len);
	k->h = *h;
	memcpy(k->data, data, h->data_len);
	if (!d->faults.delay_us && !d->faults.rate_mbit && QTAILQ_EMPTY(&d->slow)) {
		packet_route(d, k);
		return;
	}
	d->link_free = MAX(now, d->link_free);
	if (d->faults.rate_mbit)
		d->link_free +=
			(int64_t)(sizeof(k->h) + h->data_len) * 8 * 1000 / d->faults.rate_mbit;
	k->due = d->link_free + (int64_t)d->faults.delay_us * SCALE_US;
	QTAILQ_INSERT_TAIL(&d->slow, k, list);
	d->nslow++;
	timer_mod(d->slow_timer, QTAILQ_FIRST(&d->slow)->due);
}

void wire_loop(struct mdev *d, int budget)
{
	struct packet *k;

	while (budget-- && (k = QTAILQ_FIRST(&d->loop))) {
		QTAILQ_REMOVE(&d->loop, k, list);
		transport_receive(d, &k->h, k->data);
		g_free(k);
	}
	if (!QTAILQ_EMPTY(&d->loop))
		work_schedule(d);
}
