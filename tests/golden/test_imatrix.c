/* SPDX-License-Identifier: MIT */
/* The reference's importance matrix of glm-nano: read, written again in both forms, merged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/format/gguf.h"
#include "libprep/format/imatrix.h"
#include "tests/support/memory_io.h"
#include "tests/support/support.h"

static struct prep_error err;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    prep_error_clear(&err);
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const char *nano(void)
{
    return test_path("%s/gguf/nano-imatrix-16.gguf", test_data());
}

static int open_bytes(struct imatrix *m, const void *p, size_t n)
{
    static struct memory_part part;
    static struct memory_file file = {.path = "f", .parts = &part, .n_parts = 1};
    static struct memory_io io;
    part = (struct memory_part){.p = p, .n = n};
    memory_io_init(&io, &file, 1);
    return imatrix_open(m, &io.io, "f", 1, &err);
}

static void refuses(const void *p, size_t n, const char *tag)
{
    struct imatrix m;
    prep_error_clear(&err);
    assert_int_equal(open_bytes(&m, p, n), -1);
    if (strcmp(err.tag, tag))
        fail_msg("%s \"%s\", want %s", err.tag, err.msg, tag);
    assert_int_equal(err.code, PREP_EDATA);
}

static void writes_the_reference_file_again_byte_for_byte(void **state)
{
    (void)state;
    struct imatrix m;
    struct span out;
    struct test_bytes want = test_read(nano());
    assert_int_equal(imatrix_open(&m, &io_posix, nano(), 1, &err), 0);
    assert_int_equal(m.n, 72);
    assert_int_equal(m.chunk_count, 16);
    assert_int_equal(m.chunk_size, 512);
    assert_string_equal(m.datasets[0], "cal.txt");
    assert_int_equal(imatrix_find(&m, "blk.3.ffn_down_exps.weight")->slices, 16);
    assert_true(imatrix_find(&m, "blk.3.ffn_down_exps.weight")->counts[5] == 633);
    assert_null(imatrix_find(&m, "blk.5.attn_q_a.weight"));
    assert_int_equal(imatrix_write(&m, &arena, &out, &err), 0);
    assert_int_equal(out.n, want.n);
    assert_memory_equal(out.p, want.p, want.n);
    free(want.p);
    imatrix_free(&m);
}

/* nano-golden.json names the file that the reference wrote from the same sums. */
static void writes_the_second_form_as_the_reference_does(void **state)
{
    (void)state;
    struct imatrix m, again;
    struct span out;
    char hex[SHA256_HEX];
    assert_int_equal(imatrix_open(&m, &io_posix, nano(), 1, &err), 0);
    assert_int_equal(imatrix_write_legacy(&m, &arena, &out, &err), 0);
    sha256_hex(out.p, out.n, hex);
    assert_string_equal(hex, "a8ff4df66001606e1ae7f24ee0f09d4e3797f313a8849d085a1f32fdc0813491");
    assert_int_equal(open_bytes(&again, out.p, out.n), 0);
    assert_true(again.legacy);
    assert_int_equal(again.n, m.n);
    assert_int_equal(again.chunk_count, 16);
    for (size_t i = 0; i < m.n; i++) {
        const struct imatrix_entry *a = &m.entries[i], *b = &again.entries[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->n_values, b->n_values);
        const uint64_t columns = a->n_values / a->slices;
        for (uint64_t k = 0; k < a->n_values; k++) {
            float x, y;
            imatrix_mean(&x, &a->values[k], 1, a->counts[k / columns]);
            imatrix_mean(&y, &b->values[k], 1, b->counts[0]);
            assert_true(x - y <= 1e-6f * x && y - x <= 1e-6f * x);
        }
    }
    imatrix_free(&again);
    imatrix_free(&m);
}

static void merging_adds_sums_and_counts(void **state)
{
    (void)state;
    struct imatrix parts[2], sum;
    const char *paths[] = {nano(), nano()};
    for (int i = 0; i < 2; i++)
        assert_int_equal(imatrix_open(&parts[i], &io_posix, nano(), 1, &err), 0);
    assert_int_equal(imatrix_merge(&sum, parts, paths, 2, 0, &err), 0);
    assert_int_equal(sum.n, 72);
    assert_int_equal(sum.chunk_count, 32);
    assert_int_equal(sum.n_datasets, 1);
    const struct imatrix_entry *a = imatrix_find(&parts[0], "blk.2.ffn_up_exps.weight");
    const struct imatrix_entry *b = imatrix_find(&sum, "blk.2.ffn_up_exps.weight");
    for (uint64_t k = 0; k < a->n_values; k++)
        assert_true(b->values[k] == a->values[k] + a->values[k]);
    assert_true(b->counts[15] == 2 * a->counts[15]);
    imatrix_free(&sum);
    /* One file alone comes out as it is. */
    struct span out;
    struct test_bytes want = test_read(nano());
    assert_int_equal(imatrix_merge(&sum, parts, paths, 1, 0, &err), 0);
    assert_int_equal(imatrix_write(&sum, &arena, &out, &err), 0);
    assert_memory_equal(out.p, want.p, want.n);
    free(want.p);
    imatrix_free(&sum);
    imatrix_free(&parts[0]);
    imatrix_free(&parts[1]);
}

