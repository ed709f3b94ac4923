/* SPDX-License-Identifier: MIT */
/*
 * judge_spread.h - how the KL divergence of a series is spread: over positions, over sizes.
 *
 *    positions   at most SPREAD_POSITIONS stretches of a window, as even as whole rows allow: mean
 *                over their rows, then over windows, with the interval over windows (bootstrap.h)
 *    sizes       rows by KL, four classes to a power of ten: class i holds from
 *                spread_edge(i) up to spread_edge(i + 1); the first has all below, the last above
 *
 * Units      nats; counts of rows
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_ENOMEM
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_JUDGE_SPREAD_H
#define PREP_RELEASE_JUDGE_SPREAD_H

#include "libprep/release/judge_series.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SPREAD_POSITIONS = 24,
    SPREAD_LOWEST = -8, /* powers of ten: from 1e-8 */
    SPREAD_SIZES = 40,  /* to 100 */
};

struct spread_position {
    uint64_t first, last; /* rows of a window, both within */
    struct bootstrap_interval kl;
};

struct judge_spread {
    struct spread_position *positions;
    size_t n_positions; /* 0: nothing was compared */
    uint64_t sizes[SPREAD_SIZES];
    uint64_t n_zero; /* rows with a KL of exactly 0, or less by rounding; they are in class 0 too */
    uint64_t n_rows;
};

/* Of a finished series. */
PREP_MUST_CHECK int judge_spread_make(struct judge_spread *to, const struct judge_series *s,
                                      struct arena *arena, struct prep_error *err);

/* The lower end of class i, the upper end of class i - 1; 0 <= i <= SPREAD_SIZES. */
double spread_edge(int i);

#ifdef __cplusplus
}
#endif
#endif
