/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/format/safetensors.h"
#include "tests/support/memory_io.h"
#include "tests/support/support.h"

/* Header, then zeros, read back. */
static int read_back(struct safetensors *st, struct span header, uint64_t data, struct arena *arena,
                     struct prep_error *err)
{
    const struct memory_part parts[] = {{.p = header.p, .n = header.n}, {.n = data}};
    const struct memory_file file = {.path = "f", .parts = parts, .n_parts = 2};
    struct memory_io m;
    memory_io_init(&m, &file, 1);
    m.max_transfer = 1000;
    return safetensors_read(st, &m.io, 0, header.n + data, "f", arena, err);
}

static int read_text(struct safetensors *st, const char *json, uint64_t data, struct arena *arena,
                     struct prep_error *err)
{
    unsigned char bytes[4096];
    size_t n = strlen(json);
    store_le64(bytes, n);
    memcpy(bytes + 8, json, n);
    return read_back(st, (struct span){bytes, 8 + n}, data, arena, err);
}

static void dtypes_know_name_and_size(void **state)
{
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const char *name = dtype_name((enum dtype)t);
        assert_int_equal(dtype_from_name(name, strlen(name)), t);
        assert_true(t == 0 || dtype_bits((enum dtype)t) <= dtype_bits((enum dtype)(t - 1)));
    }
    assert_int_equal(dtype_bits(DTYPE_C64), 64);
    assert_int_equal(dtype_bits(DTYPE_BF16), 16);
    assert_int_equal(dtype_bits(DTYPE_F6_E2M3), 6);
    assert_int_equal(dtype_from_name("bf16", 4), DTYPE_COUNT);
    assert_int_equal(dtype_from_name("BF1", 3), DTYPE_COUNT);
    assert_int_equal(dtype_from_name("", 0), DTYPE_COUNT);
}

static void tensor_bytes_refuses_overflow_and_half_bytes(void **state)
{
    (void)state;
    uint64_t bytes;
    const uint64_t shape[] = {3, 5}, huge[] = {(uint64_t)1 << 32, (uint64_t)1 << 32, 0};
    assert_int_equal(tensor_bytes(DTYPE_F32, shape, 2, &bytes), 0);
    assert_int_equal(bytes, 60);
    assert_int_equal(tensor_bytes(DTYPE_F32, shape, 0, &bytes), 0);
    assert_int_equal(bytes, 4);
    assert_int_equal(tensor_bytes(DTYPE_F4, shape, 2, &bytes), -1);
    assert_int_equal(tensor_bytes(DTYPE_F32, huge, 3, &bytes), -1);
    assert_int_equal(tensor_bytes(DTYPE_F6_E3M2, (const uint64_t[]){4}, 1, &bytes), 0);
    assert_int_equal(bytes, 3);
}

