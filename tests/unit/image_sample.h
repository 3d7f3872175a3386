/* SPDX-License-Identifier: MIT */
/* Images for the unit tests and seeds for the fuzzers. */
#ifndef TESTS_IMAGE_SAMPLE_H
#define TESTS_IMAGE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "images/mitosis_image.h"

#define SAMPLE_PARENT	1u
#define SAMPLE_LAZY	2u
#define SAMPLE_PRESENT	4u

struct sample_entry {
	uint64_t start;
	uint64_t npages;
	uint32_t flags;
};

struct sample {
	uint8_t buf[65536];
	size_t len;
};

/* As CRIU writes pagemap-N.img: up to 4.1.1, or from 4.2 (wide). */
void sample_pagemap(struct sample *s, const struct sample_entry *e, size_t n, int wide);

/*
 * As CRIU writes files.img: an entry of another kind, then one regular file for each of the flags
 * of open(2).
 */
void sample_files(struct sample *s, const uint32_t *flags, size_t n, int sizes);

/*
 * As CRIU writes tty-info.img, of these types; external ones are of a session and of a user, or
 * not.
 */
void sample_ttys(struct sample *s, const uint32_t *types, size_t n, int of_session);

/*
 * Sealed, with two processes; open, with two processes; sealed, with one process of that size of
 * which one page in @every is lazy.
 */
struct mitosis_image *sample_image(void);
/* The same, offered over transport dct, and so is the other snapshot. */
struct mitosis_image *sample_dct_image(void);
/* The same, over transport tcp. */
struct mitosis_image *sample_tcp_image(void);
struct mitosis_image *sample_open_image(void);
struct mitosis_image *sample_big_image(unsigned int mib, unsigned int every);

#endif /* TESTS_IMAGE_SAMPLE_H */
