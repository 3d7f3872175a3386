// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/capability.h>
#include <linux/inet.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched/task.h>
#include <linux/time_namespace.h>
#include <net/genetlink.h>
#include <net/ipv6.h>

#include "cache.h"
#include "compat.h"
#include "fill.h"
#include "hold.h"
#include "hooks.h"
#include "link.h"
#include "netlink.h"
#include "pager.h"
#include "stats.h"

#define NETLINK_MAX_SECONDS (366 * 86400)
#define ARRAY(t) { .type = NLA_BINARY, .len = MITOSIS_MAX_ARRAY * sizeof(t) }

static const struct nla_policy netlink_policy[MITOSIS_A_MAX + 1] = {
	[MITOSIS_A_SNAPSHOT]		= { .type = NLA_U64 },
	[MITOSIS_A_KEY]			= NLA_POLICY_EXACT_LEN(MITOSIS_KEY_LEN),
	[MITOSIS_A_NAME]		= { .type = NLA_NUL_STRING, .len = MITOSIS_NAME_LEN - 1 },
	[MITOSIS_A_ADDR]		= { .type = NLA_NUL_STRING, .len = 63 },
	[MITOSIS_A_PEER_ADDR]		= { .type = NLA_NUL_STRING, .len = 63 },
	[MITOSIS_A_PORT]		= NLA_POLICY_MIN(NLA_U16, 1),
	[MITOSIS_A_FLAGS]		= { .type = NLA_U32 },
	[MITOSIS_A_LEASE]		= { .type = NLA_U32 },
	[MITOSIS_A_GIVE_UP]		= NLA_POLICY_MIN(NLA_U32, 1),
	[MITOSIS_A_MM]			= NLA_POLICY_MIN(NLA_U32, 1),
	[MITOSIS_A_PID]			= { .type = NLA_U32 },
	[MITOSIS_A_START_TIME]		= { .type = NLA_U64 },
	[MITOSIS_A_CLONE_PID]		= { .type = NLA_U32 },
	[MITOSIS_A_CLONE_START_TIME]	= { .type = NLA_U64 },
	[MITOSIS_A_RUNS]		= ARRAY(struct mitosis_run),
	[MITOSIS_A_REGIONS]		= ARRAY(struct mitosis_region),
	[MITOSIS_A_EAGER]		= ARRAY(struct mitosis_run),
	[MITOSIS_A_KEEP]		= ARRAY(struct mitosis_keep),
	[MITOSIS_A_PARENT]		= { .type = NLA_U64 },
	[MITOSIS_A_PREFETCH]		= { .type = NLA_U32 },
	[MITOSIS_A_WINDOW]		= { .type = NLA_U32 },
	[MITOSIS_A_RECORD]		= ARRAY(struct mitosis_run),
	[MITOSIS_A_TRANSPORT]		= { .type = NLA_NUL_STRING, .len = XPRT_NAMES_LEN - 1 },
	[MITOSIS_A_DCT]			= NLA_POLICY_EXACT_LEN(sizeof(struct mitosis_dct)),
};

static struct genl_family netlink_family;

#define netlink_say(info, ret, text) ({ GENL_SET_ERR_MSG(info, text); (ret); })

static bool netlink_may(struct sk_buff *skb)
{
	return netlink_capable(skb, CAP_SYS_ADMIN);
}

static int netlink_need(struct genl_info *info, int attr)
{
	if (info->attrs[attr])
		return 0;
	NL_SET_ERR_ATTR_MISS(info->extack, NULL, attr);
	return netlink_say(info, -EINVAL, "a required attribute is missing");
}

static int netlink_addr(struct genl_info *info, int attr, u16 port, struct sockaddr_storage *ss)
{
	const char *text = nla_data(info->attrs[attr]);
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	if (inet_pton_with_scope(&init_net, AF_UNSPEC, text, service, ss))
		return netlink_say(info, -EINVAL,
				   "the address is not a numeric IPv4 or IPv6 address");
	return 0;
}

/* Elements in an array attribute, which must be whole ones. */
static int netlink_array(struct genl_info *info, int attr, size_t size, const void **data)
{
	struct nlattr *nla = info->attrs[attr];

	*data = NULL;
	if (!nla)
		return 0;
	if (nla_len(nla) % size)
		return netlink_say(info, -EINVAL, "an array attribute has a broken last element");
	*data = nla_data(nla);
	return nla_len(nla) / size;
}

/* What a message says of one address space's memory. */
struct netlink_memory {
	const void *runs, *regions;
	int nruns, nregions;
	u32 mm;
};

static int netlink_memory(struct genl_info *info, struct netlink_memory *m)
{
	int ret = netlink_need(info, MITOSIS_A_MM);

	if (ret)
		return ret;
	m->mm = nla_get_u32(info->attrs[MITOSIS_A_MM]);
	m->nruns = netlink_array(info, MITOSIS_A_RUNS, sizeof(struct mitosis_run), &m->runs);
	if (m->nruns < 0)
		return m->nruns;
	m->nregions =
		netlink_array(info, MITOSIS_A_REGIONS, sizeof(struct mitosis_region), &m->regions);
	return min(m->nregions, 0);
}

/* /proc/PID/stat's start time as the caller's time namespace shows it. */
static u64 netlink_start_time(struct task_struct *task)
{
	return div_u64(timens_add_boottime_ns(task->start_boottime), NSEC_PER_SEC / USER_HZ);
}

static struct task_struct *netlink_task(struct genl_info *info, int pid_attr, int time_attr)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	if (netlink_need(info, pid_attr) || netlink_need(info, time_attr))
		return ERR_PTR(-EINVAL);
	pid = find_get_pid(nla_get_u32(info->attrs[pid_attr]));
	if (pid)
		task = get_pid_task(pid, PIDTYPE_TGID);
	put_pid(pid);
	if (task && netlink_start_time(task) != nla_get_u64(info->attrs[time_attr])) {
		put_task_struct(task);
		task = NULL;
	}
	if (!task)
		return ERR_PTR(netlink_say(info, -ESRCH,
					   "there is no process with this pid and start time"));
	if (task == current->group_leader) {
		put_task_struct(task);
		return ERR_PTR(netlink_say(info, -EINVAL, "a process cannot name itself"));
	}
	return task;
}

static struct hold *netlink_hold(struct genl_info *info)
{
	struct hold *hold;

	if (netlink_need(info, MITOSIS_A_SNAPSHOT))
		return ERR_PTR(-EINVAL);
	hold = hold_get(nla_get_u64(info->attrs[MITOSIS_A_SNAPSHOT]));
	return hold ?: ERR_PTR(netlink_say(info, -ENOENT, "there is no such snapshot here"));
}

static struct link *netlink_link(struct genl_info *info)
{
	struct link *link;

	if (netlink_need(info, MITOSIS_A_SNAPSHOT))
		return ERR_PTR(-EINVAL);
	link = link_get(nla_get_u64(info->attrs[MITOSIS_A_SNAPSHOT]));
	if (link)
		return link;
	return ERR_PTR(netlink_say(info, -ENOENT, "there is no link to such a snapshot here"));
}

static struct sk_buff *netlink_reply_new(struct genl_info *info, u8 cmd, void **hdr)
{
	struct sk_buff *skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);

	if (!skb)
		return NULL;
	*hdr = genlmsg_put_reply(skb, info, &netlink_family, 0, cmd);
	if (!*hdr) {
		nlmsg_free(skb);
		return NULL;
	}
	return skb;
}

static int netlink_put_u64(struct sk_buff *skb, int attr, u64 value)
{
	return nla_put_u64_64bit(skb, attr, value, MITOSIS_A_PAD);
}

