/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_spread.h"

double spread_edge(int i)
{
    static const double quarters[] = {1, 1.7782794100389228, 3.1622776601683795,
                                      5.623413251903491}; /* 10^(i / 4) */
    double v = quarters[i % 4];
    const int k = i / 4 + SPREAD_LOWEST;
    double power = 1;
    for (int p = 0; p < (k < 0 ? -k : k); p++)
        power *= 10;
    return k < 0 ? v / power : v * power;
}

static int size_class(double kl)
{
    int i = 0;
    while (i + 1 < SPREAD_SIZES && kl >= spread_edge(i + 1))
        i++;
    return i;
}

static void count_sizes(struct judge_spread *to, const struct judge_series *s)
{
    to->n_rows = s->n_windows * s->n_rows;
    for (uint64_t i = 0; i < to->n_rows; i++) {
        to->sizes[size_class(s->rows[i].kl)]++;
        to->n_zero += s->rows[i].kl <= 0;
    }
}

/* Means of one stretch, window by window. */
static void mean_stretch(double *means, const struct judge_series *s,
                         const struct spread_position *p)
{
    for (uint64_t w = 0; w < s->n_windows; w++) {
        double sum = 0;
        for (uint64_t i = p->first; i <= p->last; i++)
            sum += s->rows[w * s->n_rows + i].kl;
        means[w] = sum / (double)(p->last - p->first + 1);
    }
}

int judge_spread_make(struct judge_spread *to, const struct judge_series *s, struct arena *arena,
                      struct prep_error *err)
{
    *to = (struct judge_spread){0};
    if (!s->compared)
        return 0;
    const uint64_t n = s->n_rows < SPREAD_POSITIONS ? s->n_rows : SPREAD_POSITIONS;
    double *means = arena_calloc(arena, (size_t)s->n_windows, sizeof *means, err);
    double *work = arena_alloc(arena, BOOTSTRAP_RESAMPLES * sizeof *work, err);
    to->positions = arena_calloc(arena, (size_t)n, sizeof *to->positions, err);
    if (!means || !work || !to->positions)
        return -1;
    to->n_positions = (size_t)n;
    for (uint64_t i = 0; i < n; i++) {
        struct spread_position *p = &to->positions[i];
        p->first = s->n_rows * i / n;
        p->last = s->n_rows * (i + 1) / n - 1;
        mean_stretch(means, s, p);
        bootstrap_mean(&p->kl, means, (size_t)s->n_windows, BOOTSTRAP_SEED, work);
    }
    count_sizes(to, s);
    return 0;
}
