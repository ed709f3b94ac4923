/* SPDX-License-Identifier: MIT */
/*
 * The searches, one block per lane: every lane computes the losses of its own scales in the order
 * of the scalar loop. The sweep leaves out scales of which it is certain that the scalar loop does
 * not end with them, see bounds().
 */
#include <immintrin.h>
#include <math.h>

#include "kernels/nvfp4/nvfp4_e4m3_avx512.h"
#include "kernels/nvfp4/nvfp4_group.h"

enum { BLOCK = NVFP4_BLOCK, LANES = 16 };

/* x[i], w[i]: element i of sixteen blocks. */
struct lanes {
    __m512 x[BLOCK];
    __m512 w[BLOCK];
    __m512 amax;
    int weighted;
};

static void transpose(__m512 r[16])
{
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) { /* pairs of rows: pairs of columns */
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* r[i + c]: column c of each quarter, rows i ... i + 3 */
        for (int c = 0; c < 2; c++) {
            __m512d a = _mm512_castps_pd(t[i + c]), b = _mm512_castps_pd(t[i + c + 2]);
            r[i + 2 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for (int c = 0; c < 4; c++) { /* quarters to their places */
        __m512 a = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x44);
        __m512 b = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xEE);
        __m512 d = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x44);
        __m512 e = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xEE);
        t[c] = _mm512_shuffle_f32x4(a, d, 0x88);
        t[4 + c] = _mm512_shuffle_f32x4(a, d, 0xDD);
        t[8 + c] = _mm512_shuffle_f32x4(b, e, 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(b, e, 0xDD);
    }
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

static __m512 load_block(const unsigned char *x, size_t block, enum nvfp4_dtype dtype)
{
    if (dtype == NVFP4_F32)
        return _mm512_loadu_ps(x + 64 * block);
    __m512i h = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(x + 32 * block)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(h, 16));
}

/* Equal weights are as good as none. */
static void load_weights(struct lanes *v, const struct nvfp4_set *set, size_t block)
{
    const __m512 one = _mm512_set1_ps(1);
    __mmask16 equal = 0xFFFF;
    v->weighted = set->importance != NULL;
    if (!v->weighted)
        return;
    for (size_t i = 0; i < LANES; i++) {
        size_t column = (set->first + block + i) * BLOCK % set->k;
        v->w[i] = _mm512_loadu_ps(set->importance + column);
    }
    transpose(v->w);
    for (int i = 1; i < BLOCK; i++)
        equal &= _mm512_cmp_ps_mask(v->w[0], v->w[i], _CMP_EQ_OQ);
    for (int i = 0; i < BLOCK; i++)
        v->w[i] = _mm512_mask_mov_ps(v->w[i], equal, one);
}

static void load_lanes(struct lanes *v, const struct nvfp4_set *set, size_t block,
                       const struct nvfp4_group *g)
{
    const __m512 unit = _mm512_set1_ps(g->unit);
    for (size_t i = 0; i < LANES; i++) {
        __m512 x = _mm512_abs_ps(load_block(set->x, block + i, g->dtype));
        v->x[i] = _mm512_mul_ps(x, unit);
    }
    transpose(v->x);
    v->amax = _mm512_mul_ps(_mm512_loadu_ps(set->maxima + block), unit);
    load_weights(v, set, block);
}

/*
 * The nearest of the eight magnitudes. Adding 2^23 times the step rounds to the step, ties to even;
 * it is 1/2 below 2, 1 below 4, else 2, so half the power of two below y.
 */
static inline __m512 nearest(__m512 y)
{
    const __m512 one = _mm512_set1_ps(1);
    y = _mm512_min_ps(y, _mm512_set1_ps(6));
    __m512 power = _mm512_and_ps(y, _mm512_castsi512_ps(_mm512_set1_epi32(0x7F800000)));
    power = _mm512_max_ps(power, one);
    __m512i magic = _mm512_add_epi32(_mm512_castps_si512(power), _mm512_set1_epi32(22 << 23));
    __m512 m = _mm512_castsi512_ps(magic);
    return _mm512_sub_ps(_mm512_add_ps(y, m), m);
}

