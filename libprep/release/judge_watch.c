/* SPDX-License-Identifier: MIT */
/* What is seen while the models run: hidden states and choices layer by layer, then logits. */
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/release/judge_ranks.h"

/* ---- layers ---- */

static int get_hidden(float *to, const struct schedule_at *at, int lane, struct prep_error *err)
{
    return batch_get_hidden(at->batches[lane], at->offsets[lane], at->n_tokens, to, err);
}

static void count_load(struct judge_load *to, const struct judge_model *m,
                       const struct schedule_at *at, int lane)
{
    const size_t k = (size_t)m->config->num_experts_per_tok;
    for (size_t i = 0; i < at->n_tokens; i++) {
        const int32_t *experts = batch_experts(at->batches[lane], at->offsets[lane] + i);
        if (!experts)
            return;
        judge_load_add(to, at->layer, experts, k);
    }
}

int judge_before_layer(void *arg, const struct schedule_at *at, struct prep_error *err)
{
    struct judge_watch *w = arg;
    if (judge_is_dealt(w->job) && ranks_raised(w->job->ranks))
        return prep_fail(err, PREP_ESTOPPED, "another rank has failed");
    if (!w->j->has_original || at->layer >= w->n_layers)
        return 0;
    judge_sites_reset(&w->sites);
    return get_hidden(w->x, at, 0, err);
}

static void compare_choices(struct judge_watch *w, struct judge_result *r,
                            const struct schedule_at *at, int lane)
{
    struct judge_layer *to = &r->at[at->layer];
    const struct batch *a = at->batches[0], *b = at->batches[lane];
    const size_t k = (size_t)w->j->original.config->num_experts_per_tok;
    int *const *experts = r->model.matrices.experts;
    const size_t window = (size_t)w->j->text.window;
    for (size_t i = 0; i < at->n_tokens; i++) {
        const size_t x = at->offsets[0] + i, y = at->offsets[lane] + i;
        const int32_t *mine = batch_experts(a, x), *theirs = batch_experts(b, y);
        if (mine && theirs && r->knows_experts)
            judge_experts_add(to, mine, theirs, k, experts ? experts[at->layer] : NULL);
        size_t n, n_other;
        const uint32_t *seen = batch_selected(a, x, &n), *other = batch_selected(b, y, &n_other);
        if (seen && n < i % window + 1) {
            if (other)
                judge_positions_add(to, seen, n, other, n_other);
            else
                judge_positions_add(to, seen, n, seen, n); /* it attends to all of them */
        }
    }
}

static int compare_layer(struct judge_watch *w, struct judge_result *r,
                         const struct judge_lanes *lanes, const struct schedule_at *at,
                         struct prep_error *err)
{
    struct judge_layer *to = &r->at[at->layer];
    const struct judge_states s = {.first_window = at->first_sequence,
                                   .n_windows = at->n_sequences,
                                   .elements = (size_t)w->j->text.window * w->hidden_size,
                                   .n_threads = w->how.n_threads};
    if (get_hidden(w->q, at, lanes->free, err) ||
        judge_ratio_add(&to->hidden, &s, w->y, w->q, NULL, err))
        return -1;
    compare_choices(w, r, at, lanes->free);
    if (lanes->forced >= 0 && (get_hidden(w->q, at, lanes->forced, err) ||
                               judge_ratio_add(&to->forced, &s, w->y, w->q, NULL, err)))
        return -1;
    if (lanes->fed >= 0 && (get_hidden(w->q, at, lanes->fed, err) ||
                            judge_ratio_add(&to->block, &s, w->y, w->q, w->x, err)))
        return -1;
    return r->has_linears ? judge_linears_add(&r->linears, at->layer, &w->sites, &w->how, err) : 0;
}

int judge_after_layer(void *arg, const struct schedule_at *at, struct prep_error *err)
{
    struct judge_watch *w = arg;
    if (at->layer >= w->n_layers)
        return 0;
    for (size_t i = 0; i < w->j->n_results; i++)
        count_load(&w->j->results[i].load, &w->j->results[i].model, at, w->of[i].free);
    if (!w->j->has_original)
        return 0;
    count_load(&w->j->original_load, &w->j->original, at, 0);
    if (get_hidden(w->y, at, 0, err))
        return -1;
    for (size_t i = 0; i < w->j->n_results; i++)
        if (compare_layer(w, &w->j->results[i], &w->of[i], at, err))
            return prep_note(err, "%s: layer %d", w->j->results[i].model.path, at->layer);
    return judge_lens_see(w, at, err);
}

/* ---- logits ---- */

struct tile {
    struct judge_watch *w;
    const struct schedule_logits *l;
    uint64_t row;    /* of its first, through all windows */
    uint64_t n_rows; /* of a window */
};

