# SPDX-License-Identifier: MIT
# Programs that fork themselves: as a user would build them, with the header and the library of this tree.

EXAMPLES := $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))

$(EXAMPLES): $(B)/examples/%: examples/%.c lib/mitosis.h $(B)/lib/libmitosis.so
	@mkdir -p $(@D) $(B)/include
	ln -sfn $(CURDIR)/lib $(B)/include/mitosis
	$(CC) $(ALL_CFLAGS) -I$(B)/include -o $@ $< -L$(B)/lib -lmitosis

.PHONY: examples
examples: $(EXAMPLES)
all: examples
