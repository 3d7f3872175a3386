// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <crypto/algapi.h>
#include <linux/delay.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "link.h"
#include "netlink.h"
#include "pager.h"
#include "prefetch.h"
#include "stats.h"
#include "trace.h"

#define LINK_RETRY_MS 500	/* more or less */
/* Time for rdma_cm to repeat, after 4.3 s, a request that was lost. */
#define LINK_RECONNECT_MS 10000
/* What may be somebody else's word is the source's when it has been said for so long. */
#define LINK_REFUSED_MS 10000
#define LINK_BUSY_MS 20
#define LINK_BUSY_TRIES ((MITOSIS_CONNECT_TIMEOUT + 5) * MSEC_PER_SEC / LINK_BUSY_MS)

static LIST_HEAD(link_list);
static DEFINE_MUTEX(link_lock);		/* link_list; nests outside link->mutex */
static struct workqueue_struct *link_wq;
static bool link_exiting;		/* nothing is queued any more */

static void link_free(struct kref *kref)
{
	struct link *link = container_of(kref, struct link, kref);

	cache_destroy(&link->cache);
	prefetch_forget(link);
	memzero_explicit(link->key, sizeof(link->key));
	memzero_explicit(&link->peer, sizeof(link->peer));
	mutex_destroy(&link->mutex);
	kfree(link);
}

void link_put(struct link *link)
{
	kref_put(&link->kref, link_free);
}

void link_ref(struct link *link)
{
	kref_get(&link->kref);
}

struct link *link_get(u64 id)
{
	struct link *link;

	mutex_lock(&link_lock);
	list_for_each_entry(link, &link_list, list) {
		if (link->id == id) {
			kref_get(&link->kref);
			mutex_unlock(&link_lock);
			return link;
		}
	}
	mutex_unlock(&link_lock);
	return NULL;
}

int link_for_each(int (*fn)(struct link *link, void *arg), void *arg)
{
	struct link *link;
	int ret = 0;

	mutex_lock(&link_lock);
	list_for_each_entry(link, &link_list, list) {
		ret = fn(link, arg);
		if (ret)
			break;
	}
	mutex_unlock(&link_lock);
	return ret;
}

bool link_lost(struct link *link)
{
	return READ_ONCE(link->state) == MITOSIS_LINK_LOST;
}

/* Queues work that owns a reference. */
static void link_queue(struct link *link, struct delayed_work *work, unsigned int ms)
{
	if (READ_ONCE(link_exiting))
		return;
	kref_get(&link->kref);
	if (!queue_delayed_work(link_wq, work, msecs_to_jiffies(ms)))
		link_put(link);
}

static void link_queue_fin(struct link *link)
{
	if (READ_ONCE(link_exiting))
		return;
	kref_get(&link->kref);
	if (!queue_work(link_wq, &link->fin))
		link_put(link);
}

/* The transport's word that the connection is gone. Any context. */
static void link_conn_error(void *priv, int err)
{
	struct link *link = priv;
	unsigned long flags;
	bool down;

	spin_lock_irqsave(&link->lock, flags);
	link->conn_died = true;
	down = link->state == MITOSIS_LINK_UP;
	if (down) {
		link->state = MITOSIS_LINK_DOWN;
		link->down_ns = ktime_get_ns();
		if (!link->wanted || !link->failing_ns)
			link->failing_ns = link->down_ns;
	}
	/*
	 * A source that has been told that all is drained disconnects; link_fin_work() sees to it.
	 */
	if (READ_ONCE(link->closing))
		down = false;
	spin_unlock_irqrestore(&link->lock, flags);
	if (!down)
		return;
	mitosis_stat_add(MITOSIS_STAT_LINK_DOWN, 1);
	trace_mitosis_link(link->id, MITOSIS_LINK_DOWN, err);
	pr_warn_ratelimited("mitosis: snapshot %016llx: link to %s lost (%d); connecting again for %u s\n",
			    link->id, link->peer_text, err, link->give_up);
	link_queue(link, &link->work, 0);
}

static const struct xprt_conn_ops link_conn_ops = {
	.error = link_conn_error,
};

/* For reads that are on no list of the link's any more. */
static void link_fail_reads(struct list_head *reads)
{
	struct link_read *lr, *next;

	list_for_each_entry_safe(lr, next, reads, rd.list) {
		list_del(&lr->rd.list);
		lr->done(lr, -ENOLINK);
	}
}

