# SPDX-License-Identifier: MIT
# Everything is built below build/; each room's rules stand in its own module.mk.

# The one place of the version is Debian's.
VERSION := $(shell head -n 1 debian/changelog | tr -d '()' | cut -d ' ' -f 2)
B := build
prefix ?= /usr/local
libdir ?= $(prefix)/lib

CC ?= gcc
PKGS := libnl-3.0 libnl-genl-3.0 libprotobuf-c json-c libcap
CFLAGS ?= -O2 -g
WERROR ?= -Werror
ALL_CFLAGS = -std=gnu11 -Wall -Wextra $(WERROR) -Wno-unused-parameter -fPIC -fvisibility=hidden \
	-D_GNU_SOURCE -DMITOSIS_VERSION='"$(VERSION)"' -I. -Ikmod/uapi -I$(B)/images \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(CPPFLAGS) $(CFLAGS)

.DEFAULT_GOAL := all
.PHONY: all clean

all:

include $(sort $(wildcard */module.mk))

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

clean:
	rm -rf $(B)

-include $(shell find $(B) \( -path $(B)/rig -o -path $(B)/deb \) -prune -o -type f -name '*.d' -print 2>/dev/null)
