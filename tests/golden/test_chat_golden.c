/* SPDX-License-Identifier: MIT */
/* Texts that jinja2 rendered, and their ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/chat/chat.h"
#include "tests/support/support.h"

enum { MAX_VARS = 32 };

struct lines {
    struct test_bytes file;
    size_t at;
    struct json doc;
    struct arena arena;
    int n;
};

static void lines_open(struct lines *l, const char *name)
{
    *l = (struct lines){.file = test_read(test_path("%s/chat/%s", test_data(), name))};
    arena_init(&l->arena, 0);
}

/* The next line as l->doc; 0 at the end. */
static int lines_next(struct lines *l)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *s = (const char *)l->file.p + l->at;
    json_free(&l->doc);
    arena_reset(&l->arena);
    if (l->at >= l->file.n)
        return 0;
    const char *end = memchr(s, '\n', l->file.n - l->at);
    size_t n = end ? (size_t)(end - s) : l->file.n - l->at;
    l->at += n + 1;
    l->n++;
    if (json_parse(&l->doc, s, n, "golden", &err))
        fail_msg("%s", err.msg);
    return 1;
}

static void lines_close(struct lines *l)
{
    json_free(&l->doc);
    arena_fini(&l->arena);
    free(l->file.p);
}

static const char *text_of(struct lines *l, uint32_t node, size_t *n)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *s = json_string(&l->doc, node, &l->arena, n, &err);
    assert_non_null(s);
    return s;
}

/* Members of an object of the line as variables. */
static size_t add_vars(struct lines *l, struct chat_var *vars, size_t n, uint32_t object)
{
    for (uint32_t k = json_first(&l->doc, object); k != JSON_NONE; k = json_next(&l->doc, k)) {
        const char *name = text_of(l, k, NULL);
        k = json_next(&l->doc, k);
        assert_true(n < MAX_VARS);
        vars[n++] = (struct chat_var){name, &l->doc, k, CHAT_DATA};
    }
    return n;
}

/* Render with the variables of the line; what is wanted is "text" or "error" of the line. */
static void check(struct lines *l, const struct chat_template *t, struct chat_var *vars, size_t n,
                  const char *shown)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct chat_text out = {NULL, 0, NULL, 0};
    uint32_t want = json_get(&l->doc, 0, "text");
    size_t len;
    int rc = chat_template_render(&out, t, vars, n, &err);
    if (want == JSON_NONE) {
        if (!rc)
            fail_msg("line %d: %s: no error", l->n, shown);
        assert_int_equal(err.code, PREP_EDATA);
        return;
    }
    const char *text = text_of(l, want, &len);
    if (rc)
        fail_msg("line %d: %s: %s", l->n, shown, err.msg);
    if (out.n != len || memcmp(out.p, text, len) != 0)
        fail_msg("line %d: %s: want \"%s\", got \"%s\"", l->n, shown, text, out.p);
    chat_text_free(&out);
}

static void renders_every_construct_as_jinja2(void **state)
{
    struct lines l;
    (void)state;
    lines_open(&l, "jinja_micro.jsonl");
    while (lines_next(&l)) {
        struct prep_error err = PREP_ERROR_INIT;
        struct chat_var vars[MAX_VARS];
        struct chat_template *t;
        size_t n, n_vars = add_vars(&l, vars, 0, json_get(&l.doc, 0, "context"));
        const char *s = text_of(&l, json_get(&l.doc, 0, "template"), &n);
        if (chat_template_parse(&t, s, n, "micro", &err)) {
            if (json_get(&l.doc, 0, "error") == JSON_NONE)
                fail_msg("%s: %s", s, err.msg);
            assert_int_equal(err.code, PREP_EDATA);
            continue;
        }
        check(&l, t, vars, n_vars, s);
        chat_template_free(t);
    }
    assert_int_equal(l.n, 97);
    lines_close(&l);
}

static void renders_the_template_of_features_as_jinja2(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct chat_template *t;
    struct lines l;
    (void)state;
    if (chat_template_open(&t, &io_posix, test_path("%s/chat/features.jinja", test_data()), &err))
        fail_msg("%s", err.msg);
    lines_open(&l, "features_golden.jsonl");
    while (lines_next(&l)) {
        struct chat_var vars[MAX_VARS] = {
            {"messages", &l.doc, json_get(&l.doc, 0, "messages"), CHAT_MESSAGES},
            {"tools", &l.doc, json_get(&l.doc, 0, "tools"), CHAT_DATA}};
        size_t n = add_vars(&l, vars, 2, json_get(&l.doc, 0, "kwargs"));
        check(&l, t, vars, n, text_of(&l, json_get(&l.doc, 0, "name"), NULL));
    }
    assert_int_equal(l.n, 37);
    lines_close(&l);
    chat_template_free(t);
}