/* @ret: how the last attempt to connect has ended. */
static const char *link_why(long ret)
{
	switch (ret) {
	case -EACCES:
		return "the source has released it or refuses the key";
	case -ENOPKG:
		return "nobody here does TLS handshakes any more, for which tlshd has to run";
	case -EREMOTEIO:
		return "nobody at the source does TLS handshakes any more, for which tlshd has to run there";
	case -EKEYREJECTED:
		return "TLS handshakes with the source fail: the log of tlshd, on both sides, says why";
	default:
		return "the source did not answer in time";
	}
}

/* Gives the link up: whoever waits for pages is killed rather than let misread. Sleeps. */
static void link_lose(struct link *link, int error, const char *why)
{
	LIST_HEAD(parked);

	spin_lock_irq(&link->lock);
	/* what has been drained loses nothing: link_fin_work() ends it in its own time */
	if (link->state == MITOSIS_LINK_LOST || link->state == MITOSIS_LINK_DONE ||
	    link->drained_ns) {
		spin_unlock_irq(&link->lock);
		return;
	}
	link->state = MITOSIS_LINK_LOST;
	link->error = error;
	list_splice_init(&link->parked, &parked);
	spin_unlock_irq(&link->lock);

	mitosis_stat_add(MITOSIS_STAT_LINK_LOST, 1);
	trace_mitosis_link(link->id, MITOSIS_LINK_LOST, -error);
	pr_err("mitosis: snapshot %016llx: link to %s given up (%d): %s; processes that miss pages of it are killed\n",
	       link->id, link->peer_text, -error, why);
	mutex_lock(&link->mutex);
	pager_kill_all(link);
	mutex_unlock(&link->mutex);
	link_fail_reads(&parked);
	netlink_event(MITOSIS_EVENT_LINK_LOST, link->id, 0, 0, error);
}

/* As link_readable(); link->lock held. */
static unsigned int link_readable_locked(const struct link *link, u32 rkey, u64 pg, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < link->nrefused; i++)
		if (link->refused[i].rkey == rkey && link->refused[i].pg - pg < n)
			n = link->refused[i].pg - pg;
	return n;
}

static void link_read_done(struct xprt_read *rd, int err)
{
	struct link_read *lr = container_of(rd, struct link_read, rd);
	struct link *link = lr->link;
	unsigned long flags;
	bool refused = false, gone, answered = false, unreadable = false, known, alone = false;

	if (!err) {
		if (READ_ONCE(link->wanted))
			WRITE_ONCE(link->wanted, false);
		mitosis_stat_add(MITOSIS_STAT_PAGES_READ, rd->npages);
		lr->done(lr, 0);
		return;
	}
	mitosis_stat_add(MITOSIS_STAT_READ_ERRORS, 1);
	spin_lock_irqsave(&link->lock, flags);
	gone = link->state == MITOSIS_LINK_LOST || link->state == MITOSIS_LINK_DONE;
	if (!gone && err == -EREMOTEIO) {
		WRITE_ONCE(link->wanted, false);
		alone = link->conn && link->conn->xprt->refuses_alone;
		known = rd->npages == 1 &&
			!link_readable_locked(link, rd->rkey, rd->raddr >> PAGE_SHIFT, 1);
		answered = known || rd->npages > 1 || link->nrefused < LINK_REFUSED_MAX;
		if (answered && !known && rd->npages == 1) {
			link->refused[link->nrefused].rkey = rd->rkey;
			link->refused[link->nrefused].pg = rd->raddr >> PAGE_SHIFT;
			/* pairs with link_visit_refused(): the entry is whole */
			smp_store_release(&link->nrefused, link->nrefused + 1);
			unreadable = true;
		} else if (!answered && !link->error) {
			link->error = EREMOTEIO;
			refused = true;
		}
	}
	if (!gone && !answered)
		list_add_tail(&rd->list, &link->parked);
	spin_unlock_irqrestore(&link->lock, flags);
	if (unreadable) {
		mitosis_stat_add(MITOSIS_STAT_PAGES_UNREADABLE, 1);
		pr_err("mitosis: snapshot %016llx: %s cannot read page %llx of mm %u (memory failure there?): a process that touches it is killed\n",
		       link->id, link->peer_text, rd->raddr, lr->mm);
	}
	if (gone || answered)
		lr->done(lr, gone ? -ENOLINK : -EREMOTEIO);
	if (refused)
		link_queue(link, &link->work, 0);
	else if (!alone)
		link_conn_error(link, err);
}

