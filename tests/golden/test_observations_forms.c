/* SPDX-License-Identifier: MIT */
/*
 * One run in four forms (torch file, folder of blocks, safetensors, JSON) holds the same sums, bit
 * for bit; labels, hashes and token counts are those of the golden keep-maps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/format/observation.h"
#include "tests/support/archive_build.h"
#include "tests/support/support.h"

static void read_run(struct obs_run *run, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    report_init(&report);
    if (obs_run_read(run, &io_posix, path, NULL, &report, &err))
        fail_msg("[%s] %s", err.tag, err.msg);
    assert_int_equal(report.n_warnings, 0);
    report_fini(&report);
}

/* Bit for bit; a vector may be absent from one of the two. */
static void expect_same(const void *a, const void *b, size_t n, const char *name, int layer)
{
    if (a && b && memcmp(a, b, n) != 0)
        fail_msg("layer %d: %s differs", layer, name);
}

static void expect_same_layer(const struct obs_layer *a, const struct obs_layer *b)
{
    size_t n = (size_t)a->n_experts;
    assert_int_equal(a->layer, b->layer);
    assert_int_equal(a->n_experts, b->n_experts);
    assert_int_equal(a->total_tokens, b->total_tokens);
    assert_true(a->expert_frequency && a->ean_sum && a->weighted_ean_sum);
    assert_true(b->expert_frequency && b->ean_sum && b->weighted_ean_sum);
    assert_false(a->ean_sum_from_mean || b->ean_sum_from_mean);
    expect_same(a->expert_frequency, b->expert_frequency, 8 * n, "expert_frequency", a->layer);
    expect_same(a->pairwise_expert_frequency, b->pairwise_expert_frequency, 8 * n * n, "pairwise",
                a->layer);
    expect_same(a->ean_sum, b->ean_sum, 8 * n, "ean_sum", a->layer);
    expect_same(a->weighted_ean_sum, b->weighted_ean_sum, 8 * n, "weighted_ean_sum", a->layer);
    expect_same(a->weighted_expert_frequency_sum, b->weighted_expert_frequency_sum, 8 * n,
                "weighted_expert_frequency_sum", a->layer);
    expect_same(a->reap, b->reap, 4 * n, "reap", a->layer);
    expect_same(a->ean_mean, b->ean_mean, 4 * n, "ean_mean", a->layer);
    expect_same(a->max_activations, b->max_activations, 4 * n, "max_activations", a->layer);
    expect_same(a->max_norm, b->max_norm, 4 * n, "max_norm", a->layer);
    expect_same(a->weighted_ean_sumsq, b->weighted_ean_sumsq, 8 * n, "weighted_ean_sumsq",
                a->layer);
}

static void expect_same_runs(const struct obs_run *a, const struct obs_run *b)
{
    assert_int_equal(a->n_layers, b->n_layers);
    assert_string_equal(a->label, b->label);
    assert_true(a->tokens == b->tokens);
    for (size_t i = 0; i < a->n_layers; i++)
        expect_same_layer(&a->layers[i], &b->layers[i]);
}

static const char *const models[] = {"rand32", "nano16"};

static void every_form_of_a_run_holds_the_same_sums(void **state)
{
    (void)state;
    static const char *const forms[][5] = {
        {"run-a/observations_1024_cosine.pt", "run-a/layerwise_intermediate", "run-a",
         "run-a.obs.safetensors", "run-a.obs.json"},
        {"run-b/observations_1024_cosine-seed_42.pt", "run-b.obs.safetensors", "run-b.obs.json"},
    };
    for (size_t m = 0; m < 2; m++) {
        for (size_t r = 0; r < 2; r++) {
            struct obs_run first = {0};
            read_run(&first,
                     test_path("%s/observations/%s/%s", test_data(), models[m], forms[r][0]));
            for (size_t i = 1; i < 5 && forms[r][i]; i++) {
                struct obs_run run = {0};
                read_run(&run,
                         test_path("%s/observations/%s/%s", test_data(), models[m], forms[r][i]));
                expect_same_runs(&first, &run);
                obs_run_free(&run);
            }
            obs_run_free(&first);
        }
    }
}

