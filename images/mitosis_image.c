// SPDX-License-Identifier: MIT
#include "images/mitosis_image.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "images/bounded_alloc.h"
#include "images/pagemap.h"
#include "images/runs.h"
#include "mitosis.pb-c.h"

static const char magic[8] = "MITOSIS\n";

struct image_header {
	char magic[8];
	uint32_t version;	/* little-endian */
	uint32_t len;		/* little-endian, bytes that follow */
};

_Static_assert(sizeof(struct image_header) == 16, "part of the file format");

#define REGION_PAGES	(1U << (MITOSIS_REGION_SHIFT - 12))

__attribute__((format(printf, 3, 4)))
static int image_refuse(char *err, size_t errlen, const char *fmt, ...)
{
	char what[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(err, errlen,
		 MITOSIS_IMAGE_NAME " can not be used (%s): copy it again or make a new dump",
		 what);
	return -EINVAL;
}

static int image_no_memory(char *err, size_t errlen)
{
	snprintf(err, errlen, MITOSIS_IMAGE_NAME " can not be handled: no memory is left");
	return -ENOMEM;
}

struct mitosis_image *mitosis_image_new(void)
{
	struct mitosis_image *img = calloc(1, sizeof(*img));

	if (img)
		img->state = MITOSIS_IMAGE_OPEN;
	return img;
}

static void image_free_pages(struct mitosis_image_pages *pages)
{
	free(pages->runs);
	free(pages->regions);
}

void mitosis_image_drop_inherited(struct mitosis_image *img)
{
	size_t i, j;

	for (i = 0; i < img->nmms; i++) {
		struct mitosis_image_mm *mm = &img->mms[i];

		for (j = 0; j < mm->ninherited; j++)
			image_free_pages(&mm->inherited[j].pages);
		free(mm->inherited);
		mm->inherited = NULL;
		mm->ninherited = 0;
	}
	for (i = 0; i < img->nparents; i++) {
		explicit_bzero(img->parents[i].key, sizeof(img->parents[i].key));
		explicit_bzero(&img->parents[i].dct, sizeof(img->parents[i].dct));
		free(img->parents[i].addr);
	}
	free(img->parents);
	img->parents = NULL;
	img->nparents = 0;
}

void mitosis_image_free(struct mitosis_image *img)
{
	size_t i;

	if (!img)
		return;
	mitosis_image_drop_inherited(img);
	for (i = 0; i < img->naddrs; i++)
		free(img->addrs[i]);
	for (i = 0; i < img->nmms; i++) {
		image_free_pages(&img->mms[i].pages);
		free(img->mms[i].pagemap);
	}
	explicit_bzero(img->key, sizeof(img->key));
	explicit_bzero(&img->dct, sizeof(img->dct));
	free(img->addrs);
	free(img->mms);
	free(img->host);
	free(img);
}

int mitosis_image_add_addr(struct mitosis_image *img, const char *addr)
{
	char **more = reallocarray(img->addrs, img->naddrs + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	img->addrs = more;
	more[img->naddrs] = strdup(addr);
	if (!more[img->naddrs])
		return -ENOMEM;
	img->naddrs++;
	return 0;
}

const char *mitosis_image_transport(const struct mitosis_image *img)
{
	return *img->transport ? img->transport : img->dct.number ? "dct" : "rc";
}

struct mitosis_image_mm *mitosis_image_find_mm(const struct mitosis_image *img, uint32_t pid)
{
	size_t i;

	for (i = 0; i < img->nmms; i++)
		if (img->mms[i].pid == pid)
			return &img->mms[i];
	return NULL;
}

static uint64_t image_npages(const struct mitosis_image_pages *pages)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < pages->nruns; i++)
		n += pages->runs[i].npages;
	return n;
}

uint64_t mitosis_image_npages(const struct mitosis_image *img)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < img->nmms; i++)
		n += image_npages(&img->mms[i].pages);
	return n;
}

uint64_t mitosis_image_ninherited(const struct mitosis_image *img)
{
	uint64_t n = 0;
	size_t i, j;

	for (i = 0; i < img->nmms; i++)
		for (j = 0; j < img->mms[i].ninherited; j++)
			n += image_npages(&img->mms[i].inherited[j].pages);
	return n;
}

struct mitosis_image_mm *mitosis_image_add_mm(struct mitosis_image *img, uint32_t pid)
{
	struct mitosis_image_mm *more;
	size_t i;

	for (i = img->nmms; i > 0 && img->mms[i - 1].pid >= pid; i--)
		if (img->mms[i - 1].pid == pid) {
			errno = EEXIST;
			return NULL;
		}
	more = reallocarray(img->mms, img->nmms + 1, sizeof(*more));
	if (!more)
		return NULL;
	img->mms = more;
	memmove(&more[i + 1], &more[i], (img->nmms - i) * sizeof(*more));
	img->nmms++;
	memset(&more[i], 0, sizeof(*more));
	more[i].pid = pid;
	return &more[i];
}

