/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_ranks.h"

#include <math.h>
#include <string.h>

#include "libprep/base/hash.h"

/* NULL: alone. */
static struct ranks *ranks_of(const struct judge_job *job)
{
    struct ranks *r = job->run.ranks ? job->run.ranks : job->ranks;
    return r && r->size > 1 ? r : NULL;
}

int judge_is_dealt(const struct judge_job *job)
{
    return ranks_of(job) && !job->run.ranks;
}

/* ---- the same on all ranks ---- */

static void hash_u64(struct sha256 *h, uint64_t x)
{
    unsigned char bytes[8];
    store_le64(bytes, x);
    sha256_update(h, bytes, sizeof bytes);
}

static int same(const struct judge_job *job, struct sha256 *h, const char *text,
                struct prep_error *err)
{
    unsigned char digest[SHA256_BYTES];
    sha256_final(h, digest);
    return ranks_same(ranks_of(job), digest, sizeof digest, text, err);
}

/* What decides how often ranks meet. Paths may differ: what is there is compared later. */
int judge_ranks_meet(const struct judge_job *job, struct prep_error *err)
{
    struct sha256 h;
    if (!ranks_of(job))
        return 0;
    const uint64_t facts[] = {job->n_models,
                              job->original != NULL,
                              job->reference != NULL,
                              job->keep_map != NULL,
                              (uint64_t)job->save,
                              (uint64_t)job->with_mtp,
                              (uint64_t)job->no_linears,
                              job->run.ranks != NULL,
                              (uint64_t)job->original_as_is,
                              job->run.mem == 0};
    sha256_init(&h);
    sha256_update(&h, PREP_VERSION, sizeof PREP_VERSION);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        hash_u64(&h, facts[i]);
    return same(job, &h, "is asked for something else than rank 0; start all ranks alike", err);
}

static void hash_model(struct sha256 *h, const struct judge_model *m)
{
    unsigned char digest[SHA256_BYTES];
    if (!m->runtime)
        return;
    runtime_fingerprint(m->runtime, digest);
    sha256_update(h, digest, sizeof digest);
    sha256_update(h, &m->identity, sizeof m->identity);
}

int judge_ranks_compare(const struct judgement *j, const struct judge_job *job,
                        struct prep_error *err)
{
    struct sha256 h;
    if (!ranks_of(job))
        return 0;
    sha256_init(&h);
    hash_model(&h, &j->original);
    for (size_t i = 0; i < j->n_results; i++)
        hash_model(&h, &j->results[i].model);
    hash_u64(&h, j->text.n_windows);
    hash_u64(&h, j->text.window);
    sha256_update(&h, j->text.sha256, sizeof j->text.sha256);
    return same(job, &h,
                "has another model or text than rank 0, or runs it in another way; all ranks must "
                "see the same files",
                err);
}

int judge_ranks_unit(uint64_t *sequences, const struct judgement *j, const struct judge_job *job,
                     struct prep_error *err)
{
    if (!ranks_of(job))
        return 0;
    const uint64_t n = (uint64_t)ranks_of(job)->size;
    const uint64_t share = j->text.n_windows / n + (j->text.n_windows % n != 0);
    if (judge_is_dealt(job) && *sequences > share)
        *sequences = share;
    return ranks_least(ranks_of(job), sequences, err);
}

/* ---- what each rank found ---- */

struct gathering {
    struct ranks *ranks;
    uint64_t n_windows, unit; /* windows of a unit: those of unit u are found by rank u mod size */
    struct prep_error *err;
};

/* An array of `bytes` per window; NULL: not measured. */
static int gather_windows(const struct gathering *g, void *array, uint64_t bytes)
{
    unsigned char *p = array;
    for (uint64_t at = 0, u = 0; p && at < g->n_windows; at += g->unit, u++) {
        const uint64_t n = g->n_windows - at < g->unit ? g->n_windows - at : g->unit;
        if (ranks_broadcast(g->ranks, p + at * bytes, (size_t)(n * bytes),
                            (int)(u % (uint64_t)g->ranks->size), g->err))
            return -1;
    }
    return 0;
}

static int gather_series(const struct gathering *g, struct judge_series *s)
{
    return gather_windows(g, s->rows, s->n_rows * sizeof *s->rows);
}

static int gather_draft(const struct gathering *g, struct judge_draft *d,
                        const struct judge_series *s)
{
    return gather_windows(g, d->accepted_rows, s->n_rows);
}

static int gather_saved(const struct gathering *g, struct reference *r)
{
    const uint64_t n = r->sequence, k = r->top_k;
    return gather_windows(g, r->top_ids, n * k * sizeof *r->top_ids) ||
                   gather_windows(g, r->top_logits, n * k * sizeof *r->top_logits) ||
                   gather_windows(g, r->logsumexp, n * sizeof *r->logsumexp) ||
                   gather_windows(g, r->tail, n * sizeof *r->tail) ||
                   gather_windows(g, r->next_logits, (n - 1) * sizeof *r->next_logits)
               ? -1
               : 0;
}

