/* SPDX-License-Identifier: MIT */
/*
 * protobuf-c takes the sizes of what it allocates from its input: this allocator lets it have a
 * fixed sum and no more.
 */
#ifndef MITOSIS_BOUNDED_ALLOC_H
#define MITOSIS_BOUNDED_ALLOC_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct bounded_alloc {
	ProtobufCAllocator pb;
	size_t left;		/* bytes */
};

void bounded_alloc_init(struct bounded_alloc *ba, size_t bytes);

#endif /* MITOSIS_BOUNDED_ALLOC_H */