static struct mitosis_image_parent *image_add_parent(struct mitosis_image *img,
						     const struct mitosis_image_parent *parent)
{
	struct mitosis_image_parent *more =
		reallocarray(img->parents, img->nparents + 1, sizeof(*more));

	if (!more)
		return NULL;
	img->parents = more;
	more += img->nparents;
	*more = *parent;
	more->addr = strdup(parent->addr);
	if (!more->addr)
		return NULL;
	img->nparents++;
	return more;
}

struct mitosis_image_inherited *
mitosis_image_add_inherited(struct mitosis_image *img, struct mitosis_image_mm *mm,
			    const struct mitosis_image_parent *parent)
{
	struct mitosis_image_inherited *more;
	size_t p, i;

	for (p = 0; p < img->nparents; p++)
		if (img->parents[p].snapshot == parent->snapshot)
			break;
	if (p == img->nparents && !image_add_parent(img, parent))
		return NULL;
	for (i = 0; i < mm->ninherited; i++)
		if (mm->inherited[i].parent == p)
			return &mm->inherited[i];
	more = reallocarray(mm->inherited, mm->ninherited + 1, sizeof(*more));
	if (!more)
		return NULL;
	mm->inherited = more;
	more += mm->ninherited++;
	memset(more, 0, sizeof(*more));
	more->parent = p;
	return more;
}

static bool image_addr_is_numeric(const char *addr)
{
	unsigned char bin[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, addr, bin) == 1 || inet_pton(AF_INET6, addr, bin) == 1;
}

static bool image_dct_is_good(const struct mitosis_dct *dct)
{
	return dct->number && dct->number < 1U << 24 && dct->mtu >= 1 && dct->mtu <= 5 &&
	       (dct->link == MITOSIS_DCT_IB || dct->link == MITOSIS_DCT_ROCE);
}

static bool image_transport_is_good(const char *transport, const struct mitosis_dct *dct)
{
	return !*transport || !strcmp(transport, "dct") == !!dct->number;
}

static int image_check_parents(const struct mitosis_image *img, char *err, size_t errlen)
{
	size_t i, j;

	if (img->nparents > MITOSIS_MAX_PARENTS)
		return image_refuse(err, errlen, "it inherits from %zu snapshots", img->nparents);
	for (i = 0; i < img->nparents; i++) {
		const struct mitosis_image_parent *p = &img->parents[i];

		if (!p->snapshot || p->snapshot == img->snapshot ||
		    (p->dct.number ? p->port || !image_dct_is_good(&p->dct) :
				     !p->port || !image_addr_is_numeric(p->addr)))
			return image_refuse(err, errlen,
					    "parent %zu has a wrong snapshot, port or address", i);
		if (!image_transport_is_good(p->transport, &p->dct))
			return image_refuse(err, errlen, "parent %zu has a wrong transport", i);
		for (j = 0; j < i; j++)
			if (img->parents[j].snapshot == p->snapshot)
				return image_refuse(err, errlen, "parent %zu is there twice", i);
	}
	return 0;
}

static int image_check_addrs(const struct mitosis_image *img, char *err, size_t errlen)
{
	size_t i;

	if (img->dct.number && !image_dct_is_good(&img->dct))
		return image_refuse(err, errlen, "its DC target is none");
	if (!image_transport_is_good(img->transport, &img->dct))
		return image_refuse(err, errlen,
				    "it is offered over transport %s, for which it lacks what is needed",
				    img->transport);
	if (!img->naddrs == !img->dct.number || img->naddrs > MITOSIS_IMAGE_MAX_ADDRS)
		return image_refuse(err, errlen, "it has %zu addresses of the source", img->naddrs);
	for (i = 0; i < img->naddrs; i++)
		if (!image_addr_is_numeric(img->addrs[i]))
			return image_refuse(err, errlen, "address %zu of the source is not numeric",
					    i + 1);
	return 0;
}

static int image_check_regions(uint32_t pid, const struct mitosis_image_pages *pages, char *err,
			       size_t errlen)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < pages->nregions; i++) {
		const struct mitosis_region *r = &pages->regions[i];
		uint64_t in_block = (r->start & ((1ULL << MITOSIS_REGION_SHIFT) - 1)) / 4096;

		if (r->start & 4095)
			return image_refuse(err, errlen,
					    "process %u: region %zu begins within a page", pid, i);
		if (r->start < end)
			return image_refuse(err, errlen, "process %u: region %zu is out of order",
					    pid, i);
		if (!r->npages || r->npages > REGION_PAGES - in_block)
			return image_refuse(err, errlen,
					    "process %u: region %zu is not within a block of 2 MiB",
					    pid, i);
		end = r->start + r->npages * 4096ULL;
		if (r->start >= MITOSIS_IMAGE_ADDR_END || end > MITOSIS_IMAGE_ADDR_END)
			return image_refuse(err, errlen,
					    "process %u: region %zu is not in user space", pid, i);
	}
	return 0;
}

