/* SPDX-License-Identifier: MIT */
/*
 * bench_tp - tokens per second of layers of full width, split over the ranks it is started as.
 *
 *   bench_tp [TOKENS [PASSES]]        mpirun -n 2 bench_tp ...
 *
 * A dense and a MoE layer of GLM-5.1 (hidden 6144, 16 experts) from a synthetic store, BF16, one
 * thread per rank. A pass takes TOKENS (64) tokens of one sequence through both; the first loads
 * the weights, of PASSES (3) more the shortest counts. Rank 0 prints "RANKS TOKENS/S
 * SECONDS-OF-THE-CPU SHARE-BYTES"; processor time holds the waiting for other ranks, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libprep/base/random.h"
#include "libprep/engine/runtime.h"
#include "tests/support/synth_model.h"

enum { MOST_TOKENS = 4096 };

static struct prep_error err;
static struct ranks ranks;

static void must(int rc)
{
    if (!rc)
        return;
    fprintf(stderr, "bench_tp: %s\n", err.msg);
    if (ranks.size > 1)
        ranks_abort(&ranks, 1);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The same number of bytes, so that the text stays one. */
static void set(char *text, const char *key, const char *value)
{
    char *p = strstr(text, key);
    if (!p) {
        fprintf(stderr, "bench_tp: config.json has no %s\n", key);
        exit(1);
    }
    memcpy(p + strlen(key), value, strlen(value));
}

static void load_config(struct config *c)
{
    struct arena arena;
    struct span text;
    arena_init(&arena, 0);
    must(io_read_file(&io_posix, "tests/data-src/glm-5.1/config.json", 1 << 20, &arena, &text,
                      &err));
    char *p = arena_strndup(&arena, (const char *)text.p, text.n, &err);
    must(p ? 0 : -1);
    set(p, "\"num_hidden_layers\": ", " 2");
    set(p, "\"num_nextn_predict_layers\": ", "0");
    set(p, "\"first_k_dense_replace\": ", "1");
    set(p, "\"n_routed_experts\": ", " 16");
    must(config_parse(c, p, text.n, "config.json", NULL, &err));
    arena_fini(&arena);
}

static void pass(struct runtime *r, const struct sequence *s)
{
    struct batch *b;
    must(batch_new(&b, r, s, 1, &err) || runtime_embed(r, b, &err));
    for (int layer = 0; layer < 2; layer++)
        must(runtime_layer(r, layer, b, NULL, &err));
    batch_free(b);
}

static void measure(struct runtime *r, size_t n_tokens, int passes)
{
    struct prep_random random = {1};
    uint32_t tokens[MOST_TOKENS];
    double least = 1e30, cpu = 1e30;
    for (size_t i = 0; i < n_tokens; i++)
        tokens[i] = (uint32_t)prep_random_below(&random, 1000);
    const struct sequence s = {.tokens = tokens, .n = n_tokens};
    for (int i = 0; i <= passes; i++) {
        must(ranks_barrier(&ranks, &err));
        const double wall = seconds(CLOCK_MONOTONIC), own = seconds(CLOCK_THREAD_CPUTIME_ID);
        pass(r, &s);
        const double taken = seconds(CLOCK_MONOTONIC) - wall;
        const double used = seconds(CLOCK_THREAD_CPUTIME_ID) - own;
        least = i && taken < least ? taken : least;
        cpu = i && used < cpu ? used : cpu;
    }
    struct runtime_stats stats;
    runtime_stats(r, &stats);
    if (ranks.rank == 0)
        printf("%d %.2f %.3f %llu\n", ranks.size, (double)n_tokens / least, cpu,
               (unsigned long long)stats.weight_bytes);
}

int main(int argc, char **argv)
{
    const long n_tokens = argc > 1 ? strtol(argv[1], NULL, 10) : 64;
    const long passes = argc > 2 ? strtol(argv[2], NULL, 10) : 3;
    struct config c;
    struct synth *s;
    struct checkpoint *ckpt;
    struct runtime *r;
    must(ranks_open(&ranks, &err));
    if (n_tokens < 1 || n_tokens > MOST_TOKENS || passes < 1)
        must(prep_fail(&err, PREP_EUSAGE, "want 1 to %d tokens, 1 pass or more", MOST_TOKENS));
    load_config(&c);
    must(synth_model_new(&s, "/synth/GLM-5.1", &c, 0, &err) ||
         checkpoint_open(&ckpt, synth_io(s), "/synth/GLM-5.1", NULL, &err));
    const struct runtime_source source = {.checkpoint = ckpt, .config = &c};
    const struct runtime_options options = {.n_threads = 1, .isa = cpu_isa(), .ranks = &ranks};
    must(runtime_open(&r, &source, &options, NULL, &err));
    measure(r, (size_t)n_tokens, (int)passes);
    runtime_close(r);
    checkpoint_close(ckpt);
    synth_free(s);
    config_free(&c);
    must(ranks_agree(&ranks, 0, &err));
    ranks_close(&ranks);
    return 0;
}
