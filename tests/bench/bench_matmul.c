/* SPDX-License-Identifier: MIT */
/*
 * bench_matmul - GFLOP/s of the matrix product, by shape and variant, beside OpenBLAS.
 *
 *   bench_matmul [-s SECONDS]
 *
 * Every product runs on one thread, and on two that take half of the columns each, pinned, for at
 * least SECONDS (0.5) and three times; the shortest counts. Time is processor time of the thread
 * (of the slower one), so other programs cost what they take from caches and memory, not the turns
 * they get. Before it, in the same run: the rate of fused multiply-adds in registers, which is the
 * limit, and of reading memory. OpenBLAS is loaded when it is installed; it gets B in F32 and each
 * thread calls it for its own half.
 */
#include <dlfcn.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/fp.h"
#include "kernels/matmul/matmul.h"

struct shape {
    const char *name;
    size_t m, n, k;
    enum matmul_type type;
    int nn;
};

static const struct shape SHAPES[] = {
    {"prefill", 516, 2048, 6144, MATMUL_F32, 0}, {"prefill", 516, 2048, 6144, MATMUL_BF16, 0},
    {"prefill", 516, 2048, 6144, MATMUL_F32, 1}, {"decode", 1, 2048, 6144, MATMUL_BF16, 0},
    {"decode", 2, 2048, 6144, MATMUL_BF16, 0},   {"decode", 4, 2048, 6144, MATMUL_BF16, 0},
    {"decode", 8, 2048, 6144, MATMUL_BF16, 0},   {"batch", 16, 2048, 6144, MATMUL_BF16, 0},
    {"batch", 64, 2048, 6144, MATMUL_BF16, 0},   {"nano", 64, 512, 256, MATMUL_BF16, 0},
    {"attention", 64, 1024, 576, MATMUL_F32, 0}, {"attention", 64, 512, 1024, MATMUL_F32, 1},
    {"attention", 8, 1024, 576, MATMUL_F32, 0},  {"attention", 8, 512, 1024, MATMUL_F32, 1},
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0], SCALAR_SHARE = 128, MIB = 1 << 20 };

typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);

enum job { FMA_PROBE, READ_PROBE, OURS, OPENBLAS };

struct task {
    enum job job;
    struct matmul p;
    int nn, cpu;
    void (*multiply)(const struct matmul *p);
    sgemm_fn sgemm;
    pthread_barrier_t *start;
    double seconds;
    volatile float sink;
};

static double thread_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
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

/* ---- probes: p.k rounds of 12 chains, as many as a tile has ---- */

__attribute__((target("avx2,fma"))) static float fma_avx2(size_t rounds)
{
    __m256 s[12];
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.5f);
    for (int i = 0; i < 12; i++)
        s[i] = _mm256_set1_ps((float)i);
    for (size_t k = 0; k < rounds; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            s[i] = _mm256_fmadd_ps(s[i], a, b);
    }
    float out[8], sum = 0;
    for (int i = 0; i < 12; i++) {
        _mm256_storeu_ps(out, s[i]);
        sum += out[0];
    }
    return sum;
}

__attribute__((target("avx512f"))) static float fma_avx512(size_t rounds)
{
    __m512 s[12];
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.5f);
    for (int i = 0; i < 12; i++)
        s[i] = _mm512_set1_ps((float)i);
    for (size_t k = 0; k < rounds; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            s[i] = _mm512_fmadd_ps(s[i], a, b);
    }
    float out[16], sum = 0;
    for (int i = 0; i < 12; i++) {
        _mm512_storeu_ps(out, s[i]);
        sum += out[0];
    }
    return sum;
}

static double fma_flops(size_t rounds)
{
    return 2.0 * 12 * (double)rounds * (cpu_isa() == ISA_AVX512 ? 16 : 8);
}

