/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "libprep/calib/mix.h"
#include "libprep/calib/pack.h"
#include "tests/support/archive_build.h"
#include "tests/support/support.h"

/* Bytes are their own ids in this tokenizer; <sop> ends documents. */
enum { A = 'a', B = 'b', C = 'c', D = 'd', X = '!', SEP = 291, MARK = 290 };

static struct tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    return tokenizer_open(&tokenizer, &io_posix,
                          test_path("%s/tokenizer/variants/post.json", test_data()), NULL, &err);
}

static int close_tokenizer(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

static const char *file(const char *name, const char *text)
{
    const char *path = test_path("%s/%s", test_temp_dir(), name);
    test_write(path, text, strlen(text));
    return path;
}

static struct pack_options options_for(const struct pack_source *sources, size_t n)
{
    return (struct pack_options){.sources = sources,
                                 .n_sources = n,
                                 .sequence = 4,
                                 .separator = "<sop>",
                                 .prefix = "",
                                 .n_threads = 1,
                                 .mem = 1 << 30};
}

static struct pack_source source_of(const char *path)
{
    return (struct pack_source){.name = "source", .mode = -1, .documents = {.path = path}};
}

static void pack_ok(struct pack_result *r, const struct pack_options *o, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (pack_documents(r, o, tokenizer, &io_posix, arena, NULL, &err))
        fail_msg("%s", err.msg);
}

static void pack_bad(const struct pack_options *o, enum prep_code code, const char *tag,
                     const char *words)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(pack_documents(&r, o, tokenizer, &io_posix, &arena, NULL, &err), -1);
    if (err.code != code || strcmp(err.tag, tag) != 0 || !strstr(err.msg, words))
        fail_msg("%s (%d): %s; want %s, \"%s\"", err.tag, (int)err.code, err.msg, tag, words);
    arena_fini(&arena);
}

static void read_bad(const char *path, const char *tag, const char *words)
{
    const struct pack_source source = source_of(path);
    const struct pack_options o = options_for(&source, 1);
    pack_bad(&o, PREP_EDATA, tag, words);
}

static void cuts_documents_and_records_where_they_begin(void **state)
{
    const struct pack_source source =
        source_of(file("order.jsonl", "{\"text\":\"a!b!c\"}\n\n{\"text\":\"\",\"x\":1}\r\n"
                                      "{\"text\":\"b\"}\n{\"text\":\"d!d!d\"}"));
    struct pack_options o = options_for(&source, 1);
    static const uint32_t want[] = {A, X, B, X, C, SEP, B, SEP, D, X, D, X};
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.n_sequences, 3);
    assert_memory_equal(r.packed.ids, want, sizeof want);
    assert_int_equal(r.left_over, 2);
    assert_int_equal(r.packed.n_documents, 3);
    assert_int_equal(r.packed.documents[1].start, 6);
    assert_int_equal(r.packed.documents[1].record, 2);
    assert_int_equal(r.packed.documents[2].start, 8);
    assert_int_equal(r.packed.documents[2].record, 3);
    assert_int_equal(r.sources[0].stats.records, 4);
    assert_int_equal(r.sources[0].documents, 4);
    assert_int_equal(r.sources[0].empty, 1);
    assert_int_equal(r.sources[0].taken, 3);
    assert_int_equal(r.sources[0].tokens, 14);
    o.separator = "";
    o.n_sequences = 2;
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.n_sequences, 2);
    assert_int_equal(r.packed.ids[5], B);
    assert_int_equal(r.left_over, 3);
    assert_int_equal(r.packed.n_documents, 3);
    arena_fini(&arena);
    (void)state;
}

static void begins_every_sequence_with_the_prefix(void **state)
{
    const struct pack_source source =
        source_of(file("prefix.jsonl", "{\"text\":\"a!b!c\"}\n{\"text\":\"<sop>\"}"));
    struct pack_options o = options_for(&source, 1);
    static const uint32_t want[] = {MARK, A, X, B, MARK, X, C, SEP};
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    o.prefix = "[gMASK]";
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.n_sequences, 2);
    assert_memory_equal(r.packed.ids, want, sizeof want);
    assert_int_equal(r.packed.documents[0].start, 1);
    assert_int_equal(r.packed.n_documents, 1);
    assert_int_equal(r.left_over, 2);
    o.prefix = "[gMASK][gMASK]ab!";
    pack_bad(&o, PREP_EUSAGE, "", "the prefix has 4 tokens, a sequence 4");
    arena_fini(&arena);
    (void)state;
}

