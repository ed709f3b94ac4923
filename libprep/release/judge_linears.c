/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_linears.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/numeric/bootstrap.h"

enum { TOKEN_BLOCK = 64, ALIGNMENT = 64 };

/* ---- which linear is which ---- */

static const struct linear *find_original(const struct judge_linears *l, const struct linear *other,
                                          struct arena *arena, struct prep_error *err)
{
    const char *name = other->name;
    if (other->expert >= 0 && l->other->experts) {
        const struct name_parts parts = name_parse(name, strlen(name));
        name = name_with_expert(arena, name, &parts, l->other->experts[other->layer][other->expert],
                                err);
        if (!name)
            return NULL;
    }
    return linears_get(l->original->linears, name);
}

static size_t n_tiles(const struct linear *l)
{
    return (size_t)((l->out + LINEAR_TILE - 1) / LINEAR_TILE);
}

/* Do we know which inputs it sees? */
static int is_judged(const struct linear *l, int n_layers)
{
    return l->role == ROLE_LM_HEAD || (l->layer >= 0 && l->layer < n_layers);
}

int judge_linears_init(struct judge_linears *l, const struct judge_matrices *original,
                       const struct judge_matrices *other, int n_layers, struct arena *arena,
                       struct prep_error *err)
{
    *l = (struct judge_linears){.original = original, .other = other};
    l->items = arena_calloc(arena, other->linears->n, sizeof *l->items, err);
    if (!l->items)
        return -1;
    for (size_t i = 0; i < other->linears->n; i++) {
        const struct linear *b = &other->linears->items[i];
        if (!is_judged(b, n_layers))
            continue;
        const struct linear *a = find_original(l, b, arena, err);
        if (err->code != PREP_OK)
            return -1;
        if (!a || a->in != b->in || a->out != b->out) {
            l->n_unmatched++;
            continue;
        }
        l->items[l->n++] = (struct judge_linear){.original = a, .other = b};
    }
    return 0;
}

/* ---- reading ---- */

static uint64_t bytes_of(const struct linear *l)
{
    uint64_t n = 0;
    for (int i = 0; i < l->n_tensors; i++)
        n += l->tensors[i].info->bytes;
    return n;
}

static int read_linear(struct span parts[LINEAR_PARTS], const struct judge_matrices *m,
                       const struct linear *l, struct arena *arena, struct prep_error *err)
{
    for (int i = 0; i < l->n_tensors; i++) {
        const struct linear_tensor *t = &l->tensors[i];
        const struct checkpoint *ckpt = m->checkpoint;
        const struct checkpoint_tensor *stored;
        if (m->view) {
            const struct view_tensor *seen = &m->view->tensors[t->index];
            if (seen->rows)
                return prep_fail(err, PREP_EBUG, "%s: a linear with some rows left out", l->name);
            ckpt = m->view->sources[seen->source];
            stored = view_source(m->view, seen);
        } else {
            stored = &ckpt->tensors[t->index];
        }
        const size_t n = (size_t)stored->info.bytes;
        unsigned char *p = arena_alloc(arena, n, err);
        if (!p || checkpoint_read(ckpt, stored, 0, p, n, err))
            return -1;
        parts[i] = (struct span){p, n};
    }
    return 0;
}

static int same_bytes(const struct linear *a, const struct span *x, const struct linear *b,
                      const struct span *y)
{
    if (a->form != b->form || a->n_tensors != b->n_tensors || a->zero_bias != b->zero_bias)
        return 0;
    for (int i = 0; i < a->n_tensors; i++)
        if (a->tensors[i].part != b->tensors[i].part ||
            a->tensors[i].info->dtype != b->tensors[i].info->dtype || x[i].n != y[i].n ||
            memcmp(x[i].p, y[i].p, x[i].n) != 0)
            return 0;
    return 1;
}

/* ---- one linear ---- */

/* What one worker found. */
struct sums {
    struct exact_sum error, signal;
    int changed;
};

struct product {
    struct judge_linear *to;
    struct span original[LINEAR_PARTS], other[LINEAR_PARTS];
    struct linear_codec codec;
    const struct matmul_kernels *kernels;
    struct judge_rows rows;
    size_t n_workers;
    unsigned char *work; /* [n_workers][worker_bytes()] */
    struct sums *sums;   /* [n_workers] */
};

