// SPDX-License-Identifier: MIT
/* mitosis.img and pagemap images, right and wrong ones. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/files.h"
#include "images/mitosis_image.h"
#include "images/pagemap.h"
#include "images/record.h"
#include "images/runs.h"
#include "images/tty.h"
#include "mitosis.pb-c.h"
#include "tests/unit/image_sample.h"
#include "tests/unit/unit.h"

static char err[256];

/* An error is one sentence: it says something, once, without a line end. */
static void sentence_is_fit(void)
{
	CU_ASSERT(strlen(err) > 20);
	CU_ASSERT(strlen(err) < sizeof(err) - 1);
	CU_ASSERT_PTR_NULL(strchr(err, '\n'));
	CU_ASSERT_PTR_NOT_NULL(strchr(err, ':'));
}

static void refused(const struct mitosis_image *img, const char *word)
{
	err[0] = 0;
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), -EINVAL);
	sentence_is_fit();
	if (!strstr(err, word))
		printf("    expected \"%s\" in \"%s\"\n", word, err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, word));
}

/* -------- pagemap -------- */

static void pagemap_runs_are_found(void)
{
	static const struct sample_entry e[] = {
		{ 0x1000, 2, SAMPLE_LAZY },
		{ 0x3000, 1, SAMPLE_LAZY },
		{ 0x4000, 1, SAMPLE_PRESENT },
		{ 0x5000, 1, SAMPLE_LAZY },
		{ 0x7000, 3, SAMPLE_LAZY },
		{ 0xa000, 1, SAMPLE_PARENT },
		{ 0xb000, 1, SAMPLE_LAZY | SAMPLE_PRESENT },
	};
	struct mitosis_run *runs;
	struct sample s;
	size_t n;
	int wide;

	for (wide = 0; wide < 2; wide++) {
		sample_pagemap(&s, e, sizeof(e) / sizeof(e[0]), wide);
		CU_ASSERT_EQUAL_FATAL(pagemap_lazy_runs(s.buf, s.len, &runs, &n, err, sizeof(err)),
				      0);
		CU_ASSERT_EQUAL_FATAL(n, 3);
		CU_ASSERT(runs[0].start == 0x1000 && runs[0].npages == 3);
		CU_ASSERT(runs[1].start == 0x5000 && runs[1].npages == 1);
		CU_ASSERT(runs[2].start == 0x7000 && runs[2].npages == 3);
		free(runs);
	}
}

