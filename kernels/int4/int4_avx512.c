/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <string.h>

#include "kernels/int4/int4_variants.h"

enum { LANES = 16 };

/* Of numbers between -8 and 7. */
static __m512 round_bf16(__m512 t)
{
    const __m512i u = _mm512_castps_si512(t);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    return _mm512_castsi512_ps(_mm512_and_si512(sum, _mm512_set1_epi32(-0x10000)));
}

/*
 * 16 codes as two words, in the low half. Where an operand is NaN, the second one is the result of
 * max: so NaN becomes -8, as in the scalar.
 */
static __m128i quantize(__m512 x, __m512 s, enum int4_rule rule)
{
    __m512 t = _mm512_div_ps(x, s);
    t = _mm512_max_ps(t, _mm512_set1_ps(-8.0f));
    t = _mm512_min_ps(t, _mm512_set1_ps(7.0f));
    if (rule == INT4_BF16)
        t = round_bf16(t);
    const __m512i u = _mm512_add_epi32(_mm512_cvtps_epi32(t), _mm512_set1_epi32(8));
    const __m128i pairs = _mm_maddubs_epi16(_mm512_cvtepi32_epi8(u), _mm_set1_epi16(0x1001));
    return _mm_packus_epi16(pairs, pairs);
}

void int4_rtn_avx512(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                     enum int4_rule rule)
{
    for (size_t at = 0; at < n; at += group, w += group) {
        __m512 mn = _mm512_setzero_ps(), mx = _mm512_setzero_ps();
        for (size_t i = 0; i < group; i += LANES) {
            const __mmask16 m = group - i >= LANES ? 0xFFFF : 0xFF;
            const __m512 x = _mm512_maskz_loadu_ps(m, w + i);
            mn = _mm512_min_ps(x, mn);
            mx = _mm512_max_ps(x, mx);
        }
        const __m512 s = _mm512_set1_ps(
            int4_scale(rule, _mm512_reduce_min_ps(mn), _mm512_reduce_max_ps(mx), scales++));
        for (size_t i = 0; i < group; i += LANES) {
            const int whole = group - i >= LANES;
            const __m512 x = _mm512_maskz_loadu_ps(whole ? 0xFFFF : 0xFF, w + i);
            const __m128i two = quantize(x, s, rule);
            _mm_mask_storeu_epi32(words, whole ? 3 : 1, two);
            words += 1 + whole;
        }
    }
}

/* The values of all 16 codes. */
static __m512 values(float scale, int zero)
{
    const __m512i codes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i q = _mm512_sub_epi32(codes, _mm512_set1_epi32(zero));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(scale));
}

/* The same rounded to BF16, in the low halves. */
static __m512i halves(float scale, int zero)
{
    const __m512 x = values(scale, zero);
    const __m512i u = _mm512_castps_si512(x), upper = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
    const __m512i h = _mm512_srli_epi32(_mm512_add_epi32(u, half), 16);
    return _mm512_mask_or_epi32(h, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), upper,
                                _mm512_set1_epi32(0x40));
}

/* Lane i looks up code i of its 16, the lower 4 bits of what the shift leaves. */
static __m512i lane_codes(__m512i words, int pair)
{
    const __m512i which = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i shifts =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i index = _mm512_add_epi32(which, _mm512_set1_epi32(2 * pair));
    return _mm512_srlv_epi32(_mm512_permutexvar_epi32(index, words), shifts);
}

static __mmask16 first(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xFFFF : (1u << n) - 1);
}

void int4_decode_f32_avx512(float *dst, const void *words, size_t n, float scale, int zero)
{
    const __m512 table = values(scale, zero);
    size_t i = 0;
    for (; i + 8 * LANES <= n; i += 8 * LANES) {
        const __m512i x = _mm512_loadu_si512((const char *)words + i / 2);
        for (int pair = 0; pair < 8; pair++)
            _mm512_storeu_ps(dst + i + 16 * pair,
                             _mm512_permutexvar_ps(lane_codes(x, pair), table));
    }
    const __m512i x = _mm512_maskz_loadu_epi32(first((n - i) / 8), (const char *)words + i / 2);
    for (int pair = 0; i < n; pair++, i += LANES)
        _mm512_mask_storeu_ps(dst + i, first(n - i),
                              _mm512_permutexvar_ps(lane_codes(x, pair), table));
}

