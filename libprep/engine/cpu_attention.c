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
    size_t head, n_heads; /* of attention: some of them */
};

static struct queries block_of(const struct ops_run *runs, size_t n_runs, size_t block)
{
    const struct ops_run *r = run_of(runs, n_runs, block);
    const size_t at = (block - r->first_block) * CPU_TOKENS;
    const size_t n = r->n - at < CPU_TOKENS ? r->n - at : CPU_TOKENS;
    return (struct queries){r->first + at, n, r->position + at, r->keys, r->form, 0, 0};
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

/* Queries of a block that have something to choose, and the scores of the keys they see. */
struct choosing {
    const struct ops_select *p;
    struct queries q;
    size_t seen;   /* by the last one */
    float *scores; /* [q.n, seen] */
};

static float *scores_of(const struct cpu_worker *w, const struct ops_select *p)
{
    return w->floats + CPU_TOKENS * p->heads * CPU_KEYS;
}

static struct choosing choosing_of(const struct ops_select *p, size_t block, struct cpu_worker *w)
{
    struct queries q = block_of(p->runs, p->n_runs, block);
    if (q.position < p->top_k) { /* those that see no more than top_k have nothing to choose */
        const size_t skip = p->top_k - q.position < q.n ? p->top_k - q.position : q.n;
        q.first += skip, q.n -= skip, q.position += skip;
    }
    return (struct choosing){p, q, q.position + q.n, scores_of(w, p)};
}

/* Scores of a tile of keys. */
static void score_keys(struct cpu *c, struct cpu_worker *w, const struct choosing *s, size_t tile)
{
    const struct ops_select *p = s->p;
    const struct kv_row row = {s->q.form, p->dim, p->dim};
    const size_t u = tile * CPU_KEYS, n = s->seen - u < CPU_KEYS ? s->seen - u : CPU_KEYS;
    float *dots = w->floats, *room = scores_of(w, p) + CPU_TOKENS * c->longest;
    struct matmul m = {
        .m = s->q.n * p->heads,
        .n = n,
        .k = p->dim,
        .a = p->iq + s->q.first * p->heads * p->dim,
        .lda = p->dim,
        .c = dots,
        .ldc = CPU_KEYS,
    };
    set_keys(c, &m, &row, s->q.keys, u, n, room);
    cpu_nt(c, w, &m);
    for (size_t i = 0; i < s->q.n; i++)
        c->forward->index_scores(s->scores + i * s->seen + u, p->g + (s->q.first + i) * p->heads,
                                 dots + i * p->heads * CPU_KEYS, p->heads, CPU_KEYS, n, p->scale);
}

static void choose_keys(const struct cpu *c, const struct choosing *s)
{
    const struct ops_select *p = s->p;
    for (size_t i = 0; i < s->q.n; i++)
        c->forward->top_k(p->selected + (s->q.first + i) * p->top_k, s->scores + i * s->seen,
                          s->q.position + i + 1, p->top_k);
}

static size_t n_key_tiles(const struct choosing *s)
{
    return s->q.n ? (s->seen + CPU_KEYS - 1) / CPU_KEYS : 0;
}

static int select_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct choosing s = choosing_of(arg, task, w);
    (void)err;
    for (size_t tile = 0; tile < n_key_tiles(&s); tile++)
        score_keys(c, w, &s, tile);
    choose_keys(c, &s);
    return 0;
}

static int score_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                      struct prep_error *err)
{
    (void)err;
    score_keys(c, w, arg, task);
    return 0;
}

/* Fewer blocks than threads, as in decoding: all threads score the keys of one block, into the
 * first worker's memory. */
static int select_together(struct cpu *c, const struct ops_select *p, size_t n_blocks,
                           struct prep_error *err)
{
    for (size_t block = 0; block < n_blocks; block++) {
        const struct choosing s = choosing_of(p, block, &c->workers[0]);
        if (cpu_run(c, n_key_tiles(&s), score_task, &s, NULL, err))
            return -1;
        choose_keys(c, &s);
    }
    return 0;
}

int cpu_select(void *self, const struct ops_select *p, struct prep_error *err)
{
    struct cpu *c = self;
    const size_t n_blocks = number_blocks(p->runs, p->n_runs);
    size_t work = 0;
    for (size_t i = 0; i < p->n_runs; i++)
        work += p->runs[i].n * (p->runs[i].position + p->runs[i].n) * p->heads * p->dim;
    if (n_blocks < (size_t)c->n_threads && work > CPU_ALONE)
        return select_together(c, p, n_blocks, err);
    return cpu_run(c, n_blocks, select_task, p, NULL, err);
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
    const struct pairs rows = {token * p->heads + q->head, q->n_heads, p->top_k,
                               (unsigned char *)keys, q->form == KV_FP8 ? KV_F32 : q->form};
    attend_rows(c, w, p, q, &rows);
}

/* Tokens [0, n) of a block, which see everything before them: all heads at once where they lie side
 * by side. */
static void attend_all(struct cpu *c, struct cpu_worker *w, const struct ops_attend *p,
                       const struct queries *q, size_t n)
{
    const size_t at_once = q->n_heads == p->heads ? n : 1;
    for (size_t i = 0; i < n; i += at_once) {
        const struct pairs rows = {(q->first + i) * p->heads + q->head, at_once * q->n_heads,
                                   q->position + i + at_once, q->keys, q->form};
        attend_rows(c, w, p, q, &rows);
    }
}

/* Blocks of queries, outer, and shares of the heads. */
struct attend_job {
    const struct ops_attend *p;
    size_t shares;
};

static int attend_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct attend_job *job = arg;
    const struct ops_attend *p = job->p;
    const size_t share = task % job->shares, ld = p->heads * p->rank;
    struct queries q = block_of(p->runs, p->n_runs, task / job->shares);
    size_t all = q.n; /* tokens that see everything before them */
    (void)err;
    q.head = share * p->heads / job->shares;
    q.n_heads = (share + 1) * p->heads / job->shares - q.head;
    if (p->selected && q.position + q.n > p->top_k)
        all = q.position < p->top_k ? p->top_k - q.position : 0;
    attend_all(c, w, p, &q, all);
    for (size_t i = all; i < q.n; i++)
        attend_selected(c, w, p, &q, i);
    cpu_check_rows(c, w, p->y + q.first * ld + q.head * p->rank, ld, q.first, q.n,
                   q.n_heads * p->rank);
    return 0;
}

/* One share, unless threads would have nothing to do: a token that goes on with a long text. */
static size_t shares_of(const struct cpu *c, const struct ops_attend *p, size_t n_blocks)
{
    const size_t threads = (size_t)c->n_threads;
    size_t work = 0;
    for (size_t i = 0; i < p->n_runs; i++) {
        const size_t seen = p->runs[i].position + p->runs[i].n;
        work += p->runs[i].n * p->heads * (p->rank + p->rope) *
                (p->selected && seen > p->top_k ? p->top_k : seen);
    }
    if (n_blocks >= threads || work <= CPU_ALONE)
        return 1;
    const size_t wish = (threads + n_blocks - 1) / n_blocks;
    return wish < p->heads ? wish : p->heads;
}

int cpu_attend(void *self, const struct ops_attend *p, size_t *bad, struct prep_error *err)
{
    const size_t n_blocks = number_blocks(p->runs, p->n_runs);
    const struct attend_job job = {p, shares_of(self, p, n_blocks)};
    return cpu_run(self, n_blocks * job.shares, attend_task, &job, bad, err);
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
