/* SPDX-License-Identifier: MIT */
/*
 * The searches, one block per lane: every lane computes the losses of its own scales in the order
 * of the scalar loop. The sweep leaves out scales of which it is certain that the scalar loop does
 * not end with them; nvfp4_search_avx512.c has the argument at bounds().
 */
#include <immintrin.h>
#include <math.h>

#include "kernels/nvfp4/nvfp4_e4m3_avx2.h"
#include "kernels/nvfp4/nvfp4_group.h"

enum { BLOCK = NVFP4_BLOCK, LANES = 8 };

/* x[i], w[i]: element i of eight blocks. */
struct lanes {
    __m256 x[BLOCK];
    __m256 w[BLOCK];
    __m256 amax;
    int weighted;
};

/* An 8 by 8 square. */
static void transpose(__m256 r[8])
{
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) { /* u[i + c]: column c of each half, rows i ... i + 3 */
        for (int c = 0; c < 2; c++) {
            u[i + 2 * c] = _mm256_shuffle_ps(t[i + c], t[i + c + 2], 0x44);
            u[i + 2 * c + 1] = _mm256_shuffle_ps(t[i + c], t[i + c + 2], 0xEE);
        }
    }
    for (int c = 0; c < 4; c++) {
        r[c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
        r[4 + c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
    }
}

/* Half a block. */
static __m256 load_half(const unsigned char *x, size_t half, enum nvfp4_dtype dtype)
{
    if (dtype == NVFP4_F32)
        return _mm256_loadu_ps((const float *)(const void *)(x + 32 * half));
    __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + 16 * half)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(h, 16));
}

/* Equal weights are as good as none. */
static void load_weights(struct lanes *v, const struct nvfp4_set *set, size_t block)
{
    const __m256 one = _mm256_set1_ps(1);
    v->weighted = set->importance != NULL;
    if (!v->weighted)
        return;
    for (size_t i = 0; i < LANES; i++) {
        size_t column = (set->first + block + i) * BLOCK % set->k;
        v->w[i] = _mm256_loadu_ps(set->importance + column);
        v->w[LANES + i] = _mm256_loadu_ps(set->importance + column + LANES);
    }
    transpose(v->w);
    transpose(v->w + LANES);
    __m256 equal = _mm256_cmp_ps(one, one, _CMP_EQ_OQ);
    for (int i = 1; i < BLOCK; i++)
        equal = _mm256_and_ps(equal, _mm256_cmp_ps(v->w[0], v->w[i], _CMP_EQ_OQ));
    for (int i = 0; i < BLOCK; i++)
        v->w[i] = _mm256_blendv_ps(v->w[i], one, equal);
}

static void load_lanes(struct lanes *v, const struct nvfp4_set *set, size_t block,
                       const struct nvfp4_group *g)
{
    const __m256 unit = _mm256_set1_ps(g->unit);
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    for (size_t i = 0; i < LANES; i++) {
        for (size_t half = 0; half < 2; half++) {
            __m256 x = load_half(set->x, 2 * (block + i) + half, g->dtype);
            v->x[LANES * half + i] = _mm256_mul_ps(_mm256_and_ps(x, magnitude), unit);
        }
    }
    transpose(v->x);
    transpose(v->x + LANES);
    v->amax = _mm256_mul_ps(_mm256_loadu_ps((const float *)(set->maxima + block)), unit);
    load_weights(v, set, block);
}

/*
 * The nearest of the eight magnitudes. Adding 2^23 times the step rounds to the step, ties to even;
 * it is 1/2 below 2, 1 below 4, else 2, so half the power of two below y.
 */
static inline __m256 nearest(__m256 y)
{
    const __m256 one = _mm256_set1_ps(1);
    y = _mm256_min_ps(y, _mm256_set1_ps(6));
    __m256 power = _mm256_and_ps(y, _mm256_castsi256_ps(_mm256_set1_epi32(0x7F800000)));
    power = _mm256_max_ps(power, one);
    __m256i magic = _mm256_add_epi32(_mm256_castps_si256(power), _mm256_set1_epi32(22 << 23));
    __m256 m = _mm256_castsi256_ps(magic);
    return _mm256_sub_ps(_mm256_add_ps(y, m), m);
}

