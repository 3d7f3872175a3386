// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images/mitosis_image.h"
#include "images/pagemap.h"
#include "lib/mitosis.h"
#include "mitosis-criu-plugin/finish.h"

static int finish_mm(struct mitosis *ctl, int dirfd, uint64_t snapshot, struct mitosis_image_mm *mm,
		     uint64_t *pages, char *err, size_t errlen)
{
	struct mitosis_run *runs = NULL;
	char name[PAGEMAP_NAME_LEN];
	size_t nruns, i;
	void *buf;
	int ret;

	pagemap_name(mm->pid, name);
	ret = mitosis_file_read(dirfd, name, MITOSIS_IMAGE_MAX_LEN, &buf, &mm->pagemap_len, err, errlen);
	if (ret)
		return ret;
	mm->pagemap = buf;
	ret = pagemap_lazy_runs(mm->pagemap, mm->pagemap_len, &runs, &nruns, err, errlen);
	if (ret)
		return ret;
	if (nruns) {
		ret = mitosis_hold_pages(ctl, snapshot, mm->pid, runs, nruns);
		if (ret)
			snprintf(err, errlen, "%s", mitosis_error(ctl));
	}
	for (i = 0; i < nruns; i++)
		*pages += runs[i].npages;
	free(runs);
	return ret;
}

struct finish_regions {
	struct mitosis_image *img;
	int ret;
};

static int finish_regions(uint32_t pid, const struct mitosis_region *regions, size_t n, void *arg)
{
	struct finish_regions *fr = arg;
	struct mitosis_image_mm *mm = mitosis_image_find_mm(fr->img, pid);
	struct mitosis_region *grown;

	if (!mm)
		return fr->ret = -EPROTO;
	grown = reallocarray(mm->regions, mm->nregions + n, sizeof(*grown));
	if (!grown)
		return fr->ret = -ENOMEM;
	memcpy(grown + mm->nregions, regions, n * sizeof(*grown));
	mm->regions = grown;
	mm->nregions += n;
	return 0;
}

int mitosis_dump_finish(struct mitosis *ctl, int dirfd, struct mitosis_finish *info, char *err,
			size_t errlen)
{
	struct mitosis_finish done = {};
	struct finish_regions fr = {};
	struct mitosis_image *img;
	char name[PAGEMAP_NAME_LEN];
	size_t i;
	int ret;

	ret = mitosis_image_read(dirfd, &img, err, errlen);
	if (ret)
		return ret;
	done.snapshot = img->snapshot;
	done.mms = img->nmms;
	if (img->state == MITOSIS_IMAGE_SEALED)
		goto out;
	for (i = 0; i < img->nmms; i++) {
		ret = finish_mm(ctl, dirfd, img->snapshot, &img->mms[i], &done.pages, err, errlen);
		if (ret)
			goto out;
	}
	ret = mitosis_hold_seal(ctl, img->snapshot);
	fr.img = img;
	if (!ret)
		ret = mitosis_region_get(ctl, img->snapshot, finish_regions, &fr);
	if (ret) {
		snprintf(err, errlen, "%s", mitosis_error(ctl));
		goto out;
	}
	img->state = MITOSIS_IMAGE_SEALED;
	ret = mitosis_image_write(dirfd, img, err, errlen);
	if (ret)
		goto out;
	for (i = 0; i < img->nmms; i++) {
		pagemap_name(img->mms[i].pid, name);
		if (unlinkat(dirfd, name, 0) && errno != ENOENT) {
			ret = -errno;
			snprintf(err, errlen, "%s cannot be removed from the images (%s): they cannot be used without it going",
				 name, strerror(errno));
			goto out;
		}
	}
out:
	if (!ret && info)
		*info = done;
	mitosis_image_free(img);
	return ret;
}
