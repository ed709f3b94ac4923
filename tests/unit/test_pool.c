/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/prune/pool.h"
#include "tests/support/runs.h"

struct fixture {
    struct prune_model model;
    struct prune_options options;
    struct obs_run runs[3];
    size_t n_runs;
    struct pool pool;
    struct report report;
    struct prep_error err;
};

static struct fixture fx;

/* Two runs over layers 3, 4 and 5; expert 3 is never routed to, expert 2 only in run b. */
static int setup(void **state)
{
    static const int64_t n_a[] = {2, 4, 0, 0}, n_b[] = {6, 2, 4, 0};
    static const double s_a[] = {1, 6, 0, 0}, s_b[] = {9, 1, 2, 0};
    memset(&fx, 0, sizeof fx);
    test_model(&fx.model, 4);
    test_run(&fx.runs[0], "a");
    test_run(&fx.runs[1], "b");
    for (int layer = 3; layer <= 5; layer++) {
        test_run_add(&fx.runs[0], layer, 4, n_a, s_a);
        test_run_add(&fx.runs[1], layer, 4, n_b, s_b);
    }
    fx.n_runs = 2;
    report_init(&fx.report);
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    pool_free(&fx.pool);
    for (size_t i = 0; i < 3; i++)
        obs_run_free(&fx.runs[i]);
    report_fini(&fx.report);
    (void)state;
    return 0;
}

static void pool_ok(void)
{
    if (pool_runs(&fx.pool, fx.runs, fx.n_runs, &fx.model, NULL, &fx.options, &fx.report, &fx.err))
        fail_msg("%s %s", fx.err.tag, fx.err.msg);
}

