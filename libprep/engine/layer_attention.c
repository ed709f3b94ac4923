/* SPDX-License-Identifier: MIT */
/*
 * Attention of a chunk of tokens, which may cross sequences (model.md 3.3 and 3.4, absorbed form).
 *
 *   a = norm(h) -> c = kv_a(a) -> keys (latent normed, rope part rotated) -> caches
 *               -> qr = norm(q_a(a)) -> q = q_b(qr), rotated -> absorb -> attend -> expand -> o
 *               -> ik = norm(wk(a)), g = weights_proj(a), iq = wq_b(qr) -> selected
 */
#include <math.h>
#include <string.h>

#include "libprep/engine/kv_parts.h"
#include "libprep/engine/runtime_ranks.h"

/* Widths, and where things lie in scratch. */
struct attention {
    struct runtime *r;
    const struct runtime_layer_ids *l;
    struct batch *b;
    const struct chunk *chunk;
    const struct taps *taps;
    struct place at;
    size_t hidden, rank, rope, heads, qk, value, index_heads, index_dim, top_k;
    size_t n_runs, n_index_runs; /* the latter without forced sequences */
    int choose;                  /* some tokens of the chunk run the indexer */
    int index_keys;              /* ... or leave keys for others that will */
    float *a, *qr, *q, *g, *iq, *absorbed, *latent, *o;
    struct prep_error *err;
};

static void lay_out(struct attention *t)
{
    const size_t n = t->chunk->n, wide = t->rank + t->rope;
    t->a = t->r->scratch;
    t->qr = t->a + n * t->hidden;
    t->q = t->qr + n * (size_t)t->r->config->q_lora_rank;
    t->g = t->q + n * t->heads * t->qk;
    t->iq = t->g + n * t->index_heads;
    t->absorbed = t->iq + n * t->index_heads * t->index_dim;
    t->latent = t->absorbed + n * t->heads * wide;
    t->o = t->latent + n * t->heads * t->rank;
}

static void set_up(struct attention *t, int layer)
{
    const struct config *c = t->r->config;
    t->l = &t->r->layers[layer];
    t->at = (struct place){t->b, layer, t->chunk->first, NULL};
    t->hidden = (size_t)c->hidden_size;
    t->rank = (size_t)c->kv_lora_rank;
    t->rope = (size_t)c->qk_rope_head_dim;
    t->heads = t->r->widths.heads;
    t->qk = (size_t)c->qk_nope_head_dim + t->rope;
    t->value = (size_t)c->v_head_dim;
    t->index_heads = (size_t)c->index_n_heads;
    t->index_dim = (size_t)c->index_head_dim;
    t->top_k = (size_t)c->index_topk;
    lay_out(t);
}

/* Layer of a cache; its index is that of the layer in the model. */
static void *cached(void *const *layers, const struct kv_cache *cache, int layer)
{
    return layers[layer - cache->shape.layer];
}

/* What the indexer has to do for a run. */
static void find_index_run(struct attention *t, const struct ops_run *run)
{
    const struct batch *b = t->b;
    const struct sequence *q = &b->sequences[run->sequence];
    const int forced = b->forcing[run->sequence].by != NULL;
    t->index_keys |= q->cache || (!forced && q->position + q->n > t->top_k);
    if (forced)
        return;
    struct ops_run *index = &t->b->index_runs[t->n_index_runs++];
    *index = *run;
    index->keys = q->cache ? cached(q->cache->index_keys, q->cache, t->at.layer)
                           : (void *)(b->index_keys + b->first[run->sequence] * t->index_dim);
    t->choose |= run->position + run->n > t->top_k;
}

/* The parts of sequences that the chunk holds. */
static int find_runs(struct attention *t)
{
    struct batch *b = t->b;
    const size_t wide = t->rank + t->rope, begin = t->chunk->first, end = begin + t->chunk->n;
    const int layer = t->at.layer;
    for (size_t s = 0; s < b->n_sequences; s++) {
        const struct sequence *q = &b->sequences[s];
        const size_t first = b->first[s] > begin ? b->first[s] : begin;
        const size_t last = b->first[s + 1] < end ? b->first[s + 1] : end;
        if (first >= last)
            continue;
        const struct kv_cache_shape *shape = q->cache ? &q->cache->shape : NULL;
        if (shape && (layer < shape->layer || layer >= shape->layer + shape->n_layers))
            return prep_fail(t->err, PREP_EBUG,
                             "layer %d has no place in the cache of sequence %zu", layer, s);
        struct ops_run *run = &b->runs[t->n_runs++];
        *run = (struct ops_run){
            .first = first - begin,
            .n = last - first,
            .position = q->position + first - b->first[s],
            .keys = q->cache ? cached(q->cache->keys, q->cache, layer)
                             : (void *)(b->keys + b->first[s] * wide),
            .form = shape ? shape->form : KV_F32,
            .sequence = s,
        };
        if (t->l->full && !t->l->dense)
            find_index_run(t, run);
    }
    return 0;
}

