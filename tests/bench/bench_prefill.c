/* SPDX-License-Identifier: MIT */
/*
 * bench_prefill - tokens per second of a whole forward pass, weights resident.
 *
 *   bench_prefill MODEL [THREADS [PASSES]]
 *
 * 8 sequences of 512 tokens go through all main layers, the final norm and lm_head. One pass loads
 * the weights; of PASSES (5) more the shortest counts, in time that went by and in processor time
 * of the process. Prints "ours THREADS TOKENS/S TOKENS/CPU-S".
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libprep/base/random.h"
#include "libprep/engine/runtime.h"

enum { SEQUENCES = 8, LENGTH = 512, TOKENS = SEQUENCES * LENGTH, PASSES = 5, ROWS = 512 };

struct world {
    struct checkpoint *ckpt;
    struct config config;
    struct runtime *r;
    uint32_t tokens[TOKENS];
    float *z, *logits;
};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int pass(struct world *w, struct prep_error *err)
{
    struct sequence q[SEQUENCES] = {{0}};
    struct batch *b = NULL;
    for (size_t s = 0; s < SEQUENCES; s++) {
        q[s].tokens = w->tokens + s * LENGTH;
        q[s].n = LENGTH;
    }
    int rc = batch_new(&b, w->r, q, SEQUENCES, err) || runtime_embed(w->r, b, err);
    for (int layer = 0; layer < w->config.num_hidden_layers && !rc; layer++)
        rc = runtime_layer(w->r, layer, b, NULL, err);
    for (size_t t = 0; t < TOKENS && !rc; t += ROWS)
        rc = runtime_final(w->r, -1, b, t, ROWS, w->z, err) ||
             runtime_logits(w->r, w->z, ROWS, w->logits, NULL, err);
    batch_free(b);
    return rc ? -1 : 0;
}

static int measure(struct world *w, const char *path, int n_threads, int passes,
                   struct prep_error *err)
{
    struct prep_random random = {1};
    const struct runtime_options options = {.n_threads = n_threads, .isa = cpu_isa()};
    if (checkpoint_open(&w->ckpt, &io_posix, path, NULL, err) ||
        config_load(&w->config, &io_posix, path, NULL, err))
        return -1;
    const struct runtime_source source = {.checkpoint = w->ckpt, .config = &w->config};
    const size_t vocab = (size_t)w->config.vocab_size;
    for (size_t i = 0; i < TOKENS; i++)
        w->tokens[i] = (uint32_t)prep_random_below(&random, vocab);
    w->z = malloc(ROWS * (size_t)w->config.hidden_size * sizeof *w->z);
    w->logits = malloc(ROWS * vocab * sizeof *w->logits);
    if (!w->z || !w->logits)
        return prep_fail(err, PREP_ENOMEM, "no memory for logits");
    if (runtime_open(&w->r, &source, &options, NULL, err))
        return -1;
    double least = 1e30, least_used = 1e30;
    for (int i = 0; i <= passes; i++) {
        const double begin = now(CLOCK_MONOTONIC), used = now(CLOCK_PROCESS_CPUTIME_ID);
        if (pass(w, err))
            return -1;
        const double taken = now(CLOCK_MONOTONIC) - begin;
        const double worked = now(CLOCK_PROCESS_CPUTIME_ID) - used;
        if (i && taken < least)
            least = taken;
        if (i && worked < least_used)
            least_used = worked;
    }
    printf("ours %d %.0f %.0f\n", n_threads, TOKENS / least, TOKENS / least_used);
    return 0;
}

int main(int argc, char **argv)
{
    static struct world w;
    struct prep_error err = PREP_ERROR_INIT;
    const int n_threads = argc > 2 ? atoi(argv[2]) : 1;
    const int passes = argc > 3 ? atoi(argv[3]) : PASSES;
    if (argc < 2 || n_threads < 1 || passes < 1) {
        fprintf(stderr, "usage: bench_prefill MODEL [THREADS [PASSES]]\n");
        return 64;
    }
    const int rc = measure(&w, argv[1], n_threads, passes, &err);
    if (rc)
        fprintf(stderr, "bench_prefill: %s\n", err.msg);
    runtime_close(w.r);
    config_free(&w.config);
    checkpoint_close(w.ckpt);
    free(w.z);
    free(w.logits);
    return rc ? 70 : 0;
}
