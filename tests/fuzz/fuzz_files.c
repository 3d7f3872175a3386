// SPDX-License-Identifier: MIT
/* files.img without sizes is no longer than it was, and a second time it stays as it is. */
#include <stdlib.h>
#include <string.h>

#include "images/files.h"
#include "images/mitosis_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *out, *again;
	size_t len, n;
	char err[128];

	if (files_forget_sizes(data, size, &out, &len, err, sizeof(err)))
		return 0;
	if (len > size || files_forget_sizes(out, len, &again, &n, err, sizeof(err)) || n != len ||
	    memcmp(out, again, n))
		abort();
	free(out);
	free(again);
	return 0;
}
