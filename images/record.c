// SPDX-License-Identifier: MIT
#include "images/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "images/mitosis_image.h"

#define RECORD_HEAD	"mitosis record 1 "

int record_add(struct record *r, uint32_t pid, const struct mitosis_run *runs, size_t nruns)
{
	size_t room = r->room ? r->room : 256, i;
	struct record_run *more;

	while (room - r->nruns < nruns)
		room *= 2;
	if (!r->runs || room != r->room) {
		more = reallocarray(r->runs, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		r->runs = more;
		r->room = room;
	}
	for (i = 0; i < nruns; i++) {
		r->runs[r->nruns++] = (struct record_run){ pid, runs[i] };
		r->npages += runs[i].npages;
	}
	return 0;
}

void record_free(struct record *r)
{
	free(r->runs);
	memset(r, 0, sizeof(*r));
}

char *record_format(const struct record *r)
{
	char *text = NULL;
	size_t len, i;
	FILE *f;

	f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	fprintf(f, RECORD_HEAD "%016" PRIx64 "\n", r->snapshot);
	for (i = 0; i < r->nruns; i++)
		fprintf(f, "%" PRIu32 " %" PRIx64 " %" PRIu64 "\n", r->runs[i].pid,
			(uint64_t)r->runs[i].run.start, (uint64_t)r->runs[i].run.npages);
	if (!fclose(f))
		return text;
	free(text);
	return NULL;
}

/* A number that is not 0, and what follows it; false when there is none. */
static bool record_number(const char **text, int base, uint64_t max, char follows, uint64_t *value)
{
	char *end;

	/* strtoull() takes blanks, signs and 0x */
	if (!strchr("123456789abcdef", **text) &&
	    !(base == 16 && **text == '0' && (*text)[1] != 'x'))
		return false;
	errno = 0;
	*value = strtoull(*text, &end, base);
	if (errno || end == *text || *end != follows || !*value || *value > max)
		return false;
	*text = end + 1;
	return true;
}

static int record_refuse(struct record *r, unsigned int line, char *err, size_t errlen)
{
	snprintf(err, errlen,
		 RECORD_NAME
		 " can not be used (line %u): remove it, or make it again with mitosis-cli record",
		 line);
	record_free(r);
	return -EINVAL;
}

int record_parse(const char *text, struct record *r, char *err, size_t errlen)
{
	unsigned int line = 1;

	memset(r, 0, sizeof(*r));
	if (strncmp(text, RECORD_HEAD, strlen(RECORD_HEAD)))
		return record_refuse(r, line, err, errlen);
	text += strlen(RECORD_HEAD);
	if (!record_number(&text, 16, UINT64_MAX, '\n', &r->snapshot))
		return record_refuse(r, line, err, errlen);
	while (*text) {
		const struct record_run *last = r->nruns ? &r->runs[r->nruns - 1] : NULL;
		struct mitosis_run run;
		uint64_t pid, start, npages;

		line++;
		if (!record_number(&text, 10, INT32_MAX, ' ', &pid) ||
		    !record_number(&text, 16, MITOSIS_IMAGE_ADDR_END - 1, ' ', &start) ||
		    !record_number(&text, 10, MITOSIS_IMAGE_ADDR_END / 4096, '\n', &npages) ||
		    start % 4096 || npages > (MITOSIS_IMAGE_ADDR_END - start) / 4096)
			return record_refuse(r, line, err, errlen);
		if (last && last->pid == pid && start < last->run.start + last->run.npages * 4096)
			return record_refuse(r, line, err, errlen);
		run.start = start;
		run.npages = npages;
		if (record_add(r, (uint32_t)pid, &run, 1)) {
			record_free(r);
			snprintf(err, errlen, RECORD_NAME " can not be read: no memory is left");
			return -ENOMEM;
		}
	}
	return 0;
}

int record_read(int dirfd, uint64_t snapshot, struct record *r, char *err, size_t errlen)
{
	char *text;
	void *buf;
	size_t len;
	int ret;

	memset(r, 0, sizeof(*r));
	ret = mitosis_file_read(dirfd, RECORD_NAME, RECORD_MAX_LEN, &buf, &len, err, errlen);
	if (ret)
		return ret;
	text = strndup(buf, len);
	free(buf);
	if (!text) {
		snprintf(err, errlen, RECORD_NAME " can not be read: no memory is left");
		return -ENOMEM;
	}
	ret = record_parse(text, r, err, errlen);
	free(text);
	if (!ret && r->snapshot != snapshot) {
		snprintf(err, errlen,
			 RECORD_NAME " is of snapshot %016" PRIx64
				     ": remove it, or make it again with mitosis-cli record",
			 r->snapshot);
		record_free(r);
		ret = -EINVAL;
	}
	return ret;
}
