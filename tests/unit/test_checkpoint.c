/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/store/checkpoint.h"
#include "libprep/store/hub.h"
#include "tests/support/support.h"

static const char *shard_name(int i, int n)
{
    return test_path("model-%05d-of-%05d.safetensors", i + 1, n);
}

/* Tensors t<shard>.<i>, U8 [4], whose bytes count up over the whole checkpoint. */
static void write_shard(const char *dir, const char *name, int shard, int n)
{
    struct tensor_info t[64] = {0};
    struct arena a;
    struct span header;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    for (int i = 0; i < n; i++)
        t[i] = (struct tensor_info){.name = test_path("t%d.%d", shard, i),
                                    .shape = {4},
                                    .n_dims = 1,
                                    .dtype = DTYPE_U8,
                                    .bytes = 4};
    assert_int_equal(safetensors_layout(t, (size_t)n, NULL, 0, &a, &header, &err), 0);
    unsigned char *file = malloc(header.n + (size_t)n * 4);
    assert_non_null(file);
    memcpy(file, header.p, header.n);
    for (int i = 0; i < n * 4; i++)
        file[header.n + (size_t)i] = (unsigned char)(shard * n * 4 + i);
    test_write(test_path("%s/%s", dir, name), file, header.n + (size_t)n * 4);
    free(file);
    arena_fini(&a);
}

/* n shards of per tensors; the index names them in an order of its own. */
static void write_checkpoint(const char *dir, int n, int per)
{
    struct json_out o;
    struct span text;
    struct prep_error err = PREP_ERROR_INIT;
    for (int s = 0; s < n; s++)
        write_shard(dir, shard_name(s, n), s, per);
    json_out_init(&o, 2);
    json_out_open(&o, '{');
    json_out_key(&o, "metadata");
    json_out_open(&o, '{');
    json_out_key(&o, "total_size");
    json_out_i64(&o, n * per * 4);
    json_out_close(&o);
    json_out_key(&o, "weight_map");
    json_out_open(&o, '{');
    for (int k = n * per; k-- > 0;) {
        int s = k % n, i = k / n;
        json_out_key(&o, test_path("t%d.%d", s, i));
        json_out_string(&o, shard_name(s, n));
    }
    json_out_close(&o);
    json_out_close(&o);
    assert_int_equal(json_out_finish(&o, &text, &err), 0);
    test_write(test_path("%s/model.safetensors.index.json", dir), text.p, text.n);
    json_out_free(&o);
}

static struct checkpoint *open_ok(const char *path, struct report *report)
{
    struct checkpoint *c;
    struct prep_error err = PREP_ERROR_INIT;
    if (checkpoint_open(&c, &io_posix, path, report, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    return c;
}

static void opens_more_shards_than_one_batch(void **state)
{
    (void)state;
    enum { SHARDS = 71, PER = 9 };
    const char *dir = test_temp_dir();
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    report_init(&report);
    write_checkpoint(dir, SHARDS, PER);
    struct checkpoint *c = open_ok(dir, &report);
    assert_int_equal(report.n_warnings, 0);
    assert_int_equal(c->n_shards, SHARDS);
    assert_int_equal(c->n_tensors, SHARDS * PER);
    assert_int_equal(c->tensor_bytes, SHARDS * PER * 4);
    assert_false(c->single_file);
    assert_null(c->revision);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const struct checkpoint_tensor *t = &c->tensors[i];
        unsigned char b[4];
        assert_string_equal(t->info.name, test_path("t%zu.%zu", i / PER, i % PER));
        assert_int_equal(t->file, i / PER);
        assert_ptr_equal(checkpoint_find(c, t->info.name), t);
        assert_int_equal(checkpoint_read(c, t, 0, b, 4, &err), 0);
        assert_int_equal(b[0], (unsigned char)(i * 4));
        assert_int_equal(b[3], (unsigned char)(i * 4 + 3));
    }
    assert_null(checkpoint_find(c, "t"));
    for (int s = 0; s < SHARDS; s++) {
        assert_int_equal(checkpoint_file(c, shard_name(s, SHARDS)), s);
        assert_true(c->files[s].header_hi != 0);
    }
    checkpoint_close(c);
    report_fini(&report);
}

static void lists_shards_then_other_files_by_name(void **state)
{
    (void)state;
    const char *dir = test_temp_dir();
    static const char *const others[] = {"a.json", "config.json", "model.safetensors.index.json",
                                         "z.txt"};
    struct report report;
    report_init(&report);
    write_checkpoint(dir, 2, 1);
    test_write(test_path("%s/config.json", dir), "{}", 2);
    test_write(test_path("%s/z.txt", dir), "z", 1);
    test_write(test_path("%s/a.json", dir), "a", 1);
    test_write(test_path("%s/.hidden", dir), "", 0);
    test_write(test_path("%s/.prep/journal", dir), "", 0);
    test_write(test_path("%s/b.json.partial", dir), "", 0);
    test_write(test_path("%s/sub/x", dir), "", 0);
    test_write(test_path("%s/stray.safetensors", dir), "", 0);
    assert_int_equal(symlink("nowhere", test_path("%s/tokenizer.json", dir)), 0);
    struct checkpoint *c = open_ok(dir, &report);
    assert_int_equal(c->n_shards, 2);
    assert_int_equal(c->n_files, 6);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(c->files[2 + i].name, others[i]);
        assert_int_equal(checkpoint_file(c, others[i]), 2 + i);
        assert_true(c->files[2 + i].header_hi == 0);
    }
    assert_int_equal(c->files[5].bytes, 1);
    assert_int_equal(checkpoint_file(c, "sub"), -1);
    assert_int_equal(checkpoint_file(c, ".hidden"), -1);
    assert_int_equal(report.n_warnings, 2);
    assert_true(report_has(&report, "STRAY_SHARD") && report_has(&report, "DANGLING_LINK"));
    checkpoint_close(c);
    report_fini(&report);
}

