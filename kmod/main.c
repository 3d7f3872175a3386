// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/module.h>

#include "cache.h"
#include "hold.h"
#include "hooks.h"
#include "link.h"
#include "netlink.h"
#include "pager.h"
#include "transport.h"

static ushort port = MITOSIS_PORT;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "rdma_cm port on which snapshots are offered");

static int __init mitosis_init(void)
{
	int ret;

	ret = pager_init();
	if (ret)
		return ret;
	ret = hooks_init();
	if (ret)
		goto err_pager;
	ret = cache_init();
	if (ret)
		goto err_hooks;
	ret = unmap_init();
	if (ret)
		goto err_cache;
	ret = link_init();
	if (ret)
		goto err_unmap;
	ret = hold_init();
	if (ret)
		goto err_link;
	ret = xprt_rc_init(port);
	if (ret)
		goto err_hold;
	ret = netlink_init();
	if (ret)
		goto err_xprt;
	return 0;

err_xprt:
	xprt_rc_exit();
err_hold:
	hold_exit();
err_link:
	link_exit();
err_unmap:
	unmap_exit();
err_cache:
	cache_exit();
err_hooks:
	hooks_exit();
err_pager:
	pager_exit();
	return ret;
}

static void __exit mitosis_exit(void)
{
	netlink_exit();
	link_exit();
	hold_exit();
	xprt_rc_exit();
	unmap_exit();
	cache_exit();
	hooks_exit();
	pager_exit();
}

module_init(mitosis_init);
module_exit(mitosis_exit);

MODULE_DESCRIPTION("Keeps the memory of a process readable at its source and pages it in at its destination");
MODULE_VERSION(MITOSIS_VERSION);
MODULE_LICENSE("Dual MIT/GPL");
