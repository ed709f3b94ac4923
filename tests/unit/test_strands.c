/* SPDX-License-Identifier: MIT */
/* Files that grow side by side from the outputs of the same calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/store/executor.h"
#include "libprep/store/plan.h"
#include "tests/support/support.h"

enum { N_STRANDS = 5, N_CALLS = 120, N_PARTS = 3, SOURCE_BYTES = 60000 };

static struct prep_error err;
static atomic_ullong filled; /* bytes that calls were asked for */

struct world {
    struct plan *plan;
    struct source_file file;
    struct checkpoint ckpt;
    uint32_t ids[N_CALLS], steps[N_CALLS];
    struct test_bytes want[N_STRANDS][N_PARTS]; /* the files */
    uint64_t most;                              /* of all outputs */
};

/* Byte k of output o of call i. */
static unsigned char byte_of(uint32_t i, uint32_t o, uint64_t k)
{
    return (unsigned char)(i * 31 + o * 7 + k * 13 + (k >> 8));
}

static int fill(const struct step_memory *m, const void *arg, struct prep_error *e)
{
    const uint32_t i = *(const uint32_t *)arg;
    (void)e;
    for (uint32_t o = 0; o < N_STRANDS; o++) {
        if (m->wanted && !m->wanted[o])
            continue;
        for (uint64_t k = 0; k < m->output_bytes[o]; k++)
            m->outputs[o][k] = byte_of(i, o, k);
        atomic_fetch_add(&filled, m->output_bytes[o]);
    }
    return m->inputs[0].n == 100 ? 0 : -1;
}

/* Strands differ in size as Q2_K and F32 do, and in where their files are cut. */
static uint64_t bytes_of(uint32_t i, uint32_t strand)
{
    return 50 + (i * 7919 % 900) * (1 + 3 * (uint64_t)strand);
}

static const char *name_of(uint32_t strand, uint32_t part)
{
    return test_path("s%u-%u.bin", strand, part);
}

static void add_strand(struct world *w, uint32_t s)
{
    const uint32_t n_parts = s % 2 ? N_PARTS : 1;
    for (uint32_t part = 0, i = 0; part < n_parts; part++) {
        const uint32_t end = part + 1 == n_parts ? N_CALLS : (part + 1) * (20 + 5 * s);
        struct test_bytes *b = &w->want[s][part];
        assert_int_equal(plan_add_file(w->plan, name_of(s, part), PLAN_SHARD, &err), 0);
        assert_int_equal(plan_strand(w->plan, 1, s + 1, &err), 0);
        for (; i < end; i++) {
            const uint64_t n = bytes_of(i, s);
            b->p = realloc(b->p, b->n + n);
            assert_non_null(b->p);
            for (uint64_t k = 0; k < n; k++)
                b->p[b->n + k] = byte_of(i, s, k);
            b->n += n;
            w->most = n > w->most ? n : w->most;
            assert_int_equal(plan_append(w->plan, w->steps[i], n, &err), 0);
        }
    }
}

static void world_init(struct world *w)
{
    *w = (struct world){0};
    prep_error_clear(&err);
    const char *path = test_path("%s/source", test_temp_dir());
    unsigned char *source = calloc(1, SOURCE_BYTES);
    assert_non_null(source);
    test_write(path, source, SOURCE_BYTES);
    free(source);
    struct io_stat st;
    assert_true(io_posix.stat(io_posix.self, path, &st) >= 0);
    w->file = (struct source_file){.name = "source",
                                   .path = path,
                                   .bytes = st.size,
                                   .dev = st.dev,
                                   .ino = st.ino,
                                   .mtime_ns = st.mtime_ns};
    w->ckpt = (struct checkpoint){.io = &io_posix, .files = &w->file, .n_files = 1};
    uint32_t first;
    assert_int_equal(plan_new(&w->plan, "test", "1", &err), 0);
    assert_int_equal(plan_add_checkpoint(w->plan, &w->ckpt, &first, &err), 0);
    for (uint32_t i = 0; i < N_CALLS; i++) {
        const struct plan_range r = {first, i * 100, 100};
        w->ids[i] = i;
        assert_int_equal(plan_add_call(w->plan, fill, &w->ids[i], 64, &r, 1, &w->steps[i], &err),
                         0);
    }
    for (uint32_t s = 0; s < N_STRANDS; s++)
        add_strand(w, s);
    assert_int_equal(plan_finish(w->plan, &err), 0);
}

static void world_fini(struct world *w)
{
    plan_free(w->plan);
    for (int s = 0; s < N_STRANDS; s++)
        for (int part = 0; part < N_PARTS; part++)
            free(w->want[s][part].p);
}

static void check_files(const struct world *w, const char *dir)
{
    for (uint32_t s = 0; s < N_STRANDS; s++)
        for (uint32_t part = 0; part < N_PARTS && w->want[s][part].p; part++) {
            struct test_bytes got = test_read(test_path("%s/%s", dir, name_of(s, part)));
            assert_int_equal(got.n, w->want[s][part].n);
            assert_memory_equal(got.p, w->want[s][part].p, got.n);
            free(got.p);
        }
}

