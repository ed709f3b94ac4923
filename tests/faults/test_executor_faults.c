/* SPDX-License-Identifier: MIT */
/*
 * Every call fails once, the power fails at every call: the executor on the small world.
 *
 * After each fault: the exit code says what kind it was, no file with a final name is
 * incomplete, and the same run started again ends with the right bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/store/executor.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/plan_world.h"

/* One lane and one block at a time, a record after every block: as many edges as there can be. */
static struct exec_options options(const struct io *io, const char *dir, int n_threads)
{
    return (struct exec_options){.io = io,
                                 .dir = dir,
                                 .n_threads = n_threads,
                                 .block_bytes = 4096,
                                 .sync_bytes = 4096,
                                 .mem = 4 << 20};
}

static int run(const struct plan_world *w, const struct io *io, const char *dir, int n_threads,
               struct prep_error *err)
{
    struct exec_options opt = options(io, dir, n_threads);
    struct exec_result result;
    *err = (struct prep_error)PREP_ERROR_INIT;
    return plan_execute(w->plan, &opt, &result, err);
}

static void expect_sound(const struct plan_world *w, const char *dir, const char *what, uint64_t n)
{
    const char *fault = plan_world_check_unfinished(w, dir);
    if (fault)
        fail_msg("%s %llu: %s", what, (unsigned long long)n, fault);
}

static void expect_resumes(const struct plan_world *w, const char *dir, const char *what,
                           uint64_t n)
{
    struct prep_error err;
    if (run(w, &io_posix, dir, 2, &err))
        fail_msg("%s %llu: the next run fails: %s: %s", what, (unsigned long long)n, err.tag,
                 err.msg);
    const char *fault = plan_world_check(w, dir);
    if (fault)
        fail_msg("%s %llu: %s", what, (unsigned long long)n, fault);
}

/* Advice is only advice, and what only looks or closes may fail silently. */
static unsigned kinds(void)
{
    return FAULT_ANY &
           ~(FAULT_BIT(FAULT_ADVISE) | FAULT_BIT(FAULT_COPY_RANGE) | FAULT_BIT(FAULT_CLOSE));
}

static void every_failing_call_is_reported_and_resumed_from(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EACCES};
    struct plan_world w;
    struct fault_io f;
    fault_io_init(&f);
    plan_world_init(&w, &f.io, 11);
    for (uint64_t n = 1;; n++) {
        const char *dir = test_path("%s/out", test_temp_dir());
        struct prep_error err;
        fault_io_fail(&f, kinds(), n, errors[n % 4]);
        int rc = run(&w, &f.io, dir, 1, &err);
        if (!f.fired) {
            assert_int_equal(rc, 0);
            assert_true(n > 200);
            break;
        }
        /* A stat that fails, say, may only cost a repetition. */
        if (rc) {
            int code = prep_exit_code(err.code);
            if (code != 65 && code != 66 && code != 73 && code != 74)
                fail_msg("call %llu (%s): exit code %d: %s", (unsigned long long)n,
                         fault_call_name(f.fired_call), code, err.msg);
            assert_true(strlen(err.msg) > 0);
        }
        fault_io_fail(&f, 0, 0, 0);
        expect_sound(&w, dir, "call", n);
        if (rc)
            expect_resumes(&w, dir, "call", n);
        test_remove_tree(dir);
    }
    plan_world_fini(&w);
    fault_io_fini(&f);
}

static int (*open_really)(void *self, const char *path, int flags, unsigned mode);

/* A file system without direct I/O: there a write may stop at any byte. */
static int open_buffered(void *self, const char *path, int flags, unsigned mode)
{
    return flags & O_DIRECT ? -EINVAL : open_really(self, path, flags, mode);
}

static void short_transfers_and_interrupts_change_nothing(void **state)
{
    (void)state;
    unsigned transfers = FAULT_BIT(FAULT_PREAD) | FAULT_BIT(FAULT_PWRITE);
    struct plan_world w;
    struct fault_io f;
    fault_io_init(&f);
    open_really = f.io.open;
    f.io.open = open_buffered;
    plan_world_init(&w, &f.io, 12);
    for (int mode = 0; mode < 2; mode++) {
        for (uint64_t n = 1;; n++) {
            const char *dir = test_path("%s/out", test_temp_dir());
            struct prep_error err;
            if (mode)
                fault_io_fail(&f, transfers, n, EINTR);
            else
                fault_io_short(&f, transfers, n, 1);
            if (run(&w, &f.io, dir, 1, &err))
                fail_msg("transfer %llu: %s", (unsigned long long)n, err.msg);
            assert_null(plan_world_check(&w, dir));
            test_remove_tree(dir);
            if (!f.fired)
                break;
        }
    }
    plan_world_fini(&w);
    fault_io_fini(&f);
}

/* What a kernel does when a direct write is cut short: whole sectors, never a part of one. */
static ssize_t write_some_sectors(void *self, int fd, const void *buf, size_t n, uint64_t offset)
{
    uint64_t *odd_places = self;
    (void)fd;
    (void)buf;
    *odd_places += offset % 4096 != 0;
    return n > 4096 ? (ssize_t)(n / 2 / 512 * 512) : (ssize_t)n;
}

