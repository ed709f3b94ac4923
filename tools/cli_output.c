/* SPDX-License-Identifier: MIT */
/*
 * What a command prints while and after it runs: progress, notes, warnings, errors, the JSON
 * object.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tools/cli.h"
#include "tools/cli_ranks.h"

/* Seconds between two drawings of the live line, and between two plain lines. */
#define LIVE_PERIOD 0.1
#define PLAIN_PERIOD 30.0

static const char *format_scaled(double v, const char *const *units, double base, char *buf)
{
    int i = 0;
    /* 999.5 would print as 1000 and 9.995 as 10.00: step over before it rounds up. */
    while (units[i + 1] && v >= (i ? base - 0.5 : base)) {
        v /= base;
        i++;
    }
    int digits = i == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
    snprintf(buf, CLI_BYTES_TEXT, "%.*f %s", digits, v, units[i]);
    return buf;
}

const char *cli_format_bytes(uint64_t bytes, char buf[CLI_BYTES_TEXT])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB", NULL};
    return format_scaled((double)bytes, units, 1000.0, buf);
}

const char *cli_format_memory(uint64_t bytes, char buf[CLI_BYTES_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", NULL};
    return format_scaled((double)bytes, units, 1024.0, buf);
}

static uint64_t peak_memory(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : (uint64_t)u.ru_maxrss * 1024;
}

static void clear_live_line(struct cli *cli)
{
    if (cli->meter.drawn)
        fputs("\r\033[K", cli->host.err);
    cli->meter.drawn = 0;
}

static void format_duration(double seconds, char *buf, size_t size)
{
    if (!(seconds < 360000.0)) {
        snprintf(buf, size, "--");
        return;
    }
    unsigned s = (unsigned)(seconds + 0.5);
    if (s >= 3600)
        snprintf(buf, size, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, size, "%u:%02u", s / 60, s % 60);
}

/* "12.4 GB", or "1234 tokens". */
static const char *format_amount(uint64_t v, const char *unit, char buf[CLI_BYTES_TEXT])
{
    if (!unit)
        return cli_format_bytes(v, buf);
    snprintf(buf, CLI_BYTES_TEXT, "%" PRIu64 " %.10s", v, unit);
    return buf;
}

/* "copy 12.4 GB of 1.13 TB, 1 %, 2.31 GB/s, 8:05 left, 3 of 85 files, peak 1.21 GiB" */
static void format_progress(const struct cli *cli, const struct progress *p, double now, char *buf,
                            size_t size)
{
    char done[CLI_BYTES_TEXT], total[CLI_BYTES_TEXT], rate[CLI_BYTES_TEXT], left[32],
        peak[CLI_BYTES_TEXT], files[64] = "";
    double elapsed = now - cli->meter.started;
    double fresh = p->done_bytes > cli->meter.base ? (double)(p->done_bytes - cli->meter.base) : 0;
    double per_second = elapsed > 0 ? fresh / elapsed : 0;
    double rest = p->total_bytes > p->done_bytes ? (double)(p->total_bytes - p->done_bytes) : 0;
    double percent =
        p->total_bytes ? 100.0 * (double)p->done_bytes / (double)p->total_bytes : 100.0;
    format_duration(rest > 0 ? rest / per_second : 0, left, sizeof left);
    if (p->total_files)
        snprintf(files, sizeof files, "%" PRIu64 " of %" PRIu64 " files, ", p->done_files,
                 p->total_files);
    snprintf(buf, size, "%s %s of %s, %d %%, %s/s, %s left, %speak %s", p->phase,
             format_amount(p->done_bytes, p->unit, done),
             format_amount(p->total_bytes, p->unit, total), (int)percent,
             format_amount((uint64_t)per_second, p->unit, rate), left, files,
             cli_format_memory(peak_memory(), peak));
}

void cli_progress(void *arg, const struct progress *p)
{
    struct cli *cli = arg;
    struct cli_meter *m = &cli->meter;
    if (cli->common.quiet)
        return;
    double now = cli->host.now();
    if (!m->phase || strcmp(m->phase, p->phase) != 0) {
        m->phase = p->phase;
        m->started = m->shown = now;
        m->base = p->done_bytes;
        return;
    }
    char line[320];
    if (now - m->shown < (cli->host.live_width ? LIVE_PERIOD : PLAIN_PERIOD))
        return;
    m->shown = now;
    format_progress(cli, p, now, line, sizeof line);
    if (cli->host.live_width) {
        /* The last column stays free: some terminals wrap when it is written. */
        fprintf(cli->host.err, "\r%.*s\033[K", cli->host.live_width - 1, line);
        m->drawn = 1;
    } else {
        fprintf(cli->host.err, "%s: %s\n", cli->program->name, line);
    }
    fflush(cli->host.err);
}

void cli_say(struct cli *cli, const char *fmt, ...)
{
    if (cli->common.quiet)
        return;
    clear_live_line(cli);
    fprintf(cli->host.err, "%s: ", cli->program->name);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(cli->host.err, fmt, ap);
    va_end(ap);
    fputc('\n', cli->host.err);
}

/* Length of the UTF-8 sequence at p, 0 when there is none (overlong, surrogate, cut). */
static size_t utf8_length(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* Names of files are bytes; JSON must be UTF-8. */
static void make_utf8(char *text)
{
    unsigned char *p = (unsigned char *)text;
    while (*p) {
        size_t n = utf8_length(p);
        if (!n)
            *p = '?';
        p += n ? n : 1;
    }
}

static int add_warnings(cJSON *root, const struct report *report)
{
    cJSON *list = cJSON_AddArrayToObject(root, "warnings");
    if (!list)
        return -1;
    for (size_t i = 0; report && i < report->n_warnings; i++) {
        cJSON *w = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(list, w) ||
            !cJSON_AddStringToObject(w, "tag", report->warnings[i].tag) ||
            !cJSON_AddStringToObject(w, "message", report->warnings[i].text))
            return -1;
    }
    return 0;
}

static int add_error(cJSON *root, const struct prep_error *err)
{
    if (err->code == PREP_OK)
        return 0;
    cJSON *e = cJSON_AddObjectToObject(root, "error");
    return e && cJSON_AddStringToObject(e, "tag", err->tag) &&
                   cJSON_AddStringToObject(e, "message", err->msg) &&
                   cJSON_AddNumberToObject(e, "exit", prep_exit_code(err->code))
               ? 0
               : -1;
}

/* The tool's, unless what it found is of a schema of its own. */
static const char *schema_of(const struct cli *cli, const struct report *report)
{
    const cJSON *own = report ? cJSON_GetObjectItem(report->facts, "schema") : NULL;
    return cJSON_IsString(own) ? own->valuestring : cli->program->schema;
}

static int add_facts(cJSON *root, const struct report *report)
{
    const cJSON *fact = report && report->facts ? report->facts->child : NULL;
    for (; fact; fact = fact->next)
        if (strcmp(fact->string, "schema") != 0 &&
            !cJSON_AddItemReferenceToObject(root, fact->string, (cJSON *)(uintptr_t)fact))
            return -1;
    return 0;
}

static int print_json(struct cli *cli, const struct report *report, const struct prep_error *err)
{
    cJSON *root = cJSON_CreateObject();
    char *text = NULL;
    if (root && cJSON_AddStringToObject(root, "schema", schema_of(cli, report)) &&
        !add_warnings(root, report) && !add_facts(root, report) && !add_error(root, err))
        text = cJSON_PrintUnformatted(root);
    if (text) {
        make_utf8(text);
        fprintf(cli->host.out, "%s\n", text);
    }
    cJSON_free(text);
    cJSON_Delete(root);
    return text ? 0 : -1;
}

static void print_error(struct cli *cli, const struct prep_error *err)
{
    fprintf(cli->host.err, "%s: %s%s%s\n", cli->program->name, err->tag, *err->tag ? ": " : "",
            err->msg);
}

int cli_finish(struct cli *cli, const struct report *report, const struct prep_error *err)
{
    clear_live_line(cli);
    for (size_t i = 0; report && i < report->n_warnings; i++)
        fprintf(cli->host.err, "%s: warning: %s: %s\n", cli->program->name, report->warnings[i].tag,
                report->warnings[i].text);

    struct prep_error own = PREP_ERROR_INIT;
    if (report && err->code == PREP_OK && report_ok(report, &own))
        err = &own;
    if (cli->common.json && print_json(cli, report, err) && err->code == PREP_OK) {
        prep_fail(&own, PREP_ENOMEM, "out of memory while printing the result");
        err = &own;
    }
    errno = 0;
    if ((fflush(cli->host.out) || ferror(cli->host.out)) && err->code == PREP_OK) {
        prep_fail_sys(&own, PREP_EIO, errno, "cannot write to standard output");
        err = &own;
    }
    if (err->code != PREP_OK)
        print_error(cli, err);
    return prep_exit_code(err->code);
}

int cli_fail(struct cli *cli, const struct prep_error *err)
{
    return cli_finish(cli, NULL, err);
}

int cli_report(struct cli *cli, const struct report *report)
{
    const struct prep_error none = PREP_ERROR_INIT;
    return cli_finish(cli, report, &none);
}

int cli_main(const struct cli_program *program, void *options, cli_run_fn run, int argc,
             char **argv)
{
    struct cli cli;
    int rc = cli_init(&cli, program, options, argc, argv);
    if (rc != CLI_RUN)
        return rc;
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    report_init(&report);
    rc = run(&cli, options, &report, &err);
    if (rc && err.code == PREP_OK)
        prep_fail(&err, PREP_EBUG, "failed without saying why");
    if (rc && !cli.ranks.failed)
        ranks_raise(&cli.ranks);
    if (ranks_agree(&cli.ranks, rc, &err) && err.code == PREP_OK)
        prep_fail(&err, PREP_EBUG, "a rank failed without saying why");
    rc = cli_finish(&cli, &report, &err);
    report_fini(&report);
    cli_leave_ranks(&cli, rc);
    cli_fini(&cli);
    return rc;
}