/* A descriptor has a port, be it of no use with dct. */
static u16 netlink_hold_port(const struct hold *hold)
{
	return xprt_port(&hold->where) ?: MITOSIS_PORT;
}

/* How a snapshot is reached besides by its address. */
static int netlink_put_where(struct sk_buff *skb, const struct mitosis_dct *dct, u16 port)
{
	if (nla_put_u16(skb, MITOSIS_A_PORT, port))
		return -EMSGSIZE;
	return dct->number ? nla_put(skb, MITOSIS_A_DCT, sizeof(*dct), dct) : 0;
}

static bool netlink_insecure(const struct genl_info *info)
{
	struct nlattr *flags = info->attrs[MITOSIS_A_FLAGS];

	return flags && nla_get_u32(flags) & MITOSIS_F_INSECURE;
}

static int netlink_info_get(struct sk_buff *req, struct genl_info *info)
{
	struct nlattr *names = info->attrs[MITOSIS_A_TRANSPORT];
	char usable[XPRT_NAMES_LEN];
	struct sk_buff *skb;
	void *hdr;

	xprt_usable(names ? nla_data(names) : NULL, netlink_insecure(info), usable, sizeof(usable));
	skb = netlink_reply_new(info, MITOSIS_CMD_INFO_GET, &hdr);
	if (!skb)
		return -ENOMEM;
	if (nla_put_string(skb, MITOSIS_A_VERSION, MITOSIS_VERSION) ||
	    nla_put_u8(skb, MITOSIS_A_HOOKS, hooks_ok()) ||
	    nla_put_string(skb, MITOSIS_A_TRANSPORT, usable)) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);
}

static int netlink_selftest(struct sk_buff *req, struct genl_info *info)
{
	hooks_selftest_begin();
	return 0;
}

static int netlink_say_unusable(struct genl_info *info, const char *names, int ret)
{
	if (ret == -EPROTONOSUPPORT)
		return netlink_say(info, ret,
				   "this transport is not loaded: modprobe mitosis_rc, mitosis_dct or mitosis_tcp");
	if (ret == -EPERM)
		return netlink_say(info, ret, XPRT_UNALLOWED);
	if (ret == -EADDRINUSE)
		return netlink_say(info, ret,
				   "another program listens on the TCP port of mitosis: end that, or load mitosis_tcp with another port=");
	if (ret == -EADDRNOTAVAIL && names && !strcmp(names, "tcp"))
		return netlink_say(info, ret, "no network device has this address: see ip addr");
	if (ret == -EOPNOTSUPP)
		return netlink_say(info, ret,
				   "the RDMA device lacks fast registration of 2 MiB: use another one");
	if (ret == -ENODEV && names && !strcmp(names, "dct"))
		return netlink_say(info, ret,
				   "no mlx5 port here can do that: mitosis-cli check --transport dct --loopback says why");
	if (ret == -EADDRNOTAVAIL && names && !strcmp(names, "dct"))
		return netlink_say(info, ret,
				   "no mlx5 port that can do that has this address: see rdma link, or name no address");
	if (ret == -EADDRNOTAVAIL || ret == -ENODEV)
		return netlink_say(info, ret,
				   "no RDMA device has this address: see rdma link and ip addr");
	return ret;
}

static int netlink_xprt_test(struct sk_buff *req, struct genl_info *info)
{
	struct nlattr **a = info->attrs;
	struct sockaddr_storage addr;
	char why[192] = "";
	struct sk_buff *skb;
	void *hdr;
	u64 ns;
	int ret;

	ret = netlink_need(info, MITOSIS_A_TRANSPORT);
	if (!ret && a[MITOSIS_A_ADDR])
		ret = netlink_addr(info, MITOSIS_A_ADDR, 0, &addr);
	if (ret)
		return ret;
	ret = xprt_test(nla_data(a[MITOSIS_A_TRANSPORT]), netlink_insecure(info),
			a[MITOSIS_A_ADDR] ? &addr : NULL, &ns, why, sizeof(why));
	skb = netlink_reply_new(info, MITOSIS_CMD_XPRT_TEST, &hdr);
	if (!skb)
		return -ENOMEM;
	if (ret)
		ret = nla_put_u32(skb, MITOSIS_A_ERROR, -ret) ?:
		      nla_put_string(skb, MITOSIS_A_WHY, why);
	else
		ret = netlink_put_u64(skb, MITOSIS_A_NS, ns);
	if (ret) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);
}

static int netlink_hold_create(struct sk_buff *req, struct genl_info *info)
{
	const char *transports;
	struct sockaddr_storage addr;
	struct nlattr **a = info->attrs;
	struct hold *hold;
	struct sk_buff *skb;
	void *hdr;
	int ret;

	ret = a[MITOSIS_A_ADDR] ? netlink_addr(info, MITOSIS_A_ADDR, 0, &addr) : 0;
	if (ret)
		return ret;
	if (a[MITOSIS_A_LEASE] && nla_get_u32(a[MITOSIS_A_LEASE]) > NETLINK_MAX_SECONDS)
		return netlink_say(info, -ERANGE, "the lease is longer than a year");
	if (a[MITOSIS_A_FLAGS] &&
	    nla_get_u32(a[MITOSIS_A_FLAGS]) & ~(MITOSIS_HOLD_F_ONESHOT | MITOSIS_HOLD_F_FOLLOW |
						MITOSIS_HOLD_F_PRECOPY | MITOSIS_F_INSECURE))
		return netlink_say(info, -EINVAL, "unknown flags");
	transports = a[MITOSIS_A_TRANSPORT] ? nla_data(a[MITOSIS_A_TRANSPORT]) : NULL;
	hold = hold_create(transports, a[MITOSIS_A_ADDR] ? &addr : NULL,
			   a[MITOSIS_A_ADDR] ? nla_data(a[MITOSIS_A_ADDR]) : NULL,
			   a[MITOSIS_A_NAME] ? nla_data(a[MITOSIS_A_NAME]) : NULL,
			   a[MITOSIS_A_LEASE] ? nla_get_u32(a[MITOSIS_A_LEASE]) : 0,
			   a[MITOSIS_A_FLAGS] ? nla_get_u32(a[MITOSIS_A_FLAGS]) : 0,
			   info->snd_portid);
	if (IS_ERR(hold))
		return netlink_say_unusable(info, transports, PTR_ERR(hold));
	skb = netlink_reply_new(info, MITOSIS_CMD_HOLD_CREATE, &hdr);
	if (!skb) {
		ret = -ENOMEM;
		goto err;
	}
	if (nla_put_u64_64bit(skb, MITOSIS_A_SNAPSHOT, hold->id, MITOSIS_A_PAD) ||
	    nla_put(skb, MITOSIS_A_KEY, sizeof(hold->key), hold->key) ||
	    nla_put_string(skb, MITOSIS_A_TRANSPORT, hold->transport) ||
	    netlink_put_where(skb, &hold->where.dct, netlink_hold_port(hold))) {
		nlmsg_free(skb);
		ret = -EMSGSIZE;
		goto err;
	}
	genlmsg_end(skb, hdr);
	ret = genlmsg_reply(skb, info);
err:
	if (ret)
		hold_release(hold, -ret);
	hold_put(hold);
	return ret;
}

static int netlink_hold_base(struct sk_buff *req, struct genl_info *info)
{
	struct hold *hold, *base;
	int ret;

	ret = netlink_need(info, MITOSIS_A_PARENT);
	if (ret)
		return ret;
	hold = netlink_hold(info);
	if (IS_ERR(hold))
		return PTR_ERR(hold);
	base = hold_get(nla_get_u64(info->attrs[MITOSIS_A_PARENT]));
	if (base) {
		ret = hold_add_base(hold, base);
		hold_put(base);
		if (ret == -EINVAL)
			GENL_SET_ERR_MSG(info, "the earlier snapshot is not sealed");
		else if (ret == -EBUSY)
			GENL_SET_ERR_MSG(info, "the snapshot is of an address space already");
		else if (ret == -E2BIG)
			GENL_SET_ERR_MSG(info, "there are too many earlier snapshots");
	} else {
		ret = netlink_say(info, -ENOENT, "there is no such earlier snapshot here any more");
	}
	hold_put(hold);
	return ret;
}