static void reads_small_files_whole(void **state)
{
    (void)state;
    const char *dir = test_temp_dir();
    struct prep_error err = PREP_ERROR_INIT;
    struct arena a;
    struct span out;
    arena_init(&a, 0);
    write_shard(dir, "model.safetensors", 0, 3);
    test_write(test_path("%s/config.json", dir), "{\"a\":1}", 7);
    struct checkpoint *c = open_ok(dir, NULL);
    assert_true(c->single_file);
    assert_int_equal(c->index_text.n, 0);
    assert_int_equal(checkpoint_read_file(c, "config.json", &a, &out, &err), 0);
    assert_string_equal((const char *)out.p, "{\"a\":1}");
    assert_int_equal(checkpoint_read_file(c, "absent.json", &a, &out, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    checkpoint_close(c);
    arena_fini(&a);
}

static void reading_past_a_tensor_is_our_bug(void **state)
{
    (void)state;
    const char *dir = test_temp_dir();
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char b[8];
    write_shard(dir, "model.safetensors", 0, 3);
    struct checkpoint *c = open_ok(dir, NULL);
    assert_int_equal(checkpoint_read(c, &c->tensors[1], 1, b, 3, &err), 0);
    assert_memory_equal(b, "\x05\x06\x07", 3);
    assert_int_equal(checkpoint_read(c, &c->tensors[1], 4, b, 0, &err), 0);
    assert_int_equal(checkpoint_read(c, &c->tensors[1], 1, b, 4, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    prep_error_clear(&err);
    assert_int_equal(checkpoint_read(c, &c->tensors[1], UINT64_MAX, b, 4, &err), -1);
    checkpoint_close(c);
}

static void a_replaced_shard_is_noticed(void **state)
{
    (void)state;
    const char *dir = test_temp_dir();
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char b[4];
    write_shard(dir, "model.safetensors", 0, 3);
    struct checkpoint *c = open_ok(dir, NULL);
    write_shard(dir, "other", 0, 3);
    assert_int_equal(rename(test_path("%s/other", dir), test_path("%s/model.safetensors", dir)), 0);
    assert_int_equal(checkpoint_read(c, &c->tensors[0], 0, b, 4, &err), -1);
    assert_string_equal(err.tag, "SOURCE_CHANGED");
    checkpoint_close(c);
}

static void a_missing_or_plain_path_is_no_input(void **state)
{
    (void)state;
    const char *dir = test_temp_dir();
    struct checkpoint *c;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(
        checkpoint_open(&c, &io_posix, test_path("%s/no/such/folder", dir), NULL, &err), -1);
    assert_null(c);
    assert_int_equal(err.code, PREP_ENOINPUT);
    prep_error_clear(&err);
    test_write(test_path("%s/file", dir), "", 0);
    assert_int_equal(checkpoint_open(&c, &io_posix, test_path("%s/file", dir), NULL, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    assert_non_null(strstr(err.msg, "is a file"));
    checkpoint_close(NULL);
}

/* A cache with one repository of two revisions. */
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static const char *write_cache(void)
{
    const char *cache = test_path("%s/hub", test_temp_dir());
    const char *repo = test_path("%s/models--org--na.me", cache);
    write_shard(test_path("%s/blobs", repo), "b0", 0, 2);
    test_mkdirs(test_path("%s/snapshots/" COMMIT, repo));
    assert_int_equal(
        symlink("../../blobs/b0", test_path("%s/snapshots/" COMMIT "/model.safetensors", repo)), 0);
    test_write(test_path("%s/refs/main", repo), COMMIT "\n", 41);
    test_write(test_path("%s/refs/refs/pr/1", repo), COMMIT, 40);
    test_write(test_path("%s/refs/gone", repo), "abc", 3);
    test_write(test_path("%s/refs/evil", repo), "../../x", 7);
    return cache;
}

static void clear_variables(void)
{
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
}

static void hub_ids_are_found_in_the_cache(void **state)
{
    (void)state;
    static const char *const ids[] = {"org/na.me", "org/na.me@main", ("org/na.me@" COMMIT),
                                      "org/na.me@refs/pr/1"};
    const char *cache = write_cache();
    clear_variables();
    setenv("HF_HUB_CACHE", cache, 1);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct checkpoint *c = open_ok(ids[i], NULL);
        assert_int_equal(c->n_tensors, 2);
        assert_string_equal(c->revision, COMMIT);
        checkpoint_close(c);
    }
    struct checkpoint *c =
        open_ok(test_path("%s/models--org--na.me/snapshots/" COMMIT "/", cache), NULL);
    assert_string_equal(c->revision, COMMIT);
    checkpoint_close(c);
}

static void hub_ids_that_are_not_there_are_no_input(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        enum prep_code code;
    } cases[] = {
        {"org/other", PREP_ENOINPUT},
        {"org/na.me@v2", PREP_ENOINPUT},
        {"org/na.me@gone", PREP_ENOINPUT},
        {"org/na.me@evil", PREP_EDATA},
        {"org/na.me@../..", PREP_ENOINPUT},
        {"org/na.me@", PREP_ENOINPUT},
        {"../na.me", PREP_ENOINPUT},
        {"org/na.me/x", PREP_ENOINPUT},
        {"org", PREP_ENOINPUT},
        {"", PREP_ENOINPUT},
        {"org/na.me@/main", PREP_ENOINPUT},
    };
    clear_variables();
    setenv("HF_HUB_CACHE", write_cache(), 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct checkpoint *c;
        struct prep_error err = PREP_ERROR_INIT;
        if (checkpoint_open(&c, &io_posix, cases[i].id, NULL, &err) == 0)
            fail_msg("%s was found", cases[i].id);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void the_first_cache_variable_decides(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HOME", "/.cache/huggingface/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HF_HOME", "/hub"},
        {"HF_HUB_CACHE", ""},
    };
    clear_variables();
    for (size_t i = 0; i < 4; i++) {
        const char *root = test_temp_dir(), *dir, *revision;
        struct arena a;
        struct prep_error err = PREP_ERROR_INIT;
        arena_init(&a, 0);
        setenv(places[i].variable, root, 1);
        assert_int_equal(hub_resolve(&io_posix, "o/n", &a, &dir, &revision, &err), -1);
        assert_non_null(strstr(err.msg, test_path("%s%s;", root, places[i].below)));
        prep_error_clear(&err);
        test_mkdirs(test_path("%s%s/models--o--n/snapshots/r", root, places[i].below));
        assert_int_equal(hub_resolve(&io_posix, "o/n@r", &a, &dir, &revision, &err), 0);
        assert_string_equal(dir, test_path("%s%s/models--o--n/snapshots/r", root, places[i].below));
        assert_string_equal(revision, "r");
        arena_fini(&a);
    }
    clear_variables();
    const char *dir, *revision;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    assert_int_equal(hub_resolve(&io_posix, "o/n", &a, &dir, &revision, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_more_shards_than_one_batch),
        cmocka_unit_test(lists_shards_then_other_files_by_name),
        cmocka_unit_test(reads_small_files_whole),
        cmocka_unit_test(reading_past_a_tensor_is_our_bug),
        cmocka_unit_test(a_replaced_shard_is_noticed),
        cmocka_unit_test(a_missing_or_plain_path_is_no_input),
        cmocka_unit_test(hub_ids_are_found_in_the_cache),
        cmocka_unit_test(hub_ids_that_are_not_there_are_no_input),
        cmocka_unit_test(the_first_cache_variable_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
