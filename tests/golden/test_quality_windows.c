/* SPDX-License-Identifier: MIT */
/*
 * The float model on the published evaluation windows: the likelihood and the numbers of routed
 * tokens that docs/quality.md starts from. What needs quantized models is in make quality.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/engine/schedule.h"
#include "libprep/release/judge_model.h"
#include "libprep/release/judge_series.h"
#include "libprep/release/judge_text.h"
#include "tests/support/support.h"

enum { LAYERS = 5, EXPERTS = 16 };

struct world {
    struct judge_model model;
    struct judge_text text;
    struct judge_series series;
    uint64_t tokens[LAYERS][EXPERTS];
    struct arena arena;
};

static int count_experts(void *arg, const struct schedule_at *at, struct prep_error *err)
{
    struct world *w = arg;
    const int k = w->model.config->num_experts_per_tok;
    for (size_t i = 0; i < at->n_tokens; i++) {
        const int32_t *e = batch_experts(at->batches[0], at->offsets[0] + i);
        for (int r = 0; e && r < k; r++)
            w->tokens[at->layer][e[r]]++;
    }
    (void)err;
    return 0;
}

static int see_logits(void *arg, const struct schedule_logits *l, struct prep_error *err)
{
    struct world *w = arg;
    const size_t n = (size_t)w->model.config->vocab_size;
    const uint64_t row = l->first_sequence * w->text.window + l->first_row;
    for (size_t i = 0; i < l->n_rows; i++)
        judge_row_alone(&w->series, logits_kernels(N_ISA - 1), row + i, l->logits[0] + i * n, n);
    (void)err;
    return 0;
}

static void run(struct world *w)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct runtime_options options = {.isa = N_ISA - 1, .n_threads = 2, .without_mtp = 1};
    const struct judge_text_request request = {
        .windows = test_path("%s/quality/windows.json", test_data())};
    static struct sequence sequences[64];
    arena_init(&w->arena, 0);
    if (judge_model_open(&w->model, &io_posix, test_path("%s/glm-nano", test_data()), NULL, NULL,
                         &err) ||
        judge_text_read(&w->text, &request, NULL, &io_posix, &w->arena, &err) ||
        judge_series_init(&w->series, w->text.tokens, w->text.n_windows, w->text.window, 1,
                          &w->arena, &err) ||
        judge_model_start(&w->model, &options, NULL, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(w->text.n_windows, 64);
    for (size_t i = 0; i < 64; i++)
        sequences[i] = (struct sequence){.tokens = w->text.tokens + i * w->text.window,
                                         .n = (size_t)w->text.window};
    const struct lane lane = {.runtime = w->model.runtime, .forced_by = -1, .fed_by = -1};
    const struct schedule s = {.sequences = sequences,
                               .n_sequences = 64,
                               .unit_sequences = 16,
                               .lanes = &lane,
                               .n_lanes = 1,
                               .visitor = {.arg = w, .after = count_experts, .logits = see_logits}};
    if (schedule_run(&s, &err) || judge_series_finish(&w->series, NULL, &w->arena, &err))
        fail_msg("%s", err.msg);
}

static void the_float_model_has_the_published_likelihood_and_routing(void **state)
{
    (void)state;
    static struct world w;
    uint64_t least = UINT64_MAX, most = 0;
    run(&w);
    if (fabs(w.series.nll.mean - 3.60121) > 0.000005)
        fail_msg("%.7f nats per token, want 3.60121", w.series.nll.mean);
    for (int layer = 2; layer < LAYERS; layer++)
        for (int e = 0; e < EXPERTS; e++) {
            least = w.tokens[layer][e] < least ? w.tokens[layer][e] : least;
            most = w.tokens[layer][e] > most ? w.tokens[layer][e] : most;
        }
    assert_int_equal(least, 440);
    assert_int_equal(most, 6813);
    judge_model_close(&w.model);
    arena_fini(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_float_model_has_the_published_likelihood_and_routing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
