/* SPDX-License-Identifier: MIT */
/*
 * Every variant of the NVFP4 kernels against the scalar one, byte for byte, and what must hold for
 * the searches. PREP_TEST_SEED chooses other random numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4.h"
#include "tests/support/support.h"

enum { BLOCK = NVFP4_BLOCK, GUARD = 64, MAX_BLOCKS = 300 };

/* What a block of test weights is like. */
enum kind {
    RANDOM_BITS, /* any finite number */
    NON_FINITE,  /* any bits, some NaN and infinity */
    BELL,        /* around zero, of one magnitude */
    HEAVY,       /* the same with a few much larger */
    WIDE,        /* blocks of very different magnitude */
    SUBNORMAL,
    TIES,    /* halfway between codes of many scales, and next to it */
    ZEROS,   /* 0 and -0 only, sometimes one number */
    EXACT,   /* codes times one scale */
    EXTREME, /* up to the largest number */
    N_KINDS
};

/* Weights at an odd address, outputs between guard bytes. */
struct sample {
    unsigned char x[MAX_BLOCKS * BLOCK * 4 + GUARD];
    unsigned char packed[2][MAX_BLOCKS * BLOCK / 2 + 2 * GUARD];
    unsigned char scale[2][MAX_BLOCKS + 2 * GUARD];
    float importance[MAX_BLOCKS * BLOCK];
    struct nvfp4_rows rows;
    size_t shift; /* bytes of misalignment */
};

static struct sample sample;

static float uniform(struct test_random *r)
{
    return (float)test_random_below(r, 1 << 24) * 0x1p-24f;
}

static float bell(struct test_random *r)
{
    return uniform(r) + uniform(r) + uniform(r) + uniform(r) - 2;
}

static float random_bits(struct test_random *r)
{
    return f32_from_bits((uint32_t)test_random_u64(r));
}

static float finite_bits(struct test_random *r)
{
    float x = random_bits(r);
    return isfinite(x) ? x : 0;
}

static float sign(struct test_random *r)
{
    return test_random_below(r, 2) ? -1 : 1;
}