static void pagemap_without_lazy_pages(void)
{
	static const struct sample_entry e[] = { { 0x1000, 2, SAMPLE_PRESENT } };
	struct mitosis_run *runs;
	struct sample s;
	void *out;
	size_t n;

	sample_pagemap(&s, e, 1, 0);
	CU_ASSERT_EQUAL_FATAL(pagemap_lazy_runs(s.buf, s.len, &runs, &n, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_PTR_NULL(runs);
	CU_ASSERT_EQUAL_FATAL(pagemap_strip(s.buf, s.len, &out, &n, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(n, s.len);
	CU_ASSERT(n == s.len && !memcmp(out, s.buf, n));
	free(out);
}

static void pagemap_strip_keeps_the_rest(void)
{
	static const struct sample_entry e[] = {
		{ 0x1000, 2, SAMPLE_LAZY },
		{ 0x4000, 1, SAMPLE_PRESENT },
		{ 0x5000, 1, SAMPLE_LAZY },
		{ 0x7000, 3, SAMPLE_PARENT },
		{ 0xb000, 1, SAMPLE_LAZY | SAMPLE_PRESENT },
	};
	static const struct sample_entry kept[] = {
		{ 0x4000, 1, SAMPLE_PRESENT }, { 0x7000, 3, SAMPLE_PARENT },
		{ 0xb000, 1, SAMPLE_LAZY | SAMPLE_PRESENT },
	};
	struct sample s, want;
	void *out;
	size_t n;
	int wide;

	for (wide = 0; wide < 2; wide++) {
		sample_pagemap(&s, e, 5, wide);
		sample_pagemap(&want, kept, 3, wide);
		CU_ASSERT_EQUAL_FATAL(pagemap_strip(s.buf, s.len, &out, &n, err, sizeof(err)), 0);
		CU_ASSERT(n == want.len && !memcmp(out, want.buf, n));
		free(out);
	}
}

static void pagemap_strip_keeps_one(void)
{
	static const struct sample_entry e[] = { { 0x1000, 2, SAMPLE_LAZY } };
	struct sample s;
	void *out;
	size_t n;

	sample_pagemap(&s, e, 1, 0);
	CU_ASSERT_EQUAL(pagemap_strip(s.buf, s.len, &out, &n, err, sizeof(err)), -ENODATA);
	CU_ASSERT_PTR_NULL(out);
	sentence_is_fit();
}

static void pagemap_refused(const struct sample *s)
{
	struct mitosis_run *runs;
	void *out;
	size_t n;

	err[0] = 0;
	CU_ASSERT_EQUAL(pagemap_lazy_runs(s->buf, s->len, &runs, &n, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NULL(runs);
	sentence_is_fit();
	CU_ASSERT_EQUAL(pagemap_strip(s->buf, s->len, &out, &n, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NULL(out);
}

static void pagemap_hostile_entries(void)
{
	static const struct sample_entry bad[][2] = {
		/* overlap */
		{ { 0x1000, 2, SAMPLE_PRESENT }, { 0x2000, 1, SAMPLE_LAZY } },
		/* descending */
		{ { 0x5000, 1, SAMPLE_PRESENT }, { 0x1000, 1, SAMPLE_LAZY } },
		{ { 0x5000, 1, SAMPLE_PRESENT }, { 0x5000, 1, SAMPLE_PRESENT } },	/* twice */
		/* not a page */
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0x4800, 1, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0x4000, 0, SAMPLE_LAZY } },		/* empty */
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0x4000, UINT64_MAX, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0x4000, UINT64_MAX / 4096, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0x4000, 1ULL << 52, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 1ULL << 56, 1, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { (1ULL << 56) - 4096, 1, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0xfffffffffffff000, 1, SAMPLE_LAZY } },
		{ { 0x1000, 1, SAMPLE_PRESENT }, { 0x4000, 1, SAMPLE_LAZY | SAMPLE_PARENT } },
	};
	struct sample s;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sample_pagemap(&s, bad[i], 2, 1);
		pagemap_refused(&s);
	}
}

static void pagemap_last_page_of_user_space(void)
{
	static const struct sample_entry e[] = { { (1ULL << 56) - 8192, 1, SAMPLE_LAZY } };
	struct mitosis_run *runs;
	struct sample s;
	size_t n;

	sample_pagemap(&s, e, 1, 0);
	CU_ASSERT_EQUAL(pagemap_lazy_runs(s.buf, s.len, &runs, &n, err, sizeof(err)), 0);
	free(runs);
}

static void pagemap_truncated(void)
{
	static const struct sample_entry e[] = {
		{ 0x1000, 2, SAMPLE_LAZY }, { 0x4000, 1, SAMPLE_PRESENT },
	};
	struct mitosis_run *runs;
	struct sample s, cut;
	size_t n, len, good = 0;

	sample_pagemap(&s, e, 2, 1);
	for (len = 0; len < s.len; len++) {
		cut.len = len;
		memcpy(cut.buf, s.buf, len);
		if (!pagemap_lazy_runs(cut.buf, len, &runs, &n, err, sizeof(err))) {
			free(runs);
			good++;	/* the end of an entry can not be told from the end of the file */
		} else {
			pagemap_refused(&cut);
		}
	}
	CU_ASSERT_EQUAL(good, 2);
}

static void pagemap_garbage(void)
{
	static const struct sample_entry e[] = { { 0x1000, 2, SAMPLE_LAZY } };
	struct sample s;

	sample_pagemap(&s, e, 1, 0);
	s.buf[0] ^= 1;
	pagemap_refused(&s);
	sample_pagemap(&s, e, 1, 0);
	s.buf[4] ^= 1;
	pagemap_refused(&s);
	sample_pagemap(&s, e, 1, 0);
	memset(s.buf + 8, 0xff, 4);		/* the head's length */
	pagemap_refused(&s);
	sample_pagemap(&s, e, 1, 0);
	s.len = 8;				/* no head */
	pagemap_refused(&s);
}

static void pagemap_names(void)
{
	char name[PAGEMAP_NAME_LEN];

	pagemap_name(4321, name);
	CU_ASSERT_STRING_EQUAL(name, "pagemap-4321.img");
	CU_ASSERT_EQUAL(pagemap_name_pid(name), 4321);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap-shmem-4321.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap-0.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap--1.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap-+1.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap- 1.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap-01.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap-1.imgx"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pagemap-99999999999.img"), 0);
	CU_ASSERT_EQUAL(pagemap_name_pid("pages-1.img"), 0);
}

/* -------- mitosis.img: the check -------- */

static void image_good_ones(void)
{
	struct mitosis_image *img = sample_image();

	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	mitosis_image_free(img);
	img = sample_open_image();
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	mitosis_image_free(img);
	mitosis_image_free(NULL);
}

static void image_bad_header_fields(void)
{
	struct mitosis_image *img = sample_image();

	img->snapshot = 0;
	refused(img, "snapshot");
	img->snapshot = 1;
	img->port = 0;
	refused(img, "port");
	img->port = 1;
	img->flags = ~0u;
	refused(img, "flags");
	img->flags = 0;
	img->state = 0;
	refused(img, "state");
	img->state = 4;
	refused(img, "state");
	mitosis_image_free(img);
}

static void image_bad_addresses(void)
{
	static const char *const bad[] = {
		"", "host.example", "10.0.0.1 ", "10.0.0.256", "10.0.0.1;reboot", "fe80::1%eth0",
		"::g", "10.1",
	};
	static const char * const good[] = { "10.0.0.1", "::1", "fd00::1", "::ffff:1.2.3.4" };
	struct mitosis_image *img = sample_image();
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		free(img->addrs[0]);
		img->addrs[0] = strdup(bad[i]);
		refused(img, "address");
	}
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		free(img->addrs[0]);
		img->addrs[0] = strdup(good[i]);
		CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	}
	for (i = img->naddrs; i < MITOSIS_IMAGE_MAX_ADDRS; i++)
		CU_ASSERT_EQUAL(mitosis_image_add_addr(img, "::1"), 0);
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(mitosis_image_add_addr(img, "::1"), 0);
	refused(img, "address");
	mitosis_image_free(img);
	img = sample_image();
	while (img->naddrs)
		free(img->addrs[--img->naddrs]);
	refused(img, "address");
	mitosis_image_free(img);
}

static void image_bad_dct(void)
{
	struct mitosis_image *img = sample_dct_image();
	struct mitosis_dct good = img->dct;

	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	/* one or the other */
	CU_ASSERT_EQUAL(mitosis_image_add_addr(img, "::1"), 0);
	refused(img, "address");
	free(img->addrs[--img->naddrs]);
	img->dct.number = 0;
	refused(img, "address");
	img->dct.number = 1U << 24;
	refused(img, "DC target");
	img->dct = good;
	img->dct.link = 0;
	refused(img, "DC target");
	img->dct.link = MITOSIS_DCT_ROCE + 1;
	refused(img, "DC target");
	img->dct = good;
	img->dct.mtu = 0;
	refused(img, "DC target");
	img->dct.mtu = 6;
	refused(img, "DC target");
	img->dct = good;
	img->parents[0].dct.mtu = 6;
	refused(img, "address");
	img->parents[0].dct.mtu = 5;
	img->parents[0].port = 1;
	refused(img, "port");
	mitosis_image_free(img);
}

static void image_transports(void)
{
	struct mitosis_image *img = sample_image(), *tcp = sample_tcp_image();
	struct mitosis_image *dct = sample_dct_image();

	CU_ASSERT_STRING_EQUAL(mitosis_image_transport(img), "rc");
	CU_ASSERT_STRING_EQUAL(mitosis_image_transport(tcp), "tcp");
	CU_ASSERT_STRING_EQUAL(mitosis_image_transport(dct), "dct");
	strcpy(img->transport, "dct");
	refused(img, "transport");
	strcpy(img->transport, "rc");
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	strcpy(dct->transport, "dct");
	CU_ASSERT_EQUAL(mitosis_image_check(dct, err, sizeof(err)), 0);
	strcpy(dct->parents[0].transport, "tcp");
	refused(dct, "parent 0 has a wrong transport");
	strcpy(dct->parents[0].transport, "");
	strcpy(dct->transport, "tcp");
	refused(dct, "transport");
	mitosis_image_free(img);
	mitosis_image_free(tcp);
	mitosis_image_free(dct);
}

static void image_bad_host(void)
{
	struct mitosis_image *img = sample_image();

	free(img->host);
	img->host = calloc(1, MITOSIS_IMAGE_MAX_HOST + 1);
	memset(img->host, 'a', MITOSIS_IMAGE_MAX_HOST);
	refused(img, "name");
	img->host[MITOSIS_IMAGE_MAX_HOST - 1] = 0;
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	mitosis_image_free(img);
}

