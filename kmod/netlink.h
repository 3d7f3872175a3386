/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The generic netlink family: validates, then calls a room; and events to listeners. */
#ifndef MITOSIS_NETLINK_H
#define MITOSIS_NETLINK_H

#include "mitosis.h"

int netlink_init(void);
void netlink_exit(void);

/* May sleep. @mm, @pid and @error are left out where 0. @error is a positive errno. */
void netlink_event(enum mitosis_event event, u64 snapshot, u32 mm, u32 pid, int error);

#endif
