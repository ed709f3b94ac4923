/* SPDX-License-Identifier: MIT */
/*
 * What must not change a bit of the logits: instructions, threads, memory, company in a batch, the
 * order of a schedule, the numbering of experts, experts that nobody asks, the form in which
 * weights are stored.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "libprep/engine/schedule.h"
#include "libprep/prune/apply.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/forward.h"
#include "tests/support/parents.h"
#include "tests/support/stored.h"

/* 90 tokens see more than the 64 that the indexer selects. */
enum {
    LENGTH = 90,
    VOCAB = 2048,
    HIDDEN = 256,
    LAYERS = 5,
    FIRST_MOE = 2,
    EXPERTS = 16,
    CHOSEN = 4
};

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

/* n texts of LENGTH tokens, cut from the reference sequences. */
static uint32_t *texts(size_t n)
{
    uint32_t *all = test_reference_tokens(), *out = calloc(n, LENGTH * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * LENGTH, all + (3 * i + 1) % REFERENCE_SEQUENCES * REFERENCE_LENGTH,
               LENGTH * sizeof *out);
    free(all);
    return out;
}

static float *logits_of(const char *dir, const struct runtime_options *options,
                        const uint32_t *tokens, size_t n)
{
    struct test_model m;
    test_model_open(&m, dir, options);
    float *logits = test_model_logits(m.runtime, tokens, n, LENGTH);
    test_model_close(&m);
    return logits;
}

static void check_equal(const float *have, const float *want, size_t rows, size_t cols,
                        const char *what)
{
    for (size_t i = 0; i < rows * cols; i++)
        if (memcmp(have + i, want + i, sizeof *have) != 0)
            fail_msg("%s: row %zu, column %zu is %.9g, want %.9g", what, i / cols, i % cols,
                     (double)have[i], (double)want[i]);
}

/* Logits of texts in a model that is stored otherwise. */
static void check_same_model(const char *dir, const char *other, size_t n)
{
    const struct runtime_options options = test_model_options();
    uint32_t *tokens = texts(n);
    float *want = logits_of(dir, &options, tokens, n),
          *have = logits_of(other, &options, tokens, n);
    check_equal(have, want, n * LENGTH, VOCAB, other);
    free(want);
    free(have);
    free(tokens);
}

/* The machine */

static void instructions_and_threads_change_nothing(void **state)
{
    static const struct runtime_options variants[] = {
        {.n_threads = 1, .isa = ISA_SCALAR}, {.n_threads = 1, .isa = ISA_AVX2},
        {.n_threads = 7, .isa = ISA_AVX2},   {.n_threads = 1, .isa = ISA_AVX512},
        {.n_threads = 3, .isa = ISA_AVX512},
    };
    uint32_t *tokens = texts(1);
    float *want = logits_of(nano(), &variants[0], tokens, 1);
    (void)state;
    for (size_t i = 1; i < sizeof variants / sizeof variants[0]; i++) {
        if (cpu_isa_within(variants[i].isa) != variants[i].isa)
            continue;
        float *have = logits_of(nano(), &variants[i], tokens, 1);
        check_equal(have, want, LENGTH, VOCAB,
                    test_path("%s, %d threads", isa_name(variants[i].isa), variants[i].n_threads));
        free(have);
    }
    free(want);
    free(tokens);
}