static void names_are_judged(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a", "model.layers.0.mlp.gate.weight", "...", ".a", "a b", "sch\xc3\xbcssel"};
    static const char *const bad[] = {"",   "a/b", "a\\b",         ".",
                                      "..", "a\n", "12345678\x7f", "abcdefgh/"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(tensor_name_fault(good[i], strlen(good[i])));
        assert_null(file_name_fault(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_non_null(tensor_name_fault(bad[i], strlen(bad[i])));
        assert_non_null(file_name_fault(bad[i], strlen(bad[i])));
    }
    assert_non_null(tensor_name_fault("a\0b", 3));
    assert_non_null(file_name_fault("C:x", 3));
    assert_null(tensor_name_fault("C:x", 3));
    char longest[257];
    memset(longest, 'x', sizeof longest);
    assert_null(file_name_fault(longest, 255));
    assert_non_null(file_name_fault(longest, 256));
}

/* Every byte at every place of a word, against the rule as the sheet words it. */
static void name_scan_agrees_with_the_rule(void **state)
{
    (void)state;
    char name[19];
    for (size_t at = 0; at < sizeof name; at++) {
        for (int c = 0; c < 256; c++) {
            memset(name, 'a', sizeof name);
            name[at] = (char)c;
            int bad = c < 0x20 || c == 0x7f || c == '/' || c == '\\';
            assert_int_equal(tensor_name_fault(name, sizeof name) != NULL, bad);
        }
    }
}

static void messages_name_file_tensor_found_and_wanted(void **state)
{
    (void)state;
    struct safetensors st;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    assert_int_equal(read_text(&st,
                               "{\"x\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
                               &a, &err),
                     -1);
    assert_string_equal(err.msg, "f: tensor x: dtype is \"Q4\", want one like \"BF16\" or \"F32\"");
    prep_error_clear(&err);
    assert_int_equal(read_text(&st,
                               "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
                               4, &a, &err),
                     -1);
    assert_string_equal(err.msg, "f: tensor x: data_offsets span 4 bytes, shape and dtype want 8");
    arena_fini(&a);
}

static void escaped_words_mean_the_same(void **state)
{
    (void)state;
    struct safetensors st;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    assert_int_equal(read_text(&st,
                               "{\"\\u0078\":{\"\\u0064type\":\"\\u0042F16\",\"shape\":[2],"
                               "\"data_offsets\":[0,4]},\"__metadat\\u0061__\":{\"k\":\"\\n\"}}",
                               4, &a, &err),
                     0);
    assert_int_equal(st.n_tensors, 1);
    assert_string_equal(st.tensors[0].name, "x");
    assert_int_equal(st.tensors[0].dtype, DTYPE_BF16);
    assert_int_equal(st.n_metadata, 1);
    assert_string_equal(st.metadata[0].value, "\n");
    arena_fini(&a);
}

static void more_dimensions_than_we_hold_are_unsupported(void **state)
{
    (void)state;
    struct safetensors st;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    assert_int_equal(
        read_text(&st,
                  "{\"x\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}",
                  1, &a, &err),
        0);
    assert_int_equal(
        read_text(&st,
                  "{\"x\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}",
                  1, &a, &err),
        -1);
    assert_int_equal(err.code, PREP_EUNSUP);
    arena_fini(&a);
}

static void metadata_with_nul_is_refused(void **state)
{
    (void)state;
    struct safetensors st;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    assert_int_equal(read_text(&st, "{\"__metadata__\":{\"a\":\"b\\u0000c\"}}", 0, &a, &err), -1);
    assert_string_equal(err.tag, "METADATA");
    arena_fini(&a);
}

static void a_file_cut_while_it_is_read_is_short(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {200, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    const struct memory_part part = {.p = bytes, .n = sizeof bytes};
    const struct memory_file file = {.path = "f", .parts = &part, .n_parts = 1};
    struct memory_io m;
    struct safetensors st;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 0);
    memory_io_init(&m, &file, 1);
    assert_int_equal(safetensors_read(&st, &m.io, 0, 1000, "f", &a, &err), -1);
    assert_string_equal(err.tag, "SHORT_DATA");
    arena_fini(&a);
}

static void layout_writes_the_canonical_header(void **state)
{
    (void)state;
    struct tensor_info t[] = {
        {.name = "b", .shape = {2, 2}, .n_dims = 2, .dtype = DTYPE_F32, .bytes = 16},
        {.name = "a\"", .n_dims = 0, .dtype = DTYPE_BF16, .bytes = 2},
    };
    const struct metadata_pair m = {"format", "pt"};
    const char *json = "{\"__metadata__\":{\"format\":\"pt\"},"
                       "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                       "\"a\\\"\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[16,18]}}";
    struct arena a;
    struct span h;
    struct prep_error err = PREP_ERROR_INIT;
    size_t n = strlen(json), padded = (n + 7) / 8 * 8;
    arena_init(&a, 0);
    assert_int_equal(safetensors_layout(t, 2, &m, 1, &a, &h, &err), 0);
    assert_int_equal(h.n, 8 + padded);
    assert_int_equal(load_le64(h.p), padded);
    assert_memory_equal(h.p + 8, json, n);
    for (size_t i = n; i < padded; i++)
        assert_int_equal(h.p[8 + i], ' ');
    assert_int_equal(t[0].offset, h.n);
    assert_int_equal(t[1].offset, h.n + 16);
    assert_int_equal(safetensors_layout(NULL, 0, NULL, 0, &a, &h, &err), 0);
    assert_memory_equal(h.p, "\x08\0\0\0\0\0\0\0{}      ", 16);
    arena_fini(&a);
}

static void layout_refuses_bad_names_and_sizes(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a/b", "__metadata__"};
    struct arena a;
    struct span h;
    arena_init(&a, 0);
    for (size_t i = 0; i < 3; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct tensor_info t = {.name = names[i], .dtype = DTYPE_U8, .bytes = 1};
        assert_int_equal(safetensors_layout(&t, 1, NULL, 0, &a, &h, &err), -1);
        assert_string_equal(err.tag, "NAME");
    }
    struct prep_error err = PREP_ERROR_INIT;
    struct tensor_info t = {.name = "a", .dtype = DTYPE_U8, .bytes = 2};
    assert_int_equal(safetensors_layout(&t, 1, NULL, 0, &a, &h, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    arena_fini(&a);
}

static void layout_stops_where_hub_parsers_stop(void **state)
{
    (void)state;
    struct arena a;
    struct span h;
    struct prep_error err = PREP_ERROR_INIT;
    size_t n = 25000000;
    char *name = malloc(n);
    assert_non_null(name);
    memset(name, 'n', n);
    struct tensor_info t = {.name = name, .dtype = DTYPE_U8, .bytes = 1};
    arena_init(&a, 0);
    name[24999000] = 0;
    assert_int_equal(safetensors_layout(&t, 1, NULL, 0, &a, &h, &err), 0);
    name[24999000] = 'n';
    name[n - 20] = 0;
    assert_int_equal(safetensors_layout(&t, 1, NULL, 0, &a, &h, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    free(name);
    arena_fini(&a);
}

enum { MAX_TENSORS = 40 };

static uint64_t random_tensor(struct tensor_info *t, size_t i, struct test_random *r,
                              struct arena *a)
{
    struct prep_error err = PREP_ERROR_INIT;
    do {
        *t = (struct tensor_info){0};
        t->name =
            arena_printf(a, &err, "t\xc3\xa9.%zu\"%c", i, (char)test_random_below(r, 26) + 'a');
        t->dtype = (uint8_t)test_random_below(r, DTYPE_COUNT);
        t->n_dims = (uint8_t)test_random_below(r, SAFETENSORS_MAX_DIMS + 1);
        for (int d = 0; d < t->n_dims; d++)
            t->shape[d] = test_random_below(r, 5);
    } while (tensor_bytes((enum dtype)t->dtype, t->shape, t->n_dims, &t->bytes));
    return t->bytes;
}

static int by_dtype(const void *x, const void *y)
{
    return ((const struct tensor_info *)x)->dtype - ((const struct tensor_info *)y)->dtype;
}

static const struct tensor_info *find(const struct safetensors *st, const char *name)
{
    for (size_t i = 0; i < st->n_tensors; i++)
        if (strcmp(st->tensors[i].name, name) == 0)
            return &st->tensors[i];
    fail_msg("%s is gone", name);
    return NULL;
}

/* Random tensors in order of dtype: read back equal, and every one aligned to its element. */
static void layout_reads_back_equal_and_aligned(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    for (int round = 0; round < 300; round++) {
        struct tensor_info t[MAX_TENSORS];
        size_t n = (size_t)test_random_below(&r, MAX_TENSORS + 1);
        uint64_t data = 0;
        struct arena a;
        struct span h;
        struct safetensors st;
        struct prep_error err = PREP_ERROR_INIT;
        arena_init(&a, 0);
        for (size_t i = 0; i < n; i++)
            data += random_tensor(&t[i], i, &r, &a);
        qsort(t, n, sizeof *t, by_dtype);
        assert_int_equal(safetensors_layout(t, n, NULL, 0, &a, &h, &err), 0);
        if (read_back(&st, h, data, &a, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(st.n_tensors, n);
        assert_int_equal(st.lint, 0);
        assert_true(8 + st.header_bytes == h.n);
        struct hash128 want = hash128(h.p, h.n);
        assert_true(st.header_hash.hi == want.hi && st.header_hash.lo == want.lo);
        for (size_t i = 0; i < n; i++) {
            const struct tensor_info *u = find(&st, t[i].name);
            unsigned element = (dtype_bits((enum dtype)u->dtype) + 7) / 8;
            assert_int_equal(u->offset, t[i].offset);
            assert_int_equal(u->bytes, t[i].bytes);
            assert_int_equal(u->dtype, t[i].dtype);
            assert_int_equal(u->n_dims, t[i].n_dims);
            assert_memory_equal(u->shape, t[i].shape, sizeof u->shape);
            assert_int_equal(u->offset % element, 0);
        }
        arena_fini(&a);
    }
}

/* Whatever one byte of a header becomes, reading ends with a verdict and a class. */
static void every_changed_byte_gets_a_verdict(void **state)
{
    (void)state;
    const char *json = "{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],"
                       "\"data_offsets\":[0,16]},\"b\":{\"dtype\":\"BF16\",\"shape\":[4],"
                       "\"data_offsets\":[16,24]}}";
    char text[512];
    size_t n = strlen(json), accepted = 0;
    for (size_t at = 0; at < n; at++) {
        for (int c = 1; c < 256; c++) {
            struct safetensors st;
            struct arena a;
            struct prep_error err = PREP_ERROR_INIT;
            memcpy(text, json, n + 1);
            text[at] = (char)c;
            arena_init(&a, 0);
            if (read_text(&st, text, 24, &a, &err) == 0)
                accepted++;
            else
                assert_true(err.code == PREP_EDATA && err.tag[0]);
            arena_fini(&a);
        }
    }
    assert_true(accepted > n && accepted < 255 * n / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_know_name_and_size),
        cmocka_unit_test(tensor_bytes_refuses_overflow_and_half_bytes),
        cmocka_unit_test(names_are_judged),
        cmocka_unit_test(name_scan_agrees_with_the_rule),
        cmocka_unit_test(messages_name_file_tensor_found_and_wanted),
        cmocka_unit_test(escaped_words_mean_the_same),
        cmocka_unit_test(more_dimensions_than_we_hold_are_unsupported),
        cmocka_unit_test(metadata_with_nul_is_refused),
        cmocka_unit_test(a_file_cut_while_it_is_read_is_short),
        cmocka_unit_test(layout_writes_the_canonical_header),
        cmocka_unit_test(layout_refuses_bad_names_and_sizes),
        cmocka_unit_test(layout_stops_where_hub_parsers_stop),
        cmocka_unit_test(layout_reads_back_equal_and_aligned),
        cmocka_unit_test(every_changed_byte_gets_a_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
