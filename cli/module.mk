# SPDX-License-Identifier: MIT

CLI := $(B)/cli/mitosis-cli
CLI_OBJS := $(patsubst cli/%.c,$(B)/cli/%.o,$(wildcard cli/*.c))

$(CLI_OBJS): | $(IMAGE_PB:%=$(B)/images/%.pb-c.h)

$(CLI): $(CLI_OBJS) $(addprefix $(B)/mitosis-criu-plugin/,finish.o offer.o) $(B)/lib/libmitosis.a $(B)/images/libmitosis-image.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ \
		$(shell pkg-config --libs libnl-3.0 libnl-genl-3.0 libprotobuf-c json-c libcap 2>/dev/null)

all: $(CLI)

.PHONY: install
install: all
	install -D -m 755 $(CLI) $(DESTDIR)$(prefix)/sbin/mitosis-cli
	install -D -m 644 cli/mitosis-cli.bash-completion $(DESTDIR)$(prefix)/share/bash-completion/completions/mitosis-cli
	for page in docs/man/*; do \
		d=$(DESTDIR)$(prefix)/share/man/man$${page##*.}; \
		install -d $$d && sed 's|@VERSION@|$(VERSION)|' $$page > $$d/$${page##*/} || exit 1; \
	done
