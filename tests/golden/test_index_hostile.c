/* SPDX-License-Identifier: MIT */
/* Every folder of hostile/index.json: verdict, class, exit code, warnings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/store/checkpoint.h"
#include "tests/support/hostile.h"

static void check_lint(struct hostile *f, uint32_t c, const char *name, const struct report *report)
{
    uint32_t list = json_get(&f->doc, c, "lint");
    for (uint32_t i = json_first(&f->doc, list); i != JSON_NONE; i = json_next(&f->doc, i))
        if (!report_has(report, hostile_string(f, i)))
            fail_msg("%s: want the warning %s", name, hostile_string(f, i));
    for (size_t w = 0; w < report->n_warnings; w++) {
        uint32_t i = json_first(&f->doc, list);
        while (i != JSON_NONE && !json_equal(&f->doc, i, report->warnings[w].tag))
            i = json_next(&f->doc, i);
        if (i == JSON_NONE)
            fail_msg("%s: unexpected warning %s: %s", name, report->warnings[w].tag,
                     report->warnings[w].text);
    }
}

/* What the reason of a case asks the message to say. */
static const struct {
    const char *name, *words;
} said[] = {
    {"index_lfs_pointer", "not downloaded"},
    {"shard_lfs_pointer", "not downloaded"},
    {"shard_link_dangling", "download is not"},
    {"partial_shard", "interrupted"},
    {"shards_without_index", "no model.safetensors.index.json"},
    {"shard_link_loop", "back to itself"},
};

static void check_rejection(struct hostile *f, uint32_t c, const char *name, int rc,
                            const char *folder, const struct prep_error *err)
{
    uint64_t exit_code = 0;
    const char *class = hostile_text(f, c, "class");
    if (rc == 0)
        fail_msg("%s: accepted, want %s", name, class);
    assert_int_equal(json_u64(&f->doc, json_get(&f->doc, c, "exit"), &exit_code), 0);
    if (strcmp(err->tag, class) != 0 || prep_exit_code(err->code) != (int)exit_code)
        fail_msg("%s: %s (exit %d) \"%s\", want %s (exit %d)", name, err->tag,
                 prep_exit_code(err->code), err->msg, class, (int)exit_code);
    if (!strstr(err->msg, folder))
        fail_msg("%s: \"%s\" does not name the file", name, err->msg);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (strcmp(said[i].name, name) == 0 && !strstr(err->msg, said[i].words))
            fail_msg("%s: \"%s\" does not say \"%s\"", name, err->msg, said[i].words);
}

static void run_case(struct hostile *f, uint32_t c)
{
    const char *name = hostile_text(f, c, "name"), *folder = hostile_folder(f, c);
    struct checkpoint *ckpt;
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    report_init(&report);
    int rc = checkpoint_open(&ckpt, &io_posix, folder, &report, &err);
    if (strcmp(hostile_text(f, c, "ours"), "accept") == 0) {
        if (rc)
            fail_msg("%s: %s \"%s\", want it accepted", name, err.tag, err.msg);
        check_lint(f, c, name, &report);
    } else {
        check_rejection(f, c, name, rc, folder, &err);
    }
    checkpoint_close(ckpt);
    report_fini(&report);
}

static void judges_every_folder_as_listed(void **state)
{
    (void)state;
    struct hostile *f = hostile_open("index.json");
    uint32_t cases = json_get(&f->doc, 0, "cases");
    size_t n = 0;
    for (uint32_t c = json_first(&f->doc, cases); c != JSON_NONE; c = json_next(&f->doc, c)) {
        run_case(f, c);
        n++;
    }
    assert_true(n >= 48);
    hostile_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_every_folder_as_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
