/* SPDX-License-Identifier: MIT */
/* Reading a tokenizer, encoding, decoding and packing with the n-th allocation failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/calib/mix.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/support.h"

typedef int (*work_fn)(struct prep_error *err);

static void fail_each(work_fn work)
{
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = work(&err);
        uint64_t seen = fault_alloc_stop();
        if (rc && err.code != PREP_ENOMEM)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, err.tag, err.msg);
        if (seen >= n)
            continue; /* giving back memory may fail unnoticed */
        assert_int_equal(rc, 0);
        assert_true(seen > 20);
        return;
    }
}

static const char *tokenizer_path, *mix_path;

static int prepare(void **state)
{
    static const char mix[] =
        "{\"format\":\"prep-mix\",\"version\":1,\"seed\":1,\"sequences\":2,\"prefix\":\"<sop>\","
        "\"separator\":\"[gMASK]\",\"sources\":[{\"path\":\"a.jsonl\",\"weight\":1,"
        "\"where\":{\"k\":\"v\"}},{\"path\":\"b.txt\",\"weight\":1}]}";
    static const char lines[] = "{\"text\":\"hello abcd the\",\"k\":\"v\"}\n{\"text\":\"a\"}\n"
                                "{\"text\":\"hello \\u00e9\",\"k\":\"v\"}\n";
    const char *dir = test_temp_dir();
    (void)state;
    tokenizer_path = test_path("%s/tokenizer/variants/post.json", test_data());
    mix_path = test_path("%s/mix.json", dir);
    test_write(mix_path, mix, sizeof mix - 1);
    test_write(test_path("%s/a.jsonl", dir), lines, sizeof lines - 1);
    test_write(test_path("%s/b.txt", dir), "abcd xxxx the hello", 19);
    return 0;
}

static int encode_and_decode(struct prep_error *err)
{
    struct tokenizer *t = NULL;
    struct tokenizer_encoder *e = NULL;
    struct token_ids ids = {0};
    struct token_text text = {0};
    static const char s[] = "hello abcdabcd xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx \xff <sop>";
    int rc = tokenizer_open(&t, &io_posix, tokenizer_path, NULL, err) ||
             tokenizer_encoder_new(&e, t, err) ||
             tokenizer_encode(&ids, e, TOKENIZER_WRAP | TOKENIZER_LOSSY, s, sizeof s - 1, err) ||
             tokenizer_decode(&text, t, ids.ids, ids.n, 0, err);
    token_text_free(&text);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    return rc ? -1 : 0;
}

static int pack(struct prep_error *err)
{
    struct pack_options o = {.sequence = 8, .mem = 1 << 30, .n_threads = 1};
    struct tokenizer *t = NULL;
    struct pack_result r;
    struct span bytes;
    struct arena arena;
    arena_init(&arena, 0);
    int rc = mix_read(&o, &io_posix, mix_path, &arena, err) ||
             tokenizer_open(&t, &io_posix, tokenizer_path, NULL, err) ||
             pack_documents(&r, &o, t, &io_posix, &arena, NULL, err) ||
             tokens_write(&bytes, &r.packed, &arena, err);
    tokenizer_free(t);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

static void encoding_and_decoding_survive_every_lost_allocation(void **state)
{
    fail_each(encode_and_decode);
    (void)state;
}

static void packing_survives_every_lost_allocation(void **state)
{
    fail_each(pack);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoding_and_decoding_survive_every_lost_allocation),
        cmocka_unit_test(packing_survives_every_lost_allocation),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