unsigned int link_readable(struct link *link, u32 rkey, u64 pg, unsigned int n)
{
	unsigned long flags;

	if (!READ_ONCE(link->nrefused))
		return n;
	spin_lock_irqsave(&link->lock, flags);
	n = link_readable_locked(link, rkey, pg, n);
	spin_unlock_irqrestore(&link->lock, flags);
	return n;
}

void link_visit_refused(struct link *link, void (*fn)(u32 rkey, u64 pg, void *arg), void *arg)
{
	/* entries are never changed; pairs with link_read_done() */
	unsigned int i, n = smp_load_acquire(&link->nrefused);

	for (i = 0; i < n; i++)
		fn(link->refused[i].rkey, link->refused[i].pg, arg);
}

void link_read_list(struct link *link, struct list_head *reads)
{
	struct xprt_conn *conn = NULL;
	struct link_read *lr;
	unsigned long flags;
	bool lost = false;
	long n = 0;

	list_for_each_entry(lr, reads, rd.list) {
		lr->link = link;
		lr->rd.done = link_read_done;
		n++;
	}
	spin_lock_irqsave(&link->lock, flags);
	if (link->state == MITOSIS_LINK_UP) {
		conn = link->conn;
		link->conn_users++;
		if (!link->wanted) {
			WRITE_ONCE(link->wanted, true);
			link->failing_ns = 0;
		}
	} else if (link->state == MITOSIS_LINK_LOST || link->state == MITOSIS_LINK_DONE) {
		lost = true;
	} else {
		list_splice_tail_init(reads, &link->parked);
	}
	spin_unlock_irqrestore(&link->lock, flags);
	if (lost)
		link_fail_reads(reads);
	if (!conn)
		return;
	mitosis_stat_add(MITOSIS_STAT_READS, n);
	xprt_conn_read_list(conn, reads);
	spin_lock_irqsave(&link->lock, flags);
	if (!--link->conn_users)
		wake_up(&link->users_wait);
	spin_unlock_irqrestore(&link->lock, flags);
}

void link_read(struct link *link, struct link_read *lr)
{
	LIST_HEAD(reads);

	list_add(&lr->rd.list, &reads);
	link_read_list(link, &reads);
}

/* Takes the connection away from readers and closes it. Sleeps. */
static void link_drop_conn(struct link *link)
{
	struct xprt_conn *conn;

	spin_lock_irq(&link->lock);
	conn = link->conn;
	link->conn = NULL;
	if (link->state == MITOSIS_LINK_UP)
		link->state = MITOSIS_LINK_DOWN;
	wait_event_lock_irq(link->users_wait, !link->conn_users, link->lock);
	spin_unlock_irq(&link->lock);
	if (conn)
		xprt_conn_close(conn);
}

static void link_repost(struct link *link, struct list_head *reads)
{
	struct link_read *lr;

	while ((lr = list_first_entry_or_null(reads, struct link_read, rd.list))) {
		list_del(&lr->rd.list);
		/* another read of that page may have been refused meanwhile */
		if (lr->rd.npages == 1 &&
		    !link_readable(link, lr->rd.rkey, lr->rd.raddr >> PAGE_SHIFT, 1))
			lr->done(lr, -EREMOTEIO);
		else
			link_read(link, lr);
	}
}

/* A process that has ended is not kept here by reads that wait for the link to come back. */
static void link_drop_unwanted(struct link *link)
{
	struct link_read *lr, *next;
	LIST_HEAD(unwanted);
	LIST_HEAD(reads);
	bool gone;

	spin_lock_irq(&link->lock);
	list_splice_init(&link->parked, &reads);
	spin_unlock_irq(&link->lock);
	/* asked without the lock, which nests inside those that the answer takes */
	list_for_each_entry_safe(lr, next, &reads, rd.list)
		if (!lr->wanted(lr))
			list_move_tail(&lr->rd.list, &unwanted);
	spin_lock_irq(&link->lock);
	gone = link->state == MITOSIS_LINK_LOST || link->state == MITOSIS_LINK_DONE;
	list_splice_init(&reads, gone ? &unwanted : &link->parked);
	spin_unlock_irq(&link->lock);
	link_fail_reads(&unwanted);
}

/*
 * Whether @ret, of a connection that has not come about, says that the source will never have one
 * again.
 */
