# SPDX-License-Identifier: MIT
# mitosis.img: build/images/libmitosis-image.a, to be linked with -lprotobuf-c.

IMAGE_PB := mitosis pagemap files tty
IMAGE_OBJS := $(addprefix $(B)/images/,mitosis_image.o criu_image.o pagemap.o files.o tty.o file.o record.o runs.o bounded_alloc.o \
	$(IMAGE_PB:%=%.pb-c.o))
LIBMITOSIS_IMAGE := $(B)/images/libmitosis-image.a

$(B)/images/%.pb-c.c $(B)/images/%.pb-c.h: images/%.proto
	@mkdir -p $(@D)
	protoc-c -Iimages --c_out=$(B)/images $<

$(B)/images/%.pb-c.o: $(B)/images/%.pb-c.c
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(filter-out %.pb-c.o,$(IMAGE_OBJS)): | $(IMAGE_PB:%=$(B)/images/%.pb-c.h)

$(LIBMITOSIS_IMAGE): $(IMAGE_OBJS)
	rm -f $@
	ar rcs $@ $^

.PRECIOUS: $(B)/images/%.pb-c.c $(B)/images/%.pb-c.h
all: $(LIBMITOSIS_IMAGE)
