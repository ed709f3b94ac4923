/* SPDX-License-Identifier: MIT */
/* With drafts the text is what it is without them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/generate.h"
#include "tests/support/forward.h"
#include "tests/support/support.h"

enum { TEXTS = 3, NEW = 16, CONTEXT = 2048, PROMPT = 40 };

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

static struct generate_request request(size_t n_prompt, size_t n_new)
{
    return (struct generate_request){
        .prompt = reference, .n_prompt = n_prompt, .n_new = n_new, .sampling = SAMPLING_GREEDY};
}

static void run_on(const struct generate *g, struct generate_result *out,
                   struct generate_stats *stats)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (generate_run(out, stats, g, &err))
        fail_msg("%s", err.msg);
}

static void check_same(const struct generate_result *have, const struct generate_result *want)
{
    assert_int_equal(have->tokens.n, want->tokens.n);
    assert_int_equal(have->end, want->end);
    assert_memory_equal(have->tokens.ids, want->tokens.ids, want->tokens.n * sizeof(uint32_t));
}

/* Greedy and sampled, with penalties; prompts below and above index_topk. */
static void texts_are_the_same_with_any_number_of_drafts(void **state)
{
    static const size_t lengths[TEXTS] = {1, 70, 64};
    static const int drafts[] = {1, 8};
    struct generate_request q[TEXTS];
    struct generate_result want[TEXTS], have[TEXTS];
    struct generate_stats stats;
    (void)state;
    for (size_t i = 0; i < TEXTS; i++) {
        q[i] = request(lengths[i], NEW + i);
        q[i].prompt = reference + i * REFERENCE_LENGTH;
        q[i].seed = 11;
        q[i].stream = i;
        if (i % 2)
            q[i].sampling = (struct sampling){0.8, 0.9, 0, 1.05, 0.3, 0};
    }
    struct generate g = {.runtime = model.runtime, .requests = q, .n = TEXTS};
    for (int form = KV_F32; form < N_KV_FORMS; form++) {
        g.kv = (enum kv_form)form;
        g.draft = 0;
        run_on(&g, want, NULL);
        for (size_t k = 0; k < sizeof drafts / sizeof *drafts; k++) {
            g.draft = drafts[k];
            run_on(&g, have, &stats);
            for (size_t i = 0; i < TEXTS; i++)
                check_same(&have[i], &want[i]);
            assert_true(stats.accepted > 0 && stats.accepted < stats.drafted);
            assert_true(stats.decode_tokens > stats.decode_turns);
            assert_int_equal(stats.decode_tokens, stats.decode_turns + stats.accepted);
            generate_results_free(have, TEXTS);
        }
        generate_results_free(want, TEXTS);
    }
}

/* The first guess of every pass is what the MTP layer says after one forward of the whole text. */
static void guesses_are_those_of_the_layer_on_the_whole_text(void **state)
{
    enum { VOCAB = 2048, HIDDEN = 256, ALL = PROMPT + NEW };
    struct generate_request q = request(PROMPT, NEW);
    struct generate g = {.runtime = model.runtime, .requests = &q, .n = 1, .draft = 1};
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_result made;
    struct generate_stats stats;
    uint32_t tokens[ALL];
    float z[(ALL - 1) * HIDDEN];
    (void)state;
    run_on(&g, &made, &stats);
    memcpy(tokens, reference, PROMPT * sizeof *tokens);
    memcpy(tokens + PROMPT, made.tokens.ids, NEW * sizeof *tokens);
    struct batch *b = test_batch(model.runtime, tokens, 1, ALL - 1);
    test_forward(model.runtime, b);
    assert_int_equal(runtime_final(model.runtime, -1, b, 0, ALL - 1, z, &err), 0);
    batch_free(b);
    b = test_batch(model.runtime, tokens + 1, 1, ALL - 1);
    assert_int_equal(runtime_mtp_embed(model.runtime, 5, b, z, NULL, &err), 0);
    assert_int_equal(runtime_layer(model.runtime, 5, b, NULL, &err), 0);
    float *logits = test_logits(model.runtime, b, 5);
    uint64_t drafted = 0, accepted = 0; /* row t guesses token t + 2 */
    for (size_t known = PROMPT + 1; known < ALL; known++) {
        const uint32_t guess = (uint32_t)greedy_pick(logits + (known - 2) * VOCAB, VOCAB);
        if (known + 1 == ALL) /* nothing is guessed that could only be the last token */
            break;
        drafted++;
        if (guess == tokens[known]) {
            accepted++;
            known++;
        }
    }
    assert_int_equal(stats.drafted, drafted);
    assert_int_equal(stats.accepted, accepted);
    free(logits);
    batch_free(b);
    generate_results_free(&made, 1);
}

