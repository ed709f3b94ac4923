/* SPDX-License-Identifier: MIT */
/*
 * cli.h - the one grammar of all commands: options, help, man page, messages, exit codes.
 *
 * A tool describes itself in a const struct cli_program with one table of options; parsing,
 * --help and the man page (--help-man) come from it. stdout carries results only; messages and
 * progress go to stderr. A tool is a cli_run_fn and a main() of two lines: its options with their
 * defaults, and
 *
 *     return cli_main(&program, &options, run, argc, argv);
 *
 * Units      sizes are bytes: 64M = 64 * 2^20 = 64MiB, 64MB = 64 * 10^6, no unit = bytes
 * Ownership  parsed texts and lists point into argv and live until cli_fini()
 * Errors     a usage fault is printed by cli_init(), which returns its exit code, 64
 * Threads    the main thread only; cli_progress() from one thread at a time
 */
#ifndef PREP_TOOLS_CLI_H
#define PREP_TOOLS_CLI_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/base/progress.h"
#include "libprep/base/ranks.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CLI_RUN = -1 };

/* What an option stores, at its offset in the tool's options struct. */
enum cli_kind {
    CLI_FLAG,   /* int, counts how often it was given */
    CLI_TEXT,   /* const char * */
    CLI_LIST,   /* struct cli_list: may be given several times */
    CLI_INT,    /* int64_t within min..max */
    CLI_REAL,   /* double, finite */
    CLI_SIZE,   /* uint64_t bytes, above 0 */
    CLI_CHOICE, /* int, index into arg, which reads "routed|total-tokens|equal" */
    CLI_PART,   /* struct cli_part from "i/n" */
};

struct cli_list {
    const char **items;
    int *turns; /* place among the items of all lists */
    size_t n;
};

struct cli_part {
    int i, n; /* 0 <= i < n; n is 0 when not given */
};

struct cli_option {
    const char *name; /* long name without dashes */
    char key;         /* short name, or 0 */
    enum cli_kind kind;
    const char *arg;  /* name of the argument, NULL for a flag */
    const char *help; /* one sentence, lower case, no full stop */
    size_t offset;    /* of the value in the options struct */
    int64_t min, max; /* CLI_INT */
};

/* Common options a tool may have; --help and --version are always there. */
enum {
    CLI_HAS_DRY_RUN = 1,
    CLI_HAS_JSON = 2,
    CLI_HAS_QUIET = 4, /* -q */
    CLI_HAS_VERBOSE = 8,
    CLI_HAS_JOBS = 16,
    CLI_HAS_MEM = 32,
    CLI_HAS_FRESH = 64,
    CLI_HAS_FORCE = 128,
    CLI_HAS_PART = 256, /* --part and --assemble */
    CLI_HAS_ALL = 511,
    CLI_HAS_RANKS = 512, /* may be started by mpirun; so may what has parts */
};

/* Values of the common options. */
struct cli_common {
    int dry_run, json, quiet, verbose, fresh, force, assemble;
    int64_t jobs; /* -j, else PREP_JOBS, OMP_NUM_THREADS, the CPUs we may use */
    uint64_t mem; /* --mem, else PREP_MEM, else 4G */
    struct cli_part part;
    int help, version, man;
};

struct cli_program {
    const char *name;        /* "reap-prune" */
    const char *schema;      /* of its JSON object: "reap-prune/1" */
    const char *purpose;     /* half a sentence, lower case: the man page's NAME */
    const char *synopsis;    /* operands only: NAME [OPTION]... is put before them; alternatives
                                on lines of their own */
    const char *description; /* paragraphs, an empty line between them */
    const char *examples;    /* command lines, or NULL */
    unsigned common;         /* CLI_HAS_* */
    const struct cli_option *options;
    size_t n_options;
    int min_operands, max_operands; /* max < 0: any number */
};

