/* SPDX-License-Identifier: MIT */
/*
 * page_judge.h - a judgement as sections of a page: verdict, summary, where and how models differ.
 *
 * What was not measured has no section. Every figure shown stands in judge_facts(), too.
 *
 * Ownership  everything is borrowed until the call returns
 * Errors     kept by the page (page.h)
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_PAGE_JUDGE_H
#define PREP_RELEASE_PAGE_JUDGE_H

#include "libprep/release/judge_generate.h"
#include "libprep/release/page.h"

#ifdef __cplusplus
extern "C" {
#endif

void page_judgement(struct page *p, const struct judgement *j, const struct judge_verdict *verdicts,
                    size_t n_verdicts);
/* Side by side, with the place where each leaves the first. */
void page_texts(struct page *p, const char *prompt, const struct judge_text_made *made, size_t n);

/* The sections of a judgement, each in its file. For page_*.c. */
struct page_view {
    struct page *p;
    const struct judgement *j;
    const char *original;     /* name of what all are judged by, or NULL */
    const char *const *names; /* of results */
};

void page_spread(const struct page_view *v);  /* KL by position and by size */
void page_layers(const struct page_view *v);  /* errors by depth, agreement of choices */
void page_linears(const struct page_view *v); /* NMSE by layer, the worst ones */
void page_load(const struct page_view *v);    /* tokens by expert */
void page_cut(const struct page_view *v);     /* which experts went */
void page_pairs(const struct page_view *v);

/* Mean in [..]; words for an interval of a difference: worse, better, not distinguishable. */
const char *page_claim(const struct judge_series *s, const struct bootstrap_interval *i,
                       const char *const words[3]);
/* Is a logarithmic axis wanted: do positive values span a factor of 30? */
int page_spans_decades(const double *values, size_t n);
/* A list of names with the mark and the colour of each. */
void page_key(const struct page_view *v, int with_original);

#ifdef __cplusplus
}
#endif
#endif
