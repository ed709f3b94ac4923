/* SPDX-License-Identifier: MIT */
/*
 * Attention over latent keys, and the indexer that chooses them.
 *
 * The rows of a product are (token, head) pairs; its columns are the keys in ascending order of
 * position. Where a token sees everything, the keys are used where they lie, several tokens at a
 * time: columns that a row may not see get probability 0, which adds nothing to a sum (a + 0 b is a
 * for finite b, and the final sum of blocks turns -0 to 0). Where it sees a selection, the selected
 * keys are gathered first.
 */
#include <string.h>

#include "libprep/engine/cpu_crew.h"

/* Blocks of CPU_TOKENS queries of one run. */
static size_t number_blocks(struct ops_run *runs, size_t n)
{
    size_t blocks = 0;
    for (size_t i = 0; i < n; i++) {
        runs[i].first_block = blocks;
        blocks += (runs[i].n + CPU_TOKENS - 1) / CPU_TOKENS;
    }
    return blocks;
}

static const struct ops_run *run_of(const struct ops_run *runs, size_t n, size_t block)
{
    size_t low = 0;
    while (n > 1) { /* the last one that begins at or before the block */
        const size_t half = n / 2;
        if (runs[low + half].first_block <= block)
            low += half;
        n -= half;
    }
    return &runs[low];
}

struct queries {
    size_t first, n; /* rows of the call */
    size_t position; /* of the first */
    const float *keys;
};

static struct queries block_of(const struct ops_run *runs, size_t n_runs, size_t block)
{
    const struct ops_run *r = run_of(runs, n_runs, block);
    const size_t at = (block - r->first_block) * CPU_TOKENS;
    const size_t n = r->n - at < CPU_TOKENS ? r->n - at : CPU_TOKENS;
    return (struct queries){r->first + at, n, r->position + at, r->keys};
}

/* Indexer */

static int select_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct ops_select *p = arg;
    struct queries q = block_of(p->runs, p->n_runs, task);
    (void)err;
    if (q.position < p->top_k) { /* those that see no more than top_k have nothing to choose */
        const size_t skip = p->top_k - q.position < q.n ? p->top_k - q.position : q.n;
        q.first += skip, q.n -= skip, q.position += skip;
    }
    const size_t seen = q.position + q.n; /* by the last one */
    float *dots = w->floats, *scores = dots + CPU_TOKENS * p->heads * CPU_KEYS;
    for (size_t u = 0; u < seen && q.n; u += CPU_KEYS) {
        const size_t n = seen - u < CPU_KEYS ? seen - u : CPU_KEYS;
        struct matmul m = {
            .m = q.n * p->heads,
            .n = n,
            .k = p->dim,
            .a = p->iq + q.first * p->heads * p->dim,
            .lda = p->dim,
            .b = q.keys + u * p->dim,
            .ldb = p->dim,
            .c = dots,
            .ldc = CPU_KEYS,
        };
        cpu_nt(c, w, &m);
        for (size_t i = 0; i < q.n; i++)
            c->forward->index_scores(scores + i * seen + u, p->g + (q.first + i) * p->heads,
                                     dots + i * p->heads * CPU_KEYS, p->heads, CPU_KEYS, n,
                                     p->scale);
    }
    for (size_t i = 0; i < q.n; i++)
        c->forward->top_k(p->selected + (q.first + i) * p->top_k, scores + i * seen,
                          q.position + i + 1, p->top_k);
    return 0;
}

int cpu_select(void *self, const struct ops_select *p, struct prep_error *err)
{
    return cpu_run(self, number_blocks(p->runs, p->n_runs), select_task, p, NULL, err);
}

/* Attention */

/* Rows [first, first + n) of (token, head) pairs over `seen` keys, lying at `keys`. */
struct pairs {
    size_t first, n, seen;
    const float *keys;
};

/* How many of the keys a pair may see. */
static size_t sees(const struct ops_attend *p, const struct queries *q, const struct pairs *rows,
                   size_t i)
{
    const size_t token = (rows->first + i) / p->heads - q->first;
    const size_t n = q->position + token + 1;
    return n < rows->seen ? n : rows->seen;
}

