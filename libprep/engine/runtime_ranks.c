/* SPDX-License-Identifier: MIT */
/*
 * A model split over ranks. What ranks exchange is rows of hidden states, twice per layer, and
 * columns of logits. Before each exchange they meet, so that a rank that has failed is not waited
 * for: its next meeting is the one at the end of the command.
 */
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/engine/runtime_ranks.h"
#include "libprep/model/shard.h"

/* Logits are exchanged in pieces of about this size. */
enum { EXCHANGE_BYTES = 16 << 20 };

int runtime_meet(const struct runtime *r, struct prep_error *err)
{
    return r->ranks ? ranks_agree(r->ranks, 0, err) : 0;
}

int runtime_least(const struct runtime *r, uint64_t *x, struct prep_error *err)
{
    return r->ranks ? ranks_least(r->ranks, x, err) : 0;
}

/* The largest that any rank has. */
static int most_of(const struct runtime *r, uint64_t *x, struct prep_error *err)
{
    *x = ~*x;
    const int rc = runtime_least(r, x, err);
    *x = ~*x;
    return rc;
}

int runtime_agree_memory(struct runtime *r, int *n_threads, struct prep_error *err)
{
    uint64_t threads = (uint64_t)*n_threads;
    if (runtime_least(r, &r->mem, err) || most_of(r, &r->weights_total, err) ||
        most_of(r, &r->weights_floor, err) || most_of(r, &threads, err))
        return -1;
    *n_threads = (int)threads;
    return 0;
}

static uint64_t share_of_vocab(const struct runtime *r)
{
    const struct shard first = {0, r->shard.n};
    return shard_range((uint64_t)r->config->vocab_size, &first).n;
}

static int make_exchange(struct runtime *r, struct prep_error *err)
{
    const uint64_t row = share_of_vocab(r) * (uint64_t)(r->shard.n + 1);
    r->exchange_rows = (size_t)(EXCHANGE_BYTES / sizeof(float) / row);
    r->exchange_rows += r->exchange_rows == 0;
    r->exchange = arena_calloc(&r->arena, r->exchange_rows, (size_t)row * sizeof(float), err);
    r->exchange_bytes = r->exchange_rows * row * sizeof(float);
    return r->exchange ? 0 : -1;
}

int runtime_split(struct runtime *r, struct ranks *ranks, struct prep_error *err)
{
    const struct config *c = r->config;
    if (ranks && ranks->size > 1) {
        r->ranks = ranks;
        r->shard = (struct shard){ranks->rank, ranks->size};
        if (shard_check(c, r->shard.n, err))
            return prep_note(err, "%s", c->name);
    }
    const int n = r->shard.n > 1 ? r->shard.n : 1;
    r->widths = (struct runtime_widths){
        .heads = (size_t)(c->num_attention_heads / n),
        .dense = (size_t)(c->intermediate_size / n),
        .expert = (size_t)(c->moe_intermediate_size / n),
        .shared = (size_t)(c->moe_intermediate_size / n * c->n_shared_experts),
        .vocab = shard_range((uint64_t)c->vocab_size, &r->shard),
    };
    return runtime_is_split(r) ? make_exchange(r, err) : 0;
}

/* What must be the same on all ranks: the model, and how it is run. */

static void hash_u64(struct sha256 *h, uint64_t x)
{
    unsigned char bytes[8];
    store_le64(bytes, x);
    sha256_update(h, bytes, sizeof bytes);
}

static void hash_config(struct sha256 *h, const struct config *c)
{
    const int64_t numbers[] = {c->vocab_size,
                               c->hidden_size,
                               c->intermediate_size,
                               c->moe_intermediate_size,
                               c->num_hidden_layers,
                               c->n_layers,
                               c->num_attention_heads,
                               c->q_lora_rank,
                               c->kv_lora_rank,
                               c->qk_nope_head_dim,
                               c->qk_rope_head_dim,
                               c->v_head_dim,
                               c->rope_interleave,
                               c->indexer_rope_interleave,
                               c->index_n_heads,
                               c->index_head_dim,
                               c->index_topk,
                               c->n_shared_experts,
                               c->num_experts_per_tok,
                               c->n_group,
                               c->topk_group,
                               c->norm_topk_prob,
                               c->max_position_embeddings};
    const double reals[] = {c->rms_norm_eps, c->rope_theta, c->routed_scaling_factor};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hash_u64(h, (uint64_t)numbers[i]);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        uint64_t bits;
        memcpy(&bits, &reals[i], sizeof bits);
        hash_u64(h, bits);
    }
}