/* The world outside, replaced by tests. */
struct cli_host {
    FILE *out, *err;
    char *(*env)(const char *name);
    double (*now)(void); /* seconds, monotonic */
    int live_width;      /* columns of the terminal stderr is on, 0 when it is none */
};

struct cli_meter {
    const char *phase;
    double started, shown; /* seconds */
    uint64_t base;         /* bytes done when the phase began */
    int drawn;             /* a live line is on the screen */
};

struct cli {
    const struct cli_program *program;
    struct cli_common common;
    char **operands;
    int n_operands;
    struct cli_host host;
    struct cli_meter meter;
    int n_listed; /* items of all lists so far */
    struct ranks ranks;
    struct arena arena;
};

/*
 * Parse argv into *options (which holds the defaults). CLI_RUN: go on. Anything else is the exit
 * code to return at once: help was printed, or a fault was.
 */
int cli_init(struct cli *cli, const struct cli_program *program, void *options, int argc,
             char **argv);
int cli_init_on(struct cli *cli, const struct cli_program *program, void *options, int argc,
                char **argv, const struct cli_host *host);
void cli_fini(struct cli *cli);

/* The work of a tool: 0, or -1 with err set. What it prints goes to cli->host.out, which is silent
 * on every rank but the first. */
typedef int (*cli_run_fn)(struct cli *cli, const void *options, struct report *report,
                          struct prep_error *err);

/* Parse, run, report: the whole of a tool's main(). Returns the exit code. */
int cli_main(const struct cli_program *program, void *options, cli_run_fn run, int argc,
             char **argv);

/*
 * The one way out: clears progress, prints warnings and the error on stderr and, with --json,
 * one object on stdout: schema, warnings, the report's facts, and the error if there is one.
 * report may be NULL. Returns the exit code: the error's, or 74 when stdout cannot be written.
 */
int cli_finish(struct cli *cli, const struct report *report, const struct prep_error *err);
/* "TOOL: TAG: message"; returns the exit code. */
int cli_fail(struct cli *cli, const struct prep_error *err);
/* Warnings and, with --json, the facts; returns 0, or 74 when stdout cannot be written. */
int cli_report(struct cli *cli, const struct report *report);
/* "TOOL: text" on stderr, not with -q. */
void cli_say(struct cli *cli, const char *fmt, ...) PREP_PRINTF(2, 3);

/* A progress_fn; arg is the struct cli. */
void cli_progress(void *arg, const struct progress *p);

/*
 * From here on the first SIGINT or SIGTERM sets *flag, which the executor watches; the second
 * ends the process at once. A closed pipe or a file size limit becomes a failed write.
 */
const volatile sig_atomic_t *cli_catch_signals(void);

void cli_print_help(const struct cli_program *program, FILE *out, int width);
void cli_print_man(const struct cli_program *program, FILE *out);

/* The i-th option of a tool, its own first, then the common ones it has; NULL at the end. */
const struct cli_option *cli_option_at(const struct cli_program *program, size_t i, int *common);

/* what names the option or variable, for the message. */
PREP_MUST_CHECK int cli_parse_int(int64_t *out, const char *text, int64_t min, int64_t max,
                                  const char *what, struct prep_error *err);
PREP_MUST_CHECK int cli_parse_real(double *out, const char *text, const char *what,
                                   struct prep_error *err);
PREP_MUST_CHECK int cli_parse_size(uint64_t *out, const char *text, const char *what,
                                   struct prep_error *err);
PREP_MUST_CHECK int cli_parse_part(struct cli_part *out, const char *text, const char *what,
                                   struct prep_error *err);

enum { CLI_BYTES_TEXT = 32 };
/* "1.13 TB", "742 B": powers of 1000, as disks are sold. */
const char *cli_format_bytes(uint64_t bytes, char buf[CLI_BYTES_TEXT]);
/* "3.92 GiB": powers of 1024, as memory is. */
const char *cli_format_memory(uint64_t bytes, char buf[CLI_BYTES_TEXT]);

#ifdef __cplusplus
}
#endif
#endif
