/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/generate.h"
#include "libprep/engine/runtime_parts.h"
#include "tests/support/forward.h"
#include "tests/support/support.h"

enum { VOCAB = 2048, TEXTS = 6, NEW = 12, CONTEXT = 2048 };

static struct test_model model;
static uint32_t *reference;

static int open_model(void **state)
{
    const struct runtime_options options = test_model_options();
    (void)state;
    test_model_open(&model, test_path("%s/glm-nano", test_data()), &options);
    reference = test_reference_tokens();
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    free(reference);
    test_model_close(&model);
    return 0;
}

/* Texts that differ in everything: prompts of 1 to 150 tokens, samplers, seeds, lengths. */
static void make_requests(struct generate_request *q)
{
    static const size_t lengths[TEXTS] = {1, 150, 17, 64, 65, 80};
    for (size_t i = 0; i < TEXTS; i++) {
        q[i] = (struct generate_request){
            .prompt = reference + i * REFERENCE_LENGTH,
            .n_prompt = lengths[i],
            .n_new = NEW - i,
            .sampling = SAMPLING_GREEDY,
            .seed = 7,
            .stream = i,
        };
        if (i % 2)
            q[i].sampling = (struct sampling){0.9, 0.95, 0, 1.1, 0.2, 0};
    }
}

static void run_on(struct runtime *r, const struct generate_request *q, size_t n,
                   struct generate_result *out)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct generate g = {.runtime = r, .requests = q, .n = n};
    if (generate_run(out, NULL, &g, &err))
        fail_msg("%s", err.msg);
}

static void check_same(const struct generate_result *have, const struct generate_result *want)
{
    assert_int_equal(have->tokens.n, want->tokens.n);
    assert_int_equal(have->end, want->end);
    assert_memory_equal(have->tokens.ids, want->tokens.ids, want->tokens.n * sizeof(uint32_t));
}

static void greedy_takes_the_lower_of_equals(void **state)
{
    const float logits[] = {1, 3, 2, 3};
    (void)state;
    assert_int_equal(greedy_pick(logits, 4), 1);
}

/* The floor that a refusal prints is enough. */
static uint64_t least_memory(const struct generate_request *q, size_t n)
{
    struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_result made[TEXTS];
    struct test_model m;
    options.n_threads = 3;
    options.mem = 1 << 20;
    test_model_open(&m, test_path("%s/glm-nano", test_data()), &options);
    const struct generate g = {.runtime = m.runtime, .requests = q, .n = n};
    assert_int_equal(generate_run(made, NULL, &g, &err), -1);
    assert_string_equal(err.tag, "MEM");
    generate_results_free(made, n);
    test_model_close(&m);
    const char *says = strstr(err.msg, "floor of ");
    assert_non_null(says);
    return strtoull(says + 9, NULL, 10);
}

/* Each text alone; then all at once, on 1 and on 2 threads, and within the least memory. */
static void a_text_does_not_depend_on_what_else_is_in_the_batch(void **state)
{
    struct generate_request q[TEXTS];
    struct generate_result alone[TEXTS], have[TEXTS];
    (void)state;
    make_requests(q);
    for (size_t i = 0; i < TEXTS; i++) {
        run_on(model.runtime, &q[i], 1, &alone[i]);
        assert_int_equal(alone[i].tokens.n, NEW - i);
        assert_int_equal(alone[i].end, GENERATE_LENGTH);
    }
    for (int how = 0; how < 4; how++) {
        struct runtime_options options = test_model_options();
        struct test_model m;
        options.n_threads = how == 0 ? 1 : 3;
        options.isa = how == 2 ? ISA_SCALAR : options.isa;
        options.mem = how == 3 ? least_memory(q, TEXTS) : 0;
        test_model_open(&m, test_path("%s/glm-nano", test_data()), &options);
        run_on(m.runtime, q, how == 2 ? 1 : TEXTS, have);
        for (size_t i = 0; i < (how == 2 ? 1 : TEXTS); i++)
            check_same(&have[i], &alone[i]);
        generate_results_free(have, how == 2 ? 1 : TEXTS);
        test_model_close(&m);
    }
    generate_results_free(alone, TEXTS);
}

static void more_texts_than_a_batch_holds_take_turns(void **state)
{
    enum { MANY = GENERATE_MOST + 9 };
    struct generate_request q[MANY];
    struct generate_result have[MANY], alone;
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        q[i] = (struct generate_request){.prompt = reference + 5 * i,
                                         .n_prompt = 1 + i % 7,
                                         .n_new = 1 + i % 5,
                                         .sampling = SAMPLING_GREEDY};
    run_on(model.runtime, q, MANY, have);
    for (size_t i = 0; i < MANY; i += 8) {
        run_on(model.runtime, &q[i], 1, &alone);
        check_same(&have[i], &alone);
        generate_results_free(&alone, 1);
    }
    generate_results_free(have, MANY);
}

