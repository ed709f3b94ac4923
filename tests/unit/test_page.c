/* SPDX-License-Identifier: MIT */
/* Pages of judgements that no model was run for. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/release/page_judge.h"
#include "tests/support/support.h"
#include "tests/support/xml_check.h"

/* What a judgement is made like. */
struct shape {
    size_t n_models;
    int n_layers, n_experts, n_kept; /* n_kept < n_experts: the last model is cut */
    uint64_t n_windows, window;
    size_t n_linears;                         /* of each model */
    int no_original, has_reference, odd, mtp; /* odd: values that are no numbers, and zeros */
    const char *path;                         /* of the models, with a %zu */
};

struct made {
    struct judgement j;
    struct config config, cut_config;
    struct keep_map map;
    struct test_random random;
    uint32_t *tokens;
    int **experts;
};

static struct prep_error err;

static void *need(void *p)
{
    if (!p)
        fail_msg("%s", err.msg);
    return p;
}

static void *many(struct made *m, size_t n, size_t size)
{
    return need(arena_calloc(&m->j.arena, n, size, &err));
}

/* Some figure around `about`; now and then 0 or no number when values are to be odd. */
static double figure(struct made *m, const struct shape *s, double about)
{
    const uint64_t n = test_random_below(&m->random, 1000);
    if (s->odd && n < 300)
        return n < 100 ? 0 : n < 200 ? (double)NAN : (double)INFINITY;
    return about * (0.5 + (double)n / 1000);
}

static void make_config(struct made *m, struct config *c, const struct shape *s, int n_experts)
{
    c->num_hidden_layers = c->n_layers = s->n_layers;
    c->n_routed_experts = n_experts;
    c->num_experts_per_tok = 4;
    c->n_experts = many(m, (size_t)s->n_layers, sizeof *c->n_experts);
    for (int i = s->n_layers > 2 ? 1 : 0; i < s->n_layers; i++)
        c->n_experts[i] = n_experts;
}

static void make_load(struct made *m, struct judge_load *l, const struct config *c)
{
    assert_int_equal(judge_load_init(l, c, &m->j.arena, &err), 0);
    for (int i = 0; i < c->num_hidden_layers; i++)
        for (int e = 0; e < c->n_experts[i]; e++) {
            const uint64_t n = test_random_below(&m->random, 90);
            for (uint64_t k = 0; k < n * n / 90; k++)
                judge_load_add(l, i, &e, 1);
        }
}

static void make_series(struct made *m, struct judge_series *to, const struct shape *s,
                        uint64_t ahead, int compared, const struct judge_series *other)
{
    assert_int_equal(
        judge_series_init(to, m->tokens, s->n_windows, s->window, ahead, &m->j.arena, &err), 0);
    to->compared = compared;
    for (uint64_t i = 0; i < to->n_windows * to->n_rows; i++)
        to->rows[i] = (struct judge_row){
            .nll = 2 + (double)test_random_below(&m->random, 1000) / 500,
            .kl = s->odd && i % 7 == 0 ? 0
                                       : 1.0 / (double)(1 + test_random_below(&m->random, 100000)),
            .same_first = test_random_below(&m->random, 10) > 0,
            .shared_of_five = (unsigned char)test_random_below(&m->random, 6)};
    assert_int_equal(judge_series_finish(to, other, &m->j.arena, &err), 0);
}

static void make_linears(struct made *m, struct judge_result *r, const struct shape *s)
{
    struct judge_linears *l = &r->linears;
    l->n = s->n_linears;
    l->items = many(m, l->n, sizeof *l->items);
    struct linear *linears = many(m, l->n, sizeof *linears);
    for (size_t i = 0; i < l->n; i++) {
        const int layer = (int)(i * (size_t)s->n_layers / l->n);
        linears[i] = (struct linear){
            .name = need(arena_printf(&m->j.arena, &err, "model.layers.%d.mlp.experts.%zu.up_proj",
                                      layer, i % 256)),
            .role = i % 3 ? ROLE_EXPERT : ROLE_ATTENTION,
            .layer = i + 1 == l->n ? -1 : layer,
            .form = LINEAR_NVFP4_CT};
        l->items[i] = (struct judge_linear){.original = &linears[i],
                                            .other = &linears[i],
                                            .tokens = i,
                                            .changed = 1,
                                            .nmse = figure(m, s, 0.01)};
        if (!isfinite(l->items[i].nmse))
            l->items[i].nmse = (double)NAN;
    }
    r->has_linears = 1;
    r->by_layer = many(m, (size_t)s->n_layers + 1, sizeof *r->by_layer);
    assert_int_equal(judge_linears_scope(&r->experts, l, ROLE_EXPERT, &err), 0);
    assert_int_equal(judge_linears_scope(&r->all, l, ROLE_OTHER, &err), 0);
    assert_int_equal(judge_linears_layers(r->by_layer, l, s->n_layers, &err), 0);
}

