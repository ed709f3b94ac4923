/* SPDX-License-Identifier: MIT */
/*
 * quality_table - our methods beside the peers', from what verify-run measured.
 *
 *   quality_table PEERS.json MODEL FORMAT SCOPE RUN.json [NAME=PEER | NAME<=X*NAME]...
 *
 * MODEL is plain, hard-0.5 or hard-1.0, FORMAT as in peers.json, SCOPE experts or portable. RUN is
 * `verify-run --json` of several models against the original on the evaluation windows; a method's
 * name is the last part of its path. Prints a table; then each method against the best peer by
 * forced KL, in pairs on the same windows. NAME=PEER says that NAME is the rule of PEER: its NMSE
 * must be the peer's to four digits and its forced KL (where the peer has one) to three. A<=X*B
 * says that the geometric mean of A's NMSE is at most X times B's. What does not hold makes the
 * exit code 1.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/io.h"
#include "libprep/base/json.h"
#include "libprep/numeric/bootstrap.h"

enum { MAX_WINDOWS = 1024, MAX_METHODS = 64 };

struct kl {
    int n; /* 0: not measured */
    struct bootstrap_interval mean;
    double windows[MAX_WINDOWS];
};

struct method {
    char name[80];
    int ours;
    double geo, p95, worst;
    struct kl forced, free;
};

static double work[BOOTSTRAP_RESAMPLES];
static struct method methods[MAX_METHODS];
static size_t n_methods;

static void die(const char *what, const char *name)
{
    fprintf(stderr, "quality_table: %s: %s\n", name, what);
    exit(65);
}

static void load(struct json *d, struct arena *arena, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span text;
    if (io_read_file(&io_posix, path, UINT64_C(1) << 30, arena, &text, &err) ||
        json_parse(d, (const char *)text.p, text.n, path, &err))
        die(err.msg, path);
}

static uint32_t want(const struct json *d, uint32_t object, const char *key)
{
    const uint32_t v = json_get(d, object, key);
    if (v == JSON_NONE)
        die("misses a member", key);
    return v;
}

static double number(const struct json *d, uint32_t object, const char *key)
{
    double v;
    const uint32_t node = want(d, object, key);
    return json_f64(d, node, &v) ? NAN : v;
}

static void read_windows(struct kl *to, const struct json *d, uint32_t list)
{
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i))
        if (to->n == MAX_WINDOWS || json_f64(d, i, &to->windows[to->n++]))
            die("has no list of numbers", d->name);
    bootstrap_mean(&to->mean, to->windows, (size_t)to->n, BOOTSTRAP_SEED, work);
}

static void read_name(char *to, size_t size, const struct json *d, uint32_t node)
{
    if (d->nodes[node].end - d->nodes[node].start >= size)
        die("has a long name", d->name);
    to[json_decode(d, node, to)] = 0;
}

static struct method *new_method(void)
{
    if (n_methods == MAX_METHODS)
        die("more methods than there is room for", "tables");
    return &methods[n_methods++];
}

static void read_peers(const struct json *d, const char *model, const char *format,
                       const char *scope)
{
    const uint32_t entries = want(d, 0, "entries");
    for (uint32_t e = json_first(d, entries); e != JSON_NONE; e = json_next(d, e)) {
        const uint32_t nmse = json_get(d, e, "nmse");
        const uint32_t figures = nmse == JSON_NONE || json_type(d, nmse) != JSON_OBJECT
                                     ? JSON_NONE
                                     : json_get(d, nmse, scope);
        if (figures == JSON_NONE || !json_equal(d, want(d, e, "model"), model) ||
            !json_equal(d, want(d, e, "format"), format))
            continue;
        struct method *m = new_method();
        read_name(m->name, sizeof m->name, d, want(d, e, "method"));
        m->geo = number(d, figures, "geo");
        m->p95 = number(d, figures, "p95");
        m->worst = number(d, figures, "worst");
        const uint32_t forced = json_get(d, e, "kl_forced"), free_kl = json_get(d, e, "kl_free");
        if (forced != JSON_NONE)
            read_windows(&m->forced, d, want(d, forced, "windows"));
        if (free_kl != JSON_NONE)
            read_windows(&m->free, d, want(d, free_kl, "windows"));
    }
}

static void read_run(const struct json *d, const char *scope)
{
    const uint32_t models = want(d, 0, "models");
    for (uint32_t e = json_first(d, models); e != JSON_NONE; e = json_next(d, e)) {
        char path[4096];
        struct method *m = new_method();
        read_name(path, sizeof path, d, want(d, e, "path"));
        const char *slash = strrchr(path, '/');
        snprintf(m->name, sizeof m->name, "%.79s", slash ? slash + 1 : path);
        m->ours = 1;
        const uint32_t nmse = want(d, e, "nmse");
        const uint32_t figures =
            want(d, nmse, strcmp(scope, "experts") == 0 ? "routed_experts" : "all");
        m->geo = number(d, figures, "geometric_mean");
        m->p95 = number(d, figures, "p95");
        m->worst = number(d, figures, "worst");
        read_windows(&m->forced, d, want(d, want(d, e, "forced"), "window_kl"));
        read_windows(&m->free, d, want(d, want(d, e, "free"), "window_kl"));
    }
}

static int by_error(const void *a, const void *b)
{
    const struct method *x = a, *y = b;
    return (x->geo < y->geo) - (x->geo > y->geo);
}

