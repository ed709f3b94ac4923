/* SPDX-License-Identifier: MIT */
/* Runs of one plan that are split by whole files, and what they take over from one another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* n_parts 0: the whole. Returns what was found done. */
static uint64_t run_part(const struct plan_world *w, const char *dir, int part, int n_parts)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct exec_result result;
    struct exec_options opt = options(dir);
    opt.part = part;
    opt.n_parts = n_parts;
    if (plan_execute(w->plan, &opt, &result, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    return result.resumed_bytes;
}

static void assemble(const struct plan_world *w, const char *dir, int n_parts)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct exec_result result;
    struct exec_options opt = options(dir);
    opt.assemble = 1;
    opt.n_parts = n_parts;
    if (plan_execute(w->plan, &opt, &result, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    assert_true(result.finished);
    assert_null(plan_world_check(w, dir));
}

static void goes_on_with_the_whole_files_of_any_other_split(void **state)
{
    (void)state;
    struct plan_world w;
    plan_world_init(&w, &io_posix, 11);
    for (int before = 1; before <= 4; before++) {
        for (int after = 0; after <= 4; after++) {
            const char *dir = test_path("%s/out", test_temp_dir());
            uint64_t found = 0;
            run_part(&w, dir, 0, before); /* the first shard is in part 0 of any */
            for (int part = 0; part < after; part++)
                found += run_part(&w, dir, part, after);
            if (after)
                assemble(&w, dir, after);
            else
                found = run_part(&w, dir, 0, 0);
            assert_true(found > 0);
            assert_null(plan_world_check(&w, dir));
        }
    }
    plan_world_fini(&w);
}

/* An interrupted run of one process: its journal is not a part's. */
static void parts_go_on_with_what_one_process_had_done(void **state)
{
    (void)state;
    struct plan_world w;
    plan_world_init(&w, &io_posix, 12);
    const char *dir = test_path("%s/out", test_temp_dir());
    run_part(&w, dir, 0, 1);
    const char *state_dir = test_path("%s/.prep", dir);
    assert_int_equal(
        rename(test_path("%s/part-0-of-1.journal", state_dir), test_path("%s/journal", state_dir)),
        0);
    uint64_t found = run_part(&w, dir, 0, 2);
    found += run_part(&w, dir, 1, 2);
    assert_true(found > 0);
    assemble(&w, dir, 2);
    plan_world_fini(&w);
}

/* As a killed run leaves it: reserved at full size, not written. */
static void leave_partial(const struct plan_world *w, const char *dir, int file)
{
    unsigned char *zeros = calloc(1, w->want[file].n);
    assert_non_null(zeros);
    test_write(test_path("%s/%s.partial", dir, w->names[file]), zeros, w->want[file].n);
    free(zeros);
}

static void a_partial_file_is_not_taken_for_another_runs_whole_one(void **state)
{
    (void)state;
    struct plan_world w;
    plan_world_init(&w, &io_posix, 13);
    const char *dir = test_path("%s/out", test_temp_dir());
    run_part(&w, dir, 0, 1);
    assert_int_equal(unlink(test_path("%s/%s", dir, w.names[0])), 0);
    leave_partial(&w, dir, 0);
    run_part(&w, dir, 0, 2);
    run_part(&w, dir, 1, 2);
    assemble(&w, dir, 2);
    plan_world_fini(&w);
}

/*
 * A whole file is lost, its run begins it again and is killed before its first record: the old
 * record must not make the new partial file a whole one.
 */
static void a_lost_file_begun_again_is_not_believed_whole(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 14);
    const char *dir = test_path("%s/out", test_temp_dir());
    run_part(&w, dir, 0, 1);
    assert_int_equal(unlink(test_path("%s/%s", dir, w.names[0])), 0);
    const volatile sig_atomic_t stop = 1;
    struct prep_error err = PREP_ERROR_INIT;
    struct exec_options opt = options(dir);
    opt.n_parts = 1;
    opt.stop = &stop;
    assert_int_equal(plan_execute(w.plan, &opt, &result, &err), -1);
    assert_int_equal(err.code, PREP_ESTOPPED);
    leave_partial(&w, dir, 0);
    run_part(&w, dir, 0, 1);
    assemble(&w, dir, 1);
    plan_world_fini(&w);
}

static void a_journal_of_another_plan_has_nothing_for_us(void **state)
{
    (void)state;
    struct plan_world w, other;
    plan_world_init(&w, &io_posix, 15);
    plan_world_init(&other, &io_posix, 16);
    const char *dir = test_path("%s/out", test_temp_dir());
    run_part(&other, dir, 0, 3);
    test_write(test_path("%s/.prep/part-1-of-9.journal", dir), "PREPJRN1 torn", 13);
    test_write(test_path("%s/.prep/part-2-of-9.journal", dir), "", 0);
    run_part(&w, dir, 0, 2);
    run_part(&w, dir, 1, 2);
    assemble(&w, dir, 2);
    plan_world_fini(&w);
    plan_world_fini(&other);
}

static void prepare(const struct plan_world *w, const struct exec_options *opt,
                    struct exec_result *result)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (plan_prepare(w->plan, opt, result, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

static void prepare_forgets_what_fresh_and_force_take_away(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 17);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = options(dir);
    run_part(&w, dir, 0, 3);
    prepare(&w, &opt, &result);
    assert_true(!result.finished && run_part(&w, dir, 0, 2) > 0);
    opt.fresh = 1;
    prepare(&w, &opt, &result);
    assert_true(run_part(&w, dir, 0, 2) == 0);
    opt.fresh = 0;
    assert_true(run_part(&w, dir, 0, 0) > 0);
    assert_null(plan_world_check(&w, dir));

    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(plan_prepare(w.plan, &opt, &result, &err), -1);
    assert_string_equal(err.tag, "OUTPUT_FINISHED");
    opt.force = 1;
    prepare(&w, &opt, &result);
    assert_false(test_exists(test_path("%s/%s", dir, EXEC_MANIFEST)));
    run_part(&w, dir, 0, 2);
    run_part(&w, dir, 1, 2);
    assemble(&w, dir, 2);
    plan_world_fini(&w);
}

/* Killed between the manifest and the end of tidying up. */
static void prepare_ends_a_run_that_was_killed_while_tidying(void **state)
{
    (void)state;
    struct plan_world w;
    struct exec_result result;
    plan_world_init(&w, &io_posix, 18);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = options(dir);
    run_part(&w, dir, 0, 0);
    test_mkdirs(test_path("%s/.prep", dir));
    prepare(&w, &opt, &result);
    assert_true(result.finished);
    assert_false(test_exists(test_path("%s/.prep", dir)));
    assert_null(plan_world_check(&w, dir));
    plan_world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_with_the_whole_files_of_any_other_split),
        cmocka_unit_test(parts_go_on_with_what_one_process_had_done),
        cmocka_unit_test(a_partial_file_is_not_taken_for_another_runs_whole_one),
        cmocka_unit_test(a_lost_file_begun_again_is_not_believed_whole),
        cmocka_unit_test(a_journal_of_another_plan_has_nothing_for_us),
        cmocka_unit_test(prepare_forgets_what_fresh_and_force_take_away),
        cmocka_unit_test(prepare_ends_a_run_that_was_killed_while_tidying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
