// SPDX-License-Identifier: MIT
/*
 * corecheck FILE ADDRESS LENGTH: whether a core file holds what target.c left at ADDRESS. Not moved
 * itself.
 */
#include "prog.h"
#include <elf.h>

int main(int argc, char **argv)
{
	unsigned long addr, len, found = 0;
	Elf64_Ehdr *eh;
	Elf64_Phdr *ph;
	struct stat st;
	char *core;
	int fd;

	if (argc != 4)
		return 2;
	addr = strtoul(argv[2], NULL, 0);
	len = strtoul(argv[3], NULL, 0);
	fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &st)) {
		printf("%s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	core = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (core == MAP_FAILED || memcmp(core, ELFMAG, SELFMAG)) {
		printf("%s is not a core file\n", argv[1]);
		return 1;
	}
	eh = (Elf64_Ehdr *)core;
	ph = (Elf64_Phdr *)(core + eh->e_phoff);
	for (int i = 0; i < eh->e_phnum; i++) {
		unsigned long from = ph[i].p_vaddr, to = from + ph[i].p_filesz;

		if (ph[i].p_type != PT_LOAD)
			continue;
		from = from < addr ? addr : from;
		to = to > addr + len ? addr + len : to;
		for (unsigned long a = from; a < to; a += 8, found += 8) {
			uint64_t v = *(uint64_t *)(core + ph[i].p_offset + (a - ph[i].p_vaddr));

			if (v != content_word(1, (a - addr) / 8)) {
				printf("the core file has %#lx at %#lx\n", (unsigned long)v, a);
				return 1;
			}
		}
	}
	if (found != len) {
		printf("the core file holds %#lx of %#lx bytes\n", found, len);
		return 1;
	}
	printf("core file is right\n");
	return 0;
}