static void names_the_line_and_the_words_of_raise_exception(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct chat_text out;
    struct chat_template *t;
    struct chat c;
    static const char text[] =
        "[{\"role\":\"assistant\",\"content\":\"t\",\"tool_calls\":[{\"function\":"
        "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}]";
    (void)state;
    assert_int_equal(
        chat_template_open(&t, &io_posix, test_path("%s/chat/features.jinja", test_data()), &err),
        0);
    assert_int_equal(chat_open(&c, text, sizeof text - 1, "m", 0, NULL, &err), 0);
    assert_int_equal(chat_render(&out, &c, t, NULL, 0, 1, &err), -1);
    assert_string_equal(err.tag, "TPL_RAISED");
    assert_non_null(strstr(err.msg, "features.jinja: line 58: "));
    assert_non_null(strstr(err.msg, "call 1: arguments are {\"a\":1}"));
    chat_close(&c);
    chat_template_free(t);
}

/* Ids of the line, compared with ours. */
static void check_ids(struct lines *l, const struct token_ids *ids, const char *how)
{
    uint32_t list = json_get(&l->doc, 0, "ids");
    size_t i = 0;
    uint64_t v;
    for (uint32_t k = json_first(&l->doc, list); k != JSON_NONE; k = json_next(&l->doc, k), i++)
        if (i >= ids->n || json_u64(&l->doc, k, &v) || v != ids->ids[i])
            fail_msg("%s: %s: id %zu differs", text_of(l, json_get(&l->doc, 0, "name"), NULL), how,
                     i);
    assert_int_equal(i, ids->n);
}

/* Does any message of the line hold a marker, so that reading bodies as text gives other ids? */
static int has_marker(struct lines *l)
{
    uint32_t m = json_get(&l->doc, 0, "messages");
    const struct json_node *k = &l->doc.nodes[m];
    return memmem(l->doc.text + k->start, k->end - k->start, "<|", 2) != NULL ||
           memmem(l->doc.text + k->start, k->end - k->start, "[gMASK]", 7) != NULL;
}

static void encodes_the_nano_conversations_as_the_library(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct chat_template *t;
    struct tokenizer *tok;
    struct tokenizer_encoder *e;
    struct lines l;
    int n_plain = 0;
    const char *nano = test_path("%s/glm-nano", test_data());
    (void)state;
    if (chat_template_open(&t, &io_posix, nano, &err) ||
        tokenizer_open(&tok, &io_posix, nano, NULL, &err) || tokenizer_encoder_new(&e, tok, &err))
        fail_msg("%s", err.msg);
    lines_open(&l, "nano_golden.jsonl");
    while (lines_next(&l)) {
        struct chat_text out;
        struct chat_var vars[] = {
            {"messages", &l.doc, json_get(&l.doc, 0, "messages"), CHAT_MESSAGES},
            {"tools", &l.doc, json_get(&l.doc, 0, "tools"), CHAT_DATA},
            {"add_generation_prompt", &l.doc, json_get(&l.doc, 0, "add_generation_prompt"),
             CHAT_TRUSTED}};
        check(&l, t, vars, 3, text_of(&l, json_get(&l.doc, 0, "name"), NULL));
        assert_int_equal(chat_template_render(&out, t, vars, 3, &err), 0);
        for (int bodies = CHAT_NO_SPECIAL; bodies <= CHAT_PARSE_SPECIAL; bodies++) {
            struct token_ids ids = {0};
            if (bodies != CHAT_PARSE_SPECIAL && has_marker(&l))
                continue;
            /* Nor is a tag in a body a token when bodies are raw. */
            if (bodies == CHAT_RAW && memmem(l.doc.text, l.doc.n, "think", 5) != NULL)
                continue;
            n_plain += bodies == CHAT_NO_SPECIAL;
            assert_int_equal(chat_encode(&ids, e, &out, (enum chat_bodies)bodies, &err), 0);
            check_ids(&l, &ids, bodies == CHAT_PARSE_SPECIAL ? "all" : "bodies are text");
            token_ids_free(&ids);
        }
        chat_text_free(&out);
    }
    assert_int_equal(l.n, 20);
    assert_true(n_plain > 10);
    lines_close(&l);
    tokenizer_encoder_free(e);
    tokenizer_free(tok);
    chat_template_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_every_construct_as_jinja2),
        cmocka_unit_test(renders_the_template_of_features_as_jinja2),
        cmocka_unit_test(names_the_line_and_the_words_of_raise_exception),
        cmocka_unit_test(encodes_the_nano_conversations_as_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
