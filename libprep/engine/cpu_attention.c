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

#include "kernels/convert/convert.h"
#include "kernels/fp.h"
#include "kernels/fp8/fp8.h"
#include "kernels/load.h"
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
    const unsigned char *keys;
    enum kv_form form;
};

static struct queries block_of(const struct ops_run *runs, size_t n_runs, size_t block)
{
    const struct ops_run *r = run_of(runs, n_runs, block);
    const size_t at = (block - r->first_block) * CPU_TOKENS;
    const size_t n = r->n - at < CPU_TOKENS ? r->n - at : CPU_TOKENS;
    return (struct queries){r->first + at, n, r->position + at, r->keys, r->form};
}

/* Stored keys as B of a product: where they lie, or, in FP8, widened. */

static void widen_fp8(const struct cpu *c, float *x, const struct kv_row *row,
                      const unsigned char *from)
{
    float scales[16]; /* pieces of as many groups */
    const unsigned char *stored = from + row->n_scaled;
    const size_t most = sizeof scales / sizeof *scales * KV_GROUP;
    for (size_t i = 0, n; i < row->n_scaled; i += n) {
        n = row->n_scaled - i < most ? row->n_scaled - i : most;
        const size_t n_groups = (n + KV_GROUP - 1) / KV_GROUP;
        for (size_t g = 0; g < n_groups; g++)
            scales[g] = f32_from_bits(load_u32_at(stored, g));
        c->codec.fp8->decode_f32(x + i, from + i, n, scales, KV_GROUP);
        stored += 4 * n_groups;
    }
    c->codec.convert->bf16_to_f32(x + row->n_scaled, stored, row->n - row->n_scaled);
}

