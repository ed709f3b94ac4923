/* SPDX-License-Identifier: MIT */
/* Computed checkpoints and the sink around them. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/store/executor.h"
#include "libprep/store/layout.h"
#include "libprep/store/synth.h"
#include "tests/support/support.h"

enum { N_SHARDS = 3, TENSORS_PER_SHARD = 4 };

static struct prep_error err;

#define ok(call)                                                                                   \
    do {                                                                                           \
        if (call)                                                                                  \
            fail_msg("%s: %s", err.tag, err.msg);                                                  \
    } while (0)

/* Three shards of four tensors, none of them a multiple of a page. */
static struct synth *small_store(const char *dir)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_BF16, DTYPE_U8};
    struct synth *s = NULL;
    ok(synth_new(&s, dir, &err));
    ok(synth_add_text(s, "config.json", "{}\n", 3, &err));
    for (int i = 0; i < N_SHARDS; i++) {
        char names[TENSORS_PER_SHARD][48], shard[64];
        struct tensor_info t[TENSORS_PER_SHARD] = {0};
        for (int k = 0; k < TENSORS_PER_SHARD; k++) {
            snprintf(names[k], sizeof names[k], "layers.%d.part%d", i, k);
            t[k] = (struct tensor_info){.name = names[k],
                                        .shape = {(uint64_t)(97 + 10 * i), (uint64_t)(131 + k)},
                                        .n_dims = 2,
                                        .dtype = (uint8_t)dtypes[k]};
            if (tensor_bytes(dtypes[k], t[k].shape, 2, &t[k].bytes))
                fail_msg("overflow");
        }
        snprintf(shard, sizeof shard, "model-%05d-of-%05d.safetensors", i + 1, N_SHARDS);
        ok(synth_add_shard(s, shard, t, TENSORS_PER_SHARD, &err));
    }
    ok(synth_add_index(s, &err));
    return s;
}

static void reads_the_same_bytes_at_any_offset_and_length(void **state)
{
    (void)state;
    struct test_random r;
    unsigned char whole[20000], part[20000];
    test_random_init(&r);
    for (uint64_t base = 0; base < 3; base++) {
        uint64_t from = base * UINT64_C(0x123456789abc), seed = synth_seed("x", 1);
        synth_bytes(whole, seed, from, sizeof whole);
        for (int i = 0; i < 2000; i++) {
            size_t at = (size_t)test_random_below(&r, sizeof whole);
            size_t n = (size_t)test_random_below(&r, sizeof whole - at + 1);
            if (i & 1 && n > 40)
                n %= 40;
            memset(part, 0xff, sizeof part);
            synth_bytes(part, seed, from + at, n);
            assert_memory_equal(part, whole + at, n);
            if (n < sizeof part)
                assert_int_equal(part[n], 0xff);
        }
    }
}

static void every_word_says_where_it_belongs(void **state)
{
    (void)state;
    enum { WORDS = 1 << 15 };
    struct name_table seen = {0};
    unsigned char *bytes = malloc((size_t)WORDS * 8 * 2);
    char(*keys)[17] = malloc((size_t)WORDS * 2 * sizeof *keys);
    assert_true(bytes && keys);
    synth_bytes(bytes, synth_seed("model.a", 7), 0, (size_t)WORDS * 8);
    synth_bytes(bytes + (size_t)WORDS * 8, synth_seed("model.b", 7), 0, (size_t)WORDS * 8);
    ok(name_table_init(&seen, (size_t)WORDS * 2, &err));
    for (uint32_t i = 0; i < WORDS * 2; i++) {
        uint32_t old;
        snprintf(keys[i], sizeof keys[i], "%016llx", (unsigned long long)load_le64(bytes + 8 * i));
        ok(name_table_add(&seen, keys[i], 16, i, &old, &err));
        assert_int_equal(old, NAME_NONE);
    }
    name_table_free(&seen);
    free(keys);
    free(bytes);
}

static void data_are_finite_numbers(void **state)
{
    (void)state;
    unsigned char bytes[65536];
    synth_bytes(bytes, synth_seed("x", 1), 0, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i += 4) {
        uint32_t bits = load_le32(bytes + i);
        float f;
        memcpy(&f, &bits, 4);
        assert_true(isfinite(f));
        assert_int_not_equal((bits & 0x7f80), 0x7f80); /* the lower BF16 */
        assert_int_not_equal((bits & 0x7c00), 0x7c00); /* the lower F16 */
        assert_int_not_equal(bytes[i] & 0x7f, 0x7f);   /* E4M3 */
    }
}

