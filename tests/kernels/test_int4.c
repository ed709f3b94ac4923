/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "kernels/int4/int4.h"
#include "kernels/int4/int4_variants.h"
#include "kernels/load.h"
#include "tests/support/guard.h"

enum { MOST = 640 };

static const struct int4_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return int4_kernels(*isa);
}

/* Rounding */

/* Weights of every kind: any bits, weights on the half steps of a grid, zeros, one sign only. */
static void fill_weights(float *w, size_t n, struct test_random *r)
{
    const uint64_t kind = test_random_below(r, 6);
    for (size_t i = 0; i < n; i++) {
        const int k = (int)test_random_below(r, 33) - 16;
        const float x = f32_from_bits(test_random_f32_bits(r));
        if (kind == 0)
            w[i] = x;
        else if (kind == 1)
            w[i] = (float)k * 0.0078125f; /* half steps when the extreme is 1/8 */
        else if (kind == 2)
            w[i] = i % 2 ? -0.0f : 0.0f;
        else
            w[i] = (float)(int)(test_random_u64(r) >> 44) * 0x1p-22f - (kind == 3 ? 0.12f : 0.0f);
    }
}

static void check_rtn(const struct int4_kernels *k, struct test_random *r, size_t n, size_t group,
                      enum int4_rule rule)
{
    uint32_t want[MOST / 8];
    uint16_t want_scales[MOST / 8];
    const size_t off = test_random_below(r, 16);
    struct guard w = guard_new(4 * n, 4 * off), words = guard_new(n / 2, 4 * off);
    struct guard scales = guard_new(2 * n / group, 2 * off);
    fill_weights((float *)(void *)w.p, n, r);
    int4_rtn_scalar(want, want_scales, (const float *)(void *)w.p, n, group, rule);
    k->rtn((uint32_t *)(void *)words.p, (uint16_t *)(void *)scales.p, (const float *)(void *)w.p, n,
           group, rule);
    assert_memory_equal(words.p, want, n / 2);
    assert_memory_equal(scales.p, want_scales, 2 * n / group);
    guard_free(&w);
    guard_free(&words);
    guard_free(&scales);
}

static void rounds_any_group_as_the_reference_does(void **state)
{
    static const size_t GROUPS[] = {8, 16, 24, 32, 40, 64, 128, 136};
    const struct int4_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 3000; i++) {
        const size_t group = GROUPS[i % 8];
        const size_t n = group * (1 + test_random_below(&r, MOST / group));
        check_rtn(k, &r, n, group, (enum int4_rule)(i % 3));
    }
}

static uint16_t scale_of(enum int4_rule rule, float mn, float mx)
{
    uint16_t stored;
    (void)int4_scale(rule, mn, mx, &stored);
    return stored;
}

static void scales_follow_the_rules_at_the_edges(void **state)
{
    (void)state;
    /* The extreme gets code 0, so its sign decides; a tie takes the negative scale. */
    assert_int_equal(scale_of(INT4_SIGNED, -0.5f, 0.25f), f16_from_f32(0.0625f));
    assert_int_equal(scale_of(INT4_SIGNED, -0.25f, 0.5f), f16_from_f32(-0.0625f));
    assert_int_equal(scale_of(INT4_SIGNED, -0.5f, 0.5f), f16_from_f32(-0.0625f));
    assert_int_equal(scale_of(INT4_SIGNED, 0.0f, 0.0f), 0x00A8);
    assert_int_equal(scale_of(INT4_SIGNED, 0.0f, 1e-9f), 0x00A8); /* -0 is not negative */
    assert_int_equal(scale_of(INT4_SIGNED, 0.0f, 1e-5f), 0x80A8);
    assert_int_equal(scale_of(INT4_CLASSIC, -0.5f, 0.25f), f16_from_f32(1.0f / 15.0f));
    assert_int_equal(scale_of(INT4_CLASSIC, 0.0f, 0.75f), f16_from_f32(0.05f));
    assert_int_equal(scale_of(INT4_CLASSIC, 0.0f, 0.0f), f16_from_f32(2.0f / 15.0f));
    assert_int_equal(scale_of(INT4_BF16, -0.75f, 0.25f), bf16_from_f32(0.1f));
    assert_int_equal(scale_of(INT4_BF16, 0.0f, 0.0f), bf16_from_f32(0.0078125f));
}

