/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "kernels/fp8/fp8.h"
#include "tests/support/guard.h"

enum { MOST = 300, RUNS = 4000 };

static const struct fp8_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return fp8_kernels(*isa);
}

static void every_code_is_its_value(void **state)
{
    const struct fp8_kernels *k = variant_of(state);
    uint8_t codes[256];
    float values[256];
    const float one = 1.0f;
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    k->decode_f32(values, codes, 256, &one, 256);
    for (int i = 0; i < 256; i++) {
        const int e = i >> 3 & 15, m = i & 7;
        double v = e ? (8 + m) * 0x1p-10 : m * 0x1p-9;
        for (int j = 0; j < e; j++)
            v *= 2;
        uint32_t want = f32_bits((float)(i & 128 ? -v : v));
        if ((i & 127) == 127)
            want = 0x7FC00000;
        assert_int_equal(f32_bits(values[i]), want);
    }
    assert_int_equal(k->count_nan(codes, 256), 2);
}

static void check_row(const struct fp8_kernels *k, struct test_random *r, size_t n, size_t block)
{
    float want[MOST];
    uint16_t want_bf16[MOST];
    const size_t n_scales = (n + block - 1) / block, off = test_random_below(r, 16);
    struct guard codes = guard_new(n, off), scales = guard_new(4 * n_scales, 4 * off);
    struct guard out = guard_new(4 * n, 4 * off), half = guard_new(2 * n, 2 * off);
    float *s = (float *)(void *)scales.p;
    for (size_t i = 0; i < n; i++)
        codes.p[i] = (uint8_t)test_random_u64(r);
    for (size_t i = 0; i < n_scales; i++)
        s[i] = f32_from_bits(test_random_f32_bits(r));
    fp8_decode_f32_scalar(want, codes.p, n, s, block);
    fp8_decode_bf16_scalar(want_bf16, codes.p, n, s, block);
    k->decode_f32((float *)(void *)out.p, codes.p, n, s, block);
    k->decode_bf16((uint16_t *)(void *)half.p, codes.p, n, s, block);
    if (n) {
        assert_memory_equal(out.p, want, 4 * n);
        assert_memory_equal(half.p, want_bf16, 2 * n);
    }
    assert_int_equal(k->count_nan(codes.p, n), fp8_count_nan_scalar(codes.p, n));
    guard_free(&codes);
    guard_free(&scales);
    guard_free(&out);
    guard_free(&half);
}

static void gives_the_reference_bytes_for_any_row_and_block(void **state)
{
    static const size_t BLOCKS[] = {1, 3, 8, 15, 16, 17, 64, 100, 128, 65536};
    const struct fp8_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < RUNS; i++)
        check_row(k, &r, test_random_below(&r, MOST),
                  BLOCKS[i % (sizeof BLOCKS / sizeof BLOCKS[0])]);
}

static void rounds_twice_to_bf16_and_keeps_zeros_and_subnormals(void **state)
{
    const struct fp8_kernels *k = variant_of(state);
    const uint8_t codes[8] = {0x80, 0x00, 0x01, 0x81, 0x7E, 0xFE, 0x38, 0x39};
    const float tiny = 0x1p-130f, huge = 0x1.fep118f;
    uint16_t out[8];
    k->decode_bf16(out, codes, 8, &tiny, 8);
    assert_int_equal(out[0], 0x8000);
    assert_int_equal(out[1], 0x0000);
    assert_int_equal(out[2], 0x0000); /* 2^-139 is below half of the smallest, 2^-133 */
    assert_int_equal(out[6], 0x0008); /* 2^-130 */
    assert_int_equal(out[7], 0x0009);
    k->decode_bf16(out, codes, 8, &huge, 8);
    assert_int_equal(out[4], 0x7F5F); /* 448 = 1.75 * 2^8; the product is 1.7432 * 2^127 */
    assert_int_equal(out[5], 0xFF5F);
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
        OF_ALL(every_code_is_its_value),
        OF_ALL(rounds_twice_to_bf16_and_keeps_zeros_and_subnormals),
        OF_ALL(gives_the_reference_bytes_for_any_row_and_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
