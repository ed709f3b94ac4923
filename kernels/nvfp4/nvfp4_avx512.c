/* SPDX-License-Identifier: MIT */
/* Sixteen blocks at a time: scales and cuts in vectors with one block per lane. */
#include <immintrin.h>

#include "kernels/nvfp4/nvfp4_e4m3_avx512.h"
#include "kernels/nvfp4/nvfp4_group.h"

/* Two halves of sixteen numbers in binary64. */
struct wide {
    __m512d low, high;
};

static __m512 max_candidate(__m512 amax, const struct nvfp4_group *g)
{
    __m512 ps = _mm512_div_ps(amax, _mm512_set1_ps(g->six_s2));
    __mmask16 zero = _mm512_cmp_ps_mask(ps, _mm512_setzero_ps(), _CMP_EQ_OQ);
    return _mm512_mask_mov_ps(ps, zero, _mm512_set1_ps(1));
}

static __m512 minmax_candidate(__m512 amax, const struct nvfp4_group *g)
{
    __m512 sb = _mm512_div_ps(amax, _mm512_set1_ps(6));
    if (g->dtype == NVFP4_BF16) {
        __m512i u = _mm512_castps_si512(sb);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
        u = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
        sb = _mm512_castsi512_ps(_mm512_and_si512(u, _mm512_set1_epi32((int)0xFFFF0000)));
    }
    return _mm512_mul_ps(_mm512_set1_ps(g->global), sb);
}

static __m512 four_over_six_candidate(__m512 amax, const struct nvfp4_group *g)
{
    __m512 ps = _mm512_div_ps(amax, _mm512_set1_ps(6));
    __mmask16 zero = _mm512_cmp_ps_mask(ps, _mm512_setzero_ps(), _CMP_EQ_OQ);
    ps = _mm512_mask_mov_ps(ps, zero, _mm512_set1_ps(1));
    return _mm512_div_ps(_mm512_mul_ps(ps, _mm512_set1_ps(256)), _mm512_set1_ps(g->sixth));
}

static __m512i encode_clamped(__m512 ps)
{
    return e4m3_encode_avx512(_mm512_max_ps(ps, _mm512_set1_ps(0x1p-9f)));
}

static __m512i scales(__m512 amax, const struct nvfp4_group *g)
{
    __m512 t;
    switch (g->method) {
    case NVFP4_MINMAX:
        t = minmax_candidate(amax, g);
        break;
    case NVFP4_RTN:
        t = _mm512_mul_ps(_mm512_set1_ps(g->global), _mm512_mul_ps(amax, _mm512_set1_ps(1.0f / 6)));
        break;
    case NVFP4_FOUR_OVER_SIX:
        return encode_clamped(four_over_six_candidate(amax, g));
    default:
        return encode_clamped(max_candidate(amax, g));
    }
    __m512i scale = e4m3_encode_avx512(t);
    __mmask16 zero = _mm512_cmpeq_epi32_mask(scale, _mm512_setzero_si512());
    return _mm512_mask_mov_epi32(scale, zero, _mm512_set1_epi32(g->zero_code));
}

static struct wide widen(__m512 x)
{
    return (struct wide){_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                         _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};
}