static size_t aligned(size_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* W, D: [LINEAR_TILE, in]; C: [TOKEN_BLOCK, LINEAR_TILE]; work of the product. */
static size_t worker_bytes(size_t in, const struct matmul_kernels *k)
{
    return 2 * aligned(LINEAR_TILE * in * sizeof(float)) +
           aligned(TOKEN_BLOCK * LINEAR_TILE * sizeof(float)) + aligned(k->work_bytes);
}

struct tile {
    float *w, *d, *c;
    void *work;
    size_t n; /* rows of it */
};

/* Squares of x m^T. */
static void add_squares(struct exact_sum *sum, const struct product *p, const struct tile *t,
                        const float *m)
{
    const size_t in = p->rows.cols;
    for (size_t at = 0; at < p->rows.n; at += TOKEN_BLOCK) {
        const size_t n = p->rows.n - at < TOKEN_BLOCK ? p->rows.n - at : TOKEN_BLOCK;
        const struct matmul product = {.m = n,
                                       .n = t->n,
                                       .k = in,
                                       .a = p->rows.x + at * in,
                                       .lda = in,
                                       .b = m,
                                       .ldb = in,
                                       .b_type = MATMUL_F32,
                                       .c = t->c,
                                       .ldc = t->n,
                                       .work = t->work};
        p->kernels->nt(&product);
        exact_sum_add_squares(sum, t->c, n * t->n);
    }
}

static int add_tile(const struct product *p, size_t worker, size_t i, const struct tile *t,
                    struct prep_error *err)
{
    const struct linear *a = p->to->original, *b = p->to->other;
    const uint64_t first = i * LINEAR_TILE;
    const struct linear_rows w = {.first = first, .n = t->n, .f32 = t->w};
    const struct linear_rows q = {.first = first, .n = t->n, .f32 = t->d};
    if (linear_decode_rows(a, &p->codec, p->original, &w, err))
        return prep_note(err, "%s", a->name);
    if (linear_decode_rows(b, &p->codec, p->other, &q, err))
        return prep_note(err, "%s", b->name);
    int changed = 0;
    for (size_t k = 0; k < t->n * a->in; k++) {
        t->d[k] = t->w[k] - t->d[k];
        changed |= t->d[k] != 0;
    }
    struct sums *sums = &p->sums[worker];
    sums->changed |= changed;
    if (changed)
        add_squares(&sums->error, p, t, t->d);
    add_squares(&sums->signal, p, t, t->w);
    return 0;
}

/* Tiles worker, worker + n_workers, ... */
static int add_tiles(size_t worker, void *arg, struct prep_error *err)
{
    const struct product *p = arg;
    const size_t in = p->rows.cols, matrix = aligned(LINEAR_TILE * in * sizeof(float));
    unsigned char *at = p->work + worker * worker_bytes(in, p->kernels);
    struct tile t = {.w = (float *)(void *)at,
                     .d = (float *)(void *)(at + matrix),
                     .c = (float *)(void *)(at + 2 * matrix)};
    t.work = at + 2 * matrix + aligned(TOKEN_BLOCK * LINEAR_TILE * sizeof(float));
    for (size_t i = worker; i < n_tiles(p->to->original); i += p->n_workers) {
        const uint64_t left = p->to->original->out - i * LINEAR_TILE;
        t.n = left < LINEAR_TILE ? (size_t)left : LINEAR_TILE;
        if (add_tile(p, worker, i, &t, err))
            return -1;
    }
    return 0;
}

static int add_linear(struct judge_linears *l, struct judge_linear *to, struct judge_sites *s,
                      const struct judge_linears_how *how, struct prep_error *err)
{
    struct product p = {.to = to, .kernels = matmul_kernels(how->isa)};
    /* The rows are the original's, under its numbers. */
    if (judge_sites_rows(&p.rows, s, to->original, err))
        return -1;
    if (!p.rows.n)
        return 0;
    struct arena arena;
    arena_init(&arena, 0);
    int rc = -1;
    if (read_linear(p.original, l->original, to->original, &arena, err) ||
        read_linear(p.other, l->other, to->other, &arena, err))
        goto out;
    to->tokens += p.rows.n;
    to->same = same_bytes(to->original, p.original, to->other, p.other);
    if (to->same) {
        rc = 0;
        goto out;
    }
    linear_codec_init(&p.codec, how->isa);
    p.n_workers = how->n_threads > 0 ? (size_t)how->n_threads : (size_t)prep_default_threads();
    unsigned char *work =
        arena_alloc(&arena, p.n_workers * worker_bytes(p.rows.cols, p.kernels) + ALIGNMENT, err);
    p.sums = arena_calloc(&arena, p.n_workers, sizeof *p.sums, err);
    if (!work || !p.sums)
        goto out;
    p.work = work + (ALIGNMENT - (uintptr_t)work % ALIGNMENT) % ALIGNMENT;
    if (prep_parallel_for(p.n_workers, how->n_threads, add_tiles, &p, err))
        goto out;
    for (size_t i = 0; i < p.n_workers; i++) {
        to->changed |= p.sums[i].changed;
        exact_sum_merge(&to->error, &p.sums[i].error);
        exact_sum_merge(&to->signal, &p.sums[i].signal);
    }
    rc = 0;
out:
    arena_fini(&arena);
    return rc;
}

uint64_t judge_linears_memory(const struct judge_linears *l, int n_threads)
{
    const struct matmul_kernels *k = matmul_kernels(N_ISA - 1);
    uint64_t most = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct linear *a = l->items[i].original;
        const uint64_t n = bytes_of(a) + bytes_of(l->items[i].other) +
                           (uint64_t)n_threads * worker_bytes((size_t)a->in, k);
        most = n > most ? n : most;
    }
    return most;
}

