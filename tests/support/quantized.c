/* SPDX-License-Identifier: MIT */
#include "tests/support/quantized.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "libprep/store/executor.h"
#include "tests/support/support.h"

struct quantize_job quantized_job(const char *source)
{
    return (struct quantize_job){.io = &io_posix,
                                 .tool = "quantize-nvfp4",
                                 .source = source,
                                 .layout = QUANT_MODELOPT,
                                 .modules = "experts",
                                 .scales = "auto",
                                 .group_size = 16,
                                 .isa = cpu_isa(),
                                 .min_tokens = 32};
}

const char *quantized_run(const struct quantize_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct quantize_result r;
    struct exec_result done;
    report_init(&report);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = {.io = &io_posix, .dir = dir, .n_threads = 2};
    if (quantize_job_run(&r, job, &report, &err) || plan_execute(r.plan, &opt, &done, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    quantize_result_free(&r);
    report_fini(&report);
    return dir;
}

const char *quantized_refusal(const struct quantize_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct quantize_result r;
    report_init(&report);
    int rc = quantize_job_run(&r, job, &report, &err);
    quantize_result_free(&r);
    report_fini(&report);
    return rc ? err.tag : "";
}

float quantized_amax(enum quant_layout layout, float scale)
{
    if (layout == QUANT_MODELOPT)
        return f32_from_bf16(bf16_from_f32(scale * 2688));
    uint16_t about = bf16_from_f32(2688 / scale);
    for (int step = -3; step <= 3; step++) {
        float amax = f32_from_bf16((uint16_t)(about + step));
        if (nvfp4_global(NVFP4_MINMAX, amax, NVFP4_BF16) == scale)
            return amax;
    }
    fail_msg("no maximum gives the scale %g", (double)scale);
    return 0;
}

const char *quantized_amax_file(const struct amax_entry *entries, size_t n, int n_routed_experts)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct metadata_pair metadata[] = {{"format", "reap-amax"},
                                       {"n_routed_experts", test_path("%d", n_routed_experts)},
                                       {"version", "1"}};
    struct amax a = {.n = n, .metadata = metadata, .n_metadata = 3};
    struct arena arena;
    struct span file;
    arena_init(&arena, 0);
    a.entries = arena_calloc(&arena, n, sizeof *a.entries, &err);
    assert_non_null(a.entries);
    for (size_t i = 0; i < n; i++)
        a.entries[i] = (struct amax_entry){entries[i].module, entries[i].amax, 1000};
    const char *path = test_path("%s/test.amax.safetensors", test_temp_dir());
    if (amax_write(&a, &arena, &file, &err))
        fail_msg("%s", err.msg);
    test_write(path, file.p, file.n);
    arena_fini(&arena);
    return path;
}