/* One large batch under the floor of its size: weights stream, chunks are small. */
static void memory_changes_nothing(void **state)
{
    enum { N = 3 };
    struct runtime_options options = test_model_options();
    struct test_model m;
    uint32_t *tokens = texts(N);
    float *want = logits_of(nano(), &options, tokens, N);
    (void)state;
    test_model_open(&m, nano(), &options);
    const uint64_t floor = runtime_floor(m.runtime, N * LENGTH, LENGTH);
    test_model_close(&m);
    for (uint64_t extra = 0; extra <= 4 << 20; extra += 1 << 20) {
        struct runtime_stats stats;
        options.mem = floor + extra;
        test_model_open(&m, nano(), &options);
        float *have = test_model_logits(m.runtime, tokens, N, LENGTH);
        runtime_stats(m.runtime, &stats);
        assert_in_range(stats.peak_weights, 1, options.mem);
        assert_true(stats.weight_bytes > 30 << 20);
        check_equal(have, want, N * LENGTH, VOCAB,
                    test_path("%llu bytes", (unsigned long long)options.mem));
        free(have);
        test_model_close(&m);
    }
    options.mem = floor - 1;
    test_model_open(&m, nano(), &options);
    struct prep_error err = PREP_ERROR_INIT;
    struct sequence s[N];
    struct batch *b;
    for (size_t i = 0; i < N; i++)
        s[i] = (struct sequence){.tokens = tokens + i * LENGTH, .n = LENGTH};
    assert_int_equal(batch_new(&b, m.runtime, s, N, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    assert_non_null(strstr(err.msg, test_path("%llu", (unsigned long long)floor)));
    test_model_close(&m);
    free(want);
    free(tokens);
}

/* Company */

/* The last text in a batch of texts of other lengths. */
static void company_changes_nothing(void **state)
{
    const struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    uint32_t *tokens = texts(3);
    (void)state;
    test_model_open(&m, nano(), &options);
    float *want = test_model_logits(m.runtime, tokens + 2 * LENGTH, 1, LENGTH);
    const struct sequence s[] = {{.tokens = tokens, .n = 1},
                                 {.tokens = tokens + LENGTH, .n = 77},
                                 {.tokens = tokens + 2 * LENGTH, .n = LENGTH},
                                 {.tokens = tokens, .n = 64}};
    struct batch *b;
    if (batch_new(&b, m.runtime, s, 4, &err))
        fail_msg("%s", err.msg);
    test_forward(m.runtime, b);
    float *have = test_logits(m.runtime, b, -1);
    check_equal(have + batch_first(b, 2) * VOCAB, want, LENGTH, VOCAB, "in company");
    batch_free(b);
    free(have);
    free(want);
    free(tokens);
    test_model_close(&m);
}

/* Tokens [from, to) of a text onto a cache, by themselves or beside another text. */
static void extend(struct test_model *m, struct kv_cache *cache, const uint32_t *tokens,
                   size_t from, size_t to, float *logits)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct sequence s[] = {
        {.tokens = tokens + LENGTH, .n = 3},
        {.tokens = tokens + from, .n = to - from, .position = from, .cache = cache}};
    struct batch *b;
    if (batch_new(&b, m->runtime, s, 2, &err))
        fail_msg("%s", err.msg);
    test_forward(m->runtime, b);
    float *have = test_logits(m->runtime, b, -1);
    memcpy(logits + from * VOCAB, have + 3 * VOCAB, (to - from) * VOCAB * sizeof *have);
    free(have);
    batch_free(b);
}

static void splitting_onto_a_cache_changes_nothing(void **state)
{
    static const size_t cuts[] = {0, 1, 40, 63, 64, 65, 66, 89, 90};
    static const char *const patterns[] = {NULL, "FFSFS"};
    struct prep_error err = PREP_ERROR_INIT;
    const struct kv_cache_shape shape = {0, LAYERS, LENGTH, KV_F32};
    uint32_t *tokens = texts(2);
    float *have = calloc(LENGTH * VOCAB, sizeof *have);
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct runtime_options options = test_model_options();
        struct test_model m;
        struct kv_cache *cache;
        options.index_pattern = patterns[k];
        test_model_open(&m, nano(), &options);
        float *want = test_model_logits(m.runtime, tokens, 1, LENGTH);
        assert_int_equal(kv_cache_new(&cache, m.runtime, &shape, &err), 0);
        for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++)
            extend(&m, cache, tokens, cuts[i], cuts[i + 1], have);
        check_equal(have, want, LENGTH, VOCAB, "in pieces");
        extend(&m, cache, tokens, 50, 90, have); /* cut back, and on again */
        check_equal(have, want, LENGTH, VOCAB, "again from 50");
        kv_cache_free(cache);
        free(want);
        test_model_close(&m);
    }
    free(have);
    free(tokens);
}

/* Schedules */

enum { N_TEXTS = 5, N_LANES = 4 };

struct heard {
    float *logits[N_LANES], *mtp[N_LANES];
    double block_error[LAYERS];
    size_t unit_sequences;
    int equal_choices;
};

