# SPDX-License-Identifier: MIT
# check: everything, one line a test, and "N passed, N failed". check-debug: the machine tests on a kernel with every check on.
# soak: long random walks, SOAK_SEEDS of them on each kernel.

include $(sort $(wildcard tests/*/module.mk))

.PHONY: check check-man check-debug lint soak
check: deps
	@tests/check.sh rig build unit fuzz scripts manual packages programs vm

check-man: $(CLI)
	@tests/man.sh $(CLI)

check-debug: deps
	@tests/check.sh rig build vm-debug

soak: deps
	@SOAK=$(or $(SOAK_SEEDS),20) ONLY=^soak tests/check.sh rig build soak

# Style and static analysis; needs the machines' kernels, not the machines.
lint: deps rig all
	@tests/check.sh scripts
	@tests/lint.sh $(filter -D% -I%,$(ALL_CFLAGS))
