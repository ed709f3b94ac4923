/* SPDX-License-Identifier: MIT */
/* Files and tensors read again, on two small checkpoints of random bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/store/verify.h"
#include "tests/support/support.h"

enum { N_TENSORS = 5, ROWS = 40, ROW_BYTES = 13 * 2 };

static const size_t blocks[] = {1, 7, 64, 4096};
static const int threads[] = {1, 7};

struct world {
    const char *dir;
    struct checkpoint *ckpt;
    struct test_bytes file; /* model.safetensors as a whole */
    struct prep_error err;
};

static struct world a, b;

/* Tensors of odd sizes, one empty, one with rows to gather. */
static void write_checkpoint(const char *dir, uint64_t seed)
{
    struct tensor_info t[N_TENSORS] = {
        {.name = "rows", .shape = {ROWS, 13}, .n_dims = 2, .dtype = DTYPE_BF16},
        {.name = "empty", .shape = {0, 5}, .n_dims = 2, .dtype = DTYPE_BF16},
        {.name = "one", .shape = {1}, .n_dims = 1, .dtype = DTYPE_U8},
        {.name = "long", .shape = {9001}, .n_dims = 1, .dtype = DTYPE_U8},
        {.name = "last", .shape = {3}, .n_dims = 1, .dtype = DTYPE_U8},
    };
    struct test_random random = {seed};
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    struct span header;
    uint64_t data = 0;
    arena_init(&arena, 0);
    for (int i = 0; i < N_TENSORS; i++) {
        assert_int_equal(tensor_bytes((enum dtype)t[i].dtype, t[i].shape, t[i].n_dims, &t[i].bytes),
                         0);
        data += t[i].bytes;
    }
    assert_int_equal(safetensors_layout(t, N_TENSORS, NULL, 0, &arena, &header, &err), 0);
    unsigned char *file = malloc(header.n + data);
    assert_non_null(file);
    memcpy(file, header.p, header.n);
    for (uint64_t i = 0; i < data; i++)
        file[header.n + i] = (unsigned char)test_random_u64(&random);
    test_write(test_path("%s/model.safetensors", dir), file, header.n + data);
    test_write(test_path("%s/config.json", dir), "{}\n", 3);
    free(file);
    arena_fini(&arena);
}

static void open_world(struct world *w, uint64_t seed)
{
    *w = (struct world){.dir = test_temp_dir()};
    write_checkpoint(w->dir, seed);
    assert_int_equal(checkpoint_open(&w->ckpt, &io_posix, w->dir, NULL, &w->err), 0);
    w->file = test_read(test_path("%s/model.safetensors", w->dir));
}

static int setup(void **state)
{
    open_world(&a, 1);
    open_world(&b, 1);
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    checkpoint_close(a.ckpt);
    checkpoint_close(b.ckpt);
    free(a.file.p);
    free(b.file.p);
    (void)state;
    return 0;
}

static const unsigned char *data_of(const struct world *w, const struct tensor_info *t)
{
    return w->file.p + t->offset;
}

static void assert_same_hash(struct hash128 x, struct hash128 y)
{
    assert_true(x.hi == y.hi && x.lo == y.lo);
}

static void check_files(const struct verify_options *opt)
{
    struct file_hash files[2] = {{.wanted = 1}, {.wanted = 0}};
    struct hash128 tensors[N_TENSORS];
    char want[SHA256_HEX], got[SHA256_HEX];
    assert_int_equal(a.ckpt->n_files, 2);
    assert_int_equal(verify_files(files, tensors, a.ckpt, opt, &a.err), 0);
    sha256_hex(a.file.p, a.file.n, want);
    sha256_to_hex(files[0].sha256, got);
    assert_string_equal(got, want);
    for (size_t i = 0; i < N_TENSORS; i++) {
        const struct tensor_info *t = &a.ckpt->tensors[i].info;
        assert_same_hash(tensors[i], hash128(data_of(&a, t), t->bytes));
    }
    for (size_t i = 0; i < SHA256_BYTES; i++)
        assert_int_equal(files[1].sha256[i], 0); /* not wanted */
}

static void a_file_and_its_tensors_are_hashed_in_one_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        check_files(&(struct verify_options){.n_threads = 2, .block_bytes = blocks[i]});
    check_files(&(struct verify_options){.mem = 1});
}

/* The view: rows gathered under another name, everything else whole. */
static void open_view(struct view *v)
{
    static const int rows[] = {0, 1, 2, 5, 7, 8, 38, 39};
    view_init(v);
    v->sources[0] = a.ckpt;
    v->n_sources = 1;
    for (uint32_t i = 0; i < N_TENSORS; i++) {
        const char *name = a.ckpt->tensors[i].info.name;
        int gather = strcmp(name, "rows") == 0;
        assert_int_equal(view_add(v, 0, i, gather ? "fewer" : name, gather ? rows : NULL,
                                  gather ? sizeof rows / sizeof *rows : 0, i, i, &a.err),
                         0);
    }
    assert_int_equal(view_finish(v, &a.err), 0);
}

static struct hash128 gathered_hash(const struct view_tensor *t)
{
    unsigned char out[ROWS * ROW_BYTES];
    const unsigned char *from = data_of(&a, &a.ckpt->tensors[t->tensor].info);
    for (uint32_t i = 0; i < t->n_rows; i++)
        memcpy(out + i * ROW_BYTES, from + (size_t)t->rows[i] * ROW_BYTES, ROW_BYTES);
    return hash128(out, t->n_rows * (size_t)ROW_BYTES);
}

