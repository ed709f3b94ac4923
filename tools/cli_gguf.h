/* SPDX-License-Identifier: MIT */
/*
 * cli_gguf.h - what prep-inspect does with GGUF files: show, split, merge; and importance matrices.
 *
 * Ownership  everything is borrowed
 * Errors     those of gguf_set.h, gguf_parts.h, imatrix.h and plan_execute()
 * Threads    the main thread
 */
#ifndef PREP_TOOLS_CLI_GGUF_H
#define PREP_TOOLS_CLI_GGUF_H

#include "libprep/release/inspect.h"
#include "tools/cli_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cli_gguf_options {
    int64_t max_tensors;
    int strict_parity;
    struct cli_plan_options plan;
};

/* Keys and sizes, or the tensors that the filter wants. */
PREP_MUST_CHECK int cli_show_gguf(struct cli *cli, const struct inspected *it,
                                  const struct inspect_filter *filter, int list,
                                  struct prep_error *err);
/* operands: SOURCE OUTPUT. split: into parts; else into one file. */
PREP_MUST_CHECK int cli_cut_gguf(struct cli *cli, const struct cli_gguf_options *o, int split,
                                 char *const *operands, int n, struct report *report,
                                 struct prep_error *err);
/* operands: OUTPUT FILE...; OUTPUT ends in .dat for the second form. */
PREP_MUST_CHECK int cli_merge_imatrix(struct cli *cli, char *const *operands, int n,
                                      struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
