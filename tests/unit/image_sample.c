// SPDX-License-Identifier: MIT
#include "tests/unit/image_sample.h"

#include <stdlib.h>
#include <string.h>

#include "images/pagemap.h"

static void sample_u32(struct sample *s, uint32_t v)
{
	memcpy(s->buf + s->len, &v, 4);
	s->len += 4;
}

static void sample_varint(struct sample *s, uint64_t v)
{
	for (; v > 127; v >>= 7)
		s->buf[s->len++] = (uint8_t)(v | 128);
	s->buf[s->len++] = (uint8_t)v;
}

static void sample_field(struct sample *s, unsigned int field, uint64_t v)
{
	s->buf[s->len++] = (uint8_t)(field << 3);
	sample_varint(s, v);
}

static void sample_record_end(struct sample *s, size_t begin)
{
	uint32_t n = (uint32_t)(s->len - begin - 4);

	memcpy(s->buf + begin, &n, 4);
}

void sample_pagemap(struct sample *s, const struct sample_entry *e, size_t n, int wide)
{
	size_t i, begin;

	s->len = 0;
	sample_u32(s, 0x54564319);
	sample_u32(s, 0x56084025);
	begin = s->len;
	sample_u32(s, 0);
	sample_field(s, 1, 1);
	sample_record_end(s, begin);
	for (i = 0; i < n; i++) {
		begin = s->len;
		sample_u32(s, 0);
		sample_field(s, 1, e[i].start);
		sample_field(s, 2, wide ? 0 : (uint32_t)e[i].npages);
		sample_field(s, 4, e[i].flags);
		if (wide)
			sample_field(s, 5, e[i].npages);
		sample_record_end(s, begin);
	}
}

static void sample_bytes(struct sample *s, unsigned int field, const void *bytes, size_t n)
{
	s->buf[s->len++] = (uint8_t)(field << 3 | 2);
	sample_varint(s, n);
	memcpy(s->buf + s->len, bytes, n);
	s->len += n;
}

/* @size: whether the file's size is said. Between its fields are some that only CRIU knows. */
static void sample_file(struct sample *s, uint32_t id, uint32_t flags, int size)
{
	static struct sample reg;
	size_t begin = s->len;

	reg.len = 0;
	sample_field(&reg, 1, id);
	sample_field(&reg, 2, flags);
	sample_field(&reg, 3, 4711);
	sample_bytes(&reg, 6, "/var/log/x", 10);
	if (size)
		sample_field(&reg, 8, 123456);
	sample_field(&reg, 10, 0100644);
	sample_u32(s, 0);
	sample_field(s, 1, 1);
	sample_field(s, 2, id);
	sample_bytes(s, 3, reg.buf, reg.len);
	sample_record_end(s, begin);
}

void sample_files(struct sample *s, const uint32_t *flags, size_t n, int sizes)
{
	size_t i, begin;

	s->len = 0;
	sample_u32(s, 0x54564319);
	sample_u32(s, 0x56303138);
	begin = s->len;
	sample_u32(s, 0);
	sample_field(s, 1, 4);
	sample_field(s, 2, 99);
	sample_bytes(s, 4, "\x08\x01", 2);
	sample_record_end(s, begin);
	for (i = 0; i < n; i++)
		sample_file(s, (uint32_t)i + 1, flags[i], sizes || !(flags[i] & 3));
}

void sample_ttys(struct sample *s, const uint32_t *types, size_t n, int of_session)
{
	size_t i, begin;

	s->len = 0;
	sample_u32(s, 0x54564319);
	sample_u32(s, 0x59453036);
	for (i = 0; i < n; i++) {
		int forgotten = types[i] == 5 && !of_session;

		begin = s->len;
		sample_u32(s, 0);
		sample_field(s, 1, i + 1);
		sample_field(s, 2, types[i]);
		sample_field(s, 3, 0);
		sample_field(s, 6, forgotten ? 0 : 4711);
		sample_field(s, 7, forgotten ? 0 : 4712);
		sample_field(s, 8, 0x8803);
		sample_bytes(s, 9, "\x08\x01", 2);
		if (!forgotten) {
			sample_field(s, 14, 1001);
			sample_field(s, 15, 5);
		}
		sample_record_end(s, begin);
	}
}

static struct mitosis_image *sample_begin(void)
{
	struct mitosis_image *img = mitosis_image_new();
	size_t i;

	if (!img || mitosis_image_add_addr(img, "10.77.0.1") ||
	    mitosis_image_add_addr(img, "fd00::1"))
		abort();
	img->snapshot = 0x1122334455667788;
	for (i = 0; i < sizeof(img->key); i++)
		img->key[i] = (uint8_t)(0xa0 + i);
	img->port = MITOSIS_PORT;
	img->host = strdup("source");
	img->created = 1700000000;
	return img;
}

static void *sample_copy(const void *from, size_t len)
{
	void *copy = malloc(len);

	if (!copy)
		abort();
	return memcpy(copy, from, len);
}

