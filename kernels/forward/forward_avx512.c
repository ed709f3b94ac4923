/* SPDX-License-Identifier: MIT */
/*
 * One register holds the 16 lanes of a sum. The last, incomplete piece of a row is read as zeros
 * beyond its end: a lane is never -0, so adding 0 changes none.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "kernels/forward/forward_variants.h"

enum { LANES = 16, SCORES = 4 * LANES };

/* The first n of 16. */
static __mmask16 first(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xFFFFU : (1U << n) - 1U);
}

static __m512 load_first(const float *x, size_t n)
{
    return _mm512_maskz_loadu_ps(first(n), x);
}

static void store_first(float *y, size_t n, __m512 v)
{
    _mm512_mask_storeu_ps(y, first(n), v);
}

static float fold(__m512 s)
{
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/*
 * forward_exp(). The limits lie beyond those of the scalar function, where the arithmetic already
 * gives 0 and infinity; min and max return their second operand when one is NaN. Scaling by 2^n
 * rounds once, as the last of the two products does.
 */
static __m512 exp16(__m512 x)
{
    x = _mm512_min_ps(_mm512_set1_ps(89.5F), _mm512_max_ps(_mm512_set1_ps(-104.5F), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0F)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.62e4p-1F), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0x1.7f7d1cp-20F), r);
    __m512 p = _mm512_set1_ps(0x1.a01a02p-13F);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.6c16c2p-10F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.111112p-7F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555556p-5F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555556p-3F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1p-1F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
    return _mm512_scalef_ps(p, n);
}

static float sum_of_squares(const float *x, size_t n)
{
    __m512 s = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512 v = _mm512_loadu_ps(x + i);
        s = _mm512_fmadd_ps(v, v, s);
    }
    const __m512 v = load_first(x + i, n - i);
    return fold(_mm512_fmadd_ps(v, v, s));
}

void forward_rmsnorm_avx512(float *y, const float *x, const float *w, size_t n, float eps)
{
    const __m512 s = _mm512_set1_ps(1.0F / sqrtf(sum_of_squares(x, n) / (float)n + eps));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), s);
        _mm512_storeu_ps(y + i, _mm512_mul_ps(v, _mm512_loadu_ps(w + i)));
    }
    const __m512 v = _mm512_mul_ps(load_first(x + i, n - i), s);
    store_first(y + i, n - i, _mm512_mul_ps(v, load_first(w + i, n - i)));
}

static float sum_of(const float *x, size_t n)
{
    __m512 s = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        s = _mm512_add_ps(s, _mm512_loadu_ps(x + i));
    return fold(_mm512_add_ps(s, load_first(x + i, n - i)));
}

static float sum_of_squared_deviations(const float *x, __m512 mean, size_t n)
{
    __m512 s = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
        s = _mm512_fmadd_ps(d, d, s);
    }
    const __mmask16 rest = first(n - i);
    const __m512 d = _mm512_maskz_sub_ps(rest, _mm512_maskz_loadu_ps(rest, x + i), mean);
    return fold(_mm512_fmadd_ps(d, d, s));
}

void forward_layernorm_avx512(float *y, const float *x, const float *w, const float *b, size_t n,
                              float eps)
{
    const __m512 mean = _mm512_set1_ps(sum_of(x, n) / (float)n);
    const float variance = sum_of_squared_deviations(x, mean, n) / (float)n;
    const __m512 s = _mm512_set1_ps(1.0F / sqrtf(variance + eps));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), s);
        _mm512_storeu_ps(y + i, _mm512_fmadd_ps(d, _mm512_loadu_ps(w + i), _mm512_loadu_ps(b + i)));
    }
    const size_t rest = n - i;
    const __m512 d = _mm512_mul_ps(_mm512_sub_ps(load_first(x + i, rest), mean), s);
    store_first(y + i, rest, _mm512_fmadd_ps(d, load_first(w + i, rest), load_first(b + i, rest)));
}

