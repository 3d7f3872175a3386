# SPDX-License-Identifier: MIT
# Each fuzz_NAME.c is a libFuzzer target; `make fuzz` runs each for FUZZ_SECONDS from seeds that are made at build time.
# What was found stays below build/tests/fuzz/NAME.found/.

FUZZ_SECONDS ?= 30
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SOURCES = $(wildcard images/*.c) $(IMAGE_PB:%=$(B)/images/%.pb-c.c)
FUZZ_FLAGS := -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -O1 -g

$(B)/tests/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_SOURCES) $(wildcard images/*.h) kmod/uapi/mitosis.h
	@mkdir -p $(@D)
	clang $(ALL_CFLAGS) $(FUZZ_FLAGS) -o $@ $< $(FUZZ_SOURCES) -lprotobuf-c

$(B)/tests/fuzz/make_seeds: $(B)/tests/fuzz/make_seeds.o $(B)/tests/unit/image_sample.o $(LIBMITOSIS_IMAGE)
	$(CC) $(CFLAGS) -o $@ $^ -lprotobuf-c

$(B)/tests/fuzz/seeds.stamp: $(B)/tests/fuzz/make_seeds
	mkdir -p $(FUZZ_TARGETS:%=$(B)/tests/fuzz/%.seeds) $(FUZZ_TARGETS:%=$(B)/tests/fuzz/%.found)
	$< $(B)/tests/fuzz
	touch $@

.PHONY: fuzz
fuzz: $(FUZZ_TARGETS:%=$(B)/tests/fuzz/fuzz_%) $(B)/tests/fuzz/seeds.stamp
	@for t in $(FUZZ_TARGETS); do \
		d=$(B)/tests/fuzz; mkdir -p $$d/$$t.corpus; \
		timeout $$(($(FUZZ_SECONDS) + 60)) $$d/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -max_len=65536 \
			-rss_limit_mb=1024 -timeout=10 -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=$$d/$$t.found/ $$d/$$t.corpus $$d/$$t.seeds >$$d/$$t.log 2>&1 || \
			{ tail -n 50 $$d/$$t.log; echo "not ok - fuzz $$t, see $$d/$$t.found"; exit 1; }; \
		echo "ok - fuzz $$t, $(FUZZ_SECONDS) s"; \
	done
