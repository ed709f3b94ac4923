/* SPDX-License-Identifier: MIT */
/*
 * rehearse - prune the whole GLM-5.1 where there is no disk for it.
 *
 * The checkpoint that tests/data-src/glm-5.1/config.json implies is served by a synthetic store
 * (store/synth.h) and pruned from 256 experts to 192 and to 160 by the same calls that
 * reap-prune makes, into a sink. Counts are compared with the published ones, sampled bytes with
 * what the keep-map asks for, peak memory with the budget.
 *
 * About 170 core-seconds: 2.1 TB without hashes, 21 GB with them. REHEARSE=part in the environment
 * carries out one shard in eight. Every case runs in a process of its own, so that its peak memory
 * is its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libprep/prune/job.h"
#include "libprep/store/executor.h"
#include "tests/support/support.h"
#include "tests/support/synth_check.h"
#include "tests/support/synth_model.h"

#define MIB ((uint64_t)1 << 20)
#define SOURCE_SHARD_BYTES UINT64_C(5000000000) /* a little over 300 shards */
#define RSS_MARGIN (200 * MIB)                  /* style.md: peak RSS stays below --mem + 200 MB */

enum {
    TOKENS = 262144,
    PART_OF = 8,
    HASHED_PART_OF = 96,
    N_BUDGETS = 20,
    DESCRIPTORS = 256,
    SHARDS_AT_LEAST = 300,
};

static const char config_path[] = "tests/data-src/glm-5.1/config.json";
static const char source_dir[] = "/synth/GLM-5.1";
static const char obs_path[] = "/synth/rehearsal.obs.json";

static struct prep_error err;
static int full;

/* ---- saying how it goes ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t peak_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)r.ru_maxrss * 1024;
}

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

static void stage(const char *name, double since, size_t tensors, uint64_t bytes)
{
    double s = now() - since;
    printf("# %-34s %7.2f s %7zu tensors %14llu bytes %6.2f GB/s %5llu MiB peak\n", name, s,
           tensors, (unsigned long long)bytes, (double)bytes / s / 1e9,
           (unsigned long long)(peak_rss() / MIB));
    fflush(stdout);
}

static void expect_u64(const char *what, uint64_t have, uint64_t want)
{
    if (have == want)
        return;
    printf("# %s: %llu, want %llu\n", what, (unsigned long long)have, (unsigned long long)want);
    die("wrong count");
}

static void expect_at_most(const char *what, uint64_t have, uint64_t want)
{
    if (have <= want)
        return;
    printf("# %s: %llu, want at most %llu\n", what, (unsigned long long)have,
           (unsigned long long)want);
    die("over the limit");
}

/* ---- the model and its observations ---- */

static uint64_t mix(uint64_t x)
{
    unsigned char word[8];
    uint64_t v = 0;
    synth_bytes(word, x, 0, sizeof word);
    memcpy(&v, word, sizeof v);
    return v ^ v >> 29;
}

/* Sums that fit each other: every token is routed to top_k experts. */
static void fill_layer(struct obs_layer *l, int layer, const struct config *c, struct arena *a)
{
    size_t n = (size_t)c->n_experts[layer];
    *l = (struct obs_layer){.layer = layer,
                            .n_experts = (int)n,
                            .has_total_tokens = 1,
                            .total_tokens = TOKENS,
                            .expert_frequency = arena_calloc(a, n, sizeof(int64_t), &err),
                            .ean_sum = arena_calloc(a, n, sizeof(double), &err),
                            .weighted_ean_sum = arena_calloc(a, n, sizeof(double), &err),
                            .weighted_expert_frequency_sum =
                                arena_calloc(a, n, sizeof(double), &err)};
    if (err.code)
        die(err.msg);
    int64_t left = (int64_t)TOKENS * c->num_experts_per_tok, each = left / (int64_t)n;
    for (size_t e = 0; e < n; e++) {
        uint64_t r = mix((uint64_t)layer << 20 | e);
        int64_t count = e + 1 < n ? each / 2 + (int64_t)(r % (uint64_t)each) : left;
        if (count > left)
            count = left;
        left -= count;
        l->expert_frequency[e] = count;
        l->ean_sum[e] = (double)count * (1 + (double)(r >> 40) * 0x1p-24);
        l->weighted_expert_frequency_sum[e] = (double)count * 0.125;
        l->weighted_ean_sum[e] = l->ean_sum[e] * 0.125;
    }
}

static void write_observations(struct synth *store, const struct config *c)
{
    struct obs_run run = {.path = obs_path,
                          .label = "rehearsal",
                          .gate_semantics = "sigmoid-noaux-renorm",
                          .id_space = "base",
                          .tokens = TOKENS};
    struct span text;
    arena_init(&run.arena, 0);
    run.layers = arena_calloc(&run.arena, (size_t)c->n_layers, sizeof *run.layers, &err);
    if (!run.layers)
        die(err.msg);
    for (int l = 0; l < c->num_hidden_layers; l++)
        if (c->is_moe[l])
            fill_layer(&run.layers[run.n_layers++], l, c, &run.arena);
    must(obs_run_write_json(&run, &run.arena, &text, &err));
    must(io_write_file(synth_io(store), obs_path, text.p, text.n, &err));
    arena_fini(&run.arena);
}

