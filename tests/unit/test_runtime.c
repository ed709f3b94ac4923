/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "libprep/engine/kv_parts.h"
#include "libprep/engine/schedule.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/forward.h"

enum { HIDDEN = 256, RANK = 256, ROPE = 32, DIM = 64, LAYER = 2, MTP = 5, TOKENS = 3 };

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

static const uint32_t WORDS[TOKENS] = {17, 900, 3};

/* Every norm with its own epsilon, on inputs of size 1e-3 */

/* A BF16 tensor times 2^exponent. */
static void scale_tensor(struct edit *e, const char *name, int exponent)
{
    struct edit_tensor *t = edit_get(e, "%s", name);
    unsigned char *p = edit_bytes(e, t);
    for (size_t i = 0; i < t->info.bytes / 2; i++)
        store_u16_at(p, i, bf16_from_f32(ldexpf(f32_from_bf16(load_u16_at(p, i)), exponent)));
}

/*
 * Layer 2 and the MTP layer with an attention that adds nothing, and with projections so small that
 * what is normed after them is small, too.
 */
static const char *small_model(void)
{
    static const char *const small[] = {"q_a_proj", "kv_a_proj_with_mqa", "indexer.wk"};
    struct edit e;
    edit_open(&e, nano());
    for (size_t i = 0; i < 3; i++)
        scale_tensor(&e, test_path("model.layers.%d.self_attn.%s.weight", LAYER, small[i]), -9);
    for (int layer = LAYER; layer <= MTP; layer += MTP - LAYER) {
        struct edit_tensor *o = edit_get(&e, "model.layers.%d.self_attn.o_proj.weight", layer);
        memset(edit_bytes(&e, o), 0, o->info.bytes);
    }
    scale_tensor(&e, "model.embed_tokens.weight", -10);
    const char *dir = edit_write(&e);
    edit_close(&e);
    return dir;
}

struct seen {
    float attention[TOKENS * HIDDEN], query[TOKENS * HIDDEN], latent[TOKENS * RANK];
    float mlp[TOKENS * HIDDEN], eh[TOKENS * 2 * HIDDEN];
};

static int keep_input(void *arg, const struct tap_rows *r, struct prep_error *err)
{
    struct seen *s = arg;
    float *to = r->part == PART_Q_A       ? s->attention
                : r->part == PART_Q_B     ? s->query
                : r->part == PART_KV_B    ? s->latent
                : r->part == PART_ROUTER  ? s->mlp
                : r->part == PART_EH_PROJ ? s->eh
                                          : NULL;
    (void)err;
    for (size_t i = 0; i < r->n && to; i++)
        memcpy(to + i * r->cols, r->x + i * r->ld, r->cols * sizeof *to);
    return 0;
}

/* A vector or matrix of the checkpoint. */
static float *values_of(const struct test_model *m, const char *name, size_t n)
{
    const struct checkpoint_tensor *t = checkpoint_find(m->ckpt, name);
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char *bytes = malloc(2 * n);
    float *out = malloc(n * sizeof *out);
    assert_true(t && bytes && out);
    assert_int_equal(t->info.bytes, 2 * n);
    assert_int_equal(checkpoint_read(m->ckpt, t, 0, bytes, 2 * n, &err), 0);
    for (size_t i = 0; i < n; i++)
        out[i] = f32_from_bf16(load_u16_at(bytes, i));
    free(bytes);
    return out;
}

/* Is y = (x - mean) / sqrt(var + eps) * w + b, and would another epsilon be seen? */
static void check_norm(const struct test_model *m, const char *name, const float *y,
                       const double *x, size_t n, double eps, int layer_norm)
{
    float *w = values_of(m, test_path("%s.weight", name), n);
    float *b = layer_norm ? values_of(m, test_path("%s.bias", name), n) : NULL;
    double mean = 0, square = 0;
    for (size_t i = 0; i < n && layer_norm; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)n;
    const double s = 1 / sqrt(square + eps), other = 1 / sqrt(square + (eps > 5e-6 ? 1e-6 : 1e-5));
    assert_true(fabs(other / s - 1) > 0.01);
    for (size_t i = 0; i < n; i++) {
        const double want = (x[i] - mean) * s * (double)w[i] + (b ? (double)b[i] : 0);
        if (fabs(want - (double)y[i]) > 1e-4 * (fabs(want) + 1e-3))
            fail_msg("%s: value %zu is %g, want %g", name, i, (double)y[i], want);
    }
    free(w);
    free(b);
}

/* out = W x, W [n, HIDDEN] of the checkpoint. */
static void multiply(double *out, const struct test_model *m, const char *name, const float *x,
                     size_t n, size_t rows)
{
    float *w = values_of(m, name, rows * HIDDEN);
    for (size_t i = 0; i < n; i++) {
        out[i] = 0;
        for (size_t k = 0; k < HIDDEN; k++)
            out[i] += (double)w[i * HIDDEN + k] * (double)x[k];
    }
    free(w);
}

