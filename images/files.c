// SPDX-License-Identifier: MIT
#include "images/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "files.pb-c.h"
#include "images/bounded_alloc.h"
#include "images/criu_image.h"

#define MAGIC_FILES	0x56303138u

/* Whether the entry was written anew to @to, which has room for as much as it was. */
static int files_entry(const uint8_t *p, size_t n, uint8_t *to, size_t *written)
{
	struct bounded_alloc ba;
	Criu__FileEntry *fe;
	bool change;
	int ret = 0;

	bounded_alloc_init(&ba, 4096 + 4 * n);
	fe = criu__file_entry__unpack(&ba.pb, n, p);
	if (!fe)
		return -EINVAL;
	change = fe->reg && fe->reg->has_size && (fe->reg->flags & O_ACCMODE) != O_RDONLY;
	if (change) {
		fe->reg->has_size = 0;
		*written = criu__file_entry__get_packed_size(fe);
		if (*written > n || !criu_image_repacks(&fe->base) ||
		    !criu_image_repacks(&fe->reg->base))
			ret = -EINVAL;
		else
			criu__file_entry__pack(fe, to);
	} else {
		memcpy(to, p, n);
		*written = n;
	}
	criu__file_entry__free_unpacked(fe, &ba.pb);
	return ret;
}

int files_forget_sizes(const void *buf, size_t len, void **out, size_t *outlen, char *err,
		       size_t errlen)
{
	return criu_image_rewrite(buf, len, MAGIC_FILES, FILES_NAME, files_entry, out, outlen, err,
				  errlen);
}
