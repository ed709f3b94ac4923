/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_sites.h"

#include <string.h>

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void widths(size_t cols[N_SITES], const struct config *c)
{
    const size_t shared = (size_t)c->moe_intermediate_size * (size_t)c->n_shared_experts;
    cols[SITE_ATTENTION] = cols[SITE_MLP] = (size_t)c->hidden_size;
    cols[SITE_QUERY] = (size_t)c->q_lora_rank;
    cols[SITE_LATENT] = (size_t)c->kv_lora_rank;
    cols[SITE_HEADS] = (size_t)c->num_attention_heads * (size_t)c->v_head_dim;
    cols[SITE_DOWN] = larger((size_t)c->intermediate_size, shared);
    cols[SITE_EXPERT_DOWN] = (size_t)c->moe_intermediate_size;
}

uint64_t judge_sites_memory(const struct config *c, size_t n_tokens)
{
    size_t cols[N_SITES], k = (size_t)c->num_experts_per_tok, all = 0;
    widths(cols, c);
    for (int i = 0; i < N_SITES; i++)
        all += cols[i] * (i == SITE_EXPERT_DOWN ? k : 1);
    all += larger(cols[SITE_MLP], cols[SITE_EXPERT_DOWN]) + 3 * k;
    return (uint64_t)all * sizeof(float) * n_tokens;
}

static enum judge_site site_of(enum part part, int expert)
{
    switch (part) {
    case PART_Q_B:
        return SITE_QUERY;
    case PART_KV_B:
        return SITE_LATENT;
    case PART_O:
        return SITE_HEADS;
    case PART_ROUTER:
    case PART_GATE:
        return SITE_MLP;
    case PART_DOWN:
        return expert < 0 ? SITE_DOWN : SITE_EXPERT_DOWN;
    case PART_SHARED_DOWN:
        return SITE_DOWN;
    default:
        return SITE_ATTENTION;
    }
}

/* Consecutive rows of one expert: who they are for. */
static int add_expert(struct judge_sites *s, const struct tap_rows *r, struct prep_error *err)
{
    const size_t room = s->n_tokens * s->per_token;
    size_t *n = r->part == PART_GATE ? &s->n_gate : &s->rows[SITE_EXPERT_DOWN];
    uint32_t *experts = r->part == PART_GATE ? s->gate_experts : s->down_experts;
    if ((size_t)r->expert >= s->n_experts || r->n > room - *n || !r->tokens)
        return prep_fail(err, PREP_EBUG, "expert %d: %zu more rows than were chosen", r->expert,
                         r->n);
    for (size_t i = 0; i < r->n; i++) {
        experts[*n + i] = (uint32_t)r->expert;
        if (r->part == PART_GATE)
            s->gate_tokens[*n + i] = r->tokens[i];
    }
    *n += r->n;
    return 0;
}

static void copy_rows(float *to, const struct tap_rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        memcpy(to + i * r->cols, r->x + i * r->ld, r->cols * sizeof *to);
}

static int see(void *arg, const struct tap_rows *r, struct prep_error *err)
{
    struct judge_sites *s = arg;
    const enum judge_site site = site_of(r->part, r->expert);
    if (r->layer < 0 || r->layer >= s->n_layers)
        return 0;
    if (r->cols > s->cols[site])
        return prep_fail(err, PREP_EBUG, "a linear has %zu inputs, want at most %zu", r->cols,
                         s->cols[site]);
    if (r->expert >= 0) {
        const size_t at = s->rows[SITE_EXPERT_DOWN];
        if (add_expert(s, r, err))
            return -1;
        if (site == SITE_EXPERT_DOWN)
            copy_rows(s->x[site] + at * r->cols, r);
        return 0;
    }
    if (r->tokens || r->first_token != s->rows[site] || r->n > s->n_tokens - s->rows[site])
        return prep_fail(err, PREP_EBUG, "tokens %zu + %zu out of order, %zu of %zu seen",
                         r->first_token, r->n, s->rows[site], s->n_tokens);
    copy_rows(s->x[site] + s->rows[site] * r->cols, r);
    s->rows[site] += r->n;
    s->width[site] = r->cols;
    return 0;
}

int judge_sites_init(struct judge_sites *s, const struct config *c, size_t n_tokens,
                     struct arena *arena, struct prep_error *err)
{
    *s = (struct judge_sites){.n_tokens = n_tokens,
                              .n_experts = (size_t)c->n_routed_experts,
                              .per_token = (size_t)c->num_experts_per_tok,
                              .n_layers = c->num_hidden_layers};
    widths(s->cols, c);
    const size_t n = n_tokens * s->per_token;
    for (int i = 0; i < N_SITES; i++) {
        s->x[i] = arena_alloc(
            arena, (i == SITE_EXPERT_DOWN ? n : n_tokens) * s->cols[i] * sizeof *s->x[i], err);
        if (!s->x[i])
            return -1;
    }
    s->gate_tokens = arena_alloc(arena, n * sizeof *s->gate_tokens, err);
    s->gate_experts = arena_alloc(arena, n * sizeof *s->gate_experts, err);
    s->down_experts = arena_alloc(arena, n * sizeof *s->down_experts, err);
    s->gathered = arena_alloc(
        arena,
        n_tokens * larger(s->cols[SITE_MLP], s->cols[SITE_EXPERT_DOWN]) * sizeof *s->gathered, err);
    s->taps = (struct taps){.arg = s, .input = see};
    return s->gate_tokens && s->gate_experts && s->down_experts && s->gathered ? 0 : -1;
}

void judge_sites_reset(struct judge_sites *s)
{
    memset(s->rows, 0, sizeof s->rows);
    s->n_gate = 0;
}

/* Rows of one expert: of the layer's input by token, or of its own inner vectors. */
static int gather(struct judge_rows *out, struct judge_sites *s, enum judge_site site, int expert,
                  struct prep_error *err)
{
    const int down = site == SITE_EXPERT_DOWN;
    const size_t n = down ? s->rows[site] : s->n_gate, cols = s->cols[site];
    const uint32_t *experts = down ? s->down_experts : s->gate_experts;
    *out = (struct judge_rows){.x = s->gathered, .cols = cols};
    for (size_t i = 0; i < n; i++) {
        if (experts[i] != (uint32_t)expert)
            continue;
        const size_t row = down ? i : s->gate_tokens[i];
        if (out->n == s->n_tokens || (!down && row >= s->rows[site]))
            return prep_fail(err, PREP_EBUG, "expert %d: row %zu is for no token", expert, row);
        memcpy(s->gathered + out->n++ * cols, s->x[site] + row * cols, cols * sizeof *s->gathered);
    }
    return 0;
}

int judge_sites_rows(struct judge_rows *rows, struct judge_sites *s, const struct linear *l,
                     struct prep_error *err)
{
    const enum judge_site site = site_of(tap_site(l->part), l->expert);
    if (l->expert >= 0) {
        if (gather(rows, s, site, l->expert, err))
            return -1;
    } else {
        *rows = (struct judge_rows){s->x[site], s->rows[site], s->width[site]};
    }
    if (rows->cols != l->in && rows->n)
        return prep_fail(err, PREP_EBUG, "%s: has %llu inputs, its site %zu", l->name,
                         (unsigned long long)l->in, rows->cols);
    return 0;
}
