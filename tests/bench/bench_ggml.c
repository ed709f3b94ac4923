/* SPDX-License-Identifier: MIT */
/*
 * bench_ggml - the block quantizers and decoders per type and variant, beside ggml's own.
 *
 *   bench_ggml [SECONDS [TYPE...]]
 *
 * MB/s of F32 on one thread, best run of SECONDS (0.3) each, of a [256, 6144] tensor, without and
 * with importance weights. PREP_GGML_LIBRARY names a libggml-base.so (llama-cpp-python has one):
 * its ggml_quantize_chunk() then runs on the same tensor in turn with ours, and the ratio of the
 * fastest variant to it is printed. "differs" says that it did not make the same bytes.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/ggml/ggml.h"
#include "libprep/base/random.h"
#include "libprep/format/ggml_type.h"

enum { ROWS = 256, COLS = 6144 };

typedef size_t peer_fn(int type, const float *src, void *dst, int64_t start, int64_t n_rows,
                       int64_t n_cols, const float *imatrix);

static float *x, *back, imatrix[COLS];
static uint8_t *ours, *theirs;
static double seconds = 0.3;

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct job {
    char name[16];                  /* of the variant */
    const struct ggml_codec *codec; /* NULL: the peer */
    peer_fn *peer;
    unsigned type;
    const float *w;
    int decode;
    size_t rows;
    double best; /* MB/s */
};

static void run(const struct job *j, size_t rows)
{
    if (!j->codec)
        j->peer((int)j->type, x, theirs, 0, (int64_t)rows, COLS, j->w);
    else if (j->decode)
        j->codec->dequantize_rows(back, ours, rows, COLS);
    else
        j->codec->quantize_rows(ours, x, rows, COLS, j->w);
}

/* Seconds of processor time: those of other programs are not counted. */
static double measure(struct job *j)
{
    const double start = now(CLOCK_THREAD_CPUTIME_ID);
    run(j, j->rows);
    const double took = now(CLOCK_THREAD_CPUTIME_ID) - start;
    const double rate = (double)j->rows * COLS * 4e-6 / took;
    j->best = rate > j->best ? rate : j->best;
    return took;
}

/* All jobs in turn, the best run of each; slow ones take as many rows as 5 ms allow. */
static void measure_all(struct job *jobs, int n)
{
    for (int i = 0; i < n; i++) {
        jobs[i].rows = 2;
        while (measure(&jobs[i]) < 0.005 && jobs[i].rows < ROWS)
            jobs[i].rows *= 2;
        jobs[i].best = 0;
    }
    const double start = now(CLOCK_MONOTONIC);
    do
        for (int i = 0; i < n; i++)
            measure(&jobs[i]);
    while (now(CLOCK_MONOTONIC) - start < seconds * n);
}

static void fill(void)
{
    struct prep_random r = {1};
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (float)(int32_t)prep_random_u64(&r) * 0x1p-31f;
        x[i] = sum * 0.02f;
    }
    for (size_t i = 0; i < COLS; i++) {
        const float g = (float)(int32_t)prep_random_u64(&r) * 0x1p-31f;
        imatrix[i] = g * g * 10 + 0.01f;
    }
}

static int differs(struct job *peer, const struct ggml_type_info *info)
{
    const size_t bytes = (size_t)ROWS * COLS / info->block * info->block_bytes;
    struct job j = *peer;
    j.codec = ggml_codec(cpu_isa(), j.type);
    run(peer, ROWS);
    run(&j, ROWS);
    return memcmp(ours, theirs, bytes) != 0;
}

static void bench(unsigned type, const float *w, peer_fn *peer)
{
    const struct ggml_type_info *info = ggml_type_info(type);
    struct job jobs[2 * N_ISA + 1] = {0};
    const int n_isa = (int)cpu_isa() + 1, decode = w == NULL;
    int n = 0;
    for (int i = 0; i < n_isa * (1 + decode); i++, n++) {
        const enum isa isa = (enum isa)(i % n_isa);
        jobs[n] = (struct job){
            .codec = ggml_codec(isa, type), .type = type, .w = w, .decode = i >= n_isa};
        snprintf(jobs[n].name, sizeof jobs[n].name, "%s", isa_name(isa));
    }
    if (peer)
        jobs[n++] = (struct job){.name = "ggml", .type = type, .w = w, .peer = peer};
    measure_all(jobs, n);
    printf("%-7s %-8s", info->name, w ? "weighted" : "plain");
    for (int i = 0; i < n; i++)
        printf("%s %s %7.1f", jobs[i].decode && !jobs[i - 1].decode ? "  decode" : "", jobs[i].name,
               jobs[i].best);
    if (peer)
        printf("  ratio %6.2f%s", jobs[n_isa - 1].best / jobs[n - 1].best,
               differs(&jobs[n - 1], info) ? " differs" : "");
    printf("\n");
    fflush(stdout);
}

static peer_fn *load_peer(void)
{
    union {
        void *p;
        peer_fn *fn;
    } symbol = {NULL};
    const char *path = getenv("PREP_GGML_LIBRARY");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (path && !library)
        fprintf(stderr, "bench_ggml: %s\n", dlerror());
    if (library)
        symbol.p = dlsym(library, "ggml_quantize_chunk");
    return symbol.fn;
}

static int wanted(const char *name, char **names)
{
    int any = 0;
    for (; *names; names++, any = 1)
        if (!strcmp(*names, name))
            return 1;
    return !any;
}

int main(int argc, char **argv)
{
    static const unsigned TYPES[] = {
        GGML_Q8_0,   GGML_Q4_K,   GGML_Q6_K, GGML_Q2_K, GGML_Q3_K, GGML_Q5_K,
        GGML_IQ4_NL, GGML_IQ4_XS, GGML_Q4_0, GGML_Q4_1, GGML_Q5_0, GGML_Q5_1,
        GGML_MXFP4,  GGML_NVFP4,  GGML_F16,  GGML_BF16,
    };
    char *none[] = {NULL};
    if (argc > 1)
        seconds = atof(argv[1]);
    x = aligned_alloc(64, sizeof *x * ROWS * COLS);
    back = aligned_alloc(64, sizeof *x * ROWS * COLS);
    ours = aligned_alloc(64, sizeof *x * ROWS * COLS);
    theirs = aligned_alloc(64, sizeof *x * ROWS * COLS);
    if (!x || !back || !ours || !theirs)
        return 71;
    fill();
    peer_fn *peer = load_peer();
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (!wanted(ggml_type_info(TYPES[i])->name, argc > 2 ? argv + 2 : none))
            continue;
        bench(TYPES[i], NULL, peer);
        if (ggml_codec(ISA_SCALAR, TYPES[i])->weighted)
            bench(TYPES[i], imatrix, peer);
    }
    return 0;
}