static int hear(void *arg, const struct schedule_logits *l, struct prep_error *err)
{
    struct heard *h = arg;
    const size_t less = l->mtp_layer >= 0;
    (void)err;
    for (size_t lane = 0; lane < N_LANES; lane++) {
        float *out = (less ? h->mtp : h->logits)[lane];
        if (!l->logits[lane] || !out)
            continue;
        memcpy(out + (l->first_sequence * (LENGTH - less) + l->first_row) * VOCAB, l->logits[lane],
               l->n_rows * VOCAB * sizeof *out);
    }
    return 0;
}

/* Lane 2 is forced by lane 0, lane 3 is fed by it, too. */
static int compare_lanes(void *arg, const struct schedule_at *at, struct prep_error *err)
{
    struct heard *h = arg;
    float y[HIDDEN], q[HIDDEN];
    for (size_t t = 0; t < at->n_tokens; t++) {
        const int32_t *a = batch_experts(at->batches[0], at->offsets[0] + t);
        const int32_t *b = batch_experts(at->batches[2], at->offsets[2] + t);
        size_t n;
        const uint32_t *x = batch_selected(at->batches[0], at->offsets[0] + t, &n);
        const uint32_t *z = batch_selected(at->batches[2], at->offsets[2] + t, &n);
        h->equal_choices &= !a == !b && (!a || memcmp(a, b, CHOSEN * sizeof *a) == 0);
        h->equal_choices &= !x == !z && (!x || memcmp(x, z, n * sizeof *x) == 0);
        if (batch_get_hidden(at->batches[0], at->offsets[0] + t, 1, y, err) ||
            batch_get_hidden(at->batches[3], at->offsets[3] + t, 1, q, err))
            return -1;
        for (size_t i = 0; i < HIDDEN; i++)
            h->block_error[at->layer] += (double)(q[i] - y[i]) * (double)(q[i] - y[i]);
    }
    return 0;
}

static void heard_new(struct heard *h)
{
    *h = (struct heard){.equal_choices = 1};
    for (size_t i = 0; i < 3; i++) {
        h->logits[i] = calloc(N_TEXTS * LENGTH, VOCAB * sizeof(float));
        h->mtp[i] = calloc(N_TEXTS * LENGTH, VOCAB * sizeof(float));
        assert_true(h->logits[i] && h->mtp[i]);
    }
}

static void heard_free(struct heard *h)
{
    for (size_t i = 0; i < N_LANES; i++) {
        free(h->logits[i]);
        free(h->mtp[i]);
    }
}

/* All lanes that quality.md asks for, between a model and another one. */
static void run_lanes(struct heard *h, struct test_model *a, struct test_model *b,
                      const struct schedule *how)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct sequence s[N_TEXTS];
    uint32_t *tokens = texts(N_TEXTS);
    const struct lane lanes[N_LANES] = {{a->runtime, -1, -1, NULL, NULL},
                                        {b->runtime, -1, -1, NULL, NULL},
                                        {b->runtime, 0, -1, NULL, NULL},
                                        {b->runtime, 0, 0, NULL, NULL}};
    struct schedule schedule = *how;
    heard_new(h);
    for (size_t i = 0; i < N_TEXTS; i++)
        s[i] = (struct sequence){.tokens = tokens + i * LENGTH, .n = LENGTH};
    schedule.sequences = s;
    schedule.n_sequences = N_TEXTS;
    schedule.lanes = lanes;
    schedule.n_lanes = N_LANES;
    schedule.with_mtp = 1;
    schedule.io = &io_posix;
    schedule.visitor = (struct schedule_visitor){.arg = h, .after = compare_lanes, .logits = hear};
    if (schedule_run(&schedule, &err))
        fail_msg("%s", err.msg);
    free(tokens);
}

static void check_heard(const struct heard *have, const struct heard *want)
{
    for (size_t i = 0; i < 3; i++) {
        check_equal(have->logits[i], want->logits[i], N_TEXTS * LENGTH, VOCAB, "logits");
        check_equal(have->mtp[i], want->mtp[i], N_TEXTS * (LENGTH - 1), VOCAB, "MTP");
    }
}

