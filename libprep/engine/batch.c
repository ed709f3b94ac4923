/* SPDX-License-Identifier: MIT */
#include "libprep/engine/batch.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/engine/kv_parts.h"
#include "libprep/engine/runtime_ranks.h"
#include "libprep/numeric/elementary.h"

static int check_sequence(const struct runtime *r, const struct sequence *s, size_t i,
                          struct prep_error *err)
{
    const struct config *c = r->config;
    const size_t end = s->position + s->n;
    if (s->n == 0 || (s->position > 0 && !s->cache))
        return prep_fail(err, PREP_EBUG, "sequence %zu: %zu tokens at %zu without a cache", i, s->n,
                         s->position);
    if (end > (size_t)c->max_position_embeddings || end < s->n)
        return prep_fail_tag(err, PREP_EDATA, "POSITION",
                             "sequence %zu has %zu tokens, max_position_embeddings is %d", i, end,
                             c->max_position_embeddings);
    if (s->cache && end > s->cache->shape.capacity)
        return prep_fail(err, PREP_EBUG, "sequence %zu: %zu tokens for a cache of %zu", i, end,
                         s->cache->shape.capacity);
    for (size_t k = 0; k < s->n; k++)
        if (s->tokens[k] >= (uint64_t)c->vocab_size)
            return prep_fail_tag(err, PREP_EDATA, "TOKEN_ID",
                                 "token %zu of sequence %zu is %u, the vocabulary has %lld",
                                 s->position + k, i, s->tokens[k], (long long)c->vocab_size);
    return 0;
}

/* Does any layer choose among positions? */
static int is_sparse(const struct runtime *r, size_t longest)
{
    for (int i = 0; i < r->n_layers; i++)
        if (!r->layers[i].dense && longest > (size_t)r->config->index_topk)
            return 1;
    return 0;
}

static int has_indexer(const struct runtime *r)
{
    for (int i = 0; i < r->n_layers; i++)
        if (!r->layers[i].dense)
            return 1;
    return 0;
}

/* Elements per token of each array. */
struct widths {
    uint64_t hidden, partial, half, keys, index_keys, experts, selected;
};

static struct widths widths_of(const struct runtime *r, size_t longest)
{
    const struct config *c = r->config;
    return (struct widths){
        .hidden = (uint64_t)c->hidden_size,
        .partial = runtime_is_split(r) ? (uint64_t)c->hidden_size : 0,
        .half = (uint64_t)c->qk_rope_head_dim / 2,
        .keys = (uint64_t)(c->kv_lora_rank + c->qk_rope_head_dim),
        .index_keys = has_indexer(r) ? (uint64_t)c->index_head_dim : 0,
        .experts = (uint64_t)c->num_experts_per_tok,
        .selected = is_sparse(r, longest) ? (uint64_t)c->index_topk : 0,
    };
}

uint64_t runtime_batch_bytes(const struct runtime *r, size_t tokens, size_t longest)
{
    const struct widths w = widths_of(r, longest);
    return 4 * tokens *
           (w.hidden + w.partial + 2 * w.half + w.keys + w.index_keys + 2 * w.experts + w.selected);
}

/* Zeros. */
static int alloc_partial(struct batch *b, uint64_t n, uint64_t wide, struct prep_error *err)
{
    const struct ops *ops = &b->runtime->ops;
    float *row = calloc(wide, sizeof *row);
    int rc = row ? ops->alloc(ops->self, &b->partial, n * wide, err)
                 : prep_fail(err, PREP_ENOMEM, "no memory for a row");
    for (uint64_t i = 0; i < n && !rc; i++)
        rc = ops->put(ops->self, b->partial + i * wide, row, wide, err);
    free(row);
    return rc;
}

static int alloc_arrays(struct batch *b, struct prep_error *err)
{
    const struct ops *ops = &b->runtime->ops;
    const struct widths w = widths_of(b->runtime, b->longest);
    const uint64_t n = b->n_tokens;
    b->experts = calloc(n * w.experts, sizeof *b->experts);
    b->gates = calloc(n * w.experts, sizeof *b->gates);
    b->selected = w.selected ? calloc(n * w.selected, sizeof *b->selected) : NULL;
    if (!b->experts || !b->gates || (w.selected && !b->selected))
        return prep_fail(err, PREP_ENOMEM, "no memory for a batch of %zu tokens", b->n_tokens);
    return ops->alloc(ops->self, &b->hidden, n * w.hidden, err) ||
                   (w.partial && alloc_partial(b, n, w.partial, err)) ||
                   ops->alloc(ops->self, &b->cos, n * w.half, err) ||
                   ops->alloc(ops->self, &b->sin, n * w.half, err) ||
                   ops->alloc(ops->self, &b->keys, n * w.keys, err) ||
                   (w.index_keys && ops->alloc(ops->self, &b->index_keys, n * w.index_keys, err))
               ? -1
               : 0;
}