static void the_extreme_is_code_zero_and_a_nan_too(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    const float w[8] = {-1.0f, 1.0f, 0.0f, -0.0f, NAN, 0.5f, 0.0625f, -0.0625f};
    uint32_t word;
    uint16_t scale;
    k->rtn(&word, &scale, w, 8, 8, INT4_SIGNED);
    assert_int_equal(scale, 0xB000); /* -1/8 */
    /* q of -1: 8, clipped to 7; ties at half a step go to the even code */
    assert_int_equal(word, 0x8840880F);
}

/* Decoding */

static void check_decoding(const struct int4_kernels *k, struct test_random *r, size_t n)
{
    float want[MOST];
    uint16_t want_bf16[MOST];
    const size_t off = test_random_below(r, 64);
    const float scale = f32_from_bits(test_random_f32_bits(r));
    const int zero = (int)test_random_below(r, 17);
    struct guard words = guard_new(n / 2, off), out = guard_new(4 * n, off / 4 * 4);
    struct guard half = guard_new(2 * n, off / 2 * 2);
    for (size_t i = 0; i < n / 2; i++)
        words.p[i] = (unsigned char)test_random_u64(r);
    int4_decode_f32_scalar(want, words.p, n, scale, zero);
    int4_decode_bf16_scalar(want_bf16, words.p, n, scale, zero);
    k->decode_f32((float *)(void *)out.p, words.p, n, scale, zero);
    k->decode_bf16((uint16_t *)(void *)half.p, words.p, n, scale, zero);
    if (n) {
        assert_memory_equal(out.p, want, 4 * n);
        assert_memory_equal(half.p, want_bf16, 2 * n);
    }
    guard_free(&words);
    guard_free(&out);
    guard_free(&half);
}

static void decodes_any_length_and_address_as_the_reference_does(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < 4000; i++)
        check_decoding(k, &r, i % (MOST / 8) * 8);
}

/* Layouts */

static void check_transposing(const struct int4_kernels *k, struct test_random *r, size_t n_rows,
                              size_t n_cols)
{
    const size_t src_step = n_cols + test_random_below(r, 5);
    const size_t dst_step = n_rows + test_random_below(r, 5), off = test_random_below(r, 64);
    struct guard src = guard_new(4 * n_rows * src_step, off);
    struct guard dst = guard_new(4 * n_cols * dst_step, 63 - off);
    struct guard want = guard_of(dst.p, dst.n, 0);
    for (size_t i = 0; i < src.n; i++)
        src.p[i] = (unsigned char)test_random_u64(r);
    int4_transpose_scalar(want.p, dst_step, src.p, src_step, n_rows, n_cols);
    k->transpose(dst.p, dst_step, src.p, src_step, n_rows, n_cols);
    if (dst.n)
        assert_memory_equal(dst.p, want.p, dst.n); /* the gaps between rows are untouched, too */
    for (size_t i = 0; i < n_rows * n_cols; i++)
        assert_int_equal(load_u32_at(dst.p, i % n_cols * dst_step + i / n_cols),
                         load_u32_at(src.p, i / n_cols * src_step + i % n_cols));
    guard_free(&src);
    guard_free(&dst);
    guard_free(&want);
}

static void transposes_any_shape(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < 600; i++)
        check_transposing(k, &r, test_random_below(&r, 53), test_random_below(&r, 53));
    check_transposing(k, &r, 64, 80);
}

static void packs_and_unpacks(void **state)
{
    (void)state;
    uint8_t codes[64], back[64];
    uint32_t words[8];
    for (unsigned i = 0; i < 64; i++)
        codes[i] = (uint8_t)(i * 7 % 16);
    int4_pack(words, codes, 64);
    assert_int_equal(words[0], 0x1A3C5E70); /* 0 7 14 5 12 3 10 1 */
    int4_unpack(back, words, 64);
    assert_memory_equal(back, codes, 64);
}

struct layout_case {
    size_t out, in, group;
    int zero_bias, with_zeros, with_order;
    enum int4_scale_type type;
};