static inline __m256 square(const struct lanes *v, int i, __m256 d, __m256 r, int weighted)
{
    __m256 q = nearest(_mm256_mul_ps(v->x[i], r));
    __m256 e = _mm256_sub_ps(v->x[i], _mm256_mul_ps(q, d));
    __m256 ee = _mm256_mul_ps(e, e);
    return weighted ? _mm256_mul_ps(ee, v->w[i]) : ee;
}

static inline __m256 sum_squares(const struct lanes *v, __m256 d, int weighted)
{
    const __m256 r = _mm256_div_ps(_mm256_set1_ps(1), d);
    __m256 a = _mm256_setzero_ps(), b = a, c = a, e = a;
    for (int i = 0; i < BLOCK; i += 4) {
        a = _mm256_add_ps(a, square(v, i, d, r, weighted));
        b = _mm256_add_ps(b, square(v, i + 1, d, r, weighted));
        c = _mm256_add_ps(c, square(v, i + 2, d, r, weighted));
        e = _mm256_add_ps(e, square(v, i + 3, d, r, weighted));
    }
    return _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, e));
}

static __m256 loss(const struct lanes *v, __m256 d)
{
    return v->weighted ? sum_squares(v, d, 1) : sum_squares(v, d, 0);
}

static __m256 at_scale(__m256i scale, const struct nvfp4_group *g)
{
    return _mm256_mul_ps(e4m3_decode_avx2(scale), _mm256_set1_ps(g->unit_s2));
}

/* A scale code for v, for bounds only. */
static __m256i code_near(__m256 v)
{
    return e4m3_encode_avx2(_mm256_max_ps(v, _mm256_setzero_ps()));
}

/* The largest x - sqrt(loss / w): 6 d below it clips that element by more than the loss. */
static __m256 clip_bound(const struct lanes *v, __m256 start_loss)
{
    __m256 root = _mm256_mul_ps(_mm256_sqrt_ps(start_loss), _mm256_set1_ps(1.001f));
    if (!v->weighted)
        return _mm256_sub_ps(v->amax, root);
    __m256 t = _mm256_setzero_ps();
    for (int i = 0; i < BLOCK; i++) {
        __m256 slack = _mm256_mul_ps(root, _mm256_rsqrt_ps(v->w[i]));
        t = _mm256_max_ps(_mm256_sub_ps(v->x[i], slack), t); /* t where the difference is NaN */
    }
    return t;
}

/*
 * The least of some magnitudes for which the elements up to it, taken as zero, already cost more
 * than the loss; infinity where none does. Scales with d / 4 above it round all those to zero.
 */
static __m256 zero_bound(const struct lanes *v, __m256 start_loss)
{
    static const float parts[] = {2.0f / 24, 2.5f / 24,  3.0f / 24, 4.0f / 24,
                                  6.0f / 24, 10.0f / 24, 1};
    const __m256 enough = _mm256_mul_ps(start_loss, _mm256_set1_ps(1.001f));
    __m256 bound = _mm256_set1_ps(INFINITY);
    for (int p = (int)(sizeof parts / sizeof *parts) - 1; p >= 0; p--) {
        __m256 top = _mm256_mul_ps(v->amax, _mm256_set1_ps(parts[p]));
        __m256 sum = _mm256_setzero_ps();
        for (int i = 0; i < BLOCK; i++) {
            __m256 in = _mm256_cmp_ps(v->x[i], top, _CMP_LE_OQ);
            __m256 xx = _mm256_mul_ps(v->x[i], v->x[i]);
            if (v->weighted)
                xx = _mm256_mul_ps(xx, v->w[i]);
            sum = _mm256_add_ps(sum, _mm256_and_ps(in, xx));
        }
        bound = _mm256_blendv_ps(bound, top, _mm256_cmp_ps(sum, enough, _CMP_GT_OQ));
    }
    return bound;
}

