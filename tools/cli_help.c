/* SPDX-License-Identifier: MIT */
/* --help and the man page, both from the option table. */
#include <string.h>

#include "tools/cli.h"

enum { HELP_COLUMN = 26, CHOICE_COLUMN = 12 };

static const struct {
    int code;
    const char *text;
} exit_codes[] = {
    {0, "done"},
    {1, "a check, lint, diff or verification ran and found faults or differences"},
    {64, "usage, or an option asks the impossible"},
    {65, "bad data"},
    {66, "an input is missing or unreadable"},
    {69, "valid input that is not supported, or no device"},
    {70, "a bug of this program"},
    {71, "out of memory"},
    {73, "output cannot be created: no room, no permission, locked, finished, another plan's"},
    {74, "input or output failed"},
    {75, "stopped cleanly by SIGINT or SIGTERM; the next run goes on"},
    {78, "fault in a recipe"},
};

enum { N_EXIT_CODES = sizeof exit_codes / sizeof exit_codes[0] };

/* Words of text up to its end or an empty line, wrapped at width; returns what follows. */
static const char *put_paragraph(FILE *out, const char *text, int indent, int column, int width)
{
    int at_start = 1;
    while (*text && !(text[0] == '\n' && text[1] == '\n')) {
        size_t n = strcspn(text, " \n");
        if (!at_start && column + 1 + (int)n > width) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            at_start = 1;
        }
        if (n) {
            fprintf(out, "%s%.*s", at_start ? "" : " ", (int)n, text);
            column += (int)n + !at_start;
            at_start = 0;
        }
        text += n;
        text += *text == ' ' || (*text == '\n' && text[1] != '\n');
    }
    fputc('\n', out);
    return text;
}

static void put_paragraphs(FILE *out, const char *text, int width)
{
    while (*text) {
        text = put_paragraph(out, text, 0, 0, width);
        fputc('\n', out);
        text += strspn(text, "\n");
    }
}

/* "=ARG"; a long list of choices goes on below, broken after a bar. Returns the column. */
static int put_argument(FILE *out, const char *arg, int column, int width)
{
    const char *before = "=";
    while (*arg) {
        int n = (int)strcspn(arg, "|");
        n += arg[n] == '|';
        if (*before != '=' && column + n > width)
            column = fprintf(out, "\n%*s", CHOICE_COLUMN, "") - 1;
        column += fprintf(out, "%s%.*s", before, n, arg);
        arg += n;
        before = "";
    }
    return column;
}

static void put_option(FILE *out, const struct cli_option *o, int width)
{
    int column =
        o->key ? fprintf(out, "  -%c, --%s", o->key, o->name) : fprintf(out, "      --%s", o->name);
    if (o->arg)
        column = put_argument(out, o->arg, column, width);
    if (column + 2 > HELP_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    put_paragraph(out, o->help, HELP_COLUMN, HELP_COLUMN, width);
}

static void put_examples(FILE *out, const char *line)
{
    fputs("\nExamples:\n", out);
    while (*line) {
        int n = (int)strcspn(line, "\n");
        fprintf(out, "  %.*s\n", n, line);
        line += n + (line[n] == '\n');
    }
}

void cli_print_help(const struct cli_program *program, FILE *out, int width)
{
    const char *line = program->synopsis, *intro = "Usage:";
    do {
        int n = (int)strcspn(line, "\n");
        fprintf(out, "%s %s [OPTION]...%s%.*s\n", intro, program->name, n ? " " : "", n, line);
        intro = "   or:";
        line += n + (line[n] == '\n');
    } while (*line);
    fputc('\n', out);
    put_paragraphs(out, program->description, width);

    const struct cli_option *o;
    int common, last = -1;
    for (size_t i = 0; (o = cli_option_at(program, i, &common)); i++) {
        if (common != last)
            fprintf(out, "%s%s:\n", last < 0 ? "" : "\n", common ? "Common options" : "Options");
        last = common;
        put_option(out, o, width);
    }
    if (program->examples)
        put_examples(out, program->examples);
    fputs("\nExit status:\n", out);
    for (size_t i = 0; i < N_EXIT_CODES; i++) {
        int column = fprintf(out, "  %2d  ", exit_codes[i].code);
        put_paragraph(out, exit_codes[i].text, column, column, width);
    }
}

/* Text as roff shows it literally: no requests, no escapes, hyphens that can be copied. */
static void put_roff(FILE *out, const char *text, size_t n)
{
    int line_start = 1;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (line_start && (c == '.' || c == '\''))
            fputs("\\&", out);
        if (c == '\\')
            fputs("\\e", out);
        else if (c == '-')
            fputs("\\-", out);
        else if (c == '|')
            fputs("|\\:", out); /* a line may break here */
        else
            fputc(c, out);
        line_start = c == '\n';
    }
}