/* config.json with another number of routed experts. */
static void load_config(struct config *c, int n_experts)
{
    static const char key[] = "\"n_routed_experts\": 256";
    char text[8192];
    struct test_bytes file = test_read(config_path);
    char *at = strstr((char *)file.p, key);
    if (!at)
        die("config.json does not say 256 experts");
    int n = snprintf(text, sizeof text, "%.*s\"n_routed_experts\": %d%s",
                     (int)(at - (char *)file.p), (char *)file.p, n_experts, at + strlen(key));
    free(file.p);
    if (n < 0 || (size_t)n >= sizeof text)
        die("config.json is too long");
    must(config_parse(c, text, (size_t)n, "config.json", NULL, &err));
}

/* ---- one cut ---- */

struct rehearsal {
    struct synth *store;
    struct report report;
    struct prune_result cut;
    struct synth_check check;
};

static void plan_cut(struct rehearsal *r, int keep)
{
    struct config config;
    const char *const runs[] = {obs_path};
    struct prune_job job = {.source = source_dir,
                            .observations = runs,
                            .n_observations = 1,
                            .model_name = "rehearsal/GLM-5.1",
                            .options = {.size = SIZE_KEEP, .keep = keep}};
    double t = now();
    load_config(&config, 256);
    must(synth_model_new(&r->store, source_dir, &config, SOURCE_SHARD_BYTES, &err));
    write_observations(r->store, &config);
    config_free(&config);
    stage("make the synthetic checkpoint", t, 0, 0);

    t = now();
    report_init(&r->report);
    job.io = synth_io(r->store);
    must(prune_job_run(&r->cut, &job, 1, &r->report, &err));
    stage("open, select, compose, plan", t, r->cut.plan->n_tensors, r->cut.plan->output_bytes);
    must(synth_check_init(&r->check, r->cut.plan, &r->cut.map, &err));
    synth_watch(r->store, synth_check_write, &r->check);
}

static void free_cut(struct rehearsal *r)
{
    synth_check_fini(&r->check);
    prune_result_free(&r->cut);
    report_fini(&r->report);
    synth_free(r->store);
}

/* Against the figures of the model sheet, MTP layer included. */
static void check_counts(const struct rehearsal *r, int keep, uint64_t parameters)
{
    enum { MOE_LAYERS = 76, OTHER_TENSORS = 1502 };
    const struct view *v = &r->cut.output.view;
    uint64_t elements = 0, bytes = 0, tensors = 0;
    for (size_t i = 0; i < v->n_tensors; i++) {
        const struct tensor_info *t = &v->tensors[i].info;
        bytes += t->bytes;
        elements += t->bytes * 8 / dtype_bits((enum dtype)t->dtype);
    }
    for (size_t i = 0; i < r->cut.plan->n_files; i++)
        tensors += r->cut.plan->files[i].n_tensors;
    uint64_t biases = (uint64_t)MOE_LAYERS * (unsigned)keep; /* F32, the rest is BF16 */
    expect_u64("parameters", elements, parameters);
    expect_u64("bytes of tensors", bytes, 2 * (parameters - biases) + 4 * biases);
    expect_u64("tensors", tensors, v->n_tensors);
    expect_u64("dropped tensors", r->cut.output.n_dropped,
               (uint64_t)MOE_LAYERS * (unsigned)(256 - keep) * 3);
    expect_u64("tensors of the source", r->cut.output.n_in, OTHER_TENSORS + MOE_LAYERS * 256 * 3);
}

static void execute(struct rehearsal *r, const struct exec_options *wanted, const char *name)
{
    struct exec_options opt = *wanted;
    struct exec_result result;
    double t = now();
    opt.io = synth_io(r->store);
    if (plan_execute(r->cut.plan, &opt, &result, &err))
        die(r->check.wrong[0] ? r->check.wrong : err.msg);
    stage(name, t, r->cut.plan->n_tensors, result.written_bytes);
    expect_at_most("peak RSS", peak_rss(), (opt.mem ? opt.mem : 4096 * MIB) + RSS_MARGIN);
    if (r->check.checked_bytes < result.written_bytes / 100)
        die("too few bytes were compared");
    if (opt.n_parts == 0)
        expect_u64("bytes written", result.written_bytes, r->cut.plan->output_bytes);
}

