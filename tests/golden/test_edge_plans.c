/* SPDX-License-Identifier: MIT */
/* One fault per file (edge/manifest.json): read, pool, select; code, place and warnings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/prune/select.h"
#include "tests/support/support.h"

enum { MAX_LAYERS = 8, N_CASES = 34 };

struct edge {
    const char *name, *path;
    struct prune_model model;
    int layers[MAX_LAYERS];
    struct prune_options options;
    struct arena arena;
};

static int64_t get_i64(const struct json *d, uint32_t object, const char *key, int64_t absent)
{
    uint32_t v = json_get(d, object, key);
    int64_t x = absent;
    if (v != JSON_NONE)
        assert_int_equal(json_i64(d, v, &x), 0);
    return x;
}

static const char *get_string(const struct json *d, uint32_t object, const char *key,
                              struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t v = json_get(d, object, key);
    return v == JSON_NONE ? NULL : json_string(d, v, arena, NULL, &err);
}

static void open_case(const struct json *d, uint32_t c, struct edge *e)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t model = json_get(d, c, "model"), protect = json_get(d, c, "protect");
    *e = (struct edge){0};
    arena_init(&e->arena, 0);
    e->name = get_string(d, c, "name", &e->arena);
    e->path =
        test_path("%s/observations/edge/%s", test_data(), get_string(d, c, "file", &e->arena));
    e->model.n_routed_experts = (int)get_i64(d, model, "n_routed_experts", 0);
    e->model.num_experts_per_tok = (int)get_i64(d, model, "num_experts_per_tok", 0);
    e->model.n_group = (int)get_i64(d, c, "n_group", 1);
    e->model.topk_group = (int)get_i64(d, c, "topk_group", 1);
    uint32_t layers = json_get(d, model, "moe_layers");
    for (uint32_t v = json_first(d, layers); v != JSON_NONE; v = json_next(d, v)) {
        int64_t layer;
        assert_int_equal(json_i64(d, v, &layer), 0);
        e->layers[e->model.n_moe_layers++] = (int)layer;
    }
    e->model.moe_layers = e->layers;
    e->model.num_hidden_layers = e->layers[e->model.n_moe_layers - 1] + 1;
    e->options.size = SIZE_KEEP;
    e->options.keep = get_i64(d, c, "keep", 0);
    if (protect != JSON_NONE) {
        const struct json_node *v = &d->nodes[protect];
        struct layer_ids *lists;
        if (prune_ids_parse(&lists, &e->options.n_protect, d->text + v->start, v->end - v->start,
                            "protect", &e->arena, &err))
            fail_msg("%s", err.msg);
        e->options.protect = lists;
    }
}

static void says(const struct edge *e, const struct prep_error *err, const char *what)
{
    if (!strstr(err->msg, what))
        fail_msg("%s: \"%s\" does not say \"%s\"", e->name, err->msg, what);
}

static void check_error(const struct json *d, uint32_t expect, const struct edge *e,
                        const struct prep_error *err, struct arena *arena)
{
    const char *tag = get_string(d, expect, "error", arena);
    const char *metric = get_string(d, expect, "metric", arena);
    const int64_t layer = get_i64(d, expect, "layer", -1),
                  expert = get_i64(d, expect, "expert", -1);
    if (!tag)
        fail_msg("%s: refused: %s %s", e->name, err->tag, err->msg);
    if (strcmp(tag, err->tag) != 0)
        fail_msg("%s: %s %s, want %s", e->name, err->tag, err->msg, tag);
    assert_int_equal(err->code, strncmp(tag, "PLAN_", 5) == 0 ? PREP_EUSAGE : PREP_EDATA);
    if (layer >= 0)
        says(e, err, test_path("layer %d", (int)layer));
    if (metric)
        says(e, err, metric);
    if (expert >= 0)
        says(e, err, test_path("expert %d", (int)expert));
}

static void check_kept(const struct json *d, uint32_t expect, const struct edge *e,
                       const struct selection *s)
{
    uint32_t keep = json_get(d, expect, "keep");
    if (json_get(d, expect, "error") != JSON_NONE)
        fail_msg("%s: accepted", e->name);
    assert_int_equal(json_count(d, keep), s->n_layers);
    for (size_t i = 0; i < s->n_layers; i++) {
        uint32_t list = json_get(d, keep, test_path("%d", s->layers[i].layer));
        int k = 0;
        assert_int_equal(json_count(d, list), s->layers[i].n_kept);
        for (uint32_t v = json_first(d, list); v != JSON_NONE; v = json_next(d, v), k++) {
            int64_t id;
            assert_int_equal(json_i64(d, v, &id), 0);
            assert_int_equal(id, s->layers[i].kept[k]);
        }
    }
}

/* Exactly the expected classes, besides those that speak of the tiny counts. */
static void check_warnings(const struct json *d, uint32_t expect, const struct edge *e,
                           const struct report *report)
{
    uint32_t list = json_get(d, expect, "warnings");
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&arena, 0);
    for (uint32_t v = list == JSON_NONE ? list : json_first(d, list); v != JSON_NONE;
         v = json_next(d, v)) {
        const char *tag = json_string(d, v, &arena, NULL, &err);
        if (!report_has(report, tag))
            fail_msg("%s: no warning %s", e->name, tag);
    }
    for (size_t i = 0; i < report->n_warnings; i++) {
        const char *tag = report->warnings[i].tag;
        int found = strncmp(tag, "PLAN_COUNT_", 11) == 0;
        for (uint32_t v = list == JSON_NONE ? list : json_first(d, list); v != JSON_NONE;
             v = json_next(d, v))
            found |= json_equal(d, v, tag);
        if (!found)
            fail_msg("%s: unexpected warning %s: %s", e->name, tag, report->warnings[i].text);
    }
    arena_fini(&arena);
}

static void check_case(const struct json *d, uint32_t c)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct edge e;
    struct obs_run run = {0};
    struct pool pool = {0};
    struct selection s = {0};
    struct report report;
    uint32_t expect = json_get(d, c, "expect");
    open_case(d, c, &e);
    report_init(&report);
    if (obs_run_read(&run, &io_posix, e.path, NULL, &report, &err) ||
        pool_runs(&pool, &run, 1, &e.model, NULL, &e.options, &report, &err) ||
        select_experts(&s, &pool, &e.model, NULL, &e.options, &report, &err)) {
        check_error(d, expect, &e, &err, &e.arena);
    } else {
        check_kept(d, expect, &e, &s);
        check_warnings(d, expect, &e, &report);
    }
    selection_free(&s);
    pool_free(&pool);
    obs_run_free(&run);
    report_fini(&report);
    arena_fini(&e.arena);
}

static void every_edge_case_ends_as_the_manifest_says(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *path = test_path("%s/observations/edge/manifest.json", test_data());
    struct test_bytes text = test_read(path);
    struct json d = {0};
    int n = 0;
    if (json_parse(&d, (const char *)text.p, text.n, path, &err))
        fail_msg("%s", err.msg);
    for (uint32_t c = json_first(&d, 0); c != JSON_NONE; c = json_next(&d, c), n++)
        check_case(&d, c);
    assert_int_equal(n, N_CASES);
    json_free(&d);
    free(text.p);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_edge_case_ends_as_the_manifest_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
