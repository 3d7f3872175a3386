/* SPDX-License-Identifier: MIT */
/*
 * libmitosis: client of mitosis.ko.
 *
 * One handle serves one thread at a time. Functions that return int give 0 or a negative errno;
 * after an error mitosis_error() has one sentence without a final full stop. What the commands do
 * and in which order they go stands in kmod/uapi/mitosis.h.
 */
#ifndef LIB_MITOSIS_H
#define LIB_MITOSIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kmod/uapi/mitosis.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MITOSIS_API		__attribute__((visibility("default")))
#define MITOSIS_ADDR_LEN	64	/* bytes of a numeric address, final NUL included */
#define MITOSIS_ERROR_LEN	512

struct mitosis;

/* A process by its pid and what tells it from a later one with the same pid. */
struct mitosis_proc {
	uint32_t pid;
	uint64_t start_time;	/* clock ticks; field 22 of /proc/PID/stat */
};

/* Where a snapshot is read from. */
struct mitosis_where {
	char transport[8];		/* empty: dct where there is a dct, and else rc */
	bool insecure;			/* over tcp, unencrypted */
	/* numeric; for people where there is a dct; empty with tcp: every one */
	char addr[MITOSIS_ADDR_LEN];
	uint16_t port;
	struct mitosis_dct dct;		/* number 0: none, but address and port */
};

struct mitosis_info {
	char version[32];
	bool hooks;		/* the self-test of the memory hooks has passed */
};

struct mitosis_hold_info {
	uint64_t snapshot;
	char name[MITOSIS_NAME_LEN];
	char addr[MITOSIS_ADDR_LEN];
	char transport[8];
	uint16_t port;
	uint32_t flags;
	enum mitosis_hold_state state;
	uint32_t lease;		/* seconds left */
	bool leased;		/* false: held until released */
	uint64_t pages_held;
	uint64_t nregions;
	uint32_t npeers;
	uint32_t uid;		/* whose processes it is of; UINT32_MAX: of none yet */
	uint64_t age_ms;
};

struct mitosis_link_info {
	uint64_t snapshot;
	char peer_addr[MITOSIS_ADDR_LEN];
	char transport[8];
	enum mitosis_link_state state;
	uint32_t error;		/* positive errno; 0: none */
	uint32_t give_up;	/* seconds */
	uint32_t nattached;
	uint64_t age_ms;
	uint64_t down_ms;	/* 0: not down */
	uint64_t drain_ns;	/* since LINK_DRAIN; 0: not draining */
};

struct mitosis_attach_info {
	uint64_t snapshot;
	uint32_t mm;
	uint32_t pid;
	uint64_t pages_total;
	uint64_t pages_pending;
	uint64_t pages_fault;
	uint64_t pages_shared;
	uint64_t pages_drain;
	uint64_t pages_eager;
	uint64_t pages_dead;
	uint64_t pages_unreadable;	/* of pages_pending */
	uint32_t flags;			/* MITOSIS_ATTACH_F_MOVED */
	uint64_t drain_ns;
	uint64_t busy_ns;
	uint64_t pages_ahead;
	uint64_t pages_filled;		/* had from what mitosis_link_fill() has read */
	uint64_t latency[MITOSIS_LATENCY_MAX];	/* MITOSIS_A_LATENCY */
};

/*
 * Pages of address space mm that come from another snapshot: a part of its runs, or of its regions.
 */
struct mitosis_inherit_info {
	uint32_t mm;
	uint64_t parent;
	uint8_t key[MITOSIS_KEY_LEN];
	struct mitosis_where where;	/* the parent's */
	const struct mitosis_run *runs;
	size_t nruns;
	const struct mitosis_region *regions;
	size_t nregions;
};

struct mitosis_event_info {
	enum mitosis_event event;
	uint64_t snapshot;
	uint32_t mm;
	uint32_t pid;
	uint32_t error;		/* positive errno; 0: none */
};