/* Eight pairs: (a, b) -> (a cos - b sin, b cos + a sin). */
static __m512 rotate_pairs(__m512 x, __m256 cos, __m256 sin)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i minus = _mm512_set1_epi64(0x80000000);
    const __m512 c = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(cos));
    const __m512 s = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(sin));
    const __m512 turned = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(s), minus));
    const __m512 swapped = _mm512_shuffle_ps(x, x, _MM_SHUFFLE(2, 3, 0, 1));
    return _mm512_fmadd_ps(swapped, turned, _mm512_mul_ps(x, c));
}

static void rope_pairs(float *x, const float *cos, const float *sin, size_t half)
{
    size_t i = 0;
    for (; i + 8 <= half; i += 8) {
        const __m512 v = _mm512_loadu_ps(x + 2 * i);
        _mm512_storeu_ps(x + 2 * i,
                         rotate_pairs(v, _mm256_loadu_ps(cos + i), _mm256_loadu_ps(sin + i)));
    }
    const size_t rest = half - i;
    const __mmask8 few = (__mmask8)first(rest);
    const __m512 v = load_first(x + 2 * i, 2 * rest);
    store_first(
        x + 2 * i, 2 * rest,
        rotate_pairs(v, _mm256_maskz_loadu_ps(few, cos + i), _mm256_maskz_loadu_ps(few, sin + i)));
}

static void rope_halves(float *x, const float *cos, const float *sin, size_t half)
{
    for (size_t i = 0; i < half; i += LANES) {
        const size_t n = half - i;
        const __m512 a = load_first(x + i, n), b = load_first(x + half + i, n);
        const __m512 c = load_first(cos + i, n), s = load_first(sin + i, n);
        store_first(x + i, n, _mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c)));
        store_first(x + half + i, n, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

void forward_rope_avx512(float *x, const float *cos, const float *sin, size_t half, int interleaved)
{
    if (interleaved)
        rope_pairs(x, cos, sin, half);
    else
        rope_halves(x, cos, sin, half);
}

static float largest(__m512 m)
{
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(m), _mm512_extractf32x8_ps(m, 1));
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}

/* x = scale * x; the largest that is a number. Where max sees NaN it returns the second operand. */
static float scale_and_max(float *x, size_t n, float scale)
{
    const __m512 factor = _mm512_set1_ps(scale);
    __m512 m = _mm512_set1_ps(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), factor);
        _mm512_storeu_ps(x + i, v);
        m = _mm512_max_ps(v, m);
    }
    const __m512 v = _mm512_mul_ps(load_first(x + i, n - i), factor);
    store_first(x + i, n - i, v);
    return largest(_mm512_mask_max_ps(m, first(n - i), v, m));
}

/* x = e^(x - m); their sum. */
static float exp_and_sum(float *x, size_t n, __m512 m)
{
    __m512 s = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512 e = exp16(_mm512_sub_ps(_mm512_loadu_ps(x + i), m));
        _mm512_storeu_ps(x + i, e);
        s = _mm512_add_ps(s, e);
    }
    const __m512 e = exp16(_mm512_sub_ps(load_first(x + i, n - i), m));
    store_first(x + i, n - i, e);
    return fold(_mm512_mask_add_ps(s, first(n - i), s, e));
}

void forward_softmax_avx512(float *x, size_t n, float scale)
{
    const float m = scale_and_max(x, n, scale);
    const __m512 s = _mm512_set1_ps(exp_and_sum(x, n, _mm512_set1_ps(m)));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(x + i, _mm512_div_ps(_mm512_loadu_ps(x + i), s));
    store_first(x + i, n - i, _mm512_div_ps(load_first(x + i, n - i), s));
}

/* 1 + e^-x. */
static __m512 one_plus_exp(__m512 x)
{
    const __m512i minus = _mm512_set1_epi32(INT32_MIN);
    const __m512 minus_x = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), minus));
    return _mm512_add_ps(_mm512_set1_ps(1.0F), exp16(minus_x));
}