static inline __m512 square(const struct lanes *v, int i, __m512 d, __m512 r, int weighted)
{
    __m512 q = nearest(_mm512_mul_ps(v->x[i], r));
    __m512 e = _mm512_sub_ps(v->x[i], _mm512_mul_ps(q, d));
    __m512 ee = _mm512_mul_ps(e, e);
    return weighted ? _mm512_mul_ps(ee, v->w[i]) : ee;
}

static inline __m512 sum_squares(const struct lanes *v, __m512 d, int weighted)
{
    const __m512 r = _mm512_div_ps(_mm512_set1_ps(1), d);
    __m512 a = _mm512_setzero_ps(), b = a, c = a, e = a;
    for (int i = 0; i < BLOCK; i += 4) {
        a = _mm512_add_ps(a, square(v, i, d, r, weighted));
        b = _mm512_add_ps(b, square(v, i + 1, d, r, weighted));
        c = _mm512_add_ps(c, square(v, i + 2, d, r, weighted));
        e = _mm512_add_ps(e, square(v, i + 3, d, r, weighted));
    }
    return _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, e));
}

static __m512 loss(const struct lanes *v, __m512 d)
{
    return v->weighted ? sum_squares(v, d, 1) : sum_squares(v, d, 0);
}

static __m512 at_scale(__m512i scale, const struct nvfp4_group *g)
{
    return _mm512_mul_ps(e4m3_decode_avx512(scale), _mm512_set1_ps(g->unit_s2));
}

/* A scale code for v, for bounds only. */
static __m512i code_near(__m512 v)
{
    return e4m3_encode_avx512(_mm512_max_ps(v, _mm512_setzero_ps()));
}

/* The largest x - sqrt(loss / w): 6 d below it clips that element by more than the loss. */
static __m512 clip_bound(const struct lanes *v, __m512 start_loss)
{
    __m512 root = _mm512_mul_ps(_mm512_sqrt_ps(start_loss), _mm512_set1_ps(1.001f));
    if (!v->weighted)
        return _mm512_sub_ps(v->amax, root);
    __m512 t = _mm512_setzero_ps();
    for (int i = 0; i < BLOCK; i++) {
        __m512 slack = _mm512_mul_ps(root, _mm512_rsqrt14_ps(v->w[i]));
        t = _mm512_max_ps(_mm512_sub_ps(v->x[i], slack), t); /* t where the difference is NaN */
    }
    return t;
}

/*
 * The least of some magnitudes for which the elements up to it, taken as zero, already cost more
 * than the loss; infinity where none does. Scales with d / 4 above it round all those to zero.
 */
static __m512 zero_bound(const struct lanes *v, __m512 start_loss)
{
    static const float parts[] = {2.0f / 24, 2.5f / 24,  3.0f / 24, 4.0f / 24,
                                  6.0f / 24, 10.0f / 24, 1};
    const __m512 enough = _mm512_mul_ps(start_loss, _mm512_set1_ps(1.001f));
    __m512 bound = _mm512_set1_ps(INFINITY);
    for (int p = (int)(sizeof parts / sizeof *parts) - 1; p >= 0; p--) {
        __m512 top = _mm512_mul_ps(v->amax, _mm512_set1_ps(parts[p]));
        __m512 sum = _mm512_setzero_ps();
        for (int i = 0; i < BLOCK; i++) {
            __mmask16 in = _mm512_cmp_ps_mask(v->x[i], top, _CMP_LE_OQ);
            __m512 xx = _mm512_mul_ps(v->x[i], v->x[i]);
            if (v->weighted)
                xx = _mm512_mul_ps(xx, v->w[i]);
            sum = _mm512_mask_add_ps(sum, in, sum, xx);
        }
        __mmask16 over = _mm512_cmp_ps_mask(sum, enough, _CMP_GT_OQ);
        bound = _mm512_mask_mov_ps(bound, over, top);
    }
    return bound;
}

/* First and last scale to try. */
struct range {
    __m512i first, last;
};

/*
 * Rounded addition is monotone, so a loss is at least any of its terms, and at least any partial
 * sum but for rounding (hence 1.001). With L the loss of the scale that `max` chooses:
 * - below `first`, 6 d clips one element by more than sqrt(L / w);
 * - above `last`, d / 4 is beyond elements whose squares alone exceed L.
 * Margins: the code before the nearest one is at least 1.5 steps lower, some 100 rounding errors of
 * amax as long as amax <= 2689 s2. Where squares might underflow or overflow, or the loss is NaN,
 * every scale is tried; blocks that are zero at every scale take the first.
 */