static void put_roff_text(FILE *out, const char *text)
{
    put_roff(out, text, strlen(text));
}

static void put_roff_paragraphs(FILE *out, const char *text)
{
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t n = end ? (size_t)(end - text) : strlen(text);
        fputs(".PP\n", out);
        put_roff(out, text, n);
        fputc('\n', out);
        text += n;
        text += strspn(text, "\n");
    }
}

static void put_roff_option(FILE *out, const struct cli_option *o)
{
    fputs(".TP\n\\fB", out);
    if (o->key)
        fprintf(out, "\\-%c\\fR, \\fB", o->key);
    fputs("\\-\\-", out);
    put_roff_text(out, o->name);
    fputs("\\fR", out);
    if (o->arg) {
        fputs("=\\fI", out);
        put_roff_text(out, o->arg);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_roff_text(out, o->help);
    fputc('\n', out);
}

static void put_roff_environment(FILE *out, unsigned common)
{
    fputs(".SH ENVIRONMENT\nAn option on the command line wins over its variable.\n", out);
    if (common & CLI_HAS_JOBS)
        fputs(".TP\n\\fBPREP_JOBS\\fR, \\fBOMP_NUM_THREADS\\fR\nthreads, as \\-\\-jobs\n", out);
    if (common & CLI_HAS_MEM)
        fputs(".TP\n\\fBPREP_MEM\\fR\nmemory, as \\-\\-mem\n", out);
    fputs(".TP\n\\fBTERM\\fR, \\fBCOLUMNS\\fR\nprogress is redrawn in place unless TERM is dumb; "
          "width of the help text\n",
          out);
}

void cli_print_man(const struct cli_program *program, FILE *out)
{
    fputs(".TH \"", out);
    put_roff_text(out, program->name);
    fprintf(out, "\" 1 \"\" \"prep %s\" \"User Commands\"\n.SH NAME\n", PREP_VERSION);
    put_roff_text(out, program->name);
    fputs(" \\- ", out);
    put_roff_text(out, program->purpose);
    fputs("\n.SH SYNOPSIS\n.nf\n", out);
    const char *line = program->synopsis;
    do {
        size_t n = strcspn(line, "\n");
        fputs("\\fB", out);
        put_roff_text(out, program->name);
        fputs("\\fR [\\fIOPTION\\fR]... ", out);
        put_roff(out, line, n);
        fputc('\n', out);
        line += n + (line[n] == '\n');
    } while (*line);
    fputs(".fi\n.SH DESCRIPTION\n", out);
    put_roff_paragraphs(out, program->description);

    const struct cli_option *o;
    int common, last = -1;
    for (size_t i = 0; (o = cli_option_at(program, i, &common)); i++) {
        if (common != last)
            fprintf(out, ".SH %s\n", common ? "\"COMMON OPTIONS\"" : "OPTIONS");
        last = common;
        put_roff_option(out, o);
    }
    put_roff_environment(out, program->common);
    fputs(".SH \"EXIT STATUS\"\n", out);
    for (size_t i = 0; i < N_EXIT_CODES; i++) {
        fprintf(out, ".TP\n\\fB%d\\fR\n", exit_codes[i].code);
        put_roff_text(out, exit_codes[i].text);
        fputc('\n', out);
    }
    if (program->examples) {
        fputs(".SH EXAMPLES\n.nf\n", out);
        put_roff_text(out, program->examples);
        fputs("\n.fi\n", out);
    }
}
