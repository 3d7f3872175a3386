// SPDX-License-Identifier: MIT
/*
 * O_DIRECT to and from memory that is not here yet, in the middle of other pages. Needs a disk's
 * file system.
 */
#include "prog.h"

#define LEN (2 * MB)

int main(int argc, char **argv)
{
	char path[300], *out, *in, *in2;
	int fd, plain;

	prog_init(argc, argv);
	out = map_content(LEN, 1);
	in = map_content(LEN, 2);
	in2 = map_content(LEN, 3);
	snprintf(path, sizeof(path), "/root/%d.direct", (int)getpid());
	prog_ready();

	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	CHECK(fd >= 0, "%s cannot be opened with O_DIRECT: %s", path, strerror(errno));
	unlink(path);
	for (size_t off = 0; off < LEN; off += 64 * PAGE)
		CHECK(pwrite(fd, out + off, 64 * PAGE, off) == (ssize_t)(64 * PAGE),
		      "O_DIRECT write: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	plain = MUST(open(path, O_RDONLY));
	CHECK(pread(plain, in2, LEN, 0) == (ssize_t)LEN, "read: %s", strerror(errno));
	CHECK_CONTENT(in2, LEN, 1, "written with O_DIRECT, read plainly");
	for (size_t off = 0; off < LEN; off += 4 * PAGE)
		CHECK(pread(fd, in + off, 2 * PAGE, off) == (ssize_t)(2 * PAGE),
		      "O_DIRECT read: %s", strerror(errno));
	for (size_t off = 0; off < LEN; off += 4 * PAGE) {
		CHECK_CONTENT_AT(in, off, 2 * PAGE, 1, "read with O_DIRECT");
		CHECK_CONTENT_AT(in, off + 2 * PAGE, 2 * PAGE, 2,
				 "beside what was read with O_DIRECT");
	}
	CHECK_CONTENT(out, LEN, 1, "the memory that was written with O_DIRECT");
	prog_pass();
}