static void both_forms_merge(void **state)
{
    (void)state;
    struct imatrix parts[2], sum;
    const char *paths[] = {"a", "b"};
    struct span out;
    assert_int_equal(imatrix_open(&parts[0], &io_posix, nano(), 1, &err), 0);
    assert_int_equal(imatrix_write_legacy(&parts[0], &arena, &out, &err), 0);
    assert_int_equal(open_bytes(&parts[1], out.p, out.n), 0);
    /* Experts: the second form has one count for all of them, so the shapes differ. */
    assert_int_equal(imatrix_merge(&sum, parts, paths, 2, 0, &err), -1);
    assert_string_equal(err.tag, "IMATRIX_SHAPE");
    prep_error_clear(&err);
    assert_int_equal(imatrix_merge(&sum, &parts[1], paths, 1, 512, &err), 0);
    assert_true(imatrix_find(&sum, "blk.0.attn_q_a.weight")->counts[0] == 16 * 512);
    imatrix_free(&sum);
    imatrix_free(&parts[0]);
    imatrix_free(&parts[1]);
}

static void merging_refuses_another_model(void **state)
{
    (void)state;
    struct imatrix parts[2] = {0}, sum;
    const char *paths[] = {"a", "b"};
    float values[4] = {1, 2, 3, 4}, count = 1;
    struct imatrix_entry e[2] = {
        {.name = "x", .n_values = 4, .slices = 1, .counts = &count, .values = values},
        {.name = "x", .n_values = 2, .slices = 1, .counts = &count, .values = values}};
    for (int i = 0; i < 2; i++) {
        parts[i].entries = &e[i];
        parts[i].n = 1;
    }
    assert_int_equal(imatrix_merge(&sum, parts, paths, 2, 0, &err), -1);
    assert_string_equal(err.tag, "IMATRIX_SHAPE");
}

static void a_slice_without_data_counts_as_ones(void **state)
{
    (void)state;
    float values[2] = {6, 9}, out[2];
    const float counts[] = {3, 0};
    struct imatrix_entry e = {.name = "x", .n_values = 2, .slices = 2, .counts = counts};
    struct imatrix m = {.entries = &e, .n = 1};
    imatrix_mean(out, values, 2, 3);
    assert_true(out[0] == 2 && out[1] == 3);
    imatrix_mean(values, values, 2, 0);
    assert_true(values[0] == 1 && values[1] == 1);
    assert_int_equal(imatrix_empty_slices(&m, &e), 1);
}

static void refuses_what_is_no_importance_matrix(void **state)
{
    (void)state;
    struct test_bytes b = test_read(nano());
    struct imatrix m;
    struct span out;
    refuses("", 0, "IMATRIX_FORMAT");
    refuses("\0\0\0\0", 4, "IMATRIX_FORMAT");
    refuses("\xff\xff\xff\x7f____", 8, "IMATRIX_FORMAT");
    refuses("some text that is neither", 25, "IMATRIX_FORMAT");
    refuses(b.p, b.n - 100, "SHORT_DATA");
    assert_int_equal(open_bytes(&m, b.p, b.n), 0);
    prep_error_clear(&err);
    float nan = 0;
    nan = nan / nan;
    memcpy(b.p + m.entries[3].values_at + 8, &nan, 4);
    imatrix_free(&m);
    refuses(b.p, b.n, "IMATRIX_VALUE");
    memcpy(b.p + 24 + 8 + 12 + 4 + 8, "imatrip", 7);
    refuses(b.p, b.n, "IMATRIX_FORMAT");
    free(b.p);
    /* Cut anywhere, the second form is short; but for the end of the entries. */
    prep_error_clear(&err);
    assert_int_equal(imatrix_open(&m, &io_posix, nano(), 1, &err), 0);
    m.n = 2;
    assert_int_equal(imatrix_write_legacy(&m, &arena, &out, &err), 0);
    size_t whole = 0;
    for (size_t n = 0; n < out.n; n++) {
        struct imatrix cut;
        prep_error_clear(&err);
        whole += open_bytes(&cut, out.p, n) == 0;
        assert_true(err.code == PREP_OK || strcmp(err.tag, "IMATRIX_FORMAT") == 0);
        if (err.code == PREP_OK)
            imatrix_free(&cut);
    }
    assert_int_equal(whole, 1);
    imatrix_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_the_reference_file_again_byte_for_byte, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(writes_the_second_form_as_the_reference_does, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(merging_adds_sums_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(both_forms_merge, setup, teardown),
        cmocka_unit_test_setup_teardown(merging_refuses_another_model, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slice_without_data_counts_as_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_importance_matrix, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
