/* SPDX-License-Identifier: MIT */
/* A block of activations in two registers; its scale is found as the scalar kernel does. */
#include <immintrin.h>

#include "kernels/nvfp4/nvfp4_group.h"

enum { LANES = 8 };

static float largest(const __m256 x[2])
{
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    const __m256i a = _mm256_and_si256(_mm256_castps_si256(x[0]), magnitude);
    const __m256i b = _mm256_and_si256(_mm256_castps_si256(x[1]), magnitude);
    const __m256i eight = _mm256_max_epi32(a, b); /* NaN is above infinity */
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

static __m256 step_where(__m256 sum, __m256 passed, float step)
{
    return _mm256_add_ps(sum, _mm256_and_ps(passed, _mm256_set1_ps(step)));
}

/* value(e2m1(q)): the levels between the boundaries that |q| passes, added up. */
static __m256 nearest(__m256 q)
{
    const __m256 a = _mm256_andnot_ps(_mm256_set1_ps(-0.0F), q), zero = _mm256_setzero_ps();
    __m256 v = step_where(zero, _mm256_cmp_ps(a, _mm256_set1_ps(0.25F), _CMP_GT_OQ), 0.5F);
    v = step_where(v, _mm256_cmp_ps(a, _mm256_set1_ps(0.75F), _CMP_GE_OQ), 0.5F);
    v = step_where(v, _mm256_cmp_ps(a, _mm256_set1_ps(1.25F), _CMP_GT_OQ), 0.5F);
    v = step_where(v, _mm256_cmp_ps(a, _mm256_set1_ps(1.75F), _CMP_GE_OQ), 0.5F);
    v = step_where(v, _mm256_cmp_ps(a, _mm256_set1_ps(2.5F), _CMP_GT_OQ), 1.0F);
    v = step_where(v, _mm256_cmp_ps(a, _mm256_set1_ps(3.5F), _CMP_GE_OQ), 1.0F);
    v = step_where(v, _mm256_cmp_ps(a, _mm256_set1_ps(5.0F), _CMP_GT_OQ), 2.0F);
    const __m256 negative = _mm256_cmp_ps(q, zero, _CMP_LT_OQ);
    return _mm256_or_ps(v, _mm256_and_ps(negative, _mm256_set1_ps(-0.0F)));
}

void nvfp4_inputs_avx2(float *y, const float *x, size_t n, float input_scale)
{
    for (size_t i = 0; i < n; i += NVFP4_BLOCK) {
        const __m256 in[2] = {_mm256_loadu_ps(x + i), _mm256_loadu_ps(x + i + LANES)};
        const float step = nvfp4_input_step(largest(in), input_scale);
        const __m256 d = _mm256_set1_ps(step);
        const __m256 some = _mm256_cmp_ps(d, _mm256_setzero_ps(), _CMP_NEQ_UQ);
        for (size_t v = 0; v < 2; v++) {
            const __m256 out = _mm256_mul_ps(nearest(_mm256_div_ps(in[v], d)), d);
            _mm256_storeu_ps(y + i + v * LANES, _mm256_and_ps(out, some));
        }
    }
}
