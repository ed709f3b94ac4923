/* SPDX-License-Identifier: MIT */
/*
 * Every probe asked of a generator that answers as planned: what is planted is found, and nothing
 * where nothing was planted.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/probe/bundled.h"
#include "libprep/release/probe_run.h"
#include "tests/support/support.h"

enum { WINDOWS = 12, WINDOW = 80, PROMPT = 64, NEW = 256, VOCAB = 1900 };

/* ---- nano's tokenizer and template, and a generator ---- */

struct world {
    struct tokenizer *tokenizer;
    struct tokenizer_encoder *encoder;
    struct chat_template *chat;
    struct suite_source source;
    struct suite suite;
    struct probe_outcome outcomes[512];
    /* The generator: writes the answer to a case, returns how many tokens. */
    size_t (*plan)(struct world *w, size_t i, const struct probe_ask *ask, uint32_t *out);
    int twice, leave_out;
};

static void world_open(struct world *w, int with_chat)
{
    struct prep_error err = PREP_ERROR_INIT;
    memset(w, 0, sizeof *w);
    const char *nano = test_path("%s/glm-nano", test_data());
    if (tokenizer_open(&w->tokenizer, &io_posix, nano, NULL, &err) ||
        tokenizer_encoder_new(&w->encoder, w->tokenizer, &err) ||
        (with_chat && chat_template_open(&w->chat, &io_posix, nano, &err)))
        fail_msg("%s", err.msg);
    w->source = (struct suite_source){w->tokenizer, w->chat, NULL, 0};
    assert_int_equal(suite_open(&w->suite, &w->source, &err), 0);
}

static void world_close(struct world *w)
{
    suite_close(&w->suite);
    chat_template_free(w->chat);
    tokenizer_encoder_free(w->encoder);
    tokenizer_free(w->tokenizer);
}

/* Last things first: the order must not matter. */
static int answer(void *self, const struct probe_ask *asks, size_t n, const uint32_t *stop,
                  size_t n_stop, probe_answer_fn take, void *arg, struct prep_error *err)
{
    struct world *w = self;
    static uint32_t out[4096];
    assert_int_equal(n_stop, 1);
    assert_int_equal(stop[0], 1984);
    for (size_t i = n; i-- > 0;) {
        if (w->leave_out && i == 1)
            continue;
        const size_t k = w->plan(w, i, &asks[i], out);
        assert_true(k <= asks[i].n_new);
        if (take(arg, i, out, k, err) || (w->twice && i == 1 && take(arg, i, out, k, err)))
            return -1;
    }
    return 0;
}

static int ask_all(struct world *w, struct prep_error *err)
{
    static const uint32_t stop[] = {1984};
    const struct generator g = {w, answer};
    const struct suite_asking how = {&g, stop, 1, NULL, NULL};
    assert_true(w->suite.n_cases <= 512);
    return suite_ask(w->outcomes, &w->suite, &how, err);
}

static void ask(struct world *w)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (ask_all(w, &err))
        fail_msg("%s", err.msg);
}

static size_t say(struct world *w, uint32_t *out, const char *fmt, ...) PREP_PRINTF(3, 4);
static size_t say(struct world *w, uint32_t *out, const char *fmt, ...)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_ids ids = {0};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_int_equal(tokenizer_encode(&ids, w->encoder, TOKENIZER_ALL, text, (size_t)n, &err), 0);
    memcpy(out, ids.ids, ids.n * sizeof *out);
    const size_t k = ids.n;
    token_ids_free(&ids);
    return k;
}

static char *text_of(struct world *w, const struct probe_ask *ask)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_text text = {0};
    assert_int_equal(tokenizer_decode(&text, w->tokenizer, ask->prompt, ask->n_prompt, 0, &err), 0);
    char *s = calloc(text.n + 1, 1);
    assert_non_null(s);
    memcpy(s, text.p, text.n);
    token_text_free(&text);
    return s;
}

/* ---- loops ---- */

