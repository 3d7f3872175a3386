// SPDX-License-Identifier: MIT
/*
 * What a process finds out about its memory while it is lazy: documented differences and no others.
 */
#include "prog.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#define LEN MB

static void read_all(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	CHECK(fd >= 0, "%s: %s", path, strerror(errno));
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		;
	CHECK(n == 0, "%s cannot be read to its end: %s", path, strerror(errno));
	close(fd);
}

static bool file_has(const char *path, const char *want, size_t len)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	close(fd);
	return n >= (ssize_t)len && memmem(buf, n, want, len);
}

int main(int argc, char **argv)
{
	unsigned char vec[LEN / PAGE];
	uint64_t entry;
	char *p, *q, *fresh;
	int fd;

	prog_init(argc, argv);
	MUST(setenv("MITOSIS_TEST_VALUE", "spring", 1));
	p = map_content(LEN, 1);
	q = map_content(LEN, 2);
	prog_ready();

	read_all("/proc/self/maps");
	read_all("/proc/self/smaps");
	read_all("/proc/self/smaps_rollup");
	/* a kernel without NUMA has none */
	if (!access("/proc/self/numa_maps", F_OK))
		read_all("/proc/self/numa_maps");
	read_all("/proc/self/environ");
	CHECK(file_has("/proc/self/cmdline", argv[0], strlen(argv[0])),
	      "/proc/self/cmdline does not have the program's name");
	CHECK(file_has("/proc/self/environ", "PATH=", 5), "/proc/self/environ has no PATH");
	CHECK(!strcmp(getenv("MITOSIS_TEST_VALUE"), "spring"), "the environment differs");
	CHECK(!file_has("/proc/self/maps", "mitosis.", 8), "/proc/self/maps names mitosis");
	MUST(mincore(p, LEN, vec));
	fd = MUST(open("/proc/self/pagemap", O_RDONLY));
	for (int i = 0; i < 16; i++)
		CHECK(pread(fd, &entry, 8, ((uintptr_t)p / PAGE + i * 16) * 8) == 8,
		      "/proc/self/pagemap: %s", strerror(errno));
	close(fd);

	fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd >= 0) {
		struct uffdio_api api = { .api = UFFD_API };
		struct uffdio_register reg = { .range = { (uintptr_t)q, LEN },
					       .mode = UFFDIO_REGISTER_MODE_MISSING };

		MUST(ioctl(fd, UFFDIO_API, &api));
		if (ioctl(fd, UFFDIO_REGISTER, &reg)) {
			CHECK(errno == EINVAL, "UFFDIO_REGISTER of lazy memory: %s",
			      strerror(errno));
			say("UFFDIO_REGISTER refused");
		} else {
			MUST(ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
		}
		fresh = map_anon(NULL, LEN, PROT_READ | PROT_WRITE);
		reg.range.start = (uintptr_t)fresh;
		MUST(ioctl(fd, UFFDIO_REGISTER, &reg));
		struct uffdio_copy cp = {
			.dst = (uintptr_t)fresh,
			.src = (uintptr_t)p,
			.len = 16 * PAGE,
		};

		CHECK(!ioctl(fd, UFFDIO_COPY, &cp) && cp.copy == (long)(16 * PAGE),
		      "UFFDIO_COPY from lazy memory: %s", strerror(errno));
		CHECK_CONTENT(fresh, 16 * PAGE, 1, "copied by UFFDIO_COPY");
		close(fd);
	}
	fd = open("/proc/self/clear_refs", O_WRONLY);
	if (fd >= 0) {
		CHECK(write(fd, "4", 1) == 1 && write(fd, "1", 1) == 1, "/proc/self/clear_refs: %s",
		      strerror(errno));
		close(fd);
	}
	for (int advice = 0; advice <= 4; advice++) {
		if (advice == MADV_DONTNEED)
			continue;
		MUST(madvise(q + advice * 32 * PAGE, 64 * PAGE, advice));
	}
	MUST(madvise(q, LEN, 20 /* MADV_COLD */));
	madvise(q, LEN, 21 /* MADV_PAGEOUT */);
	madvise(q, LEN, 22 /* MADV_POPULATE_READ */);
	madvise(q, LEN / 2, 23 /* MADV_POPULATE_WRITE */);
	if (madvise(q, LEN, 25 /* MADV_COLLAPSE */))
		CHECK(errno == EINVAL || errno == ENOMEM || errno == EAGAIN || errno == EBUSY,
		      "MADV_COLLAPSE: %s", strerror(errno));
	MUST(madvise(q, LEN, MADV_DONTDUMP));
	MUST(madvise(q, LEN, MADV_DODUMP));
	MUST(madvise(q, LEN, MADV_NOHUGEPAGE));
	CHECK_CONTENT(q, LEN, 2, "after every harmless madvise");
	CHECK_CONTENT(p, LEN, 1, "after every look");
	prog_pass();
}