/* angle = position * inverse frequency, rounded to F32; its cosine and sine, rounded to F32. */
static int put_angles(struct batch *b, struct prep_error *err)
{
    const struct runtime *r = b->runtime;
    const struct ops *ops = &r->ops;
    const size_t half = (size_t)r->config->qk_rope_head_dim / 2;
    float *row = calloc(2 * half, sizeof *row);
    int rc = row ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for angles");
    for (size_t s = 0; s < b->n_sequences && !rc; s++) {
        for (size_t i = 0; i < b->sequences[s].n && !rc; i++) {
            const float position = (float)(b->sequences[s].position + i);
            const size_t token = b->first[s] + i;
            for (size_t k = 0; k < half; k++) {
                const float angle = position * r->inverse_frequency[k];
                double sine, cosine;
                prep_sincos(&sine, &cosine, (double)angle);
                row[k] = (float)cosine;
                row[half + k] = (float)sine;
            }
            rc = ops->put(ops->self, b->cos + token * half, row, half, err) ||
                 ops->put(ops->self, b->sin + token * half, row + half, half, err);
        }
    }
    free(row);
    return rc ? -1 : 0;
}

static int take_sequences(struct batch *b, const struct sequence *sequences, size_t n,
                          struct prep_error *err)
{
    b->sequences = calloc(n + 1, sizeof *b->sequences);
    b->first = calloc(n + 1, sizeof *b->first);
    b->forcing = calloc(n + 1, sizeof *b->forcing);
    b->sets = calloc(n + 1, sizeof *b->sets);
    b->runs = calloc(n + 1, sizeof *b->runs);
    b->index_runs = calloc(n + 1, sizeof *b->index_runs);
    if (!b->sequences || !b->first || !b->forcing || !b->sets || !b->runs || !b->index_runs)
        return prep_fail(err, PREP_ENOMEM, "no memory for %zu sequences", n);
    for (size_t i = 0; i < n; i++) {
        if (check_sequence(b->runtime, &sequences[i], i, err))
            return -1;
        const size_t end = sequences[i].position + sequences[i].n;
        b->sequences[i] = sequences[i];
        b->first[i + 1] = b->first[i] + sequences[i].n;
        b->longest = end > b->longest ? end : b->longest;
    }
    b->n_sequences = n;
    b->n_tokens = b->n_tapped = b->first[n];
    if (b->n_tokens == 0 || b->n_tokens >= UINT32_MAX)
        return prep_fail(err, PREP_EBUG, "a batch of %zu tokens", b->n_tokens);
    return 0;
}

int batch_new(struct batch **out, struct runtime *r, const struct sequence *sequences, size_t n,
              struct prep_error *err)
{
    struct batch *b = calloc(1, sizeof *b);
    if (!b)
        return prep_fail(err, PREP_ENOMEM, "no memory for a batch");
    b->runtime = r;
    if (take_sequences(b, sequences, n, err))
        goto fail;
    const uint64_t bytes = runtime_batch_bytes(r, b->n_tokens, b->longest);
    if (runtime_reserve(r, bytes, b->n_tokens, b->longest, err))
        goto fail;
    b->bytes = bytes;
    if (alloc_arrays(b, err) || put_angles(b, err))
        goto fail;
    *out = b;
    return 0;
fail:
    batch_free(b);
    return -1;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    const struct ops *ops = &b->runtime->ops;
    ops->free(ops->self, b->hidden);
    ops->free(ops->self, b->partial);
    ops->free(ops->self, b->cos);
    ops->free(ops->self, b->sin);
    ops->free(ops->self, b->keys);
    ops->free(ops->self, b->index_keys);
    runtime_unreserve(b->runtime, b->bytes);
    free(b->experts);
    free(b->gates);
    free(b->selected);
    free(b->sequences);
    free(b->first);
    free(b->forcing);
    free(b->sets);
    free(b->runs);
    free(b->index_runs);
    free(b);
}