static uint32_t *windows(void)
{
    struct test_random r;
    uint32_t *tokens = calloc(WINDOWS * WINDOW, sizeof *tokens);
    assert_non_null(tokens);
    test_random_init(&r);
    for (size_t i = 0; i < WINDOWS * WINDOW; i++)
        tokens[i] = (uint32_t)test_random_below(&r, VOCAB);
    return tokens;
}

/* Case i: period i % 40, where 0 and all above 32 are no loops; of even seeds nothing loops. */
static size_t planned_period(const struct probe_ask *ask)
{
    const size_t p = (size_t)(ask->stream * 7 + ask->seed) % 40;
    return ask->seed % 2 == 0 && ask->seed > 0 ? 0 : p;
}

static size_t plan_loops(struct world *w, size_t i, const struct probe_ask *ask, uint32_t *out)
{
    struct test_random r = {.state = i + 1};
    const size_t p = planned_period(ask), length = 3 * p > 48 ? 3 * p : 48;
    (void)w;
    for (size_t k = 0; k < NEW; k++)
        out[k] = (uint32_t)test_random_below(&r, VOCAB);
    for (size_t k = NEW - length; p && k < NEW; k++)
        out[k] = out[k - p];
    return NEW;
}

static void planted_loops_are_found_and_no_others(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct world w;
    uint32_t *tokens = windows();
    size_t found[2] = {0}, want[2] = {0};
    const struct suite_loops l = {.tokens = tokens,
                                  .n_windows = WINDOWS,
                                  .window = WINDOW,
                                  .n_prompt = PROMPT,
                                  .n_new = NEW,
                                  .n_seeds = 3};
    (void)state;
    world_open(&w, 0);
    assert_int_equal(suite_add_loops(&w.suite, &l, &err), 0);
    assert_int_equal(w.suite.n_groups, 2);
    assert_int_equal(w.suite.groups[0].n, WINDOWS);
    assert_int_equal(w.suite.groups[1].n, 3 * WINDOWS);
    w.plan = plan_loops;
    ask(&w);
    for (size_t i = 0; i < w.suite.n_cases; i++) {
        const struct probe_case *c = &w.suite.cases[i];
        const size_t p = planned_period(&c->ask), loops = p >= 1 && p <= 32;
        assert_memory_equal(c->ask.prompt, tokens + i % WINDOWS * WINDOW, PROMPT * sizeof *tokens);
        assert_int_equal(c->ask.n_prompt, PROMPT);
        assert_int_equal(c->ask.seed, i / WINDOWS);
        assert_true(i < WINDOWS
                        ? c->ask.sampling.temperature == 0
                        : c->ask.sampling.temperature == 0.8 && c->ask.sampling.top_p == 0.95);
        if (w.outcomes[i].hit != loops || w.outcomes[i].period != (loops ? p : 0))
            fail_msg("case %s: period %d, planted %zu", c->id, w.outcomes[i].period, p);
        found[c->group] += w.outcomes[i].hit;
        want[c->group] += loops;
    }
    assert_true(found[0] == want[0] && found[1] == want[1] && want[0] > 0 && want[0] < WINDOWS);
    world_close(&w);
    free(tokens);
}

/* ---- numbers ---- */

static const char prose[] =
    "The harbour was quiet in the morning. Two boats came in with the tide. Nobody had seen the "
    "third one since the storm. A man with a lamp walked along the pier and counted the ropes. "
    "The baker opened his door at six. Bread was dear that winter, and fish was cheap. Children "
    "ran between the barrels until they were sent home. In the evening the wind turned north. ";

/* Right, wrong by one, right behind thinking, thinking without an end, the right one not last. */
static size_t plan_numbers(struct world *w, size_t i, const struct probe_ask *ask, uint32_t *out)
{
    const int64_t n = w->suite.cases[i].number;
    (void)ask;
    switch (i % 5) {
    case 0:
        return say(w, out, "It is %" PRId64 ".", n);
    case 1:
        return say(w, out, "It is %" PRId64 ".", n + 1);
    case 2:
        return say(w, out, "<think>perhaps 17</think>%" PRId64, n);
    case 3:
        return say(w, out, "<think>%" PRId64, n);
    default:
        return say(w, out, "%" PRId64 " or 8", n);
    }
}

