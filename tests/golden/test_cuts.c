/* SPDX-License-Identifier: MIT */
/*
 * Cuts of nano beside random ones, on little text: the same figures as those of models really cut,
 * in one pass or in many, and what is claimed of them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/release/cuts.h"
#include "tests/support/support.h"

enum { DRAWS = 3, WINDOWS = 8, LENGTH = 12 };

static const char *nano, *text;

static int prepare(void **state)
{
    (void)state;
    nano = test_path("%s/glm-nano", test_data());
    text = test_path("%s/text/eval.jsonl", test_data());
    return 0;
}

static struct cuts_job job_of(const char *const *maps, size_t n)
{
    return (struct cuts_job){
        .io = &io_posix,
        .original = nano,
        .keep_maps = maps,
        .n_keep_maps = n,
        .n_draws = DRAWS,
        .text = {.texts = &text, .n_texts = 1, .window = LENGTH, .max_windows = WINDOWS},
        .run = {.n_threads = 2, .isa = N_ISA - 1}};
}

static void run(struct cuts *c, const struct cuts_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (cuts_run(c, job, NULL, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

static const char *refusal(const struct cuts_job *job)
{
    static struct prep_error err;
    struct cuts c;
    err = (struct prep_error)PREP_ERROR_INIT;
    assert_int_equal(cuts_run(&c, job, NULL, &err), -1);
    cuts_free(&c);
    return test_path("%d %s %s", err.code, err.tag, err.msg);
}

/* The experts of the first n of each layer, from `first` on. */
static const char *map_file(const char *name, int first, int n)
{
    char json[512] = "{";
    size_t at = 1;
    for (int layer = 2; layer <= 5; layer++) {
        at += (size_t)snprintf(json + at, sizeof json - at, "%s\"%d\":[", layer > 2 ? "," : "",
                               layer);
        for (int e = first; e < first + n; e++)
            at += (size_t)snprintf(json + at, sizeof json - at, "%s%d", e > first ? "," : "", e);
        at += (size_t)snprintf(json + at, sizeof json - at, "]");
    }
    at += (size_t)snprintf(json + at, sizeof json - at, "}");
    const char *path = test_path("%s/%s", test_temp_dir(), name);
    test_write(path, json, at);
    return path;
}

/* The keep set of a line as a file. */
static const char *set_file(const struct cuts *c, const struct cuts_line *line)
{
    char json[2048] = "{";
    size_t at = 1;
    for (int i = 0; i < c->original.config->num_hidden_layers; i++) {
        const struct expert_set *s = &line->sets[i];
        if (!s->experts)
            continue;
        at += (size_t)snprintf(json + at, sizeof json - at, "%s\"%d\":[", at > 1 ? "," : "", i);
        for (size_t e = 0; e < s->n; e++)
            at +=
                (size_t)snprintf(json + at, sizeof json - at, "%s%u", e ? "," : "", s->experts[e]);
        at += (size_t)snprintf(json + at, sizeof json - at, "]");
    }
    at += (size_t)snprintf(json + at, sizeof json - at, "}");
    const char *path = test_path("%s/set.json", test_temp_dir());
    test_write(path, json, at);
    return path;
}

static void check_same(const struct judge_series *a, const struct judge_series *b)
{
    assert_memory_equal(a->window_nll, b->window_nll, WINDOWS * sizeof *a->window_nll);
    assert_memory_equal(a->window_kl, b->window_kl, WINDOWS * sizeof *a->window_kl);
}

/* What judge.h says of the original seen through the keep-map. */
static void check_line(const struct cuts *c, const struct cuts_line *line, const char *map)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct judgement j;
    const struct judge_job job = {
        .io = &io_posix,
        .models = &nano,
        .n_models = 1,
        .original = nano,
        .keep_map = map,
        .text = {.texts = &text, .n_texts = 1, .window = LENGTH, .max_windows = WINDOWS},
        .no_linears = 1,
        .run = {.n_threads = 2, .isa = N_ISA - 1}};
    if (judge_run(&j, &job, NULL, &err))
        fail_msg("%s", err.msg);
    check_same(&line->series, &j.results[0].free);
    assert_memory_equal(c->unpruned.window_nll, j.original_free.window_nll,
                        WINDOWS * sizeof(double));
    assert_memory_equal(&line->series.more_nll, &j.results[0].free.more_nll,
                        sizeof j.results[0].free.more_nll);
    judgement_free(&j);
}

static void every_line_is_that_of_a_model_really_cut(void **state)
{
    const char *const maps[] = {map_file("a.json", 0, 12), map_file("b.json", 3, 9)};
    const struct cuts_job job = job_of(maps, 2);
    struct cuts c;
    (void)state;
    run(&c, &job);
    assert_int_equal(c.n_cuts, 2);
    assert_int_equal(c.n_sizes, 2);
    assert_int_equal(c.n_pairs, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(c.sizes[i].most, i ? 9 : 12);
        check_line(&c, &c.cuts[i].line, maps[i]);
    }
    check_line(&c, &c.sizes[1].draws[2], set_file(&c, &c.sizes[1].draws[2]));
    assert_true(c.sizes[1].draws[2].sets[3].n == 9);
    cuts_free(&c);
}

