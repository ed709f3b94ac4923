/* SPDX-License-Identifier: MIT */
/*
 * The MLP of a chunk of tokens: dense, or routed experts and a shared one.
 *
 * Experts run one at a time on the tokens that chose them. What they return waits in a slot per
 * token and rank; slots are summed in the order of rank, so that the numbering of experts has no
 * part in the result.
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/runtime_ranks.h"

/* gate, up and down of one MLP. */
struct mlp {
    struct runtime *r;
    uint32_t gate, up, down;
    size_t hidden, width;
    float *g, *u; /* [n, width] */
    const struct taps *taps;
    const struct batch *b;
    struct tap_rows shown; /* layer, expert, gates */
    enum part input, inner;
    int show_input;
};

/* y = MLP(x) for rows that belong to the tokens of `at`. */
static int run_mlp(const struct mlp *m, float *y, const float *x, size_t n, const struct place *at,
                   struct prep_error *err)
{
    const struct apply gate = {m->g, x, n, m->width, m->hidden, *at};
    const struct apply up = {m->u, x, n, m->width, m->hidden, *at};
    const struct apply down = {y, m->g, n, m->hidden, m->width, *at};
    struct tap_rows rows = m->shown;
    rows.part = m->input;
    rows.x = x;
    rows.n = n;
    rows.cols = rows.ld = m->hidden;
    rows.tokens = at->tokens;
    rows.first_token = at->first;
    if ((m->taps && m->show_input && runtime_tap(m->taps, m->b, &rows, err)) ||
        runtime_apply(m->r, m->gate, &gate, err) || runtime_apply(m->r, m->up, &up, err) ||
        m->r->ops.silu_mul(m->r->ops.self, m->g, m->g, m->u, n * m->width, err))
        return -1;
    rows.part = m->inner;
    rows.x = m->g;
    rows.cols = rows.ld = m->width;
    return (m->taps && runtime_tap(m->taps, m->b, &rows, err)) ||
                   runtime_apply(m->r, m->down, &down, err)
               ? -1
               : 0;
}

static int post_norm(struct runtime *r, int layer, const struct batch *b, const struct chunk *chunk,
                     float *y, struct prep_error *err)
{
    const size_t hidden = (size_t)r->config->hidden_size;
    const struct apply_norm a = {y,
                                 b->hidden + chunk->first * hidden,
                                 chunk->n,
                                 hidden,
                                 hidden,
                                 hidden,
                                 (float)r->config->rms_norm_eps,
                                 {b, layer, chunk->first, NULL}};
    return runtime_apply_norm(r, r->layers[layer].part[PART_POST_NORM], WEIGHT_NONE, &a, err);
}

int runtime_mlp(struct runtime *r, int layer, struct batch *b, const struct chunk *chunk,
                const struct taps *taps, struct prep_error *err)
{
    const uint32_t *ids = r->layers[layer].part;
    const size_t hidden = (size_t)r->config->hidden_size, width = r->widths.dense;
    const size_t most = chunk->n < RUNTIME_PIECE ? chunk->n : RUNTIME_PIECE;
    float *x = r->scratch, *g = x + chunk->n * hidden, *u = g + most * width, *y = u + most * width;
    const struct mlp m = {r,
                          ids[PART_GATE],
                          ids[PART_UP],
                          ids[PART_DOWN],
                          hidden,
                          width,
                          g,
                          u,
                          taps,
                          b,
                          {.layer = layer, .expert = -1},
                          PART_GATE,
                          PART_DOWN,
                          1};
    if (post_norm(r, layer, b, chunk, x, err))
        return -1;
    for (size_t i = 0; i < chunk->n; i += most) {
        const size_t n = chunk->n - i < most ? chunk->n - i : most;
        const struct place at = {b, layer, chunk->first + i, NULL};
        size_t bad = OPS_ALL_FINITE;
        if (runtime_is_split(r)) {
            if (run_mlp(&m, b->partial + at.first * hidden, x + i * hidden, n, &at, err))
                return -1;
            continue;
        }
        if (run_mlp(&m, y, x + i * hidden, n, &at, err) ||
            r->ops.add(r->ops.self, b->hidden + at.first * hidden, y, n, hidden, &bad, err) ||
            runtime_check(&at, "MLP, added to the hidden state,", bad, err))
            return -1;
    }
    return 0;
}