/* On, or up to two steps beside, a boundary between two codes at a scale of few bits. */
static float tie(struct test_random *r, enum nvfp4_dtype dtype, float d)
{
    static const float at[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    uint32_t step = dtype == NVFP4_BF16 ? 1u << 16 : 1;
    uint32_t u = f32_bits(at[test_random_below(r, 7)] * d) & ~(step - 1);
    u += step * (uint32_t)test_random_below(r, 4) - step;
    return sign(r) * f32_from_bits(u);
}

static float element(struct test_random *r, enum kind kind, enum nvfp4_dtype dtype, float unit)
{
    switch (kind) {
    case RANDOM_BITS:
        return finite_bits(r);
    case NON_FINITE:
        return test_random_below(r, 40) ? bell(r) : random_bits(r);
    case HEAVY:
        return bell(r) * (test_random_below(r, 20) ? 0.01f : 1);
    case SUBNORMAL:
        return bell(r) * 0x1p-126f;
    case TIES:
        return tie(r, dtype, unit);
    case ZEROS:
        return test_random_below(r, 50) ? sign(r) * 0.0f : bell(r);
    case EXACT:
        return f32_from_e2m1((unsigned)test_random_below(r, 16)) * unit;
    case EXTREME:
        return sign(r) * 0x1.FEp127f * uniform(r);
    default:
        return bell(r) * unit;
    }
}

/* A unit of few bits, so that quotients come out even. */
static float block_unit(struct test_random *r, enum kind kind)
{
    float m = (float)(1 + test_random_below(r, 16));
    int spread = kind == WIDE ? 60 : 6;
    return kind == BELL ? 0.02f : ldexpf(m, (int)test_random_below(r, 12) * spread / 12 - spread);
}

static void fill(struct sample *s, struct test_random *r, enum kind kind, enum nvfp4_dtype dtype,
                 size_t n, size_t k)
{
    size_t size = dtype == NVFP4_BF16 ? 2 : 4;
    float unit = 1;
    assert_true(n * k <= MAX_BLOCKS * BLOCK);
    s->shift = test_random_below(r, GUARD);
    s->rows = (struct nvfp4_rows){.x = s->x + s->shift, .n = n, .k = k, .dtype = dtype};
    for (size_t i = 0; i < n * k; i++) {
        if (i % BLOCK == 0)
            unit = block_unit(r, kind);
        float x = element(r, kind, dtype, unit);
        uint16_t h = bf16_from_f32(x);
        h = kind != NON_FINITE && (h & 0x7F80) == 0x7F80 ? 0 : h;
        memcpy(s->x + s->shift + size * i, dtype == NVFP4_BF16 ? (void *)&h : (void *)&x, size);
    }
    for (size_t i = 0; i < k; i++)
        s->importance[i] = test_random_below(r, 8) ? uniform(r) * ldexpf(1, -(int)(i % 30)) : 0;
}

static const struct nvfp4_kernels *scalar(void)
{
    return nvfp4_kernels(ISA_SCALAR);
}

/* The variant a test is about, or NULL after skip(). */
static const struct nvfp4_kernels *variant(void **state)
{
    enum isa isa = *(const enum isa *)*state;
    const struct nvfp4_kernels *k = nvfp4_kernels(isa);
    if (k->isa != isa)
        skip();
    return k;
}

static float finite_amax(const struct nvfp4_rows *rows)
{
    float amax = scalar()->amax(rows);
    return isfinite(amax) ? amax : 1;
}

static struct nvfp4_codes output(struct sample *s, int which)
{
    memset(s->packed[which], 0xA5, sizeof s->packed[which]);
    memset(s->scale[which], 0xA5, sizeof s->scale[which]);
    return (struct nvfp4_codes){s->packed[which] + s->shift, s->scale[which] + s->shift};
}

static void quantize_both(struct sample *s, const struct nvfp4_kernels *k, enum nvfp4_method method,
                          float amax, const float *importance)
{
    struct nvfp4_codes want = output(s, 0), got = output(s, 1);
    scalar()->quantize(&want, &s->rows, method, amax, importance);
    k->quantize(&got, &s->rows, method, amax, importance);
    for (size_t i = 0; i < s->rows.n * s->rows.k / BLOCK; i++) {
        if (want.scale[i] != got.scale[i])
            fail_msg("method %d, dtype %d, amax %a, block %zu: scale %#x, want %#x", (int)method,
                     (int)s->rows.dtype, (double)amax, i, got.scale[i], want.scale[i]);
        if (memcmp(want.packed + 8 * i, got.packed + 8 * i, 8) != 0)
            fail_msg("method %d, dtype %d, amax %a, block %zu, scale %#x: other codes", (int)method,
                     (int)s->rows.dtype, (double)amax, i, got.scale[i]);
    }
    assert_memory_equal(s->packed[0], s->packed[1], sizeof s->packed[0]);
    assert_memory_equal(s->scale[0], s->scale[1], sizeof s->scale[0]);
}

/* The group may be larger than these rows; now and then it is claimed to be smaller. */
static float group_amax(struct test_random *r, float amax)
{
    static const float factor[] = {1, 1, 1, 1.5f, 3, 100, 0.5f};
    float x = amax * factor[test_random_below(r, sizeof factor / sizeof *factor)];
    return isfinite(x) ? x : amax;
}

/* An amax whose global is a number of few bits: quotients fall on boundaries. */
static float round_amax(struct test_random *r)
{
    float m = (float)(1 + test_random_below(r, 15));
    return 2688 * ldexpf(m, (int)test_random_below(r, 24) - 20);
}

static void check_methods(const struct nvfp4_kernels *k, struct test_random *r, enum kind kind,
                          enum nvfp4_dtype dtype)
{
    size_t columns = BLOCK * (1 + test_random_below(r, 9));
    size_t n = 1 + test_random_below(r, MAX_BLOCKS * BLOCK / columns);
    fill(&sample, r, kind, dtype, n, columns);
    float amax = group_amax(r, finite_amax(&sample.rows));
    quantize_both(&sample, k, NVFP4_MAX, amax, NULL);
    quantize_both(&sample, k, NVFP4_MINMAX, amax, NULL);
    quantize_both(&sample, k, NVFP4_RTN, amax, NULL);
    quantize_both(&sample, k, NVFP4_FOUR_OVER_SIX, amax, NULL);
    amax = round_amax(r);
    quantize_both(&sample, k, NVFP4_MAX, amax, NULL);
    quantize_both(&sample, k, NVFP4_MINMAX, amax, NULL);
    quantize_both(&sample, k, NVFP4_RTN, amax, NULL);
    quantize_both(&sample, k, NVFP4_FOUR_OVER_SIX, amax, NULL);
}

static void quantizes_like_the_scalar_kernel(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 12; i++) {
        for (int kind = 0; kind < N_KINDS; kind++) {
            check_methods(k, &r, (enum kind)kind, NVFP4_BF16);
            check_methods(k, &r, (enum kind)kind, NVFP4_F32);
        }
    }
}

