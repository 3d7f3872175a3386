// SPDX-License-Identifier: MIT
/* Whatever is accepted as mitosis.img must be written and read back the same. */
#include <stdlib.h>
#include <string.h>

#include "images/mitosis_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mitosis_image *img, *again;
	void *buf, *buf2;
	size_t len, len2;
	char err[128];

	memset(err, 'x', sizeof(err));
	if (mitosis_image_parse(data, size, &img, err, sizeof(err))) {
		if (!memchr(err, 0, sizeof(err)) || strlen(err) < 20)
			abort();
		return 0;
	}
	if (mitosis_image_format(img, &buf, &len, err, sizeof(err)) ||
	    mitosis_image_parse(buf, len, &again, err, sizeof(err)) ||
	    mitosis_image_format(again, &buf2, &len2, err, sizeof(err)))
		abort();
	if (len != len2 || memcmp(buf, buf2, len))
		abort();
	mitosis_image_free(img);
	mitosis_image_free(again);
	free(buf);
	free(buf2);
	return 0;
}