/* A MoE layer */

struct moe {
    struct runtime *r;
    const struct runtime_layer_ids *l;
    int layer;
    struct batch *b;
    const struct chunk *chunk;
    const struct taps *taps;
    size_t hidden, width, shared_width, k;
    float *x, *z, *slots, *shared, *gathered, *g, *u, *y;
    /* Which rows of the chunk go to an expert, ascending, and to which slot their result. */
    uint32_t *begin;  /* [n_experts + 1] into the lists */
    uint32_t *rows;   /* of the chunk */
    uint32_t *slot;   /* row * k + rank */
    uint32_t *tokens; /* of the batch */
    float *gates;
    struct prep_error *err;
};

static void moe_lay_out(struct moe *m)
{
    const size_t n = m->chunk->n, piece = n < RUNTIME_PIECE ? n : RUNTIME_PIECE;
    const size_t wide = m->width > m->shared_width ? m->width : m->shared_width;
    m->x = m->r->scratch;
    m->shared = m->x + n * m->hidden;
    m->slots = m->shared + n * m->hidden;
    m->z = m->slots + n * m->k * m->hidden;
    m->gathered = m->z + n * (size_t)m->l->n_experts;
    m->y = m->gathered + piece * m->hidden;
    m->g = m->y + piece * m->hidden;
    m->u = m->g + piece * wide;
}

static int give_gates(const struct moe *m, size_t first, size_t n, int forced,
                      const struct expert_set *among)
{
    const struct config *c = m->r->config;
    const uint32_t id = m->l->router_bias;
    const struct weight *bias;
    if (weights_get(m->r->weights, id, &bias, m->err))
        return -1;
    const struct ops_route p = {
        .experts = m->b->experts + first * m->k,
        .gates = m->b->gates + first * m->k,
        .z = m->z + (first - m->chunk->first) * (size_t)m->l->n_experts,
        .bias = bias->values,
        .n = n,
        .n_experts = (size_t)m->l->n_experts,
        .k = m->k,
        .n_group = (size_t)c->n_group,
        .topk_group = (size_t)c->topk_group,
        .normalise = c->norm_topk_prob,
        .scale = (float)c->routed_scaling_factor,
        .forced = forced,
        .among = among ? among->experts : NULL,
        .n_among = among ? among->n : 0,
    };
    int rc = m->r->ops.route(m->r->ops.self, &p, m->err);
    weights_put(m->r->weights, id);
    return rc;
}

/* Tokens [first, first + n), which begin `at` tokens into sequence s. */
static int take_experts(const struct moe *m, size_t s, size_t first, size_t n, size_t at)
{
    const struct forcing *f = &m->b->forcing[s];
    if (!f->by->routed || f->by->runtime->config->num_experts_per_tok != (int)m->k)
        return prep_fail(m->err, PREP_EUSAGE,
                         "layer %d: choices of experts cannot be taken from a layer without a "
                         "router, or with another number per token",
                         m->layer);
    const int32_t *from = f->by->experts + (f->by->first[f->sequence] + at) * m->k;
    for (size_t i = 0; i < n * m->k; i++)
        if (from[i] < 0 || from[i] >= m->l->n_experts)
            return prep_fail(m->err, PREP_EUSAGE, "layer %d: forced to expert %d, the model has %d",
                             m->layer, (int)from[i], m->l->n_experts);
    memcpy(m->b->experts + first * m->k, from, n * m->k * sizeof *from);
    return give_gates(m, first, n, 1, NULL);
}

/* A sequence that is forced or restricted is routed again. */
static int lead_sequence(const struct moe *m, size_t s, size_t first, size_t n)
{
    const struct batch *b = m->b;
    if (b->forcing[s].by)
        return take_experts(m, s, first, n, first - b->first[s]);
    return b->sets[s] && b->sets[s][m->layer].experts
               ? give_gates(m, first, n, 0, &b->sets[s][m->layer])
               : 0;
}

