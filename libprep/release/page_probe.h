/* SPDX-License-Identifier: MIT */
/*
 * page_probe.h - probes, and cuts beside random ones, as sections of a page.
 *
 * Figures are those of probe_facts() and cuts_facts().
 *
 * Ownership  everything is borrowed until the call returns
 * Errors     kept by the page (page.h)
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_PAGE_PROBE_H
#define PREP_RELEASE_PAGE_PROBE_H

#include "libprep/release/cuts.h"
#include "libprep/release/page.h"
#include "libprep/release/probe_run.h"

#ifdef __cplusplus
extern "C" {
#endif

void page_probes(struct page *p, const struct probe_results *r);
void page_cuts(struct page *p, const struct cuts *c);

#ifdef __cplusplus
}
#endif
#endif
