/* SPDX-License-Identifier: MIT */
/* Judging, and saving a reference, with the n-th allocation or the n-th call to the system failing.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/engine/inputs.h"
#include "libprep/release/cuts.h"
#include "libprep/release/page_judge.h"
#include "libprep/release/probe_run.h"
#include "libprep/release/smoke.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/forward.h"
#include "tests/support/quantized.h"
#include "tests/support/support.h"

/* A run takes thousands of calls: the first ones all, then in steps of an eighth. */
static uint64_t next_of(uint64_t n)
{
    return n < 24 ? n + 1 : n + n / 8;
}

typedef int (*work_fn)(const struct io *io, struct prep_error *err);

static void lose_memory(work_fn work)
{
    for (uint64_t n = 1;; n = next_of(n)) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = work(&io_posix, &err);
        uint64_t seen = fault_alloc_stop();
        if (rc && err.code != PREP_ENOMEM)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, err.tag, err.msg);
        if (seen >= n)
            continue; /* giving back memory may fail unnoticed */
        assert_int_equal(rc, 0);
        assert_true(seen > 20);
        return;
    }
}

static void lose_calls(work_fn work, unsigned calls)
{
    for (uint64_t n = 1;; n = next_of(n)) {
        struct prep_error err = PREP_ERROR_INIT;
        struct fault_io f;
        fault_io_init(&f);
        fault_io_fail(&f, calls, n, EIO);
        const int rc = work(&f.io, &err);
        const int hit = f.fired;
        fault_io_fini(&f);
        if (!hit) {
            assert_int_equal(rc, 0);
            assert_true(n > 4);
            return;
        }
        if (rc)
            assert_true(err.code == PREP_EIO || err.code == PREP_ENOINPUT ||
                        err.code == PREP_EDATA || err.code == PREP_ECREATE);
    }
}

static const char *nano, *quantized, *text, *written;

static int prepare(void **state)
{
    (void)state;
    nano = test_path("%s/glm-nano", test_data());
    const struct quantize_job job = quantized_job(nano);
    quantized = quantized_run(&job);
    text = test_path("%s/text.txt", test_temp_dir());
    test_write(text, "hello", 5);
    written = test_path("%s/r.st", test_temp_dir());
    return 0;
}

static int show(const struct io *io, const struct judgement *j, struct prep_error *err)
{
    struct html out = {0};
    struct span bytes;
    struct page p;
    page_init(&p);
    page_judgement(&p, j, NULL, 0);
    int rc = page_finish(&p, &out, &bytes, err) ||
             io_write_file(io, test_path("%s/r.html", test_temp_dir()), bytes.p, bytes.n, err);
    html_free(&out);
    page_free(&p);
    return rc;
}

static int judge(const struct io *io, const struct judge_job *base, struct prep_error *err)
{
    struct judgement j;
    struct judge_job job = *base;
    struct report report;
    struct span bytes;
    job.io = io;
    job.text.texts = &text;
    job.text.n_texts = base->reference ? 0 : 1;
    job.text.window = 8;
    job.n_models = 1;
    job.run = (struct runtime_options){.n_threads = 1, .isa = N_ISA - 1};
    report_init(&report);
    int rc = judge_run(&j, &job, &report, err);
    rc = rc || (base->save && (judgement_save(&bytes, &j, "test", err) ||
                               io_write_file(io, written, bytes.p, bytes.n, err)));
    rc = rc || (!base->save && show(io, &j, err));
    rc = rc || report_ok(&report, err);
    judgement_free(&j);
    report_fini(&report);
    return rc ? -1 : 0;
}

static int against_original(const struct io *io, struct prep_error *err)
{
    const struct judge_job job = {
        .models = &quantized, .original = nano, .with_mtp = 1, .kl_by_layer = 1};
    return judge(io, &job, err);
}

struct watched_io {
    struct io io;
    const char *path;
    uint64_t n; /* the allocation to lose */
    int opened;
};

static int open_watched(void *self, const char *path, int flags, unsigned mode)
{
    struct watched_io *w = self;
    if (!w->opened && strcmp(path, w->path) == 0) {
        w->opened = 1;
        fault_alloc_at(w->n);
    }
    return io_posix.open(io_posix.self, path, flags, mode);
}

/* Counted from the first opening of this file: what comes before is lost elsewhere. */
static void lose_memory_after_opening(const char *path, work_fn work)
{
    for (uint64_t n = 1;; n = next_of(n)) {
        struct prep_error err = PREP_ERROR_INIT;
        struct watched_io w = {io_posix, path, n, 0}; /* io_posix makes no use of self */
        w.io.self = &w;
        w.io.open = open_watched;
        const int rc = work(&w.io, &err);
        const uint64_t seen = fault_alloc_stop();
        assert_true(w.opened);
        if (rc && err.code != PREP_ENOMEM)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, err.tag, err.msg);
        if (seen >= n)
            continue;
        assert_int_equal(rc, 0);
        assert_true(seen > 20);
        return;
    }
}

