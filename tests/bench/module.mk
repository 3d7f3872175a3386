# SPDX-License-Identifier: MIT

$(B)/tests/bench/touch: tests/bench/touch.c tests/vm/prog/prog.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $<
