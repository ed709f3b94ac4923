/* SPDX-License-Identifier: MIT */
/*
 * Sequences routed among some experts only, beside models that were really pruned to these.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/schedule.h"
#include "libprep/prune/apply.h"
#include "libprep/prune/random_keep.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/forward.h"

enum { LAYERS = 5, FIRST_MOE = 2, MTP = 5, EXPERTS = 16, VOCAB = 2048, LENGTH = 80, SETS = 3 };

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

/* Keep sets for every layer of nano; n 0: the layer is as it is. */
struct sets {
    uint32_t ids[LAYERS + 1][EXPERTS];
    struct expert_set by_layer[LAYERS + 1];
};

static void draw(struct sets *s, const int *n_keep, int n_group, uint64_t seed)
{
    struct prep_error err = PREP_ERROR_INIT;
    memset(s, 0, sizeof *s);
    for (int layer = FIRST_MOE; layer <= MTP; layer++) {
        const int n = n_keep[layer - FIRST_MOE];
        const struct random_layer from = {layer, EXPERTS, n_group, seed};
        if (n == 0)
            continue;
        assert_int_equal(random_keep(s->ids[layer], n, &from, &err), 0);
        s->by_layer[layer] = (struct expert_set){s->ids[layer], (size_t)n};
    }
}

/* The model that has these experts only. */
struct cut {
    struct keep_map map;
    struct prune_output out;
    struct config config;
    struct runtime *runtime;
};

static void cut_open(struct cut *c, const struct test_model *m, const struct sets *s,
                     const struct runtime_options *options)
{
    struct prep_error err = PREP_ERROR_INIT;
    char text[2048] = "{";
    size_t at = 1;
    for (int layer = FIRST_MOE; layer <= MTP; layer++) {
        const struct expert_set *set = &s->by_layer[layer];
        if (!set->experts)
            continue;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%d\":[", at > 1 ? "," : "", layer);
        for (size_t i = 0; i < set->n; i++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%u", i ? "," : "",
                                   set->experts[i]);
        at += (size_t)snprintf(text + at, sizeof text - at, "]");
    }
    at += (size_t)snprintf(text + at, sizeof text - at, "}");
    if (keep_map_parse(&c->map, text, at, "map", &err) ||
        prune_apply(&c->out, m->ckpt, &m->config, &c->map, &(struct apply_options){0}, NULL,
                    &err) ||
        config_parse(&c->config, (const char *)c->out.edited[0].text.p, c->out.edited[0].text.n,
                     "config", NULL, &err))
        fail_msg("%s", err.msg);
    const struct runtime_source source = {.view = &c->out.view, .config = &c->config};
    if (runtime_open(&c->runtime, &source, options, NULL, &err))
        fail_msg("%s", err.msg);
}

static void cut_close(struct cut *c)
{
    runtime_close(c->runtime);
    config_free(&c->config);
    prune_output_fini(&c->out);
    keep_map_free(&c->map);
}

struct rows {
    size_t lane;
    float *main, *mtp; /* [2 LENGTH, VOCAB] and one row per sequence less */
};

static int keep_rows(void *arg, const struct schedule_logits *l, struct prep_error *err)
{
    const struct rows *lanes = arg;
    (void)err;
    for (size_t i = 0; i < SETS + 1; i++) {
        float *to = l->mtp_layer < 0 ? lanes[i].main : lanes[i].mtp;
        if (to)
            memcpy(to + l->first_row * VOCAB, l->logits[lanes[i].lane],
                   l->n_rows * VOCAB * sizeof *to);
    }
    return 0;
}

/* Two texts through lanes of one runtime, rows of each lane. */
static void run_lanes(struct rows *rows, const struct lane *lanes, size_t n, int layer_major)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t *tokens = test_reference_tokens();
    const struct sequence sequences[2] = {{.tokens = tokens, .n = LENGTH},
                                          {.tokens = tokens + REFERENCE_LENGTH, .n = LENGTH}};
    const struct schedule s = {.sequences = sequences,
                               .n_sequences = 2,
                               .lanes = lanes,
                               .n_lanes = n,
                               .with_mtp = 1,
                               .layer_major = layer_major,
                               .visitor = {.arg = rows, .logits = keep_rows}};
    for (size_t i = 0; i < SETS + 1; i++)
        if (rows[i].lane < n) {
            rows[i].main = calloc(2 * LENGTH * VOCAB, sizeof(float));
            rows[i].mtp = calloc(2 * LENGTH * VOCAB, sizeof(float));
            assert_true(rows[i].main && rows[i].mtp);
        }
    if (schedule_run(&s, &err))
        fail_msg("%s", err.msg);
    free(tokens);
}

static void free_rows(struct rows *rows)
{
    for (size_t i = 0; i < SETS + 1; i++) {
        free(rows[i].main);
        free(rows[i].mtp);
    }
}

static void check_same(const struct rows *a, const struct rows *b, const char *what)
{
    const size_t n = 2 * LENGTH * VOCAB * sizeof(float);
    if (memcmp(a->main, b->main, n) != 0)
        fail_msg("%s: the model's logits differ", what);
    if (memcmp(a->mtp, b->mtp, n) != 0)
        fail_msg("%s: the MTP layer's logits differ", what);
}

