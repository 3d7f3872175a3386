// SPDX-License-Identifier: MIT
#include "images/criu_image.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define MAGIC_COMMON	0x54564319u

static uint32_t criu_image_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

bool criu_image_begin(struct criu_image *ci, const void *buf, size_t len, uint32_t magic, size_t max)
{
	memset(ci, 0, sizeof(*ci));
	ci->buf = buf;
	ci->len = len;
	ci->pos = 8;
	ci->max = max;
	return len >= 8 && criu_image_u32(ci->buf) == MAGIC_COMMON && criu_image_u32(ci->buf + 4) == magic;
}

int criu_image_next(struct criu_image *ci, const uint8_t **p, size_t *n)
{
	ci->record = ci->pos;
	if (ci->pos == ci->len)
		return 0;
	ci->wrong = "it ends within a length";
	if (ci->len - ci->pos < 4)
		return -EINVAL;
	*n = criu_image_u32(ci->buf + ci->pos);
	ci->wrong = "a record is too long";
	if (*n > ci->max)
		return -EINVAL;
	ci->pos += 4;
	ci->wrong = "it ends within a record";
	if (ci->len - ci->pos < *n)
		return -EINVAL;
	*p = ci->buf + ci->pos;
	ci->pos += *n;
	return 1;
}
