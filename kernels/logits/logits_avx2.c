/* SPDX-License-Identifier: MIT */
/* Four registers of four doubles hold the 16 lanes of a sum. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "kernels/logits/logits_variants.h"

enum { QUARTERS = 4, WIDTH = 4 };

struct lanes {
    __m256d q[QUARTERS];
};

static void store(double lane[LOGITS_LANES], const struct lanes *s)
{
    for (size_t k = 0; k < QUARTERS; k++)
        _mm256_storeu_pd(lane + k * WIDTH, s->q[k]);
}

static __m256d power_of_two(__m128i n)
{
    const __m256i biased = _mm256_add_epi64(_mm256_cvtepi32_epi64(n), _mm256_set1_epi64x(1023));
    return _mm256_castsi256_pd(_mm256_slli_epi64(biased, 52));
}

/*
 * logits_exp(). The limits lie beyond those of the scalar function, where the arithmetic already
 * gives 0 and infinity; min and max return their second operand when one is NaN. Halving n rounds
 * down instead of to zero: only the last product rounds, so any split will do.
 */
static __m256d exp4(__m256d x)
{
    x = _mm256_min_pd(_mm256_set1_pd(710.0), _mm256_max_pd(_mm256_set1_pd(-746.0), x));
    const __m256d n = _mm256_round_pd(_mm256_mul_pd(x, _mm256_set1_pd(0x1.71547652b82fep+0)),
                                      _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256d ln2_low = _mm256_set1_pd(-0x1.ef35793c7673p-45);
    const __m256d high = _mm256_fmadd_pd(n, _mm256_set1_pd(-0x1.62e42fefa38p-1), x);
    const __m256d r = _mm256_fmadd_pd(n, ln2_low, high);
    const __m256d low = _mm256_fmadd_pd(n, ln2_low, _mm256_sub_pd(high, r));
    __m256d p = _mm256_set1_pd(0x1.6124613a86d09p-33);
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.1eed8eff8d898p-29));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.ae64567f544e4p-26));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.27e4fb7789f5cp-22));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.71de3a556c734p-19));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.a01a01a01a01ap-16));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.a01a01a01a01ap-13));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.6c16c16c16c17p-10));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.1111111111111p-7));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.5555555555555p-5));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1.5555555555555p-3));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(0x1p-1));
    p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(1.0));
    p = _mm256_add_pd(_mm256_set1_pd(1.0), _mm256_fmadd_pd(r, p, low));
    const __m128i whole = _mm256_cvtpd_epi32(n), half = _mm_srai_epi32(whole, 1);
    p = _mm256_mul_pd(p, power_of_two(half));
    return _mm256_mul_pd(p, power_of_two(_mm_sub_epi32(whole, half)));
}

float logits_max_avx2(const float *z, size_t n)
{
    __m256 m = _mm256_set1_ps(-INFINITY), strange = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(z + i);
        m = _mm256_max_ps(v, m);
        strange = _mm256_or_ps(strange, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    const float rest = logits_max_scalar(z + i, n - i);
    if (isnan(rest) || _mm256_movemask_ps(strange))
        return NAN;
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    t = _mm_max_ss(t, _mm_movehdup_ps(t));
    return fmaxf(_mm_cvtss_f32(t), rest) + 0.0F;
}

/* z - max for four of the row. */
static __m256d minus_max(const float *z, __m256d max)
{
    return _mm256_sub_pd(_mm256_cvtps_pd(_mm_loadu_ps(z)), max);
}

double logits_sum_exp_avx2(const float *z, double max, size_t n)
{
    const __m256d m = _mm256_set1_pd(max), zero = _mm256_setzero_pd();
    struct lanes s = {{zero, zero, zero, zero}};
    double lane[LOGITS_LANES];
    size_t i = 0;
    for (; i + LOGITS_LANES <= n; i += LOGITS_LANES)
        for (size_t k = 0; k < QUARTERS; k++)
            s.q[k] = _mm256_add_pd(s.q[k], exp4(minus_max(z + i + k * WIDTH, m)));
    store(lane, &s);
    return logits_finish_sum(lane, z + i, max, n - i);
}

void logits_sums_avx2(struct logits_sums *to, const float *p, double p_max, const float *q,
                      double q_max, size_t n)
{
    const __m256d pm = _mm256_set1_pd(p_max), qm = _mm256_set1_pd(q_max);
    const __m256d zero = _mm256_setzero_pd();
    const struct lanes none = {{zero, zero, zero, zero}};
    struct lanes p_sum = none, q_sum = none, cross = none;
    struct logits_lanes lanes;
    size_t i = 0;
    for (; i + LOGITS_LANES <= n; i += LOGITS_LANES) {
        for (size_t k = 0; k < QUARTERS; k++) {
            const __m256d a = minus_max(p + i + k * WIDTH, pm);
            const __m256d b = minus_max(q + i + k * WIDTH, qm), e = exp4(a);
            p_sum.q[k] = _mm256_add_pd(p_sum.q[k], e);
            q_sum.q[k] = _mm256_add_pd(q_sum.q[k], exp4(b));
            const __m256d c = _mm256_fmadd_pd(e, _mm256_sub_pd(a, b), cross.q[k]);
            const __m256d nothing = _mm256_cmp_pd(e, zero, _CMP_EQ_OQ);
            cross.q[k] = _mm256_blendv_pd(c, cross.q[k], nothing);
        }
    }
    store(lanes.p, &p_sum);
    store(lanes.q, &q_sum);
    store(lanes.cross, &cross);
    logits_finish_sums(to, &lanes, &(struct logits_rest){p + i, q + i, p_max, q_max, n - i});
}
