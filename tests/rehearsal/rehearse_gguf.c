/* SPDX-License-Identifier: MIT */
/*
 * rehearse_gguf - GGUF files of the whole GLM-5.1 where there is no disk for them.
 *
 * The plan is that of the full model with 192 experts, a tensor to a part, in two rungs made of one
 * reading; what is carried out is a few parts: among them a stacked expert tensor, 4.8 GB in BF16,
 * under a budget a twentieth of that. Every case runs in a process of its own, so that its peak
 * memory is its own. REHEARSE_GGUF=part in the environment leaves out what takes minutes; an
 * argument picks the cases whose name it is in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libprep/release/gguf.h"
#include "libprep/store/executor.h"
#include "tests/support/support.h"
#include "tests/support/synth_model.h"

#define MIB ((uint64_t)1 << 20)
#define RSS_MARGIN (200 * MIB)

static const char source_dir[] = "/synth/GLM-5.1";
static struct prep_error err;

static _Noreturn void die(const char *what)
{
    printf("# %s\n", what);
    fflush(stdout);
    _exit(1);
}

static uint64_t peak_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)r.ru_maxrss * 1024;
}

static struct synth *make_store(void)
{
    struct config c;
    struct synth *store;
    struct test_bytes text = test_read("tests/data-src/glm-5.1/config.json");
    struct test_bytes words = test_read(test_path("%s/glm-nano/tokenizer.json", test_data()));
    char *at = strstr((char *)text.p, "\"n_routed_experts\": 256");
    if (!at)
        die("config.json: another count of experts");
    memcpy(at + strlen("\"n_routed_experts\": "), "192", 3);
    if (config_parse(&c, (char *)text.p, text.n, "config.json", NULL, &err) ||
        synth_model_new(&store, source_dir, &c, 0, &err) ||
        synth_add_text(store, "tokenizer.json", words.p, words.n, &err))
        die(err.msg);
    config_free(&c);
    free(text.p);
    free(words.p);
    return store;
}

/* The part of every rung that holds this tensor, and no other file: --part deals file i to i % n.
 */
static void run_tensor(const char *tensor, const char *const *rungs, size_t n, uint64_t mem)
{
    struct synth *store = make_store();
    struct report report;
    struct gguf_result r;
    struct exec_result result;
    struct gguf_job job = {.io = synth_io(store),
                           .tool = "make-gguf",
                           .source = source_dir,
                           .rungs = rungs,
                           .n_rungs = n,
                           .mtp = GGUF_JOB_DROP,
                           .split_tensors = 1,
                           .isa = cpu_isa()};
    report_init(&report);
    if (gguf_job_run(&r, &job, &report, &err))
        die(err.msg);
    const size_t at = (size_t)(gguf_map_find(&r.passes[0].map, tensor) - r.passes[0].map.targets);
    struct exec_options opt = {.io = job.io,
                               .dir = "/synth/out",
                               .mem = mem,
                               .n_threads = 2,
                               .part = (int)at,
                               .n_parts = (int)r.passes[0].map.n};
    if (opt.mem == 0) {
        if (plan_check(r.plan, &opt, &result, &err))
            die(err.msg);
        opt.mem = result.floor_bytes;
    }
    const uint64_t planned = peak_rss();
    if (plan_execute(r.plan, &opt, &result, &err))
        die(err.msg);
    printf("# %s: %llu bytes, --mem %llu MiB, peak %llu MiB (planning %llu)\n", tensor,
           (unsigned long long)result.written_bytes, (unsigned long long)(opt.mem / MIB),
           (unsigned long long)(peak_rss() / MIB), (unsigned long long)(planned / MIB));
    if (result.written_files != n)
        die("another number of files than rungs");
    if (peak_rss() > opt.mem + RSS_MARGIN)
        die("over the budget");
    gguf_result_free(&r);
    report_fini(&report);
    synth_free(store);
}

static void a_stacked_tensor_in_two_rungs(void)
{
    static const char *const rungs[] = {"Q8_0", "BF16"};
    run_tensor("blk.3.ffn_down_exps.weight", rungs, 2, 256 * MIB);
}

static void a_stacked_tensor_at_the_floor(void)
{
    static const char *const rungs[] = {"Q8_0"};
    run_tensor("blk.77.ffn_up_exps.weight", rungs, 1, 0);
}

static void the_embeddings(void)
{
    static const char *const rungs[] = {"Q8_0", "F16"};
    run_tensor("token_embd.weight", rungs, 2, 128 * MIB);
}

static void keys_and_values(void)
{
    static const char *const rungs[] = {"Q4_K_M", "Q8_0", "BF16"};
    run_tensor("blk.40.attn_v_b.weight", rungs, 3, 0);
}

static void a_stacked_tensor_in_k_quants(void)
{
    static const char *const rungs[] = {"Q4_K_M", "family:Q4_K_M", "Q2_K", "Q6_K"};
    run_tensor("blk.30.ffn_gate_exps.weight", rungs, 4, 0);
}

static const char *pick = "";

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int run_case(const char *name, void (*fn)(void))
{
    const double start = seconds();
    if (!strstr(name, pick))
        return 0;
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
    printf("# %.0f seconds\n%sok %s\n", seconds() - start, status ? "not " : "", name);
    return status != 0;
}

int main(int argc, char **argv)
{
    pick = argc > 1 ? argv[1] : "";
    const char *wish = getenv("REHEARSE_GGUF");
    const int full = !wish || strcmp(wish, "part") != 0;
    int failed = run_case("a stacked tensor at the floor", a_stacked_tensor_at_the_floor) |
                 run_case("the embeddings", the_embeddings) |
                 run_case("keys and values", keys_and_values);
    if (full)
        failed |= run_case("a stacked tensor in two rungs", a_stacked_tensor_in_two_rungs) |
                  run_case("a stacked tensor in K-quants", a_stacked_tensor_in_k_quants);
    else
        printf("skip stacked tensors in several rungs REHEARSE_GGUF=part\n");
    return failed;
}
