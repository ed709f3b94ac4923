/* SPDX-License-Identifier: MIT */
#include "tools/cli_plan.h"

#include "tools/cli_ranks.h"

#include <inttypes.h>
#include <string.h>

static void plan_facts(const struct plan *plan, const struct exec_result *result,
                       struct report *report)
{
    cJSON *f = cJSON_AddObjectToObject(report->facts, "plan");
    report_u64(f, "files", plan->n_files);
    report_u64(f, "output_bytes", plan->output_bytes);
    report_u64(f, "input_bytes", plan->input_bytes);
    report_u64(f, "memory_floor_bytes", result->floor_bytes);
    cJSON_AddStringToObject(f, "key_sha256", plan->key_sha256);
}

static void run_facts(const struct exec_result *result, int n_ranks, struct report *report)
{
    cJSON *f = cJSON_AddObjectToObject(report->facts, "run");
    report_u64(f, "written_bytes", result->written_bytes);
    report_u64(f, "resumed_bytes", result->resumed_bytes);
    report_u64(f, "read_bytes", result->read_bytes);
    report_u64(f, "written_files", result->written_files);
    report_u64(f, "peak_memory_bytes", result->peak_bytes);
    cJSON_AddBoolToObject(f, "resumed", result->resumed);
    cJSON_AddBoolToObject(f, "finished", result->finished);
    if (n_ranks > 1)
        report_u64(f, "ranks", (uint64_t)n_ranks);
}

static void show_plan(struct cli *cli, const struct plan *plan, const struct exec_result *result)
{
    char out[CLI_BYTES_TEXT], in[CLI_BYTES_TEXT], mem[CLI_BYTES_TEXT];
    FILE *f = cli->host.out;
    for (size_t i = 0; i < plan->n_files && cli->common.verbose; i++)
        fprintf(f, "  %14" PRIu64 "  %s\n", plan->files[i].bytes, plan->files[i].name);
    fprintf(f, "plan: write %s (%" PRIu64 " bytes) in %zu files, read %s, memory at least %s\n",
            cli_format_bytes(plan->output_bytes, out), plan->output_bytes, plan->n_files,
            cli_format_bytes(plan->input_bytes, in), cli_format_memory(result->floor_bytes, mem));
}

static void show_result(struct cli *cli, const struct plan *plan, const char *dir,
                        const struct exec_result *result)
{
    char text[CLI_BYTES_TEXT], old[CLI_BYTES_TEXT];
    FILE *f = cli->host.out;
    if (!result->finished) {
        fprintf(f, "part %d/%d of %s is done: %s written, %s found done; --assemble finishes\n",
                cli->common.part.i, cli->common.part.n, dir,
                cli_format_bytes(result->written_bytes, text),
                cli_format_bytes(result->resumed_bytes, old));
        return;
    }
    fprintf(f, "wrote %s: %zu files, %s", dir, plan->n_files,
            cli_format_bytes(plan->output_bytes, text));
    if (result->resumed_bytes)
        fprintf(f, " (%s of it by an earlier run)", cli_format_bytes(result->resumed_bytes, old));
    fputc('\n', f);
}

int cli_run_plan(struct cli *cli, const struct plan *plan, const struct cli_plan_options *options,
                 const char *dir, struct report *report, struct prep_error *err)
{
    const struct cli_common *c = &cli->common;
    struct exec_options opt = {
        .io = &io_posix,
        .dir = dir,
        .n_threads = (int)c->jobs,
        .mem = c->mem,
        .no_hashes = options->no_hashes,
        .sync_bytes = options->sync_bytes,
        .part = c->part.i,
        .n_parts = c->part.n,
        .assemble = c->assemble,
        .fresh = c->fresh,
        .force = c->force,
        .progress = cli_progress,
        .progress_arg = cli,
    };
    struct exec_result result = {0};
    if (c->dry_run) {
        if (plan_check(plan, &opt, &result, err))
            return -1;
        plan_facts(plan, &result, report);
        if (!c->json)
            show_plan(cli, plan, &result);
        return report_ok(report, err);
    }
    opt.stop = cli_catch_signals();
    if (cli->ranks.size > 1 ? cli_execute_ranks(cli, plan, &opt, &result, err)
                            : plan_execute(plan, &opt, &result, err))
        return -1;
    plan_facts(plan, &result, report);
    run_facts(&result, cli->ranks.size, report);
    if (!c->json)
        show_result(cli, plan, dir, &result);
    return report_ok(report, err);
}