static void memory_and_passes_change_nothing(void **state)
{
    const char *const maps[] = {map_file("a.json", 0, 12), map_file("b.json", 3, 12)};
    struct cuts_job job = job_of(maps, 2);
    struct cuts all, few;
    char *end;
    (void)state;
    run(&all, &job);
    job.run.mem = 1 << 20;
    const char *said = strstr(refusal(&job), "at least ");
    assert_non_null(said);
    /* The floor is a pass for every line, and a window at a time. */
    job.run.mem = strtoull(said + strlen("at least "), &end, 10);
    job.run.n_threads = 1;
    run(&few, &job);
    for (size_t i = 0; i < 2; i++)
        check_same(&all.cuts[i].line.series, &few.cuts[i].line.series);
    for (size_t i = 0; i < DRAWS; i++)
        check_same(&all.sizes[0].draws[i].series, &few.sizes[0].draws[i].series);
    assert_memory_equal(all.pairs, few.pairs, sizeof *all.pairs);
    cuts_free(&all);
    cuts_free(&few);
}

/* A cut of all experts loses nothing, and no draw of its size can lose less. */
static void a_cut_is_ranked_among_the_draws_of_its_size(void **state)
{
    const char *const maps[] = {map_file("all.json", 0, 16), map_file("a.json", 0, 12),
                                map_file("b.json", 4, 12)};
    struct cuts_job job = job_of(maps, 3);
    struct cuts c;
    (void)state;
    job.n_draws = 20;
    run(&c, &job);
    assert_int_equal(c.n_sizes, 2);
    assert_int_equal(c.cuts[0].line.series.more_nll.mean == 0, 1);
    assert_int_equal(c.cuts[0].rank, 20); /* the draws are the model, too */
    assert_false(c.cuts[0].better_than_random);
    const struct cuts_size *s = &c.sizes[1];
    double sum = 0, square = 0;
    for (size_t i = 0; i < 20; i++)
        sum += s->increases[i] / 20;
    for (size_t i = 0; i < 20; i++)
        square += (s->increases[i] - sum) * (s->increases[i] - sum) / 19;
    assert_true(fabs(s->mean - sum) < 1e-12 && fabs(s->deviation - sqrt(square)) < 1e-12);
    for (size_t i = 1; i < 3; i++) {
        const struct judged_cut *cut = &c.cuts[i];
        size_t below = 0;
        for (size_t k = 0; k < 20; k++)
            below += s->increases[k] <= cut->line.series.more_nll.mean;
        assert_int_equal(cut->size, 1);
        assert_int_equal(cut->rank, below);
        assert_true(fabs(cut->p - (double)(below + 1) / 21) < 1e-15);
        assert_int_equal(cut->better_than_random, below == 0);
    }
    assert_int_equal(c.n_pairs, 1);
    const double want = c.cuts[1].line.series.nll.mean - c.cuts[2].line.series.nll.mean;
    assert_true(fabs(c.pairs[0].nll.mean - want) < 1e-9);
    cuts_free(&c);
}

static void of_few_windows_nothing_is_claimed(void **state)
{
    const char *map = map_file("a.json", 0, 12);
    struct cuts_job job = job_of(&map, 1);
    struct cuts c;
    (void)state;
    job.text.max_windows = 2;
    job.n_draws = 20;
    run(&c, &job);
    assert_false(c.cuts[0].better_than_random);
    cuts_free(&c);
    job.n_draws = 0;
    run(&c, &job);
    assert_true(isnan(c.cuts[0].p) && isnan(c.sizes[0].mean));
    assert_false(c.cuts[0].better_than_random);
    cuts_free(&c);
}

static void what_is_no_cut_is_refused(void **state)
{
    const char *maps[] = {map_file("few.json", 0, 3)};
    struct cuts_job job = job_of(maps, 1);
    (void)state;
    assert_non_null(strstr(refusal(&job), "PLAN_TOPK"));
    maps[0] = test_path("%s/wide.json", test_temp_dir());
    test_write(maps[0], "{\"2\":[0,1,2,3,16]}", 18);
    assert_non_null(strstr(refusal(&job), "KEEP_MAP"));
    job.n_keep_maps = 0;
    assert_non_null(strstr(refusal(&job), "nothing was cut"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_is_that_of_a_model_really_cut),
        cmocka_unit_test(memory_and_passes_change_nothing),
        cmocka_unit_test(a_cut_is_ranked_among_the_draws_of_its_size),
        cmocka_unit_test(of_few_windows_nothing_is_claimed),
        cmocka_unit_test(what_is_no_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
