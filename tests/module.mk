# SPDX-License-Identifier: MIT

include $(sort $(wildcard tests/*/module.mk))