void forward_sigmoid_avx512(float *y, const float *x, size_t n)
{
    const __m512 one = _mm512_set1_ps(1.0F);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(y + i, _mm512_div_ps(one, one_plus_exp(_mm512_loadu_ps(x + i))));
    store_first(y + i, n - i, _mm512_div_ps(one, one_plus_exp(load_first(x + i, n - i))));
}

static __m512 silu_mul(__m512 gate, __m512 up)
{
    return _mm512_mul_ps(_mm512_div_ps(gate, one_plus_exp(gate)), up);
}

void forward_silu_mul_avx512(float *y, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(y + i, silu_mul(_mm512_loadu_ps(gate + i), _mm512_loadu_ps(up + i)));
    store_first(y + i, n - i, silu_mul(load_first(gate + i, n - i), load_first(up + i, n - i)));
}

void forward_add_avx512(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(y + i, _mm512_add_ps(_mm512_loadu_ps(y + i), _mm512_loadu_ps(x + i)));
    store_first(y + i, n - i, _mm512_add_ps(load_first(y + i, n - i), load_first(x + i, n - i)));
}

void forward_axpy_avx512(float *y, float a, const float *x, size_t n)
{
    const __m512 f = _mm512_set1_ps(a);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_ps(y + i, _mm512_fmadd_ps(f, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
    store_first(y + i, n - i,
                _mm512_fmadd_ps(f, load_first(x + i, n - i), load_first(y + i, n - i)));
}

/* s + g max(0, scale d): max returns its second operand for NaN and for two zeros. */
static __m512 score(__m512 s, __m512 g, __m512 d, __m512 scale)
{
    return _mm512_fmadd_ps(g, _mm512_max_ps(_mm512_setzero_ps(), _mm512_mul_ps(d, scale)), s);
}

void forward_index_scores_avx512(float *y, const float *g, const float *dots, size_t n_heads,
                                 size_t ld, size_t n, float scale)
{
    const __m512 f = _mm512_set1_ps(scale);
    size_t u = 0;
    for (; u + SCORES <= n; u += SCORES) {
        __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                       _mm512_setzero_ps()};
        for (size_t h = 0; h < n_heads; h++) {
            const float *const d = dots + h * ld + u;
            const __m512 gate = _mm512_set1_ps(g[h]);
            s[0] = score(s[0], gate, _mm512_loadu_ps(d), f);
            s[1] = score(s[1], gate, _mm512_loadu_ps(d + LANES), f);
            s[2] = score(s[2], gate, _mm512_loadu_ps(d + 2 * LANES), f);
            s[3] = score(s[3], gate, _mm512_loadu_ps(d + 3 * LANES), f);
        }
        for (size_t i = 0; i < 4; i++)
            _mm512_storeu_ps(y + u + i * LANES, s[i]);
    }
    for (; u < n; u += LANES) {
        __m512 s = _mm512_setzero_ps();
        for (size_t h = 0; h < n_heads; h++)
            s = score(s, _mm512_set1_ps(g[h]), load_first(dots + h * ld + u, n - u), f);
        store_first(y + u, n - u, s);
    }
}

/* An exponent of all ones is an infinity or NaN. */
int forward_all_finite_avx512(const float *x, size_t n)
{
    const __m512i exponent = _mm512_set1_epi32(0x7F800000);
    for (size_t i = 0; i < n; i += 4 * LANES) {
        __mmask16 bad = 0;
        for (size_t k = i; k < n && k < i + 4 * LANES; k += LANES) {
            const __m512i v = _mm512_castps_si512(load_first(x + k, n - k));
            const __m512i e = _mm512_and_si512(v, exponent);
            bad = (__mmask16)(bad | _mm512_cmpeq_epi32_mask(e, exponent));
        }
        if (bad)
            return 0;
    }
    return 1;
}
