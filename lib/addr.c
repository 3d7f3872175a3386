// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/mitosis.h"

#define ADDR_NDEVS "/sys/class/infiniband/*/ports/*/gid_attrs/ndevs"

static bool addr_port_find(const char *ndevs, bool (*wanted)(const char *netdev, void *arg),
			   void *arg)
{
	int dirfd = open(ndevs, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	bool found = false;
	unsigned int i;

	for (i = 0; dirfd >= 0 && !found; i++) {
		char place[16], name[IFNAMSIZ];
		ssize_t n;

		snprintf(place, sizeof(place), "%u", i);
		fd = openat(dirfd, place, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			break;
		/* Reading fails for a place in the table that no address fills. */
		n = read(fd, name, sizeof(name) - 1);
		close(fd);
		if (n <= 0)
			continue;
		name[n] = 0;
		name[strcspn(name, "\n")] = 0;
		found = wanted(name, arg);
	}
	if (dirfd >= 0)
		close(dirfd);
	return found;
}

/*
 * Goes through the network devices whose addresses RDMA devices have, until one is wanted: a port's
 * table has up to a thousand places, the first of which are in use.
 */
static bool addr_netdev_find(bool (*wanted)(const char *netdev, void *arg), void *arg)
{
	bool found = false;
	glob_t ports;
	size_t i;

	if (glob(ADDR_NDEVS, 0, NULL, &ports))
		return false;
	for (i = 0; i < ports.gl_pathc && !found; i++)
		found = addr_port_find(ports.gl_pathv[i], wanted, arg);
	globfree(&ports);
	return found;
}

static bool addr_is_netdev(const char *netdev, void *name)
{
	return !strcmp(netdev, name);
}

static bool addr_format(const struct ifaddrs *ifa, char *buf)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)ifa->ifa_addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ifa->ifa_addr;

	if (ifa->ifa_addr->sa_family == AF_INET)
		return inet_ntop(AF_INET, &in->sin_addr, buf, MITOSIS_ADDR_LEN);
	return ifa->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) &&
	       inet_ntop(AF_INET6, &in6->sin6_addr, buf, MITOSIS_ADDR_LEN);
}

struct addr_default {
	const struct ifaddrs *all;
	int family;
	char *buf;
};

static bool addr_is_usable(const char *netdev, void *arg)
{
	const struct addr_default *want = arg;
	const struct ifaddrs *ifa;

	for (ifa = want->all; ifa; ifa = ifa->ifa_next)
		if (ifa->ifa_addr && ifa->ifa_addr->sa_family == want->family &&
		    !(ifa->ifa_flags & IFF_LOOPBACK) && ifa->ifa_flags & IFF_UP &&
		    !strcmp(ifa->ifa_name, netdev) && addr_format(ifa, want->buf))
			return true;
	return false;
}

int mitosis_default_addr(char *buf)
{
	struct addr_default want = { .buf = buf };
	struct ifaddrs *all;
	bool found;

	if (getifaddrs(&all))
		return -errno;
	want.all = all;
	want.family = AF_INET;
	found = addr_netdev_find(addr_is_usable, &want);
	want.family = AF_INET6;
	found = found || addr_netdev_find(addr_is_usable, &want);
	freeifaddrs(all);
	return found ? 0 : -ENODEV;
}

/* Whether a local network device that is wanted, or with NULL any, has the address. */
static bool addr_find(const char *addr, bool (*wanted)(char *netdev))
{
	char text[MITOSIS_ADDR_LEN];
	struct ifaddrs *all, *ifa;
	struct in6_addr want6;
	struct in_addr want;
	int family;
	bool found = false;

	if (inet_pton(AF_INET, addr, &want) == 1)
		family = AF_INET;
	else if (inet_pton(AF_INET6, addr, &want6) == 1)
		family = AF_INET6;
	else
		return false;
	/* The same address has several spellings. */
	inet_ntop(family, family == AF_INET ? (void *)&want : (void *)&want6, text, sizeof(text));
	if (getifaddrs(&all))
		return false;
	for (ifa = all; ifa && !found; ifa = ifa->ifa_next) {
		char buf[MITOSIS_ADDR_LEN];

		found = ifa->ifa_addr && ifa->ifa_addr->sa_family == family &&
			addr_format(ifa, buf) && !strcmp(buf, text) &&
			(!wanted || wanted(ifa->ifa_name));
	}
	freeifaddrs(all);
	return found;
}

static bool addr_has_rdma(char *netdev)
{
	return addr_netdev_find(addr_is_netdev, netdev);
}

bool mitosis_addr_has_rdma(const char *addr)
{
	return addr_find(addr, addr_has_rdma);
}

bool mitosis_addr_is_local(const char *addr)
{
	return addr_find(addr, NULL);
}

/* Of the IPv4 route to everywhere; empty: there is none. */
static void addr_default_netdev(char name[IFNAMSIZ])
{
	FILE *f = fopen("/proc/net/route", "re");
	unsigned long to, mask;
	char line[256];

	*name = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%15s %lx %*x %*x %*d %*d %*d %lx", name, &to, &mask) == 3 &&
		    !to && !mask)
			break;
		*name = 0;
	}
	if (f)
		fclose(f);
}

/*
 * Whether it is an address of IPv6 that is to go: links are connected again to where they have led,
 * for as long as there is memory to read.
 */
static bool addr_is_passing(const struct ifaddrs *ifa)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ifa->ifa_addr;
	struct in6_addr at = {};
	bool passing = false;
	unsigned int flags;
	char line[128];
	FILE *f;

	if (ifa->ifa_addr->sa_family != AF_INET6)
		return false;
	f = fopen("/proc/net/if_inet6", "re");
	while (f && !passing && fgets(line, sizeof(line), f)) {
		for (size_t i = 0; i < sizeof(at); i++)
			sscanf(line + 2 * i, "%2hhx", &at.s6_addr[i]);
		passing = !memcmp(&at, &in6->sin6_addr, sizeof(at)) &&
			  sscanf(line + 2 * sizeof(at), "%*x %*x %*x %x", &flags) == 1 &&
			  flags & (IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_TENTATIVE |
				   IFA_F_DADFAILED);
	}
	if (f)
		fclose(f);
	return passing;
}

int mitosis_local_addrs(char (*addrs)[MITOSIS_ADDR_LEN], size_t max)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct ifaddrs *all, *ifa;
	char netdev[IFNAMSIZ];
	size_t n = 0;
	int pass;

	if (getifaddrs(&all))
		return -errno;
	addr_default_netdev(netdev);
	for (pass = 0; pass < 4; pass++)
		for (ifa = all; ifa && n < max; ifa = ifa->ifa_next)
			if (ifa->ifa_addr && ifa->ifa_addr->sa_family == families[pass % 2] &&
			    !(ifa->ifa_flags & IFF_LOOPBACK) && ifa->ifa_flags & IFF_UP &&
			    !strcmp(ifa->ifa_name, netdev) == (pass < 2) && !addr_is_passing(ifa) &&
			    addr_format(ifa, addrs[n]))
				n++;
	freeifaddrs(all);
	return (int)n;
}
