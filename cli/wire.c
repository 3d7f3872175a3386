// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define WIRE_LINE_MAX	(16U << 20)	/* a description of very many files */
#define WIRE_FILE_MAX	(1ULL << 40)

static int wire_write(struct wire *w, const void *buf, size_t len)
{
	const char *p = buf;
	ssize_t n;

	while (len) {
		n = write(w->out, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int wire_send(struct wire *w, json_object *obj)
{
	size_t len;
	const char *text = json_object_to_json_string_length(obj, JSON_C_TO_STRING_PLAIN, &len);
	int ret;

	ret = wire_write(w, text, len);
	if (!ret)
		ret = wire_write(w, "\n", 1);
	json_object_put(obj);
	return ret;
}

/* More input into the buffer; > 0, 0 at the end, -1 with errno. */
static ssize_t wire_fill(struct wire *w, int timeout_ms, int other)
{
	struct pollfd p[2] = { { w->in, POLLIN, 0 }, { other, POLLIN, 0 } };
	ssize_t n;

	if (w->len + 65536 > w->size) {
		char *grown = realloc(w->buf, w->size * 2 + 131072);

		if (!grown)
			return -1;
		w->buf = grown;
		w->size = w->size * 2 + 131072;
	}
	n = poll(p, 2, timeout_ms);
	if (n < 0 && errno == EINTR)
		return wire_fill(w, timeout_ms, other);
	if (n == 0)
		errno = ETIMEDOUT;
	if (n <= 0)
		return -1;
	if (!p[0].revents) {
		errno = EINTR;
		return -1;
	}
	do {
		n = read(w->in, w->buf + w->len, 65536);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		w->len += n;
	return n;
}

json_object *wire_recv(struct wire *w, int timeout_ms, int other)
{
	json_object *obj;
	char *nl;
	size_t n;

	errno = 0;
	while (!(nl = w->len ? memchr(w->buf, '\n', w->len) : NULL)) {
		if (w->len > WIRE_LINE_MAX) {
			errno = EMSGSIZE;
			return NULL;
		}
		if (wire_fill(w, timeout_ms, other) <= 0)
			return NULL;
	}
	*nl = 0;
	obj = json_tokener_parse(w->buf);
	n = nl + 1 - w->buf;
	memmove(w->buf, w->buf + n, w->len - n);
	w->len -= n;
	if (!json_object_is_type(obj, json_type_object)) {
		json_object_put(obj);
		errno = EPROTO;
		return NULL;
	}
	return obj;
}

int wire_send_file(struct wire *w, int dirfd, const char *name, uint64_t *bytes)
{
	json_object *head = json_object_new_object();
	char buf[65536];
	struct stat st;
	off_t left;
	ssize_t n;
	int fd, ret;

	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st)) {
		ret = -errno;
		json_object_put(head);
		goto out;
	}
	json_object_object_add(head, "file", json_object_new_string(name));
	json_object_object_add(head, "size", json_object_new_int64(st.st_size));
	ret = wire_send(w, head);
	for (left = st.st_size; left && !ret; left -= n) {
		n = read(fd, buf, left < (off_t)sizeof(buf) ? left : (off_t)sizeof(buf));
		if (n <= 0)
			ret = n ? -errno : -EIO;
		else
			ret = wire_write(w, buf, n);
	}
	*bytes += st.st_size;
out:
	if (fd >= 0)
		close(fd);
	return ret;
}

int wire_recv_file(struct wire *w, json_object *head, int dirfd)
{
	const char *name = jstr(head, "file");
	int64_t left = jint(head, "size");
	int fd, ret = 0;

	if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 200 || left < 0 ||
	    left > (int64_t)WIRE_FILE_MAX)
		return -EPROTO;
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (left && !ret) {
		size_t n = w->len < (uint64_t)left ? w->len : (size_t)left;

		if (!n) {
			if (wire_fill(w, 60000, -1) <= 0)
				ret = -EPIPE;
			continue;
		}
		if (write(fd, w->buf, n) != (ssize_t)n)
			ret = errno ? -errno : -ENOSPC;
		memmove(w->buf, w->buf + n, w->len - n);
		w->len -= n;
		left -= n;
	}
	close(fd);
	return ret;
}
