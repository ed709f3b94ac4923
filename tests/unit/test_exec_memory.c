/* SPDX-License-Identifier: MIT */
/* The memory of steps: used again, given back, and never more of it than the budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "libprep/store/exec_memory.h"
#include "libprep/store/executor.h"
#include "tests/support/support.h"

enum { KIB = 1024, SOURCE_BYTES = 256 * KIB, N_CALLS = 60, N_FILES = 3, N_KINDS = 3 };

static unsigned char *take(struct exec_memory *m, uint64_t bytes)
{
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char *p = exec_memory_take(m, bytes, &err);
    assert_non_null(p);
    memset(p, 0x5A, (size_t)bytes);
    return p;
}

static void a_piece_serves_the_next_of_its_size(void **state)
{
    (void)state;
    struct exec_memory m;
    exec_memory_init(&m, 64 * KIB);
    for (int i = 0; i < 10; i++) {
        unsigned char *a = take(&m, 8 * KIB), *b = take(&m, 8 * KIB - 100);
        assert_true(a != b);
        assert_int_equal((uintptr_t)a % PLAN_PAGE, 0);
        assert_int_equal(m.mapped, 16 * KIB);
        exec_memory_give(&m, a);
        exec_memory_give(&m, b);
    }
    assert_int_equal(m.peak, 16 * KIB);
    exec_memory_fini(&m);
}

static void idle_pieces_make_room_for_other_sizes(void **state)
{
    (void)state;
    struct exec_memory m;
    struct test_random rnd = {7};
    exec_memory_init(&m, 64 * KIB);
    for (int i = 0; i < 500; i++) {
        unsigned char *a = take(&m, 1 + test_random_below(&rnd, 32 * KIB));
        unsigned char *b = take(&m, 1 + test_random_below(&rnd, 32 * KIB));
        exec_memory_give(&m, a);
        assert_true(m.mapped <= m.limit);
        exec_memory_give(&m, b);
    }
    assert_true(m.peak > 48 * KIB && m.peak <= m.limit);
    exec_memory_fini(&m);
}

static void what_is_over_the_limit_does_not_stay(void **state)
{
    (void)state;
    struct exec_memory m;
    exec_memory_init(&m, 16 * KIB);
    unsigned char *a = take(&m, 12 * KIB), *b = take(&m, 12 * KIB);
    assert_int_equal(m.mapped, 24 * KIB);
    exec_memory_give(&m, b);
    assert_int_equal(m.mapped, 12 * KIB);
    exec_memory_give(&m, a);
    assert_true(m.mapped <= 12 * KIB);
    assert_int_equal(m.peak, 24 * KIB);
    exec_memory_give(&m, NULL);
    exec_memory_fini(&m);
}

/* ---- a plan of calls ---- */

/* Calls of three kinds, like gate and up, down, and one that is mostly work. */
struct kind {
    uint64_t input, work, output[2];
};
static const struct kind kinds[N_KINDS] = {
    {200 * KIB, 30000, {50 * KIB, 7001}},
    {97 * KIB + 1, 30000, {25 * KIB, 3000}},
    {5000, 300 * KIB, {100 * KIB, 1}},
};

/* Outputs are sums that run through inputs and work, so all of the memory is used. */
static int sum_up(const struct step_memory *m, const void *arg, struct prep_error *err)
{
    const struct kind *k = arg;
    unsigned char *work = m->work;
    unsigned char sum = 0;
    (void)err;
    memset(work, 3, (size_t)k->work);
    for (uint64_t i = 0; i < k->work; i++)
        sum = (unsigned char)(sum + work[i]);
    for (int o = 0; o < 2; o++)
        for (uint64_t i = 0; i < m->output_bytes[o]; i++)
            m->outputs[o][i] = sum = (unsigned char)(sum * 5 + m->inputs[0].p[i % m->inputs[0].n]);
    return 0;
}

struct calls_world {
    struct source_file file;
    struct checkpoint ckpt;
    struct plan *plan;
    uint64_t largest; /* that a call needs */
};

