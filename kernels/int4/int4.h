/* SPDX-License-Identifier: MIT */
/*
 * int4.h - 4-bit integers with a scale per group of inputs: rounding, packing, decoding.
 *
 *   weight = f32((code - zero) * scale), code 0..15, zero 8 when symmetric
 *   word   = eight codes of neighbouring inputs, the first in the lowest 4 bits
 *
 * Quantizers work on rows and make words row by row; that is the compressed-tensors layout
 * ("pack-quantized"). The GPTQ layout holds the same words transposed:
 *
 *   pack-quantized   weight_packed [out, in/8]   weight_scale [out, in/g]
 *   GPTQ             qweight [in/8, out]         scales [in/g, out]   qzeros [in/g, out/8]
 *
 * Shapes     n, in and g are multiples of 8, g divides n (rtn) or in (source)
 * Exact      every variant gives the scalar reference's bytes for all inputs. rtn takes a NaN as
 *            code 0 and leaves it out of the scale; an F16 or BF16 scale may round to infinity:
 *            callers refuse such weights before or look at the scale after. error_sums: finite
 *            inputs only
 * Threads    pure functions
 */
#ifndef KERNELS_INT4_INT4_H
#define KERNELS_INT4_INT4_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the scale s of a group follows from its smallest and largest weight; a = max |w|. */
enum int4_rule {
    INT4_SIGNED,  /* auto-round: s = f16(+-a / 8), the sign such that the extreme gets code 0 */
    INT4_CLASSIC, /* GPTQ: s = 2a / 15, a / 15 when no weight is negative; codes by the F32 s,
                     stored as F16 */
    INT4_BF16,    /* compressed-tensors: s = bf16(a / 7.5), quotients rounded to BF16 */
};

struct int4_kernels {
    /* One row: words [n / 8], scales [n / group] (F16 bits; BF16 bits for INT4_BF16). */
    void (*rtn)(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                enum int4_rule rule);
    /* Codes that share scale and zero (0..16); words at any address. */
    void (*decode_f32)(float *dst, const void *words, size_t n, float scale, int zero);
    void (*decode_bf16)(uint16_t *dst, const void *words, size_t n, float scale, int zero);
    /* dst[c * dst_step + r] = src[r * src_step + c]; steps in words, any addresses. */
    void (*transpose)(void *dst, size_t dst_step, const void *src, size_t src_step, size_t n_rows,
                      size_t n_cols);
    /*
     * sums[0] = sum of (w - q)^2, sums[1] = sum of w^2: in F64, element i into partial sum i mod
     * 16 in ascending order, partial sums added in order. Rows are added by the caller, in order.
     */
    void (*error_sums)(double sums[2], const float *w, const float *q, size_t n);
};

/* The table of the highest level within the limit; it is constant. */
const struct int4_kernels *int4_kernels(enum isa limit);

/* The scale by the rule: what codes are divided by; *stored its F16 or BF16 bits. mn <= 0 <= mx. */
float int4_scale(enum int4_rule rule, float mn, float mx, uint16_t *stored);

/* Codes (0..15, one per byte) to words and back; n a multiple of 8. */
void int4_pack(uint32_t *words, const uint8_t *codes, size_t n);
void int4_unpack(uint8_t *codes, const void *words, size_t n);

/* The tensors of a symmetric GPTQ linear in natural order; g_idx may be NULL. */
struct int4_gptq {
    void *qweight; /* I32 [in/8, out] */
    void *qzeros;  /* I32 [in/group, out/8]: 7 in every place (v1), or 8 (v2) */
    void *scales;  /* F16 [in/group, out] */
    void *g_idx;   /* I32 [in]: i / group */
    int zero_bias; /* 1: v1, 0: v2 */
};

/* From words [out, in/8] and scales [out, in/group]; out a multiple of 8. */
void int4_store_gptq(const struct int4_kernels *k, const struct int4_gptq *to,
                     const uint32_t *words, const uint16_t *scales, size_t out, size_t in,
                     size_t group);

enum int4_scale_type { INT4_SCALE_F16, INT4_SCALE_BF16, INT4_SCALE_F32 };

/*
 * Stored codes in either layout. Steps say where the element of (row, group) or (row, word) lies,
 * counted in elements of its array; all arrays are little-endian at any address.
 */
struct int4_source {
    size_t in, group;
    const void *words;
    size_t word_row_step, word_step;
    const void *scales;
    size_t scale_row_step, scale_group_step;
    enum int4_scale_type scale_type;
    const void *zeros; /* 8 rows to a word, the first lowest; NULL: 8 everywhere */
    size_t zero_word_step, zero_group_step; /* per 8 rows, per group */
    int zero_bias;                          /* added to a stored zero */
    const void *g_idx;                      /* I32 [in], in range; NULL: i / group */
};

void int4_source_gptq(struct int4_source *s, size_t out, size_t in, size_t group);
void int4_source_packed(struct int4_source *s, size_t in, size_t group);

float int4_source_scale(const struct int4_source *s, size_t row, size_t group);
int int4_source_zero(const struct int4_source *s, size_t row, size_t group);

/* Rows first .. first + n_rows - 1 into f32 and bf16 [n_rows, in]; either may be NULL. */
void int4_decode_rows(const struct int4_kernels *k, const struct int4_source *s, size_t first,
                      size_t n_rows, float *f32, uint16_t *bf16);

#ifdef __cplusplus
}
#endif
#endif
