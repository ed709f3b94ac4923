/* SPDX-License-Identifier: MIT */
/* Ids, piece ends and decoded text as the tokenizers library gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/model/tokenizer.h"
#include "libprep/model/tokenizer_split.h"
#include "tests/support/support.h"

struct lines {
    struct test_bytes file;
    size_t at;
    struct json doc;
    struct arena arena;
};

static void lines_open(struct lines *l, const char *path)
{
    *l = (struct lines){.file = test_read(path)};
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

static struct tokenizer *open_tokenizer(const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    if (tokenizer_open(&t, &io_posix, path, NULL, &err))
        fail_msg("%s", err.msg);
    return t;
}

static struct tokenizer_encoder *make_encoder(const struct tokenizer *t)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
    return e;
}

/* Is the list of numbers of a node the same as ids? */
static int same_ids(const struct json *d, uint32_t node, const struct token_ids *ids)
{
    size_t i = 0;
    uint64_t v;
    for (uint32_t k = json_first(d, node); k != JSON_NONE; k = json_next(d, k), i++)
        if (i >= ids->n || json_u64(d, k, &v) || v != ids->ids[i])
            return 0;
    return i == ids->n;
}

/* The first of the keys that the line has. */
static uint32_t first_key(const struct json *d, const char *const *keys)
{
    for (; *keys; keys++) {
        uint32_t node = json_get(d, 0, *keys);
        if (node != JSON_NONE)
            return node;
    }
    fail_msg("line without ids");
    return JSON_NONE;
}

static void check_encoding(struct lines *l, struct tokenizer_encoder *e, unsigned how,
                           const char *const *keys)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_ids ids = {0};
    size_t n;
    const char *text = text_of(l, json_get(&l->doc, 0, "text"), &n);
    if (tokenizer_encode(&ids, e, how, text, n, &err))
        fail_msg("%s", err.msg);
    if (!same_ids(&l->doc, first_key(&l->doc, keys), &ids))
        fail_msg("mode %u: other ids: %.*s", how, (int)l->doc.n, l->doc.text);
    token_ids_free(&ids);
}

/* Decoding the ids of `keys` gives the text of a key. */
static void check_decoding(struct lines *l, const struct tokenizer *t, int skip,
                           const char *const *texts)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_text got = {0};
    uint32_t list = json_get(&l->doc, 0, "ids");
    size_t count = json_count(&l->doc, list), i = 0, n;
    uint32_t *ids = calloc(count + 1, sizeof *ids);
    assert_non_null(ids);
    for (uint32_t k = json_first(&l->doc, list); k != JSON_NONE; k = json_next(&l->doc, k)) {
        uint64_t v;
        assert_int_equal(json_u64(&l->doc, k, &v), 0);
        ids[i++] = (uint32_t)v;
    }
    const char *want = text_of(l, first_key(&l->doc, texts), &n);
    assert_int_equal(tokenizer_decode(&got, t, ids, count, skip, &err), 0);
    if (got.n != n || (n && memcmp(got.p, want, n) != 0))
        fail_msg("decodes to %.*s: %.*s", (int)got.n, got.p, (int)l->doc.n, l->doc.text);
    token_text_free(&got);
    free(ids);
}

static void encodes_every_golden_string_in_every_mode(void **state)
{
    static const char *const all[] = {"ids", NULL};
    static const char *const nospecial[] = {"ids_nospecial", "ids", NULL};
    static const char *const raw[] = {"ids_raw", "ids_nospecial", "ids", NULL};
    struct tokenizer *t = open_tokenizer(test_path("%s/glm-nano", test_data()));
    struct tokenizer_encoder *e = make_encoder(t);
    struct lines l;
    int n = 0;
    lines_open(&l, test_path("%s/tokenizer/golden.jsonl", test_data()));
    while (lines_next(&l)) {
        check_encoding(&l, e, TOKENIZER_ALL, all);
        check_encoding(&l, e, TOKENIZER_NOSPECIAL, nospecial);
        check_encoding(&l, e, TOKENIZER_RAW, raw);
        n++;
    }
    assert_int_equal(n, 2721);
    lines_close(&l);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    (void)state;
}

static void cuts_every_golden_string_into_the_same_pieces(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct unicode_map map;
    struct arena arena;
    struct lines l;
    size_t n_pieces = 0;
    arena_init(&arena, 0);
    assert_int_equal(unicode_map_init(&map, &arena, &err), 0);
    lines_open(&l, test_path("%s/tokenizer/golden.jsonl", test_data()));
    while (lines_next(&l)) {
        struct token_ids cuts = {0};
        size_t n, at = 0;
        const char *text = text_of(&l, json_get(&l.doc, 0, "text"), &n);
        uint32_t *ends = calloc(n + 1, sizeof *ends);
        assert_non_null(ends);
        for (cuts.ids = ends; at < n;)
            ends[cuts.n++] = (uint32_t)(at += tokenizer_split(&map, text + at, n - at));
        if (!same_ids(&l.doc, json_get(&l.doc, 0, "cuts"), &cuts))
            fail_msg("other pieces: %.*s", (int)l.doc.n, l.doc.text);
        n_pieces += cuts.n;
        free(ends);
    }
    assert_true(n_pieces > 20000);
    lines_close(&l);
    arena_fini(&arena);
    (void)state;
}

