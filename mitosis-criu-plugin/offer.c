// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "images/mitosis_image.h"
#include "lib/mitosis.h"
#include "mitosis-criu-plugin/offer.h"

/*
 * An address says which port the memory is offered on, so none is made up for a transport that does
 * without. addr, of MITOSIS_ADDR_LEN bytes, gets what has been given to the module.
 */
static int offer_over(struct mitosis *ctl, struct mitosis_image *img,
		      const struct mitosis_offer *offer, char *addr, struct mitosis_where *where,
		      char *err, size_t errlen)
{
	uint32_t flags = img->flags | (offer->insecure ? MITOSIS_F_INSECURE : 0);
	char usable[MITOSIS_TRANSPORTS_LEN] = "", *next = NULL, *transport;
	bool tried = false;
	int ret = -ENODEV;

	snprintf(addr, MITOSIS_ADDR_LEN, "%s", offer->addr ?: "");
	if (offer->addr || mitosis_usable(ctl, offer->transports, offer->insecure, usable) ||
	    !*usable) {
		ret = mitosis_hold_create(ctl, offer->transports, offer->addr, offer->name,
					  offer->lease, flags, &img->snapshot, img->key, where);
		tried = true;
	}
	for (transport = offer->addr ? NULL : strtok_r(usable, ",", &next); transport && ret;
	     transport = strtok_r(NULL, ",", &next)) {
		*addr = 0;
		if (!strcmp(transport, "rc") && mitosis_default_addr(addr))
			continue;
		ret = mitosis_hold_create(ctl, transport, *addr ? addr : NULL, offer->name,
					  offer->lease, flags, &img->snapshot, img->key, where);
		tried = true;
	}
	if (ret && tried)
		snprintf(err, errlen, "%s", mitosis_error(ctl));
	else if (ret)
		snprintf(err, errlen,
			 "no RDMA device here has an address: look at 'rdma link' and 'ip address', or set MITOSIS_ADDR");
	return ret;
}

/*
 * Where a reader finds it: at the address that was asked for, or, with tcp, at any that this
 * machine has.
 */
static int offer_add_addrs(struct mitosis_image *img, const char *addr, char *err, size_t errlen)
{
	char addrs[MITOSIS_IMAGE_MAX_ADDRS][MITOSIS_ADDR_LEN];
	int n = 1, i, ret = 0;

	if (img->dct.number)
		return 0;
	if (*addr)
		ret = mitosis_image_add_addr(img, addr);
	else
		n = mitosis_local_addrs(addrs, MITOSIS_IMAGE_MAX_ADDRS);
	for (i = 0; i < n && !*addr && !ret; i++)
		ret = mitosis_image_add_addr(img, addrs[i]);
	if (n <= 0)
		ret = -EADDRNOTAVAIL;
	if (ret == -ENOMEM)
		snprintf(err, errlen, "the dump can not be begun: no memory is left");
	else if (ret)
		snprintf(err, errlen,
			 "no network device of this machine has an address that others could reach: see ip addr");
	return ret;
}

int mitosis_offer(struct mitosis *ctl, struct mitosis_image *img, const struct mitosis_offer *offer,
		  char *err, size_t errlen)
{
	char addr[MITOSIS_ADDR_LEN];
	struct mitosis_where where;
	int ret;

	ret = offer_over(ctl, img, offer, addr, &where, err, errlen);
	if (ret)
		return ret;
	img->port = where.port;
	img->dct = where.dct;
	img->flags |= where.insecure ? MITOSIS_F_INSECURE : 0;
	snprintf(img->transport, sizeof(img->transport), "%s", where.transport);
	explicit_bzero(&where, sizeof(where));
	ret = offer_add_addrs(img, addr, err, errlen);
	if (ret)
		mitosis_release(ctl, img->snapshot);
	return ret;
}

/*
 * That there is no TLS is said only once the source has shown that it is it: another address of its
 * leads no further.
 */
static bool reach_goes_on(int ret)
{
	return ret && ret != -EEXIST && ret != -ENOPKG && ret != -EREMOTEIO && ret != -EKEYREJECTED;
}

int mitosis_reach(struct mitosis *ctl, const struct mitosis_image *img, uint32_t give_up, char *err,
		  size_t errlen)
{
	struct mitosis_where where = {
		.insecure = img->flags & MITOSIS_F_INSECURE, .port = img->port, .dct = img->dct,
	};
	int ret = -ENOENT;
	size_t i;

	snprintf(where.transport, sizeof(where.transport), "%s", mitosis_image_transport(img));
	for (i = 0; i < (img->dct.number ? 1 : img->naddrs) && reach_goes_on(ret); i++) {
		snprintf(where.addr, sizeof(where.addr), "%s",
			 img->dct.number ? "" : img->addrs[i]);
		ret = mitosis_link_open(ctl, img->snapshot, img->key, &where, NULL, give_up);
	}
	explicit_bzero(&where, sizeof(where));
	if (ret)
		snprintf(err, errlen, "%s", mitosis_error(ctl));
	return ret;
}
