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

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct job {
    const struct ggml_codec *codec; /* NULL: the peer */
    peer_fn *peer;
    unsigned type;
    const float *w;
    int decode;
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

/* MB/s of the fastest run; slow ones take as many rows as 10 ms allow. */
static double rate(const struct job *j)
{
    const double start = now();
    size_t rows = 2;
    double best = 0, took = 0;
    do {
        if (took < 0.01 && rows < ROWS) {
            rows *= 2;
            best = 0;
        }
        const double t = now();
        run(j, rows);
        took = now() - t;
        const double mbs = (double)rows * COLS * 4e-6 / took;
        best = mbs > best ? mbs : best;
    } while (now() - start < seconds);
    return best;
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

static void bench(unsigned type, const float *w, peer_fn *peer)
{
    const struct ggml_type_info *info = ggml_type_info(type);
    struct job j = {.type = type, .w = w, .peer = peer};
    double best = 0;
    printf("%-7s %-8s", info->name, w ? "weighted" : "plain");
    for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
        j.codec = ggml_codec((enum isa)isa, type);
        best = rate(&j);
        printf(" %s %8.1f", isa_name((enum isa)isa), best);
    }
    if (peer) {
        const size_t bytes = (size_t)ROWS * COLS / info->block * info->block_bytes;
        run(&j, ROWS);
        j.codec = NULL;
        const double theirs_rate = rate(&j);
        run(&j, ROWS);
        printf("  ggml %7.1f ratio %6.2f%s", theirs_rate, best / theirs_rate,
               memcmp(ours, theirs, bytes) ? " differs" : "");
    }
    if (!w) {
        j.decode = 1;
        for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
            j.codec = ggml_codec((enum isa)isa, type);
            printf("  %s %8.1f", isa ? isa_name((enum isa)isa) : "decode scalar", rate(&j));
        }
    }
    printf("\n");
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
