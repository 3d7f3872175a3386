# SPDX-License-Identifier: MIT
# Figures as ratios within one run, in a machine whose clock counts instructions: "NAME VALUE" lines, then the ratios.
# -erms,-fsrm: a repeated string instruction is counted by its iterations there, and these would make every copied byte one.

$(B)/tests/bench/touch: tests/bench/touch.c tests/vm/prog/prog.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $<

.PHONY: bench
bench: rig vm-payload-6.12 $(B)/tests/bench/touch
	@mkdir -p $(B)/bench
	cp -a $(B)/tests/vm/payload-6.12/. $(B)/bench/payload
	cp $(B)/tests/bench/touch $(B)/bench/payload/root/t/bin/
	tar -C $(B)/bench/payload -cf $(B)/bench/payload.tar .
	scripts/rig/rig -n bench icount --script tests/bench/guest-cost.sh --put $(B)/bench/payload.tar \
		--cpu max,la57=off,-erms,-fsrm --timeout 500 > $(B)/bench/cost.txt
	@tests/bench/ratios.sh $(B)/bench/cost.txt