__attribute__((target("avx2"))) static float read_all(const void *p, size_t bytes)
{
    const char *c = p;
    __m256i s = _mm256_setzero_si256(), t = s;
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
        s = _mm256_xor_si256(s, _mm256_loadu_si256((const __m256i *)(const void *)(c + i)));
        t = _mm256_xor_si256(t, _mm256_loadu_si256((const __m256i *)(const void *)(c + i + 32)));
    }
    return (float)_mm256_extract_epi32(_mm256_xor_si256(s, t), 0);
}

/* ---- one run ---- */

static void run(struct task *t)
{
    const struct matmul *p = &t->p;
    switch (t->job) {
    case FMA_PROBE:
        t->sink = cpu_isa() == ISA_AVX512 ? fma_avx512(p->k) : fma_avx2(p->k);
        break;
    case READ_PROBE:
        t->sink = read_all(p->b, 4 * p->n * p->k);
        break;
    case OPENBLAS: /* row-major 101; not transposed 111, transposed 112 */
        t->sgemm(101, 111, t->nn ? 111 : 112, (int)p->m, (int)p->n, (int)p->k, 1, p->a, (int)p->lda,
                 p->b, (int)p->ldb, 0, p->c, (int)p->ldc);
        break;
    default:
        t->multiply(p);
    }
}

static void *work(void *arg)
{
    struct task *t = arg;
    pin(t->cpu);
    pthread_barrier_wait(t->start);
    const double begin = thread_time();
    run(t);
    t->seconds = thread_time() - begin;
    return NULL;
}

/* Half of the columns for each of two threads. */
static struct task part(const struct task *whole, int i, int n_threads)
{
    struct task t = *whole;
    const size_t n = t.p.n / (size_t)n_threads, from = n * (size_t)i;
    const size_t bytes = t.p.b_type == MATMUL_BF16 ? 2 : 4;
    t.cpu = i;
    if (t.job == FMA_PROBE)
        return t;
    t.p.n = n;
    t.p.b = (const char *)t.p.b + from * (t.nn ? 1 : t.p.ldb) * bytes;
    t.p.c += from;
    t.p.work = (char *)t.p.work + MIB * i;
    return t;
}

static double once(const struct task *whole, int n_threads)
{
    pthread_barrier_t start;
    pthread_t thread[2];
    struct task t[2];
    pthread_barrier_init(&start, NULL, (unsigned)n_threads);
    for (int i = 0; i < n_threads; i++) {
        t[i] = part(whole, i, n_threads);
        t[i].start = &start;
        if (pthread_create(&thread[i], NULL, work, &t[i]))
            exit(71);
    }
    double seconds = 0;
    for (int i = 0; i < n_threads; i++) {
        pthread_join(thread[i], NULL);
        seconds = fmax(seconds, t[i].seconds);
    }
    pthread_barrier_destroy(&start);
    return seconds;
}

static double least(const struct task *t, int n_threads, double seconds)
{
    double best = HUGE_VAL, all = 0;
    for (int i = 0; i < 3 || all < seconds; i++) {
        const double s = once(t, n_threads);
        best = fmin(best, s);
        all += s;
    }
    return best;
}

/* ---- reports ---- */

struct bench {
    struct task t;
    double seconds, peak;
    sgemm_fn sgemm;
    float *b; /* in F32 */
    uint16_t *b16;
};

static void report(const struct bench *b, const struct task *t, const struct shape *s,
                   const char *who)
{
    char name[64];
    const double one = least(t, 1, b->seconds), two = least(t, 2, b->seconds);
    const double flops = 2 * (double)t->p.m * (double)t->p.n * (double)t->p.k;
    const double bytes = (double)t->p.n * (double)t->p.k * (t->p.b_type == MATMUL_BF16 ? 2 : 4);
    snprintf(name, sizeof name, "%s %zux%zux%zu %s %s", s->name, s->m, s->n, s->k,
             s->nn ? "nn" : "nt", s->type == MATMUL_BF16 ? "BF16" : "F32");
    printf("%-34s %-8s %7.1f GFLOP/s %3.0f %% of peak, B %5.1f GB/s; 2 threads %7.1f GFLOP/s\n",
           name, who, flops / one / 1e9, 100 * flops / one / b->peak, bytes / one / 1e9,
           flops / two / 1e9);
    fflush(stdout);
}

