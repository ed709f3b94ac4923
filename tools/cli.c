/* SPDX-License-Identifier: MIT */
#include "tools/cli.h"
#include "tools/cli_ranks.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "libprep/base/parallel.h"

#define COMMON(field) offsetof(struct cli_common, field)
#define DEFAULT_MEM ((uint64_t)4 << 30)

enum { MAX_JOBS = 4096, MAX_PARTS = 1000000, FIRST_LONG = 256 };

static const struct {
    unsigned bit; /* 0: every tool has it */
    struct cli_option option;
} common_options[] = {
    {CLI_HAS_DRY_RUN,
     {"dry-run", 0, CLI_FLAG, NULL, "do every check, print the plan with its sizes, write nothing",
      COMMON(dry_run), 0, 0}},
    {CLI_HAS_JSON,
     {"json", 0, CLI_FLAG, NULL, "print the result as one JSON object", COMMON(json), 0, 0}},
    {CLI_HAS_QUIET,
     {"quiet", 'q', CLI_FLAG, NULL, "no progress and no notes; warnings and errors stay",
      COMMON(quiet), 0, 0}},
    {CLI_HAS_VERBOSE,
     {"verbose", 'v', CLI_FLAG, NULL, "say more about what is done", COMMON(verbose), 0, 0}},
    {CLI_HAS_JOBS,
     {"jobs", 'j', CLI_INT, "N", "threads [PREP_JOBS, else the CPUs this process may use]",
      COMMON(jobs), 1, MAX_JOBS}},
    {CLI_HAS_MEM,
     {"mem", 0, CLI_SIZE, "SIZE", "memory to work in, such as 64M or 8G [PREP_MEM, else 4G]",
      COMMON(mem), 0, 0}},
    {CLI_HAS_FRESH,
     {"fresh", 0, CLI_FLAG, NULL, "discard the state of an unfinished run and start over",
      COMMON(fresh), 0, 0}},
    {CLI_HAS_FORCE, {"force", 0, CLI_FLAG, NULL, "replace finished output", COMMON(force), 0, 0}},
    {CLI_HAS_PART,
     {"part", 0, CLI_PART, "i/n", "make only the files of part i of n, counted from 0",
      COMMON(part), 0, 0}},
    {CLI_HAS_PART,
     {"assemble", 0, CLI_FLAG, NULL, "check that every part is done and finish the output",
      COMMON(assemble), 0, 0}},
    {0, {"help", 'h', CLI_FLAG, NULL, "print this help", COMMON(help), 0, 0}},
    {0, {"version", 0, CLI_FLAG, NULL, "print version and features", COMMON(version), 0, 0}},
};

enum { N_COMMON = sizeof common_options / sizeof common_options[0] };

/* Prints the man page; the one option that --help does not show. */
static const struct cli_option man_option = {"help-man",           0,           CLI_FLAG, NULL,
                                             "print the man page", COMMON(man), 0,        0};

const struct cli_option *cli_option_at(const struct cli_program *program, size_t i, int *common)
{
    *common = i >= program->n_options;
    if (!*common)
        return &program->options[i];
    i -= program->n_options;
    for (size_t k = 0; k < N_COMMON; k++) {
        if (common_options[k].bit && !(program->common & common_options[k].bit))
            continue;
        if (i-- == 0)
            return &common_options[k].option;
    }
    return NULL;
}

int cli_parse_int(int64_t *out, const char *text, int64_t min, int64_t max, const char *what,
                  struct prep_error *err)
{
    const char *digits = text + (*text == '-');
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*digits < '0' || *digits > '9' || *end || errno || v < min || v > max)
        return prep_fail(err, PREP_EUSAGE, "%s: is '%s', want an integer from %lld to %lld", what,
                         text, (long long)min, (long long)max);
    *out = v;
    return 0;
}

int cli_parse_real(double *out, const char *text, const char *what, struct prep_error *err)
{
    char *end = NULL;
    double v = strtod(text, &end);
    /* strtod also takes hexadecimal, infinities and leading space. */
    if (!*text || text[strspn(text, "0123456789+-.eE")] || *end ||
        !(v >= -1.7976931348623157e308 && v <= 1.7976931348623157e308))
        return prep_fail(err, PREP_EUSAGE, "%s: is '%s', want a decimal number", what, text);
    *out = v;
    return 0;
}