static bool link_is_refused(struct link *link, long ret)
{
	u64 now = ktime_get_ns();

	if (ret != -EACCES) {
		link->refused_ns = 0;
		return false;
	}
	if (!link->refused_ns)
		link->refused_ns = now;
	return !link->refuses_unproved ||
	       now - link->refused_ns > (u64)LINK_REFUSED_MS * NSEC_PER_MSEC;
}

static void link_reconnect_work(struct work_struct *work)
{
	struct link *link = container_of(to_delayed_work(work), struct link, work);
	struct xprt_conn *conn;
	u64 down_ns, failing_ns, give_up_ns;
	LIST_HEAD(parked);
	bool up = false;
	int ret;

	spin_lock_irq(&link->lock);
	ret = link->error;
	down_ns = link->down_ns;
	failing_ns = link->failing_ns;
	give_up_ns = failing_ns + (u64)link->give_up * NSEC_PER_SEC;
	/*
	 * whoever finds it down while this runs queues it once more: a connection that is up by
	 * then is not to be dropped
	 */
	if (link->state != MITOSIS_LINK_DOWN && (link->state != MITOSIS_LINK_UP || !ret)) {
		spin_unlock_irq(&link->lock);
		goto out;
	}
	spin_unlock_irq(&link->lock);
	link_drop_conn(link);
	link_drop_unwanted(link);
	if (ret == EREMOTEIO) {
		link_lose(link, ret,
			  "the source refuses to read its pages: memory failure there, or wrong region keys in the image");
		goto out;
	}
	/*
	 * It has been back and has delivered nothing: that is as good as not back, and not tried
	 * without a pause.
	 */
	if (failing_ns != down_ns) {
		if (ktime_get_ns() > give_up_ns) {
			link_lose(link, ETIMEDOUT, link_why(-ETIMEDOUT));
			goto out;
		}
		if (ktime_get_ns() - down_ns < (u64)LINK_RETRY_MS * NSEC_PER_MSEC)
			msleep(LINK_RETRY_MS);
	}
	netlink_event(MITOSIS_EVENT_LINK_DOWN, link->id, 0, 0, 0);
	link->conn_died = false;
	conn = xprt_conn_open(link->transport, link->insecure,
			      link->have_local ? &link->local : NULL, &link->peer, link->id,
			      link->key, LINK_RECONNECT_MS, &link_conn_ops, link);
	if (!IS_ERR(conn)) {
		spin_lock_irq(&link->lock);
		link->conn = conn;
		/* unless it did not live until now, or link_shut() is about to close it */
		up = !link->conn_died && link->state == MITOSIS_LINK_DOWN;
		if (up) {
			link->state = MITOSIS_LINK_UP;
			link->down_ns = 0;
			link->refused_ns = 0;
			/*
			 * all that is outstanding is parked: what is not there any more the source
			 * does not owe from now on
			 */
			if (list_empty(&link->parked))
				WRITE_ONCE(link->wanted, false);
			list_splice_init(&link->parked, &parked);
		}
		spin_unlock_irq(&link->lock);
	}
	if (up) {
		mitosis_stat_add(MITOSIS_STAT_LINK_RECOVERED, 1);
		trace_mitosis_link(link->id, MITOSIS_LINK_UP, 0);
		pr_info_ratelimited("mitosis: snapshot %016llx: link to %s is back\n", link->id,
				    link->peer_text);
		netlink_event(MITOSIS_EVENT_LINK_UP, link->id, 0, 0, 0);
		link_repost(link, &parked);
	} else if (link_is_refused(link, PTR_ERR(conn)) || ktime_get_ns() > give_up_ns) {
		ret = PTR_ERR(conn) == -EACCES ? EACCES : ETIMEDOUT;
		/*
		 * It has heard that all is drained, and the connection went before its answer came.
		 */
		if (ret == EACCES && READ_ONCE(link->drained_ns))
			WRITE_ONCE(link->let_go, true);
		else
			link_lose(link, ret, link_why(PTR_ERR(conn)));
	} else if (!READ_ONCE(link->closing)) {
		/*
		 * Readers that have lost a source at the same time do not all come back at the same
		 * time.
		 */
		link_queue(link, &link->work, LINK_RETRY_MS / 2 + get_random_u32() % LINK_RETRY_MS);
	}
out:
	link_put(link);
}

/* Takes the link off the list; the list's reference is the caller's then. */
static bool link_unlist(struct link *link)
{
	bool listed;

	mutex_lock(&link_lock);
	listed = !list_empty(&link->list);
	list_del_init(&link->list);
	mutex_unlock(&link_lock);
	return listed;
}