/* Adjacent runs are refused, as the file does not tell them apart. */
static int image_check_runs(uint32_t pid, const struct mitosis_image_pages *pages, char *err,
			    size_t errlen)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < pages->nruns; i++) {
		const struct mitosis_run *run = &pages->runs[i];

		if (run->start & 4095 || (i && run->start <= end) || !run->npages ||
		    run->start >= MITOSIS_IMAGE_ADDR_END ||
		    run->npages > (MITOSIS_IMAGE_ADDR_END - run->start) / 4096)
			return image_refuse(err, errlen,
					    "process %u: run %zu is out of order or of user space",
					    pid, i);
		end = run->start + run->npages * 4096;
	}
	return 0;
}

/* A run of which no region can be read would be zeros after a restore. */
static int image_check_cover(uint32_t pid, const struct mitosis_image_pages *pages, char *err,
			     size_t errlen)
{
	const struct mitosis_region *regions = pages->regions;
	size_t i, r = 0;

	for (i = 0; i < pages->nruns; i++) {
		uint64_t pos = pages->runs[i].start, end = pos + pages->runs[i].npages * 4096;

		while (pos < end) {
			while (r < pages->nregions &&
			       regions[r].start + regions[r].npages * 4096ULL <= pos)
				r++;
			if (r == pages->nregions || regions[r].start > pos)
				return image_refuse(err, errlen,
						    "process %u: the page at %#" PRIx64
						    " is in no region",
						    pid, pos);
			pos = regions[r].start + regions[r].npages * 4096ULL;
		}
	}
	return 0;
}

static int image_check_pages(uint32_t pid, const struct mitosis_image_pages *pages, char *err,
			     size_t errlen)
{
	int ret;

	ret = image_check_regions(pid, pages, err, errlen);
	if (!ret)
		ret = image_check_runs(pid, pages, err, errlen);
	if (!ret)
		ret = image_check_cover(pid, pages, err, errlen);
	return ret;
}

static int image_check_pagemap(const struct mitosis_image_mm *mm, char *err, size_t errlen)
{
	struct mitosis_run *runs;
	char why[160];
	size_t nruns;
	int ret;

	ret = pagemap_lazy_runs(mm->pagemap, mm->pagemap_len, &runs, &nruns, why, sizeof(why));
	if (ret == -ENOMEM)
		return image_no_memory(err, errlen);
	if (ret)
		return image_refuse(err, errlen, "process %u: its pagemap is damaged", mm->pid);
	free(runs);
	if (nruns)
		return image_refuse(err, errlen, "process %u: its pagemap has lazy pages", mm->pid);
	return 0;
}

static int image_check_inherited(const struct mitosis_image *img, const struct mitosis_image_mm *mm,
				 char *err, size_t errlen)
{
	size_t i, j;
	int ret = 0;

	for (i = 0; i < mm->ninherited && !ret; i++) {
		const struct mitosis_image_inherited *in = &mm->inherited[i];

		if (in->parent >= img->nparents)
			return image_refuse(err, errlen,
					    "process %u inherits from parent %zu of %zu", mm->pid,
					    in->parent, img->nparents);
		for (j = 0; j < i; j++)
			if (mm->inherited[j].parent == in->parent)
				return image_refuse(err, errlen,
						    "process %u inherits from parent %zu twice",
						    mm->pid, in->parent);
		ret = image_check_pages(mm->pid, &in->pages, err, errlen);
	}
	return ret;
}