/* A reply to @cmd that has one number; @error, unless it is 0, is what has kept it from its end. */
static int netlink_reply_u64(struct genl_info *info, u8 cmd, int attr, u64 value, int error)
{
	struct sk_buff *skb;
	void *hdr;

	skb = netlink_reply_new(info, cmd, &hdr);
	if (!skb)
		return -ENOMEM;
	if (netlink_put_u64(skb, attr, value) ||
	    (error && nla_put_u32(skb, MITOSIS_A_ERROR, -error))) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);
}

static int netlink_hold_changed(struct sk_buff *req, struct genl_info *info)
{
	struct hold *hold = netlink_hold(info);
	u64 npages;
	int ret;

	if (IS_ERR(hold))
		return PTR_ERR(hold);
	ret = hold_changed(hold, &npages);
	hold_put(hold);
	if (ret == -EBUSY)
		return netlink_say(info, ret, "the snapshot is not sealed");
	if (ret)
		return ret;
	return netlink_reply_u64(info, MITOSIS_CMD_HOLD_CHANGED, MITOSIS_A_PAGES_CHANGED, npages,
				 0);
}

static int netlink_hold_mm(struct sk_buff *req, struct genl_info *info)
{
	struct task_struct *task, *clone = NULL;
	struct hold *hold;
	int ret;

	ret = netlink_need(info, MITOSIS_A_MM);
	if (ret)
		return ret;
	hold = netlink_hold(info);
	if (IS_ERR(hold))
		return PTR_ERR(hold);
	task = netlink_task(info, MITOSIS_A_PID, MITOSIS_A_START_TIME);
	ret = PTR_ERR_OR_ZERO(task);
	if (ret)
		goto out_hold;
	if (info->attrs[MITOSIS_A_CLONE_PID]) {
		clone = netlink_task(info, MITOSIS_A_CLONE_PID, MITOSIS_A_CLONE_START_TIME);
		ret = PTR_ERR_OR_ZERO(clone);
		if (ret)
			goto out_task;
	}
	ret = hold_add_mm(hold, nla_get_u32(info->attrs[MITOSIS_A_MM]), task, clone);
	if (ret == -EBUSY)
		GENL_SET_ERR_MSG(info, "the snapshot is sealed");
	else if (ret == -EEXIST)
		GENL_SET_ERR_MSG(info, "this address space is in the snapshot already");
	else if (ret == -EXDEV)
		GENL_SET_ERR_MSG(info,
				 "the process has moved pages that are not here yet: wait until it has drained");
	else if (ret == -E2BIG)
		GENL_SET_ERR_MSG(info,
				 "the process misses pages of too many snapshots: wait until it has drained");
	else if (ret == -EREMOTEIO || ret == -ESHUTDOWN)
		GENL_SET_ERR_MSG(info, "the process misses pages that cannot be had any more");
	if (clone)
		put_task_struct(clone);
out_task:
	put_task_struct(task);
out_hold:
	hold_put(hold);
	return ret;
}

static int netlink_hold_pages(struct sk_buff *req, struct genl_info *info)
{
	struct hold *hold;
	const void *runs;
	int ret, n;

	ret = netlink_need(info, MITOSIS_A_MM) ?: netlink_need(info, MITOSIS_A_RUNS);
	if (ret)
		return ret;
	n = netlink_array(info, MITOSIS_A_RUNS, sizeof(struct mitosis_run), &runs);
	if (n < 0)
		return n;
	hold = netlink_hold(info);
	if (IS_ERR(hold))
		return PTR_ERR(hold);
	ret = hold_add_pages(hold, nla_get_u32(info->attrs[MITOSIS_A_MM]), runs, n);
	if (ret == -EINVAL)
		GENL_SET_ERR_MSG(info,
				 "the runs are not ascending whole pages of user address space");
	else if (ret == -EFAULT)
		GENL_SET_ERR_MSG(info, "a page of the process cannot be read");
	else if (ret == -ENOSPC)
		GENL_SET_ERR_MSG(info,
				 "the snapshots would hold more than the module's max_held_mb: release one, or raise it");
	else if (ret == -EDQUOT)
		GENL_SET_ERR_MSG(info,
				 "the user's snapshots would hold more than the module's max_held_user_mb: release one, or raise it");
	else if (ret == -ENOENT)
		GENL_SET_ERR_MSG(info, "this address space is not in the snapshot");
	hold_put(hold);
	return ret;
}

static int netlink_hold_seal(struct sk_buff *req, struct genl_info *info)
{
	struct hold *hold = netlink_hold(info);
	int ret;

	if (IS_ERR(hold))
		return PTR_ERR(hold);
	ret = hold_seal(hold);
	if (ret == -EBUSY)
		GENL_SET_ERR_MSG(info, "the snapshot is sealed or released");
	else if (ret == -ESTALE)
		GENL_SET_ERR_MSG(info,
				 "an earlier snapshot that has some of its pages has been released meanwhile: begin anew");
	hold_put(hold);
	return ret;
}

static int netlink_hold_extend(struct sk_buff *req, struct genl_info *info)
{
	struct nlattr *lease = info->attrs[MITOSIS_A_LEASE];
	struct hold *hold = netlink_hold(info);
	int ret;

	if (IS_ERR(hold))
		return PTR_ERR(hold);
	if (lease && nla_get_u32(lease) > NETLINK_MAX_SECONDS)
		ret = netlink_say(info, -ERANGE, "the lease is longer than a year");
	else
		ret = hold_extend(hold, lease ? nla_get_u32(lease) : 0);
	hold_put(hold);
	return ret;
}

static int netlink_release(struct sk_buff *req, struct genl_info *info)
{
	struct hold *hold;
	int ret;

	if (info->attrs[MITOSIS_A_FLAGS] &&
	    nla_get_u32(info->attrs[MITOSIS_A_FLAGS]) == MITOSIS_RELEASE_ALL) {
		hold_release_all();
		return 0;
	}
	hold = netlink_hold(info);
	if (IS_ERR(hold))
		return PTR_ERR(hold);
	ret = hold_release_unpinned(hold);
	if (ret == -EBUSY)
		GENL_SET_ERR_MSG(info,
				 "a later snapshot, of a process that was moved with pre-copy, has pages in it: release that one, and this goes with it");
	hold_put(hold);
	return ret;
}

/* What a descriptor says of a DC target. */
static int netlink_dct(struct genl_info *info, struct mitosis_dct *dct, char *text, size_t len)
{
	const struct mitosis_dct *said = nla_data(info->attrs[MITOSIS_A_DCT]);

	if (!said->number || said->number >> 24 || said->mtu < 1 || said->mtu > 5 ||
	    (said->link != MITOSIS_DCT_IB && said->link != MITOSIS_DCT_ROCE))
		return netlink_say(info, -EINVAL, "this is no DC target");
	memcpy(dct, said, sizeof(*dct));
	xprt_dct_text(dct, text, len);
	return 0;
}