static void image_bad_processes(void)
{
	struct mitosis_image *img = sample_image();
	uint32_t pid = img->mms[1].pid;

	img->mms[1].pid = img->mms[0].pid;
	refused(img, "order");
	img->mms[1].pid = img->mms[0].pid - 1;
	refused(img, "order");
	img->mms[1].pid = 0x80000000u;
	refused(img, "order");
	img->mms[1].pid = pid;
	img->mms[0].pid = 0;
	refused(img, "order");
	mitosis_image_free(img);
}

static void image_bad_regions(void)
{
	struct mitosis_image *img = sample_image();
	struct mitosis_region *r = img->mms[0].pages.regions, keep0 = r[0], keep1 = r[1];

	CU_ASSERT_FATAL(img->mms[0].pages.nregions >= 2);
	r[0].start += 8;
	refused(img, "within a page");
	r[0] = keep0;
	r[0].npages = 0;
	refused(img, "2 MiB");
	r[0].npages = 513;
	refused(img, "2 MiB");
	r[0].npages = UINT32_MAX;
	refused(img, "2 MiB");
	r[0] = keep0;
	r[1].start = keep0.start;
	refused(img, "order");
	r[1].start = keep0.start + (keep0.npages - 1) * 4096ULL;
	refused(img, "order");
	r[1] = keep1;
	r[1].start = (1ULL << 56) - 4096;
	r[1].npages = 1;
	refused(img, "user space");
	r[1].start = 0xfffffffffffff000;
	refused(img, "user space");
	r[1].start = 0xffffffffffe00000;
	r[1].npages = 512;
	refused(img, "user space");
	mitosis_image_free(img);
}

/* A block boundary within a region, though it is small enough. */
static void image_region_across_blocks(void)
{
	struct mitosis_image *img = sample_image();

	img->mms[0].pages.regions[1].start = 0x7ff000;
	img->mms[0].pages.regions[1].npages = 2;
	refused(img, "2 MiB");
	mitosis_image_free(img);
}

static void image_page_in_no_region(void)
{
	struct mitosis_image *img = sample_image();
	struct mitosis_image_mm *mm = &img->mms[0];

	mm->pages.regions[0].npages--;
	refused(img, "no region");
	mm->pages.regions[0].npages++;
	mm->pages.regions[0].start += 4096;
	mm->pages.regions[0].npages--;
	refused(img, "no region");
	mm->pages.regions[0].start -= 4096;
	mm->pages.regions[0].npages++;
	mm->pages.nregions--;
	refused(img, "no region");
	mm->pages.nregions = 0;
	refused(img, "no region");
	mitosis_image_free(img);
}

static void image_bad_pagemap(void)
{
	static const struct sample_entry e[] = {
		{ 0x400000, 1, SAMPLE_LAZY }, { 0x900000, 1, SAMPLE_PRESENT }
	};
	static struct sample s;
	struct mitosis_image *img = sample_image();

	img->mms[0].pagemap[0] ^= 0xff;
	refused(img, "pagemap");
	img->mms[0].pagemap[0] ^= 0xff;
	img->mms[0].pagemap_len--;
	refused(img, "pagemap");
	img->mms[0].pagemap_len = 0;
	refused(img, "pagemap");
	mitosis_image_free(img);
	img = sample_image();
	sample_pagemap(&s, e, 2, 0);
	img->mms[0].pagemap = realloc(img->mms[0].pagemap, s.len);
	memcpy(img->mms[0].pagemap, s.buf, s.len);
	img->mms[0].pagemap_len = s.len;
	refused(img, "its pagemap has lazy pages");
	mitosis_image_free(img);
}

static void image_state_and_contents_agree(void)
{
	struct mitosis_image *img = sample_image();
	size_t i;

	img->state = MITOSIS_IMAGE_OPEN;
	refused(img, "before it is sealed");
	mitosis_image_free(img);
	img = sample_open_image();
	img->state = MITOSIS_IMAGE_SEALED;
	refused(img, "no pagemap");
	mitosis_image_free(img);
	img = sample_image();
	img->state = MITOSIS_IMAGE_PRECOPY;
	refused(img, "a pagemap");
	for (i = 0; i < img->nmms; i++)
		img->mms[i].pagemap_len = 0;
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	img->mms[0].pages.runs[0].npages += 1 << 20;
	refused(img, "");
	mitosis_image_free(img);
	img = mitosis_image_new();
	img->snapshot = 1;
	img->port = 1;
	mitosis_image_add_addr(img, "::1");
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	img->state = MITOSIS_IMAGE_SEALED;
	refused(img, "no process");
	mitosis_image_free(img);
}

static void image_bad_inheritance(void)
{
	struct mitosis_image *img = sample_image();
	struct mitosis_image_mm *mm = mitosis_image_find_mm(img, 4243);
	struct mitosis_image_inherited *in = &mm->inherited[0];
	struct mitosis_image_parent more = img->parents[0];
	unsigned int i;

	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	in->parent = 1;
	refused(img, "parent 1 of 1");
	in->parent = 0;
	in->pages.runs[1].start = in->pages.runs[0].start;
	refused(img, "run 1 is out of order");
	in->pages.runs[1].start = in->pages.runs[0].start + 8 * 4096;
	in->pages.runs[1].npages = 2;
	refused(img, "in no region");
	in->pages.runs[1].npages = UINT64_MAX / 4096;
	refused(img, "run 1 is out of order");
	in->pages.runs[1].npages = 0;
	refused(img, "run 1 is out of order");
	in->pages.runs[1].npages = 1;
	in->pages.regions[0].npages = 513;
	refused(img, "block of 2 MiB");
	in->pages.regions[0].npages = 9;
	img->parents[0].snapshot = img->snapshot;
	refused(img, "wrong snapshot");
	img->parents[0].snapshot = 0xabcdef;
	img->parents[0].port = 0;
	refused(img, "wrong snapshot, port");
	img->parents[0].port = 7573;
	img->parents[0].addr[0] = 'x';
	refused(img, "address");
	img->parents[0].addr[0] = 'f';
	CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
	more.addr = "10.0.0.9";
	for (i = 1; i <= MITOSIS_MAX_PARENTS; i++) {
		more.snapshot = i;
		CU_ASSERT_EQUAL(mitosis_image_check(img, err, sizeof(err)), 0);
		CU_ASSERT_PTR_NOT_NULL(mitosis_image_add_inherited(img, mm, &more));
	}
	refused(img, "inherits from 9 snapshots");
	img->nparents--;
	free(img->parents[img->nparents].addr);
	mm->inherited[1].parent = 0;
	mm->inherited[8].parent = 1;
	refused(img, "from parent 0 twice");
	mitosis_image_free(img);
}