/* What the cuts are multiples of: d, or 1 / o. */
static struct wide divisors(__m512i scale, const struct nvfp4_group *g)
{
    __m512 s = e4m3_decode_avx512(scale);
    if (g->method == NVFP4_MINMAX)
        return widen(_mm512_div_ps(s, _mm512_set1_ps(g->global)));
    if (g->method != NVFP4_RTN)
        return widen(_mm512_mul_ps(s, _mm512_set1_ps(g->global)));
    __m512 d = _mm512_mul_ps(s, _mm512_set1_ps(g->reciprocal));
    __mmask16 some = _mm512_cmp_ps_mask(d, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    struct wide o = widen(_mm512_maskz_div_ps(some, _mm512_set1_ps(1), d));
    o.low = _mm512_div_pd(_mm512_set1_pd(1), o.low);
    o.high = _mm512_div_pd(_mm512_set1_pd(1), o.high);
    return o;
}

static __m256 round_down(__m512d x)
{
    return _mm512_cvt_roundpd_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

static void cut(struct nvfp4_cuts *cuts, struct wide d, const struct nvfp4_group *g)
{
    const double *factor = nvfp4_cut_factors[g->method == NVFP4_RTN];
    for (int j = 0; j < NVFP4_CUTS; j++) {
        __m512d f = _mm512_set1_pd(factor[j]);
        __m256 low = round_down(_mm512_mul_pd(d.low, f));
        __m256 high = round_down(_mm512_mul_pd(d.high, f));
        __m512i u = _mm512_castps_si512(_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1));
        _mm512_storeu_si512(cuts->at[j], u);
    }
    if (g->dtype == NVFP4_BF16)
        nvfp4_table_avx512(cuts);
}

static void scale_blocks(struct nvfp4_set *set, size_t i, const struct nvfp4_group *g)
{
    __m512 amax = _mm512_loadu_ps(set->maxima + i);
    _mm512_storeu_si512(set->scale + i, scales(amax, g));
    if (g->method == NVFP4_FOUR_OVER_SIX) {
        amax = _mm512_mul_ps(amax, _mm512_set1_ps(1.5f));
        _mm512_storeu_si512(set->other + i, scales(amax, g));
    }
}

static void cut_blocks(struct nvfp4_cuts *cuts, uint8_t *out, const struct nvfp4_set *set, size_t i,
                       const struct nvfp4_group *g)
{
    /* This NaN is above all others, whatever it is multiplied by: nothing passes it. */
    const __m512d top = _mm512_castsi512_pd(_mm512_set1_epi64(INT64_MAX));
    __m512i scale = _mm512_loadu_si512(set->scale + i);
    __m512i amax = _mm512_loadu_si512(set->maxima + i);
    __mmask16 bad = _mm512_cmpgt_epi32_mask(amax, _mm512_set1_epi32(0x7F7FFFFF));
    struct wide d = divisors(scale, g);
    d.low = _mm512_mask_mov_pd(d.low, (__mmask8)bad, top);
    d.high = _mm512_mask_mov_pd(d.high, (__mmask8)(bad >> 8), top);
    cut(&cuts[i / NVFP4_PART], d, g);
    scale = _mm512_mask_mov_epi32(scale, bad, _mm512_set1_epi32(NVFP4_SCALE_NAN));
    _mm_storeu_si128((__m128i *)(out + i), _mm512_cvtepi32_epi8(scale));
}

static void quantize_set(const struct nvfp4_codes *out, struct nvfp4_set *set,
                         const struct nvfp4_group *g)
{
    const size_t part_bytes = NVFP4_PART * NVFP4_BLOCK * (g->dtype == NVFP4_BF16 ? 2 : 4);
    struct nvfp4_cuts cuts[NVFP4_SET / NVFP4_PART];
    for (size_t i = 0; i < set->n; i += NVFP4_PART)
        nvfp4_maxima_avx2(set->maxima + i, set->x + i / NVFP4_PART * part_bytes, g->dtype);
    for (size_t i = 0; i < set->n; i += NVFP4_PART)
        scale_blocks(set, i, g);
    if (g->method == NVFP4_SWEEP)
        nvfp4_sweep_avx512(set, g);
    if (g->method == NVFP4_FOUR_OVER_SIX)
        nvfp4_choose_avx512(set, g);
    for (size_t i = 0; i < set->n; i += NVFP4_PART)
        cut_blocks(cuts, out->scale, set, i, g);
    for (size_t i = 0; i < set->n; i += NVFP4_PART) {
        const unsigned char *x = set->x + i / NVFP4_PART * part_bytes;
        if (g->dtype == NVFP4_BF16)
            nvfp4_codes_avx512(out->packed + 8 * i, x, &cuts[i / NVFP4_PART]);
        else
            nvfp4_codes_avx2(out->packed + 8 * i, x, g->dtype, &cuts[i / NVFP4_PART]);
    }
}

static void nvfp4_quantize_rows_avx512(const struct nvfp4_codes *out, const struct nvfp4_rows *rows,
                                       enum nvfp4_method method, float amax,
                                       const float *importance)
{
    const struct nvfp4_group g = nvfp4_group(method, amax, rows->dtype);
    nvfp4_each_set(out, rows, &g, method == NVFP4_SWEEP ? importance : NULL, quantize_set);
}

const struct nvfp4_kernels nvfp4_kernels_avx512 = {
    .isa = ISA_AVX512,
    .amax = nvfp4_amax_rows_avx2,
    .quantize = nvfp4_quantize_rows_avx512,
    .error = nvfp4_error_rows_avx512,
    .decode = nvfp4_decode_rows_avx512,
    .inputs = nvfp4_inputs_avx512,
};