static void small_hidden(float *h)
{
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < TOKENS * HIDDEN; i++)
        h[i] = ((float)test_random_below(&r, 2001) - 1000) * 2e-6F;
}

static void widen(double *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i];
}

static void check_layer_norms(double latent_eps)
{
    struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    struct kv_cache *cache;
    const struct kv_cache_shape shape = {0, 5, TOKENS, KV_F32};
    struct batch *b;
    static struct seen seen;
    const struct taps taps = {.arg = &seen, .input = keep_input};
    float h[TOKENS * HIDDEN], ik[DIM];
    double x[HIDDEN];
    options.latent_eps = latent_eps;
    test_model_open(&m, small_model(), &options);
    assert_int_equal(kv_cache_new(&cache, m.runtime, &shape, &err), 0);
    const struct sequence s = {.tokens = WORDS, .n = TOKENS, .cache = cache};
    assert_int_equal(batch_new(&b, m.runtime, &s, 1, &err), 0);
    small_hidden(h);
    assert_int_equal(batch_set_hidden(b, 0, TOKENS, h, &err), 0);
    if (runtime_layer(m.runtime, LAYER, b, &taps, &err))
        fail_msg("%s", err.msg);
    const char *self = test_path("model.layers.%d.self_attn", LAYER);
    const double eps = latent_eps > 0 ? latent_eps : 1e-6;
    widen(x, h, HIDDEN);
    check_norm(&m, test_path("model.layers.%d.input_layernorm", LAYER), seen.attention, x, HIDDEN,
               1e-5, 0);
    check_norm(&m, test_path("model.layers.%d.post_attention_layernorm", LAYER), seen.mlp, x,
               HIDDEN, 1e-5, 0);
    multiply(x, &m, test_path("%s.q_a_proj.weight", self), seen.attention, HIDDEN, HIDDEN);
    check_norm(&m, test_path("%s.q_a_layernorm", self), seen.query, x, HIDDEN, eps, 0);
    multiply(x, &m, test_path("%s.kv_a_proj_with_mqa.weight", self), seen.attention, RANK,
             RANK + ROPE);
    check_norm(&m, test_path("%s.kv_a_layernorm", self), seen.latent, x, RANK, eps, 0);
    multiply(x, &m, test_path("%s.indexer.wk.weight", self), seen.attention, DIM, DIM);
    memcpy(ik, cache->index_keys[LAYER], sizeof ik); /* position 0 is not rotated */
    check_norm(&m, test_path("%s.indexer.k_norm", self), ik, x, DIM, 1e-6, 1);
    batch_free(b);
    kv_cache_free(cache);
    test_model_close(&m);
}

static void each_norm_of_a_layer_has_its_epsilon(void **state)
{
    check_layer_norms(0);
    (void)state;
}

static void latent_norms_take_the_epsilon_asked_for(void **state)
{
    check_layer_norms(1e-5);
    (void)state;
}

static void norms_around_the_layers_have_their_epsilon(void **state)
{
    const struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    static struct seen seen;
    const struct taps taps = {.arg = &seen, .input = keep_input};
    float h[TOKENS * HIDDEN], z[TOKENS * HIDDEN];
    double x[HIDDEN];
    (void)state;
    test_model_open(&m, small_model(), &options);
    struct batch *b = test_batch(m.runtime, WORDS, 1, TOKENS);
    small_hidden(h);
    assert_int_equal(batch_set_hidden(b, 0, TOKENS, h, &err), 0);
    widen(x, h, HIDDEN);
    assert_int_equal(runtime_final(m.runtime, -1, b, 0, TOKENS, z, &err), 0);
    check_norm(&m, "model.norm", z, x, HIDDEN, 1e-5, 0);
    assert_int_equal(runtime_final(m.runtime, MTP, b, 0, TOKENS, z, &err), 0);
    check_norm(&m, "model.layers.5.shared_head.norm", z, x, HIDDEN, 1e-5, 0);
    assert_int_equal(runtime_mtp_embed(m.runtime, MTP, b, h, &taps, &err), 0);
    check_norm(&m, "model.layers.5.hnorm", seen.eh + HIDDEN, x, HIDDEN, 1e-5, 0);
    assert_int_equal(runtime_embed(m.runtime, b, &err), 0);
    assert_int_equal(batch_get_hidden(b, 0, TOKENS, h, &err), 0);
    widen(x, h, HIDDEN);
    check_norm(&m, "model.layers.5.enorm", seen.eh, x, HIDDEN, 1e-5, 0);
    batch_free(b);
    test_model_close(&m);
}

