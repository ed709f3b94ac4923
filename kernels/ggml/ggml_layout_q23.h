/* SPDX-License-Identifier: MIT */
/*
 * ggml_layout_q23.h - the bytes of Q2_K and Q3_K blocks.
 *
 * Private to the family; the conventions are those of ggml_layout.h.
 */
#ifndef KERNELS_GGML_GGML_LAYOUT_Q23_H
#define KERNELS_GGML_GGML_LAYOUT_Q23_H

#include "kernels/ggml/ggml_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* P2: 128 codes of two bits in 32 bytes, 32 apart. */
static inline void pairs_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    for (int g = 0; g < 2; g++, b += 32, level += 128)
        for (int l = 0; l < 32; l++)
            b[l] = (uint8_t)((level[l] & 3) | (level[l + 32] & 3) << 2 | (level[l + 64] & 3) << 4 |
                             (level[l + 96] & 3) << 6);
}

static inline void pairs_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    for (int g = 0; g < 2; g++, b += 32)
        for (int t = 0; t < 4; t++, q += 32)
            for (int l = 0; l < 32; l++)
                q[l] = (int8_t)(b[l] >> 2 * t & 3);
}

static inline void q2_k_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    pairs_pack(b + 16, level);
}

static inline void q2_k_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    pairs_unpack(q, b + 16);
}

static inline void q2_k_factors(float *d, float *m, const uint8_t *b)
{
    const float all = ggml_half_at(b + 80, 0), min = ggml_half_at(b + 80, 1);
    for (int j = 0; j < 16; j++) {
        d[j] = all * (float)(b[j] & 15);
        m[j] = min * (float)(b[j] >> 4);
    }
}

/* Level 0..7: two low bits among the pairs; bit i / 32 of byte i % 32 is the third. */
static inline void q3_k_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    pairs_pack(b + 32, level);
    bits_pack(b, level, 2);
}

static inline void q3_k_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    pairs_unpack(q, b + 32);
    for (int t = 0; t < 8; t++)
        for (int l = 0; l < 32; l++)
            q[32 * t + l] = (int8_t)(q[32 * t + l] - (b[l] >> t & 1 ? 0 : 4));
}

/* 16 scales of six bits, 0..63. */
static inline void q3_k_put_scales(uint8_t *b, const uint8_t *l)
{
    for (int j = 0; j < 8; j++)
        b[96 + j] = (uint8_t)((l[j] & 15) | (l[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++)
        b[104 + j] = (uint8_t)(l[j] >> 4 | (l[j + 4] >> 4) << 2 | (l[j + 8] >> 4) << 4 |
                               (l[j + 12] >> 4) << 6);
}

static inline void q3_k_factors(float *d, float *m, const uint8_t *b)
{
    const float all = ggml_half_at(b + 108, 0);
    for (int j = 0; j < 16; j++) {
        const int low = j < 8 ? b[96 + j] & 15 : b[88 + j] >> 4;
        const int high = b[104 + j % 4] >> 2 * (j / 4) & 3;
        d[j] = all * (float)((low | high << 4) - 32);
        m[j] = 0;
    }
}

#ifdef __cplusplus
}
#endif
#endif
