# SPDX-License-Identifier: MIT

.PHONY: demo
demo: rig
	@$(MAKE) --no-print-directory vm-payload-6.12
	@scripts/demo/demo.sh
