/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/obs_files.h"
#include "libprep/format/observation.h"
#include "tests/support/archive_build.h"
#include "tests/support/memory_io.h"
#include "tests/support/support.h"

/* A run made from one file in memory, and what was said about it. */
struct reading {
    struct obs_run run;
    struct report report;
    struct prep_error err;
};

static void read_bytes(struct reading *r, const char *path, struct span bytes)
{
    const struct memory_part part = {.p = bytes.p, .n = bytes.n};
    const struct memory_file f = {.path = path, .parts = &part, .n_parts = 1};
    struct memory_io m;
    memory_io_init(&m, &f, 1);
    *r = (struct reading){.err = PREP_ERROR_INIT};
    report_init(&r->report);
    int rc = obs_run_read(&r->run, &m.io, path, NULL, &r->report, &r->err);
    assert_int_equal(rc, r->err.code == PREP_OK ? 0 : -1);
    assert_int_equal(m.n_open, 0);
}

static void done(struct reading *r)
{
    obs_run_free(&r->run);
    report_fini(&r->report);
}

static void derives_labels_from_paths(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"x/run-a/observations_1024_cosine.pt", "run-a"},
        {"run-a/observations.pt", "run-a"},
        {"observations_1024.pt", "observations_1024"},
        {"./observations_1024.pt", "observations_1024"},
        {"../observations_1024.pt", "observations_1024"},
        {"/observations.pt", "observations"},
        {"x/run-a/partial.pkl", "run-a"},
        {"x/run-a/layerwise_intermediate/", "run-a"},
        {"x/run-a/layerwise_intermediate//group_012", "run-a"},
        {"x/run-a/layerwise_intermediate/group_012/block_003_metrics.pt", "run-a"},
        {"layerwise_intermediate", "layerwise_intermediate"},
        {"x/run-a/", "run-a"},
        {"x/edge/ok.pt", "ok"},
        {"x/run-a.obs.safetensors", "run-a"},
        {"x/run-a.obs.json", "run-a"},
        {"x/samples.jsonl", "samples"},
        {"/", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct prep_error err = PREP_ERROR_INIT;
        arena_init(&arena, 0);
        assert_string_equal(obs_label(&arena, cases[i][0], &err), cases[i][1]);
        arena_fini(&arena);
    }
}

static void tells_forms_apart_by_name(void **state)
{
    (void)state;
    assert_int_equal(obs_form_of("a/block_003_metrics.pt"), OBS_FORM_BLOCK);
    assert_int_equal(obs_block_layer("a/block_003_metrics.pt"), 3);
    assert_int_equal(obs_block_layer("block_1000_metrics.pt"), 1000);
    assert_int_equal(obs_block_layer("block_9999_metrics.pt"), -1);
    assert_int_equal(obs_block_layer("block_03_metrics.pt"), -1);
    assert_int_equal(obs_block_layer("block_003_metrics.pt.bak"), -1);
    assert_int_equal(obs_form_of("block_003.pt"), OBS_FORM_PT);
    assert_int_equal(obs_form_of("a.obs.safetensors"), OBS_FORM_NATIVE);
    assert_int_equal(obs_form_of("a.json"), OBS_FORM_JSON);
    assert_int_equal(obs_form_of("a.jsonl"), OBS_FORM_JSONL);
    assert_int_equal(obs_form_of("partial.pkl"), OBS_FORM_PT);
}

/* A block file of the fixtures under another name. */
static void put_block(const char *dir, const char *name, const char *model, int block)
{
    struct test_bytes b =
        test_read(test_path("%s/observations/%s/run-a/layerwise_intermediate/block_%03d_metrics.pt",
                            test_data(), model, block));
    test_write(test_path("%s/%s", dir, name), b.p, b.n);
    free(b.p);
}

static void read_path(struct reading *r, const char *path)
{
    *r = (struct reading){.err = PREP_ERROR_INIT};
    report_init(&r->report);
    (void)!obs_run_read(&r->run, &io_posix, path, NULL, &r->report, &r->err);
}

static void takes_the_highest_group_only(void **state)
{
    (void)state;
    struct reading r;
    const char *dir = test_temp_dir();
    put_block(dir, "layerwise_intermediate/group_000/block_003_metrics.pt", "rand32", 3);
    put_block(dir, "layerwise_intermediate/group_000/block_004_metrics.pt", "rand32", 4);
    put_block(dir, "layerwise_intermediate/group_002/block_003_metrics.pt", "nano16", 3);
    put_block(dir, "layerwise_intermediate/group_002/block_000_metrics.pt", "nano16", 0);
    put_block(dir, "layerwise_intermediate/group_010/block_004_metrics.pt", "nano16", 4);
    const char *paths[] = {dir, test_path("%s/layerwise_intermediate", dir)};
    for (size_t i = 0; i < 2; i++) {
        read_path(&r, paths[i]);
        assert_string_equal(r.err.msg, "");
        assert_int_equal(r.run.n_layers, 1);
        assert_int_equal(r.run.layers[0].layer, 4);
        assert_int_equal(r.run.layers[0].n_experts, 16);
        done(&r);
    }
    read_path(&r, test_path("%s/layerwise_intermediate/group_002", dir));
    assert_int_equal(r.run.n_layers, 1);
    assert_int_equal(r.run.layers[0].layer, 3);
    done(&r);
    read_path(&r, test_path("%s/layerwise_intermediate/group_000/block_003_metrics.pt", dir));
    assert_int_equal(r.run.n_layers, 1);
    assert_int_equal(r.run.layers[0].n_experts, 32);
    done(&r);
}

