/* SPDX-License-Identifier: MIT */
/*
 * bench_nvfp4 - GB/s of the NVFP4 kernels, by method and variant.
 *
 *   bench_nvfp4 [-m MIB] [-s SECONDS]
 *
 * Quantizes MIB (32) of BF16 gaussian weights (counted: bytes of input) on one thread and on two,
 * each variant for at least SECONDS (0.3) and at least three times; the shortest counts. Threads
 * are pinned. First a chain of multiply-adds tells whether two CPUs are free (2.0 when they are).
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4.h"

enum { K = 2048 };

enum job { JOB_AMAX = N_NVFP4_METHODS, JOB_WEIGHTED_SWEEP, JOB_DECODE_BF16, JOB_ERROR, N_JOBS };

static const char *const job_names[N_JOBS] = {
    "max",  "minmax",         "rtn",         "sweep", "four-over-six",
    "amax", "weighted sweep", "decode bf16", "error"};

struct bench {
    uint16_t *x, *decoded;
    uint8_t *packed, *scale;
    float importance[K];
    struct nvfp4_error *error;
    size_t n;
    float amax;
};

struct task {
    const struct bench *b;
    const struct nvfp4_kernels *k;
    int job;
    size_t row, n;
    int cpu;
    pthread_barrier_t *start;
    volatile float sink;
    double begin, end;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t all, one; /* the n-th of those we may use */
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all))
        return;
    int seen = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all) && seen++ == cpu)
            CPU_SET(i, &one);
    }
    if (CPU_COUNT(&one))
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

static void run(struct task *t)
{
    const struct bench *b = t->b;
    const struct nvfp4_rows rows = {b->x + t->row * K, t->n, K, NVFP4_BF16};
    const struct nvfp4_codes out = {b->packed + t->row * K / 2, b->scale + t->row * K / 16};
    const struct nvfp4_tensor in = {out.packed, out.scale, t->n, K, NVFP4_MODELOPT, 1};
    const float *importance = t->job == JOB_WEIGHTED_SWEEP ? b->importance : NULL;
    switch (t->job) {
    case JOB_AMAX:
        t->sink = t->k->amax(&rows);
        break;
    case JOB_DECODE_BF16:
        t->k->decode(b->decoded + t->row * K, NVFP4_BF16, &in);
        break;
    case JOB_ERROR:
        t->k->error(b->error + t->row, &rows, &in, NULL);
        break;
    default:
        t->k->quantize(&out, &rows,
                       t->job == JOB_WEIGHTED_SWEEP ? NVFP4_SWEEP : (enum nvfp4_method)t->job,
                       b->amax, importance);
    }
}

/* A probe instead of a kernel: NULL. */
static void probe(struct task *t)
{
    float a[64];
    for (int i = 0; i < 64; i++)
        a[i] = (float)i;
    for (size_t j = 0; j < t->n * 4096; j++) {
        for (int i = 0; i < 64; i++)
            a[i] = a[i] * 0.999f + 0.5f;
    }
    t->sink = a[t->row % 64];
}

static void *work(void *arg)
{
    struct task *t = arg;
    pin(t->cpu);
    pthread_barrier_wait(t->start);
    t->begin = now();
    if (t->k)
        run(t);
    else
        probe(t);
    t->end = now();
    return NULL;
}

static double once(const struct bench *b, const struct nvfp4_kernels *k, int job, size_t n_rows,
                   int n_threads)
{
    pthread_barrier_t start;
    pthread_t thread[2];
    struct task t[2];
    pthread_barrier_init(&start, NULL, (unsigned)n_threads);
    for (int i = 0; i < n_threads; i++) {
        size_t n = k ? n_rows / (size_t)n_threads : n_rows;
        t[i] = (struct task){b, k, job, (size_t)i * n, n, i, &start, 0, 0, 0};
        if (pthread_create(&thread[i], NULL, work, &t[i]))
            exit(71);
    }
    double begin = HUGE_VAL, end = 0;
    for (int i = 0; i < n_threads; i++) {
        pthread_join(thread[i], NULL);
        begin = fmin(begin, t[i].begin);
        end = fmax(end, t[i].end);
    }
    pthread_barrier_destroy(&start);
    return end - begin;
}

