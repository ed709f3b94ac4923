/* SPDX-License-Identifier: MIT */
/*
 * bench_decode - tokens per second of greedy generation, weights resident.
 *
 *   bench_decode MODEL THREADS TEXTS [RUNS [DRAFT]]
 *
 * TEXTS prompts of 32 tokens are written on by 128 tokens each, in one batch, with keys in BF16. Of
 * RUNS (5) after one to warm up the shortest counts. The clock is that of generate_stats: passes
 * that choose a token of every text, from embedding to choice. Prints
 * "ours THREADS TEXTS TOKENS/S CPU-MICROSECONDS/TOKEN", both of the best run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libprep/base/random.h"
#include "libprep/engine/generate.h"

enum { PROMPT = 32, NEW = 128, MOST = 64 };

struct world {
    struct checkpoint *ckpt;
    struct config config;
    struct runtime *r;
    uint32_t prompts[MOST][PROMPT];
};

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double now(void)
{
    return seconds(CLOCK_MONOTONIC);
}

struct best {
    double seconds, cpu;
    uint64_t tokens;
};

static int run(struct world *w, size_t n, int draft, struct best *best, struct prep_error *err)
{
    struct generate_request q[MOST];
    struct generate_result made[MOST];
    struct generate_stats stats;
    for (size_t i = 0; i < n; i++)
        q[i] = (struct generate_request){
            .prompt = w->prompts[i], .n_prompt = PROMPT, .n_new = NEW, .sampling = SAMPLING_GREEDY};
    const struct generate g = {
        .runtime = w->r, .requests = q, .n = n, .kv = KV_BF16, .draft = draft, .now = now};
    const double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    const int rc = generate_run(made, &stats, &g, err);
    generate_results_free(made, n);
    const double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    best->cpu = used < best->cpu ? used : best->cpu;
    best->seconds = stats.decode_seconds < best->seconds ? stats.decode_seconds : best->seconds;
    best->tokens = stats.decode_tokens;
    return rc;
}

static int measure(struct world *w, const char *path, const int *numbers, struct prep_error *err)
{
    struct prep_random random = {1};
    const struct runtime_options options = {.n_threads = numbers[0], .isa = cpu_isa()};
    const size_t n = (size_t)numbers[1];
    if (checkpoint_open(&w->ckpt, &io_posix, path, NULL, err) ||
        config_load(&w->config, &io_posix, path, NULL, err))
        return -1;
    const struct runtime_source source = {.checkpoint = w->ckpt, .config = &w->config};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < PROMPT; k++)
            w->prompts[i][k] = (uint32_t)prep_random_below(&random, (uint64_t)w->config.vocab_size);
    if (runtime_open(&w->r, &source, &options, NULL, err))
        return -1;
    struct best best = {1e30, 1e30, 0};
    for (int i = 0; i <= numbers[2]; i++) {
        struct best warm = best;
        if (run(w, n, numbers[3], i ? &best : &warm, err))
            return -1;
    }
    printf("ours %d %zu %.0f %.0f\n", numbers[0], n, (double)best.tokens / best.seconds,
           best.cpu / (double)(n * NEW) * 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    static struct world w;
    struct prep_error err = PREP_ERROR_INIT;
    int numbers[4] = {1, 1, 5, 0};
    for (int i = 2; i < argc && i < 6; i++)
        numbers[i - 2] = atoi(argv[i]);
    if (argc < 4 || numbers[0] < 1 || numbers[1] < 1 || numbers[1] > MOST || numbers[2] < 1) {
        fprintf(stderr, "usage: bench_decode MODEL THREADS TEXTS [RUNS [DRAFT]]\n");
        return 64;
    }
    const int rc = measure(&w, argv[1], numbers, &err);
    if (rc)
        fprintf(stderr, "bench_decode: %s\n", err.msg);
    runtime_close(w.r);
    config_free(&w.config);
    checkpoint_close(w.ckpt);
    return rc ? 70 : 0;
}
