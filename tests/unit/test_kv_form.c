/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "libprep/engine/kv_form.h"
#include "tests/support/support.h"

enum { LATENT = 512, WIDE = 576, INDEX = 128, ROWS = 400 };

static void sizes_are_those_of_the_engines(void **state)
{
    const struct kv_row bf16 = {KV_BF16, WIDE, LATENT}, fp8 = {KV_FP8, WIDE, LATENT};
    const struct kv_row index = {KV_FP8, INDEX, INDEX}, f32 = {KV_F32, WIDE, LATENT};
    const struct kv_row nano = {KV_FP8, 64, 64}, odd = {KV_FP8, 133, 130};
    (void)state;
    assert_int_equal(kv_row_bytes(&f32), 2304);
    assert_int_equal(kv_row_bytes(&bf16), 1152);
    assert_int_equal(kv_row_bytes(&fp8), 656);
    assert_int_equal(kv_row_bytes(&index), 132);
    assert_int_equal(kv_row_bytes(&nano), 68);
    assert_int_equal(kv_row_bytes(&odd), 130 + 8 + 6);
}

/* Values from 2^-e to 1 in size, some 0. */
static void fill(struct test_random *r, float *x, size_t n, unsigned e)
{
    for (size_t i = 0; i < n; i++) {
        const float m = ((float)test_random_below(r, 1 << 20) - (1 << 19)) * 0x1p-19F;
        x[i] = test_random_below(r, 50) ? ldexpf(m, -(int)test_random_below(r, e)) : 0;
    }
}

static float largest_of(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

static void errors_are_within_their_bounds(void **state)
{
    const struct kv_row fp8 = {KV_FP8, WIDE, LATENT}, bf16 = {KV_BF16, WIDE, LATENT};
    const struct kv_row f32 = {KV_F32, WIDE, LATENT};
    float x[WIDE], y[WIDE], worst = 0;
    unsigned char bytes[4 * WIDE];
    struct test_random r;
    (void)state;
    test_random_init(&r);
    for (int row = 0; row < ROWS; row++) {
        fill(&r, x, WIDE, 1 + (unsigned)row % 24);
        kv_row_store(bytes, &f32, x);
        kv_row_load(y, &f32, bytes);
        assert_memory_equal(y, x, sizeof x);
        kv_row_store(bytes, &bf16, x);
        kv_row_load(y, &bf16, bytes);
        for (size_t i = 0; i < WIDE; i++)
            assert_true(fabsf(y[i] - x[i]) <= fabsf(x[i]) * 0x1p-8F);
        kv_row_store(bytes, &fp8, x);
        kv_row_load(y, &fp8, bytes);
        for (size_t i = 0; i < LATENT; i++) {
            const float s = f32_from_bits(load_u32_at(bytes + LATENT, i / KV_GROUP));
            const float error = fabsf(y[i] - x[i]), largest = largest_of(x + i / 128 * 128, 128);
            assert_true(largest == 0 || s < largest / 224);
            assert_true(error <= fmaxf(fabsf(x[i]) * 0x1p-4F, s * 0x1p-10F));
            worst = x[i] != 0 && error / fabsf(x[i]) > worst && fabsf(x[i]) > s
                        ? error / fabsf(x[i])
                        : worst;
        }
        for (size_t i = LATENT; i < WIDE; i++)
            assert_true(fabsf(y[i] - x[i]) <= fabsf(x[i]) * 0x1p-8F);
    }
    assert_true(worst > 0.055F); /* the bound of 1/16 is not far above what happens */
}

/* The largest of a group: just what the largest code holds, and just above it. */
static void scales_are_the_least_power_of_two_that_holds_all(void **state)
{
    const struct kv_row row = {KV_FP8, INDEX, INDEX};
    static const struct {
        float largest, scale, back;
    } cases[] = {
        {448, 1, 448},   {448.5F, 2, 448}, /* 224.25 is nearest to 224 */
        {1, 0x1p-8F, 1}, {0.875F, 0x1p-9F, 0.875F}, {3e38F, 0x1p120F, 0x1.cp127F},
        {0, 1, 0},       {0x1p-149F, 0x1p-126F, 0}, {0x1p-130F, 0x1p-126F, 0x1p-130F},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x[INDEX] = {0}, y[INDEX];
        unsigned char bytes[INDEX + 4];
        x[77] = -cases[i].largest;
        kv_row_store(bytes, &row, x);
        kv_row_load(y, &row, bytes);
        assert_true(f32_from_bits(load_u32_at(bytes + INDEX, 0)) == cases[i].scale);
        assert_true(y[77] == -cases[i].back);
        y[77] = 0;
        for (size_t k = 0; k < INDEX; k++)
            assert_true(y[k] == 0);
    }
}

static void each_group_has_its_scale_and_rows_need_no_alignment(void **state)
{
    const struct kv_row row = {KV_FP8, 133, 130};
    float x[133], y[133];
    unsigned char bytes[1 + 144];
    (void)state;
    for (size_t i = 0; i < 133; i++)
        x[i] = i < 128 ? 1000 : i < 130 ? 0.001F * 0x1p0F : 3;
    kv_row_store(bytes + 1, &row, x);
    kv_row_load(y, &row, bytes + 1);
    for (size_t i = 0; i < 133; i++)
        assert_true(fabsf(y[i] - x[i]) <= fabsf(x[i]) / 16);
}

static void forms_have_names(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    enum kv_form form;
    (void)state;
    for (int i = 0; i < N_KV_FORMS; i++) {
        assert_int_equal(kv_form_parse(&form, kv_form_name((enum kv_form)i), &err), 0);
        assert_int_equal(form, i);
    }
    assert_int_equal(kv_form_parse(&form, "fp4", &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_those_of_the_engines),
        cmocka_unit_test(errors_are_within_their_bounds),
        cmocka_unit_test(scales_are_the_least_power_of_two_that_holds_all),
        cmocka_unit_test(each_group_has_its_scale_and_rows_need_no_alignment),
        cmocka_unit_test(forms_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