static struct range bounds(const struct lanes *v, const struct nvfp4_group *g, __m512i start)
{
    const __m512i all_first = _mm512_set1_epi32(1);
    const __m512i all_last = _mm512_set1_epi32(NVFP4_SCALE_LARGEST);
    const __m512 s2 = _mm512_set1_ps(g->unit_s2);
    const __m512 least = _mm512_set1_ps(0x1p-90f), most = _mm512_set1_ps(0x1p100f);
    __m512 l = loss(v, at_scale(start, g));
    struct range r;

    __mmask16 safe =
        _mm512_cmp_ps_mask(l, least, _CMP_GE_OQ) & _mm512_cmp_ps_mask(l, most, _CMP_LE_OQ) &
        _mm512_cmp_ps_mask(v->amax, _mm512_mul_ps(s2, _mm512_set1_ps(2689)), _CMP_LE_OQ);
    __m512 clip = _mm512_div_ps(clip_bound(v, l), _mm512_mul_ps(s2, _mm512_set1_ps(6)));
    r.first = _mm512_sub_epi32(code_near(clip), all_first);
    r.first = _mm512_mask_mov_epi32(all_first, safe, _mm512_max_epi32(r.first, all_first));
    __m512 zero = _mm512_div_ps(_mm512_mul_ps(zero_bound(v, l), _mm512_set1_ps(4.01f)), s2);
    r.last = _mm512_mask_mov_epi32(all_last, safe, code_near(zero));

    /* No loss at all: nothing above `start` can be better. */
    __mmask16 exact = _mm512_cmp_ps_mask(l, _mm512_setzero_ps(), _CMP_EQ_OQ);
    r.last = _mm512_mask_mov_epi32(r.last, exact, start);
    __m512 first_cut = _mm512_mul_ps(s2, _mm512_set1_ps(0x1p-12f)); /* half of d / 4 of code 1 */
    __mmask16 empty = _mm512_cmp_ps_mask(v->amax, first_cut, _CMP_LE_OQ);
    r.last = _mm512_mask_mov_epi32(r.last, empty, all_first);
    return r;
}

static __m512i sweep(const struct lanes *v, const struct nvfp4_group *g, __m512i start)
{
    const __m512i one = _mm512_set1_epi32(1);
    struct range r = bounds(v, g, start);
    __m512i best = one;
    __m512 least = _mm512_set1_ps(INFINITY);
    for (__m512i c = r.first;; c = _mm512_add_epi32(c, one)) {
        __mmask16 on = _mm512_cmple_epi32_mask(c, r.last);
        if (!on)
            break;
        __m512 l = loss(v, at_scale(c, g));
        __mmask16 less = _mm512_mask_cmp_ps_mask(on, l, least, _CMP_LT_OQ);
        least = _mm512_mask_mov_ps(least, less, l);
        best = _mm512_mask_mov_epi32(best, less, c);
    }
    return best;
}

void nvfp4_sweep_avx512(struct nvfp4_set *set, const struct nvfp4_group *g)
{
    for (size_t i = 0; i < set->n; i += LANES) {
        struct lanes v;
        load_lanes(&v, set, i, g);
        __m512i start = _mm512_loadu_si512(set->scale + i);
        _mm512_storeu_si512(set->scale + i, sweep(&v, g, start));
    }
}

void nvfp4_choose_avx512(struct nvfp4_set *set, const struct nvfp4_group *g)
{
    for (size_t i = 0; i < set->n; i += LANES) {
        struct lanes v;
        load_lanes(&v, set, i, g);
        __m512i a = _mm512_loadu_si512(set->scale + i);
        __m512i b = _mm512_loadu_si512(set->other + i);
        __m512 l = loss(&v, at_scale(b, g));
        __mmask16 less = _mm512_cmp_ps_mask(l, loss(&v, at_scale(a, g)), _CMP_LT_OQ);
        _mm512_storeu_si512(set->scale + i, _mm512_mask_mov_epi32(a, less, b));
    }
}