static void make_layers(struct made *m, struct judge_result *r, const struct shape *s)
{
    assert_int_equal(judge_layers_init(&r->layers, s->n_layers, s->n_windows, &m->j.arena, &err),
                     0);
    r->has_layers = 1;
    r->at = r->layers.layers;
    for (int i = 0; i < s->n_layers; i++) {
        r->at[i].hidden_error = figure(m, s, 0.001 * (i + 1));
        r->at[i].forced_error = r->has_forced ? figure(m, s, 0.001) : (double)NAN;
        r->at[i].block_error = r->has_forced ? figure(m, s, 0.004) : (double)NAN;
        r->at[i].expert_share = figure(m, s, 0.6);
        r->at[i].position_share = figure(m, s, 0.6);
    }
}

/* A cut to the experts 1, 3, 5, ... or as many as there are. */
static void make_cut(struct made *m, struct judge_result *r, const struct shape *s)
{
    static const char report[] =
        "{\"0\": {\"kept_share_s\": 0.9, \"kept_share_n\": 0.8, \"boundary_kept\": [3, 0.5], "
        "\"boundary_dropped\": [2, 1e999], \"never_routed\": [1, 2], \"boundary_ratio\": \"no\"}, "
        "\"1\": 7, \"overall\": {\"mean_dropped_share\": 0.125}}";
    struct keep_map *map = &m->map;
    static struct keep_run run = {"run <a>", "ab", 1234567, 1};
    static struct keep_pass pass = {.metric = "reap", .pool = "routed", .runs = &run, .n_runs = 1};
    pass.from = s->n_experts;
    pass.to = s->n_kept;
    *map = (struct keep_map){.base_n_routed_experts = s->n_experts,
                             .passes = &pass,
                             .n_passes = 1,
                             .report = {(const unsigned char *)report, sizeof report - 1}};
    map->layers = many(m, (size_t)s->n_layers, sizeof *map->layers);
    m->experts = many(m, (size_t)s->n_layers, sizeof *m->experts);
    for (int i = 0; i < s->n_layers; i++) {
        m->experts[i] = many(m, (size_t)s->n_kept, sizeof **m->experts);
        for (int e = 0; e < s->n_kept; e++)
            m->experts[i][e] = e * s->n_experts / s->n_kept;
        map->layers[map->n_layers++] = (struct keep_layer){.layer = i,
                                                           .n_parent = s->n_experts,
                                                           .n_kept = s->n_kept,
                                                           .kept_parent = m->experts[i],
                                                           .kept_source = m->experts[i],
                                                           .origin = "observed"};
    }
    r->model.map = map;
    r->model.matrices.experts = m->experts;
    r->knows_experts = 1;
    assert_int_equal(judge_cut_make(&r->cut, map, &m->j.arena, &err), 0);
}

static void name_model(struct judge_model *m, const char *path, const struct config *c)
{
    m->path = path;
    m->config = c;
    m->tensor_bytes = 123456789012;
    m->n_tensors = 4321;
    memcpy(m->forms, "NVFP4 <b> 12", 13);
    memcpy(m->pruned.source.config_sha256, "c0ffee", 7);
}

static void make_result(struct made *m, size_t i, const struct shape *s)
{
    struct judgement *j = &m->j;
    struct judge_result *r = &j->results[i];
    const int judged = j->has_original || j->has_reference;
    const int cut = s->n_kept < s->n_experts && i + 1 == s->n_models;
    const char *path = s->path ? s->path : "some/where/model-";
    const struct judge_series *p = judged ? &j->original_free : NULL;
    name_model(&r->model, need(arena_printf(&j->arena, &err, "%s%zu", path, i)),
               cut ? &m->cut_config : &m->config);
    make_series(m, &r->free, s, 1, judged, p);
    assert_int_equal(judge_spread_make(&r->spread, &r->free, &j->arena, &err), 0);
    make_load(m, &r->load, r->model.config);
    if (s->mtp) {
        r->has_mtp = 1;
        make_series(m, &r->mtp, s, 2, judged, NULL);
        r->draft.accepted = (struct bootstrap_interval){0.5, 0.4, s->odd ? (double)NAN : 0.6};
    }
    if (!j->has_original)
        return;
    if (!cut) {
        r->has_forced = 1;
        make_series(m, &r->forced, s, 1, 1, p);
    }
    make_layers(m, r, s);
    if (s->n_linears)
        make_linears(m, r, s);
    if (cut)
        make_cut(m, r, s);
}

