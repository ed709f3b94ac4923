/* SPDX-License-Identifier: MIT */
/*
 * Memory of a runtime: reserved (batches, caches) + work of the operations + scratch + weights.
 * Weights get what is left; if all of them fit, scratch is as large as is useful, else the room is
 * shared.
 */
#include "libprep/engine/runtime.h"

#include <stdlib.h>

#include "libprep/engine/kv_parts.h"
#include "libprep/engine/ops_cpu.h"
#include "libprep/engine/runtime_ranks.h"

/* Largest chunk of an MLP: more tokens per read of an expert, until its activations leave the
 * caches of any processor. */
enum { MLP_MOST_RESIDENT = 4096, BATCH_MOST_RESIDENT = 4096 };

const struct config *runtime_config(const struct runtime *r)
{
    return r->config;
}

int runtime_is_full(const struct runtime *r, int layer)
{
    return r->layers[layer].full && !r->layers[layer].dense;
}

int runtime_is_mtp(const struct runtime *r, int layer)
{
    return r->layers[layer].mtp;
}

/* Memory */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Floats per token of an attention chunk, or of the input of an MTP layer. */
static uint64_t attention_floats(const struct runtime *r)
{
    const struct config *c = r->config;
    const uint64_t heads = r->widths.heads, rope = (uint64_t)c->qk_rope_head_dim;
    const uint64_t rank = (uint64_t)c->kv_lora_rank, hidden = (uint64_t)c->hidden_size;
    const uint64_t query = heads * ((uint64_t)c->qk_nope_head_dim + rope);
    const uint64_t indexer = (uint64_t)c->index_n_heads * ((uint64_t)c->index_head_dim + 1);
    const uint64_t attention = hidden + (uint64_t)c->q_lora_rank + query + indexer +
                               heads * (2 * rank + rope + (uint64_t)c->v_head_dim);
    return most(attention, 4 * hidden);
}

/* Floats of an MLP chunk of n tokens, of any layer. */
static uint64_t mlp_floats(const struct runtime *r, size_t n)
{
    const struct config *c = r->config;
    const uint64_t hidden = (uint64_t)c->hidden_size, piece = least(n, RUNTIME_PIECE);
    const uint64_t width = most(r->widths.expert, r->widths.shared);
    int n_experts = 0;
    for (int i = 0; i < r->n_layers; i++)
        n_experts = r->layers[i].n_experts > n_experts ? r->layers[i].n_experts : n_experts;
    const uint64_t slots = (uint64_t)c->num_experts_per_tok * hidden;
    const uint64_t moe =
        n * (2 * hidden + (uint64_t)n_experts + slots) + piece * (2 * hidden + 2 * width);
    const uint64_t dense = n * hidden + piece * (2 * r->widths.dense + hidden);
    return most(n_experts ? moe : 0, dense);
}

static uint64_t scratch_for(const struct runtime *r, size_t attention, size_t mlp)
{
    return most(attention * attention_floats(r), mlp_floats(r, mlp));
}

static uint64_t least_scratch(const struct runtime *r, size_t tokens)
{
    const size_t n = (size_t)least(tokens, RUNTIME_LEAST);
    return scratch_for(r, n, n);
}

/* Work memory of the operations for a batch: it is kept for the longest there was. */
static uint64_t work_bytes(const struct runtime *r, size_t longest)
{
    return r->exchange_bytes + r->ops.work_bytes(r->ops.self, (size_t)most(longest, r->longest));
}

static uint64_t floor_beside(const struct runtime *r, size_t tokens, size_t longest)
{
    return r->weights_floor + r->exchange_bytes + work_bytes(r, longest) +
           4 * least_scratch(r, tokens);
}

uint64_t runtime_floor(const struct runtime *r, size_t tokens, size_t longest)
{
    return floor_beside(r, tokens, longest) + runtime_batch_bytes(r, tokens, longest);
}

uint64_t runtime_room(const struct runtime *r, size_t tokens, size_t longest)
{
    const uint64_t need = floor_beside(r, tokens, longest) + r->reserved;
    return r->mem > need ? r->mem - need : 0;
}

size_t runtime_batch_most(const struct runtime *r, size_t tokens, size_t longest, uint64_t beside)
{
    const uint64_t each = runtime_batch_bytes(r, 1, longest) + beside;
    const uint64_t room = runtime_room(r, tokens, longest) / 2;
    const int resident = room >= r->weights_total;
    const uint64_t most_here = resident ? BATCH_MOST_RESIDENT : UINT64_MAX;
    return (size_t)most(1, least(tokens, least(most_here, room / each)));
}

