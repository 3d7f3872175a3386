# SPDX-License-Identifier: MIT
# libmitosis, to be linked with -lnl-3 -lnl-genl-3.

LIB_OBJS := $(addprefix $(B)/lib/,netlink.o names.o proc.o addr.o fork.o)
LIBMITOSIS := $(B)/lib/libmitosis.a
LIBMITOSIS_SO := $(B)/lib/libmitosis.so
LIB_LIBS := $(shell pkg-config --libs libnl-3.0 libnl-genl-3.0 2>/dev/null)

$(LIBMITOSIS): $(LIB_OBJS)
	rm -f $@
	ar rcs $@ $^

$(LIBMITOSIS_SO): $(LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libmitosis.so.0 -Wl,-z,defs -o $@ $^ $(LIB_LIBS)

all: $(LIBMITOSIS) $(LIBMITOSIS_SO)

# The header includes "kmod/uapi/mitosis.h", which is found beside it.
.PHONY: install-lib
install: install-lib
install-lib: $(LIBMITOSIS) $(LIBMITOSIS_SO)
	install -D -m 644 $(LIBMITOSIS_SO) $(DESTDIR)$(libdir)/libmitosis.so.0
	ln -sf libmitosis.so.0 $(DESTDIR)$(libdir)/libmitosis.so
	install -D -m 644 -t $(DESTDIR)$(libdir) $(LIBMITOSIS)
	install -d $(DESTDIR)$(libdir)/pkgconfig
	sed 's|@prefix@|$(prefix)|; s|@libdir@|$(libdir)|; s|@VERSION@|$(VERSION)|' lib/libmitosis.pc.in \
		> $(DESTDIR)$(libdir)/pkgconfig/libmitosis.pc
	install -D -m 644 lib/mitosis.h $(DESTDIR)$(prefix)/include/mitosis/mitosis.h
	install -D -m 644 kmod/uapi/mitosis.h $(DESTDIR)$(prefix)/include/mitosis/kmod/uapi/mitosis.h