/* Fewer blocks: the scalar sweep tries 126 scales. */
static void sweeps_like_the_scalar_kernel(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 8 * N_KINDS; i++) {
        enum kind kind = (enum kind)(i % N_KINDS);
        fill(&sample, &r, kind, i / N_KINDS % 2 ? NVFP4_F32 : NVFP4_BF16,
             1 + test_random_below(&r, 5), BLOCK * (1 + test_random_below(&r, 9)));
        float amax = group_amax(&r, finite_amax(&sample.rows));
        quantize_both(&sample, k, NVFP4_SWEEP, amax, NULL);
        quantize_both(&sample, k, NVFP4_SWEEP, amax, sample.importance);
        quantize_both(&sample, k, NVFP4_SWEEP, round_amax(&r), NULL);
    }
}

/* A weight on a boundary, one step above and below, for every scale: BF16 and F32. */
static void codes_change_at_the_same_weight(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 400; i++) {
        enum nvfp4_method method = (enum nvfp4_method)(i % 3);
        enum nvfp4_dtype dtype = i / 3 % 2 ? NVFP4_F32 : NVFP4_BF16;
        fill(&sample, &r, BELL, dtype, 1, BLOCK * 16);
        size_t size = dtype == NVFP4_BF16 ? 2 : 4;
        float amax = i % 5 ? finite_amax(&sample.rows) : round_amax(&r);
        struct nvfp4_codes out = output(&sample, 0);
        scalar()->quantize(&out, &sample.rows, method, amax, NULL);
        float global = nvfp4_global(method, amax, dtype);
        /* The largest weight of each block, at which `x` would not change the scale, stays. */
        for (size_t j = 0; j < sample.rows.k; j++) {
            float s = f32_from_e4m3(out.scale[j / BLOCK]);
            float d = method == NVFP4_MAX ? s * global : s / global;
            float x = tie(&r, dtype, d);
            uint16_t h = bf16_from_f32(x);
            if (j % BLOCK != 0)
                memcpy(sample.x + sample.shift + size * j,
                       dtype == NVFP4_BF16 ? (void *)&h : (void *)&x, size);
        }
        quantize_both(&sample, k, method, amax, NULL);
    }
}

static void rows_do_not_depend_on_their_neighbours(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    struct test_random r;
    test_random_init(&r);
    fill(&sample, &r, HEAVY, NVFP4_BF16, 7, BLOCK * 11);
    float amax = finite_amax(&sample.rows);
    for (int m = 0; m < N_NVFP4_METHODS; m++) {
        struct nvfp4_codes all = output(&sample, 0), each = output(&sample, 1);
        k->quantize(&all, &sample.rows, (enum nvfp4_method)m, amax, sample.importance);
        for (size_t row = 0; row < 7; row++) {
            const struct nvfp4_rows one = {(const unsigned char *)sample.rows.x + 2 * 176 * row, 1,
                                           176, NVFP4_BF16};
            const struct nvfp4_codes out = {each.packed + 88 * row, each.scale + 11 * row};
            k->quantize(&out, &one, (enum nvfp4_method)m, amax, sample.importance);
        }
        assert_memory_equal(sample.packed[0], sample.packed[1], sizeof sample.packed[0]);
        assert_memory_equal(sample.scale[0], sample.scale[1], sizeof sample.scale[0]);
    }
}

static void finds_the_largest_magnitude(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 20 * N_KINDS; i++) {
        fill(&sample, &r, (enum kind)(i % N_KINDS), i % 3 ? NVFP4_BF16 : NVFP4_F32,
             test_random_below(&r, 8), BLOCK * (1 + test_random_below(&r, 12)));
        assert_int_equal(f32_bits(k->amax(&sample.rows)), f32_bits(scalar()->amax(&sample.rows)));
    }
}

