// SPDX-License-Identifier: MIT
#include "images/mitosis_image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_error(char *err, size_t errlen, const char *name, const char *did)
{
	int e = errno;

	snprintf(err, errlen, "%s can not be %s (%s): check the image directory", name, did,
		 strerror(e));
	return -e;
}

static int file_read_all(int fd, char *buf, size_t len)
{
	size_t n = 0;
	ssize_t r;

	while (n < len) {
		r = read(fd, buf + n, len - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (!r) {
			errno = EIO;
			return -1;
		}
		n += (size_t)r;
	}
	return 0;
}

static int file_write_all(int fd, const char *buf, size_t len)
{
	size_t n = 0;
	ssize_t r;

	while (n < len) {
		r = write(fd, buf + n, len - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		n += (size_t)r;
	}
	return 0;
}

int mitosis_file_read(int dirfd, const char *name, size_t max, void **buf, size_t *len, char *err,
		      size_t errlen)
{
	struct stat st;
	char *data = NULL;
	int fd, ret;

	*buf = NULL;
	*len = 0;
	/* O_NONBLOCK: a FIFO of that name must not stop us before it is found to be one. */
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return file_error(err, errlen, name, "opened");
	if (fstat(fd, &st)) {
		ret = file_error(err, errlen, name, "read");
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > max) {
		snprintf(err, errlen, "%s is not a file of at most %zu bytes: make a new dump",
			 name, max);
		ret = -EINVAL;
		goto out;
	}
	data = malloc((size_t)st.st_size + 1);
	if (!data || file_read_all(fd, data, (size_t)st.st_size)) {
		ret = file_error(err, errlen, name, "read");
		goto out;
	}
	*buf = data;
	*len = (size_t)st.st_size;
	data = NULL;
	ret = 0;
out:
	free(data);
	close(fd);
	return ret;
}

int mitosis_file_write(int dirfd, const char *name, const void *buf, size_t len, bool sync,
		       char *err, size_t errlen)
{
	uint64_t unique;
	char temp[256];
	int fd, ret;

	/*
	 * not the pid: siblings in namespaces of their own have the same one, and write to the same
	 * directory
	 */
	if (getrandom(&unique, sizeof(unique), 0) != sizeof(unique))
		return file_error(err, errlen, name, "written");
	if (snprintf(temp, sizeof(temp), ".%s.%016" PRIx64, name, unique) >= (int)sizeof(temp)) {
		errno = ENAMETOOLONG;
		return file_error(err, errlen, name, "written");
	}
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return file_error(err, errlen, name, "written");
	if (file_write_all(fd, buf, len) || (sync && fsync(fd))) {
		ret = file_error(err, errlen, name, "written");
		close(fd);
		goto remove;
	}
	if (close(fd) || renameat(dirfd, temp, dirfd, name)) {
		ret = file_error(err, errlen, name, "written");
		goto remove;
	}
	/* The name itself lasts only when the directory does. */
	if (sync && fsync(dirfd))
		return file_error(err, errlen, name, "written");
	return 0;
remove:
	unlinkat(dirfd, temp, 0);
	return ret;
}

int mitosis_image_remove(int dirfd)
{
	return unlinkat(dirfd, MITOSIS_IMAGE_NAME, 0) && errno != ENOENT ? -errno : 0;
}
