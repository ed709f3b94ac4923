/* SPDX-License-Identifier: MIT */
/* The executor on the small world of tests/support/plan_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libprep/store/executor.h"
#include "tests/support/plan_world.h"

static struct exec_options options(const char *dir)
{
    return (struct exec_options){
        .io = &io_posix, .dir = dir, .n_threads = 2, .block_bytes = 4096, .mem = 64 << 20};
}

static void run_ok(const struct plan_world *w, const struct exec_options *opt,
                   struct exec_result *result)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (plan_execute(w->plan, opt, result, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

static void expect(const struct plan_world *w, const struct exec_options *opt, enum prep_code code,
                   const char *tag)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct exec_result result;
    assert_int_equal(plan_execute(w->plan, opt, &result, &err), -1);
    assert_int_equal(err.code, code);
    assert_string_equal(err.tag, tag);
}

static void writes_the_same_bytes_for_any_threads_blocks_and_memory(void **state)
{
    (void)state;
    static const uint64_t blocks[] = {4096, 8192, 65536, 0};
    static const int threads[] = {1, 2, 7};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct plan_world w;
        plan_world_init(&w, &io_posix, seed);
        struct test_bytes first = {0};
        for (size_t i = 0; i < 12; i++) {
            const char *dir = test_path("%s/out", test_temp_dir());
            struct exec_options opt = options(dir);
            struct exec_result result;
            opt.block_bytes = blocks[i % 4];
            opt.n_threads = threads[i / 4];
            opt.mem = i & 1 ? 1 << 20 : 0;
            opt.sync_bytes = 4096;
            run_ok(&w, &opt, &result);
            assert_true(result.finished);
            assert_null(plan_world_check(&w, dir));
            struct test_bytes manifest = test_read(test_path("%s/%s", dir, EXEC_MANIFEST));
            if (first.p) {
                assert_int_equal(first.n, manifest.n);
                assert_memory_equal(first.p, manifest.p, first.n);
                free(manifest.p);
            } else {
                first = manifest;
            }
        }
        free(first.p);
        plan_world_fini(&w);
    }
}

static void writes_without_hashes(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 9);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = options(dir);
    opt.no_hashes = 1;
    run_ok(&w, &opt, &result);
    assert_null(plan_world_check(&w, dir));
    struct test_bytes manifest = test_read(test_path("%s/%s", dir, EXEC_MANIFEST));
    assert_null(strstr((char *)manifest.p, "sha256"));
    free(manifest.p);
    plan_world_fini(&w);
}

static void parts_give_the_bytes_of_one_run(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 5);
    for (int n = 1; n <= 7; n += 2) {
        const char *dir = test_path("%s/out", test_temp_dir());
        struct exec_options opt = options(dir);
        opt.n_parts = n;
        for (opt.part = n - 1; opt.part >= 0; opt.part--) {
            run_ok(&w, &opt, &result);
            assert_false(result.finished);
            assert_false(test_exists(test_path("%s/config.json", dir)));
        }
        opt = options(dir);
        opt.assemble = 1;
        run_ok(&w, &opt, &result);
        assert_null(plan_world_check(&w, dir));
    }
    plan_world_fini(&w);
}

static void refuses_to_assemble_before_every_part_ran(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 5);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = options(dir);
    opt.assemble = 1;
    expect(&w, &opt, PREP_ENOINPUT, "PART_INCOMPLETE");
    opt = options(dir);
    opt.n_parts = 3;
    opt.part = 1;
    run_ok(&w, &opt, &result);
    opt.assemble = 1;
    expect(&w, &opt, PREP_ENOINPUT, "");
    assert_false(test_exists(test_path("%s/config.json", dir)));
    plan_world_fini(&w);
}

static void refuses_a_finished_output_unless_forced(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 2);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = options(dir);
    run_ok(&w, &opt, &result);
    expect(&w, &opt, PREP_ECREATE, "OUTPUT_FINISHED");
    opt.force = 1;
    run_ok(&w, &opt, &result);
    assert_null(plan_world_check(&w, dir));
    plan_world_fini(&w);
}

static void refuses_its_own_input_and_strangers(void **state)
{
    (void)state;
    struct plan_world w;
    plan_world_init(&w, &io_posix, 2);
    struct exec_options opt = options(w.source_dir);
    opt.force = 1;
    expect(&w, &opt, PREP_ECREATE, "OUTPUT_IS_INPUT");
    const char *linked = test_temp_dir();
    assert_int_equal(symlink(w.files[0].path, test_path("%s/link", linked)), 0);
    opt.dir = linked;
    expect(&w, &opt, PREP_ECREATE, "OUTPUT_IS_INPUT");
    const char *other = test_temp_dir();
    test_write(test_path("%s/precious.txt", other), "x", 1);
    opt = options(other);
    expect(&w, &opt, PREP_ECREATE, "OUTPUT_IN_THE_WAY");
    opt.dir = test_path("%s/precious.txt", other);
    expect(&w, &opt, PREP_ECREATE, "OUTPUT_IN_THE_WAY");
    opt.dir = test_path("%s/no/such/parent", other);
    expect(&w, &opt, PREP_ECREATE, "");
    plan_world_fini(&w);
}

static void refuses_memory_under_the_floor(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 3);
    struct exec_options opt = options(test_path("%s/out", test_temp_dir()));
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(plan_check(w.plan, &opt, &result, &err), 0);
    opt.mem = result.floor_bytes - 1;
    expect(&w, &opt, PREP_EUSAGE, "");
    assert_false(test_exists(opt.dir));
    opt.mem = result.floor_bytes;
    opt.block_bytes = 0;
    run_ok(&w, &opt, &result);
    assert_null(plan_world_check(&w, opt.dir));
    plan_world_fini(&w);
}

static void stops_when_asked_and_goes_on(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    volatile sig_atomic_t stop = 1;
    plan_world_init(&w, &io_posix, 3);
    struct exec_options opt = options(test_path("%s/out", test_temp_dir()));
    opt.stop = &stop;
    expect(&w, &opt, PREP_ESTOPPED, "");
    stop = 0;
    run_ok(&w, &opt, &result);
    assert_null(plan_world_check(&w, opt.dir));
    plan_world_fini(&w);
}

static void refuses_a_changed_source_and_another_plan(void **state)
{
    (void)state;
    struct plan_world w, other;
    volatile sig_atomic_t stop = 1;
    plan_world_init(&w, &io_posix, 3);
    plan_world_init(&other, &io_posix, 4);
    struct exec_options opt = options(test_path("%s/out", test_temp_dir()));
    opt.stop = &stop;
    expect(&w, &opt, PREP_ESTOPPED, "");
    stop = 0;
    expect(&other, &opt, PREP_ECREATE, "JOURNAL");
    test_write(w.files[1].path, "changed", 7);
    expect(&w, &opt, PREP_EDATA, "SOURCE_CHANGED");
    opt.fresh = 1;
    struct exec_result result;
    run_ok(&other, &opt, &result);
    assert_null(plan_world_check(&other, opt.dir));
    plan_world_fini(&w);
    plan_world_fini(&other);
}

/* A table whose copy_range works, as on a file system that shares extents. */
static ssize_t copying(void *self, int in, uint64_t in_offset, int out, uint64_t out_offset,
                       size_t n)
{
    uint64_t *copied = self;
    unsigned char buf[512];
    if (n == 0)
        return 0;
    ssize_t got = pread(in, buf, n < sizeof buf ? n : sizeof buf, (off_t)in_offset);
    if (got <= 0)
        return got;
    *copied += (uint64_t)got;
    return pwrite(out, buf, (size_t)got, (off_t)out_offset);
}

