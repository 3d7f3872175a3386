/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fields of commands and contexts, by the kernel's own layouts: mlx5_ifc.h writes one byte for each
 * bit.
 */
#ifndef MLX5_MODEL_BITS_H
#define MLX5_MODEL_BITS_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
#ifndef DECLARE_FLEX_ARRAY
#define DECLARE_FLEX_ARRAY(type, name) \
	struct {                       \
		struct {               \
		} __empty_##name;      \
		type name[];           \
	}
#endif
#include <linux/mlx5/mlx5_ifc.h>

#define FLD_OFF(t, f) offsetof(struct mlx5_ifc_##t##_bits, f)
#define FLD_BITS(t, f) sizeof(((struct mlx5_ifc_##t##_bits *)0)->f)
#define SZ(t) (sizeof(struct mlx5_ifc_##t##_bits) / 8)
#define GET(t, p, f) bits_get(p, FLD_OFF(t, f), FLD_BITS(t, f))
#define SET(t, p, f, v) bits_set(p, FLD_OFF(t, f), FLD_BITS(t, f), v)
#define ADDR(t, p, f) ((uint8_t *)(p) + FLD_OFF(t, f) / 8)

static inline uint64_t bits_get(const void *p, unsigned int offset, unsigned int n)
{
	const uint8_t *b = p;
	uint64_t v = 0;

	while (n) {
		unsigned int in_byte = 8 - (offset & 7), take = n < in_byte ? n : in_byte;

		v = v << take | ((b[offset >> 3] >> (in_byte - take)) & ((1u << take) - 1));
		offset += take;
		n -= take;
	}
	return v;
}

static inline void bits_set(void *p, unsigned int offset, unsigned int n, uint64_t v)
{
	uint8_t *b = p;

	while (n) {
		unsigned int in_byte = 8 - (offset & 7), take = n < in_byte ? n : in_byte;
		unsigned int shift = in_byte - take, mask = ((1u << take) - 1) << shift;

		b[offset >> 3] = (b[offset >> 3] & ~mask) | (((v >> (n - take)) << shift) & mask);
		offset += take;
		n -= take;
	}
}

/* Of numbers of 24 bits, as indices and packets have: how far a is ahead of b. */
static inline int32_t diff24(uint32_t a, uint32_t b)
{
	return (int32_t)((a - b) << 8) >> 8;
}

#endif
