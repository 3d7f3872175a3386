# SPDX-License-Identifier: MIT

.PHONY: demo
demo: rig $(if $(filter dct,$(TRANSPORT)),mlx5-model) $(if $(PACKAGES),deb-disk)
	@$(if $(PACKAGES),,$(MAKE) --no-print-directory vm-payload-6.12)
	@scripts/demo/demo.sh

.PHONY: demo-fork
demo-fork: rig
	@$(MAKE) --no-print-directory vm-payload-6.12
	@scripts/demo/fork.sh