int judge_linears_add(struct judge_linears *l, int layer, struct judge_sites *s,
                      const struct judge_linears_how *how, struct prep_error *err)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i].original->layer == layer && !l->items[i].same &&
            add_linear(l, &l->items[i], s, how, err))
            return -1;
    return 0;
}

/* ---- figures ---- */

void judge_linears_finish(struct judge_linears *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct judge_linear *x = &l->items[i];
        const double error = exact_sum_value(&x->error), signal = exact_sum_value(&x->signal);
        x->nmse = x->changed && signal > 0 ? error / signal : NAN;
    }
}

int judge_linears_scope(struct judge_scope *scope, const struct judge_linears *l, enum role role,
                        struct prep_error *err)
{
    double *x = malloc((l->n + 1) * sizeof *x);
    *scope = (struct judge_scope){.geometric = NAN, .p95 = NAN, .worst = NAN};
    if (!x)
        return prep_fail(err, PREP_ENOMEM, "out of memory for the errors of %zu linears", l->n);
    for (size_t i = 0; i < l->n; i++) {
        const struct judge_linear *it = &l->items[i];
        if ((role != ROLE_OTHER && it->other->role != role) || isnan(it->nmse))
            continue;
        if (!scope->n || it->nmse > scope->worst) {
            scope->worst = it->nmse;
            scope->worst_linear = it;
        }
        x[scope->n++] = it->nmse;
    }
    if (scope->n) {
        scope->geometric = sample_geometric_mean(x, scope->n);
        sample_sort(x, scope->n);
        scope->p95 = sample_percentile(x, scope->n, 0.95);
    }
    free(x);
    return 0;
}

int judge_linears_layers(struct judge_linears_layer *to, const struct judge_linears *l,
                         int n_layers, struct prep_error *err)
{
    double *x = malloc((l->n + 1) * sizeof *x);
    if (!x)
        return prep_fail(err, PREP_ENOMEM, "out of memory for the errors of %zu linears", l->n);
    for (int layer = 0; layer <= n_layers; layer++) {
        size_t n = 0;
        for (size_t i = 0; i < l->n; i++)
            if (l->items[i].original->layer == (layer < n_layers ? layer : -1) &&
                !isnan(l->items[i].nmse))
                x[n++] = l->items[i].nmse;
        to[layer] = (struct judge_linears_layer){n, NAN, NAN, NAN, NAN, NAN};
        if (!n)
            continue;
        sample_sort(x, n);
        to[layer] = (struct judge_linears_layer){n,
                                                 x[0],
                                                 sample_percentile(x, n, 0.25),
                                                 sample_percentile(x, n, 0.5),
                                                 sample_percentile(x, n, 0.75),
                                                 x[n - 1]};
    }
    free(x);
    return 0;
}