static void link_shut(struct link *link)
{
	LIST_HEAD(parked);

	if (!link_unlist(link))
		return;
	/*
	 * First: who has just found it down queues the work behind our back, and that must not
	 * connect what nobody would close.
	 */
	spin_lock_irq(&link->lock);
	if (link->state != MITOSIS_LINK_LOST)
		link->state = MITOSIS_LINK_DONE;
	spin_unlock_irq(&link->lock);
	if (cancel_delayed_work_sync(&link->work))
		link_put(link);
	link_drop_conn(link);
	mitosis_stat_add(MITOSIS_STAT_LINKS, -1);
	spin_lock_irq(&link->lock);
	list_splice_init(&link->parked, &parked);
	spin_unlock_irq(&link->lock);
	link_fail_reads(&parked);
	cache_empty(&link->cache);
	mutex_lock(&link->mutex);
	link_mms_free(&link->mms);
	mutex_unlock(&link->mutex);
	link_put(link);
}

/*
 * Nothing is attached any more, and nobody is about to: who opens the link keeps it until its
 * socket is closed. If that is because all has arrived or ended, the source may let go.
 */
static void link_fin_work(struct work_struct *work)
{
	struct link *link = container_of(work, struct link, fin);
	struct xprt_conn *conn = NULL;
	bool done;
	int ret = 0;

	mutex_lock(&link->mutex);
	/* a source that is told lets go of the only copy: only when each address space was armed */
	done = link->draining && link->armed && !link->failed;
	if (link->nattached || link->arming || link->npinned || !list_empty(&link->mms) ||
	    READ_ONCE(link->state) == MITOSIS_LINK_DONE) {
		mutex_unlock(&link->mutex);
		goto out;
	}
	WRITE_ONCE(link->closing, true);
	mutex_unlock(&link->mutex);

	if (done) {
		spin_lock_irq(&link->lock);
		if (link->state == MITOSIS_LINK_UP) {
			conn = link->conn;
			link->conn_users++;
		}
		spin_unlock_irq(&link->lock);
		ret = READ_ONCE(link->let_go) ? 0 : -ENOTCONN;
		if (conn) {
			ret = xprt_conn_done(conn);
			spin_lock_irq(&link->lock);
			if (!--link->conn_users)
				wake_up(&link->users_wait);
			spin_unlock_irq(&link->lock);
		}
		if (ret && !link_lost(link) && !READ_ONCE(link_exiting)) {
			/*
			 * The source holds the memory until it hears: keep trying while it may come
			 * back.
			 */
			mutex_lock(&link->mutex);
			if (!link->drained_ns)
				WRITE_ONCE(link->drained_ns, ktime_get_ns());
			WRITE_ONCE(link->closing, false);
			mutex_unlock(&link->mutex);
			if (link->state == MITOSIS_LINK_DOWN)
				link_queue(link, &link->work, 0);
			if (ktime_get_ns() - link->drained_ns < (u64)link->give_up * NSEC_PER_SEC) {
				msleep(LINK_RETRY_MS);
				link_queue_fin(link);
				goto out;
			}
			pr_warn("mitosis: snapshot %016llx is drained, but %s could not be told (%d): release it there with mitosis-cli release\n",
				link->id, link->peer_text, ret);
		}
	}
	link_shut(link);
	if (done && !link_lost(link)) {
		trace_mitosis_link(link->id, MITOSIS_LINK_DONE, ret);
		netlink_event(MITOSIS_EVENT_LINK_DONE, link->id, 0, 0, -ret);
	}
out:
	link_put(link);
}

/* link->mutex held. @mm 0, which no process has, only keeps the link. */
static struct link_mm *link_mm_new(struct link *link, u32 owner, u32 mm, u64 parent)
{
	struct link_mm *lm = kzalloc(sizeof(*lm), GFP_KERNEL);

	if (!lm)
		return NULL;
	lm->mm = mm;
	lm->owner = owner;
	lm->parent = parent;
	list_add_tail(&lm->list, &link->mms);
	return lm;
}

