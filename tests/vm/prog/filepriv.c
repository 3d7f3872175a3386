// SPDX-License-Identifier: MIT
/*
 * Private mappings of a file (its own program, which is the same on both machines): dirty pages,
 * clean pages, .data and .bss.
 */
#include "prog.h"

static uint64_t data[8192] = { 1 };
static uint64_t bss[8192];
static const uint64_t rodata[512] = { 7, [511] = 9 };

int main(int argc, char **argv)
{
	uint64_t before[512];
	struct stat st;
	size_t len;
	char *p;
	int fd;

	prog_init(argc, argv);
	fd = MUST(open("/proc/self/exe", O_RDONLY));
	MUST(fstat(fd, &st));
	len = st.st_size & ~(PAGE - 1);
	CHECK(len >= 8 * PAGE, "the program is too small for this test");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED, "mmap of the program: %s", strerror(errno));
	MUST(pread(fd, before, PAGE, PAGE));
	close(fd);
	for (size_t off = 0; off < len; off += 2 * PAGE)
		content_fill(p + off, PAGE, off);
	content_fill(data, sizeof(data), 1);
	content_fill(bss, sizeof(bss), 2);
	prog_ready();

	for (size_t off = 0; off < len; off += 2 * PAGE)
		CHECK_CONTENT(p + off, PAGE, off, "dirty page of a private file mapping");
	CHECK(!memcmp(p + PAGE, before, PAGE),
	      "a clean page of a private file mapping differs from its file");
	CHECK_CONTENT(data, sizeof(data), 1, ".data");
	CHECK_CONTENT(bss, sizeof(bss), 2, ".bss");
	CHECK(rodata[0] == 7 && rodata[511] == 9, ".rodata differs");
	MUST(madvise(p, PAGE, MADV_DONTNEED));
	CHECK(!memcmp(p, "\177ELF", 4),
	      "a dropped page of a private file mapping is not the file's");
	content_fill(p + PAGE, PAGE, 77);
	CHECK_CONTENT(p + PAGE, PAGE, 77, "page of a private file mapping, dirtied after the move");
	prog_pass();
}
