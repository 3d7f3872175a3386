/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What source and destination say to each other besides RDMA READs. Private data of rdma_cm carries
 * the structures below; the connection itself carries only SENDs without payload, whose immediate
 * data is one of enum xprt_msg, so that a peer has nothing to write to and no length to lie about.
 */
#ifndef MITOSIS_XPRT_RC_WIRE_H
#define MITOSIS_XPRT_RC_WIRE_H

#include <linux/build_bug.h>
#include <linux/types.h>

#include "mitosis.h"

#define XPRT_MAGIC	0x4d746f73U
#define XPRT_VERSION	1

/* rdma_cm leaves this much of a request over IB or RoCE to its users. */
#define XPRT_REQ_MAX	56

struct xprt_req {
	__le32 magic;
	__le16 version;
	__le16 reserved;
	__le64 id;
	u8 key[MITOSIS_KEY_LEN];
} __packed;
static_assert(sizeof(struct xprt_req) <= XPRT_REQ_MAX);

struct xprt_rep {
	__le32 magic;
	__le16 version;
	__le16 reserved;
} __packed;

enum xprt_reject_reason {
	/* No such snapshot, not open yet, or wrong key: the peer is never told which. */
	XPRT_REJECT_REFUSED = 1,
	XPRT_REJECT_MALFORMED,
	XPRT_REJECT_VERSION,
	/* The key is right, but the memory is on another device or port. */
	XPRT_REJECT_DEVICE,
	/* Out of something; may work later. */
	XPRT_REJECT_BUSY,
};

struct xprt_rej {
	__le32 magic;
	__le16 reason;
	__le16 version;			/* of the source */
} __packed;

enum xprt_msg {
	XPRT_MSG_DONE = XPRT_MAGIC + 1,	/* to the source: nothing is needed any more */
	XPRT_MSG_ACK,			/* to the destination: DONE has been noted */
	XPRT_MSG_PING,			/* to the destination: shows the source that it is there */
};

#endif
