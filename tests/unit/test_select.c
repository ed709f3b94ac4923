/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/prune/budget.h"
#include "libprep/prune/cut_report.h"
#include "libprep/prune/protect.h"
#include "tests/support/runs.h"

enum { E = 8 };

struct fixture {
    struct prune_model model;
    struct prune_options options;
    struct obs_run run;
    struct pool pool;
    struct selection s;
    struct report report;
    struct prep_error err;
};

static struct fixture fx;

/* Eight experts per layer with two tokens each; S as given for every layer. */
static void use_saliency(const double *s)
{
    static const int64_t n[E] = {2, 2, 2, 2, 2, 2, 2, 2};
    obs_run_free(&fx.run);
    test_run(&fx.run, "a");
    for (int layer = 3; layer <= 5; layer++)
        test_run_add(&fx.run, layer, E, n, s);
}

static int setup(void **state)
{
    static const double s[E] = {5, 1, 8, 3, 7, 2, 6, 4};
    memset(&fx, 0, sizeof fx);
    test_model(&fx.model, E);
    use_saliency(s);
    fx.options.size = SIZE_KEEP;
    report_init(&fx.report);
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    selection_free(&fx.s);
    pool_free(&fx.pool);
    obs_run_free(&fx.run);
    report_fini(&fx.report);
    (void)state;
    return 0;
}

static int try_select(void)
{
    selection_free(&fx.s);
    pool_free(&fx.pool);
    prep_error_clear(&fx.err);
    return pool_runs(&fx.pool, &fx.run, 1, &fx.model, NULL, &fx.options, &fx.report, &fx.err) ||
                   select_experts(&fx.s, &fx.pool, &fx.model, NULL, &fx.options, &fx.report,
                                  &fx.err)
               ? -1
               : 0;
}

static void keeps(int layer, const char *want)
{
    char text[128] = "";
    if (try_select())
        fail_msg("%s %s", fx.err.tag, fx.err.msg);
    const struct select_layer *l = &fx.s.layers[layer - 3];
    for (int i = 0; i < l->n_kept; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%d", i ? " " : "", l->kept[i]);
    }
    assert_string_equal(text, want);
}

