/* SPDX-License-Identifier: MIT */
#include "tests/support/gguf_made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/support.h"

static char message[1024], warnings[1024];

struct gguf_job gguf_made_job(const char *source, const char *const *rungs, size_t n)
{
    return (struct gguf_job){.io = &io_posix,
                             .tool = "make-gguf",
                             .source = source,
                             .rungs = rungs,
                             .n_rungs = n,
                             .isa = cpu_isa()};
}

static void keep_warnings(const struct report *report)
{
    size_t used = 0;
    warnings[0] = 0;
    for (size_t i = 0; i < report->n_warnings; i++) {
        int n = snprintf(warnings + used, sizeof warnings - used, "%s%s", i ? " " : "",
                         report->warnings[i].tag);
        used += n > 0 && (size_t)n < sizeof warnings - used ? (size_t)n : 0;
    }
}

const char *gguf_made_run(const struct gguf_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct gguf_result r;
    struct exec_result done;
    struct report report;
    const char *dir = test_path("%s/out", test_temp_dir());
    const struct exec_options opt = {.io = job->io, .dir = dir, .n_threads = 2};
    report_init(&report);
    int rc = gguf_job_run(&r, job, &report, &err) || plan_execute(r.plan, &opt, &done, &err);
    keep_warnings(&report);
    gguf_result_free(&r);
    report_fini(&report);
    if (rc)
        fail_msg("%s: %s", err.tag, err.msg);
    return dir;
}

const char *gguf_made_refusal(const struct gguf_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct gguf_result r;
    struct report report;
    report_init(&report);
    int rc = gguf_job_run(&r, job, &report, &err);
    keep_warnings(&report);
    gguf_result_free(&r);
    report_fini(&report);
    snprintf(message, sizeof message, "%s", err.msg);
    return rc ? test_path("%s", err.tag) : "";
}

const char *gguf_made_message(void)
{
    return message;
}

const char *gguf_made_warnings(void)
{
    return warnings;
}