static void image_mms_are_sorted(void)
{
	static const uint32_t pids[] = { 50, 10, 70, 60, 1, 2000000 };
	struct mitosis_image *img = mitosis_image_new();
	size_t i;

	for (i = 0; i < sizeof(pids) / sizeof(pids[0]); i++)
		CU_ASSERT_PTR_NOT_NULL(mitosis_image_add_mm(img, pids[i]));
	CU_ASSERT_PTR_NULL(mitosis_image_add_mm(img, 60));
	CU_ASSERT_EQUAL(errno, EEXIST);
	CU_ASSERT_EQUAL(img->nmms, 6);
	for (i = 1; i < img->nmms; i++)
		CU_ASSERT(img->mms[i - 1].pid < img->mms[i].pid);
	CU_ASSERT_PTR_EQUAL(mitosis_image_find_mm(img, 50), &img->mms[2]);
	CU_ASSERT_PTR_NULL(mitosis_image_find_mm(img, 51));
	mitosis_image_free(img);
}

/* -------- mitosis.img: the file -------- */

static void pages_are_equal(const struct mitosis_image_pages *a,
			    const struct mitosis_image_pages *b)
{
	CU_ASSERT_FATAL(a->nruns == b->nruns && a->nregions == b->nregions);
	CU_ASSERT(!a->nruns || !memcmp(a->runs, b->runs, a->nruns * sizeof(*a->runs)));
	CU_ASSERT(!a->nregions ||
		  !memcmp(a->regions, b->regions, a->nregions * sizeof(*a->regions)));
}

static void images_are_equal(const struct mitosis_image *a, const struct mitosis_image *b)
{
	size_t i, j;

	CU_ASSERT(a->state == b->state && a->snapshot == b->snapshot && a->port == b->port);
	CU_ASSERT(a->flags == b->flags && a->created == b->created);
	CU_ASSERT(!memcmp(a->key, b->key, sizeof(a->key)));
	CU_ASSERT(!a->host == !b->host);
	if (a->host && b->host)
		CU_ASSERT_STRING_EQUAL(a->host, b->host);
	CU_ASSERT(!memcmp(&a->dct, &b->dct, sizeof(a->dct)));
	CU_ASSERT_STRING_EQUAL(a->transport, b->transport);
	CU_ASSERT_EQUAL_FATAL(a->naddrs, b->naddrs);
	for (i = 0; i < a->naddrs; i++)
		CU_ASSERT_STRING_EQUAL(a->addrs[i], b->addrs[i]);
	CU_ASSERT_EQUAL_FATAL(a->nmms, b->nmms);
	for (i = 0; i < a->nmms; i++) {
		const struct mitosis_image_mm *m = &a->mms[i], *n = &b->mms[i];

		CU_ASSERT_EQUAL(m->pid, n->pid);
		pages_are_equal(&m->pages, &n->pages);
		CU_ASSERT_EQUAL(m->pagemap_len, n->pagemap_len);
		if (m->pagemap_len && m->pagemap_len == n->pagemap_len)
			CU_ASSERT(!memcmp(m->pagemap, n->pagemap, m->pagemap_len));
		CU_ASSERT_EQUAL_FATAL(m->ninherited, n->ninherited);
		for (j = 0; j < m->ninherited; j++) {
			const struct mitosis_image_inherited *p = &m->inherited[j];
			const struct mitosis_image_inherited *q = &n->inherited[j];

			CU_ASSERT_EQUAL(p->parent, q->parent);
			pages_are_equal(&p->pages, &q->pages);
		}
	}
	CU_ASSERT_EQUAL_FATAL(a->nparents, b->nparents);
	for (i = 0; i < a->nparents; i++) {
		CU_ASSERT(a->parents[i].snapshot == b->parents[i].snapshot &&
			  a->parents[i].port == b->parents[i].port);
		CU_ASSERT(!memcmp(a->parents[i].key, b->parents[i].key, MITOSIS_KEY_LEN));
		CU_ASSERT_STRING_EQUAL(a->parents[i].addr, b->parents[i].addr);
		CU_ASSERT(!memcmp(&a->parents[i].dct, &b->parents[i].dct,
				  sizeof(a->parents[i].dct)));
		CU_ASSERT_STRING_EQUAL(a->parents[i].transport, b->parents[i].transport);
		CU_ASSERT_EQUAL(a->parents[i].insecure, b->parents[i].insecure);
	}
}

static void image_survives_the_file(void)
{
	struct mitosis_image *in[] = {
		sample_image(), sample_open_image(), sample_dct_image(), sample_tcp_image()
	};
	struct mitosis_image *out;
	void *buf;
	size_t len, i;

	for (i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
		CU_ASSERT_EQUAL_FATAL(mitosis_image_format(in[i], &buf, &len, err, sizeof(err)), 0);
		CU_ASSERT_EQUAL_FATAL(mitosis_image_parse(buf, len, &out, err, sizeof(err)), 0);
		images_are_equal(in[i], out);
		mitosis_image_free(out);
		mitosis_image_free(in[i]);
		free(buf);
	}
}

