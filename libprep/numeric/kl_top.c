/* SPDX-License-Identifier: MIT */
#include "libprep/numeric/kl_top.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/numeric/elementary.h"

double kl_sum_outside(const struct logits_kernels *k, const float *z, double max, size_t n,
                      const uint32_t *ids, size_t n_ids)
{
    double sum = 0;
    size_t at = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        const size_t end = i < n_ids ? ids[i] : n;
        if (end > at)
            sum += k->sum_exp(z + at, max, end - at);
        at = end + 1;
    }
    return sum;
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

double kl_top_divergence(const struct logits_kernels *k, const struct kl_top *p, const float *q,
                         size_t n, uint32_t *sorted)
{
    const double max = (double)k->max(q, n);
    const double log_q = max + prep_log(k->sum_exp(q, max, n));
    double kl = 0;
    for (size_t i = 0; i < p->n_ids; i++) {
        const double log_p = (double)p->logits[i] - p->logsumexp;
        kl += prep_exp(log_p) * (log_p - ((double)q[p->ids[i]] - log_q));
    }
    if (p->tail <= 0)
        return kl;
    memcpy(sorted, p->ids, p->n_ids * sizeof *sorted);
    qsort(sorted, p->n_ids, sizeof *sorted, ascending);
    const double rest = kl_sum_outside(k, q, max, n, sorted, p->n_ids);
    return kl + p->tail * (prep_log(p->tail) - (max + prep_log(rest) - log_q));
}
