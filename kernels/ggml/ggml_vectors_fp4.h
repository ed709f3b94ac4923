/* SPDX-License-Identifier: MIT */
/*
 * ggml_vectors_fp4.h - MXFP4 and NVFP4, a block at a time.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_VECTORS_FP4_H
#define KERNELS_GGML_GGML_VECTORS_FP4_H

#include "kernels/ggml/ggml_fp4.h"
#include "kernels/ggml/ggml_variants.h"
#include "kernels/ggml/ggml_vectors.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Codes of E2M1 for 8 values: how many of the midpoints of d's multiples the magnitude is above,
 * and the sign unless the code is 0. The bits of magnitudes are in the order of the magnitudes.
 */
static inline __m256i fp4_codes(__m256 x, const __m256i mid[7])
{
    const __m256i a = magnitude_bits(x);
    __m256i n = _mm256_setzero_si256();
    for (int k = 0; k < 7; k++)
        n = _mm256_sub_epi32(n, _mm256_cmpgt_epi32(a, mid[k]));
    const __m256i sign = _mm256_srli_epi32(_mm256_castps_si256(x), 31);
    const __m256i some = _mm256_cmpgt_epi32(n, _mm256_setzero_si256());
    return _mm256_or_si256(n, _mm256_and_si256(_mm256_slli_epi32(sign, 3), some));
}

/* Nothing is above when d is 0, or the larger of the two multiples overflows. */
static inline void fp4_midpoints(__m256i mid[7], float d)
{
    static const float at[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    for (int k = 0; k < 7; k++) {
        const int never = d == 0 || (float)ggml_fp4_values[k + 1] * d == INFINITY;
        mid[k] =
            never ? _mm256_set1_epi32(0x7FFFFFFF) : _mm256_castps_si256(_mm256_set1_ps(at[k] * d));
    }
}

static inline void mxfp4_vector(uint8_t *b, const float *x)
{
    const struct run_32 r = run_load(x);
    const uint32_t amax = run_amax(&r);
    __m256i mid[7];
    if (amax >= 0x7F800000) {
        ggml_put_bad(b, SLOT_MXFP4);
        return;
    }
    /* Normal and so far below the next power of two that the logarithm is not rounded up. */
    const int easy = amax >= 0x00800000 && (amax & 0x7FFFFF) < 0x7FFF00;
    b[0] = easy ? (uint8_t)((amax >> 23) - 2) : ggml_mxfp4_exponent(f32_from_bits(amax));
    fp4_midpoints(mid, mxfp4_scale(b[0]));
    put_nibbles(b + 1, bytes_of(fp4_codes(r.v[0], mid), fp4_codes(r.v[1], mid),
                                fp4_codes(r.v[2], mid), fp4_codes(r.v[3], mid)));
}

/* Sixteen codes to eight bytes: codes j and j + 8. */
static inline void put_eight(uint8_t *b, __m256i low, __m256i high)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i both = _mm256_or_si256(low, _mm256_slli_epi32(high, 4));
    const __m256i w = _mm256_packus_epi16(_mm256_packus_epi32(both, both), both);
    _mm_storel_epi64((__m128i *)b, _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(w, order)));
}

/* Beyond 6 * 448 the scale no longer grows and differences are rounded: left to scalar code. */
static inline void nvfp4_vector(uint8_t *b, const float *x)
{
    const uint32_t most = 0x45280000; /* 2688 */
    uint32_t amax[4], all = 0;
    for (int g = 0; g < 4; g++) {
        amax[g] = highest_of_8(_mm256_max_epu32(magnitude_bits(_mm256_loadu_ps(x + 16 * g)),
                                                magnitude_bits(_mm256_loadu_ps(x + 16 * g + 8))));
        all = amax[g] > all ? amax[g] : all;
    }
    if (all > most) {
        ggml_quantize_rows_nvfp4_scalar(b, x, 1, 64, NULL);
        return;
    }
    for (int g = 0; g < 4; g++) {
        __m256i mid[7];
        b[g] = ggml_nvfp4_code(f32_from_bits(amax[g]) / 6);
        fp4_midpoints(mid, nvfp4_scale(b[g]));
        put_eight(b + 4 + 8 * g, fp4_codes(_mm256_loadu_ps(x + 16 * g), mid),
                  fp4_codes(_mm256_loadu_ps(x + 16 * g + 8), mid));
    }
}

#ifdef __cplusplus
}
#endif
#endif
#endif