static int same(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

static void check_error(const struct nvfp4_kernels *k, const struct nvfp4_tensor *t,
                        const float *importance)
{
    struct nvfp4_error want[8], got[8];
    scalar()->error(want, &sample.rows, t, importance);
    k->error(got, &sample.rows, t, importance);
    for (size_t i = 0; i < t->n; i++)
        assert_true(same(want[i].error, got[i].error) && same(want[i].signal, got[i].signal));
}

static void measures_like_the_scalar_kernel(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 10 * N_KINDS; i++) {
        size_t n = 1 + test_random_below(&r, 8);
        fill(&sample, &r, (enum kind)(i % N_KINDS), i % 3 ? NVFP4_BF16 : NVFP4_F32, n,
             BLOCK * (1 + test_random_below(&r, 37)));
        struct nvfp4_codes out = output(&sample, 0);
        scalar()->quantize(&out, &sample.rows, NVFP4_MAX, finite_amax(&sample.rows), NULL);
        struct nvfp4_tensor t = {out.packed, out.scale, n, sample.rows.k, NVFP4_MODELOPT, 0.01f};
        check_error(k, &t, NULL);
        check_error(k, &t, sample.importance);
        t.layout = NVFP4_COMPRESSED_TENSORS;
        check_error(k, &t, NULL);
    }
}

/* Every scale byte with every code. */
static void decodes_like_the_scalar_kernel(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    static const float globals[] = {1, 1.1282652676403767e-39f, 5.785702e34f, 0x1p-149f, 36352};
    static unsigned char packed[257 * 8], scale[257], want[257 * BLOCK * 4 + 3];
    static unsigned char got[sizeof want];
    for (size_t i = 0; i < 257; i++) {
        scale[i] = (unsigned char)i;
        for (size_t j = 0; j < 8; j++)
            packed[8 * i + j] = (unsigned char)((2 * j + (2 * j + 1) * 16) ^ (i * 0x11));
    }
    for (size_t g = 0; g < sizeof globals / sizeof *globals; g++) {
        for (int layout = 0; layout < 2; layout++) {
            for (int dtype = 0; dtype < 2; dtype++) {
                const struct nvfp4_tensor t = {
                    packed, scale, 257, BLOCK, (enum nvfp4_layout)layout, globals[g]};
                memset(want, 0xA5, sizeof want);
                memset(got, 0xA5, sizeof got);
                scalar()->decode(want + 1, (enum nvfp4_dtype)dtype, &t);
                k->decode(got + 1, (enum nvfp4_dtype)dtype, &t);
                assert_memory_equal(want, got, sizeof want);
            }
        }
    }
}

/* Loss of every block with the scales and codes in output `which`. */
static void losses(double *loss, const struct nvfp4_kernels *k, int which, float amax,
                   const float *importance)
{
    size_t n = sample.rows.n * sample.rows.k / BLOCK;
    size_t size = sample.rows.dtype == NVFP4_BF16 ? 2 : 4;
    for (size_t i = 0; i < n; i++) {
        const struct nvfp4_rows block = {(const unsigned char *)sample.rows.x + size * BLOCK * i, 1,
                                         BLOCK, sample.rows.dtype};
        const struct nvfp4_tensor t = {sample.packed[which] + sample.shift + 8 * i,
                                       sample.scale[which] + sample.shift + i,
                                       1,
                                       BLOCK,
                                       NVFP4_MODELOPT,
                                       nvfp4_global(NVFP4_SWEEP, amax, sample.rows.dtype)};
        struct nvfp4_error e;
        k->error(&e, &block, &t, importance ? importance + i * BLOCK % sample.rows.k : NULL);
        loss[i] = e.error;
    }
}

/* Losses are compared in binary32 while searching: 2^-20 is their rounding. */
static void check_not_above(const double *loss, const double *limit, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (!(loss[i] <= limit[i] * (1 + 1e-6)))
            fail_msg("block %zu: %s: %.9g, want at most %.9g", i, what, loss[i], limit[i]);
    }
}

