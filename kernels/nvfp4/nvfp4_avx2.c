/* SPDX-License-Identifier: MIT */
/* Eight blocks at a time: scales and cuts in vectors with one block per lane. */
#include <immintrin.h>

#include "kernels/nvfp4/nvfp4_e4m3_avx2.h"
#include "kernels/nvfp4/nvfp4_group.h"

enum { LANES = 8 };

/* Two halves of eight numbers in binary64. */
struct wide {
    __m256d low, high;
};

static __m256 one_for_zero(__m256 ps)
{
    __m256 zero = _mm256_cmp_ps(ps, _mm256_setzero_ps(), _CMP_EQ_OQ);
    return _mm256_blendv_ps(ps, _mm256_set1_ps(1), zero);
}

static __m256 max_candidate(__m256 amax, const struct nvfp4_group *g)
{
    return one_for_zero(_mm256_div_ps(amax, _mm256_set1_ps(g->six_s2)));
}

static __m256 minmax_candidate(__m256 amax, const struct nvfp4_group *g)
{
    __m256 sb = _mm256_div_ps(amax, _mm256_set1_ps(6));
    if (g->dtype == NVFP4_BF16) {
        __m256i u = _mm256_castps_si256(sb);
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
        u = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
        sb = _mm256_castsi256_ps(_mm256_and_si256(u, _mm256_set1_epi32((int)0xFFFF0000)));
    }
    return _mm256_mul_ps(_mm256_set1_ps(g->global), sb);
}

static __m256 four_over_six_candidate(__m256 amax, const struct nvfp4_group *g)
{
    __m256 ps = one_for_zero(_mm256_div_ps(amax, _mm256_set1_ps(6)));
    return _mm256_div_ps(_mm256_mul_ps(ps, _mm256_set1_ps(256)), _mm256_set1_ps(g->sixth));
}

static __m256i encode_clamped(__m256 ps)
{
    return e4m3_encode_avx2(_mm256_max_ps(ps, _mm256_set1_ps(0x1p-9f)));
}

static __m256i scales(__m256 amax, const struct nvfp4_group *g)
{
    __m256 t;
    switch (g->method) {
    case NVFP4_MINMAX:
        t = minmax_candidate(amax, g);
        break;
    case NVFP4_RTN:
        t = _mm256_mul_ps(_mm256_set1_ps(g->global), _mm256_mul_ps(amax, _mm256_set1_ps(1.0f / 6)));
        break;
    case NVFP4_FOUR_OVER_SIX:
        return encode_clamped(four_over_six_candidate(amax, g));
    default:
        return encode_clamped(max_candidate(amax, g));
    }
    __m256i scale = e4m3_encode_avx2(t);
    __m256i zero = _mm256_cmpeq_epi32(scale, _mm256_setzero_si256());
    return _mm256_blendv_epi8(scale, _mm256_set1_epi32(g->zero_code), zero);
}

static struct wide widen(__m256 x)
{
    return (struct wide){_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                         _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}

/* What the cuts are multiples of: d, or 1 / o. */
static struct wide divisors(__m256i scale, const struct nvfp4_group *g)
{
    __m256 s = e4m3_decode_avx2(scale);
    if (g->method == NVFP4_MINMAX)
        return widen(_mm256_div_ps(s, _mm256_set1_ps(g->global)));
    if (g->method != NVFP4_RTN)
        return widen(_mm256_mul_ps(s, _mm256_set1_ps(g->global)));
    __m256 d = _mm256_mul_ps(s, _mm256_set1_ps(g->reciprocal));
    __m256 some = _mm256_cmp_ps(d, _mm256_setzero_ps(), _CMP_NEQ_UQ);
    struct wide o = widen(_mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(1), d)));
    o.low = _mm256_div_pd(_mm256_set1_pd(1), o.low);
    o.high = _mm256_div_pd(_mm256_set1_pd(1), o.high);
    return o;
}

/* The nearest number in binary32, or the one before it where that is above x. */
static __m128i round_down(__m256d x)
{
    __m128 f = _mm256_cvtpd_ps(x);
    __m256 above = _mm256_castpd_ps(_mm256_cmp_pd(_mm256_cvtps_pd(f), x, _CMP_GT_OQ));
    __m128 minus_one =
        _mm_shuffle_ps(_mm256_castps256_ps128(above), _mm256_extractf128_ps(above, 1), 0x88);
    return _mm_add_epi32(_mm_castps_si128(f), _mm_castps_si128(minus_one));
}

