/* SPDX-License-Identifier: MIT */
/* Keys, values and split names of GGUF files; what is read is in golden/test_gguf_hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/gguf.h"
#include "tests/support/memory_io.h"

static struct arena arena;
static struct prep_error err;
static struct gguf_keys keys;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    prep_error_clear(&err);
    keys = (struct gguf_keys){.arena = &arena};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gguf_keys_free(&keys);
    arena_fini(&arena);
    return 0;
}

static void read_back(struct gguf *g, struct span block, uint64_t bytes)
{
    static struct memory_part parts[2];
    static struct memory_file file = {.path = "f", .parts = parts, .n_parts = 2};
    static struct memory_io m;
    parts[0] = (struct memory_part){.p = block.p, .n = block.n};
    parts[1] = (struct memory_part){.n = bytes - block.n};
    memory_io_init(&m, &file, 1);
    assert_int_equal(gguf_read(g, &m.io, 0, bytes, "f", &err), 0);
}

static void writes_every_kind_of_key_and_reads_it_back(void **state)
{
    (void)state;
    const struct span words[] = {{(const unsigned char *)"one", 3}, {NULL, 0}};
    const int32_t numbers[] = {-1, 7};
    const unsigned char flags[] = {1, 0, 1};
    assert_int_equal(gguf_set_u16(&keys, "u16", 65535, &err), 0);
    assert_int_equal(gguf_set_u32(&keys, "u32", 4000000000u, &err), 0);
    assert_int_equal(gguf_set_i32(&keys, "i32", -5, &err), 0);
    assert_int_equal(gguf_set_f32(&keys, "f32", 0.5f, &err), 0);
    assert_int_equal(gguf_set_bool(&keys, "bool", 1, &err), 0);
    assert_int_equal(gguf_set_string(&keys, "string", "text", 4, &err), 0);
    assert_int_equal(gguf_set_strings(&keys, "strings", words, 2, &err), 0);
    assert_int_equal(gguf_set_i32s(&keys, "i32s", numbers, 2, &err), 0);
    assert_int_equal(gguf_set_bools(&keys, "bools", flags, 3, &err), 0);
    struct gguf_tensor_info t = {
        .name = "a.weight", .type = GGML_Q8_0, .n_dims = 2, .dims = {64, 3, 1, 1}};
    struct span block;
    struct gguf g;
    uint64_t bytes, u;
    double d;
    int b;
    size_t at = 0;
    assert_int_equal(gguf_layout(&block, &bytes, &keys, &t, 1, &arena, &err), 0);
    assert_int_equal(t.bytes, 64 / 32 * 34 * 3);
    assert_int_equal(bytes, block.n + 224); /* 204 bytes padded to 32 */
    read_back(&g, block, bytes);
    assert_int_equal(gguf_as_u64(gguf_find(&g, "u16"), &u), 0);
    assert_int_equal(u, 65535);
    assert_int_equal(gguf_as_u64(gguf_find(&g, "u32"), &u), 0);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(gguf_as_u64(gguf_find(&g, "i32"), &u), -1); /* negative */
    assert_int_equal(gguf_as_f64(gguf_find(&g, "i32"), &d), 0);
    assert_true(d == -5);
    assert_int_equal(gguf_as_f64(gguf_find(&g, "f32"), &d), 0);
    assert_true(d == 0.5);
    assert_int_equal(gguf_as_bool(gguf_find(&g, "bool"), &b), 0);
    assert_int_equal(b, 1);
    assert_string_equal((const char *)gguf_find(&g, "string")->bytes.p, "text");
    assert_int_equal(gguf_element(gguf_find(&g, "strings"), &at).n, 3);
    assert_int_equal(gguf_element(gguf_find(&g, "strings"), &at).n, 0);
    assert_int_equal(gguf_find(&g, "bools")->count, 3);
    assert_null(gguf_find(&g, "absent"));
    assert_int_equal(gguf_find_tensor(&g, "a.weight")->offset, block.n);
    gguf_free(&g);
}

