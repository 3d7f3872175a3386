# SPDX-License-Identifier: MIT
# Figures as ratios within one run: "NAME VALUE" lines, then the ratios. bench-cost: in a machine whose clock counts instructions.

BENCH_PROGS := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/*.c))
$(B)/tests/bench/%: tests/bench/%.c tests/bench/times.h tests/vm/prog/prog.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $< $(BENCH_LIBS_$*)
BENCH_LIBS_parent := -libverbs

# A machine whose clock counts instructions, with SCRIPT in it: $(call icount,SCRIPT,SECONDS,FIGURES,OPTIONS)
define icount
	@mkdir -p $(B)/bench
	rm -rf $(B)/bench/payload
	cp -a $(B)/tests/vm/payload-6.12/. $(B)/bench/payload
	cp $(BENCH_PROGS) tests/bench/guest-fork.sh tests/bench/guest-watch.sh $(B)/bench/payload/root/t/bin/
	tar -C $(B)/bench/payload -cf $(B)/bench/payload.tar .
	scripts/rig/rig -n bench icount $(4) --script tests/bench/$(1) --put $(B)/bench/payload.tar --timeout $(2) > $(3).tmp
	mv $(3).tmp $(3)
endef

.PHONY: bench bench-cost bench-migrate bench-precopy bench-fork-cost bench-fork bench-table bench-docs
bench: bench-cost bench-fork-cost bench-fork bench-migrate bench-precopy bench-tcp

bench-cost: rig vm-payload-6.12 $(BENCH_PROGS) mlx5-model
	$(call icount,guest-cost.sh,900,$(B)/bench/cost.txt,--mlx5)
	@tests/bench/ratios.sh $(B)/bench/cost.txt

# Two machines; BENCH_SIZES="16 64" chooses megabytes, BENCH_TIMES how often each. Takes an hour: CRIU alone copies slowly there.
bench-migrate: rig vm-payload-6.12 $(BENCH_PROGS)
	@mkdir -p $(B)/bench
	tests/bench/migrate.sh > $(B)/bench/two-machines.tmp
	mv $(B)/bench/two-machines.tmp $(B)/bench/two-machines.txt
	@$(MAKE) --no-print-directory bench-table

# With and without pre-copy, of a process that writes; BENCH_MB: its size, BENCH_TIMES: how often each. TRANSPORT=tcp: over that. Ten minutes.
bench-precopy: rig vm-payload-6.12
	@mkdir -p $(B)/bench
	tests/bench/precopy.sh > $(B)/bench/precopy.tmp
	mv $(B)/bench/precopy.tmp $(B)/bench/precopy.txt
	@tests/bench/precopy-table.sh $(B)/bench/precopy.txt

bench-table:
	tests/bench/two-machines.py $(B)/bench/two-machines.txt $(B)/bench/two-machines.md $(B)/bench/two-machines.dat
	gnuplot -e "data='$(B)/bench/two-machines.dat'; plot_to='$(B)/bench/two-machines.svg'" tests/bench/two-machines.gp
	@cat $(B)/bench/two-machines.md

# Children of a snapshot: what can be counted is counted in one machine, which has room for a process of 1 GiB.
bench-fork-cost: rig vm-payload-6.12 $(BENCH_PROGS)
	$(call icount,guest-fork-cost.sh,900,$(B)/bench/fork-cost.txt,--mem 2304)

bench-fork: bench-fork-cost
	tests/bench/fork.sh > $(B)/bench/fork.tmp
	mv $(B)/bench/fork.tmp $(B)/bench/fork.txt
	@$(MAKE) --no-print-directory bench-fork-table

.PHONY: bench-fork-table bench-fork-docs
bench-fork-table:
	tests/bench/fork-table.py $(B)/bench/fork-cost.txt $(B)/bench/fork.txt $(B)/bench/fork.md
	@cat $(B)/bench/fork.md

# Without RDMA; BENCH_TCP_MB chooses megabytes.
.PHONY: bench-tcp bench-tcp-table bench-tcp-docs bench-precopy-docs
bench-tcp: rig vm-payload-6.12 $(BENCH_PROGS)
	@mkdir -p $(B)/bench
	tests/bench/tcp.sh > $(B)/bench/tcp.tmp
	mv $(B)/bench/tcp.tmp $(B)/bench/tcp.txt
	@$(MAKE) --no-print-directory bench-tcp-table

bench-tcp-table:
	tests/bench/tcp-table.py $(B)/bench/tcp.txt $(B)/bench/tcp.md
	@cat $(B)/bench/tcp.md

# What was measured last becomes what docs/bench shows.
bench-docs: bench-table
	cp $(B)/bench/two-machines.md $(B)/bench/two-machines.svg docs/bench/
bench-fork-docs: bench-fork-table
	cp $(B)/bench/fork.md docs/bench/
bench-tcp-docs: bench-tcp-table
	cp $(B)/bench/tcp.md docs/bench/
bench-precopy-docs:
	tests/bench/precopy-table.sh $(B)/bench/precopy.txt > docs/bench/precopy.md
