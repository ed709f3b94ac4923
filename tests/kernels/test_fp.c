/* SPDX-License-Identifier: MIT */
/* The scalar conversions, over every code and around every midpoint between two codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "kernels/cpu.h"
#include "kernels/fp.h"

/* One format, its codes as 32-bit numbers. */
struct narrow {
    float (*widen)(uint32_t code);
    uint32_t (*narrow)(float x);
    uint32_t largest; /* code of the largest finite magnitude */
    uint32_t sign;
    float beyond;      /* midway between the largest number and the step after it */
    uint32_t overflow; /* what lies above `beyond` */
};

static float widen_bf16(uint32_t code)
{
    return f32_from_bf16((uint16_t)code);
}

static uint32_t narrow_bf16(float x)
{
    return bf16_from_f32(x);
}

static float widen_f16(uint32_t code)
{
    return f32_from_f16((uint16_t)code);
}

static uint32_t narrow_f16(float x)
{
    return f16_from_f32(x);
}

static float widen_e4m3(uint32_t code)
{
    return f32_from_e4m3((uint8_t)code);
}

static uint32_t narrow_e4m3(float x)
{
    return e4m3_from_f32(x);
}

static uint32_t narrow_e4m3_sat(float x)
{
    return e4m3_from_f32_sat(x);
}

static float widen_e2m1(uint32_t code)
{
    return f32_from_e2m1(code);
}

static uint32_t narrow_e2m1(float x)
{
    return e2m1_from_f32(x);
}

static void check(const struct narrow *f, uint32_t code, float x)
{
    uint32_t negative = f->narrow(-x);
    if (f->narrow(x) != code)
        fail_msg("%a has code %#x, want %#x", (double)x, f->narrow(x), code);
    if (x != 0 && negative != (code | f->sign))
        fail_msg("%a has code %#x, want %#x", (double)-x, negative, code | f->sign);
}

/* Between two neighbours below the largest: nearest, ties to the even code. */
static void check_format(const struct narrow *f)
{
    for (uint32_t c = 0; c < f->largest; c++) {
        double low = (double)f->widen(c), high = (double)f->widen(c + 1);
        float mid = (float)((low + high) / 2);
        assert_true(low < high && (double)mid == (low + high) / 2);
        assert_true(f->widen(c | f->sign) == -f->widen(c));
        check(f, c, f->widen(c));
        check(f, c + (c & 1), mid);
        check(f, c, nextafterf(mid, -INFINITY));
        check(f, c + 1, nextafterf(mid, INFINITY));
    }
    check(f, f->largest, f->widen(f->largest));
    check(f, f->largest, nextafterf(f->beyond, 0));
    check(f, f->overflow, nextafterf(f->beyond, INFINITY));
    check(f, f->overflow, INFINITY);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    const struct narrow f = {widen_bf16, narrow_bf16, 0x7F7F, 0x8000, 0x1.FFp127f, 0x7F80};
    check_format(&f);
    assert_int_equal(bf16_from_f32(f.beyond), 0x7F80);
    assert_int_equal(bf16_from_f32(-0.0f), 0x8000);
}

static void f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    const struct narrow f = {widen_f16, narrow_f16, 0x7BFF, 0x8000, 65520.0f, 0x7C00};
    check_format(&f);
    assert_int_equal(f16_from_f32(f.beyond), 0x7C00);
    assert_int_equal(f16_from_f32(-0.0f), 0x8000);
    assert_true(f32_from_f16(0x7C00) == INFINITY && f32_from_f16(0xFC00) == -INFINITY);
}

static void e4m3_rounds_to_nearest_even(void **state)
{
    (void)state;
    const struct narrow f = {widen_e4m3, narrow_e4m3, 0x7E, 0x80, 464.0f, 0x7F};
    const struct narrow saturating = {widen_e4m3, narrow_e4m3_sat, 0x7E, 0x80, 464.0f, 0x7E};
    check_format(&f);
    check_format(&saturating);
    assert_int_equal(e4m3_from_f32(464.0f), 0x7E);
    assert_int_equal(e4m3_from_f32(-0.0f), 0x80);
    assert_int_equal(e4m3_from_f32_sat(-0.0f), 0x80);
}

static void e2m1_rounds_to_nearest_even(void **state)
{
    (void)state;
    const struct narrow f = {widen_e2m1, narrow_e2m1, 7, 8, 7.0f, 7};
    check_format(&f);
    assert_int_equal(e2m1_from_f32(-0.0f), 0);
    assert_int_equal(e2m1_from_f32(-0x1p-149f), 8);
    assert_int_equal(e2m1_from_f32(NAN), 0);
    assert_true(signbit(f32_from_e2m1(8)));
}

static void nan_stays_nan_with_its_sign(void **state)
{
    (void)state;
    for (uint32_t sign = 0; sign < 2; sign++) {
        float quiet = f32_from_bits(sign << 31 | 0x7FC12345);
        float signalling = f32_from_bits(sign << 31 | 0x7F800001);
        assert_int_equal(bf16_from_f32(quiet), sign << 15 | 0x7FC1);
        assert_int_equal(bf16_from_f32(signalling), sign << 15 | 0x7FC0);
        assert_int_equal(f16_from_f32(quiet), sign << 15 | 0x7E09);
        assert_int_equal(f16_from_f32(signalling), sign << 15 | 0x7E00);
        assert_int_equal(e4m3_from_f32(quiet), sign << 7 | 0x7F);
        assert_int_equal(e4m3_from_f32_sat(signalling), sign << 7 | 0x7F);
        assert_int_equal(f32_bits(f32_from_bf16((uint16_t)(sign << 15 | 0x7F81))),
                         sign << 31 | 0x7F810000);
        assert_int_equal(f32_bits(f32_from_f16((uint16_t)(sign << 15 | 0x7C01))),
                         sign << 31 | 0x7FC02000);
        assert_int_equal(f32_bits(f32_from_e4m3((uint8_t)(sign << 7 | 0x7F))),
                         sign << 31 | 0x7FC00000);
    }
}

static void isa_names_are_read_back(void **state)
{
    (void)state;
    enum isa isa;
    for (int i = 0; i < N_ISA; i++) {
        assert_int_equal(isa_parse(&isa, isa_name((enum isa)i)), 0);
        assert_int_equal(isa, i);
    }
    assert_int_equal(isa_parse(&isa, "auto"), 0);
    assert_int_equal(isa, cpu_isa());
    assert_int_equal(isa_parse(&isa, "sse"), -1);
    assert_int_equal(isa_parse(&isa, ""), -1);
    assert_int_equal(cpu_isa_within(ISA_SCALAR), ISA_SCALAR);
    assert_int_equal(cpu_isa_within(ISA_AVX512), cpu_isa());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(e4m3_rounds_to_nearest_even),
        cmocka_unit_test(e2m1_rounds_to_nearest_even),
        cmocka_unit_test(nan_stays_nan_with_its_sign),
        cmocka_unit_test(isa_names_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