/* Another restore has opened it: it is not to go while this one gets ready. */
static int link_join(struct link *link, u32 owner, const u8 *key, bool insecure)
{
	int ret = -EAGAIN;

	if (crypto_memneq(link->key, key, sizeof(link->key)))
		return -EACCES;
	/* Who has opened it may have allowed that, but not for the processes of this one. */
	if (!insecure && xprt_is_in_clear(link->transport, link->insecure))
		return -EPERM;
	mutex_lock(&link->mutex);
	if (link_lost(link))
		ret = -ESHUTDOWN;
	/* the source of one that is drained may let go at any time */
	else if (!link->closing && !link->drained_ns &&
		 READ_ONCE(link->state) != MITOSIS_LINK_CONNECTING)
		ret = link_mm_new(link, owner, 0, 0) ? -EEXIST : -ENOMEM;
	mutex_unlock(&link->mutex);
	return ret;
}

struct link *link_open(u32 owner, u64 id, const u8 *key, const char *transport, bool insecure,
		       const struct sockaddr_storage *local, const struct xprt_addr *peer,
		       const char *peer_text, u32 give_up)
{
	unsigned int tries = LINK_BUSY_TRIES;
	struct link *link, *other;
	struct xprt_conn *conn;
	int ret;

	link = kzalloc(sizeof(*link), GFP_KERNEL);
	if (!link)
		return ERR_PTR(-ENOMEM);
	kref_init(&link->kref);
	INIT_LIST_HEAD(&link->list);
	spin_lock_init(&link->lock);
	mutex_init(&link->mutex);
	INIT_LIST_HEAD(&link->parked);
	INIT_LIST_HEAD(&link->mms);
	INIT_LIST_HEAD(&link->attached);
	INIT_LIST_HEAD(&link->records);
	init_waitqueue_head(&link->users_wait);
	INIT_DELAYED_WORK(&link->work, link_reconnect_work);
	INIT_WORK(&link->fin, link_fin_work);
	link->id = id;
	memcpy(link->key, key, sizeof(link->key));
	strscpy(link->transport, transport, sizeof(link->transport));
	link->insecure = insecure;
	link->peer = *peer;
	link->have_local = local;
	if (local)
		link->local = *local;
	strscpy(link->peer_text, peer_text, sizeof(link->peer_text));
	link->give_up = give_up;
	link->created_ns = ktime_get_ns();
	link->state = MITOSIS_LINK_CONNECTING;
	ret = cache_create(&link->cache);
	if (ret) {
		link_put(link);
		return ERR_PTR(ret);
	}

again:
	mutex_lock(&link_lock);
	list_for_each_entry(other, &link_list, list) {
		if (other->id != id)
			continue;
		ret = link_join(other, owner, key, insecure);
		mutex_unlock(&link_lock);
		/* it is being connected, or, as its last process has just ended, on its way out */
		if (ret == -EAGAIN && tries-- && !fatal_signal_pending(current)) {
			msleep(LINK_BUSY_MS);
			goto again;
		}
		link_put(link);
		return ERR_PTR(ret == -EAGAIN ? -EBUSY : ret);
	}
	/* nobody else has the link yet */
	if (!link_mm_new(link, owner, 0, 0)) {
		mutex_unlock(&link_lock);
		link_put(link);
		return ERR_PTR(-ENOMEM);
	}
	kref_get(&link->kref);
	list_add_tail(&link->list, &link_list);
	mutex_unlock(&link_lock);
	mitosis_stat_add(MITOSIS_STAT_LINKS, 1);

	conn = xprt_conn_open(link->transport, insecure, local, &link->peer, id, key,
			      MITOSIS_CONNECT_TIMEOUT * MSEC_PER_SEC, &link_conn_ops, link);
	if (IS_ERR(conn)) {
		ret = PTR_ERR(conn);
		mutex_lock(&link->mutex);
		WRITE_ONCE(link->closing, true);
		mutex_unlock(&link->mutex);
		link_shut(link);
		link_put(link);
		return ERR_PTR(ret);
	}
	link->refuses_unproved = conn->xprt->refuses_unproved;
	spin_lock_irq(&link->lock);
	link->conn = conn;
	link->state = link->conn_died ? MITOSIS_LINK_DOWN : MITOSIS_LINK_UP;
	link->down_ns = link->conn_died ? ktime_get_ns() : 0;
	link->failing_ns = link->down_ns;
	spin_unlock_irq(&link->lock);
	if (link->down_ns)
		link_queue(link, &link->work, 0);
	trace_mitosis_link(id, MITOSIS_LINK_UP, 0);
	return link;
}