static void a_run_written_as_json_reads_back_value_for_value(void **state)
{
    (void)state;
    static const char *const files[] = {"run-a.obs.json", "run-a-routed.obs.safetensors",
                                        "run-b/observations_1024_cosine-seed_42.pt"};
    const char *dir = test_temp_dir();
    for (size_t i = 0; i < 3; i++) {
        struct obs_run run = {0}, back = {0};
        struct arena arena;
        struct span text;
        struct prep_error err = PREP_ERROR_INIT;
        arena_init(&arena, 0);
        read_run(&run, test_path("%s/observations/nano16/%s", test_data(), files[i]));
        assert_int_equal(obs_run_write_json(&run, &arena, &text, &err), 0);
        const char *path = test_path("%s/%zu.obs.json", dir, i);
        test_write(path, text.p, text.n);
        read_run(&back, path);
        expect_same_runs(&run, &back);
        assert_int_equal(back.n_metadata, run.n_metadata ? run.n_metadata : 5);
        for (size_t k = 0; k < run.n_metadata; k++) {
            assert_string_equal(run.metadata[k].key, back.metadata[k].key);
            assert_string_equal(run.metadata[k].value, back.metadata[k].value);
        }
        const struct obs_layer *a = &run.layers[0], *b = &back.layers[0];
        assert_int_equal(a->routed_output != NULL, b->routed_output != NULL);
        if (a->routed_output)
            assert_memory_equal(a->routed_output, b->routed_output,
                                (size_t)a->n_experts * (size_t)a->hidden * sizeof(double));
        obs_run_free(&run);
        obs_run_free(&back);
        arena_fini(&arena);
    }
}

static void labels_hashes_and_tokens_are_those_of_the_keep_maps(void **state)
{
    (void)state;
    static const char *const maps[] = {"keep_map-32-24.json", "keep_map-16-12.json"};
    static const char *const files[] = {"run-a/observations_1024_cosine.pt",
                                        "run-b/observations_1024_cosine-seed_42.pt"};
    for (size_t m = 0; m < 2; m++) {
        struct json d;
        struct prep_error err = PREP_ERROR_INIT;
        struct test_bytes text =
            test_read(test_path("%s/observations/%s/expected/%s", test_data(), models[m], maps[m]));
        assert_int_equal(json_parse(&d, (char *)text.p, text.n, maps[m], &err), 0);
        uint32_t pass = json_first(&d, json_get(&d, 0, "passes"));
        uint32_t node = json_first(&d, json_get(&d, pass, "runs"));
        for (size_t r = 0; r < 2; r++, node = json_next(&d, node)) {
            struct obs_run run = {0};
            uint64_t tokens, layers;
            read_run(&run, test_path("%s/observations/%s/%s", test_data(), models[m], files[r]));
            assert_true(json_equal(&d, json_get(&d, node, "label"), run.label));
            assert_true(json_equal(&d, json_get(&d, node, "sha256"), run.sha256));
            assert_int_equal(json_u64(&d, json_get(&d, node, "tokens"), &tokens), 0);
            assert_int_equal(json_u64(&d, json_get(&d, node, "layers"), &layers), 0);
            assert_true(run.tokens == tokens && run.n_layers == layers);
            obs_run_free(&run);
        }
        json_free(&d);
        free(text.p);
    }
}

