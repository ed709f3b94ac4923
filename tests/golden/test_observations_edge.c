/* SPDX-License-Identifier: MIT */
/*
 * Every case of observations/edge/manifest.json as far as reading, structure and values go. What
 * the plan decides (PLAN_*, and which layer or metric is missing from all runs) is judged
 * elsewhere; such files must read without a fault here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/format/observation.h"
#include "tests/support/support.h"

enum { MAX_LAYERS = 8 };

struct fixture {
    struct test_bytes text;
    struct json doc;
    struct arena arena;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct prep_error err = PREP_ERROR_INIT;
    assert_non_null(f);
    arena_init(&f->arena, 0);
    f->text = test_read(test_path("%s/observations/edge/manifest.json", test_data()));
    if (json_parse(&f->doc, (char *)f->text.p, f->text.n, "manifest.json", &err))
        fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    json_free(&f->doc);
    arena_fini(&f->arena);
    free(f->text.p);
    free(f);
    return 0;
}

static const char *text_of(struct fixture *f, uint32_t object, const char *key)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t node = json_get(&f->doc, object, key);
    return node == JSON_NONE ? NULL : json_string(&f->doc, node, &f->arena, NULL, &err);
}

static int number_of(struct fixture *f, uint32_t object, const char *key)
{
    int64_t v = -1;
    uint32_t node = json_get(&f->doc, object, key);
    if (node != JSON_NONE)
        assert_int_equal(json_i64(&f->doc, node, &v), 0);
    return (int)v;
}

/* The model description of a case. */
struct model {
    int layers[MAX_LAYERS], n_experts[MAX_LAYERS];
    struct obs_expect expect;
};

static void read_model(struct fixture *f, uint32_t object, struct model *m)
{
    uint32_t list = json_get(&f->doc, object, "moe_layers");
    size_t n = 0;
    for (uint32_t i = json_first(&f->doc, list); i != JSON_NONE; i = json_next(&f->doc, i)) {
        int64_t v;
        assert_true(n < MAX_LAYERS);
        assert_int_equal(json_i64(&f->doc, i, &v), 0);
        m->layers[n] = (int)v;
        m->n_experts[n++] = number_of(f, object, "n_routed_experts");
    }
    m->expect = (struct obs_expect){.layers = m->layers,
                                    .n_experts = m->n_experts,
                                    .n_layers = n,
                                    .top_k = number_of(f, object, "num_experts_per_tok")};
}

static int judge(const char *path, const struct model *m, struct report *report,
                 struct prep_error *err)
{
    struct obs_run run = {0};
    int rc = obs_run_read(&run, &io_posix, path, NULL, report, err) ||
             obs_run_check_structure(&run, &m->expect, report, err) ||
             obs_run_check_values(&run, &m->expect, 0, report, err);
    obs_run_free(&run);
    return rc;
}

/* Is this warning given while reading and checking? */
static int is_ours(const char *tag)
{
    return strncmp(tag, "OBS_", 4) == 0 && strcmp(tag, "OBS_LAYER_MISSING") != 0 &&
           strcmp(tag, "OBS_METRIC_MISSING") != 0;
}

static void expect_warnings(struct fixture *f, uint32_t expect, const struct report *report,
                            const char *name)
{
    struct prep_error err = PREP_ERROR_INIT;
    size_t n = 0;
    uint32_t list = json_get(&f->doc, expect, "warnings");
    uint32_t i = list == JSON_NONE ? JSON_NONE : json_first(&f->doc, list);
    for (; i != JSON_NONE; i = json_next(&f->doc, i)) {
        const char *tag = json_string(&f->doc, i, &f->arena, NULL, &err);
        if (!is_ours(tag))
            continue;
        n++;
        if (!report_has(report, tag))
            fail_msg("%s: no warning %s", name, tag);
    }
    if (report->n_warnings != n)
        fail_msg("%s: %zu warnings, want %zu", name, report->n_warnings, n);
}

