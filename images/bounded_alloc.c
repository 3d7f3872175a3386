// SPDX-License-Identifier: MIT
#include "images/bounded_alloc.h"

#include <stdlib.h>

static void *bounded_alloc_get(void *data, size_t size)
{
	struct bounded_alloc *ba = data;

	if (size > ba->left)
		return NULL;
	ba->left -= size;
	return malloc(size);
}

static void bounded_alloc_put(void *data, void *ptr)
{
	free(ptr);
}

void bounded_alloc_init(struct bounded_alloc *ba, size_t bytes)
{
	ba->pb.alloc = bounded_alloc_get;
	ba->pb.free = bounded_alloc_put;
	ba->pb.allocator_data = ba;
	ba->left = bytes;
}