/* One matrix of random codes, scales, zeros and order in one of the layouts. */
struct matrix {
    struct guard words, scales, zeros, order;
    struct int4_source source;
};

static struct guard random_guard(size_t n, struct test_random *r)
{
    struct guard g = guard_new(n, test_random_below(r, 64));
    for (size_t i = 0; i < n; i++)
        g.p[i] = (unsigned char)test_random_u64(r);
    return g;
}

static void matrix_make(struct matrix *m, const struct layout_case *c, int packed,
                        struct test_random *r)
{
    const size_t n_groups = c->in / c->group;
    m->words = random_guard(c->out * c->in / 2, r);
    m->scales = random_guard(c->out * n_groups * (c->type == INT4_SCALE_F32 ? 4 : 2), r);
    m->zeros = random_guard((c->out + 7) / 8 * n_groups * 4, r);
    m->order = guard_new(4 * c->in, 3);
    for (size_t i = 0; i < c->in; i++)
        store_u32_at(m->order.p, i, (uint32_t)test_random_below(r, n_groups));
    if (packed)
        int4_source_packed(&m->source, c->in, c->group);
    else
        int4_source_gptq(&m->source, c->out, c->in, c->group);
    m->source.words = m->words.p;
    m->source.scales = m->scales.p;
    m->source.scale_type = c->type;
    m->source.zeros = c->with_zeros ? m->zeros.p : NULL;
    m->source.zero_bias = c->zero_bias;
    m->source.g_idx = c->with_order ? m->order.p : NULL;
}

static void matrix_free(struct matrix *m)
{
    guard_free(&m->words);
    guard_free(&m->scales);
    guard_free(&m->zeros);
    guard_free(&m->order);
}

/* The definition, from the arrays as the format describes them. */
static float element(const struct matrix *m, const struct layout_case *c, int packed, size_t o,
                     size_t i)
{
    const size_t n_groups = c->in / c->group;
    const size_t g = c->with_order ? load_u32_at(m->order.p, i) : i / c->group;
    const size_t word = packed ? o * (c->in / 8) + i / 8 : i / 8 * c->out + o;
    const size_t s = packed ? o * n_groups + g : g * c->out + o;
    const size_t z = packed ? o / 8 * n_groups + g : g * (c->out / 8) + o / 8;
    int zero = 8;
    float scale;
    if (c->with_zeros)
        zero = (int)(load_u32_at(m->zeros.p, z) >> o % 8 * 4 & 15) + c->zero_bias;
    if (c->type == INT4_SCALE_F32)
        scale = f32_from_bits(load_u32_at(m->scales.p, s));
    else if (c->type == INT4_SCALE_F16)
        scale = f32_from_f16(load_u16_at(m->scales.p, s));
    else
        scale = f32_from_bf16(load_u16_at(m->scales.p, s));
    return (float)((int)(load_u32_at(m->words.p, word) >> i % 8 * 4 & 15) - zero) * scale;
}

static void check_layout(const struct int4_kernels *k, const struct layout_case *c, int packed,
                         struct test_random *r)
{
    struct matrix m;
    matrix_make(&m, c, packed, r);
    const size_t first = test_random_below(r, c->out), n = c->out - first;
    struct guard f = guard_new(4 * n * c->in, 4), h = guard_new(2 * n * c->in, 2);
    int4_decode_rows(k, &m.source, first, n, (float *)(void *)f.p, (uint16_t *)(void *)h.p);
    for (size_t o = 0; o < n; o++) {
        for (size_t i = 0; i < c->in; i++) {
            const float want = element(&m, c, packed, first + o, i);
            assert_int_equal(load_u32_at(f.p, o * c->in + i), f32_bits(want));
            assert_int_equal(load_u16_at(h.p, o * c->in + i), bf16_from_f32(want));
        }
    }
    guard_free(&f);
    guard_free(&h);
    matrix_free(&m);
}

