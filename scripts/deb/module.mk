# SPDX-License-Identifier: MIT
# deb: Debian packages, in build/deb/VERSION. deb-disk: a disk of a machine that has them.

.PHONY: deb deb-disk
deb:
	@scripts/deb/build.sh

deb-disk: deb
	@scripts/deb/disk.sh $(VERSION)
