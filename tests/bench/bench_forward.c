/* SPDX-License-Identifier: MIT */
/*
 * bench_forward - what the forward pass computes row by row, per variant, one thread.
 *
 *   bench_forward [REPEATS]
 *
 * Rows as GLM-5.1 has them, in the cache, as after a product. Millions of elements per second; the
 * best of REPEATS.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/forward/forward.h"
#include "kernels/logits/logits.h"

enum {
    HIDDEN = 6144,
    SELECTED = 2048,
    HEADS = 32,
    KEYS = 65536,
    LONG = 200000,
    VOCABULARY = 154880
};

static float x[HEADS * KEYS], y[LONG], w[LONG];
static uint32_t chosen[SELECTED];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct job {
    const char *name;
    size_t n; /* elements of a row */
    int rows; /* measured at once */
};

static const struct job JOBS[] = {
    {"rmsnorm", HIDDEN, 200},  {"softmax", SELECTED, 400},  {"softmax", LONG, 4},
    {"silu_mul", HIDDEN, 100}, {"axpy", HIDDEN, 400},       {"rope pairs", 64, 10000},
    {"index_scores", KEYS, 1}, {"all_finite", HIDDEN, 400}, {"top_k", 4096, 100},
    {"top_k", LONG, 2},        {"sum_exp", VOCABULARY, 2},  {"KL sums", VOCABULARY, 1},
};

static void row(const struct job *job, const struct forward_kernels *k,
                const struct logits_kernels *l)
{
    struct logits_sums sums;
    const char *const name = job->name;
    if (!strcmp(name, "rmsnorm"))
        k->rmsnorm(y, x, w, job->n, 1e-5F);
    else if (!strcmp(name, "softmax"))
        k->softmax(y, job->n, 0.0625F);
    else if (!strcmp(name, "silu_mul"))
        k->silu_mul(y, x, w, job->n);
    else if (!strcmp(name, "axpy"))
        k->axpy(y, 1e-3F, x, job->n);
    else if (!strcmp(name, "rope pairs"))
        k->rope(y, w, w + job->n, job->n / 2, 1);
    else if (!strcmp(name, "index_scores"))
        k->index_scores(y, w, x, HEADS, KEYS, job->n, 0.088F);
    else if (!strcmp(name, "all_finite"))
        k->all_finite(x, job->n);
    else if (!strcmp(name, "top_k"))
        k->top_k(chosen, w, job->n, SELECTED);
    else if (!strcmp(name, "sum_exp"))
        l->sum_exp(x, 8.0, job->n);
    else
        l->sums(&sums, x, 8.0, w, 8.0, job->n);
}

static double best_rate(const struct job *job, enum isa isa, int repeats)
{
    const struct forward_kernels *k = forward_kernels(isa);
    const struct logits_kernels *l = logits_kernels(isa);
    double best = INFINITY;
    for (int i = 0; i < repeats; i++) {
        memcpy(y, x, sizeof y);
        const double start = now();
        for (int r = 0; r < job->rows; r++)
            row(job, k, l);
        best = fmin(best, now() - start);
    }
    return (double)job->n * (double)job->rows * 1e-6 / best;
}

int main(int argc, char **argv)
{
    const int repeats = argc > 1 ? atoi(argv[1]) : 10;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(int32_t)((uint32_t)i * 2654435761U) * 0x1p-28F;
    for (size_t i = 0; i < LONG; i++)
        w[i] = (float)(int32_t)((uint32_t)(i + 7) * 2246822519U) * 0x1p-28F;
    printf("%-14s %8s", "M elements/s", "n");
    for (enum isa isa = ISA_SCALAR; isa <= cpu_isa(); isa++)
        printf(" %9s", isa_name(isa));
    printf("\n");
    for (size_t j = 0; j < sizeof JOBS / sizeof *JOBS; j++) {
        printf("%-14s %8zu", JOBS[j].name, JOBS[j].n);
        for (enum isa isa = ISA_SCALAR; isa <= cpu_isa(); isa++)
            printf(" %9.0f", best_rate(&JOBS[j], isa, repeats));
        printf("\n");
    }
    return 0;
}
