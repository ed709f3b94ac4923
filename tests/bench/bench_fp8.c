/* SPDX-License-Identifier: MIT */
/*
 * bench_fp8 - block-scaled FP8 and plain conversions, per variant, one thread.
 *
 *   bench_fp8 [REPEATS]
 *
 * A [2048, 6144] linear in blocks of 128. GB/s of bytes read plus written; the best of REPEATS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/convert/convert.h"
#include "kernels/fp8/fp8.h"

enum { OUT = 2048, IN = 6144, BLOCK = 128, N = OUT * IN };

static float *f;
static uint16_t *h;
static uint8_t *codes;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run(enum isa isa, int job)
{
    const struct fp8_kernels *k = fp8_kernels(isa);
    const struct convert_kernels *c = convert_kernels(isa);
    float scales[IN / BLOCK];
    for (size_t i = 0; i < IN / BLOCK; i++)
        scales[i] = 0.001f * (float)(i + 1);
    for (size_t o = 0; o < OUT && job == 0; o++)
        k->decode_f32(f + o * IN, codes + o * IN, IN, scales, BLOCK);
    for (size_t o = 0; o < OUT && job == 1; o++)
        k->decode_bf16(h + o * IN, codes + o * IN, IN, scales, BLOCK);
    if (job == 2 && k->count_nan(codes, N) != 0)
        exit(70);
    if (job == 3)
        c->bf16_to_f32(f, h, N);
    if (job == 4)
        c->f16_to_f32(f, h, N);
    if (job == 5)
        c->f32_to_bf16(h, f, N);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        double bytes;
    } JOBS[] = {{"fp8 to f32", 5},  {"fp8 to bf16", 3}, {"fp8 nan scan", 1},
                {"bf16 to f32", 6}, {"f16 to f32", 6},  {"f32 to bf16", 6}};
    const int repeats = argc > 1 ? atoi(argv[1]) : 10;
    f = aligned_alloc(64, sizeof *f * N);
    h = aligned_alloc(64, sizeof *h * N);
    codes = aligned_alloc(64, N);
    if (!f || !h || !codes)
        return 71;
    memset(f, 0, sizeof *f * N);
    memset(h, 0, sizeof *h * N);
    for (size_t i = 0; i < N; i++)
        codes[i] = (uint8_t)(i * 2654435761u >> 24) & 0xF7; /* no NaN */
    for (size_t j = 0; j < sizeof JOBS / sizeof JOBS[0]; j++) {
        printf("%-18s", JOBS[j].name);
        for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
            double best = 1e9;
            for (int i = 0; i < repeats; i++) {
                const double start = now();
                run((enum isa)isa, (int)j);
                const double t = now() - start;
                best = t < best ? t : best;
            }
            printf("  %s %6.2f GB/s", isa_name((enum isa)isa), JOBS[j].bytes * N / best * 1e-9);
        }
        printf("\n");
    }
    return 0;
}