static void make_pairs(struct made *m, const struct shape *s)
{
    struct judgement *j = &m->j;
    j->pairs = many(m, j->n_results * j->n_results, sizeof *j->pairs);
    for (size_t a = 0; a < j->n_results; a++)
        for (size_t b = a + 1; b < j->n_results; b++)
            j->pairs[j->n_pairs++] = (struct judge_pair){
                .a = a,
                .b = b,
                .nll = {0.001, -0.001, 0.003},
                .kl = {-0.5, -0.75, -0.25},
                .forced_kl = {figure(m, s, 0.5), 0.25, s->odd ? (double)INFINITY : 0.75},
                .geometric_ratio = 0.9,
                .p95_ratio = (double)NAN,
                .better = (int)(b % 3) - 1,
                .end_to_end = (int)(a & 1)};
}

static void make(struct made *m, const struct shape *s)
{
    struct judgement *j = &m->j;
    *m = (struct made){.random = {42}};
    arena_init(&j->arena, 0);
    j->has_original = !s->no_original && !s->has_reference;
    j->has_reference = s->has_reference;
    j->reference_path = "reference.st";
    j->text.n_windows = s->n_windows;
    j->text.window = s->window;
    j->text.n_available = 2 * s->n_windows;
    memcpy(j->settings, "attention sparse", 17);
    memcpy(j->text.sha256, "abcdef", 7);
    m->tokens = many(m, (size_t)(s->n_windows * s->window), sizeof *m->tokens);
    make_config(m, &m->config, s, s->n_experts);
    make_config(m, &m->cut_config, s, s->n_kept);
    name_model(&j->original, "some/where/original", &m->config);
    make_series(m, &j->original_free, s, 1, 0, NULL);
    if (j->has_original)
        make_load(m, &j->original_load, &m->config);
    j->n_results = s->n_models;
    j->results = many(m, s->n_models, sizeof *j->results);
    for (size_t i = 0; i < s->n_models; i++)
        make_result(m, i, s);
    if (s->n_models > 1)
        make_pairs(m, s);
}

static void make_page(struct html *out, struct span *text, const struct made *m,
                      const struct judge_verdict *v, size_t n)
{
    static const struct judge_text_made texts[] = {
        {.path = "a/original", .n = 5, .text = "one\ntwo <i>\x1b[2J", .n_text = 15, .same = 5},
        {.path = "b/original",
         .n = 4,
         .text = "one\ntwo\xe2\x80\xae\xff",
         .n_text = 11,
         .same = 2}};
    struct page p;
    page_init(&p);
    page_judgement(&p, &m->j, v, n);
    page_texts(&p, "</pre> & so on", texts, 2);
    page_fact_code(&p, "Command", "verify-run 'a b'");
    if (page_finish(&p, out, text, &err))
        fail_msg("%s", err.msg);
    html_raw(out, "", 1); /* a NUL for those who search */
    text->p = (const unsigned char *)out->text;
    page_free(&p);
}