static void check_cuts(const char *dir, const int n_keep[SETS][LAYERS + 1 - FIRST_MOE], int n_group)
{
    const struct runtime_options options = test_model_options();
    struct rows lanes[SETS + 1] = {{0}};
    static struct sets sets[SETS];
    struct lane all[SETS + 1];
    struct test_model m;
    test_model_open(&m, dir, &options);
    all[0] = (struct lane){.runtime = m.runtime, .forced_by = -1, .fed_by = -1};
    for (size_t i = 0; i < SETS; i++) {
        draw(&sets[i], n_keep[i], n_group, 5 + i);
        all[i + 1] = all[0];
        all[i + 1].among = sets[i].by_layer;
        lanes[i + 1].lane = i + 1;
    }
    run_lanes(lanes, all, SETS + 1, 0);
    for (size_t i = 0; i <= SETS; i++) {
        struct rows alone[SETS + 1] = {{0}, {.lane = 1}, {.lane = 1}, {.lane = 1}};
        struct cut c = {0};
        if (i)
            cut_open(&c, &m, &sets[i - 1], &options);
        const struct lane lane = {
            .runtime = i ? c.runtime : m.runtime, .forced_by = -1, .fed_by = -1};
        run_lanes(alone, &lane, 1, 0);
        check_same(&alone[0], &lanes[i], i ? test_path("set %zu", i) : "beside others");
        if (i && memcmp(lanes[i].main, lanes[0].main, LENGTH * VOCAB * sizeof(float)) == 0)
            fail_msg("set %zu changes nothing", i);
        free_rows(alone);
        if (i)
            cut_close(&c);
    }
    free_rows(lanes);
    test_model_close(&m);
}

static void restricted_lanes_are_pruned_models(void **state)
{
    /* Alike everywhere, unlike by layer, and with layers that stay as they are. */
    static const int n_keep[SETS][4] = {{9, 9, 9, 9}, {4, 15, 7, 8}, {0, 10, 0, 0}};
    (void)state;
    check_cuts(nano(), n_keep, 1);
}

static void groups_of_the_router_are_those_of_the_pruned_model(void **state)
{
    static const int n_keep[SETS][4] = {{12, 12, 12, 12}, {8, 8, 8, 8}, {12, 8, 0, 12}};
    struct edit e;
    (void)state;
    edit_open(&e, nano());
    edit_replace(&e, "config.json", "\"n_group\": 1", "\"n_group\": 4");
    edit_replace(&e, "config.json", "\"topk_group\": 1", "\"topk_group\": 2");
    const char *dir = edit_write(&e);
    edit_close(&e);
    check_cuts(dir, n_keep, 4);
}

static void both_schedules_restrict(void **state)
{
    static const int n_keep[] = {9, 10, 11, 12};
    const struct runtime_options options = test_model_options();
    struct rows a[SETS + 1] = {{.lane = 1}, {.lane = 2}, {.lane = 2}, {.lane = 2}};
    struct rows b[SETS + 1] = {{.lane = 1}, {.lane = 2}, {.lane = 2}, {.lane = 2}};
    static struct sets sets;
    struct test_model m;
    (void)state;
    test_model_open(&m, nano(), &options);
    draw(&sets, n_keep, 1, 3);
    const struct lane lanes[2] = {
        {.runtime = m.runtime, .forced_by = -1, .fed_by = -1},
        {.runtime = m.runtime, .forced_by = -1, .fed_by = -1, .among = sets.by_layer}};
    run_lanes(a, lanes, 2, 0);
    run_lanes(b, lanes, 2, 1);
    check_same(&a[0], &b[0], "layer-major");
    free_rows(a);
    free_rows(b);
    test_model_close(&m);
}

static void sets_that_no_router_can_use_are_refused(void **state)
{
    static const uint32_t few[] = {1, 2, 3}, twice[] = {1, 2, 2, 3}, falling[] = {4, 3, 2, 1, 0},
                          outside[] = {1, 2, 3, 16};
    static const struct expert_set bad[] = {{few, 3}, {twice, 4}, {falling, 5}, {outside, 4}};
    static const char *const says[] = {"a token goes to 4", "ascending", "ascending", "below 16"};
    const struct runtime_options options = test_model_options();
    struct expert_set sets[LAYERS + 1] = {{0}};
    uint32_t *tokens = test_reference_tokens();
    struct test_model m;
    (void)state;
    test_model_open(&m, nano(), &options);
    struct batch *b = test_batch(m.runtime, tokens, 1, 4);
    for (size_t i = 0; i < 4; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        sets[3] = bad[i];
        assert_int_equal(batch_restrict(b, 0, sets, &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
        if (!strstr(err.msg, "layer 3") || !strstr(err.msg, says[i]))
            fail_msg("%s: want \"%s\"", err.msg, says[i]);
    }
    struct prep_error err = PREP_ERROR_INIT;
    sets[3] = (struct expert_set){0};
    assert_int_equal(batch_restrict(b, 0, sets, &err), 0);
    assert_int_equal(batch_restrict(b, 1, sets, &err), -1);
    batch_free(b);
    free(tokens);
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restricted_lanes_are_pruned_models),
        cmocka_unit_test(groups_of_the_router_are_those_of_the_pruned_model),
        cmocka_unit_test(both_schedules_restrict),
        cmocka_unit_test(sets_that_no_router_can_use_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