static int under_floor(const struct runtime *r, uint64_t need, struct prep_error *err)
{
    return prep_fail_tag(
        err, PREP_EUSAGE, "MEM",
        "--mem %llu is under the floor of %llu bytes: %llu for the largest weights, "
        "the rest for activations; give more, or fewer tokens at a time",
        (unsigned long long)r->mem, (unsigned long long)need, (unsigned long long)r->weights_floor);
}

int runtime_reserve(struct runtime *r, uint64_t bytes, size_t tokens, size_t longest,
                    struct prep_error *err)
{
    uint64_t need;
    if (prep_add(&need, floor_beside(r, tokens, longest), r->reserved) ||
        prep_add(&need, need, bytes) || need > r->mem)
        return under_floor(r, need, err);
    r->reserved += bytes;
    /* Room for it now: from the scratch of an earlier batch, and from the weights. */
    const uint64_t left = r->mem - r->reserved - work_bytes(r, longest);
    if (left < r->weights_floor + 4 * r->n_scratch) {
        r->ops.free(r->ops.self, r->scratch);
        r->scratch = NULL;
        r->n_scratch = 0;
    }
    weights_limit(r->weights, left - 4 * r->n_scratch);
    return 0;
}

void runtime_unreserve(struct runtime *r, uint64_t bytes)
{
    r->reserved -= bytes;
}

/* Floats of scratch when `available` bytes are there for scratch and weights. */
static uint64_t share_scratch(const struct runtime *r, uint64_t available, uint64_t floats_least,
                              uint64_t floats_most)
{
    const uint64_t all = r->weights_total;
    if (available >= all && available - all >= 4 * floats_most)
        return floats_most;
    const uint64_t spare = (available - r->weights_floor) / 4 - floats_least;
    return floats_least + least(floats_most - floats_least, spare / 2);
}

static int resize_scratch(struct runtime *r, uint64_t floats, struct prep_error *err)
{
    if (r->n_scratch == floats)
        return 0;
    r->ops.free(r->ops.self, r->scratch);
    r->scratch = NULL;
    r->n_scratch = 0;
    if (r->ops.alloc(r->ops.self, &r->scratch, floats, err))
        return -1;
    r->n_scratch = floats;
    return 0;
}

/* The largest chunk of an MLP that this much scratch allows. */
static size_t mlp_chunk(const struct runtime *r, uint64_t floats, size_t tokens)
{
    size_t low = 1, high = tokens;
    while (low < high) {
        const size_t n = high - (high - low) / 2;
        if (mlp_floats(r, n) <= floats)
            low = n;
        else
            high = n - 1;
    }
    return low;
}

int runtime_prepare(struct runtime *r, size_t tokens, size_t longest, struct runtime_cut *cut,
                    struct prep_error *err)
{
    const uint64_t fixed = r->reserved + work_bytes(r, longest);
    const uint64_t floats_least = least_scratch(r, tokens);
    const uint64_t need = fixed + r->weights_floor + 4 * floats_least;
    if (need > r->mem)
        return under_floor(r, need, err);
    const uint64_t available = r->mem - fixed;
    const int resident = available / 2 >= r->weights_total;
    const size_t mlp = resident && tokens > MLP_MOST_RESIDENT ? MLP_MOST_RESIDENT : tokens;
    const uint64_t wish = scratch_for(r, (size_t)least(tokens, RUNTIME_ATTENTION), mlp);
    uint64_t floats = share_scratch(r, available, floats_least, wish);
    /* What an earlier, larger batch left is kept where nobody else needs it. */
    if (r->n_scratch > floats && resident)
        floats = r->n_scratch;
    weights_limit(r->weights, available - 4 * floats);
    if (resize_scratch(r, floats, err) || r->ops.reserve(r->ops.self, longest, err))
        return -1;
    r->longest = (size_t)most(longest, r->longest);
    cut->attention = (size_t)least(least(tokens, RUNTIME_ATTENTION), floats / attention_floats(r));
    cut->mlp = mlp_chunk(r, floats, mlp);
    cut->scratch = floats;
    return 0;
}

