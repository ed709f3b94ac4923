/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes.h - groups of values turned into lanes: value i of every group side by side.
 *
 * Private to the vector variants. A file includes the lanes of its instruction set first; those of
 * AVX2 are what it gets else. Tiles are [n][GGML_LANES]; n is a multiple of 8.
 */
#ifndef KERNELS_GGML_GGML_LANES_H
#define KERNELS_GGML_GGML_LANES_H

#ifndef GGML_LANES
#include "kernels/ggml/ggml_rows_avx2.h"
#endif
#ifdef GGML_LANES
#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Eight numbers of each of eight groups, from value i on, become columns of the tile. */
static inline void turn_8x8(float *to, const float *const from[8], size_t at)
{
    __m256 r[8], t[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(from[i] + at);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (size_t i = 0; i < 4; i++, to += GGML_LANES) {
        _mm256_storeu_ps(to, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + 4 * GGML_LANES, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

/* Groups of n values become the lanes of a tile. */
static inline void tile_fill(float *tile, const float *const group[GGML_LANES], size_t n)
{
    for (size_t lane = 0; lane < GGML_LANES; lane += 8)
        for (size_t i = 0; i < n; i += 8)
            turn_8x8(tile + i * GGML_LANES + lane, group + lane, i);
}

static inline struct lanes tile_at(const float *tile, int i)
{
    return lanes_load(tile + (size_t)i * GGML_LANES);
}

static inline void tile_put(float *tile, int i, struct lanes x)
{
    lanes_store(tile + (size_t)i * GGML_LANES, x);
}

/* Are n values, a multiple of GGML_LANES, free of NaN and infinity? */
static inline int lanes_all_finite(const float *x, size_t n)
{
    const struct lanes infinity = lanes_set(INFINITY);
    struct lane_mask bad = lanes_not_less(lanes_abs(lanes_load(x)), infinity);
    for (size_t i = GGML_LANES; i < n; i += GGML_LANES)
        bad = lanes_either(bad, lanes_not_less(lanes_abs(lanes_load(x + i)), infinity));
    return !lanes_any(bad);
}

/* Sums of squares of blocks of 256: each in order, four in turn. */
static inline void lanes_sum_squares(float *sum, const float *const block[GGML_LANES])
{
    for (size_t k = 0; k < GGML_LANES; k += 4) {
        const float *const *x = block + k;
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (size_t i = 0; i < 256; i++) {
            s0 += x[0][i] * x[0][i];
            s1 += x[1][i] * x[1][i];
            s2 += x[2][i] * x[2][i];
            s3 += x[3][i] * x[3][i];
        }
        sum[k] = s0;
        sum[k + 1] = s1;
        sum[k + 2] = s2;
        sum[k + 3] = s3;
    }
}

#ifdef __cplusplus
}
#endif
#endif
#endif