/* n keys from `first` on; those in FP8 in room, [n, row->n]. */
static void set_keys(const struct cpu *c, struct matmul *m, const struct kv_row *row,
                     const unsigned char *keys, size_t first, size_t n, float *room)
{
    const size_t bytes = kv_row_bytes(row);
    m->b = keys + first * bytes;
    m->ldb = row->n;
    m->b_type = row->form == KV_BF16 ? MATMUL_BF16 : MATMUL_F32;
    if (row->form != KV_FP8)
        return;
    for (size_t i = 0; i < n; i++)
        widen_fp8(c, room + i * row->n, row, keys + (first + i) * bytes);
    m->b = room;
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
    const struct kv_row row = {q.form, p->dim, p->dim};
    float *dots = w->floats, *scores = dots + CPU_TOKENS * p->heads * CPU_KEYS;
    float *room = scores + CPU_TOKENS * c->longest;
    for (size_t u = 0; u < seen && q.n; u += CPU_KEYS) {
        const size_t n = seen - u < CPU_KEYS ? seen - u : CPU_KEYS;
        struct matmul m = {
            .m = q.n * p->heads,
            .n = n,
            .k = p->dim,
            .a = p->iq + q.first * p->heads * p->dim,
            .lda = p->dim,
            .c = dots,
            .ldc = CPU_KEYS,
        };
        set_keys(c, &m, &row, q.keys, u, n, room);
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
    const unsigned char *keys;
    enum kv_form form;
};

/* How many of the keys a pair may see. */
static size_t sees(const struct ops_attend *p, const struct queries *q, const struct pairs *rows,
                   size_t i)
{
    const size_t token = (rows->first + i) / p->heads - q->first;
    const size_t n = q->position + token + 1;
    return n < rows->seen ? n : rows->seen;
}

/* Where a worker keeps scores, keys that were gathered or widened, and a block of the values. */
struct attend_room {
    float *scores, *keys, *part;
};

static struct attend_room room_of(const struct cpu *c, const struct cpu_worker *w);

/* Scores of the keys, a tile of them at a time: columns of a product are made one by one. */
static void score(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                  const struct pairs *rows, size_t tile)
{
    const struct attend_room room = room_of(c, w);
    const struct kv_row row = {rows->form, p->rank + p->rope, p->rank};
    for (size_t u = 0; u < rows->seen; u += tile) {
        struct matmul m = {
            .m = rows->n,
            .n = rows->seen - u < tile ? rows->seen - u : tile,
            .k = row.n,
            .a = p->q + rows->first * row.n,
            .lda = row.n,
            .c = room.scores + u,
            .ldc = rows->seen,
        };
        set_keys(c, &m, &row, rows->keys, u, m.n, room.keys);
        cpu_nt(c, w, &m);
    }
}

/* Probabilities times latents. The sum of a product runs in blocks of MATMUL_BLOCK_K that are added
 * in order; tiles of one block, added here, are the same sum. */
static void weigh(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                  const struct pairs *rows, size_t tile)
{
    const struct attend_room room = room_of(c, w);
    const struct kv_row row = {rows->form, p->rank + p->rope, p->rank};
    float *y = p->y + rows->first * p->rank;
    for (size_t u = 0; u < rows->seen; u += tile) {
        struct matmul m = {
            .m = rows->n,
            .n = p->rank,
            .k = rows->seen - u < tile ? rows->seen - u : tile,
            .a = room.scores + u,
            .lda = rows->seen,
            .c = u ? room.part : y,
            .ldc = p->rank,
        };
        set_keys(c, &m, &row, rows->keys, u, m.k, room.keys);
        cpu_nn(c, w, &m);
        if (u)
            c->forward->add(y, room.part, rows->n * p->rank);
    }
}

static void attend_pairs(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                         const struct queries *q, const struct pairs *rows)
{
    const size_t tile = rows->form == KV_FP8 ? CPU_WIDENED : rows->seen;
    score(c, w, p, rows, tile);
    for (size_t i = 0; i < rows->n; i++) {
        float *s = room_of(c, w).scores + i * rows->seen;
        const size_t n = sees(p, q, rows, i);
        c->forward->softmax(s, n, p->scale);
        memset(s + n, 0, (rows->seen - n) * sizeof *s);
    }
    weigh(c, w, p, rows, tile);
}

/* As many pairs at a time as their scores have room for. */
static void attend_rows(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                        const struct queries *q, const struct pairs *all)
{
    const size_t fit = CPU_SCORES / all->seen, room = fit ? fit : 1;
    const size_t most = all->form == KV_FP8 && room > CPU_WIDENED ? CPU_WIDENED : room;
    for (size_t i = 0; i < all->n; i += most) {
        const size_t n = all->n - i < most ? all->n - i : most;
        const struct pairs rows = {all->first + i, n, all->seen, all->keys, all->form};
        attend_pairs(c, w, p, q, &rows);
    }
}

/* The selected keys side by side; those in FP8 become F32. */
static void attend_selected(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                            const struct queries *q, size_t i)
{
    const struct kv_row row = {q->form, p->rank + p->rope, p->rank};
    const size_t bytes = kv_row_bytes(&row), token = q->first + i;
    const uint32_t *selected = p->selected + token * p->top_k;
    float *keys = room_of(c, w).keys;
    for (size_t k = 0; k < p->top_k; k++) {
        const unsigned char *from = q->keys + selected[k] * bytes;
        if (q->form == KV_FP8)
            widen_fp8(c, keys + k * row.n, &row, from);
        else
            memcpy((unsigned char *)keys + k * bytes, from, bytes);
    }
    const struct pairs rows = {token * p->heads, p->heads, p->top_k, (unsigned char *)keys,
                               q->form == KV_FP8 ? KV_F32 : q->form};
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
        const struct pairs rows = {q.first * p->heads, all * p->heads, q.position + all, q.keys,
                                   q.form};
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

/* Keys that are gathered (as many as are chosen) or widened. */
static size_t key_room(const struct ops_cpu_shape *s, size_t longest)
{
    const size_t chosen = s->top_k < longest ? s->top_k : longest;
    return (chosen > CPU_WIDENED ? chosen : CPU_WIDENED) * (s->rank + s->rope);
}

static struct attend_room room_of(const struct cpu *c, const struct cpu_worker *w)
{
    float *keys = w->floats + score_room(&c->shape, c->longest);
    return (struct attend_room){w->floats, keys, keys + key_room(&c->shape, c->longest)};
}

size_t cpu_attention_floats(const struct ops_cpu_shape *s, size_t longest)
{
    const size_t part = CPU_WIDENED * s->rank;
    const size_t attend = score_room(s, longest) + key_room(s, longest) + part;
    const size_t select =
        CPU_TOKENS * (s->index_heads * CPU_KEYS + longest) + CPU_KEYS * s->index_dim;
    return attend > select ? attend : select;
}