int link_close(struct link *link, u32 owner)
{
	struct link_mm *lm;
	bool others = false;

	mutex_lock(&link->mutex);
	list_for_each_entry(lm, &link->mms, list)
		others |= lm->owner != owner;
	if (link->nattached || link->arming || link->npinned || link->closing || others ||
	    READ_ONCE(link->state) == MITOSIS_LINK_CONNECTING) {
		mutex_unlock(&link->mutex);
		return -EBUSY;
	}
	WRITE_ONCE(link->closing, true);
	mutex_unlock(&link->mutex);
	link_shut(link);
	return 0;
}

void link_mm_free(struct link_mm *lm)
{
	if (!lm)
		return;
	kvfree(lm->runs);
	kvfree(lm->regions);
	kvfree(lm->record);
	kfree(lm);
}

void link_mms_free(struct list_head *lms)
{
	struct link_mm *lm, *next;

	list_for_each_entry_safe(lm, next, lms, list) {
		list_del(&lm->list);
		link_mm_free(lm);
	}
}

static void *link_grow(void *old, size_t size, unsigned long n, unsigned int add, const void *from)
{
	void *mem;

	/* Doubling: calls for one address space are many. */
	if (n && roundup_pow_of_two(n) >= n + add) {
		memcpy(old + n * size, from, add * size);
		return old;
	}
	mem = kvmalloc_array(roundup_pow_of_two(n + add), size, GFP_KERNEL);
	if (!mem)
		return NULL;
	if (n)
		memcpy(mem, old, n * size);
	memcpy(mem + n * size, from, add * size);
	kvfree(old);
	return mem;
}

int link_check_runs(const struct mitosis_run *old, unsigned long nold,
		    const struct mitosis_run *runs, unsigned int nruns)
{
	u64 next = nold ? old[nold - 1].start + (old[nold - 1].npages << PAGE_SHIFT) : 0;
	unsigned int i;

	for (i = 0; i < nruns; i++) {
		if (!PAGE_ALIGNED(runs[i].start) || runs[i].start < next || !runs[i].npages ||
		    runs[i].npages > TASK_SIZE_MAX >> PAGE_SHIFT ||
		    runs[i].start >= TASK_SIZE_MAX)
			return -EINVAL;
		next = runs[i].start + (runs[i].npages << PAGE_SHIFT);
		if (next > TASK_SIZE_MAX)
			return -EINVAL;
	}
	return 0;
}

int link_check_regions(const struct mitosis_region *old, unsigned long nold,
		       const struct mitosis_region *regions, unsigned int nregions)
{
	u64 next = nold ? (old[nold - 1].start >> MITOSIS_REGION_SHIFT) + 1 : 0;
	unsigned int i;

	for (i = 0; i < nregions; i++) {
		u64 block = regions[i].start >> MITOSIS_REGION_SHIFT;

		if (!PAGE_ALIGNED(regions[i].start) || !regions[i].npages ||
		    regions[i].npages > 1U << (MITOSIS_REGION_SHIFT - PAGE_SHIFT) ||
		    regions[i].start >= TASK_SIZE_MAX || block < next ||
		    (regions[i].start + ((u64)regions[i].npages << PAGE_SHIFT) - 1) >>
		    MITOSIS_REGION_SHIFT != block)
			return -EINVAL;
		next = block + 1;
	}
	return 0;
}

int link_add(struct link *link, u32 owner, u32 mm, u64 parent, const struct mitosis_run *runs,
	     unsigned int nruns, const struct mitosis_region *regions, unsigned int nregions,
	     const struct mitosis_run *record, unsigned int nrecord)
{
	struct link_mm *lm;
	void *mem;
	int ret = 0;

	mutex_lock(&link->mutex);
	if (link->closing) {
		ret = -ESHUTDOWN;
		goto out;
	}
	list_for_each_entry(lm, &link->mms, list)
		if (lm->mm == mm && lm->owner == owner && lm->parent == parent)
			goto found;
	lm = link_mm_new(link, owner, mm, parent);
	if (!lm) {
		ret = -ENOMEM;
		goto out;
	}
found:
	ret = link_check_runs(lm->runs, lm->nruns, runs, nruns) ?:
	      link_check_runs(lm->record, lm->nrecord, record, nrecord) ?:
	      link_check_regions(lm->regions, lm->nregions, regions, nregions);
	if (ret)
		goto out;
	ret = -ENOMEM;
	if (nruns) {
		mem = link_grow(lm->runs, sizeof(*runs), lm->nruns, nruns, runs);
		if (!mem)
			goto out;
		lm->runs = mem;
		lm->nruns += nruns;
	}
	if (nregions) {
		mem = link_grow(lm->regions, sizeof(*regions), lm->nregions, nregions, regions);
		if (!mem)
			goto out;
		lm->regions = mem;
		lm->nregions += nregions;
	}
	if (nrecord) {
		mem = link_grow(lm->record, sizeof(*record), lm->nrecord, nrecord, record);
		if (!mem)
			goto out;
		lm->record = mem;
		lm->nrecord += nrecord;
	}
	ret = 0;
out:
	mutex_unlock(&link->mutex);
	return ret;
}

