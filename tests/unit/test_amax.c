/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/amax.h"
#include "tests/support/support.h"

struct file {
    struct metadata_pair metadata[8];
    size_t n_metadata;
    struct amax_entry entries[4];
    size_t n;
};

static struct file base(void)
{
    return (struct file){
        .metadata = {{"format", "reap-amax"}, {"n_routed_experts", "16"}, {"version", "1"}},
        .n_metadata = 3};
}

static void with(struct file *f, const char *key, const char *value)
{
    f->metadata[f->n_metadata++] = (struct metadata_pair){key, value};
}

static const char *write_file(const struct file *f)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct file copy = *f;
    struct amax a = {.entries = copy.entries,
                     .n = copy.n,
                     .metadata = copy.metadata,
                     .n_metadata = copy.n_metadata};
    struct arena arena;
    struct span bytes;
    arena_init(&arena, 0);
    if (amax_write(&a, &arena, &bytes, &err))
        fail_msg("%s", err.msg);
    const char *path = test_path("%s/x.amax.safetensors", test_temp_dir());
    test_write(path, bytes.p, bytes.n);
    arena_fini(&arena);
    return path;
}

/* A file of one module with these tensors, for what amax_write() does not make. */
static const char *write_raw(const char *header, const void *data, size_t n)
{
    unsigned char bytes[1024];
    size_t h = strlen(header);
    assert_true(8 + h + n <= sizeof bytes);
    memset(bytes, 0, 8);
    bytes[0] = (unsigned char)h;
    bytes[1] = (unsigned char)(h >> 8);
    memcpy(bytes + 8, header, h);
    memcpy(bytes + 8 + h, data, n);
    const char *path = test_path("%s/raw.amax.safetensors", test_temp_dir());
    test_write(path, bytes, 8 + h + n);
    return path;
}

static void expect_refused(const char *path, const char *tag)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct amax a;
    assert_int_equal(amax_read(&a, &io_posix, path, &err), -1);
    assert_string_equal(err.tag, tag);
    assert_int_equal(err.code, PREP_EDATA);
}

static void reads_what_it_writes(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct file f = base();
    f.entries[0] = (struct amax_entry){"model.layers.3.mlp.experts.17.down_proj", 2.5f, 7};
    f.entries[1] = (struct amax_entry){"model.layers.3.mlp.experts.2.up_proj", 0, 1};
    f.n = 2;
    struct amax a;
    assert_int_equal(amax_read(&a, &io_posix, write_file(&f), &err), 0);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.n_routed_experts, 16);
    const struct amax_entry *e = amax_find(&a, f.entries[0].module);
    assert_non_null(e);
    assert_true(e->amax == 2.5f);
    assert_int_equal(e->tokens, 7);
    assert_null(amax_find(&a, "model.layers.3.mlp.experts.1.up_proj"));
    assert_string_equal(amax_metadata(&a, "version"), "1");
    assert_null(amax_metadata(&a, "run"));
    amax_free(&a);
}

static struct file run_file(const char *run, float x, float y, int64_t tokens)
{
    struct file f = base();
    with(&f, "run", run);
    with(&f, "tokens", tokens == 5 ? "5" : "11");
    with(&f, "max_sequence", tokens == 5 ? "64" : "32");
    with(&f, "tool", "t");
    f.entries[f.n++] = (struct amax_entry){"a", x, tokens};
    if (y >= 0)
        f.entries[f.n++] = (struct amax_entry){"b", y, tokens};
    return f;
}