static void decodes_every_golden_string(void **state)
{
    static const char *const text[] = {"text", NULL};
    static const char *const skipped[] = {"decode_skip_special", "text", NULL};
    struct tokenizer *t = open_tokenizer(test_path("%s/glm-nano/tokenizer.json", test_data()));
    struct lines l;
    lines_open(&l, test_path("%s/tokenizer/golden.jsonl", test_data()));
    while (lines_next(&l)) {
        check_decoding(&l, t, 0, text);
        check_decoding(&l, t, 1, skipped);
    }
    lines_close(&l);
    tokenizer_free(t);
    (void)state;
}

static void decodes_arbitrary_ids(void **state)
{
    static const char *const plain[] = {"decode", NULL};
    static const char *const skipped[] = {"decode_skip_special", NULL};
    struct tokenizer *t = open_tokenizer(test_path("%s/glm-nano", test_data()));
    struct lines l;
    int n = 0;
    lines_open(&l, test_path("%s/tokenizer/decode.jsonl", test_data()));
    while (lines_next(&l)) {
        check_decoding(&l, t, 0, plain);
        check_decoding(&l, t, 1, skipped);
        n++;
    }
    assert_int_equal(n, 300);
    lines_close(&l);
    tokenizer_free(t);
    (void)state;
}

/* One id, or the end, of a stream against the next of the golden pieces. */
static uint32_t check_piece(struct lines *l, uint32_t piece, struct token_text *got)
{
    size_t n;
    assert_true(piece != JSON_NONE);
    const char *want = text_of(l, piece, &n);
    if (got->n != n || (n && memcmp(got->p, want, n) != 0))
        fail_msg("stream gives %.*s for %s: %.*s", (int)got->n, got->p, want, (int)l->doc.n,
                 l->doc.text);
    got->n = 0;
    return json_next(&l->doc, piece);
}

static void streams_arbitrary_ids_piece_by_piece(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t = open_tokenizer(test_path("%s/glm-nano", test_data()));
    struct token_text got = {0};
    struct lines l;
    lines_open(&l, test_path("%s/tokenizer/decode.jsonl", test_data()));
    while (lines_next(&l)) {
        struct tokenizer_stream s = {.t = t};
        uint32_t piece = json_first(&l.doc, json_get(&l.doc, 0, "stream"));
        uint32_t id = json_first(&l.doc, json_get(&l.doc, 0, "ids"));
        for (; id != JSON_NONE; id = json_next(&l.doc, id)) {
            uint64_t v;
            assert_int_equal(json_u64(&l.doc, id, &v), 0);
            assert_int_equal(tokenizer_stream_push(&got, &s, (uint32_t)v, &err), 0);
            piece = check_piece(&l, piece, &got);
        }
        assert_int_equal(tokenizer_stream_end(&got, &s, &err), 0);
        piece = check_piece(&l, piece, &got);
        assert_true(piece == JSON_NONE);
    }
    assert_true(got.unknown > 0);
    token_text_free(&got);
    lines_close(&l);
    tokenizer_free(t);
    (void)state;
}

static void encodes_and_decodes_with_every_variant(void **state)
{
    static const char *const names[] = {"bpe-ignore", "bpe-merge", "bpe-strings",
                                        "added",      "post",      "post-bytelevel"};
    static const char *const all[] = {"ids", NULL};
    static const char *const nospecial[] = {"ids_nospecial", "ids", NULL};
    static const char *const wrapped[] = {"ids_add_special", "ids", NULL};
    static const char *const decoded[] = {"decode", NULL};
    int seen[6] = {0};
    for (int i = 0; i < 6; i++) {
        struct tokenizer *t =
            open_tokenizer(test_path("%s/tokenizer/variants/%s.json", test_data(), names[i]));
        struct tokenizer_encoder *e = make_encoder(t);
        struct lines l;
        lines_open(&l, test_path("%s/tokenizer/variants/golden.jsonl", test_data()));
        while (lines_next(&l)) {
            if (!json_equal(&l.doc, json_get(&l.doc, 0, "tokenizer"), names[i]))
                continue;
            check_encoding(&l, e, TOKENIZER_ALL, all);
            check_encoding(&l, e, TOKENIZER_NOSPECIAL, nospecial);
            check_encoding(&l, e, TOKENIZER_ALL | TOKENIZER_WRAP, wrapped);
            check_decoding(&l, t, 0, decoded);
            seen[i]++;
        }
        assert_true(seen[i] > 0);
        lines_close(&l);
        tokenizer_encoder_free(e);
        tokenizer_free(t);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_every_golden_string_in_every_mode),
        cmocka_unit_test(cuts_every_golden_string_into_the_same_pieces),
        cmocka_unit_test(decodes_every_golden_string),
        cmocka_unit_test(decodes_arbitrary_ids),
        cmocka_unit_test(streams_arbitrary_ids_piece_by_piece),
        cmocka_unit_test(encodes_and_decodes_with_every_variant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
