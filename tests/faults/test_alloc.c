/* SPDX-License-Identifier: MIT */
/* The n-th allocation fails, for every n until nothing fails: a clean error, and no leak (the
 * address sanitizer looks). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/io.h"
#include "libprep/base/json.h"
#include "libprep/base/report.h"
#include "libprep/base/table.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/support.h"
#include "tools/cli.h"

/* Returns 0, or -1 with err set. */
typedef int (*work_fn)(const char *dir, struct prep_error *err);

static uint64_t fail_each(work_fn work)
{
    const char *dir = test_temp_dir();
    test_write(test_path("%s/a.json", dir), "{\"a\": [1, \"x\\u00e9\"], \"b\": {}}", 30);
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = work(dir, &err);
        uint64_t seen = fault_alloc_stop();
        if (seen < n) {
            assert_int_equal(rc, 0);
            assert_int_equal(err.code, PREP_OK);
            return seen;
        }
        if (rc) {
            assert_int_equal(err.code, PREP_ENOMEM);
            assert_true(strlen(err.msg) > 0);
        }
    }
}

static int read_folder(const char *dir, struct prep_error *err)
{
    struct arena a;
    struct json doc = {0};
    struct span text;
    char **names = NULL;
    size_t n = 0;
    int rc = -1;
    arena_init(&a, 0);
    if (io_list_sorted(&io_posix, dir, &a, &names, &n, err))
        goto out;
    char *path = io_join(&a, dir, names[0], err);
    if (!path || io_read_file(&io_posix, path, 1 << 20, &a, &text, err) ||
        json_parse(&doc, (const char *)text.p, text.n, path, err) ||
        !json_string(&doc, 1, &a, NULL, err))
        goto out;
    rc = io_write_file(&io_posix, path, text.p, text.n, err);
out:
    json_free(&doc);
    arena_fini(&a);
    return rc;
}

static void reading_and_writing_files(void **state)
{
    (void)state;
    assert_true(fail_each(read_folder) >= 3);
}

static int fill_table(const char *dir, struct prep_error *err)
{
    (void)dir;
    char names[100][8];
    struct name_table t = {0};
    uint32_t old;
    int rc = name_table_init(&t, 1, err);
    for (uint32_t i = 0; !rc && i < 100; i++) {
        int n = snprintf(names[i], sizeof names[i], "n%u", i);
        rc = name_table_add(&t, names[i], (size_t)n, i, &old, err);
    }
    name_table_free(&t);
    return rc;
}

static void growing_a_table(void **state)
{
    (void)state;
    assert_true(fail_each(fill_table) >= 2);
}

static int fill_report(const char *dir, struct prep_error *err)
{
    struct report r;
    report_init(&r);
    for (int i = 0; i < 20; i++)
        report_warn(&r, "TAG", "%s: warning %d", dir, i);
    int rc = report_ok(&r, err);
    report_fini(&r);
    return rc;
}

static void collecting_warnings(void **state)
{
    (void)state;
    assert_true(fail_each(fill_report) >= 2);
}

struct options {
    struct cli_list list;
};

/* The tool itself: parse a command line, print the result as JSON. */
static int run_tool(const char *dir, struct prep_error *err)
{
    (void)dir;
    static const struct cli_option table[] = {
        {"run", 'r', CLI_LIST, "FILE", "a run", offsetof(struct options, list), 0, 0}};
    static const struct cli_program program = {.name = "tool",
                                               .schema = "tool/1",
                                               .synopsis = "",
                                               .description = "",
                                               .common = CLI_HAS_ALL,
                                               .options = table,
                                               .n_options = 1};
    char words[][8] = {"tool", "--json", "-r", "a", "-r", "b"}, *argv[7] = {0};
    struct options o = {0};
    struct cli cli;
    struct report r;
    static char out_text[1024], err_text[1024];
    FILE *out = fmemopen(out_text, sizeof out_text, "w");
    FILE *diag = fmemopen(err_text, sizeof err_text, "w");
    const struct cli_host host = {out, diag, getenv, NULL, 0};
    for (int i = 0; i < 6; i++)
        argv[i] = words[i];
    int rc = cli_init_on(&cli, &program, &o, 6, argv, &host);
    if (rc == CLI_RUN) {
        report_init(&r);
        report_warn(&r, "TAG", "a warning");
        rc = cli_report(&cli, &r);
        report_fini(&r);
        cli_fini(&cli);
    }
    fclose(out);
    fclose(diag);
    assert_true(rc == 0 || rc == 71);
    return rc ? prep_fail(err, PREP_ENOMEM, "%s", err_text) : 0;
}

static void running_a_tool(void **state)
{
    (void)state;
    assert_true(fail_each(run_tool) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_and_writing_files),
        cmocka_unit_test(growing_a_table),
        cmocka_unit_test(collecting_warnings),
        cmocka_unit_test(running_a_tool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
