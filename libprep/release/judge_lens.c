/* SPDX-License-Identifier: MIT */
/* KL by layer: what each model would say next if it ended after this layer. */
#include "libprep/base/parallel.h"
#include "libprep/release/judge_parts.h"

uint64_t judge_lens_memory(const struct config *c, uint64_t rows)
{
    const uint64_t floats = (uint64_t)c->hidden_size + 2 * (uint64_t)c->vocab_size;
    return rows * (floats * sizeof(float) + sizeof(double));
}

int judge_lens_init(struct judge_watch *w, struct prep_error *err)
{
    struct judge_lens *l = &w->lens;
    struct arena *arena = &w->j->arena;
    if (!l->rows)
        return 0;
    l->z = arena_calloc(arena, l->rows, w->hidden_size * sizeof *l->z, err);
    l->p = arena_calloc(arena, 2 * l->rows, w->vocab_size * sizeof *l->p, err);
    l->kl = arena_calloc(arena, l->rows, sizeof *l->kl, err);
    if (!l->z || !l->p || !l->kl)
        return -1;
    l->q = l->p + l->rows * w->vocab_size;
    return 0;
}

static int compare_row(size_t i, void *arg, struct prep_error *err)
{
    const struct judge_watch *w = arg;
    const size_t n = w->vocab_size;
    w->lens.kl[i] = judge_row_kl(w->kernels, w->lens.p + i * n, w->lens.q + i * n, n);
    (void)err;
    return 0;
}

/* Rows of the unit. */
struct lens_tile {
    const struct schedule_at *at;
    size_t first, n;
};

static int make_logits(const struct judge_watch *w, const struct lens_tile *t, int lane,
                       float *logits, struct prep_error *err)
{
    struct runtime *r = w->lanes[lane].runtime;
    return runtime_final(r, -1, t->at->batches[lane], t->at->offsets[lane] + t->first, t->n,
                         w->lens.z, err) ||
                   runtime_logits(r, w->lens.z, t->n, logits, NULL, err)
               ? -1
               : 0;
}

static int see_tile(struct judge_watch *w, const struct lens_tile *t, struct prep_error *err)
{
    struct judgement *j = w->j;
    const uint64_t n_rows = j->text.window, row = t->at->first_sequence * n_rows + t->first;
    if (make_logits(w, t, 0, w->lens.p, err))
        return prep_note(err, "%s", j->original.path);
    for (size_t i = 0; i < j->n_results; i++) {
        struct judge_result *r = &j->results[i];
        if (make_logits(w, t, w->of[i].free, w->lens.q, err))
            return prep_note(err, "%s", r->model.path);
        if (prep_parallel_for(t->n, w->how.n_threads, compare_row, w, err))
            return -1;
        judge_layer_add_kl(&r->at[t->at->layer], n_rows, row, w->lens.kl, t->n);
    }
    return 0;
}

int judge_lens_see(struct judge_watch *w, const struct schedule_at *at, struct prep_error *err)
{
    const size_t rows = w->lens.rows;
    for (size_t i = 0; rows && i < at->n_tokens; i += rows) {
        const struct lens_tile t = {at, i, at->n_tokens - i < rows ? at->n_tokens - i : rows};
        if (see_tile(w, &t, err))
            return prep_note(err, "KL after layer %d", at->layer);
    }
    return 0;
}
