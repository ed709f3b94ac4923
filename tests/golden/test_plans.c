/* SPDX-License-Identifier: MIT */
/*
 * Pooled tables, plans, keep-maps and cut reports of the observation fixtures: every number
 * equal to the expected one, bit for bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/base/json.h"
#include "libprep/prune/compose.h"
#include "libprep/prune/cut_report.h"
#include "tests/support/support.h"

/* One fixture model with its runs a and b. */
struct world {
    const char *name;
    const char *files[2];
    struct prune_model model;
    struct obs_run runs[2];
};

static const int rand_layers[] = {3, 4, 5, 6}, nano_layers[] = {2, 3, 4, 5},
                 synth_layers[] = {3, 4, 5, 6, 7, 8, 9, 10};

static struct world rand32 = {
    .name = "rand32",
    .files = {"run-a/observations_1024_cosine.pt", "run-b/observations_1024_cosine-seed_42.pt"},
    .model = {.n_routed_experts = 32,
              .num_experts_per_tok = 4,
              .n_group = 1,
              .topk_group = 1,
              .num_hidden_layers = 6,
              .num_nextn_predict_layers = 1,
              .moe_layers = rand_layers,
              .n_moe_layers = 4}};
static struct world nano16 = {
    .name = "nano16",
    .files = {"run-a/observations_1024_cosine.pt", "run-b/observations_1024_cosine-seed_42.pt"},
    .model = {.n_routed_experts = 16,
              .num_experts_per_tok = 4,
              .n_group = 1,
              .topk_group = 1,
              .num_hidden_layers = 5,
              .num_nextn_predict_layers = 1,
              .moe_layers = nano_layers,
              .n_moe_layers = 4}};
static struct world synth256 = {.name = "synth256",
                                .files = {"run-a/observations.pt", "run-b/observations.pt"},
                                .model = {.n_routed_experts = 256,
                                          .num_experts_per_tok = 8,
                                          .n_group = 1,
                                          .topk_group = 1,
                                          .num_hidden_layers = 11,
                                          .moe_layers = synth_layers,
                                          .n_moe_layers = 8}};
static struct world *const worlds[] = {&rand32, &nano16, &synth256};
enum { N_WORLDS = 3 };

static void read_run(struct obs_run *run, const char *path, const char *label)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (obs_run_read(run, &io_posix, path, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(run->label, label);
}

static int open_worlds(void **state)
{
    for (int i = 0; i < N_WORLDS; i++)
        for (int k = 0; k < 2; k++)
            read_run(&worlds[i]->runs[k],
                     test_path("%s/observations/%s/%s", test_data(), worlds[i]->name,
                               worlds[i]->files[k]),
                     k ? "run-b" : "run-a");
    (void)state;
    return 0;
}

static int close_worlds(void **state)
{
    for (int i = 0; i < N_WORLDS; i++)
        for (int k = 0; k < 2; k++)
            obs_run_free(&worlds[i]->runs[k]);
    (void)state;
    return 0;
}

/* ---- expected JSON */

struct golden {
    struct test_bytes text;
    struct json doc;
};

static int open_golden(struct golden *g, const struct world *w, const char *file)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *path = test_path("%s/observations/%s/expected/%s", test_data(), w->name, file);
    *g = (struct golden){0};
    if (!test_exists(path))
        return 0;
    g->text = test_read(path);
    if (json_parse(&g->doc, (const char *)g->text.p, g->text.n, path, &err))
        fail_msg("%s", err.msg);
    return 1;
}

static void close_golden(struct golden *g)
{
    json_free(&g->doc);
    free(g->text.p);
}

static int64_t get_i64(const struct json *d, uint32_t object, const char *key, int64_t absent)
{
    uint32_t v = json_get(d, object, key);
    int64_t x = absent;
    if (v != JSON_NONE)
        assert_int_equal(json_i64(d, v, &x), 0);
    return x;
}

static int is_string(const struct json *d, uint32_t object, const char *key, const char *s)
{
    uint32_t v = json_get(d, object, key);
    return v != JSON_NONE && json_equal(d, v, s);
}

