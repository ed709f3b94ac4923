/* SPDX-License-Identifier: MIT */
#include "libprep/prune/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/budget.h"
#include "libprep/prune/protect.h"

/* One candidate as it is sorted. */
struct rank {
    double saliency;
    int id;
    int class; /* RANK_* */
};

/* -0 and 0 compare equal here, as they must. */
static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->class != y->class)
        return x->class > y->class ? -1 : 1;
    if (x->saliency > y->saliency)
        return -1;
    if (x->saliency < y->saliency)
        return 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int sort_layer(struct select_layer *l, struct arena *arena, struct prep_error *err)
{
    struct rank *ranks = arena_calloc(arena, (size_t)l->n_experts, sizeof *ranks, err);
    if (!ranks)
        return -1;
    for (int e = 0; e < l->n_experts; e++)
        ranks[e] = (struct rank){l->saliency[e], e, l->rank_class[e]};
    qsort(ranks, (size_t)l->n_experts, sizeof *ranks, compare_ranks);
    for (int i = 0; i < l->n_experts; i++)
        l->order[i] = ranks[i].id;
    return 0;
}

int select_check_parent(const struct prune_model *model, const struct known_map *parent,
                        struct prep_error *err)
{
    if (!parent)
        return 0;
    const struct keep_map *m = parent->map;
    if (!m->full)
        return prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                             "a pruned checkpoint needs its full keep-map; the short form does "
                             "not say which base it came from");
    for (size_t i = 0; i < model->n_moe_layers; i++) {
        const struct keep_layer *l = keep_map_layer(m, model->moe_layers[i]);
        int want = l ? l->n_kept : m->base_n_routed_experts;
        if (prune_model_experts(model, i) != want)
            return prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                                 "layer %d: the checkpoint holds %d experts, its keep-map says %d",
                                 model->moe_layers[i], prune_model_experts(model, i), want);
    }
    return 0;
}

static int open_layer(struct selection *s, size_t i, const struct pool *pool,
                      const struct known_map *parent, const struct prune_options *o,
                      struct prep_error *err)
{
    struct select_layer *l = &s->layers[s->n_layers];
    const struct keep_layer *k =
        parent ? keep_map_layer(parent->map, s->model->moe_layers[i]) : NULL;
    l->layer = s->model->moe_layers[i];
    l->pool = pool_layer(pool, l->layer);
    if (!l->pool)
        return 0;
    l->n_experts = prune_model_experts(s->model, i);
    l->base_id = k ? k->kept_source : NULL;
    l->pool_id = pool->space == SPACE_BASE ? l->base_id : NULL;
    const size_t n = (size_t)l->n_experts;
    l->saliency = arena_calloc(&s->arena, n, sizeof *l->saliency, err);
    l->rank_class = arena_calloc(&s->arena, n, sizeof *l->rank_class, err);
    l->auto_protected = arena_calloc(&s->arena, n, sizeof *l->auto_protected, err);
    l->order = arena_calloc(&s->arena, n, sizeof *l->order, err);
    l->kept = arena_calloc(&s->arena, n, sizeof *l->kept, err);
    if (!l->saliency || !l->rank_class || !l->auto_protected || !l->order || !l->kept)
        return -1;
    for (int e = 0; e < l->n_experts; e++) {
        l->saliency[e] = pool_saliency(l->pool, o, l->pool_id ? l->pool_id[e] : e);
        if (!isfinite(l->saliency[e]))
            return prep_fail_tag(err, PREP_EDATA, "OBS_NONFINITE",
                                 "layer %d: the pooled %s of expert %d is not finite", l->layer,
                                 prune_metric_name(o->metric), l->base_id ? l->base_id[e] : e);
    }
    s->n_layers++;
    return 0;
}

static int rank_layers(struct selection *s, const struct pool *pool, const struct known_map *parent,
                       const struct prune_options *o, struct report *report, struct prep_error *err)
{
    if (select_check_parent(s->model, parent, err))
        return -1;
    s->layers = arena_calloc(&s->arena, s->model->n_moe_layers, sizeof *s->layers, err);
    if (!s->layers)
        return -1;
    for (size_t i = 0; i < s->model->n_moe_layers; i++)
        if (open_layer(s, i, pool, parent, o, err))
            return -1;
    if (protect_mark(s, parent, o, report, err))
        return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        if (sort_layer(&s->layers[i], &s->arena, err))
            return -1;
    return 0;
}