static void decodes_rows_of_both_layouts(void **state)
{
    static const struct layout_case CASES[] = {
        {32, 256, 128, 1, 1, 0, INT4_SCALE_F16}, {40, 64, 32, 0, 1, 0, INT4_SCALE_BF16},
        {8, 640, 640, 0, 0, 0, INT4_SCALE_F32},  {24, 1032, 8, 1, 0, 0, INT4_SCALE_F16},
        {48, 1536, 24, 1, 1, 0, INT4_SCALE_F32}, {16, 256, 64, 1, 1, 1, INT4_SCALE_F16},
        {32, 96, 96, 0, 1, 1, INT4_SCALE_BF16},
    };
    const struct int4_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < 2 * sizeof CASES / sizeof CASES[0]; i++)
        check_layout(k, &CASES[i / 2], (int)(i % 2), &r);
}

static void stores_gptq_tensors_that_decode_to_the_same(void **state)
{
    enum { OUT = 24, IN = 256, GROUP = 64, N_GROUPS = IN / GROUP };
    const struct int4_kernels *k = variant_of(state);
    static uint32_t words[OUT * IN / 8], qweight[OUT * IN / 8], qzeros[N_GROUPS * OUT / 8];
    static uint16_t scales[OUT * N_GROUPS], turned[OUT * N_GROUPS];
    static uint32_t g_idx[IN];
    static float a[OUT * IN], b[OUT * IN];
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < OUT * IN / 8; i++)
        words[i] = (uint32_t)test_random_u64(&r);
    for (size_t i = 0; i < OUT * N_GROUPS; i++)
        scales[i] = f16_from_f32(f32_from_bits(0x3C000000 + (uint32_t)test_random_below(&r, 1e6)));
    for (int v1 = 0; v1 < 2; v1++) {
        const struct int4_gptq to = {qweight, qzeros, turned, g_idx, v1};
        struct int4_source from, back;
        int4_store_gptq(k, &to, words, scales, OUT, IN, GROUP);
        int4_source_packed(&from, IN, GROUP);
        from.words = words;
        from.scales = scales;
        int4_source_gptq(&back, OUT, IN, GROUP);
        back.words = qweight;
        back.scales = turned;
        back.zeros = qzeros;
        back.zero_bias = v1;
        int4_decode_rows(k, &from, 0, OUT, a, NULL);
        int4_decode_rows(k, &back, 0, OUT, b, NULL);
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(qzeros[0], v1 ? 0x77777777 : 0x88888888);
        for (size_t i = 0; i < IN; i++)
            assert_int_equal(g_idx[i], i / GROUP);
    }
}

/* Errors */

static void error_sums_are_the_same_to_the_bit(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t n = 0; n < 200; n++) {
        struct guard w = guard_new(4 * n, 4 * (n % 7)), q = guard_new(4 * n, 4 * (n % 5));
        double want[2], got[2];
        for (size_t i = 0; i < n; i++) {
            const float x = (float)(int32_t)test_random_u64(&r) * 0x1p-34f;
            ((float *)(void *)w.p)[i] = x;
            ((float *)(void *)q.p)[i] = x * 1.01f;
        }
        int4_error_sums_scalar(want, (float *)(void *)w.p, (float *)(void *)q.p, n);
        k->error_sums(got, (float *)(void *)w.p, (float *)(void *)q.p, n);
        assert_memory_equal(got, want, sizeof got);
        if (n)
            assert_true(got[0] > 0.9e-4 * got[1] && got[0] < 1.1e-4 * got[1]);
        guard_free(&w);
        guard_free(&q);
    }
}

int main(void)
{
    static enum isa isas[N_ISA] = {ISA_SCALAR, ISA_AVX2, ISA_AVX512};
#define OF(isa, test)                                                                              \
    {                                                                                              \
#test " (" #isa ")", test, NULL, NULL, &isas[isa]                                          \
    }
#define OF_ALL(test) OF(ISA_SCALAR, test), OF(ISA_AVX2, test), OF(ISA_AVX512, test)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_follow_the_rules_at_the_edges),
        cmocka_unit_test(packs_and_unpacks),
        OF_ALL(the_extreme_is_code_zero_and_a_nan_too),
        OF_ALL(rounds_any_group_as_the_reference_does),
        OF_ALL(decodes_any_length_and_address_as_the_reference_does),
        OF_ALL(transposes_any_shape),
        OF_ALL(decodes_rows_of_both_layouts),
        OF_ALL(stores_gptq_tensors_that_decode_to_the_same),
        OF_ALL(error_sums_are_the_same_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
