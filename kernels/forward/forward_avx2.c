/* SPDX-License-Identifier: MIT */
/*
 * Two registers hold the 16 lanes of a sum. The last, incomplete piece of a row is read as zeros
 * beyond its end: a lane is never -0, so adding 0 changes none.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include "kernels/forward/forward_variants.h"

enum { LANES = 8, SCORES = 4 * LANES };

static const int32_t MASKS[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

/* The first n of 8, n <= 8. */
static __m256i first(size_t n)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(MASKS + LANES - n));
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* n elements and zeros behind them, n <= 8. */
static __m256 load_first(const float *x, size_t n)
{
    return n ? _mm256_maskload_ps(x, first(n)) : _mm256_setzero_ps();
}

static void store_first(float *y, size_t n, __m256 v)
{
    if (n)
        _mm256_maskstore_ps(y, first(n), v);
}

struct sum {
    __m256 low, high; /* lanes 0-7, 8-15 */
};

static float fold(struct sum s)
{
    const __m256 eight = _mm256_add_ps(s.low, s.high);
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static __m256 power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/*
 * forward_exp(). The limits lie beyond those of the scalar function, where the arithmetic already
 * gives 0 and infinity; min and max return their second operand when one is NaN. Halving n rounds
 * down instead of to zero: only the last product rounds, so any split will do.
 */
static __m256 exp8(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(89.5F), _mm256_max_ps(_mm256_set1_ps(-104.5F), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0F)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.62e4p-1F), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0x1.7f7d1cp-20F), r);
    __m256 p = _mm256_set1_ps(0x1.a01a02p-13F);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.6c16c2p-10F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.111112p-7F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555556p-5F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555556p-3F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1p-1F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    p = _mm256_mul_ps(p, power_of_two(half));
    return _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(whole, half)));
}

static float sum_of_squares(const float *x, size_t n)
{
    struct sum s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + LANES);
        s.low = _mm256_fmadd_ps(a, a, s.low);
        s.high = _mm256_fmadd_ps(b, b, s.high);
    }
    const size_t rest = n - i, low = least(rest, LANES);
    const __m256 a = load_first(x + i, low), b = load_first(x + i + low, rest - low);
    s.low = _mm256_fmadd_ps(a, a, s.low);
    s.high = _mm256_fmadd_ps(b, b, s.high);
    return fold(s);
}

void forward_rmsnorm_avx2(float *y, const float *x, const float *w, size_t n, float eps)
{
    const __m256 s = _mm256_set1_ps(1.0F / sqrtf(sum_of_squares(x, n) / (float)n + eps));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), s);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    const __m256 v = _mm256_mul_ps(load_first(x + i, n - i), s);
    store_first(y + i, n - i, _mm256_mul_ps(v, load_first(w + i, n - i)));
}

static float sum_of(const float *x, size_t n)
{
    struct sum s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s.low = _mm256_add_ps(s.low, _mm256_loadu_ps(x + i));
        s.high = _mm256_add_ps(s.high, _mm256_loadu_ps(x + i + LANES));
    }
    const size_t rest = n - i, low = least(rest, LANES);
    s.low = _mm256_add_ps(s.low, load_first(x + i, low));
    s.high = _mm256_add_ps(s.high, load_first(x + i + low, rest - low));
    return fold(s);
}

/* x - mean, and 0 where there is no x. */
static __m256 deviation(const float *x, size_t n, __m256 mean)
{
    const __m256 d = _mm256_sub_ps(load_first(x, n), mean);
    return _mm256_and_ps(d, _mm256_castsi256_ps(first(n)));
}

static float sum_of_squared_deviations(const float *x, __m256 mean, size_t n)
{
    struct sum s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const __m256 a = _mm256_sub_ps(_mm256_loadu_ps(x + i), mean);
        const __m256 b = _mm256_sub_ps(_mm256_loadu_ps(x + i + LANES), mean);
        s.low = _mm256_fmadd_ps(a, a, s.low);
        s.high = _mm256_fmadd_ps(b, b, s.high);
    }
    const size_t rest = n - i, low = least(rest, LANES);
    const __m256 a = deviation(x + i, low, mean), b = deviation(x + i + low, rest - low, mean);
    s.low = _mm256_fmadd_ps(a, a, s.low);
    s.high = _mm256_fmadd_ps(b, b, s.high);
    return fold(s);
}