static void note_first(struct judge_watch *w, size_t model, uint64_t row, const float *z)
{
    if (w->first[model])
        kl_top_k(&w->first[model][row], z, w->vocab_size, 1);
}

/* One row of the main head, of everyone. */
static int judge_row(size_t i, void *arg, struct prep_error *err)
{
    const struct tile *t = arg;
    struct judge_watch *w = t->w;
    struct judgement *j = w->j;
    const struct logits_kernels *k = w->kernels;
    const size_t n = w->vocab_size;
    const uint64_t row = t->row + i, window = row / t->n_rows, at = row % t->n_rows;
    const float *p = j->has_original ? t->l->logits[0] + i * n : NULL;
    struct reference_row saved = {0};
    if (j->has_reference) {
        saved = reference_row(&j->reference, judge_text_number(&j->text, window), at);
        judge_row_saved(&j->original_free, row, &saved);
    }
    if (p) {
        judge_row_alone(&j->original_free, k, row, p, n);
        note_first(w, JUDGE_MAX_MODELS, row, p);
    }
    for (size_t m = 0; m < j->n_results; m++) {
        struct judge_result *r = &j->results[m];
        const float *q = t->l->logits[w->of[m].free] + i * n;
        if (p)
            judge_row_beside(&r->free, k, row, p, q, n);
        else if (j->has_reference)
            judge_row_reference(&r->free, k, row, &saved, q, n);
        else
            judge_row_alone(&r->free, k, row, q, n);
        if (r->has_forced)
            judge_row_beside(&r->forced, k, row, p, t->l->logits[w->of[m].forced] + i * n, n);
        note_first(w, m, row, q);
        if (m == 0 && j->has_saved && reference_set_row(&j->saved, k, window, at, q, err))
            return -1;
    }
    return 0;
}

/* Row t of the head drafts token t + 2, which the main head chooses at t + 1. */
static void note_draft(struct judge_watch *w, size_t model, struct judge_draft *d, uint64_t row,
                       const struct tile *t, const float *z)
{
    const uint64_t window = row / t->n_rows, at = row % t->n_rows;
    uint32_t first;
    kl_top_k(&first, z, w->vocab_size, 1);
    d->accepted_rows[row] = first == w->first[model][window * w->j->text.window + at + 1];
}

static int judge_mtp_row(size_t i, void *arg, struct prep_error *err)
{
    const struct tile *t = arg;
    struct judge_watch *w = t->w;
    struct judgement *j = w->j;
    const size_t n = w->vocab_size;
    const uint64_t row = t->row + i;
    const float *p = j->has_original ? t->l->logits[0] + i * n : NULL;
    if (p) {
        judge_row_alone(&j->original_mtp, w->kernels, row, p, n);
        note_draft(w, JUDGE_MAX_MODELS, &j->original_draft, row, t, p);
    }
    for (size_t m = 0; m < j->n_results; m++) {
        struct judge_result *r = &j->results[m];
        const float *q = t->l->logits[w->of[m].free] + i * n;
        if (p)
            judge_row_beside(&r->mtp, w->kernels, row, p, q, n);
        else
            judge_row_alone(&r->mtp, w->kernels, row, q, n);
        note_draft(w, m, &r->draft, row, t, q);
    }
    (void)err;
    return 0;
}

/* lm_head reads what the final norm made; its rows wait until the unit is complete. */
static int see_head(struct judge_watch *w, const struct schedule_logits *l, struct prep_error *err)
{
    struct judge_sites *s = &w->sites;
    const size_t n = w->hidden_size;
    if (l->first_row == 0)
        judge_sites_reset(s);
    memcpy(s->x[SITE_ATTENTION] + l->first_row * n, l->z[0], l->n_rows * n * sizeof(float));
    s->rows[SITE_ATTENTION] = l->first_row + l->n_rows;
    s->width[SITE_ATTENTION] = n;
    if (s->rows[SITE_ATTENTION] < l->n_sequences * w->j->text.window)
        return 0;
    for (size_t i = 0; i < w->j->n_results; i++)
        if (w->j->results[i].has_linears &&
            judge_linears_add(&w->j->results[i].linears, -1, s, &w->how, err))
            return -1;
    return 0;
}

int judge_see_logits(void *arg, const struct schedule_logits *l, struct prep_error *err)
{
    struct judge_watch *w = arg;
    const int mtp = l->mtp_layer >= 0;
    struct tile t = {.w = w, .l = l, .n_rows = w->j->text.window - (uint64_t)mtp};
    t.row = l->first_sequence * t.n_rows + l->first_row;
    if (!mtp && w->j->has_original && see_head(w, l, err))
        return -1;
    return prep_parallel_for(l->n_rows, w->how.n_threads, mtp ? judge_mtp_row : judge_row, &t, err);
}
