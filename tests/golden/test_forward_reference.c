/* SPDX-License-Identifier: MIT */
/*
 * glm-nano against glm-nano-reference, as its README words it: logits within 2e-4 on rows whose
 * choices equal the reference; a row may choose otherwise where scores differ by less than 1e-5, at
 * most two per sequence; mean nats per token within 1e-5.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/engine/generate.h"
#include "libprep/model/config.h"
#include "tests/support/forward.h"
#include "tests/support/stored.h"

enum {
    LENGTH = REFERENCE_LENGTH,
    VOCAB = 2048,
    HIDDEN = 256,
    TOP_K = 64,
    EXPERTS = 16,
    CHOSEN = 4,
    TOP = 64,
    MTP_LAYER = 5
};

#define LOGIT_ERROR 2e-4
#define NATS_ERROR 1e-5
#define TIE 1e-5

static const char *reference(const char *file)
{
    return test_path("%s/glm-nano-reference/%s", test_data(), file);
}

static const char *model(void)
{
    return test_path("%s/glm-nano", test_data());
}

/* "main" and "nll" of summary.json. */
static double stated(const char *object, const char *key)
{
    struct test_bytes text = test_read(reference("summary.json"));
    struct prep_error err = PREP_ERROR_INIT;
    struct json d;
    double v;
    assert_int_equal(json_parse(&d, (char *)text.p, text.n, "summary.json", &err), 0);
    assert_int_equal(json_f64(&d, json_get(&d, json_get(&d, 0, object), key), &v), 0);
    json_free(&d);
    free(text.p);
    return v;
}

/* Mean nats of the token `ahead` positions on, over rows_per of each sequence. */
static double mean_nats(const float *logits, const uint32_t *tokens, size_t rows_per, size_t ahead)
{
    double sum = 0;
    for (size_t s = 0; s < REFERENCE_SEQUENCES; s++)
        for (size_t t = 0; t + ahead < LENGTH; t++)
            sum += test_nats(logits + (s * rows_per + t) * VOCAB, VOCAB,
                             tokens[s * LENGTH + t + ahead]);
    return sum / (double)(REFERENCE_SEQUENCES * (LENGTH - ahead));
}

static void check_near(double have, double want, double tolerance, const char *what)
{
    if (!(fabs(have - want) <= tolerance))
        fail_msg("%s: %.9g, want %.9g within %g", what, have, want, tolerance);
}

/* Rows of our logits against a file of the 64 largest of each; excused rows are left out. */
static void check_top64(const float *logits, const char *file, size_t n_rows,
                        const unsigned char *excused)
{
    struct stored s;
    stored_open(&s, reference(file));
    const float *want = (const float *)(const void *)stored_bytes(&s, "topk_logits");
    const float *lse = (const float *)(const void *)stored_bytes(&s, "logsumexp");
    const int32_t *ids = (const int32_t *)(const void *)stored_bytes(&s, "topk_ids");
    assert_int_equal(stored_find(&s, "topk_ids")->shape[0], n_rows);
    for (size_t t = 0; t < n_rows; t++) {
        const float *row = logits + t * VOCAB;
        if (excused && excused[t])
            continue;
        for (size_t i = 0; i < TOP; i++)
            check_near(row[ids[t * TOP + i]], want[t * TOP + i], LOGIT_ERROR,
                       test_path("%s, row %zu, token %d", file, t, ids[t * TOP + i]));
        check_near(test_logsumexp(row, VOCAB), lse[t], LOGIT_ERROR,
                   test_path("%s, row %zu, log of the sum", file, t));
        assert_int_equal(greedy_pick(row, VOCAB), ids[t * TOP]);
    }
    stored_close(&s);
}

/* What sequence 0 chose, layer by layer */

struct watching {
    struct stored indexer, router, hidden;
    struct batch *b;
    struct runtime *r;
    unsigned char excused[LENGTH]; /* rows that chose otherwise, with reason */
};

static void check_selection(struct watching *w, int layer)
{
    const int32_t *want = (const int32_t *)(const void *)stored_bytes(
        &w->indexer, test_path("layer%d.selected", layer));
    const float *gap = (const float *)(const void *)stored_bytes(
        &w->indexer, test_path("layer%d.threshold_gap", layer));
    for (size_t t = 0; t < LENGTH; t++) {
        size_t n;
        const uint32_t *have = batch_selected(w->b, t, &n);
        assert_int_equal(n, t + 1 < TOP_K ? t + 1 : TOP_K);
        int equal = 1;
        for (size_t i = 0; i < n; i++)
            equal &= (have ? have[i] : (uint32_t)i) == (uint32_t)want[t * TOP_K + i];
        if (!equal && !(gap[t] < TIE))
            fail_msg("layer %d, row %zu: another selection, and no near tie (%g)", layer, t,
                     (double)gap[t]);
        if (!equal && gap[t] == 0)
            fail_msg("layer %d, row %zu: the tie rule is another", layer, t);
        w->excused[t] |= !equal;
    }
}