/* NULL: errno is set and err (never NULL) has a sentence. The handle is not inherited over exec. */
MITOSIS_API struct mitosis *mitosis_open(char *err, size_t errlen);
MITOSIS_API void mitosis_close(struct mitosis *ctl);
MITOSIS_API const char *mitosis_error(const struct mitosis *ctl);

MITOSIS_API int mitosis_info(struct mitosis *ctl, struct mitosis_info *info);

#define MITOSIS_TRANSPORTS_LEN	32
/* Whether transports, "dct,rc" say, names transport. */
MITOSIS_API bool mitosis_transports_have(const char *transports, const char *transport);

/*
 * Those of transports ("dct,rc"; NULL: the module's setting) that are usable here; rc still needs
 * an address. insecure, here and below: see MITOSIS_F_INSECURE.
 */
MITOSIS_API int mitosis_usable(struct mitosis *ctl, const char *transports, bool insecure,
			       char usable[MITOSIS_TRANSPORTS_LEN]);

/* Runs the self-test of the memory hooks; -ENOTCONN: they do not work on this kernel. */
MITOSIS_API int mitosis_selftest(struct mitosis *ctl);

/*
 * stats has __MITOSIS_STAT_MAX elements, latency (may be NULL) MITOSIS_LATENCY_MAX; those that an
 * older module does not have are set to 0.
 */
MITOSIS_API int mitosis_stats(struct mitosis *ctl, uint64_t *stats, uint64_t *latency);

/*
 * A transport reads from itself, as from another machine, and is refused what it should be; addr
 * (may be NULL) is for rc and tcp. ns: what a READ of a page takes.
 */
MITOSIS_API int mitosis_transport_test(struct mitosis *ctl, const char *transport, bool insecure,
				       const char *addr, uint64_t *ns);

/*
 * Source. transports ("dct", "rc", "tcp" or several, "dct,rc", the best first), addr and name may
 * be NULL, lease 0. Without transports it is the module's setting; without addr not rc. flags:
 * MITOSIS_HOLD_F_*, MITOSIS_F_INSECURE.
 */
MITOSIS_API int mitosis_hold_create(struct mitosis *ctl, const char *transports, const char *addr,
				    const char *name, uint32_t lease, uint32_t flags,
				    uint64_t *snapshot, uint8_t key[MITOSIS_KEY_LEN],
				    struct mitosis_where *where);
/*
 * Pages that base, an earlier snapshot of this machine, has as well are left to it; the latest
 * first, before any address space.
 */
MITOSIS_API int mitosis_hold_base(struct mitosis *ctl, uint64_t snapshot, uint64_t base);
/* How many of a sealed snapshot's pages its processes have written to since, or given up. */
MITOSIS_API int mitosis_hold_changed(struct mitosis *ctl, uint64_t snapshot, uint64_t *pages);
/* clone may be NULL. */
MITOSIS_API int mitosis_hold_mm(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
				const struct mitosis_proc *proc, const struct mitosis_proc *clone);
/* Any number of runs. -ENOSPC, -EDQUOT: a limit of the machine's, or of the user's. */
MITOSIS_API int mitosis_hold_pages(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
				   const struct mitosis_run *runs, size_t nruns);
MITOSIS_API int mitosis_hold_seal(struct mitosis *ctl, uint64_t snapshot);
/* lease: seconds from now; 0: held until released. */
MITOSIS_API int mitosis_hold_extend(struct mitosis *ctl, uint64_t snapshot, uint32_t lease);
MITOSIS_API int mitosis_release(struct mitosis *ctl, uint64_t snapshot);
MITOSIS_API int mitosis_release_all(struct mitosis *ctl);

/*
 * Dumps: snapshot 0 stands for all (not for regions). A callback that returns non-zero is not
 * called again, and that is what the function returns. A callback must not use the same handle.
 */
typedef int (*mitosis_hold_cb)(const struct mitosis_hold_info *hold, void *arg);
typedef int (*mitosis_region_cb)(uint32_t mm, const struct mitosis_region *regions, size_t nregions,
				 void *arg);