static void make_source(struct calls_world *w)
{
    struct test_random rnd = {11};
    const char *path = test_path("%s/source.bin", test_temp_dir());
    unsigned char *p = malloc(SOURCE_BYTES);
    struct io_stat st;
    assert_non_null(p);
    for (size_t i = 0; i < SOURCE_BYTES; i++)
        p[i] = (unsigned char)test_random_u64(&rnd);
    test_write(path, p, SOURCE_BYTES);
    free(p);
    assert_int_equal(io_posix.stat(io_posix.self, path, &st), 0);
    w->file = (struct source_file){.name = "source.bin",
                                   .path = path,
                                   .bytes = st.size,
                                   .dev = st.dev,
                                   .ino = st.ino,
                                   .mtime_ns = st.mtime_ns};
    w->ckpt = (struct checkpoint){.io = &io_posix, .files = &w->file, .n_files = 1};
}

static void add_calls(struct calls_world *w, size_t n, struct prep_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct kind *k = &kinds[i % N_KINDS];
        const struct plan_range r = {0, i * 100, k->input};
        uint32_t step;
        assert_int_equal(plan_add_call(w->plan, sum_up, k, k->work, &r, 1, &step, err), 0);
        for (int o = 0; o < 2; o++)
            assert_int_equal(plan_append(w->plan, step, k->output[o], err), 0);
        uint64_t need = k->input + k->work + k->output[0] + k->output[1];
        if (need > w->largest)
            w->largest = need;
    }
}

static void make_plan(struct calls_world *w)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t first;
    *w = (struct calls_world){0};
    make_source(w);
    assert_int_equal(plan_new(&w->plan, "calls", "1", &err), 0);
    assert_int_equal(plan_add_checkpoint(w->plan, &w->ckpt, &first, &err), 0);
    for (int i = 0; i < N_FILES; i++) {
        assert_int_equal(plan_add_file(w->plan, test_path("%d.bin", i), PLAN_SHARD, &err), 0);
        add_calls(w, N_CALLS / N_FILES, &err);
    }
    assert_int_equal(plan_finish(w->plan, &err), 0);
}

static void run_within(const struct calls_world *w, struct exec_options opt, struct test_bytes *all)
{
    struct exec_result result;
    struct prep_error err = PREP_ERROR_INIT;
    opt.dir = test_path("%s/out", test_temp_dir());
    if (plan_execute(w->plan, &opt, &result, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    if (result.peak_bytes > opt.mem || result.peak_bytes < w->largest)
        fail_msg("held %llu bytes, %llu allowed, %llu needed by a call, %d threads",
                 (unsigned long long)result.peak_bytes, (unsigned long long)opt.mem,
                 (unsigned long long)w->largest, opt.n_threads);
    struct test_bytes manifest = test_read(test_path("%s/%s", opt.dir, EXEC_MANIFEST));
    if (all->p) {
        assert_int_equal(manifest.n, all->n);
        assert_memory_equal(manifest.p, all->p, all->n);
        free(manifest.p);
    } else {
        *all = manifest; /* it has the hashes of all files */
    }
}

static void a_plan_of_calls_stays_within_any_budget(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    struct calls_world w;
    make_plan(&w);
    struct exec_options opt = {.io = &io_posix};
    struct exec_result floor;
    struct prep_error err = PREP_ERROR_INIT;
    struct test_bytes all = {0};
    assert_int_equal(plan_check(w.plan, &opt, &floor, &err), 0);
    for (size_t i = 0; i < 3; i++) {
        opt.n_threads = threads[i];
        for (uint64_t more = 0; more < 8; more++) {
            opt.mem = floor.floor_bytes + more * more * 50000;
            run_within(&w, opt, &all);
        }
    }
    free(all.p);
    plan_free(w.plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_piece_serves_the_next_of_its_size),
        cmocka_unit_test(idle_pieces_make_room_for_other_sizes),
        cmocka_unit_test(what_is_over_the_limit_does_not_stay),
        cmocka_unit_test(a_plan_of_calls_stays_within_any_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
