// SPDX-License-Identifier: MIT
#include "images/tty.h"

#include <errno.h>
#include <stdint.h>

#include "images/bounded_alloc.h"
#include "images/criu_image.h"
#include "tty.pb-c.h"

#define MAGIC_TTY_INFO	0x59453036u
#define TTY_TYPE_EXT	5		/* named by --external */

static int tty_entry(const uint8_t *p, size_t n, uint8_t *to, size_t *written)
{
	struct bounded_alloc ba;
	Criu__TtyInfoEntry *tie;
	int ret;

	bounded_alloc_init(&ba, 4096 + 4 * n);
	tie = criu__tty_info_entry__unpack(&ba.pb, n, p);
	if (!tie)
		return -EINVAL;
	if (tie->type == TTY_TYPE_EXT) {
		tie->sid = 0;
		tie->pgrp = 0;
		tie->has_uid = 0;
		tie->has_gid = 0;
	}
	*written = criu__tty_info_entry__get_packed_size(tie);
	ret = *written > n || !criu_image_repacks(&tie->base) ? -EINVAL : 0;
	if (!ret)
		criu__tty_info_entry__pack(tie, to);
	criu__tty_info_entry__free_unpacked(tie, &ba.pb);
	return ret;
}

int tty_forget_sessions(const void *buf, size_t len, void **out, size_t *outlen, char *err,
			size_t errlen)
{
	return criu_image_rewrite(buf, len, MAGIC_TTY_INFO, TTY_NAME, tty_entry, out, outlen, err,
				  errlen);
}
