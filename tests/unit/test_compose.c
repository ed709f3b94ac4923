/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/prune/compose.h"
#include "libprep/prune/cut_report.h"
#include "tests/support/runs.h"

#define SHA_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

enum { E = 8 };

struct fixture {
    struct prune_model model;
    struct prune_options options;
    struct obs_run run;
    struct keep_map first, second; /* parent and child */
    struct report report;
    struct prep_error err;
};

static struct fixture fx;

static int setup(void **state)
{
    static const int64_t n[E] = {2, 2, 2, 2, 2, 2, 2, 2};
    static const double s[E] = {5, 1, 8, 3, 7, 2, 6, 4};
    memset(&fx, 0, sizeof fx);
    test_model(&fx.model, E);
    test_run(&fx.run, "a");
    for (int layer = 3; layer <= 6; layer++)
        test_run_add(&fx.run, layer, E, n, s);
    fx.options.size = SIZE_KEEP;
    report_init(&fx.report);
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    keep_map_free(&fx.first);
    keep_map_free(&fx.second);
    obs_run_free(&fx.run);
    report_fini(&fx.report);
    (void)state;
    return 0;
}

/* Pools, selects and composes; with a parent the model is the checkpoint it describes. */
static int try_compose(struct keep_map *out, int64_t keep, const struct known_map *parent)
{
    struct pool pool = {0};
    struct selection s = {0};
    prep_error_clear(&fx.err);
    keep_map_free(out);
    fx.options.keep = keep;
    int rc = pool_runs(&pool, &fx.run, 1, &fx.model, parent, &fx.options, &fx.report, &fx.err) ||
             select_experts(&s, &pool, &fx.model, parent, &fx.options, &fx.report, &fx.err) ||
             compose_selection(out, &s, &pool, parent, &fx.options, NULL, &fx.report, &fx.err);
    selection_free(&s);
    pool_free(&pool);
    return rc ? -1 : 0;
}

static void compose(struct keep_map *out, int64_t keep, const struct known_map *parent)
{
    if (try_compose(out, keep, parent))
        fail_msg("%s %s", fx.err.tag, fx.err.msg);
}

static const char *list(const int *ids, int n)
{
    static char text[256];
    text[0] = 0;
    for (int i = 0; i < n; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%d", i ? " " : "", ids[i]);
    }
    return text;
}

static void check_layer(const struct keep_map *m, int layer, const char *origin, const char *parent,
                        const char *source)
{
    const struct keep_layer *l = keep_map_layer(m, layer);
    assert_non_null(l);
    assert_string_equal(l->origin, origin);
    assert_string_equal(list(l->kept_parent, l->n_kept), parent);
    assert_string_equal(list(l->kept_source, l->n_kept), source);
}

/* A first pass to n experts, and the model as it is after it. */
static struct known_map prune_once(int64_t n)
{
    compose(&fx.first, n, NULL);
    fx.model.n_routed_experts = (int)n;
    return (struct known_map){&fx.first, SHA_A};
}

static void a_first_pass_keeps_base_ids(void **state)
{
    compose(&fx.first, 4, NULL);
    check_layer(&fx.first, 3, "observed", "0 2 4 6", "0 2 4 6");
    check_layer(&fx.first, 6, "proxy:5", "0 2 4 6", "0 2 4 6");
    assert_null(fx.first.parent_sha256);
    assert_int_equal(fx.first.n_routed_experts, 4);
    assert_int_equal(fx.first.n_passes, 1);
    assert_string_equal(fx.first.passes[0].metric, "reap");
    assert_string_equal(fx.first.passes[0].source, "sums");
    assert_int_equal(fx.first.passes[0].runs[0].layers, 4);
    assert_string_equal(fx.first.passes[0].tool_version, PREP_VERSION);
    (void)state;
}

static void a_second_pass_composes(void **state)
{
    struct known_map parent = prune_once(6);
    check_layer(&fx.first, 4, "observed", "0 2 3 4 6 7", "0 2 3 4 6 7");
    compose(&fx.second, 4, &parent);
    check_layer(&fx.second, 4, "observed", "0 1 3 4", "0 2 4 6");
    check_layer(&fx.second, 6, "proxy:5", "0 1 3 4", "0 2 4 6");
    assert_string_equal(fx.second.parent_sha256, SHA_A);
    assert_int_equal(fx.second.parent_n_routed_experts, 6);
    assert_int_equal(fx.second.base_n_routed_experts, 8);
    assert_int_equal(fx.second.n_passes, 2);
    assert_int_equal(fx.second.passes[1].from, 6);
    assert_int_equal(fx.second.passes[1].to, 4);
    (void)state;
}

