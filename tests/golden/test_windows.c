/* SPDX-License-Identifier: MIT */
/* Packing the bundled texts gives the published calibration and evaluation windows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/calib/pack.h"
#include "tests/support/support.h"

static void pack(struct pack_result *result, const char *file, uint64_t sequence,
                 struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    struct pack_source source = {
        .name = file, .mode = -1, .documents = {.path = test_path("%s/%s", test_data(), file)}};
    const struct pack_options options = {.sources = &source,
                                         .n_sources = 1,
                                         .sequence = sequence,
                                         .separator = "<|endoftext|>",
                                         .prefix = "",
                                         .n_threads = 2,
                                         .mem = 1 << 30};
    if (tokenizer_open(&t, &io_posix, test_path("%s/glm-nano", test_data()), NULL, &err) ||
        pack_documents(result, &options, t, &io_posix, arena, NULL, &err))
        fail_msg("%s", err.msg);
    tokenizer_free(t);
}

static uint64_t number(const struct json *d, uint32_t node)
{
    uint64_t v;
    assert_int_equal(json_u64(d, node, &v), 0);
    return v;
}

static void check_windows(const char *part, const char *file, uint64_t sequence, size_t n_windows)
{
    struct test_bytes text = test_read(test_path("%s/quality/windows.json", test_data()));
    struct prep_error err = PREP_ERROR_INIT;
    struct pack_result result;
    struct arena arena;
    struct json d;
    size_t n = 0;
    arena_init(&arena, 0);
    pack(&result, file, sequence, &arena);
    assert_int_equal(json_parse(&d, (char *)text.p, text.n, "windows.json", &err), 0);
    uint32_t object = json_get(&d, 0, part);
    assert_int_equal(result.packed.n_sequences,
                     number(&d, json_get(&d, object, "windows_in_source")));
    uint32_t row = json_first(&d, json_get(&d, object, "tokens"));
    for (uint32_t i = json_first(&d, json_get(&d, object, "index")); i != JSON_NONE;
         i = json_next(&d, i), row = json_next(&d, row), n++) {
        const uint32_t *ids = result.packed.ids + number(&d, i) * sequence;
        for (uint32_t k = json_first(&d, row); k != JSON_NONE; k = json_next(&d, k))
            assert_int_equal(*ids++, number(&d, k));
    }
    assert_int_equal(n, n_windows);
    json_free(&d);
    free(text.p);
    arena_fini(&arena);
}

static void packs_the_calibration_windows(void **state)
{
    check_windows("calibration", "text/calibration.jsonl", 512, 64);
    (void)state;
}

static void packs_the_evaluation_windows(void **state)
{
    check_windows("evaluation", "text/eval.jsonl", 256, 64);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_the_calibration_windows),
        cmocka_unit_test(packs_the_evaluation_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
