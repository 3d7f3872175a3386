# SPDX-License-Identifier: MIT
# The programs that are moved, and what goes into a test machine.

VM_PROGS := $(patsubst tests/vm/prog/%.c,$(B)/tests/vm/bin/%,$(wildcard tests/vm/prog/*.c))
VM_KERNELS := 6.12 6.1
VM_CORE := ^(lazy|access|control|unload|migrate)
# Not passing everywhere yet; make check-vm SKIP= ONLY=... runs them.
SKIP ?= migrate-exits
VM_GUEST := $(wildcard tests/vm/guest/*)
VM_LIBS_access := -lrdmacm -libverbs
VM_LIBS_ctl = $(LIBMITOSIS) $(LIB_LIBS)

$(B)/tests/vm/bin/ctl: $(LIBMITOSIS)
$(B)/tests/vm/bin/%: tests/vm/prog/%.c tests/vm/prog/prog.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -pthread -o $@ $< $(VM_LIBS_$*)

.PHONY: vm-progs
vm-progs: $(VM_PROGS)

# As it lies in a machine, from the root directory on.
.PHONY: vm-payload-%
vm-payload-%: all vm-progs
	@test -e $(B)/rig/kernel-$*/kdir || { echo "the machines' kernel $* is not built: run 'make rig', or 'make debug-kernel'"; exit 1; }
	$(MAKE) --no-print-directory kmod KNAME=$* KDIR=$(abspath $(B)/rig/kernel-$*/kdir)
	rm -rf $(B)/tests/vm/payload-$*
	mkdir -p $(B)/tests/vm/payload-$*/root/t/bin
	cp $(VM_PROGS) $(B)/tests/vm/payload-$*/root/t/bin/
	cp $(VM_GUEST) $(B)/kmod-$*/mitosis.ko $(B)/tests/vm/payload-$*/root/t/
	$(MAKE) --no-print-directory install DESTDIR=$(abspath $(B)/tests/vm/payload-$*) prefix=/usr

# All programs without being moved: what they check must hold on any Linux.
.PHONY: check-progs
check-progs: vm-progs
	@tests/vm/native.sh

.PHONY: check-vm
check-vm: rig $(VM_KERNELS:%=vm-payload-%)
	tests/vm/run.sh $(VM_KERNELS:%=--kernel %) --only '$(or $(ONLY),$(VM_CORE))' $(if $(SKIP),--skip '$(SKIP)')

# The fault matrix of migrations takes as long as all the rest: user space decides there, one kernel does.
.PHONY: check-more
check-more: rig vm-payload-6.12
	tests/vm/run.sh --kernel 6.12 --only '^(one-copy|lost-source|more)'

.PHONY: check-vm-debug
check-vm-debug: debug-kernel vm-payload-debug
	tests/vm/run.sh --kernel debug --only '$(or $(ONLY),$(VM_CORE))' $(if $(SKIP),--skip '$(SKIP)')