static void lets_the_kernel_copy_where_it_can(void **state)
{
    (void)state;
    for (int no_hashes = 0; no_hashes < 2; no_hashes++) {
        uint64_t copied = 0;
        struct io io = io_posix;
        io.self = &copied;
        io.copy_range = copying;
        struct prep_error err = PREP_ERROR_INIT;
        struct exec_result result;
        struct plan *plan;
        struct plan_world w;
        uint32_t first, step;
        plan_world_init(&w, &io, 6);
        assert_int_equal(plan_new(&plan, "copy", "1", &err), 0);
        assert_int_equal(plan_add_checkpoint(plan, &w.ckpt, &first, &err), 0);
        struct plan_range whole = {1, 0, WORLD_SOURCE_BYTES};
        assert_int_equal(plan_add_copy(plan, &whole, 1, &step, &err), 0);
        assert_int_equal(plan_add_file(plan, "a.bin", PLAN_SIDECAR, &err), 0);
        assert_int_equal(plan_append(plan, step, WORLD_SOURCE_BYTES, &err), 0);
        assert_int_equal(plan_finish(plan, &err), 0);
        struct exec_options opt = options(test_path("%s/out", test_temp_dir()));
        opt.io = &io;
        opt.no_hashes = no_hashes;
        opt.block_bytes = 128 << 10;
        if (plan_execute(plan, &opt, &result, &err))
            fail_msg("%s", err.msg);
        assert_true(copied >= 128 << 10);
        struct test_bytes got = test_read(test_path("%s/a.bin", opt.dir));
        assert_int_equal(got.n, WORLD_SOURCE_BYTES);
        assert_memory_equal(got.p, w.source[1], got.n);
        free(got.p);
        plan_free(plan);
        plan_world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_same_bytes_for_any_threads_blocks_and_memory),
        cmocka_unit_test(writes_without_hashes),
        cmocka_unit_test(parts_give_the_bytes_of_one_run),
        cmocka_unit_test(refuses_to_assemble_before_every_part_ran),
        cmocka_unit_test(refuses_a_finished_output_unless_forced),
        cmocka_unit_test(refuses_its_own_input_and_strangers),
        cmocka_unit_test(refuses_memory_under_the_floor),
        cmocka_unit_test(stops_when_asked_and_goes_on),
        cmocka_unit_test(refuses_a_changed_source_and_another_plan),
        cmocka_unit_test(lets_the_kernel_copy_where_it_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