static void pool_fails(enum prep_code code, const char *tag, const char *says)
{
    assert_int_equal(
        pool_runs(&fx.pool, fx.runs, fx.n_runs, &fx.model, NULL, &fx.options, &fx.report, &fx.err),
        -1);
    assert_string_equal(fx.err.tag, tag);
    assert_int_equal(fx.err.code, code);
    if (!strstr(fx.err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", fx.err.msg, says);
}

static void routed_divides_sums_by_counts(void **state)
{
    pool_ok();
    const struct pool_layer *l = pool_layer(&fx.pool, 4);
    assert_non_null(l);
    assert_int_equal(fx.pool.n_layers, 3);
    assert_true(l->total_tokens == 9);
    assert_true(l->reap[0] == 10.0 / 8 && l->reap[1] == 7.0 / 6 && l->reap[2] == 0.5);
    assert_true(l->reap[3] == 0 && l->ean_mean[3] == 0 && l->gate_mean[3] == 0);
    assert_true(l->ean_mean[0] == 20.0 / 8);
    assert_true(l->gate_mean[0] == 0.25);
    assert_true(l->max_activations[2] == 3.0f);
    assert_string_equal(fx.pool.gate_semantics, "logit-softmax-renorm");
    assert_true(fx.pool.semantics_assumed);
    assert_null(pool_layer(&fx.pool, 6));
    assert_null(l->weighted_ean_sumsq);
    (void)state;
}

static void total_tokens_weighs_means_by_tokens(void **state)
{
    fx.options.pool = POOL_TOTAL_TOKENS;
    pool_ok();
    const struct pool_layer *l = pool_layer(&fx.pool, 3);
    assert_true(l->reap[0] == (3 * 0.5 + 6 * 1.5) / 9);
    /* Run a never routed to expert 2: it adds 0 with its full weight. */
    assert_true(l->reap[2] == 6 * 0.5 / 9);
    assert_true(l->weighted_ean_sum[0] == 10);
    (void)state;
}

static void equal_and_weights_weigh_runs(void **state)
{
    static const double weights[] = {0.25, 0.75};
    fx.options.pool = POOL_EQUAL;
    pool_ok();
    assert_true(pool_layer(&fx.pool, 3)->reap[0] == (0.5 + 1.5) / 2);
    pool_free(&fx.pool);
    fx.options.pool = POOL_WEIGHTS;
    fx.options.weights = weights;
    fx.options.n_weights = 2;
    pool_ok();
    assert_true(pool_layer(&fx.pool, 3)->reap[0] == 0.25 * 0.5 + 0.75 * 1.5);
    (void)state;
}

static void refuses_weights_that_do_not_fit(void **state)
{
    static const double weights[] = {0, 1};
    fx.options.pool = POOL_WEIGHTS;
    fx.options.weights = weights;
    fx.options.n_weights = 1;
    pool_fails(PREP_EUSAGE, "", "1 weights for 2 runs");
    prep_error_clear(&fx.err);
    fx.options.n_weights = 2;
    fx.runs[1].n_layers = 2;
    pool_fails(PREP_EUSAGE, "", "layer 5");
    (void)state;
}

static void refuses_the_same_run_twice(void **state)
{
    memcpy(fx.runs[1].sha256, fx.runs[0].sha256, sizeof fx.runs[0].sha256);
    pool_fails(PREP_EDATA, "OBS_DUPLICATE_RUN", "a and b");
    (void)state;
}

static void refuses_mixed_gate_semantics(void **state)
{
    fx.runs[1].gate_semantics = "routed";
    pool_fails(PREP_EDATA, "OBS_SEMANTICS_MIX", "routed");
    (void)state;
}

static void the_option_names_the_semantics_of_silent_files(void **state)
{
    fx.runs[1].gate_semantics = "routed";
    fx.options.gate_semantics = "routed";
    pool_ok();
    assert_string_equal(fx.pool.gate_semantics, "routed");
    (void)state;
}

static void mixed_semantics_pool_shares_of_each_run(void **state)
{
    fx.runs[1].gate_semantics = "routed";
    fx.options.allow_mixed_gates = 1;
    pool_ok();
    assert_string_equal(fx.pool.gate_semantics, "logit-softmax-renorm+routed");
    const struct pool_layer *l = pool_layer(&fx.pool, 3);
    assert_true(l->weighted_ean_sum[0] == 1.0 / 7 + 9.0 / 12);
    assert_true(l->reap[0] == (1.0 / 7 + 9.0 / 12) / 8);
    assert_true(l->ean_sum[0] == 20);
    (void)state;
}

static void warns_of_partial_coverage_or_refuses_it(void **state)
{
    fx.runs[1].n_layers = 2;
    pool_ok();
    assert_true(report_has(&fx.report, "OBS_PARTIAL_COVERAGE"));
    const struct pool_layer *l = pool_layer(&fx.pool, 5);
    assert_int_equal(l->n_runs, 1);
    assert_int_equal(l->runs[0], 0);
    assert_true(l->reap[0] == 0.5);
    pool_free(&fx.pool);
    fx.options.strict_coverage = 1;
    pool_fails(PREP_EDATA, "OBS_PARTIAL_COVERAGE", "layer 5");
    (void)state;
}

static void refuses_a_layer_found_in_no_run(void **state)
{
    fx.runs[0].n_layers = fx.runs[1].n_layers = 2;
    pool_fails(PREP_EDATA, "OBS_LAYER_MISSING", "layer 5");
    (void)state;
}

static void an_own_mtp_layer_must_be_observed(void **state)
{
    fx.options.mtp = MTP_OWN;
    pool_fails(PREP_EDATA, "OBS_LAYER_MISSING", "layer 6");
    (void)state;
}

static void structure_comes_before_values(void **state)
{
    fx.runs[0].layers[0].weighted_ean_sum[1] = -1;
    fx.runs[1].layers[2].n_experts = 3;
    pool_fails(PREP_EDATA, "OBS_EXPERT_COUNT", "layer 5");
    prep_error_clear(&fx.err);
    fx.runs[1].layers[2].n_experts = 4;
    pool_fails(PREP_EDATA, "OBS_NEGATIVE", "");
    (void)state;
}

static void refuses_a_metric_that_one_run_lacks(void **state)
{
    fx.runs[1].layers[1].max_activations = NULL;
    pool_ok();
    assert_null(pool_layer(&fx.pool, 4)->max_activations);
    assert_non_null(pool_layer(&fx.pool, 5)->max_activations);
    pool_free(&fx.pool);
    fx.options.metric = METRIC_MAX_ACTIVATIONS;
    pool_fails(PREP_EDATA, "OBS_METRIC_MISSING", "layer 4");
    (void)state;
}

static void refuses_counts_beyond_64_bits(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct obs_layer *l = &fx.runs[i].layers[0];
        for (int e = 0; e < 4; e++)
            l->expert_frequency[e] = 0;
        l->expert_frequency[0] = l->expert_frequency[1] = INT64_MAX / 2 - 1;
        l->total_tokens = INT64_MAX / 2 - 1;
        fx.runs[i].layers[0].weighted_ean_sum[2] = l->ean_sum[2] = 0;
        l->weighted_expert_frequency_sum[2] = 0;
    }
    test_run(&fx.runs[2], "c");
    static const int64_t n[] = {2, 2, 2, 2};
    static const double s[] = {1, 1, 1, 1};
    for (int layer = 3; layer <= 5; layer++)
        test_run_add(&fx.runs[2], layer, 4, n, s);
    fx.n_runs = 3;
    pool_fails(PREP_EDATA, "OBS_COUNT_MISMATCH", "2^63");
    (void)state;
}

static void refuses_a_sum_without_a_token(void **state)
{
    fx.runs[0].layers[0].weighted_ean_sum[3] = 1;
    pool_fails(PREP_EDATA, "OBS_COUNT_MISMATCH", "expert 3");
    (void)state;
}

static void stored_means_need_a_single_run(void **state)
{
    fx.options.stored = 1;
    pool_fails(PREP_EUSAGE, "", "one run");
    prep_error_clear(&fx.err);
    fx.n_runs = 1;
    pool_fails(PREP_EDATA, "OBS_METRIC_MISSING", "stored");
    prep_error_clear(&fx.err);
    static float means[] = {4, 3, 2, 1};
    for (int i = 0; i < 3; i++)
        fx.runs[0].layers[i].reap = means;
    pool_ok();
    const struct pool_layer *l = pool_layer(&fx.pool, 3);
    assert_true(pool_saliency(l, &fx.options, 0) == 4.0);
    assert_true(l->reap[0] == 0.5);
    (void)state;
}

static void sums_of_squares_pool_when_every_run_has_them(void **state)
{
    static double squares[] = {1, 2, 0, 0};
    for (int i = 0; i < 3; i++)
        fx.runs[0].layers[i].weighted_ean_sumsq = squares;
    fx.runs[1].layers[0].weighted_ean_sumsq = squares;
    pool_ok();
    assert_non_null(pool_layer(&fx.pool, 3)->weighted_ean_sumsq);
    assert_true(pool_layer(&fx.pool, 3)->weighted_ean_sumsq[1] == 4);
    assert_null(pool_layer(&fx.pool, 4)->weighted_ean_sumsq);
    (void)state;
}

static void mean_outputs_pool_by_routed_tokens(void **state)
{
    static double a[] = {3, 4, 1, 0, 0, 0, 0, 0}, b[] = {18, 24, 0, 2, 8, 0, 0, 0};
    for (int i = 0; i < 3; i++) {
        struct obs_layer *l = &fx.runs[0].layers[i], *m = &fx.runs[1].layers[i];
        l->routed_output = a;
        m->routed_output = b;
        m->routed_output_is_sum = 1;
        l->hidden = m->hidden = 2;
    }
    fx.options.metric = METRIC_EAN_CA;
    pool_ok();
    const double *v = pool_layer(&fx.pool, 3)->ean_ca;
    /* Expert 0: (2 * (3, 4) + (18, 24)) / 8 = (3, 4). */
    assert_true(v[0] == 5 && v[2] == 2 && v[3] == 0);
    fx.runs[1].layers[2].hidden = 1;
    pool_free(&fx.pool);
    pool_fails(PREP_EDATA, "OBS_SHAPE", "layer 5");
    (void)state;
}

static void warns_of_unknown_layers_and_differing_tokens(void **state)
{
    static const int64_t n[] = {2, 2, 2, 2};
    static const double s[] = {1, 1, 1, 1};
    test_run(&fx.runs[2], "c");
    test_run_add(&fx.runs[2], 1, 4, n, s);
    for (int layer = 3; layer <= 4; layer++)
        test_run_add(&fx.runs[2], layer, 4, n, s);
    static const int64_t more[] = {4, 2, 2, 2};
    test_run_add(&fx.runs[2], 5, 4, more, s);
    fx.n_runs = 3;
    pool_ok();
    assert_true(report_has(&fx.report, "OBS_LAYER_UNKNOWN"));
    assert_true(report_has(&fx.report, "OBS_TOKENS_DIFFER"));
    (void)state;
}

#define SHA_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LIST                                                                                       \
    "{\"origin\":\"observed\",\"n_parent\":6,\"kept_parent\":[0,2,3,5],\"kept_source\":[0,2,3,5]}"

/* A checkpoint of 4 experts made from a base of 6. */
static void parse_parent(struct keep_map *m)
{
    static const char text[] =
        "{\"format\":\"reap-keep-map\",\"version\":1,\"base\":{\"n_routed_experts\":6},"
        "\"parent\":null,\"n_routed_experts\":4,\"num_hidden_layers\":6,"
        "\"num_nextn_predict_layers\":1,\"layers\":{\"3\":" LIST ",\"4\":" LIST ",\"5\":" LIST
        ",\"6\":" LIST "},\"passes\":[]}";
    if (keep_map_parse(m, text, strlen(text), "parent", &fx.err))
        fail_msg("%s", fx.err.msg);
}

static int pool_pruned(const struct keep_map *map)
{
    const struct known_map parent = {map, SHA_A};
    return pool_runs(&fx.pool, fx.runs, fx.n_runs, &fx.model, &parent, &fx.options, &fx.report,
                     &fx.err);
}

static void a_run_on_the_pruned_checkpoint_pools_in_its_space(void **state)
{
    struct keep_map map;
    parse_parent(&map);
    for (int i = 0; i < 2; i++) {
        fx.runs[i].id_space = "keep-map";
        fx.runs[i].keep_map_sha256 = SHA_A;
    }
    assert_int_equal(pool_pruned(&map), 0);
    assert_int_equal(fx.pool.space, SPACE_CURRENT);
    assert_int_equal(pool_layer(&fx.pool, 3)->n_experts, 4);
    pool_free(&fx.pool);
    fx.runs[1].keep_map_sha256 = "bb";
    assert_int_equal(pool_pruned(&map), -1);
    assert_string_equal(fx.err.tag, "OBS_SPACE_MIX");
    keep_map_free(&map);
    (void)state;
}

static void a_silent_run_with_the_pruned_count_is_taken_for_one(void **state)
{
    struct keep_map map;
    parse_parent(&map);
    assert_int_equal(pool_pruned(&map), 0);
    assert_int_equal(fx.pool.space, SPACE_CURRENT);
    assert_true(report_has(&fx.report, "OBS_SPACE_ASSUMED"));
    keep_map_free(&map);
    (void)state;
}

static void mixed_spaces_pool_by_base_expert_when_allowed(void **state)
{
    static const int64_t n[] = {2, 2, 2, 2, 2, 2};
    static const double s[] = {1, 2, 3, 4, 5, 6};
    struct keep_map map;
    parse_parent(&map);
    obs_run_free(&fx.runs[1]);
    test_run(&fx.runs[1], "base");
    for (int layer = 3; layer <= 5; layer++)
        test_run_add(&fx.runs[1], layer, 6, n, s);
    fx.runs[0].id_space = "keep-map";
    fx.runs[0].keep_map_sha256 = SHA_A;
    assert_int_equal(pool_pruned(&map), -1);
    assert_string_equal(fx.err.tag, "OBS_SPACE_MIX");
    prep_error_clear(&fx.err);
    fx.options.allow_mixed_spaces = 1;
    if (pool_pruned(&map))
        fail_msg("%s", fx.err.msg);
    const struct pool_layer *l = pool_layer(&fx.pool, 3);
    /* Run a: rows 0..3 are base experts 0, 2, 3, 5 with S 1, 6, 0, 0 over 2, 4, 0, 0 tokens. */
    assert_int_equal(l->n_experts, 6);
    assert_true(l->reap[0] == 2.0 / 4 && l->reap[1] == 1 && l->reap[2] == 9.0 / 6);
    assert_true(l->reap[5] == 3);
    pool_free(&fx.pool);
    fx.options.pool = POOL_EQUAL;
    assert_int_equal(pool_pruned(&map), -1);
    assert_string_equal(fx.err.tag, "OBS_SPACE_MIX");
    keep_map_free(&map);
    (void)state;
}

static void base_statistics_need_the_keep_map_of_a_pruned_checkpoint(void **state)
{
    test_model(&fx.model, 3);
    pool_fails(PREP_EDATA, "PLAN_NO_KEEP_MAP", "4 experts for a checkpoint of 3");
    prep_error_clear(&fx.err);
    test_model(&fx.model, 5);
    pool_fails(PREP_EDATA, "OBS_EXPERT_COUNT", "layer 3 has 4 experts, want 5");
    (void)state;
}

static void refuses_a_parent_map_of_another_checkpoint(void **state)
{
    struct keep_map map;
    parse_parent(&map);
    test_model(&fx.model, 5);
    assert_int_equal(pool_pruned(&map), -1);
    assert_string_equal(fx.err.tag, "KEEP_MAP");
    keep_map_free(&map);
    (void)state;
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(routed_divides_sums_by_counts),
        POOL_TEST(total_tokens_weighs_means_by_tokens),
        POOL_TEST(equal_and_weights_weigh_runs),
        POOL_TEST(refuses_weights_that_do_not_fit),
        POOL_TEST(refuses_the_same_run_twice),
        POOL_TEST(refuses_mixed_gate_semantics),
        POOL_TEST(the_option_names_the_semantics_of_silent_files),
        POOL_TEST(mixed_semantics_pool_shares_of_each_run),
        POOL_TEST(warns_of_partial_coverage_or_refuses_it),
        POOL_TEST(refuses_a_layer_found_in_no_run),
        POOL_TEST(an_own_mtp_layer_must_be_observed),
        POOL_TEST(structure_comes_before_values),
        POOL_TEST(refuses_a_metric_that_one_run_lacks),
        POOL_TEST(refuses_counts_beyond_64_bits),
        POOL_TEST(refuses_a_sum_without_a_token),
        POOL_TEST(stored_means_need_a_single_run),
        POOL_TEST(sums_of_squares_pool_when_every_run_has_them),
        POOL_TEST(mean_outputs_pool_by_routed_tokens),
        POOL_TEST(warns_of_unknown_layers_and_differing_tokens),
        POOL_TEST(a_run_on_the_pruned_checkpoint_pools_in_its_space),
        POOL_TEST(a_silent_run_with_the_pruned_count_is_taken_for_one),
        POOL_TEST(mixed_spaces_pool_by_base_expert_when_allowed),
        POOL_TEST(base_statistics_need_the_keep_map_of_a_pruned_checkpoint),
        POOL_TEST(refuses_a_parent_map_of_another_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