static void check_routing(struct watching *w, int layer)
{
    const int32_t *ids = (const int32_t *)(const void *)stored_bytes(
        &w->router, test_path("layer%d.topk_ids", layer));
    const float *weights = (const float *)(const void *)stored_bytes(
        &w->router, test_path("layer%d.topk_weights", layer));
    for (size_t t = 0; t < LENGTH; t++) {
        const int32_t *have = batch_experts(w->b, t);
        const float *gates = batch_gates(w->b, t);
        for (size_t k = 0; k < CHOSEN && !w->excused[t]; k++) {
            size_t at = 0;
            while (at < CHOSEN && have[at] != ids[t * CHOSEN + k])
                at++;
            if (at == CHOSEN)
                fail_msg("layer %d, row %zu: expert %d is not chosen", layer, t,
                         ids[t * CHOSEN + k]);
            check_near(gates[at], weights[t * CHOSEN + k], 1e-5,
                       test_path("layer %d, row %zu, gate of expert %d", layer, t, have[at]));
        }
    }
}

static int check_router_logits(void *arg, const struct tap_router *router, struct prep_error *err)
{
    struct watching *w = arg;
    const float *want = (const float *)(const void *)stored_bytes(
        &w->router, test_path("layer%d.logits", router->layer));
    (void)err;
    assert_int_equal(router->n_experts, EXPERTS);
    for (size_t i = 0; i < router->n; i++)
        for (size_t e = 0; e < EXPERTS && !w->excused[router->first_token + i]; e++)
            check_near(router->logits[i * EXPERTS + e],
                       want[(router->first_token + i) * EXPERTS + e], 1e-4, "router logit");
    return 0;
}

static void check_hidden(const struct watching *w, const char *name)
{
    const float *want = (const float *)(const void *)stored_bytes(&w->hidden, name);
    struct prep_error err = PREP_ERROR_INIT;
    float row[HIDDEN];
    for (size_t t = 0; t < LENGTH; t++) {
        assert_int_equal(batch_get_hidden(w->b, t, 1, row, &err), 0);
        for (size_t i = 0; i < HIDDEN && !w->excused[t]; i++)
            check_near(row[i], want[t * HIDDEN + i], 1e-4 * (1 + fabs(want[t * HIDDEN + i])),
                       test_path("%s, row %zu", name, t));
    }
}

static void sequence_0_agrees_in_every_layer(void **state)
{
    struct test_model m;
    struct watching w = {0};
    struct prep_error err = PREP_ERROR_INIT;
    const struct runtime_options options = test_model_options();
    const struct taps taps = {.arg = &w, .router = check_router_logits};
    uint32_t *tokens = test_reference_tokens();
    int n_excused = 0;
    (void)state;
    test_model_open(&m, model(), &options);
    stored_open(&w.indexer, reference("indexer_seq0.safetensors"));
    stored_open(&w.router, reference("router_seq0.safetensors"));
    stored_open(&w.hidden, reference("hidden_seq0.safetensors"));
    w.b = test_batch(m.runtime, tokens, 1, LENGTH);
    w.r = m.runtime;
    assert_int_equal(runtime_embed(m.runtime, w.b, &err), 0);
    check_hidden(&w, "embed");
    for (int layer = 0; layer < m.config.num_hidden_layers; layer++) {
        assert_int_equal(runtime_layer(m.runtime, layer, w.b, &taps, &err), 0);
        check_selection(&w, layer);
        if (m.config.is_moe[layer])
            check_routing(&w, layer);
        check_hidden(&w, test_path("layer%d", layer));
    }
    float *logits = test_logits(m.runtime, w.b, -1);
    check_top64(logits, "logits_seq0_top64.safetensors", LENGTH, w.excused);
    for (size_t t = 0; t < LENGTH; t++)
        n_excused += w.excused[t];
    assert_in_range(n_excused, 0, 2);
    free(logits);
    batch_free(w.b);
    stored_close(&w.indexer);
    stored_close(&w.router);
    stored_close(&w.hidden);
    free(tokens);
    test_model_close(&m);
}

