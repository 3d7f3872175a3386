# SPDX-License-Identifier: MIT
# CRIU's own tests, built from Debian's source package and moved with mitosis.

.PHONY: zdtm check-zdtm
zdtm: rig
	@tests/zdtm/build.sh

check-zdtm: zdtm vm-payload-6.12
	@tests/zdtm/run.sh $(if $(ONLY),--only '$(ONLY)')
