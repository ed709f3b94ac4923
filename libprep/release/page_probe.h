/* SPDX-License-Identifier: MIT */
/*
 * page_probe.h - answers of models, and cuts beside random ones, as sections of a page.
 *
 * Every figure shown stands in probe_facts() or cuts_facts(), too.
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

/* A section for each probe: rates with their intervals, needles by length and depth. */
void page_probes(struct page *p, const struct probe_results *r);
/* A section for each size of cut, and one for pairs. */
void page_cuts(struct page *p, const struct cuts *c);

#ifdef __cplusplus
}
#endif
#endif