static void check_numbers(const struct world *w)
{
    for (size_t i = 0; i < w->suite.n_cases; i++) {
        const int right = i % 5 == 0 || i % 5 == 2;
        if (w->outcomes[i].hit != right)
            fail_msg("case %s is %s", w->suite.cases[i].id, right ? "right" : "wrong");
        assert_true(w->outcomes[i].stopped);
    }
}

static void needles_are_judged_by_length_and_depth(void **state)
{
    static const size_t lengths[] = {200, 400};
    static const double depths[] = {0, 0.5, 1};
    struct prep_error err = PREP_ERROR_INIT;
    const struct suite_needle n = {prose, sizeof prose - 1, lengths, 2, depths, 3, 2, 64};
    struct world w;
    (void)state;
    world_open(&w, 1);
    assert_int_equal(suite_add_needle(&w.suite, &n, &err), 0);
    assert_int_equal(w.suite.n_groups, 6);
    assert_int_equal(w.suite.n_cases, 12);
    assert_string_equal(w.suite.groups[4].name, "400 tokens, depth 0.50");
    assert_true(w.suite.groups[4].length == 400 && w.suite.groups[4].depth == 0.5);
    w.plan = plan_numbers;
    ask(&w);
    check_numbers(&w);
    for (size_t i = 0; i < 12; i++) {
        const struct probe_case *c = &w.suite.cases[i];
        char *text = text_of(&w, &c->ask);
        assert_non_null(strstr(text, test_path("%" PRId64, c->number)));
        assert_non_null(strstr(text, "<|user|>"));
        assert_non_null(strstr(text, "<|assistant|>\n<think></think>\n"));
        assert_in_range(c->ask.n_prompt, w.suite.groups[c->group].length / 2,
                        w.suite.groups[c->group].length + 16);
        free(text);
    }
    world_close(&w);
}

/* A template that opens the thinking: what never closes it says nothing. */
static size_t plan_thoughts(struct world *w, size_t i, const struct probe_ask *ask, uint32_t *out)
{
    const int64_t n = w->suite.cases[i].number;
    (void)ask;
    return i % 2 ? say(w, out, "so %" PRId64, n) : say(w, out, "so 1</think>%" PRId64, n);
}

static void thinking_that_the_prompt_opens_does_not_count(void **state)
{
    static const char *const templates[] = {
        "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|><think>",
        "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|>\n<think>\n"};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct world w;
        world_open(&w, 0);
        assert_int_equal(
            chat_template_parse(&w.chat, templates[k], strlen(templates[k]), "template", &err), 0);
        w.source.chat = w.chat;
        assert_int_equal(suite_add_arithmetic(&w.suite, 2, 6, 64, &err), 0);
        w.plan = plan_thoughts;
        ask(&w);
        for (size_t i = 0; i < 6; i++)
            assert_int_equal(w.outcomes[i].hit, i % 2 == 0);
        world_close(&w);
    }
}

static void arithmetic_is_judged_with_a_template_or_without(void **state)
{
    (void)state;
    for (int chat = 0; chat < 2; chat++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct world w;
        world_open(&w, chat);
        assert_int_equal(suite_add_arithmetic(&w.suite, 1, 15, 64, &err), 0);
        assert_int_equal(suite_add_arithmetic(&w.suite, 3, 10, 64, &err), 0);
        assert_string_equal(w.suite.groups[1].name, "3 digits");
        w.plan = plan_numbers;
        ask(&w);
        check_numbers(&w);
        char *text = text_of(&w, &w.suite.cases[0].ask);
        if (chat)
            assert_non_null(strstr(text, "<|user|>"));
        else
            assert_ptr_equal(strstr(text, "What is "), text);
        free(text);
        world_close(&w);
    }
}

/* ---- sets of prompts ---- */