static const char *calibration;

/* Maxima are measured on the original, scales are made for the model. */
static int with_inputs_of_4_bits(const struct io *io, struct prep_error *err)
{
    struct judgement j;
    const struct judge_job job = {
        .io = io,
        .models = &quantized,
        .n_models = 1,
        .original = nano,
        .no_linears = 1,
        .text = {.texts = &text, .n_texts = 1, .window = 8},
        .calibration = {.windows = calibration, .part = "few"},
        .run = {.n_threads = 1, .isa = N_ISA - 1, .inputs = INPUTS_NVFP4_EXPERTS}};
    struct report report;
    report_init(&report);
    int rc = judge_run(&j, &job, &report, err) || report_ok(&report, err);
    judgement_free(&j);
    report_fini(&report);
    return rc ? -1 : 0;
}

static const char *keep_map;

static int cuts(const struct io *io, struct prep_error *err)
{
    const struct cuts_job job = {.io = io,
                                 .original = nano,
                                 .models = &quantized,
                                 .n_models = 1,
                                 .keep_maps = &keep_map,
                                 .n_keep_maps = 1,
                                 .n_draws = 1,
                                 .text = {.texts = &text, .n_texts = 1, .window = 8},
                                 .run = {.n_threads = 1, .isa = N_ISA - 1}};
    struct report report;
    struct cuts c;
    report_init(&report);
    int rc = cuts_run(&c, &job, &report, err) || cuts_facts(report.facts, &c, err) ||
             report_ok(&report, err);
    cuts_free(&c);
    report_fini(&report);
    return rc ? -1 : 0;
}

static const char *prompts;

static int probes(const struct io *io, struct prep_error *err)
{
    struct probe_job job = {.io = io,
                            .models = &nano,
                            .n_models = 1,
                            .kinds = 1U << PROBE_LOOPS | 1U << PROBE_ARITHMETIC,
                            .text = {.texts = &text, .n_texts = 1, .window = 8},
                            .prompts = &prompts,
                            .n_prompts = 1,
                            .run = {.n_threads = 1, .isa = N_ISA - 1}};
    struct probe_results r;
    struct report report;
    probe_sizes_default(&job.sizes);
    job.sizes.loop_tokens = job.sizes.answer_tokens = 2;
    job.sizes.problems = job.sizes.loop_seeds = 1;
    report_init(&report);
    int rc = probe_run(&r, &job, &report, err) || probe_facts(report.facts, &r, err) ||
             report_ok(&report, err);
    probe_results_free(&r);
    report_fini(&report);
    return rc ? -1 : 0;
}

static double no_time(void)
{
    return 0;
}

/* What broke must not pass for a fault of the model. */
static int smoke(const struct io *io, struct prep_error *err)
{
    const struct smoke_job job = {.io = io,
                                  .model = quantized,
                                  .original = nano,
                                  .text = {.texts = &text, .n_texts = 1, .window = 8},
                                  .max_nats = 100,
                                  .limits = {100, 100, 100, 100, 0, 0, NAN, NAN},
                                  .run = {.n_threads = 1, .isa = N_ISA - 1},
                                  .now = no_time};
    struct report report;
    struct smoke s;
    report_init(&report);
    int rc = smoke_run(&s, &job, &report, err);
    /* Five tokens say nothing about drafts. */
    if (rc && err->code == PREP_EVERIFY && s.failed == SMOKE_MTP) {
        prep_error_clear(err);
        rc = 0;
    }
    rc = rc || smoke_facts(report.facts, &s, &job, err) || report_ok(&report, err);
    report_fini(&report);
    return rc ? -1 : 0;
}

static const char *saved;

static int save_reference(const struct io *io, struct prep_error *err)
{
    const struct judge_job job = {.models = &nano, .save = 1};
    return judge(io, &job, err);
}

static int against_reference(const struct io *io, struct prep_error *err)
{
    const struct judge_job job = {.models = &quantized, .reference = saved};
    return judge(io, &job, err);
}

static void make_reference(void)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct judgement j;
    struct span bytes;
    const struct judge_job job = {.io = &io_posix,
                                  .models = &nano,
                                  .n_models = 1,
                                  .save = 1,
                                  .text = {.texts = &text, .n_texts = 1, .window = 8},
                                  .run = {.n_threads = 1, .isa = N_ISA - 1}};
    saved = test_path("%s/saved.st", test_temp_dir());
    if (judge_run(&j, &job, NULL, &err) || judgement_save(&bytes, &j, "test", &err))
        fail_msg("%s", err.msg);
    test_write(saved, bytes.p, bytes.n);
    judgement_free(&j);
}

