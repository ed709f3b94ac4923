/* SPDX-License-Identifier: MIT */
/*
 * Drafts by the MTP layer. Row t of that layer takes the hidden state z_t and token t + 1 and says
 * what token t + 2 might be. After a pass all rows whose z and token are known go through it at
 * once, in place of those that were guessed; then it is applied to its own output, a token at a
 * time.
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/generate_parts.h"

static int mtp_layer(const struct run *x)
{
    return x->r->config->num_hidden_layers;
}

static size_t wide(const struct run *x)
{
    return (size_t)x->r->config->hidden_size;
}

int speculate_check(const struct run *x)
{
    if (x->g->draft < 0 || x->g->draft > GENERATE_MOST_DRAFTS)
        return prep_fail(x->err, PREP_EUSAGE, "%d drafts, want 0 to %d", x->g->draft,
                         GENERATE_MOST_DRAFTS);
    if (x->g->draft && x->r->n_layers <= mtp_layer(x))
        return prep_fail_tag(x->err, PREP_EUSAGE, "MTP",
                             "no drafts without an MTP layer, and the model has none "
                             "(num_nextn_predict_layers; stitch-mtp brings it back)");
    return 0;
}

static struct kv_cache_shape shape_of(const struct run *x, size_t capacity)
{
    return (struct kv_cache_shape){mtp_layer(x), 1, capacity, x->g->kv};
}

uint64_t speculate_token_bytes(const struct run *x)
{
    return x->g->draft ? sizeof(float) * (uint64_t)wide(x) : 0;
}

uint64_t speculate_text_bytes(const struct run *x, size_t capacity)
{
    const struct kv_cache_shape shape = shape_of(x, capacity);
    return x->g->draft ? kv_cache_bytes(x->r, &shape) : 0;
}

int speculate_start(struct run *x, struct text *t, size_t capacity)
{
    struct generate_memory *m = t->keys;
    const struct kv_cache_shape shape = shape_of(x, capacity);
    if (!x->g->draft)
        return 0;
    if (!m->draft_cache) {
        m->drafted = 0;
        return kv_cache_new(&m->draft_cache, x->r, &shape, x->err);
    }
    return m->draft_cache->shape.capacity < capacity
               ? kv_cache_grow(m->draft_cache, capacity, x->err)
               : 0;
}

/* Room for n rows of z; much more than that is given back. */
static int reserve_z(struct run *x, size_t n)
{
    const uint64_t each = speculate_token_bytes(x);
    if (x->n_z >= n && x->n_z / 4 <= n)
        return 0;
    speculate_close(x);
    if (runtime_reserve(x->r, n * each, 1, 1, x->err))
        return -1;
    x->z = malloc(n * each);
    if (!x->z) {
        runtime_unreserve(x->r, n * each);
        return prep_fail(x->err, PREP_ENOMEM, "no memory for %zu hidden states", n);
    }
    x->n_z = n;
    return 0;
}

void speculate_close(struct run *x)
{
    runtime_unreserve(x->r, x->n_z * speculate_token_bytes(x));
    free(x->z);
    x->z = NULL;
    x->n_z = 0;
}

/* Rows of a text that are known now. */
static size_t n_known(const struct text *t)
{
    return t->result->end == GENERATE_RUNNING ? t->n_feed + t->n_true : 0;
}

int speculate_keep(struct run *x, const struct batch *b)
{
    float *z;
    if (!x->g->draft)
        return 0;
    if (reserve_z(x, batch_n_tokens(b)))
        return -1;
    z = x->z;
    for (size_t i = 0; i < x->n_live; i++) {
        const struct text *t = &x->texts[i];
        const size_t n = n_known(t);
        if (n && runtime_final(x->r, -1, b, t->first, n, z, x->err))
            return -1;
        z += n * wide(x);
    }
    return 0;
}

/* How many tokens to guess: none that could not be part of the text. */
static size_t n_wanted(const struct run *x, const struct text *t)
{
    const size_t left = t->limit - t->result->tokens.n;
    const size_t most = (size_t)x->g->draft;
    if (t->result->end != GENERATE_RUNNING || t->keys->ids.n > t->keys->fed + 1)
        return 0;
    return left - 1 < most ? left - 1 : most;
}

static int forward(struct run *x, size_t n, const float *z, struct batch **b)
{
    return batch_new(b, x->r, x->sequences, n, x->err) ||
                   runtime_mtp_embed(x->r, mtp_layer(x), *b, z, NULL, x->err) ||
                   runtime_layer(x->r, mtp_layer(x), *b, NULL, x->err)
               ? -1
               : 0;
}

/* The likeliest tokens of the listed rows: one more guess of each owner. z' of these rows goes to
 * x->z, for the next guess. */
static int guess(struct run *x, const struct batch *b, size_t n)
{
    const size_t vocab = (size_t)x->r->config->vocab_size;
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < x->n_tile ? n - i : x->n_tile;
        if (generate_rows(x, mtp_layer(x), b, x->rows + i, m) ||
            runtime_logits(x->r, x->tile, m, x->logits, NULL, x->err))
            return -1;
        memcpy(x->z + i * wide(x), x->tile, m * wide(x) * sizeof *x->z);
        for (size_t k = 0; k < m; k++) {
            struct text *t = x->owners[i + k];
            t->draft[t->n_draft++] = (uint32_t)greedy_pick(x->logits + k * vocab, vocab);
        }
    }
    return 0;
}

/* What is known now goes through the layer; the last row of each text that wants it gives the first
 * guess. *n: how many texts. */
static int see_known(struct run *x, size_t *n)
{
    struct batch *b = NULL;
    size_t n_sequences = 0, first = 0;
    *n = 0;
    for (size_t i = 0; i < x->n_live; i++) {
        struct text *t = &x->texts[i];
        struct generate_memory *m = t->keys;
        const size_t known = n_known(t), from = m->fed - known;
        t->n_draft = 0;
        if (known == 0)
            continue;
        x->sequences[n_sequences++] =
            (struct sequence){m->ids.ids + from + 1, known, from, m->draft_cache};
        first += known;
        m->drafted = m->fed;
        if (n_wanted(x, t) == 0)
            continue;
        x->owners[*n] = t;
        x->rows[(*n)++] = first - 1;
    }
    const int rc =
        n_sequences && (forward(x, n_sequences, x->z, &b) || (*n && guess(x, b, *n))) ? -1 : 0;
    batch_free(b);
    return rc;
}

/* One more guess of those that want it; z' of the guess before lies in the order of owners. */
static int see_guesses(struct run *x, size_t *n)
{
    struct batch *b = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        struct text *t = x->owners[i];
        if (n_wanted(x, t) <= t->n_draft)
            continue;
        memmove(x->z + kept * wide(x), x->z + i * wide(x), wide(x) * sizeof *x->z);
        x->owners[kept] = t;
        x->rows[kept] = kept;
        x->sequences[kept++] = (struct sequence){
            &t->draft[t->n_draft - 1], 1, t->keys->fed + t->n_draft - 1, t->keys->draft_cache};
    }
    *n = kept;
    const int rc = kept && (forward(x, kept, x->z, &b) || guess(x, b, kept)) ? -1 : 0;
    batch_free(b);
    return rc;
}

int speculate_draft(struct run *x)
{
    size_t n;
    if (!x->g->draft)
        return 0;
    int rc = see_known(x, &n);
    while (!rc && n)
        rc = see_guesses(x, &n);
    return rc;
}