static void finds_added_tokens_only_where_asked(void **state)
{
    struct pack_source sources[2];
    struct pack_options o = options_for(sources, 2);
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    sources[0] = source_of(file("mode.jsonl", "{\"text\":\"<sop>!a!\"}"));
    sources[1] = sources[0];
    sources[1].mode = TOKENIZER_RAW;
    o.separator = "";
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.ids[0], SEP);
    assert_int_equal(r.sources[0].tokens, 4);
    assert_int_equal(r.sources[1].tokens, 8);
    arena_fini(&arena);
    (void)state;
}

/* The bytes of a .gz of two members. */
static struct test_bytes gzipped(const char *a, const char *b)
{
    struct test_bytes out = {calloc(1, 4096), 0};
    const char *const parts[] = {a, b};
    assert_non_null(out.p);
    for (int i = 0; i < 2; i++) {
        z_stream z = {0};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = (unsigned char *)(size_t)parts[i];
        z.avail_in = (unsigned)strlen(parts[i]);
        z.next_out = out.p + out.n;
        z.avail_out = (unsigned)(4096 - out.n);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        out.n += z.total_out;
        deflateEnd(&z);
    }
    return out;
}

#define LINES_A "{\"text\":\"a!b\"}\n{\"te"
#define LINES_B "xt\":\"c!d\"}\n"

static const uint32_t lines_want[] = {A, X, B, SEP, C, X, D, SEP};

static void expect_lines(const char *path, const char *members)
{
    struct pack_source source = source_of(path);
    const struct pack_options o = options_for(&source, 1);
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    source.documents.members = members;
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.n_sequences, 2);
    assert_memory_equal(r.packed.ids, lines_want, sizeof lines_want);
    assert_int_equal(strlen(r.sources[0].stats.sha256), 64);
    arena_fini(&arena);
}

static void reads_gz_and_archives_alike(void **state)
{
    static const char *const endings[] = {"tar", "tar.gz", "tar.zst", "zip"};
    static const char lines[] = LINES_A LINES_B, junk[] = "not JSON";
    struct test_bytes gz = gzipped(LINES_A, LINES_B);
    const char *path = test_path("%s/lines.jsonl.gz", test_temp_dir());
    test_write(path, gz.p, gz.n);
    expect_lines(path, NULL);
    for (int i = 0; i < 4; i++) {
        const struct archive_build_member members[] = {
            {"LICENSE", {(const unsigned char *)junk, sizeof junk - 1}, ARCHIVE_BUILD_FILE},
            {"set/lines.JSONL",
             {(const unsigned char *)lines, sizeof lines - 1},
             ARCHIVE_BUILD_FILE},
        };
        const struct archive_build_member packed[] = {
            {"lines.ndjson.gz", {gz.p, gz.n}, ARCHIVE_BUILD_FILE},
            {"more.jsonl", {(const unsigned char *)junk, sizeof junk - 1}, ARCHIVE_BUILD_FILE},
        };
        struct span plain = archive_build(endings[i], members, 2);
        path = test_path("%s/plain.%s", test_temp_dir(), endings[i]);
        test_write(path, plain.p, plain.n);
        expect_lines(path, NULL);
        struct span nested = archive_build(endings[i], packed, 2);
        path = test_path("%s/nested.%s", test_temp_dir(), endings[i]);
        test_write(path, nested.p, nested.n);
        expect_lines(path, "lines.*");
        read_bad(path, "JSON", "nested.");
        free((void *)(size_t)plain.p);
        free((void *)(size_t)nested.p);
    }
    free(gz.p);
    (void)state;
}

static void takes_a_text_file_as_one_document(void **state)
{
    const struct pack_source source = source_of(file("whole.txt", "a!b\n!"));
    struct pack_options o = options_for(&source, 1);
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.n_documents, 1);
    assert_int_equal(r.packed.ids[2], B);
    o.sources = &(struct pack_source){
        .name = "bad.txt", .mode = -1, .documents = {.path = file("bad.txt", "a!b\xff!d!")}};
    pack_bad(&o, PREP_EDATA, "TOK_UTF8", "bad.txt: document 0: byte 3 ");
    o.lossy = 1;
    pack_ok(&r, &o, &arena);
    arena_fini(&arena);
    (void)state;
}