void int4_decode_bf16_avx512(uint16_t *dst, const void *words, size_t n, float scale, int zero)
{
    const __m512i table = halves(scale, zero);
    size_t i = 0;
    for (; i + 8 * LANES <= n; i += 8 * LANES) {
        const __m512i x = _mm512_loadu_si512((const char *)words + i / 2);
        for (int pair = 0; pair < 8; pair++) {
            const __m512i v = _mm512_permutexvar_epi32(lane_codes(x, pair), table);
            _mm256_storeu_si256((__m256i *)(dst + i + 16 * pair), _mm512_cvtepi32_epi16(v));
        }
    }
    const __m512i x = _mm512_maskz_loadu_epi32(first((n - i) / 8), (const char *)words + i / 2);
    for (int pair = 0; i < n; pair++, i += LANES) {
        const __m512i v = _mm512_permutexvar_epi32(lane_codes(x, pair), table);
        _mm256_mask_storeu_epi16(dst + i, first(n - i), _mm512_cvtepi32_epi16(v));
    }
}

/* 16 x 16 words in four rounds: words, pairs, quarters of registers twice. */
static void transpose_16x16(char *dst, size_t dst_step, const char *src, size_t src_step)
{
    __m512i r[16], t[16];
    for (size_t i = 0; i < 16; i++)
        r[i] = _mm512_loadu_si512(src + 4 * i * src_step);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* Now r[4 b + j] has column 4 q + j of rows 4 b .. 4 b + 3 in its quarter q. */
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD);
        t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
    }
    for (size_t j = 0; j < 4; j++) {
        const __m512i columns[4] = {_mm512_shuffle_i32x4(t[j], t[8 + j], 0x88),
                                    _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88),
                                    _mm512_shuffle_i32x4(t[j], t[8 + j], 0xDD),
                                    _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xDD)};
        for (size_t q = 0; q < 4; q++)
            _mm512_storeu_si512(dst + 4 * (4 * q + j) * dst_step, columns[q]);
    }
}

void int4_transpose_avx512(void *dst, size_t dst_step, const void *src, size_t src_step,
                           size_t n_rows, size_t n_cols)
{
    char *to = dst;
    const char *from = src;
    const size_t rows = n_rows & ~(size_t)15, cols = n_cols & ~(size_t)15;
    for (size_t r = 0; r < rows; r += 16)
        for (size_t c = 0; c < cols; c += 16)
            transpose_16x16(to + 4 * (c * dst_step + r), dst_step, from + 4 * (r * src_step + c),
                            src_step);
    int4_transpose_avx2(to + 4 * cols * dst_step, dst_step, from + 4 * cols, src_step, rows,
                        n_cols - cols);
    int4_transpose_avx2(to + 4 * rows, dst_step, from + 4 * rows * src_step, src_step,
                        n_rows - rows, n_cols);
}

void int4_error_sums_avx512(double sums[2], const float *w, const float *q, size_t n)
{
    double error[16], signal[16];
    __m512d e0 = _mm512_setzero_pd(), e1 = e0, s0 = e0, s1 = e0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512d x0 = _mm512_cvtps_pd(_mm256_loadu_ps(w + i));
        const __m512d x1 = _mm512_cvtps_pd(_mm256_loadu_ps(w + i + 8));
        const __m512d d0 = _mm512_sub_pd(x0, _mm512_cvtps_pd(_mm256_loadu_ps(q + i)));
        const __m512d d1 = _mm512_sub_pd(x1, _mm512_cvtps_pd(_mm256_loadu_ps(q + i + 8)));
        e0 = _mm512_add_pd(e0, _mm512_mul_pd(d0, d0));
        e1 = _mm512_add_pd(e1, _mm512_mul_pd(d1, d1));
        s0 = _mm512_add_pd(s0, _mm512_mul_pd(x0, x0));
        s1 = _mm512_add_pd(s1, _mm512_mul_pd(x1, x1));
    }
    _mm512_storeu_pd(error, e0);
    _mm512_storeu_pd(error + 8, e1);
    _mm512_storeu_pd(signal, s0);
    _mm512_storeu_pd(signal + 8, s1);
    for (size_t l = 0; i + l < n; l++) {
        const double x = (double)w[i + l], d = x - (double)q[i + l];
        error[l] += d * d;
        signal[l] += x * x;
    }
    int4_finish_sums(sums, error, signal);
}