static void image_drops_inherited(void)
{
	struct mitosis_image *img = sample_image(), *out;
	uint64_t pages = mitosis_image_npages(img);
	void *buf;
	size_t len;

	CU_ASSERT(mitosis_image_ninherited(img) > 0);
	mitosis_image_drop_inherited(img);
	CU_ASSERT_EQUAL(mitosis_image_ninherited(img), 0);
	CU_ASSERT_EQUAL(img->nparents, 0);
	CU_ASSERT_EQUAL(mitosis_image_npages(img), pages);
	CU_ASSERT_EQUAL_FATAL(mitosis_image_format(img, &buf, &len, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL_FATAL(mitosis_image_parse(buf, len, &out, err, sizeof(err)), 0);
	images_are_equal(img, out);
	mitosis_image_free(out);
	mitosis_image_free(img);
	free(buf);
}

/* All pages, or one in so many: 64 KiB a GiB is what is promised. */
static void image_is_small(void)
{
	static const unsigned int every[] = { 1, 2, 3, 16, 512 };
	struct mitosis_image *img, *out;
	size_t len, i;
	void *buf;

	for (i = 0; i < sizeof(every) / sizeof(every[0]); i++) {
		img = sample_big_image(1024, every[i]);
		CU_ASSERT_EQUAL_FATAL(mitosis_image_format(img, &buf, &len, err, sizeof(err)), 0);
		CU_ASSERT(len < 64 * 1024);
		CU_ASSERT_EQUAL_FATAL(mitosis_image_parse(buf, len, &out, err, sizeof(err)), 0);
		images_are_equal(img, out);
		mitosis_image_free(out);
		mitosis_image_free(img);
		free(buf);
	}
}

static void image_of_too_many_runs(void)
{
	struct mitosis_image *img = sample_big_image(2 * MITOSIS_IMAGE_MAX_RUNS / 256 + 2, 2);
	void *buf;
	size_t len;

	CU_ASSERT_EQUAL(mitosis_image_format(img, &buf, &len, err, sizeof(err)), -EFBIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "scattered"));
	sentence_is_fit();
	mitosis_image_free(img);
}

static void image_not_written_when_bad(void)
{
	struct mitosis_image *img = sample_image();
	void *buf;
	size_t len;

	img->port = 0;
	CU_ASSERT_EQUAL(mitosis_image_format(img, &buf, &len, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NULL(buf);
	mitosis_image_free(img);
}

static void parse_refused(const void *buf, size_t len, int want)
{
	struct mitosis_image *img = (void *)1;
	int ret;

	err[0] = 0;
	ret = mitosis_image_parse(buf, len, &img, err, sizeof(err));
	CU_ASSERT_EQUAL(ret, want);
	CU_ASSERT_PTR_NULL(img);
	sentence_is_fit();
}

static void header_write(uint8_t *buf, uint32_t len)
{
	const uint32_t version = MITOSIS_IMAGE_VERSION;

	memcpy(buf, "MITOSIS\n", 8);
	memcpy(buf + 8, &version, 4);
	memcpy(buf + 12, &len, 4);
}

static void image_truncated_at_every_byte(void)
{
	struct mitosis_image *img = sample_image(), *out;
	uint8_t *buf, *cut;
	size_t len, n, whole = 0;
	uint32_t le;
	void *p;

	CU_ASSERT_EQUAL_FATAL(mitosis_image_format(img, &p, &len, err, sizeof(err)), 0);
	buf = p;
	for (n = 0; n < len; n++) {
		/* exactly as long, so that a sanitizer sees the next byte read */
		cut = malloc(n ? n : 1);
		memcpy(cut, buf, n);
		parse_refused(cut, n, -EINVAL);
		free(cut);
	}
	/* The same with a header that agrees, so that the message itself is found short. */
	for (n = 16; n < len; n++) {
		cut = malloc(n);
		memcpy(cut, buf, n);
		le = (uint32_t)(n - 16);
		memcpy(cut + 12, &le, 4);
		if (!mitosis_image_parse(cut, n, &out, err, sizeof(err))) {
			whole++;
			mitosis_image_free(out);
		}
		free(cut);
	}
	/* Without the second process, which needs the parent at the end, it is a whole message. */
	CU_ASSERT_EQUAL(whole, 1);
	free(buf);
	mitosis_image_free(img);
}

static void image_changed_at_every_bit(void)
{
	struct mitosis_image *img = sample_image(), *out;
	uint8_t *buf;
	size_t len, n;
	void *p;
	int bit;

	CU_ASSERT_EQUAL_FATAL(mitosis_image_format(img, &p, &len, err, sizeof(err)), 0);
	buf = p;
	for (n = 0; n < len; n++)
		for (bit = 0; bit < 8; bit++) {
			buf[n] ^= 1u << bit;
			if (!mitosis_image_parse(buf, len, &out, err, sizeof(err))) {
				CU_ASSERT(n >= 16);
				CU_ASSERT_EQUAL(mitosis_image_check(out, err, sizeof(err)), 0);
				mitosis_image_free(out);
			}
			buf[n] ^= 1u << bit;
		}
	free(buf);
	mitosis_image_free(img);
}

static void image_unknown_version(void)
{
	struct mitosis_image *img = sample_image();
	uint8_t *buf;
	size_t len;
	void *p;

	CU_ASSERT_EQUAL_FATAL(mitosis_image_format(img, &p, &len, err, sizeof(err)), 0);
	buf = p;
	buf[8] = MITOSIS_IMAGE_VERSION + 1;
	parse_refused(buf, len, -EPROTONOSUPPORT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "version 4"));
	buf[8] = 0;
	parse_refused(buf, len, -EPROTONOSUPPORT);
	free(buf);
	mitosis_image_free(img);
}

static void image_with_a_tail(void)
{
	struct mitosis_image *img = sample_image();
	uint8_t *buf;
	size_t len;
	void *p;

	CU_ASSERT_EQUAL_FATAL(mitosis_image_format(img, &p, &len, err, sizeof(err)), 0);
	buf = realloc(p, len + 1);
	buf[len] = 0;
	parse_refused(buf, len + 1, -EINVAL);
	free(buf);
	mitosis_image_free(img);
}

/* Messages that are small in the file and large in memory end at the allocator's limit. */
static void image_bomb(void)
{
	size_t len = 8u << 20, i;
	uint8_t *buf = malloc(len);
	uint32_t le = (uint32_t)(len - 16);

	memset(buf, 0, len);
	header_write(buf, le);
	for (i = 16; i + 6 <= len; i += 6)	/* field 7, an mm with a pid and empty pages */
		memcpy(buf + i, "\x3a\4\x08\1\x12", 6);
	parse_refused(buf, len, -EINVAL);
	for (i = 16; i < len; i += 2) {	/* field 15, unknown, empty */
		buf[i] = 0x7a;
		buf[i + 1] = 0;
	}
	parse_refused(buf, len, -EINVAL);
	free(buf);
}

/* An image of one process whose pages are these bytes. */
static void pages_refused(const char *pages, size_t n, const char *why)
{
	/* snapshot, key, address, port, flags, state */
	static const uint8_t msg[] = {
		0x09, 1, 0, 0, 0, 0, 0, 0, 0,
		0x12, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
		0x1a, 3, ':', ':', '1', 0x20, 1, 0x28, 0, 0x30, 2,
	};
	const uint8_t mm[] = { 0x3a, (uint8_t)(n + 4), 0x08, 1, 0x12, (uint8_t)n };
	uint8_t buf[256];
	size_t len = 16;

	memcpy(buf + len, msg, sizeof(msg));
	len += sizeof(msg);
	memcpy(buf + len, mm, sizeof(mm));
	len += sizeof(mm);
	memcpy(buf + len, pages, n);
	len += n;
	header_write(buf, (uint32_t)len - 16);
	parse_refused(buf, len, -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, why));
}

#define PAGES_REFUSED(pages, why)	pages_refused(pages, sizeof(pages) - 1, why)
#define ONE_REGION(npages, nlazy)	"\x0a\1\7\x12\1" npages "\x1a\4\1\2\3\4\x22\1" nlazy

static void image_counts_that_differ(void)
{
	PAGES_REFUSED("\x0a\1\7", "differ");
	PAGES_REFUSED("\x0a\1\7\x12\1\3\x1a\4\1\2\3\4", "differ");
}

static void image_bits_that_lie(void)
{
	PAGES_REFUSED(ONE_REGION("\3", "\4"), "4 lazy pages of 3");
	PAGES_REFUSED(ONE_REGION("\3", "\1"), "end at region 0");
	PAGES_REFUSED(ONE_REGION("\x0b", "\1") "\x2a\1\1", "end at region 0");
	PAGES_REFUSED(ONE_REGION("\3", "\1") "\x2a\1\3", "has not 1 lazy");
	PAGES_REFUSED(ONE_REGION("\3", "\2") "\x2a\1\1", "has not 2 lazy");
	PAGES_REFUSED(ONE_REGION("\3", "\1") "\x2a\1\x08", "has not 1 lazy");
	PAGES_REFUSED(ONE_REGION("\3", "\2") "\x2a\2\3\1", "no region");
	PAGES_REFUSED(ONE_REGION("\3", "\3") "\x2a\1\7", "no region");
	PAGES_REFUSED(ONE_REGION("\3", "\0") "\x2a\1\0", "no region");
	/* As it should be: what is missing then is the pagemap. */
	PAGES_REFUSED(ONE_REGION("\3", "\2") "\x2a\1\5", "no pagemap");
}

/* Few bytes in the file can be many runs. */
static void image_bomb_of_runs(void)
{
	size_t n = MITOSIS_IMAGE_MAX_RUNS / 256 + 1, len, i;
	Mitosis__Pages pages = MITOSIS__PAGES__INIT;
	Mitosis__Image image = MITOSIS__IMAGE__INIT;
	Mitosis__Mm mm = MITOSIS__MM__INIT, *mms = &mm;
	char address[] = "::1", *addresses = address;
	uint8_t key[16] = {}, *buf;

	pages.region_page = calloc(n, sizeof(*pages.region_page));
	pages.region_npages = calloc(n, sizeof(*pages.region_npages));
	pages.region_rkey = calloc(n, sizeof(*pages.region_rkey));
	pages.region_nlazy = calloc(n, sizeof(*pages.region_nlazy));
	pages.lazy.data = malloc(n * 64);
	memset(pages.lazy.data, 0x55, n * 64);
	for (i = 0; i < n; i++) {
		pages.region_page[i] = i * 512;
		pages.region_npages[i] = 512;
		pages.region_nlazy[i] = 256;
	}
	pages.n_region_page = n;
	pages.n_region_npages = n;
	pages.n_region_rkey = n;
	pages.n_region_nlazy = n;
	pages.has_lazy = 1;
	pages.lazy.len = n * 64;
	mm.pid = 1;
	mm.pages = &pages;
	image.snapshot = 1;
	image.key.data = key;
	image.key.len = sizeof(key);
	image.address = &addresses;
	image.n_address = 1;
	image.port = 1;
	image.state = MITOSIS__STATE__SEALED;
	image.mm = &mms;
	image.n_mm = 1;
	len = mitosis__image__get_packed_size(&image);
	buf = malloc(16 + len);
	mitosis__image__pack(&image, buf + 16);
	header_write(buf, (uint32_t)len);
	parse_refused(buf, 16 + len, -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "runs of pages"));
	free(buf);
	free(pages.region_page);
	free(pages.region_npages);
	free(pages.region_rkey);
	free(pages.region_nlazy);
	free(pages.lazy.data);
}