/* How transport @name has not led to the source. */
static int netlink_say_not_reached(struct genl_info *info, const char *name, int ret)
{
	bool dct = !strcmp(name, "dct"), tcp = !strcmp(name, "tcp");

	switch (ret) {
	case -EPROTONOSUPPORT:
		if (tcp)
			return netlink_say(info, ret,
					   "the source offers it over transport tcp, which is not loaded here: modprobe mitosis_tcp");
		if (!dct)
			return netlink_say(info, ret,
					   "the source offers it over transport rc, which is not loaded here: modprobe mitosis_rc");
		return netlink_say(info, ret,
				   "the source offers it over transport dct, which is not loaded here: modprobe mitosis_dct, or --transport rc there");
	case -EPERM:
		return netlink_say(info, ret, XPRT_UNALLOWED);
	case -ENOPKG:
		return netlink_say(info, ret, XPRT_NO_TLSHD);
	case -EREMOTEIO:
		return netlink_say(info, ret,
				   "nobody at the source does TLS handshakes: install ktls-utils there and start tlshd");
	case -EKEYREJECTED:
		return netlink_say(info, ret,
				   "the TLS handshake with the source fails, or does not end: the log of tlshd, on both sides, says why; there, it has to be started after module nvme-keyring has been loaded (systemctl restart tlshd)");
	case -ENODEV:
		if (dct)
			return netlink_say(info, ret,
					   "the source offers it over transport dct, and no mlx5 port here can do that: see dmesg, or --transport rc there");
		if (tcp)
			return netlink_say(info, ret,
					   "no network device here has the address from which it is to be read: see ip addr");
		return netlink_say(info, ret,
				   "no RDMA device leads to this address: see rdma link and ip route");
	case -ECONNREFUSED:
		if (tcp)
			return netlink_say(info, ret,
					   "nobody listens there, or does not show the key, or has no room: load mitosis_tcp of this version at the source, see dmesg on both sides");
		return netlink_say(info, ret,
				   "nobody listens there: load the module of this version at the source");
	case -ETIMEDOUT:
		if (dct)
			return netlink_say(info, ret,
					   "the source does not answer over RDMA: see its port with rdma link, and the cabling");
		if (tcp)
			return netlink_say(info, ret,
					   "the source does not answer: does its firewall let this TCP port through?");
		return netlink_say(info, ret,
				   "the source does not answer over RDMA: see its firewall and rdma link");
	case -EHOSTUNREACH:
		if (dct)
			return netlink_say(info, ret,
					   "no mlx5 port here leads to the source: it has to be of the same kind, subnet and MTU, see dmesg and rdma link");
		if (tcp)
			return netlink_say(info, ret,
					   "the source cannot be reached at this address: see ip route and ip neigh");
		return netlink_say(info, ret,
				   "the source cannot be reached at this address: see ip neigh and rdma link");
	}
	return ret;
}

static int netlink_say_not_opened(struct genl_info *info, const char *name, int ret)
{
	switch (ret) {
	case -EACCES:
		return netlink_say(info, ret, "the source has no such snapshot or refuses the key");
	case -EEXIST:
		return netlink_say(info, ret, "a link to this snapshot is open already");
	case -ESHUTDOWN:
		return netlink_say(info, ret,
				   "the link to it has been given up, and processes of it still run here: end them");
	case -EBUSY:
		return netlink_say(info, ret,
				   "another restore of it is still connecting, or ending: try again");
	}
	return netlink_say_not_reached(info, name, ret);
}

static int netlink_link_open(struct sk_buff *req, struct genl_info *info)
{
	struct sockaddr_storage local;
	struct xprt_addr peer = {};
	struct nlattr **a = info->attrs;
	const char *transport;
	char text[64];
	struct link *link;
	int ret;

	ret = netlink_need(info, MITOSIS_A_SNAPSHOT) ?: netlink_need(info, MITOSIS_A_KEY);
	if (!ret && a[MITOSIS_A_ADDR])
		ret = netlink_addr(info, MITOSIS_A_ADDR, 0, &local);
	if (ret)
		return ret;
	if (a[MITOSIS_A_GIVE_UP] && nla_get_u32(a[MITOSIS_A_GIVE_UP]) > NETLINK_MAX_SECONDS)
		return netlink_say(info, -ERANGE, "the time to give up is longer than a year");
	if (!hooks_ok())
		return netlink_say(info, -ENOTCONN,
				   "the self-test of the memory hooks has not passed on this kernel");
	ret = a[MITOSIS_A_DCT] ? netlink_dct(info, &peer.dct, text, sizeof(text)) :
	      netlink_need(info, MITOSIS_A_PEER_ADDR) ?: netlink_need(info, MITOSIS_A_PORT) ?:
	      netlink_addr(info, MITOSIS_A_PEER_ADDR, nla_get_u16(a[MITOSIS_A_PORT]), &peer.ip);
	if (ret)
		return ret;
	transport = a[MITOSIS_A_TRANSPORT] ? nla_data(a[MITOSIS_A_TRANSPORT]) :
		    a[MITOSIS_A_DCT] ? "dct" : "rc";
	if (!strcmp(transport, "dct") != !!a[MITOSIS_A_DCT])
		return netlink_say(info, -EINVAL, "transport dct, and no other, needs a DC target");
	if (strlen(transport) >= XPRT_NAME_LEN)
		return netlink_say(info, -EINVAL, "a link has one transport");
	link = link_open(info->snd_portid, nla_get_u64(a[MITOSIS_A_SNAPSHOT]),
			 nla_data(a[MITOSIS_A_KEY]), transport, netlink_insecure(info),
			 a[MITOSIS_A_ADDR] ? &local : NULL, &peer,
			 a[MITOSIS_A_DCT] ? text : nla_data(a[MITOSIS_A_PEER_ADDR]),
			 a[MITOSIS_A_GIVE_UP] ? nla_get_u32(a[MITOSIS_A_GIVE_UP]) :
			 MITOSIS_GIVE_UP_DEFAULT);
	memzero_explicit(&peer, sizeof(peer));
	if (!IS_ERR(link)) {
		link_put(link);
		return 0;
	}
	return netlink_say_not_opened(info, transport, PTR_ERR(link));
}

static int netlink_link_drain(struct sk_buff *req, struct genl_info *info)
{
	struct link *link = netlink_link(info);
	int ret;

	if (IS_ERR(link))
		return PTR_ERR(link);
	ret = link_drain(link);
	link_put(link);
	return ret;
}

static int netlink_link_close(struct sk_buff *req, struct genl_info *info)
{
	struct link *link = netlink_link(info);
	int ret;

	if (IS_ERR(link))
		return PTR_ERR(link);
	ret = link_close(link, info->snd_portid);
	if (ret == -EBUSY)
		GENL_SET_ERR_MSG(info, "processes are attached to this link, or about to be");
	link_put(link);
	return ret;
}

static int netlink_link_fill(struct sk_buff *req, struct genl_info *info)
{
	struct netlink_memory m;
	struct link *link;
	u64 npages;
	int ret;

	ret = netlink_memory(info, &m);
	if (ret)
		return ret;
	if (link_check_runs(NULL, 0, m.runs, m.nruns) ||
	    link_check_regions(NULL, 0, m.regions, m.nregions))
		return netlink_say(info, -EINVAL,
				   "runs or regions are not ascending whole pages of user address space");
	link = netlink_link(info);
	if (IS_ERR(link))
		return PTR_ERR(link);
	ret = fill(link, m.mm, m.runs, m.nruns, m.regions, m.nregions, &npages);
	link_put(link);
	if (ret == -ENOLINK)
		return netlink_say(info, ret, "the link to the source is lost for good, see dmesg");
	if (ret == -EINVAL)
		return netlink_say(info, ret, "a page of the runs is in no region");
	if (ret && ret != -EAGAIN)
		return ret;
	return netlink_reply_u64(info, MITOSIS_CMD_LINK_FILL, MITOSIS_A_PAGES_FILLED, npages, ret);
}