typedef int (*mitosis_inherit_cb)(const struct mitosis_inherit_info *in, void *arg);
typedef int (*mitosis_link_cb)(const struct mitosis_link_info *link, void *arg);
typedef int (*mitosis_attach_cb)(const struct mitosis_attach_info *attach, void *arg);
typedef int (*mitosis_record_cb)(uint32_t mm, const struct mitosis_run *runs, size_t nruns,
				 void *arg);

MITOSIS_API int mitosis_hold_get(struct mitosis *ctl, uint64_t snapshot, mitosis_hold_cb cb,
				 void *arg);
/* One snapshot: 1 and *hold, 0 when it is not held here, or a negative errno. */
MITOSIS_API int mitosis_hold_find(struct mitosis *ctl, uint64_t snapshot,
				  struct mitosis_hold_info *hold);
MITOSIS_API int mitosis_region_get(struct mitosis *ctl, uint64_t snapshot, mitosis_region_cb cb,
				   void *arg);
/* What a snapshot does not hold itself. */
MITOSIS_API int mitosis_inherit_get(struct mitosis *ctl, uint64_t snapshot, mitosis_inherit_cb cb,
				    void *arg);
MITOSIS_API int mitosis_link_get(struct mitosis *ctl, uint64_t snapshot, mitosis_link_cb cb,
				 void *arg);
MITOSIS_API int mitosis_attach_get(struct mitosis *ctl, uint64_t snapshot, mitosis_attach_cb cb,
				   void *arg);
/* -ENOENT: there is no link to it. */
MITOSIS_API int mitosis_record_get(struct mitosis *ctl, uint64_t snapshot, mitosis_record_cb cb,
				   void *arg);

/*
 * Destination. addr may be NULL; give_up 0 is the module's default. Runs the self-test when that
 * has not been done.
 */
MITOSIS_API int mitosis_link_open(struct mitosis *ctl, uint64_t snapshot,
				  const uint8_t key[MITOSIS_KEY_LEN],
				  const struct mitosis_where *where, const char *addr,
				  uint32_t give_up);
MITOSIS_API int mitosis_link_drain(struct mitosis *ctl, uint64_t snapshot);
MITOSIS_API int mitosis_link_close(struct mitosis *ctl, uint64_t snapshot);
/*
 * Reads pages here before there is a process for them; at most MITOSIS_MAX_ARRAY runs and regions,
 * in which they are. pages: of them, what is here now and was not before, when it fails, too.
 * -EAGAIN: not all are here; nothing has come for two seconds, or this has gone on for one. The
 * same again goes on.
 */
MITOSIS_API int mitosis_link_fill(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
				  const struct mitosis_run *runs, size_t nruns,
				  const struct mitosis_region *regions, size_t nregions,
				  uint64_t *pages);
/*
 * Any number of runs and regions; either may be NULL with 0. parent: 0, or the snapshot that these
 * pages are inherited from, to which there must be a link.
 */
MITOSIS_API int mitosis_attach_add(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
				   uint64_t parent, const struct mitosis_run *runs, size_t nruns,
				   const struct mitosis_region *regions, size_t nregions);
/* Before it is armed: what MITOSIS_PREFETCH_RECORDED is to read. */
MITOSIS_API int mitosis_attach_record(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
				      const struct mitosis_run *runs, size_t nruns);
/* At most MITOSIS_MAX_ARRAY eager ranges and as many kept ones: -E2BIG otherwise. */
struct mitosis_arm {
	const struct mitosis_run *eager;
	size_t neager;
	const struct mitosis_keep *keep;
	size_t nkeep;
	uint32_t flags;		/* MITOSIS_ATTACH_F_* */
	enum mitosis_prefetch prefetch;
	uint32_t window;	/* pages; 0: the module's default */
};
MITOSIS_API int mitosis_attach_arm(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
				   const struct mitosis_proc *proc, const struct mitosis_arm *arm);

/*
 * Events. mitosis_event_fd() can be polled for reading. mitosis_event_next() waits timeout ms (-1:
 * for ever); -ETIMEDOUT: nothing came; -ENOBUFS: some were lost, look at the state.
 */
