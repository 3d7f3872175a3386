# SPDX-License-Identifier: MIT
# The plugin, built against CRIU's plugin header: the installed one, else that of the machines' CRIU.

CRIU_INCLUDE ?= $(firstword $(wildcard /usr/include/criu $(B)/rig/sysroot/usr/include/criu))
PLUGIN := $(B)/mitosis-criu-plugin/mitosis_plugin.so
FINISH_OBJ := $(B)/mitosis-criu-plugin/finish.o

$(B)/mitosis-criu-plugin/plugin.o: ALL_CFLAGS += -fvisibility=default $(if $(CRIU_INCLUDE),-I$(CRIU_INCLUDE))
$(B)/mitosis-criu-plugin/plugin.o $(FINISH_OBJ): | $(IMAGE_PB:%=$(B)/images/%.pb-c.h)

# compel's functions are found in criu itself when it loads the plugin
$(PLUGIN): $(B)/mitosis-criu-plugin/plugin.o $(FINISH_OBJ) $(B)/lib/libmitosis.a $(B)/images/libmitosis-image.a
	$(CC) $(CFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $^ \
		$(shell pkg-config --libs libnl-3.0 libnl-genl-3.0 libprotobuf-c 2>/dev/null)

ifneq ($(CRIU_INCLUDE),)
all: $(PLUGIN)
endif
