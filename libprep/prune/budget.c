/* SPDX-License-Identifier: MIT */
#include "libprep/prune/budget.h"

struct purse {
    const struct select_layer *l;
    int *removal; /* candidates, cheapest to give up first */
    double norm;  /* p = s / norm */
    double cost;  /* of the next block */
    int k;        /* kept so far */
    int floor;
};

/*
 * The layer's total over all of the table, also when candidates are only the parent's
 * survivors: a second pass then goes on with the costs of the first.
 */
static double table_sum(const struct select_layer *l, const struct prune_options *o)
{
    double sum = 0;
    for (int e = 0; e < l->pool->n_experts; e++)
        sum += pool_saliency(l->pool, o, e);
    return sum;
}

/* Removed so far are the first n_experts - k of the removal order. */
static double block_cost(const struct purse *p, int block)
{
    double cost = 0;
    for (int i = p->l->n_experts - p->k; i < p->l->n_experts - p->k + block; i++)
        cost += p->l->saliency[p->removal[i]] / p->norm;
    return cost;
}

static int open_purse(struct purse *p, const struct selection *s, const struct select_layer *l,
                      const struct prune_options *o, struct arena *arena, struct prep_error *err)
{
    const int n_group = s->model->n_group;
    int n_protected = 0;
    if (n_group > 1 && l->n_experts % n_group)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "layer %d: %d experts do not divide into n_group %d", l->layer,
                             l->n_experts, n_group);
    for (int e = 0; e < l->n_experts; e++)
        n_protected += l->rank_class[e] == RANK_PROTECTED;
    p->l = l;
    p->k = l->n_experts;
    /* A layer cannot give up what is protected, so it is not asked to. */
    p->floor = o->floor > n_protected ? (int)o->floor : n_protected;
    p->norm = 1;
    if (o->layer_norm == LAYER_NORM_SUM) {
        p->norm = table_sum(l, o);
        if (p->norm == 0)
            return prep_fail_tag(err, PREP_EDATA, "OBS_ZERO_TOKENS",
                                 "layer %d: the saliencies sum to 0", l->layer);
    }
    p->removal = arena_calloc(arena, (size_t)l->n_experts, sizeof(int), err);
    if (!p->removal)
        return -1;
    select_removal_order(s, l, p->removal);
    while (p->k > o->ceil)
        p->k -= (int)o->block;
    if (p->k < p->floor)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_BUDGET_INFEASIBLE",
                             "layer %d: no count from %d to %lld in steps of %lld below %d",
                             l->layer, p->floor, (long long)o->ceil, (long long)o->block,
                             l->n_experts);
    if (p->k - o->block >= p->floor)
        p->cost = block_cost(p, (int)o->block);
    return 0;
}

static int spend(struct purse *purses, size_t n, const struct prune_options *o,
                 struct prep_error *err)
{
    int64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += purses[i].k;
    while (total > o->budget) {
        struct purse *cheapest = NULL;
        for (size_t i = 0; i < n; i++)
            if (purses[i].k - o->block >= purses[i].floor &&
                (!cheapest || purses[i].cost < cheapest->cost))
                cheapest = &purses[i];
        if (!cheapest)
            return prep_fail_tag(err, PREP_EUSAGE, "PLAN_BUDGET_INFEASIBLE",
                                 "a budget of %lld experts cannot be met: every layer is within "
                                 "%lld of its floor and %lld are left",
                                 (long long)o->budget, (long long)o->block, (long long)total);
        cheapest->k -= (int)o->block;
        total -= o->block;
        if (cheapest->k - o->block >= cheapest->floor)
            cheapest->cost = block_cost(cheapest, (int)o->block);
    }
    return 0;
}

/* Zeroes mean defaults; the rest must make sense before it is narrowed to int. */
static int settle(struct prune_options *o, const struct selection *s, struct prep_error *err)
{
    const int n_group = s->model->n_group;
    o->block = o->block ? o->block : 1;
    o->floor = o->floor ? o->floor : s->model->num_experts_per_tok;
    o->ceil = o->ceil ? o->ceil : KEEP_MAP_MAX_EXPERTS;
    if (o->block < 1 || o->block > KEEP_MAP_MAX_EXPERTS || o->floor < 1 || o->ceil < o->floor ||
        o->floor > KEEP_MAP_MAX_EXPERTS)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_BUDGET_INFEASIBLE",
                             "block %lld, floor %lld, ceil %lld: want block >= 1 and 1 <= floor "
                             "<= ceil",
                             (long long)o->block, (long long)o->floor, (long long)o->ceil);
    if (n_group > 1 && o->block % n_group)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "a block of %lld experts is no multiple of n_group %d",
                             (long long)o->block, n_group);
    return 0;
}

int budget_counts(int *counts, const struct selection *s, const struct prune_options *options,
                  struct arena *arena, struct prep_error *err)
{
    struct prune_options o = *options;
    if (settle(&o, s, err))
        return -1;
    struct purse *purses = arena_calloc(arena, s->n_layers, sizeof *purses, err);
    if (!purses)
        return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        if (open_purse(&purses[i], s, &s->layers[i], &o, arena, err))
            return -1;
    if (spend(purses, s->n_layers, &o, err))
        return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        counts[i] = purses[i].k;
    return 0;
}
