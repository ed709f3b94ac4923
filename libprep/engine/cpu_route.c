/* SPDX-License-Identifier: MIT */
/*
 * The router: experts by biased score, gates from the scores without it.
 */
#include <math.h>

#include "libprep/engine/cpu_crew.h"

enum { ROWS = 64 };

/* Of n scores, keep those of the topk_group groups whose two best have the largest sum. */
static void mask_groups(const struct cpu *c, const struct ops_route *p, float *biased,
                        size_t n_scores, uint32_t *kept, float *group)
{
    const size_t size = n_scores / p->n_group;
    for (size_t g = 0; g < p->n_group; g++) {
        float best = -INFINITY, second = -INFINITY;
        for (size_t e = g * size; e < (g + 1) * size; e++) {
            const float x = biased[e];
            second = x > best ? best : x > second ? x : second;
            best = x > best ? x : best;
        }
        group[g] = size > 1 ? best + second : best;
    }
    const size_t n = c->forward->top_k(kept, group, p->n_group, p->topk_group);
    for (size_t g = 0, i = 0; g < p->n_group; g++) {
        if (i < n && kept[i] == g) {
            i++;
            continue;
        }
        for (size_t e = g * size; e < (g + 1) * size; e++)
            biased[e] = -INFINITY;
    }
}

/* ids are ascending; order them by score, equal ones staying as they are. */
static void rank_experts(int32_t *experts, const uint32_t *ids, size_t n, const float *biased)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = i;
        for (; j > 0 && biased[experts[j - 1]] < biased[ids[i]]; j--)
            experts[j] = experts[j - 1];
        experts[j] = (int32_t)ids[i];
    }
}

/* What a model that has only these experts would do: their scores side by side, then their ids. */
static void choose(const struct cpu *c, const struct ops_route *p, int32_t *experts, const float *r,
                   float *work)
{
    const size_t n = p->among ? p->n_among : p->n_experts;
    float *biased = work, *group = biased + n;
    uint32_t *ids = (uint32_t *)(void *)(group + n);
    for (size_t i = 0; i < n; i++) {
        const size_t e = p->among ? p->among[i] : i;
        biased[i] = r[e] + p->bias[e];
    }
    if (p->n_group > 1)
        mask_groups(c, p, biased, n, ids, group);
    rank_experts(experts, ids, c->forward->top_k(ids, biased, n, p->k), biased);
    for (size_t k = 0; p->among && k < p->k; k++)
        experts[k] = (int32_t)p->among[experts[k]];
}

static void route_row(const struct cpu *c, const struct ops_route *p, size_t i, float *work)
{
    const size_t n = p->n_experts;
    float *r = work;
    int32_t *experts = p->experts + i * p->k;
    float *gates = p->gates + i * p->k;
    c->forward->sigmoid(r, p->z + i * n, n);
    if (!p->forced)
        choose(c, p, experts, r, r + n);
    float sum = 0;
    for (size_t k = 0; k < p->k; k++)
        sum += r[experts[k]];
    for (size_t k = 0; k < p->k; k++) {
        const float share = p->normalise ? r[experts[k]] / (sum + 1e-20F) : r[experts[k]];
        gates[k] = share * p->scale;
    }
}

static int route_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                      struct prep_error *err)
{
    const struct ops_route *p = arg;
    const size_t first = task * ROWS, end = p->n - first < ROWS ? p->n : first + ROWS;
    (void)err;
    for (size_t i = first; i < end; i++)
        route_row(c, p, i, w->floats);
    return 0;
}

int cpu_route(void *self, const struct ops_route *p, struct prep_error *err)
{
    return cpu_run(self, (p->n + ROWS - 1) / ROWS, route_task, p, NULL, err);
}