static void says_which_record_is_wrong(void **state)
{
    struct test_bytes gz = gzipped(LINES_A, LINES_B);
    const char *cut = test_path("%s/cut.jsonl.gz", test_temp_dir());
    const char *damaged = test_path("%s/damaged.jsonl.gz", test_temp_dir());
    test_write(cut, gz.p, gz.n - 3);
    gz.p[gz.n / 2 + 20] ^= 0x55;
    test_write(damaged, gz.p, gz.n);
    read_bad(cut, "GZIP", "cut.jsonl.gz: is cut short");
    read_bad(damaged, "GZIP", "damaged.jsonl.gz: is no gzip file or is damaged");
    read_bad(file("not.jsonl.gz", "plain"), "GZIP", "not.jsonl.gz");
    read_bad(file("empty.jsonl.gz", ""), "GZIP", "empty.jsonl.gz: is cut short");
    read_bad(file("syntax.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\n"), "JSON", "line 3: ");
    read_bad(file("field.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"a\"}"), "DOCUMENT", "line 2: ");
    read_bad(file("type.jsonl", "{\"text\":7}"), "DOCUMENT", "no text under \"text\"");
    read_bad(file("array.jsonl", "[]"), "DOCUMENT", "not an object");
    read_bad(file("none.jsonl", "\n \n"), "PACK_SHORT", "0 tokens fill 0 sequences of 4");
    read_bad(file("few.jsonl", "{\"text\":\"a\"}"), "PACK_SHORT", "2 tokens fill 0 sequences");
    read_bad(file("junk.tar", "junk"), "BUNDLE", "junk.tar");
    const struct archive_build_member member = {
        "notes.rst", {(const unsigned char *)"x", 1}, ARCHIVE_BUILD_FILE};
    struct span zip = archive_build("zip", &member, 1);
    const char *path = test_path("%s/none.zip", test_temp_dir());
    test_write(path, zip.p, zip.n);
    read_bad(path, "DOCUMENT", "none.zip: no member is a .jsonl, .ndjson, .txt or .md");
    free((void *)(size_t)zip.p);
    free(gz.p);
    (void)state;
}

/* Many one-letter documents, "a" to "z" over and over, to see what was chosen. */
static const char *many(const char *name, char first, int n)
{
    char *text = malloc((size_t)n * 16 + 1), *s = text;
    assert_non_null(text);
    for (int i = 0; i < n; i++)
        s += sprintf(s, "{\"text\":\"%c\"}\n", first + i % 26);
    const char *path = file(name, text);
    free(text);
    return path;
}

static void shuffles_the_same_way_everywhere_and_each_source_by_itself(void **state)
{
    struct pack_source sources[2];
    struct pack_options o = options_for(sources, 1);
    struct pack_result one, two, other;
    struct arena arena;
    arena_init(&arena, 0);
    sources[0] = source_of(many("small.jsonl", 'a', 26));
    sources[1] = source_of(many("large.jsonl", 'A', 40));
    o.separator = "";
    o.shuffle = 1;
    o.seed = 5;
    pack_ok(&one, &o, &arena);
    assert_int_equal(one.packed.n_sequences, 6);
    o.n_threads = 7;
    pack_ok(&two, &o, &arena);
    assert_memory_equal(one.packed.ids, two.packed.ids, 24 * sizeof *one.packed.ids);
    o.seed = 6;
    pack_ok(&other, &o, &arena);
    assert_memory_not_equal(one.packed.ids, other.packed.ids, 24 * sizeof *one.packed.ids);
    /* Ten of the first source: the same ten, whatever is mixed in. */
    unsigned alone = 0, mixed = 0;
    sources[0].take = 10;
    sources[1].take = 10;
    o.sequence = 2;
    pack_ok(&one, &o, &arena);
    o.n_sources = 2;
    pack_ok(&two, &o, &arena);
    for (size_t i = 0; i < 10; i++)
        alone |= 1u << (one.packed.ids[i] - A);
    for (size_t i = 0; i < 20; i++)
        if (two.packed.documents[i].source == 0)
            mixed |= 1u << (two.packed.ids[i] - A);
    assert_int_equal(alone, mixed);
    assert_int_equal(two.sources[1].taken, 10);
    arena_fini(&arena);
    (void)state;
}

