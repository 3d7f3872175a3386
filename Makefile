# SPDX-License-Identifier: MIT
# Everything is built below build/; each room's rules stand in its own module.mk.

VERSION := 0.1.0
B := build

CC ?= gcc
PKGS := libnl-3.0 libnl-genl-3.0 libprotobuf-c json-c libcap
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -fPIC -fvisibility=hidden \
	-D_GNU_SOURCE -DMITOSIS_VERSION='"$(VERSION)"' -I. -Ikmod/uapi -I$(B)/images \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(CFLAGS)

.DEFAULT_GOAL := all
.PHONY: all clean

all:

include $(sort $(wildcard */module.mk))

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' -not -path '*/rig/*' 2>/dev/null)