/* Other programs only ever make it longer. */
static double least_time(const struct bench *b, const struct nvfp4_kernels *k, int job,
                         size_t n_rows, int n_threads, double seconds)
{
    double least = HUGE_VAL;
    double until = now() + seconds;
    for (int i = 0; i < 3 || now() < until; i++)
        least = fmin(least, once(b, k, job, n_rows, n_threads));
    return least;
}

/* Sums of four uniform numbers are near enough to a gaussian. */
static void fill(struct bench *b)
{
    uint64_t s = 1;
    for (size_t i = 0; i < b->n * K; i++) {
        float sum = -2;
        for (int j = 0; j < 4; j++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(s >> 40) * 0x1p-24f;
        }
        b->x[i] = bf16_from_f32(0.03f * sum);
    }
    for (int i = 0; i < K; i++)
        b->importance[i] = 0.1f + (float)(i * 37 % 101);
}

/* The scalar sweep takes long: a part of the rows. */
static size_t rows_of(const struct bench *b, int job, int isa)
{
    int sweep = job == NVFP4_SWEEP || job == JOB_WEIGHTED_SWEEP;
    return sweep ? (isa == ISA_SCALAR ? b->n / 256 : b->n / 8) / 2 * 2 : b->n;
}

static void measure(const struct bench *b, int job, double seconds)
{
    double scalar = 0;
    for (int isa = 0; isa < N_ISA; isa++) {
        const struct nvfp4_kernels *k = nvfp4_kernels((enum isa)isa);
        if (k->isa != (enum isa)isa) {
            printf("%-15s %-7s not on this machine\n", job_names[job], isa_name((enum isa)isa));
            continue;
        }
        size_t n = rows_of(b, job, isa);
        double bytes = (double)n * K * 2 * 1e-9;
        double one = bytes / least_time(b, k, job, n, 1, seconds);
        double two = bytes / least_time(b, k, job, n, 2, seconds);
        scalar = isa == ISA_SCALAR ? one : scalar;
        printf("%-15s %-7s %8.3f GB/s  2 threads %8.3f (%.2fx)  %6.1fx scalar\n", job_names[job],
               isa_name((enum isa)isa), one, two, two / one, one / scalar);
    }
}

int main(int argc, char **argv)
{
    struct bench b = {.n = 32 * 1024 * 1024 / (2 * K)};
    double seconds = 0.3;
    for (int c; (c = getopt(argc, argv, "m:s:")) != -1;) {
        if (c == 'm')
            b.n = (size_t)atoi(optarg) * 1024 * 1024 / (2 * K) / 256 * 256;
        else if (c == 's')
            seconds = atof(optarg);
        else
            return 64;
    }
    b.n = b.n < 1024 ? 1024 : b.n;
    b.x = malloc(b.n * K * 2);
    b.decoded = malloc(b.n * K * 2);
    b.packed = malloc(b.n * K / 2);
    b.scale = malloc(b.n * K / 16);
    b.error = malloc(b.n * sizeof *b.error);
    if (!b.x || !b.decoded || !b.packed || !b.scale || !b.error)
        return 71;
    fill(&b);
    const struct nvfp4_rows rows = {b.x, b.n, K, NVFP4_BF16};
    b.amax = nvfp4_kernels(ISA_AVX512)->amax(&rows);
    nvfp4_kernels(ISA_AVX512)
        ->quantize(&(struct nvfp4_codes){b.packed, b.scale}, &rows, NVFP4_MAX, b.amax, NULL);
    double one = least_time(&b, NULL, 0, 64, 1, seconds);
    double two = least_time(&b, NULL, 0, 64, 2, seconds);
    printf("two CPUs are worth %.2f (busy below 1.9)\n", 2 * one / two);
    for (int job = 0; job < N_JOBS; job++)
        measure(&b, job, seconds);
    free(b.x);
    free(b.decoded);
    free(b.packed);
    free(b.scale);
    free(b.error);
    return 0;
}
