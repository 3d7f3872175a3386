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
	snprintf(err, errlen, MITOSIS_IMAGE_NAME " can not be used (%s): copy it again or make a new dump",
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

void mitosis_image_free(struct mitosis_image *img)
{
	size_t i, j;

	if (!img)
		return;
	for (i = 0; i < img->naddrs; i++)
		free(img->addrs[i]);
	for (i = 0; i < img->nmms; i++) {
		for (j = 0; j < img->mms[i].ninherited; j++) {
			free(img->mms[i].inherited[j].runs);
			free(img->mms[i].inherited[j].regions);
		}
		free(img->mms[i].inherited);
		free(img->mms[i].regions);
		free(img->mms[i].pagemap);
	}
	for (i = 0; i < img->nparents; i++) {
		explicit_bzero(img->parents[i].key, sizeof(img->parents[i].key));
		free(img->parents[i].addr);
	}
	free(img->parents);
	explicit_bzero(img->key, sizeof(img->key));
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

struct mitosis_image_mm *mitosis_image_find_mm(const struct mitosis_image *img, uint32_t pid)
{
	size_t i;

	for (i = 0; i < img->nmms; i++)
		if (img->mms[i].pid == pid)
			return &img->mms[i];
	return NULL;
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

static struct mitosis_image_parent *image_add_parent(struct mitosis_image *img, const struct mitosis_image_parent *parent)
{
	struct mitosis_image_parent *more = reallocarray(img->parents, img->nparents + 1, sizeof(*more));

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

struct mitosis_image_inherited *mitosis_image_add_inherited(struct mitosis_image *img, struct mitosis_image_mm *mm,
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

static int image_check_parents(const struct mitosis_image *img, char *err, size_t errlen)
{
	size_t i, j;

	if (img->nparents > MITOSIS_MAX_PARENTS)
		return image_refuse(err, errlen, "it inherits from %zu snapshots", img->nparents);
	for (i = 0; i < img->nparents; i++) {
		const struct mitosis_image_parent *p = &img->parents[i];

		if (!p->snapshot || p->snapshot == img->snapshot || !p->port || !image_addr_is_numeric(p->addr))
			return image_refuse(err, errlen, "parent %zu has a wrong snapshot, port or address", i);
		for (j = 0; j < i; j++)
			if (img->parents[j].snapshot == p->snapshot)
				return image_refuse(err, errlen, "parent %zu is there twice", i);
	}
	return 0;
}

static int image_check_addrs(const struct mitosis_image *img, char *err, size_t errlen)
{
	size_t i;

	if (!img->naddrs || img->naddrs > MITOSIS_IMAGE_MAX_ADDRS)
		return image_refuse(err, errlen, "it has %zu addresses of the source", img->naddrs);
	for (i = 0; i < img->naddrs; i++)
		if (!image_addr_is_numeric(img->addrs[i]))
			return image_refuse(err, errlen, "address %zu of the source is not numeric", i + 1);
	return 0;
}

static int image_check_regions(uint32_t pid, const struct mitosis_region *regions, size_t nregions, char *err, size_t errlen)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < nregions; i++) {
		const struct mitosis_region *r = &regions[i];
		uint64_t in_block = (r->start & ((1ULL << MITOSIS_REGION_SHIFT) - 1)) / 4096;

		if (r->start & 4095)
			return image_refuse(err, errlen, "process %u: region %zu begins within a page",
					    pid, i);
		if (r->start < end)
			return image_refuse(err, errlen, "process %u: region %zu is out of order", pid,
					    i);
		if (!r->npages || r->npages > REGION_PAGES - in_block)
			return image_refuse(err, errlen,
					    "process %u: region %zu is not within a block of 2 MiB", pid,
					    i);
		end = r->start + r->npages * 4096ULL;
		if (r->start >= MITOSIS_IMAGE_ADDR_END || end > MITOSIS_IMAGE_ADDR_END)
			return image_refuse(err, errlen, "process %u: region %zu is not in user space",
					    pid, i);
	}
	return 0;
}

/* A run of which no region can be read would be zeros after a restore. */
static int image_check_cover(uint32_t pid, const struct mitosis_region *regions, size_t nregions, const struct mitosis_run *runs,
			     size_t nruns, char *err, size_t errlen)
{
	size_t i, r = 0;

	for (i = 0; i < nruns; i++) {
		uint64_t pos = runs[i].start, end = pos + runs[i].npages * 4096;

		while (pos < end) {
			while (r < nregions &&
			       regions[r].start + regions[r].npages * 4096ULL <= pos)
				r++;
			if (r == nregions || regions[r].start > pos)
				return image_refuse(err, errlen,
						    "process %u: the page at %#" PRIx64 " is in no region",
						    pid, pos);
			pos = regions[r].start + regions[r].npages * 4096ULL;
		}
	}
	return 0;
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
	ret = image_check_cover(mm->pid, mm->regions, mm->nregions, runs, nruns, err, errlen);
	free(runs);
	return ret;
}

static int image_check_inherited(const struct mitosis_image *img, const struct mitosis_image_mm *mm, char *err, size_t errlen)
{
	size_t i, j;
	int ret = 0;

	for (i = 0; i < mm->ninherited && !ret; i++) {
		const struct mitosis_image_inherited *in = &mm->inherited[i];
		uint64_t end = 0;

		if (in->parent >= img->nparents)
			return image_refuse(err, errlen, "process %u inherits from parent %zu of %zu", mm->pid, in->parent,
					    img->nparents);
		for (j = 0; j < i; j++)
			if (mm->inherited[j].parent == in->parent)
				return image_refuse(err, errlen, "process %u inherits from parent %zu twice", mm->pid, in->parent);
		for (j = 0; j < in->nruns; j++) {
			const struct mitosis_run *run = &in->runs[j];

			if (run->start & 4095 || run->start < end || !run->npages || run->start >= MITOSIS_IMAGE_ADDR_END ||
			    run->npages > (MITOSIS_IMAGE_ADDR_END - run->start) / 4096)
				return image_refuse(err, errlen, "process %u: inherited run %zu is out of order or of user space",
						    mm->pid, j);
			end = run->start + run->npages * 4096;
		}
		ret = image_check_regions(mm->pid, in->regions, in->nregions, err, errlen);
		if (!ret)
			ret = image_check_cover(mm->pid, in->regions, in->nregions, in->runs, in->nruns, err, errlen);
	}
	return ret;
}

int mitosis_image_check(const struct mitosis_image *img, char *err, size_t errlen)
{
	bool sealed = img->state == MITOSIS_IMAGE_SEALED;
	uint32_t pid = 0;
	size_t i;
	int ret;

	if (!sealed && img->state != MITOSIS_IMAGE_OPEN)
		return image_refuse(err, errlen, "its state is %u", (unsigned int)img->state);
	if (!img->snapshot)
		return image_refuse(err, errlen, "its snapshot is 0");
	if (!img->port)
		return image_refuse(err, errlen, "its port is 0");
	if (img->flags & ~(MITOSIS_HOLD_F_ONESHOT | MITOSIS_HOLD_F_FOLLOW))
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
	if (sealed && !img->nmms)
		return image_refuse(err, errlen, "it has no process");
	for (i = 0; i < img->nmms; i++) {
		const struct mitosis_image_mm *mm = &img->mms[i];

		if (mm->pid <= pid || mm->pid > INT32_MAX)
			return image_refuse(err, errlen, "process %u is out of order", mm->pid);
		pid = mm->pid;
		if (sealed != !!mm->pagemap_len || (!sealed && (mm->nregions || mm->ninherited)))
			return image_refuse(err, errlen, "process %u has %s", pid,
					    sealed ? "no pagemap" : "pages before it is sealed");
		if (!sealed)
			continue;
		ret = image_check_regions(mm->pid, mm->regions, mm->nregions, err, errlen);
		if (!ret)
			ret = image_check_pagemap(mm, err, errlen);
		if (!ret)
			ret = image_check_inherited(img, mm, err, errlen);
		if (ret)
			return ret;
	}
	return 0;
}

/* Three arrays that run in parallel, as they are in the file. */
struct image_regions {
	size_t n;
	uint64_t *page;
	uint32_t *npages, *rkey;
};

static int image_unpack_regions(uint32_t pid, const struct image_regions *from, struct mitosis_region **regions, size_t *nregions,
				char *err, size_t errlen)
{
	struct mitosis_region *r;
	size_t i;

	if (!from->n)
		return 0;
	r = calloc(from->n, sizeof(*r));
	if (!r)
		return image_no_memory(err, errlen);
	*regions = r;
	for (i = 0; i < from->n; i++) {
		if (from->page[i] > UINT64_MAX / 4096)
			return image_refuse(err, errlen, "process %u: region %zu is not in user space", pid, i);
		r[i].start = from->page[i] * 4096;
		r[i].npages = from->npages[i];
		r[i].rkey = from->rkey[i];
	}
	*nregions = from->n;
	return 0;
}

static int image_unpack_inherited(uint32_t pid, struct mitosis_image_inherited *in, const Mitosis__Inherited *pb, char *err,
				  size_t errlen)
{
	struct image_regions regions = { pb->n_region_page, pb->region_page, pb->region_npages, pb->region_rkey };
	size_t i;

	if (pb->n_region_npages != pb->n_region_page || pb->n_region_rkey != pb->n_region_page || pb->n_run_npages != pb->n_run_page)
		return image_refuse(err, errlen, "process %u: the inherited parts differ in number", pid);
	in->parent = pb->parent;
	if (pb->n_run_page) {
		in->runs = calloc(pb->n_run_page, sizeof(*in->runs));
		if (!in->runs)
			return image_no_memory(err, errlen);
	}
	for (i = 0; i < pb->n_run_page; i++) {
		if (pb->run_page[i] > UINT64_MAX / 4096)
			return image_refuse(err, errlen, "process %u: inherited run %zu is not in user space", pid, i);
		in->runs[i].start = pb->run_page[i] * 4096;
		in->runs[i].npages = pb->run_npages[i];
	}
	in->nruns = pb->n_run_page;
	return image_unpack_regions(pid, &regions, &in->regions, &in->nregions, err, errlen);
}

static int image_unpack_mm(struct mitosis_image *img, const Mitosis__Mm *pb, char *err,
			   size_t errlen)
{
	struct image_regions regions = { pb->n_region_page, pb->region_page, pb->region_npages, pb->region_rkey };
	struct mitosis_image_mm *mm;
	size_t i;
	int ret;

	if (pb->n_region_npages != pb->n_region_page || pb->n_region_rkey != pb->n_region_page)
		return image_refuse(err, errlen, "process %u: the regions' parts differ in number", pb->pid);
	if (pb->n_inherited > MITOSIS_MAX_PARENTS)
		return image_refuse(err, errlen, "process %u inherits from %zu snapshots", pb->pid, pb->n_inherited);
	/* Checked here too, as finding the place for each of many would take quadratic time. */
	if (img->nmms && pb->pid <= img->mms[img->nmms - 1].pid)
		return image_refuse(err, errlen, "process %u is out of order", pb->pid);
	mm = mitosis_image_add_mm(img, pb->pid);
	if (!mm)
		return image_no_memory(err, errlen);
	ret = image_unpack_regions(pb->pid, &regions, &mm->regions, &mm->nregions, err, errlen);
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
	for (i = 0; i < pb->n_inherited && !ret; i++)
		ret = image_unpack_inherited(pb->pid, &mm->inherited[i], pb->inherited[i], err, errlen);
	return ret;
}

static int image_unpack_parents(struct mitosis_image *img, const Mitosis__Image *pb, char *err, size_t errlen)
{
	size_t i;

	if (pb->n_parent > MITOSIS_MAX_PARENTS)
		return image_refuse(err, errlen, "it inherits from %zu snapshots", pb->n_parent);
	for (i = 0; i < pb->n_parent; i++) {
		const Mitosis__Parent *from = pb->parent[i];
		struct mitosis_image_parent parent = { .snapshot = from->snapshot, .port = (uint16_t)from->port, .addr = from->address };
		bool added;

		if (from->key.len != MITOSIS_KEY_LEN || from->port > UINT16_MAX)
			return image_refuse(err, errlen, "parent %zu has a wrong key or port", i);
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
	size_t i;
	int ret;

	if (pb->key.len != MITOSIS_KEY_LEN)
		return image_refuse(err, errlen, "its key has %zu bytes", pb->key.len);
	if (pb->port > UINT16_MAX)
		return image_refuse(err, errlen, "its port is %u", pb->port);
	if (pb->n_address > MITOSIS_IMAGE_MAX_ADDRS)
		return image_refuse(err, errlen, "it has %zu addresses of the source", pb->n_address);
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
	ret = image_unpack_parents(img, pb, err, errlen);
	if (ret)
		return ret;
	for (i = 0; i < pb->n_mm; i++) {
		ret = image_unpack_mm(img, pb->mm[i], err, errlen);
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

static int image_pack_regions(const struct mitosis_region *regions, size_t n, uint64_t **page, uint32_t **npages, uint32_t **rkey)
{
	size_t i;

	*page = calloc(n, sizeof(**page));
	*npages = calloc(n, sizeof(**npages));
	*rkey = calloc(n, sizeof(**rkey));
	if (n && (!*page || !*npages || !*rkey))
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		(*page)[i] = regions[i].start / 4096;
		(*npages)[i] = regions[i].npages;
		(*rkey)[i] = regions[i].rkey;
	}
	return 0;
}

static int image_pack_inherited(const struct mitosis_image_inherited *in, Mitosis__Inherited *pb)
{
	size_t i;

	pb->parent = (uint32_t)in->parent;
	pb->run_page = calloc(in->nruns, sizeof(*pb->run_page));
	pb->run_npages = calloc(in->nruns, sizeof(*pb->run_npages));
	if (in->nruns && (!pb->run_page || !pb->run_npages))
		return -ENOMEM;
	for (i = 0; i < in->nruns; i++) {
		pb->run_page[i] = in->runs[i].start / 4096;
		pb->run_npages[i] = in->runs[i].npages;
	}
	pb->n_run_page = in->nruns;
	pb->n_run_npages = in->nruns;
	if (image_pack_regions(in->regions, in->nregions, &pb->region_page, &pb->region_npages, &pb->region_rkey))
		return -ENOMEM;
	pb->n_region_page = in->nregions;
	pb->n_region_npages = in->nregions;
	pb->n_region_rkey = in->nregions;
	return 0;
}

/* The arrays of pb are the caller's to free, filled or not; the rest belongs to mm. */
static int image_pack_mm(const struct mitosis_image_mm *mm, Mitosis__Mm *pb)
{
	size_t i;

	pb->pid = mm->pid;
	pb->has_pagemap = mm->pagemap_len != 0;
	pb->pagemap.data = mm->pagemap;
	pb->pagemap.len = mm->pagemap_len;
	if (image_pack_regions(mm->regions, mm->nregions, &pb->region_page, &pb->region_npages, &pb->region_rkey))
		return -ENOMEM;
	pb->n_region_page = mm->nregions;
	pb->n_region_npages = mm->nregions;
	pb->n_region_rkey = mm->nregions;
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
		free(pb->inherited[i]->run_page);
		free(pb->inherited[i]->run_npages);
		free(pb->inherited[i]->region_page);
		free(pb->inherited[i]->region_npages);
		free(pb->inherited[i]->region_rkey);
		free(pb->inherited[i]);
	}
	free(pb->inherited);
	free(pb->region_page);
	free(pb->region_npages);
	free(pb->region_rkey);
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

	if (n > MITOSIS_IMAGE_MAX_LEN - sizeof(head)) {
		snprintf(err, errlen,
			 MITOSIS_IMAGE_NAME " would have %zu bytes, more than the limit of %u: the process's memory is too scattered, move it with plain criu",
			 n, MITOSIS_IMAGE_MAX_LEN);
		return -EFBIG;
	}
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
	Mitosis__Parent parents[MITOSIS_MAX_PARENTS], *parent_ptrs[MITOSIS_MAX_PARENTS];
	Mitosis__Mm **ptrs = NULL, *mms = NULL;
	size_t i;
	int ret;

	*buf = NULL;
	*len = 0;
	ret = mitosis_image_check(img, err, errlen);
	if (ret)
		return ret;
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
	}
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