static void refuses(const char *tag, const char *says)
{
    assert_int_equal(try_select(), -1);
    assert_string_equal(fx.err.tag, tag);
    assert_int_equal(fx.err.code, PREP_EUSAGE);
    assert_int_equal(prep_exit_code(fx.err.code), 64);
    if (!strstr(fx.err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", fx.err.msg, says);
}

static void keeps_the_most_salient_in_ascending_order(void **state)
{
    fx.options.keep = 4;
    keeps(4, "0 2 4 6");
    assert_false(report_has(&fx.report, "PLAN_BOUNDARY_TIE"));
    (void)state;
}

static void a_tie_goes_to_the_lower_id_and_is_told(void **state)
{
    static const double s[E] = {1, 2, 2, 2, 2, 9, 0, -0.0};
    use_saliency(s);
    fx.options.keep = 3;
    keeps(3, "1 2 5");
    assert_true(report_has(&fx.report, "PLAN_BOUNDARY_TIE"));
    assert_non_null(strstr(fx.report.warnings[0].text, "2 (kept) and 3 (dropped)"));
    fx.options.keep = 7;
    keeps(3, "0 1 2 3 4 5 6");
    (void)state;
}

static void a_ratio_drops_the_truncated_share(void **state)
{
    fx.options.size = SIZE_RATIO;
    fx.options.ratio = 0.4;
    keeps(3, "0 2 4 6 7");
    fx.options.ratio = 0;
    keeps(3, "0 1 2 3 4 5 6 7");
    fx.options.ratio = 1;
    refuses("PLAN_KEEP_RANGE", "keep 0");
    fx.options.ratio = -0.1;
    refuses("PLAN_KEEP_RANGE", "-0.1");
    fx.options.ratio = 0.0 / 0.0;
    refuses("PLAN_KEEP_RANGE", "nan");
    (void)state;
}

static void range_then_top_k_then_groups(void **state)
{
    fx.model.n_group = 4;
    fx.model.topk_group = 1;
    fx.model.num_experts_per_tok = 3;
    fx.options.keep = 0;
    fx.run.layers[0].total_tokens = 0;
    for (int i = 0; i < 3; i++)
        fx.run.layers[i].has_total_tokens = 0;
    refuses("PLAN_KEEP_RANGE", "keep 0");
    fx.options.keep = 9;
    refuses("PLAN_KEEP_RANGE", "keep 9");
    fx.options.keep = INT64_MAX;
    refuses("PLAN_KEEP_RANGE", "layer 3");
    fx.options.keep = 2;
    refuses("PLAN_TOPK", "num_experts_per_tok 3");
    fx.options.keep = 7;
    refuses("PLAN_GROUP_DIVISIBILITY", "n_group 4");
    fx.options.keep = 4;
    refuses("PLAN_GROUP_DIVISIBILITY", "two best");
    fx.options.keep = 8;
    refuses("PLAN_GROUP_DIVISIBILITY", "topk_group 1");
    fx.model.topk_group = 2;
    keeps(3, "0 1 2 3 4 5 6 7");
    (void)state;
}

static void nothing_said_is_a_usage_error(void **state)
{
    fx.options.size = SIZE_NONE;
    refuses("", "how many");
    (void)state;
}

static void groups_keep_equal_shares(void **state)
{
    static const double s[E] = {8, 7, 6, 5, 1, 2, 3, 4};
    use_saliency(s);
    fx.model.n_group = 2;
    fx.model.topk_group = 2;
    fx.options.keep = 4;
    keeps(3, "0 1 6 7");
    (void)state;
}

static void protected_experts_stay_and_dropped_ones_go(void **state)
{
    int protect_ids[] = {1, 5}, drop_ids[] = {2};
    const struct layer_ids protect = {4, protect_ids, 2}, drop = {4, drop_ids, 1};
    fx.options.protect = &protect;
    fx.options.n_protect = 1;
    fx.options.drop = &drop;
    fx.options.n_drop = 1;
    fx.options.keep = 4;
    keeps(4, "1 4 5 6");
    assert_int_equal(fx.s.layers[0].kept[0], 0);
    fx.options.keep = 8;
    refuses("PLAN_PROTECT_OVERFLOW", "drop list");
    drop_ids[0] = 5;
    refuses("PLAN_PROTECT_CONFLICT", "expert 5");
    drop_ids[0] = 8;
    assert_int_equal(try_select(), -1);
    assert_int_equal(fx.err.code, PREP_EDATA);
    (void)state;
}

static void too_many_protected_is_refused(void **state)
{
    int ids[] = {0, 1, 2};
    const struct layer_ids protect = {5, ids, 3};
    fx.options.protect = &protect;
    fx.options.n_protect = 1;
    fx.options.keep = 2;
    refuses("PLAN_PROTECT_OVERFLOW", "layer 5");
    fx.model.n_group = 2;
    fx.model.topk_group = 1;
    fx.options.keep = 4;
    refuses("PLAN_PROTECT_OVERFLOW", "one group");
    (void)state;
}

static void lists_name_layers_of_the_model(void **state)
{
    int ids[] = {0};
    const struct layer_ids unknown = {9, ids, 1}, mtp = {6, ids, 1};
    fx.options.protect = &unknown;
    fx.options.n_protect = 1;
    fx.options.keep = 4;
    assert_int_equal(try_select(), -1);
    assert_int_equal(fx.err.code, PREP_EDATA);
    fx.options.protect = &mtp;
    keeps(3, "0 2 4 6");
    assert_true(report_has(&fx.report, "PLAN_LIST_UNUSED"));
    (void)state;
}

static void the_quantile_interpolates_in_float32(void **state)
{
    float one[] = {7}, two[] = {3, 1}, many[201];
    for (int i = 0; i < 201; i++)
        many[i] = (float)(200 - i);
    assert_true(protect_quantile(one, 1) == 7.0f);
    assert_true(protect_quantile(two, 2) == 1.0f + 0.995f * 2.0f);
    assert_true(protect_quantile(many, 201) == 199.0f);
    (void)state;
}

static void super_experts_are_protected_in_the_first_layers_only(void **state)
{
    /* Expert 1 is the least salient but one; its activation stands out in every layer. */
    for (int i = 0; i < 3; i++)
        fx.run.layers[i].max_activations[1] = i == 2 ? 1000.0f : 900.0f;
    fx.options.keep = 4;
    fx.options.protect_auto = PROTECT_SUPER;
    fx.model.num_experts_per_tok = 2;
    keeps(3, "0 2 4 6");
    assert_true(fx.s.threshold > 900);
    for (int i = 0; i < 2; i++)
        fx.run.layers[i].max_activations[1] = 1000.5f;
    fx.run.layers[2].max_activations[1] = 1000.5f;
    keeps(3, "0 2 4 6"); /* never strictly above a quantile that is the maximum */
    fx.run.layers[0].max_activations[1] = 2000;
    keeps(3, "1 2 4 6");
    assert_int_equal(fx.s.layers[0].auto_protected[1], 1);
    fx.run.layers[0].max_activations[1] = 2;
    fx.run.layers[1].max_activations[1] = 2;
    fx.run.layers[2].max_activations[1] = 2000;
    keeps(5, "0 2 4 6"); /* trunc(0.75 * 3) = 2 layers */
    fx.options.protect_auto = PROTECT_OUTLIERS;
    keeps(5, "1 2 4 6");
    int ids[] = {1};
    const struct layer_ids drop = {5, ids, 1};
    fx.options.drop = &drop;
    fx.options.n_drop = 1;
    refuses("PLAN_PROTECT_CONFLICT", "--protect-outliers");
    (void)state;
}

static void counts_give_each_layer_its_own(void **state)
{
    struct layer_count counts[] = {{3, 2}, {4, 3}, {5, 8}};
    fx.options.size = SIZE_COUNTS;
    fx.options.counts = counts;
    fx.options.n_counts = 3;
    keeps(3, "2 4");
    assert_int_equal(fx.s.layers[1].n_kept, 3);
    assert_true(report_has(&fx.report, "PLAN_NONUNIFORM"));
    fx.options.n_counts = 2;
    assert_int_equal(try_select(), -1);
    assert_int_equal(fx.err.code, PREP_EDATA);
    fx.options.n_counts = 3;
    counts[2].layer = 7;
    assert_int_equal(try_select(), -1);
    assert_int_equal(fx.err.code, PREP_EDATA);
    counts[2] = (struct layer_count){5, 1};
    refuses("PLAN_TOPK", "layer 5");
    (void)state;
}

static void a_budget_takes_from_the_cheapest_layer(void **state)
{
    /* Layer 3 is flat, 4 has four strong experts, 5 has two: strong layers give up first. */
    static const double s4[E] = {9, 9, 9, 9, 1, 1, 1, 1}, s5[E] = {30, 30, 1, 1, 1, 1, 1, 1};
    for (int e = 0; e < E; e++) {
        fx.run.layers[0].weighted_ean_sum[e] = 1;
        fx.run.layers[1].weighted_ean_sum[e] = s4[e];
        fx.run.layers[2].weighted_ean_sum[e] = s5[e];
    }
    fx.options.size = SIZE_BUDGET;
    fx.options.budget = 14;
    keeps(5, "0 1");
    assert_int_equal(fx.s.layers[0].n_kept, 8);
    assert_int_equal(fx.s.layers[1].n_kept, 4);
    fx.options.block = 4;
    fx.options.budget = 15;
    keeps(5, "0 1 2 3"); /* undershoots by less than a block */
    assert_int_equal(fx.s.layers[0].n_kept + fx.s.layers[1].n_kept, 8);
    fx.options.budget = 11;
    fx.options.floor = 4;
    refuses("PLAN_BUDGET_INFEASIBLE", "12 are left");
    fx.options.budget = 24;
    fx.options.ceil = 5;
    keeps(3, "0 1 2 3");
    fx.options.ceil = 3;
    refuses("PLAN_BUDGET_INFEASIBLE", "ceil 3");
    fx.options.ceil = 7;
    fx.options.floor = 6;
    refuses("PLAN_BUDGET_INFEASIBLE", "layer 3");
    fx.options.block = -1;
    refuses("PLAN_BUDGET_INFEASIBLE", "block -1");
    (void)state;
}

static void a_budget_keeps_what_is_protected(void **state)
{
    int ids[] = {0, 1, 2, 3, 4, 5};
    const struct layer_ids protect = {4, ids, 6};
    fx.options.size = SIZE_BUDGET;
    fx.options.budget = 10;
    fx.options.protect = &protect;
    fx.options.n_protect = 1;
    keeps(4, "0 1 2 3 4 5");
    fx.options.budget = 9;
    refuses("PLAN_BUDGET_INFEASIBLE", "10 are left");
    (void)state;
}

static void a_budget_with_groups_takes_whole_rounds(void **state)
{
    fx.model.n_group = 2;
    fx.model.topk_group = 2;
    fx.options.size = SIZE_BUDGET;
    fx.options.budget = 18;
    fx.options.floor = 4;
    refuses("PLAN_GROUP_DIVISIBILITY", "block of 1");
    fx.options.block = 2;
    keeps(3, "0 2 3 4 6 7"); /* each layer gives one round: its worst of each group */
    assert_int_equal(fx.s.layers[0].n_kept + fx.s.layers[1].n_kept + fx.s.layers[2].n_kept, 18);
    fx.model.n_group = 3;
    fx.options.block = 3;
    refuses("PLAN_GROUP_DIVISIBILITY", "n_group 3");
    (void)state;
}

static void a_flat_zero_layer_has_no_budget_share(void **state)
{
    static const double s[E] = {0};
    use_saliency(s);
    fx.options.size = SIZE_BUDGET;
    fx.options.budget = 12;
    assert_int_equal(try_select(), -1);
    assert_string_equal(fx.err.tag, "OBS_ZERO_TOKENS");
    fx.options.layer_norm = LAYER_NORM_NONE;
    fx.options.budget = 18;
    keeps(5, "0 1 2 3 4 5 6 7"); /* all costs are equal: the lowest layers give first */
    assert_int_equal(fx.s.layers[0].n_kept, 2);
    (void)state;
}

static void warns_of_what_a_count_excludes(void **state)
{
    fx.options.keep = 8;
    keeps(3, "0 1 2 3 4 5 6 7");
    assert_int_equal(fx.report.n_warnings, 0);
    fx.options.keep = 7;
    fx.options.tensor_parallel = 8;
    assert_int_equal(try_select(), 0);
    assert_true(report_has(&fx.report, "PLAN_COUNT_KERNEL"));
    assert_true(report_has(&fx.report, "PLAN_COUNT_DIVISIBILITY"));
    assert_true(report_has(&fx.report, "PLAN_COUNT_PARALLEL"));
    (void)state;
}

static void a_pooled_infinity_is_refused(void **state)
{
    fx.run.layers[1].weighted_ean_sum[3] = 1e308;
    fx.options.pool = POOL_TOTAL_TOKENS;
    fx.options.keep = 4;
    assert_int_equal(try_select(), -1);
    assert_string_equal(fx.err.tag, "OBS_NONFINITE");
    (void)state;
}

/* A permutation of the experts permutes the choice when no two are equal. */
static void a_permutation_permutes_the_choice(void **state)
{
    struct test_random random;
    test_random_init(&random);
    for (int round = 0; round < 50; round++) {
        double s[E], shuffled[E];
        int to[E];
        unsigned char kept[E] = {0};
        for (int e = 0; e < E; e++) {
            s[e] = e + (double)test_random_below(&random, 1000) / 2000;
            to[e] = e;
        }
        for (int e = E - 1; e > 0; e--) {
            int k = (int)test_random_below(&random, (uint64_t)e + 1), t = to[e];
            to[e] = to[k];
            to[k] = t;
        }
        for (int e = 0; e < E; e++)
            shuffled[to[e]] = s[e];
        fx.options.keep = 2 + (int64_t)test_random_below(&random, E - 1);
        use_saliency(s);
        assert_int_equal(try_select(), 0);
        for (int i = 0; i < fx.s.layers[0].n_kept; i++)
            kept[to[fx.s.layers[0].kept[i]]] = 1;
        use_saliency(shuffled);
        assert_int_equal(try_select(), 0);
        for (int i = 0; i < fx.s.layers[0].n_kept; i++)
            assert_int_equal(kept[fx.s.layers[0].kept[i]], 1);
    }
    (void)state;
}

static void a_cut_reports_the_gap_in_standard_errors(void **state)
{
    double squares[E];
    struct cut_report r;
    for (int e = 0; e < E; e++) /* S = 2 s, n = 2: mean s, variance s^2 */
        squares[e] = fx.run.layers[0].weighted_ean_sum[e] * fx.run.layers[0].weighted_ean_sum[e];
    for (int i = 0; i < 3; i++)
        fx.run.layers[i].weighted_ean_sumsq = squares;
    fx.options.keep = 4;
    assert_int_equal(try_select(), 0);
    if (cut_report_make(&r, &fx.s, &fx.pool, NULL, &fx.options, NULL, 0, &fx.err))
        fail_msg("%s", fx.err.msg);
    const struct cut_layer *l = &r.cuts[0].layers[1];
    assert_int_equal(l->kept_id, 0);
    assert_int_equal(l->dropped_id, 7);
    assert_true(l->ratio == 2.5 / 2);
    assert_true(l->share[CUT_S] == 26.0 / 36);
    /* v = 25/2 - 6.25 = 6.25 and 16/2 - 4 = 4: 0.5 / sqrt(6.25/2 + 4/2) */
    assert_true(l->z_score > 0.2208 && l->z_score < 0.2209);
    assert_true(l->jaccard != l->jaccard);
    assert_int_equal(r.cuts[0].n_kept, 12);
    cut_report_free(&r);
    fx.options.keep = 8;
    assert_int_equal(try_select(), 0);
    assert_int_equal(cut_report_make(&r, &fx.s, &fx.pool, NULL, &fx.options, NULL, 0, &fx.err), 0);
    assert_int_equal(r.cuts[0].layers[0].dropped_id, -1);
    assert_true(r.cuts[0].mean_dropped_share == 0);
    cut_report_free(&r);
    (void)state;
}

static void options_read_their_files(void **state)
{
    struct arena arena;
    struct layer_ids *lists;
    struct layer_count *counts;
    double *weights;
    size_t n;
    arena_init(&arena, 0);
#define TEXT(s) s, sizeof s - 1, "file", &arena, &fx.err
    assert_int_equal(prune_ids_parse(&lists, &n, TEXT("{\"10\":[3,1],\"4\":[]}")), 0);
    assert_int_equal(n, 2);
    assert_int_equal(lists[0].layer, 4);
    assert_int_equal(lists[1].ids[0], 1);
    assert_int_equal(prune_ids_parse(&lists, &n, TEXT("{\"4\":[1,1]}")), -1);
    prep_error_clear(&fx.err);
    assert_int_equal(prune_ids_parse(&lists, &n, TEXT("{\"4\":1}")), -1);
    prep_error_clear(&fx.err);
    assert_int_equal(prune_ids_parse(&lists, &n, TEXT("[1]")), -1);
    prep_error_clear(&fx.err);
    assert_int_equal(prune_counts_parse(&counts, &n, TEXT("{\"3\":116,\"2\":5}")), 0);
    assert_int_equal(counts[0].layer, 2);
    assert_int_equal(counts[1].count, 116);
    assert_int_equal(prune_counts_parse(&counts, &n, TEXT("{\"3\":-1}")), -1);
    prep_error_clear(&fx.err);
    assert_int_equal(prune_counts_parse(&counts, &n, TEXT("{\"x\":1}")), -1);
    prep_error_clear(&fx.err);
#undef TEXT
    assert_int_equal(prune_weights_parse(&weights, &n, "0.25,0.75", &arena, &fx.err), 0);
    assert_int_equal(n, 2);
    assert_true(weights[1] == 0.75);
    assert_int_equal(prune_weights_parse(&weights, &n, "1,-1", &arena, &fx.err), -1);
    assert_int_equal(fx.err.code, PREP_EUSAGE);
    prep_error_clear(&fx.err);
    assert_int_equal(prune_weights_parse(&weights, &n, "1,[2]", &arena, &fx.err), -1);
    prep_error_clear(&fx.err);
    assert_int_equal(prune_weights_parse(&weights, &n, "1;2", &arena, &fx.err), -1);
    assert_int_equal(fx.err.code, PREP_EUSAGE);
    arena_fini(&arena);
    (void)state;
}

static void options_know_their_words(void **state)
{
    enum prune_metric metric;
    enum prune_mtp mtp;
    enum prune_layer_norm norm;
    assert_int_equal(prune_metric_parse(&metric, "ean_ca", &fx.err), 0);
    assert_int_equal(metric, METRIC_EAN_CA);
    assert_int_equal(prune_mtp_parse(&mtp, "full", &fx.err), 0);
    assert_int_equal(mtp, MTP_FULL);
    assert_int_equal(prune_layer_norm_parse(&norm, "none", &fx.err), 0);
    assert_int_equal(norm, LAYER_NORM_NONE);
    assert_int_equal(prune_metric_parse(&metric, "reap_l2", &fx.err), -1);
    assert_int_equal(fx.err.code, PREP_EUSAGE);
    assert_non_null(strstr(fx.err.msg, "weighted_frequency_sum"));
    (void)state;
}

static void a_model_comes_from_its_config(void **state)
{
    struct config config;
    struct prune_model m;
    struct arena arena;
    arena_init(&arena, 0);
    if (config_load(&config, &io_posix, test_path("%s/observations/rand32/checkpoint", test_data()),
                    NULL, &fx.err) ||
        prune_model_from_config(&m, &config, &arena, &fx.err))
        fail_msg("%s", fx.err.msg);
    assert_int_equal(m.n_moe_layers, 4);
    assert_int_equal(m.moe_layers[0], 3);
    assert_int_equal(m.moe_layers[3], 6);
    assert_int_equal(prune_model_experts(&m, 3), 32);
    assert_int_equal(m.num_experts_per_tok, 4);
    assert_true(prune_model_is_mtp(&m, 6) && !prune_model_is_mtp(&m, 5));
    assert_int_equal(prune_model_find(&m, 5), 2);
    assert_true(prune_model_find(&m, 2) == SIZE_MAX);
    config_free(&config);
    arena_fini(&arena);
    (void)state;
}

#define SELECT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SELECT_TEST(keeps_the_most_salient_in_ascending_order),
        SELECT_TEST(a_tie_goes_to_the_lower_id_and_is_told),
        SELECT_TEST(a_ratio_drops_the_truncated_share),
        SELECT_TEST(range_then_top_k_then_groups),
        SELECT_TEST(nothing_said_is_a_usage_error),
        SELECT_TEST(groups_keep_equal_shares),
        SELECT_TEST(protected_experts_stay_and_dropped_ones_go),
        SELECT_TEST(too_many_protected_is_refused),
        SELECT_TEST(lists_name_layers_of_the_model),
        SELECT_TEST(the_quantile_interpolates_in_float32),
        SELECT_TEST(super_experts_are_protected_in_the_first_layers_only),
        SELECT_TEST(counts_give_each_layer_its_own),
        SELECT_TEST(a_budget_takes_from_the_cheapest_layer),
        SELECT_TEST(a_budget_keeps_what_is_protected),
        SELECT_TEST(a_budget_with_groups_takes_whole_rounds),
        SELECT_TEST(a_flat_zero_layer_has_no_budget_share),
        SELECT_TEST(warns_of_what_a_count_excludes),
        SELECT_TEST(a_pooled_infinity_is_refused),
        SELECT_TEST(a_permutation_permutes_the_choice),
        SELECT_TEST(a_cut_reports_the_gap_in_standard_errors),
        SELECT_TEST(options_read_their_files),
        SELECT_TEST(options_know_their_words),
        SELECT_TEST(a_model_comes_from_its_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
