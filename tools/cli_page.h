/* SPDX-License-Identifier: MIT */
/*
 * cli_page.h - the page of a run: how it was called, and the file it goes to.
 *
 * Ownership  everything is borrowed
 * Errors     PREP_ECREATE when the file is in the way; those of page.h and io_write_file()
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_PAGE_H
#define TOOLS_CLI_PAGE_H

#include "libprep/base/io.h"
#include "libprep/release/page.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

/* May this file be written? path NULL: there is none. Replacing one needs --force. */
PREP_MUST_CHECK int cli_page_check(const struct cli *cli, const char *path, struct prep_error *err);
/* Adds the command, as it could be typed again, and the version, and writes the page. */
PREP_MUST_CHECK int cli_page_write(struct cli *cli, struct page *page, const char *path, int argc,
                                   char *const *argv, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