MITOSIS_API int mitosis_event_subscribe(struct mitosis *ctl);
MITOSIS_API int mitosis_event_fd(const struct mitosis *ctl);
MITOSIS_API int mitosis_event_next(struct mitosis *ctl, struct mitosis_event_info *event,
				   int timeout);

/*
 * "none", "window", "window=N", "sequential", "sequential=N" or "recorded"; -EINVAL when it is none
 * of these, or N is no window.
 */
MITOSIS_API int mitosis_prefetch_parse(const char *text, struct mitosis_arm *arm);

/* Names for people and for JSON; "unknown" for what a newer module may say. */
MITOSIS_API const char *mitosis_stat_name(unsigned int stat);
MITOSIS_API const char *mitosis_event_name(unsigned int event);
MITOSIS_API const char *mitosis_hold_state_name(unsigned int state);
MITOSIS_API const char *mitosis_link_state_name(unsigned int state);

/*
 * Looks a process up. -ESRCH: none or ending. With pidfd not NULL the caller gets the descriptor
 * (close-on-exec) and closes it.
 */
MITOSIS_API int mitosis_proc_get(pid_t pid, struct mitosis_proc *proc, int *pidfd);

/* What a process's own pid namespace calls it, and so CRIU's images do; 0: it has gone. */
MITOSIS_API uint32_t mitosis_proc_inner_pid(pid_t pid);

/* Field 22 of the text of a /proc/PID/stat; -EINVAL when it is none. */
MITOSIS_API int mitosis_proc_parse_start_time(const char *stat, uint64_t *start_time);

/*
 * Address, IPv4 before IPv6, of the network device that the first RDMA device works over; loopback
 * and link-local ones are left out. buf has MITOSIS_ADDR_LEN bytes. -ENODEV: there is none.
 */
MITOSIS_API int mitosis_default_addr(char *buf);

/* Whether a local network device with this numeric address has an RDMA device. */
MITOSIS_API bool mitosis_addr_has_rdma(const char *addr);

/*
 * Addresses of this machine that others may reach, those of the default route's network device
 * first, IPv4 before IPv6; loopback and link-local ones are left out. The number of them, at most
 * max, or a negative errno.
 */
MITOSIS_API int mitosis_local_addrs(char (*addrs)[MITOSIS_ADDR_LEN], size_t max);

/* Whether a local network device has this numeric address. */
MITOSIS_API bool mitosis_addr_is_local(const char *addr);

/*
 * fork() and exec() across machines. The caller needs CAP_SYS_ADMIN.
 *
 * mitosis_fork_prepare() takes a snapshot of the calling process under the handler @id, in place of
 * an earlier one of that id on this machine, and returns 0. In every child of it, it returns 1: all
 * threads go on from here, with the memory of the moment of the call. A negative errno: -ENOENT
 * mitosis-cli is not installed, -EIO it has said on standard error why not, -EAGAIN, -ENOMEM no
 * process can be started, -ETIMEDOUT nothing was heard for ten minutes. It must not be called by
 * pid 1 or a child subreaper, whose helper would be a part of it. Standard input, output and error
 * of a child are those of mitosis_fork_resume()'s caller where they are pipes or terminals. A
 * child's random numbers are its parent's and its siblings', unless it mixes in
 * /run/mitosis-child/id.
 *
 * mitosis_fork_resume() makes a child of the snapshot @id of @node, a host name that ssh knows or
 * NULL for this machine, and does not return: the caller becomes its keeper, passes SIGTERM and
 * SIGINT on to it, and ends with its exit status. It returns a negative errno when mitosis-cli
 * cannot be started. @flags: 0.
 */
#define MITOSIS_FORK_PIN	(1U << 0)	/* the snapshot stays when this process has ended */
#define MITOSIS_FORK_NAME	"fork-%u"	/* of the snapshot, for mitosis-cli */

MITOSIS_API int mitosis_fork_prepare(unsigned int id, unsigned int flags);
MITOSIS_API int mitosis_fork_resume(const char *node, unsigned int id, unsigned int flags);

#ifdef __cplusplus
}
#endif

#endif /* LIB_MITOSIS_H */
