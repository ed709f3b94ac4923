/* SPDX-License-Identifier: MIT */
/*
 * ggml_layout_q456.h - the bytes of Q4_K, Q5_K, Q6_K and IQ4_XS blocks.
 *
 * Private to the family; the conventions are those of ggml_layout.h.
 */
#ifndef KERNELS_GGML_GGML_LAYOUT_Q456_H
#define KERNELS_GGML_GGML_LAYOUT_Q456_H

#include "kernels/ggml/ggml_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* S6: eight pairs of six bits, scales s and minima m, in 12 bytes. */
static inline void s6_pack(uint8_t *b, const uint8_t *s, const uint8_t *m)
{
    for (int j = 0; j < 4; j++) {
        b[j] = (uint8_t)(s[j] | (s[j + 4] >> 4) << 6);
        b[j + 4] = (uint8_t)(m[j] | (m[j + 4] >> 4) << 6);
        b[j + 8] = (uint8_t)((s[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}

static inline void s6_factors(float *d, float *m, const uint8_t *b)
{
    const float all = ggml_half_at(b, 0), min = ggml_half_at(b, 1);
    const uint8_t *p = b + 4;
    for (int j = 0; j < 4; j++) {
        d[j] = all * (float)(p[j] & 63);
        m[j] = min * (float)(p[j + 4] & 63);
        d[j + 4] = all * (float)((p[j + 8] & 15) | (p[j] >> 6) << 4);
        m[j + 4] = min * (float)(p[j + 8] >> 4 | (p[j + 4] >> 6) << 4);
    }
}

/* Pairs of sub-blocks: the first in the low halves of 32 bytes. */
static inline void halves_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    for (int g = 0; g < 4; g++, b += 32, level += 64)
        for (int l = 0; l < 32; l++)
            b[l] = (uint8_t)((level[l] & 15) | level[l + 32] << 4);
}

static inline void halves_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    for (int g = 0; g < 4; g++, b += 32, q += 64) {
        for (int l = 0; l < 32; l++)
            q[l] = (int8_t)(b[l] & 15);
        for (int l = 0; l < 32; l++)
            q[l + 32] = (int8_t)(b[l] >> 4);
    }
}

static inline void q4_k_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    halves_pack(b + 16, level);
}

static inline void q4_k_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    halves_unpack(q, b + 16);
}

static inline void q5_k_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    halves_pack(b + 48, level);
    bits_pack(b + 16, level, 4);
}

static inline void q5_k_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    halves_unpack(q, b + 48);
    for (int t = 0; t < 8; t++)
        for (int l = 0; l < 32; l++)
            q[32 * t + l] = (int8_t)(q[32 * t + l] | (b[16 + l] >> t & 1) << 4);
}

/* Per 128 values: 64 bytes of low halves, 32 bytes of two high bits four times. */
static inline void q6_k_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    uint8_t *low = b, *high = b + 128;
    for (int g = 0; g < 2; g++, level += 128, low += 64, high += 32) {
        for (int l = 0; l < 64; l++)
            low[l] = (uint8_t)((level[l] & 15) | level[l + 64] << 4);
        for (int l = 0; l < 32; l++)
            high[l] = (uint8_t)(level[l] >> 4 | (level[l + 32] >> 4) << 2 |
                                (level[l + 64] >> 4) << 4 | (level[l + 96] >> 4) << 6);
    }
}

static inline void q6_k_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    const uint8_t *low = b, *high = b + 128;
    for (int g = 0; g < 2; g++, q += 128, low += 64, high += 32) {
        for (int l = 0; l < 64; l++) {
            q[l] = (int8_t)(low[l] & 15);
            q[l + 64] = (int8_t)(low[l] >> 4);
        }
        for (int t = 0; t < 4; t++)
            for (int l = 0; l < 32; l++)
                q[32 * t + l] = (int8_t)((q[32 * t + l] | (high[l] >> 2 * t & 3) << 4) - 32);
    }
}

static inline void q6_k_factors(float *d, float *m, const uint8_t *b)
{
    const float all = ggml_half_at(b + 208, 0);
    for (int j = 0; j < 16; j++) {
        d[j] = all * (float)(int8_t)b[192 + j];
        m[j] = 0;
    }
}

static inline void iq4_xs_pack(uint8_t *__restrict b, const uint8_t *__restrict level)
{
    for (int j = 0; j < 8; j++)
        nibbles_pack(b + 8 + 16 * j, level + 32 * j);
}

static inline void iq4_xs_unpack(int8_t *__restrict q, const uint8_t *__restrict b)
{
    for (int j = 0; j < 8; j++)
        table_unpack(q + 32 * j, b + 8 + 16 * j, ggml_iq4_values);
}

/* 8 scales of six bits, 0..63: low halves in bytes 4-7, high pairs in the word at 2. */
static inline void iq4_xs_put_scales(uint8_t *b, const uint8_t *l)
{
    unsigned high = 0;
    for (int j = 0; j < 8; j++)
        high |= (unsigned)(l[j] >> 4) << 2 * j;
    store_u16_at(b, 1, (uint16_t)high);
    for (int j = 0; j < 4; j++)
        b[4 + j] = (uint8_t)((l[2 * j] & 15) | (l[2 * j + 1] & 15) << 4);
}

static inline void iq4_xs_factors(float *d, float *m, const uint8_t *b)
{
    const float all = ggml_half_at(b, 0);
    const unsigned high = load_u16_at(b, 1);
    for (int j = 0; j < 8; j++) {
        const int low = b[4 + j / 2] >> 4 * (j % 2) & 15;
        d[j] = all * (float)((low | (int)(high >> 2 * j & 3) << 4) - 32);
        m[j] = 0;
    }
}

#ifdef __cplusplus
}
#endif
#endif
