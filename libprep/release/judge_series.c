/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_series.h"

#include <string.h>

#include "libprep/numeric/elementary.h"
#include "libprep/numeric/kl_top.h"

enum { WINDOW_FIGURES = 4 };

uint64_t judge_series_memory(uint64_t n_windows, uint64_t window)
{
    uint64_t rows, bytes;
    if (prep_mul(&rows, n_windows, window) ||
        prep_mul(&bytes, rows, sizeof(struct judge_row) + sizeof(double)))
        return UINT64_MAX;
    return bytes + n_windows * WINDOW_FIGURES * sizeof(double) +
           BOOTSTRAP_RESAMPLES * sizeof(double);
}

int judge_series_init(struct judge_series *s, const uint32_t *tokens, uint64_t n_windows,
                      uint64_t window, uint64_t ahead, struct arena *arena, struct prep_error *err)
{
    *s = (struct judge_series){.tokens = tokens,
                               .n_windows = n_windows,
                               .window = window,
                               .ahead = ahead,
                               .n_rows = window - (ahead - 1)};
    s->rows = arena_calloc(arena, (size_t)(n_windows * s->n_rows), sizeof *s->rows, err);
    double *figures = arena_calloc(arena, (size_t)n_windows * WINDOW_FIGURES, sizeof *figures, err);
    if (!s->rows || !figures)
        return -1;
    s->window_nll = figures;
    s->window_kl = figures + n_windows;
    s->window_first = figures + 2 * n_windows;
    s->window_five = figures + 3 * n_windows;
    return 0;
}

int64_t judge_series_target(const struct judge_series *s, uint64_t row)
{
    const uint64_t w = row / s->n_rows, at = row % s->n_rows + s->ahead;
    return at < s->window ? (int64_t)s->tokens[w * s->window + at] : -1;
}

void judge_row_alone(struct judge_series *s, const struct logits_kernels *k, uint64_t row,
                     const float *z, size_t n)
{
    const int64_t target = judge_series_target(s, row);
    s->rows[row].nll = target < 0 ? 0 : kl_log_sum_exp(k, z, n) - (double)z[target];
}

/* Equal rows are common: unchanged models, first layers, forced choices. */
double judge_row_kl(const struct logits_kernels *k, const float *p, const float *q, size_t n)
{
    return memcmp(p, q, n * sizeof *p) == 0 ? 0 : kl_divergence(k, p, q, n);
}

void judge_row_beside(struct judge_series *s, const struct logits_kernels *k, uint64_t row,
                      const float *other, const float *z, size_t n)
{
    struct judge_row *r = &s->rows[row];
    struct kl_agreement agreement;
    judge_row_alone(s, k, row, z, n);
    r->kl = judge_row_kl(k, other, z, n);
    kl_agree(&agreement, other, z, n);
    r->same_first = (unsigned char)agreement.same_first;
    r->shared_of_five = (unsigned char)agreement.shared_of_five;
}

void judge_row_reference(struct judge_series *s, const struct logits_kernels *k, uint64_t row,
                         const struct reference_row *other, const float *z, size_t n)
{
    struct judge_row *r = &s->rows[row];
    const size_t n_ids = n < REFERENCE_TOP ? n : REFERENCE_TOP;
    const struct kl_top p = {.ids = other->ids,
                             .logits = other->logits,
                             .n_ids = n_ids,
                             .logsumexp = other->logsumexp,
                             .tail = other->tail};
    uint32_t sorted[REFERENCE_TOP], five[5];
    const size_t most = kl_top_k(five, z, n, 5);
    judge_row_alone(s, k, row, z, n);
    r->kl = kl_top_divergence(k, &p, z, n, sorted);
    int shared = 0;
    for (size_t i = 0; i < most * most; i++)
        shared += five[i / most] == other->ids[i % most];
    r->same_first = five[0] == other->ids[0];
    r->shared_of_five = (unsigned char)shared;
}

void judge_row_saved(struct judge_series *s, uint64_t row, const struct reference_row *saved)
{
    s->rows[row].nll = saved->has_next ? saved->logsumexp - (double)saved->next_logit : 0;
}

int judge_sign(const struct bootstrap_interval *i)
{
    return i->low > 0 ? 1 : i->high < 0 ? -1 : 0;
}

static void mean_windows(struct judge_series *s)
{
    for (uint64_t w = 0; w < s->n_windows; w++) {
        const struct judge_row *rows = s->rows + w * s->n_rows;
        double nll = 0, kl = 0;
        uint64_t first = 0, five = 0;
        for (uint64_t i = 0; i < s->n_rows; i++) {
            nll += rows[i].nll;
            kl += rows[i].kl;
            first += rows[i].same_first;
            five += rows[i].shared_of_five;
        }
        s->window_nll[w] = nll / (double)(s->window - s->ahead);
        s->window_kl[w] = kl / (double)s->n_rows;
        s->window_first[w] = (double)first / (double)s->n_rows;
        s->window_five[w] = (double)five / (double)(5 * s->n_rows);
    }
}

static void find_percentiles(struct judge_series *s, double *sorted)
{
    const size_t n = (size_t)(s->n_windows * s->n_rows);
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        sorted[i] = s->rows[i].kl;
        most = sorted[i] > sorted[most] ? i : most;
    }
    s->kl_max = sorted[most];
    s->max_window = most / s->n_rows;
    s->max_row = most % s->n_rows;
    sample_sort(sorted, n);
    s->kl_p50 = sample_percentile(sorted, n, 0.50);
    s->kl_p90 = sample_percentile(sorted, n, 0.90);
    s->kl_p99 = sample_percentile(sorted, n, 0.99);
}

int judge_series_finish(struct judge_series *s, const struct judge_series *other,
                        struct arena *arena, struct prep_error *err)
{
    const size_t n = (size_t)s->n_windows, n_rows = (size_t)(s->n_windows * s->n_rows);
    const size_t n_work = n_rows > BOOTSTRAP_RESAMPLES ? n_rows : BOOTSTRAP_RESAMPLES;
    double *work = arena_alloc(arena, n_work * sizeof *work, err);
    if (!work)
        return -1;
    mean_windows(s);
    bootstrap_mean(&s->nll, s->window_nll, n, BOOTSTRAP_SEED, work);
    s->perplexity = prep_exp(s->nll.mean);
    if (other)
        bootstrap_difference(&s->more_nll, s->window_nll, other->window_nll, n, BOOTSTRAP_SEED,
                             work);
    if (!s->compared)
        return 0;
    bootstrap_mean(&s->kl, s->window_kl, n, BOOTSTRAP_SEED, work);
    bootstrap_mean(&s->first, s->window_first, n, BOOTSTRAP_SEED, work);
    bootstrap_mean(&s->five, s->window_five, n, BOOTSTRAP_SEED, work);
    find_percentiles(s, work);
    return 0;
}