/* First and last scale to try. */
struct range {
    __m256i first, last;
};

static struct range bounds(const struct lanes *v, const struct nvfp4_group *g, __m256i start)
{
    const __m256i all_first = _mm256_set1_epi32(1);
    const __m256i all_last = _mm256_set1_epi32(NVFP4_SCALE_LARGEST);
    const __m256 s2 = _mm256_set1_ps(g->unit_s2);
    const __m256 least = _mm256_set1_ps(0x1p-90f), most = _mm256_set1_ps(0x1p100f);
    __m256 l = loss(v, at_scale(start, g));
    struct range r;

    __m256 safe =
        _mm256_and_ps(_mm256_cmp_ps(l, least, _CMP_GE_OQ), _mm256_cmp_ps(l, most, _CMP_LE_OQ));
    __m256 most_amax = _mm256_mul_ps(s2, _mm256_set1_ps(2689));
    safe = _mm256_and_ps(safe, _mm256_cmp_ps(v->amax, most_amax, _CMP_LE_OQ));
    __m256 clip = _mm256_div_ps(clip_bound(v, l), _mm256_mul_ps(s2, _mm256_set1_ps(6)));
    r.first = _mm256_max_epi32(_mm256_sub_epi32(code_near(clip), all_first), all_first);
    r.first = blend_avx2(all_first, r.first, safe);
    __m256 zero = _mm256_div_ps(_mm256_mul_ps(zero_bound(v, l), _mm256_set1_ps(4.01f)), s2);
    r.last = blend_avx2(all_last, code_near(zero), safe);

    __m256 exact = _mm256_cmp_ps(l, _mm256_setzero_ps(), _CMP_EQ_OQ);
    r.last = blend_avx2(r.last, start, exact);
    __m256 first_cut = _mm256_mul_ps(s2, _mm256_set1_ps(0x1p-12f));
    r.last = blend_avx2(r.last, all_first, _mm256_cmp_ps(v->amax, first_cut, _CMP_LE_OQ));
    return r;
}

static __m256i sweep(const struct lanes *v, const struct nvfp4_group *g, __m256i start)
{
    const __m256i one = _mm256_set1_epi32(1);
    struct range r = bounds(v, g, start);
    __m256i best = one;
    __m256 least = _mm256_set1_ps(INFINITY);
    for (__m256i c = r.first;; c = _mm256_add_epi32(c, one)) {
        __m256i over = _mm256_cmpgt_epi32(c, r.last);
        if (_mm256_movemask_epi8(over) == -1)
            break;
        __m256 l = loss(v, at_scale(c, g));
        __m256 less =
            _mm256_andnot_ps(_mm256_castsi256_ps(over), _mm256_cmp_ps(l, least, _CMP_LT_OQ));
        least = _mm256_blendv_ps(least, l, less);
        best = blend_avx2(best, c, less);
    }
    return best;
}

void nvfp4_sweep_avx2(struct nvfp4_set *set, const struct nvfp4_group *g)
{
    for (size_t i = 0; i < set->n; i += LANES) {
        __m256i *scale = (__m256i *)(set->scale + i);
        struct lanes v;
        load_lanes(&v, set, i, g);
        _mm256_storeu_si256(scale, sweep(&v, g, _mm256_loadu_si256(scale)));
    }
}

void nvfp4_choose_avx2(struct nvfp4_set *set, const struct nvfp4_group *g)
{
    for (size_t i = 0; i < set->n; i += LANES) {
        __m256i *scale = (__m256i *)(set->scale + i);
        struct lanes v;
        load_lanes(&v, set, i, g);
        __m256i a = _mm256_loadu_si256(scale);
        __m256i b = _mm256_loadu_si256((const __m256i *)(set->other + i));
        __m256 l = loss(&v, at_scale(b, g));
        __m256 less = _mm256_cmp_ps(l, loss(&v, at_scale(a, g)), _CMP_LT_OQ);
        _mm256_storeu_si256(scale, blend_avx2(a, b, less));
    }
}
