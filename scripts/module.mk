# SPDX-License-Identifier: MIT
# What everything is built and tested with, and the machines it is tested on.

.PHONY: deps rig rig-down debug-kernel

deps:
	@scripts/rig/deps.sh

rig: deps
	@scripts/rig/build.sh

rig-down:
	@for name in $$(scripts/rig/rig list); do scripts/rig/rig -n "$$name" down; done

debug-kernel: rig
	@scripts/rig/debug-kernel.sh

include scripts/deb/module.mk scripts/demo/module.mk
