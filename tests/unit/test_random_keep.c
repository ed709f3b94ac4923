/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/prune/random_keep.h"

enum { EXPERTS = 16, MOST = 64 };

static void draw(uint32_t *kept, int n, int layer, uint64_t seed)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct random_layer from = {.layer = layer, .n_experts = EXPERTS, .seed = seed};
    assert_int_equal(random_keep(kept, n, &from, &err), 0);
}

static int has(const uint32_t *kept, int n, uint32_t e)
{
    for (int i = 0; i < n; i++)
        if (kept[i] == e)
            return 1;
    return 0;
}

static void sets_are_ascending_and_follow_from_seed_and_layer(void **state)
{
    uint32_t a[MOST], b[MOST];
    int differ = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (int layer = 2; layer < 5; layer++) {
            draw(a, 9, layer, seed);
            draw(b, 9, layer, seed);
            assert_memory_equal(a, b, 9 * sizeof *a);
            for (int i = 0; i < 9; i++)
                assert_true(a[i] < EXPERTS && (i == 0 || a[i] > a[i - 1]));
            draw(b, 9, layer + 1, seed);
            differ += memcmp(a, b, 9 * sizeof *a) != 0;
            draw(b, 9, layer, seed + 1);
            differ += memcmp(a, b, 9 * sizeof *a) != 0;
        }
    assert_in_range(differ, 115, 120); /* 11440 sets: two alike are rare */
}

static void sets_of_one_seed_nest(void **state)
{
    uint32_t small[MOST], large[MOST];
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        draw(large, 12, 3, seed);
        draw(small, 9, 3, seed);
        for (int i = 0; i < 9; i++)
            assert_true(has(large, 12, small[i]));
    }
}

/* 4000 draws of 4 of 16: 1000 of each, give or take 4.5 standard deviations of 27. */
static void every_expert_is_kept_as_often_as_the_others(void **state)
{
    int counts[EXPERTS] = {0};
    uint32_t kept[MOST];
    (void)state;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        draw(kept, 4, 7, seed);
        for (int i = 0; i < 4; i++)
            counts[kept[i]]++;
    }
    for (int e = 0; e < EXPERTS; e++)
        assert_in_range(counts[e], 1000 - 123, 1000 + 123);
}

static void every_group_of_the_router_keeps_its_share(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t kept[MOST];
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const struct random_layer from = {
            .layer = 3, .n_experts = EXPERTS, .n_group = 4, .seed = seed};
        assert_int_equal(random_keep(kept, 8, &from, &err), 0);
        for (uint32_t i = 0; i < 8; i++)
            assert_int_equal(kept[i] / 4, i / 2);
    }
}

static void counts_that_cannot_be_are_refused(void **state)
{
    static const int bad[][2] = {{0, 1}, {-1, 1}, {17, 1}, {9, 4}};
    uint32_t kept[MOST];
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        const struct random_layer from = {
            .layer = 3, .n_experts = EXPERTS, .n_group = bad[i][1], .seed = 1};
        assert_int_equal(random_keep(kept, bad[i][0], &from, &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_ascending_and_follow_from_seed_and_layer),
        cmocka_unit_test(sets_of_one_seed_nest),
        cmocka_unit_test(every_expert_is_kept_as_often_as_the_others),
        cmocka_unit_test(every_group_of_the_router_keeps_its_share),
        cmocka_unit_test(counts_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
