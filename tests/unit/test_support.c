/* SPDX-License-Identifier: MIT */
/* The tools of the tests themselves: faults must happen where they are asked for. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fault_io.h"
#include "tests/support/support.h"

static int write_file(struct fault_io *f, const char *path, const char *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    return io_write_file(&f->io, path, text, strlen(text), &err) ? (int)err.code : 0;
}

static void expect_text(const char *path, const char *text)
{
    struct test_bytes b = test_read(path);
    assert_string_equal((const char *)b.p, text);
    free(b.p);
}

static void base64_and_folders_are_compared(void **state)
{
    (void)state;
    struct test_bytes b = test_base64("aGVsbG8A/w==");
    assert_int_equal(b.n, 7);
    assert_memory_equal(b.p, "hello\0\xff", 7);
    free(b.p);

    const char *a = test_temp_dir(), *c = test_temp_dir();
    test_write(test_path("%s/x/y", a), "1", 1);
    test_write(test_path("%s/.prep/j", a), "1", 1);
    assert_non_null(test_folder_difference(a, c, ".prep"));
    test_copy_tree(test_path("%s/x", a), test_path("%s/x", c));
    assert_null(test_folder_difference(a, c, ".prep"));
    assert_non_null(test_folder_difference(a, c, NULL));
    test_write(test_path("%s/x/y", c), "2", 1);
    assert_string_equal(test_folder_difference(a, c, ".prep"),
                        test_path("%s/x/y and %s/x/y differ at byte 0: 31, 32", a, c));
}

static void random_numbers_repeat(void **state)
{
    (void)state;
    struct test_random r = {42};
    assert_int_equal(test_random_u64(&r), 0xbdd732262feb6e95u);
    for (int i = 0; i < 1000; i++)
        assert_true(test_random_below(&r, 7) < 7);
}

static void every_call_of_a_write_can_fail(void **state)
{
    (void)state;
    const char *dir = test_temp_dir(), *path = test_path("%s/file", dir);
    struct fault_io f;
    fault_io_init(&f);
    uint64_t n = 1;
    for (;; n++) {
        fault_io_fail(&f, FAULT_ANY, n, EIO);
        int rc = write_file(&f, path, "text");
        if (!f.fired)
            break;
        if (f.fired_call == FAULT_SYNC_DIR)
            continue;
        assert_int_equal(rc, PREP_EIO);
        assert_false(test_exists(path));
        assert_false(test_exists(test_path("%s.partial", path)));
    }
    assert_int_equal(n, 7);
    expect_text(path, "text");
    assert_int_equal(f.counts[FAULT_PWRITE], 1);
    assert_int_equal(f.counts[FAULT_RENAME], 1);
    fault_io_fini(&f);
}

static void interrupted_and_short_calls_are_finished(void **state)
{
    (void)state;
    const char *path = test_path("%s/file", test_temp_dir());
    struct fault_io f;
    fault_io_init(&f);
    fault_io_short(&f, FAULT_BIT(FAULT_PWRITE), 1, 1);
    assert_int_equal(write_file(&f, path, "text"), 0);
    assert_int_equal(f.counts[FAULT_PWRITE], 2);
    expect_text(path, "text");
    fault_io_fail(&f, FAULT_BIT(FAULT_PWRITE) | FAULT_BIT(FAULT_OPEN), 2, EINTR);
    assert_int_equal(write_file(&f, path, "other"), 0);
    assert_true(f.fired);
    expect_text(path, "other");
    fault_io_fini(&f);
}

static void after_a_cut_nothing_works(void **state)
{
    (void)state;
    const char *dir = test_temp_dir(), *path = test_path("%s/file", dir);
    struct fault_io f;
    fault_io_init(&f);
    fault_io_cut(&f, FAULT_BIT(FAULT_SYNC), 1);
    assert_int_equal(write_file(&f, path, "text"), PREP_EIO);
    assert_false(test_exists(path));
    /* As after kill -9: the partial file stays. */
    expect_text(test_path("%s.partial", path), "text");
    assert_int_equal(f.counts[FAULT_UNLINK], 0);
    fault_io_settle(&f, 0);
    assert_false(test_exists(test_path("%s.partial", path)));
    fault_io_fini(&f);
}

