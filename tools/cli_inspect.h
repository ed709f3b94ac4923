/* SPDX-License-Identifier: MIT */
/*
 * cli_inspect.h - what prep-inspect shows of one path, as text or as facts.
 *
 * Ownership  everything is borrowed for the call; facts go into list
 * Errors     those of inspect_open(); PREP_ENOMEM
 * Threads    none
 */
#ifndef PREP_TOOLS_CLI_INSPECT_H
#define PREP_TOOLS_CLI_INSPECT_H

#include <stdio.h>

#include "libprep/release/inspect.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cli_inspect {
    struct cli *cli;
    FILE *out; /* NULL with --json */
    cJSON *list;
    struct report *report;
    struct prep_error *err;
};

/* list: its tensors one by one, in place of sums. */
PREP_MUST_CHECK int cli_inspect_show(struct cli_inspect *r, const char *path,
                                     const struct inspect_filter *filter, int list);

/* A new object of the list; NULL when out of memory. */
cJSON *cli_inspect_fact(struct cli_inspect *r);
/* "1,507,728,316,928", right-aligned. */
void cli_print_count(FILE *out, int width, uint64_t v);
/* "s", but for 1 "". */
const char *cli_plural(uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