/* Factor of "", "B", "K", "KiB", "kB" and so on; 0 when it is no unit. */
static uint64_t size_unit(const char *unit)
{
    static const char letters[] = "KMGT";
    if (!*unit || strcmp(unit, "B") == 0)
        return 1;
    const char *at = strchr(letters, toupper((unsigned char)*unit));
    if (!at)
        return 0;
    int power = (int)(at - letters) + 1;
    uint64_t base = strcmp(unit + 1, "B") == 0                ? 1000
                    : !unit[1] || strcmp(unit + 1, "iB") == 0 ? 1024
                                                              : 0;
    uint64_t factor = base ? 1 : 0;
    while (power-- > 0)
        factor *= base;
    return factor;
}

int cli_parse_size(uint64_t *out, const char *text, const char *what, struct prep_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    uint64_t factor = *text >= '0' && *text <= '9' && !errno ? size_unit(end) : 0;
    if (!factor || !v || prep_mul(out, v, factor))
        return prep_fail(err, PREP_EUSAGE,
                         "%s: is '%s', want a size above 0: bytes, or with a unit K, M, G or T "
                         "(64M = 64MiB = 64 * 2^20, 64MB = 64 * 10^6)",
                         what, text);
    return 0;
}

int cli_parse_part(struct cli_part *out, const char *text, const char *what, struct prep_error *err)
{
    size_t head = strspn(text, "0123456789");
    const char *tail = text + head + 1;
    if (!head || head > 7 || text[head] != '/' || !*tail || strlen(tail) > 7 ||
        tail[strspn(tail, "0123456789")])
        return prep_fail(err, PREP_EUSAGE, "%s: is '%s', want i/n, such as 0/8", what, text);
    int i = atoi(text), n = atoi(tail);
    if (n < 1 || n > MAX_PARTS || i >= n)
        return prep_fail(err, PREP_EUSAGE, "%s: is '%s', want 0 <= i < n <= %d", what, text,
                         (int)MAX_PARTS);
    *out = (struct cli_part){i, n};
    return 0;
}

static int parse_choice(int *out, const char *text, const char *choices, const char *what,
                        struct prep_error *err)
{
    size_t n = strlen(text);
    const char *word = choices;
    for (int i = 0; n; i++) {
        size_t len = strcspn(word, "|");
        if (len == n && memcmp(word, text, n) == 0) {
            *out = i;
            return 0;
        }
        if (!word[len])
            break;
        word += len + 1;
    }
    return prep_fail(err, PREP_EUSAGE, "%s: is '%s', want one of %s", what, text, choices);
}

static int add_to_list(struct cli *cli, struct cli_list *list, const char *text, int argc,
                       struct prep_error *err)
{
    if (!list->items) {
        /* argv bounds how often an option can be given. */
        list->items = arena_calloc(&cli->arena, (size_t)argc, sizeof *list->items, err);
        list->turns = arena_calloc(&cli->arena, (size_t)argc, sizeof *list->turns, err);
        if (!list->items || !list->turns)
            return -1;
    }
    list->turns[list->n] = cli->n_listed++;
    list->items[list->n++] = text;
    return 0;
}

/* One option with its argument, stored where the table says. */
static int store(struct cli *cli, const struct cli_option *o, void *base, const char *text,
                 int argc, struct prep_error *err)
{
    void *to = (char *)base + o->offset;
    char what[80];
    snprintf(what, sizeof what, "--%s", o->name);
    switch (o->kind) {
    case CLI_FLAG:
        ++*(int *)to;
        return 0;
    case CLI_TEXT:
        *(const char **)to = text;
        return 0;
    case CLI_LIST:
        return add_to_list(cli, to, text, argc, err);
    case CLI_INT:
        return cli_parse_int(to, text, o->min, o->max, what, err);
    case CLI_REAL:
        return cli_parse_real(to, text, what, err);
    case CLI_SIZE:
        return cli_parse_size(to, text, what, err);
    case CLI_CHOICE:
        return parse_choice(to, text, o->arg, what, err);
    case CLI_PART:
        return cli_parse_part(to, text, what, err);
    }
    return prep_fail(err, PREP_EBUG, "%s: option of unknown kind %d", what, (int)o->kind);
}