static void final_norm_of_sequence_0_agrees(void **state)
{
    struct test_model m;
    struct stored s;
    struct prep_error err = PREP_ERROR_INIT;
    const struct runtime_options options = test_model_options();
    uint32_t *tokens = test_reference_tokens();
    float *z = malloc(LENGTH * HIDDEN * sizeof *z);
    (void)state;
    test_model_open(&m, model(), &options);
    stored_open(&s, reference("hidden_seq0.safetensors"));
    const float *want = (const float *)(const void *)stored_bytes(&s, "final_norm");
    struct batch *b = test_batch(m.runtime, tokens, 1, LENGTH);
    test_forward(m.runtime, b);
    assert_int_equal(runtime_final(m.runtime, -1, b, 0, LENGTH, z, &err), 0);
    for (size_t i = 0; i < LENGTH * HIDDEN; i++)
        check_near(z[i], want[i], 1e-4 * (1 + fabs(want[i])), test_path("value %zu", i));
    batch_free(b);
    stored_close(&s);
    free(z);
    free(tokens);
    test_model_close(&m);
}

/* All sequences */

static void check_case(const struct runtime_options *options, const char *object, const char *key,
                       const char *file)
{
    struct test_model m;
    uint32_t *tokens = test_reference_tokens();
    test_model_open(&m, model(), options);
    float *logits = test_model_logits(m.runtime, tokens, REFERENCE_SEQUENCES, LENGTH);
    check_near(mean_nats(logits, tokens, LENGTH, 1), stated(object, key), NATS_ERROR, object);
    if (file)
        check_top64(logits + (size_t)LENGTH * VOCAB, file, LENGTH, NULL);
    free(logits);
    free(tokens);
    test_model_close(&m);
}

static void likelihood_agrees_with_sparse_attention(void **state)
{
    const struct runtime_options options = test_model_options();
    check_case(&options, "main", "nll", "logits_seq1_top64.safetensors");
    (void)state;
}

static void likelihood_agrees_with_dense_attention(void **state)
{
    struct runtime_options options = test_model_options();
    options.dense = 1;
    check_case(&options, "dense_attention_no_topk", "nll", NULL);
    (void)state;
}

static void likelihood_agrees_with_shared_selections(void **state)
{
    struct runtime_options options = test_model_options();
    options.index_pattern = "FFSFS";
    check_case(&options, "indexcache_FFSFS", "nll",
               "logits_seq1_top64_indexcache_FFSFS.safetensors");
    (void)state;
}

static void likelihood_agrees_with_the_engines_epsilon(void **state)
{
    struct runtime_options options = test_model_options();
    options.latent_eps = 1e-5;
    check_case(&options, "q_a_kv_a_norm_eps_1e-5", "nll", NULL);
    (void)state;
}

/* MTP */

/* z of all rows but the last of each sequence, and the tokens after them. */
static struct batch *mtp_batch(struct test_model *m, const uint32_t *tokens, float *z)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct sequence next[REFERENCE_SEQUENCES];
    struct batch *b = test_batch(m->runtime, tokens, REFERENCE_SEQUENCES, LENGTH), *mtp = NULL;
    test_forward(m->runtime, b);
    for (size_t s = 0; s < REFERENCE_SEQUENCES; s++) {
        next[s] = (struct sequence){.tokens = tokens + s * LENGTH + 1, .n = LENGTH - 1};
        assert_int_equal(runtime_final(m->runtime, -1, b, s * LENGTH, LENGTH - 1,
                                       z + s * (LENGTH - 1) * HIDDEN, &err),
                         0);
    }
    batch_free(b);
    assert_int_equal(batch_new(&mtp, m->runtime, next, REFERENCE_SEQUENCES, &err), 0);
    return mtp;
}

static void check_mtp(int dense, const char *object, const char *file)
{
    struct test_model m;
    struct stored s;
    struct prep_error err = PREP_ERROR_INIT;
    struct runtime_options options = test_model_options();
    uint32_t *tokens = test_reference_tokens();
    float *z = malloc(REFERENCE_SEQUENCES * LENGTH * HIDDEN * sizeof *z);
    options.mtp_dense = dense;
    test_model_open(&m, model(), &options);
    struct batch *b = mtp_batch(&m, tokens, z);
    if (runtime_mtp_embed(m.runtime, MTP_LAYER, b, z, NULL, &err) ||
        runtime_layer(m.runtime, MTP_LAYER, b, NULL, &err) ||
        runtime_final(m.runtime, MTP_LAYER, b, 0, LENGTH - 1, z, &err))
        fail_msg("%s", err.msg);
    stored_open(&s, reference(file));
    const float *want = (const float *)(const void *)stored_bytes(&s, "hidden");
    for (size_t i = 0; i < (LENGTH - 1) * HIDDEN; i++)
        check_near(z[i], want[i], 1e-4 * (1 + fabs(want[i])), test_path("hidden value %zu", i));
    stored_close(&s);
    float *logits = test_logits(m.runtime, b, MTP_LAYER);
    check_near(mean_nats(logits, tokens, LENGTH - 1, 2), stated(object, "nll_of_token_t_plus_2"),
               NATS_ERROR, object);
    check_top64(logits, file, LENGTH - 1, NULL);
    free(logits);
    batch_free(b);
    free(z);
    free(tokens);
    test_model_close(&m);
}

