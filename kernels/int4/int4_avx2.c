/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <string.h>

#include "kernels/int4/int4_variants.h"

enum { LANES = 8 };

static float lowest(__m256 v)
{
    __m128 x = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_min_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_min_ss(x, _mm_movehdup_ps(x)));
}

static float highest(__m256 v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

/* Of numbers between -8 and 7. */
static __m256 round_bf16(__m256 t)
{
    const __m256i u = _mm256_castps_si256(t);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    return _mm256_castsi256_ps(_mm256_and_si256(sum, _mm256_set1_epi32(-0x10000)));
}

/* Where an operand is NaN, the second one is the result: so NaN becomes -8, as in the scalar. */
static __m256i quantize(const float *w, __m256 s, enum int4_rule rule)
{
    __m256 t = _mm256_div_ps(_mm256_loadu_ps(w), s);
    t = _mm256_max_ps(t, _mm256_set1_ps(-8.0f));
    t = _mm256_min_ps(t, _mm256_set1_ps(7.0f));
    if (rule == INT4_BF16)
        t = round_bf16(t);
    return _mm256_add_epi32(_mm256_cvtps_epi32(t), _mm256_set1_epi32(8));
}

static uint32_t word_of(__m256i codes)
{
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i placed = _mm256_sllv_epi32(codes, shifts);
    __m128i x = _mm_or_si128(_mm256_castsi256_si128(placed), _mm256_extracti128_si256(placed, 1));
    x = _mm_or_si128(x, _mm_shuffle_epi32(x, _MM_SHUFFLE(1, 0, 3, 2)));
    x = _mm_or_si128(x, _mm_shuffle_epi32(x, _MM_SHUFFLE(2, 3, 0, 1)));
    return (uint32_t)_mm_cvtsi128_si32(x);
}

/* Four words: to bytes (packing mixes 128-bit halves, the permutation undoes it), to nibbles. */
static __m128i words_of(const __m256i c[4])
{
    const __m256i low = _mm256_packs_epi32(c[0], c[1]), high = _mm256_packs_epi32(c[2], c[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
    const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(0x1001));
    return _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

static void quantize_group(uint32_t *words, const float *w, size_t n, float scale,
                           enum int4_rule rule)
{
    const __m256 s = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        const __m256i c[4] = {quantize(w + i, s, rule), quantize(w + i + 8, s, rule),
                              quantize(w + i + 16, s, rule), quantize(w + i + 24, s, rule)};
        _mm_storeu_si128((__m128i *)(words + i / 8), words_of(c));
    }
    for (; i < n; i += LANES)
        words[i / 8] = word_of(quantize(w + i, s, rule));
}

void int4_rtn_avx2(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                   enum int4_rule rule)
{
    for (size_t at = 0; at < n; at += group) {
        __m256 mn = _mm256_setzero_ps(), mx = _mm256_setzero_ps();
        for (size_t i = at; i < at + group; i += LANES) {
            const __m256 x = _mm256_loadu_ps(w + i);
            mn = _mm256_min_ps(x, mn);
            mx = _mm256_max_ps(x, mx);
        }
        const float s = int4_scale(rule, lowest(mn), highest(mx), scales++);
        quantize_group(words + at / 8, w + at, group, s, rule);
    }
}

static __m256 decode_word(uint32_t word, __m256i zero, __m256 scale)
{
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i code = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)word), shifts),
                                          _mm256_set1_epi32(15));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero)), scale);
}

static uint32_t word_at(const void *words, size_t i)
{
    uint32_t w;
    memcpy(&w, (const char *)words + 4 * i, sizeof w);
    return w;
}

void int4_decode_f32_avx2(float *dst, const void *words, size_t n, float scale, int zero)
{
    const __m256i z = _mm256_set1_epi32(zero);
    const __m256 s = _mm256_set1_ps(scale);
    for (size_t i = 0; i < n; i += LANES)
        _mm256_storeu_ps(dst + i, decode_word(word_at(words, i / 8), z, s));
}