int select_rank(struct selection *s, const struct pool *pool, const struct prune_model *model,
                const struct known_map *parent, const struct prune_options *options,
                struct report *report, struct prep_error *err)
{
    *s = (struct selection){.model = model};
    arena_init(&s->arena, 0);
    if (rank_layers(s, pool, parent, options, report, err) == 0)
        return 0;
    selection_free(s);
    return -1;
}

void selection_free(struct selection *s)
{
    arena_fini(&s->arena);
    *s = (struct selection){0};
}

/* Groups of consecutive ids among which the router chooses first; 1 without groups. */
static int n_groups(const struct selection *s)
{
    return s->model->n_group > 1 ? s->model->n_group : 1;
}

static int check_range(int layer, int n_experts, int64_t n, struct prep_error *err)
{
    if (n >= 1 && n <= n_experts)
        return 0;
    return prep_fail_tag(err, PREP_EUSAGE, "PLAN_KEEP_RANGE",
                         "layer %d: cannot keep %lld experts of %d", layer, (long long)n,
                         n_experts);
}

static int check_top_k(const struct prune_model *m, int layer, int64_t n, struct prep_error *err)
{
    if (n >= m->num_experts_per_tok)
        return 0;
    return prep_fail_tag(err, PREP_EUSAGE, "PLAN_TOPK",
                         "layer %d: %lld experts are fewer than num_experts_per_tok %d", layer,
                         (long long)n, m->num_experts_per_tok);
}

static int check_groups(const struct prune_model *m, int layer, int n_experts, int64_t n,
                        struct prep_error *err)
{
    const int g = m->n_group;
    if (g <= 1)
        return 0;
    if (n % g || n_experts % g)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "layer %d: %lld experts of %d do not divide into n_group %d", layer,
                             (long long)n, n_experts, g);
    if (n / g < 2)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "layer %d: a group of %lld experts, want 2: the router scores a "
                             "group by its two best",
                             layer, (long long)(n / g));
    if (m->topk_group * (n / g) < m->num_experts_per_tok)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "layer %d: topk_group %d groups of %lld experts hold fewer than "
                             "num_experts_per_tok %d",
                             layer, m->topk_group, (long long)(n / g), m->num_experts_per_tok);
    return 0;
}

int select_check_count(const struct prune_model *model, int layer, int n_experts, int64_t n,
                       struct prep_error *err)
{
    return check_range(layer, n_experts, n, err) || check_top_k(model, layer, n, err) ||
                   check_groups(model, layer, n_experts, n, err)
               ? -1
               : 0;
}

/* One kind of fault over all layers before the next: the order of precedence of section 10. */
static int check_counts(const int64_t *wanted, const struct selection *s, struct prep_error *err)
{
    const struct select_layer *l = s->layers;
    for (size_t i = 0; i < s->n_layers; i++)
        if (check_range(l[i].layer, l[i].n_experts, wanted[i], err))
            return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        if (check_top_k(s->model, l[i].layer, wanted[i], err))
            return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        if (check_groups(s->model, l[i].layer, l[i].n_experts, wanted[i], err))
            return -1;
    return 0;
}

/* The lists must leave room: per group, since each group keeps its own share. */
static int check_lists(const struct selection *s, const struct select_layer *l, int n,
                       struct prep_error *err)
{
    const int groups = n_groups(s), size = l->n_experts / groups, quota = n / groups;
    for (int g = 0; g < groups; g++) {
        int n_protected = 0, n_drop = 0;
        for (int e = g * size; e < (g + 1) * size; e++) {
            n_protected += l->rank_class[e] == RANK_PROTECTED;
            n_drop += l->rank_class[e] == RANK_DROP;
        }
        const char *where = groups > 1 ? " of one group" : "";
        if (n_protected > quota)
            return prep_fail_tag(err, PREP_EUSAGE, "PLAN_PROTECT_OVERFLOW",
                                 "layer %d: %d protected experts%s, but only %d places", l->layer,
                                 n_protected, where, quota);
        if (size - n_drop < quota)
            return prep_fail_tag(err, PREP_EUSAGE, "PLAN_PROTECT_OVERFLOW",
                                 "layer %d: the drop list leaves %d experts%s for %d places",
                                 l->layer, size - n_drop, where, quota);
    }
    return 0;
}

