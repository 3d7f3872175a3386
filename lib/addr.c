// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lib/mitosis.h"

#define ADDR_NDEVS "/sys/class/infiniband/*/ports/*/gid_attrs/ndevs/*"

static bool addr_netdev_is(const char *path, const char *netdev)
{
	char name[IFNAMSIZ + 1];
	bool same = false;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	/* Reading fails for a place in the table that no address fills. */
	if (fgets(name, sizeof(name), f)) {
		name[strcspn(name, "\n")] = 0;
		same = !strcmp(name, netdev);
	}
	fclose(f);
	return same;
}

static bool addr_netdev_has_rdma(const char *netdev)
{
	bool found = false;
	glob_t ndevs;
	size_t i;

	if (glob(ADDR_NDEVS, GLOB_NOSORT, NULL, &ndevs))
		return false;
	for (i = 0; i < ndevs.gl_pathc && !found; i++)
		found = addr_netdev_is(ndevs.gl_pathv[i], netdev);
	globfree(&ndevs);
	return found;
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

int mitosis_default_addr(char *buf)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct ifaddrs *all, *ifa;
	size_t i;

	if (getifaddrs(&all))
		return -errno;
	for (i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		for (ifa = all; ifa; ifa = ifa->ifa_next) {
			if (!ifa->ifa_addr || ifa->ifa_addr->sa_family != families[i] ||
			    ifa->ifa_flags & IFF_LOOPBACK || !(ifa->ifa_flags & IFF_UP))
				continue;
			if (addr_format(ifa, buf) && addr_netdev_has_rdma(ifa->ifa_name)) {
				freeifaddrs(all);
				return 0;
			}
		}
	}
	freeifaddrs(all);
	return -ENODEV;
}

bool mitosis_addr_has_rdma(const char *addr)
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
			addr_netdev_has_rdma(ifa->ifa_name);
	}
	freeifaddrs(all);
	return found;
}