static struct span merged(const char *const *paths, size_t n, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct amax parts[4], all;
    struct span out;
    for (size_t i = 0; i < n; i++)
        if (amax_read(&parts[i], &io_posix, paths[i], &err))
            fail_msg("%s", err.msg);
    if (amax_merge(&all, parts, paths, n, 0, &err) || amax_write(&all, arena, &out, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++)
        amax_free(&parts[i]);
    amax_free(&all);
    return out;
}

static void merges_to_the_same_bytes_in_any_order_and_grouping(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    arena_init(&arena, 0);
    struct file f[3] = {run_file("r2", 1, 8, 5), run_file("r1", 3, -1, 11),
                        run_file("r2", 2, 9, 11)};
    const char *p[3] = {write_file(&f[0]), write_file(&f[1]), write_file(&f[2])};
    const char *reversed[3] = {p[2], p[1], p[0]};
    struct span all = merged(p, 3, &arena), back = merged(reversed, 3, &arena);
    assert_int_equal(all.n, back.n);
    assert_memory_equal(all.p, back.p, all.n);
    struct span half = merged(p, 2, &arena);
    const char *path = test_path("%s/half.safetensors", test_temp_dir());
    test_write(path, half.p, half.n);
    const char *grouped[2] = {p[2], path};
    struct span two = merged(grouped, 2, &arena);
    assert_int_equal(all.n, two.n);
    assert_memory_equal(all.p, two.p, all.n);

    struct amax a;
    path = test_path("%s/all.safetensors", test_temp_dir());
    test_write(path, all.p, all.n);
    assert_int_equal(amax_read(&a, &io_posix, path, &err), 0);
    assert_true(amax_find(&a, "a")->amax == 3 && amax_find(&a, "a")->tokens == 27);
    assert_true(amax_find(&a, "b")->amax == 9 && amax_find(&a, "b")->tokens == 16);
    assert_string_equal(amax_metadata(&a, "run"), "r1+r2+r2");
    assert_string_equal(amax_metadata(&a, "tokens"), "27");
    assert_string_equal(amax_metadata(&a, "max_sequence"), "64");
    assert_string_equal(amax_metadata(&a, "tool"), "t");
    amax_free(&a);
    arena_fini(&arena);
}

static void expect_no_merge(const char *key, const char *x, const char *y, const char *tag)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct file f = base(), g = base();
    with(&f, key, x);
    with(&g, key, y);
    if (strcmp(key, "n_routed_experts") == 0) {
        f = base();
        g = base();
        f.metadata[1].value = x;
        g.metadata[1].value = y;
    }
    const char *paths[2] = {write_file(&f), write_file(&g)};
    struct amax parts[2], all;
    assert_int_equal(amax_read(&parts[0], &io_posix, paths[0], &err), 0);
    assert_int_equal(amax_read(&parts[1], &io_posix, paths[1], &err), 0);
    assert_int_equal(amax_merge(&all, parts, paths, 2, 0, &err), -1);
    assert_string_equal(err.tag, tag);
    prep_error_clear(&err);
    int accepts = strcmp(key, "gate_semantics") == 0;
    assert_int_equal(amax_merge(&all, parts, paths, 2, 1, &err), accepts ? 0 : -1);
    if (accepts)
        assert_string_equal(amax_metadata(&all, key), "a+b");
    amax_free(&all);
    amax_free(&parts[0]);
    amax_free(&parts[1]);
}

static void refuses_to_merge_what_is_about_different_things(void **state)
{
    (void)state;
    expect_no_merge("model", "a", "b", "OBS_SPACE_MIX");
    expect_no_merge("keep_map_sha256", "a", "b", "OBS_SPACE_MIX");
    expect_no_merge("n_routed_experts", "16", "12", "OBS_EXPERT_COUNT");
    expect_no_merge("gate_semantics", "a", "b", "OBS_SEMANTICS_MIX");
}

static void refuses_values_that_cannot_be(void **state)
{
    (void)state;
    const uint32_t bits[3] = {0x7FC00000, 0x7F800000, 0xBF800000};
    for (int i = 0; i < 3; i++) {
        struct file f = base();
        f.entries[f.n++] = (struct amax_entry){"a", 0, 1};
        memcpy(&f.entries[0].amax, &bits[i], 4);
        expect_refused(write_file(&f), i == 2 ? "OBS_NEGATIVE" : "OBS_NONFINITE");
    }
    struct file none = base();
    none.entries[none.n++] = (struct amax_entry){"a", 1, 0};
    expect_refused(write_file(&none), "OBS_ZERO_TOKENS");
    struct file count = base();
    count.metadata[1].value = "many";
    expect_refused(write_file(&count), "OBS_EXPERT_COUNT");
    struct file other = base();
    other.metadata[0].value = "reap-obs";
    expect_refused(write_file(&other), "AMAX_FORMAT");
}

#define META "\"__metadata__\":{\"format\":\"reap-amax\",\"version\":\"1\"}"

static void refuses_tensors_that_do_not_belong(void **state)
{
    (void)state;
    const unsigned char zeros[16] = {1};
    expect_refused(write_raw("{" META ",\"a.amax_in\":{\"dtype\":\"F32\",\"shape\":[1],"
                             "\"data_offsets\":[0,4]}}",
                             zeros, 4),
                   "AMAX_FORMAT");
    expect_refused(write_raw("{" META ",\"a.tokens\":{\"dtype\":\"I64\",\"shape\":[1],"
                             "\"data_offsets\":[0,8]}}",
                             zeros, 8),
                   "AMAX_FORMAT");
    expect_refused(write_raw("{" META ",\"a.weight\":{\"dtype\":\"F32\",\"shape\":[1],"
                             "\"data_offsets\":[0,4]}}",
                             zeros, 4),
                   "AMAX_FORMAT");
    expect_refused(write_raw("{" META ",\"a.tokens\":{\"dtype\":\"I64\",\"shape\":[1],"
                             "\"data_offsets\":[0,8]},\"a.amax_in\":{\"dtype\":\"F32\","
                             "\"shape\":[2],\"data_offsets\":[8,16]}}",
                             zeros, 16),
                   "OBS_SHAPE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(merges_to_the_same_bytes_in_any_order_and_grouping),
        cmocka_unit_test(refuses_to_merge_what_is_about_different_things),
        cmocka_unit_test(refuses_values_that_cannot_be),
        cmocka_unit_test(refuses_tensors_that_do_not_belong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
