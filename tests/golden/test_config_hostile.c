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
#include "tests/support/support.h"

struct world {
    struct json cases;
    struct test_bytes cases_text, base;
    struct checkpoint *nano;
    const struct tensor_info **tensors;
    struct arena arena;
};

static struct prep_error err;

static char *string_at(struct world *w, uint32_t node, size_t *n)
{
    char *s = json_string(&w->cases, node, &w->arena, n, &err);
    assert_non_null(s);
    return s;
}

static uint32_t get(const struct world *w, uint32_t object, const char *key)
{
    return json_get(&w->cases, object, key);
}

static int is(const struct world *w, uint32_t object, const char *key, const char *want)
{
    return json_equal(&w->cases, get(w, object, key), want);
}

/* Byte range of a pair in the base, with the comma that goes with it. */
static void delete_key(struct json_edit *e, const struct json *base, const char *key)
{
    size_t last_end = 0; /* of the pair before */
    for (uint32_t k = json_first(base, 0); k != JSON_NONE;) {
        const uint32_t value = json_next(base, k), next = json_next(base, value);
        if (json_equal(base, k, key)) {
            *e = next != JSON_NONE
                     ? (struct json_edit){base->nodes[k].start, base->nodes[next].start, "", 0}
                     : (struct json_edit){last_end, base->nodes[value].end, "", 0};
            return;
        }
        last_end = base->nodes[value].end;
        k = next;
    }
    fail_msg("no key %s to delete", key);
}

static struct span edit_keys(struct world *w, uint32_t edit)
{
    struct json base;
    struct json_edit edits[8];
    struct span out = {NULL, 0};
    size_t n = 0;
    const char *text = (const char *)w->base.p;
    assert_int_equal(json_parse(&base, text, w->base.n, "base", &err), 0);
    const uint32_t deletes = get(w, edit, "delete"), sets = get(w, edit, "set");
    for (uint32_t k = deletes == JSON_NONE ? JSON_NONE : json_first(&w->cases, deletes);
         k != JSON_NONE; k = json_next(&w->cases, k))
        delete_key(&edits[n++], &base, string_at(w, k, NULL));
    for (uint32_t k = sets == JSON_NONE ? JSON_NONE : json_first(&w->cases, sets); k != JSON_NONE;
         k = json_next(&w->cases, json_next(&w->cases, k))) {
        const char *key = string_at(w, k, NULL);
        const struct json_node *v = &w->cases.nodes[json_next(&w->cases, k)];
        const uint32_t old = json_get(&base, 0, key);
        struct json_edit *e = &edits[n++];
        assert_true(n <= 8);
        if (old == JSON_NONE)
            e->text = arena_printf(&w->arena, &err, "\n  \"%s\": %.*s,", key,
                                   (int)(v->end - v->start), w->cases.text + v->start);
        else
            e->text = arena_printf(&w->arena, &err, "%.*s", (int)(v->end - v->start),
                                   w->cases.text + v->start);
        e->n = strlen(e->text);
        e->start = old == JSON_NONE ? base.nodes[0].start + 1 : base.nodes[old].start;
        e->end = old == JSON_NONE ? e->start : base.nodes[old].end;
    }
    assert_int_equal(json_splice(&out, text, w->base.n, edits, n, &w->arena, &err), 0);
    json_free(&base);
    return out;
}

static struct span replace_once(struct world *w, uint32_t pair)
{
    const uint32_t first = json_first(&w->cases, pair);
    const char *old = string_at(w, first, NULL);
    const char *new = string_at(w, json_next(&w->cases, first), NULL);
    const char *text = (const char *)w->base.p, *at = strstr(text, old);
    assert_non_null(at);
    char *s =
        arena_printf(&w->arena, &err, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    assert_non_null(s);
    return (struct span){(unsigned char *)s, strlen(s)};
}

static struct span edited(struct world *w, uint32_t edit)
{
    uint32_t node;
    if ((node = get(w, edit, "replace")) != JSON_NONE)
        return replace_once(w, node);
    if ((node = get(w, edit, "text")) != JSON_NONE) {
        size_t n;
        char *s = string_at(w, node, &n);
        return (struct span){(unsigned char *)s, n};
    }
    return edit_keys(w, edit);
}

static int has_lint(const struct world *w, uint32_t lints, const char *tag)
{
    for (uint32_t i = json_first(&w->cases, lints); i != JSON_NONE; i = json_next(&w->cases, i))
        if (json_equal(&w->cases, i, tag))
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
    for (uint32_t i = json_first(&w->cases, lints); i != JSON_NONE; i = json_next(&w->cases, i)) {
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
        const struct span text = edited(w, edit);
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
        assert_int_equal(json_i64(&w->cases, get(w, node, "exit"), &want), 0);
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
    arena_init(&w.arena, 0);
    w.cases_text = test_read(test_path("%s/hostile/config.json", test_data()));
    w.base = test_read(test_path("%s/config.json", nano));
    if (json_parse(&w.cases, (const char *)w.cases_text.p, w.cases_text.n, "cases", &err) ||
        checkpoint_open(&w.nano, &io_posix, nano, NULL, &err))
        fail_msg("%s", err.msg);
    w.tensors = calloc(w.nano->n_tensors, sizeof *w.tensors);
    assert_non_null(w.tensors);
    for (size_t i = 0; i < w.nano->n_tensors; i++)
        w.tensors[i] = &w.nano->tensors[i].info;
    int n = 0;
    for (uint32_t i = json_first(&w.cases, get(&w, 0, "cases")); i != JSON_NONE;
         i = json_next(&w.cases, i), n++)
        judge(&w, i);
    assert_int_equal(n, 67);
    free(w.tensors);
    checkpoint_close(w.nano);
    json_free(&w.cases);
    free(w.cases_text.p);
    free(w.base.p);
    arena_fini(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(judges_every_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
