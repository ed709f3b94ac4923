/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_layers.h"

#include <math.h>

#include "libprep/base/parallel.h"

enum { RATIOS = 3 };

int judge_layers_init(struct judge_layers *l, int n_layers, uint64_t n_windows, struct arena *arena,
                      struct prep_error *err)
{
    const size_t n = (size_t)n_windows;
    *l = (struct judge_layers){.n_layers = n_layers, .n_windows = n_windows};
    l->layers = arena_calloc(arena, (size_t)n_layers, sizeof *l->layers, err);
    double *sums = arena_calloc(arena, (size_t)n_layers * 2 * RATIOS, n * sizeof *sums, err);
    if (!l->layers || !sums)
        return -1;
    for (int i = 0; i < n_layers; i++) {
        struct judge_ratio *const r[RATIOS] = {&l->layers[i].hidden, &l->layers[i].forced,
                                               &l->layers[i].block};
        for (int k = 0; k < RATIOS; k++, sums += 2 * n)
            *r[k] = (struct judge_ratio){sums, sums + n};
    }
    return 0;
}

int judge_layers_init_kl(struct judge_layers *l, struct arena *arena, struct prep_error *err)
{
    const size_t n = (size_t)l->n_windows;
    double *sums = arena_calloc(arena, (size_t)l->n_layers, n * sizeof *sums, err);
    if (!sums)
        return -1;
    for (int i = 0; i < l->n_layers; i++, sums += n)
        l->layers[i].window_kl = sums;
    l->has_kl = 1;
    return 0;
}

struct add {
    struct judge_ratio *to;
    const struct judge_states *s;
    const float *a, *b, *base;
};

static int add_window(size_t i, void *arg, struct prep_error *err)
{
    const struct add *p = arg;
    const size_t n = p->s->elements, at = i * n;
    double above = 0, below = 0;
    for (size_t k = at; k < at + n; k++) {
        const double a = (double)p->a[k], d = a - (double)p->b[k];
        const double m = p->base ? a - (double)p->base[k] : a;
        above += d * d;
        below += m * m;
    }
    p->to->above[p->s->first_window + i] += above;
    p->to->below[p->s->first_window + i] += below;
    (void)err;
    return 0;
}

int judge_ratio_add(struct judge_ratio *to, const struct judge_states *s, const float *a,
                    const float *b, const float *base, struct prep_error *err)
{
    struct add p = {to, s, a, b, base};
    return prep_parallel_for((size_t)s->n_windows, s->n_threads, add_window, &p, err);
}

void judge_experts_add(struct judge_layer *l, const int32_t *original, const int32_t *other,
                       size_t k, const int *map)
{
    l->experts += k;
    for (size_t i = 0; i < k * k; i++)
        l->experts_shared += original[i / k] == (map ? map[other[i % k]] : other[i % k]);
}

void judge_positions_add(struct judge_layer *l, const uint32_t *original, size_t n,
                         const uint32_t *other, size_t n_other)
{
    l->positions += n;
    for (size_t i = 0, j = 0; i < n && j < n_other;) {
        l->positions_shared += original[i] == other[j];
        const int step = original[i] < other[j];
        j += original[i] >= other[j];
        i += (size_t)step;
    }
}

void judge_layer_add_kl(struct judge_layer *l, uint64_t n_rows, uint64_t first, const double *kl,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        l->window_kl[(first + i) / n_rows] += kl[i];
}

static double finish_ratio(const struct judge_ratio *r, uint64_t n)
{
    double above = 0, below = 0;
    for (uint64_t w = 0; w < n; w++) {
        above += r->above[w];
        below += r->below[w];
    }
    return below > 0 ? above / below : NAN;
}

static double share(uint64_t part, uint64_t all)
{
    return all ? (double)part / (double)all : NAN;
}

void judge_layers_finish(struct judge_layers *l)
{
    for (int i = 0; i < l->n_layers; i++) {
        struct judge_layer *x = &l->layers[i];
        x->hidden_error = finish_ratio(&x->hidden, l->n_windows);
        x->forced_error = finish_ratio(&x->forced, l->n_windows);
        x->block_error = finish_ratio(&x->block, l->n_windows);
        x->expert_share = share(x->experts_shared, x->experts);
        x->position_share = share(x->positions_shared, x->positions);
    }
}

int judge_layers_finish_kl(struct judge_layers *l, uint64_t n_rows, struct arena *arena,
                           struct prep_error *err)
{
    if (!l->has_kl)
        return 0;
    double *work = arena_alloc(arena, BOOTSTRAP_RESAMPLES * sizeof *work, err);
    if (!work)
        return -1;
    for (int i = 0; i < l->n_layers; i++) {
        struct judge_layer *x = &l->layers[i];
        for (uint64_t w = 0; w < l->n_windows; w++)
            x->window_kl[w] /= (double)n_rows;
        bootstrap_mean(&x->kl, x->window_kl, (size_t)l->n_windows, BOOTSTRAP_SEED, work);
    }
    return 0;
}
