/* SPDX-License-Identifier: MIT */
/* Options, help, messages and progress, against streams in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/cli.h"

struct options {
    const char *keep_map;
    struct cli_list weights;
    int64_t keep;
    double threshold;
    uint64_t shard;
    int pool, center, metric;
};

#define AT(field) offsetof(struct options, field)

static const struct cli_option table[] = {
    {"keep", 'k', CLI_INT, "N", "experts to keep in every layer", AT(keep), 1, 65536},
    {"keep-map", 0, CLI_TEXT, "FILE", "take the survivors from this file", AT(keep_map), 0, 0},
    {"weight", 'w', CLI_LIST, "W", "weight of the next run", AT(weights), 0, 0},
    {"threshold", 0, CLI_REAL, "X", "share above which an expert is protected", AT(threshold), 0,
     0},
    {"max-shard-size", 0, CLI_SIZE, "SIZE", "largest shard", AT(shard), 0, 0},
    {"metric", 0, CLI_CHOICE,
     "reap|ean_mean|ean_sum|weighted_ean_sum|frequency|max_activations|ean_ca", "saliency",
     AT(metric), 0, 0},
    {"pool", 0, CLI_CHOICE, "routed|total-tokens|equal", "how runs are pooled", AT(pool), 0, 0},
    {"center-bias", 0, CLI_FLAG, NULL, "subtract the mean of the correction bias", AT(center), 0,
     0},
};

static const struct cli_program program = {
    .name = "reap-prune",
    .schema = "reap-prune/1",
    .purpose = "prune routed experts",
    .synopsis = "CHECKPOINT OUTPUT\n--describe FILE",
    .description = "First paragraph, long enough that it must be wrapped somewhere near the end of "
                   "the line.\n\nSecond - with a dash.",
    .examples = "reap-prune in out\nreap-prune a b",
    .common = CLI_HAS_ALL,
    .options = table,
    .n_options = sizeof table / sizeof table[0],
    .min_operands = 1,
    .max_operands = 2,
};

static double clock_now;

static double fake_now(void)
{
    return clock_now;
}

static char *no_env(const char *name)
{
    (void)name;
    return NULL;
}

static char *some_env(const char *name)
{
    static char jobs[] = "7", mem[] = "64M", omp[] = "3";
    if (strcmp(name, "PREP_JOBS") == 0)
        return jobs;
    if (strcmp(name, "OMP_NUM_THREADS") == 0)
        return omp;
    return strcmp(name, "PREP_MEM") == 0 ? mem : NULL;
}

static char *bad_env(const char *name)
{
    static char bad[] = "lots";
    return strcmp(name, "PREP_MEM") == 0 ? bad : NULL;
}

/* A tool run on streams in memory. */
struct run {
    struct cli cli;
    struct options o;
    struct cli_host host;
    char *out, *err;
    size_t n_out, n_err;
    char *argv[40];
    int argc, rc;
};

static void run_open(struct run *r)
{
    memset(r, 0, sizeof *r);
    r->host = (struct cli_host){open_memstream(&r->out, &r->n_out),
                                open_memstream(&r->err, &r->n_err), no_env, fake_now, 0};
    assert_non_null(r->host.out);
    assert_non_null(r->host.err);
}

/* words: the command line, split at blanks */
static int run_parse(struct run *r, char *words)
{
    r->argc = 0;
    char *rest = NULL;
    for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        r->argv[r->argc++] = w;
    r->rc = cli_init_on(&r->cli, &program, &r->o, r->argc, r->argv, &r->host);
    fflush(r->host.out);
    fflush(r->host.err);
    return r->rc;
}

static void run_close(struct run *r)
{
    if (r->rc == CLI_RUN)
        cli_fini(&r->cli);
    fclose(r->host.out);
    fclose(r->host.err);
    free(r->out);
    free(r->err);
}

