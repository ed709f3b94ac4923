/* SPDX-License-Identifier: MIT */
#include "libprep/numeric/product.h"

#include "libprep/base/parallel.h"

/* Multiply-adds that repay waking a thread: about 50 microseconds of one core. */
static const size_t WORTH_A_THREAD = (size_t)1 << 21;

struct cut {
    const struct matmul *p;
    void (*multiply)(const struct matmul *p);
    size_t work_bytes; /* of one part */
    size_t step;       /* rows or columns of a part */
    int by_columns, nn;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t work_bytes(const struct matmul_kernels *k)
{
    return (k->work_bytes + 63) / 64 * 64;
}

size_t product_work_bytes(const struct matmul_kernels *k, int n_threads)
{
    return work_bytes(k) * (size_t)n_threads;
}

static int part(size_t i, void *arg, struct prep_error *err)
{
    (void)err;
    const struct cut *cut = arg;
    struct matmul p = *cut->p;
    const size_t from = i * cut->step;
    if (cut->by_columns) {
        const size_t bytes = p.b_type == MATMUL_BF16 ? 2 : 4;
        p.b = (const unsigned char *)p.b + from * (cut->nn ? 1 : p.ldb) * bytes;
        p.c += from;
        p.n = least(p.n - from, cut->step);
    } else {
        p.a += from * p.lda;
        p.c += from * p.ldc;
        p.m = least(p.m - from, cut->step);
    }
    p.work = (unsigned char *)p.work + i * cut->work_bytes;
    cut->multiply(&p);
    return 0;
}

/* Threads that have something to do, n >= 1. */
static size_t threads_for(const struct matmul *p, int n_threads)
{
    const double worth = (double)p->m * (double)p->n * (double)p->k / (double)WORTH_A_THREAD;
    const size_t most = n_threads > 1 ? (size_t)n_threads : 1;
    return worth >= (double)most ? most : worth < 1 ? 1 : (size_t)worth;
}

/* Elements of each of n_parts parts of n, in whole tiles. */
static size_t step_of(size_t n, size_t tile, size_t n_parts)
{
    const size_t tiles = (n + tile - 1) / tile;
    return (tiles + n_parts - 1) / n_parts * tile;
}

static int multiply(struct cut *cut, const struct matmul_kernels *k, int n_threads,
                    struct prep_error *err)
{
    const struct matmul *p = cut->p;
    const size_t n_parts = threads_for(p, n_threads);
    if (n_parts == 1) {
        cut->multiply(p);
        return 0;
    }
    /* A part by rows reads all of B, and in panels copies it; one by columns only reads all of A.
     */
    cut->by_columns = p->n >= k->tile_n * n_parts || p->n >= p->m;
    const size_t n = cut->by_columns ? p->n : p->m;
    cut->step = step_of(n, cut->by_columns ? k->tile_n : k->tile_m, n_parts);
    cut->work_bytes = work_bytes(k);
    return prep_parallel_for((n + cut->step - 1) / cut->step, (int)n_parts, part, cut, err);
}

int product_nt(const struct matmul *p, const struct matmul_kernels *k, int n_threads,
               struct prep_error *err)
{
    struct cut cut = {.p = p, .multiply = k->nt};
    return multiply(&cut, k, n_threads, err);
}

int product_nn(const struct matmul *p, const struct matmul_kernels *k, int n_threads,
               struct prep_error *err)
{
    struct cut cut = {.p = p, .multiply = k->nn, .nn = 1};
    return multiply(&cut, k, n_threads, err);
}
