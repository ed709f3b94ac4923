/* SPDX-License-Identifier: MIT */
/*
 * ops.h - the operations a forward pass consists of, behind one table per device.
 *
 * runtime.c and its neighbours are written against this table only: a backend owns the memory it
 * allocates, and pointers into it are offset but never followed above. Small things that decide
 * what is done next (which experts, which positions) come back as host arrays. ops_cpu.c is the
 * reference; what its operations compute is defined to the bit in docs/numerics.md.
 *
 * Shapes     row-major F32; `ld` counts elements between rows
 * Ownership  everything is borrowed for the call
 * Errors     0 or -1 with err; bad (where there is one) is lowered to the first row of the result
 *            that holds NaN or infinity: start it at OPS_ALL_FINITE
 * Threads    one call at a time; a backend may use many inside
 */
#ifndef PREP_ENGINE_OPS_H
#define PREP_ENGINE_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/engine/kv_form.h"
#include "libprep/engine/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

#define OPS_ALL_FINITE SIZE_MAX

/* y[i] = x[i] w^T for n rows; the rows of w that are held become the columns of y. */
struct ops_linear {
    float *y;
    const float *x;
    size_t n, ldy, ldx;
    const struct weight *w;
    float input_scale; /* > 0: rows of x are rounded as by kernels/nvfp4 `inputs` first */
};

struct ops_norm {
    float *y;
    const float *x;
    size_t n, cols, ldy, ldx;
    const float *w, *b; /* b: layer norm, NULL: RMS norm */
    float eps;
};

/* Rotate [n rows, heads]: head h of row i begins at x + i ld + h stride. */
struct ops_rope {
    float *x;
    size_t n, ld, heads, stride;
    const float *cos, *sin; /* [n, half] */
    size_t half;
    int interleaved;
};

/* kv_b by heads: rows of w are heads x (nope, then value). */
struct ops_heads {
    const struct weight *w;
    size_t heads, nope, rope, value, rank; /* rank: kv_lora_rank */
};

/* Some new tokens of one sequence, and the keys they may see. */
struct ops_run {
    size_t first, n;  /* rows in the call's arrays */
    size_t position;  /* of the first; row i sees positions 0 .. position + i */
    const void *keys; /* [position + n] rows of rank + rope, rank of them scaled (kv_form.h), or,
                         indexer, of index_head_dim */
    enum kv_form form;
    size_t sequence;    /* of the batch, for the caller */
    size_t first_block; /* for the backend */
};

struct ops_select {
    uint32_t *selected; /* [rows, top_k] ascending positions */
    const float *iq;    /* [rows, heads, dim] */
    const float *g;     /* [rows, heads] */
    struct ops_run *runs;
    size_t n_runs, heads, dim, top_k;
    float scale; /* Di^-0.5 */
};

struct ops_attend {
    float *y;       /* [rows, heads, rank] */
    const float *q; /* [rows, heads, rank + rope] */
    struct ops_run *runs;
    size_t n_runs, heads, rank, rope;
    const uint32_t *selected; /* [rows, top_k], used where more than top_k are seen; NULL: dense */
    size_t top_k;
    float scale;
};

struct ops_route {
    int32_t *experts; /* host, [n, k], best first */
    float *gates;     /* host, [n, k] */
    const float *z;   /* [n, n_experts] */
    const float *bias;
    size_t n, n_experts, k, n_group, topk_group;
    int normalise;
    float scale;
    int forced;            /* experts[] is given */
    const uint32_t *among; /* choose from these only, ascending ids, at least k; NULL: from all */
    size_t n_among;
};

/* h += sum over r of gates[i, r] slots[i, r], in order of r, then + shared (NULL: none). */
struct ops_combine {
    float *h;
    const float *slots; /* [n, k, cols] */
    const float *gates; /* host, [n, k] */
    const float *shared;
    size_t n, k, cols;
};

struct ops {
    void *self;
    int (*alloc)(void *self, float **p, uint64_t elements, struct prep_error *err);
    void (*free)(void *self, float *p); /* accepts NULL */
    int (*put)(void *self, float *to, const float *host, size_t n, struct prep_error *err);
    int (*get)(void *self, float *host, const float *from, size_t n, struct prep_error *err);
    /* Work memory of its own for sequences this long, in bytes; and making it ready. */
    uint64_t (*work_bytes)(const void *self, size_t longest);
    int (*reserve)(void *self, size_t longest, struct prep_error *err);
    void (*close)(void *self);

    int (*linear)(void *self, const struct ops_linear *p, size_t *bad, struct prep_error *err);
    /* The same with x and y in host memory. */
    int (*project)(void *self, const struct ops_linear *p, size_t *bad, struct prep_error *err);
    int (*norm)(void *self, const struct ops_norm *p, size_t *bad, struct prep_error *err);
    int (*rope)(void *self, const struct ops_rope *p, struct prep_error *err);
    /* q [n, heads, nope + rope] -> y [n, heads, rank + rope]: the first nope of each head times its
     * key rows, then the rope part as it is. */
    int (*absorb)(void *self, float *y, const float *q, size_t n, const struct ops_heads *h,
                  size_t *bad, struct prep_error *err);
    /* x [n, heads, rank] -> y [n, heads, value] by the value rows of each head. */
    int (*expand)(void *self, float *y, const float *x, size_t n, const struct ops_heads *h,
                  size_t *bad, struct prep_error *err);
    int (*select)(void *self, const struct ops_select *p, struct prep_error *err);
    int (*attend)(void *self, const struct ops_attend *p, size_t *bad, struct prep_error *err);
    int (*route)(void *self, const struct ops_route *p, struct prep_error *err);
    int (*combine)(void *self, const struct ops_combine *p, size_t *bad, struct prep_error *err);
    /* y = silu(gate) * up, n elements. */
    int (*silu_mul)(void *self, float *y, const float *gate, const float *up, size_t n,
                    struct prep_error *err);
    /* y += x, rows of cols elements. */
    int (*add)(void *self, float *y, const float *x, size_t n, size_t cols, size_t *bad,
               struct prep_error *err);
    int (*scale)(void *self, float *y, float a, size_t n, struct prep_error *err); /* y = a y */
    /* Over the ranks of a split model, in rank order: x = x_0 + x_1 + ..., the same bits on each.
     */
    int (*sum)(void *self, float *x, size_t n, struct prep_error *err);
    /* Rows by index: y[i] = x[from[i]] (gather), y[to[i]] = x[i] (scatter); the list is host. */
    int (*gather)(void *self, float *y, const float *x, const uint32_t *from, size_t n, size_t cols,
                  struct prep_error *err);
    int (*scatter)(void *self, float *y, const float *x, const uint32_t *to, size_t n, size_t cols,
                   struct prep_error *err);
    /* n rows of x [n, ld] into stored rows, from *to on; memory of alloc() offset by bytes. */
    int (*store_keys)(void *self, void *to, const struct kv_row *row, const float *x, size_t ld,
                      size_t n, struct prep_error *err);
    /* Columns [0, cols) of n rows, from one array into another. */
    int (*copy)(void *self, float *y, size_t ldy, const float *x, size_t ldx, size_t n, size_t cols,
                struct prep_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