static void setting_a_key_again_moves_it_to_the_end(void **state)
{
    (void)state;
    assert_int_equal(gguf_set_u32(&keys, "a", 1, &err), 0);
    assert_int_equal(gguf_set_u32(&keys, "b", 2, &err), 0);
    assert_int_equal(gguf_set_u32(&keys, "a", 3, &err), 0);
    assert_int_equal(keys.n, 2);
    assert_string_equal(keys.items[0].key, "b");
    assert_string_equal(keys.items[1].key, "a");
    gguf_unset(&keys, "b");
    gguf_unset(&keys, "b");
    assert_int_equal(keys.n, 1);
}

static void refuses_to_lay_out_what_no_reader_takes(void **state)
{
    (void)state;
    struct span block;
    struct gguf_tensor_info cut = {
        .name = "a", .type = GGML_Q4_K, .n_dims = 1, .dims = {100, 1, 1, 1}};
    char name[80];
    memset(name, 'n', 64);
    name[64] = 0;
    struct gguf_tensor_info named = {
        .name = name, .type = GGML_F32, .n_dims = 1, .dims = {1, 1, 1, 1}};
    assert_int_equal(gguf_layout(&block, NULL, &keys, &cut, 1, &arena, &err), -1);
    assert_string_equal(err.tag, "BLOCK");
    prep_error_clear(&err);
    assert_int_equal(gguf_layout(&block, NULL, &keys, &named, 1, &arena, &err), -1);
    assert_string_equal(err.tag, "TENSOR_NAME");
}

static void knows_the_names_of_parts(void **state)
{
    (void)state;
    assert_string_equal(gguf_part_name(&arena, "dir/m", 1, 12, &err), "dir/m-00002-of-00012.gguf");
    assert_int_equal(gguf_part_prefix("dir/m-00002-of-00012.gguf", 1, 12), 5);
    assert_int_equal(gguf_part_prefix("dir/m-00002-of-00012.gguf", 2, 12), 0);
    assert_int_equal(gguf_part_prefix("-00002-of-00012.gguf", 1, 12), 0);
    assert_int_equal(gguf_part_prefix("m.gguf", 0, 1), 0);
}

static void judges_split_keys(void **state)
{
    (void)state;
    struct span block;
    struct gguf g;
    struct gguf_split s;
    uint64_t bytes;
    assert_int_equal(gguf_set_u16(&keys, "split.count", 3, &err), 0);
    assert_int_equal(gguf_set_u16(&keys, "split.no", 3, &err), 0);
    assert_int_equal(gguf_set_i32(&keys, "split.tensors.count", 9, &err), 0);
    assert_int_equal(gguf_layout(&block, &bytes, &keys, NULL, 0, &arena, &err), 0);
    read_back(&g, block, bytes);
    assert_int_equal(gguf_split_of(&s, &g, "f", &err), -1);
    assert_string_equal(err.tag, "SPLIT_KEYS");
    gguf_free(&g);
    prep_error_clear(&err);
    assert_int_equal(gguf_set_u16(&keys, "split.no", 2, &err), 0);
    assert_int_equal(gguf_layout(&block, &bytes, &keys, NULL, 0, &arena, &err), 0);
    read_back(&g, block, bytes);
    assert_int_equal(gguf_split_of(&s, &g, "f", &err), 0);
    assert_int_equal(s.no, 2);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.tensors, 9);
    gguf_free(&g);
    /* What the reference tool's merge leaves behind is one whole file. */
    assert_int_equal(gguf_set_u16(&keys, "split.count", 0, &err), 0);
    assert_int_equal(gguf_layout(&block, &bytes, &keys, NULL, 0, &arena, &err), 0);
    read_back(&g, block, bytes);
    assert_int_equal(gguf_split_of(&s, &g, "f", &err), 0);
    assert_int_equal(s.count, 1);
    gguf_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_every_kind_of_key_and_reads_it_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(setting_a_key_again_moves_it_to_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_to_lay_out_what_no_reader_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(knows_the_names_of_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(judges_split_keys, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