int batch_force(struct batch *b, size_t sequence, const struct batch *by, size_t by_sequence,
                struct prep_error *err)
{
    if (sequence >= b->n_sequences || (by && by_sequence >= by->n_sequences) ||
        (by == b && by_sequence >= sequence))
        return prep_fail(err, PREP_EBUG, "sequence %zu forced by sequence %zu", sequence,
                         by_sequence);
    const struct sequence *s = &b->sequences[sequence];
    if (by && (by->sequences[by_sequence].n != s->n ||
               by->sequences[by_sequence].position != s->position))
        return prep_fail(err, PREP_EBUG, "sequence %zu forced by one of other positions", sequence);
    b->forcing[sequence] = (struct forcing){by, by_sequence};
    return 0;
}

/* Can the layer's router choose among these? The rules of a pruned model (prune/select.h). */
static int check_set(const struct runtime *r, int layer, const struct expert_set *set,
                     struct prep_error *err)
{
    const struct config *c = r->config;
    const size_t n_experts = (size_t)r->layers[layer].n_experts, k = (size_t)c->num_experts_per_tok;
    const size_t groups = c->n_group > 1 ? (size_t)c->n_group : 1;
    for (size_t i = 0; i < set->n; i++)
        if (set->experts[i] >= n_experts || (i > 0 && set->experts[i] <= set->experts[i - 1]))
            return prep_fail(err, PREP_EUSAGE,
                             "layer %d: expert %u of a set, want ascending ids below %zu", layer,
                             set->experts[i], n_experts);
    if (set->n < k)
        return prep_fail(err, PREP_EUSAGE, "layer %d: a set of %zu experts, a token goes to %zu",
                         layer, set->n, k);
    if (groups == 1)
        return 0;
    if (set->n % groups || set->n / groups < 2 || set->n / groups * (size_t)c->topk_group < k)
        return prep_fail(err, PREP_EUSAGE,
                         "layer %d: a set of %zu experts does not fit a router of %zu groups",
                         layer, set->n, groups);
    const size_t quota = set->n / groups, size = n_experts / groups;
    for (size_t i = 0; i < set->n; i++)
        if (set->experts[i] / size != i / quota)
            return prep_fail(err, PREP_EUSAGE,
                             "layer %d: the groups of the router keep unequal numbers of experts",
                             layer);
    return 0;
}

int batch_restrict(struct batch *b, size_t sequence, const struct expert_set *sets,
                   struct prep_error *err)
{
    const struct runtime *r = b->runtime;
    if (sequence >= b->n_sequences)
        return prep_fail(err, PREP_EBUG, "sequence %zu of %zu", sequence, b->n_sequences);
    for (int i = 0; sets && i < r->n_layers; i++)
        if (sets[i].experts && check_set(r, i, &sets[i], err))
            return -1;
    b->sets[sequence] = sets;
    return 0;
}

size_t batch_n_tokens(const struct batch *b)
{
    return b->n_tokens;
}

size_t batch_n_sequences(const struct batch *b)
{
    return b->n_sequences;
}

size_t batch_first(const struct batch *b, size_t sequence)
{
    return b->first[sequence];
}

void batch_set_tapped(struct batch *b, size_t n_tokens)
{
    b->n_tapped = n_tokens;
}

int batch_get_hidden(const struct batch *b, size_t first, size_t n, float *x,
                     struct prep_error *err)
{
    const struct ops *ops = &b->runtime->ops;
    const size_t wide = (size_t)b->runtime->config->hidden_size;
    return ops->get(ops->self, x, b->hidden + first * wide, n * wide, err);
}

int batch_set_hidden(struct batch *b, size_t first, size_t n, const float *x,
                     struct prep_error *err)
{
    const struct ops *ops = &b->runtime->ops;
    const size_t wide = (size_t)b->runtime->config->hidden_size;
    return ops->put(ops->self, b->hidden + first * wide, x, n * wide, err);
}

const int32_t *batch_experts(const struct batch *b, size_t token)
{
    return b->routed ? b->experts + token * (size_t)b->runtime->config->num_experts_per_tok : NULL;
}

const float *batch_gates(const struct batch *b, size_t token)
{
    return b->routed ? b->gates + token * (size_t)b->runtime->config->num_experts_per_tok : NULL;
}

static size_t position_of(const struct batch *b, size_t token)
{
    size_t s = 0;
    while (s + 1 < b->n_sequences && b->first[s + 1] <= token)
        s++;
    return b->sequences[s].position + token - b->first[s];
}

const uint32_t *batch_selected(const struct batch *b, size_t token, size_t *n)
{
    const size_t top_k = (size_t)b->runtime->config->index_topk;
    const size_t sees = position_of(b, token) + 1;
    *n = sees;
    if (!b->sparse || sees <= top_k)
        return NULL;
    *n = top_k;
    return b->selected + token * top_k;
}