static void what_is_composed_reads_back(void **state)
{
    struct known_map parent = prune_once(6);
    struct arena arena;
    struct span text, again;
    struct keep_map m;
    arena_init(&arena, 0);
    compose(&fx.second, 4, &parent);
    assert_int_equal(keep_map_write(&fx.second, &arena, &text, &fx.err), 0);
    if (keep_map_parse(&m, (const char *)text.p, text.n, "map", &fx.err) ||
        keep_map_write(&m, &arena, &again, &fx.err))
        fail_msg("%s", fx.err.msg);
    assert_int_equal(text.n, again.n);
    assert_memory_equal(text.p, again.p, text.n);
    keep_map_free(&m);
    arena_fini(&arena);
    (void)state;
}

static void mtp_follows_its_rule(void **state)
{
    fx.options.mtp = MTP_FIRST;
    compose(&fx.first, 4, NULL);
    check_layer(&fx.first, 6, "first", "0 1 2 3", "0 1 2 3");
    fx.options.mtp = MTP_OWN;
    compose(&fx.first, 4, NULL);
    check_layer(&fx.first, 6, "own", "0 2 4 6", "0 2 4 6");
    fx.options.mtp = MTP_DROP;
    compose(&fx.first, 4, NULL);
    assert_null(keep_map_layer(&fx.first, 6));
    assert_int_equal(fx.first.num_nextn_predict_layers, 0);
    assert_false(report_has(&fx.report, "PLAN_NONUNIFORM"));
    fx.options.mtp = MTP_FULL;
    compose(&fx.first, 4, NULL);
    check_layer(&fx.first, 6, "identity", "0 1 2 3 4 5 6 7", "0 1 2 3 4 5 6 7");
    assert_true(report_has(&fx.report, "PLAN_NONUNIFORM"));
    assert_int_equal(fx.first.n_routed_experts, 8);
    assert_int_equal(fx.first.passes[0].to, 4);
    (void)state;
}

static void a_proxy_can_be_named(void **state)
{
    fx.run.layers[0].weighted_ean_sum[1] = 100;
    fx.options.has_mtp_proxy = 1;
    fx.options.mtp_proxy = 3;
    compose(&fx.first, 4, NULL);
    check_layer(&fx.first, 6, "proxy:3", "1 2 4 6", "1 2 4 6");
    fx.options.mtp_proxy = 2;
    assert_int_equal(try_compose(&fx.first, 4, NULL), -1);
    assert_int_equal(fx.err.code, PREP_EUSAGE);
    fx.options.mtp_proxy = 6;
    assert_int_equal(try_compose(&fx.first, 4, NULL), -1);
    assert_int_equal(fx.err.code, PREP_EUSAGE);
    (void)state;
}

static void an_mtp_layer_of_another_rule_is_not_nested(void **state)
{
    fx.options.mtp = MTP_FIRST;
    struct known_map parent = prune_once(6);
    check_layer(&fx.first, 6, "first", "0 1 2 3 4 5", "0 1 2 3 4 5");
    fx.options.mtp = MTP_PROXY;
    assert_int_equal(try_compose(&fx.second, 4, &parent), -1);
    assert_string_equal(fx.err.tag, "PLAN_MTP_NOT_NESTED");
    assert_int_equal(fx.err.code, PREP_EDATA);
    assert_non_null(strstr(fx.err.msg, "expert 6"));
    fx.options.mtp = MTP_FIRST;
    compose(&fx.second, 4, &parent);
    check_layer(&fx.second, 6, "first", "0 1 2 3", "0 1 2 3");
    (void)state;
}

static void a_full_mtp_layer_can_be_pruned_later(void **state)
{
    static const int experts[] = {6, 6, 6, 8};
    fx.options.mtp = MTP_FULL;
    compose(&fx.first, 6, NULL);
    fx.model.n_experts = experts;
    const struct known_map parent = {&fx.first, SHA_A};
    fx.options.mtp = MTP_PROXY;
    compose(&fx.second, 4, &parent);
    check_layer(&fx.second, 5, "observed", "0 1 3 4", "0 2 4 6");
    check_layer(&fx.second, 6, "proxy:5", "0 2 4 6", "0 2 4 6");
    assert_int_equal(keep_map_layer(&fx.second, 6)->n_parent, 8);
    (void)state;
}