static const char set_text[] =
    "{\"format\": \"prep-prompts\", \"version\": 1, \"name\": \"weather\","
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\":"
    " {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}, \"days\":"
    " {\"type\": \"integer\"}}, \"required\": [\"city\"]}}}],"
    "\"dialog\": [{\"role\": \"user\", \"content\": \"Rain in Oslo?\"},"
    " {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"function\": {\"name\":"
    " \"weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}}}]},"
    " {\"role\": \"tool\", \"content\": \"rain\"},"
    " {\"role\": \"assistant\", \"content\": \"Yes, rain.\", \"words\": [\"rain\"]},"
    " {\"role\": \"user\", \"content\": \"And in Rome?\"},"
    " {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"function\": {\"name\":"
    " \"weather\", \"arguments\": {\"city\": \"Rome\"}}}]}]}";

static const char *const planned_calls[3][4] = {
    {"<tool_call>weather<arg_key>city</arg_key><arg_value>Oslo</arg_value>"
     "<arg_key>days</arg_key><arg_value>2</arg_value></tool_call>",
     "I shall look.\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
     "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
     "<tool_call>weather<arg_key>city</arg_key><arg_value>Oslo</arg_value>", "It rains."},
    {"Yes, rain.", "There will be Rain", "<tool_call>weather</tool_call>", "No."},
    {"<tool_call>weather<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>",
     "<tool_call>weather<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>",
     "<tool_call>wether<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>",
     "<tool_call>weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>"},
};

static int round_of_calls;

static size_t plan_calls(struct world *w, size_t i, const struct probe_ask *ask, uint32_t *out)
{
    (void)ask;
    return say(w, out, "%s", planned_calls[i][round_of_calls]);
}

static void tool_calls_of_several_turns_are_judged(void **state)
{
    static const enum tool_fault faults[3][2] = {{TOOL_UNFINISHED, TOOL_SOUND},
                                                 {TOOL_MISSING_KEY, TOOL_SOUND},
                                                 {TOOL_UNKNOWN_NAME, TOOL_SOUND}};
    struct prep_error err = PREP_ERROR_INIT;
    struct prompt_set set;
    struct world w;
    (void)state;
    world_open(&w, 1);
    assert_int_equal(prompt_set_parse(&set, set_text, sizeof set_text - 1, "set", &err), 0);
    assert_int_equal(suite_add_prompts(&w.suite, PROBE_TOOLS, &set, 200, &err), 0);
    assert_int_equal(w.suite.n_cases, 3);
    assert_string_equal(w.suite.groups[0].name, "weather");
    w.plan = plan_calls;
    for (round_of_calls = 0; round_of_calls < 4; round_of_calls++) {
        ask(&w);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(w.outcomes[i].hit, round_of_calls < 2);
            if (round_of_calls >= 2)
                assert_int_equal(w.outcomes[i].fault, faults[i][round_of_calls - 2]);
        }
    }
    /* What was said before is asked with, in the model's own words for it. */
    char *text = text_of(&w, &w.suite.cases[2].ask);
    assert_non_null(strstr(text, "Rain in Oslo?"));
    assert_non_null(strstr(text, "And in Rome?"));
    assert_null(strstr(text, "Rome</arg_value>"));
    free(text);
    prompt_set_close(&set);
    world_close(&w);
}