static void a_stop_token_inside_a_draft_ends_the_text(void **state)
{
    struct generate_request q = request(PROMPT, NEW);
    struct generate g = {.runtime = model.runtime, .requests = &q, .n = 1};
    struct generate_result all, have;
    (void)state;
    run_on(&g, &all, NULL);
    g.draft = 4;
    for (size_t i = 0; i < NEW; i++) { /* every token once, so inside drafts too */
        size_t first = 0;
        while (all.tokens.ids[first] != all.tokens.ids[i])
            first++;
        q.stop = &all.tokens.ids[i];
        q.n_stop = 1;
        run_on(&g, &have, NULL);
        assert_int_equal(have.end, GENERATE_STOP_TOKEN);
        assert_int_equal(have.tokens.n, first + 1);
        assert_memory_equal(have.tokens.ids, all.tokens.ids, (first + 1) * sizeof(uint32_t));
        generate_results_free(&have, 1);
    }
    generate_results_free(&all, 1);
}

static void drafts_end_where_the_context_ends(void **state)
{
    enum { LEFT = 3 };
    struct generate_request q = request(CONTEXT - LEFT, 20);
    struct generate g = {.runtime = model.runtime, .requests = &q, .n = 1, .kv = KV_BF16};
    struct generate_result want, have;
    (void)state;
    run_on(&g, &want, NULL);
    g.draft = 5;
    run_on(&g, &have, NULL);
    check_same(&have, &want);
    assert_int_equal(have.end, GENERATE_CONTEXT);
    assert_int_equal(have.tokens.n, LEFT + 1);
    generate_results_free(&want, 1);
    generate_results_free(&have, 1);
}

/* Turns with drafts, without, and with them again, on one memory. */
static void keys_that_are_there_serve_drafts_too(void **state)
{
    static const int drafts[] = {3, 0, 2, 0, 5};
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_memory *memory;
    struct generate_result want, have;
    uint32_t text[REFERENCE_LENGTH];
    size_t n = 20;
    (void)state;
    assert_int_equal(generate_memory_new(&memory, &err), 0);
    memcpy(text, reference, n * sizeof *text);
    for (size_t i = 0; i < sizeof drafts / sizeof *drafts; i++) {
        struct generate_request q = request(n, 12);
        struct generate g = {.runtime = model.runtime, .requests = &q, .n = 1};
        q.prompt = text;
        run_on(&g, &want, NULL);
        q.memory = memory;
        g.draft = drafts[i];
        run_on(&g, &have, NULL);
        check_same(&have, &want);
        assert_true((i == 0) == (have.n_reused == 0));
        memcpy(text + n, have.tokens.ids, 12 * sizeof *text);
        memcpy(text + n + 12, reference + 77, 9 * sizeof *text);
        n += 21;
        if (i == 3)
            text[30]++; /* a way back in the middle of a text */
        generate_results_free(&want, 1);
        generate_results_free(&have, 1);
    }
    generate_memory_free(memory);
}

static void within_the_least_memory_texts_are_the_same(void **state)
{
    struct generate_request q[2] = {request(100, NEW), request(PROMPT, NEW)};
    struct generate_result want[2], have[2];
    struct generate g = {.runtime = model.runtime, .requests = q, .n = 2, .draft = 3};
    struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    (void)state;
    run_on(&g, want, NULL);
    options.mem = 1 << 20;
    for (int again = 0; again < 2; again++) {
        test_model_open(&m, test_path("%s/glm-nano", test_data()), &options);
        g.runtime = m.runtime;
        const int rc = generate_run(have, NULL, &g, &err);
        assert_int_equal(rc, again ? 0 : -1);
        if (rc)
            options.mem = strtoull(strstr(err.msg, "floor of ") + 9, NULL, 10);
        for (size_t i = 0; i < 2 && again; i++)
            check_same(&have[i], &want[i]);
        generate_results_free(have, 2);
        test_model_close(&m);
        prep_error_clear(&err);
    }
    generate_results_free(want, 2);
}

static void a_model_without_an_mtp_layer_is_refused(void **state)
{
    const struct generate_request q = request(4, 4);
    struct runtime_options options = test_model_options();
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_result made;
    struct test_model m;
    (void)state;
    options.without_mtp = 1;
    test_model_open(&m, test_path("%s/glm-nano", test_data()), &options);
    struct generate g = {.runtime = m.runtime, .requests = &q, .n = 1, .draft = 2};
    assert_int_equal(generate_run(&made, NULL, &g, &err), -1);
    assert_string_equal(err.tag, "MTP");
    prep_error_clear(&err);
    g.draft = GENERATE_MOST_DRAFTS + 1;
    assert_int_equal(generate_run(&made, NULL, &g, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_the_same_with_any_number_of_drafts),
        cmocka_unit_test(guesses_are_those_of_the_layer_on_the_whole_text),
        cmocka_unit_test(a_stop_token_inside_a_draft_ends_the_text),
        cmocka_unit_test(drafts_end_where_the_context_ends),
        cmocka_unit_test(keys_that_are_there_serve_drafts_too),
        cmocka_unit_test(within_the_least_memory_texts_are_the_same),
        cmocka_unit_test(a_model_without_an_mtp_layer_is_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