static void measure(const struct bench *b, const struct shape *s)
{
    struct task t = b->t;
    t.nn = s->nn;
    t.p.m = s->m;
    t.p.n = s->n;
    t.p.k = s->k;
    t.p.lda = s->k;
    t.p.ldb = s->nn ? s->n : s->k;
    t.p.ldc = s->n;
    for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
        const struct matmul_kernels *k = matmul_kernels((enum isa)isa);
        t.job = OURS;
        t.multiply = s->nn ? k->nn : k->nt;
        t.p.b_type = s->type;
        t.p.b = s->type == MATMUL_BF16 ? (const void *)b->b16 : b->b;
        t.p.n = isa == ISA_SCALAR ? s->n / SCALAR_SHARE : s->n;
        report(b, &t, s, isa_name((enum isa)isa));
    }
    if (!b->sgemm)
        return;
    t.job = OPENBLAS;
    t.sgemm = b->sgemm;
    t.p.b_type = MATMUL_F32;
    t.p.b = b->b;
    report(b, &t, s, "openblas");
}

static sgemm_fn find_openblas(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void (*set_threads)(int) = NULL;
    sgemm_fn sgemm = NULL;
    if (!library)
        return NULL;
    /* A function pointer from an object pointer, as POSIX wants it. */
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    if (set_threads)
        set_threads(1);
    return sgemm;
}

static void probe(struct bench *b)
{
    struct task t = b->t;
    t.job = FMA_PROBE;
    t.p.k = 4000000;
    const double one = least(&t, 1, b->seconds), two = least(&t, 2, b->seconds);
    b->peak = fma_flops(t.p.k) / one;
    printf("fused multiply-adds %.1f GFLOP/s; two CPUs are worth %.2f\n", b->peak / 1e9,
           2 * one / two);
    t.job = READ_PROBE;
    t.p.n = 8192;
    t.p.k = t.p.ldb = 6144;
    t.p.b = b->b;
    const double bytes = 4.0 * (double)t.p.n * (double)t.p.k;
    printf("memory is read at %.1f GB/s; by two threads %.1f\n",
           bytes / least(&t, 1, b->seconds) / 1e9, bytes / least(&t, 2, b->seconds) / 1e9);
}

int main(int argc, char **argv)
{
    struct bench b = {.seconds = 0.5};
    for (int c; (c = getopt(argc, argv, "s:")) != -1;) {
        if (c != 's')
            return 64;
        b.seconds = atof(optarg);
    }
    const size_t most_b = (size_t)8192 * 6144, most_a = (size_t)516 * 6144;
    float *a = malloc(most_a * sizeof *a), *c = malloc((size_t)516 * 2048 * sizeof *c);
    b.b = malloc(most_b * sizeof *b.b);
    b.b16 = malloc(most_b * sizeof *b.b16);
    b.t.p.work = aligned_alloc(64, 2 * MIB);
    if (!a || !c || !b.b || !b.b16 || !b.t.p.work || matmul_kernels(ISA_AVX512)->work_bytes > MIB)
        return 71;
    for (size_t i = 0; i < most_a; i++)
        a[i] = (float)(i * 2654435761u % 2048) * 0x1p-10f - 1;
    for (size_t i = 0; i < most_b; i++) {
        b.b16[i] = bf16_from_f32((float)(i * 2246822519u % 2048) * 0x1p-10f - 1);
        b.b[i] = f32_from_bf16(b.b16[i]);
    }
    b.t.p.a = a;
    b.t.p.c = c;
    b.sgemm = find_openblas();
    if (cpu_isa() == ISA_SCALAR)
        return 69;
    probe(&b);
    for (size_t i = 0; i < N_SHAPES; i++)
        measure(&b, &SHAPES[i]);
    free(a);
    free(c);
    free(b.b);
    free(b.b16);
    free(b.t.p.work);
    return 0;
}