int mitosis_image_check(const struct mitosis_image *img, char *err, size_t errlen)
{
	bool sealed = img->state == MITOSIS_IMAGE_SEALED;
	bool pages = sealed || img->state == MITOSIS_IMAGE_PRECOPY;
	uint32_t pid = 0;
	size_t i;
	int ret;

	if (!pages && img->state != MITOSIS_IMAGE_OPEN)
		return image_refuse(err, errlen, "its state is %u", (unsigned int)img->state);
	if (!img->snapshot)
		return image_refuse(err, errlen, "its snapshot is 0");
	if (!img->port)
		return image_refuse(err, errlen, "its port is 0");
	if (img->flags & ~(MITOSIS_HOLD_F_ONESHOT | MITOSIS_HOLD_F_FOLLOW | MITOSIS_F_INSECURE))
		return image_refuse(err, errlen, "its flags are %#x", img->flags);
	if (img->host && strlen(img->host) >= MITOSIS_IMAGE_MAX_HOST)
		return image_refuse(err, errlen, "the source's name is too long");
	ret = image_check_addrs(img, err, errlen);
	if (!ret)
		ret = image_check_parents(img, err, errlen);
	if (ret)
		return ret;
	if (img->nmms > MITOSIS_IMAGE_MAX_MMS)
		return image_refuse(err, errlen, "it has %zu processes", img->nmms);
	if (pages && !img->nmms)
		return image_refuse(err, errlen, "it has no process");
	for (i = 0; i < img->nmms; i++) {
		const struct mitosis_image_mm *mm = &img->mms[i];

		if (mm->pid <= pid || mm->pid > INT32_MAX)
			return image_refuse(err, errlen, "process %u is out of order", mm->pid);
		pid = mm->pid;
		if (sealed != !!mm->pagemap_len)
			return image_refuse(err, errlen, "process %u has %s", pid,
					    sealed ? "no pagemap" :
						     "a pagemap before it is sealed");
		if (!pages && (mm->pages.nregions || mm->pages.nruns || mm->ninherited))
			return image_refuse(err, errlen, "process %u has pages before it is sealed",
					    pid);
		if (!pages)
			continue;
		ret = image_check_pages(mm->pid, &mm->pages, err, errlen);
		if (!ret && sealed)
			ret = image_check_pagemap(mm, err, errlen);
		if (!ret)
			ret = image_check_inherited(img, mm, err, errlen);
		if (ret)
			return ret;
	}
	return 0;
}

/* Bytes that say which pages of a region are lazy: none when all are, or no one is. */
static size_t image_bits_len(uint32_t npages, uint32_t nlazy)
{
	return nlazy && nlazy < npages ? (npages + 7) / 8 : 0;
}

static bool image_bit(const uint8_t *bits, uint32_t page)
{
	return bits[page / 8] & 1U << page % 8;
}

/*
 * The lazy pages of a region; @bits is NULL when it is all of them or none. -EINVAL: they are not
 * @nlazy, or a bit is of no page.
 */
static int image_add_lazy(struct mitosis_image_pages *pages, const struct mitosis_region *r,
			  uint32_t nlazy, const uint8_t *bits)
{
	uint32_t page, n = 0;
	int ret = 0;

	if (!bits)
		return nlazy ? runs_append(&pages->runs, &pages->nruns, r->start, nlazy) : 0;
	for (page = 0; page < r->npages && !ret; page++)
		if (image_bit(bits, page)) {
			ret = runs_append(&pages->runs, &pages->nruns,
					  r->start + page * 4096ULL, 1);
			n++;
		}
	if (ret)
		return ret;
	for (; page % 8; page++)
		if (image_bit(bits, page))
			return -EINVAL;
	return n == nlazy ? 0 : -EINVAL;
}

/* @max_runs: what is left for all of the file. */
static int image_unpack_pages(uint32_t pid, struct mitosis_image_pages *pages,
			      const Mitosis__Pages *pb, size_t *max_runs, char *err, size_t errlen)
{
	size_t i, len, pos = 0;
	int ret;

	if (pb->n_region_npages != pb->n_region_page || pb->n_region_rkey != pb->n_region_page ||
	    pb->n_region_nlazy != pb->n_region_page)
		return image_refuse(err, errlen, "process %u: the regions' parts differ in number",
				    pid);
	if (pb->n_region_page) {
		pages->regions = calloc(pb->n_region_page, sizeof(*pages->regions));
		if (!pages->regions)
			return image_no_memory(err, errlen);
	}
	for (i = 0; i < pb->n_region_page; i++) {
		uint32_t nlazy = pb->region_nlazy[i];
		struct mitosis_region *r = &pages->regions[i];

		if (pb->region_page[i] > UINT64_MAX / 4096)
			return image_refuse(err, errlen,
					    "process %u: region %zu is not in user space", pid, i);
		r->start = pb->region_page[i] * 4096;
		r->npages = pb->region_npages[i];
		r->rkey = pb->region_rkey[i];
		pages->nregions++;
		/* Before its bits are looked at: it says how many there are. */
		if (r->npages > REGION_PAGES || nlazy > r->npages)
			return image_refuse(err, errlen,
					    "process %u: region %zu has %u lazy pages of %u", pid,
					    i, nlazy, r->npages);
		len = image_bits_len(r->npages, nlazy);
		if (len > pb->lazy.len - pos)
			return image_refuse(err, errlen,
					    "process %u: the bits of lazy pages end at region %zu",
					    pid, i);
		ret = image_add_lazy(pages, r, nlazy, len ? pb->lazy.data + pos : NULL);
		if (ret == -EINVAL)
			return image_refuse(err, errlen,
					    "process %u: region %zu has not %u lazy pages", pid, i,
					    nlazy);
		if (ret)
			return image_no_memory(err, errlen);
		if (pages->nruns > *max_runs)
			return image_refuse(err, errlen, "it has more than %u runs of pages",
					    MITOSIS_IMAGE_MAX_RUNS);
		pos += len;
	}
	if (pos != pb->lazy.len)
		return image_refuse(err, errlen,
				    "process %u: there are bits of lazy pages of no region", pid);
	*max_runs -= pages->nruns;
	return 0;
}