static int apply(const struct attention *t, enum part part, float *y, size_t ldy, const float *x,
                 size_t ldx)
{
    const struct apply a = {y, x, t->chunk->n, ldy, ldx, t->at};
    return runtime_apply(t->r, t->l->part[part], &a, t->err);
}

/* In place. */
static int norm(const struct attention *t, enum part part, float *x, size_t ld, size_t cols,
                float eps)
{
    const struct apply_norm a = {x, x, t->chunk->n, cols, ld, ld, eps, t->at};
    const uint32_t bias = part == PART_INDEXER_K_NORM ? t->l->k_norm_bias : WEIGHT_NONE;
    return runtime_apply_norm(t->r, t->l->part[part], bias, &a, t->err);
}

static int rotate(const struct attention *t, float *x, size_t ld, size_t heads, size_t stride,
                  int interleaved)
{
    const size_t half = t->rope / 2;
    const struct ops_rope p = {x,
                               t->chunk->n,
                               ld,
                               heads,
                               stride,
                               t->b->cos + t->chunk->first * half,
                               t->b->sin + t->chunk->first * half,
                               half,
                               interleaved};
    return t->r->ops.rope(t->r->ops.self, &p, t->err);
}

static int show(const struct attention *t, enum part part, const float *x, size_t cols, size_t ld)
{
    const struct tap_rows rows = {.layer = t->at.layer,
                                  .expert = -1,
                                  .part = part,
                                  .x = x,
                                  .n = t->chunk->n,
                                  .cols = cols,
                                  .ld = ld,
                                  .first_token = t->chunk->first};
    return t->taps ? runtime_tap(t->taps, t->b, &rows, t->err) : 0;
}

static int normed_input(const struct attention *t)
{
    const struct apply_norm a = {.y = t->a,
                                 .x = t->b->hidden + t->chunk->first * t->hidden,
                                 .n = t->chunk->n,
                                 .cols = t->hidden,
                                 .ldy = t->hidden,
                                 .ldx = t->hidden,
                                 .eps = (float)t->r->config->rms_norm_eps,
                                 .at = t->at};
    return runtime_apply_norm(t->r, t->l->part[PART_INPUT_NORM], WEIGHT_NONE, &a, t->err) ||
                   show(t, PART_Q_A, t->a, t->hidden, t->hidden)
               ? -1
               : 0;
}

/* Rows of the chunk into the caches of those sequences that have one. */
static int store(const struct attention *t, const float *x, size_t cols, int index)
{
    for (size_t i = 0; i < t->n_runs; i++) {
        const struct ops_run *run = &t->b->runs[i];
        const struct kv_cache *cache = t->b->sequences[run->sequence].cache;
        if (!cache)
            continue;
        const struct kv_row row = runtime_kv_row(t->r, cache->shape.form, index);
        unsigned char *keys = cached(index ? cache->index_keys : cache->keys, cache, t->at.layer);
        if (t->r->ops.store_keys(t->r->ops.self, keys + run->position * kv_row_bytes(&row), &row,
                                 x + run->first * cols, cols, run->n, t->err))
            return -1;
    }
    return 0;
}

static int latent_keys(const struct attention *t)
{
    const size_t wide = t->rank + t->rope;
    float *c = t->b->keys + t->chunk->first * wide;
    return apply(t, PART_KV_A, c, wide, t->a, t->hidden) ||
                   norm(t, PART_KV_A_NORM, c, wide, t->rank, t->r->latent_eps) ||
                   rotate(t, c + t->rank, wide, 1, 0, t->r->config->rope_interleave) ||
                   show(t, PART_KV_B, c, t->rank, wide) || store(t, c, wide, 0)
               ? -1
               : 0;
}

static int low_rank_query(const struct attention *t)
{
    const size_t q_rank = (size_t)t->r->config->q_lora_rank;
    return apply(t, PART_Q_A, t->qr, q_rank, t->a, t->hidden) ||
                   norm(t, PART_Q_A_NORM, t->qr, q_rank, q_rank, t->r->latent_eps) ||
                   show(t, PART_Q_B, t->qr, q_rank, q_rank)
               ? -1
               : 0;
}

/* eps of the indexer's layer norm is no option of any engine: 1e-6. */
static int index_keys(const struct attention *t)
{
    const size_t dim = t->index_dim;
    float *ik = t->b->index_keys + t->chunk->first * dim;
    if (!t->index_keys)
        return 0;
    return apply(t, PART_INDEXER_WK, ik, dim, t->a, t->hidden) ||
                   norm(t, PART_INDEXER_K_NORM, ik, dim, dim, 1e-6F) ||
                   rotate(t, ik, dim, 1, 0, t->r->config->indexer_rope_interleave) ||
                   store(t, ik, dim, 1)
               ? -1
               : 0;
}