static void bundled_sets_are_carried_along(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prompt_set facts, tools;
    struct world w;
    (void)state;
    world_open(&w, 1);
    if (prompt_set_bundled(&facts, "facts", &err) || prompt_set_bundled(&tools, "tool-chat", &err))
        fail_msg("%s", err.msg);
    assert_int_equal(facts.n, 24);
    assert_int_equal(tools.n, 11);
    if (suite_add_prompts(&w.suite, PROBE_FACTS, &facts, 8, &err) ||
        suite_add_prompts(&w.suite, PROBE_TOOLS, &tools, 8, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(w.suite.n_cases, 35);
    prompt_set_close(&tools);
    assert_int_equal(prompt_set_bundled(&tools, "nothing", &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    prompt_set_close(&facts);
    world_close(&w);
}

static void a_conversation_needs_a_template(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prompt_set set;
    struct world w;
    (void)state;
    world_open(&w, 0);
    assert_int_equal(prompt_set_bundled(&set, "facts", &err), 0);
    assert_int_equal(suite_add_prompts(&w.suite, PROBE_FACTS, &set, 8, &err), 0);
    prompt_set_close(&set);
    assert_int_equal(prompt_set_bundled(&set, "tool-chat", &err), 0);
    assert_int_equal(suite_add_prompts(&w.suite, PROBE_TOOLS, &set, 8, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    prompt_set_close(&set);
    world_close(&w);
}

/* ---- the generator's own faults ---- */

static void every_case_is_answered_once(void **state)
{
    struct world w;
    (void)state;
    for (int fault = 0; fault < 2; fault++) {
        struct prep_error err = PREP_ERROR_INIT;
        world_open(&w, 0);
        assert_int_equal(suite_add_arithmetic(&w.suite, 1, 5, 64, &err), 0);
        w.plan = plan_numbers;
        w.twice = fault == 0;
        w.leave_out = fault == 1;
        assert_int_equal(ask_all(&w, &err), -1);
        assert_int_equal(err.code, PREP_EBUG);
        world_close(&w);
    }
}

/* ---- two models ---- */

static void counts_claim_what_a_paired_test_shows(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct probe_results r = {0};
    struct probe_model models[2] = {{.path = "original"}, {.path = "model"}};
    static struct probe_outcome a[60], b[60];
    struct world w;
    uint32_t *tokens = windows();
    const struct suite_loops l = {tokens, WINDOWS, WINDOW, PROMPT, NEW, 1};
    (void)state;
    world_open(&w, 0);
    assert_int_equal(suite_add_loops(&w.suite, &l, &err), 0);
    assert_int_equal(suite_add_arithmetic(&w.suite, 1, 20, 8, &err), 0);
    assert_int_equal(w.suite.n_cases, 44);
    /* Greedy: 6 loops more and none less. Sampled: 5 more, 1 less. Sums: 8 fewer right. */
    for (size_t i = 0; i < 6; i++)
        b[i].hit = 1;
    for (size_t i = 12; i < 17; i++)
        b[i].hit = 1;
    a[20].hit = 1;
    for (size_t i = 24; i < 44; i++) {
        a[i].hit = i < 36;
        b[i].hit = i < 28;
    }
    models[0].outcomes = a;
    models[1].outcomes = b;
    arena_init(&r.arena, 0);
    r.suite = w.suite;
    r.models = models;
    r.n_models = 2;
    r.has_original = 1;
    assert_int_equal(probe_count(&r, &err), 0);
    assert_int_equal(models[1].groups[0].hits, 6);
    assert_true(fabs(models[1].groups[0].p - 2.0 / 64) < 1e-12);
    assert_int_equal(models[1].groups[0].claim, -1);
    assert_int_equal(models[1].groups[1].claim, 0);
    assert_int_equal(models[1].groups[1].pairs.only_second, 5);
    assert_int_equal(models[1].groups[1].pairs.only_first, 1);
    assert_int_equal(models[1].groups[2].claim, -1);
    assert_int_equal(models[1].kinds[PROBE_LOOPS].hits, 11);
    assert_int_equal(models[1].kinds[PROBE_LOOPS].n, 24);
    assert_int_equal(models[1].kinds[PROBE_LOOPS].claim, -1);
    assert_int_equal(models[1].kinds[PROBE_NEEDLE].n, 0);
    assert_true(isnan(models[0].groups[0].p));
    assert_int_equal(models[0].groups[2].hits, 12);
    assert_true(models[0].groups[2].rate.rate == 0.6 && models[0].groups[2].rate.low > 0.35 &&
                models[0].groups[2].rate.high < 0.82);
    arena_fini(&r.arena);
    world_close(&w);
    free(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_loops_are_found_and_no_others),
        cmocka_unit_test(needles_are_judged_by_length_and_depth),
        cmocka_unit_test(arithmetic_is_judged_with_a_template_or_without),
        cmocka_unit_test(thinking_that_the_prompt_opens_does_not_count),
        cmocka_unit_test(tool_calls_of_several_turns_are_judged),
        cmocka_unit_test(bundled_sets_are_carried_along),
        cmocka_unit_test(a_conversation_needs_a_template),
        cmocka_unit_test(every_case_is_answered_once),
        cmocka_unit_test(counts_claim_what_a_paired_test_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
