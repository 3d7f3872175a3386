# SPDX-License-Identifier: MIT
# The kernel module, built for the running kernel, or for KDIR (and as kmod/ under build/KNAME with KNAME); with SPARSE=1 checked by sparse.

KDIR ?= /lib/modules/$(shell uname -r)/build
KNAME ?= host
KMOD_SRC := $(wildcard kmod/*.[ch] kmod/uapi/*.h) kmod/Kbuild

.PHONY: kmod
kmod: $(B)/kmod-$(KNAME)/mitosis.ko

# Kbuild puts its output beside its sources, so it works on a copy.
$(B)/kmod-$(KNAME)/mitosis.ko: $(KMOD_SRC)
	@mkdir -p $(@D)/uapi
	cp -u kmod/*.[ch] kmod/Kbuild $(@D)/
	cp -u kmod/uapi/*.h $(@D)/uapi/
	$(MAKE) -C $(KDIR) M=$(abspath $(@D)) MITOSIS_VERSION=$(VERSION) W=1 $(if $(SPARSE),C=2) modules
