/* SPDX-License-Identifier: MIT */
/*
 * ggml_layout.h - the bytes of the blocks: codes to their places and back, scales out of them.
 *
 * Private to the family. Per type:
 *
 *   T_pack(b, level)       the codes of a block, one per byte, into the block b
 *   T_unpack(q, b)         the codes of b as the integers which scales multiply
 *   T_factors(d, m, b)     per sub-block: a value is d * q - m
 *
 * Plain loops over bytes; the compiler makes vectors of them where a file's flags allow.
 * docs/formats/ggml-blocks.md has pictures.
 */
#ifndef KERNELS_GGML_GGML_LAYOUT_H
#define KERNELS_GGML_GGML_LAYOUT_H

#include <stdint.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GGML_SUPER = 256 }; /* values of a K block */

static const int8_t ggml_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};
/* Twice the values of E2M1. */
static const int8_t ggml_fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Every NaN is the one which the hardware makes, so that arithmetic on NaNs has one result. */
static inline float ggml_half_at(const uint8_t *b, size_t i)
{
    const uint16_t h = load_u16_at(b, i);
    return f32_from_bits((h & 0x7FFF) > 0x7C00 ? 0xFFC00000 : f32_bits(f32_from_f16(h)));
}

/* Stores x as a half; returns what is stored. */
static inline float ggml_put_half(uint8_t *b, size_t i, float x)
{
    store_u16_at(b, i, x == x ? f16_from_f32(x) : 0x7E00);
    return ggml_half_at(b, i);
}

/* Blocks of 32: byte j has the codes j (low) and j + 16. */
static inline void nibbles_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    for (int j = 0; j < 16; j++)
        b[j] = (uint8_t)((level[j] & 15) | level[j + 16] << 4);
}

static inline void nibbles_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    for (int j = 0; j < 16; j++)
        q[j] = (int8_t)(b[j] & 15);
    for (int j = 0; j < 16; j++)
        q[j + 16] = (int8_t)(b[j] >> 4);
}

static inline void q8_0_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    memcpy(q, b + 2, 32);
}

static inline void half_factors(float *d, float *m, const uint8_t *b)
{
    *d = ggml_half_at(b, 0);
    *m = 0;
}

static inline void half_pair_factors(float *d, float *m, const uint8_t *b)
{
    const float min = ggml_half_at(b, 1);
    *d = ggml_half_at(b, 0);
    *m = min == min ? -min : min;
}

static inline void q4_0_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    nibbles_unpack(q, b + 2);
    for (int j = 0; j < 32; j++)
        q[j] = (int8_t)(q[j] - 8);
}

static inline void q4_1_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    nibbles_unpack(q, b + 4);
}

/* Bit i of the word at b is bit 4 of code i; the low bits follow. */
static inline void q5_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    uint32_t high = 0;
    for (unsigned j = 0; j < 32; j++)
        high |= (uint32_t)(level[j] >> 4 & 1) << j;
    store_u32_at(b, 0, high);
    nibbles_pack(b + 4, level);
}

static inline void q5_unpack(int8_t *__restrict q, const uint8_t *__restrict b, int bias)
{
    nibbles_unpack(q, b + 4);
    for (int j = 0; j < 32; j++)
        q[j] = (int8_t)((q[j] | (b[j / 8] >> j % 8 & 1) << 4) - bias);
}

static inline void q5_0_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    q5_unpack(q, b + 2, 16);
}

static inline void q5_1_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    q5_unpack(q, b + 4, 0);
}

static inline void table_unpack(int8_t *__restrict q, const uint8_t *__restrict b,
                                const int8_t values[16])
{
    nibbles_unpack(q, b);
    for (int j = 0; j < 32; j++)
        q[j] = values[q[j]];
}

static inline void iq4_nl_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    table_unpack(q, b + 2, ggml_iq4_values);
}

static inline void mxfp4_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    table_unpack(q, b + 1, ggml_fp4_values);
}

/* 2^(e - 128). */
static inline float mxfp4_scale(unsigned e)
{
    return f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

static inline void mxfp4_factors(float *d, float *m, const uint8_t *b)
{
    *d = mxfp4_scale(b[0]);
    *m = 0;
}

/* NVFP4: four scales, then 8 bytes for each 16 values: codes j (low) and j + 8. */
static inline void nvfp4_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    for (int g = 0; g < 4; g++)
        for (int j = 0; j < 8; j++)
            b[4 + 8 * g + j] = (uint8_t)(level[16 * g + j] | level[16 * g + 8 + j] << 4);
}

static inline void nvfp4_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    for (int g = 0; g < 4; g++)
        for (int j = 0; j < 8; j++) {
            q[16 * g + j] = ggml_fp4_values[b[4 + 8 * g + j] & 15];
            q[16 * g + 8 + j] = ggml_fp4_values[b[4 + 8 * g + j] >> 4];
        }
}

/* Half the value of the code; its sign bit is not looked at, 0x7F is 0. */
static inline float nvfp4_scale(uint8_t code)
{
    const unsigned em = code & 0x7F;
    if (code == 0x7F)
        return 0;
    if (em < 8)
        return (float)em * 0x1p-10f;
    return f32_from_bits((em + (119 << 3)) << 20);
}

static inline void nvfp4_factors(float *d, float *m, const uint8_t *b)
{
    for (int g = 0; g < 4; g++) {
        d[g] = nvfp4_scale(b[g]);
        m[g] = 0;
    }
}

/* One bit, at `shift`, of each of 256 codes: bit t of byte l is that of code 32 t + l. */
static inline void bits_pack(uint8_t *__restrict b, const uint8_t *__restrict level, int shift)
{
    for (int l = 0; l < 32; l++)
        b[l] = (uint8_t)((level[l] >> shift & 1) | (level[l + 32] >> shift & 1) << 1 |
                         (level[l + 64] >> shift & 1) << 2 | (level[l + 96] >> shift & 1) << 3 |
                         (level[l + 128] >> shift & 1) << 4 | (level[l + 160] >> shift & 1) << 5 |
                         (level[l + 192] >> shift & 1) << 6 | (level[l + 224] >> shift & 1) << 7);
}

#ifdef __cplusplus
}
#endif
#endif