/* Bad input */

static void check_refused(struct edit *e, const struct runtime_options *options,
                          enum prep_code code, const char *tag, const char *says)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    const char *dir = edit_write(e);
    edit_close(e);
    assert_int_equal(test_model_try(&m, dir, options, &err), -1);
    test_model_close(&m);
    if (err.code != code || strcmp(err.tag, tag) != 0 || !strstr(err.msg, says))
        fail_msg("%s (%s), want %s with \"%s\"", err.msg, err.tag, tag, says);
}

static void a_missing_tensor_is_named_at_open(void **state)
{
    static const char *const names[] = {"model.layers.3.mlp.experts.9.down_proj.weight",
                                        "model.layers.0.self_attn.kv_b_proj.weight",
                                        "model.layers.2.mlp.gate.e_score_correction_bias",
                                        "model.norm.weight",
                                        "model.embed_tokens.weight",
                                        "lm_head.weight",
                                        "model.layers.1.self_attn.indexer.k_norm.bias",
                                        "model.layers.5.eh_proj.weight"};
    const struct runtime_options options = test_model_options();
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct edit e;
        edit_open(&e, nano());
        edit_remove(&e, names[i]);
        check_refused(&e, &options, PREP_EDATA, "TENSOR_MISSING", names[i]);
    }
}

static void a_misshapen_tensor_is_named_at_open(void **state)
{
    static const char *const names[] = {"model.layers.3.mlp.experts.9.down_proj.weight",
                                        "model.layers.4.mlp.gate.weight", "lm_head.weight"};
    static const unsigned char zeros[2 * 7 * HIDDEN];
    const struct runtime_options options = test_model_options();
    struct edit e;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        edit_open(&e, nano());
        edit_set(&e, edit_get(&e, "%s", names[i]), DTYPE_BF16, 2, (const uint64_t[]){7, HIDDEN},
                 zeros);
        check_refused(&e, &options, PREP_EDATA, "TENSOR_SHAPE", "[7, 256]");
    }
    edit_open(&e, nano());
    edit_set(&e, edit_get(&e, "model.norm.weight"), DTYPE_I32, 1, (const uint64_t[]){HIDDEN},
             zeros);
    check_refused(&e, &options, PREP_EDATA, "TENSOR_DTYPE", "model.norm.weight");
}

static void what_the_model_cannot_have_is_refused(void **state)
{
    static const unsigned char zeros[2 * HIDDEN];
    const struct runtime_options options = test_model_options();
    struct edit e;
    (void)state;
    edit_open(&e, nano());
    edit_add(&e, "model.layers.0.self_attn.q_a_proj.weight",
             "model.layers.0.self_attn.q_a_proj.bias", DTYPE_BF16, 1, (const uint64_t[]){HIDDEN},
             zeros);
    check_refused(&e, &options, PREP_EUNSUP, "UNSUPPORTED", "q_a_proj.bias");
}

static void index_patterns_are_judged(void **state)
{
    static const char *const bad[] = {"", "FFFF", "FFFFFF", "SFFFF", "FFfFF"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct runtime_options options = test_model_options();
        struct edit e;
        edit_open(&e, nano());
        options.index_pattern = bad[i];
        check_refused(&e, &options, PREP_EUSAGE, "INDEXCACHE", "one per main layer");
    }
}

static void indexer_tensors_are_asked_for_only_where_one_runs(void **state)
{
    static const char *const parts[] = {"wq_b.weight", "wk.weight", "k_norm.weight", "k_norm.bias",
                                        "weights_proj.weight"};
    struct runtime_options options = test_model_options();
    struct edit e;
    struct test_model m;
    (void)state;
    edit_open(&e, nano());
    for (size_t i = 0; i < 5; i++)
        edit_remove(&e, test_path("model.layers.2.self_attn.indexer.%s", parts[i]));
    const char *dir = edit_write(&e);
    edit_close(&e);
    options.index_pattern = "FFSFF";
    test_model_open(&m, dir, &options);
    test_model_close(&m);
    options.index_pattern = NULL;
    options.dense = 1;
    test_model_open(&m, dir, &options);
    test_model_close(&m);
    options.dense = 0;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(test_model_try(&m, dir, &options, &err), -1);
    assert_string_equal(err.tag, "TENSOR_MISSING");
    test_model_close(&m);
}

