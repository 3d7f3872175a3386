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

# How the system loads it, and its sources for dkms(8), which builds it for each kernel.
DKMS_DIR = $(DESTDIR)/usr/src/mitosis-$(VERSION)
.PHONY: install install-load install-dkms
install: install-load
install-load:
	install -D -m 644 kmod/modules-load.conf $(DESTDIR)$(prefix)/lib/modules-load.d/mitosis.conf
	install -D -m 644 kmod/udev.rules $(DESTDIR)$(prefix)/lib/udev/rules.d/90-mitosis.rules
	install -D -m 644 kmod/tlshd-dropin.conf $(DESTDIR)$(prefix)/lib/systemd/system/tlshd.service.d/mitosis.conf
install-dkms:
	install -D -m 644 -t $(DKMS_DIR) kmod/*.[ch] kmod/Kbuild
	install -D -m 644 -t $(DKMS_DIR)/uapi kmod/uapi/*.h
	sed 's|@VERSION@|$(VERSION)|' kmod/dkms.conf > $(DKMS_DIR)/dkms.conf
