/* SPDX-License-Identifier: MIT */
/*
 * ggml_compare LIBRARY [SECONDS [SEED]] - our ggml blocks against those of a libggml-base.so.
 *
 * Random rows of many kinds, with and without importance weights, are quantized by both; every
 * variant this machine has must make the library's bytes. Prints what differs first, and a line per
 * type "NAME: N equal". Exit 1 when something differs, 69 when the library does not open.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/ggml/ggml.h"
#include "libprep/base/random.h"
#include "libprep/format/ggml_type.h"

enum { ROWS = 2, COLS = 1024, N = ROWS * COLS };

typedef size_t peer_fn(int type, const float *src, void *dst, int64_t start, int64_t n_rows,
                       int64_t n_cols, const float *imatrix);

static const unsigned TYPES[] = {
    GGML_F16,  GGML_BF16, GGML_Q8_0, GGML_Q4_0, GGML_Q4_1,   GGML_Q5_0,   GGML_Q5_1,  GGML_Q2_K,
    GGML_Q3_K, GGML_Q4_K, GGML_Q5_K, GGML_Q6_K, GGML_IQ4_NL, GGML_IQ4_XS, GGML_MXFP4, GGML_NVFP4,
};

enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

/* One tensor, its weights, the blocks of both. */
static struct {
    float x[N], w[COLS];
    uint8_t ours[4 * N], theirs[4 * N];
} job;

static float gauss(struct prep_random *r)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(int32_t)prep_random_u64(r) * 0x1p-31f;
    return sum;
}

static float value(struct prep_random *r, uint64_t kind, float scale)
{
    const float g = gauss(r);
    switch (kind) {
    case 0: /* ties */
        return (float)((int)prep_random_below(r, 65) - 32) * 0.25f * scale;
    case 1: /* one sign, nearly */
        return (fabsf(g) + 0.5f) * (prep_random_below(r, 40) ? scale : -scale);
    case 2: /* around the smallest that is not zero */
        return g * 1e-15f * scale;
    case 3: /* half scales underflow */
        return g * 1e-8f * scale;
    case 4: /* outliers */
        return prep_random_below(r, 50) ? g * scale : 1000 * g;
    case 5: /* constant runs */
        return scale - 0.3f;
    case 6: /* sparse */
        return prep_random_below(r, 8) ? 0.0f : g;
    case 7:
        return g * 1000 * scale;
    default:
        return g * scale * 0.02f;
    }
}

static void fill(struct prep_random *r)
{
    const uint64_t kind = prep_random_below(r, 12), weights = prep_random_below(r, 4);
    float scale = 1;
    for (size_t i = 0; i < N; i++) {
        if (i % 16 == 0)
            scale = prep_random_below(r, 6) ? fabsf(gauss(r)) : (float)prep_random_below(r, 2);
        job.x[i] = value(r, kind, scale);
    }
    for (size_t i = 0; i < COLS; i++) {
        const float g = gauss(r);
        job.w[i] = weights == 0 ? 1.0f : g * g;
        if (weights == 1 && prep_random_below(r, 3) == 0)
            job.w[i] = 0;
    }
}

/* 0 when all variants make the peer's bytes. */
static int compare(unsigned type, const float *w, peer_fn *peer)
{
    peer((int)type, job.x, job.theirs, 0, ROWS, COLS, w);
    for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
        const struct ggml_codec *c = ggml_codec((enum isa)isa, type);
        const size_t n = (size_t)N / c->block * c->block_bytes;
        size_t at = 0;
        c->quantize_rows(job.ours, job.x, ROWS, COLS, w);
        while (at < n && job.ours[at] == job.theirs[at])
            at++;
        if (at == n)
            continue;
        printf("%s %s, %s: byte %zu of block %zu is %u, theirs %u\n", ggml_type_info(type)->name,
               isa_name((enum isa)isa), w ? "weighted" : "plain", at % c->block_bytes,
               at / c->block_bytes, job.ours[at], job.theirs[at]);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    union {
        void *p;
        peer_fn *fn;
    } peer = {NULL};
    const time_t seconds = argc > 2 ? (time_t)atol(argv[2]) : 10, start = time(NULL);
    struct prep_random r = {argc > 3 ? strtoull(argv[3], NULL, 10) : 1};
    unsigned long equal[N_TYPES] = {0};
    int bad = 0;
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library)
        peer.p = dlsym(library, "ggml_quantize_chunk");
    if (!peer.p) {
        fprintf(stderr, "ggml_compare: no ggml_quantize_chunk in %s\n",
                argc > 1 ? argv[1] : "(no library given)");
        return argc > 1 ? 69 : 64;
    }
    do {
        for (int i = 0; i < N_TYPES; i++) {
            fill(&r);
            if (compare(TYPES[i], prep_random_below(&r, 2) ? job.w : NULL, peer.fn))
                bad = 1;
            else
                equal[i]++;
        }
    } while (!bad && time(NULL) - start < seconds);
    for (int i = 0; i < N_TYPES; i++)
        printf("%s: %lu equal\n", ggml_type_info(TYPES[i])->name, equal[i]);
    return bad;
}