static int image_unpack_mm(struct mitosis_image *img, const Mitosis__Mm *pb, size_t *max_runs,
			   char *err, size_t errlen)
{
	struct mitosis_image_mm *mm;
	size_t i;
	int ret;

	if (pb->n_inherited > MITOSIS_MAX_PARENTS)
		return image_refuse(err, errlen, "process %u inherits from %zu snapshots", pb->pid,
				    pb->n_inherited);
	/* Checked here too, as finding the place for each of many would take quadratic time. */
	if (img->nmms && pb->pid <= img->mms[img->nmms - 1].pid)
		return image_refuse(err, errlen, "process %u is out of order", pb->pid);
	mm = mitosis_image_add_mm(img, pb->pid);
	if (!mm)
		return image_no_memory(err, errlen);
	ret = image_unpack_pages(pb->pid, &mm->pages, pb->pages, max_runs, err, errlen);
	if (ret)
		return ret;
	if (pb->has_pagemap && pb->pagemap.len) {
		mm->pagemap = malloc(pb->pagemap.len);
		if (!mm->pagemap)
			return image_no_memory(err, errlen);
		memcpy(mm->pagemap, pb->pagemap.data, pb->pagemap.len);
		mm->pagemap_len = pb->pagemap.len;
	}
	if (pb->n_inherited) {
		mm->inherited = calloc(pb->n_inherited, sizeof(*mm->inherited));
		if (!mm->inherited)
			return image_no_memory(err, errlen);
		mm->ninherited = pb->n_inherited;
	}
	for (i = 0; i < pb->n_inherited && !ret; i++) {
		mm->inherited[i].parent = pb->inherited[i]->parent;
		ret = image_unpack_pages(pb->pid, &mm->inherited[i].pages, pb->inherited[i]->pages,
					 max_runs, err, errlen);
	}
	return ret;
}

static int image_unpack_dct(struct mitosis_dct *dct, const Mitosis__Dct *pb, char *err,
			    size_t errlen)
{
	if (!pb)
		return 0;
	if (pb->gid.len != sizeof(dct->gid) || !pb->number || pb->lid > UINT16_MAX ||
	    pb->link > UINT8_MAX || pb->mtu > UINT8_MAX)
		return image_refuse(err, errlen, "a DC target is none");
	memcpy(dct->gid, pb->gid.data, sizeof(dct->gid));
	dct->key = pb->key;
	dct->number = pb->number;
	dct->lid = (uint16_t)pb->lid;
	dct->link = (uint8_t)pb->link;
	dct->mtu = (uint8_t)pb->mtu;
	return 0;
}

