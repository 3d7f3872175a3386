# SPDX-License-Identifier: MIT
# Compares what mitosis sends to a ConnectX with what the stock drivers and libmlx5 send, out of the device model's trace.

VECTORS := $(B)/tests/vectors/mlx5-vectors
VECTORS_OBJ := $(patsubst %,$(B)/tests/vectors/%.o,vectors compare)
VECTORS_MESSAGES := create_qp_in rst2init_qp_in init2rtr_qp_in rtr2rts_qp_in create_cq_in create_dct_in create_rmp_in \
	create_mkey_out create_eq_out create_cq_out create_qp_out create_xrc_srq_out create_dct_out alloc_pd_out alloc_uar_out alloc_xrcd_out \
	create_rmp_out

$(B)/tests/vectors/fields.h: tests/vectors/fields.py tests/vectors/module.mk
	@mkdir -p $(@D)
	tests/vectors/fields.py $(MLX5_IFC)/mlx5_ifc.h $(VECTORS_MESSAGES) > $@.tmp
	mv $@.tmp $@

$(B)/tests/vectors/vectors.o: $(B)/tests/vectors/fields.h
$(B)/tests/vectors/vectors.o: ALL_CFLAGS += -I$(B)/tests/vectors

$(VECTORS): $(B)/tests/vectors/main.o $(VECTORS_OBJ)
	$(CC) $(CFLAGS) -o $@ $^