void forward_layernorm_avx2(float *y, const float *x, const float *w, const float *b, size_t n,
                            float eps)
{
    const __m256 mean = _mm256_set1_ps(sum_of(x, n) / (float)n);
    const float variance = sum_of_squared_deviations(x, mean, n) / (float)n;
    const __m256 s = _mm256_set1_ps(1.0F / sqrtf(variance + eps));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256 d = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), mean), s);
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(d, _mm256_loadu_ps(w + i), _mm256_loadu_ps(b + i)));
    }
    const size_t rest = n - i;
    const __m256 d = _mm256_mul_ps(_mm256_sub_ps(load_first(x + i, rest), mean), s);
    store_first(y + i, rest, _mm256_fmadd_ps(d, load_first(w + i, rest), load_first(b + i, rest)));
}

/* Four pairs: (a, b) -> (a cos - b sin, b cos + a sin). */
static __m256 rotate_pairs(__m256 x, __m128 cos, __m128 sin)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256 minus = _mm256_setr_ps(-0.0F, 0.0F, -0.0F, 0.0F, -0.0F, 0.0F, -0.0F, 0.0F);
    const __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(cos), twice);
    const __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(sin), twice);
    const __m256 swapped = _mm256_permute_ps(x, _MM_SHUFFLE(2, 3, 0, 1));
    return _mm256_fmadd_ps(swapped, _mm256_xor_ps(s, minus), _mm256_mul_ps(x, c));
}

static void rope_pairs(float *x, const float *cos, const float *sin, size_t half)
{
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        const __m256 v = _mm256_loadu_ps(x + 2 * i);
        _mm256_storeu_ps(x + 2 * i, rotate_pairs(v, _mm_loadu_ps(cos + i), _mm_loadu_ps(sin + i)));
    }
    const size_t rest = half - i;
    const __m128i few = _mm256_castsi256_si128(first(rest));
    const __m256 v = load_first(x + 2 * i, 2 * rest);
    store_first(x + 2 * i, 2 * rest,
                rotate_pairs(v, _mm_maskload_ps(cos + i, few), _mm_maskload_ps(sin + i, few)));
}

static void rope_halves(float *x, const float *cos, const float *sin, size_t half)
{
    for (size_t i = 0; i < half; i += LANES) {
        const size_t n = least(half - i, LANES);
        const __m256 a = load_first(x + i, n), b = load_first(x + half + i, n);
        const __m256 c = load_first(cos + i, n), s = load_first(sin + i, n);
        store_first(x + i, n, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
        store_first(x + half + i, n, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

void forward_rope_avx2(float *x, const float *cos, const float *sin, size_t half, int interleaved)
{
    if (interleaved)
        rope_pairs(x, cos, sin, half);
    else
        rope_halves(x, cos, sin, half);
}

/* x = scale * x; the largest that is a number. Where max sees NaN it returns the second operand. */
static float scale_and_max(float *x, size_t n, float scale)
{
    const __m256 factor = _mm256_set1_ps(scale), lowest = _mm256_set1_ps(-INFINITY);
    __m256 m = lowest;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
        _mm256_storeu_ps(x + i, v);
        m = _mm256_max_ps(v, m);
    }
    const __m256 v = _mm256_mul_ps(load_first(x + i, n - i), factor);
    store_first(x + i, n - i, v);
    m = _mm256_max_ps(_mm256_blendv_ps(lowest, v, _mm256_castsi256_ps(first(n - i))), m);
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}

/* x = e^(x - m); their sum. */
static float exp_and_sum(float *x, size_t n, __m256 m)
{
    struct sum s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const __m256 a = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), m));
        const __m256 b = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i + LANES), m));
        _mm256_storeu_ps(x + i, a);
        _mm256_storeu_ps(x + i + LANES, b);
        s.low = _mm256_add_ps(s.low, a);
        s.high = _mm256_add_ps(s.high, b);
    }
    for (size_t half = 0; half < 2 && i < n; half++) {
        const size_t rest = least(n - i, LANES);
        const __m256 e = exp8(_mm256_sub_ps(load_first(x + i, rest), m));
        const __m256 there = _mm256_and_ps(e, _mm256_castsi256_ps(first(rest)));
        store_first(x + i, rest, e);
        if (half)
            s.high = _mm256_add_ps(s.high, there);
        else
            s.low = _mm256_add_ps(s.low, there);
        i += rest;
    }
    return fold(s);
}

void forward_softmax_avx2(float *x, size_t n, float scale)
{
    const float m = scale_and_max(x, n, scale);
    const __m256 s = _mm256_set1_ps(exp_and_sum(x, n, _mm256_set1_ps(m)));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(x + i, _mm256_div_ps(_mm256_loadu_ps(x + i), s));
    store_first(x + i, n - i, _mm256_div_ps(load_first(x + i, n - i), s));
}

