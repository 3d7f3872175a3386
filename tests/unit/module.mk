# SPDX-License-Identifier: MIT
# Each test_NAME.c is a CUnit program, which main.c runs; what it is linked with beside CUnit stands in UNIT_NAME.

UNIT_TESTS := $(patsubst tests/unit/test_%.c,$(B)/tests/unit/test_%,$(wildcard tests/unit/test_*.c))
UNIT_image := $(B)/tests/unit/image_sample.o $(LIBMITOSIS_IMAGE)
UNIT_lib := $(B)/lib/libmitosis.a
UNIT_vectors = $(VECTORS_OBJ)
UNIT_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lcunit

# module.mk files are read in the order of their names, so that UNIT_NAME may name what another one defines.
.SECONDEXPANSION:
$(UNIT_TESTS): $(B)/tests/unit/test_%: $(B)/tests/unit/test_%.o $(B)/tests/unit/main.o $$(UNIT_$$*)
	$(CC) $(CFLAGS) -o $@ $^ $(UNIT_LIBS)

.PHONY: check-unit
check-unit: $(UNIT_TESTS)
	@for t in $(UNIT_TESTS); do timeout 120 $$t || exit 1; done