static void cut(struct nvfp4_cuts *cuts, size_t lane, struct wide d, const struct nvfp4_group *g)
{
    const double *factor = nvfp4_cut_factors[g->method == NVFP4_RTN];
    for (int j = 0; j < NVFP4_CUTS; j++) {
        __m256d f = _mm256_set1_pd(factor[j]);
        __m128i low = round_down(_mm256_mul_pd(d.low, f));
        __m128i high = round_down(_mm256_mul_pd(d.high, f));
        __m256i u = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        if (g->dtype == NVFP4_BF16) {
            u = _mm256_srli_epi32(u, 16);
            u = _mm256_or_si256(u, _mm256_slli_epi32(u, 16));
        }
        _mm256_storeu_si256((__m256i *)(cuts->at[j] + lane), u);
    }
}

/* This NaN is above all others, whatever it is multiplied by: nothing passes it. */
static __m256d refuse(__m256d d, __m128i bad)
{
    const __m256d top = _mm256_castsi256_pd(_mm256_set1_epi64x(INT64_MAX));
    return _mm256_blendv_pd(d, top, _mm256_castsi256_pd(_mm256_cvtepi32_epi64(bad)));
}

static void scale_blocks(struct nvfp4_set *set, size_t i, const struct nvfp4_group *g)
{
    __m256 amax = _mm256_loadu_ps((const float *)(set->maxima + i));
    _mm256_storeu_si256((__m256i *)(set->scale + i), scales(amax, g));
    if (g->method == NVFP4_FOUR_OVER_SIX) {
        amax = _mm256_mul_ps(amax, _mm256_set1_ps(1.5f));
        _mm256_storeu_si256((__m256i *)(set->other + i), scales(amax, g));
    }
}

static void cut_blocks(struct nvfp4_cuts *cuts, struct nvfp4_set *set, size_t i,
                       const struct nvfp4_group *g)
{
    __m256i scale = _mm256_loadu_si256((const __m256i *)(set->scale + i));
    __m256i amax = _mm256_loadu_si256((const __m256i *)(set->maxima + i));
    __m256i bad = _mm256_cmpgt_epi32(amax, _mm256_set1_epi32(0x7F7FFFFF));
    struct wide d = divisors(scale, g);
    d.low = refuse(d.low, _mm256_castsi256_si128(bad));
    d.high = refuse(d.high, _mm256_extracti128_si256(bad, 1));
    cut(&cuts[i / NVFP4_PART], i % NVFP4_PART, d, g);
    scale = _mm256_blendv_epi8(scale, _mm256_set1_epi32(NVFP4_SCALE_NAN), bad);
    _mm256_storeu_si256((__m256i *)(set->scale + i), scale);
}

static void quantize_set(const struct nvfp4_codes *out, struct nvfp4_set *set,
                         const struct nvfp4_group *g)
{
    const size_t part_bytes = NVFP4_PART * NVFP4_BLOCK * (g->dtype == NVFP4_BF16 ? 2 : 4);
    struct nvfp4_cuts cuts[NVFP4_SET / NVFP4_PART];
    for (size_t i = 0; i < set->n; i += NVFP4_PART)
        nvfp4_maxima_avx2(set->maxima + i, set->x + i / NVFP4_PART * part_bytes, g->dtype);
    for (size_t i = 0; i < set->n; i += LANES)
        scale_blocks(set, i, g);
    if (g->method == NVFP4_SWEEP)
        nvfp4_sweep_avx2(set, g);
    if (g->method == NVFP4_FOUR_OVER_SIX)
        nvfp4_choose_avx2(set, g);
    for (size_t i = 0; i < set->n; i += LANES)
        cut_blocks(cuts, set, i, g);
    for (size_t i = 0; i < set->n; i++)
        out->scale[i] = (uint8_t)set->scale[i];
    for (size_t i = 0; i < set->n; i += NVFP4_PART)
        nvfp4_codes_avx2(out->packed + 8 * i, set->x + i / NVFP4_PART * part_bytes, g->dtype,
                         &cuts[i / NVFP4_PART]);
}

static void nvfp4_quantize_rows_avx2(const struct nvfp4_codes *out, const struct nvfp4_rows *rows,
                                     enum nvfp4_method method, float amax, const float *importance)
{
    const struct nvfp4_group g = nvfp4_group(method, amax, rows->dtype);
    nvfp4_each_set(out, rows, &g, method == NVFP4_SWEEP ? importance : NULL, quantize_set);
}

const struct nvfp4_kernels nvfp4_kernels_avx2 = {
    .isa = ISA_AVX2,
    .amax = nvfp4_amax_rows_avx2,
    .quantize = nvfp4_quantize_rows_avx2,
    .error = nvfp4_error_rows_avx2,
    .decode = nvfp4_decode_rows_avx2,
    .inputs = nvfp4_inputs_avx2,
};