static void deals_tokens_by_weight(void **state)
{
    struct pack_source sources[2];
    struct pack_options o = options_for(sources, 2);
    struct pack_result r;
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    arena_init(&arena, 0);
    report_init(&report);
    sources[0] = source_of(many("w1.jsonl", 'a', 100));
    sources[1] = source_of(many("w2.jsonl", 'A', 100));
    sources[0].weight = 3;
    pack_bad(&o, PREP_EUSAGE, "", "1 of 2 sources have a weight");
    sources[1].weight = 1;
    pack_bad(&o, PREP_EUSAGE, "", "the number of sequences must be given");
    o.n_sequences = 20;
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.sources[0].tokens, 61); /* 60 of 80, rounded up */
    assert_int_equal(r.sources[1].tokens, 21);
    assert_int_equal(r.left_over, 2);
    o.n_sequences = 60;
    assert_int_equal(pack_documents(&r, &o, tokenizer, &io_posix, &arena, &report, &err), 0);
    assert_false(report_has(&report, "PACK_SHORT"));
    o.n_sequences = 70;
    assert_int_equal(pack_documents(&r, &o, tokenizer, &io_posix, &arena, &report, &err), -1);
    assert_string_equal(err.tag, "PACK_SHORT");
    assert_true(report_has(&report, "PACK_SHORT"));
    sources[0].take = 5;
    pack_bad(&o, PREP_EUSAGE, "", "both a weight and a number");
    sources[0].weight = sources[1].weight = 0;
    sources[0].take = 101;
    pack_bad(&o, PREP_EDATA, "PACK_SHORT", "has 100 documents with text, 101 are asked for");
    report_fini(&report);
    arena_fini(&arena);
    (void)state;
}

static void refuses_options_that_cannot_be(void **state)
{
    const struct pack_source source = source_of(file("x.jsonl", "{\"text\":\"abcdabcd!a!b\"}"));
    struct pack_options o = options_for(&source, 1);
    o.separator = "<eop>";
    pack_bad(&o, PREP_EUSAGE, "", "separator \"<eop>\" is not one token");
    o = options_for(&source, 1);
    o.sequence = 1;
    pack_bad(&o, PREP_EUSAGE, "", "want 2 to ");
    o = options_for(&source, 0);
    pack_bad(&o, PREP_EUSAGE, "", "0 sources");
    o = options_for(&source, 1);
    o.mem = 64;
    pack_bad(&o, PREP_ENOMEM, "", "--mem allows 64");
    (void)state;
}

/* The same bytes from any number of threads, over several batches. */
static void packs_the_same_bytes_on_any_number_of_threads(void **state)
{
    struct pack_source source = source_of(test_path("%s/text/calibration.jsonl", test_data()));
    struct pack_options o = options_for(&source, 1);
    struct prep_error err = PREP_ERROR_INIT;
    struct pack_result r;
    struct span bytes[2];
    struct arena arena;
    arena_init(&arena, 0);
    o.sequence = 128;
    o.shuffle = 1;
    for (int i = 0; i < 2; i++) {
        o.n_threads = i ? 7 : 1;
        pack_ok(&r, &o, &arena);
        assert_int_equal(tokens_write(&bytes[i], &r.packed, &arena, &err), 0);
    }
    assert_int_equal(bytes[0].n, bytes[1].n);
    assert_memory_equal(bytes[0].p, bytes[1].p, bytes[0].n);
    arena_fini(&arena);
    (void)state;
}

static void writes_a_file_that_reads_back(void **state)
{
    const struct pack_source source = source_of(many("back.jsonl", 'a', 26));
    const struct pack_options o = options_for(&source, 1);
    struct prep_error err = PREP_ERROR_INIT;
    struct packed_tokens t;
    struct pack_result r;
    struct span bytes;
    struct arena arena;
    const char *path = test_path("%s/tokens.safetensors", test_temp_dir());
    arena_init(&arena, 0);
    pack_ok(&r, &o, &arena);
    assert_int_equal(tokens_write(&bytes, &r.packed, &arena, &err), 0);
    test_write(path, bytes.p, bytes.n);
    assert_int_equal(tokens_read(&t, &io_posix, path, &arena, &err), 0);
    assert_int_equal(t.n_sequences, 13);
    assert_int_equal(t.sequence, 4);
    assert_memory_equal(t.ids, r.packed.ids, 52 * sizeof *t.ids);
    assert_int_equal(t.n_documents, 26);
    assert_memory_equal(t.documents, r.packed.documents, 26 * sizeof *t.documents);
    assert_string_equal(tokens_metadata(&t, "format"), "prep-tokens");
    assert_string_equal(tokens_metadata(&t, "tokenizer_sha256"), tokenizer_sha256(tokenizer));
    assert_string_equal(tokens_metadata(&t, "separator"), "291");
    assert_non_null(strstr(tokens_metadata(&t, "sources"), "\"documents\":26,\"taken\":26"));
    assert_null(tokens_metadata(&t, "nothing"));
    unsigned char *broken = (unsigned char *)(size_t)bytes.p;
    size_t tokens_at = bytes.n - 26 * 4 - 52 * 4;
    broken[tokens_at] ^= 1;
    test_write(path, bytes.p, bytes.n);
    assert_int_equal(tokens_read(&t, &io_posix, path, &arena, &err), -1);
    assert_string_equal(err.tag, "TOKENS");
    prep_error_clear(&err);
    broken[tokens_at + 3] = 0x80;
    test_write(path, bytes.p, bytes.n);
    assert_int_equal(tokens_read(&t, &io_posix, path, &arena, &err), -1);
    assert_non_null(strstr(err.msg, "token 0 is -"));
    arena_fini(&arena);
    (void)state;
}

