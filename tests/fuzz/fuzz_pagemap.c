// SPDX-License-Identifier: MIT
/* What is left of a pagemap after stripping has no lazy run, and the runs are in order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "images/mitosis_image.h"
#include "images/pagemap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mitosis_run *runs, *none;
	uint64_t end = 0;
	char err[128];
	void *out;
	size_t n, len, i;
	int ret;

	if (pagemap_lazy_runs(data, size, &runs, &n, err, sizeof(err))) {
		if (!pagemap_strip(data, size, &out, &len, err, sizeof(err)))
			abort();
		return 0;
	}
	for (i = 0; i < n; i++) {
		if (!runs[i].npages || runs[i].start & 4095 || (i && runs[i].start <= end))
			abort();
		end = runs[i].start + runs[i].npages * 4096;
		if (end > MITOSIS_IMAGE_ADDR_END || end < runs[i].start)
			abort();
	}
	free(runs);
	ret = pagemap_strip(data, size, &out, &len, err, sizeof(err));
	if (ret == -ENODATA)
		return 0;
	if (ret || len > size || (!n && len != size) ||
	    pagemap_lazy_runs(out, len, &none, &n, err, sizeof(err)) || n)
		abort();
	free(out);
	return 0;
}
