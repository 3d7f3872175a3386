# SPDX-License-Identifier: MIT
# The plugin is built against CRIU's plugin header: the installed one, or that of the machines' criu (make rig).

CRIU_INCLUDE ?= $(firstword $(wildcard /usr/include/criu $(B)/rig/sysroot/usr/include/criu))
PLUGIN := $(B)/mitosis-criu-plugin/mitosis_plugin.so
PLUGIN_FINISH := $(B)/mitosis-criu-plugin/mitosis-dump-finish
PLUGIN_OBJS := $(addprefix $(B)/mitosis-criu-plugin/,plugin.o dump.o snapshot.o restore.o)
FINISH_OBJ := $(addprefix $(B)/mitosis-criu-plugin/,finish.o offer.o)
PLUGIN_LIBS = $(LIBMITOSIS) $(LIBMITOSIS_IMAGE) $(shell pkg-config --libs libnl-3.0 libnl-genl-3.0 libprotobuf-c)
PLUGIN_DIR = $(DESTDIR)/usr/lib/mitosis/criu

$(PLUGIN_OBJS): ALL_CFLAGS += $(if $(CRIU_INCLUDE),-isystem $(CRIU_INCLUDE))

# What is undefined in it criu has.
$(PLUGIN): $(PLUGIN_OBJS) $(FINISH_OBJ) $(B)/lib/libmitosis.a $(B)/images/libmitosis-image.a
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $(PLUGIN_OBJS) $(FINISH_OBJ) $(PLUGIN_LIBS)

$(PLUGIN_FINISH): $(B)/mitosis-criu-plugin/finish_main.o $(FINISH_OBJ) $(B)/lib/libmitosis.a \
		$(B)/images/libmitosis-image.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(B)/mitosis-criu-plugin/finish_main.o $(FINISH_OBJ) $(PLUGIN_LIBS)

.PHONY: install install-plugin
install: install-plugin
install-plugin: $(PLUGIN) $(PLUGIN_FINISH)
	install -D -t $(PLUGIN_DIR) $(PLUGIN) $(PLUGIN_FINISH)
	install -D -m 644 -t $(DESTDIR)/etc/criu mitosis-criu-plugin/mitosis.conf mitosis-criu-plugin/mitosis-plugin.conf

ifneq ($(CRIU_INCLUDE),)
all: $(PLUGIN) $(PLUGIN_FINISH)
endif
