/* SPDX-License-Identifier: MIT */
/*
 * cli_lint.h - the lint and repair modes of prep-inspect: what a person sees of them.
 *
 * Ownership  everything is borrowed
 * Errors     PREP_EVERIFY when something was found, or is left after a repair; those of lint.h,
 *            repair.h and cli_plan.h
 * Threads    the main thread
 */
#ifndef PREP_TOOLS_CLI_LINT_H
#define PREP_TOOLS_CLI_LINT_H

#include "tools/cli_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cli_lint_options {
    const char *engines, *source;
    int64_t tp, ep;
    struct cli_plan_options plan;
};

/* list takes one object for each path; it is filled with --json only. */
PREP_MUST_CHECK int cli_lint(struct cli *cli, const struct cli_lint_options *o, char **paths, int n,
                             cJSON *list, struct prep_error *err);
/* Writes output, and looks at it again. output may be NULL with --dry-run. */
PREP_MUST_CHECK int cli_repair(struct cli *cli, const struct cli_lint_options *o,
                               const char *source, const char *output, cJSON *list,
                               struct report *report, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
