/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/runs.h"

enum { MAX_LAYERS = 8 };

static void *take(struct obs_run *run, size_t n, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    void *p = arena_calloc(&run->arena, n, size, &err);
    if (!p)
        fail_msg("%s", err.msg);
    return p;
}

void test_model(struct prune_model *m, int n_experts)
{
    static const int layers[] = {3, 4, 5, 6};
    *m = (struct prune_model){.n_routed_experts = n_experts,
                              .num_experts_per_tok = 2,
                              .n_group = 1,
                              .topk_group = 1,
                              .num_hidden_layers = 6,
                              .num_nextn_predict_layers = 1,
                              .moe_layers = layers,
                              .n_moe_layers = 4,
                              .name = "test/model"};
}

void test_run(struct obs_run *run, const char *label)
{
    *run = (struct obs_run){.label = label, .path = label, .id_space = "base"};
    arena_init(&run->arena, 0);
    sha256_hex(label, strlen(label), run->sha256);
    run->layers = take(run, MAX_LAYERS, sizeof *run->layers);
}

struct obs_layer *test_run_add(struct obs_run *run, int layer, int n_experts, const int64_t *n,
                               const double *s)
{
    const size_t count = (size_t)n_experts;
    assert_true(run->n_layers < MAX_LAYERS);
    struct obs_layer *l = &run->layers[run->n_layers++];
    *l = (struct obs_layer){.layer = layer, .n_experts = n_experts, .has_total_tokens = 1};
    l->expert_frequency = take(run, count, sizeof(int64_t));
    l->ean_sum = take(run, count, sizeof(double));
    l->weighted_ean_sum = take(run, count, sizeof(double));
    l->weighted_expert_frequency_sum = take(run, count, sizeof(double));
    l->max_activations = take(run, count, sizeof(float));
    int64_t total = 0;
    for (int e = 0; e < n_experts; e++) {
        l->expert_frequency[e] = n[e];
        l->weighted_ean_sum[e] = s[e];
        l->ean_sum[e] = 2 * s[e];
        l->weighted_expert_frequency_sum[e] = (double)n[e] / 4;
        l->max_activations[e] = (float)(e + 1);
        total += n[e];
    }
    assert_true(total % 2 == 0);
    l->total_tokens = total / 2;
    run->tokens = (uint64_t)l->total_tokens;
    return l;
}

void test_run_random(struct obs_run *run, const char *label, int n_experts, uint64_t distinct,
                     struct test_random *random)
{
    test_run(run, label);
    int64_t *n = take(run, (size_t)n_experts, sizeof *n);
    double *s = take(run, (size_t)n_experts, sizeof *s);
    for (int layer = 3; layer <= 5; layer++) {
        for (int e = 0; e < n_experts; e++) {
            n[e] = 2;
            s[e] = 1 + (double)test_random_below(random, distinct);
        }
        test_run_add(run, layer, n_experts, n, s);
    }
}