/* -------- the directory -------- */

static int scratch_open(char *path)
{
	strcpy(path, "/tmp/mitosis-unit-XXXXXX");
	return mkdtemp(path) ? open(path, O_RDONLY | O_DIRECTORY) : -1;
}

static void scratch_close(int dirfd, const char *path)
{
	unlinkat(dirfd, MITOSIS_IMAGE_NAME, 0);
	unlinkat(dirfd, "other", 0);
	close(dirfd);
	CU_ASSERT_EQUAL(rmdir(path), 0);	/* nothing temporary is left */
}

static void file_written_and_read(void)
{
	struct mitosis_image *img = sample_image(), *out;
	char path[64];
	int dirfd = scratch_open(path);
	struct stat st;

	umask(0);
	CU_ASSERT_EQUAL(mitosis_image_write(dirfd, img, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(mitosis_image_write(dirfd, img, err, sizeof(err)), 0);
	umask(022);
	CU_ASSERT_EQUAL(fstatat(dirfd, MITOSIS_IMAGE_NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
	CU_ASSERT_EQUAL(st.st_mode, S_IFREG | 0600);
	CU_ASSERT_EQUAL_FATAL(mitosis_image_read(dirfd, &out, err, sizeof(err)), 0);
	images_are_equal(img, out);
	mitosis_image_free(out);
	CU_ASSERT_EQUAL(mitosis_image_remove(dirfd), 0);
	CU_ASSERT_EQUAL(mitosis_image_remove(dirfd), 0);
	mitosis_image_free(img);
	scratch_close(dirfd, path);
}

static void file_absent(void)
{
	struct mitosis_image *out = (void *)1;
	char path[64];
	int dirfd = scratch_open(path);

	CU_ASSERT_EQUAL(mitosis_image_read(dirfd, &out, err, sizeof(err)), -ENOENT);
	CU_ASSERT_PTR_NULL(out);
	sentence_is_fit();
	scratch_close(dirfd, path);
}

static void file_links_and_fifos(void)
{
	struct mitosis_image *img = sample_image(), *out;
	char path[64];
	int dirfd = scratch_open(path);
	struct stat st;

	CU_ASSERT_EQUAL(symlinkat("/etc/passwd", dirfd, MITOSIS_IMAGE_NAME), 0);
	CU_ASSERT_EQUAL(mitosis_image_read(dirfd, &out, err, sizeof(err)), -ELOOP);
	/* Writing replaces the link and does not follow it. */
	CU_ASSERT_EQUAL(mitosis_image_write(dirfd, img, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(fstatat(dirfd, MITOSIS_IMAGE_NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
	CU_ASSERT(S_ISREG(st.st_mode));
	CU_ASSERT_EQUAL(mitosis_image_remove(dirfd), 0);
	CU_ASSERT_EQUAL(mkfifoat(dirfd, MITOSIS_IMAGE_NAME, 0600), 0);
	CU_ASSERT_EQUAL(mitosis_image_read(dirfd, &out, err, sizeof(err)), -EINVAL);
	sentence_is_fit();
	mitosis_image_free(img);
	scratch_close(dirfd, path);
}

static void file_too_large(void)
{
	struct mitosis_image *out;
	char path[64];
	int dirfd = scratch_open(path), fd;

	fd = openat(dirfd, MITOSIS_IMAGE_NAME, O_CREAT | O_WRONLY, 0600);
	CU_ASSERT_EQUAL(ftruncate(fd, 1LL << 40), 0);
	close(fd);
	CU_ASSERT_EQUAL(mitosis_image_read(dirfd, &out, err, sizeof(err)), -EINVAL);
	sentence_is_fit();
	scratch_close(dirfd, path);
}

static void file_empty(void)
{
	struct mitosis_image *out;
	char path[64];
	int dirfd = scratch_open(path);

	close(openat(dirfd, MITOSIS_IMAGE_NAME, O_CREAT | O_WRONLY, 0600));
	CU_ASSERT_EQUAL(mitosis_image_read(dirfd, &out, err, sizeof(err)), -EINVAL);
	sentence_is_fit();
	scratch_close(dirfd, path);
}

/* -------- files.img -------- */

static void files_lose_sizes(void)
{
	static const uint32_t flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR | O_APPEND, O_RDONLY | O_CLOEXEC
	};
	static struct sample s, want, again;
	size_t n;
	void *out;

	sample_files(&s, flags, 4, 1);
	sample_files(&want, flags, 4, 0);
	CU_ASSERT_EQUAL_FATAL(files_forget_sizes(s.buf, s.len, &out, &n, err, sizeof(err)), 0);
	/*
	 * protobuf-c puts the fields that it does not know last: so look whether what is there is
	 * as long, and stays as it is
	 */
	CU_ASSERT_EQUAL(n, want.len);
	memcpy(again.buf, out, n);
	free(out);
	CU_ASSERT_EQUAL_FATAL(files_forget_sizes(again.buf, n, &out, &n, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(n, want.len);
	CU_ASSERT(!memcmp(out, again.buf, n));
	free(out);
	CU_ASSERT(memmem(again.buf, n, "/var/log/x", 10) != NULL);
}

static void files_truncated(void)
{
	static const uint32_t flags[] = { O_RDWR, O_RDONLY };
	static struct sample s;
	size_t len, n, whole = 0;
	void *out;

	sample_files(&s, flags, 2, 1);
	for (len = 0; len < s.len; len++) {
		if (!files_forget_sizes(s.buf, len, &out, &n, err, sizeof(err)))
			whole++;
		else
			sentence_is_fit();
		free(out);
	}
	/* behind the magic numbers and each record but the last, a file may end */
	CU_ASSERT_EQUAL(whole, 3);
}

static void files_garbage(void)
{
	static const uint32_t flags[] = { O_RDWR };
	static struct sample s, bad;
	size_t i, n;
	void *out;

	sample_files(&s, flags, 1, 1);
	for (i = 0; i < s.len * 8; i++) {
		bad = s;
		bad.buf[i / 8] ^= 1 << i % 8;
		if (!files_forget_sizes(bad.buf, bad.len, &out, &n, err, sizeof(err)))
			CU_ASSERT(n <= bad.len);
		free(out);
	}
	CU_ASSERT_EQUAL(files_forget_sizes(s.buf + 1, s.len - 1, &out, &n, err, sizeof(err)),
			-EINVAL);
}

/* -------- tty-info.img -------- */

static void ttys_lose_sessions(void)
{
	static const uint32_t types[] = { 5, 1, 5 };
	static struct sample s, want, again;
	void *out, *same;
	size_t n, m;

	sample_ttys(&s, types, 3, 1);
	sample_ttys(&want, types, 3, 0);
	CU_ASSERT_EQUAL_FATAL(tty_forget_sessions(s.buf, s.len, &out, &n, err, sizeof(err)), 0);
	/* fields that are not known come last: so what is as it should be is written anew, too */
	CU_ASSERT_EQUAL_FATAL(tty_forget_sessions(want.buf, want.len, &same, &m, err, sizeof(err)),
			      0);
	CU_ASSERT(n == want.len && m == n && !memcmp(out, same, n));
	memcpy(again.buf, out, n);
	free(out);
	free(same);
	CU_ASSERT_EQUAL_FATAL(tty_forget_sessions(again.buf, n, &out, &n, err, sizeof(err)), 0);
	CU_ASSERT(n == want.len && !memcmp(out, again.buf, n));
	free(out);
}

static void ttys_truncated(void)
{
	static const uint32_t types[] = { 5, 1 };
	static struct sample s;
	size_t len, n, whole = 0;
	void *out;

	sample_ttys(&s, types, 2, 1);
	for (len = 0; len < s.len; len++) {
		if (!tty_forget_sessions(s.buf, len, &out, &n, err, sizeof(err)))
			whole++;
		else
			sentence_is_fit();
		free(out);
	}
	/* behind the magic numbers, and behind the first record */
	CU_ASSERT_EQUAL(whole, 2);
}

/* The number's 0 takes two bytes; it would be written in one, which cannot be read. */
static void ttys_fields_without_a_number(void)
{
	static const uint8_t image[] = {
		0x19, 0x43, 0x56, 0x54, 0x36, 0x30, 0x45, 0x59, 11, 0, 0, 0,
		0x08, 1, 0x10, 5, 0x30, 7, 0x38, 8, 0x80, 0, 0,
	};
	void *out;
	size_t n;

	CU_ASSERT_EQUAL(tty_forget_sessions(image, sizeof(image), &out, &n, err, sizeof(err)),
			-EINVAL);
	sentence_is_fit();
}

static CU_TestInfo tty_tests[] = {
	{ "external terminals lose session and owner", ttys_lose_sessions },
	{ "fields without a number", ttys_fields_without_a_number },
	{ "truncated at every byte", ttys_truncated },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo files_tests[] = {
	{ "sizes of writable files go", files_lose_sizes },
	{ "truncated at every byte", files_truncated },
	{ "changed at every bit", files_garbage },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo pagemap_tests[] = {
	{ "lazy runs are found and merged", pagemap_runs_are_found },
	{ "no lazy pages", pagemap_without_lazy_pages },
	{ "strip keeps the rest", pagemap_strip_keeps_the_rest },
	{ "strip keeps one entry or refuses", pagemap_strip_keeps_one },
	{ "hostile entries", pagemap_hostile_entries },
	{ "the last page of user space", pagemap_last_page_of_user_space },
	{ "truncated at every byte", pagemap_truncated },
	{ "garbage", pagemap_garbage },
	{ "file names", pagemap_names },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo check_tests[] = {
	{ "good ones", image_good_ones },
	{ "bad header fields", image_bad_header_fields },
	{ "bad addresses", image_bad_addresses },
	{ "bad DC target", image_bad_dct },
	{ "transports", image_transports },
	{ "bad host name", image_bad_host },
	{ "bad processes", image_bad_processes },
	{ "bad regions", image_bad_regions },
	{ "region across blocks", image_region_across_blocks },
	{ "page in no region", image_page_in_no_region },
	{ "bad pagemap", image_bad_pagemap },
	{ "state and contents agree", image_state_and_contents_agree },
	{ "bad inheritance", image_bad_inheritance },
	{ "processes are sorted", image_mms_are_sorted },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo format_tests[] = {
	{ "survives the file", image_survives_the_file },
	{ "drops what is inherited", image_drops_inherited },
	{ "below 64 KiB a GiB", image_is_small },
	{ "too many runs of pages", image_of_too_many_runs },
	{ "not written when bad", image_not_written_when_bad },
	{ "truncated at every byte", image_truncated_at_every_byte },
	{ "changed at every bit", image_changed_at_every_bit },
	{ "unknown version", image_unknown_version },
	{ "with a tail", image_with_a_tail },
	{ "bomb", image_bomb },
	{ "bomb of runs", image_bomb_of_runs },
	{ "counts that differ", image_counts_that_differ },
	{ "bits of lazy pages that lie", image_bits_that_lie },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo file_tests[] = {
	{ "written and read", file_written_and_read },
	{ "absent", file_absent },
	{ "links and FIFOs", file_links_and_fifos },
	{ "too large", file_too_large },
	{ "empty", file_empty },
	CU_TEST_INFO_NULL,
};

static void record_survives(void)
{
	const struct mitosis_run runs[] = { { 0x1000, 1 }, { 0x7f0000000000, 300 } };
	struct record r = { .snapshot = 0x0123456789abcdef }, back;
	char err[512], *text;

	CU_ASSERT_EQUAL_FATAL(record_add(&r, 42, runs, 2) || record_add(&r, 7, runs, 1), 0);
	text = record_format(&r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL_FATAL(record_parse(text, &back, err, sizeof(err)), 0);
	CU_ASSERT_TRUE(back.snapshot == r.snapshot && back.nruns == 3 && back.npages == 302);
	CU_ASSERT_EQUAL(memcmp(back.runs, r.runs, 3 * sizeof(*r.runs)), 0);
	free(text);
	record_free(&r);
	record_free(&back);
}

static void record_bad(void)
{
	static const char *const bad[] = {
		"",
		"mitosis record 2 01\n",
		"mitosis record 1 0\n",
		"mitosis record 1 01",
		"mitosis record 1 -1\n",
		"mitosis record 1 01\n0 1000 1\n",
		"mitosis record 1 01\n1 1000 0\n",
		"mitosis record 1 01\n1 1000 1",
		"mitosis record 1 01\n1 1001 1\n",
		"mitosis record 1 01\n1 0x1000 1\n",
		"mitosis record 1 01\n 1 1000 1\n",
		"mitosis record 1 01\n1 1000 1 2\n",
		"mitosis record 1 01\n1 1000\n",
		"mitosis record 1 01\n\n",
		"mitosis record 1 01\n1 2000 1\n1 1000 1\n",
		"mitosis record 1 01\n1 1000 2\n1 2000 1\n",
		"mitosis record 1 01\n1 fffffffffff000 2\n",
		"mitosis record 1 01\n4294967296 1000 1\n",
		"mitosis record 1 01\n1 1000 18446744073709551615\n",
	};
	char err[512];
	struct record r;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		*err = 0;
		CU_ASSERT_EQUAL(record_parse(bad[i], &r, err, sizeof(err)), -EINVAL);
		CU_ASSERT_TRUE(strstr(err, RECORD_NAME) && !r.runs);
	}
}

/* Against a bit a page, in a space of RUNS_SPACE pages. */
#define RUNS_SPACE 20

static void runs_make(unsigned int bits, struct mitosis_run **runs, size_t *n)
{
	*runs = NULL;
	*n = 0;
	for (unsigned int i = 0; i < RUNS_SPACE; i++)
		if (bits >> i & 1)
			runs_append(runs, n, i * 4096, 1);
}

static void runs_subtracted(void)
{
	unsigned int seed = 1, i, from, less;
	struct mitosis_run *a, *b, *want;
	size_t na, nb, nwant;

	for (i = 0; i < 20000; i++) {
		seed = seed * 1103515245 + 12345;
		from = seed >> 8;
		seed = seed * 1103515245 + 12345;
		less = seed >> 8 & (i % 2 ? ~0U : from);
		runs_make(from, &a, &na);
		runs_make(less, &b, &nb);
		runs_make(from & ~less, &want, &nwant);
		CU_ASSERT_EQUAL_FATAL(runs_subtract(&a, &na, b, nb), 0);
		CU_ASSERT_EQUAL_FATAL(na, nwant);
		CU_ASSERT_TRUE(!na || !memcmp(a, want, na * sizeof(*a)));
		free(a);
		free(b);
		free(want);
	}
}

static CU_TestInfo runs_tests[] = {
	{ "taken out of others", runs_subtracted },
	CU_TEST_INFO_NULL,
};

static CU_TestInfo record_tests[] = {
	{ "survives the file", record_survives },
	{ "refused when bad", record_bad },
	CU_TEST_INFO_NULL,
};

CU_SuiteInfo suites[] = {
	{ "runs", NULL, NULL, NULL, NULL, runs_tests },
	{ "record", NULL, NULL, NULL, NULL, record_tests },
	{ "files", NULL, NULL, NULL, NULL, files_tests },
	{ "terminals", NULL, NULL, NULL, NULL, tty_tests },
	{ "pagemap", NULL, NULL, NULL, NULL, pagemap_tests },
	{ "mitosis.img check", NULL, NULL, NULL, NULL, check_tests },
	{ "mitosis.img format", NULL, NULL, NULL, NULL, format_tests },
	{ "mitosis.img file", NULL, NULL, NULL, NULL, file_tests },
	CU_SUITE_INFO_NULL,
};