static void rejects_folders_without_one_clear_run(void **state)
{
    (void)state;
    struct reading r;
    const char *dir = test_temp_dir();
    read_path(&r, dir);
    assert_string_equal(r.err.tag, "OBS_NOT_PT");
    done(&r);
    put_block(dir, "group_000/block_003_metrics.pt", "rand32", 3);
    put_block(dir, "block_003_metrics.pt", "rand32", 3);
    read_path(&r, dir);
    assert_string_equal(r.err.tag, "OBS_NOT_PT");
    done(&r);
    test_remove_tree(test_path("%s/group_000", dir));
    put_block(dir, "block_0003_metrics.pt", "rand32", 3);
    read_path(&r, dir);
    assert_string_equal(r.err.tag, "OBS_SHAPE");
    done(&r);
    read_path(&r, test_path("%s/none", dir));
    assert_int_equal(r.err.code, PREP_ENOINPUT);
    done(&r);
}

static void a_block_of_another_name_is_no_dictionary_of_layers(void **state)
{
    (void)state;
    struct reading r;
    const char *dir = test_temp_dir();
    put_block(dir, "renamed.pt", "rand32", 3);
    read_path(&r, test_path("%s/renamed.pt", dir));
    assert_string_equal(r.err.tag, "OBS_SHAPE");
    assert_non_null(strstr(r.err.msg, "block_NNN_metrics.pt"));
    done(&r);
}

#define RUN_TEXT "{\"layers\":{\"3\":{\"ean_sum\":[1,2]}}}"
#define TEXT(s)                                                                                    \
    {                                                                                              \
        (const unsigned char *)(s), sizeof(s) - 1                                                  \
    }

static void expect_bundle(const struct archive_build_member *m, size_t n, const char *tag,
                          const char *label)
{
    struct reading r;
    struct span z = archive_build("tar.zst", m, n);
    read_bytes(&r, "dir/bundle.tar.zst", z);
    assert_string_equal(r.err.tag, tag);
    if (label)
        assert_string_equal(r.run.label, label);
    done(&r);
    free((void *)z.p);
}

static void a_bundle_holds_one_run(void **state)
{
    (void)state;
    const struct archive_build_member run = {"run-q/x.obs.json", TEXT(RUN_TEXT), 0};
    const struct archive_build_member other = {"y.obs.json", TEXT(RUN_TEXT), 0};
    const struct archive_build_member notes = {"source.json", TEXT("[]"), 0};
    const struct archive_build_member apple = {"run-q/._x.obs.json", TEXT("?"), 0};
    const struct archive_build_member broken = {"z.pt", TEXT("?"), 0};
    const struct archive_build_member all[] = {notes, apple, run, other};
    expect_bundle(all, 3, "", "x");
    expect_bundle(all + 3, 1, "", "y");
    expect_bundle(all, 4, "OBS_NOT_PT", NULL);
    expect_bundle(all, 2, "OBS_NOT_PT", NULL);
    expect_bundle(&broken, 1, "OBS_NOT_PT", NULL);
}

static void a_bundle_of_groups_gives_the_highest(void **state)
{
    (void)state;
    struct test_bytes b[2];
    for (int i = 0; i < 2; i++)
        b[i] = test_read(
            test_path("%s/observations/%s/run-a/layerwise_intermediate/block_003_metrics.pt",
                      test_data(), i ? "nano16" : "rand32"));
    const struct archive_build_member m[] = {
        {"r/group_000/block_003_metrics.pt", {b[0].p, b[0].n}, 0},
        {"r/group_001/block_003_metrics.pt", {b[1].p, b[1].n}, 0},
        {"s/group_001/block_003_metrics.pt", {b[1].p, b[1].n}, 0},
    };
    struct reading r;
    struct span z = archive_build("zip", m, 2);
    read_bytes(&r, "bundle.zip", z);
    assert_string_equal(r.err.msg, "");
    assert_int_equal(r.run.n_layers, 1);
    assert_int_equal(r.run.layers[0].n_experts, 16);
    assert_string_equal(r.run.label, "r");
    done(&r);
    free((void *)z.p);
    expect_bundle(m, 3, "OBS_NOT_PT", NULL);
    free(b[0].p);
    free(b[1].p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derives_labels_from_paths),
        cmocka_unit_test(tells_forms_apart_by_name),
        cmocka_unit_test(takes_the_highest_group_only),
        cmocka_unit_test(rejects_folders_without_one_clear_run),
        cmocka_unit_test(a_block_of_another_name_is_no_dictionary_of_layers),
        cmocka_unit_test(a_bundle_holds_one_run),
        cmocka_unit_test(a_bundle_of_groups_gives_the_highest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
