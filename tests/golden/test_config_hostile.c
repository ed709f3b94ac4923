/* SPDX-License-Identifier: MIT */
/*
 * The verdict on every case of hostile/config.json: edits of glm-nano's config.json. The lints of
 * an accepted one are the warnings of the reader and the findings against glm-nano's tensors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "libprep/model/check.h"
#include "libprep/store/checkpoint.h"
#include "tests/support/hostile.h"

struct world {
    struct hostile *h;
    struct test_bytes base;
    struct checkpoint *nano;
    const struct tensor_info **tensors;
};

static struct prep_error err;

static char *string_at(struct world *w, uint32_t node, size_t *n)
{
    char *s = json_string(&w->h->doc, node, &w->h->arena, n, &err);
    assert_non_null(s);
    return s;
}

static uint32_t get(const struct world *w, uint32_t object, const char *key)
{
    return json_get(&w->h->doc, object, key);
}

static int is(const struct world *w, uint32_t object, const char *key, const char *want)
{
    return json_equal(&w->h->doc, get(w, object, key), want);
}

static int has_lint(const struct world *w, uint32_t lints, const char *tag)
{
    for (uint32_t i = json_first(&w->h->doc, lints); i != JSON_NONE; i = json_next(&w->h->doc, i))
        if (json_equal(&w->h->doc, i, tag))
            return 1;
    return 0;
}

static void judge_accepted(struct world *w, uint32_t node, const char *name, const struct config *c,
                           const struct report *report)
{
    struct findings found;
    const uint32_t lints = get(w, node, "lint");
    findings_init(&found);
    assert_int_equal(check_inventory(&found, c, w->tensors, w->nano->n_tensors, &err), 0);
    for (size_t i = 0; i < report->n_warnings; i++)
        if (!has_lint(w, lints, report->warnings[i].tag))
            fail_msg("%s: unwanted %s: %s", name, report->warnings[i].tag,
                     report->warnings[i].text);
    for (size_t i = 0; i < found.n; i++)
        if (!has_lint(w, lints, found.items[i].code))
            fail_msg("%s: unwanted %s %s: %s", name, found.items[i].code, found.items[i].place,
                     found.items[i].text);
    for (uint32_t i = json_first(&w->h->doc, lints); i != JSON_NONE; i = json_next(&w->h->doc, i)) {
        const char *tag = string_at(w, i, NULL);
        if (!report_has(report, tag) && findings_count(&found, tag) == 0)
            fail_msg("%s: no %s", name, tag);
    }
    findings_fini(&found);
}

static void judge(struct world *w, uint32_t node)
{
    struct config c;
    struct report report;
    struct prep_error e = PREP_ERROR_INIT;
    const char *name = string_at(w, get(w, node, "name"), NULL);
    const uint32_t edit = get(w, node, "edit");
    const int accept = is(w, node, "ours", "accept");
    int rc;
    report_init(&report);
    if (get(w, edit, "file") != JSON_NONE) {
        rc = config_load(&c, &io_posix, test_temp_dir(), &report, &e);
    } else {
        const struct span text = hostile_config(w->h, (struct span){w->base.p, w->base.n}, edit);
        rc = config_parse(&c, (const char *)text.p, text.n, "config.json", &report, &e);
    }
    if (rc == 0 && !accept)
        fail_msg("%s is accepted", name);
    if (rc != 0 && accept)
        fail_msg("%s is refused: %s: %s", name, e.tag, e.msg);
    if (rc == 0) {
        judge_accepted(w, node, name, &c, &report);
        config_free(&c);
    } else {
        int64_t want = 0;
        assert_int_equal(json_i64(&w->h->doc, get(w, node, "exit"), &want), 0);
        if (!is(w, node, "class", e.tag) || prep_exit_code(e.code) != want)
            fail_msg("%s: class %s, exit %d: %s", name, e.tag, prep_exit_code(e.code), e.msg);
        assert_non_null(strstr(e.msg, "config.json"));
        assert_null(c.name);
    }
    report_fini(&report);
}

static void judges_every_case(void **state)
{
    (void)state;
    struct world w = {.nano = NULL};
    const char *nano = test_path("%s/glm-nano", test_data());
    w.h = hostile_open("config.json");
    w.base = test_read(test_path("%s/config.json", nano));
    if (checkpoint_open(&w.nano, &io_posix, nano, NULL, &err))
        fail_msg("%s", err.msg);
    w.tensors = calloc(w.nano->n_tensors, sizeof *w.tensors);
    assert_non_null(w.tensors);
    for (size_t i = 0; i < w.nano->n_tensors; i++)
        w.tensors[i] = &w.nano->tensors[i].info;
    int n = 0;
    for (uint32_t i = json_first(&w.h->doc, get(&w, 0, "cases")); i != JSON_NONE;
         i = json_next(&w.h->doc, i), n++)
        judge(&w, i);
    assert_int_equal(n, 67);
    free(w.tensors);
    checkpoint_close(w.nano);
    hostile_close(w.h);
    free(w.base.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(judges_every_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
