// SPDX-License-Identifier: MIT
#include "mitosis-criu-plugin/finish.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/mitosis_image.h"
#include "images/pagemap.h"
#include "images/runs.h"
#include "lib/mitosis.h"

/* Calls back for each pagemap-N.img; the first result that is not 0 ends it. */
static int finish_pagemaps(int dirfd, int (*cb)(int dirfd, uint32_t pid, void *arg), void *arg)
{
	struct dirent *e;
	uint32_t pid;
	int fd, ret = 0;
	DIR *d;

	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return ret;
	}
	while (!ret && (errno = 0, e = readdir(d))) {
		pid = pagemap_name_pid(e->d_name);
		if (pid)
			ret = cb(dirfd, pid, arg);
	}
	if (!ret)
		ret = -errno;
	closedir(d);
	return ret;
}

struct finish_unheld {
	const struct mitosis_image *img;
	struct timespec since;	/* when mitosis.img was written, before CRIU wrote any pagemap */
	uint32_t pid;
};

static int finish_find_unheld(int dirfd, uint32_t pid, void *arg)
{
	struct finish_unheld *un = arg;
	char name[PAGEMAP_NAME_LEN];
	struct stat st;

	if (mitosis_image_find_mm(un->img, pid))
		return 0;
	pagemap_name(pid, name);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	/* Left by an earlier dump to the same directory. */
	if (st.st_mtim.tv_sec < un->since.tv_sec ||
	    (st.st_mtim.tv_sec == un->since.tv_sec && st.st_mtim.tv_nsec < un->since.tv_nsec))
		return 0;
	un->pid = pid;
	return 1;
}