static int netlink_attach_add(struct sk_buff *req, struct genl_info *info)
{
	struct netlink_memory m;
	struct nlattr *parent;
	const void *record;
	struct link *link;
	int ret, nrecord;

	ret = netlink_memory(info, &m);
	if (ret)
		return ret;
	nrecord = netlink_array(info, MITOSIS_A_RECORD, sizeof(struct mitosis_run), &record);
	if (nrecord < 0)
		return nrecord;
	link = netlink_link(info);
	if (IS_ERR(link))
		return PTR_ERR(link);
	parent = info->attrs[MITOSIS_A_PARENT];
	ret = link_add(link, info->snd_portid, m.mm, parent ? nla_get_u64(parent) : 0, m.runs,
		       m.nruns, m.regions, m.nregions, record, nrecord);
	if (ret == -EINVAL)
		GENL_SET_ERR_MSG(info,
				 "runs or regions are not ascending whole pages of user address space");
	link_put(link);
	return ret;
}

static int netlink_policy_get(struct genl_info *info, struct pager_policy *p)
{
	struct nlattr **a = info->attrs;
	u32 prefetch = a[MITOSIS_A_PREFETCH] ? nla_get_u32(a[MITOSIS_A_PREFETCH]) :
					       MITOSIS_PREFETCH_NONE;

	p->flags = a[MITOSIS_A_FLAGS] ? nla_get_u32(a[MITOSIS_A_FLAGS]) : 0;
	if (p->flags & ~(MITOSIS_ATTACH_F_CACHE | MITOSIS_ATTACH_F_DRAIN | MITOSIS_ATTACH_F_RECORD))
		return netlink_say(info, -EINVAL, "unknown flags");
	if (prefetch >= __MITOSIS_PREFETCH_MAX)
		return netlink_say(info, -EINVAL, "unknown prefetch policy");
	p->prefetch = prefetch;
	p->window = prefetch == MITOSIS_PREFETCH_SEQUENTIAL ? MITOSIS_WINDOW_MAX :
							      MITOSIS_WINDOW_DEFAULT;
	if (!a[MITOSIS_A_WINDOW])
		return 0;
	if (prefetch != MITOSIS_PREFETCH_WINDOW && prefetch != MITOSIS_PREFETCH_SEQUENTIAL)
		return netlink_say(info, -EINVAL,
				   "a window is for the prefetch policies window and sequential");
	p->window = nla_get_u32(a[MITOSIS_A_WINDOW]);
	if (p->window > MITOSIS_WINDOW_MAX || !is_power_of_2(p->window))
		return netlink_say(info, -ERANGE,
				   "the window must be a power of two and not more than 32 pages");
	return 0;
}

static int netlink_attach_arm(struct sk_buff *req, struct genl_info *info)
{
	const void *eager, *keep;
	struct pager_policy policy;
	struct task_struct *task;
	struct link *link;
	int ret, neager, nkeep;

	ret = netlink_need(info, MITOSIS_A_MM) ?: netlink_policy_get(info, &policy);
	if (ret)
		return ret;
	neager = netlink_array(info, MITOSIS_A_EAGER, sizeof(struct mitosis_run), &eager);
	if (neager < 0)
		return neager;
	nkeep = netlink_array(info, MITOSIS_A_KEEP, sizeof(struct mitosis_keep), &keep);
	if (nkeep < 0)
		return nkeep;
	link = netlink_link(info);
	if (IS_ERR(link))
		return PTR_ERR(link);
	task = netlink_task(info, MITOSIS_A_PID, MITOSIS_A_START_TIME);
	ret = PTR_ERR_OR_ZERO(task);
	if (ret)
		goto out;
	ret = pager_arm(link, info->snd_portid, nla_get_u32(info->attrs[MITOSIS_A_MM]), task, eager,
			neager, keep, nkeep, &policy);
	if (ret == -ENOENT)
		GENL_SET_ERR_MSG(info, "nothing was added for this address space");
	else if (ret == -EEXIST)
		GENL_SET_ERR_MSG(info, "the process is attached already");
	else if (ret == -EINVAL)
		GENL_SET_ERR_MSG(info,
				 "a page of the runs is in no region, or is to come from two snapshots");
	else if (ret == -ENOTCONN)
		GENL_SET_ERR_MSG(info,
				 "there is no link to a snapshot that pages are inherited from");
	else if (ret == -E2BIG)
		GENL_SET_ERR_MSG(info, "pages are inherited from too many snapshots");
	else if (ret == -EFAULT)
		GENL_SET_ERR_MSG(info,
				 "the process does not have the mappings that the snapshot is of");
	else if (ret)
		GENL_SET_ERR_MSG(info, "the first pages could not be read from the source");
	put_task_struct(task);
out:
	link_put(link);
	return ret;
}

static int netlink_put_latency(struct sk_buff *skb, const struct latency *l)
{
	u64 faults[MITOSIS_LATENCY_MAX];
	int i;

	for (i = 0; i < MITOSIS_LATENCY_MAX; i++)
		faults[i] = atomic_long_read(&l->faults[i]);
	return nla_put(skb, MITOSIS_A_LATENCY, sizeof(faults), faults);
}

static int netlink_stats_get(struct sk_buff *req, struct genl_info *info)
{
	u64 stats[__MITOSIS_STAT_MAX];
	struct sk_buff *skb;
	void *hdr;
	int i;

	for (i = 0; i < __MITOSIS_STAT_MAX; i++)
		stats[i] = mitosis_stat_get(i);
	stats[MITOSIS_STAT_CACHE_PAGES] = cache_pages();
	skb = netlink_reply_new(info, MITOSIS_CMD_STATS_GET, &hdr);
	if (!skb)
		return -ENOMEM;
	if (nla_put(skb, MITOSIS_A_STATS, sizeof(stats), stats) ||
	    netlink_put_latency(skb, &mitosis_latency)) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return genlmsg_reply(skb, info);
}

/*
 * Dumps: cb->args[0] counts the objects that have been sent. An object that comes or goes between
 * two messages can make a listing miss another one; listings are for people.
 */
struct netlink_dump {
	struct sk_buff *skb;
	struct netlink_callback *cb;
	u64 snapshot;			/* 0: all */
	long seen;
};

static int netlink_dump_begin(struct netlink_callback *cb)
{
	return netlink_may(cb->skb) ? 0 : -EPERM;
}

static u64 netlink_dump_snapshot(struct netlink_callback *cb)
{
	struct nlattr *nla = compat_dump_attrs(cb)[MITOSIS_A_SNAPSHOT];

	return nla ? nla_get_u64(nla) : 0;
}

static void *netlink_dump_put(struct netlink_dump *d, u8 cmd)
{
	return genlmsg_put(d->skb, NETLINK_CB(d->cb->skb).portid, d->cb->nlh->nlmsg_seq,
			   &netlink_family, NLM_F_MULTI, cmd);
}