static char *get_string(const struct json *d, uint32_t object, const char *key, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t v = json_get(d, object, key);
    return v == JSON_NONE ? NULL : json_string(d, v, arena, NULL, &err);
}

static void check_ints(const struct json *d, uint32_t array, const int *v, int n, const char *what)
{
    int i = 0;
    assert_int_equal(json_count(d, array), n);
    for (uint32_t x = json_first(d, array); x != JSON_NONE; x = json_next(d, x), i++) {
        int64_t want;
        assert_int_equal(json_i64(d, x, &want), 0);
        if (want != v[i])
            fail_msg("%s: element %d is %d, want %d", what, i, v[i], (int)want);
    }
}

/* Bit for bit; the values are finite and none is -0. */
static void check_f64(const struct json *d, uint32_t node, double v, const char *what)
{
    double want;
    assert_int_not_equal(node, JSON_NONE);
    assert_int_equal(json_f64(d, node, &want), 0);
    if (want != v)
        fail_msg("%s: %.17g, want %.17g", what, v, want);
}

/* ---- pooled tables */

static double pooled_value(const struct pool_layer *l, const char *key, int e)
{
    const struct {
        const char *key;
        const double *v;
    } sums[] = {{"ean_sum", l->ean_sum},
                {"weighted_ean_sum", l->weighted_ean_sum},
                {"weighted_expert_frequency_sum", l->weighted_expert_frequency_sum},
                {"reap", l->reap},
                {"ean_mean", l->ean_mean},
                {"gate_mean", l->gate_mean}};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        if (strcmp(key, sums[i].key) == 0)
            return sums[i].v[e];
    if (strcmp(key, "expert_frequency") == 0)
        return (double)l->expert_frequency[e];
    assert_string_equal(key, "max_activations");
    return (double)l->max_activations[e];
}

static void check_pooled_member(const struct json *d, const char *key, uint32_t v,
                                const struct pool_layer *l)
{
    if (strcmp(key, "runs") == 0) {
        check_ints(d, v, l->runs, (int)l->n_runs, key);
        return;
    }
    if (strcmp(key, "total_tokens") == 0) {
        int64_t want;
        assert_int_equal(json_i64(d, v, &want), 0);
        assert_true(want == l->total_tokens);
        return;
    }
    int e = 0;
    assert_int_equal(json_count(d, v), l->n_experts);
    for (uint32_t x = json_first(d, v); x != JSON_NONE; x = json_next(d, x), e++)
        check_f64(d, x, pooled_value(l, key, e),
                  test_path("layer %d %s expert %d", l->layer, key, e));
}

