/* SPDX-License-Identifier: MIT */
/* Planning a quantization of the nano, pruned on the way, with the n-th allocation failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fault_alloc.h"
#include "tests/support/quantized.h"
#include "tests/support/support.h"

static int plan_once(const struct quantize_job *job, struct prep_error *err)
{
    struct report report;
    struct quantize_result r;
    report_init(&report);
    int rc = quantize_job_run(&r, job, &report, err);
    quantize_result_free(&r);
    report_fini(&report);
    return rc;
}

/* A report that could not hold a fact says so at the end, or the fact is missing: both are fine. */
static void fail_each(const struct quantize_job *job)
{
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = plan_once(job, &err);
        uint64_t seen = fault_alloc_stop();
        if (rc)
            assert_int_equal(err.code, PREP_ENOMEM);
        if (seen >= n)
            continue;
        assert_int_equal(rc, 0);
        assert_true(seen > 0);
        return;
    }
}

static void planning_fails_cleanly(void **state)
{
    (void)state;
    static const char text[] = "{\"2\":[0,1,2,3],\"3\":[0,1,2,3],\"4\":[1,2,3,4]}";
    const char *map = test_path("%s/map.json", test_temp_dir());
    struct amax_entry e = {"model.layers.2.mlp.experts.0.up_proj", 1, 0};
    const char *amax[2] = {quantized_amax_file(&e, 1, 16), quantized_amax_file(&e, 1, 16)};
    const struct quant_rule rules[] = {{"re:.*shared_experts", 1}, {"*.layers.4.*", 0}};
    test_write(map, text, sizeof text - 1);
    struct quantize_job job = quantized_job(test_path("%s/glm-nano", test_data()));
    job.keep_map = map;
    job.amax = amax;
    job.n_amax = 2;
    job.assume_amax = 1;
    job.rules = rules;
    job.n_rules = 2;
    fail_each(&job);
}

static void planning_from_fp8_fails_cleanly(void **state)
{
    (void)state;
    struct quantize_job job = quantized_job(test_path("%s/fp8/mini", test_data()));
    job.layout = QUANT_COMPRESSED_TENSORS;
    fail_each(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planning_fails_cleanly),
        cmocka_unit_test(planning_from_fp8_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
