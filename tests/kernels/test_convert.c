/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/convert/convert.h"
#include "kernels/fp.h"
#include "tests/support/guard.h"

enum { ALL = 65536, MOST = 100 };

static const struct convert_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return convert_kernels(*isa);
}

static void widens_every_number_as_the_formula_does(void **state)
{
    const struct convert_kernels *k = variant_of(state);
    uint16_t *in = malloc(ALL * sizeof *in);
    float *out = malloc(ALL * sizeof *out);
    assert_true(in && out);
    for (size_t i = 0; i < ALL; i++)
        in[i] = (uint16_t)i;
    k->bf16_to_f32(out, in, ALL);
    for (size_t i = 0; i < ALL; i++)
        assert_int_equal(f32_bits(out[i]), i << 16);
    k->f16_to_f32(out, in, ALL);
    for (size_t i = 0; i < ALL; i++)
        assert_int_equal(f32_bits(out[i]), f32_bits(f32_from_f16(in[i])));
    free(in);
    free(out);
}

static void check_widening(void (*fn)(float *, const void *, size_t),
                           void (*reference)(float *, const void *, size_t), struct test_random *r,
                           size_t n, size_t off)
{
    float want[MOST];
    struct guard in = guard_new(2 * n, off), out = guard_new(4 * n, 4 * (off % 16));
    for (size_t i = 0; i < 2 * n; i++)
        in.p[i] = (unsigned char)test_random_u64(r);
    reference(want, in.p, n);
    fn((float *)(void *)out.p, in.p, n);
    if (n)
        assert_memory_equal(out.p, want, 4 * n);
    guard_free(&in);
    guard_free(&out);
}

static void check_narrowing(const struct convert_kernels *k, struct test_random *r, size_t n,
                            size_t off)
{
    uint16_t want[MOST];
    struct guard in = guard_new(4 * n, 4 * off), out = guard_new(2 * n, 2 * off);
    float *x = (float *)(void *)in.p;
    for (size_t i = 0; i < n; i++)
        x[i] = f32_from_bits(test_random_f32_bits(r));
    convert_f32_to_bf16_scalar(want, x, n);
    k->f32_to_bf16((uint16_t *)(void *)out.p, x, n);
    if (n)
        assert_memory_equal(out.p, want, 2 * n);
    guard_free(&in);
    guard_free(&out);
}

static void gives_the_reference_bytes_at_any_length_and_address(void **state)
{
    const struct convert_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t n = 0; n < MOST; n++) {
        for (size_t off = 0; off < 4; off++) {
            check_widening(k->bf16_to_f32, convert_bf16_to_f32_scalar, &r, n, off);
            check_widening(k->f16_to_f32, convert_f16_to_f32_scalar, &r, n, off);
            check_narrowing(k, &r, n, off);
        }
    }
}

static void rounds_to_the_nearest_bf16_and_ties_to_even(void **state)
{
    static const struct {
        uint32_t f32;
        uint16_t bf16;
    } CASES[] = {
        {0x3F808000, 0x3F80}, {0x3F818000, 0x3F82}, {0x3F808001, 0x3F81}, {0x3F807FFF, 0x3F80},
        {0x7F7F7FFF, 0x7F7F}, {0x7F7F8000, 0x7F80}, {0xFF7F8000, 0xFF80}, {0x00000001, 0x0000},
        {0x00008001, 0x0001}, {0x80000001, 0x8000}, {0x7F800001, 0x7FC0}, {0xFFABCDEF, 0xFFEB},
    };
    enum { N = sizeof CASES / sizeof CASES[0] };
    const struct convert_kernels *k = variant_of(state);
    float in[2 * N];
    uint16_t out[2 * N];
    for (size_t i = 0; i < 2 * N; i++)
        in[i] = f32_from_bits(CASES[i % N].f32);
    k->f32_to_bf16(out, in, 2 * N);
    for (size_t i = 0; i < 2 * N; i++)
        assert_int_equal(out[i], CASES[i % N].bf16);
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
        OF_ALL(widens_every_number_as_the_formula_does),
        OF_ALL(rounds_to_the_nearest_bf16_and_ties_to_even),
        OF_ALL(gives_the_reference_bytes_at_any_length_and_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
