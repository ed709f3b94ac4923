/* SPDX-License-Identifier: MIT */
/* A block of activations in one register; its scale is found as the scalar kernel does. */
#include <immintrin.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4_group.h"

static float largest(__m512 x)
{
    const __m512i a = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
    const __m256i eight = _mm256_max_epi32(_mm512_castsi512_si256(a),
                                           _mm512_extracti64x4_epi64(a, 1)); /* NaN is largest */
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

static __m512 step_where(__m512 sum, __mmask16 passed, float step)
{
    return _mm512_mask_add_ps(sum, passed, sum, _mm512_set1_ps(step));
}

/* value(e2m1(q)): the levels between the boundaries that |q| passes, added up. */
static __m512 nearest(__m512 q)
{
    const __m512i bits = _mm512_castps_si512(q);
    const __m512 a = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
    const __m512 zero = _mm512_setzero_ps();
    __m512 v = step_where(zero, _mm512_cmp_ps_mask(a, _mm512_set1_ps(0.25F), _CMP_GT_OQ), 0.5F);
    v = step_where(v, _mm512_cmp_ps_mask(a, _mm512_set1_ps(0.75F), _CMP_GE_OQ), 0.5F);
    v = step_where(v, _mm512_cmp_ps_mask(a, _mm512_set1_ps(1.25F), _CMP_GT_OQ), 0.5F);
    v = step_where(v, _mm512_cmp_ps_mask(a, _mm512_set1_ps(1.75F), _CMP_GE_OQ), 0.5F);
    v = step_where(v, _mm512_cmp_ps_mask(a, _mm512_set1_ps(2.5F), _CMP_GT_OQ), 1.0F);
    v = step_where(v, _mm512_cmp_ps_mask(a, _mm512_set1_ps(3.5F), _CMP_GE_OQ), 1.0F);
    v = step_where(v, _mm512_cmp_ps_mask(a, _mm512_set1_ps(5.0F), _CMP_GT_OQ), 2.0F);
    const __mmask16 negative = _mm512_cmp_ps_mask(q, zero, _CMP_LT_OQ);
    const __m512i sign = _mm512_maskz_mov_epi32(negative, _mm512_set1_epi32(INT32_MIN));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(v), sign));
}

void nvfp4_inputs_avx512(float *y, const float *x, size_t n, float input_scale)
{
    for (size_t i = 0; i < n; i += NVFP4_BLOCK) {
        const __m512 in = _mm512_loadu_ps(x + i);
        const float step = nvfp4_input_step(largest(in), input_scale);
        const __m512 d = _mm512_set1_ps(step);
        const __m512 out = _mm512_mul_ps(nearest(_mm512_div_ps(in, d)), d);
        _mm512_storeu_ps(y + i, _mm512_maskz_mov_ps(step == 0 ? 0 : 0xFFFF, out));
    }
}
