// SPDX-License-Identifier: MIT
#include "images/criu_image.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_COMMON	0x54564319u

static uint32_t criu_image_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

bool criu_image_begin(struct criu_image *ci, const void *buf, size_t len, uint32_t magic,
		      size_t max)
{
	memset(ci, 0, sizeof(*ci));
	ci->buf = buf;
	ci->len = len;
	ci->pos = 8;
	ci->max = max;
	return len >= 8 && criu_image_u32(ci->buf) == MAGIC_COMMON &&
	       criu_image_u32(ci->buf + 4) == magic;
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

bool criu_image_repacks(const ProtobufCMessage *msg)
{
	size_t i;

	for (i = 0; i < msg->n_unknown_fields; i++)
		if (!msg->unknown_fields[i].tag)
			return false;
	return true;
}

int criu_image_rewrite(const void *buf, size_t len, uint32_t magic, const char *name,
		       criu_image_entry entry, void **out, size_t *outlen, char *err, size_t errlen)
{
	struct criu_image ci;
	const uint8_t *p = NULL;
	size_t n = 0, used = 8, written = 0;
	uint8_t *copy;
	uint32_t le;
	int ret;

	*out = NULL;
	*outlen = 0;
	if (!criu_image_begin(&ci, buf, len, magic, len)) {
		snprintf(err, errlen, "%s is not criu's (no magic): make a new dump", name);
		return -EINVAL;
	}
	copy = malloc(len);
	if (!copy) {
		snprintf(err, errlen, "%s can not be rewritten: no memory is left", name);
		return -ENOMEM;
	}
	memcpy(copy, buf, used);
	while ((ret = criu_image_next(&ci, &p, &n)) > 0) {
		ci.wrong = "no entry";
		ret = entry(p, n, copy + used + 4, &written);
		if (ret)
			break;
		le = htole32((uint32_t)written);
		memcpy(copy + used, &le, 4);
		used += 4 + written;
	}
	if (ret) {
		snprintf(err, errlen, "%s is damaged at byte %zu (%s): make a new dump", name,
			 ci.record, ci.wrong);
		free(copy);
		return ret;
	}
	*out = copy;
	*outlen = used;
	return 0;
}
