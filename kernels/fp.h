/* SPDX-License-Identifier: MIT */
/*
 * fp.h - scalar conversions between binary32 and the narrow float formats.
 *
 * Widening is exact. Narrowing rounds once, to nearest, ties to even, subnormals kept. Everything
 * works on the bits, so the result does not depend on the compiler; the rounding mode must be
 * the default and denormals must be on.
 *
 *   bf16   s eeeeeeee mmmmmmm      the upper half of a binary32
 *   f16    s eeeee mmmmmmmmmm      bias 15
 *   e4m3   s eeee mmm              bias 7, largest 448 (0x7E), no infinity, NaN 0x7F and 0xFF
 *   e2m1   s ee m                  0 .5 1 1.5 2 3 4 6, no infinity, no NaN
 *
 * NaN        bf16 and f16 keep the sign and the upper bits of the payload and become quiet, as the
 *            hardware's conversions do; e4m3 keeps the sign.
 * Overflow   bf16 and f16 round to infinity. e4m3 has two rules, each a function of its own.
 * Threads    pure functions
 */
#ifndef KERNELS_FP_H
#define KERNELS_FP_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float f32_from_bf16(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t bf16_from_f32(float x)
{
    uint32_t u = f32_bits(x);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x0040);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static inline float f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t e = h >> 10 & 31;
    uint32_t m = h & 0x3FF;
    if (e == 31)
        return f32_from_bits(sign | 0x7F800000 | (m ? 0x00400000 : 0) | m << 13);
    if (e == 0) /* m * 2^-24 is exact */
        return f32_from_bits(sign | f32_bits((float)m * 0x1p-24f));
    return f32_from_bits(sign | (e + 112) << 23 | m << 13);
}

static inline uint16_t f16_from_f32(float x)
{
    uint32_t u = f32_bits(x);
    uint32_t sign = u >> 16 & 0x8000;
    uint32_t a = u & 0x7FFFFFFF;
    if (a > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (a >> 13 & 0x1FF));
    if (a >= 0x477FF000) /* 65520, midway between the largest number and the next step */
        return (uint16_t)(sign | 0x7C00);
    if (a < 0x38800000) /* below 2^-14: the last place of 0.5 is 2^-24, so the sum rounds there */
        return (uint16_t)(sign | (f32_bits(f32_from_bits(a) + 0.5f) - f32_bits(0.5f)));
    return (uint16_t)(sign | (((a + 0xFFF + (a >> 13 & 1)) >> 13) - (112u << 10)));
}

static inline float f32_from_e4m3(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80) << 24;
    uint32_t em = code & 0x7F;
    if (em == 0x7F)
        return f32_from_bits(sign | 0x7FC00000);
    if (em < 8)
        return f32_from_bits(sign | f32_bits((float)em * 0x1p-9f));
    return f32_from_bits(sign | (em + (120 << 3)) << 20);
}

/* The code of a magnitude, a = bits of |x| <= 464. */
static inline uint8_t e4m3_magnitude(uint32_t a)
{
    if (a < 0x3C800000) /* below 2^-6: the last place of 2^14 is 2^-9, so the sum rounds there */
        return (uint8_t)(f32_bits(f32_from_bits(a) + 0x1p14f) - f32_bits(0x1p14f));
    return (uint8_t)(((a + 0x7FFFF + (a >> 20 & 1)) >> 20) - (120u << 3));
}

/* Saturating: beyond 448, infinity included, is 448. */
static inline uint8_t e4m3_from_f32_sat(float x)
{
    uint32_t u = f32_bits(x);
    uint32_t sign = u >> 24 & 0x80;
    uint32_t a = u & 0x7FFFFFFF;
    if (a > 0x7F800000)
        return (uint8_t)(sign | 0x7F);
    return (uint8_t)(sign | (a >= 0x43E00000 ? 0x7Eu : e4m3_magnitude(a)));
}

/* Not saturating: what rounds beyond 448 (above 464), infinity included, is NaN. */
static inline uint8_t e4m3_from_f32(float x)
{
    uint32_t u = f32_bits(x);
    uint32_t sign = u >> 24 & 0x80;
    uint32_t a = u & 0x7FFFFFFF;
    return (uint8_t)(sign | (a > 0x43E80000 ? 0x7Fu : e4m3_magnitude(a)));
}

static inline float f32_from_e2m1(unsigned code)
{
    static const float value[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    float v = value[code & 7];
    return code & 8 ? -v : v;
}

/* Ties to the even code; beyond 5 is 6; NaN is 0. The sign is that of x < 0: -0 has code 0. */
static inline unsigned e2m1_from_f32(float x)
{
    float a = f32_from_bits(f32_bits(x) & 0x7FFFFFFF);
    int m = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) +
            (a > 5.0f);
    return (unsigned)(m | (x < 0.0f) << 3);
}

#ifdef __cplusplus
}
#endif
#endif
