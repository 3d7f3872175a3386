// SPDX-License-Identifier: MIT
#include "images/pagemap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "images/bounded_alloc.h"
#include "images/criu_image.h"
#include "images/mitosis_image.h"
#include "images/runs.h"
#include "pagemap.pb-c.h"

#define MAGIC_PAGEMAP	0x56084025u
#define RECORD_MAX	4096	/* bytes; CRIU's own stay below 64 */

#define PE_PARENT	(1u << 0)
#define PE_LAZY		(1u << 1)
#define PE_PRESENT	(1u << 2)

struct pagemap_cursor {
	struct criu_image image;
	uint64_t end;		/* of the entries so far */
	char *err;
	size_t errlen;
};

struct pagemap_item {
	uint64_t start;
	uint64_t npages;
	bool lazy;
};

__attribute__((format(printf, 2, 3)))
static int pagemap_refuse(struct pagemap_cursor *c, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(c->err, c->errlen,
		 "the pagemap image is damaged at byte %zu (%s): make a new dump", c->image.record,
		 what);
	return -EINVAL;
}

static int pagemap_record(struct pagemap_cursor *c, const uint8_t **p, size_t *n)
{
	int ret = criu_image_next(&c->image, p, n);

	return ret < 0 ? pagemap_refuse(c, "%s", c->image.wrong) : ret;
}

static int pagemap_begin(struct pagemap_cursor *c, const void *buf, size_t len, char *err,
			 size_t errlen)
{
	struct bounded_alloc ba;
	Criu__PagemapHead *head;
	const uint8_t *p = NULL;
	size_t n = 0;
	int ret;

	memset(c, 0, sizeof(*c));
	c->err = err;
	c->errlen = errlen;
	if (!criu_image_begin(&c->image, buf, len, MAGIC_PAGEMAP, RECORD_MAX))
		return pagemap_refuse(c, "no pagemap magic");
	ret = pagemap_record(c, &p, &n);
	if (ret <= 0)
		return ret ? ret : pagemap_refuse(c, "no head");
	bounded_alloc_init(&ba, 64 * RECORD_MAX);
	head = criu__pagemap_head__unpack(&ba.pb, n, p);
	if (!head)
		return pagemap_refuse(c, "no head");
	criu__pagemap_head__free_unpacked(head, &ba.pb);
	return 0;
}

/* 1: *item is the next entry; 0: that was the last. */
static int pagemap_next(struct pagemap_cursor *c, struct pagemap_item *item)
{
	struct bounded_alloc ba;
	Criu__PagemapEntry *pe;
	const uint8_t *p = NULL;
	uint32_t flags;
	size_t n = 0;
	int ret;

	ret = pagemap_record(c, &p, &n);
	if (ret <= 0)
		return ret;
	bounded_alloc_init(&ba, 64 * RECORD_MAX);
	pe = criu__pagemap_entry__unpack(&ba.pb, n, p);
	if (!pe)
		return pagemap_refuse(c, "no entry");
	item->start = pe->vaddr;
	item->npages = pe->has_nr_pages ? pe->nr_pages : pe->compat_nr_pages;
	if (pe->has_in_parent && pe->in_parent)
		flags = pe->flags | PE_PARENT;
	else
		flags = pe->has_flags ? pe->flags : PE_PRESENT;
	criu__pagemap_entry__free_unpacked(pe, &ba.pb);

	item->lazy = (flags & PE_LAZY) && !(flags & PE_PRESENT);
	if (item->lazy && (flags & PE_PARENT))
		return pagemap_refuse(c, "pages that are both lazy and in a parent image");
	if (item->start & 4095)
		return pagemap_refuse(c, "address %#" PRIx64 " is within a page", item->start);
	if (item->start < c->end)
		return pagemap_refuse(c, "address %#" PRIx64 " is out of order", item->start);
	if (!item->npages)
		return pagemap_refuse(c, "an entry of no pages");
	if (item->start >= MITOSIS_IMAGE_ADDR_END ||
	    item->npages > (MITOSIS_IMAGE_ADDR_END - item->start) / 4096)
		return pagemap_refuse(c, "%" PRIu64 " pages at %#" PRIx64 " are not in user space",
				      item->npages, item->start);
	c->end = item->start + item->npages * 4096;
	return 1;
}

int pagemap_lazy_runs(const void *buf, size_t len, struct mitosis_run **runs, size_t *nruns,
		      char *err, size_t errlen)
{
	struct pagemap_item item = {};
	struct pagemap_cursor c;
	int ret;

	*runs = NULL;
	*nruns = 0;
	ret = pagemap_begin(&c, buf, len, err, errlen);
	if (ret)
		return ret;
	while ((ret = pagemap_next(&c, &item)) > 0) {
		if (!item.lazy)
			continue;
		ret = runs_append(runs, nruns, item.start, item.npages);
		if (ret) {
			snprintf(err, errlen,
				 "the pagemap image can not be read: no memory is left");
			break;
		}
	}
	if (ret) {
		free(*runs);
		*runs = NULL;
		*nruns = 0;
	}
	return ret;
}

int pagemap_strip(const void *buf, size_t len, void **out, size_t *outlen, char *err, size_t errlen)
{
	struct pagemap_item item = {};
	struct pagemap_cursor c;
	size_t n, kept = 0;
	uint8_t *copy;
	int ret;

	*out = NULL;
	*outlen = 0;
	ret = pagemap_begin(&c, buf, len, err, errlen);
	if (ret)
		return ret;
	copy = malloc(len);
	if (!copy) {
		snprintf(err, errlen, "the pagemap image can not be rewritten: no memory is left");
		return -ENOMEM;
	}
	n = c.image.pos;
	memcpy(copy, buf, n);
	while ((ret = pagemap_next(&c, &item)) > 0) {
		if (item.lazy)
			continue;
		memcpy(copy + n, c.image.buf + c.image.record, c.image.pos - c.image.record);
		n += c.image.pos - c.image.record;
		kept++;
	}
	if (!ret && !kept) {
		snprintf(err, errlen,
			 "the pagemap image has lazy pages only, which criu can not restore: make a new dump");
		ret = -ENODATA;
	}
	if (ret) {
		free(copy);
		return ret;
	}
	*out = copy;
	*outlen = n;
	return 0;
}

void pagemap_name(uint32_t pid, char name[PAGEMAP_NAME_LEN])
{
	snprintf(name, PAGEMAP_NAME_LEN, "pagemap-%" PRIu32 ".img", pid);
}

uint32_t pagemap_name_pid(const char *name)
{
	char again[PAGEMAP_NAME_LEN];
	uint32_t pid;

	if (sscanf(name, "pagemap-%9" SCNu32, &pid) != 1)
		return 0;
	pagemap_name(pid, again);
	return strcmp(name, again) ? 0 : pid;
}
