/* SPDX-License-Identifier: MIT */
/*
 * What a ConnectX is asked for: commands and work requests out of the device model's trace, field
 * by field with names, and what differs between those of the stock drivers and those of mitosis.
 */
#ifndef VECTORS_H
#define VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bits are counted from the most significant one of byte 0, as in the header of the kernel's. */
struct vec_field {
	const char *name;
	unsigned int start, bits;
};

/* Objects that are compared: how each is made, and the work requests of a DC initiator. */
enum vec_kind {
	VEC_DCI_CREATE,
	VEC_DCI_RST2INIT,
	VEC_DCI_INIT2RTR,
	VEC_DCI_RTR2RTS,
	VEC_DCI_CQ,
	VEC_DCT,
	VEC_DCT_CQ,
	VEC_DCT_RMP,
	VEC_READ,
	VEC_SEND,
	VEC_KINDS,
	VEC_OTHER = VEC_KINDS,
};

extern const char *const vec_kind_name[VEC_KINDS];

struct vec_record {
	enum vec_kind kind;
	uint16_t opcode;
	uint8_t *in, *out; /* out: of a command that was carried out */
	size_t len, out_len;
	size_t offset; /* of its line in the trace */
	struct vec_value *values; /* those of a kind that is compared */
	size_t n;
};

/*
 * A number that the device gave, an address or a key is told by what it stands for: it differs from
 * run to run.
 */
struct vec_value {
	const char *field;
	char text[48];
};

struct vec_trace {
	struct vec_record *records;
	size_t n;
};

/* 0, or -EINVAL with what is wrong with which line in message. */
int vec_trace_read(FILE *f, struct vec_trace *t, char *message, size_t size);
void vec_trace_free(struct vec_trace *t);

/* A part of the trace, in bytes of the file. */
struct vec_range {
	size_t from, to;
};

/*
 * Prints what differs, each with its reason out of the list of known differences, and what is
 * wrong: a difference without a reason, a reason without a difference, an object that one side does
 * not make. Returns how much is wrong, or -EINVAL for a list that is no list.
 */
int vec_compare(const struct vec_trace *t, struct vec_range stock, struct vec_range ours,
		FILE *known, const char *kernel, FILE *out);

void vec_print(const struct vec_record *r, FILE *out);

#endif