/* Levenshtein distance, for hints; names longer than the row are never close. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[64];
    if (n + 1 > sizeof row / sizeof row[0])
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

static int fail_unknown(const struct cli_program *program, const char *word, struct prep_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *bare = name + strspn(name, "-");
    const struct cli_option *near = NULL, *o;
    size_t best = 3, starts = 0;
    int common;
    for (size_t i = 0; (o = cli_option_at(program, i, &common)); i++) {
        size_t d = distance(bare, o->name);
        starts += *bare && strncmp(o->name, bare, strlen(bare)) == 0;
        if (d < best && d < strlen(o->name)) {
            best = d;
            near = o;
        }
    }
    if (starts > 1)
        return prep_fail(err, PREP_EUSAGE, "option '%s' is ambiguous; --help lists the options",
                         name);
    if (near)
        return prep_fail(err, PREP_EUSAGE, "unknown option '%s'; did you mean --%s?", name,
                         near->name);
    return prep_fail(err, PREP_EUSAGE, "unknown option '%s'; --help lists the options", name);
}

/* getopt's two tables, made from ours. */
struct getopt_tables {
    struct option *longs; /* ends in zeros; val is FIRST_LONG + index */
    char *shorts;
    const struct cli_option **by_index;
    size_t n;
};

static int build_tables(struct getopt_tables *t, struct cli *cli, struct prep_error *err)
{
    const struct cli_program *p = cli->program;
    size_t max = p->n_options + N_COMMON + 1;
    t->longs = arena_calloc(&cli->arena, max + 1, sizeof *t->longs, err);
    t->shorts = arena_calloc(&cli->arena, 2 * max + 2, 1, err);
    t->by_index = arena_calloc(&cli->arena, max, sizeof *t->by_index, err);
    if (!t->longs || !t->shorts || !t->by_index)
        return -1;
    char *s = t->shorts;
    *s++ = ':'; /* tell a missing argument from an unknown option */
    const struct cli_option *o = NULL;
    int common;
    for (t->n = 0; o != &man_option; t->n++) {
        o = cli_option_at(p, t->n, &common);
        if (!o)
            o = &man_option;
        t->by_index[t->n] = o;
        t->longs[t->n] = (struct option){o->name, o->arg ? required_argument : no_argument, NULL,
                                         FIRST_LONG + (int)t->n};
        if (o->key) {
            *s++ = o->key;
            if (o->arg)
                *s++ = ':';
        }
    }
    return 0;
}

static size_t option_index(const struct getopt_tables *t, int c)
{
    if (c >= FIRST_LONG)
        return (size_t)(c - FIRST_LONG);
    for (size_t i = 0; i < t->n; i++)
        if (t->by_index[i]->key && t->by_index[i]->key == c)
            return i;
    return t->n;
}

static int fail_getopt(const struct cli *cli, const struct getopt_tables *t, int c, char **argv,
                       struct prep_error *err)
{
    char key[3] = {'-', (char)optopt, 0};
    size_t i = optopt ? option_index(t, optopt) : t->n;
    if (c == ':' && i < t->n)
        return prep_fail(err, PREP_EUSAGE, "--%s wants an argument, %s", t->by_index[i]->name,
                         t->by_index[i]->arg);
    if (i < t->n)
        return prep_fail(err, PREP_EUSAGE, "--%s takes no argument", t->by_index[i]->name);
    return fail_unknown(cli->program, optopt ? key : argv[optind - 1], err);
}