static int listed_counts(int64_t *wanted, const struct selection *s, const struct prune_options *o,
                         struct prep_error *err)
{
    for (size_t i = 0; i < s->n_layers; i++)
        wanted[i] = -1;
    for (size_t k = 0; k < o->n_counts; k++) {
        size_t i = 0;
        while (i < s->n_layers && s->layers[i].layer != o->counts[k].layer)
            i++;
        if (i == s->n_layers)
            return prep_fail(err, PREP_EDATA, "keep counts: layer %d is not selected by statistics",
                             o->counts[k].layer);
        wanted[i] = o->counts[k].count;
    }
    for (size_t i = 0; i < s->n_layers; i++)
        if (wanted[i] < 0)
            return prep_fail(err, PREP_EDATA, "keep counts: layer %d is missing",
                             s->layers[i].layer);
    return 0;
}

static int wanted_counts(int64_t *wanted, const struct selection *s, const struct prune_options *o,
                         struct arena *arena, struct prep_error *err)
{
    int *counts;
    switch (o->size) {
    case SIZE_KEEP:
        for (size_t i = 0; i < s->n_layers; i++)
            wanted[i] = o->keep;
        return 0;
    case SIZE_RATIO:
        if (!(o->ratio >= 0 && o->ratio <= 1))
            return prep_fail_tag(err, PREP_EUSAGE, "PLAN_KEEP_RANGE",
                                 "cannot drop a share of %g, want 0 to 1", o->ratio);
        for (size_t i = 0; i < s->n_layers; i++)
            wanted[i] = s->layers[i].n_experts - (int64_t)(s->layers[i].n_experts * o->ratio);
        return 0;
    case SIZE_BUDGET:
        counts = arena_calloc(arena, s->n_layers, sizeof *counts, err);
        if (!counts || budget_counts(counts, s, o, arena, err))
            return -1;
        for (size_t i = 0; i < s->n_layers; i++)
            wanted[i] = counts[i];
        return 0;
    case SIZE_COUNTS:
        return listed_counts(wanted, s, o, err);
    case SIZE_NONE:
        break;
    }
    return prep_fail(err, PREP_EUSAGE, "nothing says how many experts to keep");
}

int select_counts(int *counts, const struct selection *s, const struct prune_options *options,
                  struct prep_error *err)
{
    struct arena arena;
    int rc = -1;
    arena_init(&arena, 0);
    int64_t *wanted = arena_calloc(&arena, s->n_layers, sizeof *wanted, err);
    if (!wanted || wanted_counts(wanted, s, options, &arena, err) || check_counts(wanted, s, err))
        goto out;
    for (size_t i = 0; i < s->n_layers; i++) {
        counts[i] = (int)wanted[i];
        if (check_lists(s, &s->layers[i], counts[i], err))
            goto out;
    }
    rc = 0;
out:
    arena_fini(&arena);
    return rc;
}

void select_survivors(const struct selection *s, const struct select_layer *l, int n,
                      unsigned char *flags, int *kept)
{
    const int groups = n_groups(s), size = l->n_experts / groups, quota = n / groups;
    memset(flags, 0, (size_t)l->n_experts);
    for (int g = 0; g < groups; g++) {
        int left = quota;
        for (int i = 0; i < l->n_experts && left > 0; i++) {
            if (l->order[i] / size != g)
                continue;
            flags[l->order[i]] = 1;
            left--;
        }
    }
    int k = 0;
    for (int e = 0; e < l->n_experts; e++)
        if (flags[e])
            kept[k++] = e;
}