static void the_sweep_never_errs_more(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    static const enum kind kinds[] = {BELL, HEAVY, WIDE, TIES, EXACT, ZEROS};
    static double least[MAX_BLOCKS], loss[MAX_BLOCKS], weighted[MAX_BLOCKS];
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < 10 * sizeof kinds / sizeof *kinds; i++) {
        size_t n = 1 + test_random_below(&r, 20);
        size_t columns = BLOCK * (1 + test_random_below(&r, 9));
        fill(&sample, &r, kinds[i % 6], i / 6 % 2 ? NVFP4_F32 : NVFP4_BF16, n, columns);
        size_t n_blocks = n * columns / BLOCK;
        float amax = finite_amax(&sample.rows) * (i % 4 ? 1 : 3);
        struct nvfp4_codes a = output(&sample, 0), b = output(&sample, 1);
        k->quantize(&a, &sample.rows, NVFP4_MAX, amax, NULL);
        k->quantize(&b, &sample.rows, NVFP4_SWEEP, amax, NULL);
        losses(least, k, 0, amax, NULL);
        losses(loss, k, 1, amax, NULL);
        check_not_above(loss, least, n_blocks, "more than max");
        losses(least, k, 1, amax, sample.importance);
        k->quantize(&a, &sample.rows, NVFP4_SWEEP, amax, sample.importance);
        losses(weighted, k, 0, amax, sample.importance);
        check_not_above(weighted, least, n_blocks, "weighted more than unweighted");
    }
}

static void equal_weights_change_nothing(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    static const float weights[] = {0, 0.3f, 1, 1e-30f, 7e20f};
    struct test_random r;
    test_random_init(&r);
    fill(&sample, &r, HEAVY, NVFP4_BF16, 9, BLOCK * 13);
    float amax = finite_amax(&sample.rows);
    struct nvfp4_codes want = output(&sample, 0);
    k->quantize(&want, &sample.rows, NVFP4_SWEEP, amax, NULL);
    for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
        for (size_t i = 0; i < sample.rows.k; i++)
            sample.importance[i] = weights[w];
        struct nvfp4_codes got = output(&sample, 1);
        k->quantize(&got, &sample.rows, NVFP4_SWEEP, amax, sample.importance);
        assert_memory_equal(sample.packed[0], sample.packed[1], sizeof sample.packed[0]);
        assert_memory_equal(sample.scale[0], sample.scale[1], sizeof sample.scale[0]);
    }
}

/* No scale among all 126 is better, tried one by one in binary64. */
static void no_scale_is_better_than_that_of_the_sweep(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    static double loss[MAX_BLOCKS];
    struct test_random r;
    test_random_init(&r);
    fill(&sample, &r, BELL, NVFP4_BF16, 8, BLOCK * 8);
    float amax = finite_amax(&sample.rows);
    float s2 = nvfp4_global(NVFP4_SWEEP, amax, NVFP4_BF16);
    struct nvfp4_codes out = output(&sample, 0);
    k->quantize(&out, &sample.rows, NVFP4_SWEEP, amax, NULL);
    losses(loss, k, 0, amax, NULL);
    for (size_t block = 0; block < 64; block++) {
        for (uint8_t scale = 1; scale < 0x7F; scale++) {
            float d = f32_from_e4m3(scale) * s2;
            double sum = 0;
            for (size_t j = 0; j < BLOCK; j++) {
                uint16_t h;
                memcpy(&h, (const unsigned char *)sample.rows.x + 2 * (block * BLOCK + j), 2);
                float x = f32_from_bf16(h);
                double e = (double)x - (double)(f32_from_e2m1(e2m1_from_f32(x / d)) * d);
                sum += e * e;
            }
            assert_true(loss[block] <= sum * (1 + 1e-6));
        }
    }
}

static void a_block_with_nan_or_infinity_is_marked(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    static const uint16_t bad[] = {0x7F80, 0xFF80, 0x7FC0, 0xFF81};
    static const uint8_t zeros[8];
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < 4 * N_NVFP4_METHODS; i++) {
        fill(&sample, &r, BELL, NVFP4_BF16, 3, BLOCK * 7);
        size_t at = test_random_below(&r, 3 * 7 * BLOCK);
        memcpy(sample.x + sample.shift + 2 * at, &bad[i % 4], 2);
        assert_int_equal(nvfp4_first_nonfinite(&sample.rows), at);
        assert_true(!isfinite(k->amax(&sample.rows)));
        struct nvfp4_codes out = output(&sample, 0);
        k->quantize(&out, &sample.rows, (enum nvfp4_method)(i / 4), 0.04f, NULL);
        for (size_t b = 0; b < 21; b++)
            assert_true((out.scale[b] == 0x7F) == (b == at / BLOCK));
        assert_memory_equal(out.packed + at / BLOCK * 8, zeros, 8);
    }
}

