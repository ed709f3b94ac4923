/* SPDX-License-Identifier: MIT */
/*
 * bench_decode - tokens per second of greedy generation, weights resident.
 *
 *   bench_decode MODEL THREADS TEXTS [RUNS]
 *
 * TEXTS prompts of 32 tokens are written on by 128 tokens each, in one batch, with keys in BF16.
 * What counts is the time from one token of the first text to the next, the lower decile over RUNS
 * (5) after one to warm up: on a busy machine some passes are not interrupted, but no run is
 * spared. Prints "ours THREADS TEXTS TOKENS/S CPU-MICROSECONDS/TOKEN", the latter of the best run,
 * prompt included.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libprep/base/random.h"
#include "libprep/engine/generate.h"

enum { PROMPT = 32, NEW = 128, MOST = 64, MOST_RUNS = 100 };

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

struct times {
    double steps[MOST_RUNS * NEW]; /* seconds */
    size_t n;
    double last, cpu;
};

static int see(void *arg, const struct generate_token *t, struct prep_error *err)
{
    struct times *times = arg;
    const double at = now();
    (void)err;
    if (t->request)
        return 0;
    if (t->i)
        times->steps[times->n++] = at - times->last;
    times->last = at;
    return 0;
}

static int run(struct world *w, size_t n, struct times *times, struct prep_error *err)
{
    struct generate_request q[MOST];
    struct generate_result made[MOST];
    for (size_t i = 0; i < n; i++)
        q[i] = (struct generate_request){
            .prompt = w->prompts[i], .n_prompt = PROMPT, .n_new = NEW, .sampling = SAMPLING_GREEDY};
    const struct generate g = {
        .runtime = w->r, .requests = q, .n = n, .kv = KV_BF16, .token = see, .arg = times};
    const double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    const int rc = generate_run(made, NULL, &g, err);
    generate_results_free(made, n);
    const double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    times->cpu = used < times->cpu ? used : times->cpu;
    return rc;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
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
    static struct times times;
    for (int i = 0; i <= numbers[2]; i++) {
        if (i <= 1)
            times = (struct times){.cpu = 1e30};
        if (run(w, n, &times, err))
            return -1;
    }
    qsort(times.steps, times.n, sizeof *times.steps, ascending);
    printf("ours %d %zu %.0f %.0f\n", numbers[0], n, (double)n / times.steps[times.n / 10],
           times.cpu / (double)(n * NEW) * 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    static struct world w;
    struct prep_error err = PREP_ERROR_INIT;
    int numbers[3] = {1, 1, 5};
    for (int i = 2; i < argc && i < 5; i++)
        numbers[i - 2] = atoi(argv[i]);
    if (argc < 4 || numbers[0] < 1 || numbers[1] < 1 || numbers[1] > MOST || numbers[2] < 1 ||
        numbers[2] > MOST_RUNS) {
        fprintf(stderr, "usage: bench_decode MODEL THREADS TEXTS [RUNS]\n");
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