static int gather_layer(const struct gathering *g, struct judge_layer *l)
{
    struct judge_ratio *const ratios[] = {&l->hidden, &l->forced, &l->block};
    uint64_t counts[] = {l->experts, l->experts_shared, l->positions, l->positions_shared};
    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++)
        if (gather_windows(g, ratios[i]->above, sizeof(double)) ||
            gather_windows(g, ratios[i]->below, sizeof(double)))
            return -1;
    if (ranks_add_u64(g->ranks, counts, sizeof counts / sizeof *counts, g->err))
        return -1;
    l->experts = counts[0];
    l->experts_shared = counts[1];
    l->positions = counts[2];
    l->positions_shared = counts[3];
    return 0;
}

/* The digits of both sums, tokens, and how many ranks found them the same, or changed. */
enum { LINEAR_WORDS = 2 * EXACT_SUM_DIGITS + 5 };

static double special_of(uint64_t n_ranks, double mine)
{
    return n_ranks ? (mine != 0 ? mine : (double)NAN) : 0;
}

static int gather_linear(const struct gathering *g, struct judge_linear *l)
{
    uint64_t words[LINEAR_WORDS];
    exact_sum_settle(&l->error);
    exact_sum_settle(&l->signal);
    memcpy(words, l->error.digits, sizeof l->error.digits);
    memcpy(words + EXACT_SUM_DIGITS, l->signal.digits, sizeof l->signal.digits);
    uint64_t *rest = words + 2 * EXACT_SUM_DIGITS;
    rest[0] = l->tokens;
    rest[1] = l->same != 0;
    rest[2] = l->changed != 0;
    rest[3] = l->error.special != 0;
    rest[4] = l->signal.special != 0;
    if (ranks_add_u64(g->ranks, words, LINEAR_WORDS, g->err))
        return -1;
    memcpy(l->error.digits, words, sizeof l->error.digits);
    memcpy(l->signal.digits, words + EXACT_SUM_DIGITS, sizeof l->signal.digits);
    l->tokens = rest[0];
    l->same = rest[1] != 0;
    l->changed = rest[2] != 0;
    l->error.special = special_of(rest[3], l->error.special);
    l->signal.special = special_of(rest[4], l->signal.special);
    return 0;
}

static int gather_load(const struct gathering *g, struct judge_load *l)
{
    for (int i = 0; i < l->n_layers; i++)
        if (l->tokens[i] && ranks_add_u64(g->ranks, l->tokens[i], (size_t)l->n_experts[i], g->err))
            return -1;
    return 0;
}

static int gather_result(const struct gathering *g, struct judge_result *r)
{
    if (gather_series(g, &r->free) || gather_series(g, &r->forced) || gather_series(g, &r->mtp) ||
        gather_draft(g, &r->draft, &r->mtp) || gather_load(g, &r->load))
        return -1;
    for (int i = 0; i < r->layers.n_layers; i++)
        if (gather_layer(g, &r->layers.layers[i]))
            return -1;
    for (size_t i = 0; i < r->linears.n; i++)
        if (gather_linear(g, &r->linears.items[i]))
            return -1;
    return 0;
}

int judge_ranks_gather(struct judge_watch *w, struct prep_error *err)
{
    struct judgement *j = w->j;
    const struct gathering g = {w->job->ranks, j->text.n_windows, w->unit_sequences, err};
    if (!judge_is_dealt(w->job))
        return 0;
    if (ranks_agree(g.ranks, 0, err) || gather_series(&g, &j->original_free) ||
        gather_series(&g, &j->original_mtp) ||
        gather_draft(&g, &j->original_draft, &j->original_mtp) ||
        (j->has_original && gather_load(&g, &j->original_load)) ||
        (j->has_saved && gather_saved(&g, &j->saved)))
        return -1;
    for (size_t i = 0; i < j->n_results; i++)
        if (gather_result(&g, &j->results[i]))
            return -1;
    return 0;
}

int judge_ranks_bytes(uint64_t **bytes, struct judgement *j, const struct judge_job *job,
                      const struct judge_model *m, struct prep_error *err)
{
    struct runtime_stats stats;
    const size_t n = (size_t)job->run.ranks->size;
    runtime_stats(m->runtime, &stats);
    *bytes = arena_calloc(&j->arena, n, sizeof **bytes, err);
    if (ranks_agree(job->run.ranks, *bytes ? 0 : -1, err))
        return -1;
    return ranks_all_gather(job->run.ranks, *bytes, &stats.stored_bytes, sizeof **bytes, err);
}
