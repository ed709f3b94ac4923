/* SPDX-License-Identifier: MIT */
/*
 * judge_series.h - what one model says of a text, row by row, beside what another says.
 *
 * Filled with rows of logits in any order and from any thread (each row once), finished into means
 * per window, intervals over windows (bootstrap.h) and percentiles over rows. Row i of a window
 * predicts what stands `ahead` tokens after it: 1 for a model, 2 for an MTP head.
 *
 * Shapes     n_windows windows of n_rows rows; targets are the rows whose target is in the window
 * Units      nats; shares from 0 to 1
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_ENOMEM
 * Threads    judge_row_*() may run for different rows at once; the rest one at a time
 */
#ifndef PREP_RELEASE_JUDGE_SERIES_H
#define PREP_RELEASE_JUDGE_SERIES_H

#include "libprep/base/arena.h"
#include "libprep/format/reference.h"
#include "libprep/numeric/bootstrap.h"
#include "libprep/numeric/kl.h"

#ifdef __cplusplus
extern "C" {
#endif

struct judge_row {
    double nll; /* of the target, 0 without one */
    double kl;  /* KL(other || this) */
    unsigned char same_first, shared_of_five;
};

struct judge_series {
    uint64_t n_windows, n_rows, ahead;
    const uint32_t *tokens; /* [n_windows, window], borrowed */
    uint64_t window;        /* n_rows + ahead - 1 */
    int compared;           /* kl and agreement are set too */
    struct judge_row *rows; /* [n_windows, n_rows] */

    /* Set by judge_series_finish(). Per window: means over its rows, nll over its targets. */
    double *window_nll, *window_kl, *window_first, *window_five;
    struct bootstrap_interval nll, more_nll; /* more_nll: this minus the other's, paired */
    struct bootstrap_interval kl, first, five;
    double perplexity; /* e^nll.mean */
    double kl_p50, kl_p90, kl_p99, kl_max;
    uint64_t max_window, max_row; /* where kl_max is */
};

/* tokens are those of all windows; n_rows = window - (ahead - 1). */
PREP_MUST_CHECK int judge_series_init(struct judge_series *s, const uint32_t *tokens,
                                      uint64_t n_windows, uint64_t window, uint64_t ahead,
                                      struct arena *arena, struct prep_error *err);
/* Bytes that init and finish take. */
uint64_t judge_series_memory(uint64_t n_windows, uint64_t window);

/* The target of a row, or -1. */
int64_t judge_series_target(const struct judge_series *s, uint64_t row);

/* KL(p || q) of a row; equal rows are exactly 0 apart. */
double judge_row_kl(const struct logits_kernels *k, const float *p, const float *q, size_t n);
/* Row number through all windows; z its logits [n]. */
void judge_row_alone(struct judge_series *s, const struct logits_kernels *k, uint64_t row,
                     const float *z, size_t n);
/* The same, beside the other model's row. */
void judge_row_beside(struct judge_series *s, const struct logits_kernels *k, uint64_t row,
                      const float *other, const float *z, size_t n);
/* The same, beside a saved row; KL as in kl_top.h. */
void judge_row_reference(struct judge_series *s, const struct logits_kernels *k, uint64_t row,
                         const struct reference_row *other, const float *z, size_t n);
/* What the saved row says of its target; no logits are needed. */
void judge_row_saved(struct judge_series *s, uint64_t row, const struct reference_row *saved);

/* other: whose likelihood ours is compared with, finished before, or NULL. */
PREP_MUST_CHECK int judge_series_finish(struct judge_series *s, const struct judge_series *other,
                                        struct arena *arena, struct prep_error *err);

/* -1: surely below 0, 1: surely above, 0: the interval has 0 in it, or there is none. */
int judge_sign(const struct bootstrap_interval *i);

#ifdef __cplusplus
}
#endif
#endif
