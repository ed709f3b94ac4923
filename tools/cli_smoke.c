/* SPDX-License-Identifier: MIT */
#include "tools/cli_smoke.h"

#include <math.h>
#include <time.h>

#include "libprep/release/lint.h"
#include "libprep/release/smoke.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void tell(void *arg, enum smoke_stage_id id, const struct smoke_stage *stage, int ended)
{
    struct cli *cli = arg;
    char figure[64] = "";
    if (!ended)
        return;
    if (!isnan(stage->value))
        snprintf(figure, sizeof figure, ", %.6g %s", stage->value, smoke_figure_name(id));
    cli_say(cli, "%-8s  %-7s %6.2f s%s%s%s", smoke_stage_name(id),
            stage->state == SMOKE_PASSED   ? "ok"
            : stage->state == SMOKE_FAILED ? "FAILED"
                                           : "skipped",
            stage->seconds, figure, stage->message[0] ? ": " : "", stage->message);
}

static int fill(struct smoke_job *to, const struct cli_smoke *asked, struct cli *cli,
                struct prep_error *err)
{
    const struct judge_job *j = asked->job;
    *to = (struct smoke_job){.io = j->io,
                             .model = j->models[0],
                             .original = j->original,
                             .reference = j->reference,
                             .tokenizer = j->tokenizer,
                             .text = j->text,
                             .max_nats = asked->max_nats,
                             .limits = *asked->limits,
                             .run = j->run,
                             .now = now,
                             .tell = tell,
                             .arg = cli};
    if (j->n_models != 1 || j->keep_map || j->save || j->original_as_is)
        return prep_fail(err, PREP_EUSAGE,
                         "--smoke looks at one MODEL as it is: no keep-map, reference to save or "
                         "--original-as-is");
    if (asked->engines && lint_engines_parse(&to->engines, asked->engines))
        return prep_fail(err, PREP_EUSAGE,
                         "--engine %s: want sglang, vllm, transformers or llama.cpp",
                         asked->engines);
    return 0;
}

int cli_smoke_run(struct cli *cli, const struct cli_smoke *asked, struct report *report,
                  struct prep_error *err)
{
    struct smoke_job job;
    struct smoke s;
    cli->common.json = 1;
    if (!cJSON_AddStringToObject(report->facts, "schema", "verify-run/smoke/1"))
        return prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    if (fill(&job, asked, cli, err))
        return -1;
    const int rc = smoke_run(&s, &job, report, err);
    struct prep_error full = PREP_ERROR_INIT;
    if (smoke_facts(report->facts, &s, &job, &full) && !rc) {
        *err = full;
        return -1;
    }
    return rc;
}
