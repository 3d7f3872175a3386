# SPDX-License-Identifier: MIT
# The programs that are moved, and what goes into a test machine.

VM_PROGS := $(patsubst tests/vm/prog/%.c,$(B)/tests/vm/bin/%,$(wildcard tests/vm/prog/*.c))
VM_KERNELS := 6.12 6.1
VM_CORE := ^(lazy|access|control|unload|migrate|fork)|^precopy-(writer|walk)$$
# What an older kernel has a say in; the rest of VM_CORE passes through the same lines on both.
VM_6_1_CORE := ^(lazy-[a-z]*(-race|-all|-always|-pressure)?|access|control|unload.*|migrate-(threads|walk|sparse|swap|thp|ksm|lazy-uring|lazy-syscalls)|precopy-writer|fork-(local|remote|chain|foreign|quota|limit-write|prog-(threads|uring|thp|ksm)|inflight-.*|node-gone))$$
VM_MLX5_CORE := ^mlx5-(devinfo|pingpong|perftest|dc|vectors|pyverbs-(mlx5_dc|mr|cq|srq)$$)
VM_DCT_CORE := ^dct-(access|initiator-refused|released|unbind|lost-packets)|^(unload|lazy-threads|lazy-unreadable|migrate-threads|migrate-walk|migrate-falls-back|fork-remote|fork-chain|fork-revoke)$$
VM_TCP_CORE := ^(tcp|loss-packets-10$$)|^(unload|lazy-threads|migrate-threads|precopy-writer|migrate-walk|fork-remote)$$
VM_GUEST := $(wildcard tests/vm/guest/*)
VM_LIBS_access := -lrdmacm -libverbs
VM_LIBS_dc := -lmlx5 -libverbs
# without libraries: a child is mapped sooner
VM_LIBS_forked := -static
VM_LIBS_ctl = $(LIBMITOSIS) $(LIB_LIBS)

$(B)/tests/vm/bin/ctl: $(LIBMITOSIS)
$(B)/tests/vm/bin/%: tests/vm/prog/%.c tests/vm/prog/prog.h tests/vm/prog/uring.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -pthread -o $@ $< $(VM_LIBS_$*)

.PHONY: vm-progs
vm-progs: $(VM_PROGS)

# As it lies in a machine, from the root directory on.
.PHONY: vm-payload-%
vm-payload-%: all vm-progs rig
	@test -e $(B)/rig/kernel-$*/kdir || { echo "the machines' kernel $* is not built: run 'make rig', or 'make debug-kernel'"; exit 1; }
	$(MAKE) --no-print-directory kmod KNAME=$* KDIR=$(abspath $(B)/rig/kernel-$*/kdir)
	rm -rf $(B)/tests/vm/payload-$*
	mkdir -p $(B)/tests/vm/payload-$*/root/t/bin
	cp $(VM_PROGS) $(B)/tests/vm/payload-$*/root/t/bin/
	cp $(EXAMPLES) $(wildcard examples/*.py) $(B)/tests/vm/payload-$*/root/t/bin/
	cp $(VM_GUEST) $(wildcard scripts/trace/*.bt) $(B)/kmod-$*/mitosis*.ko $(B)/tests/vm/payload-$*/root/t/
	$(MAKE) --no-print-directory install DESTDIR=$(abspath $(B)/tests/vm/payload-$*) prefix=/usr

# All programs without being moved: what they check must hold on any Linux.
.PHONY: check-progs
check-progs: vm-progs
	@tests/vm/native.sh

# Parts with machines of their own: a pair keeps little more than one processor busy, so make -j2 runs two parts at a time.
# The fault matrix of migrations takes as long as all the rest: user space decides there, one kernel does.
run_vm = RIG_PREFIX=$(or $(RIG_PREFIX),vm)-$(1) tests/vm/run.sh --kernel $(2) --only '$(3)' $(4)

.PHONY: check-vm check-6.1-core check-more check-one-copy check-lost-source
check-core-%: vm-payload-%
	@$(call run_vm,core,$*,$(or $(ONLY),$(VM_CORE)))
check-6.1-core: ONLY := $(or $(ONLY),$(VM_6_1_CORE))
check-6.1-core: check-core-6.1
check-one-copy: vm-payload-6.12
	@$(call run_vm,one-copy,6.12,^(one-copy|precopy))
check-lost-source: vm-payload-6.12
	@$(call run_vm,lost-source,6.12,^(lost-source|more)|^container-(podman-crun|address-runc))
check-vm: $(VM_KERNELS:%=check-core-%)
check-more: check-one-copy check-lost-source

# Machines with a modelled ConnectX: what Debian's own tools find through it, and what mitosis does with it.
.PHONY: check-mlx5 check-mlx5-core
check-mlx5-%: vm-payload-% mlx5-model $(VECTORS)
	@$(call run_vm,mlx5,$*,$(or $(ONLY),^mlx5),--mlx5)
check-mlx5: $(VM_KERNELS:%=check-mlx5-%)
check-mlx5-core: vm-payload-6.12 mlx5-model $(VECTORS)
	@$(call run_vm,mlx5,6.12,$(VM_MLX5_CORE)|$(VM_DCT_CORE),--mlx5)

# Memory goes over dct, or, between machines without RDMA, over TCP: all cases that there are for it.
.PHONY: check-tcp-core
check-dct-%: vm-payload-% mlx5-model
	@$(call run_vm,dct,$*,$(or $(ONLY),$(VM_CORE)|^(dct|lost-source|more|one-copy|precopy)),--mlx5)
check-tcp-%: vm-payload-%
	@$(call run_vm,tcp,$*,$(or $(ONLY),$(VM_CORE)|^(tcp|loss|lost-source|more|one-copy|precopy)),--transport tcp)
check-tcp-core: vm-payload-6.12
	@$(call run_vm,tcp,6.12,$(VM_TCP_CORE),--transport tcp)

.PHONY: check-vm-debug
check-vm-debug: ONLY := $(or $(ONLY),$(VM_CORE)|^inject)
check-vm-debug: debug-kernel check-core-debug