static void statistics_of_the_pruned_checkpoint_compose_too(void **state)
{
    static const int64_t n[6] = {2, 2, 2, 2, 2, 2};
    static const double s[6] = {1, 2, 3, 4, 5, 6};
    struct known_map parent = prune_once(6);
    obs_run_free(&fx.run);
    test_run(&fx.run, "later");
    for (int layer = 3; layer <= 5; layer++)
        test_run_add(&fx.run, layer, 6, n, s);
    fx.run.id_space = "keep-map";
    fx.run.keep_map_sha256 = SHA_A;
    compose(&fx.second, 4, &parent);
    check_layer(&fx.second, 3, "observed", "2 3 4 5", "3 4 6 7");
    (void)state;
}

static void protection_names_base_experts_in_every_pass(void **state)
{
    int ids[] = {1, 7};
    const struct layer_ids protect = {4, ids, 2};
    struct known_map parent = prune_once(6);
    fx.options.protect = &protect;
    fx.options.n_protect = 1;
    compose(&fx.second, 4, &parent);
    /* Base expert 1 is gone already; 7 is number 5 of the parent. */
    check_layer(&fx.second, 4, "observed", "1 3 4 5", "2 4 6 7");
    assert_true(report_has(&fx.report, "PLAN_LIST_UNUSED"));
    assert_string_equal(fx.second.passes[1].protect, "list");
    (void)state;
}

static void the_pass_records_what_else_was_asked(void **state)
{
    static const double weights[] = {0.5};
    fx.options.pool = POOL_WEIGHTS;
    fx.options.weights = weights;
    fx.options.n_weights = 1;
    fx.options.size = SIZE_BUDGET;
    fx.options.budget = 20;
    compose(&fx.first, 0, NULL);
    struct span extra = fx.first.passes[0].extra;
    assert_non_null(extra.p);
    assert_non_null(strstr((const char *)extra.p, "\"weights\""));
    assert_non_null(strstr((const char *)extra.p, "\"budget\""));
    (void)state;
}

static void parse(struct keep_map *m, const char *text)
{
    if (keep_map_parse(m, text, strlen(text), "plan", &fx.err))
        fail_msg("%s", fx.err.msg);
}

/* The plan's text applied to the fixture's model. */
static int explicit_text(const char *text, const struct known_map *parent)
{
    struct keep_map plan;
    prep_error_clear(&fx.err);
    keep_map_free(&fx.second);
    parse(&plan, text);
    int rc =
        compose_explicit(&fx.second, &plan, &fx.model, parent, &fx.options, &fx.report, &fx.err);
    keep_map_free(&plan);
    return rc;
}

static void a_short_list_is_a_plan(void **state)
{
    if (explicit_text("{\"3\":[0,1,5],\"4\":{\"kept\":[2,3,4],\"keep\":3},\"5\":[1,2,3]}", NULL))
        fail_msg("%s", fx.err.msg);
    check_layer(&fx.second, 4, "explicit", "2 3 4", "2 3 4");
    check_layer(&fx.second, 6, "proxy:5", "1 2 3", "1 2 3");
    assert_int_equal(fx.second.n_routed_experts, 3);
    assert_string_equal(fx.second.passes[0].metric, "explicit");
    assert_true(fx.second.full);
    (void)state;
}

static void layers_that_a_plan_does_not_name_stay_whole(void **state)
{
    assert_int_equal(explicit_text("{\"3\":[0,1,5,6]}", NULL), 0);
    check_layer(&fx.second, 4, "identity", "0 1 2 3 4 5 6 7", "0 1 2 3 4 5 6 7");
    assert_true(report_has(&fx.report, "PLAN_NONUNIFORM"));
    (void)state;
}

static void a_short_list_names_ids_of_the_checkpoint_at_hand(void **state)
{
    struct known_map parent = prune_once(6);
    assert_int_equal(explicit_text("{\"3\":[0,5],\"4\":[0,5],\"5\":[0,5]}", &parent), 0);
    check_layer(&fx.second, 3, "explicit", "0 5", "0 7");
    check_layer(&fx.second, 6, "proxy:5", "0 5", "0 7");
    assert_int_equal(fx.second.n_passes, 2);
    (void)state;
}