static void opens_as_a_checkpoint(void **state)
{
    (void)state;
    struct synth *s = small_store("/synth/source/");
    struct checkpoint *ckpt = NULL;
    struct report report;
    report_init(&report);
    ok(checkpoint_open(&ckpt, synth_io(s), "/synth/source", &report, &err));
    assert_int_equal(report.n_warnings, 0);
    assert_int_equal(ckpt->n_shards, N_SHARDS);
    assert_int_equal(ckpt->n_tensors, N_SHARDS * TENSORS_PER_SHARD);
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const struct checkpoint_tensor *t = &ckpt->tensors[i];
        unsigned char got[3000], want[3000];
        ok(checkpoint_read(ckpt, t, 1001, got, sizeof got, &err));
        synth_bytes(want, synth_seed(t->info.name, strlen(t->info.name)), 1001, sizeof want);
        assert_memory_equal(got, want, sizeof got);
    }
    struct synth_stats stats;
    synth_stats(s, &stats);
    assert_int_equal(stats.open, 0);
    assert_true(stats.most_open > 0);
    checkpoint_close(ckpt);
    report_fini(&report);
    synth_free(s);
}

static struct plan *copy_plan(const struct checkpoint *ckpt, struct view *v)
{
    struct plan *plan = NULL;
    view_init(v);
    v->sources[v->n_sources++] = ckpt;
    for (uint32_t i = 0; i < ckpt->n_tensors; i++)
        ok(view_add(v, 0, i, ckpt->tensors[i].info.name, NULL, 0, i, i, &err));
    ok(view_finish(v, &err));
    ok(plan_new(&plan, "test", "0", &err));
    struct layout l = {.view = v, .index = ckpt->index_text, .shard_bytes = 100000};
    ok(plan_add_checkpoint(plan, ckpt, &l.first_source[0], &err));
    ok(layout_plan(plan, &l, NULL, &err));
    ok(plan_finish(plan, &err));
    return plan;
}

static void copies_to_a_real_folder_with_equal_tensors(void **state)
{
    (void)state;
    struct synth *s = small_store("/synth/source");
    struct checkpoint *ckpt = NULL, *copy = NULL;
    struct view v;
    struct exec_result result;
    const char *dir = test_path("%s/out", test_temp_dir());
    ok(checkpoint_open(&ckpt, synth_io(s), "/synth/source", NULL, &err));
    struct plan *plan = copy_plan(ckpt, &v);
    struct exec_options opt = {.io = &io_posix, .dir = dir, .n_threads = 2, .block_bytes = 4096};
    ok(plan_execute(plan, &opt, &result, &err));
    ok(checkpoint_open(&copy, &io_posix, dir, NULL, &err));
    assert_int_equal(copy->n_tensors, ckpt->n_tensors);
    assert_true(copy->n_shards > 1);
    for (size_t i = 0; i < copy->n_tensors; i++) {
        const struct checkpoint_tensor *t = &copy->tensors[i];
        size_t n = (size_t)t->info.bytes;
        unsigned char *got = malloc(2 * n), *want = got + n;
        assert_non_null(got);
        ok(checkpoint_read(copy, t, 0, got, n, &err));
        synth_bytes(want, synth_seed(t->info.name, strlen(t->info.name)), 0, n);
        assert_memory_equal(got, want, n);
        free(got);
    }
    checkpoint_close(copy);
    plan_free(plan);
    view_fini(&v);
    checkpoint_close(ckpt);
    synth_free(s);
}

struct watcher {
    uint64_t left; /* bytes let through before writes fail; 0: all */
    uint64_t bytes;
};

static int watch(void *arg, const char *path, uint64_t offset, const void *bytes, size_t n)
{
    struct watcher *w = arg;
    (void)offset, (void)bytes;
    if (!strstr(path, ".safetensors.partial"))
        return 0;
    uint64_t before = __atomic_fetch_add(&w->bytes, n, __ATOMIC_RELAXED);
    return w->left && before + n > w->left ? -ENOSPC : 0;
}

static void runs_a_plan_into_the_sink(void **state)
{
    (void)state;
    struct synth *s = small_store("/synth/source");
    struct checkpoint *ckpt = NULL;
    struct view v;
    struct exec_result result;
    struct watcher w = {0};
    ok(checkpoint_open(&ckpt, synth_io(s), "/synth/source", NULL, &err));
    struct plan *plan = copy_plan(ckpt, &v);
    struct exec_options opt = {.io = synth_io(s), .dir = "/synth/out", .block_bytes = 4096};
    synth_watch(s, watch, &w);
    ok(plan_execute(plan, &opt, &result, &err));
    assert_true(result.finished);
    uint64_t shards = 0;
    for (size_t i = 0; i < plan->n_files; i++)
        if (plan->files[i].stage == PLAN_SHARD)
            shards += (plan->files[i].bytes + 4095) / 4096 * 4096; /* direct I/O */
    assert_int_equal(w.bytes, shards);

    struct arena a;
    struct span text;
    char **names;
    size_t n;
    arena_init(&a, 0);
    ok(io_read_file(synth_io(s), "/synth/out/" EXEC_MANIFEST, 1 << 20, &a, &text, &err));
    assert_non_null(strstr((const char *)text.p, "layers.2.part3"));
    ok(io_list_sorted(synth_io(s), "/synth/out", &a, &names, &n, &err));
    assert_int_equal(n, plan->n_files + 1);
    assert_string_equal(names[n - 1], EXEC_MANIFEST);
    arena_fini(&a);

    w = (struct watcher){.left = 100000};
    opt.dir = "/synth/full";
    assert_int_equal(plan_execute(plan, &opt, &result, &err), -1);
    assert_int_equal(err.code, PREP_ECREATE);
    assert_int_equal(err.sys, ENOSPC);
    prep_error_clear(&err);
    plan_free(plan);
    view_fini(&v);
    checkpoint_close(ckpt);
    synth_free(s);
}

