/* SPDX-License-Identifier: MIT */
/*
 * bench_int4 - 4-bit rounding and decoding, per variant, one thread.
 *
 *   bench_int4 [REPEATS]
 *
 * A [2048, 6144] linear, groups of 128. GB/s of F32 weights read (rounding, error) or of numbers
 * written (decoding); the best of REPEATS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/int4/int4.h"

enum { OUT = 2048, IN = 6144, GROUP = 128, N_GROUPS = IN / GROUP };

static float *w, *q;
static uint16_t *h, scales[OUT * N_GROUPS], turned[OUT * N_GROUPS];
static uint32_t *words, *qweight, qzeros[N_GROUPS * OUT / 8];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void round_all(const struct int4_kernels *k, enum int4_rule rule)
{
    for (size_t o = 0; o < OUT; o++)
        k->rtn(words + o * IN / 8, scales + o * N_GROUPS, w + o * IN, IN, GROUP, rule);
}

static void run(const struct int4_kernels *k, int job)
{
    const struct int4_gptq to = {qweight, qzeros, turned, NULL, 1};
    struct int4_source gptq, packed;
    int4_source_gptq(&gptq, OUT, IN, GROUP);
    gptq.words = qweight;
    gptq.scales = turned;
    gptq.zeros = qzeros;
    gptq.zero_bias = 1;
    int4_source_packed(&packed, IN, GROUP);
    packed.words = words;
    packed.scales = scales;
    double sums[2];
    switch (job) {
    case 0:
        round_all(k, INT4_SIGNED);
        break;
    case 1:
        round_all(k, INT4_BF16);
        break;
    case 2:
        int4_store_gptq(k, &to, words, scales, OUT, IN, GROUP);
        break;
    case 3:
        int4_decode_rows(k, &gptq, 0, OUT, q, NULL);
        break;
    case 4:
        int4_decode_rows(k, &gptq, 0, OUT, NULL, h);
        break;
    case 5:
        int4_decode_rows(k, &packed, 0, OUT, q, NULL);
        break;
    default:
        for (size_t o = 0; o < OUT; o++)
            k->error_sums(sums, w + o * IN, q + o * IN, IN);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        double bytes; /* per weight */
    } JOBS[] = {{"rtn signed", 4},      {"rtn bf16", 4},         {"store gptq", 0.5},
                {"decode gptq f32", 4}, {"decode gptq bf16", 2}, {"decode packed f32", 4},
                {"error sums", 8}};
    const int repeats = argc > 1 ? atoi(argv[1]) : 10;
    w = aligned_alloc(64, sizeof *w * OUT * IN);
    q = aligned_alloc(64, sizeof *q * OUT * IN);
    h = aligned_alloc(64, sizeof *h * OUT * IN);
    words = aligned_alloc(64, OUT * IN / 2);
    qweight = aligned_alloc(64, OUT * IN / 2);
    if (!w || !q || !h || !words || !qweight)
        return 71;
    for (size_t i = 0; i < (size_t)OUT * IN; i++) {
        w[i] = (float)(int32_t)(i * 2654435761u) * 0x1p-36f;
        q[i] = 0.0f;
        h[i] = 0;
    }
    for (size_t j = 0; j < sizeof JOBS / sizeof JOBS[0]; j++) {
        printf("%-18s", JOBS[j].name);
        for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
            double best = 1e9;
            for (int i = 0; i < repeats; i++) {
                const double start = now();
                run(int4_kernels((enum isa)isa), (int)j);
                const double t = now() - start;
                best = t < best ? t : best;
            }
            printf("  %s %6.2f GB/s", isa_name((enum isa)isa),
                   JOBS[j].bytes * OUT * IN / best * 1e-9);
        }
        printf("\n");
    }
    return 0;
}