static void check_pool(struct world *w, enum prune_pool mode)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prune_options o = {.pool = mode};
    struct golden g;
    struct pool pool;
    struct arena arena;
    if (!open_golden(&g, w, test_path("pooled-%s.json", prune_pool_name(mode))))
        return;
    arena_init(&arena, 0);
    if (pool_runs(&pool, w->runs, 2, &w->model, NULL, &o, NULL, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(json_count(&g.doc, 0), pool.n_layers);
    for (uint32_t k = json_first(&g.doc, 0); k != JSON_NONE;) {
        uint32_t layer = json_next(&g.doc, k);
        const struct pool_layer *l = pool_layer(&pool, keep_map_layer_key(&g.doc, k));
        assert_non_null(l);
        for (uint32_t m = json_first(&g.doc, layer); m != JSON_NONE;) {
            uint32_t v = json_next(&g.doc, m);
            check_pooled_member(&g.doc, json_string(&g.doc, m, &arena, NULL, &err), v, l);
            m = json_next(&g.doc, v);
        }
        k = json_next(&g.doc, layer);
    }
    pool_free(&pool);
    close_golden(&g);
    arena_fini(&arena);
}

static void pooled_tables_are_equal(void **state)
{
    for (int i = 0; i < N_WORLDS; i++) {
        check_pool(worlds[i], POOL_ROUTED);
        check_pool(worlds[i], POOL_TOTAL_TOKENS);
        check_pool(worlds[i], POOL_EQUAL);
    }
    (void)state;
}

/* ---- plans */

struct plan_case {
    struct prune_model model;
    struct prune_options options;
    struct obs_run *runs;
    size_t n_runs;
};

static void read_size(const struct json *d, uint32_t c, struct prune_options *o)
{
    if (json_get(d, c, "budget") == JSON_NONE) {
        o->size = SIZE_KEEP;
        o->keep = get_i64(d, c, "keep", 0);
        return;
    }
    o->size = SIZE_BUDGET;
    o->budget = get_i64(d, c, "budget", 0);
    o->block = get_i64(d, c, "block", 0);
    o->floor = get_i64(d, c, "floor", 0);
    o->ceil = get_i64(d, c, "ceil", 0);
    o->layer_norm = is_string(d, c, "layer_norm", "none") ? LAYER_NORM_NONE : LAYER_NORM_SUM;
}

static void read_case(const struct json *d, uint32_t c, struct world *w, struct plan_case *out,
                      struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prune_options *o = &out->options;
    uint32_t runs = json_get(d, c, "runs"), weights = json_get(d, c, "weights"),
             protect = json_get(d, c, "protect");
    *out = (struct plan_case){.model = w->model, .runs = w->runs};
    out->n_runs = json_count(d, runs);
    if (json_equal(d, json_first(d, runs), "run-b"))
        out->runs = &w->runs[1];
    assert_int_equal(prune_pool_parse(&o->pool, get_string(d, c, "pool", arena), &err), 0);
    assert_int_equal(prune_metric_parse(&o->metric, get_string(d, c, "metric", arena), &err), 0);
    o->stored = is_string(d, c, "saliency_source", "stored");
    read_size(d, c, o);
    if (weights != JSON_NONE) {
        const struct json_node *v = &d->nodes[weights];
        const char *list =
            arena_strndup(arena, d->text + v->start + 1, v->end - v->start - 2, &err);
        double *values;
        assert_int_equal(prune_weights_parse(&values, &o->n_weights, list, arena, &err), 0);
        o->weights = values;
    }
    if (protect != JSON_NONE) {
        const struct json_node *v = &d->nodes[protect];
        struct layer_ids *lists;
        if (prune_ids_parse(&lists, &o->n_protect, d->text + v->start, v->end - v->start, "protect",
                            arena, &err))
            fail_msg("%s", err.msg);
        o->protect = lists;
    }
    if (is_string(d, c, "protect_auto", "super"))
        o->protect_auto = PROTECT_SUPER;
    if (is_string(d, c, "protect_auto", "outliers"))
        o->protect_auto = PROTECT_OUTLIERS;
    out->model.n_group = (int)get_i64(d, c, "n_group", 1);
    out->model.topk_group = (int)get_i64(d, c, "topk_group", 1);
}

static void check_protected(const struct json *d, uint32_t c, const struct selection *s)
{
    uint32_t lists = json_get(d, c, "protected");
    if (lists == JSON_NONE)
        return;
    check_f64(d, json_get(d, c, "threshold"), s->threshold, "threshold");
    for (size_t i = 0; i < s->n_layers; i++) {
        const struct select_layer *l = &s->layers[i];
        int ids[256], n = 0;
        for (int e = 0; e < l->n_experts; e++)
            if (l->auto_protected[e])
                ids[n++] = e;
        uint32_t list = json_get(d, lists, test_path("%d", l->layer));
        if (list == JSON_NONE)
            assert_int_equal(n, 0);
        else
            check_ints(d, list, ids, n, "protected");
    }
}

static void check_case(const struct json *d, uint32_t c, struct world *w, int number)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct plan_case p;
    struct pool pool;
    struct selection s;
    struct arena arena;
    arena_init(&arena, 0);
    read_case(d, c, w, &p, &arena);
    if (pool_runs(&pool, p.runs, p.n_runs, &p.model, NULL, &p.options, NULL, &err) ||
        select_experts(&s, &pool, &p.model, NULL, &p.options, NULL, &err))
        fail_msg("%s case %d: %s %s", w->name, number, err.tag, err.msg);
    uint32_t kept = json_get(d, c, "kept"), counts = json_get(d, c, "counts");
    assert_int_equal(json_count(d, kept), s.n_layers);
    for (size_t i = 0; i < s.n_layers; i++) {
        const char *key = test_path("%d", s.layers[i].layer);
        const char *what = test_path("%s case %d layer %s", w->name, number, key);
        if (counts != JSON_NONE)
            assert_int_equal(get_i64(d, counts, key, -1), s.layers[i].n_kept);
        check_ints(d, json_get(d, kept, key), s.layers[i].kept, s.layers[i].n_kept, what);
    }
    check_protected(d, c, &s);
    selection_free(&s);
    pool_free(&pool);
    arena_fini(&arena);
}