static int holds(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

/* The page is sound, and has no number that is none. */
static size_t check(const struct shape *s, const char *const *want, size_t n_want,
                    char hex[SHA256_HEX])
{
    struct made m;
    struct html out;
    struct span text;
    make(&m, s);
    const struct judge_verdict v[] = {{"max-kl", 0, 0.5, 0.25, 1}, {"max-nmse", 0, 1, NAN, 0}};
    make_page(&out, &text, &m, v, s->odd ? 2 : 1);
    const char *page = (const char *)text.p, *fault = xml_fault(page, text.n);
    if (getenv("PREP_KEEP_PAGE"))
        test_write(getenv("PREP_KEEP_PAGE"), text.p, text.n);
    if (fault)
        fail_msg("%s", fault);
    if (holds(page, ">nan") || holds(page, "inf<") || holds(page, "nan ") || holds(page, "\"nan"))
        fail_msg("a number is none");
    for (size_t i = 0; i < n_want; i++)
        if (!holds(page, want[i]))
            fail_msg("the page has no %s", want[i]);
    if (hex)
        sha256_hex(text.p, text.n, hex);
    const size_t n = text.n;
    html_free(&out);
    arena_fini(&m.j.arena);
    return n;
}

static const struct shape small = {.n_models = 3,
                                   .n_layers = 5,
                                   .n_experts = 16,
                                   .n_kept = 12,
                                   .n_windows = 9,
                                   .window = 40,
                                   .n_linears = 70,
                                   .mtp = 1};

static void a_page_has_a_section_for_all_that_was_measured(void **state)
{
    static const char *const want[] = {
        "<h1>3 models beside original</h1>",
        "The limit holds",
        "id=\"summary\"",
        "id=\"pairs\"",
        "id=\"kl\"",
        "id=\"layers\"",
        "id=\"linears\"",
        "id=\"load\"",
        "id=\"cut\"",
        "id=\"texts\"",
        "id=\"made\"",
        "NVFP4 &lt;b&gt; 12",
        "16 to 12 experts by reap, pooled by routed over 1 observation run with 1,234,567 tokens.",
        "The removed experts held 12.50 % of the saliency",
        "3, 7, 11, 15",
        "model-2: the 10 worst of 70 changed linears",
        "model-2: number 11 to 50",
        "@media print",
        "prefers-color-scheme:dark",
        "&lt;/pre&gt; &amp; so on",
        "two &lt;i&gt;\\x1b[2J",
        "\\u202e\xef\xbf\xbd",
        "verify-run &#39;a b&#39;",
        "not distinguishable"};
    (void)state;
    check(&small, want, sizeof want / sizeof *want, NULL);
}

/* A change of the page that is wanted changes this, too: PREP_KEEP_PAGE=FILE writes it. */
static void the_same_judgement_makes_the_same_bytes(void **state)
{
    char hex[SHA256_HEX], again[SHA256_HEX];
    (void)state;
    check(&small, NULL, 0, hex);
    check(&small, NULL, 0, again);
    assert_string_equal(hex, again);
    assert_string_equal(hex, "00c6a8b7cb5032ccdac714d4faaecd3afa9668444b058b48a6e47e5884a427b7");
}

static void odd_values_leave_a_sound_page(void **state)
{
    static const char *const want[] = {"not measured", "1 of 2 limits does not hold"};
    struct shape s = small;
    (void)state;
    s.odd = 1;
    check(&s, want, 2, NULL);
    s.n_models = 5;
    check(&s, want, 2, NULL);
}

static void one_of_everything_is_enough(void **state)
{
    static const char *const want[] = {"<h1>model-0 beside original</h1>",
                                       "too few windows to tell",
                                       "Of fewer than 8 windows nothing is claimed"};
    (void)state;
    for (uint64_t window = 2; window < 4; window++)
        for (int odd = 0; odd < 2; odd++) {
            const struct shape s = {.n_models = 1,
                                    .n_layers = 1,
                                    .n_experts = 1,
                                    .n_kept = 1,
                                    .n_windows = 1,
                                    .window = window,
                                    .n_linears = 1,
                                    .odd = odd};
            check(&s, want, 3, NULL);
        }
}

static void a_model_by_itself_or_by_a_reference_has_fewer_sections(void **state)
{
    static const char *const alone[] = {"<h1>model-0</h1>", "Nothing to judge it by was given",
                                        "id=\"load\""};
    static const char *const by_reference[] = {"<h1>model-0 beside reference.st</h1>", "at least",
                                               "figures of KL are lower bounds"};
    struct shape s = small;
    (void)state;
    s.n_models = 1;
    s.n_kept = s.n_experts;
    s.no_original = 1;
    check(&s, alone, 3, NULL);
    s.has_reference = 1;
    check(&s, by_reference, 3, NULL);
}

static void paths_are_told_apart_and_shown(void **state)
{
    static const char *const paths[] = {"/a/x/model", "/b/x/model/", "other", "/a/<x>"};
    static const char *const want[] = {"a/x/model", "b/x/model", "other", "/a/<x>"};
    static const char *const same[] = {"a", "a"};
    struct page p;
    (void)state;
    page_init(&p);
    const char **names = page_names(&p, paths, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(names[i], want[i]);
    names = page_names(&p, same, 2);
    assert_string_equal(names[0], "a");
    names = page_names(&p, (const char *const[]){"x/nano", "/"}, 2);
    assert_string_equal(names[0], "nano");
    page_free(&p);
    struct shape s = small;
    s.path = "\x1b]0;<script>\xff"
             "'\"&-";
    check(&s, NULL, 0, NULL);
}

static void the_page_of_a_large_model_is_small(void **state)
{
    struct shape s = {.n_models = JUDGE_MAX_MODELS,
                      .n_layers = 78,
                      .n_experts = 256,
                      .n_kept = 192,
                      .n_windows = 2,
                      .window = 512,
                      .n_linears = 44000};
    (void)state;
    const size_t n = check(&s, NULL, 0, NULL);
    print_message("%d models: %zu bytes\n", (int)JUDGE_MAX_MODELS, n);
    assert_true(n < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_has_a_section_for_all_that_was_measured),
        cmocka_unit_test(the_same_judgement_makes_the_same_bytes),
        cmocka_unit_test(odd_values_leave_a_sound_page),
        cmocka_unit_test(one_of_everything_is_enough),
        cmocka_unit_test(a_model_by_itself_or_by_a_reference_has_fewer_sections),
        cmocka_unit_test(paths_are_told_apart_and_shown),
        cmocka_unit_test(the_page_of_a_large_model_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