static int netlink_dump_hold(struct hold *hold, void *arg)
{
	struct netlink_dump *d = arg;
	struct sk_buff *skb = d->skb;
	u64 now = ktime_get_ns(), expires = READ_ONCE(hold->expires_ns);
	void *hdr;

	if ((d->snapshot && d->snapshot != hold->id) || d->seen++ < d->cb->args[0])
		return 0;
	hdr = netlink_dump_put(d, MITOSIS_CMD_HOLD_GET);
	if (!hdr)
		return 1;
	if (netlink_put_u64(skb, MITOSIS_A_SNAPSHOT, hold->id) ||
	    nla_put_string(skb, MITOSIS_A_NAME, hold->name) ||
	    nla_put_string(skb, MITOSIS_A_ADDR, hold->addr) ||
	    nla_put_u16(skb, MITOSIS_A_PORT, netlink_hold_port(hold)) ||
	    nla_put_string(skb, MITOSIS_A_TRANSPORT, hold->transport) ||
	    nla_put_u32(skb, MITOSIS_A_FLAGS, hold->flags) ||
	    nla_put_u32(skb, MITOSIS_A_STATE, READ_ONCE(hold->state)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_HELD, READ_ONCE(hold->npages)) ||
	    netlink_put_u64(skb, MITOSIS_A_NREGIONS, READ_ONCE(hold->nregions)) ||
	    nla_put_u32(skb, MITOSIS_A_NPEERS, atomic_read(&hold->npeers)) ||
	    (uid_valid(hold->uid) &&
	     nla_put_u32(skb, MITOSIS_A_UID, from_kuid(&init_user_ns, hold->uid))) ||
	    netlink_put_u64(skb, MITOSIS_A_AGE_MS, (now - hold->created_ns) / NSEC_PER_MSEC) ||
	    (expires && nla_put_u32(skb, MITOSIS_A_LEASE,
				    expires > now ? (expires - now) / NSEC_PER_SEC : 0))) {
		genlmsg_cancel(skb, hdr);
		return 1;
	}
	genlmsg_end(skb, hdr);
	d->cb->args[0]++;
	return 0;
}

static int netlink_dump_link(struct link *link, void *arg)
{
	struct netlink_dump *d = arg;
	struct sk_buff *skb = d->skb;
	u64 now = ktime_get_ns(), down = READ_ONCE(link->down_ns);
	u64 drain = READ_ONCE(link->drain_ns);
	void *hdr;

	if ((d->snapshot && d->snapshot != link->id) || d->seen++ < d->cb->args[0])
		return 0;
	hdr = netlink_dump_put(d, MITOSIS_CMD_LINK_GET);
	if (!hdr)
		return 1;
	if (netlink_put_u64(skb, MITOSIS_A_SNAPSHOT, link->id) ||
	    nla_put_string(skb, MITOSIS_A_PEER_ADDR, link->peer_text) ||
	    nla_put_string(skb, MITOSIS_A_TRANSPORT, link->transport) ||
	    nla_put_u32(skb, MITOSIS_A_STATE, READ_ONCE(link->state)) ||
	    nla_put_u32(skb, MITOSIS_A_ERROR, READ_ONCE(link->error)) ||
	    nla_put_u32(skb, MITOSIS_A_GIVE_UP, link->give_up) ||
	    nla_put_u32(skb, MITOSIS_A_NATTACHED, READ_ONCE(link->nattached)) ||
	    netlink_put_u64(skb, MITOSIS_A_AGE_MS, (now - link->created_ns) / NSEC_PER_MSEC) ||
	    netlink_put_u64(skb, MITOSIS_A_DOWN_MS, down ? (now - down) / NSEC_PER_MSEC : 0) ||
	    (drain && netlink_put_u64(skb, MITOSIS_A_DRAIN_NS, now - drain))) {
		genlmsg_cancel(skb, hdr);
		return 1;
	}
	genlmsg_end(skb, hdr);
	d->cb->args[0]++;
	return 0;
}

/* As the caller's pid namespace has it; 0: not at all. */
static u32 netlink_pid(u32 pid)
{
	u32 nr;

	rcu_read_lock();
	nr = pid_nr_ns(find_pid_ns(pid, &init_pid_ns), task_active_pid_ns(current));
	rcu_read_unlock();
	return nr;
}

static int netlink_dump_attach_one(struct netlink_dump *d, struct attach *at)
{
	struct sk_buff *skb = d->skb;
	u64 now = ktime_get_ns(), drain = READ_ONCE(at->drain_ns);
	u64 drained = READ_ONCE(at->drained_ns);
	void *hdr;

	if (d->seen++ < d->cb->args[0])
		return 0;
	hdr = netlink_dump_put(d, MITOSIS_CMD_ATTACH_GET);
	if (!hdr)
		return 1;
	if (netlink_put_u64(skb, MITOSIS_A_SNAPSHOT, at->link->id) ||
	    nla_put_u32(skb, MITOSIS_A_MM, at->mm_id) ||
	    nla_put_u32(skb, MITOSIS_A_PID, netlink_pid(pager_pid(at))) ||
	    nla_put_u32(skb, MITOSIS_A_FLAGS,
			mtree_empty(&at->moved) ? 0 : MITOSIS_ATTACH_F_MOVED) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_UNREADABLE, pager_nunreadable(at)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_TOTAL, at->ntotal) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_PENDING, atomic_long_read(&at->npending)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_FAULT, atomic_long_read(&at->nfault)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_SHARED, atomic_long_read(&at->nshared)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_DRAIN, atomic_long_read(&at->ndrain)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_EAGER, atomic_long_read(&at->neager)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_DEAD, atomic_long_read(&at->ndead)) ||
	    netlink_put_u64(skb, MITOSIS_A_BUSY_NS, READ_ONCE(at->busy_ns)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_AHEAD, atomic_long_read(&at->nahead)) ||
	    netlink_put_u64(skb, MITOSIS_A_PAGES_FILLED, atomic_long_read(&at->nfilled)) ||
	    netlink_put_latency(skb, &at->latency) ||
	    (drain && netlink_put_u64(skb, MITOSIS_A_DRAIN_NS, (drained ?: now) - drain))) {
		genlmsg_cancel(skb, hdr);
		return 1;
	}
	genlmsg_end(skb, hdr);
	d->cb->args[0]++;
	return 0;
}

static int netlink_dump_attach(struct link *link, void *arg)
{
	struct netlink_dump *d = arg;
	struct attach_link *al;
	int ret = 0;

	if (d->snapshot && d->snapshot != link->id)
		return 0;
	mutex_lock(&link->mutex);
	list_for_each_entry(al, &link->attached, list) {
		/* what only inherits from it is another's */
		if (al->at->link == link)
			ret = netlink_dump_attach_one(d, al->at);
		if (ret)
			break;
	}
	mutex_unlock(&link->mutex);
	return ret;
}

static int netlink_dump_cut(struct attach *at, void *arg)
{
	struct netlink_dump *d = arg;

	if (!at->cut || (d->snapshot && d->snapshot != at->link->id))
		return 0;
	return netlink_dump_attach_one(d, at);
}

static int netlink_hold_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netlink_dump d = { .skb = skb, .cb = cb, .snapshot = netlink_dump_snapshot(cb) };

	hold_for_each(netlink_dump_hold, &d);
	return skb->len;
}

static int netlink_link_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netlink_dump d = { .skb = skb, .cb = cb, .snapshot = netlink_dump_snapshot(cb) };

	link_for_each(netlink_dump_link, &d);
	return skb->len;
}

static int netlink_attach_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netlink_dump d = { .skb = skb, .cb = cb, .snapshot = netlink_dump_snapshot(cb) };

	/* first those that keep a link, then those that need none any more */
	if (!link_for_each(netlink_dump_attach, &d))
		pager_visit(netlink_dump_cut, &d);
	return skb->len;
}

/* args[0] counts regions; a message carries those of one address space, as many as fit. */
static int netlink_region_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netlink_dump d = { .skb = skb, .cb = cb, .snapshot = netlink_dump_snapshot(cb) };
	struct hold *hold = hold_get(d.snapshot);
	struct hold_region *region;
	struct mitosis_region r = {};
	struct hold_mm *hm;
	struct nlattr *nest = NULL;
	void *hdr = NULL;
	int ret = 0;

	if (!hold)
		return -ENOENT;
	mutex_lock(&hold->lock);
	if (hold->state != MITOSIS_HOLD_SEALED) {
		ret = -EBUSY;
		goto out;
	}
	list_for_each_entry(hm, &hold->mms, list) {
		list_for_each_entry(region, &hm->regions, list) {
			if (d.seen++ < cb->args[0])
				continue;
			if (!hdr) {
				hdr = netlink_dump_put(&d, MITOSIS_CMD_REGION_GET);
				if (!hdr)
					goto out;
				if (nla_put_u32(skb, MITOSIS_A_MM, hm->mm))
					goto full;
				nest = nla_reserve(skb, MITOSIS_A_REGIONS, 0);
				if (!nest)
					goto full;
			}
			r.start = region->start;
			r.npages = region->npages;
			r.rkey = region->rkey;
			if (nla_append(skb, sizeof(r), &r))
				goto full;
			nest->nla_len += sizeof(r);
			cb->args[0]++;
		}
		if (hdr) {
			genlmsg_end(skb, hdr);
			hdr = NULL;
		}
	}
	goto out;