static void every_plan_is_equal(void **state)
{
    static const int want[N_WORLDS] = {57, 57, 31};
    for (int i = 0; i < N_WORLDS; i++) {
        struct golden g;
        int n = 0;
        assert_true(open_golden(&g, worlds[i], "plans.json"));
        for (uint32_t c = json_first(&g.doc, 0); c != JSON_NONE; c = json_next(&g.doc, c))
            check_case(&g.doc, c, worlds[i], n++);
        assert_int_equal(n, want[i]);
        close_golden(&g);
    }
    (void)state;
}

/* ---- keep-maps */

static void check_same_string(const char *got, const char *want, const char *what)
{
    if (got != want && (!got || !want || strcmp(got, want) != 0))
        fail_msg("%s: %s, want %s", what, got ? got : "null", want ? want : "null");
}

static void check_same_pass(const struct keep_pass *got, const struct keep_pass *want)
{
    assert_int_equal(got->from, want->from);
    assert_int_equal(got->to, want->to);
    check_same_string(got->metric, want->metric, "metric");
    check_same_string(got->pool, want->pool, "pool");
    check_same_string(got->source, want->source, "source");
    check_same_string(got->gate_semantics, want->gate_semantics, "gate_semantics");
    check_same_string(got->protect, want->protect, "protect");
    assert_int_equal(got->extra.n, want->extra.n);
    assert_int_equal(got->n_runs, want->n_runs);
    for (size_t i = 0; i < got->n_runs; i++) {
        check_same_string(got->runs[i].label, want->runs[i].label, "label");
        check_same_string(got->runs[i].sha256, want->runs[i].sha256, "sha256");
        assert_true(got->runs[i].tokens == want->runs[i].tokens);
        assert_int_equal(got->runs[i].layers, want->runs[i].layers);
    }
}

/* All but report and tool_version. */
static void check_same_map(const struct keep_map *got, const struct keep_map *want)
{
    check_same_string(got->base_model, want->base_model, "base model");
    check_same_string(got->base_config_sha256, want->base_config_sha256, "base config");
    check_same_string(got->base_index_sha256, want->base_index_sha256, "base index");
    check_same_string(got->parent_sha256, want->parent_sha256, "parent");
    assert_int_equal(got->base_n_routed_experts, want->base_n_routed_experts);
    assert_int_equal(got->parent_n_routed_experts, want->parent_n_routed_experts);
    assert_int_equal(got->n_routed_experts, want->n_routed_experts);
    assert_int_equal(got->num_hidden_layers, want->num_hidden_layers);
    assert_int_equal(got->num_nextn_predict_layers, want->num_nextn_predict_layers);
    assert_int_equal(got->n_layers, want->n_layers);
    assert_int_equal(got->n_passes, want->n_passes);
    for (size_t i = 0; i < got->n_layers; i++) {
        const struct keep_layer *a = &got->layers[i], *b = &want->layers[i];
        assert_int_equal(a->layer, b->layer);
        assert_int_equal(a->n_parent, b->n_parent);
        assert_int_equal(a->n_kept, b->n_kept);
        check_same_string(a->origin, b->origin, "origin");
        assert_memory_equal(a->kept_parent, b->kept_parent, (size_t)a->n_kept * sizeof(int));
        assert_memory_equal(a->kept_source, b->kept_source, (size_t)a->n_kept * sizeof(int));
    }
    for (size_t i = 0; i < got->n_passes; i++)
        check_same_pass(&got->passes[i], &want->passes[i]);
}

