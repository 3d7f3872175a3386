// SPDX-License-Identifier: MIT
/* Writes one good file of each kind for the fuzzers to begin with. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/image_sample.h"

static int seed_write(int dirfd, const char *name, const void *buf, size_t len)
{
	char err[256];

	if (!mitosis_file_write(dirfd, name, buf, len, false, err, sizeof(err)))
		return 0;
	fprintf(stderr, "%s\n", err);
	return 1;
}

static int seed_image(int dirfd, const char *name, struct mitosis_image *img)
{
	char err[256];
	void *buf;
	size_t len;
	int ret;

	if (mitosis_image_format(img, &buf, &len, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	ret = seed_write(dirfd, name, buf, len);
	free(buf);
	mitosis_image_free(img);
	return ret;
}

int main(int argc, char **argv)
{
	static const struct sample_entry e[] = {
		{ 0x1000, 2, SAMPLE_LAZY },
		{ 0x3000, 1, SAMPLE_PRESENT },
		{ 0x5000, 1, SAMPLE_PARENT },
		{ 0x7f0000000000, 600, SAMPLE_LAZY },
	};
	static const uint32_t flags[] = { O_RDONLY, O_WRONLY | O_APPEND, O_RDWR };
	static const uint32_t types[] = { 5, 1 };
	static struct sample s[2];
	int dirfd;

	if (argc != 2 || chdir(argv[1])) {
		fprintf(stderr, "usage: make_seeds DIRECTORY: it must exist\n");
		return 2;
	}
	sample_pagemap(&s[0], e, 4, 0);
	sample_pagemap(&s[1], e, 4, 1);
	dirfd = open("pagemap.seeds", O_RDONLY | O_DIRECTORY);
	if (seed_write(dirfd, "narrow", s[0].buf, s[0].len) ||
	    seed_write(dirfd, "wide", s[1].buf, s[1].len))
		return 1;
	close(dirfd);
	dirfd = open("files.seeds", O_RDONLY | O_DIRECTORY);
	sample_files(&s[0], flags, 3, 1);
	if (seed_write(dirfd, "three", s[0].buf, s[0].len))
		return 1;
	close(dirfd);
	dirfd = open("tty.seeds", O_RDONLY | O_DIRECTORY);
	sample_ttys(&s[0], types, 2, 1);
	if (seed_write(dirfd, "two", s[0].buf, s[0].len))
		return 1;
	close(dirfd);
	dirfd = open("image.seeds", O_RDONLY | O_DIRECTORY);
	if (seed_image(dirfd, "sealed", sample_image()) ||
	    seed_image(dirfd, "open", sample_open_image()) ||
	    seed_image(dirfd, "dct", sample_dct_image()) ||
	    seed_image(dirfd, "tcp", sample_tcp_image()) ||
	    seed_image(dirfd, "big", sample_big_image(64, 1)) ||
	    seed_image(dirfd, "holes", sample_big_image(64, 3)))
		return 1;
	close(dirfd);
	return 0;
}