/* Another plugin may have kept criu from asking us about a process. */
static int finish_check_held(int dirfd, const struct mitosis_image *img, char *err, size_t errlen)
{
	struct finish_unheld un = { .img = img };
	struct stat st;
	int ret;

	ret = fstatat(dirfd, MITOSIS_IMAGE_NAME, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	un.since = st.st_mtim;
	if (!ret)
		ret = finish_pagemaps(dirfd, finish_find_unheld, &un);
	if (ret < 0)
		snprintf(err, errlen,
			 "the image directory can not be read (%s): dump to another one",
			 strerror(-ret));
	if (ret <= 0)
		return ret;
	snprintf(err, errlen,
		 "process %u was dumped but its memory was not held: remove other plugins from criu's plugin directory",
		 un.pid);
	return -EPROTO;
}

/* Lazy pages become runs, and the rest is what a restore gives to criu. */
static int finish_read_pagemap(int dirfd, struct mitosis_image_mm *mm, char *err, size_t errlen)
{
	char name[PAGEMAP_NAME_LEN];
	void *buf, *rest;
	size_t len;
	int ret;

	pagemap_name(mm->pid, name);
	ret = mitosis_file_read(dirfd, name, MITOSIS_IMAGE_MAX_LEN, &buf, &len, err, errlen);
	if (ret)
		return ret;
	ret = pagemap_lazy_runs(buf, len, &mm->pages.runs, &mm->pages.nruns, err, errlen);
	if (!ret)
		ret = pagemap_strip(buf, len, &rest, &mm->pagemap_len, err, errlen);
	if (!ret)
		mm->pagemap = rest;
	free(buf);
	return ret;
}

static int finish_mm(struct mitosis *ctl, int dirfd, uint64_t snapshot, struct mitosis_image_mm *mm,
		     char *err, size_t errlen)
{
	int ret;

	ret = finish_read_pagemap(dirfd, mm, err, errlen);
	if (ret || !mm->pages.nruns)
		return ret;
	ret = mitosis_hold_pages(ctl, snapshot, mm->pid, mm->pages.runs, mm->pages.nruns);
	if (ret)
		snprintf(err, errlen, "%s", mitosis_error(ctl));
	return ret;
}

static int finish_append_regions(struct mitosis_region **array, size_t *n,
				 const struct mitosis_region *add, size_t nadd)
{
	struct mitosis_region *more = reallocarray(*array, *n + nadd, sizeof(*more));

	if (!more)
		return -ENOMEM;
	*array = more;
	memcpy(more + *n, add, nadd * sizeof(*more));
	*n += nadd;
	return 0;
}

static int finish_add_regions(uint32_t pid, const struct mitosis_region *regions, size_t n,
			      void *arg)
{
	struct mitosis_image_mm *mm = mitosis_image_find_mm(arg, pid);

	return mm ? finish_append_regions(&mm->pages.regions, &mm->pages.nregions, regions, n) :
		    -EPROTO;
}

static int finish_add_inherited(const struct mitosis_inherit_info *info, void *arg)
{
	struct mitosis_image_parent parent = {
		.snapshot = info->parent,
		.port = info->where.port,
		.addr = (char *)info->where.addr,
		.dct = info->where.dct,
		.insecure = info->where.insecure,
	};
	struct mitosis_image *img = arg;
	struct mitosis_image_mm *mm = mitosis_image_find_mm(img, info->mm);
	struct mitosis_image_inherited *in;
	int ret = 0;
	size_t i;

	if (!mm)
		return -EPROTO;
	/* an earlier snapshot of this machine, offered as this one is */
	if (!strcmp(info->where.addr, "any") && img->naddrs)
		parent.addr = img->addrs[0];
	snprintf(parent.transport, sizeof(parent.transport), "%s", info->where.transport);
	memcpy(parent.key, info->key, sizeof(parent.key));
	in = mitosis_image_add_inherited(img, mm, &parent);
	explicit_bzero(parent.key, sizeof(parent.key));
	explicit_bzero(&parent.dct, sizeof(parent.dct));
	if (!in)
		return -ENOMEM;
	for (i = 0; i < info->nruns && !ret; i++)
		ret = runs_append(&in->pages.runs, &in->pages.nruns, info->runs[i].start,
				  info->runs[i].npages);
	if (!ret && info->nregions)
		ret = finish_append_regions(&in->pages.regions, &in->pages.nregions, info->regions,
					    info->nregions);
	return ret;
}

/* What an earlier snapshot has is not read from this one. */
static int finish_leave_inherited(struct mitosis_image *img)
{
	size_t i, j;
	int ret = 0;

	for (i = 0; i < img->nmms; i++) {
		struct mitosis_image_mm *mm = &img->mms[i];

		for (j = 0; j < mm->ninherited && !ret; j++)
			ret = runs_subtract(&mm->pages.runs, &mm->pages.nruns,
					    mm->inherited[j].pages.runs,
					    mm->inherited[j].pages.nruns);
	}
	return ret;
}

int mitosis_seal(struct mitosis *ctl, struct mitosis_image *img, char *err, size_t errlen)
{
	int ret;

	ret = mitosis_hold_seal(ctl, img->snapshot);
	if (!ret)
		ret = mitosis_region_get(ctl, img->snapshot, finish_add_regions, img);
	if (!ret)
		ret = mitosis_inherit_get(ctl, img->snapshot, finish_add_inherited, img);
	if (!ret)
		ret = finish_leave_inherited(img);
	if (ret)
		snprintf(err, errlen, "%s",
			 *mitosis_error(ctl) ? mitosis_error(ctl) :
					       "the module's regions are not those of this dump: load the module of this version of mitosis");
	img->state = MITOSIS_IMAGE_SEALED;
	return ret;
}

/*
 * First the pagemaps go and then mitosis.img is completed: what is left when this is cut short can
 * not be restored.
 */
static int finish_write(int dirfd, const struct mitosis_image *img, char *err, size_t errlen)
{
	char name[PAGEMAP_NAME_LEN];
	size_t i;
	int ret;

	for (i = 0; i < img->nmms; i++) {
		pagemap_name(img->mms[i].pid, name);
		if (unlinkat(dirfd, name, 0)) {
			ret = -errno;
			snprintf(err, errlen,
				 "%s can not be removed (%s): check the image directory", name,
				 strerror(errno));
			return ret;
		}
	}
	return mitosis_image_write(dirfd, img, err, errlen);
}

int mitosis_dump_finish(struct mitosis *ctl, int dirfd, struct mitosis_finish *info, char *err,
			size_t errlen)
{
	struct mitosis_finish done = {};
	struct mitosis_image *img;
	size_t i;
	int ret;

	ret = mitosis_image_read(dirfd, &img, err, errlen);
	if (ret)
		return ret;
	done.snapshot = img->snapshot;
	done.mms = img->nmms;
	if (img->state == MITOSIS_IMAGE_SEALED)
		goto out;
	ret = finish_check_held(dirfd, img, err, errlen);
	for (i = 0; i < img->nmms && !ret; i++)
		ret = finish_mm(ctl, dirfd, img->snapshot, &img->mms[i], err, errlen);
	if (!ret && !img->nmms) {
		snprintf(err, errlen,
			 "no process of the tree has memory, so it has ended: there is nothing to move");
		ret = -ENODATA;
	}
	if (!ret && !mitosis_image_npages(img)) {
		snprintf(err, errlen,
			 "criu has copied all memory into its images: a thread's stack pointer is at the beginning of a page, which criu 4.1 takes for a stack without end: try again when the process has moved on");
		ret = -ENODATA;
	}
	if (!ret)
		ret = mitosis_seal(ctl, img, err, errlen);
	if (!ret)
		ret = finish_write(dirfd, img, err, errlen);
out:
	done.pages = mitosis_image_npages(img);
	done.inherited = mitosis_image_ninherited(img);
	if (!ret && info)
		*info = done;
	mitosis_image_free(img);
	return ret;
}

static int finish_spoil(int dirfd, uint32_t pid, void *arg)
{
	struct mitosis_image_mm mm = { .pid = pid };
	char name[PAGEMAP_NAME_LEN], err[MITOSIS_ERROR_LEN];

	if (finish_read_pagemap(dirfd, &mm, err, sizeof(err)) || mm.pages.nruns) {
		pagemap_name(pid, name);
		unlinkat(dirfd, name, 0);
	}
	free(mm.pagemap);
	free(mm.pages.runs);
	return 0;
}

void mitosis_dump_abandon(struct mitosis *ctl, int dirfd, uint64_t snapshot)
{
	char err[MITOSIS_ERROR_LEN];
	struct mitosis_image *img;

	if (!mitosis_image_read(dirfd, &img, err, sizeof(err))) {
		if (!snapshot)
			snapshot = img->snapshot;
		mitosis_image_free(img);
	}
	if (snapshot)
		mitosis_release(ctl, snapshot);
	mitosis_image_remove(dirfd);
	finish_pagemaps(dirfd, finish_spoil, NULL);
}