static void mtp_head_agrees_with_its_own_indexer(void **state)
{
    check_mtp(0, "mtp_sparse", "mtp_sparse_seq0.safetensors");
    (void)state;
}

static void mtp_head_agrees_with_dense_attention(void **state)
{
    check_mtp(1, "mtp_dense", "mtp_dense_seq0.safetensors");
    (void)state;
}

/* Generation */

struct margins {
    const struct json *d;
    uint32_t node; /* the next margin */
};

static int check_margin(void *arg, const struct generate_token *t, struct prep_error *err)
{
    struct margins *m = arg;
    float second = -INFINITY;
    double want;
    (void)err;
    for (size_t k = 0; k < VOCAB; k++)
        if (k != t->token && t->logits[k] > second)
            second = t->logits[k];
    assert_int_equal(json_f64(m->d, m->node, &want), 0);
    check_near(t->logits[t->token] - second, want, 2 * LOGIT_ERROR,
               test_path("margin of step %zu", t->i));
    m->node = json_next(m->d, m->node);
    return 0;
}

static size_t read_ids(const struct json *d, uint32_t node, uint32_t *out, size_t most)
{
    size_t n = 0;
    for (uint32_t i = json_first(d, node); i != JSON_NONE; i = json_next(d, i)) {
        uint64_t v;
        assert_int_equal(json_u64(d, i, &v), 0);
        assert_in_range(n, 0, most - 1);
        out[n++] = (uint32_t)v;
    }
    return n;
}

static void check_greedy(struct test_model *m, const struct json *d, uint32_t object)
{
    uint32_t prompt[LENGTH], want[LENGTH];
    struct prep_error err = PREP_ERROR_INIT;
    const size_t n_prompt = read_ids(d, json_get(d, object, "prompt_ids"), prompt, LENGTH);
    const size_t n_want = read_ids(d, json_get(d, object, "output_ids"), want, LENGTH);
    struct margins margins = {d, json_first(d, json_get(d, object, "top1_top2_margin"))};
    const struct generate_request request = {
        .prompt = prompt, .n_prompt = n_prompt, .n_new = n_want, .sampling = SAMPLING_GREEDY};
    const struct generate g = {.runtime = m->runtime,
                               .requests = &request,
                               .n = 1,
                               .token = check_margin,
                               .arg = &margins};
    struct generate_result made;
    if (generate_run(&made, NULL, &g, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(made.tokens.n, n_want);
    for (size_t i = 0; i < n_want; i++)
        assert_int_equal(made.tokens.ids[i], want[i]);
    generate_results_free(&made, 1);
}

static void greedy_text_is_that_of_the_reference(void **state)
{
    struct test_bytes text = test_read(reference("greedy.json"));
    const struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    struct json d;
    (void)state;
    test_model_open(&m, model(), &options);
    assert_int_equal(json_parse(&d, (char *)text.p, text.n, "greedy.json", &err), 0);
    for (uint32_t i = json_first(&d, 0); i != JSON_NONE; i = json_next(&d, i))
        check_greedy(&m, &d, i);
    json_free(&d);
    free(text.p);
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequence_0_agrees_in_every_layer),
        cmocka_unit_test(final_norm_of_sequence_0_agrees),
        cmocka_unit_test(likelihood_agrees_with_sparse_attention),
        cmocka_unit_test(likelihood_agrees_with_dense_attention),
        cmocka_unit_test(likelihood_agrees_with_shared_selections),
        cmocka_unit_test(likelihood_agrees_with_the_engines_epsilon),
        cmocka_unit_test(mtp_head_agrees_with_its_own_indexer),
        cmocka_unit_test(mtp_head_agrees_with_dense_attention),
        cmocka_unit_test(greedy_text_is_that_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
