// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/module.h>

#include "cache.h"
#include "hold.h"
#include "hooks.h"
#include "link.h"
#include "netlink.h"
#include "pager.h"

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
	ret = netlink_init();
	if (ret)
		goto err_hold;
	return 0;

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
/* Where there is RDMA; others are loaded by who wants them. */
MODULE_SOFTDEP("post: mitosis_rc");