/* 1 + e^-x. */
static __m256 one_plus_exp(__m256 x)
{
    const __m256 minus_x = _mm256_xor_ps(x, _mm256_set1_ps(-0.0F));
    return _mm256_add_ps(_mm256_set1_ps(1.0F), exp8(minus_x));
}

void forward_sigmoid_avx2(float *y, const float *x, size_t n)
{
    const __m256 one = _mm256_set1_ps(1.0F);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, _mm256_div_ps(one, one_plus_exp(_mm256_loadu_ps(x + i))));
    store_first(y + i, n - i, _mm256_div_ps(one, one_plus_exp(load_first(x + i, n - i))));
}

static __m256 silu_mul(__m256 gate, __m256 up)
{
    return _mm256_mul_ps(_mm256_div_ps(gate, one_plus_exp(gate)), up);
}

void forward_silu_mul_avx2(float *y, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, silu_mul(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
    store_first(y + i, n - i, silu_mul(load_first(gate + i, n - i), load_first(up + i, n - i)));
}

void forward_add_avx2(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    store_first(y + i, n - i, _mm256_add_ps(load_first(y + i, n - i), load_first(x + i, n - i)));
}

void forward_axpy_avx2(float *y, float a, const float *x, size_t n)
{
    const __m256 f = _mm256_set1_ps(a);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(f, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    store_first(y + i, n - i,
                _mm256_fmadd_ps(f, load_first(x + i, n - i), load_first(y + i, n - i)));
}

/* s + g max(0, scale d): max returns its second operand for NaN and for two zeros. */
static __m256 score(__m256 s, __m256 g, __m256 d, __m256 scale)
{
    return _mm256_fmadd_ps(g, _mm256_max_ps(_mm256_setzero_ps(), _mm256_mul_ps(d, scale)), s);
}

void forward_index_scores_avx2(float *y, const float *g, const float *dots, size_t n_heads,
                               size_t ld, size_t n, float scale)
{
    const __m256 f = _mm256_set1_ps(scale);
    size_t u = 0;
    for (; u + SCORES <= n; u += SCORES) {
        __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                       _mm256_setzero_ps()};
        for (size_t h = 0; h < n_heads; h++) {
            const float *const d = dots + h * ld + u;
            const __m256 gate = _mm256_set1_ps(g[h]);
            s[0] = score(s[0], gate, _mm256_loadu_ps(d), f);
            s[1] = score(s[1], gate, _mm256_loadu_ps(d + LANES), f);
            s[2] = score(s[2], gate, _mm256_loadu_ps(d + 2 * LANES), f);
            s[3] = score(s[3], gate, _mm256_loadu_ps(d + 3 * LANES), f);
        }
        for (size_t i = 0; i < 4; i++)
            _mm256_storeu_ps(y + u + i * LANES, s[i]);
    }
    for (; u < n; u += LANES) {
        const size_t rest = least(n - u, LANES);
        __m256 s = _mm256_setzero_ps();
        for (size_t h = 0; h < n_heads; h++)
            s = score(s, _mm256_set1_ps(g[h]), load_first(dots + h * ld + u, rest), f);
        store_first(y + u, rest, s);
    }
}

/* An infinity or NaN, shifted so that its sign is gone, is larger than any other number. */
int forward_all_finite_avx2(const float *x, size_t n)
{
    __m256i most[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
#pragma GCC unroll 4
        for (size_t v = 0; v < 4; v++) {
            const __m256i b = _mm256_castps_si256(_mm256_loadu_ps(x + i + v * LANES));
            most[v] = _mm256_max_epu32(most[v], _mm256_slli_epi32(b, 1));
        }
    for (size_t k; i < n; i += k) {
        k = least(n - i, LANES);
        const __m256i b = _mm256_castps_si256(load_first(x + i, k));
        most[0] = _mm256_max_epu32(most[0], _mm256_slli_epi32(b, 1));
    }
    const __m256i all =
        _mm256_max_epu32(_mm256_max_epu32(most[0], most[1]), _mm256_max_epu32(most[2], most[3]));
    const __m256i infinite = _mm256_set1_epi32((int)0xFF000000u);
    const __m256i bad = _mm256_cmpeq_epi32(_mm256_max_epu32(all, infinite), all);
    return _mm256_testz_si256(bad, bad);
}