static struct exec_options options(const char *dir)
{
    return (struct exec_options){.io = &io_posix, .dir = dir, .n_threads = 2, .sync_bytes = 4096};
}

static void every_call_runs_once_whatever_threads_and_memory(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    struct world w;
    struct exec_result r;
    world_init(&w);
    for (int i = 0; i < 6; i++) {
        const char *dir = test_path("%s/out", test_temp_dir());
        struct exec_options opt = options(dir);
        r = (struct exec_result){0};
        assert_int_equal(plan_check(w.plan, &opt, &r, &err), 0);
        opt.n_threads = threads[i / 2];
        opt.block_bytes = i & 1 ? 4096 : 0;
        opt.mem = i & 1 ? 0 : r.floor_bytes;
        if (plan_execute(w.plan, &opt, &r, &err))
            fail_msg("%s: %s", err.tag, err.msg);
        assert_true(r.finished);
        assert_int_equal(r.read_bytes, N_CALLS * 100);
        check_files(&w, dir);
    }
    world_fini(&w);
}

static void the_floor_counts_blocks_and_what_waits_for_them(void **state)
{
    (void)state;
    struct world w;
    struct exec_result r;
    world_init(&w);
    struct exec_options opt = options(NULL);
    assert_int_equal(w.plan->most_strands, N_STRANDS);
    assert_int_equal(plan_check(w.plan, &opt, &r, &err), 0);
    /* All files together are smaller than a block: outputs wait until a file is whole. */
    assert_true(r.floor_bytes >= N_STRANDS * (256 << 10) + w.most);
    opt.mem = r.floor_bytes - 1;
    assert_int_equal(plan_check(w.plan, &opt, &r, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    world_fini(&w);
}

struct stopper {
    volatile sig_atomic_t stop;
    uint64_t at;
};

static void stop_at(void *arg, const struct progress *p)
{
    struct stopper *s = arg;
    if (p->done_bytes >= s->at)
        __atomic_store_n(&s->stop, 1, __ATOMIC_RELAXED); /* workers look at it meanwhile */
}

/* Strands are at different places when the run ends; the next one serves them all. */
static void a_stopped_run_goes_on(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_result r = {0};
    int stops = 0;
    for (uint64_t at = 1; !r.finished; at += w.plan->output_bytes / 6) {
        struct stopper s = {0, at};
        struct exec_options opt = options(dir);
        opt.block_bytes = 4096;
        opt.n_threads = 1;
        opt.progress = stop_at;
        opt.progress_arg = &s;
        opt.stop = &s.stop;
        if (stops == 0)
            s.stop = 1; /* at once: nothing is done */
        prep_error_clear(&err);
        if (plan_execute(w.plan, &opt, &r, &err)) {
            assert_int_equal(err.code, PREP_ESTOPPED);
            stops++;
        }
        assert_true(stops < 100);
    }
    assert_true(stops >= 1);
    check_files(&w, dir);
    world_fini(&w);
}

/* Parts are dealt by file, so each part has some strands, or some files of one; what others write
 * it is not asked for. */
static void parts_give_the_bytes_of_one_run(void **state)
{
    (void)state;
    struct world w;
    struct exec_result r;
    world_init(&w);
    filled = 0;
    const char *dir = test_path("%s/out", test_temp_dir());
    struct exec_options opt = options(dir);
    opt.n_parts = 3;
    for (opt.part = 0; opt.part < 3; opt.part++)
        assert_int_equal(plan_execute(w.plan, &opt, &r, &err), 0);
    assert_int_equal(filled, w.plan->output_bytes);
    opt.assemble = 1;
    opt.part = 0;
    assert_int_equal(plan_execute(w.plan, &opt, &r, &err), 0);
    assert_true(r.finished);
    check_files(&w, dir);
    world_fini(&w);
}

static void refuses_strands_out_of_order(void **state)
{
    (void)state;
    struct plan *p;
    prep_error_clear(&err);
    assert_int_equal(plan_new(&p, "test", "1", &err), 0);
    assert_int_equal(plan_add_file(p, "a", PLAN_SHARD, &err), 0);
    assert_int_equal(plan_strand(p, 1, 2, &err), -1);
    prep_error_clear(&err);
    assert_int_equal(plan_strand(p, 1, 1, &err), 0);
    assert_int_equal(plan_add_file(p, "b", PLAN_SHARD, &err), 0);
    assert_int_equal(plan_strand(p, 1, 3, &err), -1);
    prep_error_clear(&err);
    assert_int_equal(plan_strand(p, 3, 1, &err), -1);
    prep_error_clear(&err);
    assert_int_equal(plan_strand(p, 2, 1, &err), 0);
    plan_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_runs_once_whatever_threads_and_memory),
        cmocka_unit_test(the_floor_counts_blocks_and_what_waits_for_them),
        cmocka_unit_test(a_stopped_run_goes_on),
        cmocka_unit_test(parts_give_the_bytes_of_one_run),
        cmocka_unit_test(refuses_strands_out_of_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