static void every_kind_of_option_is_stored(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char words[] = "reap-prune in -k 12 --keep-map=m.json -w 1 --weight 3 --threshold 2.5e-1 out "
                   "--max-shard-size 5GB --pool equal --center-bias --part 2/8 -qvv -j3 --mem 1G";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    assert_int_equal(r.o.keep, 12);
    assert_string_equal(r.o.keep_map, "m.json");
    assert_int_equal(r.o.weights.n, 2);
    assert_string_equal(r.o.weights.items[1], "3");
    assert_true(r.o.threshold == 0.25);
    assert_int_equal(r.o.shard, 5000000000);
    assert_int_equal(r.o.pool, 2);
    assert_int_equal(r.o.center, 1);
    assert_int_equal(r.cli.common.part.i, 2);
    assert_int_equal(r.cli.common.part.n, 8);
    assert_int_equal(r.cli.common.verbose, 2);
    assert_int_equal(r.cli.common.quiet, 1);
    assert_int_equal(r.cli.common.jobs, 3);
    assert_int_equal(r.cli.common.mem, 1 << 30);
    assert_int_equal(r.cli.n_operands, 2);
    assert_string_equal(r.cli.operands[0], "in");
    assert_string_equal(r.cli.operands[1], "out");
    assert_int_equal(r.n_out + r.n_err, 0);
    run_close(&r);
}

static void words_after_two_dashes_are_operands(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char words[] = "reap-prune -- --keep -q";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    assert_int_equal(r.cli.n_operands, 2);
    assert_string_equal(r.cli.operands[0], "--keep");
    run_close(&r);
}

static void a_flag_wins_over_the_environment_and_that_over_the_default(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char plain[] = "reap-prune in";
    assert_int_equal(run_parse(&r, plain), CLI_RUN);
    assert_int_equal(r.cli.common.mem, (uint64_t)4 << 30);
    assert_true(r.cli.common.jobs >= 1);
    run_close(&r);

    run_open(&r);
    r.host.env = some_env;
    char env[] = "reap-prune in";
    assert_int_equal(run_parse(&r, env), CLI_RUN);
    assert_int_equal(r.cli.common.mem, 64 << 20);
    assert_int_equal(r.cli.common.jobs, 7);
    run_close(&r);

    run_open(&r);
    r.host.env = some_env;
    char flag[] = "reap-prune in -j 2 --mem 100000";
    assert_int_equal(run_parse(&r, flag), CLI_RUN);
    assert_int_equal(r.cli.common.mem, 100000);
    assert_int_equal(r.cli.common.jobs, 2);
    run_close(&r);
}

/* Exit 64, nothing on stdout, exactly this on stderr. */
static void expect_usage(const char *line, const char *message)
{
    struct run r;
    run_open(&r);
    char words[256];
    snprintf(words, sizeof words, "%s", line);
    assert_int_equal(run_parse(&r, words), 64);
    assert_string_equal(r.err, message);
    assert_int_equal(r.n_out, 0);
    run_close(&r);
}

static void faults_of_usage_are_one_line_with_a_hint(void **state)
{
    (void)state;
    expect_usage("reap-prune in --kep 3",
                 "reap-prune: unknown option '--kep'; did you mean --keep?\n");
    expect_usage("reap-prune --quite in",
                 "reap-prune: unknown option '--quite'; did you mean --quiet?\n");
    expect_usage("reap-prune in --frobnicate",
                 "reap-prune: unknown option '--frobnicate'; --help lists the options\n");
    expect_usage("reap-prune in -x", "reap-prune: unknown option '-x'; --help lists the options\n");
    expect_usage("reap-prune in --ver", "reap-prune: option '--ver' is ambiguous; --help lists the "
                                        "options\n");
    expect_usage("reap-prune in --keep", "reap-prune: --keep wants an argument, N\n");
    expect_usage("reap-prune in -k", "reap-prune: --keep wants an argument, N\n");
    expect_usage("reap-prune in --json=yes", "reap-prune: --json takes no argument\n");
    expect_usage("reap-prune", "reap-prune: missing operand, want: reap-prune CHECKPOINT OUTPUT; "
                               "--help says more\n");
    expect_usage("reap-prune a b c", "reap-prune: operand 'c' is one too many, want: reap-prune "
                                     "CHECKPOINT OUTPUT\n");
    expect_usage("reap-prune a -k 0",
                 "reap-prune: --keep: is '0', want an integer from 1 to 65536\n");
    expect_usage("reap-prune a --pool equa",
                 "reap-prune: --pool: is 'equa', want one of routed|total-tokens|equal\n");
    expect_usage("reap-prune a --part 8/8",
                 "reap-prune: --part: is '8/8', want 0 <= i < n <= 1000000\n");
    expect_usage("reap-prune a --threshold 0x1p3",
                 "reap-prune: --threshold: is '0x1p3', want a decimal number\n");
}