static void attend_pairs(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                         const struct queries *q, const struct pairs *rows)
{
    const size_t wide = p->rank + p->rope;
    float *scores = w->floats;
    struct matmul m = {
        .m = rows->n,
        .n = rows->seen,
        .k = wide,
        .a = p->q + rows->first * wide,
        .lda = wide,
        .b = rows->keys,
        .ldb = wide,
        .c = scores,
        .ldc = rows->seen,
    };
    cpu_nt(c, w, &m);
    for (size_t i = 0; i < rows->n; i++) {
        float *s = scores + i * rows->seen;
        const size_t n = sees(p, q, rows, i);
        c->forward->softmax(s, n, p->scale);
        memset(s + n, 0, (rows->seen - n) * sizeof *s);
    }
    struct matmul v = {
        .m = rows->n,
        .n = p->rank,
        .k = rows->seen,
        .a = scores,
        .lda = rows->seen,
        .b = rows->keys,
        .ldb = wide,
        .c = p->y + rows->first * p->rank,
        .ldc = p->rank,
    };
    cpu_nn(c, w, &v);
}

/* As many pairs at a time as their scores have room for. */
static void attend_rows(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                        const struct queries *q, const struct pairs *all)
{
    const size_t fit = CPU_SCORES / all->seen, most = fit ? fit : 1;
    for (size_t i = 0; i < all->n; i += most) {
        const size_t n = all->n - i < most ? all->n - i : most;
        const struct pairs rows = {all->first + i, n, all->seen, all->keys};
        attend_pairs(c, w, p, q, &rows);
    }
}

static size_t score_room(const struct ops_cpu_shape *s, size_t longest);

static void attend_selected(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                            const struct queries *q, size_t i)
{
    const size_t wide = p->rank + p->rope, token = q->first + i;
    const uint32_t *selected = p->selected + token * p->top_k;
    float *keys = w->floats + score_room(&c->shape, c->longest);
    for (size_t k = 0; k < p->top_k; k++)
        memcpy(keys + k * wide, q->keys + selected[k] * wide, wide * sizeof *keys);
    const struct pairs rows = {token * p->heads, p->heads, p->top_k, keys};
    attend_rows(c, w, p, q, &rows);
}

static int attend_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct ops_attend *p = arg;
    const struct queries q = block_of(p->runs, p->n_runs, task);
    size_t all = q.n; /* tokens that see everything before them */
    (void)err;
    if (p->selected && q.position + q.n > p->top_k)
        all = q.position < p->top_k ? p->top_k - q.position : 0;
    if (all) {
        const struct pairs rows = {q.first * p->heads, all * p->heads, q.position + all, q.keys};
        attend_rows(c, w, p, &q, &rows);
    }
    for (size_t i = all; i < q.n; i++)
        attend_selected(c, w, p, &q, i);
    cpu_check_rows(c, w, p->y + q.first * p->heads * p->rank, p->heads * p->rank, q.first, q.n,
                   p->heads * p->rank);
    return 0;
}

int cpu_attend(void *self, const struct ops_attend *p, size_t *bad, struct prep_error *err)
{
    return cpu_run(self, number_blocks(p->runs, p->n_runs), attend_task, p, bad, err);
}

/* Work memory, in floats */

static size_t score_room(const struct ops_cpu_shape *s, size_t longest)
{
    const size_t most = CPU_TOKENS * s->heads * longest;
    if (most <= CPU_SCORES)
        return most;
    return longest > CPU_SCORES ? longest : CPU_SCORES;
}

size_t cpu_attention_floats(const struct ops_cpu_shape *s, size_t longest)
{
    const size_t chosen = s->top_k < longest ? s->top_k : longest;
    const size_t attend = score_room(s, longest) + chosen * (s->rank + s->rope);
    const size_t select = CPU_TOKENS * (s->index_heads * CPU_KEYS + longest);
    return attend > select ? attend : select;
}
