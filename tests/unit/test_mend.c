/* SPDX-License-Identifier: MIT */
/* What reap-prune mends when asked, and what lint says before and after. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/prune/job.h"
#include "libprep/release/lint.h"
#include "libprep/store/executor.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/parents.h"

enum { EXPERTS = 16, KEPT = 12, TOP_K = 4, TOKENS = 2000 };

#define BIAS "model.layers.3.mlp.gate.e_score_correction_bias"

static struct prep_error err = PREP_ERROR_INIT;

/* Experts 2 to 7 and 10 to 15 of layers 2 to 5. */
static const char *keep_map_file(void)
{
    const char *path = test_path("%s/keep.json", test_temp_dir());
    static const char text[] = "{\"2\":[2,3,4,5,6,7,10,11,12,13,14,15],"
                               "\"3\":[2,3,4,5,6,7,10,11,12,13,14,15],"
                               "\"4\":[2,3,4,5,6,7,10,11,12,13,14,15],"
                               "\"5\":[2,3,4,5,6,7,10,11,12,13,14,15]}";
    test_write(path, text, sizeof text - 1);
    return path;
}

static int has_warning(const struct report *r, const char *tag)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        if (strcmp(r->warnings[i].tag, tag) == 0)
            return 1;
    return 0;
}

/* The pruned checkpoint; *warned: unequal pairs were said. */
static const char *pruned(const char *dir, struct mend_options mend, int *warned)
{
    const struct prune_job job = {
        .io = &io_posix, .source = dir, .keep_map = keep_map_file(), .mend = mend};
    struct prune_result result;
    struct report report;
    struct exec_result done;
    const char *out = test_path("%s/out", test_temp_dir());
    const struct exec_options opt = {.io = &io_posix, .dir = out, .n_threads = 2};
    report_init(&report);
    if (prune_job_run(&result, &job, 1, &report, &err) ||
        plan_execute(result.plan, &opt, &done, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    if (warned)
        *warned = has_warning(&report, "GATE_UP_SCALE");
    prune_result_free(&result);
    report_fini(&report);
    return out;
}

static size_t found(const char *dir, const char *code)
{
    struct lint l;
    const struct lint_options opt = {.n_threads = 2};
    if (lint_run(&l, &io_posix, dir, &opt, &err))
        fail_msg("%s", err.msg);
    size_t n = lint_count(&l, code);
    lint_fini(&l);
    return n;
}

static float *floats(const char *dir, const char *name, size_t *n)
{
    struct checkpoint *c;
    if (checkpoint_open(&c, &io_posix, dir, NULL, &err))
        fail_msg("%s", err.msg);
    const struct checkpoint_tensor *t = checkpoint_find(c, name);
    assert_non_null(t);
    *n = (size_t)t->info.bytes / 4;
    unsigned char *bytes = malloc((size_t)t->info.bytes);
    float *v = calloc(*n, sizeof *v);
    assert_non_null(bytes);
    assert_non_null(v);
    assert_int_equal(checkpoint_read(c, t, 0, bytes, (size_t)t->info.bytes, &err), 0);
    for (size_t i = 0; i < *n; i++)
        v[i] = f32_from_bits(load_le32(bytes + 4 * i));
    free(bytes);
    checkpoint_close(c);
    return v;
}

/* Two pairs made unequal; expert 1 of layer 2 is dropped by the keep-map, expert 7 is not. */
static const char *unequal(enum parent parent, const char *suffix)
{
    struct edit e;
    edit_open(&e, make_parent(parent));
    for (int expert = 1; expert <= 7; expert += 6) {
        struct edit_tensor *t =
            edit_get(&e, "model.layers.2.mlp.experts.%d.up_proj.%s", expert, suffix);
        unsigned char *p = edit_bytes(&e, t);
        store_le32(p, f32_bits(f32_from_bits(load_le32(p)) * 1.5f));
    }
    const char *dir = edit_write(&e);
    edit_close(&e);
    return dir;
}

static void expect_mended(enum parent parent, const char *suffix)
{
    const char *dir = unequal(parent, suffix);
    int warned;
    assert_int_equal(found(dir, "GATE_UP_SCALE"), 2);
    const char *copied = pruned(dir, (struct mend_options){0}, &warned);
    assert_true(warned);
    assert_int_equal(found(copied, "GATE_UP_SCALE"), 1);

    const char *mended = pruned(dir, (struct mend_options){.fix_gate_up = 1}, &warned);
    assert_false(warned);
    assert_int_equal(found(mended, "GATE_UP_SCALE"), 0);
    struct test_bytes m = test_read(test_path("%s/%s", mended, EXEC_MANIFEST));
    assert_non_null(strstr((char *)m.p, "\"gate_up_scale\": 1"));
    free(m.p);

    /* Another pair is what it was, and so is all of a good checkpoint. */
    size_t n;
    const char *other = test_path("model.layers.2.mlp.experts.4.up_proj.%s", suffix);
    float *a = floats(copied, other, &n), *b = floats(mended, other, &n);
    assert_true(a[0] == b[0]);
    free(a);
    free(b);
    pruned(make_parent(parent), (struct mend_options){0}, &warned);
    assert_false(warned);
}

static void gate_and_up_of_modelopt_get_one_scale(void **state)
{
    (void)state;
    expect_mended(PARENT_Q, "weight_scale_2");
}

static void gate_and_up_of_compressed_tensors_get_one_scale(void **state)
{
    (void)state;
    expect_mended(PARENT_C, "weight_global_scale");
}

/* Biases near 7.9, a hundredth apart at most. */
static const char *constant_bias(void)
{
    struct edit e;
    edit_open(&e, make_parent(PARENT_N));
    unsigned char *p = edit_bytes(&e, edit_get(&e, BIAS));
    for (int i = 0; i < EXPERTS; i++)
        store_le32(p + 4 * i, f32_bits(7.9f + (float)(i * 7 % EXPERTS) * 0x1p-11f));
    const char *dir = edit_write(&e);
    edit_close(&e);
    return dir;
}

/* The k-th choice: the largest sum that was not chosen before. */
static void choose(int chosen[TOP_K], const double *score, const float *bias)
{
    int taken[KEPT] = {0};
    for (int k = 0; k < TOP_K; k++) {
        int best = -1;
        for (int i = 0; i < KEPT; i++)
            if (!taken[i] &&
                (best < 0 || score[i] + (double)bias[i] > score[best] + (double)bias[best]))
                best = i;
        taken[best] = 1;
        chosen[k] = best;
    }
}

static void a_centered_bias_selects_the_same_experts(void **state)
{
    (void)state;
    const char *dir = constant_bias();
    assert_int_equal(found(make_parent(PARENT_N), "BIAS_SPREAD"), 0);
    assert_int_equal(found(dir, "BIAS_SPREAD"), 1);
    const char *plain = pruned(dir, (struct mend_options){0}, NULL);
    const char *centered = pruned(dir, (struct mend_options){.center_bias = 1}, NULL);
    assert_int_equal(found(plain, "BIAS_SPREAD"), 1);
    assert_int_equal(found(centered, "BIAS_SPREAD"), 0);

    size_t n, m;
    float *a = floats(plain, BIAS, &n), *b = floats(centered, BIAS, &m);
    float least = INFINITY, largest = -INFINITY;
    assert_int_equal(n, KEPT);
    assert_int_equal(m, KEPT);
    for (size_t i = 0; i < n; i++) {
        assert_true(a[i] - b[i] == a[0] - b[0]); /* near the constant differences are exact */
        least = fminf(least, b[i]);
        largest = fmaxf(largest, b[i]);
    }
    assert_true(fabsf(least + largest) <= 0x1p-20f);

    struct test_random rnd = {3};
    for (int t = 0; t < TOKENS; t++) {
        double score[KEPT];
        int one[TOP_K], two[TOP_K];
        for (int i = 0; i < KEPT; i++)
            score[i] = (double)test_random_below(&rnd, 1 << 20) * 0x1p-20;
        choose(one, score, a);
        choose(two, score, b);
        assert_memory_equal(one, two, sizeof one);
    }
    free(a);
    free(b);
    struct test_bytes text = test_read(test_path("%s/%s", centered, EXEC_MANIFEST));
    assert_non_null(strstr((char *)text.p, "\"" BIAS "\": {\"subtracted\": 7.90"));
    free(text.p);
}

static void several_groups_are_not_centered(void **state)
{
    (void)state;
    struct edit e;
    edit_open(&e, make_parent(PARENT_N));
    edit_replace(&e, "config.json", "\"n_group\": 1", "\"n_group\": 2");
    edit_replace(&e, "config.json", "\"topk_group\": 1", "\"topk_group\": 2");
    const char *dir = edit_write(&e);
    edit_close(&e);
    const struct prune_job job = {
        .io = &io_posix, .source = dir, .keep_map = keep_map_file(), .mend = {.center_bias = 1}};
    struct prune_result result;
    struct prep_error why = PREP_ERROR_INIT;
    struct report report;
    report_init(&report);
    assert_int_equal(prune_job_run(&result, &job, 1, &report, &why), -1);
    assert_int_equal(why.code, PREP_EUSAGE);
    if (!strstr(why.msg, "--center-bias"))
        fail_msg("%s", why.msg);
    prune_result_free(&result);
    report_fini(&report);
}

static void a_bias_that_is_no_number_is_refused(void **state)
{
    (void)state;
    struct edit e;
    edit_open(&e, make_parent(PARENT_N));
    store_le32(edit_bytes(&e, edit_get(&e, BIAS)) + 4 * 7, 0x7FC00000);
    const char *dir = edit_write(&e);
    edit_close(&e);
    const struct prune_job job = {
        .io = &io_posix, .source = dir, .keep_map = keep_map_file(), .mend = {.center_bias = 1}};
    struct prune_result result;
    struct exec_result done;
    struct prep_error why = PREP_ERROR_INIT;
    struct report report;
    report_init(&report);
    const struct exec_options opt = {.io = &io_posix, .dir = test_path("%s/out", test_temp_dir())};
    assert_int_equal(prune_job_run(&result, &job, 1, &report, &why), 0);
    assert_int_equal(plan_execute(result.plan, &opt, &done, &why), -1);
    assert_string_equal(why.tag, "ROUTER_NONFINITE");
    assert_non_null(strstr(why.msg, BIAS ": value 5 "));
    prune_result_free(&result);
    report_fini(&report);
}

static void lint_names_the_devices_nvfp4_asks_for(void **state)
{
    (void)state;
    static const enum parent with[] = {PARENT_Q, PARENT_C, PARENT_A};
    static const char *const words[] = {"modelopt W4A4: compute capability 10.0", "NotImplemented",
                                        "modelopt W4A4"};
    for (int i = 0; i < 3; i++) {
        struct lint l;
        const struct lint_options opt = {.engines = LINT_SGLANG};
        const struct lint_finding *f = NULL;
        assert_int_equal(lint_run(&l, &io_posix, make_parent(with[i]), &opt, &err), 0);
        for (size_t k = 0; k < l.n; k++)
            if (strcmp(l.items[k].code, "NVFP4_CAPABILITY") == 0)
                f = &l.items[k];
        assert_non_null(f);
        assert_true(f->rule->note);
        assert_non_null(strstr(f->text, words[i]));
        assert_int_equal(lint_count(&l, "NVFP4_SM120"), 1);
        lint_fini(&l);
    }
    assert_int_equal(found(make_parent(PARENT_N), "NVFP4_CAPABILITY"), 0);
    assert_int_equal(found(make_parent(PARENT_G), "NVFP4_SM120"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_and_up_of_modelopt_get_one_scale),
        cmocka_unit_test(gate_and_up_of_compressed_tensors_get_one_scale),
        cmocka_unit_test(a_centered_bias_selects_the_same_experts),
        cmocka_unit_test(several_groups_are_not_centered),
        cmocka_unit_test(a_bias_that_is_no_number_is_refused),
        cmocka_unit_test(lint_names_the_devices_nvfp4_asks_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
