/* SPDX-License-Identifier: MIT */
#include "tests/support/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/numeric/elementary.h"
#include "tests/support/stored.h"

int test_model_try(struct test_model *m, const char *dir, const struct runtime_options *options,
                   struct prep_error *err)
{
    *m = (struct test_model){0};
    if (checkpoint_open(&m->ckpt, &io_posix, dir, NULL, err) ||
        config_load(&m->config, &io_posix, dir, NULL, err))
        return -1;
    const struct runtime_source source = {.checkpoint = m->ckpt, .config = &m->config};
    return runtime_open(&m->runtime, &source, options, NULL, err);
}

void test_model_open(struct test_model *m, const char *dir, const struct runtime_options *options)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (test_model_try(m, dir, options, &err))
        fail_msg("%s", err.msg);
}

void test_model_close(struct test_model *m)
{
    runtime_close(m->runtime);
    config_free(&m->config);
    checkpoint_close(m->ckpt);
    *m = (struct test_model){0};
}

struct runtime_options test_model_options(void)
{
    return (struct runtime_options){.n_threads = 2, .isa = N_ISA - 1};
}

struct batch *test_batch(struct runtime *r, const uint32_t *tokens, size_t n_sequences,
                         size_t length)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct sequence *s = calloc(n_sequences, sizeof *s);
    struct batch *b = NULL;
    assert_non_null(s);
    for (size_t i = 0; i < n_sequences; i++)
        s[i] = (struct sequence){.tokens = tokens + i * length, .n = length};
    if (batch_new(&b, r, s, n_sequences, &err))
        fail_msg("%s", err.msg);
    free(s);
    return b;
}

void test_forward(struct runtime *r, struct batch *b)
{
    struct prep_error err = PREP_ERROR_INIT;
    int rc = runtime_embed(r, b, &err);
    for (int layer = 0; layer < runtime_config(r)->num_hidden_layers && !rc; layer++)
        rc = runtime_layer(r, layer, b, NULL, &err);
    if (rc)
        fail_msg("%s", err.msg);
}

float *test_logits(struct runtime *r, const struct batch *b, int layer)
{
    const struct config *c = runtime_config(r);
    const size_t n = batch_n_tokens(b);
    struct prep_error err = PREP_ERROR_INIT;
    float *z = malloc(n * (size_t)c->hidden_size * sizeof *z);
    float *logits = malloc(n * (size_t)c->vocab_size * sizeof *logits);
    assert_non_null(z);
    assert_non_null(logits);
    if (runtime_final(r, layer, b, 0, n, z, &err) || runtime_logits(r, z, n, logits, NULL, &err))
        fail_msg("%s", err.msg);
    free(z);
    return logits;
}

float *test_model_logits(struct runtime *r, const uint32_t *tokens, size_t n_sequences,
                         size_t length)
{
    struct batch *b = test_batch(r, tokens, n_sequences, length);
    test_forward(r, b);
    float *logits = test_logits(r, b, -1);
    batch_free(b);
    return logits;
}

double test_logsumexp(const float *logits, size_t n)
{
    double most = logits[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    for (size_t i = 0; i < n; i++)
        sum += prep_exp(logits[i] - most);
    return most + prep_log(sum);
}

double test_nats(const float *logits, size_t n, uint32_t target)
{
    return test_logsumexp(logits, n) - (double)logits[target];
}

uint32_t *test_reference_tokens(void)
{
    const size_t n = REFERENCE_SEQUENCES * REFERENCE_LENGTH;
    struct stored s;
    uint32_t *tokens = malloc(n * sizeof *tokens);
    assert_non_null(tokens);
    stored_open(&s, test_path("%s/glm-nano-reference/tokens.safetensors", test_data()));
    memcpy(tokens, stored_bytes(&s, "tokens"), n * sizeof *tokens);
    stored_close(&s);
    return tokens;
}
