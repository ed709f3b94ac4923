/* SPDX-License-Identifier: MIT */
/*
 * ggml_fit.h - the searches for scales which the quantizers share, one group of values at a time.
 *
 * Private to the family. x and w are [n], n <= GGML_FIT_MOST; levels are codes, one per byte. Sums
 * run over ascending index, each operation is rounded once, none is contracted: their order decides
 * the bytes. docs/formats/ggml-blocks.md has the formulas.
 */
#ifndef KERNELS_GGML_GGML_FIT_H
#define KERNELS_GGML_GGML_FIT_H

#include <stdint.h>

#include "kernels/fp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GGML_FIT_MOST = 32 };

/* Groups whose largest magnitude is below this are zeros. */
#define GGML_EPS 1e-15f

/* To the nearest integer, ties to even, for |v| <= 4194303; else some integer, always the same. */
static inline int ggml_nearest(float v)
{
    return (int)(f32_bits(v + 12582912.0f) & 0x7FFFFF) - 0x400000;
}

static inline int ggml_clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* What the searches for x round to a level of their scale and minimum. */
static inline int ggml_symmetric_level(float s, float x, int nm)
{
    return ggml_clamp(ggml_nearest(s * x), -nm, nm - 1);
}

static inline int ggml_affine_level(float s, float x, float min, int nm)
{
    return ggml_clamp(ggml_nearest(s * (x - min)), 0, nm);
}

/* x is about scale * (level - nm). w NULL: the squares of x. */
float ggml_fit_symmetric(uint8_t *level, const float *x, int n, int nm, const float *w);

/* The same for nm = 4 and 16 values, refined one value after the other. */
float ggml_fit_refined(uint8_t *level, const float *x);

/* x is about scale * level - min, levels up to nm. */
struct ggml_affine_rule {
    int nm;
    float r0, dr; /* steps k = 0 ... steps try (nm + r0 + dr * k) / range */
    int steps;
    int absolute; /* weigh the absolute error, not its square */
};

float ggml_fit_affine(float *min, uint8_t *level, const float *x, const float *w, int n,
                      const struct ggml_affine_rule *rule);

/* x >= 0 is about scale * level, levels up to nm. */
float ggml_fit_positive(uint8_t *level, const float *x, int n, int nm, const float *w);

/* x is about scale * (one of the 16 values of IQ4); wt are weights of the squares, 32 of each. */
float ggml_fit_iq4(const float *x, const float *wt);

/* Index of the value of IQ4 that is nearest to v; 15 for NaN. */
int ggml_iq4_index(float v);

#ifdef __cplusplus
}
#endif
#endif