static int choose(const struct attention *t)
{
    const size_t heads = t->index_heads, dim = t->index_dim;
    const size_t q_rank = (size_t)t->r->config->q_lora_rank;
    if (!t->choose)
        return 0;
    const struct ops_select p = {
        .selected = t->b->selected + t->chunk->first * t->top_k,
        .iq = t->iq,
        .g = t->g,
        .runs = t->b->index_runs,
        .n_runs = t->n_index_runs,
        .heads = heads,
        .dim = dim,
        .top_k = t->top_k,
        .scale = 1.0F / sqrtf((float)dim),
    };
    return apply(t, PART_INDEXER_WEIGHTS, t->g, heads, t->a, t->hidden) ||
                   t->r->ops.scale(t->r->ops.self, t->g, 1.0F / sqrtf((float)heads),
                                   t->chunk->n * heads, t->err) ||
                   apply(t, PART_INDEXER_WQ_B, t->iq, heads * dim, t->qr, q_rank) ||
                   rotate(t, t->iq, heads * dim, heads, dim,
                          t->r->config->indexer_rope_interleave) ||
                   t->r->ops.select(t->r->ops.self, &p, t->err)
               ? -1
               : 0;
}

/* Forced sequences: the other one's selection, where something had to be chosen. */
static int take_choices(const struct attention *t)
{
    struct batch *b = t->b;
    for (size_t i = 0; i < t->n_runs && b->sparse; i++) {
        const struct ops_run *run = &b->runs[i];
        const struct forcing *f = &b->forcing[run->sequence];
        if (!f->by || run->position + run->n <= t->top_k)
            continue;
        const size_t token = t->chunk->first + run->first;
        const size_t from = f->by->first[f->sequence] + token - b->first[run->sequence];
        if (!f->by->sparse || f->by->runtime->config->index_topk != t->r->config->index_topk)
            return prep_fail(t->err, PREP_EUSAGE,
                             "choices of positions cannot be taken from a model that chooses none, "
                             "or another number of them");
        memcpy(b->selected + token * t->top_k, f->by->selected + from * t->top_k,
               run->n * t->top_k * sizeof *b->selected);
    }
    return 0;
}

static int attend(const struct attention *t)
{
    const struct config *c = t->r->config;
    const size_t q_rank = (size_t)c->q_lora_rank;
    const struct ops *ops = &t->r->ops;
    const uint32_t kv_b = t->l->part[PART_KV_B];
    struct ops_heads heads = {NULL, t->heads, t->qk - t->rope, t->rope, t->value, t->rank};
    const struct ops_attend p = {
        .y = t->latent,
        .q = t->absorbed,
        .runs = t->b->runs,
        .n_runs = t->n_runs,
        .heads = t->heads,
        .rank = t->rank,
        .rope = t->rope,
        .selected = t->b->sparse ? t->b->selected + t->chunk->first * t->top_k : NULL,
        .top_k = t->top_k,
        .scale = 1.0F / sqrtf((float)t->qk),
    };
    size_t bad = OPS_ALL_FINITE, bad_scores = OPS_ALL_FINITE;
    if (apply(t, PART_Q_B, t->q, t->heads * t->qk, t->qr, q_rank) ||
        rotate(t, t->q + t->qk - t->rope, t->heads * t->qk, t->heads, t->qk, c->rope_interleave) ||
        weights_get(t->r->weights, kv_b, &heads.w, t->err))
        return -1;
    int rc = ops->absorb(ops->self, t->absorbed, t->q, t->chunk->n, &heads, &bad, t->err) ||
             runtime_check(&t->at, heads.w->name, bad, t->err) ||
             ops->attend(ops->self, &p, &bad_scores, t->err) ||
             runtime_check(&t->at, "attention", bad_scores, t->err) ||
             ops->expand(ops->self, t->o, t->latent, t->chunk->n, &heads, &bad, t->err) ||
             runtime_check(&t->at, heads.w->name, bad, t->err);
    weights_put(t->r->weights, kv_b);
    return rc ? -1 : 0;
}

static int add_output(const struct attention *t)
{
    const size_t cols = t->heads * t->value;
    float *h = t->b->hidden + t->chunk->first * t->hidden;
    size_t bad = OPS_ALL_FINITE;
    if (runtime_is_split(t->r))
        return show(t, PART_O, t->o, cols, cols) ||
                       apply(t, PART_O, t->b->partial + t->chunk->first * t->hidden, t->hidden,
                             t->o, cols)
                   ? -1
                   : 0;
    return show(t, PART_O, t->o, cols, cols) || apply(t, PART_O, t->a, t->hidden, t->o, cols) ||
                   t->r->ops.add(t->r->ops.self, h, t->a, t->chunk->n, t->hidden, &bad, t->err) ||
                   runtime_check(&t->at, "attention, added to the hidden state,", bad, t->err)
               ? -1
               : 0;
}

int runtime_attention(struct runtime *r, int layer, struct batch *b, const struct chunk *chunk,
                      const struct taps *taps, struct prep_error *err)
{
    struct attention t = {.r = r, .b = b, .chunk = chunk, .taps = taps, .err = err};
    set_up(&t, layer);
    return find_runs(&t) || normed_input(&t) || latent_keys(&t) || low_rank_query(&t) ||
                   index_keys(&t) || choose(&t) || take_choices(&t) || attend(&t) || add_output(&t)
               ? -1
               : 0;
}
