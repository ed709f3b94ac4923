/* SPDX-License-Identifier: MIT */
/* From runs to a keep-map and back with the n-th allocation failing, for every n. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/prune/compose.h"
#include "libprep/prune/cut_report.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/runs.h"

enum { E = 200, N_RUNS = 2 };

static const char sha256[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct world {
    struct prune_model model;
    struct prune_options options;
    struct obs_run runs[N_RUNS];
};

static int make_map(struct keep_map *out, const struct world *w, const struct known_map *parent,
                    struct report *report, struct prep_error *err)
{
    struct pool pool = {0};
    struct selection s = {0};
    struct cut_report cut = {0};
    struct arena arena;
    struct span json;
    arena_init(&arena, 0);
    int rc = pool_runs(&pool, w->runs, N_RUNS, &w->model, parent, &w->options, report, err) ||
             select_experts(&s, &pool, &w->model, parent, &w->options, report, err) ||
             cut_report_make(&cut, &s, &pool, parent, &w->options, NULL, 0, err) ||
             cut_report_json(&cut, 0, &arena, &json, err) || cut_report_facts(&cut, report, err) ||
             compose_selection(out, &s, &pool, parent, &w->options, &json, report, err);
    cut_report_free(&cut);
    selection_free(&s);
    pool_free(&pool);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

/* The map as text, read again, applied as a plan. */
static int read_back(const struct keep_map *m, const struct world *w, struct report *report,
                     struct prep_error *err)
{
    struct keep_map plan = {0}, applied = {0};
    struct arena arena;
    struct span text;
    arena_init(&arena, 0);
    int rc = keep_map_write(m, &arena, &text, err) ||
             keep_map_parse(&plan, (const char *)text.p, text.n, "map", err) ||
             compose_explicit(&applied, &plan, &w->model, NULL, &w->options, report, err);
    keep_map_free(&applied);
    keep_map_free(&plan);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

static int two_passes(struct world *w, struct prep_error *err)
{
    struct keep_map first = {0}, second = {0};
    struct known_map parent = {&first, sha256};
    struct report report;
    report_init(&report);
    w->model.n_routed_experts = E;
    w->options.keep = E - 20;
    int rc = make_map(&first, w, NULL, &report, err);
    w->model.n_routed_experts = E - 20;
    w->options.keep = E - 60;
    rc = rc || make_map(&second, w, &parent, &report, err);
    w->model.n_routed_experts = E;
    rc = rc || read_back(&second, w, &report, err) || report_ok(&report, err);
    keep_map_free(&second);
    keep_map_free(&first);
    report_fini(&report);
    return rc ? -1 : 0;
}

static void every_lost_allocation_is_a_clean_error(void **state)
{
    struct test_random random;
    struct world w = {.options = {.size = SIZE_KEEP, .protect_auto = PROTECT_OUTLIERS}};
    test_random_init(&random);
    test_model(&w.model, E);
    test_run_random(&w.runs[0], "a", E, 1000, &random);
    test_run_random(&w.runs[1], "b", E, 1000, &random);
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = two_passes(&w, &err);
        uint64_t seen = fault_alloc_stop();
        if (seen < n) {
            if (rc)
                fail_msg("%s", err.msg);
            assert_true(n > 20);
            break;
        }
        /* Giving back room may fail unnoticed: then all went well. */
        assert_int_equal(err.code, rc ? PREP_ENOMEM : PREP_OK);
        assert_string_equal(err.tag, "");
    }
    obs_run_free(&w.runs[0]);
    obs_run_free(&w.runs[1]);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_lost_allocation_is_a_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
