# SPDX-License-Identifier: MIT
# Figures as ratios within one run: "NAME VALUE" lines, then the ratios. bench-cost: in a machine whose clock counts instructions.

$(B)/tests/bench/touch: tests/bench/touch.c tests/vm/prog/prog.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $<

.PHONY: bench bench-cost bench-migrate bench-table bench-docs
bench: bench-cost bench-migrate

bench-cost: rig vm-payload-6.12 $(B)/tests/bench/touch
	@mkdir -p $(B)/bench
	cp -a $(B)/tests/vm/payload-6.12/. $(B)/bench/payload
	cp $(B)/tests/bench/touch $(B)/bench/payload/root/t/bin/
	tar -C $(B)/bench/payload -cf $(B)/bench/payload.tar .
	scripts/rig/rig -n bench icount --script tests/bench/guest-cost.sh --put $(B)/bench/payload.tar \
		--timeout 500 > $(B)/bench/cost.txt
	@tests/bench/ratios.sh $(B)/bench/cost.txt

# Two machines; BENCH_SIZES="16 64" chooses megabytes, BENCH_TIMES how often each. Takes an hour: CRIU alone copies slowly there.
bench-migrate: rig vm-payload-6.12 $(B)/tests/bench/touch
	@mkdir -p $(B)/bench
	tests/bench/migrate.sh > $(B)/bench/two-machines.tmp
	mv $(B)/bench/two-machines.tmp $(B)/bench/two-machines.txt
	@$(MAKE) --no-print-directory bench-table

bench-table:
	tests/bench/two-machines.py $(B)/bench/two-machines.txt $(B)/bench/two-machines.md $(B)/bench/two-machines.dat
	gnuplot -e "data='$(B)/bench/two-machines.dat'; plot_to='$(B)/bench/two-machines.svg'" tests/bench/two-machines.gp
	@cat $(B)/bench/two-machines.md

# What was measured last becomes what docs/bench shows.
bench-docs: bench-table
	cp $(B)/bench/two-machines.md $(B)/bench/two-machines.svg docs/bench/
