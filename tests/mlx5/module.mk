# SPDX-License-Identifier: MIT
# The device model of a ConnectX card, which a stock qemu-system-x86_64 loads with LD_PRELOAD: see README.md. It is no part of all: only
# machines for tests have it.

MLX5_MODEL := $(B)/mlx5/mlx5-model.so
MLX5_QEMU := $(B)/mlx5/qemu
MLX5_OBJ := $(patsubst tests/mlx5/%.c,$(B)/mlx5/%.o,$(wildcard tests/mlx5/*.c))
# The layouts of commands come from the newest kernel's headers; they go on a copy beside QEMU's, for the rest is no header of user space.
MLX5_IFC = $(shell ls -vd /usr/src/linux-headers-*-common/include/linux/mlx5 | tail -n 1)
MLX5_CFLAGS = -std=gnu11 -Wall -Werror -Wno-missing-field-initializers -fPIC -fvisibility=hidden -O2 -g -D_GNU_SOURCE \
	-D_FILE_OFFSET_BITS=64 -isystem $(MLX5_QEMU)/include $(shell pkg-config --cflags glib-2.0)

.PHONY: mlx5-model
mlx5-model: deps
	@tests/mlx5/qemu-headers.sh $(MLX5_QEMU)
	@mkdir -p $(MLX5_QEMU)/include/linux/mlx5
	@cp -u $(MLX5_IFC)/mlx5_ifc.h $(MLX5_IFC)/mlx5_ifc_fpga.h $(MLX5_QEMU)/include/linux/mlx5/
	$(MAKE) --no-print-directory $(MLX5_MODEL)

# What is not defined here QEMU has.
$(MLX5_MODEL): $(MLX5_OBJ)
	$(CC) -shared -o $@.tmp $^
	mv $@.tmp $@

$(B)/mlx5/%.o: tests/mlx5/%.c
	@mkdir -p $(@D)
	$(CC) $(MLX5_CFLAGS) -MMD -MP -c -o $@ $<