static void bad_plans_are_refused(void **state)
{
    assert_int_equal(explicit_text("{\"3\":[0,8]}", NULL), -1);
    assert_string_equal(fx.err.tag, "KEEP_MAP");
    assert_int_equal(explicit_text("{\"2\":[0,1]}", NULL), -1);
    assert_string_equal(fx.err.tag, "KEEP_MAP");
    assert_int_equal(explicit_text("{\"3\":[0]}", NULL), -1);
    assert_string_equal(fx.err.tag, "PLAN_TOPK");
    fx.model.n_group = 2;
    fx.model.topk_group = 2;
    assert_int_equal(explicit_text("{\"3\":[0,1,2,4]}", NULL), -1);
    assert_string_equal(fx.err.tag, "PLAN_GROUP_DIVISIBILITY");
    assert_int_equal(explicit_text("{\"3\":[0,1,4]}", NULL), -1);
    assert_string_equal(fx.err.tag, "PLAN_GROUP_DIVISIBILITY");
    assert_int_equal(explicit_text("{\"3\":[0,1,4,5],\"4\":[0,1,4,5],\"5\":[2,3,6,7]}", NULL), 0);
    (void)state;
}

/* Writes m and applies the text. */
static int apply(const struct keep_map *m, const struct known_map *parent, char *out, size_t size)
{
    struct arena arena;
    struct span text;
    arena_init(&arena, 0);
    assert_int_equal(keep_map_write(m, &arena, &text, &fx.err), 0);
    int rc = explicit_text((const char *)text.p, parent);
    assert_true(text.n < size);
    memcpy(out, text.p, text.n + 1);
    arena_fini(&arena);
    return rc;
}

static void check_text(const struct keep_map *m, const char *want)
{
    struct arena arena;
    struct span text;
    arena_init(&arena, 0);
    assert_int_equal(keep_map_write(m, &arena, &text, &fx.err), 0);
    assert_string_equal((const char *)text.p, want);
    arena_fini(&arena);
}

static void a_full_map_is_a_plan_for_its_base(void **state)
{
    char text[8192];
    compose(&fx.first, 4, NULL);
    if (apply(&fx.first, NULL, text, sizeof text))
        fail_msg("%s", fx.err.msg);
    check_text(&fx.second, text);
    (void)state;
}

static void a_two_pass_map_is_a_plan_for_parent_and_base(void **state)
{
    char text[8192];
    struct keep_map map = {0};
    struct known_map parent = prune_once(6);
    compose(&map, 4, &parent);
    /* Applied to the parent: the same map. */
    if (apply(&map, &parent, text, sizeof text))
        fail_msg("%s", fx.err.msg);
    check_text(&fx.second, text);
    /* Applied to the base: both passes at once. */
    fx.model.n_routed_experts = E;
    if (apply(&map, NULL, text, sizeof text))
        fail_msg("%s", fx.err.msg);
    check_layer(&fx.second, 3, "observed", "0 2 4 6", "0 2 4 6");
    assert_null(fx.second.parent_sha256);
    assert_int_equal(fx.second.n_passes, 2);
    keep_map_free(&map);
    (void)state;
}

static void a_full_map_does_not_fit_a_checkpoint_that_lost_its_experts(void **state)
{
    char text[8192];
    struct keep_map map = {0};
    compose(&map, 6, NULL);
    struct known_map parent = prune_once(4);
    assert_int_equal(apply(&map, &parent, text, sizeof text), -1);
    assert_string_equal(fx.err.tag, "KEEP_MAP");
    assert_non_null(strstr(fx.err.msg, "expert 3"));
    fx.model.n_routed_experts = 7;
    assert_int_equal(apply(&map, NULL, text, sizeof text), -1);
    assert_non_null(strstr(fx.err.msg, "base of 8"));
    keep_map_free(&map);
    (void)state;
}

static void a_full_map_that_dropped_mtp_drops_it(void **state)
{
    char text[8192];
    fx.options.mtp = MTP_DROP;
    compose(&fx.first, 4, NULL);
    fx.options.mtp = MTP_PROXY;
    assert_int_equal(apply(&fx.first, NULL, text, sizeof text), 0);
    assert_int_equal(fx.second.num_nextn_predict_layers, 0);
    check_text(&fx.second, text);
    (void)state;
}