void runtime_stats(const struct runtime *r, struct runtime_stats *out)
{
    struct weights_stats w;
    const struct linear_counts counts = ops_cpu_counts(&r->ops);
    weights_stats(r->weights, &w);
    *out = (struct runtime_stats){.read_bytes = w.read_bytes,
                                  .weight_bytes = weights_total(r->weights),
                                  .stored_bytes = r->stored_bytes,
                                  .peak_weights = w.peak_bytes,
                                  .zero_scales = counts.zero_scales,
                                  .overflows = counts.overflows};
}

/* Weights that will be used */

void runtime_upcoming_begin(struct runtime *r)
{
    r->n_upcoming = 0;
}

int runtime_upcoming_add(struct runtime *r, uint32_t id, struct prep_error *err)
{
    if (id == WEIGHT_NONE)
        return 0;
    if (prep_grow(&r->upcoming, &r->cap_upcoming, r->n_upcoming, sizeof *r->upcoming, err))
        return -1;
    r->upcoming[r->n_upcoming++] = id;
    return 0;
}

int runtime_upcoming_layer(struct runtime *r, int layer, struct prep_error *err)
{
    static const enum part order[] = {
        PART_INPUT_NORM,
        PART_KV_A,
        PART_KV_A_NORM,
        PART_Q_A,
        PART_Q_A_NORM,
        PART_INDEXER_WK,
        PART_INDEXER_K_NORM,
        PART_INDEXER_WEIGHTS,
        PART_Q_B,
        PART_INDEXER_WQ_B,
        PART_KV_B,
        PART_O,
        PART_POST_NORM,
        PART_ROUTER,
        PART_SHARED_GATE,
        PART_SHARED_UP,
        PART_SHARED_DOWN,
        PART_GATE,
        PART_UP,
        PART_DOWN,
    };
    if (layer >= r->n_layers)
        return 0;
    const struct runtime_layer_ids *l = &r->layers[layer];
    const int indexer = l->full && !l->dense;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const enum part p = order[i];
        if (!indexer && p >= PART_INDEXER_WQ_B && p <= PART_INDEXER_WEIGHTS)
            continue;
        if (runtime_upcoming_add(r, l->part[p], err))
            return -1;
    }
    return 0;
}

int runtime_upcoming_next(struct runtime *r, int layer, struct prep_error *err)
{
    if (layer + 1 < r->config->num_hidden_layers)
        return runtime_upcoming_layer(r, layer + 1, err);
    for (size_t i = 0; i < r->n_head; i++)
        if (runtime_upcoming_add(r, r->head[i], err))
            return -1;
    return 0;
}

int runtime_upcoming_send(struct runtime *r, struct prep_error *err)
{
    return weights_announce(r->weights, r->upcoming, r->n_upcoming, err);
}

/* Steps that all parts of a layer consist of */

int runtime_check(const struct place *at, const char *what, size_t bad, struct prep_error *err)
{
    if (bad == OPS_ALL_FINITE)
        return 0;
    const size_t token = at->tokens ? at->tokens[bad] : at->first + bad;
    if (!at->b)
        return prep_fail_tag(err, PREP_EDATA, "NOT_FINITE", "%s: NaN or infinity in row %zu", what,
                             token);
    const struct batch *b = at->b;
    size_t s = 0;
    while (s + 1 < b->n_sequences && b->first[s + 1] <= token)
        s++;
    const size_t i = token - b->first[s];
    return prep_fail_tag(err, PREP_EDATA, "NOT_FINITE",
                         "layer %d: %s gives NaN or infinity, first at position %zu of sequence "
                         "%zu (token %u)",
                         at->layer, what, b->sequences[s].position + i, s,
                         b->sequences[s].tokens[i]);
}

int runtime_apply(struct runtime *r, uint32_t id, const struct apply *a, struct prep_error *err)
{
    const struct weight *w;
    size_t bad = OPS_ALL_FINITE;
    if (weights_get(r->weights, id, &w, err))
        return -1;
    const struct ops_linear p = {a->y, a->x, a->n, a->ldy, a->ldx, w, runtime_input_scale(r, w)};
    int rc = r->ops.linear(r->ops.self, &p, &bad, err);
    weights_put(r->weights, id);
    return rc || runtime_check(&a->at, w->name, bad, err) ? -1 : 0;
}