static void rows_are_gathered_across_blocks_of_any_size(void **state)
{
    struct view v;
    struct verify_pair pairs[N_TENSORS];
    (void)state;
    open_view(&v);
    for (size_t k = 0; k < 2 * sizeof blocks / sizeof *blocks; k++) {
        const struct verify_options opt = {.n_threads = threads[k % 2],
                                           .block_bytes = blocks[k / 2]};
        for (size_t i = 0; i < N_TENSORS; i++)
            pairs[i] = (struct verify_pair){.a = &v.tensors[i]};
        assert_int_equal(verify_pairs(pairs, N_TENSORS, &v, NULL, &opt, &a.err), 0);
        for (size_t i = 0; i < N_TENSORS; i++) {
            const struct view_tensor *t = pairs[i].a;
            const struct tensor_info *whole = &a.ckpt->tensors[t->tensor].info;
            assert_same_hash(pairs[i].a_hash, t->rows ? gathered_hash(t)
                                                      : hash128(data_of(&a, whole), whole->bytes));
        }
    }
    view_fini(&v);
}

/* Pairs of everything in a, as it is, with what b calls the same. */
static void open_pairs(struct view *v, struct verify_pair pairs[N_TENSORS])
{
    view_init(v);
    v->sources[0] = a.ckpt;
    v->n_sources = 1;
    for (uint32_t i = 0; i < N_TENSORS; i++)
        assert_int_equal(view_add(v, 0, i, a.ckpt->tensors[i].info.name, NULL, 0, i, i, &a.err), 0);
    assert_int_equal(view_finish(v, &a.err), 0);
    for (size_t i = 0; i < N_TENSORS; i++)
        pairs[i] = (struct verify_pair){.a = &v->tensors[i],
                                        .b = checkpoint_find(b.ckpt, v->tensors[i].info.name)};
}

static void reopen_b(void)
{
    test_write(test_path("%s/model.safetensors", b.dir), b.file.p, b.file.n);
    checkpoint_close(b.ckpt);
    assert_int_equal(checkpoint_open(&b.ckpt, &io_posix, b.dir, NULL, &b.err), 0);
}

static void the_first_byte_that_differs_is_found(void **state)
{
    struct view v;
    struct verify_pair pairs[N_TENSORS];
    (void)state;
    uint64_t at = checkpoint_find(b.ckpt, "long")->info.offset + 4097;
    b.file.p[at] ^= 0x10;
    b.file.p[at + 500] ^= 1;
    reopen_b();
    open_pairs(&v, pairs);
    for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++) {
        const struct verify_options opt = {.n_threads = 3, .block_bytes = blocks[k]};
        assert_int_equal(verify_pairs(pairs, N_TENSORS, &v, b.ckpt, &opt, &a.err), 0);
        for (size_t i = 0; i < N_TENSORS; i++) {
            int changed = strcmp(pairs[i].a->info.name, "long") == 0;
            assert_true(pairs[i].difference == (changed ? 4097 : VERIFY_EQUAL));
            assert_int_equal(pairs[i].a_hash.lo != pairs[i].b_hash.lo, changed);
        }
    }
    view_fini(&v);
}

static void a_source_that_changed_is_refused(void **state)
{
    struct file_hash files[2] = {{.wanted = 1}, {.wanted = 1}};
    struct hash128 tensors[N_TENSORS];
    const struct verify_options opt = {0};
    (void)state;
    test_write(test_path("%s/model.safetensors", a.dir), a.file.p, a.file.n - 1);
    assert_int_equal(verify_files(files, tensors, a.ckpt, &opt, &a.err), -1);
    assert_int_equal(a.err.code, PREP_EDATA);
    assert_string_equal(a.err.tag, "SOURCE_CHANGED");
}

static void pairs_of_unequal_sizes_are_our_own_fault(void **state)
{
    struct view v;
    struct verify_pair pairs[N_TENSORS];
    const struct verify_options opt = {0};
    (void)state;
    open_pairs(&v, pairs);
    pairs[0].b = checkpoint_find(b.ckpt, "last");
    pairs[0].a = &v.tensors[0];
    assert_int_equal(verify_pairs(pairs, 1, &v, b.ckpt, &opt, &a.err), -1);
    assert_int_equal(a.err.code, PREP_EBUG);
    view_fini(&v);
}

static void a_signal_stops_it(void **state)
{
    struct file_hash files[2] = {{.wanted = 1}, {.wanted = 1}};
    struct hash128 tensors[N_TENSORS];
    const volatile sig_atomic_t stop = 1;
    const struct verify_options opt = {.stop = &stop};
    (void)state;
    assert_int_equal(verify_files(files, tensors, a.ckpt, &opt, &a.err), -1);
    assert_int_equal(a.err.code, PREP_ESTOPPED);
}

static void count_calls(void *arg, const struct progress *p)
{
    struct progress *last = arg;
    assert_true(p->done_bytes >= last->done_bytes);
    *last = *p;
}

static void progress_ends_at_the_total(void **state)
{
    struct file_hash files[2] = {{.wanted = 1}, {.wanted = 1}};
    struct hash128 tensors[N_TENSORS];
    struct progress last = {0};
    const struct verify_options opt = {
        .n_threads = 2, .block_bytes = 512, .progress = count_calls, .progress_arg = &last};
    (void)state;
    assert_int_equal(verify_files(files, tensors, a.ckpt, &opt, &a.err), 0);
    assert_true(last.total_bytes == a.file.n + 3);
    assert_true(last.done_bytes == last.total_bytes);
    assert_true(last.done_files == 2 && last.total_files == 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_and_its_tensors_are_hashed_in_one_read),
        TEST(rows_are_gathered_across_blocks_of_any_size),
        TEST(the_first_byte_that_differs_is_found),
        TEST(a_source_that_changed_is_refused),
        TEST(pairs_of_unequal_sizes_are_our_own_fault),
        TEST(a_signal_stops_it),
        TEST(progress_ends_at_the_total),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