full:
	if (nest && nest->nla_len > NLA_HDRLEN)
		genlmsg_end(skb, hdr);
	else
		genlmsg_cancel(skb, hdr);
out:
	mutex_unlock(&hold->lock);
	hold_put(hold);
	return ret ?: skb->len;
}

/* Pages that a snapshot leaves to another one, and where that is. */
struct netlink_source {
	const struct pager_block *blocks;
	unsigned long nblocks;
	u64 id;
	const u8 *key;
	const char *transport, *addr;
	const struct mitosis_dct *dct;
	u16 port;
	bool insecure;
};

/* One message of a dump of inherited pages, as long as it is being filled. */
struct netlink_inherit {
	struct netlink_dump d;
	void *hdr;
	struct nlattr *nest;
	u64 id;				/* of the source that it is about, and whose pages */
	u32 mm;
	int attr;
};

static void netlink_inherit_end(struct netlink_inherit *n)
{
	if (n->hdr && n->nest && n->nest->nla_len > NLA_HDRLEN)
		genlmsg_end(n->d.skb, n->hdr);
	else if (n->hdr)
		genlmsg_cancel(n->d.skb, n->hdr);
	n->hdr = NULL;
	n->nest = NULL;
}

static int netlink_inherit_begin(struct netlink_inherit *n, const struct hold_mm *hm,
				 const struct netlink_source *from, int attr)
{
	struct sk_buff *skb = n->d.skb;

	netlink_inherit_end(n);
	n->hdr = netlink_dump_put(&n->d, MITOSIS_CMD_INHERIT_GET);
	if (!n->hdr)
		return -EMSGSIZE;
	n->id = from->id;
	n->mm = hm->mm;
	n->attr = attr;
	if (nla_put_u32(skb, MITOSIS_A_MM, hm->mm) ||
	    netlink_put_u64(skb, MITOSIS_A_PARENT, from->id) ||
	    nla_put(skb, MITOSIS_A_KEY, MITOSIS_KEY_LEN, from->key) ||
	    nla_put_string(skb, MITOSIS_A_TRANSPORT, from->transport) ||
	    nla_put_u32(skb, MITOSIS_A_FLAGS, from->insecure ? MITOSIS_F_INSECURE : 0) ||
	    nla_put_string(skb, MITOSIS_A_PEER_ADDR, from->addr) ||
	    netlink_put_where(skb, from->dct, from->port))
		return -EMSGSIZE;
	n->nest = nla_reserve(skb, attr, 0);
	return n->nest ? 0 : -EMSGSIZE;
}

/* -EMSGSIZE: the message is full. */
static int netlink_inherit_put(struct netlink_inherit *n, const struct hold_mm *hm,
			       const struct netlink_source *from, int attr, const void *data,
			       int len)
{
	if ((!n->hdr || n->id != from->id || n->mm != hm->mm || n->attr != attr) &&
	    netlink_inherit_begin(n, hm, from, attr))
		return -EMSGSIZE;
	if (nla_append(n->d.skb, len, data))
		return -EMSGSIZE;
	n->nest->nla_len += len;
	return 0;
}

/* Where a dump goes on: args of its callback. A process of terabytes has many messages. */
enum { INHERIT_SOURCE, INHERIT_RUNS, INHERIT_BLOCK, INHERIT_BIT };

static int netlink_inherit_one(struct netlink_inherit *n, const struct hold_mm *hm,
			       const struct netlink_source *in)
{
	long *at = n->d.cb->args;
	unsigned long from, to;
	int ret;

	for (; !at[INHERIT_RUNS] && at[INHERIT_BLOCK] < in->nblocks; at[INHERIT_BLOCK]++) {
		const struct pager_block *b = &in->blocks[at[INHERIT_BLOCK]];
		struct mitosis_region region = {
			.start = ((b->block << PAGER_BLOCK_SHIFT) + b->first) << PAGE_SHIFT,
			.npages = b->npages,
			.rkey = b->rkey,
		};

		if (bitmap_empty(b->pending, PAGER_BLOCK_PAGES))
			continue;
		ret = netlink_inherit_put(n, hm, in, MITOSIS_A_REGIONS, &region, sizeof(region));
		if (ret)
			return ret;
	}
	if (!at[INHERIT_RUNS]) {
		at[INHERIT_RUNS] = 1;
		at[INHERIT_BLOCK] = 0;
	}
	for (; at[INHERIT_BLOCK] < in->nblocks; at[INHERIT_BLOCK]++, at[INHERIT_BIT] = 0) {
		const struct pager_block *b = &in->blocks[at[INHERIT_BLOCK]];

		for (from = at[INHERIT_BIT];; from = to) {
			struct mitosis_run run = {};

			from = find_next_bit(b->pending, PAGER_BLOCK_PAGES, from);
			if (from >= PAGER_BLOCK_PAGES)
				break;
			to = find_next_zero_bit(b->pending, PAGER_BLOCK_PAGES, from);
			run.start = ((b->block << PAGER_BLOCK_SHIFT) + from) << PAGE_SHIFT;
			run.npages = to - from;
			ret = netlink_inherit_put(n, hm, in, MITOSIS_A_RUNS, &run, sizeof(run));
			if (ret)
				return ret;
			at[INHERIT_BIT] = to;
		}
	}
	at[INHERIT_RUNS] = 0;
	at[INHERIT_BLOCK] = 0;
	at[INHERIT_SOURCE]++;
	return 0;
}

static int netlink_inherit_link(struct netlink_inherit *n, const struct hold_mm *hm,
				const struct pager_inherit *in)
{
	const struct link *link = in->link;
	struct netlink_source from = {
		.blocks = in->blocks,
		.nblocks = in->nblocks,
		.id = link->id,
		.key = link->key,
		.transport = link->transport,
		.addr = link->peer_text,
		.dct = &link->peer.dct,
		.port = xprt_port(&link->peer),
		.insecure = link->insecure,
	};

	return netlink_inherit_one(n, hm, &from);
}

static int netlink_inherit_hold(struct netlink_inherit *n, const struct hold_mm *hm,
				const struct hold_same *hs)
{
	const struct hold *base = hs->base;
	struct netlink_source from = {
		.blocks = hs->blocks,
		.nblocks = hs->nblocks,
		.id = base->id,
		.key = base->key,
		.transport = base->transport,
		.addr = base->addr,
		.dct = &base->where.dct,
		.port = xprt_port(&base->where),
		.insecure = base->flags & MITOSIS_F_INSECURE &&
			    xprt_is_in_clear(base->transport, true),
	};

	return netlink_inherit_one(n, hm, &from);
}