static void print_kl(const struct kl *k)
{
    if (k->n)
        printf(" %.5f [%.5f %.5f] |", k->mean.mean, k->mean.low, k->mean.high);
    else
        printf(" - |");
}

static void print_table(const char *model, const char *format, const char *scope)
{
    printf(
        "### %s, %s, %s\n\n| method | whose | NMSE geometric / p95 / worst | forced KL | free KL "
        "|\n|---|---|---|---|---|\n",
        format, scope, model);
    for (size_t i = 0; i < n_methods; i++) {
        const struct method *m = &methods[i];
        printf("| %s | %s | %.5f / %.5f / %.5f |", m->name, m->ours ? "**ours**" : "peer", m->geo,
               m->p95, m->worst);
        print_kl(&m->forced);
        print_kl(&m->free);
        putchar('\n');
    }
    putchar('\n');
}

static const struct method *best_peer(void)
{
    const struct method *best = NULL;
    for (size_t i = 0; i < n_methods; i++) {
        const struct method *m = &methods[i];
        if (!m->ours && m->forced.n && strcmp(m->name, "prototype") != 0 &&
            (!best || m->forced.mean.mean < best->forced.mean.mean))
            best = m;
    }
    return best;
}

static const char *verdict(const struct bootstrap_interval *d)
{
    return d->low > 0 ? "worse" : d->high < 0 ? "better" : "not distinguishable";
}

static void print_pairs(void)
{
    const struct method *best = best_peer();
    struct bootstrap_interval d;
    if (!best)
        return;
    printf("Forced KL minus that of the best peer (%s), in pairs:\n\n", best->name);
    for (size_t i = 0; i < n_methods; i++) {
        const struct method *m = &methods[i];
        if (!m->ours)
            continue;
        if (m->forced.n != best->forced.n)
            die("was measured on other windows than the peers", m->name);
        bootstrap_difference(&d, m->forced.windows, best->forced.windows, (size_t)m->forced.n,
                             BOOTSTRAP_SEED, work);
        printf("* %s: %+.5f [%+.5f %+.5f], %s\n", m->name, d.mean, d.low, d.high, verdict(&d));
    }
    putchar('\n');
}

static const struct method *find(const char *name, size_t n, int ours)
{
    for (size_t i = 0; i < n_methods; i++)
        if (methods[i].ours == ours && strlen(methods[i].name) == n &&
            memcmp(methods[i].name, name, n) == 0)
            return &methods[i];
    die("no such method", name);
    return NULL;
}

/* Equal to so many significant digits: less than half a unit of the last one apart. */
static int agrees(double ours, double peers, int digits)
{
    return fabs(ours / peers - 1) < 0.5 * pow(10, 1 - digits);
}

/* NAME<=X*NAME */
static int check_ratio(const char *text)
{
    const char *less = strstr(text, "<="), *star = strchr(text, '*');
    const double most = star ? strtod(less + 2, NULL) : 0;
    if (most <= 0)
        die("want NAME<=X*NAME", text);
    const struct method *a = find(text, (size_t)(less - text), 1);
    const struct method *b = find(star + 1, strlen(star + 1), 1);
    const int holds = a->geo <= most * b->geo;
    printf("* NMSE of %s is %.3f times that of %s, at most %g: %s\n", a->name, a->geo / b->geo,
           b->name, most, holds ? "holds" : "**does not hold**");
    return holds;
}

static int check(const char *text)
{
    if (strstr(text, "<="))
        return check_ratio(text);
    const char *equals = strchr(text, '=');
    if (!equals)
        die("want NAME=PEER", text);
    const struct method *a = find(text, (size_t)(equals - text), 1);
    const struct method *b = find(equals + 1, strlen(equals + 1), 0);
    const int nmse =
        agrees(a->geo, b->geo, 4) && agrees(a->p95, b->p95, 4) && agrees(a->worst, b->worst, 4);
    const int kl = !b->forced.n || agrees(a->forced.mean.mean, b->forced.mean.mean, 3);
    printf("* %s is the rule of %s: NMSE %.7f, %.7f: %s", a->name, b->name, a->geo, b->geo,
           nmse ? "equal" : "**not equal**");
    if (b->forced.n)
        printf("; forced KL %.7f, %.7f: %s", a->forced.mean.mean, b->forced.mean.mean,
               kl ? "equal" : "**not equal**");
    putchar('\n');
    return nmse && kl;
}

int main(int argc, char **argv)
{
    struct json peers, run;
    struct arena arena;
    int failed = 0;
    if (argc < 6) {
        fprintf(stderr, "usage: quality_table PEERS MODEL FORMAT SCOPE RUN [CHECK]...\n");
        return 64;
    }
    arena_init(&arena, 0);
    load(&peers, &arena, argv[1]);
    load(&run, &arena, argv[5]);
    read_peers(&peers, argv[2], argv[3], argv[4]);
    read_run(&run, argv[4]);
    qsort(methods, n_methods, sizeof *methods, by_error);
    print_table(argv[2], argv[3], argv[4]);
    print_pairs();
    for (int i = 6; i < argc; i++)
        failed |= !check(argv[i]);
    putchar('\n');
    json_free(&run);
    json_free(&peers);
    arena_fini(&arena);
    return failed;
}
