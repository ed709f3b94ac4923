/* SPDX-License-Identifier: MIT */
/*
 * cpu_crew.h - tasks on all threads, each worker with work memory of its own. Private to ops_cpu*.
 *
 * Workers take tasks in ascending order, one at a time, so the lowest failing task is among those
 * that ran.
 *
 * Ownership  cpu_close() frees the struct and its memory
 * Errors     the error of the lowest failing task
 */
#ifndef PREP_ENGINE_CPU_CREW_H
#define PREP_ENGINE_CPU_CREW_H

#include "kernels/forward/forward.h"
#include "kernels/matmul/matmul.h"
#include "libprep/engine/ops_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CPU_TILE_MOST = 256,  /* rows of a weight that a task multiplies with: at most ... */
    CPU_TILE_LEAST = 32,  /* ... and at least, so that every thread has some */
    CPU_DECODE_ROWS = 32, /* ... that are decoded at a time */
    CPU_ALONE = 1 << 17,  /* products of numbers that are not worth waking another thread for */
    CPU_BLOCK_ROWS = 256, /* rows of x of a task */
    CPU_TOKENS = 16,      /* queries of an attention task */
    CPU_KEYS = 256,       /* keys of a tile of the indexer */
    CPU_WIDENED = MATMUL_BLOCK_K, /* keys of a tile that is widened from FP8, and its rows */
    CPU_ROUNDED_ROWS = 512,       /* rows of x whose rounded values there is room for */
    CPU_SCORES = 1 << 18,         /* attention scores at a time, unless one row is longer */
};

struct cpu_worker {
    unsigned char *work; /* of matmul */
    float *floats;       /* what the operation needs */
    size_t bad;          /* first row that is not finite */
    struct linear_counts counts;
    size_t failed; /* task */
    struct prep_error err;
};

struct cpu {
    struct ops_cpu_shape shape;
    const struct matmul_kernels *matmul;
    const struct forward_kernels *forward;
    struct linear_codec codec;
    int n_threads;
    struct cpu_worker *workers;
    unsigned char *memory; /* of all workers */
    float *rounded;        /* [CPU_ROUNDED_ROWS, widest], behind the workers' */
    size_t longest;        /* memory is for */
    struct linear_counts counts;
};

typedef int (*cpu_task_fn)(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                           struct prep_error *err);

/* bad (may be NULL) is lowered to the workers' lowest. */
PREP_MUST_CHECK int cpu_run(struct cpu *c, size_t n_tasks, cpu_task_fn fn, const void *arg,
                            size_t *bad, struct prep_error *err);

/* Lower w->bad to the first of n rows, counted from `row`, that is not finite. */
void cpu_check_rows(const struct cpu *c, struct cpu_worker *w, const float *y, size_t ld,
                    size_t row, size_t n, size_t cols);

/* C = A B^T or A B through the worker's memory. */
void cpu_nt(const struct cpu *c, struct cpu_worker *w, struct matmul *p);
void cpu_nn(const struct cpu *c, struct cpu_worker *w, struct matmul *p);

/* What an attention task needs, in floats. */
size_t cpu_attention_floats(const struct ops_cpu_shape *s, size_t longest);

int cpu_linear(void *self, const struct ops_linear *p, size_t *bad, struct prep_error *err);
int cpu_absorb(void *self, float *y, const float *q, size_t n, const struct ops_heads *h,
               size_t *bad, struct prep_error *err);
int cpu_expand(void *self, float *y, const float *x, size_t n, const struct ops_heads *h,
               size_t *bad, struct prep_error *err);
int cpu_select(void *self, const struct ops_select *p, struct prep_error *err);
int cpu_attend(void *self, const struct ops_attend *p, size_t *bad, struct prep_error *err);
int cpu_route(void *self, const struct ops_route *p, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
