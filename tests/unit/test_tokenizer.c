/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/utf8.h"
#include "libprep/model/tokenizer.h"
#include "libprep/model/tokenizer_split.h"
#include "libprep/model/unicode.h"
#include "tests/support/support.h"

static struct arena texts; /* edited files, until the end of the process */

static const char *variant(const char *name)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_bytes b = test_read(test_path("%s/tokenizer/variants/%s", test_data(), name));
    const char *copy = arena_strndup(&texts, (char *)b.p, b.n, &err);
    assert_non_null(copy);
    free(b.p);
    return copy;
}

/* The text with the first `from` replaced by `to`. */
static const char *edited(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("no \"%s\" to edit", from);
    struct prep_error err = PREP_ERROR_INIT;
    const char *copy =
        arena_printf(&texts, &err, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_non_null(copy);
    return copy;
}

static struct tokenizer *parsed(const char *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    if (tokenizer_parse(&t, text, strlen(text), "t.json", 0, NULL, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    return t;
}

/* Ids as "1 2 3 ". */
static const char *encoded(const struct tokenizer *t, unsigned how, const char *text, size_t n)
{
    static char out[4096];
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    struct token_ids ids = {0};
    size_t at = 0;
    assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
    if (tokenizer_encode(&ids, e, how, text, n, &err))
        fail_msg("%s", err.msg);
    out[0] = 0;
    for (size_t i = 0; i < ids.n && at < sizeof out - 16; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%u ", ids.ids[i]);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    return out;
}

struct refusal {
    const char *file, *from, *to, *tag;
    enum prep_code code;
};

static const struct refusal refusals[] = {
    {"bpe-ignore.json", "\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}",
     "TOK_NORMALIZER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"type\":\"Split\"", "\"type\":\"Digits\"", "TOK_PRETOKENIZER",
     PREP_EUNSUP},
    {"bpe-ignore.json", "\"type\":\"Sequence\"", "\"type\":\"Other\"", "TOK_PRETOKENIZER",
     PREP_EUNSUP},
    {"bpe-ignore.json", "\"pre_tokenizer\"", "\"other\"", "TOK_PRETOKENIZER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"Isolated\"", "\"Removed\"", "TOK_PRETOKENIZER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"invert\":false", "\"invert\":true", "TOK_PRETOKENIZER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"Regex\"", "\"String\"", "TOK_PRETOKENIZER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"add_prefix_space\":false", "\"add_prefix_space\":true",
     "TOK_PRETOKENIZER", PREP_EUNSUP},
    {"bpe-ignore.json", ",\"use_regex\":false", "", "TOK_PRETOKENIZER", PREP_EUNSUP},
    {"bpe-ignore.json", "(?i:'s", "((?i:'s", "TOK_REGEX", PREP_EDATA},
    {"bpe-ignore.json", "\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"Fuse\"",
     "TOK_DECODER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"decoder\":{", "\"decoder\":7,\"old\":{", "TOK_DECODER", PREP_EUNSUP},
    {"bpe-ignore.json", "\"post_processor\":null", "\"post_processor\":{\"type\":\"Bert\"}",
     "TOK_POSTPROCESSOR", PREP_EUNSUP},
    {"bpe-ignore.json", "\"post_processor\":null", "\"post_processor\":[]", "TOK_POSTPROCESSOR",
     PREP_EUNSUP},
    {"bpe-ignore.json", "\"post_processor\":null", "\"post_processor\":{\"type\":\"Sequence\"}",
     "TOK_POSTPROCESSOR", PREP_EDATA},
    {"bpe-ignore.json", "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "TOK_MODEL", PREP_EUNSUP},
    {"bpe-ignore.json", "\"dropout\":null", "\"dropout\":0.1", "TOK_MODEL", PREP_EUNSUP},
    {"bpe-ignore.json", "\"unk_token\":null", "\"unk_token\":\"\"", "TOK_MODEL", PREP_EUNSUP},
    {"bpe-ignore.json", "\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"",
     "TOK_MODEL", PREP_EUNSUP},
    {"bpe-ignore.json", "\"byte_fallback\":false", "\"byte_fallback\":true", "TOK_MODEL",
     PREP_EUNSUP},
    {"bpe-ignore.json", "\"ignore_merges\":true", "\"ignore_merges\":1", "TOK_MODEL", PREP_EDATA},
    {"bpe-ignore.json", "\"model\":{", "\"model\":[],\"old\":{", "TOK_FILE", PREP_EDATA},
    {"bpe-ignore.json", "\"vocab\":{", "\"vocab\":[],\"old\":{", "TOK_VOCAB", PREP_EDATA},
    {"bpe-ignore.json", "\"xx\":266", "\"xx\":265", "TOK_VOCAB", PREP_EDATA},
    {"bpe-ignore.json", "\"xx\":266", "\"xx\":-1", "TOK_VOCAB", PREP_EDATA},
    {"bpe-ignore.json", "\"xx\":266", "\"xx\":2147483648", "TOK_VOCAB", PREP_EDATA},
    {"bpe-ignore.json", "\"xx\":266", "\"xx\":266.0", "TOK_VOCAB", PREP_EDATA},
    {"bpe-ignore.json", "\"xx\":266", "\"ab\":266", "JSON_DUPLICATE_KEY", PREP_EDATA},
    {"bpe-ignore.json", "\"ÿ\":255", "\"ÿÿ\":255", "TOK_VOCAB", PREP_EDATA},
    {"bpe-ignore.json", "\"merges\":[", "\"merges\":{},\"old\":[", "TOK_MERGE", PREP_EDATA},
    {"bpe-ignore.json", "[\"a\",\"b\"]", "[\"a\",\"z\"]", "TOK_MERGE", PREP_EDATA},
    {"bpe-ignore.json", "[\"a\",\"b\"]", "[\"a\",\"qq\"]", "TOK_MERGE", PREP_EDATA},
    {"bpe-ignore.json", "[\"a\",\"b\"]", "[\"a\"]", "TOK_MERGE", PREP_EDATA},
    {"bpe-ignore.json", "[\"a\",\"b\"]", "[\"a\",\"b\",\"c\"]", "TOK_MERGE", PREP_EDATA},
    {"bpe-ignore.json", "[\"a\",\"b\"]", "[\"a\",7]", "TOK_MERGE", PREP_EDATA},
    {"bpe-ignore.json", "[\"a\",\"b\"]", "null", "TOK_MERGE", PREP_EDATA},
    {"bpe-strings.json", "\"a b\"", "\"ab\"", "TOK_MERGE", PREP_EDATA},
    {"bpe-strings.json", "\"a b\"", "\"a  b\"", "TOK_MERGE", PREP_EDATA},
    {"bpe-strings.json", "\"a b\"", "\"a b c\"", "TOK_MERGE", PREP_EDATA},
    {"added.json", "\"id\":291", "\"id\":500", "TOK_ADDED_ID", PREP_EDATA},
    {"added.json", "\"id\":291", "\"id\":290", "TOK_ADDED_ID", PREP_EDATA},
    {"added.json", "\"id\":291", "\"id\":\"291\"", "TOK_ADDED_ID", PREP_EDATA},
    {"added.json", "\"id\":291,", "", "TOK_ADDED_ID", PREP_EDATA},
    {"added.json", "\"content\":\"two words\"", "\"content\":\"[L]\"", "TOK_ADDED_ID", PREP_EDATA},
    {"added.json", "\"content\":\"two words\"", "\"content\":\"hello\"", "TOK_ADDED_ID",
     PREP_EDATA},
    {"added.json", "\"content\":\"two words\"", "\"content\":\"\"", "TOK_FILE", PREP_EDATA},
    {"added.json", "\"content\":\"two words\"", "\"content\":null", "TOK_FILE", PREP_EDATA},
    {"added.json", "\"lstrip\":true", "\"lstrip\":\"yes\"", "TOK_FILE", PREP_EDATA},
    {"added.json", "\"added_tokens\":[", "\"added_tokens\":[7,", "TOK_FILE", PREP_EDATA},
    {"added.json", "\"added_tokens\":[", "\"added_tokens\":{},\"old\":[", "TOK_FILE", PREP_EDATA},
    {"post.json", "\"ids\":[290]", "\"ids\":[292]", "TOK_POSTPROCESSOR", PREP_EDATA},
    {"post.json", "\"ids\":[290]", "\"ids\":7", "TOK_POSTPROCESSOR", PREP_EDATA},
    {"post.json", "{\"SpecialToken\":{\"id\":\"<sop>\"", "{\"SpecialToken\":{\"id\":\"<eop>\"",
     "TOK_POSTPROCESSOR", PREP_EDATA},
    {"post.json", "{\"Sequence\":{\"id\":\"A\"", "{\"Sequence\":{\"id\":\"B\"", "TOK_POSTPROCESSOR",
     PREP_EDATA},
    {"post.json", "{\"Sequence\":{\"id\":\"A\"",
     "{\"Sequence\":{\"id\":\"A\"}},{\"Sequence\":{"
     "\"id\":\"A\"",
     "TOK_POSTPROCESSOR", PREP_EDATA},
    {"post.json", "\"single\":[", "\"single\":7,\"old\":[", "TOK_POSTPROCESSOR", PREP_EDATA},
    {"post.json", "\"single\":[", "\"single\":[7,", "TOK_POSTPROCESSOR", PREP_EDATA},
    {"bpe-ignore.json", "{\"version\"", "[{\"version\"", "JSON", PREP_EDATA},
};

static void refuses_what_it_would_read_otherwise_than_the_library(void **state)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        struct prep_error err = PREP_ERROR_INIT;
        struct tokenizer *t;
        const char *text = edited(variant(r->file), r->from, r->to);
        if (tokenizer_parse(&t, text, strlen(text), "t.json", 0, NULL, &err) == 0)
            fail_msg("row %zu is accepted: %s", i, r->to);
        if (err.code != r->code || strcmp(err.tag, r->tag) != 0 || !strstr(err.msg, "t.json"))
            fail_msg("row %zu: %s (%d): %s", i, err.tag, (int)err.code, err.msg);
        assert_null(t);
    }
    (void)state;
}

static void warns_of_what_it_does_not_apply(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct tokenizer *t;
    const char *text = variant("bpe-ignore.json");
    text = edited(text, "\"version\":\"1.0\"", "\"version\":\"2.0\"");
    text = edited(text, "\"truncation\":null", "\"truncation\":{}");
    text = edited(text, "|\\\\s+\"", "|\\\\s+|x\"");
    report_init(&report);
    assert_int_equal(tokenizer_parse(&t, text, strlen(text), "t.json", 0, &report, &err), 0);
    assert_true(report_has(&report, "TOK_VERSION"));
    assert_true(report_has(&report, "TOK_IGNORED"));
    assert_true(report_has(&report, "TOK_REGEX"));
    assert_int_equal(report.n_warnings, 3);
    report_fini(&report);
    tokenizer_free(t);
    (void)state;
}

static void holds_ids_against_the_vocabulary_size(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *text = variant("post.json"), *dir = test_temp_dir();
    struct tokenizer *t;
    assert_int_equal(tokenizer_parse(&t, text, strlen(text), "t", 292, NULL, &err), 0);
    assert_int_equal(tokenizer_size(t), 292);
    tokenizer_free(t);
    assert_int_equal(tokenizer_parse(&t, text, strlen(text), "t", 291, NULL, &err), -1);
    assert_string_equal(err.tag, "TOK_VOCAB_SIZE");
    test_write(test_path("%s/tokenizer.json", dir), text, strlen(text));
    test_write(test_path("%s/config.json", dir), "{\"vocab_size\": 200}", 19);
    prep_error_clear(&err);
    assert_int_equal(tokenizer_open(&t, &io_posix, dir, NULL, &err), -1);
    assert_string_equal(err.tag, "TOK_VOCAB_SIZE");
    prep_error_clear(&err);
    assert_int_equal(tokenizer_open(&t, &io_posix, test_path("%s/tokenizer.json", dir), NULL, &err),
                     0);
    tokenizer_free(t);
    prep_error_clear(&err);
    assert_int_equal(tokenizer_open(&t, &io_posix, test_path("%s/no", dir), NULL, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    (void)state;
}

static void spends_no_memory_on_holes_between_ids(void **state)
{
    struct tokenizer *t =
        parsed(edited(variant("bpe-ignore.json"), "\"12\":289", "\"12\":2147483647"));
    struct prep_error err = PREP_ERROR_INIT;
    struct token_text text = {0};
    const uint32_t ids[] = {2147483647, 2147483646, 289, UINT32_MAX, 288};
    assert_int_equal(tokenizer_size(t), 2147483648u);
    assert_string_equal(encoded(t, TOKENIZER_ALL, "12", 2), "2147483647 ");
    assert_int_equal(tokenizer_decode(&text, t, ids, 5, 0, &err), 0);
    assert_int_equal(text.n, 4);
    assert_memory_equal(text.p, "12't", 4);
    assert_int_equal(text.unknown, 3);
    token_text_free(&text);
    tokenizer_free(t);
    (void)state;
}

static void has_the_classes_of_unicode_16(void **state)
{
    struct test_bytes tsv = test_read(test_path("%s/tokenizer/unicode-classes.tsv", test_data()));
    static unsigned char want[0x110000];
    struct prep_error err = PREP_ERROR_INIT;
    struct unicode_map map;
    struct arena arena;
    char class;
    unsigned first, last;
    int used;
    for (const char *s = (char *)tsv.p; sscanf(s, "%c %x %x %n", &class, &first, &last, &used) == 3;
         s += used)
        for (unsigned c = first; c <= last; c++)
            want[c] |= class == 'L'   ? UNICODE_LETTER
                       : class == 'N' ? UNICODE_NUMBER
                                      : UNICODE_SPACE;
    arena_init(&arena, 0);
    assert_int_equal(unicode_map_init(&map, &arena, &err), 0);
    size_t letters = 0, numbers = 0, spaces = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        unsigned got = unicode_class(&map, c);
        if ((got & ~(unsigned)UNICODE_WORD) != want[c])
            fail_msg("U+%04X has classes %u, want %u", c, got, want[c]);
        letters += (got & UNICODE_LETTER) != 0;
        numbers += (got & UNICODE_NUMBER) != 0;
        spaces += (got & UNICODE_SPACE) != 0;
    }
    assert_int_equal(letters, 141028);
    assert_int_equal(numbers, 1911);
    assert_int_equal(spaces, 25);
    assert_true(arena.used < 100000);
    assert_true(unicode_class(&map, '_') == UNICODE_WORD);
    assert_true(unicode_class(&map, 0x200d) == UNICODE_WORD);
    arena_fini(&arena);
    free(tsv.p);
    (void)state;
}

/* Cut both ways; the other pattern's matches must be our pieces. */
static void cuts_as_pcre2_does_where_unicode_agrees(void **state)
{
    const char *text = variant("bpe-merge.json");
    struct tokenizer *ours = parsed(text);
    struct tokenizer *theirs = parsed(edited(text, "|\\\\s+\"", "|(?:\\\\s+)\""));
    struct test_random r;
    static const char *const parts[] = {
        "'s", "'LL", "'\u017f", "a",      "Zoé",        "Ж中",  "1",      "12345",
        "²",  " ",   "  ",      "\t",     "\r\n",       "\n\n", "\u00a0", "\u3000",
        "!",  "...", "_",       "\u0301", "\U0001f600", "-",    "'",      "\"",
    };
    test_random_init(&r);
    for (int round = 0; round < 3000; round++) {
        char s[256] = "", mine[4096];
        for (uint64_t i = 0, n = test_random_below(&r, 12); i < n; i++)
            strcat(s, parts[test_random_below(&r, sizeof parts / sizeof *parts)]);
        strcpy(mine, encoded(ours, TOKENIZER_RAW, s, strlen(s)));
        if (strcmp(mine, encoded(theirs, TOKENIZER_RAW, s, strlen(s))) != 0)
            fail_msg("\"%s\": %s", s, mine);
    }
    tokenizer_free(ours);
    tokenizer_free(theirs);
    (void)state;
}

static void takes_what_another_pattern_leaves_over_as_pieces(void **state)
{
    const char *text = edited(variant("bpe-ignore.json"), "(?i:'s|", "a*(?!b)|x|(?i:'s|");
    text = edited(text, "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|", "|");
    struct tokenizer *t = parsed(text);
    /* "abcd" is one token, but here its letters are matched or left one way or another. */
    const char *s = "abcd\u4e2d xx";
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    struct token_ids ids = {0};
    struct token_text out = {0};
    assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
    assert_int_equal(tokenizer_encode(&ids, e, TOKENIZER_ALL, s, strlen(s), &err), 0);
    assert_int_equal(tokenizer_decode(&out, t, ids.ids, ids.n, 0, &err), 0);
    assert_int_equal(out.n, strlen(s));
    assert_memory_equal(out.p, s, out.n);
    token_text_free(&out);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    (void)state;
}

static void gives_up_on_a_pattern_that_backtracks_for_ever(void **state)
{
    struct tokenizer *t = parsed(edited(variant("bpe-ignore.json"), "(?i:'s|", "(?:a+)+$|(?i:'s|"));
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    struct token_ids ids = {0};
    char s[64];
    memset(s, 'a', sizeof s);
    s[63] = '!';
    assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
    assert_int_equal(tokenizer_encode(&ids, e, TOKENIZER_ALL, s, sizeof s, &err), -1);
    assert_string_equal(err.tag, "TOK_REGEX");
    assert_int_equal(ids.n, 0);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    (void)state;
}

static void says_where_text_is_not_utf8_or_repairs_it(void **state)
{
    struct tokenizer *t = parsed(variant("bpe-ignore.json"));
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    struct token_ids ids = {0};
    static const char bad[] = "abc\xe1\x80z\xff";
    static const char good[] = "abc" UTF8_REPLACEMENT "z" UTF8_REPLACEMENT;
    char want[4096];
    assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
    assert_int_equal(tokenizer_encode(&ids, e, TOKENIZER_ALL, bad, 7, &err), -1);
    assert_string_equal(err.tag, "TOK_UTF8");
    assert_non_null(strstr(err.msg, "byte 3 of a text is 0xe1"));
    strcpy(want, encoded(t, TOKENIZER_ALL, good, strlen(good)));
    assert_string_equal(encoded(t, TOKENIZER_ALL | TOKENIZER_LOSSY, bad, 7), want);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    (void)state;
}

/* Pieces of any length: the heap keeps them from taking quadratic time. */
static void merges_pieces_of_a_megabyte(void **state)
{
    static const char *const units[] = {" ", "a", "ab", "xxxxxx", "abcd"};
    struct tokenizer *t = parsed(variant("bpe-merge.json"));
    struct prep_error err = PREP_ERROR_INIT;
    const size_t n = 1 << 20;
    char *s = malloc(n);
    assert_non_null(s);
    for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
        struct tokenizer_encoder *e;
        struct token_ids ids = {0};
        struct token_text out = {0};
        for (size_t i = 0; i < n; i++)
            s[i] = units[k][i % strlen(units[k])];
        assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
        assert_int_equal(tokenizer_encode(&ids, e, TOKENIZER_ALL, s, n, &err), 0);
        assert_int_equal(tokenizer_decode(&out, t, ids.ids, ids.n, 0, &err), 0);
        assert_int_equal(out.n, n);
        assert_memory_equal(out.p, s, n);
        token_text_free(&out);
        token_ids_free(&ids);
        tokenizer_encoder_free(e);
    }
    free(s);
    tokenizer_free(t);
    (void)state;
}

/* White space that tokens swallow is walked over once, however many of them begin in it. */
static void swallows_long_white_space_in_linear_time(void **state)
{
    const char *text = edited(variant("added.json"),
                              "\"rstrip\":false,\"normalized\":false,"
                              "\"special\":false,\"content\":\"\\n\\n\\n\"",
                              "\"rstrip\":true,\"normalized\":false,"
                              "\"special\":false,\"content\":\"\\n\\n\\n\"");
    struct tokenizer *t = parsed(text);
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    struct token_ids ids = {0};
    const size_t n = 3 << 18;
    char *s = malloc(n);
    assert_non_null(s);
    memset(s, '\n', n);
    assert_int_equal(tokenizer_encoder_new(&e, t, &err), 0);
    assert_int_equal(tokenizer_encode(&ids, e, TOKENIZER_ALL, s, n, &err), 0);
    assert_int_equal(ids.n, n / 3);
    free(s);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    (void)state;
}

static void finds_tokens_by_their_text(void **state)
{
    struct tokenizer *t = parsed(variant("added.json"));
    assert_int_equal(tokenizer_find(t, "<|a|>", 5), 290);
    assert_int_equal(tokenizer_find(t, "<|a|>b", 6), 291);
    assert_int_equal(tokenizer_find(t, " the", 4), 276);
    assert_int_equal(tokenizer_find(t, "two words", 9), 299);
    assert_int_equal(tokenizer_find(t, "two", 3), TOKENIZER_NONE);
    assert_int_equal(tokenizer_find(t, "", 0), TOKENIZER_NONE);
    assert_int_equal(strlen(tokenizer_sha256(t)), 64);
    tokenizer_free(t);
    (void)state;
}

static void nests_templates_of_a_sequence(void **state)
{
    const char *text =
        edited(variant("bpe-ignore.json"), "\"post_processor\":null",
               "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
               "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},"
               "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"x\"}}],"
               "\"special_tokens\":{\"x\":{\"ids\":[1,2]}}},"
               "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"y\"}},"
               "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"y\":{\"ids\":[3]}}}]}");
    struct tokenizer *t = parsed(text);
    assert_string_equal(encoded(t, TOKENIZER_WRAP, "abcd", 4), "3 1 2 260 1 2 ");
    assert_string_equal(encoded(t, TOKENIZER_WRAP | TOKENIZER_RAW, "", 0), "3 1 2 1 2 ");
    assert_string_equal(encoded(t, TOKENIZER_ALL, "", 0), "");
    tokenizer_free(t);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_it_would_read_otherwise_than_the_library),
        cmocka_unit_test(warns_of_what_it_does_not_apply),
        cmocka_unit_test(holds_ids_against_the_vocabulary_size),
        cmocka_unit_test(spends_no_memory_on_holes_between_ids),
        cmocka_unit_test(has_the_classes_of_unicode_16),
        cmocka_unit_test(cuts_as_pcre2_does_where_unicode_agrees),
        cmocka_unit_test(takes_what_another_pattern_leaves_over_as_pieces),
        cmocka_unit_test(gives_up_on_a_pattern_that_backtracks_for_ever),
        cmocka_unit_test(says_where_text_is_not_utf8_or_repairs_it),
        cmocka_unit_test(merges_pieces_of_a_megabyte),
        cmocka_unit_test(swallows_long_white_space_in_linear_time),
        cmocka_unit_test(finds_tokens_by_their_text),
        cmocka_unit_test(nests_templates_of_a_sequence),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&texts);
    return failed;
}