static int route(const struct moe *m)
{
    struct batch *b = m->b;
    const size_t begin = m->chunk->first, end = begin + m->chunk->n;
    const size_t n_experts = (size_t)m->l->n_experts;
    const struct apply a = {m->z,      m->x,      m->chunk->n,
                            n_experts, m->hidden, {b, m->layer, begin, NULL}};
    if (runtime_apply(m->r, m->l->part[PART_ROUTER], &a, m->err) ||
        give_gates(m, begin, m->chunk->n, 0, NULL))
        return -1;
    for (size_t s = 0; s < b->n_sequences; s++) {
        const size_t first = b->first[s] > begin ? b->first[s] : begin;
        const size_t last = b->first[s + 1] < end ? b->first[s + 1] : end;
        if (first < last && lead_sequence(m, s, first, last - first))
            return -1;
    }
    const size_t seen = b->n_tapped < begin ? 0 : b->n_tapped - begin;
    const struct tap_router t = {m->layer,
                                 m->z,
                                 b->experts + begin * m->k,
                                 b->gates + begin * m->k,
                                 seen < m->chunk->n ? seen : m->chunk->n,
                                 n_experts,
                                 m->k,
                                 begin};
    return m->taps && m->taps->router && t.n ? m->taps->router(m->taps->arg, &t, m->err) : 0;
}

/* Tokens by expert: a counting sort, which keeps them in order. */
static int sort_tokens(struct moe *m)
{
    const size_t n = m->chunk->n * m->k, n_experts = (size_t)m->l->n_experts;
    const int32_t *experts = m->b->experts + m->chunk->first * m->k;
    const float *gates = m->b->gates + m->chunk->first * m->k;
    uint32_t *memory = calloc(n_experts + 2 + 3 * n, sizeof *memory);
    m->gates = calloc(n, sizeof *m->gates);
    m->begin = memory;
    if (!memory || !m->gates)
        return prep_fail(m->err, PREP_ENOMEM, "no memory for lists of tokens");
    m->rows = memory + n_experts + 2;
    m->slot = m->rows + n;
    m->tokens = m->slot + n;
    uint32_t *at = memory + 1; /* ends up as begin[e + 1] */
    for (size_t i = 0; i < n; i++)
        at[experts[i] + 1]++;
    for (size_t e = 0; e < n_experts; e++)
        at[e + 1] += at[e];
    for (size_t i = 0; i < n; i++) {
        const uint32_t to = at[experts[i]]++;
        m->rows[to] = (uint32_t)(i / m->k);
        m->slot[to] = (uint32_t)i;
        m->tokens[to] = (uint32_t)(m->chunk->first + i / m->k);
        m->gates[to] = gates[i];
    }
    return 0;
}

/* The shared experts, what was chosen, and then the next layer. */
static int announce(const struct moe *m)
{
    static const enum part shared[] = {PART_SHARED_GATE, PART_SHARED_UP, PART_SHARED_DOWN};
    runtime_upcoming_begin(m->r);
    for (size_t i = 0; i < 3; i++)
        if (runtime_upcoming_add(m->r, m->l->part[shared[i]], m->err))
            return -1;
    for (int e = 0; e < m->l->n_experts; e++)
        for (int i = 0; i < 3 && m->begin[e] < m->begin[e + 1]; i++)
            if (runtime_upcoming_add(m->r, m->l->experts[3 * e + i], m->err))
                return -1;
    return runtime_upcoming_next(m->r, m->layer, m->err) || runtime_upcoming_send(m->r, m->err) ? -1
                                                                                                : 0;
}

static int run_shared(const struct moe *m)
{
    const uint32_t *ids = m->l->part;
    const struct mlp mlp = {m->r,
                            ids[PART_SHARED_GATE],
                            ids[PART_SHARED_UP],
                            ids[PART_SHARED_DOWN],
                            m->hidden,
                            m->shared_width,
                            m->g,
                            m->u,
                            m->taps,
                            m->b,
                            {.layer = m->layer, .expert = -1},
                            PART_SHARED_GATE,
                            PART_SHARED_DOWN,
                            0};
    for (size_t i = 0; i < m->chunk->n && m->shared_width; i += RUNTIME_PIECE) {
        const size_t n = m->chunk->n - i < RUNTIME_PIECE ? m->chunk->n - i : RUNTIME_PIECE;
        const struct place at = {m->b, m->layer, m->chunk->first + i, NULL};
        if (run_mlp(&mlp, m->shared + i * m->hidden, m->x + i * m->hidden, n, &at, m->err))
            return -1;
    }
    return 0;
}

