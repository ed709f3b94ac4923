/* SPDX-License-Identifier: MIT */
/*
 * cli_cuts.h - cuts beside random ones (release/cuts.h), as text for a terminal.
 *
 * Ownership  everything is borrowed
 * Errors     those of cuts.h
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_CUTS_H
#define TOOLS_CLI_CUTS_H

#include "libprep/release/cuts.h"
#include "libprep/release/page_probe.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What was asked for, as the options have it. */
struct cli_cuts {
    const struct judge_job *job; /* models, original, text, and how they run */
    const struct cli_list *keep_maps;
    int64_t draws;
};

/*
 * Keep-maps are of the original. A MODEL that is the original is no cut; without an original there
 * is one MODEL, which then is it. Prints a table, or fills the report with --json; and the page, if
 * there is one.
 */
PREP_MUST_CHECK int cli_cuts_run(struct cli *cli, const struct cli_cuts *asked,
                                 struct report *report, struct page *page, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