/* The message names what the manifest names. */
static void expect_error(struct fixture *f, uint32_t expect, const struct prep_error *err,
                         const char *name, const char *file)
{
    const char *tag = text_of(f, expect, "error"), *metric = text_of(f, expect, "metric");
    int layer = number_of(f, expect, "layer"), expert = number_of(f, expect, "expert");
    int got = number_of(f, expect, "got"), want = number_of(f, expect, "want");
    if (strcmp(err->tag, tag) != 0)
        fail_msg("%s: [%s] %s, want %s", name, err->tag, err->msg, tag);
    assert_int_equal(err->code, PREP_EDATA);
    const char *const words[] = {file,
                                 metric,
                                 layer < 0 ? NULL : test_path("layer %d:", layer),
                                 expert < 0 ? NULL : test_path("expert %d ", expert),
                                 got < 0 ? NULL : test_path("has %d experts", got),
                                 want < 0 ? NULL : test_path("has %d", want)};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (words[i] && !strstr(err->msg, words[i]))
            fail_msg("%s: \"%s\" does not say \"%s\"", name, err->msg, words[i]);
    }
}

static void judges_every_edge_case(void **state)
{
    struct fixture *f = *state;
    int n_cases = 0, n_errors = 0;
    for (uint32_t c = json_first(&f->doc, 0); c != JSON_NONE; c = json_next(&f->doc, c)) {
        struct model m;
        struct report report;
        struct prep_error err = PREP_ERROR_INIT;
        uint32_t expect = json_get(&f->doc, c, "expect");
        const char *file = text_of(f, c, "file"), *name = text_of(f, c, "name");
        const char *tag = text_of(f, expect, "error");
        read_model(f, json_get(&f->doc, c, "model"), &m);
        report_init(&report);
        int rc = judge(test_path("%s/observations/edge/%s", test_data(), file), &m, &report, &err);
        if (tag && is_ours(tag)) {
            assert_int_not_equal(rc, 0);
            expect_error(f, expect, &err, name, file);
            n_errors++;
        } else {
            if (rc)
                fail_msg("%s: [%s] %s", name, err.tag, err.msg);
            expect_warnings(f, expect, &report, name);
        }
        report_fini(&report);
        n_cases++;
    }
    assert_int_equal(n_cases, 34);
    assert_int_equal(n_errors, 19);
}

static void rebuilds_sums_from_means_exactly(void **state)
{
    (void)state;
    struct obs_run run = {0};
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    report_init(&report);
    const char *path = test_path("%s/observations/edge/means_only.pt", test_data());
    assert_int_equal(obs_run_read(&run, &io_posix, path, NULL, &report, &err), 0);
    assert_int_equal(report.n_warnings, 1);
    const struct obs_layer *l = obs_run_layer(&run, 3), *whole = obs_run_layer(&run, 4);
    assert_true(l->weighted_ean_sum_from_mean);
    assert_false(l->ean_sum_from_mean);
    assert_false(whole->weighted_ean_sum_from_mean);
    for (int e = 0; e < l->n_experts; e++)
        assert_true(l->weighted_ean_sum[e] == (double)l->reap[e] * (double)l->expert_frequency[e]);
    obs_run_free(&run);
    report_fini(&report);
}

/* A view with stride 2 and string keys hold the numbers of the plain file. */
static void reads_equal_numbers_from_equal_files(void **state)
{
    (void)state;
    static const char *const names[] = {"strided", "string_keys", "old_layout"};
    struct obs_run plain = {0};
    struct prep_error err = PREP_ERROR_INIT;
    const char *path = test_path("%s/observations/edge/ok.pt", test_data());
    assert_int_equal(obs_run_read(&plain, &io_posix, path, NULL, NULL, &err), 0);
    for (size_t i = 0; i < 3; i++) {
        struct obs_run run = {0};
        path = test_path("%s/observations/edge/%s.pt", test_data(), names[i]);
        assert_int_equal(obs_run_read(&run, &io_posix, path, NULL, NULL, &err), 0);
        assert_int_equal(run.n_layers, plain.n_layers);
        for (size_t k = 0; k < run.n_layers; k++) {
            size_t bytes = (size_t)plain.layers[k].n_experts * sizeof(double);
            assert_int_equal(run.layers[k].layer, plain.layers[k].layer);
            assert_memory_equal(run.layers[k].weighted_ean_sum, plain.layers[k].weighted_ean_sum,
                                bytes);
            assert_memory_equal(run.layers[k].expert_frequency, plain.layers[k].expert_frequency,
                                bytes);
        }
        obs_run_free(&run);
    }
    obs_run_free(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(judges_every_edge_case, set_up, tear_down),
        cmocka_unit_test(rebuilds_sums_from_means_exactly),
        cmocka_unit_test(reads_equal_numbers_from_equal_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