int runtime_apply_norm(struct runtime *r, uint32_t id, uint32_t bias, const struct apply_norm *a,
                       struct prep_error *err)
{
    const struct weight *w, *b = NULL;
    size_t bad = OPS_ALL_FINITE;
    if (weights_get(r->weights, id, &w, err))
        return -1;
    int rc = bias != WEIGHT_NONE ? weights_get(r->weights, bias, &b, err) : 0;
    if (rc == 0) {
        const struct ops_norm p = {
            a->y, a->x, a->n, a->cols, a->ldy, a->ldx, w->values, b ? b->values : NULL, a->eps};
        rc = r->ops.norm(r->ops.self, &p, &bad, err);
    }
    if (b)
        weights_put(r->weights, bias);
    weights_put(r->weights, id);
    return rc || runtime_check(&a->at, w->name, bad, err) ? -1 : 0;
}

/* Rows beyond the tapped tokens stand at the end. */
int runtime_tap(const struct taps *taps, const struct batch *b, const struct tap_rows *rows,
                struct prep_error *err)
{
    struct tap_rows seen = *rows;
    while (b && seen.n > 0 &&
           (rows->tokens ? rows->tokens[seen.n - 1] : rows->first_token + seen.n - 1) >=
               b->n_tapped)
        seen.n--;
    return seen.n && taps && taps->input ? taps->input(taps->arg, &seen, err) : 0;
}

/* In and out */

/* Rows of other ranks stay as they are. */
int runtime_embed(struct runtime *r, struct batch *b, struct prep_error *err)
{
    const size_t wide = (size_t)r->config->hidden_size;
    const struct shard_range mine = r->widths.vocab;
    float *to = runtime_is_split(r) ? b->partial : b->hidden, *row = calloc(wide, sizeof *row);
    int rc = row ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for a row");
    for (size_t s = 0; s < b->n_sequences && !rc; s++) {
        for (size_t i = 0; i < b->sequences[s].n && !rc; i++) {
            const uint32_t token = b->sequences[s].tokens[i];
            if (token >= mine.first && token - mine.first < mine.n)
                rc = weights_read_row(r->weights, r->embed, token, row, err) ||
                     r->ops.put(r->ops.self, to + (b->first[s] + i) * wide, row, wide, err);
        }
    }
    free(row);
    return rc || runtime_share_hidden(r, b, err) ? -1 : 0;
}

int runtime_final(struct runtime *r, int layer, const struct batch *b, size_t first, size_t n,
                  float *z, struct prep_error *err)
{
    const size_t wide = (size_t)r->config->hidden_size;
    const uint32_t id = layer < 0 ? r->final_norm : r->layers[layer].part[PART_SHARED_HEAD_NORM];
    struct runtime_cut cut;
    if (runtime_prepare(r, b->n_tokens, b->longest, &cut, err))
        return -1;
    for (size_t i = 0, k; i < n; i += k) {
        k = n - i < cut.attention ? n - i : cut.attention;
        const struct apply_norm a = {
            .y = r->scratch,
            .x = b->hidden + (first + i) * wide,
            .n = k,
            .cols = wide,
            .ldy = wide,
            .ldx = wide,
            .eps = (float)r->config->rms_norm_eps,
            .at = {b, layer < 0 ? r->config->num_hidden_layers : layer, first + i, NULL},
        };
        if (runtime_apply_norm(r, id, WEIGHT_NONE, &a, err) ||
            r->ops.get(r->ops.self, z + i * wide, r->scratch, k * wide, err))
            return -1;
    }
    return 0;
}

int runtime_logits(struct runtime *r, const float *z, size_t n, float *logits,
                   const struct taps *taps, struct prep_error *err)
{
    const size_t wide = (size_t)r->config->hidden_size, vocab = (size_t)r->config->vocab_size;
    const struct tap_rows rows = {
        .layer = -1, .expert = -1, .part = PART_LM_HEAD, .x = z, .n = n, .cols = wide, .ld = wide};
    struct runtime_cut cut;
    if (runtime_tap(taps, NULL, &rows, err) || runtime_prepare(r, 1, 1, &cut, err))
        return -1;
    runtime_upcoming_begin(r);
    if (runtime_upcoming_next(r, r->n_layers, err) || runtime_upcoming_send(r, err))
        return -1;
    for (size_t i = 0; i < r->n_head; i++) {
        const struct weight *w;
        size_t bad = OPS_ALL_FINITE;
        if (weights_get(r->weights, r->head[i], &w, err))
            return -1;
        const struct ops_linear p = {logits + w->first, z, n, vocab, wide, w, 0};
        int rc = r->ops.project(r->ops.self, &p, &bad, err);
        weights_put(r->weights, r->head[i]);
        const struct place at = {NULL, -1, 0, NULL};
        if (rc || runtime_check(&at, w->name, bad, err))
            return -1;
    }
    return runtime_share_logits(r, logits, n, err);
}

