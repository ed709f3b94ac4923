/* SPDX-License-Identifier: MIT */
/* What prep-inspect sees: kinds of files, short summaries, configs compared key by key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/release/compare.h"
#include "tests/support/support.h"

static void lists_are_shown_as_ranges(void **state)
{
    static const int many[] = {0, 1, 2, 5, 7, 8, 65535}, one[] = {3};
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    assert_string_equal(inspect_ranges(many, 7, &arena, &err), "0-2 5 7-8 65535");
    assert_string_equal(inspect_ranges(one, 1, &arena, &err), "3");
    assert_string_equal(inspect_ranges(one, 0, &arena, &err), "");
    arena_fini(&arena);
}

static void a_filter_takes_layer_and_name_together(void **state)
{
    const struct inspect_filter all = {0}, layer = {.has_layer = 1, .layer = 3},
                                both = {.has_layer = 1, .layer = 3, .match = "*.gate.*"};
    (void)state;
    assert_true(inspect_wants(&all, "lm_head.weight"));
    assert_false(inspect_wants(&layer, "lm_head.weight"));
    assert_false(inspect_wants(&layer, "model.layers.30.mlp.gate.weight"));
    assert_true(inspect_wants(&layer, "model.layers.3.mlp.up_proj.weight"));
    assert_false(inspect_wants(&both, "model.layers.3.mlp.up_proj.weight"));
    assert_true(inspect_wants(&both, "model.layers.3.mlp.gate.weight"));
}

static void a_layer_is_summed_up(void **state)
{
    int64_t n[] = {4, 0, 8, 0};
    const struct obs_layer l = {.layer = 7,
                                .n_experts = 4,
                                .has_total_tokens = 1,
                                .total_tokens = 6,
                                .expert_frequency = n};
    const struct obs_layer bare = {.layer = 7, .n_experts = 4};
    struct obs_summary s;
    (void)state;
    inspect_summarize(&s, &l);
    assert_int_equal(s.never_routed, 2);
    assert_int_equal(s.least, 0);
    assert_int_equal(s.most, 8);
    assert_true(s.mean == 3.0 && s.routed == 12 && s.tokens == 6);
    inspect_summarize(&s, &bare);
    assert_false(s.has_counts);
}

static void a_thing_is_told_by_what_it_holds(void **state)
{
    static const struct {
        const char *path;
        enum inspect_kind kind;
    } cases[] = {
        {"glm-nano", KIND_CHECKPOINT},
        {"glm-nano/model-00001-of-00004.safetensors", KIND_SAFETENSORS},
        {"glm-nano/model.safetensors.index.json", KIND_INDEX},
        {"glm-nano/config.json", KIND_CONFIG},
        {"observations/rand32/run-a", KIND_OBSERVATION},
        {"observations/rand32/run-a.obs.json", KIND_OBSERVATION},
        {"observations/rand32/run-a.obs.safetensors", KIND_OBSERVATION},
        {"observations/rand32/run-a/observations_1024_cosine.pt", KIND_OBSERVATION},
        {"observations/rand32/expected/keep_map-32-24.json", KIND_KEEP_MAP},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct inspected it;
        struct prep_error err = PREP_ERROR_INIT;
        const char *path = test_path("%s/%s", test_data(), cases[i].path);
        if (inspect_open(&it, &io_posix, path, NULL, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(it.kind, cases[i].kind);
        inspect_close(&it);
    }
}

static void open_text(const char *name, const char *text, int rc, enum inspect_kind kind,
                      const char *tag)
{
    const char *path = test_path("%s/%s", test_temp_dir(), name);
    struct inspected it;
    struct prep_error err = PREP_ERROR_INIT;
    test_write(path, text, strlen(text));
    assert_int_equal(inspect_open(&it, &io_posix, path, NULL, &err), rc);
    assert_string_equal(err.tag, tag);
    if (rc == 0)
        assert_int_equal(it.kind, kind);
    inspect_close(&it);
}

static void json_is_told_apart_by_its_members(void **state)
{
    (void)state;
    open_text("x.json", "{\"3\": [0, 2]}", 0, KIND_KEEP_MAP, "");
    open_text("x.json", "{\"3\": {\"kept\": [1]}}", 0, KIND_KEEP_MAP, "");
    open_text("x",
              "{\"format\": \"prep-manifest\", \"version\": 1, \"files\": [], \"tensors\": {}}", 0,
              KIND_MANIFEST, "");
    open_text("x.json", "{\"weight_map\": {\"t\": \"model.safetensors\"}}", 0, KIND_INDEX, "");
    open_text("x.json", "{\"model_type\": \"other\"}", -1, KIND_CONFIG, "ARCHITECTURE");
    open_text("x.json", "{\"a\": 1}", -1, KIND_CONFIG, "UNKNOWN_KIND");
    open_text("x.json", "{}", -1, KIND_CONFIG, "UNKNOWN_KIND");
    open_text("x.json", "[1]", -1, KIND_CONFIG, "UNKNOWN_KIND");
    open_text("x.json", "{", -1, KIND_CONFIG, "JSON");
    open_text("x.txt", "words", -1, KIND_CONFIG, "UNKNOWN_KIND");
    open_text("x.txt", "", -1, KIND_CONFIG, "UNKNOWN_KIND");
    open_text("x.gguf", "GGUF", -1, KIND_GGUF, "SHORT_FILE");
}

/* Differences of two texts, one per line. */
static void check_json(const char *a, const char *b, const char *want)
{
    struct findings f;
    struct prep_error err = PREP_ERROR_INIT;
    char got[1024] = "";
    findings_init(&f);
    struct span x = {(const unsigned char *)a, strlen(a)},
                y = {(const unsigned char *)b, strlen(b)};
    assert_int_equal(compare_json(&f, "c", x, y, &err), 0);
    for (size_t i = 0; i < f.n; i++) {
        strncat(got, f.items[i].place, 200);
        strcat(got, ": ");
        strncat(got, f.items[i].text, 200);
        strcat(got, "\n");
    }
    assert_string_equal(got, want);
    findings_fini(&f);
}

static void configs_are_compared_by_key(void **state)
{
    (void)state;
    check_json("{\"a\": 1, \"b\": [1, 2]}", "{\"b\":[1,2],\"a\":1}", "");
    check_json("{\"a\": 1e-05}", "{\"a\": 0.00001}", "");
    check_json("{\"a\": 9007199254740993}", "{\"a\": 9007199254740992}",
               "c: a: A has 9007199254740993, B has 9007199254740992\n");
    check_json("{\"a\": {\"x\": 1, \"y\": [{\"z\": true}]}}",
               "{\"a\": {\"y\": [{\"z\": false}]}, \"n\": null}",
               "c: a.x: only in A: 1\nc: a.y[0].z: A has true, B has false\n"
               "c: n: only in B: null\n");
    check_json("{\"a\": [1]}", "{\"a\": [1, 2]}", "c: a: a list of 1 entries in A, of 2 in B\n");
    check_json("{\"a\": [1]}", "{\"a\": \"1\"}", "c: a: A has [1], B has \"1\"\n");
    check_json("1", "2", "c: (whole file): A has 1, B has 2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_shown_as_ranges),
        cmocka_unit_test(a_filter_takes_layer_and_name_together),
        cmocka_unit_test(a_layer_is_summed_up),
        cmocka_unit_test(a_thing_is_told_by_what_it_holds),
        cmocka_unit_test(json_is_told_apart_by_its_members),
        cmocka_unit_test(configs_are_compared_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