static int count_logits(void *arg, const struct generate_token *t, struct prep_error *err)
{
    size_t *n = arg;
    (void)err;
    assert_int_equal(t->i, *n);
    assert_int_equal(greedy_pick(t->logits, VOCAB), t->token);
    return ++*n == 5;
}

static void a_text_ends_after_a_stop_token_or_when_the_caller_says_so(void **state)
{
    struct generate_request q = {
        .prompt = reference, .n_prompt = 9, .n_new = 12, .sampling = SAMPLING_GREEDY};
    struct generate g = {.runtime = model.runtime, .requests = &q, .n = 1};
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_result all, cut;
    size_t n = 0, first = 0;
    (void)state;
    run_on(model.runtime, &q, 1, &all);
    while (all.tokens.ids[first] != all.tokens.ids[6]) /* where the seventh stands first */
        first++;
    q.stop = &all.tokens.ids[6];
    q.n_stop = 1;
    run_on(model.runtime, &q, 1, &cut);
    assert_int_equal(cut.end, GENERATE_STOP_TOKEN);
    assert_int_equal(cut.tokens.n, first + 1);
    assert_memory_equal(cut.tokens.ids, all.tokens.ids, (first + 1) * sizeof(uint32_t));
    generate_results_free(&cut, 1);
    q.n_stop = 0;
    g.token = count_logits;
    g.arg = &n;
    assert_int_equal(generate_run(&cut, NULL, &g, &err), 0);
    assert_int_equal(cut.end, GENERATE_CALLER);
    assert_int_equal(cut.tokens.n, 5);
    generate_results_free(&cut, 1);
    generate_results_free(&all, 1);
}