static struct test_bytes read_map(struct keep_map *m, const struct world *w, const char *file)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *path = test_path("%s/observations/%s/expected/%s", test_data(), w->name, file);
    struct test_bytes text = test_read(path);
    if (keep_map_parse(m, (const char *)text.p, text.n, path, &err))
        fail_msg("%s", err.msg);
    return text;
}

static void make_map(struct keep_map *out, struct world *w, const struct prune_model *model,
                     const struct known_map *parent, const struct prune_options *o)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct pool pool;
    struct selection s;
    if (pool_runs(&pool, w->runs, 2, model, parent, o, NULL, &err) ||
        select_experts(&s, &pool, model, parent, o, NULL, &err) ||
        compose_selection(out, &s, &pool, parent, o, NULL, NULL, &err))
        fail_msg("%s %s", err.tag, err.msg);
    selection_free(&s);
    pool_free(&pool);
}

/* Two passes against the stored maps, and against one direct pass. */
static void check_maps(struct world *w, int first, int second)
{
    char sha256[SHA256_HEX];
    struct keep_map want_a, want_b, got_a, got_b, direct;
    struct test_bytes a =
        read_map(&want_a, w, test_path("keep_map-%d-%d.json", w->model.n_routed_experts, first));
    struct test_bytes b = read_map(&want_b, w, test_path("keep_map-%d-%d.json", first, second));
    struct prune_model model = w->model, pruned = w->model;
    struct prune_options o = {.size = SIZE_KEEP, .keep = first, .tool_version = "fixture"};
    model.name = want_a.base_model;
    model.config_sha256 = want_a.base_config_sha256;
    model.index_sha256 = want_a.base_index_sha256;
    make_map(&got_a, w, &model, NULL, &o);
    check_same_map(&got_a, &want_a);

    sha256_hex(a.p, a.n, sha256);
    const struct known_map parent = {&want_a, sha256};
    pruned.n_routed_experts = first;
    o.keep = second;
    make_map(&got_b, w, &pruned, &parent, &o);
    check_same_map(&got_b, &want_b);

    make_map(&direct, w, &model, NULL, &o);
    for (size_t i = 0; i < direct.n_layers; i++)
        assert_memory_equal(direct.layers[i].kept_source, got_b.layers[i].kept_source,
                            (size_t)second * sizeof(int));
    keep_map_free(&want_a);
    keep_map_free(&want_b);
    keep_map_free(&got_a);
    keep_map_free(&got_b);
    keep_map_free(&direct);
    free(a.p);
    free(b.p);
}

static void keep_maps_of_both_passes_are_equal(void **state)
{
    check_maps(&rand32, 24, 20);
    check_maps(&nano16, 12, 10);
    (void)state;
}

