/* SPDX-License-Identifier: MIT */
/*
 * CRIU's tty-info.img. A child has its standard files on another terminal than its parent's: that
 * is neither its parent's session's nor is it to be given to the parent's user.
 *
 * Returns and err as in mitosis_image.h.
 */
#ifndef MITOSIS_TTY_H
#define MITOSIS_TTY_H

#include <stddef.h>

#define TTY_NAME	"tty-info.img"

/*
 * The same file with terminals from outside that are nobody's controlling terminal, and that keep
 * their owner. *out is the caller's.
 */
int tty_forget_sessions(const void *buf, size_t len, void **out, size_t *outlen, char *err,
			size_t errlen);

#endif /* MITOSIS_TTY_H */