static void cut_to(int keep, uint64_t parameters)
{
    struct rehearsal r = {0};
    struct synth_stats stats;
    plan_cut(&r, keep);
    check_counts(&r, keep, parameters);

    struct exec_options hashed = {
        .dir = "/synth/hashed", .mem = 64 * MIB, .part = 1, .n_parts = HASHED_PART_OF};
    execute(&r, &hashed, "a 96th, with hashes, --mem 64M");
    struct exec_options plain = {
        .dir = "/synth/plain", .no_hashes = 1, .block_bytes = 2 * MIB}; /* fits a cache */
    if (!full)
        plain.n_parts = PART_OF;
    execute(&r, &plain, full ? "all, without hashes" : "an eighth, without hashes");
    synth_stats(r.store, &stats);
    expect_at_most("open files", (uint64_t)stats.most_open, DESCRIPTORS);
    if (r.cut.source.ckpt->n_shards < SHARDS_AT_LEAST)
        die("too few shards to be of interest");
    printf("# %zu shards, %d files open at once at most\n", r.cut.source.ckpt->n_shards,
           stats.most_open);
    free_cut(&r);
}

static void cut_to_192(void)
{
    cut_to(192, UINT64_C(570224397824));
}

static void cut_to_160(void)
{
    cut_to(160, UINT64_C(478404527232));
}

/* ---- memory ---- */

static void run_under(struct rehearsal *r, uint64_t mem, int i)
{
    char name[64];
    struct exec_options opt = {.dir = "/synth/small", .mem = mem, .part = 7 * i, .n_parts = 200};
    opt.no_hashes = i % 10 != 0;
    snprintf(name, sizeof name, "a shard under --mem %llu KiB", (unsigned long long)(mem >> 10));
    execute(r, &opt, name);
}

/* In processes of their own again: peak memory does not fall. */
static void budgets_from_the_floor_up(void)
{
    struct rehearsal r = {0};
    struct test_random random;
    struct exec_result result;
    struct exec_options opt = {.dir = "/synth/small", .mem = 1};
    test_random_init(&random);
    plan_cut(&r, 160);
    opt.io = synth_io(r.store);
    if (!plan_check(r.cut.plan, &opt, &result, &err) || err.code != PREP_EUSAGE)
        die("a budget of 1 byte was not refused");
    prep_error_clear(&err);
    uint64_t floor = result.floor_bytes;
    for (int i = 0; i < N_BUDGETS; i++) {
        int octave = i == 0 ? 0 : (int)test_random_below(&random, 12);
        uint64_t mem =
            i == 0 ? floor : (floor << octave) + test_random_below(&random, floor << octave);
        fflush(stdout);
        pid_t child = fork();
        int status = 1;
        if (child == 0) {
            run_under(&r, mem, i);
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status)
            die("a budget was exceeded");
    }
    free_cut(&r);
}

/* ---- opening ---- */

static void open_with(int n_experts, size_t want, double seconds)
{
    struct config config;
    struct synth *store = NULL;
    struct checkpoint *ckpt = NULL;
    double best = 1e9;
    load_config(&config, n_experts);
    must(synth_model_new(&store, source_dir, &config, 4 * SYNTH_MODEL_SHARD_BYTES, &err));
    config_free(&config);
    for (int i = 0; i < 3; i++) {
        double t = now(), cpu = cpu_seconds();
        must(checkpoint_open(&ckpt, synth_io(store), source_dir, NULL, &err));
        stage("open", t, ckpt->n_tensors, 0);
        /* All threads together: other programs on the machine do not count. */
        cpu = cpu_seconds() - cpu;
        best = cpu < best ? cpu : best;
        expect_u64("tensors", ckpt->n_tensors, want);
        checkpoint_close(ckpt);
    }
    synth_free(store);
    if (best > seconds)
        die("slower than asked for");
}

static void opens_235000_tensors_in_a_second(void)
{
    open_with(1024, 234974, 1);
}

static void opens_1000000_tensors_in_five(void)
{
    open_with(4400, 1004702, 5);
}

/* ---- */

static int run_case(const char *name, void (*fn)(void))
{
    fflush(stdout);
    pid_t child = fork();
    int status = 1;
    if (child == 0) {
        fn();
        fflush(stdout);
        _exit(0);
    }
    if (child > 0 && waitpid(child, &status, 0) != child)
        status = 1;
    printf("%sok %s\n", status ? "not " : "", name);
    return status != 0;
}

int main(void)
{
    const char *wish = getenv("REHEARSE");
    full = !wish || strcmp(wish, "part") != 0;
    if (!full)
        printf("skip whole executions REHEARSE=part: one shard in %d\n", PART_OF);
    return run_case("opens 235,000 tensors in a second", opens_235000_tensors_in_a_second) |
           run_case("opens 1,000,000 tensors in five seconds", opens_1000000_tensors_in_five) |
           run_case("256 to 192 experts", cut_to_192) | run_case("256 to 160 experts", cut_to_160) |
           run_case("20 budgets from the floor up", budgets_from_the_floor_up);
}