static void two_passes_at_real_width_are_equal(void **state)
{
    static char sha256[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct golden g;
    struct keep_map first, second;
    struct prune_model pruned = synth256.model;
    struct prune_options o = {.size = SIZE_KEEP, .keep = 192};
    assert_true(open_golden(&g, &synth256, "two-pass-256-192-160.json"));
    make_map(&first, &synth256, &synth256.model, NULL, &o);
    const struct known_map parent = {&first, sha256};
    pruned.n_routed_experts = 192;
    o.keep = 160;
    make_map(&second, &synth256, &pruned, &parent, &o);
    uint32_t want_first = json_get(&g.doc, 0, "first"), want = json_get(&g.doc, 0, "second");
    assert_int_equal(json_count(&g.doc, want), 8);
    for (size_t i = 0; i < second.n_layers; i++) {
        const char *key = test_path("%d", second.layers[i].layer);
        uint32_t layer = json_get(&g.doc, want, key);
        check_ints(&g.doc, json_get(&g.doc, want_first, key), first.layers[i].kept_source, 192,
                   key);
        check_ints(&g.doc, json_get(&g.doc, layer, "kept_parent"), second.layers[i].kept_parent,
                   160, key);
        check_ints(&g.doc, json_get(&g.doc, layer, "kept_source"), second.layers[i].kept_source,
                   160, key);
    }
    keep_map_free(&first);
    keep_map_free(&second);
    close_golden(&g);
    (void)state;
}

/* ---- cut reports */

static void check_cut_layer(const struct json *d, uint32_t want, const struct cut_layer *l)
{
    static const char *const shares[CUT_SHARES] = {"kept_share_s", "kept_share_n", "kept_share_g",
                                                   "kept_share_reap"};
    const char *what = test_path("layer %d", l->layer);
    for (int i = 0; i < CUT_SHARES; i++)
        check_f64(d, json_get(d, want, shares[i]), l->share[i], shares[i]);
    uint32_t kept = json_first(d, json_get(d, want, "boundary_kept")),
             dropped = json_first(d, json_get(d, want, "boundary_dropped"));
    int64_t id;
    assert_int_equal(json_i64(d, kept, &id), 0);
    assert_int_equal(id, l->kept_id);
    check_f64(d, json_next(d, kept), l->kept_saliency, what);
    assert_int_equal(json_i64(d, dropped, &id), 0);
    assert_int_equal(id, l->dropped_id);
    check_f64(d, json_next(d, dropped), l->dropped_saliency, what);
    check_ints(d, json_get(d, want, "never_routed"), l->never_routed, l->n_never_routed, what);
    check_f64(d, json_get(d, want, "jaccard_between_runs"), l->jaccard, "jaccard");
}

/* The JSON text must hold the same numbers as the struct. */
static void check_cut_text(const struct json *want, const struct cut_report *r)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    struct span text;
    struct json d;
    arena_init(&arena, 0);
    if (cut_report_json(r, 0, &arena, &text, &err) ||
        json_parse(&d, (const char *)text.p, text.n, "cut", &err))
        fail_msg("%s", err.msg);
    for (uint32_t k = json_first(want, 0); k != JSON_NONE;
         k = json_next(want, json_next(want, k))) {
        uint32_t layer = json_get(&d, 0, test_path("%d", keep_map_layer_key(want, k)));
        double share;
        assert_int_equal(json_f64(&d, json_get(&d, layer, "kept_share_s"), &share), 0);
        check_f64(want, json_get(want, json_next(want, k), "kept_share_s"), share, "text");
    }
    assert_true(json_get(&d, 0, "overall") != JSON_NONE);
    json_free(&d);
    arena_fini(&arena);
}

static void check_cut(struct world *w, int keep)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prune_options o = {0};
    const int64_t keeps[] = {keep, keep - 4};
    struct report report;
    struct golden g;
    struct pool pool;
    struct selection s;
    struct cut_report r;
    report_init(&report);
    assert_true(
        open_golden(&g, w, test_path("report-%d-%d.json", w->model.n_routed_experts, keep)));
    if (pool_runs(&pool, w->runs, 2, &w->model, NULL, &o, NULL, &err) ||
        select_rank(&s, &pool, &w->model, NULL, &o, NULL, &err) ||
        cut_report_make(&r, &s, &pool, NULL, &o, keeps, 2, &err) ||
        cut_report_facts(&r, &report, &err))
        fail_msg("%s %s", err.tag, err.msg);
    assert_int_equal(json_count(&g.doc, 0), r.n_layers);
    for (size_t i = 0; i < r.n_layers; i++)
        check_cut_layer(&g.doc, json_get(&g.doc, 0, test_path("%d", r.cuts[0].layers[i].layer)),
                        &r.cuts[0].layers[i]);
    check_cut_text(&g.doc, &r);
    assert_true(r.cuts[1].mean_dropped_share > r.cuts[0].mean_dropped_share);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(report.facts, "cuts")), 2);
    cut_report_free(&r);
    selection_free(&s);
    pool_free(&pool);
    close_golden(&g);
    report_fini(&report);
}

static void cut_reports_are_equal(void **state)
{
    check_cut(&rand32, 24);
    check_cut(&nano16, 12);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pooled_tables_are_equal),
        cmocka_unit_test(every_plan_is_equal),
        cmocka_unit_test(keep_maps_of_both_passes_are_equal),
        cmocka_unit_test(two_passes_at_real_width_are_equal),
        cmocka_unit_test(cut_reports_are_equal),
    };
    return cmocka_run_group_tests(tests, open_worlds, close_worlds);
}