static void schedules_change_nothing(void **state)
{
    const struct schedule orders[] = {
        {.unit_sequences = 5},
        {.unit_sequences = 2},
        {.unit_sequences = 2, .layer_major = 1},
        {.unit_sequences = 3, .layer_major = 1, .spill = test_path("%s/spill", test_temp_dir())}};
    struct runtime_options options = test_model_options();
    struct test_model a, b;
    struct heard want;
    (void)state;
    test_model_open(&a, nano(), &options);
    options.index_pattern = "FFSFS"; /* another model, and state between its layers */
    test_model_open(&b, nano(), &options);
    run_lanes(&want, &a, &b, &orders[0]);
    uint32_t *tokens = texts(N_TEXTS);
    float *alone = test_model_logits(a.runtime, tokens, N_TEXTS, LENGTH);
    check_equal(want.logits[0], alone, N_TEXTS * LENGTH, VOCAB, "first lane");
    /* With the choices of A, B is A: only its choices were other ones. */
    check_equal(want.logits[2], alone, N_TEXTS * LENGTH, VOCAB, "forced lane");
    assert_memory_not_equal(want.logits[1], alone, N_TEXTS * LENGTH * VOCAB * sizeof *alone);
    assert_true(want.equal_choices);
    for (int layer = 0; layer < LAYERS; layer++)
        assert_true(want.block_error[layer] == 0);
    for (size_t i = 1; i < sizeof orders / sizeof orders[0]; i++) {
        struct heard have;
        run_lanes(&have, &a, &b, &orders[i]);
        check_heard(&have, &want);
        heard_free(&have);
    }
    assert_false(test_exists(orders[3].spill));
    heard_free(&want);
    free(alone);
    free(tokens);
    test_model_close(&a);
    test_model_close(&b);
}

static void a_quantized_model_differs_by_its_weights_only(void **state)
{
    const struct runtime_options options = test_model_options();
    const struct schedule how = {.unit_sequences = 3};
    struct test_model a, b;
    struct heard h;
    (void)state;
    test_model_open(&a, nano(), &options);
    test_model_open(&b, make_parent(PARENT_Q), &options);
    run_lanes(&h, &a, &b, &how);
    assert_true(h.equal_choices);
    for (int layer = 0; layer < LAYERS; layer++) /* experts alone are quantized */
        assert_true((h.block_error[layer] > 0) == (layer >= FIRST_MOE));
    heard_free(&h);
    test_model_close(&a);
    test_model_close(&b);
}

/* Experts */

/* Expert e of every layer becomes expert to[e]. */
static const char *permuted(const int *to)
{
    static const char *const parts[] = {"gate", "up", "down"};
    struct edit e;
    edit_open(&e, nano());
    for (int layer = FIRST_MOE; layer <= LAYERS; layer++) {
        const char *mlp = test_path("model.layers.%d.mlp", layer);
        unsigned char *gate = edit_bytes(&e, edit_get(&e, "%s.gate.weight", mlp));
        float *bias =
            (float *)(void *)edit_bytes(&e, edit_get(&e, "%s.gate.e_score_correction_bias", mlp));
        unsigned char rows[EXPERTS][2 * HIDDEN];
        float biases[EXPERTS];
        memcpy(rows, gate, sizeof rows);
        memcpy(biases, bias, sizeof biases);
        for (int i = 0; i < EXPERTS; i++) {
            memcpy(gate + (size_t)to[i] * sizeof rows[0], rows[i], sizeof rows[0]);
            bias[to[i]] = biases[i];
            for (int p = 0; p < 3; p++)
                edit_rename(&e, test_path("%s.experts.%d.%s_proj.weight", mlp, i, parts[p]),
                            test_path("x%d.%d.%d", layer, to[i], p));
        }
        for (int i = 0; i < EXPERTS; i++)
            for (int p = 0; p < 3; p++)
                edit_rename(&e, test_path("x%d.%d.%d", layer, i, p),
                            test_path("%s.experts.%d.%s_proj.weight", mlp, i, parts[p]));
    }
    const char *dir = edit_write(&e);
    edit_close(&e);
    return dir;
}

static void renumbering_experts_changes_nothing(void **state)
{
    static const int to[EXPERTS] = {7, 0, 15, 3, 9, 1, 12, 5, 2, 14, 8, 11, 4, 13, 6, 10};
    check_same_model(nano(), permuted(to), 2);
    (void)state;
}

/* Note who is asked, in the main layers. */
static int note_experts(void *arg, const struct tap_router *r, struct prep_error *err)
{
    unsigned char *asked = arg;
    (void)err;
    for (size_t i = 0; i < r->n * r->k; i++)
        asked[r->layer * EXPERTS + r->experts[i]] = 1;
    return 0;
}

