/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Destination: a connection to one snapshot of a source, its loss and recovery. Reads that fail
 * because the connection went away are kept and repeated on the next one; they fail for good only
 * when the link is given up or the source refuses.
 *
 * A source refuses pages whose memory has failed. The refusal costs the connection, and is an
 * answer to one read; whoever asked for several pages finds out which it is by asking again for
 * fewer. A page that has been refused is known to all who attach, so it costs one connection, or
 * one round trip with a transport that has none to lose. A source that refuses very many is given
 * up.
 */
#ifndef MITOSIS_LINK_H
#define MITOSIS_LINK_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "cache.h"
#include "mitosis.h"
#include "transport.h"

struct link;

/* Pages that a source may refuse to read. */
#define LINK_REFUSED_MAX 64

struct link_page {
	/* of its region, which belongs to one address space of the source */
	u32 rkey;
	u64 pg;				/* original page index */
};

struct link_read {
	struct xprt_read rd;
	struct link *link;
	u32 mm;
	/*
	 * Atomic context. err: 0; -EREMOTEIO the source refuses to read one of these pages, though
	 * it may read others; -ENOLINK given up.
	 */
	void (*done)(struct link_read *lr, int err);
	/*
	 * Whether anybody still waits for it, while it waits for the link to come back. Any
	 * context.
	 */
	bool (*wanted)(struct link_read *lr);
};

/*
 * What the source holds of one address space, collected before it is armed. Restores of one
 * snapshot may run side by side: what one collects is its own.
 */
struct link_mm {
	struct list_head list;
	u32 mm;
	u32 owner;			/* netlink port: its close drops it */
	/* 0, or the snapshot that these pages are of: another one, that its processes came from */
	u64 parent;
	struct mitosis_run *runs;
	struct mitosis_region *regions;
	struct mitosis_run *record;	/* what is to be read before it is touched */
	unsigned long nruns, nregions, nrecord;
};

struct link {
	struct kref kref;
	struct list_head list;		/* link_lock */
	u64 id;
	u8 key[MITOSIS_KEY_LEN];
	char transport[XPRT_NAME_LEN];
	bool insecure;
	struct sockaddr_storage local;
	struct xprt_addr peer;
	bool have_local;
	char peer_text[64];
	u32 give_up;			/* seconds */
	u64 created_ns;

	spinlock_t lock;		/* state to nparked; taken in softirq */
	enum mitosis_link_state state;
	int error;			/* positive errno of LOST */
	struct xprt_conn *conn;
	unsigned int conn_users;
	bool conn_died;			/* since the latest connection was asked for */
	bool refuses_unproved;		/* see struct xprt */
	/* since when the source has refused each connection; 0: it has not */
	u64 refused_ns;
	struct link_page refused[LINK_REFUSED_MAX];	/* the source cannot read them */
	unsigned int nrefused;
	struct list_head parked;	/* reads that wait for a connection */
	u64 down_ns;			/* since when; 0: not down */
	/* reads have been asked for, and nothing has come since then */
	bool wanted;
	/*
	 * since when it is down; or was, if the connections since then have brought nothing that is
	 * wanted
	 */
	u64 failing_ns;
	wait_queue_head_t users_wait;

	struct mutex mutex;		/* mms, attachments, draining, closing */
	struct list_head mms;
	struct list_head attached;	/* struct attach_link */
	u32 nattached;
	u32 arming;			/* address spaces between link_take() and link_armed() */
	u32 npinned;			/* snapshots here that need it */
	bool draining, closing;
	bool armed, failed;		/* one has been armed; arming one has failed */
	bool let_go;			/* the source, after it has been told that all is drained */
	u64 drain_ns, drained_ns;

	struct cache cache;		/* empty unless attachments share what they read */
	struct list_head records;	/* mutex; struct prefetch_record */

	struct delayed_work work;	/* reconnects */
	struct work_struct fin;		/* nothing attached any more */
};

int link_init(void);
void link_exit(void);

/*
 * Connects. Returns a referenced link or an ERR_PTR. -EEXIST: there is one, with this key, and it
 * stays until @owner's netlink socket is closed. -EACCES: refused, or there is one with another
 * key. -EPERM: it goes in the clear, which takes
 * @insecure.
 */
struct link *link_open(u32 owner, u64 id, const u8 *key, const char *transport, bool insecure,
		       const struct sockaddr_storage *local, const struct xprt_addr *peer,
		       const char *peer_text, u32 give_up);
struct link *link_get(u64 id);
void link_ref(struct link *link);
void link_put(struct link *link);
/* -EBUSY: processes are attached, or others than @owner are about to. */
int link_close(struct link *link, u32 owner);

/* Collects runs and regions of an address space for @owner; mutex not held. */
int link_add(struct link *link, u32 owner, u32 mm, u64 parent, const struct mitosis_run *runs,
	     unsigned int nruns, const struct mitosis_region *regions, unsigned int nregions,
	     const struct mitosis_run *record, unsigned int nrecord);
/* Whether what is said of memory is good, and goes behind the @nold that are there. */
int link_check_runs(const struct mitosis_run *old, unsigned long nold,
		    const struct mitosis_run *runs, unsigned int nruns);
int link_check_regions(const struct mitosis_region *old, unsigned long nold,
		       const struct mitosis_region *regions, unsigned int nregions);
/*
 * Takes what was collected, the link's own snapshot first; false: nothing. The caller frees it and
 * then calls link_armed() with the outcome.
 */
bool link_take(struct link *link, u32 owner, u32 mm, struct list_head *to);
void link_armed(struct link *link, int err);
/* A referenced link that @owner has opened, or NULL. */
struct link *link_get_opened(u64 id, u32 owner);
/*
 * The link stays, though nothing may be attached: a snapshot of this node inherits pages of it.
 * -ESHUTDOWN: it is going away.
 */
int link_pin(struct link *link);
void link_unpin(struct link *link);
/* Drops what @owner has collected and not armed. */
void link_owner_gone(u32 owner);
void link_mm_free(struct link_mm *lm);
void link_mms_free(struct list_head *lms);

int link_drain(struct link *link);
/* Any context. lr's rd and done are filled in; done is always called. */
void link_read(struct link *link, struct link_read *lr);
/* Reads linked by rd.list, with one doorbell. The list is empty then. */
void link_read_list(struct link *link, struct list_head *reads);
/*
 * How many of the @n pages from @pg on of one region come before one that the source has refused.
 * Any context.
 */
unsigned int link_readable(struct link *link, u32 rkey, u64 pg, unsigned int n);
/* Calls @fn with each refused page, without a lock. */
void link_visit_refused(struct link *link, void (*fn)(u32 rkey, u64 pg, void *arg), void *arg);
/* Whether the link is lost for good. */
bool link_lost(struct link *link);
/* An attachment has come or gone; may sleep, mutex held. */
void link_attached(struct link *link);
void link_detached(struct link *link);

int link_for_each(int (*fn)(struct link *link, void *arg), void *arg);

#endif