static int image_unpack_transport(char transport[MITOSIS_IMAGE_TRANSPORT], const char *name,
				  char *err, size_t errlen)
{
	if (!name)
		return 0;
	if (!*name || strlen(name) >= MITOSIS_IMAGE_TRANSPORT ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyz")])
		return image_refuse(err, errlen, "a transport has no name");
	strcpy(transport, name);
	return 0;
}

static int image_unpack_parents(struct mitosis_image *img, const Mitosis__Image *pb, char *err,
				size_t errlen)
{
	size_t i;

	if (pb->n_parent > MITOSIS_MAX_PARENTS)
		return image_refuse(err, errlen, "it inherits from %zu snapshots", pb->n_parent);
	for (i = 0; i < pb->n_parent; i++) {
		const Mitosis__Parent *from = pb->parent[i];
		struct mitosis_image_parent parent = {
			.snapshot = from->snapshot,
			.port = (uint16_t)from->port,
			.addr = from->address,
			.insecure = from->has_insecure && from->insecure,
		};
		bool added;

		if (from->key.len != MITOSIS_KEY_LEN || from->port > UINT16_MAX)
			return image_refuse(err, errlen, "parent %zu has a wrong key or port", i);
		if (image_unpack_dct(&parent.dct, from->dct, err, errlen) ||
		    image_unpack_transport(parent.transport, from->transport, err, errlen))
			return -EINVAL;
		memcpy(parent.key, from->key.data, MITOSIS_KEY_LEN);
		added = image_add_parent(img, &parent);
		explicit_bzero(parent.key, sizeof(parent.key));
		if (!added)
			return image_no_memory(err, errlen);
	}
	return 0;
}

static int image_unpack(struct mitosis_image *img, const Mitosis__Image *pb, char *err,
			size_t errlen)
{
	size_t i, max_runs = MITOSIS_IMAGE_MAX_RUNS;
	int ret;

	if (pb->key.len != MITOSIS_KEY_LEN)
		return image_refuse(err, errlen, "its key has %zu bytes", pb->key.len);
	if (pb->port > UINT16_MAX)
		return image_refuse(err, errlen, "its port is %u", pb->port);
	if (pb->n_address > MITOSIS_IMAGE_MAX_ADDRS)
		return image_refuse(err, errlen, "it has %zu addresses of the source",
				    pb->n_address);
	if (pb->n_mm > MITOSIS_IMAGE_MAX_MMS)
		return image_refuse(err, errlen, "it has %zu processes", pb->n_mm);
	img->state = (enum mitosis_image_state)pb->state;
	img->snapshot = pb->snapshot;
	memcpy(img->key, pb->key.data, MITOSIS_KEY_LEN);
	img->port = (uint16_t)pb->port;
	img->flags = pb->flags;
	img->created = pb->has_created ? pb->created : 0;
	if (pb->host) {
		img->host = strdup(pb->host);
		if (!img->host)
			return image_no_memory(err, errlen);
	}
	for (i = 0; i < pb->n_address; i++)
		if (mitosis_image_add_addr(img, pb->address[i]))
			return image_no_memory(err, errlen);
	ret = image_unpack_dct(&img->dct, pb->dct, err, errlen) ?:
	      image_unpack_transport(img->transport, pb->transport, err, errlen);
	if (!ret)
		ret = image_unpack_parents(img, pb, err, errlen);
	if (ret)
		return ret;
	for (i = 0; i < pb->n_mm; i++) {
		ret = image_unpack_mm(img, pb->mm[i], &max_runs, err, errlen);
		if (ret)
			return ret;
	}
	return mitosis_image_check(img, err, errlen);
}

int mitosis_image_parse(const void *buf, size_t len, struct mitosis_image **out, char *err,
			size_t errlen)
{
	struct mitosis_image *img;
	struct image_header head;
	struct bounded_alloc ba;
	Mitosis__Image *pb;
	int ret;

	*out = NULL;
	if (len < sizeof(head) || len > MITOSIS_IMAGE_MAX_LEN)
		return image_refuse(err, errlen, "it has %zu bytes", len);
	memcpy(&head, buf, sizeof(head));
	if (memcmp(head.magic, magic, sizeof(magic)))
		return image_refuse(err, errlen, "it does not begin as such a file does");
	if (le32toh(head.version) != MITOSIS_IMAGE_VERSION) {
		snprintf(err, errlen,
			 MITOSIS_IMAGE_NAME " has version %u and only version %u is known here: use the same version of mitosis on both machines",
			 le32toh(head.version), MITOSIS_IMAGE_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (le32toh(head.len) != len - sizeof(head))
		return image_refuse(err, errlen, "it has %zu bytes where its header says %zu", len,
				    sizeof(head) + (size_t)le32toh(head.len));
	/* In memory a message of many small ones takes a multiple of what it takes in the file. */
	bounded_alloc_init(&ba, 32 * len + 65536 < 256U << 20 ? 32 * len + 65536 : 256U << 20);
	pb = mitosis__image__unpack(&ba.pb, len - sizeof(head),
				    (const uint8_t *)buf + sizeof(head));
	if (!pb)
		return image_refuse(err, errlen, "its contents are damaged");
	img = mitosis_image_new();
	ret = img ? image_unpack(img, pb, err, errlen) : image_no_memory(err, errlen);
	mitosis__image__free_unpacked(pb, &ba.pb);
	if (ret)
		mitosis_image_free(img);
	else
		*out = img;
	return ret;
}

/*
 * Sets the bits of the lazy pages of @r, from run *@i on, and returns how many they are. *@i ends
 * at the last run that begins in @r.
 */
static uint32_t image_mark_lazy(const struct mitosis_image_pages *pages,
				const struct mitosis_region *r, size_t *i, uint8_t *bits)
{
	uint64_t end = r->start + r->npages * 4096ULL;
	uint32_t n = 0;

	memset(bits, 0, REGION_PAGES / 8);
	for (; *i < pages->nruns && pages->runs[*i].start < end; (*i)++) {
		const struct mitosis_run *run = &pages->runs[*i];
		uint64_t run_end = run->start + run->npages * 4096;
		uint64_t pos = run->start > r->start ? run->start : r->start;

		for (; pos < run_end && pos < end; pos += 4096, n++)
			bits[(pos - r->start) / 4096 / 8] |= 1U << (pos - r->start) / 4096 % 8;
		if (run_end > end)
			break;
	}
	return n;
}

static int image_pack_pages(const struct mitosis_image_pages *pages, Mitosis__Pages *pb)
{
	size_t i, run = 0, n = pages->nregions;

	mitosis__pages__init(pb);
	pb->region_page = calloc(n, sizeof(*pb->region_page));
	pb->region_npages = calloc(n, sizeof(*pb->region_npages));
	pb->region_rkey = calloc(n, sizeof(*pb->region_rkey));
	pb->region_nlazy = calloc(n, sizeof(*pb->region_nlazy));
	pb->lazy.data = calloc(n, REGION_PAGES / 8);
	if (n && (!pb->region_page || !pb->region_npages || !pb->region_rkey || !pb->region_nlazy ||
		  !pb->lazy.data))
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		const struct mitosis_region *r = &pages->regions[i];

		pb->region_page[i] = r->start / 4096;
		pb->region_npages[i] = r->npages;
		pb->region_rkey[i] = r->rkey;
		pb->region_nlazy[i] = image_mark_lazy(pages, r, &run, pb->lazy.data + pb->lazy.len);
		pb->lazy.len += image_bits_len(r->npages, pb->region_nlazy[i]);
	}
	pb->has_lazy = pb->lazy.len != 0;
	pb->n_region_page = n;
	pb->n_region_npages = n;
	pb->n_region_rkey = n;
	pb->n_region_nlazy = n;
	return 0;
}

static void image_free_packed_pages(Mitosis__Pages *pb)
{
	free(pb->region_page);
	free(pb->region_npages);
	free(pb->region_rkey);
	free(pb->region_nlazy);
	free(pb->lazy.data);
	free(pb);
}

static int image_pack_inherited(const struct mitosis_image_inherited *in, Mitosis__Inherited *pb)
{
	pb->parent = (uint32_t)in->parent;
	pb->pages = calloc(1, sizeof(*pb->pages));
	return pb->pages ? image_pack_pages(&in->pages, pb->pages) : -ENOMEM;
}

/* What pb points to is the caller's to free, filled or not; the pagemap belongs to mm. */
static int image_pack_mm(const struct mitosis_image_mm *mm, Mitosis__Mm *pb)
{
	size_t i;

	pb->pid = mm->pid;
	pb->has_pagemap = mm->pagemap_len != 0;
	pb->pagemap.data = mm->pagemap;
	pb->pagemap.len = mm->pagemap_len;
	pb->pages = calloc(1, sizeof(*pb->pages));
	if (!pb->pages || image_pack_pages(&mm->pages, pb->pages))
		return -ENOMEM;
	pb->inherited = calloc(mm->ninherited, sizeof(*pb->inherited));
	if (mm->ninherited && !pb->inherited)
		return -ENOMEM;
	for (i = 0; i < mm->ninherited; i++) {
		pb->inherited[i] = malloc(sizeof(*pb->inherited[i]));
		if (!pb->inherited[i])
			return -ENOMEM;
		mitosis__inherited__init(pb->inherited[i]);
		pb->n_inherited++;
		if (image_pack_inherited(&mm->inherited[i], pb->inherited[i]))
			return -ENOMEM;
	}
	return 0;
}

static void image_free_packed(Mitosis__Mm *pb)
{
	size_t i;

	for (i = 0; i < pb->n_inherited; i++) {
		if (pb->inherited[i]->pages)
			image_free_packed_pages(pb->inherited[i]->pages);
		free(pb->inherited[i]);
	}
	free(pb->inherited);
	if (pb->pages)
		image_free_packed_pages(pb->pages);
}

static int image_too_big(char *err, size_t errlen, size_t n, const char *what, unsigned int max)
{
	snprintf(err, errlen,
		 MITOSIS_IMAGE_NAME " would have %zu %s, more than the limit of %u: the process's memory is too scattered, move it with plain criu",
		 n, what, max);
	return -EFBIG;
}

static size_t image_count_runs(const struct mitosis_image *img)
{
	size_t i, j, n = 0;

	for (i = 0; i < img->nmms; i++) {
		n += img->mms[i].pages.nruns;
		for (j = 0; j < img->mms[i].ninherited; j++)
			n += img->mms[i].inherited[j].pages.nruns;
	}
	return n;
}

/* NULL: there is none. */
static Mitosis__Dct *image_pack_dct(const struct mitosis_dct *dct, Mitosis__Dct *pb)
{
	if (!dct->number)
		return NULL;
	mitosis__dct__init(pb);
	pb->gid.data = (uint8_t *)dct->gid;
	pb->gid.len = sizeof(dct->gid);
	pb->key = dct->key;
	pb->number = dct->number;
	pb->lid = dct->lid;
	pb->link = dct->link;
	pb->mtu = dct->mtu;
	return pb;
}

static int image_serialize(const Mitosis__Image *pb, void **buf, size_t *len, char *err,
			   size_t errlen)
{
	size_t n = mitosis__image__get_packed_size(pb);
	struct image_header head = {
		.version = htole32(MITOSIS_IMAGE_VERSION),
		.len = htole32((uint32_t)n),
	};
	uint8_t *out;

	if (n > MITOSIS_IMAGE_MAX_LEN - sizeof(head))
		return image_too_big(err, errlen, n, "bytes", MITOSIS_IMAGE_MAX_LEN);
	out = malloc(sizeof(head) + n);
	if (!out)
		return image_no_memory(err, errlen);
	memcpy(head.magic, magic, sizeof(magic));
	memcpy(out, &head, sizeof(head));
	mitosis__image__pack(pb, out + sizeof(head));
	*buf = out;
	*len = sizeof(head) + n;
	return 0;
}

int mitosis_image_format(const struct mitosis_image *img, void **buf, size_t *len, char *err,
			 size_t errlen)
{
	Mitosis__Image pb = MITOSIS__IMAGE__INIT;
	Mitosis__Dct dct, parent_dcts[MITOSIS_MAX_PARENTS];
	Mitosis__Parent parents[MITOSIS_MAX_PARENTS], *parent_ptrs[MITOSIS_MAX_PARENTS];
	Mitosis__Mm **ptrs = NULL, *mms = NULL;
	size_t i;
	int ret;

	*buf = NULL;
	*len = 0;
	ret = mitosis_image_check(img, err, errlen);
	if (ret)
		return ret;
	if (image_count_runs(img) > MITOSIS_IMAGE_MAX_RUNS)
		return image_too_big(err, errlen, image_count_runs(img), "runs of pages",
				     MITOSIS_IMAGE_MAX_RUNS);
	pb.snapshot = img->snapshot;
	pb.key.data = (uint8_t *)img->key;
	pb.key.len = MITOSIS_KEY_LEN;
	pb.address = img->addrs;
	pb.n_address = img->naddrs;
	pb.port = img->port;
	pb.flags = img->flags;
	pb.state = (Mitosis__State)img->state;
	pb.host = img->host;
	pb.has_created = img->created != 0;
	pb.created = img->created;
	for (i = 0; i < img->nparents; i++) {
		parent_ptrs[i] = &parents[i];
		mitosis__parent__init(&parents[i]);
		parents[i].snapshot = img->parents[i].snapshot;
		parents[i].key.data = img->parents[i].key;
		parents[i].key.len = MITOSIS_KEY_LEN;
		parents[i].address = img->parents[i].addr;
		parents[i].port = img->parents[i].port;
		parents[i].dct = image_pack_dct(&img->parents[i].dct, &parent_dcts[i]);
		parents[i].transport = *img->parents[i].transport ? img->parents[i].transport :
								    NULL;
		parents[i].has_insecure = img->parents[i].insecure;
		parents[i].insecure = img->parents[i].insecure;
	}
	pb.dct = image_pack_dct(&img->dct, &dct);
	pb.transport = *img->transport ? (char *)img->transport : NULL;
	pb.parent = parent_ptrs;
	pb.n_parent = img->nparents;
	if (img->nmms) {
		ptrs = calloc(img->nmms, sizeof(*ptrs));
		mms = calloc(img->nmms, sizeof(*mms));
		if (!ptrs || !mms) {
			ret = image_no_memory(err, errlen);
			goto out;
		}
	}
	for (i = 0; i < img->nmms; i++) {
		ptrs[i] = &mms[i];
		mitosis__mm__init(&mms[i]);
	}
	for (i = 0; i < img->nmms; i++) {
		if (image_pack_mm(&img->mms[i], &mms[i])) {
			ret = image_no_memory(err, errlen);
			goto out;
		}
	}
	pb.mm = ptrs;
	pb.n_mm = img->nmms;
	ret = image_serialize(&pb, buf, len, err, errlen);
out:
	for (i = 0; mms && ptrs && i < img->nmms; i++)
		image_free_packed(&mms[i]);
	free(mms);
	free(ptrs);
	return ret;
}

int mitosis_image_read(int dirfd, struct mitosis_image **img, char *err, size_t errlen)
{
	void *buf;
	size_t len;
	int ret;

	*img = NULL;
	ret = mitosis_file_read(dirfd, MITOSIS_IMAGE_NAME, MITOSIS_IMAGE_MAX_LEN, &buf, &len, err,
				errlen);
	if (ret)
		return ret;
	ret = mitosis_image_parse(buf, len, img, err, errlen);
	explicit_bzero(buf, len);
	free(buf);
	return ret;
}

int mitosis_image_write(int dirfd, const struct mitosis_image *img, char *err, size_t errlen)
{
	void *buf;
	size_t len;
	int ret;

	ret = mitosis_image_format(img, &buf, &len, err, errlen);
	if (ret)
		return ret;
	/* An open one is of no use after a power cut, and written while tasks stand still. */
	ret = mitosis_file_write(dirfd, MITOSIS_IMAGE_NAME, buf, len,
				 img->state == MITOSIS_IMAGE_SEALED, err, errlen);
	explicit_bzero(buf, len);
	free(buf);
	return ret;
}
