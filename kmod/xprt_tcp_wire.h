/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What reader and source say to each other over TCP; docs/tcp.md says why.
 *
 *	reader					source
 *	hello		-->
 *			<--			challenge
 *	proof		-->
 *			<--			verdict
 *	[TLS 1.3 handshake, and from here on its records]
 *	READ, DONE	-->
 *			<--			DATA, REFUSED, ACK
 *
 * The key never goes over the wire: each side shows by a code over all of hello and challenge that
 * it has it. So what one connection's record shows is of no use on another, nor to the other side.
 * What is asked for in hello cannot be taken away from it on the way, as it is part of that.
 *
 * TLS: the pre-shared key is such a code, too; so nobody but these two has it, for this connection.
 * Its identity is "mitosis-" and the nonce of challenge in hexadecimal.
 */
#ifndef MITOSIS_XPRT_TCP_WIRE_H
#define MITOSIS_XPRT_TCP_WIRE_H

#include <linux/build_bug.h>
#include <linux/types.h>

#define XTCP_MAGIC	0x4d746370U
#define XTCP_VERSION	1

#define XTCP_NONCE_LEN	16
#define XTCP_ADDR_LEN	16
#define XTCP_PROOF_LEN	32	/* HMAC-SHA256 */

#define XTCP_F_TLS	1

struct xtcp_hello {
	__le32 magic;
	__le16 version;
	__le16 flags;			/* XTCP_F_TLS, or 0: nothing is encrypted */
	__le64 id;			/* of the snapshot */
	u8 nonce[XTCP_NONCE_LEN];
	/*
	 * That the reader has connected to, of IPv4 as IPv6 maps it. Readers try several, some of
	 * which are other machines' on their network; such a one could pass the greeting on, and
	 * have the connection then.
	 */
	u8 addr[XTCP_ADDR_LEN];
} __packed;

struct xtcp_challenge {
	__le32 magic;
	__le16 version;			/* of the source; it ends here when that is another one */
	__le16 reserved;
	u8 nonce[XTCP_NONCE_LEN];
} __packed;

/* What a proof is the code of. */
struct xtcp_sworn {
	/* "reader", "source", "no-tls", or "tls": the pre-shared key */
	char who[8];
	struct xtcp_hello hello;
	struct xtcp_challenge challenge;
} __packed;

struct xtcp_proof {
	u8 proof[XTCP_PROOF_LEN];
} __packed;

enum xtcp_verdict_code {
	XTCP_WELCOME = 1,
	/*
	 * No such snapshot, not open yet, not at this address, the reader connected to another one,
	 * wrong key, or with TLS what is offered without, or without what is offered with it: the
	 * peer is never told which.
	 */
	XTCP_REFUSED,
	/* Out of something; may work later. */
	XTCP_BUSY,
	/* The reader may, but the source has no tlshd. */
	XTCP_NO_TLS,
};

struct xtcp_verdict {
	__le32 magic;
	__le32 code;			/* enum xtcp_verdict_code */
	u8 proof[XTCP_PROOF_LEN];	/* of the source, with WELCOME and NO_TLS */
} __packed;

#define XTCP_DEPTH	128	/* READs that a reader may have unanswered */
#define XTCP_BATCH	16	/* READs in one message */

enum xtcp_type {
	/* to the source */
	XTCP_READ = 1,			/* count of struct xtcp_read follow */
	XTCP_DONE,			/* nothing is needed any more */
	/* to the reader */
	XTCP_DATA = 0x101,		/* of READ id: count pages follow */
	XTCP_REFUSE,			/* READ id: it is not exposed, or cannot be read */
	XTCP_ACK,			/* DONE has been noted */
};

struct xtcp_head {
	__le16 type;			/* enum xtcp_type */
	__le16 count;
	__le16 id;
	__le16 reserved;
} __packed;

struct xtcp_read {
	__le64 raddr;
	__le32 rkey;
	__le16 npages;			/* 1 to XPRT_READ_MAX */
	__le16 id;			/* below XTCP_DEPTH, not of one that is unanswered */
} __packed;
static_assert(sizeof(struct xtcp_read) == 16);

#endif
