/* SPDX-License-Identifier: MIT */
/*
 * What rescaling does to numbers: on a peer's checkpoint whose 16 gate and up pairs all differ
 * (nvfp4.md section 5, check 4), and where the ratio is a power of two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/release/repair.h"
#include "libprep/store/executor.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/parents.h"

static struct prep_error err = PREP_ERROR_INIT;

static const char *repair_it(const char *dir)
{
    const struct repair_job job = {
        .io = &io_posix, .source = dir, .engines = LINT_TRANSFORMERS, .n_threads = 2};
    const char *out = test_path("%s/out", test_temp_dir());
    const struct exec_options opt = {.io = &io_posix, .dir = out, .n_threads = 2};
    struct repair_result r;
    struct report report;
    struct exec_result result;
    report_init(&report);
    if (repair_job_run(&r, &job, &report, &err))
        fail_msg("%s: %s", dir, err.msg);
    assert_non_null(r.plan);
    if (plan_execute(r.plan, &opt, &result, &err))
        fail_msg("%s: %s", dir, err.msg);
    report_fini(&report);
    repair_result_free(&r);
    return out;
}

static float one_float(struct edit *e, const char *name)
{
    return f32_from_bits(load_le32(edit_bytes(e, edit_get(e, "%s", name))));
}

/* The largest relative change of a block's factor; codes must be untouched. */
static double change_of(struct edit *a, struct edit *b, const char *module)
{
    const char *global = test_path("%s.weight_global_scale", module);
    struct edit_tensor *x = edit_get(a, "%s.weight_scale", module);
    struct edit_tensor *y = edit_get(b, "%s.weight_scale", module);
    struct edit_tensor *p = edit_get(a, "%s.weight_packed", module);
    struct edit_tensor *q = edit_get(b, "%s.weight_packed", module);
    const double g = (double)one_float(a, global), h = (double)one_float(b, global);
    double most = 0;
    assert_memory_equal(edit_bytes(a, p), edit_bytes(b, q), (size_t)p->info.bytes);
    for (size_t i = 0; i < x->info.bytes; i++) {
        double was = (double)f32_from_e4m3(edit_bytes(a, x)[i]) / g;
        double is = (double)f32_from_e4m3(edit_bytes(b, y)[i]) / h;
        if (was == 0)
            assert_true(is == 0);
        else
            most = fmax(most, fabs(is - was) / was);
    }
    return most;
}

static void unequal_pairs_become_equal_within_half_a_step(void **state)
{
    (void)state;
    static const char *const parts[] = {"gate_proj", "up_proj"};
    struct edit a, b;
    double most = 0;
    int changed = 0;
    const char *dir = test_path("%s/nvfp4/tiny_glm/autoround_0.12.2_unequal_gate_up", test_data());
    edit_open(&a, dir);
    edit_open(&b, repair_it(dir));
    for (int layer = 1; layer < 3; layer++) {
        for (int e = 0; e < 8; e++) {
            double change[2];
            const char *module = test_path("model.layers.%d.mlp.experts.%d", layer, e);
            for (int p = 0; p < 2; p++)
                change[p] = change_of(&a, &b, test_path("%s.%s", module, parts[p]));
            assert_true(one_float(&b, test_path("%s.gate_proj.weight_global_scale", module)) ==
                        one_float(&b, test_path("%s.up_proj.weight_global_scale", module)));
            assert_true(change[0] == 0 || change[1] == 0); /* one half stays */
            changed += change[0] != change[1];
            most = fmax(most, fmax(change[0], change[1]));
        }
    }
    assert_int_equal(changed, 16);
    assert_true(most > 0 && most <= 0x1p-4);
    edit_close(&b);
    edit_close(&a);
}

static void a_power_of_two_is_mended_exactly(void **state)
{
    (void)state;
    static const char module[] = "model.layers.4.mlp.experts.0.gate_proj";
    struct edit broken, a, b;
    edit_open(&broken, make_parent(PARENT_C));
    struct edit_tensor *g = edit_get(&broken, "%s.weight_global_scale", module);
    store_le32(edit_bytes(&broken, g),
               f32_bits(2 * f32_from_bits(load_le32(edit_bytes(&broken, g)))));
    const char *dir = edit_write(&broken);
    edit_open(&a, dir);
    edit_open(&b, repair_it(dir));
    assert_true(change_of(&a, &b, module) == 0);
    edit_close(&b);
    edit_close(&a);
    edit_close(&broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unequal_pairs_become_equal_within_half_a_step),
        cmocka_unit_test(a_power_of_two_is_mended_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