/* Entries [i, i + n) of the lists, all of one expert. */
static int run_expert_piece(const struct moe *m, const struct mlp *mlp, size_t i, size_t n)
{
    const struct ops *ops = &m->r->ops;
    const struct place at = {m->b, m->layer, 0, m->tokens + i};
    struct mlp piece = *mlp;
    piece.shown.gates = m->gates + i;
    struct tap_rows out = piece.shown;
    out.part = PART_DOWN;
    out.x = m->y;
    out.n = n;
    out.cols = out.ld = m->hidden;
    out.tokens = m->tokens + i;
    if (ops->gather(ops->self, m->gathered, m->x, m->rows + i, n, m->hidden, m->err) ||
        run_mlp(&piece, m->y, m->gathered, n, &at, m->err))
        return -1;
    while (out.n > 0 && out.tokens[out.n - 1] >= m->b->n_tapped)
        out.n--;
    if (m->taps && m->taps->expert_output && out.n &&
        m->taps->expert_output(m->taps->arg, &out, m->err))
        return -1;
    return ops->scatter(ops->self, m->slots, m->y, m->slot + i, n, m->hidden, m->err);
}

static int run_experts(const struct moe *m)
{
    for (int e = 0; e < m->l->n_experts; e++) {
        const uint32_t *ids = &m->l->experts[3 * e];
        const struct mlp mlp = {m->r,
                                ids[0],
                                ids[1],
                                ids[2],
                                m->hidden,
                                m->width,
                                m->g,
                                m->u,
                                m->taps,
                                m->b,
                                {.layer = m->layer, .expert = e},
                                PART_GATE,
                                PART_DOWN,
                                1};
        for (size_t i = m->begin[e], end = m->begin[e + 1]; i < end; i += RUNTIME_PIECE)
            if (run_expert_piece(m, &mlp, i, end - i < RUNTIME_PIECE ? end - i : RUNTIME_PIECE))
                return -1;
    }
    return 0;
}

static int combine(const struct moe *m)
{
    float *h = runtime_is_split(m->r) ? m->b->partial : m->b->hidden;
    const struct ops_combine p = {
        .h = h + m->chunk->first * m->hidden,
        .slots = m->slots,
        .gates = m->b->gates + m->chunk->first * m->k,
        .shared = m->shared_width ? m->shared : NULL,
        .n = m->chunk->n,
        .k = m->k,
        .cols = m->hidden,
    };
    const struct place at = {m->b, m->layer, m->chunk->first, NULL};
    size_t bad = OPS_ALL_FINITE;
    return m->r->ops.combine(m->r->ops.self, &p, &bad, m->err) ||
                   runtime_check(&at, "sum of experts, added to the hidden state,", bad, m->err)
               ? -1
               : 0;
}

int runtime_moe(struct runtime *r, int layer, struct batch *b, const struct chunk *chunk,
                const struct taps *taps, struct prep_error *err)
{
    const struct config *c = r->config;
    struct moe m = {.r = r,
                    .l = &r->layers[layer],
                    .layer = layer,
                    .b = b,
                    .chunk = chunk,
                    .taps = taps,
                    .hidden = (size_t)c->hidden_size,
                    .width = r->widths.expert,
                    .shared_width = r->widths.shared,
                    .k = (size_t)c->num_experts_per_tok,
                    .err = err};
    moe_lay_out(&m);
    const struct tap_rows input = {.layer = layer,
                                   .expert = -1,
                                   .part = PART_ROUTER,
                                   .x = m.x,
                                   .n = chunk->n,
                                   .cols = m.hidden,
                                   .ld = m.hidden,
                                   .first_token = chunk->first};
    int rc = post_norm(r, layer, b, chunk, m.x, err) ||
             (taps && runtime_tap(taps, b, &input, err)) || route(&m) || sort_tokens(&m) ||
             announce(&m) || run_shared(&m) || run_experts(&m) || combine(&m);
    free(m.begin);
    free(m.gates);
    return rc ? -1 : 0;
}

enum part tap_site(enum part part)
{
    switch (part) {
    case PART_KV_A:
    case PART_INDEXER_WK:
    case PART_INDEXER_WEIGHTS:
        return PART_Q_A;
    case PART_INDEXER_WQ_B:
        return PART_Q_B;
    case PART_UP:
        return PART_GATE;
    case PART_SHARED_GATE:
    case PART_SHARED_UP:
        return PART_ROUTER;
    default:
        return part;
    }
}