static void a_replaced_file_is_old_or_new_after_power_loss(void **state)
{
    (void)state;
    struct fault_io f;
    fault_io_init(&f);
    int n_old = 0, n_new = 0;
    for (uint64_t n = 1; n <= 7; n++)
        for (uint64_t seed = 0; seed < 8; seed++) {
            const char *path = test_path("%s/file", test_temp_dir());
            test_write(path, "old", 3);
            fault_io_cut(&f, FAULT_ANY, n);
            int rc = write_file(&f, path, "newer");
            fault_io_settle(&f, seed);
            struct test_bytes b = test_read(path);
            int is_new = strcmp((char *)b.p, "newer") == 0;
            assert_true(is_new || strcmp((char *)b.p, "old") == 0);
            assert_true(is_new || rc);
            n_new += is_new;
            n_old += !is_new;
            free(b.p);
        }
    assert_true(n_new >= 8 && n_old >= 8);
    fault_io_fini(&f);
}

static int open_new(struct fault_io *f, const char *path)
{
    int fd = f->io.open(f->io.self, path, O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    return fd;
}

static void unsynced_bytes_names_and_sizes_are_lost(void **state)
{
    (void)state;
    const char *dir = test_temp_dir(), *path = test_path("%s/log", dir);
    test_write(test_path("%s/gone", dir), "kept", 4);
    struct fault_io f;
    fault_io_init(&f);
    fault_io_cut(&f, FAULT_ANY, UINT64_MAX);
    const struct io *io = &f.io;
    int fd = open_new(&f, path);
    assert_int_equal(io->pwrite(io->self, fd, "durable", 7, 0), 7);
    assert_int_equal(io->sync(io->self, fd), 0);
    assert_int_equal(io->sync_dir(io->self, dir), 0);
    assert_int_equal(io->pwrite(io->self, fd, "XXX", 3, 2), 3);
    assert_int_equal(io->pwrite(io->self, fd, "tail", 4, 7), 4);
    assert_true(io->allocate(io->self, fd, 4096) >= 0);
    assert_int_equal(io->truncate(io->self, fd, 3), 0);
    assert_int_equal(io->close(io->self, fd), 0);
    assert_int_equal(io->mkdir(io->self, test_path("%s/sub", dir), 0777), 0);
    fd = open_new(&f, test_path("%s/sub/file", dir));
    assert_int_equal(io->close(io->self, fd), 0);
    assert_int_equal(io->unlink(io->self, test_path("%s/gone", dir)), 0);
    assert_int_equal(io->rename(io->self, path, test_path("%s/log2", dir)), 0);
    fault_io_settle(&f, 0);
    expect_text(path, "durable");
    expect_text(test_path("%s/gone", dir), "kept");
    assert_false(test_exists(test_path("%s/log2", dir)));
    assert_false(test_exists(test_path("%s/sub", dir)));
    fault_io_fini(&f);
}

static void a_write_may_survive_the_one_before_it(void **state)
{
    (void)state;
    int seen[4] = {0, 0, 0, 0};
    struct fault_io f;
    fault_io_init(&f);
    for (uint64_t seed = 1; seed < 40; seed++) {
        const char *path = test_path("%s/file", test_temp_dir());
        test_write(path, "..", 2);
        fault_io_cut(&f, FAULT_ANY, UINT64_MAX);
        int fd = open_new(&f, path);
        assert_int_equal(f.io.pwrite(f.io.self, fd, "a", 1, 0), 1);
        assert_int_equal(f.io.pwrite(f.io.self, fd, "b", 1, 1), 1);
        f.io.close(f.io.self, fd);
        fault_io_settle(&f, seed);
        struct test_bytes b = test_read(path);
        seen[(b.p[0] == 'a') + 2 * (b.p[1] == 'b')]++;
        free(b.p);
    }
    for (int i = 0; i < 4; i++)
        assert_true(seen[i] > 0);
    fault_io_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_and_folders_are_compared),
        cmocka_unit_test(random_numbers_repeat),
        cmocka_unit_test(every_call_of_a_write_can_fail),
        cmocka_unit_test(interrupted_and_short_calls_are_finished),
        cmocka_unit_test(after_a_cut_nothing_works),
        cmocka_unit_test(a_replaced_file_is_old_or_new_after_power_loss),
        cmocka_unit_test(unsynced_bytes_names_and_sizes_are_lost),
        cmocka_unit_test(a_write_may_survive_the_one_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
