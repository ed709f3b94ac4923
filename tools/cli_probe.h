/* SPDX-License-Identifier: MIT */
/*
 * cli_probe.h - the probes of verify-run: what its options ask for, and what came of it as text.
 *
 * Ownership  everything is borrowed
 * Errors     those of probe_run.h; PREP_EUSAGE for a list that cannot be read
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_PROBE_H
#define TOOLS_CLI_PROBE_H

#include "libprep/release/judge.h"
#include "libprep/release/page_probe.h"
#include "libprep/release/probe_run.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As the options have it; a number below 0 and NULL: the default. */
struct cli_probe_options {
    const char *kinds; /* "loops,needle", "all"; NULL: no probes */
    const char *lengths, *depths;
    struct cli_list prompts, template_args;
    int64_t cases, answer_tokens, loop_prompts, loop_seeds, loop_tokens;
};

/* Models, original and text are the job's. Prints, or fills the report with --json; and the page,
 * if there is one. */
PREP_MUST_CHECK int cli_probe_run(struct cli *cli, const struct cli_probe_options *o,
                                  const struct judge_job *job, struct report *report,
                                  struct page *page, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