static void a_bad_variable_is_named(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    r.host.env = bad_env;
    char words[] = "reap-prune in";
    assert_int_equal(run_parse(&r, words), 64);
    assert_non_null(strstr(r.err, "reap-prune: PREP_MEM: is 'lots', want a size above 0"));
    run_close(&r);

    run_open(&r);
    r.host.env = bad_env;
    char help[] = "reap-prune --help";
    assert_int_equal(run_parse(&r, help), 0);
    run_close(&r);
}

static void sizes_take_both_kinds_of_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t want; /* 0: refused */
    } cases[] = {
        {"1", 1},
        {"1B", 1},
        {"2k", 2048},
        {"2K", 2048},
        {"2KiB", 2048},
        {"2kB", 2000},
        {"2KB", 2000},
        {"64M", 67108864},
        {"64MB", 64000000},
        {"4G", (uint64_t)4 << 30},
        {"4g", (uint64_t)4 << 30},
        {"1TiB", (uint64_t)1 << 40},
        {"1TB", 1000000000000},
        {"0", 0},
        {"", 0},
        {"-1", 0},
        {"+1", 0},
        {" 1", 0},
        {"1 G", 0},
        {"1X", 0},
        {"1GiBs", 0},
        {"1.5G", 0},
        {"G", 0},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551616", 0},
        {"16777216T", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        uint64_t got = 0;
        int rc = cli_parse_size(&got, cases[i].text, "--mem", &err);
        assert_int_equal(rc, cases[i].want ? 0 : -1);
        assert_int_equal(err.code, cases[i].want ? PREP_OK : PREP_EUSAGE);
        if (!rc)
            assert_int_equal(got, cases[i].want);
    }
}

static void integers_and_reals_are_read_whole(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    int64_t v = 0;
    double x = 0;
    assert_int_equal(cli_parse_int(&v, "-5", -10, 10, "n", &err), 0);
    assert_int_equal(v, -5);
    static const char *const bad[] = {"",   "-", "5x", " 5", "+5", "11", "99999999999999999999",
                                      "0x1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        prep_error_clear(&err);
        assert_int_equal(cli_parse_int(&v, bad[i], -10, 10, "n", &err), -1);
    }
    prep_error_clear(&err);
    assert_int_equal(cli_parse_real(&x, "-1.5e3", "x", &err), 0);
    assert_true(x == -1500.0);
    static const char *const unreal[] = {"", "nan", "inf", "1e999", "1,5", "1.5 ", "e"};
    for (size_t i = 0; i < sizeof unreal / sizeof unreal[0]; i++) {
        prep_error_clear(&err);
        assert_int_equal(cli_parse_real(&x, unreal[i], "x", &err), -1);
    }
}

static void parts_are_counted_from_zero(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct cli_part p = {0, 0};
    assert_int_equal(cli_parse_part(&p, "0/1", "--part", &err), 0);
    assert_int_equal(cli_parse_part(&p, "999999/1000000", "--part", &err), 0);
    assert_int_equal(p.i, 999999);
    static const char *const bad[] = {"",     "/",     "1",   "1/",        "/1",         "1/1",
                                      "-1/2", "1/2/3", "0/0", "0/1000001", "00000000/1", "1/2 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        prep_error_clear(&err);
        assert_int_equal(cli_parse_part(&p, bad[i], "--part", &err), -1);
    }
}