static void sample_add(struct mitosis_image *img, uint32_t pid, const struct sample_entry *e,
		       size_t n, const struct mitosis_region *r, size_t nr)
{
	struct mitosis_image_mm *mm = mitosis_image_add_mm(img, pid);
	static struct sample s;
	char err[256];
	void *rest;

	sample_pagemap(&s, e, n, pid & 1);
	if (!mm ||
	    pagemap_lazy_runs(s.buf, s.len, &mm->pages.runs, &mm->pages.nruns, err, sizeof(err)) ||
	    pagemap_strip(s.buf, s.len, &rest, &mm->pagemap_len, err, sizeof(err)))
		abort();
	mm->pagemap = rest;
	mm->pages.regions = sample_copy(r, nr * sizeof(*r));
	mm->pages.nregions = nr;
}

/* Two runs of one region of another snapshot. */
static void sample_inherit(struct mitosis_image *img, struct mitosis_image_mm *mm)
{
	static const struct mitosis_image_parent parent = {
		.snapshot = 0xabcdef, .key = "0123456789abcde", .port = 7573, .addr = "fd00::9"
	};
	static const struct mitosis_run runs[] = { { 0x7f0000300000, 3 }, { 0x7f0000308000, 1 } };
	static const struct mitosis_region region = { 0x7f0000300000, 9, 11 };
	struct mitosis_image_inherited *in = mitosis_image_add_inherited(img, mm, &parent);

	if (!in)
		abort();
	in->pages.runs = sample_copy(runs, sizeof(runs));
	in->pages.nruns = 2;
	in->pages.regions = sample_copy(&region, sizeof(region));
	in->pages.nregions = 1;
}

struct mitosis_image *sample_image(void)
{
	static const struct sample_entry e1[] = {
		{ 0x400000, 3, SAMPLE_LAZY },
		{ 0x404000, 1, SAMPLE_LAZY },
		{ 0x7fe000, 4, SAMPLE_LAZY },
		{ 0x900000, 1, SAMPLE_PRESENT },
	};
	static const struct mitosis_region r1[] = {
		{ 0x400000, 5, 0x1234 }, { 0x7fe000, 2, 0x1235 }, { 0x800000, 2, 0xfffffff0 },
	};
	static const struct sample_entry e2[] = {
		{ 0x7f0000000000, 600, SAMPLE_LAZY }, { 0x7fff00000000, 2, SAMPLE_PRESENT },
	};
	static const struct mitosis_region r2[] = {
		{ 0x7f0000000000, 512, 7 }, { 0x7f0000200000, 88, 0 },
	};
	struct mitosis_image *img = sample_begin();

	img->state = MITOSIS_IMAGE_SEALED;
	img->flags = MITOSIS_HOLD_F_ONESHOT;
	sample_add(img, 4243, e2, 2, r2, 2);
	sample_add(img, 4242, e1, 4, r1, 3);
	sample_inherit(img, mitosis_image_find_mm(img, 4243));
	return img;
}

struct mitosis_image *sample_dct_image(void)
{
	static const struct mitosis_dct dct = {
		.gid = { 0xfe, 0x80, [8] = 2, [15] = 1 },
		.key = 0x8877665544332211,
		.number = 0x123456,
		.lid = 1,
		.link = MITOSIS_DCT_IB,
		.mtu = 5,
	};
	struct mitosis_image *img = sample_image();

	while (img->naddrs)
		free(img->addrs[--img->naddrs]);
	img->dct = dct;
	img->parents[0].dct = dct;
	img->parents[0].dct.link = MITOSIS_DCT_ROCE;
	img->parents[0].dct.lid = 0;
	img->parents[0].dct.number = 1;
	img->parents[0].port = 0;
	return img;
}

struct mitosis_image *sample_tcp_image(void)
{
	struct mitosis_image *img = sample_image();

	img->flags |= MITOSIS_F_INSECURE;
	strcpy(img->transport, "tcp");
	strcpy(img->parents[0].transport, "tcp");
	img->parents[0].insecure = true;
	return img;
}

struct mitosis_image *sample_open_image(void)
{
	struct mitosis_image *img = sample_begin();

	if (!mitosis_image_add_mm(img, 7) || !mitosis_image_add_mm(img, 9))
		abort();
	return img;
}

struct mitosis_image *sample_big_image(unsigned int mib, unsigned int every)
{
	struct mitosis_image *img = sample_begin();
	size_t n = mib / 2, nruns = mib * 256ULL / every, i;
	struct mitosis_region *r = calloc(n, sizeof(*r));
	struct sample_entry e[] = {
		{ 0x7f0000000000, mib * 256ULL, SAMPLE_LAZY },
		{ 0x7fff00000000, 1, SAMPLE_PRESENT },
	};
	struct mitosis_image_pages *pages;

	img->state = MITOSIS_IMAGE_SEALED;
	for (i = 0; i < n; i++) {
		r[i].start = e[0].start + ((uint64_t)i << MITOSIS_REGION_SHIFT);
		r[i].npages = 512;
		r[i].rkey = 0x80000000u + (uint32_t)i;
	}
	sample_add(img, 99, e, 2, r, n);
	free(r);
	if (every == 1)
		return img;
	pages = &img->mms[0].pages;
	free(pages->runs);
	pages->runs = calloc(nruns, sizeof(*pages->runs));
	if (!pages->runs)
		abort();
	pages->nruns = nruns;
	for (i = 0; i < nruns; i++)
		pages->runs[i] = (struct mitosis_run){ e[0].start + i * every * 4096, 1 };
	return img;
}