static int parse(struct cli *cli, void *options, int argc, char **argv, struct prep_error *err)
{
    struct getopt_tables t;
    if (build_tables(&t, cli, err))
        return -1;
    optind = 0; /* glibc: forget an earlier parse */
    opterr = 0;
    int c;
    while ((c = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
        if (c == '?' || c == ':')
            return fail_getopt(cli, &t, c, argv, err);
        size_t i = option_index(&t, c);
        void *base = i < cli->program->n_options ? options : &cli->common;
        if (store(cli, t.by_index[i], base, optarg, argc, err))
            return -1;
    }
    cli->operands = argv + optind;
    cli->n_operands = argc - optind;
    return 0;
}

static int check_operands(const struct cli *cli, struct prep_error *err)
{
    const struct cli_program *p = cli->program;
    int first_line = (int)strcspn(p->synopsis, "\n");
    if (cli->n_operands < p->min_operands)
        return prep_fail(err, PREP_EUSAGE, "missing operand, want: %s %.*s; --help says more",
                         p->name, first_line, p->synopsis);
    if (p->max_operands >= 0 && cli->n_operands > p->max_operands)
        return prep_fail(err, PREP_EUSAGE, "operand '%s' is one too many, want: %s %.*s",
                         cli->operands[p->max_operands], p->name, first_line, p->synopsis);
    return 0;
}

/* What neither flag nor variable set. */
static int apply_environment(struct cli *cli, struct prep_error *err)
{
    struct cli_common *c = &cli->common;
    const char *jobs = cli->host.env("PREP_JOBS"), *mem = cli->host.env("PREP_MEM");
    if (!c->jobs && jobs && *jobs && cli_parse_int(&c->jobs, jobs, 1, MAX_JOBS, "PREP_JOBS", err))
        return -1;
    const char *omp = cli->host.env("OMP_NUM_THREADS");
    struct prep_error ignored = PREP_ERROR_INIT;
    /* Others set this one, sometimes to a list ("4,2"): what we cannot use is not an error. */
    if (!c->jobs && (!omp || cli_parse_int(&c->jobs, omp, 1, MAX_JOBS, "", &ignored)))
        c->jobs = prep_default_threads();
    if (!c->mem && mem && *mem && cli_parse_size(&c->mem, mem, "PREP_MEM", err))
        return -1;
    if (!c->mem)
        c->mem = DEFAULT_MEM;
    return 0;
}

static double monotonic_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Columns of the terminal behind stderr when a line can be redrawn there, else 0. */
static int terminal_width(void)
{
    const char *term = getenv("TERM");
    struct winsize w;
    if (!isatty(STDERR_FILENO) || !term || strcmp(term, "dumb") == 0)
        return 0;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

static int text_width(const struct cli *cli)
{
    const char *columns = cli->host.env("COLUMNS");
    int64_t width = cli->host.live_width ? cli->host.live_width : 80;
    struct prep_error ignored = PREP_ERROR_INIT;
    if (columns && cli_parse_int(&width, columns, 1, 10000, "COLUMNS", &ignored))
        width = 80;
    return width < 40 ? 40 : width > 100 ? 100 : (int)width;
}

/* A descriptor below 3 that is closed would be given to the first file we open. */
static void keep_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
            return;
}

/* A fault found before --json is reached is rendered as JSON all the same. */
static int asks_json(const struct cli_program *program, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return (program->common & CLI_HAS_JSON) != 0;
    return 0;
}

int cli_init(struct cli *cli, const struct cli_program *program, void *options, int argc,
             char **argv)
{
    keep_standard_descriptors();
    struct cli_host host = {stdout, stderr, getenv, monotonic_seconds, terminal_width()};
    struct prep_error err = PREP_ERROR_INIT;
    struct ranks ranks;
    if (cli_join_ranks(&ranks, program, &host, &err)) {
        *cli = (struct cli){.program = program, .host = host, .ranks = ranks};
        cli->common.json = asks_json(program, argc, argv);
        const int code = cli_fail(cli, &err);
        cli_leave_ranks(cli, code);
        return code;
    }
    int rc = cli_init_on(cli, program, options, argc, argv, &host);
    cli->ranks = ranks;
    if (rc != CLI_RUN)
        cli_leave_ranks(cli, rc);
    return rc;
}

static int flushed(struct cli *cli)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (!fflush(cli->host.out) && !ferror(cli->host.out))
        return 0;
    prep_fail_sys(&err, PREP_EIO, errno, "cannot write to standard output");
    fprintf(cli->host.err, "%s: %s\n", cli->program->name, err.msg);
    return prep_exit_code(err.code);
}

/* --help and its kin: the exit code, or CLI_RUN when none was asked for. */
static int answer(struct cli *cli)
{
    FILE *out = cli->host.out;
    if (cli->common.help)
        cli_print_help(cli->program, out, text_width(cli));
    else if (cli->common.man)
        cli_print_man(cli->program, out);
    else if (cli->common.version)
        fprintf(out, "%s (prep) %s\nfeatures: openmp; no cuda, %s\n", cli->program->name,
                PREP_VERSION, ranks_transport());
    else
        return CLI_RUN;
    return flushed(cli);
}

int cli_init_on(struct cli *cli, const struct cli_program *program, void *options, int argc,
                char **argv, const struct cli_host *host)
{
    struct prep_error err = PREP_ERROR_INIT;
    *cli = (struct cli){.program = program, .host = *host};
    arena_init(&cli->arena, 0);
    int rc = parse(cli, options, argc, argv, &err);
    if (!rc) {
        rc = answer(cli);
        if (rc != CLI_RUN)
            goto out;
        rc = check_operands(cli, &err) || apply_environment(cli, &err);
    }
    if (!rc)
        return CLI_RUN;
    cli->common.json |= asks_json(program, argc, argv);
    rc = cli_fail(cli, &err);
out:
    cli_fini(cli);
    return rc;
}

void cli_fini(struct cli *cli)
{
    arena_fini(&cli->arena);
}

static volatile sig_atomic_t stop_requested;

static void on_signal(int sig)
{
    (void)sig;
    stop_requested = 1;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

const volatile sig_atomic_t *cli_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGINT);
    sigaddset(&sa.sa_mask, SIGTERM);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return &stop_requested;
}