/* One piece of the MTP layer's input; scratch: embeddings, z, and both halves normed. */
static int mtp_piece(struct runtime *r, int layer, struct batch *b, const float *z,
                     const struct chunk *p, const struct taps *taps, struct prep_error *err)
{
    const uint32_t *ids = r->layers[layer].part;
    const size_t wide = (size_t)r->config->hidden_size;
    float *e = r->scratch, *previous = e + p->n * wide, *both = previous + p->n * wide;
    struct apply_norm a = {.y = both,
                           .x = e,
                           .n = p->n,
                           .cols = wide,
                           .ldy = 2 * wide,
                           .ldx = wide,
                           .eps = (float)r->config->rms_norm_eps,
                           .at = {b, layer, p->first, NULL}};
    if (r->ops.copy(r->ops.self, e, wide, b->hidden + p->first * wide, wide, p->n, wide, err) ||
        r->ops.put(r->ops.self, previous, z + p->first * wide, p->n * wide, err) ||
        runtime_apply_norm(r, ids[PART_ENORM], WEIGHT_NONE, &a, err))
        return -1;
    a.y = both + wide;
    a.x = previous;
    const struct tap_rows rows = {.layer = layer,
                                  .expert = -1,
                                  .part = PART_EH_PROJ,
                                  .x = both,
                                  .n = p->n,
                                  .cols = 2 * wide,
                                  .ld = 2 * wide,
                                  .first_token = p->first};
    const struct apply eh = {b->hidden + p->first * wide, both, p->n, wide, 2 * wide, a.at};
    return runtime_apply_norm(r, ids[PART_HNORM], WEIGHT_NONE, &a, err) ||
                   runtime_tap(taps, b, &rows, err) || runtime_apply(r, ids[PART_EH_PROJ], &eh, err)
               ? -1
               : 0;
}

int runtime_mtp_embed(struct runtime *r, int layer, struct batch *b, const float *z,
                      const struct taps *taps, struct prep_error *err)
{
    struct runtime_cut cut;
    if (layer >= r->n_layers || !r->layers[layer].mtp)
        return prep_fail(err, PREP_EBUG, "layer %d is no MTP layer", layer);
    if (runtime_embed(r, b, err) || runtime_prepare(r, b->n_tokens, b->longest, &cut, err))
        return -1;
    for (size_t i = 0; i < b->n_tokens; i += cut.attention) {
        const size_t n = b->n_tokens - i < cut.attention ? b->n_tokens - i : cut.attention;
        const struct chunk piece = {i, n};
        if (mtp_piece(r, layer, b, z, &piece, taps, err))
            return -1;
    }
    return 0;
}

int runtime_layer(struct runtime *r, int layer, struct batch *b, const struct taps *taps,
                  struct prep_error *err)
{
    struct runtime_cut cut;
    const struct runtime_layer_ids *l = &r->layers[layer];
    if (runtime_prepare(r, b->n_tokens, b->longest, &cut, err))
        return -1;
    b->sparse = !l->dense && b->selected;
    for (size_t i = 0; i < b->n_tokens; i += cut.attention) {
        const size_t n = b->n_tokens - i < cut.attention ? b->n_tokens - i : cut.attention;
        const struct chunk chunk = {i, n};
        runtime_upcoming_begin(r);
        if (runtime_upcoming_layer(r, layer, err) ||
            (!l->n_experts && runtime_upcoming_next(r, layer, err)) ||
            runtime_upcoming_send(r, err) || runtime_attention(r, layer, b, &chunk, taps, err))
            return -1;
    }
    if (runtime_join(r, layer, b, "attention, added to the hidden state,", err))
        return -1;
    b->routed = l->n_experts > 0;
    for (size_t i = 0; i < b->n_tokens; i += cut.mlp) {
        const size_t n = b->n_tokens - i < cut.mlp ? b->n_tokens - i : cut.mlp;
        const struct chunk chunk = {i, n};
        if (l->n_experts ? runtime_moe(r, layer, b, &chunk, taps, err)
                         : runtime_mlp(r, layer, b, &chunk, taps, err))
            return -1;
    }
    return runtime_join(r, layer, b, "MLP, added to the hidden state,", err);
}