static void sequences_are_judged(void **state)
{
    const struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    struct batch *b;
    uint32_t *tokens = calloc(2049, sizeof *tokens);
    (void)state;
    test_model_open(&m, nano(), &options);
    struct sequence s = {.tokens = tokens, .n = 2049};
    assert_int_equal(batch_new(&b, m.runtime, &s, 1, &err), -1);
    assert_string_equal(err.tag, "POSITION");
    prep_error_clear(&err);
    s.n = 3;
    tokens[2] = 2048;
    assert_int_equal(batch_new(&b, m.runtime, &s, 1, &err), -1);
    assert_string_equal(err.tag, "TOKEN_ID");
    assert_non_null(strstr(err.msg, "token 2 of sequence 0 is 2048"));
    test_model_close(&m);
    free(tokens);
}

/* NaN and infinity */

/* One element of a BF16 tensor. */
static const char *with_value(const char *name, size_t i, float value)
{
    struct edit e;
    edit_open(&e, nano());
    store_u16_at(edit_bytes(&e, edit_get(&e, "%s", name)), i, bf16_from_f32(value));
    const char *dir = edit_write(&e);
    edit_close(&e);
    return dir;
}

static void check_not_finite(const char *dir, const char *first, const char *second)
{
    const struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    test_model_open(&m, dir, &options);
    struct batch *b = test_batch(m.runtime, WORDS, 1, TOKENS);
    int rc = runtime_embed(m.runtime, b, &err);
    for (int layer = 0; layer < 5 && !rc; layer++)
        rc = runtime_layer(m.runtime, layer, b, NULL, &err);
    assert_int_equal(rc, -1);
    assert_string_equal(err.tag, "NOT_FINITE");
    if (!strstr(err.msg, first) || !strstr(err.msg, second))
        fail_msg("%s: want \"%s\" and \"%s\"", err.msg, first, second);
    batch_free(b);
    test_model_close(&m);
}

static void nan_is_traced_to_its_tensor_and_token(void **state)
{
    (void)state;
    check_not_finite(with_value("model.layers.3.self_attn.q_b_proj.weight", 70000, NAN),
                     "layer 3: model.layers.3.self_attn.q_b_proj gives",
                     "position 0 of sequence 0 (token 17)");
    check_not_finite(with_value("model.layers.1.post_attention_layernorm.weight", 5, INFINITY),
                     "layer 1: model.layers.1.post_attention_layernorm", "position 0");
    /* Token 900 stands second. */
    check_not_finite(with_value("model.embed_tokens.weight", 900 * HIDDEN + 3, NAN),
                     "layer 0: model.layers.0.input_layernorm",
                     "position 1 of sequence 0 (token 900)");
}

/* What is read, and how often */

static void what_fits_is_read_once(void **state)
{
    const struct runtime_options options = test_model_options();
    struct runtime_stats one, two;
    struct test_model m;
    uint32_t *tokens = test_reference_tokens();
    (void)state;
    test_model_open(&m, nano(), &options);
    free(test_model_logits(m.runtime, tokens, 1, 100));
    runtime_stats(m.runtime, &one);
    free(test_model_logits(m.runtime, tokens, 1, 100));
    runtime_stats(m.runtime, &two);
    assert_int_equal(two.read_bytes - one.read_bytes, 100 * 2 * HIDDEN); /* embeddings */
    free(tokens);
    test_model_close(&m);
}

static void lanes_that_do_not_fit_together_are_refused(void **state)
{
    const struct runtime_options options = test_model_options();
    struct test_model m;
    (void)state;
    test_model_open(&m, nano(), &options);
    const struct lane bad[][2] = {
        {{m.runtime, -1, -1, NULL, NULL}, {m.runtime, 1, -1, NULL, NULL}},
        {{m.runtime, 0, -1, NULL, NULL}, {m.runtime, -1, -1, NULL, NULL}},
        {{m.runtime, -1, -1, NULL, NULL}, {m.runtime, -1, 5, NULL, NULL}}};
    const struct sequence s = {.tokens = WORDS, .n = TOKENS};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        const struct schedule schedule = {
            .sequences = &s, .n_sequences = 1, .lanes = bad[i], .n_lanes = 2};
        assert_int_equal(schedule_run(&schedule, &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
    }
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_norm_of_a_layer_has_its_epsilon),
        cmocka_unit_test(latent_norms_take_the_epsilon_asked_for),
        cmocka_unit_test(norms_around_the_layers_have_their_epsilon),
        cmocka_unit_test(a_missing_tensor_is_named_at_open),
        cmocka_unit_test(a_misshapen_tensor_is_named_at_open),
        cmocka_unit_test(what_the_model_cannot_have_is_refused),
        cmocka_unit_test(index_patterns_are_judged),
        cmocka_unit_test(indexer_tensors_are_asked_for_only_where_one_runs),
        cmocka_unit_test(sequences_are_judged),
        cmocka_unit_test(nan_is_traced_to_its_tensor_and_token),
        cmocka_unit_test(what_fits_is_read_once),
        cmocka_unit_test(lanes_that_do_not_fit_together_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