void select_removal_order(const struct selection *s, const struct select_layer *l, int *removal)
{
    const int groups = n_groups(s), size = l->n_experts / groups;
    for (int g = 0; g < groups; g++) {
        int round = 0;
        for (int i = l->n_experts - 1; i >= 0; i--)
            if (l->order[i] / size == g)
                removal[round++ * groups + g] = l->order[i];
    }
}

/* The last kept and the first dropped of each group: equal saliency means the id decided. */
static void warn_ties(const struct selection *s, const struct select_layer *l,
                      const unsigned char *flags, struct report *report)
{
    const int groups = n_groups(s), size = l->n_experts / groups;
    for (int g = 0; g < groups; g++) {
        int last = -1, first = -1;
        for (int i = 0; i < l->n_experts; i++) {
            int e = l->order[i];
            if (e / size != g)
                continue;
            if (flags[e])
                last = e;
            else if (first < 0)
                first = e;
        }
        if (last >= 0 && first >= 0 && l->rank_class[last] == l->rank_class[first] &&
            l->saliency[last] == l->saliency[first])
            report_warn(report, "PLAN_BOUNDARY_TIE",
                        "layer %d: experts %d (kept) and %d (dropped) have equal saliency %.17g",
                        l->layer, l->base_id ? l->base_id[last] : last,
                        l->base_id ? l->base_id[first] : first, l->saliency[last]);
    }
}

static int common_divisor(int a, int b)
{
    while (b) {
        int r = a % b;
        a = b;
        b = r;
    }
    return a;
}

void select_warn_counts(const int *counts, size_t n, int tensor_parallel, struct report *report)
{
    int divisor = 0, least = n ? counts[0] : 0, powers = 1, uniform = 1;
    for (size_t i = 0; i < n; i++) {
        divisor = common_divisor(counts[i], divisor);
        least = counts[i] < least ? counts[i] : least;
        powers &= (counts[i] & (counts[i] - 1)) == 0;
        uniform &= counts[i] == counts[0];
    }
    if (n == 0)
        return;
    if (!uniform)
        report_warn(report, "PLAN_NONUNIFORM",
                    "layers keep different numbers of experts: only engines that read "
                    "num_routed_experts_per_layer can load the result");
    if (!powers)
        report_warn(report, "PLAN_COUNT_KERNEL",
                    "%d experts%s: not a power of two, so one fast top-k kernel of a mainstream "
                    "engine is skipped",
                    counts[0], uniform ? "" : " and others");
    if (divisor % 8)
        report_warn(report, "PLAN_COUNT_DIVISIBILITY",
                    "%d experts%s: expert parallelism of degree %s is impossible", counts[0],
                    uniform ? "" : " and others",
                    divisor % 2   ? "2, 4 or 8"
                    : divisor % 4 ? "4 or 8"
                                  : "8");
    if (least < tensor_parallel)
        report_warn(report, "PLAN_COUNT_PARALLEL",
                    "%d experts are fewer than the tensor-parallel degree %d: at least one engine "
                    "refuses that",
                    least, tensor_parallel);
}

static int keep_all(struct selection *s, const struct prune_options *o, struct report *report,
                    struct prep_error *err)
{
    int *counts = arena_calloc(&s->arena, s->n_layers, sizeof *counts, err);
    if (!counts || select_counts(counts, s, o, err))
        return -1;
    for (size_t i = 0; i < s->n_layers; i++) {
        struct select_layer *l = &s->layers[i];
        unsigned char *flags = arena_calloc(&s->arena, (size_t)l->n_experts, 1, err);
        if (!flags)
            return -1;
        l->n_kept = counts[i];
        select_survivors(s, l, l->n_kept, flags, l->kept);
        warn_ties(s, l, flags, report);
    }
    select_warn_counts(counts, s->n_layers, o->tensor_parallel, report);
    return 0;
}

int select_experts(struct selection *s, const struct pool *pool, const struct prune_model *model,
                   const struct known_map *parent, const struct prune_options *options,
                   struct report *report, struct prep_error *err)
{
    if (select_rank(s, pool, model, parent, options, report, err))
        return -1;
    if (keep_all(s, options, report, err) == 0)
        return 0;
    selection_free(s);
    return -1;
}