static void prompts_that_cannot_be_are_refused_before_anything_runs(void **state)
{
    const uint32_t beyond[] = {5, VOCAB};
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t *tokens = calloc(CONTEXT + 1, sizeof *tokens);
    struct generate_result made[2];
    struct generate_request q[2] = {
        {.prompt = tokens, .n_prompt = CONTEXT + 1, .n_new = 1, .sampling = SAMPLING_GREEDY}};
    struct generate g = {.runtime = model.runtime, .requests = q, .n = 1};
    (void)state;
    assert_int_equal(generate_run(made, NULL, &g, &err), -1);
    assert_string_equal(err.tag, "POSITION");
    assert_string_equal(err.msg, "the prompt has 2049 tokens, max_position_embeddings is 2048");
    prep_error_clear(&err);
    q[0].n_prompt = 0;
    assert_int_equal(generate_run(made, NULL, &g, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    prep_error_clear(&err);
    q[0].n_prompt = 3;
    q[1] = q[0];
    q[1].prompt = beyond;
    q[1].n_prompt = 2;
    g.n = 2;
    assert_int_equal(generate_run(made, NULL, &g, &err), -1);
    assert_string_equal(err.tag, "TOKEN_ID");
    assert_non_null(strstr(err.msg, "request 1: token 1 of the prompt is 2048"));
    prep_error_clear(&err);
    g.n = 1;
    q[0].sampling.temperature = -1;
    assert_int_equal(generate_run(made, NULL, &g, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    free(tokens);
}

static void the_end_of_the_context_ends_a_text(void **state)
{
    uint32_t *tokens = malloc(CONTEXT * sizeof *tokens);
    struct generate_result made;
    (void)state;
    assert_non_null(tokens);
    memcpy(tokens, reference, CONTEXT * sizeof *tokens);
    for (size_t left = 0; left < 2; left++) {
        const struct generate_request q = {
            .prompt = tokens, .n_prompt = CONTEXT - left, .n_new = 10, .sampling = SAMPLING_GREEDY};
        run_on(model.runtime, &q, 1, &made);
        assert_int_equal(made.end, GENERATE_CONTEXT);
        assert_int_equal(made.tokens.n, left + 1);
        generate_results_free(&made, 1);
    }
    free(tokens);
}

static void keys_that_are_there_are_used_again(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_memory *memory;
    uint32_t turn[200];
    struct generate_request q = {
        .prompt = turn, .n_prompt = 80, .n_new = 10, .sampling = SAMPLING_GREEDY};
    struct generate_result first, again, want;
    (void)state;
    assert_int_equal(generate_memory_new(&memory, &err), 0);
    memcpy(turn, reference, sizeof turn);
    q.memory = memory;
    run_on(model.runtime, &q, 1, &first);
    assert_int_equal(first.n_reused, 0);
    /* What was said goes on, then something else: the last token of a text has no keys yet. */
    memcpy(turn + 80, first.tokens.ids, 10 * sizeof *turn);
    q.n_prompt = 150;
    run_on(model.runtime, &q, 1, &again);
    assert_int_equal(again.n_reused, 89);
    q.memory = NULL;
    run_on(model.runtime, &q, 1, &want);
    check_same(&again, &want);
    generate_results_free(&again, 1);
    generate_results_free(&want, 1);
    /* The same prompt: its last token is computed. One that leaves the old way in the middle. */
    for (size_t i = 0; i < 2; i++) {
        turn[40] += (uint32_t)i;
        q.memory = memory;
        run_on(model.runtime, &q, 1, &again);
        assert_int_equal(again.n_reused, i ? 40 : 149);
        q.memory = NULL;
        run_on(model.runtime, &q, 1, &want);
        check_same(&again, &want);
        generate_results_free(&again, 1);
        generate_results_free(&want, 1);
    }
    generate_results_free(&first, 1);
    generate_memory_free(memory);
}

static void a_memory_serves_one_text_at_a_time(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_memory *memory;
    struct generate_result made[2];
    (void)state;
    assert_int_equal(generate_memory_new(&memory, &err), 0);
    const struct generate_request one = {.prompt = reference,
                                         .n_prompt = 4,
                                         .n_new = 4,
                                         .sampling = SAMPLING_GREEDY,
                                         .memory = memory};
    const struct generate_request q[2] = {one, one};
    const struct generate g = {.runtime = model.runtime, .requests = q, .n = 2};
    assert_int_equal(generate_run(made, NULL, &g, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    generate_results_free(made, 2);
    run_on(model.runtime, q, 1, made); /* and it can be used afterwards */
    generate_results_free(made, 1);
    generate_memory_free(memory);
}

static double ticks(void)
{
    static double t;
    return t += 1;
}

static void prompts_and_choices_are_counted(void **state)
{
    struct generate_request q[TEXTS];
    struct generate_result made[TEXTS];
    struct generate_stats stats;
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    make_requests(q);
    const struct generate g = {.runtime = model.runtime, .requests = q, .n = TEXTS, .now = ticks};
    assert_int_equal(generate_run(made, &stats, &g, &err), 0);
    assert_int_equal(stats.prefill_tokens, 1 + 150 + 17 + 64 + 65 + 80);
    assert_int_equal(stats.prefill_passes, 1);
    assert_int_equal(stats.decode_passes, NEW - 1);
    assert_int_equal(stats.decode_tokens, TEXTS * (NEW - 1) - (1 + 2 + 3 + 4 + 5));
    assert_true(stats.prefill_seconds == 1);
    assert_true(stats.decode_seconds == NEW - 1);
    generate_results_free(made, TEXTS);
}

/* Every row of logits that a text is made from is the one a single forward gives. */
struct row_check {
    const float *want; /* of positions n_prompt - 1 and on */
};

static int check_row(void *arg, const struct generate_token *t, struct prep_error *err)
{
    const struct row_check *c = arg;
    (void)err;
    assert_memory_equal(t->logits, c->want + t->i * VOCAB, VOCAB * sizeof(float));
    return 0;
}

static void logits_with_keys_are_those_of_one_forward(void **state)
{
    enum { PROMPT = 90, ALL = PROMPT + 20 };
    uint32_t tokens[ALL];
    struct generate_request q = {
        .prompt = tokens, .n_prompt = PROMPT, .n_new = 20, .sampling = SAMPLING_GREEDY};
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_result made;
    (void)state;
    memcpy(tokens, reference + 3 * REFERENCE_LENGTH, PROMPT * sizeof *tokens);
    run_on(model.runtime, &q, 1, &made);
    memcpy(tokens + PROMPT, made.tokens.ids, 20 * sizeof *tokens);
    generate_results_free(&made, 1);
    float *logits = test_model_logits(model.runtime, tokens, 1, ALL);
    struct row_check c = {logits + (PROMPT - 1) * VOCAB};
    const struct generate g = {
        .runtime = model.runtime, .requests = &q, .n = 1, .token = check_row, .arg = &c};
    assert_int_equal(generate_run(&made, NULL, &g, &err), 0);
    generate_results_free(&made, 1);
    free(logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lower_of_equals),
        cmocka_unit_test(a_text_does_not_depend_on_what_else_is_in_the_batch),
        cmocka_unit_test(more_texts_than_a_batch_holds_take_turns),
        cmocka_unit_test(a_text_ends_after_a_stop_token_or_when_the_caller_says_so),
        cmocka_unit_test(prompts_that_cannot_be_are_refused_before_anything_runs),
        cmocka_unit_test(the_end_of_the_context_ends_a_text),
        cmocka_unit_test(keys_that_are_there_are_used_again),
        cmocka_unit_test(a_memory_serves_one_text_at_a_time),
        cmocka_unit_test(prompts_and_choices_are_counted),
        cmocka_unit_test(logits_with_keys_are_those_of_one_forward),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