static void the_routed_files_hold_a_second_gate_rule(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        struct obs_run own = {0}, other = {0};
        struct prep_error err = PREP_ERROR_INIT;
        const char *path =
            test_path("%s/observations/%s/run-a-routed.obs.safetensors", test_data(), models[m]);
        read_run(&own, path);
        assert_int_equal(obs_run_read(&other, &io_posix, path, "logit_softmax_renorm", NULL, &err),
                         0);
        assert_string_equal(own.gate_semantics, "routed");
        assert_string_equal(other.gate_semantics, "logit-softmax-renorm");
        const struct obs_layer *a = &own.layers[0], *b = &other.layers[0];
        assert_non_null(a->max_activations);
        assert_null(b->max_activations);
        assert_null(b->weighted_ean_sumsq);
        assert_int_equal(a->total_tokens, b->total_tokens);
        assert_memory_not_equal(a->weighted_ean_sum, b->weighted_ean_sum,
                                (size_t)a->n_experts * sizeof(double));
        obs_run_free(&own);
        obs_run_free(&other);
    }
}

static void every_golden_run_passes_all_checks(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int n_experts, top_k, first, n_layers;
    } runs[] = {{"rand32/run-a", 32, 4, 3, 3},
                {"rand32/run-b/observations_1024_cosine-seed_42.pt", 32, 4, 3, 3},
                {"rand32/run-b-routed.obs.safetensors", 32, 4, 3, 3},
                {"nano16/run-a-routed.obs.safetensors", 16, 4, 2, 3},
                {"synth256/run-a/observations.pt", 256, 8, 3, 8},
                {"synth256/run-b/observations.pt", 256, 8, 3, 8}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct obs_run run = {0};
        struct prep_error err = PREP_ERROR_INIT;
        int layers[8], experts[8];
        for (int k = 0; k < 8; k++) {
            layers[k] = runs[i].first + k;
            experts[k] = runs[i].n_experts;
        }
        const struct obs_expect expect = {layers, experts, NULL, (size_t)runs[i].n_layers,
                                          runs[i].top_k};
        read_run(&run, test_path("%s/observations/%s", test_data(), runs[i].file));
        if (obs_run_check_structure(&run, &expect, NULL, &err) ||
            obs_run_check_values(&run, &expect, 0, NULL, &err))
            fail_msg("[%s] %s", err.tag, err.msg);
        obs_run_free(&run);
    }
}

/* A bundle of a run has the numbers, the label and the hash of the file or folder it holds. */
static void a_bundle_is_the_run_inside(void **state)
{
    (void)state;
    static const char *const endings[] = {"tar", "tar.gz", "tar.zst", "zip"};
    const char *dir = test_temp_dir();
    const char *folder =
        test_path("%s/observations/nano16/run-a/layerwise_intermediate", test_data());
    struct test_bytes blocks[5];
    struct archive_build_member members[5];
    struct obs_run plain = {0};
    read_run(&plain, folder);
    for (int i = 0; i < 5; i++) {
        blocks[i] = test_read(test_path("%s/block_%03d_metrics.pt", folder, i));
        members[4 - i] = (struct archive_build_member){
            test_path("run-a/layerwise_intermediate/block_%03d_metrics.pt", i),
            {blocks[i].p, blocks[i].n},
            ARCHIVE_BUILD_FILE};
    }
    for (size_t i = 0; i < 4; i++) {
        struct obs_run run = {0};
        struct span z = archive_build(endings[i], members, 5);
        const char *path = test_path("%s/any-name.%s", dir, endings[i]);
        test_write(path, z.p, z.n);
        read_run(&run, path);
        expect_same_runs(&plain, &run);
        assert_string_equal(plain.sha256, run.sha256);
        obs_run_free(&run);
        free((void *)z.p);
    }
    for (int i = 0; i < 5; i++)
        free(blocks[i].p);
    obs_run_free(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_run_holds_the_same_sums),
        cmocka_unit_test(a_run_written_as_json_reads_back_value_for_value),
        cmocka_unit_test(labels_hashes_and_tokens_are_those_of_the_keep_maps),
        cmocka_unit_test(the_routed_files_hold_a_second_gate_rule),
        cmocka_unit_test(every_golden_run_passes_all_checks),
        cmocka_unit_test(a_bundle_is_the_run_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