static void the_report_travels_in_the_map(void **state)
{
    struct pool pool;
    struct selection s;
    struct cut_report r;
    struct arena arena;
    struct span json, text;
    arena_init(&arena, 0);
    fx.options.keep = 4;
    assert_int_equal(
        pool_runs(&pool, &fx.run, 1, &fx.model, NULL, &fx.options, &fx.report, &fx.err), 0);
    assert_int_equal(select_experts(&s, &pool, &fx.model, NULL, &fx.options, &fx.report, &fx.err),
                     0);
    assert_int_equal(cut_report_make(&r, &s, &pool, NULL, &fx.options, NULL, 0, &fx.err), 0);
    assert_int_equal(cut_report_json(&r, 0, &arena, &json, &fx.err), 0);
    assert_int_equal(
        compose_selection(&fx.first, &s, &pool, NULL, &fx.options, &json, &fx.report, &fx.err), 0);
    assert_int_equal(keep_map_write(&fx.first, &arena, &text, &fx.err), 0);
    assert_non_null(strstr((const char *)text.p, "\"boundary_kept\": [0, 2.5]"));
    assert_non_null(strstr((const char *)text.p, "\"overall\": {\"mean_dropped_share\": "));
    assert_non_null(strstr((const char *)text.p, "\"gate_semantics\": \"assumed\""));
    cut_report_free(&r);
    selection_free(&s);
    pool_free(&pool);
    arena_fini(&arena);
    (void)state;
}

/* keep(E -> N2) = keep(N1 -> N2) after keep(E -> N1), on tables full of ties. */
static void passes_nest(void **state)
{
    enum { WIDE = 24 };
    struct test_random random;
    test_random_init(&random);
    for (int round = 0; round < 60; round++) {
        struct keep_map direct = {0};
        int ids[] = {3, 20};
        const struct layer_ids protect = {4, ids, 2};
        int64_t first = 4 + (int64_t)test_random_below(&random, WIDE - 4);
        int64_t second = 3 + (int64_t)test_random_below(&random, (uint64_t)first - 3);
        obs_run_free(&fx.run);
        test_run_random(&fx.run, "random", WIDE, 1 + test_random_below(&random, 12), &random);
        test_model(&fx.model, WIDE);
        fx.options.protect = &protect;
        fx.options.n_protect = test_random_below(&random, 2);
        fx.options.protect_auto = (enum prune_protect)test_random_below(&random, 3);
        compose(&direct, second, NULL);
        struct known_map parent = prune_once(first);
        compose(&fx.second, second, &parent);
        for (size_t i = 0; i < direct.n_layers; i++)
            assert_memory_equal(direct.layers[i].kept_source, fx.second.layers[i].kept_source,
                                (size_t)second * sizeof(int));
        keep_map_free(&direct);
    }
    (void)state;
}

#define COMPOSE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COMPOSE_TEST(a_first_pass_keeps_base_ids),
        COMPOSE_TEST(a_second_pass_composes),
        COMPOSE_TEST(what_is_composed_reads_back),
        COMPOSE_TEST(mtp_follows_its_rule),
        COMPOSE_TEST(a_proxy_can_be_named),
        COMPOSE_TEST(an_mtp_layer_of_another_rule_is_not_nested),
        COMPOSE_TEST(a_full_mtp_layer_can_be_pruned_later),
        COMPOSE_TEST(statistics_of_the_pruned_checkpoint_compose_too),
        COMPOSE_TEST(protection_names_base_experts_in_every_pass),
        COMPOSE_TEST(the_pass_records_what_else_was_asked),
        COMPOSE_TEST(a_short_list_is_a_plan),
        COMPOSE_TEST(layers_that_a_plan_does_not_name_stay_whole),
        COMPOSE_TEST(a_short_list_names_ids_of_the_checkpoint_at_hand),
        COMPOSE_TEST(bad_plans_are_refused),
        COMPOSE_TEST(a_full_map_is_a_plan_for_its_base),
        COMPOSE_TEST(a_two_pass_map_is_a_plan_for_parent_and_base),
        COMPOSE_TEST(a_full_map_does_not_fit_a_checkpoint_that_lost_its_experts),
        COMPOSE_TEST(a_full_map_that_dropped_mtp_drops_it),
        COMPOSE_TEST(the_report_travels_in_the_map),
        COMPOSE_TEST(passes_nest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