static void no_rows_are_no_work(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    const struct nvfp4_rows rows = {NULL, 0, 2048, NVFP4_BF16};
    const struct nvfp4_codes out = {NULL, NULL};
    const struct nvfp4_tensor t = {NULL, NULL, 0, 2048, NVFP4_MODELOPT, 1};
    assert_true(k->amax(&rows) == 0);
    assert_int_equal(nvfp4_first_nonfinite(&rows), 0);
    for (int m = 0; m < N_NVFP4_METHODS; m++)
        k->quantize(&out, &rows, (enum nvfp4_method)m, 1, NULL);
    k->error(NULL, &rows, &t, NULL);
    k->decode(NULL, NVFP4_F32, &t);
}

static void globals_are_finite_and_positive(void **state)
{
    (void)state;
    static const float amaxes[] = {0, 0x1p-149f, 1e-40f, 3e-36f, 1e-30f, 0.04f,
                                   1, 448,       2688,   1e30f,  3.3e38f};
    for (int m = 0; m < N_NVFP4_METHODS; m++) {
        for (size_t i = 0; i < sizeof amaxes / sizeof *amaxes; i++) {
            for (int dtype = 0; dtype < 2; dtype++) {
                float g = nvfp4_global((enum nvfp4_method)m, amaxes[i], (enum nvfp4_dtype)dtype);
                assert_true(isfinite(g) && g > 0);
                assert_true(isfinite(nvfp4_global_reciprocal(g)));
                assert_true(nvfp4_global_reciprocal(g) > 0);
            }
        }
    }
    assert_true(nvfp4_global(NVFP4_MINMAX, 16.125f, NVFP4_BF16) == 167);
    assert_true(nvfp4_global(NVFP4_MAX, 2688, NVFP4_BF16) == 1);
    assert_true(nvfp4_global(NVFP4_FOUR_OVER_SIX, 1536, NVFP4_BF16) == 1);
    assert_int_equal(nvfp4_method_layout(NVFP4_RTN), NVFP4_COMPRESSED_TENSORS);
    assert_int_equal(nvfp4_method_layout(NVFP4_SWEEP), NVFP4_MODELOPT);
}

#define VARIANT(isa, test)                                                                         \
    {                                                                                              \
#isa " " #test, test, NULL, NULL, (void *)&isa                                             \
    }

int main(void)
{
    static const enum isa plain = ISA_SCALAR, avx2 = ISA_AVX2, avx512 = ISA_AVX512;
    const struct CMUnitTest tests[] = {
        VARIANT(avx2, quantizes_like_the_scalar_kernel),
        VARIANT(avx512, quantizes_like_the_scalar_kernel),
        VARIANT(avx2, sweeps_like_the_scalar_kernel),
        VARIANT(avx512, sweeps_like_the_scalar_kernel),
        VARIANT(avx2, codes_change_at_the_same_weight),
        VARIANT(avx512, codes_change_at_the_same_weight),
        VARIANT(avx2, finds_the_largest_magnitude),
        VARIANT(avx512, finds_the_largest_magnitude),
        VARIANT(avx2, measures_like_the_scalar_kernel),
        VARIANT(avx512, measures_like_the_scalar_kernel),
        VARIANT(avx2, decodes_like_the_scalar_kernel),
        VARIANT(avx512, decodes_like_the_scalar_kernel),
        VARIANT(plain, rows_do_not_depend_on_their_neighbours),
        VARIANT(avx2, rows_do_not_depend_on_their_neighbours),
        VARIANT(avx512, rows_do_not_depend_on_their_neighbours),
        VARIANT(plain, the_sweep_never_errs_more),
        VARIANT(avx2, the_sweep_never_errs_more),
        VARIANT(avx512, the_sweep_never_errs_more),
        VARIANT(plain, equal_weights_change_nothing),
        VARIANT(avx2, equal_weights_change_nothing),
        VARIANT(avx512, equal_weights_change_nothing),
        VARIANT(plain, no_scale_is_better_than_that_of_the_sweep),
        VARIANT(avx2, no_scale_is_better_than_that_of_the_sweep),
        VARIANT(avx512, no_scale_is_better_than_that_of_the_sweep),
        VARIANT(plain, a_block_with_nan_or_infinity_is_marked),
        VARIANT(avx2, a_block_with_nan_or_infinity_is_marked),
        VARIANT(avx512, a_block_with_nan_or_infinity_is_marked),
        VARIANT(plain, no_rows_are_no_work),
        VARIANT(avx2, no_rows_are_no_work),
        VARIANT(avx512, no_rows_are_no_work),
        cmocka_unit_test(globals_are_finite_and_positive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