static void judging_survives_lost_allocations(void **state)
{
    (void)state;
    lose_memory(against_original);
}

static void judging_by_a_reference_survives_lost_allocations(void **state)
{
    (void)state;
    make_reference();
    lose_memory(save_reference);
    lose_memory(against_reference);
}

static void rounding_inputs_survives_lost_allocations_and_failing_reads(void **state)
{
    char few[1024] = "{\"format\": 1, \"few\": {\"length\": 64, \"tokens\": [[";
    (void)state;
    for (int i = 0; i < 64; i++) /* reaches every layer's experts */
        snprintf(few + strlen(few), sizeof few - strlen(few), "%d%s", i * 31,
                 i < 63 ? "," : "]]}}");
    calibration = test_path("%s/few.json", test_temp_dir());
    test_write(calibration, few, strlen(few));
    lose_memory_after_opening(calibration, with_inputs_of_4_bits);
    lose_calls(with_inputs_of_4_bits,
               FAULT_BIT(FAULT_OPEN) | FAULT_BIT(FAULT_PREAD) | FAULT_BIT(FAULT_FSTAT));
}

/* Of the two steps alone, every single one. */
static void maxima_and_scales_survive_every_lost_allocation(void **state)
{
    struct runtime_options options = test_model_options();
    struct test_model m;
    (void)state;
    options.inputs = INPUTS_NVFP4_EXPERTS;
    test_model_open(&m, nano, &options);
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct inputs_amax a;
        struct arena arena;
        arena_init(&arena, 0);
        fault_alloc_at(n);
        int rc = inputs_amax_init(&a, m.runtime, &arena, &err);
        for (size_t i = 0; !rc && i < (size_t)a.n_layers * PART_OTHER; i++)
            a.amax[i] = 1;
        rc = rc || runtime_round_inputs(m.runtime, &a, &err);
        const uint64_t seen = fault_alloc_stop();
        arena_fini(&arena);
        if (rc)
            assert_int_equal(err.code, PREP_ENOMEM);
        if (seen < n) {
            assert_int_equal(rc, 0);
            assert_true(n > 1);
            break;
        }
    }
    test_model_close(&m);
}

static void judging_survives_failing_reads(void **state)
{
    (void)state;
    lose_calls(against_original,
               FAULT_BIT(FAULT_OPEN) | FAULT_BIT(FAULT_PREAD) | FAULT_BIT(FAULT_FSTAT));
}

static void cuts_survive_lost_allocations_and_failing_reads(void **state)
{
    static const char map[] = "{\"2\":[0,1,2,3,4,5,6,7]}";
    (void)state;
    keep_map = test_path("%s/map.json", test_temp_dir());
    test_write(keep_map, map, sizeof map - 1);
    lose_memory(cuts);
    lose_calls(cuts, FAULT_BIT(FAULT_OPEN) | FAULT_BIT(FAULT_PREAD) | FAULT_BIT(FAULT_FSTAT));
}

static void probes_survive_lost_allocations_and_failing_reads(void **state)
{
    static const char set[] = "{\"format\": \"prep-prompts\", \"version\": 1, \"name\": \"own\","
                              "\"prompts\": [{\"id\": \"a\", \"messages\": [{\"role\": \"user\","
                              "\"content\": \"6 x 7?\"}], \"judge\": {\"number\": 42}}]}";
    (void)state;
    prompts = test_path("%s/set.json", test_temp_dir());
    test_write(prompts, set, sizeof set - 1);
    lose_memory(probes);
    lose_calls(probes, FAULT_BIT(FAULT_OPEN) | FAULT_BIT(FAULT_PREAD) | FAULT_BIT(FAULT_FSTAT));
}

static void a_smoke_test_survives_lost_allocations(void **state)
{
    (void)state;
    lose_memory(smoke);
}

static void saving_survives_failing_writes(void **state)
{
    (void)state;
    lose_calls(save_reference, FAULT_BIT(FAULT_OPEN) | FAULT_BIT(FAULT_PWRITE) |
                                   FAULT_BIT(FAULT_SYNC) | FAULT_BIT(FAULT_RENAME));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judging_survives_lost_allocations),
        cmocka_unit_test(judging_by_a_reference_survives_lost_allocations),
        cmocka_unit_test(judging_survives_failing_reads),
        cmocka_unit_test(maxima_and_scales_survive_every_lost_allocation),
        cmocka_unit_test(rounding_inputs_survives_lost_allocations_and_failing_reads),
        cmocka_unit_test(saving_survives_failing_writes),
        cmocka_unit_test(probes_survive_lost_allocations_and_failing_reads),
        cmocka_unit_test(a_smoke_test_survives_lost_allocations),
        cmocka_unit_test(cuts_survive_lost_allocations_and_failing_reads),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
