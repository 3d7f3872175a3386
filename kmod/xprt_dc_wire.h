/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What a reader says to the DC target of a snapshot besides its READs. There is no answer: that the
 * message has arrived is what the transport acknowledges. Each of them says that the reader is
 * there; saying one twice changes nothing.
 */
#ifndef MITOSIS_XPRT_DC_WIRE_H
#define MITOSIS_XPRT_DC_WIRE_H

#include <linux/build_bug.h>
#include <linux/types.h>

#include "mlx5_dc.h"

#define DC_MSG_MAGIC	0x4d746444U
#define DC_MSG_VERSION	1

enum dc_msg_type {
	DC_MSG_HELLO = 1,
	DC_MSG_ALIVE,
	DC_MSG_DONE,			/* nothing is needed any more; and BYE */
	DC_MSG_BYE,			/* this reader is gone */
	__DC_MSG_MAX,
};

struct dc_msg {
	__le32 magic;
	__le16 version;
	__le16 type;
	/* random; the same as long as the reader's link to the snapshot lasts */
	__le64 peer;
	__le64 reserved[2];		/* 0 */
} __packed;
static_assert(sizeof(struct dc_msg) == DC_MSG_LEN);

#define DC_ALIVE_INTERVAL	(7 * HZ)
/* a reader that has said nothing for so long is gone */
#define DC_SILENCE		(25 * HZ)

#endif
