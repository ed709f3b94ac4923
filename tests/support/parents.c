/* SPDX-License-Identifier: MIT */
#include "tests/support/parents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libprep/release/quantize.h"
#include "libprep/store/executor.h"

static struct prep_error err = PREP_ERROR_INIT;

static const char *write_plan(const struct plan *plan)
{
    const char *dir = test_path("%s/out", test_temp_dir());
    const struct exec_options opt = {.io = &io_posix, .dir = dir, .n_threads = 2};
    struct exec_result result;
    if (plan_execute(plan, &opt, &result, &err))
        fail_msg("%s", err.msg);
    return dir;
}

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

static const char *prune(int keep)
{
    const char *runs[] = {
        test_path("%s/observations/nano16/run-a/observations_1024_cosine.pt", test_data()),
        test_path("%s/observations/nano16/run-b/observations_1024_cosine-seed_42.pt", test_data())};
    const struct prune_job job = {.io = &io_posix,
                                  .source = nano(),
                                  .observations = runs,
                                  .n_observations = 2,
                                  .model_name = "fixture/glm-nano",
                                  .options = {.size = SIZE_KEEP, .keep = keep}};
    struct prune_result result;
    struct report report;
    report_init(&report);
    if (prune_job_run(&result, &job, 1, &report, &err))
        fail_msg("%s", err.msg);
    report_fini(&report);
    const char *dir = write_plan(result.plan);
    prune_result_free(&result);
    return dir;
}

static const char *quantize(const char *tool, enum quant_layout layout, const char *modules,
                            uint64_t group, double amax)
{
    const struct quantize_job job = {.io = &io_posix,
                                     .tool = tool,
                                     .source = nano(),
                                     .layout = layout,
                                     .modules = modules,
                                     .scales = layout == QUANT_GPTQ ? "signed" : "auto",
                                     .group_size = group,
                                     .isa = ISA_SCALAR,
                                     .assume_amax = amax};
    struct quantize_result result;
    struct report report;
    report_init(&report);
    if (quantize_job_run(&result, &job, &report, &err))
        fail_msg("%s", err.msg);
    report_fini(&report);
    const char *dir = write_plan(result.plan);
    quantize_result_free(&result);
    return dir;
}

static const char *make(enum parent kind)
{
    switch (kind) {
    case PARENT_P:
        return prune(12);
    case PARENT_P10:
        return prune(10);
    case PARENT_Q:
        return quantize("quantize-nvfp4", QUANT_MODELOPT, "experts", 16, 4);
    case PARENT_A:
        return quantize("quantize-nvfp4", QUANT_MODELOPT, "all", 16, 4);
    case PARENT_C:
        return quantize("quantize-nvfp4", QUANT_COMPRESSED_TENSORS, "experts", 16, 4);
    case PARENT_G:
        return quantize("quantize-gptq", QUANT_GPTQ, "portable", 128, 0);
    default:
        return nano();
    }
}

const char *make_parent(enum parent kind)
{
    static const char *made[N_PARENTS];
    if (!made[kind])
        made[kind] = make(kind);
    return made[kind];
}