bool link_take(struct link *link, u32 owner, u32 mm, struct list_head *to)
{
	struct link_mm *lm, *next;

	mutex_lock(&link->mutex);
	list_for_each_entry_safe(lm, next, &link->mms, list) {
		if (lm->mm != mm || lm->owner != owner || link->closing)
			continue;
		if (lm->parent)
			list_move_tail(&lm->list, to);
		else
			list_move(&lm->list, to);
	}
	if (!list_empty(to))
		link->arming++;
	mutex_unlock(&link->mutex);
	return !list_empty(to);
}

struct link *link_get_opened(u64 id, u32 owner)
{
	struct link *link = link_get(id);
	struct link_mm *lm;
	bool opened = false;

	if (!link)
		return NULL;
	mutex_lock(&link->mutex);
	list_for_each_entry(lm, &link->mms, list)
		opened |= !lm->mm && lm->owner == owner;
	opened &= !link->closing;
	mutex_unlock(&link->mutex);
	if (opened)
		return link;
	link_put(link);
	return NULL;
}

int link_pin(struct link *link)
{
	int ret = 0;

	mutex_lock(&link->mutex);
	if (link->closing || link_lost(link))
		ret = -ESHUTDOWN;
	else
		link->npinned++;
	mutex_unlock(&link->mutex);
	if (!ret)
		link_ref(link);
	return ret;
}

void link_unpin(struct link *link)
{
	mutex_lock(&link->mutex);
	if (!--link->npinned && !link->nattached && !link->arming)
		link_queue_fin(link);
	mutex_unlock(&link->mutex);
	link_put(link);
}

void link_armed(struct link *link, int err)
{
	mutex_lock(&link->mutex);
	if (err)
		link->failed = true;
	if (!--link->arming && !link->nattached)
		link_queue_fin(link);
	mutex_unlock(&link->mutex);
}

void link_owner_gone(u32 owner)
{
	struct link_mm *lm, *next;
	struct link *link;
	bool dropped;

	mutex_lock(&link_lock);
	list_for_each_entry(link, &link_list, list) {
		dropped = false;
		mutex_lock(&link->mutex);
		list_for_each_entry_safe(lm, next, &link->mms, list) {
			if (lm->owner != owner)
				continue;
			list_del(&lm->list);
			link_mm_free(lm);
			dropped = true;
		}
		/* it may have been all that kept a link whose processes have ended */
		if (dropped && !link->nattached && !link->arming)
			link_queue_fin(link);
		mutex_unlock(&link->mutex);
	}
	mutex_unlock(&link_lock);
}

void link_attached(struct link *link)
{
	link->nattached++;
	mitosis_stat_add(MITOSIS_STAT_ATTACHED, 1);
}

void link_detached(struct link *link)
{
	mitosis_stat_add(MITOSIS_STAT_ATTACHED, -1);
	if (!--link->nattached)
		link_queue_fin(link);
}

int link_drain(struct link *link)
{
	mutex_lock(&link->mutex);
	if (!link->draining) {
		link->draining = true;
		link->drain_ns = ktime_get_ns();
		pager_drain_all(link);
		if (!link->nattached)
			link_queue_fin(link);
	}
	mutex_unlock(&link->mutex);
	return 0;
}

int link_init(void)
{
	link_wq = alloc_workqueue("mitosis-link", WQ_UNBOUND, 0);
	return link_wq ? 0 : -ENOMEM;
}

/* Attachments hold module references, so what is left here has none. */
void link_exit(void)
{
	struct link *link;

	WRITE_ONCE(link_exiting, true);
	for (;;) {
		mutex_lock(&link_lock);
		link = list_first_entry_or_null(&link_list, struct link, list);
		if (link)
			kref_get(&link->kref);
		mutex_unlock(&link_lock);
		if (!link)
			break;
		WRITE_ONCE(link->closing, true);
		link_shut(link);
		link_put(link);
	}
	destroy_workqueue(link_wq);
}