static void direct_writes_go_on_at_aligned_places(void **state)
{
    (void)state;
    static const unsigned char zeros[1 << 16];
    uint64_t odd_places = 0;
    struct io io = io_posix;
    struct prep_error err = PREP_ERROR_INIT;
    io.self = &odd_places;
    io.pwrite = write_some_sectors;
    assert_int_equal(io_write_aligned(&io, 3, zeros, sizeof zeros, 8192, 4096, "file", &err), 0);
    assert_int_equal(odd_places, 0);
}

/* Killed (the disk keeps what was written) or without power (what was not synced is gone). */
static void cut_everywhere(unsigned mask, int power_loss)
{
    struct plan_world w;
    struct fault_io f;
    fault_io_init(&f);
    plan_world_init(&w, &f.io, 13);
    for (uint64_t n = 1;; n++) {
        const char *dir = test_path("%s/out", test_temp_dir());
        struct prep_error err;
        fault_io_cut(&f, mask, n);
        run(&w, &f.io, dir, 1 + (int)(n % 2), &err);
        int fired = f.fired;
        if (power_loss)
            fault_io_settle(&f, n % 3 ? n : 0);
        else
            fault_io_forget(&f);
        fault_io_fail(&f, 0, 0, 0);
        expect_sound(&w, dir, "cut at call", n);
        if (!fired)
            break;
        if (!test_exists(test_path("%s/%s", dir, EXEC_MANIFEST)) ||
            test_exists(test_path("%s/%s", dir, EXEC_STATE_DIR)))
            expect_resumes(&w, dir, "cut at call", n);
        test_remove_tree(dir);
    }
    plan_world_fini(&w);
    fault_io_fini(&f);
}

static void a_kill_at_every_call_is_resumed_from(void **state)
{
    (void)state;
    cut_everywhere(kinds(), 0);
}

static void a_power_loss_at_every_write_is_resumed_from(void **state)
{
    (void)state;
    cut_everywhere(FAULT_WRITES, 1);
}

/*
 * With a record whenever there is something to record, a kill costs at most what was in memory
 * (the window of each file in flight) and what was written while the last record was under way
 * (as much again); never a file.
 */
static void a_kill_costs_at_most_what_was_in_memory(void **state)
{
    (void)state;
    enum { BLOCK = 4096, WINDOW = 4, LANES = 2 };
    struct fault_io f;
    struct plan_world w;
    uint64_t worst = 0;
    fault_io_init(&f);
    plan_world_init(&w, &f.io, 14);
    for (uint64_t n = 1;; n += 3) {
        const char *dir = test_path("%s/out", test_temp_dir());
        struct exec_options opt = options(&f.io, dir, 1);
        struct exec_result before, after = {0};
        struct prep_error err = PREP_ERROR_INIT;
        opt.mem = plan_world_floor(&w);
        fault_io_cut(&f, FAULT_WRITES, n);
        if (plan_execute(w.plan, &opt, &before, &err) == 0)
            break;
        fault_io_forget(&f);
        fault_io_fail(&f, 0, 0, 0);
        prep_error_clear(&err);
        if (plan_execute(w.plan, &opt, &after, &err))
            fail_msg("kill at write %llu: %s", (unsigned long long)n, err.msg);
        assert_null(plan_world_check(&w, dir));
        uint64_t done = before.written_bytes + after.written_bytes;
        uint64_t redone = done > w.plan->output_bytes ? done - w.plan->output_bytes : 0;
        worst = redone > worst ? redone : worst;
        test_remove_tree(dir);
    }
    assert_in_range(worst, 1, LANES * 2 * WINDOW * BLOCK);
    plan_world_fini(&w);
    fault_io_fini(&f);
}

static void every_failing_allocation_is_reported_and_resumed_from(void **state)
{
    (void)state;
    struct plan_world w;
    plan_world_init(&w, &io_posix, 15);
    for (uint64_t n = 1;; n++) {
        const char *dir = test_path("%s/out", test_temp_dir());
        struct prep_error err;
        fault_alloc_at(n);
        int rc = run(&w, &io_posix, dir, 1, &err);
        uint64_t seen = fault_alloc_stop();
        if (seen < n) {
            assert_int_equal(rc, 0);
            assert_true(n > 10);
            break;
        }
        expect_sound(&w, dir, "allocation", n);
        if (rc) {
            assert_int_equal(err.code, PREP_ENOMEM);
            expect_resumes(&w, dir, "allocation", n);
        }
        test_remove_tree(dir);
    }
    plan_world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_call_is_reported_and_resumed_from),
        cmocka_unit_test(short_transfers_and_interrupts_change_nothing),
        cmocka_unit_test(direct_writes_go_on_at_aligned_places),
        cmocka_unit_test(a_kill_at_every_call_is_resumed_from),
        cmocka_unit_test(a_power_loss_at_every_write_is_resumed_from),
        cmocka_unit_test(a_kill_costs_at_most_what_was_in_memory),
        cmocka_unit_test(every_failing_allocation_is_reported_and_resumed_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
