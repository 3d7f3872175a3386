/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * Generic netlink interface of mitosis.ko, family "mitosis".
 *
 * A *snapshot* is memory held at its source: for each address space ("mm", named by the process's
 * pid as CRIU recorded it) the pages of some runs of virtual addresses. A *link* is this node's
 * connection to one snapshot of another node (or of this one). An *attachment* is one address
 * space here whose missing pages come over a link.
 *
 * Every command, dumps included, needs CAP_SYS_ADMIN in the initial user namespace: a caller reads
 * and replaces the memory of any process, of any user, which is more than CAP_SYS_PTRACE in
 * a namespace gives. A refusal carries a sentence in the extended acknowledgement.
 *
 * Processes are named by MITOSIS_A_PID (in the caller's pid namespace) together with
 * MITOSIS_A_START_TIME (field 22 of /proc/PID/stat, clock ticks); both must match, so a pid that
 * was reused between look-up and call is refused with ESRCH. A caller reads the start time while
 * it holds a pidfd of the process and finds the pidfd alive afterwards; modules can not resolve
 * pidfds themselves, as the kernel does not export that.
 *
 * At the source, in this order, while the tasks stand still:
 *
 * HOLD_CREATE	[ADDR] (local address that peers reach), [TRANSPORT], [NAME], [LEASE], [FLAGS]
 *		-> SNAPSHOT, KEY, TRANSPORT, PORT, and DCT with dct
 *		The first transport of TRANSPORT, or else of the module's parameter transports, that
 *		can is taken. rc needs ADDR; dct takes the port that has ADDR, or the first that is
 *		up; tcp offers it at ADDR, or at every address: under TLS, or with
 *		MITOSIS_F_INSECURE unencrypted. EADDRNOTAVAIL: no device has ADDR. EOPNOTSUPP: the
 *		device lacks what is needed. ENODEV: no device can do that. EPROTONOSUPPORT: none of
 *		these transports is loaded. EPERM: this kernel has no TLS for modules, and it lacks
 *		MITOSIS_F_INSECURE.
 * HOLD_MM	SNAPSHOT, MM, PID, START_TIME [, CLONE_PID, CLONE_START_TIME]
 *		Takes references on the process's address space and on that of its copy-on-write
 *		clone, which may then exit. Without a clone the process's own pages are copied.
 *		Pages that the process itself still misses are inherited: whoever restores the
 *		snapshot reads them from where this process would. EXDEV: it has moved some. The
 *		snapshot is the user's whose process, by its real uid, is named first.
 * HOLD_BASE	SNAPSHOT, PARENT (repeat, the latest first; before HOLD_MM)
 *		PARENT is an earlier snapshot of this node, sealed. Pages that are the very same in
 *		it are not held again: whoever restores SNAPSHOT reads them from PARENT, as
 *		INHERIT_GET says, which stays at least as long. EINVAL: it is not sealed.
 * HOLD_CHANGED	SNAPSHOT -> PAGES_CHANGED, of PAGES_HELD. For a sealed one.
 * HOLD_PAGES	SNAPSHOT, MM, RUNS (ascending, not overlapping; at most MITOSIS_MAX_ARRAY a call;
 *		repeat)
 *		Takes the pages. EFAULT: a page can not be had. ENOSPC, EDQUOT: all snapshots, or
 *		those of its user, would hold more than the module's parameters max_held_mb or
 *		max_held_user_mb. The snapshot is useless then and should be released.
 * HOLD_SEAL	SNAPSHOT
 *		Registers the last region, drops the address spaces, and lets peers in. ESTALE: a
 *		snapshot of HOLD_BASE has been released.
 * HOLD_EXTEND	SNAPSHOT [, LEASE]: the lease begins anew, LEASE seconds from now; without one there
 *		is none any more. ENOENT: no such snapshot, or it is going away.
 * REGION_GET	(dump) SNAPSHOT -> MM, REGIONS, several messages
 * INHERIT_GET	(dump) SNAPSHOT -> MM, PARENT, KEY, TRANSPORT, PEER_ADDR, PORT, DCT with dct, FLAGS
 *		(MITOSIS_F_INSECURE), and either REGIONS or RUNS, several messages. The snapshot
 *		keeps this node's links to its parents open. PEER_ADDR of an earlier snapshot of
 *		this node over tcp is "any" when it is offered at every address.
 * HOLD_GET	(dump) [SNAPSHOT] -> all of a snapshot's attributes but its key
 * RELEASE	SNAPSHOT, or FLAGS with MITOSIS_RELEASE_ALL: revokes the regions, disconnects peers,
 *		frees the pages. Synchronous: afterwards no peer can read. ENOENT: no such snapshot.
 *
 * At the destination:
 *
 * LINK_OPEN	SNAPSHOT, KEY, either PEER_ADDR and PORT, or DCT [, TRANSPORT] [, ADDR] [, GIVE_UP]
 *		[, FLAGS]
 *		TRANSPORT is one; absent: dct with DCT, and else rc. FLAGS: MITOSIS_F_INSECURE: over
 *		tcp, unencrypted, as it is offered; without it under TLS, and never otherwise.
 *		EPERM: this kernel has no TLS for modules, or the link is open already, unencrypted.
 *		ENOPKG, EREMOTEIO: nobody here, or at the source, does TLS handshakes (tlshd).
 *		EKEYREJECTED: one has failed.
 *		Connects; blocks at most MITOSIS_CONNECT_TIMEOUT seconds. EACCES: the peer refused
 *		the key or has no such snapshot. EEXIST: it is open already, with this key, and
 *		stays so until the caller's socket is closed: attach to it. A link without
 *		attachments is closed with the socket of who opened it.
 * LINK_FILL	SNAPSHOT, MM, RUNS, REGIONS (both ascending) -> PAGES_FILLED [, ERROR]
 *		Reads pages of the snapshot to this node's memory and returns when they are here,
 *		killably. They stay until memory is short or the link is closed; a process whose
 *		page is to come over this link by the same region key has it from there. ERROR is
 *		EAGAIN when not all are here: nothing has come for two seconds, or it has gone on
 *		for one; the same command again goes on. ENOLINK: given up.
 * ATTACH_ADD	SNAPSHOT, MM [, PARENT], RUNS and/or REGIONS and/or RECORD (ascending; repeat)
 *		Collects what the source holds for one address space, or what PARENT's source does,
 *		to which the caller has opened a link; and what of it is to be read before it is
 *		touched (without PARENT).
 * ATTACH_ARM	SNAPSHOT, MM, PID, START_TIME [, EAGER] [, KEEP] [, FLAGS] [, PREFETCH [, WINDOW]]
 *		All threads must be stopped. Discards what is present in the runs, arms the private
 *		anonymous mappings and returns when the runs' parts in EAGER ranges, in the stack,
 *		in argument and environment areas and in mappings that cannot be armed have been
 *		read. Bytes in KEEP ranges keep their present value (rseq). On error the process has
 *		lost memory and must be killed. MITOSIS_ATTACH_F_DRAIN: the rest is read in the
 *		background from then on, and drained mappings become ordinary ones. PREFETCH,
 *		WINDOW: see enum mitosis_prefetch. What is read ahead of its touch goes to the
 *		node's cache with MITOSIS_ATTACH_F_CACHE, and else to the process.
 * RECORD_GET	(dump) SNAPSHOT -> MM, RUNS, several messages: what processes with
 *		MITOSIS_ATTACH_F_RECORD have touched, as long as the link is open. RUNS are
 *		ascending, for one MM after the other.
 * LINK_DRAIN	SNAPSHOT: every address space has been attached; drain all of them, and tell the
 *		source when nothing is missing here any more.
 * LINK_CLOSE	SNAPSHOT: give the link up. EBUSY while something is attached.
 * LINK_GET	(dump) [SNAPSHOT] -> one message a link
 * ATTACH_GET	(dump) [SNAPSHOT] -> one message an attachment, those included that are drained but
 *		for unreadable pages
 *
 * SELFTEST	Opens the self-test of the memory hooks for the calling thread. The caller then maps
 *		two anonymous pages, calls madvise(MADV_DONTNEED) and mremap() to another address on
 *		them, and looks at HOOKS of INFO_GET. LINK_OPEN fails with ENOTCONN until this has
 *		passed once.
 * STATS_GET	-> all MITOSIS_STAT_* counters since the module was loaded, LATENCY of its faults
 * INFO_GET	[TRANSPORT] [, FLAGS] -> VERSION, HOOKS (1: the self-test of the memory hooks
 *		passed), TRANSPORT (those of the given ones, or else of the module's parameter
 *		transports, that are loaded and have a device; where there is no TLS for modules,
 *		tcp with MITOSIS_F_INSECURE only)
 * XPRT_TEST	TRANSPORT [, ADDR] [, FLAGS] -> NS, of a READ of one page, or else ERROR and WHY.
 *		Exposes memory of the module's and reads it, as a peer would, over the same device;
 *		and sees that what is not exposed, and who has a wrong key, is refused.
 *
 * Multicast group "events": messages with command MITOSIS_CMD_EVENT, EVENT and SNAPSHOT, and where
 * it applies MM, PID, ERROR (positive errno). Events can be lost when a listener is slow (ENOBUFS):
 * look at the state after subscribing.
 */
#ifndef _UAPI_MITOSIS_H
#define _UAPI_MITOSIS_H

#include <linux/types.h>

#define MITOSIS_GENL_NAME	"mitosis"
#define MITOSIS_GENL_VERSION	1
#define MITOSIS_MCGRP_EVENTS	"events"

#define MITOSIS_KEY_LEN		16	/* bytes; random, opens one snapshot */
#define MITOSIS_NAME_LEN	64	/* bytes, final NUL included */
#define MITOSIS_PORT		7573	/* default rdma_cm port of the source (RDMA_PS_TCP) */
#define MITOSIS_TCP_PORT	7574	/* default port of the source with transport tcp */
#define MITOSIS_MAX_ARRAY	2048	/* entries in one RUNS, REGIONS, EAGER or KEEP attribute */
#define MITOSIS_MAX_PARENTS	8	/* snapshots that one snapshot can inherit pages from */
/* a region lies within one block of 2 MiB of address space */
#define MITOSIS_REGION_SHIFT	21
#define MITOSIS_CONNECT_TIMEOUT	20	/* seconds */
/* seconds without the source until its processes are killed */
#define MITOSIS_GIVE_UP_DEFAULT	120
#define MITOSIS_LATENCY_MAX	40	/* elements of LATENCY */
#define MITOSIS_WINDOW_MAX	32	/* pages */
#define MITOSIS_WINDOW_DEFAULT	16

enum mitosis_cmd {
	MITOSIS_CMD_UNSPEC,
	MITOSIS_CMD_INFO_GET,
	MITOSIS_CMD_HOLD_CREATE,
	MITOSIS_CMD_HOLD_MM,
	MITOSIS_CMD_HOLD_PAGES,
	MITOSIS_CMD_HOLD_SEAL,
	MITOSIS_CMD_HOLD_GET,
	MITOSIS_CMD_REGION_GET,
	MITOSIS_CMD_RELEASE,
	MITOSIS_CMD_LINK_OPEN,
	MITOSIS_CMD_LINK_DRAIN,
	MITOSIS_CMD_LINK_CLOSE,
	MITOSIS_CMD_LINK_GET,
	MITOSIS_CMD_ATTACH_ADD,
	MITOSIS_CMD_ATTACH_ARM,
	MITOSIS_CMD_ATTACH_GET,
	MITOSIS_CMD_STATS_GET,
	MITOSIS_CMD_EVENT,
	MITOSIS_CMD_SELFTEST,
	MITOSIS_CMD_HOLD_EXTEND,
	MITOSIS_CMD_INHERIT_GET,
	MITOSIS_CMD_RECORD_GET,
	MITOSIS_CMD_XPRT_TEST,
	MITOSIS_CMD_HOLD_BASE,
	MITOSIS_CMD_HOLD_CHANGED,
	MITOSIS_CMD_LINK_FILL,
	__MITOSIS_CMD_MAX,
};
#define MITOSIS_CMD_MAX (__MITOSIS_CMD_MAX - 1)

enum mitosis_attr {
	MITOSIS_A_UNSPEC,
	MITOSIS_A_PAD,
	MITOSIS_A_VERSION,		/* string, the module's version */
	MITOSIS_A_SNAPSHOT,		/* u64, random, never 0 */
	MITOSIS_A_KEY,			/* binary, MITOSIS_KEY_LEN */
	MITOSIS_A_NAME,			/* string */
	MITOSIS_A_ADDR,			/* string, numeric IPv4 or IPv6 address of this node */
	MITOSIS_A_PEER_ADDR,		/* string, numeric address of the source */
	MITOSIS_A_PORT,			/* u16, host order */
	/* u32, MITOSIS_HOLD_F_*, MITOSIS_ATTACH_F_*, MITOSIS_RELEASE_*, MITOSIS_F_INSECURE */
	MITOSIS_A_FLAGS,
	MITOSIS_A_LEASE,		/* u32, seconds from now; 0 or absent: until released */
	MITOSIS_A_GIVE_UP,		/* u32, seconds; absent: MITOSIS_GIVE_UP_DEFAULT */
	MITOSIS_A_MM,			/* u32, pid of the process as CRIU's images name it */
	MITOSIS_A_PID,			/* u32 */
	MITOSIS_A_START_TIME,		/* u64, clock ticks */
	MITOSIS_A_CLONE_PID,		/* u32 */
	MITOSIS_A_CLONE_START_TIME,	/* u64, clock ticks */
	MITOSIS_A_RUNS,			/* struct mitosis_run[] */
	MITOSIS_A_REGIONS,		/* struct mitosis_region[] */
	MITOSIS_A_EAGER,		/* struct mitosis_run[] */
	MITOSIS_A_KEEP,			/* struct mitosis_keep[] */
	MITOSIS_A_STATE,		/* u32, enum mitosis_hold_state or mitosis_link_state */
	MITOSIS_A_PAGES_HELD,		/* u64, pages of the snapshot */
	MITOSIS_A_NREGIONS,		/* u64 */
	MITOSIS_A_NPEERS,		/* u32, connected peers of a snapshot */
	MITOSIS_A_AGE_MS,		/* u64, since creation */
	MITOSIS_A_PAGES_TOTAL,		/* u64, pages this attachment had to get at the start */
	MITOSIS_A_PAGES_PENDING,	/* u64, of these not here yet */
	MITOSIS_A_PAGES_FAULT,		/* u64, brought in by a fault */
	MITOSIS_A_PAGES_DRAIN,		/* u64, brought in by the drain */
	MITOSIS_A_PAGES_EAGER,		/* u64, brought in while arming */
	MITOSIS_A_PAGES_DEAD,		/* u64, given up by the process before they were read */
	MITOSIS_A_EVENT,		/* u32, enum mitosis_event */
	MITOSIS_A_ERROR,		/* u32, positive errno */
	MITOSIS_A_STATS,		/* u64[], indexed by enum mitosis_stat */
	MITOSIS_A_HOOKS,		/* u8 */
	MITOSIS_A_NATTACHED,		/* u32, attachments of a link, fork children included */
	MITOSIS_A_DOWN_MS,		/* u64, how long a link has been down; 0: it is not */
	/* u64, time from the beginning of the drain until drained, or until now */
	MITOSIS_A_DRAIN_NS,
	MITOSIS_A_BUSY_NS,		/* u64, of DRAIN_NS: time with a read outstanding */
	MITOSIS_A_PAGES_UNREADABLE,	/* u64, of PENDING: the source cannot read them */
	/* u64, mapped from the node's cache by a fault that reads; of PENDING until drained */
	MITOSIS_A_PAGES_SHARED,
	MITOSIS_A_PARENT,		/* u64, snapshot that pages are inherited from */
	/* u32, whose snapshot it is, in the initial user namespace; absent before HOLD_MM */
	MITOSIS_A_UID,
	/*
	 * u64[], the times of FAULTS_READ: element i, for less than 2^i ns and not for less than
	 * half of that; the last, for longer, too
	 */
	MITOSIS_A_LATENCY,
	MITOSIS_A_PREFETCH,		/* u32, enum mitosis_prefetch; absent: none */
	/*
	 * u32, pages: a power of two, at most MITOSIS_WINDOW_MAX; absent: MITOSIS_WINDOW_DEFAULT,
	 * but MAX if sequential
	 */
	MITOSIS_A_WINDOW,
	MITOSIS_A_RECORD,		/* struct mitosis_run[] */
	MITOSIS_A_PAGES_AHEAD,		/* u64, read by its prefetch before they were touched */
	/*
	 * string: "dct", "rc" or "tcp"; where one is asked for, also several, "dct,rc", best first
	 */
	MITOSIS_A_TRANSPORT,
	/* struct mitosis_dct, where transport dct finds the source */
	MITOSIS_A_DCT,
	MITOSIS_A_NS,			/* u64 */
	MITOSIS_A_WHY,			/* string, a sentence without its end */
	/* u64, of PAGES_HELD: those that no process has mapped any more; about, with huge pages */
	MITOSIS_A_PAGES_CHANGED,
	/*
	 * u64, read to this node before there was a process for them; of an attachment: those that
	 * it has had from there
	 */
	MITOSIS_A_PAGES_FILLED,
	__MITOSIS_A_MAX,
};
#define MITOSIS_A_MAX (__MITOSIS_A_MAX - 1)

/* A run of whole pages of virtual address space. */
struct mitosis_run {
	__u64 start;		/* bytes, page aligned */
	__u64 npages;		/* never 0 */
};

/*
 * What a peer needs to read [start, start + npages * 4096): the address there is the virtual one.
 */
struct mitosis_region {
	__u64 start;		/* bytes, page aligned */
	__u32 npages;		/* at most 512, all in one aligned block of 2 MiB */
	__u32 rkey;
};

enum mitosis_dct_link {
	MITOSIS_DCT_IB = 1,
	MITOSIS_DCT_ROCE,		/* RoCE v2 */
};

/* A DC target. The key is as secret as MITOSIS_A_KEY. */
struct mitosis_dct {
	__u8 gid[16];		/* of the port */
	__u64 key;		/* DC access key */
	__u32 number;		/* never 0; 24 bits */
	__u16 lid;		/* of the port; 0 with RoCE */
	__u8 link;		/* enum mitosis_dct_link */
	__u8 mtu;		/* 1 to 5: 256 to 4096 bytes */
};

struct mitosis_keep {
	__u64 start;		/* bytes */
	__u64 len;		/* bytes; must not cross a page boundary */
};

/*
 * MITOSIS_A_FLAGS of HOLD_CREATE, LINK_OPEN, INFO_GET and XPRT_TEST: what goes over transport tcp
 * goes unencrypted, for all on the way to read and to change. It says nothing of other transports:
 * a network for RDMA is trusted by those who use it.
 */
#define MITOSIS_F_INSECURE	(1U << 16)
/* MITOSIS_A_FLAGS of HOLD_CREATE */
/* release when a peer reports that it has drained */
#define MITOSIS_HOLD_F_ONESHOT	(1U << 0)
/*
 * Release when the process of the first HOLD_MM has ended and no peer needs it: none is connected,
 * and none that was has been gone for less than MITOSIS_GIVE_UP_DEFAULT seconds. Looked at once a
 * second from HOLD_SEAL on.
 */
#define MITOSIS_HOLD_F_FOLLOW	(1U << 1)
/*
 * Of processes that run on while their pages are taken: HOLD_PAGES takes what their clones have,
 * and leaves out the rest. Released when the socket of who created it is closed and no snapshot has
 * it as a base any more.
 */
#define MITOSIS_HOLD_F_PRECOPY	(1U << 2)
/* MITOSIS_A_FLAGS of ATTACH_ARM */
/* pages that it reads are kept for others of the same snapshot */
#define MITOSIS_ATTACH_F_CACHE	(1U << 0)
/* bring in all of it, whatever others do; its forks are drained, too */
#define MITOSIS_ATTACH_F_DRAIN	(1U << 1)
/* note the pages that it touches; its forks note in the same record */
#define MITOSIS_ATTACH_F_RECORD	(1U << 2)
/* MITOSIS_A_FLAGS of ATTACH_GET */
/* it has moved pages that were not here: no snapshot can inherit them */
#define MITOSIS_ATTACH_F_MOVED	(1U << 31)

/*
 * What a fault reads. All but RECORDED read what is still missing, in one READ, up to the next page
 * that is not or that no region holds.
 */
enum mitosis_prefetch {
	MITOSIS_PREFETCH_NONE,		/* its page */
	/* the pages around it in the aligned window of WINDOW pages */
	MITOSIS_PREFETCH_WINDOW,
	/*
	 * pages from it on: twice as many, up to WINDOW, while faults go upwards, else half as many
	 */
	MITOSIS_PREFETCH_SEQUENTIAL,
	/*
	 * Its page; and from ATTACH_ARM on RECORD is read in the background, or without RECORD what
	 * has been noted here. Nothing is where there is no record.
	 */
	MITOSIS_PREFETCH_RECORDED,
	__MITOSIS_PREFETCH_MAX,
};

/* MITOSIS_A_FLAGS of RELEASE */
#define MITOSIS_RELEASE_ALL	(1U << 0)

enum mitosis_hold_state {
	MITOSIS_HOLD_OPEN,		/* pages are being taken */
	MITOSIS_HOLD_SEALED,		/* peers may read */
	MITOSIS_HOLD_RELEASED,		/* going away */
};

enum mitosis_link_state {
	MITOSIS_LINK_CONNECTING,
	MITOSIS_LINK_UP,
	MITOSIS_LINK_DOWN,		/* lost; being reconnected */
	MITOSIS_LINK_LOST,		/* given up, or the source released the snapshot */
	MITOSIS_LINK_DONE,		/* drained; the source has been told */
};

enum mitosis_event {
	MITOSIS_EVENT_UNSPEC,
	/* source: snapshot is gone; ERROR: ETIME expired lease, ESRCH FOLLOWed process ended */
	MITOSIS_EVENT_RELEASED,
	MITOSIS_EVENT_PEER,		/* source: a peer connected */
	MITOSIS_EVENT_PEER_GONE,	/* source: a peer disconnected */
	MITOSIS_EVENT_ATTACHED,		/* destination: MM, PID armed */
	/*
	 * destination: MM has everything, its mappings are ordinary; ERROR EREMOTEIO: but for pages
	 * that the source cannot read
	 */
	MITOSIS_EVENT_DRAINED,
	MITOSIS_EVENT_LINK_DOWN,
	MITOSIS_EVENT_LINK_UP,
	MITOSIS_EVENT_LINK_LOST,	/* ERROR: why; processes that wait are killed */
	MITOSIS_EVENT_LINK_DONE,
	MITOSIS_EVENT_KILLED,		/* destination: a process was killed rather than misread */
};

enum mitosis_stat {
	MITOSIS_STAT_SNAPSHOTS,		/* now */
	MITOSIS_STAT_PAGES_HELD,	/* now */
	MITOSIS_STAT_REGIONS,		/* now */
	MITOSIS_STAT_PEERS_REFUSED,	/* wrong key, no such snapshot, malformed request */
	MITOSIS_STAT_PEERS,		/* connections accepted */
	MITOSIS_STAT_LINKS,		/* now */
	MITOSIS_STAT_ATTACHED,		/* now */
	MITOSIS_STAT_FAULTS,		/* faults in armed mappings */
	/* of these, for a page of the source, over the link or from the cache */
	MITOSIS_STAT_FAULTS_READ,
	MITOSIS_STAT_FAULT_NS,		/* sum of the times these took */
	MITOSIS_STAT_FAULTS_ZERO,	/* of FAULTS, answered with a zero page */
	MITOSIS_STAT_FAULTS_NORETRY,	/* of FAULTS, read under the mmap lock */
	MITOSIS_STAT_PAGES_READ,	/* pages read over a link */
	MITOSIS_STAT_PAGES_DRAIN,	/* installed by a drain */
	MITOSIS_STAT_PAGES_DEAD,
	MITOSIS_STAT_READS,		/* READ work requests */
	MITOSIS_STAT_READ_ERRORS,
	MITOSIS_STAT_LINK_DOWN,
	MITOSIS_STAT_LINK_RECOVERED,
	MITOSIS_STAT_LINK_LOST,
	MITOSIS_STAT_KILLED,
	MITOSIS_STAT_DRAINED,		/* attachments that became ordinary processes */
	MITOSIS_STAT_RELEASED,		/* snapshots */
	/*
	 * source: a peer's request the device refused; over dct wrong keys only when the snapshot
	 * is released
	 */
	MITOSIS_STAT_ACCESS_ERRORS,
	MITOSIS_STAT_DRAIN_NS,		/* sum of the times that DRAINED ones took */
	MITOSIS_STAT_DRAIN_BUSY_NS,	/* of these, with a read outstanding */
	MITOSIS_STAT_PAGES_UNREADABLE,	/* pages that a source refused: memory failure there */
	MITOSIS_STAT_CACHE_PAGES,	/* now */
	MITOSIS_STAT_CACHE_HITS,	/* pages that need not be read again */
	/* pages taken out of page tables of children because memory was short */
	MITOSIS_STAT_CACHE_UNMAPPED,
	MITOSIS_STAT_FAULTS_WAITED,	/* of FAULTS_READ: their page was not here yet */
	/* of PAGES_READ: asked for before they were touched, not by a drain */
	MITOSIS_STAT_PAGES_AHEAD,
	MITOSIS_STAT_PAGES_FILLED,	/* of PAGES_READ: by LINK_FILL */
	__MITOSIS_STAT_MAX,
};

#endif /* _UAPI_MITOSIS_H */