static void help_and_man_page_show_every_option(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char words[] = "reap-prune --nothing-else --help";
    /* An unknown option before --help is still a fault. */
    assert_int_equal(run_parse(&r, words), 64);
    run_close(&r);

    run_open(&r);
    char help[] = "reap-prune --help";
    assert_int_equal(run_parse(&r, help), 0);
    char man[] = "reap-prune --help-man";
    struct run m;
    run_open(&m);
    assert_int_equal(run_parse(&m, man), 0);
    const struct cli_option *o;
    int common;
    for (size_t i = 0; (o = cli_option_at(&program, i, &common)); i++) {
        char name[64];
        snprintf(name, sizeof name, "--%s", o->name);
        assert_non_null(strstr(r.out, name));
    }
    assert_non_null(strstr(r.out, "Usage: reap-prune [OPTION]... CHECKPOINT OUTPUT\n"
                                  "   or: reap-prune [OPTION]... --describe FILE\n"));
    assert_non_null(strstr(r.out, "  -k, --keep=N            experts to keep in every layer\n"));
    assert_non_null(strstr(
        r.out,
        "\n      --metric=reap|ean_mean|ean_sum|weighted_ean_sum|frequency|max_activations|\n"
        "            ean_ca        saliency\n"));
    assert_non_null(strstr(r.out, "Examples:\n  reap-prune in out\n  reap-prune a b\n\n"));
    assert_non_null(strstr(r.out, "  75  stopped cleanly"));
    assert_null(strstr(r.out, "help-man"));
    for (const char *line = r.out; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    assert_non_null(strstr(m.out, "\\fB\\-\\-max\\-shard\\-size\\fR=\\fISIZE\\fR"));
    assert_non_null(strstr(m.out, "Second \\- with a dash."));
    assert_int_equal(r.n_err + m.n_err, 0);
    run_close(&r);
    run_close(&m);
}

static void a_tool_without_a_common_option_refuses_it(void **state)
{
    (void)state;
    struct cli_program small = program;
    small.common = CLI_HAS_JSON;
    struct run r;
    run_open(&r);
    char name[] = "x", option[] = "--force", *argv[] = {name, option, NULL};
    r.rc = cli_init_on(&r.cli, &small, &r.o, 2, argv, &r.host);
    assert_int_equal(r.rc, 64);
    run_close(&r);
}

static void an_error_is_one_line_and_with_json_an_object(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char words[] = "reap-prune --json in";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    struct report report;
    report_init(&report);
    report_warn(&report, "OBS_NEVER_ROUTED", "layer %d", 3);
    cJSON_AddNumberToObject(report.facts, "n_experts", 12);
    struct prep_error err = PREP_ERROR_INIT;
    prep_fail_tag(&err, PREP_EDATA, "OBS_NAN", "a\xff\"b");
    assert_int_equal(cli_finish(&r.cli, &report, &err), 65);
    fflush(r.host.err);
    assert_string_equal(r.err, "reap-prune: warning: OBS_NEVER_ROUTED: layer 3\n"
                               "reap-prune: OBS_NAN: a\xff\"b\n");
    assert_string_equal(r.out,
                        "{\"schema\":\"reap-prune/1\",\"warnings\":[{\"tag\":\"OBS_NEVER_ROUTED\","
                        "\"message\":\"layer 3\"}],\"n_experts\":12,\"error\":{\"tag\":\"OBS_NAN\","
                        "\"message\":\"a?\\\"b\",\"exit\":65}}\n");
    report_fini(&report);
    run_close(&r);

    run_open(&r);
    char usage[] = "reap-prune --nope --json";
    assert_int_equal(run_parse(&r, usage), 64);
    assert_non_null(strstr(r.out, "\"exit\":64"));
    run_close(&r);
}

static void a_report_without_json_leaves_stdout_alone(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char words[] = "reap-prune in";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    struct report report;
    report_init(&report);
    assert_int_equal(cli_report(&r.cli, &report), 0);
    assert_int_equal(r.n_out, 0);
    report_fini(&report);
    run_close(&r);
}

static void a_full_disk_behind_stdout_is_74(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    FILE *full = fopen("/dev/full", "w"), *memory = r.host.out;
    if (!full) {
        run_close(&r);
        skip();
    }
    r.host.out = full;
    char words[] = "reap-prune --help";
    assert_int_equal(run_parse(&r, words), 74);
    assert_non_null(strstr(r.err, "cannot write to standard output"));
    fclose(full);
    r.host.out = memory;
    run_close(&r);
}

static void progress_is_redrawn_on_a_terminal(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    r.host.live_width = 60;
    char words[] = "reap-prune in";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    struct progress p = {"copy", 1000, 1000000, 0, 0, NULL};
    clock_now = 100;
    cli_progress(&r.cli, &p);
    clock_now = 100.05;
    cli_progress(&r.cli, &p); /* too soon */
    fflush(r.host.err);
    assert_int_equal(r.n_err, 0);
    clock_now = 102;
    p.done_bytes = 501000;
    cli_progress(&r.cli, &p);
    fflush(r.host.err);
    assert_non_null(strstr(r.err, "\rcopy 501 kB of 1.00 MB, 50 %, 250 kB/s, 0:02 left, "));
    assert_true(strlen(r.err) <= 60 - 1 + 4);
    assert_int_equal(cli_report(&r.cli, NULL), 0);
    fflush(r.host.err);
    assert_string_equal(r.err + r.n_err - 4, "\r\033[K");
    run_close(&r);
}

static void progress_is_a_line_per_half_minute_elsewhere(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    char words[] = "reap-prune in";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    struct progress p = {"copy", 0, 1000000000000, 1, 85, NULL};
    for (int s = 0; s <= 70; s++) {
        clock_now = 1000 + s;
        p.done_bytes = (uint64_t)s * 1000000000;
        cli_progress(&r.cli, &p);
    }
    fflush(r.host.err);
    int lines = 0;
    for (size_t i = 0; i < r.n_err; i++)
        lines += r.err[i] == '\n';
    assert_int_equal(lines, 2);
    assert_non_null(strstr(r.err, "reap-prune: copy 30.0 GB of 1.00 TB, 3 %, 1.00 GB/s, 16:10 "
                                  "left, 1 of 85 files, peak "));
    run_close(&r);
}

static void quiet_hides_progress_and_notes(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    r.host.live_width = 60;
    char words[] = "reap-prune -q in";
    assert_int_equal(run_parse(&r, words), CLI_RUN);
    struct progress p = {"copy", 0, 10, 0, 0, NULL};
    clock_now = 0;
    cli_progress(&r.cli, &p);
    clock_now = 60;
    cli_progress(&r.cli, &p);
    cli_say(&r.cli, "a note");
    fflush(r.host.err);
    assert_int_equal(r.n_err, 0);
    run_close(&r);
}

static void amounts_have_three_digits(void **state)
{
    (void)state;
    char b[CLI_BYTES_TEXT];
    assert_string_equal(cli_format_bytes(0, b), "0 B");
    assert_string_equal(cli_format_bytes(999, b), "999 B");
    assert_string_equal(cli_format_bytes(1000, b), "1.00 kB");
    assert_string_equal(cli_format_bytes(9995, b), "10.0 kB");
    assert_string_equal(cli_format_bytes(999999, b), "1.00 MB");
    assert_string_equal(cli_format_bytes(1125380000000, b), "1.13 TB");
    assert_string_equal(cli_format_bytes(UINT64_MAX, b), "18.4 EB");
    assert_string_equal(cli_format_memory(1023, b), "1023 B");
    assert_string_equal(cli_format_memory((uint64_t)4 << 30, b), "4.00 GiB");
}

/* In a child: the first signal sets the flag, the second kills. */
static void the_second_signal_ends_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const volatile sig_atomic_t *stop = cli_catch_signals();
        if (*stop)
            _exit(1);
        raise(SIGTERM);
        if (!*stop)
            _exit(2);
        raise(SIGINT);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_option_is_stored),
        cmocka_unit_test(words_after_two_dashes_are_operands),
        cmocka_unit_test(a_flag_wins_over_the_environment_and_that_over_the_default),
        cmocka_unit_test(faults_of_usage_are_one_line_with_a_hint),
        cmocka_unit_test(a_bad_variable_is_named),
        cmocka_unit_test(sizes_take_both_kinds_of_units),
        cmocka_unit_test(integers_and_reals_are_read_whole),
        cmocka_unit_test(parts_are_counted_from_zero),
        cmocka_unit_test(help_and_man_page_show_every_option),
        cmocka_unit_test(a_tool_without_a_common_option_refuses_it),
        cmocka_unit_test(an_error_is_one_line_and_with_json_an_object),
        cmocka_unit_test(a_report_without_json_leaves_stdout_alone),
        cmocka_unit_test(a_full_disk_behind_stdout_is_74),
        cmocka_unit_test(progress_is_redrawn_on_a_terminal),
        cmocka_unit_test(progress_is_a_line_per_half_minute_elsewhere),
        cmocka_unit_test(quiet_hides_progress_and_notes),
        cmocka_unit_test(amounts_have_three_digits),
        cmocka_unit_test(the_second_signal_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