/* Any float rounded to BF16, in the low halves. */
static __m256i bf16_halves(__m256 x)
{
    const __m256i u = _mm256_castps_si256(x), upper = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    const __m256i h = _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(h, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

/* The BF16 values of all 16 codes. */
static __m256i bf16_values(float scale, int zero)
{
    const __m256i z = _mm256_set1_epi32(zero);
    const __m256 s = _mm256_set1_ps(scale);
    const __m256i a = bf16_halves(decode_word(0x76543210, z, s));
    const __m256i b = bf16_halves(decode_word(0xFEDCBA98, z, s));
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
}

/* Looked up with low and high bytes apart. */
void int4_decode_bf16_avx2(uint16_t *dst, const void *words, size_t n, float scale, int zero)
{
    const __m256i halves = bf16_values(scale, zero);
    const __m256i even = _mm256_and_si256(halves, _mm256_set1_epi16(0xFF));
    const __m256i odd = _mm256_srli_epi16(halves, 8);
    const __m128i low =
        _mm_packus_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
    const __m128i high =
        _mm_packus_epi16(_mm256_castsi256_si128(odd), _mm256_extracti128_si256(odd, 1));
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m128i x = _mm_loadl_epi64((const __m128i *)((const char *)words + i / 2));
        const __m128i mask = _mm_set1_epi8(15);
        const __m128i code =
            _mm_unpacklo_epi8(_mm_and_si128(x, mask), _mm_and_si128(_mm_srli_epi16(x, 4), mask));
        const __m128i l = _mm_shuffle_epi8(low, code), h = _mm_shuffle_epi8(high, code);
        _mm_storeu_si128((__m128i *)(dst + i), _mm_unpacklo_epi8(l, h));
        _mm_storeu_si128((__m128i *)(dst + i + 8), _mm_unpackhi_epi8(l, h));
    }
    int4_decode_bf16_scalar(dst + i, (const char *)words + i / 2, n - i, scale, zero);
}

/* 8 x 8 words in three rounds: pairs of words, pairs of pairs, halves of registers. */
static void transpose_8x8(char *dst, size_t dst_step, const char *src, size_t src_step)
{
    __m256i r[8], t[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_si256((const __m256i *)(src + 4 * i * src_step));
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (size_t i = 0; i < 4; i++) {
        const __m256i top = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        const __m256i bottom = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
        _mm256_storeu_si256((__m256i *)(dst + 4 * i * dst_step), top);
        _mm256_storeu_si256((__m256i *)(dst + 4 * (i + 4) * dst_step), bottom);
    }
}

void int4_transpose_avx2(void *dst, size_t dst_step, const void *src, size_t src_step,
                         size_t n_rows, size_t n_cols)
{
    char *to = dst;
    const char *from = src;
    const size_t rows = n_rows & ~(size_t)7, cols = n_cols & ~(size_t)7;
    for (size_t r = 0; r < rows; r += 8)
        for (size_t c = 0; c < cols; c += 8)
            transpose_8x8(to + 4 * (c * dst_step + r), dst_step, from + 4 * (r * src_step + c),
                          src_step);
    int4_transpose_scalar(to + 4 * cols * dst_step, dst_step, from + 4 * cols, src_step, rows,
                          n_cols - cols);
    int4_transpose_scalar(to + 4 * rows, dst_step, from + 4 * rows * src_step, src_step,
                          n_rows - rows, n_cols);
}

void int4_error_sums_avx2(double sums[2], const float *w, const float *q, size_t n)
{
    double error[16], signal[16];
    __m256d e[4], s[4];
    size_t i = 0;
    for (int l = 0; l < 4; l++)
        e[l] = s[l] = _mm256_setzero_pd();
    for (; i + 16 <= n; i += 16) {
        for (size_t l = 0; l < 4; l++) {
            const __m256d x = _mm256_cvtps_pd(_mm_loadu_ps(w + i + 4 * l));
            const __m256d d = _mm256_sub_pd(x, _mm256_cvtps_pd(_mm_loadu_ps(q + i + 4 * l)));
            e[l] = _mm256_add_pd(e[l], _mm256_mul_pd(d, d));
            s[l] = _mm256_add_pd(s[l], _mm256_mul_pd(x, x));
        }
    }
    for (int l = 0; l < 4; l++) {
        _mm256_storeu_pd(error + 4 * l, e[l]);
        _mm256_storeu_pd(signal + 4 * l, s[l]);
    }
    for (size_t l = 0; i + l < n; l++) {
        const double x = (double)w[i + l], d = x - (double)q[i + l];
        error[l] += d * d;
        signal[l] += x * x;
    }
    int4_finish_sums(sums, error, signal);
}
