/* SPDX-License-Identifier: MIT */
/*
 * rehearse_forward - run layers of GLM-5.1 at full width within --mem.
 *
 * The first layers of the model that tests/data-src/glm-5.1/config.json describes (hidden 6144, 256
 * experts), served by a synthetic store, go over a few tokens: three dense layers, a MoE layer, the
 * logits of the last token. Weights are 27 GB, of which the experts that are asked stream. Peak
 * memory must stay within --mem + 200 MB, and the logits must not depend on --mem.
 *
 * About 60 core-seconds. REHEARSE=part in the environment leaves out the smallest budget.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libprep/base/hash.h"
#include "libprep/engine/runtime.h"
#include "tests/support/support.h"
#include "tests/support/synth_model.h"

#define MIB ((uint64_t)1 << 20)
#define RSS_MARGIN (200 * MIB) /* style.md: peak RSS stays below --mem + 200 MB */

enum { TOKENS = 10 };

static struct prep_error err;

static _Noreturn void die(const char *what)
{
    printf("# %s\n", what);
    fflush(stdout);
    _exit(1);
}

static void must(int rc)
{
    if (rc)
        die(err.msg);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t peak_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)r.ru_maxrss * 1024;
}

/* The config with four layers and no MTP layer. */
static void load_config(struct config *c)
{
    struct test_bytes text = test_read("tests/data-src/glm-5.1/config.json");
    char *p = (char *)text.p;
    char *layers = strstr(p, "\"num_hidden_layers\": 78");
    char *mtp = strstr(p, "\"num_nextn_predict_layers\": 1");
    if (!layers || !mtp)
        die("config.json is not as expected");
    memcpy(layers, "\"num_hidden_layers\": 4 ", strlen("\"num_hidden_layers\": 78"));
    mtp[strlen("\"num_nextn_predict_layers\": ")] = '0';
    must(config_parse(c, p, text.n, "config.json", NULL, &err));
    free(text.p);
}

/* Hash of the logits of the last token, after all layers. */
static void forward(struct runtime *r, struct hash128 *hash)
{
    const struct config *c = runtime_config(r);
    static const uint32_t tokens[TOKENS] = {5, 70000, 154879, 0, 12345, 99, 100000, 7, 7, 31415};
    const struct sequence s = {.tokens = tokens, .n = TOKENS};
    float *z = malloc((size_t)c->hidden_size * sizeof *z);
    float *logits = malloc((size_t)c->vocab_size * sizeof *logits);
    struct batch *b;
    must(batch_new(&b, r, &s, 1, &err) || runtime_embed(r, b, &err));
    for (int layer = 0; layer < c->num_hidden_layers; layer++)
        must(runtime_layer(r, layer, b, NULL, &err));
    must(runtime_final(r, -1, b, TOKENS - 1, 1, z, &err) ||
         runtime_logits(r, z, 1, logits, NULL, &err));
    *hash = hash128(logits, (size_t)c->vocab_size * sizeof *logits);
    batch_free(b);
    free(logits);
    free(z);
}

/* mem 0: the floor. */
static void run(uint64_t mem, struct hash128 *hash)
{
    const double start = now();
    struct config c;
    struct synth *s;
    struct checkpoint *ckpt;
    struct runtime *r;
    struct runtime_stats stats;
    struct runtime_options options = {.mem = mem, .isa = N_ISA - 1};
    load_config(&c);
    must(synth_model_new(&s, "/synth/GLM-5.1", &c, 0, &err) ||
         checkpoint_open(&ckpt, synth_io(s), "/synth/GLM-5.1", NULL, &err));
    const struct runtime_source source = {.checkpoint = ckpt, .config = &c};
    must(runtime_open(&r, &source, &options, NULL, &err));
    if (mem == 0) {
        options.mem = runtime_floor(r, TOKENS, TOKENS);
        runtime_close(r);
        must(runtime_open(&r, &source, &options, NULL, &err));
    }
    forward(r, hash);
    runtime_stats(r, &stats);
    printf(
        "# --mem %5llu MiB: peak %5llu MiB, weights %6llu MiB read, at most %5llu held, %.1f s\n",
        (unsigned long long)(options.mem / MIB), (unsigned long long)(peak_rss() / MIB),
        (unsigned long long)(stats.read_bytes / MIB),
        (unsigned long long)(stats.peak_weights / MIB), now() - start);
    fflush(stdout);
    if (peak_rss() > options.mem + RSS_MARGIN)
        die("memory is over --mem + 200 MB");
    runtime_close(r);
    checkpoint_close(ckpt);
    synth_free(s);
    config_free(&c);
}

/* In a process of its own, whose peak memory is its own; the hash comes through a pipe. */
static int run_apart(uint64_t mem, struct hash128 *hash)
{
    int ends[2], status;
    if (pipe(ends))
        die("no pipe");
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        run(mem, hash);
        _exit(write(ends[1], hash, sizeof *hash) == sizeof *hash ? 0 : 1);
    }
    close(ends[1]);
    const ssize_t n = read(ends[0], hash, sizeof *hash);
    close(ends[0]);
    return child < 0 || waitpid(child, &status, 0) < 0 || status || n != sizeof *hash ? -1 : 0;
}

int main(void)
{
    const char *which = getenv("REHEARSE");
    struct hash128 a, b;
    int bad = run_apart(4096 * MIB, &a);
    printf("%s layers of full width run under --mem 4G\n", bad ? "not ok" : "ok");
    if (!bad && !(which && strcmp(which, "part") == 0)) {
        bad = run_apart(0, &b) || memcmp(&a, &b, sizeof a) != 0;
        printf("%s at the floor they give the same logits\n", bad ? "not ok" : "ok");
    }
    return bad;
}