static void reads_bare_windows(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct packed_tokens t;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(tokens_read(&t, &io_posix,
                                 test_path("%s/nvfp4/nano/calib_tokens.safetensors", test_data()),
                                 &arena, &err),
                     0);
    assert_int_equal(t.n_sequences, 32);
    assert_int_equal(t.sequence, 256);
    assert_int_equal(t.n_documents, 0);
    assert_int_equal(
        tokens_read(&t, &io_posix,
                    test_path("%s/glm-nano/model-00001-of-00004.safetensors", test_data()), &arena,
                    &err),
        -1);
    assert_string_equal(err.tag, "TOKENS");
    arena_fini(&arena);
    (void)state;
}

static void reads_a_mix(void **state)
{
    static const char text[] =
        "{\"format\":\"prep-mix\",\"version\":1,\"note\":\"n\",\"seed\":7,\"sequences\":3,"
        "\"separator\":\"\",\"prefix\":\"<sop>\",\"mode\":\"nospecial\",\"sources\":["
        "{\"path\":\"a.tar\",\"members\":\"*.txt\",\"documents\":4,\"note\":\"n\"},"
        "{\"path\":\"/b.jsonl\",\"field\":\"body\",\"where\":{\"kind\":\"code\",\"l\":\"\"},"
        "\"weight\":1.5,\"mode\":\"raw\"}]}";
    struct prep_error err = PREP_ERROR_INIT;
    struct pack_options o = {.mode = 0};
    struct arena arena;
    arena_init(&arena, 0);
    if (mix_parse(&o, text, strlen(text), "mix", "dir", &arena, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(o.seed, 7);
    assert_true(o.shuffle);
    assert_int_equal(o.n_sequences, 3);
    assert_string_equal(o.separator, "");
    assert_string_equal(o.prefix, "<sop>");
    assert_int_equal(o.mode, TOKENIZER_NOSPECIAL);
    assert_int_equal(o.n_sources, 2);
    assert_string_equal(o.sources[0].documents.path, "dir/a.tar");
    assert_string_equal(o.sources[0].name, "a.tar");
    assert_string_equal(o.sources[0].documents.members, "*.txt");
    assert_int_equal(o.sources[0].take, 4);
    assert_int_equal(o.sources[0].mode, -1);
    assert_string_equal(o.sources[1].documents.path, "/b.jsonl");
    assert_string_equal(o.sources[1].documents.field, "body");
    assert_int_equal(o.sources[1].documents.n_filters, 2);
    assert_string_equal(o.sources[1].documents.filters[0].value, "code");
    assert_true(o.sources[1].weight > 1.49 && o.sources[1].weight < 1.51);
    assert_int_equal(o.sources[1].mode, TOKENIZER_RAW);
    assert_int_equal(strlen(o.mix_sha256), 64);
    arena_fini(&arena);
    (void)state;
}

static void refuses_a_mix_it_does_not_understand(void **state)
{
#define MIX(keys, sources) "{\"format\":\"prep-mix\",\"version\":1," keys "\"sources\":" sources "}"
    static const char *const rows[][2] = {
        {"[]", "no \"format\""},
        {"{\"format\":\"prep-mix\",\"version\":1}", "no \"sources\""},
        {"{\"format\":\"x\",\"version\":1,\"sources\":[{\"path\":\"a\"}]}", "format is \"x\""},
        {"{\"format\":\"prep-mix\",\"version\":2,\"sources\":[{\"path\":\"a\"}]}", "version is 2"},
        {MIX("", "[]"), "sources is []"},
        {MIX("", "{}"), "sources is {}"},
        {MIX("", "[7]"), "source is 7"},
        {MIX("", "[{}]"), "one with a path"},
        {MIX("", "[{\"path\":\"\"}]"), "path is \"\""},
        {MIX("", "[{\"path\":\"a\\u0000b\"}]"), "want a text"},
        {MIX("", "[{\"path\":\"a\",\"documents\":0}]"), "documents is 0"},
        {MIX("", "[{\"path\":\"a\",\"documents\":1.5}]"), "documents is 1.5"},
        {MIX("", "[{\"path\":\"a\",\"weight\":0}]"), "weight is 0"},
        {MIX("", "[{\"path\":\"a\",\"weight\":1e999}]"), "weight is 1e999"},
        {MIX("", "[{\"path\":\"a\",\"mode\":\"some\"}]"), "mode is \"some\""},
        {MIX("", "[{\"path\":\"a\",\"where\":[]}]"), "where is []"},
        {MIX("", "[{\"path\":\"a\",\"where\":{\"k\":1}}]"), "where is 1"},
        {MIX("", "[{\"path\":\"a\",\"count\":1}]"), "key of a source is \"count\""},
        {MIX("\"sed\":1,", "[{\"path\":\"a\"}]"), "key of the mix is \"sed\""},
        {MIX("\"seed\":-1,", "[{\"path\":\"a\"}]"), "seed is -1"},
        {MIX("\"sequences\":0,", "[{\"path\":\"a\"}]"), "sequences is 0"},
        {MIX("\"prefix\":null,", "[{\"path\":\"a\"}]"), "prefix is null"},
    };
#undef MIX
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct pack_options o = {.mode = 0};
        struct arena arena;
        arena_init(&arena, 0);
        assert_int_equal(mix_parse(&o, rows[i][0], strlen(rows[i][0]), "mix", ".", &arena, &err),
                         -1);
        if (strcmp(err.tag, "MIX") != 0 || !strstr(err.msg, rows[i][1]))
            fail_msg("row %zu: %s: %s", i, err.tag, err.msg);
        arena_fini(&arena);
    }
    (void)state;
}

static void chooses_records_by_their_fields(void **state)
{
    static const struct document_filter code = {"kind", "code"};
    struct pack_source source =
        source_of(file("kinds.jsonl", "{\"kind\":\"prose\",\"text\":\"a!b\"}\n"
                                      "{\"kind\":\"code\",\"text\":\"c!d\"}\n"
                                      "{\"kind\":7,\"text\":\"a!b\"}\n{\"other\":\"code\"}\n"));
    const struct pack_options o = options_for(&source, 1);
    struct pack_result r;
    struct arena arena;
    arena_init(&arena, 0);
    source.documents.filters = &code;
    source.documents.n_filters = 1;
    pack_ok(&r, &o, &arena);
    assert_int_equal(r.packed.n_sequences, 1);
    assert_int_equal(r.packed.ids[0], C);
    assert_int_equal(r.packed.documents[0].record, 1);
    assert_int_equal(r.sources[0].stats.records, 4);
    source.documents.path = file("kinds.txt", "a!b!c");
    pack_bad(&o, PREP_EDATA, "DOCUMENT", "cannot be chosen by their fields");
    arena_fini(&arena);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_documents_and_records_where_they_begin),
        cmocka_unit_test(begins_every_sequence_with_the_prefix),
        cmocka_unit_test(finds_added_tokens_only_where_asked),
        cmocka_unit_test(reads_gz_and_archives_alike),
        cmocka_unit_test(takes_a_text_file_as_one_document),
        cmocka_unit_test(says_which_record_is_wrong),
        cmocka_unit_test(shuffles_the_same_way_everywhere_and_each_source_by_itself),
        cmocka_unit_test(deals_tokens_by_weight),
        cmocka_unit_test(refuses_options_that_cannot_be),
        cmocka_unit_test(packs_the_same_bytes_on_any_number_of_threads),
        cmocka_unit_test(writes_a_file_that_reads_back),
        cmocka_unit_test(reads_bare_windows),
        cmocka_unit_test(reads_a_mix),
        cmocka_unit_test(refuses_a_mix_it_does_not_understand),
        cmocka_unit_test(chooses_records_by_their_fields),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
