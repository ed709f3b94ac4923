/* SPDX-License-Identifier: MIT */
/* Two registers of eight doubles hold the 16 lanes of a sum. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "kernels/logits/logits_variants.h"

enum { HALVES = 2, WIDTH = 8 };

struct lanes {
    __m512d h[HALVES];
};

static void store(double lane[LOGITS_LANES], const struct lanes *s)
{
    for (size_t k = 0; k < HALVES; k++)
        _mm512_storeu_pd(lane + k * WIDTH, s->h[k]);
}

/*
 * logits_exp(). The limits lie beyond those of the scalar function, where the arithmetic already
 * gives 0 and infinity; min and max return their second operand when one is NaN. Scaling by 2^n
 * rounds once, as the last of the two products does.
 */
static __m512d exp8(__m512d x)
{
    x = _mm512_min_pd(_mm512_set1_pd(710.0), _mm512_max_pd(_mm512_set1_pd(-746.0), x));
    const __m512d n = _mm512_roundscale_pd(_mm512_mul_pd(x, _mm512_set1_pd(0x1.71547652b82fep+0)),
                                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512d ln2_low = _mm512_set1_pd(-0x1.ef35793c7673p-45);
    const __m512d high = _mm512_fmadd_pd(n, _mm512_set1_pd(-0x1.62e42fefa38p-1), x);
    const __m512d r = _mm512_fmadd_pd(n, ln2_low, high);
    const __m512d low = _mm512_fmadd_pd(n, ln2_low, _mm512_sub_pd(high, r));
    __m512d p = _mm512_set1_pd(0x1.6124613a86d09p-33);
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.1eed8eff8d898p-29));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.ae64567f544e4p-26));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.27e4fb7789f5cp-22));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.71de3a556c734p-19));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.a01a01a01a01ap-16));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.a01a01a01a01ap-13));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.6c16c16c16c17p-10));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.1111111111111p-7));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.5555555555555p-5));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.5555555555555p-3));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1p-1));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(1.0));
    p = _mm512_add_pd(_mm512_set1_pd(1.0), _mm512_fmadd_pd(r, p, low));
    return _mm512_scalef_pd(p, n);
}

float logits_max_avx512(const float *z, size_t n)
{
    __m512 m = _mm512_set1_ps(-INFINITY);
    __mmask16 strange = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 v = _mm512_loadu_ps(z + i);
        m = _mm512_max_ps(v, m);
        strange = (__mmask16)(strange | _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q));
    }
    const float rest = logits_max_scalar(z + i, n - i);
    if (isnan(rest) || strange)
        return NAN;
    const __m256 t = _mm256_max_ps(_mm512_castps512_ps256(m), _mm512_extractf32x8_ps(m, 1));
    __m128 u = _mm_max_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
    u = _mm_max_ps(u, _mm_movehl_ps(u, u));
    u = _mm_max_ss(u, _mm_movehdup_ps(u));
    return fmaxf(_mm_cvtss_f32(u), rest) + 0.0F;
}

/* z - max for eight of the row. */
static __m512d minus_max(const float *z, __m512d max)
{
    return _mm512_sub_pd(_mm512_cvtps_pd(_mm256_loadu_ps(z)), max);
}

double logits_sum_exp_avx512(const float *z, double max, size_t n)
{
    const __m512d m = _mm512_set1_pd(max), zero = _mm512_setzero_pd();
    struct lanes s = {{zero, zero}};
    double lane[LOGITS_LANES];
    size_t i = 0;
    for (; i + LOGITS_LANES <= n; i += LOGITS_LANES)
        for (size_t k = 0; k < HALVES; k++)
            s.h[k] = _mm512_add_pd(s.h[k], exp8(minus_max(z + i + k * WIDTH, m)));
    store(lane, &s);
    return logits_finish_sum(lane, z + i, max, n - i);
}

void logits_sums_avx512(struct logits_sums *to, const float *p, double p_max, const float *q,
                        double q_max, size_t n)
{
    const __m512d pm = _mm512_set1_pd(p_max), qm = _mm512_set1_pd(q_max);
    const __m512d zero = _mm512_setzero_pd();
    const struct lanes none = {{zero, zero}};
    struct lanes p_sum = none, q_sum = none, cross = none;
    struct logits_lanes lanes;
    size_t i = 0;
    for (; i + LOGITS_LANES <= n; i += LOGITS_LANES) {
        for (size_t k = 0; k < HALVES; k++) {
            const __m512d a = minus_max(p + i + k * WIDTH, pm);
            const __m512d b = minus_max(q + i + k * WIDTH, qm), e = exp8(a);
            p_sum.h[k] = _mm512_add_pd(p_sum.h[k], e);
            q_sum.h[k] = _mm512_add_pd(q_sum.h[k], exp8(b));
            const __mmask8 some = _mm512_cmp_pd_mask(e, zero, _CMP_NEQ_UQ);
            cross.h[k] = _mm512_mask_mov_pd(cross.h[k], some,
                                            _mm512_fmadd_pd(e, _mm512_sub_pd(a, b), cross.h[k]));
        }
    }
    store(lanes.p, &p_sum);
    store(lanes.q, &q_sum);
    store(lanes.cross, &cross);
    logits_finish_sums(to, &lanes, &(struct logits_rest){p + i, q + i, p_max, q_max, n - i});
}
