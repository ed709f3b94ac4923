/* SPDX-License-Identifier: MIT */
/*
 * glm-nano-hard is made again byte for byte: fixture glm-nano-hard, whose README states the hashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "libprep/base/hash.h"
#include "tests/support/support.h"

static const char *source(void)
{
    return test_path("%s/glm-nano", test_data());
}

/* Exit code of make_hard. */
static int make_hard(const char *out, const char *options)
{
    const char *tools = getenv("PREP_TEST_TOOLS");
    if (!tools || !*tools)
        tools = "build/release/tests/tools";
    int status = system(
        test_path("%s/make_hard '%s' '%s' %s >/dev/null 2>&1", tools, source(), out, options));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void hash_shard(const char *dir, int shard, char hex[SHA256_HEX])
{
    struct test_bytes b = test_read(test_path("%s/model-%05d-of-00004.safetensors", dir, shard));
    sha256_hex(b.p, b.n, hex);
    free(b.p);
}

/* Cell `column` of the README's row "| model-00001-of-00004 | HASH | HASH |". */
static void stated_hash(int shard, int column, char hex[SHA256_HEX])
{
    struct test_bytes text = test_read(test_path("%s/glm-nano-hard/README.md", test_data()));
    const char *row = strstr((char *)text.p, test_path("| model-%05d-of-00004 |", shard));
    assert_non_null(row);
    for (int i = 0; i <= column && row; i++)
        row = strstr(row + 1, "| ");
    assert_non_null(row);
    assert_int_equal(strspn(row + 2, "0123456789abcdef"), SHA256_HEX - 1);
    memcpy(hex, row + 2, SHA256_HEX - 1);
    hex[SHA256_HEX - 1] = 0;
    free(text.p);
}

static void check_strength(const char *strength, int column)
{
    const char *out = test_path("%s/hard", test_temp_dir());
    assert_int_equal(make_hard(out, test_path("--strength %s", strength)), 0);
    for (int shard = 1; shard <= 4; shard++) {
        char want[SHA256_HEX], have[SHA256_HEX];
        stated_hash(shard, column, want);
        hash_shard(out, shard, have);
        assert_string_equal(have, want);
    }
}

static void strength_one_half_has_the_stated_hashes(void **state)
{
    (void)state;
    check_strength("0.5", 0);
}

static void strength_one_has_the_stated_hashes(void **state)
{
    (void)state;
    check_strength("1.0", 1);
}

static void another_seed_gives_other_weights_and_the_same_other_files(void **state)
{
    (void)state;
    static const char *const others[] = {"config.json", "model.safetensors.index.json",
                                         "tokenizer.json"};
    const char *out = test_path("%s/hard", test_temp_dir());
    assert_int_equal(make_hard(out, "--strength 0.5 --seed 2"), 0);
    for (int shard = 1; shard <= 4; shard++) {
        char first[SHA256_HEX], second[SHA256_HEX];
        stated_hash(shard, 0, first);
        hash_shard(out, shard, second);
        assert_string_not_equal(first, second);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_null(test_folder_difference(test_path("%s/%s", source(), others[i]),
                                           test_path("%s/%s", out, others[i]), NULL));
}

static void refuses_what_it_cannot_do(void **state)
{
    (void)state;
    const char *out = test_path("%s/hard", test_temp_dir());
    assert_int_equal(make_hard(out, "--strength 0.7"), 64);
    assert_int_equal(make_hard(out, "--strength 0.5 --seed x"), 64);
    assert_false(test_exists(out));
    assert_int_equal(make_hard(test_temp_dir(), "--strength 0.5"), 73);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strength_one_half_has_the_stated_hashes),
        cmocka_unit_test(strength_one_has_the_stated_hashes),
        cmocka_unit_test(another_seed_gives_other_weights_and_the_same_other_files),
        cmocka_unit_test(refuses_what_it_cannot_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
