// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/pagemap.h"

#define WIRE_LINE_MAX	(16U << 20)	/* a description of very many files */
#define WIRE_FILE_MAX	(1ULL << 40)
#define WIRE_END_MS	5000

void wire_init(struct wire *w, int in, int out)
{
	*w = (struct wire){ .in = in, .out = out, .stop = -1 };
	/* an ssh that hangs must not hang us: writing waits for room with poll() */
	fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
}

void wire_end(struct wire *w)
{
	close(w->in);
	close(w->out);
	free(w->buf);
	*w = (struct wire){ .in = -1, .out = -1, .stop = -1 };
}

void wire_new_id(char id[17])
{
	uint64_t value = 0;

	while (!value)
		if (getrandom(&value, sizeof(value), 0) != sizeof(value))
			value = 0;
	snprintf(id, 17, "%016lx", (unsigned long)value);
}

json_object *wire_hello(const char *id)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "hello", json_object_new_int(CLI_PROTOCOL));
	json_object_object_add(o, "id", json_object_new_string(id));
	return o;
}

bool wire_host_is_good(const char *host)
{
	if (*host != '-')
		return true;
	cli_say("host %s begins with a dash: ssh would take it for an option", host);
	return false;
}

int wire_remote(struct wire *w, const char *ssh, const char *host, pid_t *pid)
{
	char command[1024];
	char *argv[] = { "sh", "-c", command, (char *)host, NULL };
	int in[2], out[2], ret;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		cli_say("no pipe to ssh: %s", strerror(errno));
		return -1;
	}
	/* the ssh command is the caller's own words; the host goes in as an argument of its own */
	if (!ssh)
		ssh = "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3";
	snprintf(command, sizeof(command), "exec %s \"$0\" mitosis-cli receive", ssh);
	ret = cli_spawn(argv, in[0], out[1], pid);
	close(in[0]);
	close(out[1]);
	wire_init(w, out[0], in[1]);
	if (!ret)
		return 0;
	cli_say("ssh cannot be started: %s", strerror(-ret));
	wire_end(w);
	return -1;
}

void wire_remote_end(struct wire *w, pid_t pid)
{
	struct pollfd p = { syscall(SYS_pidfd_open, pid, 0), POLLIN, 0 };

	wire_end(w);
	if (p.fd >= 0)
		poll(&p, 1, WIRE_END_MS);
	/*
	 * With all that it started, as a receiver lives as long as its session. SIGTERM would not
	 * end what is stopped for the terminal.
	 */
	kill(-pid, SIGKILL);
	if (p.fd >= 0)
		close(p.fd);
	waitpid(pid, NULL, 0);
}

/* Milliseconds. */
static int wire_patience(const struct wire *w)
{
	uint64_t now = cli_now_ms();

	if (w->send_by && now >= w->send_by)
		return 0;
	if (w->send_by && w->send_by - now < WIRE_STALL_S * 1000)
		return w->send_by - now;
	return WIRE_STALL_S * 1000;
}

static bool wire_is_stopped(const struct wire *w)
{
	struct pollfd p = { w->stop, POLLIN, 0 };

	return w->stop >= 0 && poll(&p, 1, 0) > 0;
}

static int wire_write(struct wire *w, const void *buf, size_t len)
{
	struct pollfd p[2] = { { w->out, POLLOUT, 0 }, { w->stop, POLLIN, 0 } };
	const char *at = buf;
	ssize_t n;

	while (len && !w->error) {
		if (wire_is_stopped(w)) {
			w->error = -ECANCELED;
			continue;
		}
		if (!wire_patience(w)) {
			w->error = -ETIMEDOUT;
			continue;
		}
		n = write(w->out, at, len);
		if (n < 0 && errno == EAGAIN) {
			if (!poll(p, 2, wire_patience(w)))
				w->error = -ETIMEDOUT;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			w->error = n ? -errno : -EIO;
			continue;
		}
		at += n;
		len -= n;
	}
	return w->error;
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

int wire_send_key(struct wire *w, const char *key)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, key, json_object_new_boolean(true));
	return wire_send(w, o);
}

int wire_send_error(struct wire *w, const char *fmt, ...)
{
	json_object *o = json_object_new_object();
	va_list ap;

	va_start(ap, fmt);
	json_object_object_add(o, "error", cli_sentence(fmt, ap));
	va_end(ap);
	return wire_send(w, o);
}

/* More input into the buffer; > 0, 0 at the end, -1 with errno. */
static ssize_t wire_fill(struct wire *w, int timeout_ms)
{
	struct pollfd p[2] = { { w->in, POLLIN, 0 }, { w->stop, POLLIN, 0 } };
	ssize_t n;

	if (w->len + 65536 > w->size) {
		char *grown = realloc(w->buf, w->size * 2 + 131072);

		if (!grown)
			return -1;
		w->buf = grown;
		w->size = w->size * 2 + 131072;
	}
	do {
		n = poll(p, 2, timeout_ms);
		if (n == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		if (n > 0 && p[1].revents) {
			errno = ECANCELED;
			return -1;
		}
		if (n > 0)
			n = read(w->in, w->buf + w->len, 65536);
		/* where both directions are one socket, reading does not block either */
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n > 0)
		w->len += n;
	return n;
}

bool wire_has_input(const struct wire *w)
{
	struct pollfd p = { w->in, POLLIN, 0 };

	return w->len || poll(&p, 1, 0) > 0;
}

/* The end of the first line in the buffer; NULL as wire_recv(). */
static char *wire_line(struct wire *w, int timeout_ms)
{
	/* for the whole line: what comes drop by drop is not in time */
	uint64_t end = cli_now_ms() + timeout_ms, now;
	char *nl;

	errno = 0;
	while (!(nl = w->len ? memchr(w->buf, '\n', w->len) : NULL)) {
		if (w->len > WIRE_LINE_MAX) {
			errno = EMSGSIZE;
			return NULL;
		}
		now = cli_now_ms();
		if (wire_fill(w, now < end ? end - now : 0) <= 0)
			return NULL;
	}
	return nl;
}

bool wire_wait(struct wire *w, int timeout_ms)
{
	return wire_line(w, timeout_ms) || errno != ETIMEDOUT;
}

json_object *wire_recv(struct wire *w, int timeout_ms)
{
	char *nl = wire_line(w, timeout_ms);
	json_object *obj;
	size_t n;

	if (!nl)
		return NULL;
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
			if (wire_fill(w, WIRE_STALL_S * 1000) <= 0)
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

int wire_send_images(struct wire *w, const char *dir, const char *host, uint64_t *bytes,
		     void (*step)(void *arg), void *arg)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = -1;
	struct dirent *e;
	DIR *d;

	d = dirfd >= 0 ? fdopendir(dup(dirfd)) : NULL;
	if (!d) {
		cli_say("images in %s cannot be read: %s", dir, strerror(errno));
		goto out;
	}
	while ((e = readdir(d))) {
		/* while another restores from them there are pagemaps, which mitosis.img has */
		if (!cli_is_image(e->d_name) || pagemap_name_pid(e->d_name))
			continue;
		ret = wire_send_file(w, dirfd, e->d_name, bytes);
		if (ret) {
			cli_say("image %s cannot be sent to %s: %s", e->d_name, host,
				strerror(-ret));
			goto out;
		}
		if (step)
			step(arg);
	}
	ret = wire_send_key(w, "end");
out:
	if (d)
		closedir(d);
	if (dirfd >= 0)
		close(dirfd);
	return ret;
}
