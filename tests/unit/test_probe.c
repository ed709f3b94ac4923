/* SPDX-License-Identifier: MIT */
/* Every instrument on answers that were planted. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/probe/answer.h"
#include "libprep/probe/arithmetic.h"
#include "libprep/probe/needle.h"
#include "libprep/probe/prompt_set.h"
#include "tests/support/support.h"

/* ---- answers ---- */

static void the_last_number_of_an_answer_counts(void **state)
{
    static const struct {
        const char *answer;
        int64_t number;
        int right;
    } cases[] = {
        {"42", 42, 1},
        {"The answer is 42.", 42, 1},
        {"6 * 7 = 42", 42, 1},
        {"42, not 43", 42, 0},
        {"**1,234,567**", 1234567, 1},
        {"1,23", 123, 0},
        {"12,345,67", 12345, 0},
        {"12.0", 12, 1},
        {"12.5", 12, 0},
        {"-5", -5, 1},
        {"\xe2\x88\x92"
         "5",
         -5, 1},
        {"10-5", 5, 0},
        {"", 0, 0},
        {"none", 0, 0},
        {"x86", 86, 0},
        {"\xe6\x98\xaf"
         "42\xe3\x80\x82",
         42, 1},
        {"<think>41</think>42", 42, 1},
        {"<think>42", 42, 0},
        {"42</think>", 42, 0},
        {"99999999999999999999", -1, 0},
        {"9223372036854775807", INT64_MAX, 1},
        {"-9223372036854775808", INT64_MIN, 1},
        {"9223372036854775808", INT64_MIN, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (answer_is_number(cases[i].answer, strlen(cases[i].answer), cases[i].number) !=
            cases[i].right)
            fail_msg("\"%s\": %" PRId64, cases[i].answer, cases[i].number);
}

static int has(const char *answer, const char *words)
{
    return answer_has_words(answer, strlen(answer), words);
}

static void words_are_found_as_words(void **state)
{
    (void)state;
    assert_true(has("It is paris.", "Paris"));
    assert_true(has("Paris\xe3\x80\x82", "Paris"));
    assert_true(has("Leonardo da Vinci", "da vinci"));
    assert_false(has("comparison", "Paris"));
    assert_false(has("Parisian", "Paris"));
    assert_false(has("<think>Paris</think>London", "Paris"));
    assert_false(has("", "Paris"));
    assert_false(has("Par", "Paris"));
    assert_false(has("Paris", ""));
}

/* ---- arithmetic ---- */

/* What the question asks, read from its text. */
static int64_t solve(const char *q)
{
    int64_t a, b, c;
    if (sscanf(q, "What is %" SCNd64 " + %" SCNd64 "?", &a, &b) == 2)
        return a + b;
    if (sscanf(q, "What is %" SCNd64 " - %" SCNd64 "?", &a, &b) == 2)
        return a - b;
    if (sscanf(q, "What is %" SCNd64 " * %" SCNd64 " + %" SCNd64 "?", &a, &b, &c) == 3)
        return a * b + c;
    if (sscanf(q, "What is %" SCNd64 " * %" SCNd64 "?", &a, &b) == 2)
        return a * b;
    if (sscanf(q, "A shop gets %" SCNd64 " boxes with %" SCNd64 " lamps in each and sells %" SCNd64,
               &a, &b, &c) == 3) {
        assert_true(c <= a * b);
        return a * b - c;
    }
    fail_msg("what is this: %s", q);
    return 0;
}

static void every_sum_has_its_result(void **state)
{
    (void)state;
    for (int digits = 1; digits <= 9; digits++)
        for (uint64_t i = 0; i < 300; i++) {
            struct prep_error err = PREP_ERROR_INIT;
            struct arithmetic_problem p, again;
            char wrong[32];
            assert_int_equal(arithmetic_make(&p, digits, 1, i, &err), 0);
            assert_int_equal(arithmetic_make(&again, digits, 1, i, &err), 0);
            assert_string_equal(p.question, again.question);
            assert_true(strlen(p.question) + 1 < sizeof p.question);
            assert_true(solve(p.question) == p.result);
            snprintf(wrong, sizeof wrong, "%" PRId64, p.result + 1);
            assert_false(answer_is_number(wrong, strlen(wrong), p.result));
        }
    struct prep_error err = PREP_ERROR_INIT;
    struct arithmetic_problem p;
    assert_int_equal(arithmetic_make(&p, 10, 1, 0, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
}

static void sums_differ(void **state)
{
    int same = 0;
    (void)state;
    for (uint64_t i = 0; i < 200; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct arithmetic_problem a, b, c;
        assert_int_equal(arithmetic_make(&a, 4, 1, i, &err), 0);
        assert_int_equal(arithmetic_make(&b, 4, 2, i, &err), 0);
        assert_int_equal(arithmetic_make(&c, 4, 1, i + 5, &err), 0);
        same += strcmp(a.question, b.question) == 0 || strcmp(a.question, c.question) == 0;
    }
    assert_true(same < 3);
}

/* ---- needles ---- */

struct world {
    struct tokenizer *t;
    struct tokenizer_encoder *e;
    struct needle_source source;
};

static void world_open(struct world *w)
{
    struct prep_error err = PREP_ERROR_INIT;
    static char text[80000];
    struct test_random r = {11};
    size_t n = 0;
    while (n < sizeof text - 200) {
        static const char *const words[] = {"river", "stone", "the",  "walks", "over",
                                            "a",     "cold",  "hill", "and",   "sings"};
        size_t len = 4 + test_random_below(&r, 14);
        for (size_t i = 0; i < len; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "",
                                  words[test_random_below(&r, 10)]);
        n += (size_t)snprintf(text + n, sizeof text - n, ".%s",
                              test_random_below(&r, 8) ? " " : "\n\n");
    }
    if (tokenizer_open(&w->t, &io_posix, test_path("%s/glm-nano", test_data()), NULL, &err) ||
        tokenizer_encoder_new(&w->e, w->t, &err) || needle_open(&w->source, w->e, text, n, &err))
        fail_msg("%s", err.msg);
}

static void world_close(struct world *w)
{
    needle_close(&w->source);
    tokenizer_encoder_free(w->e);
    tokenizer_free(w->t);
}

static void needles_lie_where_they_should(void **state)
{
    static const size_t lengths[] = {300, 1000, 4000, 20000};
    static const double depths[] = {0, 0.1, 0.25, 0.5, 0.75, 0.9, 1};
    struct world w;
    (void)state;
    world_open(&w);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 7; k++) {
            struct prep_error err = PREP_ERROR_INIT;
            const struct needle_case c = {lengths[i], depths[k], 7 * i + k};
            struct needle_prompt p;
            struct token_ids ids = {0};
            char needle[64];
            if (needle_build(&p, &w.source, w.e, &c, &err))
                fail_msg("%s", err.msg);
            assert_int_equal(tokenizer_encode(&ids, w.e, TOKENIZER_NOSPECIAL, p.text, p.n, &err),
                             0);
            assert_int_equal(ids.n, p.tokens);
            assert_true(p.tokens <= c.tokens && p.tokens + 60 + c.tokens / 50 > c.tokens);
            assert_true(p.depth >= c.depth - 0.2 && p.depth <= c.depth + 0.2);
            if (c.tokens > 2000)
                assert_true(p.depth >= c.depth - 0.01 && p.depth <= c.depth + 0.01);
            snprintf(needle, sizeof needle, " is %" PRId64 ".", p.number);
            const char *hit = strstr(p.text, needle);
            assert_non_null(hit);
            assert_null(strstr(hit + 1, needle));
            /* Bytes tell about the same as tokens. */
            double at = (double)(hit - p.text) / (double)p.n;
            if (c.tokens > 2000)
                assert_true(at > c.depth - 0.05 && at < c.depth + 0.05);
            needle_free(&p);
            token_ids_free(&ids);
        }
    world_close(&w);
}

static void a_needle_is_found_or_not(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct needle_case c = {500, 0.5, 3};
    struct needle_prompt p, again;
    struct world w;
    char answer[64];
    (void)state;
    world_open(&w);
    assert_int_equal(needle_build(&p, &w.source, w.e, &c, &err), 0);
    assert_int_equal(needle_build(&again, &w.source, w.e, &c, &err), 0);
    assert_string_equal(p.text, again.text);
    assert_false(p.repeats);
    snprintf(answer, sizeof answer, "It is %" PRId64 ".", p.number);
    assert_true(needle_found(&p, answer, strlen(answer)));
    snprintf(answer, sizeof answer, "It is %" PRId64 "1.", p.number);
    assert_false(needle_found(&p, answer, strlen(answer)));
    snprintf(answer, sizeof answer, "It is %" PRId64 ".", p.number + 1);
    assert_false(needle_found(&p, answer, strlen(answer)));
    assert_false(needle_found(&p, "I do not know.", 14));
    needle_free(&p);
    needle_free(&again);
    world_close(&w);
}

static void needles_refuse_the_impossible(void **state)
{
    static const struct needle_case bad[] = {
        {40, 0.5, 1}, {500, -0.1, 1}, {500, 1.5, 1}, {0, 0, 1}};
    struct needle_source s;
    struct needle_prompt p;
    struct world w;
    (void)state;
    world_open(&w);
    for (size_t i = 0; i < 4; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        assert_int_equal(needle_build(&p, &w.source, w.e, &bad[i], &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
        assert_null(p.text);
    }
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(needle_open(&s, w.e, "A. B.\n", 6, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    /* A source of one sentence is repeated, and says so. */
    static const char one[] = "The river walks over the cold hill.";
    const struct needle_case c = {400, 0.5, 1};
    prep_error_clear(&err);
    assert_int_equal(needle_open(&s, w.e, one, sizeof one - 1, &err), 0);
    assert_int_equal(needle_build(&p, &s, w.e, &c, &err), 0);
    assert_true(p.repeats);
    needle_free(&p);
    needle_close(&s);
    world_close(&w);
}

/* ---- tool calls ---- */

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"s\":{\"type\":\"string\"},\"i\":{\"type\":\"integer\"},\"n\":{\"type\":"
    "[\"number\",\"null\"]},\"b\":{\"type\":\"boolean\"},\"a\":{\"type\":\"array\"},\"o\":{"
    "\"type\":"
    "\"object\"},\"e\":{\"type\":\"string\",\"enum\":[\"x\",\"y\"]},\"any\":{}},"
    "\"required\":[\"s\"]}}},{\"name\":\"g\"}]";

#define ARG(k, v) "<arg_key>" k "</arg_key><arg_value>" v "</arg_value>"
#define CALL(x) "<tool_call>" x "</tool_call>"

static enum tool_fault fault_of(const char *answer, size_t *n_calls)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tool_calls calls;
    struct json tools;
    enum tool_fault fault;
    assert_int_equal(json_parse(&tools, tools_text, sizeof tools_text - 1, "tools", &err), 0);
    assert_int_equal(tool_calls_parse(&calls, answer, strlen(answer), &err), 0);
    assert_int_equal(tool_calls_check(&fault, &calls, &tools, 0, &err), 0);
    *n_calls = calls.n;
    tool_calls_free(&calls);
    json_free(&tools);
    return fault;
}

static void finds_every_planted_fault_of_a_call(void **state)
{
    static const struct {
        const char *answer;
        enum tool_fault fault;
        size_t calls; /* read before the fault */
    } cases[] = {
        {"Just text.", TOOL_SOUND, 0},
        {"", TOOL_SOUND, 0},
        {CALL("g"), TOOL_SOUND, 1},
        {"I look.\n<tool_call>f\n<arg_key>s</arg_key>\n<arg_value> a < b "
         "</arg_value>\n</tool_call>\n",
         TOOL_SOUND, 1},
        {CALL("f" ARG("s", "")) CALL("g"), TOOL_SOUND, 2},
        {CALL("f" ARG("s", "1") ARG("i", "2.0") ARG("n", "null") ARG("b", "true") ARG("a", "[1]")
                  ARG("o", "{}") ARG("e", "y") ARG("any", "what")),
         TOOL_SOUND, 1},
        {"<think>" CALL("zzz") "</think>" CALL("g"), TOOL_SOUND, 1},
        {"<tool_call>g", TOOL_UNFINISHED, 0},
        {"<tool_call>f<arg_key>s</arg_key><arg_value>x</tool_call>", TOOL_UNFINISHED, 0},
        {"<tool_call>f<arg_key>s</tool_call>", TOOL_UNFINISHED, 0},
        {CALL("f" ARG("s", "x") "junk"), TOOL_STRAY, 0},
        {CALL("f<arg_value>x</arg_value>"), TOOL_STRAY, 0},
        {"g</tool_call>", TOOL_STRAY, 0},
        {ARG("s", "x"), TOOL_STRAY, 0},
        {CALL("f\n{\"s\": \"x\"}"), TOOL_STRAY, 0},
        {CALL("g") "done", TOOL_TEXT_BEHIND, 1},
        {CALL(""), TOOL_NO_NAME, 0},
        {CALL(ARG("s", "x")), TOOL_NO_NAME, 0},
        {CALL("h"), TOOL_UNKNOWN_NAME, 1},
        {CALL("F" ARG("s", "x")), TOOL_UNKNOWN_NAME, 1},
        {CALL("f" ARG("s", "x") ARG("t", "x")), TOOL_UNKNOWN_KEY, 1},
        {CALL("g" ARG("s", "x")), TOOL_UNKNOWN_KEY, 1},
        {CALL("f" ARG("s", "x") ARG("s", "y")), TOOL_REPEATED_KEY, 1},
        {CALL("f" ARG("i", "1")), TOOL_MISSING_KEY, 1},
        {CALL("f" ARG("s", "x") ARG("i", "1.5")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("i", "one")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("i", "\"1\"")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("n", "true")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("b", "True")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("a", "{}")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("o", "{'a': 1}")), TOOL_WRONG_TYPE, 1},
        {CALL("f" ARG("s", "x") ARG("e", "z")), TOOL_NOT_IN_ENUM, 1},
        {CALL("g") CALL("h"), TOOL_UNKNOWN_NAME, 2},
    };
    int seen[TOOL_N_FAULTS] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        enum tool_fault fault = fault_of(cases[i].answer, &n);
        if (fault != cases[i].fault || n != cases[i].calls)
            fail_msg("%s: %s, %zu calls", cases[i].answer, tool_fault_text(fault), n);
        seen[fault] = 1;
    }
    for (int k = 0; k < TOOL_N_FAULTS; k++)
        assert_true(seen[k]);
}

static void values_are_compared_as_json(void **state)
{
    static const struct {
        const char *value, *json;
        int same;
    } cases[] = {
        {"a b", "\"a b\"", 1},
        {"a b ", "\"a b\"", 0},
        {"1", "1", 1},
        {"1.0", "1", 1},
        {"1", "\"1\"", 1},
        {"true", "true", 1},
        {"[1, {\"b\":2,\"a\":1}]", "[1,{\"a\":1,\"b\":2}]", 1},
        {"[1,2]", "[2,1]", 0},
        {"{\"a\":1}", "{\"a\":1,\"b\":2}", 0},
        {"x", "1", 0},
        {"null", "null", 1},
        {"\xc3\xa9", "\"\\u00e9\"", 1},
        {"[\"\\u00e9\"]", "[\"\xc3\xa9\"]", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct json d;
        const struct span v = {(const unsigned char *)cases[i].value, strlen(cases[i].value)};
        assert_int_equal(json_parse(&d, cases[i].json, strlen(cases[i].json), "j", &err), 0);
        if (tool_value_is(v, &d, 0, &err) != cases[i].same)
            fail_msg("%s and %s", cases[i].value, cases[i].json);
        json_free(&d);
    }
}

/* ---- prompt sets ---- */

static void bad_set(const char *text, const char *message)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prompt_set s;
    assert_int_equal(prompt_set_parse(&s, text, strlen(text), "s.json", &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    if (!strstr(err.msg, message) || !strstr(err.msg, "s.json"))
        fail_msg("%s: %s", text, err.msg);
}

#define HEAD "{\"format\":\"prep-prompts\",\"version\":1,\"name\":\"n\","

static void refuses_what_is_no_prompt_set(void **state)
{
    (void)state;
    bad_set("[", "s.json");
    bad_set("[]", "want an object");
    bad_set("{}", "prep-prompts");
    bad_set("{\"format\":\"prep-prompts\",\"version\":2}", "\"version\": 1");
    bad_set("{\"format\":\"prep-prompts\",\"version\":1}", "a \"name\"");
    bad_set(HEAD "\"tools\":{}}", "a list of tools");
    bad_set(HEAD "\"prompts\":[]}", "at least one prompt");
    bad_set(HEAD "\"prompts\":[1]}", "an object");
    bad_set(HEAD "\"prompts\":[{\"messages\":[],\"judge\":{}}]}", "an \"id\"");
    bad_set(HEAD "\"prompts\":[{\"id\":\"a\",\"judge\":{}}]}", "a list \"messages\"");
    bad_set(HEAD "\"prompts\":[{\"id\":\"a\",\"messages\":[]}]}", "an object \"judge\"");
    bad_set(HEAD "\"prompts\":[{\"id\":\"a\",\"messages\":[],\"judge\":{}}]}", "one of");
    bad_set(HEAD "\"prompts\":[{\"id\":\"a\",\"messages\":[],\"judge\":{\"number\":1.5}}]}",
            "an integer");
    bad_set(HEAD "\"prompts\":[{\"id\":\"a\",\"messages\":[],\"judge\":{\"words\":[\"\"]}}]}",
            "a word");
    bad_set(HEAD "\"prompts\":[{\"id\":\"a\",\"messages\":[],\"judge\":{\"calls\":[{}]}}]}",
            "\"function\"");
    bad_set(HEAD "\"dialog\":[{}]}", "a message with a \"role\"");
    bad_set(HEAD "\"dialog\":[{\"role\":\"assistant\"}]}", "a question before");
}

static int right(const struct prompt_set *s, size_t i, const char *answer, enum tool_fault fault)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct prompt_verdict v;
    if (prompt_try(&v, s, i, answer, strlen(answer), &err))
        fail_msg("%s", err.msg);
    assert_int_equal(v.fault, fault);
    return v.right;
}

static void judges_answers_by_their_prompt(void **state)
{
    static const char text[] = HEAD
        "\"prompts\":[{\"id\":\"n\",\"messages\":[],\"judge\":{\"number\":7}},"
        "{\"id\":\"w\",\"messages\":[],\"judge\":{\"words\":[\"red\",\"blue\"]}}],"
        "\"tools\":[{\"name\":\"f\",\"parameters\":{\"properties\":{\"x\":{\"type\":\"integer\"},"
        "\"y\":{}}}}],\"dialog\":[{\"role\":\"user\",\"content\":\"call, [it]\"},"
        "{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
        "{\"x\":1,\"y\":\"z\"}}}]},{\"role\":\"tool\",\"content\":\"ok\"} ,\n "
        "{\"role\":\"assistant\",\"content\":\"fine\",\"words\":[\"fine\"]}]}";
    struct prep_error err = PREP_ERROR_INIT;
    struct prompt_set s;
    struct arena arena;
    struct span request;
    (void)state;
    if (prompt_set_parse(&s, text, sizeof text - 1, "s.json", &err))
        fail_msg("%s", err.msg);
    assert_int_equal(s.n, 4);
    assert_string_equal(s.prompts[0].id, "turn-1");
    assert_string_equal(s.prompts[2].id, "n");
    assert_true(right(&s, 0, CALL("f" ARG("x", "1") ARG("y", "z")), TOOL_SOUND));
    assert_true(right(&s, 0, "ok " CALL("f" ARG("y", "z") ARG("x", "1")), TOOL_SOUND));
    assert_false(right(&s, 0, CALL("f" ARG("x", "2") ARG("y", "z")), TOOL_SOUND));
    assert_false(right(&s, 0, CALL("f" ARG("x", "1")), TOOL_SOUND));
    assert_false(right(&s, 0, CALL("g"), TOOL_UNKNOWN_NAME));
    assert_false(right(&s, 0, "f(1, z)", TOOL_SOUND));
    assert_false(right(&s, 0,
                       CALL("f" ARG("x", "1") ARG("y", "z")) CALL("f" ARG("x", "1") ARG("y", "z")),
                       TOOL_SOUND));
    assert_true(right(&s, 1, "All fine.", TOOL_SOUND));
    assert_false(right(&s, 1, "All good.", TOOL_SOUND));
    assert_false(right(&s, 1, "fine " CALL("f"), TOOL_SOUND));
    assert_false(right(&s, 1, "<tool_call>fine", TOOL_UNFINISHED));
    assert_true(right(&s, 2, "7", TOOL_SOUND));
    assert_false(right(&s, 2, "8", TOOL_SOUND));
    assert_true(right(&s, 3, "Blue!", TOOL_SOUND));
    assert_false(right(&s, 3, "green", TOOL_SOUND));
    arena_init(&arena, 0);
    for (size_t i = 0; i < s.n; i++) {
        struct json d;
        assert_int_equal(prompt_request(&request, &s, i, &arena, &err), 0);
        if (json_parse(&d, (const char *)request.p, request.n, "request", &err))
            fail_msg("%s", err.msg);
        assert_int_equal(json_count(&d, json_get(&d, 0, "messages")), i == 0 ? 1 : i == 1 ? 3 : 0);
        json_free(&d);
    }
    arena_fini(&arena);
    prompt_set_close(&s);
}

/* ---- what is bundled ---- */

/* The answer a set itself wants. */
static void perfect(char *out, size_t room, const struct prompt_set *s, const struct prompt *p)
{
    const struct json *d = &s->doc;
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    size_t n = 0;
    arena_init(&arena, 0);
    out[0] = 0;
    if (p->judge == PROMPT_NUMBER)
        n += (size_t)snprintf(out, room, "%" PRId64, p->number);
    else if (p->judge == PROMPT_TEXT && p->expect == JSON_NONE)
        n += (size_t)snprintf(out, room, "Done.");
    else if (p->judge != PROMPT_CALL)
        n += (size_t)snprintf(out, room, "It is %s.",
                              json_string(d, json_first(d, p->expect), &arena, NULL, &err));
    else
        for (uint32_t c = json_first(d, p->expect); c != JSON_NONE; c = json_next(d, c)) {
            uint32_t f = json_get(d, c, "function"), args = json_get(d, f, "arguments");
            n += (size_t)snprintf(out + n, room - n, "<tool_call>%s",
                                  json_string(d, json_get(d, f, "name"), &arena, NULL, &err));
            for (uint32_t k = json_first(d, args); k != JSON_NONE;
                 k = json_next(d, json_next(d, k))) {
                uint32_t v = json_next(d, k);
                const struct json_node *raw = &d->nodes[v];
                const char *value =
                    json_type(d, v) == JSON_STRING
                        ? json_string(d, v, &arena, NULL, &err)
                        : arena_strndup(&arena, d->text + raw->start, raw->end - raw->start, &err);
                n += (size_t)snprintf(out + n, room - n,
                                      "<arg_key>%s</arg_key><arg_value>%s</arg_value>",
                                      json_string(d, k, &arena, NULL, &err), value);
            }
            n += (size_t)snprintf(out + n, room - n, "</tool_call>");
        }
    assert_true(n < room);
    arena_fini(&arena);
}

static void bundled_sets_are_answered_by_themselves_alone(void **state)
{
    static const struct {
        const char *path;
        size_t n;
    } sets[] = {{"probes/facts.json", 24}, {"probes/tool-chat.json", 11}};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct prompt_set s;
        char answer[2000];
        if (prompt_set_open(&s, &io_posix, sets[k].path, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(s.n, sets[k].n);
        for (size_t i = 0; i < s.n; i++) {
            perfect(answer, sizeof answer, &s, &s.prompts[i]);
            if (!right(&s, i, answer, TOOL_SOUND))
                fail_msg("%s: %s: %s", sets[k].path, s.prompts[i].id, answer);
            assert_false(right(&s, i, "", TOOL_SOUND));
            if (s.prompts[i].expect != JSON_NONE || s.prompts[i].judge == PROMPT_NUMBER)
                assert_false(right(&s, i, "I cannot help with that.", TOOL_SOUND));
        }
        prompt_set_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_number_of_an_answer_counts),
        cmocka_unit_test(words_are_found_as_words),
        cmocka_unit_test(every_sum_has_its_result),
        cmocka_unit_test(sums_differ),
        cmocka_unit_test(needles_lie_where_they_should),
        cmocka_unit_test(a_needle_is_found_or_not),
        cmocka_unit_test(needles_refuse_the_impossible),
        cmocka_unit_test(finds_every_planted_fault_of_a_call),
        cmocka_unit_test(values_are_compared_as_json),
        cmocka_unit_test(refuses_what_is_no_prompt_set),
        cmocka_unit_test(judges_answers_by_their_prompt),
        cmocka_unit_test(bundled_sets_are_answered_by_themselves_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