static void keeps_small_files_and_swallows_large_ones(void **state)
{
    (void)state;
    struct synth *s = small_store("/synth/source");
    const struct io *io = synth_io(s);
    struct io_stat st;
    unsigned char buf[16] = {0};
    int fd = io->open(io->self, "/synth/a", O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    assert_int_equal(io->pwrite(io->self, fd, "middle", 6, 4), 6);
    assert_int_equal(io->pread(io->self, fd, buf, sizeof buf, 0), 10);
    assert_memory_equal(buf, "\0\0\0\0middle", 10);
    assert_int_equal(io->truncate(io->self, fd, 6), 0);
    assert_int_equal(io->allocate(io->self, fd, 8), 0);
    assert_int_equal(io->pread(io->self, fd, buf, sizeof buf, 3), 5);
    assert_memory_equal(buf, "\0mi\0\0", 5);

    uint64_t big = UINT64_C(5000000000);
    assert_int_equal(io->pwrite(io->self, fd, "end", 3, big), 3);
    assert_int_equal(io->fstat(io->self, fd, &st), 0);
    assert_int_equal(st.size, big + 3);
    assert_int_equal(io->pread(io->self, fd, buf, 1, 0), -EIO);
    assert_int_equal(io->close(io->self, fd), 0);
    assert_int_equal(io->close(io->self, fd), -EBADF);
    assert_int_equal(io->pread(io->self, fd, buf, 1, 0), -EBADF);

    fd = io->open(io->self, "/synth/a", O_RDWR | O_TRUNC, 0666);
    assert_int_equal(io->pwrite(io->self, fd, "again", 5, 0), 5);
    assert_int_equal(io->pread(io->self, fd, buf, sizeof buf, 0), 5);
    io->close(io->self, fd);
    synth_free(s);
}

static void names_behave_as_in_a_file_system(void **state)
{
    (void)state;
    struct synth *s = small_store("/synth/source");
    const struct io *io = synth_io(s);
    struct io_stat a, b;
    assert_int_equal(io->open(io->self, "/synth/none/a", O_RDWR | O_CREAT, 0666), -ENOENT);
    assert_int_equal(io->open(io->self, "/synth/source/config.json", O_RDWR, 0), -EACCES);
    assert_int_equal(io->open(io->self, "/synth/source/new", O_RDWR | O_CREAT, 0), -EACCES);
    assert_int_equal(io->unlink(io->self, "/synth/source/config.json"), -EACCES);
    assert_int_equal(io->mkdir(io->self, "/synth/d/", 0777), 0);
    assert_int_equal(io->mkdir(io->self, "/synth/d", 0777), -EEXIST);
    int fd = io->open(io->self, "/synth/d/x.partial", O_RDWR | O_CREAT | O_EXCL, 0666);
    assert_int_equal(io->lock(io->self, fd, 1), 0);
    assert_int_equal(io->sync(io->self, fd), 0);
    assert_int_equal(io->copy_range(io->self, fd, 0, fd, 0, 0), -EXDEV);
    assert_int_equal(io->fstat(io->self, fd, &a), 0);
    assert_int_equal(io->rename(io->self, "/synth/d/x.partial", "/synth/d/x"), 0);
    assert_int_equal(io->stat(io->self, "/synth/d/x.partial", &b), -ENOENT);
    assert_int_equal(io->stat(io->self, "/synth//d/x", &b),
                     -ENOENT); /* paths are compared as text */
    assert_int_equal(io->stat(io->self, "/synth/d/x", &b), 0);
    assert_true(a.ino == b.ino && a.dev == b.dev);
    assert_int_equal(io->sync_dir(io->self, "/synth/d"), 0);
    assert_int_equal(io->rmdir(io->self, "/synth/d"), -ENOTEMPTY);
    assert_int_equal(io->unlink(io->self, "/synth/d"), -EISDIR);
    assert_int_equal(io->unlink(io->self, "/synth/d/x"), 0);
    assert_int_equal(io->rmdir(io->self, "/synth/d"), 0);
    assert_int_equal(io->stat(io->self, "/synth/d", &b), -ENOENT);
    io->close(io->self, fd);
    synth_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_same_bytes_at_any_offset_and_length),
        cmocka_unit_test(every_word_says_where_it_belongs),
        cmocka_unit_test(data_are_finite_numbers),
        cmocka_unit_test(opens_as_a_checkpoint),
        cmocka_unit_test(copies_to_a_real_folder_with_equal_tensors),
        cmocka_unit_test(runs_a_plan_into_the_sink),
        cmocka_unit_test(keeps_small_files_and_swallows_large_ones),
        cmocka_unit_test(names_behave_as_in_a_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
