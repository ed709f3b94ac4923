/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "libprep/numeric/elementary.h"
#include "libprep/numeric/kl.h"

double kl_log_sum_exp(const struct logits_kernels *k, const float *z, size_t n)
{
    const double max = (double)k->max(z, n);
    return max + prep_log(k->sum_exp(z, max, n));
}

/*
 * With P = sum e^(p_i - p_max) and Q likewise: log p_i - log q_i = (p_i - p_max) - (q_i - q_max)
 * - log P + log Q, and the weights p_i = e^(p_i - p_max) / P add up to 1.
 */
double kl_divergence(const struct logits_kernels *k, const float *p, const float *q, size_t n)
{
    struct logits_sums s;
    k->sums(&s, p, (double)k->max(p, n), q, (double)k->max(q, n), n);
    return s.cross / s.p - prep_log(s.p / s.q);
}

/* Is a before b in the order of kl_top_k(), a having the higher id? */
static int beats(float a, float b)
{
    return a > b || (isnan(b) && !isnan(a));
}

size_t kl_top_k(uint32_t *ids, const float *z, size_t n, size_t k)
{
    size_t taken = 0;
    for (size_t i = 0; i < n && k; i++) {
        if (taken == k && !beats(z[i], z[ids[k - 1]]))
            continue;
        size_t at = taken < k ? taken++ : k - 1;
        for (; at && beats(z[i], z[ids[at - 1]]); at--)
            ids[at] = ids[at - 1];
        ids[at] = (uint32_t)i;
    }
    return taken;
}

void kl_agree(struct kl_agreement *to, const float *p, const float *q, size_t n)
{
    uint32_t a[5], b[5];
    const size_t most = kl_top_k(a, p, n, 5);
    kl_top_k(b, q, n, 5);
    *to = (struct kl_agreement){.same_first = most && a[0] == b[0]};
    for (size_t i = 0; i < most * most; i++)
        to->shared_of_five += a[i / most] == b[i % most];
    for (size_t i = 0; i < most; i++)
        to->first_in_five |= a[0] == b[i];
}