/* Few tokens, so that some experts rest. */
enum { SHORT = 6 };

/* {"2": [..], ..}: those that are asked, filled up to the same number everywhere. */
static void keep_text(struct json_out *text, struct span *json, const unsigned char *asked,
                      int most)
{
    struct prep_error err = PREP_ERROR_INIT;
    json_out_init(text, JSON_ONE_LINE);
    json_out_open(text, '{');
    for (int layer = FIRST_MOE; layer <= LAYERS; layer++) {
        int spare = most;
        for (int e = 0; e < EXPERTS; e++)
            spare -= asked[layer * EXPERTS + e];
        json_out_key(text, test_path("%d", layer));
        json_out_open(text, '[');
        for (int e = 0; e < EXPERTS; e++)
            if (asked[layer * EXPERTS + e] || spare-- > 0)
                json_out_i64(text, e);
        json_out_close(text);
    }
    json_out_close(text);
    assert_int_equal(json_out_finish(text, json, &err), 0);
}

static void removing_experts_nobody_asks_changes_nothing(void **state)
{
    unsigned char asked[(LAYERS + 1) * EXPERTS] = {0};
    const struct runtime_options options = test_model_options();
    const struct taps taps = {.arg = asked, .router = note_experts};
    struct prep_error err = PREP_ERROR_INIT;
    struct keep_map map;
    struct prune_output out;
    struct config config;
    struct runtime *r;
    struct test_model m;
    uint32_t *tokens = texts(1);
    struct json_out text;
    struct span json;
    int most = 0;
    (void)state;
    test_model_open(&m, nano(), &options);
    struct batch *b = test_batch(m.runtime, tokens, 1, SHORT);
    assert_int_equal(runtime_embed(m.runtime, b, &err), 0);
    for (int layer = 0; layer < LAYERS; layer++)
        assert_int_equal(runtime_layer(m.runtime, layer, b, &taps, &err), 0);
    float *want = test_logits(m.runtime, b, -1);
    batch_free(b);
    for (int layer = FIRST_MOE; layer < LAYERS; layer++) {
        int n = 0;
        for (int e = 0; e < EXPERTS; e++)
            n += asked[layer * EXPERTS + e];
        most = n > most ? n : most;
    }
    assert_in_range(most, CHOSEN, EXPERTS - 1);
    keep_text(&text, &json, asked, most);
    if (keep_map_parse(&map, (const char *)json.p, json.n, "map", &err) ||
        prune_apply(&out, m.ckpt, &m.config, &map, &(struct apply_options){0}, NULL, &err) ||
        config_parse(&config, (const char *)out.edited[0].text.p, out.edited[0].text.n, "config",
                     NULL, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(config.n_routed_experts, most);
    const struct runtime_source source = {.view = &out.view, .config = &config};
    if (runtime_open(&r, &source, &options, NULL, &err))
        fail_msg("%s", err.msg);
    float *have = test_model_logits(r, tokens, 1, SHORT);
    check_equal(have, want, SHORT, VOCAB, "with fewer experts");
    runtime_close(r);
    config_free(&config);
    prune_output_fini(&out);
    keep_map_free(&map);
    json_out_free(&text);
    free(have);
    free(want);
    free(tokens);
    test_model_close(&m);
}

/* Stored forms */

/* A copy of a checkpoint with every coded linear decoded, and no quantization_config. */
static const char *decoded(const char *dir, enum dtype dtype)
{
    struct test_linears t;
    struct linear_codec codec;
    struct edit e;
    linears_open(&t, dir);
    linear_codec_init(&codec, N_ISA - 1);
    edit_open(&e, dir);
    for (size_t i = 0; i < t.all.n; i++) {
        const struct linear *l = &t.all.items[i];
        struct span inputs[LINEAR_PARTS];
        struct prep_error err = PREP_ERROR_INIT;
        if (l->form == LINEAR_PLAIN)
            continue;
        unsigned char *out = calloc(l->out * l->in, 4);
        const struct linear_rows rows = {.n = l->out,
                                         .f32 = dtype == DTYPE_F32 ? (float *)(void *)out : NULL,
                                         .bf16 =
                                             dtype == DTYPE_BF16 ? (uint16_t *)(void *)out : NULL};
        inputs_read(inputs, t.ckpt, l);
        if (linear_decode_rows(l, &codec, inputs, &rows, &err))
            fail_msg("%s", err.msg);
        inputs_free(inputs, l);
        edit_add(&e, l->tensors[0].info->name, test_path("decoded.%zu", i), dtype, 2,
                 (const uint64_t[]){l->out, l->in}, out);
        for (int k = 0; k < l->n_tensors; k++)
            edit_remove(&e, l->tensors[k].info->name);
        edit_rename(&e, test_path("decoded.%zu", i), test_path("%s.weight", l->name));
        free(out);
    }
    const char *text = edit_text(&e, "config.json"), *at = strstr(text, "\"quantization_config\"");
    assert_non_null(at);
    char *without = strdup(text);
    assert_non_null(without);
    memcpy(without + (at - text), "\"was__________config\"", strlen("\"quantization_config\""));
    edit_set_text(&e, "config.json", without);
    free(without);
    const char *out = edit_write(&e);
    edit_close(&e);
    linears_close(&t);
    return out;
}

static void coded_weights_run_as_their_decoded_values(void **state)
{
    static const enum parent coded[] = {PARENT_Q, PARENT_A, PARENT_C, PARENT_G};
    (void)state;
    for (size_t i = 0; i < sizeof coded / sizeof coded[0]; i++) {
        const char *dir = make_parent(coded[i]);
        check_same_model(decoded(dir, DTYPE_F32), dir, 1);
    }
}

/* fixture fp8/mini: 2 sequences of 48 tokens, reference semantics with eps 1e-5 in all norms. */
static void fp8_blocks_run_as_their_decoded_values(void **state)
{
    enum { N = 2, TOKENS = 48, WORDS = 64 };
    const char *dir = test_path("%s/fp8/mini", test_data());
    struct runtime_options options = test_model_options();
    struct test_model m;
    struct stored s;
    uint32_t tokens[N * TOKENS];
    float *logits[3];
    const char *const dirs[3] = {dir, decoded(dir, DTYPE_F32), decoded(dir, DTYPE_BF16)};
    (void)state;
    stored_open(&s, test_path("%s/fp8/mini_logits.safetensors", test_data()));
    const int64_t *ids = (const int64_t *)(const void *)stored_bytes(&s, "input_ids");
    const float *want = (const float *)(const void *)stored_bytes(&s, "logits");
    for (size_t i = 0; i < N * TOKENS; i++)
        tokens[i] = (uint32_t)ids[i];
    options.latent_eps = 1e-5;
    for (size_t i = 0; i < 3; i++) {
        test_model_open(&m, dirs[i], &options);
        logits[i] = test_model_logits(m.runtime, tokens, N, TOKENS);
        test_model_close(&m);
    }
    check_equal(logits[0], logits[1], N * TOKENS, WORDS, "FP8 blocks");
    for (size_t i = 0; i < N * TOKENS * WORDS; i++) /* the fixture's weights are BF16 */
        assert_true(fabs((double)logits[2][i] - (double)want[i]) < 2e-5);
    for (size_t i = 0; i < 3; i++)
        free(logits[i]);
    stored_close(&s);
}

static void the_hard_model_says_the_same(void **state)
{
    static const char *const strengths[] = {"0.5", "1.0"};
    const char *tools = getenv("PREP_TEST_TOOLS");
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *out = test_path("%s/hard", test_temp_dir());
        const int status = system(test_path("%s/make_hard '%s' '%s' --strength %s >/dev/null",
                                            tools && *tools ? tools : "build/release/tests/tools",
                                            nano(), out, strengths[i]));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        check_same_model(nano(), out, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_and_threads_change_nothing),
        cmocka_unit_test(memory_changes_nothing),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(splitting_onto_a_cache_changes_nothing),
        cmocka_unit_test(schedules_change_nothing),
        cmocka_unit_test(a_quantized_model_differs_by_its_weights_only),
        cmocka_unit_test(renumbering_experts_changes_nothing),
        cmocka_unit_test(removing_experts_nobody_asks_changes_nothing),
        cmocka_unit_test(coded_weights_run_as_their_decoded_values),
        cmocka_unit_test(fp8_blocks_run_as_their_decoded_values),
        cmocka_unit_test(the_hard_model_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
