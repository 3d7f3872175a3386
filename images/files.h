/* SPDX-License-Identifier: MIT */
/*
 * CRIU's files.img. CRIU refuses to restore a process one of whose open files has another size than
 * at the dump. That guards against another file of that name, and forbids what every fork has: a
 * log that its parent goes on writing.
 *
 * Returns and err as in mitosis_image.h.
 */
#ifndef MITOSIS_FILES_H
#define MITOSIS_FILES_H

#include <stddef.h>

#define FILES_NAME	"files.img"

/* The same file with no size for files that are open for writing. *out is the caller's. */
int files_forget_sizes(const void *buf, size_t len, void **out, size_t *outlen, char *err,
		       size_t errlen);

#endif /* MITOSIS_FILES_H */
