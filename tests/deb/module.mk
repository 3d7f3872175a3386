# SPDX-License-Identifier: MIT
# Debian packages. check-deb-build: they are built, and lintian finds nothing. check-deb-root: installed, upgraded, removed and purged in a root of
# Debian 13. check-deb-guest-KERNEL: the same in a machine, where they move a process. check-deb: all of it.

DEB_NEXT := $(VERSION)+next

.PHONY: check-deb check-deb-build check-deb-next check-deb-root
check-deb-build: deb
	@tests/deb/lintian.sh build/deb/$(VERSION)/*.changes

check-deb-next: deb
	@scripts/deb/build.sh $(DEB_NEXT)

check-deb-root: check-deb-next
	@tests/deb/root.sh $(VERSION) $(DEB_NEXT)

check-deb-guest-%: check-deb-root deb-disk mlx5-model
	@tests/deb/guest.sh $*

check-deb: check-deb-build check-deb-root check-deb-guest-6.12