static void hash_tensors(struct sha256 *h, const struct source *s)
{
    for (size_t i = 0; i < source_count(s); i++) {
        const struct tensor_info *t = source_info(s, i);
        sha256_update(h, t->name, strlen(t->name) + 1);
        hash_u64(h, t->dtype | (uint64_t)t->ggml << 16);
        hash_u64(h, t->bytes);
        for (int k = 0; k < t->n_dims; k++)
            hash_u64(h, t->shape[k]);
    }
}

void runtime_fingerprint(const struct runtime *r, unsigned char digest[SHA256_BYTES])
{
    struct sha256 h;
    uint32_t eps;
    memcpy(&eps, &r->latent_eps, sizeof eps);
    sha256_init(&h);
    hash_config(&h, r->config);
    hash_u64(&h, (uint64_t)r->n_layers << 32 | eps);
    for (int i = 0; i < r->n_layers; i++)
        hash_u64(&h, (uint64_t)r->layers[i].n_experts << 8 | (uint64_t)r->layers[i].full << 1 |
                         (uint64_t)r->layers[i].dense);
    hash_tensors(&h, &r->source);
    sha256_final(&h, digest);
}

int runtime_compare_ranks(const struct runtime *r, struct prep_error *err)
{
    unsigned char digest[SHA256_BYTES];
    if (!r->ranks)
        return 0;
    runtime_fingerprint(r, digest);
    return ranks_same(r->ranks, digest, sizeof digest,
                      "has another model than rank 0, or runs it in another way; all ranks must "
                      "see the same files and be started with the same options",
                      err);
}

/* Sums over ranks */

static int sum_partial(struct runtime *r, struct batch *b, struct prep_error *err)
{
    const size_t n = b->n_tokens * (size_t)r->config->hidden_size;
    return runtime_meet(r, err) || r->ops.sum(r->ops.self, b->partial, n, err) ? -1 : 0;
}

/* What was summed is finite, so times 0 it is 0. */
static int clear_partial(struct runtime *r, struct batch *b, struct prep_error *err)
{
    const size_t n = b->n_tokens * (size_t)r->config->hidden_size;
    return r->ops.scale(r->ops.self, b->partial, 0, n, err);
}

int runtime_join(struct runtime *r, int layer, struct batch *b, const char *what,
                 struct prep_error *err)
{
    const struct place at = {b, layer, 0, NULL};
    size_t bad = OPS_ALL_FINITE;
    if (!runtime_is_split(r))
        return 0;
    return sum_partial(r, b, err) ||
                   r->ops.add(r->ops.self, b->hidden, b->partial, b->n_tokens,
                              (size_t)r->config->hidden_size, &bad, err) ||
                   runtime_check(&at, what, bad, err) || clear_partial(r, b, err)
               ? -1
               : 0;
}

/* The rows of other ranks are zeros here, so each sum is one row. */
int runtime_share_hidden(struct runtime *r, struct batch *b, struct prep_error *err)
{
    const size_t wide = (size_t)r->config->hidden_size;
    if (!runtime_is_split(r))
        return 0;
    return sum_partial(r, b, err) ||
                   r->ops.copy(r->ops.self, b->hidden, wide, b->partial, wide, b->n_tokens, wide,
                               err) ||
                   clear_partial(r, b, err)
               ? -1
               : 0;
}

/* Logits */

/* Some rows: mine into the exchange, everybody's out of it. */
static int share_rows(struct runtime *r, float *logits, size_t n, struct prep_error *err)
{
    const size_t vocab = (size_t)r->config->vocab_size, share = (size_t)share_of_vocab(r);
    float *const mine = r->exchange, *const all = mine + r->exchange_rows * share;
    const struct shard_range own = r->widths.vocab;
    for (size_t i = 0; i < n; i++)
        memcpy(mine + i * share, logits + i * vocab + own.first, own.n * sizeof *mine);
    if (ranks_all_gather(r->ranks, all, mine, n * share * sizeof *mine, err))
        return -1;
    for (int k = 0; k < r->shard.n; k++) {
        const struct shard other = {k, r->shard.n};
        const struct shard_range cols = shard_range(vocab, &other);
        const float *from = all + (size_t)k * n * share;
        for (size_t i = 0; i < n && k != r->shard.rank; i++)
            memcpy(logits + i * vocab + cols.first, from + i * share, cols.n * sizeof *logits);
    }
    return 0;
}

int runtime_share_logits(struct runtime *r, float *logits, size_t n, struct prep_error *err)
{
    const size_t vocab = (size_t)r->config->vocab_size;
    if (!runtime_is_split(r))
        return 0;
    if (runtime_meet(r, err))
        return -1;
    for (size_t i = 0; i < n; i += r->exchange_rows) {
        const size_t k = n - i < r->exchange_rows ? n - i : r->exchange_rows;
        if (share_rows(r, logits + i * vocab, k, err))
            return -1;
    }
    return 0;
}
