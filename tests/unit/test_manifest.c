/* SPDX-License-Identifier: MIT */
/* prep-manifest.json read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/store/manifest.h"

#define HEAD "{\"format\": \"prep-manifest\", \"version\": 1, "
#define HEX32 "0123456789abcdef0123456789abcdef"
#define HEX64 HEX32 HEX32

static int parse(struct manifest *m, const char *text, struct prep_error *err)
{
    return manifest_parse(m, text, strlen(text), "prep-manifest.json", err);
}

static void says_what_a_run_wrote(void **state)
{
    struct manifest m;
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    assert_int_equal(parse(&m,
                           HEAD "\"run\": {\"tool\": \"x\"}, \"sources\": [{}, {}], \"new\": 1, "
                                "\"files\": [{\"name\": \"a\", \"bytes\": 18446744073709551615, "
                                "\"sha256\": \"" HEX64 "\"}, {\"name\": \"b\", \"bytes\": 0}], "
                                "\"tensors\": {\"t\": {\"bytes\": 6, \"xxh3_128\": \"" HEX32 "\", "
                                "\"copy_of\": \"u\"}, \"v\": {\"bytes\": 1}}}",
                           &err),
                     0);
    assert_int_equal(m.n_files, 2);
    assert_int_equal(m.n_sources, 2);
    assert_true(m.files[0].bytes == UINT64_MAX);
    assert_string_equal(m.files[0].sha256, HEX64);
    assert_null(m.files[1].sha256);
    assert_string_equal((const char *)m.run.p, "{\"tool\": \"x\"}");
    const struct manifest_tensor *t = manifest_find(&m, "t");
    assert_non_null(t);
    assert_string_equal(t->xxh3, HEX32);
    assert_string_equal(t->copy_of, "u");
    assert_null(manifest_find(&m, "v")->xxh3);
    assert_null(manifest_find(&m, "w"));
    assert_ptr_equal(manifest_find_file(&m, "b"), &m.files[1]);
    assert_null(manifest_find_file(&m, "c"));
    manifest_free(&m);
}

static void an_absent_manifest_names_nothing(void **state)
{
    const struct manifest m = {0};
    (void)state;
    assert_null(manifest_find(&m, "t"));
    assert_null(manifest_find_file(&m, "f"));
}

static void refuses_what_no_run_writes(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"format\": \"other\", \"version\": 1, \"files\": [], \"tensors\": {}}",
        "{\"format\": \"prep-manifest\", \"files\": [], \"tensors\": {}}",
        HEAD "\"tensors\": {}}",
        HEAD "\"files\": []}",
        HEAD "\"files\": {}, \"tensors\": {}}",
        HEAD "\"files\": [1], \"tensors\": {}}",
        HEAD "\"files\": [{\"bytes\": 1}], \"tensors\": {}}",
        HEAD "\"files\": [{\"name\": \"../a\", \"bytes\": 1}], \"tensors\": {}}",
        HEAD "\"files\": [{\"name\": \"a\", \"bytes\": -1}], \"tensors\": {}}",
        HEAD "\"files\": [{\"name\": \"a\", \"bytes\": 1.0}], \"tensors\": {}}",
        HEAD "\"files\": [{\"name\": \"a\\u0000\", \"bytes\": 1}], \"tensors\": {}}",
        HEAD "\"files\": [{\"name\": \"a\", \"bytes\": 1, \"sha256\": \"00\"}], \"tensors\": {}}",
        HEAD "\"files\": [], \"tensors\": {\"t\": 1}}",
        HEAD "\"files\": [], \"tensors\": {\"\": {\"bytes\": 1}}}",
        HEAD "\"files\": [], \"tensors\": {\"t\": {}}}",
        HEAD "\"files\": [], \"tensors\": {\"t\": {\"bytes\": 1, \"xxh3_128\": \"" HEX64 "\"}}}",
        HEAD "\"files\": [], \"tensors\": {\"t\": {\"bytes\": 1}, \"t\": {\"bytes\": 1}}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct manifest m;
        struct prep_error err = PREP_ERROR_INIT;
        if (parse(&m, bad[i], &err) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err.code, PREP_EDATA);
        assert_string_equal(err.tag, "MANIFEST");
        assert_non_null(strstr(err.msg, "prep-manifest.json"));
    }
}

static void another_version_is_not_guessed_at(void **state)
{
    struct manifest m;
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    assert_int_equal(parse(&m, "{\"format\": \"prep-manifest\", \"version\": 2}", &err), -1);
    assert_int_equal(err.code, PREP_EUNSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_a_run_wrote),
        cmocka_unit_test(an_absent_manifest_names_nothing),
        cmocka_unit_test(refuses_what_no_run_writes),
        cmocka_unit_test(another_version_is_not_guessed_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
