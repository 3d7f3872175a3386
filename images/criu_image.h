/* SPDX-License-Identifier: MIT */
/*
 * CRIU's image files: two magic numbers of 4 bytes, then records that each follow their length (4
 * bytes, little-endian).
 */
#ifndef MITOSIS_CRIU_IMAGE_H
#define MITOSIS_CRIU_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct criu_image {
	const uint8_t *buf;	/* the caller's */
	size_t len;
	size_t pos;
	size_t record;		/* offset of the last record's length */
	size_t max;		/* of a record, bytes */
	const char *wrong;	/* after an error: what */
};

/* False: not an image of this kind. */
bool criu_image_begin(struct criu_image *ci, const void *buf, size_t len, uint32_t magic,
		      size_t max);

/* 1: *p and *n are the next record's, within buf; 0: the file ends here; -EINVAL. */
int criu_image_next(struct criu_image *ci, const uint8_t **p, size_t *n);

/* Writes a record anew to @to, which has room for @n bytes; -EINVAL: it is none. */
typedef int (*criu_image_entry)(const uint8_t *p, size_t n, uint8_t *to, size_t *written);

/*
 * Whether what protobuf-c does not know of @msg is written as it was read: a field without a number
 * is not.
 */
bool criu_image_repacks(const ProtobufCMessage *msg);

/*
 * The image @name with each of its records written anew. *out is the caller's. Returns and err as
 * in mitosis_image.h.
 */
int criu_image_rewrite(const void *buf, size_t len, uint32_t magic, const char *name,
		       criu_image_entry entry, void **out, size_t *outlen, char *err,
		       size_t errlen);

#endif /* MITOSIS_CRIU_IMAGE_H */
