/* SPDX-License-Identifier: MIT */
/*
 * cli_smoke.h - verify-run --smoke: a line for each stage on stderr, one line of JSON on stdout.
 *
 * Ownership  everything is borrowed
 * Errors     those of smoke.h; PREP_EUSAGE for what does not go together
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_SMOKE_H
#define TOOLS_CLI_SMOKE_H

#include "libprep/release/judge.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cli_smoke {
    const struct judge_job *job;
    const struct judge_limits *limits;
    double max_nats;     /* NAN: not given */
    const char *engines; /* of the linter; NULL: all */
};

PREP_MUST_CHECK int cli_smoke_run(struct cli *cli, const struct cli_smoke *asked,
                                  struct report *report, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