static int netlink_inherit_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netlink_inherit n = {
		.d = { .skb = skb, .cb = cb, .snapshot = netlink_dump_snapshot(cb) },
	};
	struct hold *hold = hold_get(n.d.snapshot);
	struct pager_inherit *in;
	struct hold_same *hs;
	struct hold_mm *hm;
	int ret = 0;

	if (!hold)
		return -ENOENT;
	mutex_lock(&hold->lock);
	if (hold->state != MITOSIS_HOLD_SEALED)
		ret = -EBUSY;
	list_for_each_entry(hm, &hold->mms, list) {
		list_for_each_entry(in, &hm->inherited, list)
			if (!ret && n.d.seen++ == cb->args[INHERIT_SOURCE])
				ret = netlink_inherit_link(&n, hm, in);
		list_for_each_entry(hs, &hm->same, list)
			if (!ret && n.d.seen++ == cb->args[INHERIT_SOURCE])
				ret = netlink_inherit_hold(&n, hm, hs);
	}
	netlink_inherit_end(&n);
	mutex_unlock(&hold->lock);
	hold_put(hold);
	return ret == -EBUSY ? ret : skb->len;
}

/*
 * args[0] counts records that are told, args[1] is the next page of the one after them. A message
 * has the runs of one.
 */
static int netlink_record_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct netlink_dump d = { .skb = skb, .cb = cb, .snapshot = netlink_dump_snapshot(cb) };
	struct link *link = link_get(d.snapshot);
	struct mitosis_run run;
	struct nlattr *nest;
	u64 pg = cb->args[1];
	void *hdr;
	u32 mm;

	if (!link)
		return -ENOENT;
	while (prefetch_recorded(link, cb->args[0], &mm, &pg, &run)) {
		if (!run.npages) {
			cb->args[0]++;
			cb->args[1] = pg = 0;
			continue;
		}
		hdr = netlink_dump_put(&d, MITOSIS_CMD_RECORD_GET);
		if (!hdr)
			break;
		nest = nla_put_u32(skb, MITOSIS_A_MM, mm) ? NULL :
							    nla_reserve(skb, MITOSIS_A_RUNS, 0);
		if (!nest) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		do {
			if (nla_append(skb, sizeof(run), &run))
				break;
			nest->nla_len += sizeof(run);
			cb->args[1] = pg = (run.start >> PAGE_SHIFT) + run.npages;
		} while (prefetch_recorded(link, cb->args[0], &mm, &pg, &run) && run.npages);
		if (nest->nla_len == NLA_HDRLEN) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
	}
	link_put(link);
	return skb->len;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define genl_split_ops genl_ops		/* what pre_doit() gets; unused here */
#endif

static int netlink_pre_doit(const struct genl_split_ops *ops, struct sk_buff *skb,
			    struct genl_info *info)
{
	if (netlink_may(skb))
		return 0;
	return netlink_say(info, -EPERM, "CAP_SYS_ADMIN is needed in the initial user namespace");
}

#define NETLINK_DO(c, f) { .cmd = c, .doit = f }
#define NETLINK_DUMP(c, f) { .cmd = c, .start = netlink_dump_begin, .dumpit = f }

static const struct genl_ops netlink_ops[] = {
	NETLINK_DO(MITOSIS_CMD_INFO_GET, netlink_info_get),
	NETLINK_DO(MITOSIS_CMD_SELFTEST, netlink_selftest),
	NETLINK_DO(MITOSIS_CMD_XPRT_TEST, netlink_xprt_test),
	NETLINK_DO(MITOSIS_CMD_HOLD_CREATE, netlink_hold_create),
	NETLINK_DO(MITOSIS_CMD_HOLD_BASE, netlink_hold_base),
	NETLINK_DO(MITOSIS_CMD_HOLD_CHANGED, netlink_hold_changed),
	NETLINK_DO(MITOSIS_CMD_HOLD_MM, netlink_hold_mm),
	NETLINK_DO(MITOSIS_CMD_HOLD_PAGES, netlink_hold_pages),
	NETLINK_DO(MITOSIS_CMD_HOLD_SEAL, netlink_hold_seal),
	NETLINK_DO(MITOSIS_CMD_HOLD_EXTEND, netlink_hold_extend),
	NETLINK_DUMP(MITOSIS_CMD_HOLD_GET, netlink_hold_get),
	NETLINK_DUMP(MITOSIS_CMD_REGION_GET, netlink_region_get),
	NETLINK_DUMP(MITOSIS_CMD_INHERIT_GET, netlink_inherit_get),
	NETLINK_DO(MITOSIS_CMD_RELEASE, netlink_release),
	NETLINK_DO(MITOSIS_CMD_LINK_OPEN, netlink_link_open),
	NETLINK_DO(MITOSIS_CMD_LINK_DRAIN, netlink_link_drain),
	NETLINK_DO(MITOSIS_CMD_LINK_CLOSE, netlink_link_close),
	NETLINK_DO(MITOSIS_CMD_LINK_FILL, netlink_link_fill),
	NETLINK_DUMP(MITOSIS_CMD_LINK_GET, netlink_link_get),
	NETLINK_DO(MITOSIS_CMD_ATTACH_ADD, netlink_attach_add),
	NETLINK_DO(MITOSIS_CMD_ATTACH_ARM, netlink_attach_arm),
	NETLINK_DUMP(MITOSIS_CMD_ATTACH_GET, netlink_attach_get),
	NETLINK_DUMP(MITOSIS_CMD_RECORD_GET, netlink_record_get),
	NETLINK_DO(MITOSIS_CMD_STATS_GET, netlink_stats_get),
};

static const struct genl_multicast_group netlink_groups[] = {
	{ .name = MITOSIS_MCGRP_EVENTS },
};

static struct genl_family netlink_family __ro_after_init = {
	.name = MITOSIS_GENL_NAME,
	.version = MITOSIS_GENL_VERSION,
	.maxattr = MITOSIS_A_MAX,
	.policy = netlink_policy,
	.pre_doit = netlink_pre_doit,
	.ops = netlink_ops,
	.n_ops = ARRAY_SIZE(netlink_ops),
	.resv_start_op = MITOSIS_CMD_UNSPEC + 1,
	.mcgrps = netlink_groups,
	.n_mcgrps = ARRAY_SIZE(netlink_groups),
	.module = THIS_MODULE,
	.parallel_ops = true,
};

void netlink_event(enum mitosis_event event, u64 snapshot, u32 mm, u32 pid, int error)
{
	struct sk_buff *skb;
	void *hdr;

	skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!skb)
		return;
	hdr = genlmsg_put(skb, 0, 0, &netlink_family, 0, MITOSIS_CMD_EVENT);
	if (!hdr || nla_put_u32(skb, MITOSIS_A_EVENT, event) ||
	    netlink_put_u64(skb, MITOSIS_A_SNAPSHOT, snapshot) ||
	    (mm && nla_put_u32(skb, MITOSIS_A_MM, mm)) ||
	    (pid && nla_put_u32(skb, MITOSIS_A_PID, pid)) ||
	    (error && nla_put_u32(skb, MITOSIS_A_ERROR, error))) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_end(skb, hdr);
	genlmsg_multicast(&netlink_family, skb, 0, 0, GFP_KERNEL);
}

/* A caller that went away before it sealed its snapshot leaves nothing behind. */
static int netlink_notify(struct notifier_block *nb, unsigned long state, void *data)
{
	struct netlink_notify *n = data;

	/* port ids are unique in a network namespace only; the family is in the initial one */
	if (state == NETLINK_URELEASE && n->protocol == NETLINK_GENERIC &&
	    net_eq(n->net, &init_net)) {
		hold_owner_gone(n->portid);
		link_owner_gone(n->portid);
	}
	return NOTIFY_DONE;
}

static struct notifier_block netlink_nb = {
	.notifier_call = netlink_notify,
};

int netlink_init(void)
{
	int ret;

	ret = netlink_register_notifier(&netlink_nb);
	if (ret)
		return ret;
	ret = genl_register_family(&netlink_family);
	if (ret)
		netlink_unregister_notifier(&netlink_nb);
	return ret;
}

void netlink_exit(void)
{
	genl_unregister_family(&netlink_family);
	netlink_unregister_notifier(&netlink_nb);
}
